"""``extensions import`` and ``extensions export``."""

import asyncio
import csv
import io
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portsip_async.cli.files import importing, write_run
from portsip_async.cli.pbx.classic import ClassicPBX
from portsip_async.simulator import PBXSimulator

from .terminal import CommandLine, Done

HEAD = "extension_number,password,web_access_password,profile.first_name"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcome(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    return found


class People:
    """Makes files of new extensions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *lines: str, name: str = "people.csv", head: str = HEAD) -> Path:
        path = self.folder / name
        path.write_text("\n".join((head, *lines)) + "\n", encoding="utf-8")
        return path

    def many(self, count: int) -> Path:
        return self(*(f"{number},sip,web,Ann" for number in range(5000, 5000 + count)))


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path)


def run(cli: CommandLine, path: Path, *options: str, **more: Any) -> Done:
    return cli("extensions", "import", path, *options, **more)


class TestImport:
    def test_csv(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        path = people("501,sip-1,web-1,Zoë", "", "502, s p ,web-2,", '503,sip-3,"we,b",Bob')
        done = run(cli, path)
        assert (done.code, done.err) == (0, "")
        assert outcome(done) == {
            "rows": 3,
            "created": 3,
            "skipped": 0,
            "failed": 0,
            "untried": 0,
            "in_doubt": 0,
            "report": None,
        }
        assert pbx.extension("501")["profile"]["first_name"] == "Zoë"
        assert pbx.extension("502")["password"] == " s p "  # a password is not stripped
        assert pbx.extension("503")["web_access_password"] == "we,b"

    def test_spreadsheet(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        """A file as a spreadsheet saves it, with a byte order mark and semicolons, is imported."""
        path = people(
            "501;a;b;TRUE",
            head="\ufeffextension_number;password;web_access_password;"
            "options.enable_audio_record_calls",
        )
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert run(cli, path).code == 0
        assert pbx.extension("501")["options"]["enable_audio_record_calls"] is True

    def test_jsonl(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        one = {"extension_number": 501, "password": "a", "web_access_password": "b"}
        two = {**one, "extension_number": "502", "profile": {"first_name": "Bo", "x_new": 1}}
        three = {**one, "extension_number": "503", "profile.first_name": "Cy", "belong_groups": []}
        path = people(*map(json.dumps, (two, three)), name="people.jsonl", head=json.dumps(one))
        assert run(cli, path).code == 0
        assert pbx.extension("501")["password"] == "a"
        assert pbx.extension("502")["profile"]["x_new"] == 1
        assert pbx.extension("503")["profile"]["first_name"] == "Cy"

    def test_nothing_is_sent_while_a_row_cannot_be_read(
        self, cli: CommandLine, pbx: PBXSimulator, people: People
    ) -> None:
        path = people("501,a,b,", "501,a,b,", "502,,b,", "503,a,b", ",a,b,", "504,a,b,Ann")
        done = run(cli, path)
        assert (done.code, done.out) == (1, "")
        assert not pbx.served
        for line in (
            "line 3 (501): is also in line 2",
            "line 4 (502): has no password",
            "line 5 (503): must have 4 cells, got 3",
            "line 6: has no extension_number",
            "4 of 6 rows can't be read; nothing was sent",
        ):
            assert line in done.err

    def test_dry_run(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        done = run(cli, people("501,a,b,", "101,a,b,", "502,,b,"), "--dry-run")
        assert outcome(done) == {
            "rows": 3,
            "new": 1,
            "existing": 1,
            "unreadable": 1,
            "taken": ["101"],
        }
        assert done.code == 1
        assert "1 of 3 numbers are taken: line 3 (101)" in done.err
        assert not pbx.served["extensions.create"]
        done = run(cli, people("501,a,b,", "101,a,b,"), "--dry-run", "--skip-existing")
        assert done.code == 0

    def test_report_can_be_imported_again(
        self, cli: CommandLine, pbx: PBXSimulator, people: People
    ) -> None:
        """The report has the failed rows only, in the same format; only its owner can read it."""
        path = people("501,a,b,", "101,a-Secret,b,Ann", "502,,b,")
        done = run(cli, path, "--keep-going")
        assert done.code == 1
        assert (outcome(done)["created"], outcome(done)["failed"]) == (1, 2)
        report = Path(outcome(done)["report"])
        assert report == path.with_name("people.failed.csv")
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
        assert [row["extension_number"] for row in rows_of(report)] == ["101", "502"]
        assert "403.3" in rows_of(report)[0]["error"]
        assert "a-Secret" not in done.err + done.out
        assert f"Hint: portsip-async extensions import {report}" in done.err

        # The corrected report is imported. Its own report does not replace it.
        report.write_text(report.read_text().replace("101,", "503,"))
        done = run(cli, report, "--keep-going")
        assert outcome(done)["created"] == 1
        assert Path(outcome(done)["report"]) == path.with_name("people.failed-2.csv")
        assert "503" in pbx.extension_numbers

    def test_report_of_jsonl_elsewhere(self, cli: CommandLine, people: People) -> None:
        row = {"extension_number": "101", "password": "a", "web_access_password": "b"}
        path = people(name="people.ndjson", head=json.dumps(row))
        report = people.folder / "left.jsonl"
        assert run(cli, path, "--report", str(report)).code == 1
        left = json.loads(report.read_text())
        assert "exists" in left.pop("error")
        assert left == row

    def test_skip_existing(self, cli: CommandLine, people: People) -> None:
        done = run(cli, people("101,a,b,", "501,a,b,"), "--skip-existing")
        assert done.code == 0
        assert (outcome(done)["created"], outcome(done)["skipped"]) == (1, 1)

    def test_all_exist(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        """One reason is one line and one hint, although each message names its extension."""
        path = people(*(f"{number},sip-1,web-1," for number in pbx.extension_numbers))
        done = run(cli, path, "--concurrency", "1")
        assert done.code == 1
        report = outcome(done)["report"]
        assert len({row["error"] for row in rows_of(Path(report))}) == 12
        lines = done.err.splitlines()
        assert lines[0].startswith(
            "portsip-async: line 2 (100), line 3 (101), line 4 (102), line 5 (103), line 6 (104)"
            " and 7 more: the first: extensions.create: HTTP 403, err_code 403.3: "
        )
        assert lines[1:] == [
            "Hint: it exists already: change it with 'update'",
            f"portsip-async: 12 of 12 rows were not imported; they are in {report}",
            f"Hint: portsip-async extensions import {report} --skip-existing",
        ]

    def test_wrong_password(self, cli: CommandLine, people: People) -> None:
        """An import that ends before its first row leaves no report."""
        assert run(cli, people("501,a,b,"), PORTSIP_PASSWORD="wrong").code == 3
        assert os.listdir(people.folder) == ["people.csv"]

    def test_login_is_refused_midway(
        self, cli: CommandLine, pbx: PBXSimulator, people: People
    ) -> None:
        """An error that ends the import leaves a report of the other rows, and its exit code."""
        pbx.fail("extensions.create", status=401, err_code=401.2, times=None)
        done = run(cli, people.many(5))
        assert done.code == 3
        assert outcome(done)["untried"] == 5
        assert len(rows_of(people.folder / "people.failed.csv")) == 5
        # The file may still hold rows that were created, if it is imported again.
        assert done.err.endswith("people.failed.csv --skip-existing\n")

    def test_login_is_refused_while_rows_are_in_flight(
        self,
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A row that was sent without a known outcome is not reported as untried."""
        monkeypatch.setattr(write_run, "GRACE", 0.05)
        pbx.fail("extensions.create", latency=20)
        pbx.fail("extensions.create", status=401, err_code=401.2, times=None)
        done = run(cli, people.many(5), "--concurrency", "2")
        assert done.code == 3
        assert (outcome(done)["in_doubt"], outcome(done)["untried"]) == (1, 4)
        *others, last = rows_of(people.folder / "people.failed.csv")
        assert {row["error"] for row in others} == {"not tried"}
        assert last["error"] == "perhaps created"
        assert "4 of 5 rows were not imported, of 1 it is not known; they are in" in done.err
        assert done.err.endswith("people.failed.csv --skip-existing\n")

    def test_reply_is_lost(self, cli: CommandLine, pbx: PBXSimulator, people: People) -> None:
        """A row is in doubt if its write could not be looked up; the other rows are not."""
        pbx.fail("extensions.create", drop=True, act=True)
        pbx.fail("extensions.show", drop=True, times=None)
        done = run(cli, people.many(4), "--concurrency", "1")
        assert done.code == 5
        assert (outcome(done)["created"], outcome(done)["in_doubt"], outcome(done)["failed"]) == (
            3,
            1,
            0,
        )
        (row,) = rows_of(people.folder / "people.failed.csv")
        assert row["extension_number"] == "5000"
        assert row["error"].startswith("perhaps created: extensions.create: ")
        assert done.err.endswith("people.failed.csv --skip-existing\n")

    def test_stops_when_the_pbx_is_unreachable(
        self,
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The import does not try every row once the PBX is unreachable."""
        monkeypatch.setattr(write_run, "MAX_UNREACHABLE", 3)
        pbx.fail("extensions.create", drop=True, times=None)
        pbx.fail("extensions.show", drop=True, times=None)
        done = run(cli, people.many(60), "--concurrency", "2")
        assert done.code == 5
        assert outcome(done)["untried"] > 40
        assert "can't be reached any more" in done.err
        # It is not known whether these were created, so the hint passes --skip-existing.
        assert done.err.rstrip().endswith("--skip-existing")

    def test_progress(self, cli: CommandLine, people: People) -> None:
        assert "Importing" in run(cli, people.many(3), terminal=True).err

    @pytest.mark.parametrize(
        ("name", "head", "lines", "message"),
        [
            ("people.txt", HEAD, (), "must end in .csv or .jsonl"),
            ("people.csv", "extension_number,pasword", (), "no such field: 'pasword'"),
            ("people.csv", "", (), "the first line must name the columns"),
            ("people.csv", HEAD, (), "has no rows"),
            ("people.csv", HEAD, ("1,2,3,4,5",), "line 2 must have 4 cells, got 5"),
            ("people.csv", HEAD, ('1,2,3,"a"b',), "people.csv line 2"),
            (
                "people.csv",
                HEAD,
                ("1.0E+11,a,b,c",),
                "line 2: has an extension_number in scientific",
            ),
            ("people.csv", HEAD, ('"1,23E+05",a,b,c',), "format the column as text"),
            ("people.csv", HEAD, ("1e5,a,b,c",), "format the column as text"),
            ("people.jsonl", "{", (), "line 1: is not a JSON object"),
            ("people.jsonl", '{"nope": 1}', (), "has no field nope"),
            ("people.jsonl", '{"profile": 1, "profile.email": "a"}', (), "twice"),
            (
                "people.jsonl",
                '{"extension_number": "1", "password": 5, "web_access_password": "x"}',
                (),
                "password must be text",
            ),
        ],
    )
    def test_unreadable_file(
        self,
        name: str,
        head: str,
        lines: tuple[str, ...],
        message: str,
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
    ) -> None:
        done = run(cli, people(*lines, name=name, head=head))
        assert done.code in (1, 2)
        assert message in done.err
        assert not pbx.served

    def test_not_utf8(self, cli: CommandLine, people: People) -> None:
        path = people("501,a,b,x")
        path.write_bytes(path.read_bytes().replace(b"x", b"\xe4"))
        assert "is not UTF-8 text" in run(cli, path).err


class TestInterrupt:
    """Ctrl-C reaches the process in the middle of an import."""

    @pytest.fixture
    def interrupt_at(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
        where = {"row": -1, "times": 0}
        untouched = importing._Import._feed

        def feed(self: importing._Import) -> Any:
            for index, extension in enumerate(untouched(self)):
                if index == where["row"]:
                    loop = asyncio.get_running_loop()
                    for _ in range(where["times"]):
                        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
                yield extension

        monkeypatch.setattr(importing._Import, "_feed", feed)
        return lambda row, times: where.update(row=row, times=times)

    def test_stops_cleanly_and_goes_on(
        self,
        interrupt_at: Callable[[int, int], None],
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
    ) -> None:
        """Every row is either created or in the report; the report completes the import."""
        interrupt_at(10, 1)
        done = run(cli, people.many(40), "--concurrency", "2")
        assert done.code == 130
        assert "stopping; rows in flight finish" in done.err
        left = {row["extension_number"] for row in rows_of(Path(outcome(done)["report"]))}
        created = {number for number in pbx.extension_numbers if number.startswith("50")}
        assert len(created) == outcome(done)["created"] >= 10
        assert left
        assert not left & created
        assert left | created == {str(number) for number in range(5000, 5040)}

        interrupt_at(-1, 0)
        done = run(cli, Path(outcome(done)["report"]))
        assert done.code == 0
        assert outcome(done)["created"] == len(left)

    def test_twice_ends_at_once(
        self,
        interrupt_at: Callable[[int, int], None],
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A second Ctrl-C does not wait for requests in flight; their rows are in doubt."""
        monkeypatch.setattr(write_run, "GRACE", 0.05)
        pbx.fail("extensions.create", latency=20, times=None)
        interrupt_at(1, 2)
        done = run(cli, people.many(6), "--concurrency", "2")
        assert done.code == 130
        assert (outcome(done)["created"], outcome(done)["failed"]) == (0, 0)
        assert outcome(done)["in_doubt"] + outcome(done)["untried"] == 6
        assert outcome(done)["in_doubt"] >= 1
        report = [row["error"] for row in rows_of(Path(outcome(done)["report"]))]
        assert report == ["not tried"] * outcome(done)["untried"] + (
            ["perhaps created"] * outcome(done)["in_doubt"]
        )
        assert done.err.endswith(" --skip-existing\n")

    def test_twice_while_writes_finish(
        self,
        interrupt_at: Callable[[int, int], None],
        cli: CommandLine,
        pbx: PBXSimulator,
        people: People,
    ) -> None:
        """A row that finishes within the grace period counts as created."""
        pbx.fail("extensions.create", latency=0.3, times=None)
        interrupt_at(2, 2)
        done = run(cli, people.many(6), "--concurrency", "2")
        assert done.code == 130
        assert outcome(done)["created"] == pbx.acted["extensions.create"] > 0
        assert outcome(done)["created"] + outcome(done)["untried"] == 6
        assert len(rows_of(Path(outcome(done)["report"]))) == outcome(done)["untried"]

    def test_before_it_began(
        self, cli: CommandLine, people: People, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(ClassicPBX, "extensions", interrupt)
        done = run(cli, people.many(3))
        assert (done.code, done.out) == (130, "")
        assert os.listdir(people.folder) == ["people.csv"]


class TestExport:
    def test_can_be_imported(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        """Extensions that are exported, removed and imported are the same, in either format."""
        before = {number: pbx.extension(number) for number in pbx.extension_numbers}
        for name in ("all.csv", "all.jsonl"):
            file = tmp_path / name
            assert cli("extensions", "export", file, "--reveal").code == 0
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert cli("extensions", "remove", *before, "-y").code == 0
            assert cli("extensions", "import", file).code == 0
            for number, held in before.items():
                assert {**pbx.extension(number), "belong_groups": []} == {
                    **held,
                    "belong_groups": [],
                }
        assert not list(tmp_path.glob("*.part"))

    def test_without_secrets(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        for form in ("csv", "jsonl"):
            out = cli("extensions", "export", "--output", form).out
            for number in pbx.extension_numbers:
                held = pbx.extension(number)
                assert held["password"] not in out
                assert held["voice_mail"]["voicemail_pin"] not in out
            assert "password" not in out
            assert "voicemail_pin" not in out

    def test_order_search_and_limit(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        def numbers(*options: str) -> list[str]:
            rows = csv.DictReader(io.StringIO(cli("extensions", "export", *options).out))
            return [row["extension_number"] for row in rows]

        assert numbers() == pbx.extension_numbers
        assert numbers("--search", "11") == ["110", "111"]
        assert numbers("--limit", "2") == ["100", "101"]

    def test_leaves_out_an_extension_removed_meanwhile(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        pbx.fail("extensions.show", status=404, err_code=404.1)
        assert len(cli("extensions", "export", "-o", "jsonl").lines) == 11

    def test_failure_leaves_the_old_file(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        file = tmp_path / "all.csv"
        file.write_text("old")
        pbx.fail("extensions.show", status=403, err_code=403.1, times=None)
        assert cli("extensions", "export", file).code == 1
        assert file.read_text() == "old"
        assert os.listdir(tmp_path) == ["all.csv"]

    def test_no_such_folder(self, cli: CommandLine) -> None:
        done = cli("extensions", "export", "/no/such/all.csv")
        assert done.code == 1
        assert len(done.err.splitlines()) == 1
        assert cli("extensions", "export", "all.txt").code == 2
