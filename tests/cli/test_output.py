"""The forms of output, and what they hold."""

import csv
import io
import json

import pytest

from portsip_async.cli.table import table
from portsip_async.simulator import PBXSimulator

from .terminal import CommandLine, Gone

LIST = ("extensions", "list", "--limit", 3)


class TestFormats:
    def test_pipe_gets_json_lines(self, cli: CommandLine) -> None:
        done = cli(*LIST)
        assert done.code == 0
        rows = [json.loads(line) for line in done.lines]
        assert [row["extension_number"] for row in rows] == ["100", "101", "102"]
        assert set(rows[0]) > {"first_name", "status", "user_agent", "phone_model"}
        assert done.err == ""

    def test_terminal_gets_a_table(self, cli: CommandLine) -> None:
        done = cli(*LIST, "--columns", "extension_number,status", terminal=True)
        assert "extension_number" in done.lines[0]
        assert "status" in done.lines[0]
        assert len([line for line in done.lines if line.startswith("10")]) == 3
        assert "\x1b[" in done.out  # statuses are coloured

    def test_json_is_one_list(self, cli: CommandLine) -> None:
        rows = json.loads(cli(*LIST, "--output", "json").out)
        assert [row["extension_number"] for row in rows] == ["100", "101", "102"]

    def test_json_of_nothing_is_an_empty_list(self, cli: CommandLine) -> None:
        assert json.loads(cli("extensions", "search", "nobody-like-that", "-o", "json").out) == []

    def test_show_as_json_is_one_object(self, cli: CommandLine) -> None:
        shown = json.loads(cli("extensions", "show", "101", "-o", "json").out)
        assert shown["extension_number"] == "101"
        assert shown["profile"]["first_name"]

    def test_csv(self, cli: CommandLine) -> None:
        rows = list(csv.DictReader(io.StringIO(cli(*LIST, "-o", "csv").out)))
        assert [row["extension_number"] for row in rows] == ["100", "101", "102"]

    def test_show_as_csv_is_flat(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        (row,) = csv.DictReader(io.StringIO(cli("extensions", "show", "101", "-o", "csv").out))
        assert row["profile.first_name"] == pbx.extension("101")["profile"]["first_name"]
        assert row["options.enable_extension"] == "true"

    def test_show_as_table_names_each_field(self, cli: CommandLine) -> None:
        done = cli("extensions", "show", "101", "-o", "table")
        assert any(line.split()[:1] == ["profile.first_name"] for line in done.lines)

    def test_table_in_a_pipe_is_plain_and_whole(self, cli: CommandLine) -> None:
        done = cli("extensions", "list", "-o", "table", COLUMNS="20")
        assert "\x1b" not in done.out
        assert all("@pbx.example" in line for line in done.lines[2:])

    def test_members_in_csv(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        group = pbx.group_ids[0]
        out = cli("groups", "show", group, "-o", "csv", "-c", "members").out
        assert out.splitlines() == ["members", ";".join(pbx.group(group)["members"])]


class TestColumns:
    def test_order_is_kept(self, cli: CommandLine) -> None:
        done = cli(*LIST, "-o", "csv", "-c", "status, extension_number")
        assert done.lines[0] == "status,extension_number"

    def test_in_json(self, cli: CommandLine) -> None:
        done = cli("extensions", "show", "101", "-c", "extension_number,profile.gender")
        assert json.loads(done.out) == {"extension_number": "101", "profile.gender": "MALE"}

    def test_whole_section(self, cli: CommandLine) -> None:
        done = cli("extensions", "show", "101", "-c", "options", "-o", "csv")
        assert done.lines[0].startswith("options.enable_audio_record_calls,")
        shown = json.loads(cli("extensions", "show", "101", "-c", "options").out)
        assert shown["options"]["enable_extension"] is True

    @pytest.mark.parametrize(
        "arguments",
        [
            (*LIST, "-c", "nope"),
            (*LIST, "-c", ","),
            ("extensions", "show", "101", "-c", "profile.nope"),
            ("groups", "show", "1", "-c", "nope"),
            ("groups", "create", "New", "-c", "nope"),
        ],
    )
    def test_unknown_is_usage_before_anything_is_sent(
        self, arguments: tuple[str, ...], cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        done = cli(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "no such column" in done.err
        assert not {*pbx.served} - {"account.verify"}


class TestTerminal:
    def test_no_color(self, cli: CommandLine) -> None:
        assert "\x1b" not in cli(*LIST, terminal=True, NO_COLOR="1").out

    def test_names_command_no_terminal(self, cli: CommandLine) -> None:
        """What a PBX says is shown, never obeyed."""
        evil = "\x1b[2J\x9b31m\x07"
        settings = json.dumps({"profile": {"first_name": evil}})
        assert cli("extensions", "update", "101", "--settings", "-", stdin=settings).code == 0
        for arguments in (("list",), ("show", "101")):
            done = cli("extensions", *arguments, terminal=True, NO_COLOR="1")
            assert "\\x1b[2J\\x9b31m\\x07" in done.out.replace("\n", "")
            assert not {"\x1b", "\x9b", "\x07"} & set(done.out)

    def test_progress_is_on_stderr_only(self, cli: CommandLine) -> None:
        done = cli("extensions", "list", "-o", "json", terminal=True)
        assert "Reading" in done.err
        json.loads(done.out)


class TestTable:
    def test_letters_of_every_width(self) -> None:
        """Wide letters take two columns, marks none: what follows stays in line."""
        rows = [("ab", "|"), ("漢字", "|"), ("e\u0301", "|")]
        assert list(table(("a", "b"), rows, width=None)) == [
            "a     b",
            "────  ─",
            "ab    |",
            "漢字  |",
            "e\u0301     |",
        ]

    def test_too_narrow(self) -> None:
        """The widest column gives way, and its cells go on below."""
        rows = [("1", "abcdefghijklmnop", "x"), ("2", "漢字漢字漢字", "y")]
        assert list(table(("n", "text", "z"), rows, width=16)) == [
            "n  text        z",
            "─  ──────────  ─",
            "1  abcdefghij  x",
            "   klmnop",
            "2  漢字漢字漢  y",
            "   字",
        ]

    def test_far_too_narrow(self) -> None:
        """Nothing is cut off, whatever the width."""
        rows = [("abcdefghijkl", "mnopqrstuvwx")]
        lines = list(table(("a", "b"), rows, width=1))
        assert lines[2:] == ["abcdefgh  mnopqrst", "ijkl      uvwx"]

    def test_colour_takes_no_room(self) -> None:
        lines = table(("a", "b"), [("x", "1")], width=20, paint=lambda text, _: f"<{text}>")
        assert list(lines)[2] == "<x>  <1>"


class TestBrokenPipe:
    @pytest.mark.parametrize("form", ["jsonl", "csv", "table", "json"])
    def test_reader_that_left(self, form: str, cli: CommandLine) -> None:
        """Who has read enough is no failure, and no traceback."""
        done = cli("extensions", "list", "-o", form, out=Gone(1 if form in ("jsonl", "csv") else 0))
        assert (done.code, done.err) == (0, "")


class TestLimit:
    def test_stops_the_walk(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        done = cli("extensions", "list", "--limit", 2, "--page-size", 2)
        assert len(done.lines) == 2
        assert pbx.served["extensions.list"] <= 2  # one page, and one ahead

    def test_zero_is_usage(self, cli: CommandLine) -> None:
        assert cli("extensions", "list", "--limit", 0).code == 2

    def test_page_is_where_it_begins(self, cli: CommandLine) -> None:
        done = cli("extensions", "list", "--page-size", 5, "--page", 3)
        assert [json.loads(line)["extension_number"] for line in done.lines] == ["110", "111"]
