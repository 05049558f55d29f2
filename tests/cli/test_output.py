"""The formats of the output."""

import csv
import io
import json
import os
import time
import unicodedata
from pathlib import Path

import pytest
from rich.cells import cell_len

from portsip_async.cli.terminal.table import fitting, table
from portsip_async.simulator import PBXSimulator

from .conftest import PBXMaker, environment_of
from .processes import on_terminal, shell
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

    def test_names_do_not_control_the_terminal(self, cli: CommandLine) -> None:
        """Control characters in a name are shown as escapes."""
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


class TestProgress:
    """A bar is on stderr, unless rows go to the terminal or to a program that writes there."""

    COMMAND = ("extensions", "list", "-o", "csv")

    @pytest.mark.parametrize(
        ("term", "shown"), [("xterm", True), ("dumb", False)], ids=["xterm", "dumb"]
    )
    def test_rows_to_a_file(
        self, term: str, shown: bool, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        file = tmp_path / "rows.csv"
        with (
            file.open("wb") as target,
            on_terminal(
                *self.COMMAND, pbx=pbx, stdout=target.fileno(), changes={"TERM": term}
            ) as running,
        ):
            assert running.end() == 0
        assert ("Reading" in running.shown) is shown
        assert len(file.read_bytes().splitlines()) == len(pbx.extension_numbers) + 1

    def test_rows_to_a_program(self, pbx: PBXSimulator) -> None:
        reading, writing = os.pipe()
        with (
            open(reading, "rb") as rows,
            on_terminal(*self.COMMAND, pbx=pbx, stdout=writing) as running,
        ):
            os.close(writing)
            assert len(rows.readlines()) == len(pbx.extension_numbers) + 1
            assert running.end() == 0
        assert running.shown == ""

    def test_check_names_its_steps(self, pbx: PBXSimulator) -> None:
        pbx.fail("extensions.show", latency=0.3)
        with on_terminal("check", pbx=pbx) as running:
            assert running.end() == 0
        assert "Checking extensions.show" in running.shown

    def test_slow_pbx_is_named(self, make_pbx: PBXMaker) -> None:
        """What a command waits for is shown after a second, and removed."""
        pbx = make_pbx(generations=("classic", "v22"))
        pbx.v22.fail("pbx.info", latency=1.5)
        changes = {"PORTSIP_API": None, "PORTSIP_DOMAIN": pbx.domain}
        with on_terminal("users", "show", "101", pbx=pbx, changes=changes) as running:
            running.wait_for(lambda shown: f"Connecting to {pbx.url} ..." in shown)
            assert running.end() == 0
        assert "...\r\x1b[K" in running.shown
        done = shell("run users show 101", pbx, changes=changes)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_logs_get_whole_lines_without_escapes(self, pbx: PBXSimulator) -> None:
        done = shell(
            "run extensions export /dev/null --format csv; run extensions list -c nope", pbx
        )
        assert done.stdout == b""
        assert b"\x1b" not in done.stderr
        assert len(done.stderr.splitlines()) == 2


class TestTable:
    def test_letters_of_every_width(self) -> None:
        """Wide letters take two columns and marks none, so the next column is aligned."""
        rows = [("ab", "|"), ("漢字", "|"), ("e\u0301", "|")]
        assert list(table(("a", "b"), rows, width=None)) == [
            "a     b",
            "────  ─",
            "ab    |",
            "漢字  |",
            "e\u0301     |",
        ]

    @pytest.mark.parametrize(
        "name",
        [
            "\u0e17\u0e35\u0e48",  # Thai: a consonant with two marks
            "\u0e01\u0e33\u0e25\u0e31\u0e07",
            unicodedata.normalize("NFD", "한국어"),
            "\u0928\u093f\u0936\u093e",  # Devanagari
            "田\u3000中",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family, joined
            "\u2764\ufe0f",  # a heart, shown as an emoji
            "\U0001f1e9\U0001f1ea",  # a flag
            "\U0001f44d\U0001f3fd",
            "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",  # Persian, with a non-joiner
            "a\u0308\u0301\u0316",
            "\uff46\uff55\uff4c\uff4c",  # letters of full width
            "ﾊﾝｶｸ",
            "‼\ufe0f",
            "\u1e9e\xa0\u2003x",
        ],
        ids=ascii,
    )
    def test_columns_of_every_script(self, name: str) -> None:
        rows = [(name, "|"), ("x" * 12, "|")]
        lines = list(table(("a", "b"), rows, width=None))
        assert lines[2].startswith(name)
        assert cell_len(lines[2]) == cell_len(lines[3]) == 15

    def test_folds_between_letters(self) -> None:
        """A wrapped cell keeps each letter with its marks, and a joined emoji whole."""
        for letter in ("e\u0301", "\u0e17\u0e35\u0e48", "\U0001f468\u200d\U0001f469", "❤\ufe0f"):
            rows = [(letter * 9, "|")]
            lines = list(table(("a", "b"), rows, width=11))[2:]
            parts = [line.removesuffix("|").rstrip() for line in lines]
            assert len(parts) > 1
            assert "".join(parts) == letter * 9
            assert all(part == letter * (len(part) // len(letter)) for part in parts)
            assert all(cell_len(part) <= 8 for part in parts)

    def test_letter_wider_than_its_column(self) -> None:
        rows = [("x" * 30, "田" * 30)]
        assert list(table(("a", "b"), rows, width=3))

    def test_is_quick(self) -> None:
        """100,000 rows of a large PBX are laid out quickly, in ASCII and beyond."""
        rows = [(str(at), f"Zoë {at}", "田中 太郎", "ที่") for at in range(20_000)]
        began = time.perf_counter()
        assert sum(1 for _ in table(("a", "b", "c", "d"), rows, width=80)) == 20_002
        assert time.perf_counter() - began < 10

    def test_too_narrow(self) -> None:
        """The widest column shrinks, and its cells wrap."""
        rows = [("1", "abcdefghijklmnop", "x"), ("2", "漢字漢字漢字", "y")]
        assert list(table(("n", "text", "z"), rows, width=16)) == [
            "n  text        z",
            "─  ──────────  ─",
            "1  abcdefghij  x",
            "   klmnop",
            "2  漢字漢字漢  y",
            "   字",
        ]

    def test_words_stay_whole_beside_a_long_cell(self) -> None:
        """A column is not shrunk below its longest word if another one has room left."""
        rows = [("outbound_department.anonymous", "one two three four five six seven")]
        assert list(table(("field", "value"), rows, width=26)) == [
            "field        value",
            "───────────  ─────────────",
            "outbound_    one two",
            "department.  three four",
            "anonymous    five six",
            "             seven",
        ]

    def test_wraps_between_words(self) -> None:
        """The names of columns wrap first, and then cells, after spaces, dots and the like."""
        rows = [("101", "Ann Sørensen", "ann.sorensen@example.com")]
        assert list(table(("extension_number", "display_name", "email"), rows, width=50)) == [
            "extension_  display_name  email",
            "number",
            "──────────  ────────────  ────────────────────────",
            "101         Ann Sørensen  ann.sorensen@example.com",
        ]
        assert list(table(("extension_number", "display_name", "email"), rows, width=40))[3:] == [
            "101         Ann Sørensen  ann.sorensen@",
            "                          example.com",
        ]

    @pytest.mark.parametrize(
        ("width", "expected"), [(40, 4), (73, 4), (74, 5), (82, 5), (83, 6), (96, 6), (97, 7)]
    )
    def test_fewer_columns_before_cells_wrap(self, width: int, expected: int) -> None:
        """The last columns are left out, but not the first four."""
        columns = ("extension_number", "name", "display_name", "email", "role", "enabled", "id")
        rows = [
            ("101", "ann.ward.101", "Ann Ward", "ann.ward.101@pbx.example", "User" * 3, "x", "y")
        ]
        assert fitting(columns, rows, required=6, width=width) == list(range(expected))

    def test_far_too_narrow(self) -> None:
        """Nothing is cut off, even on a very narrow terminal."""
        rows = [("abcdefghijkl", "mnopqrstuvwx")]
        lines = list(table(("a", "b"), rows, width=1))
        assert lines[2:] == ["abcdefgh  mnopqrst", "ijkl      uvwx"]

    def test_colour_takes_no_room(self) -> None:
        lines = table(("a", "b"), [("x", "1")], width=20, paint=lambda text, _: f"<{text}>")
        assert list(lines)[2] == "<x>  <1>"


class TestBrokenPipe:
    @pytest.mark.parametrize("form", ["jsonl", "csv", "table", "json"])
    def test_reader_that_left(self, form: str, cli: CommandLine) -> None:
        """A reader that leaves early causes no failure and no traceback."""
        done = cli("extensions", "list", "-o", form, out=Gone(1 if form in ("jsonl", "csv") else 0))
        assert (done.code, done.err) == (0, "")


class TestPages:
    @pytest.mark.parametrize("command", ["list", "export", "search pbx.example"])
    def test_are_large(self, command: str, make_pbx: PBXMaker, cli: CommandLine) -> None:
        """450 extensions are listed with one request."""
        pbx = make_pbx(extensions=450)
        done = cli("extensions", *command.split(), environment=environment_of(pbx))
        assert len(done.lines) - (command == "export") == 450
        assert pbx.served["extensions.list"] + pbx.served["extensions.search"] == 1

    def test_size_can_be_chosen(self, make_pbx: PBXMaker, cli: CommandLine) -> None:
        pbx = make_pbx(extensions=30)
        cli("extensions", "list", "--page-size", 10, environment=environment_of(pbx))
        assert pbx.served["extensions.list"] == 3

    def test_statuses_need_few_requests(self, make_pbx: PBXMaker, cli: CommandLine) -> None:
        """The size of status requests is learned: it grows while the PBX takes it."""
        pbx = make_pbx(extensions=1000)
        numbers = "\n".join(pbx.extension_numbers)
        done = cli("extensions", "status", "-", stdin=numbers, environment=environment_of(pbx))
        shown = [json.loads(line)["extension_number"] for line in done.lines]
        assert shown == pbx.extension_numbers
        assert pbx.served["extensions.status"] < 10


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
