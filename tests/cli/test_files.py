"""Files that an import reads and an export writes, as administrators have them."""

import csv
import json
import os
import shlex
import signal
import stat
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portsip_async import NewExtension, OfficeHours, Options, PortSIPClient, Profile, VoiceMail
from portsip_async.cli.files import import_file, importing
from portsip_async.cli.files.csv_text import csv_line, read_csv
from portsip_async.simulator import PBXSimulator

from ..properties.values import HOSTILE
from .conftest import Beside
from .terminal import CommandLine, Done, Gone
from .test_process import PATIENCE, process, wait_for

KEYS = "extension_number,password,web_access_password"
HEAD = f"{KEYS},profile.first_name"
SECRETS = ("hunter2-SIP", "Hunter2web")


def write(folder: Path, text: str | bytes, name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def run(cli: CommandLine, path: Path, *options: str, **more: Any) -> Done:
    return cli("extensions", "import", path, *options, **more)


def link_to(device: str, folder: Path, name: str = "device") -> Path:
    """Link to a device, so that a failing test that runs as root can't replace the device."""
    if not Path(device).parent.exists():
        pytest.skip(f"no {device} here")
    link = folder / name
    link.symlink_to(device)
    return link


def outcome(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.out)
    return found


def json_row(number: str, **more: Any) -> dict[str, Any]:
    return {"extension_number": number, "password": "a", "web_access_password": "b", **more}


class TestErrorsShowNoSecret:
    """A text where a name is expected may be a password, so errors hide it."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("people.csv", "501,hunter2-SIP,Hunter2web,Ann\n502,x,y,Bo\n"),
            ("people.csv", "501;hunter2-SIP;Hunter2web;Ann\n"),
            ("people.csv", "501\thunter2-SIP\tHunter2web\n"),
            ("people.csv", "501|hunter2-SIP|Hunter2web\n"),
            ("people.csv", '"501","hunter2-SIP","Hunter2web"\n'),
            ("people.csv", f"{KEYS},hunter2-SIP,Hunter2web\n"),
            ("people.csv", f"{KEYS}\n501,hunter2-SIP,Hunter2web,more\n"),
            ("people.csv", f'{KEYS}\n501,"hunter2-SIP,Hunter2web\n'),
            ("people.csv", f'{KEYS}\n501,"hunter2-SIP"Hunter2web,x\n'),
            ("people.csv", f"{KEYS},options.enable_extension\n501,a,b,hunter2-SIP\n"),
            (
                "people.csv",
                f"{KEYS},forward_rules.available.no_answer_timeval\n501,a,b,Hunter2web\n",
            ),
            ("people.csv", f"{KEYS}\nhunter2-SIP,,Hunter2web\n"),
            ("people.csv", f"{KEYS},,profile.email\n501,a,b,hunter2-SIP,x\n"),
            ("people.jsonl", '{"hunter2-SIP": "Hunter2web"}\n'),
            ("people.jsonl", '{"hunter2-SIP": 1, "hunter2-SIP": 2}\n'),
            ("people.jsonl", '{"hunter2-SIP": 1, "hunter2-SIP.a": 2}\n'),
            ("people.jsonl", '{"extension_number": "501", "password": "hunter2-SIP" Hunter2web}\n'),
            ("people.jsonl", '{"extension_number": {"hunter2-SIP": 1}, "password": []}\n'),
            ("people.jsonl", json.dumps(json_row("1", profile=["hunter2-SIP"])) + "\n"),
            ("people.jsonl", json.dumps(json_row("1", profile={"gender": ["Hunter2web"]}))),
        ],
    )
    @pytest.mark.parametrize("dry", [(), ("--dry-run",)])
    def test_import(
        self, name: str, text: str, dry: tuple[str, ...], cli: CommandLine, tmp_path: Path
    ) -> None:
        done = run(cli, write(tmp_path, text, name), *dry)
        assert done.code == 1
        assert "people" in done.err or "rows can't be read" in done.err
        for secret in SECRETS:
            assert secret not in done.err + done.out

    @pytest.mark.parametrize(
        "options",
        [
            ("update", "101", "--set", "hunter2-SIP"),
            ("update", "101", "--set", "Hunter2web=1"),
            ("update", "101", "--set", "options.enable_extension=hunter2-SIP"),
            ("update", "101", "--settings", "-"),
            ("list", "--columns", "hunter2-SIP,Hunter2web"),
        ],
    )
    def test_options(self, options: tuple[str, ...], cli: CommandLine) -> None:
        done = cli("extensions", *options, stdin='{"hunter2-SIP": {}, "Hunter2web": {}}')
        assert done.code == 2
        for secret in SECRETS:
            assert secret not in done.err

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            ("extension_number,pasword,web_access_password", "no such field: 'pasword'"),
            (f"{KEYS},first_nme", "'first_nme'"),
            (f"{KEYS},First Name", "column 4, which may be profile.first_name"),
            (f"{KEYS},Passwort9", "column 4, which may be password"),
            ("Extension Number,Password,Web", "column 1, which may be extension_number"),
            ("501,a,b", "the first line holds no field's name"),
        ],
    )
    def test_misspelt_header(
        self, head: str, message: str, cli: CommandLine, tmp_path: Path
    ) -> None:
        """An error shows a certain name; else the number of its column, and a similar field."""
        done = run(cli, write(tmp_path, f"{head}\n501,a,b\n"))
        assert done.code == 1
        assert message in done.err


class TestColumns:
    @pytest.mark.parametrize(
        "head",
        [
            "extension_number,password,password,web_access_password",
            "extension_number,password,web_access_password, password ",
            "\ufeffextension_number,password,web_access_password,extension_number",
            "extension_number;password;web_access_password;error;error",
        ],
    )
    def test_duplicate_is_refused(
        self, head: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        done = run(cli, write(tmp_path, f"{head}\n501,a,b,c\n"), "--keep-going")
        assert done.code == 1
        assert "are both" in done.err
        assert not pbx.served

    @pytest.mark.parametrize(
        "row",
        [
            '{"extension_number": "501", "password": "a", "password": "b",'
            ' "web_access_password": "c"}',
            '{"extension_number": "501", "password": "a", "web_access_password": "c",'
            ' "profile": {"email": "a", "email": "b"}}',
            json.dumps(json_row("501", profile={"email": "a"}, **{"profile.email": "b"})),
            json.dumps(json_row("501", **{"profile.email": "b"}, profile={"email": "a"})),
        ],
    )
    def test_duplicate_name_in_json(
        self, row: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        done = run(cli, write(tmp_path, row, "people.jsonl"))
        assert done.code == 1
        assert "twice" in done.err
        assert not pbx.served

    def test_wholly_empty_columns_and_rows(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        text = f"\n,,,,\n{HEAD},,\n501,a,b,Ann,,\n,,,,,\n , ,\n502,a,b,Bo,,,,,\n503,a,b,Cy\n\n"
        done = run(cli, write(tmp_path, text.replace("\n", "\r\n")))
        assert done.code == 0, done.err
        assert outcome(done)["created"] == 3
        assert pbx.extension("502")["profile"]["first_name"] == "Bo"

    def test_empty_column_between(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """A column without a name is allowed while all its cells are empty."""
        head = f"{KEYS},,profile.email"
        done = run(cli, write(tmp_path, f"{head}\n501,a,b,x,e@f.g\n"))
        assert done.code == 1
        assert "line 2 has a value in column 4" in done.err
        assert run(cli, write(tmp_path, f"{head}\n501,a,b,,e@f.g\n")).code == 0
        assert pbx.extension("501")["profile"]["email"] == "e@f.g"

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    @pytest.mark.parametrize("quote", ["", '"'])
    def test_delimiters(
        self, delimiter: str, quote: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        rows = [HEAD.split(","), ["501", "a", "b", "Ann"], ["101", "a", "b", ""]]
        text = "".join(
            delimiter.join(f"{quote}{cell}{quote}" for cell in row) + "\r\n" for row in rows
        )
        done = run(cli, write(tmp_path, text))
        assert (done.code, outcome(done)["created"]) == (1, 1)
        assert pbx.extension("501")["profile"]["first_name"] == "Ann"
        assert done.err.endswith(".csv --skip-existing\n")
        assert run(cli, tmp_path / "people.failed.csv", "--skip-existing").code == 0

    def test_cells_that_are_all_quoted(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """In a file with all cells quoted, a quoted empty cell leaves the field out."""
        head = f"{HEAD},office_hours.monday_from,options.enable_extension"
        rows = [head.split(","), ["501", "a", "b", "Ann", "", ""]]
        text = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
        assert run(cli, write(tmp_path, text)).code == 0
        assert pbx.extension("501")["office_hours"]["monday_from"] == "09:00"


class TestDeepJSON:
    DEEP = 100_000

    @pytest.mark.parametrize(
        "value",
        [
            "[" * DEEP + "]" * DEEP,
            '{"a":' * DEEP + "1" + "}" * DEEP,
            "[" * DEEP,
            "[" * 500 + "]" * 500,
            "9" * 5000,
            "NaN",
            "-Infinity",
            "1e999",
        ],
        ids=["lists", "objects", "open", "500", "long", "nan", "infinity", "large"],
    )
    def test_import_and_settings(
        self, value: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """JSON that can't be sent is refused in one line, and the report keeps its text."""
        bad = f'{{"extension_number": "502", "profile": {{"x": {value}}}}}'
        path = write(tmp_path, f"{json.dumps(json_row('501'))}\n{bad}\n", "people.jsonl")
        done = run(cli, path)
        assert done.code == 1
        assert len(done.err) < 500
        done = run(cli, path, "--keep-going")
        assert (done.code, outcome(done)["created"], outcome(done)["failed"]) == (1, 1, 1)
        (left,) = (tmp_path / "people.failed.jsonl").read_text().splitlines()
        assert json.loads(left)["line"] == bad

        settings = write(tmp_path, f'{{"profile": {{"x": {value}}}}}', "settings.json")
        served = pbx.served.total()
        done = cli("extensions", "update", "101", "--settings", settings)
        assert done.code == 2
        assert len(done.err.splitlines()) == 2
        done = cli("extensions", "update", "101", "--settings", "-", stdin=settings.read_text())
        assert done.code == 2
        assert pbx.served.total() == served


class TestReportOfJSONLines:
    BROKEN = (
        '{"extension_number": "502", "password": "p2", "web_access_password": "w2"',
        '["503", "p3"]',
        '"504"',
        '{"extension_number": "505", "password": "p5", "password": "q5"}',
        'not JSON: "506" \\ é \u2028 ',
    )

    def test_unreadable_line_is_kept_and_can_be_corrected(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The report has each unreadable line unchanged; once corrected, it is imported."""
        path = write(
            tmp_path,
            "\r\n".join([json.dumps(json_row("501")), *self.BROKEN]) + "\r\n",
            "people.jsonl",
        )
        assert outcome(run(cli, path, "--keep-going"))["created"] == 1
        report = tmp_path / "people.failed.jsonl"
        left = [json.loads(line) for line in report.read_text().splitlines()]
        assert [row["line"] for row in left] == [*self.BROKEN]
        assert all(row["error"] for row in left)

        # The same report, imported again, gives the same report.
        again = run(cli, report, "--keep-going")
        assert (again.code, outcome(again)["failed"]) == (1, 5)
        second = Path(outcome(again)["report"])
        assert [json.loads(line)["line"] for line in second.read_text().splitlines()] == [
            *self.BROKEN
        ]

        # Either the text is corrected in place, or the whole line is replaced.
        left[0]["line"] += "}"
        left[1] = json_row("503")
        write(tmp_path, "".join(json.dumps(row) + "\n" for row in left[:2]), "mended.jsonl")
        done = run(cli, tmp_path / "mended.jsonl")
        assert done.code == 0, done.err
        assert pbx.extension("502")["password"] == "p2"
        assert "503" in pbx.extension_numbers


class TestRoundTrips:
    TEXTS = (
        "a\rb",
        "a\r\nb",
        "a\nb",
        "\r",
        "\n",
        " both ends ",
        "\t",
        'quotes "" here',
        "comma, semicolon; tab\t pipe|",
        "=cmd|' /C calc'!A0",
        "null",
        "0101",
        "true",
        "",
        "\u2028\u2029\x85\x0b\x0c\x00",
        "\ufeffmark",
        "😀",
        "x" * 100_000,
    )

    def make(self, texts: list[str]) -> NewExtension:
        """Put texts into sections; "" and None too."""
        drawn = iter(texts)
        return NewExtension(
            extension_number="501",
            password=next(drawn) or "p",
            web_access_password=f"w{next(drawn)}",
            profile=Profile(first_name=next(drawn), last_name=next(drawn), description=next(drawn)),
            voice_mail=VoiceMail(voicemail_pin=next(drawn), enable_voicemail=False),
            options=Options(enable_extension=False),
            office_hours=OfficeHours(monday_from=next(drawn), monday_to=next(drawn)),
        )

    def round_trip(
        self, new: NewExtension, form: str, cli: CommandLine, pbx: PBXSimulator, beside: Beside
    ) -> None:
        async def create() -> None:
            async with PortSIPClient(
                pbx.url, username=pbx.username, password=pbx.password
            ) as client:
                if "501" in pbx.extension_numbers:
                    await client.extensions.remove("501")
                await client.extensions.create(new)

        beside.run(create())
        held = pbx.extension("501")
        file = Path(os.environ["ROUND_TRIPS"]) / f"all.{form}"
        done = cli("extensions", "export", file, "--reveal", "--search", "501")
        assert done.code == 0, done.err
        assert cli("extensions", "remove", "501", "-y").code == 0
        done = run(cli, file)
        assert done.code == 0, done.err
        assert pbx.extension("501") == held

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ROUND_TRIPS", str(tmp_path))

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    @pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:20])
    def test_text(
        self, text: str, form: str, cli: CommandLine, pbx: PBXSimulator, beside: Beside
    ) -> None:
        new = self.make([text if text.strip() else f"p{text}", *[text] * 7])
        self.round_trip(new, form, cli, pbx, beside)
        if form == "csv":
            with (Path(os.environ["ROUND_TRIPS"]) / "all.csv").open(
                encoding="utf-8", newline=""
            ) as file:
                rows = list(csv.DictReader(file, strict=True))
            assert [row["profile.description"] for row in rows] == [text]

    @settings(
        max_examples=30,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(HOSTILE, min_size=8, max_size=8), st.sampled_from(["csv", "jsonl"]))
    def test_any_text(
        self, cli: CommandLine, pbx: PBXSimulator, beside: Beside, texts: list[str], form: str
    ) -> None:
        whole = [text.encode("utf-8", "ignore").decode() for text in texts]
        if not whole[0].strip():
            whole[0] = "p"
        self.round_trip(self.make(whole), form, cli, pbx, beside)

    @given(
        st.lists(
            st.lists(st.none() | HOSTILE, min_size=2, max_size=5).filter(any), max_size=4
        ).filter(
            lambda rows: not rows or None in rows[0] or any(map(str.isalnum, filter(None, rows[0])))
        ),
        st.sampled_from([",", ";", "\t", "|"]),
    )
    def test_cells(self, rows: list[list[str | None]], delimiter: str) -> None:
        """Cells are read back as they were written; "" and None stay different."""
        head: list[str | None] = ["name", "other"]
        text = "".join(csv_line(row, delimiter) for row in [head, *rows])
        assert [cells for _, cells in read_csv(text, delimiter)] == [head, *rows]
        lines = [line for line, _ in read_csv(text, delimiter)]
        assert lines == sorted({*lines})

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_report_is_exact(
        self, form: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The report of an import has the same texts as its file."""
        texts = [" a\r\nb ", "", "x\ry", None]
        columns = ["first_name", "last_name", "email", "twitter"]
        if form == "csv":
            head = csv_line(
                [HEAD.split(",")[0], "password", "web_access_password"]
                + [f"profile.{name}" for name in columns]
            )
            text = head + csv_line(["101", " p ", "w", *texts])
        else:
            profile = {
                name: text for name, text in zip(columns, texts, strict=True) if text is not None
            }
            text = json.dumps(json_row("101", password=" p ", profile=profile)) + "\n"
        assert run(cli, write(tmp_path, text, f"people.{form}")).code == 1
        assert cli("extensions", "remove", "101", "-y").code == 0
        assert run(cli, tmp_path / f"people.failed.{form}").code == 0
        held = pbx.extension("101")
        assert held["password"] == " p "
        assert [held["profile"][name] for name in columns] == [" a\r\nb ", "", "x\ry", ""]

    def test_list_as_csv(self, cli: CommandLine, tmp_path: Path) -> None:
        """Lists are read back by Python's csv too."""
        name = write(tmp_path, json.dumps({"profile": {"first_name": "a\rb"}}), "s.json")
        assert cli("extensions", "update", "101", "--settings", name).code == 0
        out = cli("extensions", "list", "-o", "csv", "-c", "extension_number,first_name").out
        path = write(tmp_path, out, "list.csv")
        with path.open(encoding="utf-8", newline="") as file:
            found = {row["extension_number"]: row["first_name"] for row in csv.DictReader(file)}
        assert found["101"] == "a\rb"

    def test_half_of_a_surrogate_pair(self, cli: CommandLine, tmp_path: Path) -> None:
        """A row with text that can't be sent fails, and is in the report unchanged."""
        row = json.dumps(json_row("501", profile={"first_name": "\ud800"}))
        assert run(cli, write(tmp_path, row, "people.jsonl")).code == 1
        report = tmp_path / "people.failed.jsonl"
        assert json.loads(report.read_text())["profile"]["first_name"] == "\ud800"


class TestMarks:
    """One byte order mark at the start of any text is dropped."""

    MARK = "\ufeff"

    def test_passwords(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        stdin = f"{self.MARK}{pbx.password}\na\nb\n"
        options = ("-u", pbx.username, "--password-stdin", "--new-passwords-stdin")
        done = cli("extensions", "create", "501", *options, stdin=stdin, PORTSIP_PASSWORD=None)
        assert done.code == 0, done.err
        assert pbx.extension("501")["password"] == "a"

    def test_new_passwords(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """Only a mark at the start is dropped; a later one belongs to the text."""
        stdin = f"{self.MARK}a\r\n{self.MARK}b\r\n"
        assert cli("extensions", "create", "501", "--new-passwords-stdin", stdin=stdin).code == 0
        assert pbx.extension("501")["password"] == "a"
        assert pbx.extension("501")["web_access_password"] == f"{self.MARK}b"

    def test_auth(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        stdin = f"{self.MARK}{pbx.extension('101')['password']}\n"
        call = ("extensions", "call", "101", "102", "--domain", "d", "--auth-stdin")
        assert cli(*call, stdin=stdin).code == 0

    @pytest.mark.parametrize("command", ["status", "remove"])
    def test_numbers(self, command: str, cli: CommandLine) -> None:
        more = ("-y",) if command == "remove" else ()
        done = cli("extensions", command, "-", *more, stdin=f"{self.MARK}101\r\n102\r\n")
        assert done.code == 0, done.err

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
    def test_files(
        self, encoding: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        def encoded(text: str) -> bytes:
            mark = self.MARK if encoding.endswith("e") else ""
            return f"{mark}{text}".encode(encoding)

        path = write(tmp_path, encoded(f"{HEAD}\r\n501,a,b,Zoë\r\n"))
        done = run(cli, path)
        assert done.code == 0, done.err
        row = json.dumps(json_row("502", profile={"first_name": "Zoë"}), ensure_ascii=False)
        assert run(cli, write(tmp_path, encoded(row), "p.jsonl")).code == 0
        settings = write(tmp_path, encoded('{"profile": {"last_name": "Å"}}'), "s.json")
        assert cli("extensions", "update", "502", "--settings", settings).code == 0
        assert pbx.extension("501")["profile"]["first_name"] == "Zoë"
        assert pbx.extension("502")["profile"]["first_name"] == "Zoë"
        assert pbx.extension("502")["profile"]["last_name"] == "Å"

    def test_settings_from_stdin(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        stdin = f'{self.MARK}{{"profile": {{"last_name": "Å"}}}}'
        assert cli("extensions", "update", "101", "--settings", "-", stdin=stdin).code == 0
        assert pbx.extension("101")["profile"]["last_name"] == "Å"

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("locale", ["utf-8", "cp1252", "ascii"])
    def test_process(self, encoding: str, locale: str, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A real pipe works too, in any locale."""
        stdin = write(tmp_path, "pä\nwé\n".encode(encoding), "stdin")
        with (
            stdin.open("rb") as file,
            process(
                "extensions",
                "create",
                "501",
                "--new-passwords-stdin",
                pbx=pbx,
                stdin=file,
                PYTHONIOENCODING=locale,
            ) as running,
        ):
            _, err = running.communicate(timeout=PATIENCE)
        assert (running.returncode, err) == (0, b"")
        assert pbx.extension("501")["password"] == "pä"
        assert pbx.extension("501")["web_access_password"] == "wé"

    def test_no_text(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        settings = write(tmp_path, b'{"profile": {"last_name": "\xe4"}}', "s.json")
        done = cli("extensions", "update", "101", "--settings", settings)
        assert done.code != 0
        assert "not UTF-8 text" in done.err
        assert not pbx.served


class Reader(threading.Thread):
    """A thread that reads a FIFO to its end."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.read = b""
        self._path = path
        self.start()

    def run(self) -> None:
        self.read = self._path.read_bytes()

    def whole(self) -> str:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self.read.decode()


class TestWhereExportsGo:
    def test_fifo(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A FIFO is written into, and stays a FIFO."""
        fifo = tmp_path / "all.csv"
        os.mkfifo(fifo)
        reader = Reader(fifo)
        assert cli("extensions", "export", fifo).code == 0
        assert stat.S_ISFIFO(fifo.stat().st_mode)
        assert [line.split(",")[0] for line in reader.whole().splitlines()[1:]] == (
            pbx.extension_numbers
        )
        assert os.listdir(tmp_path) == ["all.csv"]

    def test_device(self, cli: CommandLine, tmp_path: Path) -> None:
        link = link_to("/dev/null", tmp_path, "all.csv")
        assert cli("extensions", "export", link).code == 0
        assert link.is_symlink()
        assert stat.S_ISCHR(link.stat().st_mode)
        assert os.listdir(tmp_path) == ["all.csv"]

    def test_full_device(self, cli: CommandLine, tmp_path: Path) -> None:
        full = link_to("/dev/full", tmp_path)
        done = cli("extensions", "export", full, "--format", "csv")
        assert done.code == 1
        assert done.err == f"portsip-async: {full}: No space left on device\n"

    @pytest.mark.parametrize("there", [True, False])
    def test_symbolic_link(
        self, there: bool, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The link stays; the file that it points to is replaced."""
        (tmp_path / "folder").mkdir()
        target = tmp_path / "folder" / "target"
        if there:
            target.write_text("old")
        link = tmp_path / "all.csv"
        link.symlink_to("folder/target")
        assert cli("extensions", "export", link).code == 0
        assert link.is_symlink()
        assert len(target.read_text().splitlines()) == len(pbx.extension_numbers) + 1
        assert os.listdir(tmp_path / "folder") == ["target"]

    def test_hard_link_and_mode(self, cli: CommandLine, tmp_path: Path) -> None:
        """Another link to the old file keeps its content; only the owner can read the new file."""
        file = tmp_path / "all.csv"
        file.write_text("old")
        file.chmod(0o644)
        (tmp_path / "other").hardlink_to(file)
        assert cli("extensions", "export", file).code == 0
        assert (tmp_path / "other").read_text() == "old"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    @pytest.mark.parametrize("where", ["folder", "none/all.csv", "file/all.csv", "loop.csv"])
    def test_nowhere(self, where: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A path that can't be written is named before any request."""
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        (tmp_path / "loop.csv").symlink_to("loop.csv")
        before = sorted(os.listdir(tmp_path))
        done = cli("extensions", "export", tmp_path / where, "--format", "csv")
        assert done.code == 1
        assert str(tmp_path / where) in done.err
        assert len(done.err.splitlines()) == 1
        assert not pbx.served
        assert sorted(os.listdir(tmp_path)) == before

    @pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
    def test_own_output(self, path: str, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A path such as /dev/stdout appends to standard output."""
        file = tmp_path / "all.csv"
        link = link_to(path, tmp_path)
        with file.open("wb") as out:
            out.write(b"first\n")
            out.flush()
            command = ("extensions", "export", str(link), "--format", "csv")
            with process(*command, pbx=pbx, stdout=out) as running:
                _, err = running.communicate(timeout=PATIENCE)
        assert (running.returncode, err) == (0, b"")
        lines = file.read_text().splitlines()
        assert lines[0] == "first"
        assert len(lines) == len(pbx.extension_numbers) + 2

    def test_two_at_once(self, pbx: PBXSimulator, tmp_path: Path) -> None:
        """Two exports at once each publish a complete file."""
        file = tmp_path / "all.csv"
        pbx.fail("extensions.show", latency=0.3, times=None)
        command = ("extensions", "export", str(file), "--concurrency", "4")
        seen: set[str] = set()
        with process(*command, pbx=pbx) as one, process(*command, pbx=pbx) as two:

            def both() -> bool:
                seen.update(name for name in os.listdir(tmp_path) if name != "all.csv")
                return len(seen) == 2

            wait_for(both, "two temporary names")
            assert not file.exists()
            for running in (one, two):
                _, err = running.communicate(timeout=PATIENCE)
                assert (running.returncode, err) == (0, b"")
                assert len(file.read_text().splitlines()) == len(pbx.extension_numbers) + 1
        assert os.listdir(tmp_path) == ["all.csv"]

    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
    @pytest.mark.parametrize("there", [True, False])
    def test_interrupted(self, name: str, there: bool, pbx: PBXSimulator, tmp_path: Path) -> None:
        """An interrupted export leaves the old file, and no other."""
        file = tmp_path / "all.csv"
        if there:
            file.write_text("old")
        pbx.fail("extensions.show", latency=PATIENCE, times=None)
        with process("extensions", "export", str(file), pbx=pbx) as running:
            wait_for(lambda: pbx.served["extensions.show"], "the export")
            running.send_signal(getattr(signal, name))
            _, err = running.communicate(timeout=PATIENCE / 2)
        assert err == b""
        assert running.returncode == 128 + getattr(signal, name)
        assert os.listdir(tmp_path) == (["all.csv"] if there else [])

    def test_disk_is_full_at_the_end(
        self, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "all.csv"
        file.write_text("old")

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        done = cli("extensions", "export", file)
        assert done.code == 1
        assert "No space left" in done.err
        assert file.read_text() == "old"
        assert os.listdir(tmp_path) == ["all.csv"]

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_terminal_gets_no_control_characters(
        self, form: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """A terminal that is named as a file gets escapes, and JSON stays JSON."""
        name = "\x1b[31m\x7f\x9b\u202e"
        settings = write(tmp_path, json.dumps({"profile": {"first_name": name}}), "s.json")
        assert cli("extensions", "update", "101", "--settings", settings).code == 0
        ours, theirs = os.openpty()
        try:
            terminal = link_to(os.ttyname(theirs), tmp_path)
            done = cli("extensions", "export", terminal, "--format", form, "--limit=2")
        finally:
            os.close(theirs)
        shown = b""
        with suppress(OSError):  # the other side is closed
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        assert done.code == 0, done.err
        text = shown.decode().replace("\r\n", "\n")
        assert text.replace("\n", "").isprintable()
        if form == "csv":
            assert "\\x1b[31m\\x7f" in text
        else:
            people = [json.loads(line) for line in text.splitlines()]
            assert name in [each["profile"]["first_name"] for each in people]


class TestReportThatCannotBeWritten:
    def people(self, folder: Path, *lines: str, name: str = "people.csv") -> Path:
        return write(folder, "\n".join([HEAD, *lines]) + "\n", name)

    @pytest.mark.parametrize(
        "where", ["none/r.csv", "folder", "file/r.csv", "people.csv", "n" * 256]
    )
    def test_is_checked_before_the_first_row(
        self, where: str, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        path = self.people(tmp_path, "501,a,b,")
        before = sorted(os.listdir(tmp_path))
        done = run(cli, path, "--report", str(tmp_path / where))
        assert done.code in (1, 2)
        assert done.out == ""
        assert "report" in done.err
        assert not pbx.served
        assert sorted(os.listdir(tmp_path)) == before
        assert path.read_text().startswith(HEAD)

    def test_beside_the_file(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that can't be written is found before the first row is sent."""
        import tempfile

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied", "secret temporary name")

        monkeypatch.setattr(tempfile, "mkstemp", refuse)
        done = run(cli, self.people(tmp_path, "501,a,b,"))
        assert done.code == 1
        assert f"{tmp_path / 'people.failed.csv'}: Permission denied" in done.err
        assert "--report" in done.err
        assert not pbx.served

    @pytest.mark.parametrize("how", ["device", "write", "publish", "folder is gone"])
    def test_outcome_is_on_standard_error(
        self,
        how: str,
        cli: CommandLine,
        pbx: PBXSimulator,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Every row is reported, without its secrets, and the exit code says that it failed."""
        folder = tmp_path / "reports"
        folder.mkdir()
        report = folder / "r.csv"
        if how == "device":
            report = link_to("/dev/full", tmp_path)
        elif how == "write":

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(importing, "write_report", fail)
        elif how == "publish":
            monkeypatch.setattr(os, "replace", lambda *_: os.open("/none/there", os.O_RDONLY))
        else:
            untouched = import_file.write_report

            def remove(*arguments: Any) -> None:
                untouched(*arguments)
                for name in os.listdir(folder):
                    (folder / name).unlink()
                folder.rmdir()

            monkeypatch.setattr(importing, "write_report", remove)
        taken = [f"{number},hunter2-SIP,Hunter2web," for number in range(101, 111)]
        path = self.people(tmp_path, "501,a,b,", *taken, "502,,b,")
        done = run(cli, path, "--report", str(report), "--keep-going")
        assert done.code == 1
        assert (outcome(done)["created"], outcome(done)["failed"]) == (1, 11)
        assert outcome(done)["report"] is None
        assert "501" in pbx.extension_numbers
        for line, number in enumerate(range(101, 111), 3):
            assert f"line {line} ({number}): extensions.create: " in done.err
        assert "line 13 (502): has no password" in done.err
        assert "report can't be written" in done.err
        for secret in SECRETS:
            assert secret not in done.err

    def test_output_without_a_reader(self, cli: CommandLine, tmp_path: Path) -> None:
        """Failures are on stderr and in the report, even if nobody reads standard output."""
        done = run(cli, self.people(tmp_path, "501,a,b,", "101,a,b,"), out=Gone(0))
        assert "line 3 (101): " in done.err
        assert "1 of 2 rows were not imported" in done.err
        assert (tmp_path / "people.failed.csv").exists()

    def test_fifo(self, cli: CommandLine, tmp_path: Path) -> None:
        """A FIFO gets the report, even an empty one."""
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        reader = Reader(fifo)
        assert run(cli, self.people(tmp_path, "501,a,b,"), "--report", str(fifo)).code == 0
        assert reader.whole() == ""
        reader = Reader(fifo)
        assert run(cli, self.people(tmp_path, "501,a,b,"), "--report", str(fifo)).code == 1
        assert "501,a,b,," in reader.whole()
        assert sorted(os.listdir(tmp_path)) == ["fifo", "people.csv"]

    def test_existing_report_is_kept(self, cli: CommandLine, tmp_path: Path) -> None:
        report = tmp_path / "r.csv"
        report.write_text("mended")
        (tmp_path / "r-2.csv").symlink_to("nothing")
        done = run(cli, self.people(tmp_path, "101,a,b,"), "--report", str(report))
        assert outcome(done)["report"] == str(tmp_path / "r-3.csv")
        assert report.read_text() == "mended"

    @pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("odd")])
    def test_other_errors(
        self,
        error: Exception,
        cli: CommandLine,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An unexpected error in the middle still gives the outcome and a report."""
        untouched = importing._Import._note

        def note(self: importing._Import, result: Any) -> None:
            untouched(self, result)
            if result.index == 1 and not self.failures:
                self.failures.append(("x", error))
                raise error

        monkeypatch.setattr(importing._Import, "_note", note)
        lines = (f"{number},a,b," for number in range(501, 506))
        done = run(cli, self.people(tmp_path, *lines), "--concurrency", "1")
        assert done.code == 1
        assert outcome(done)["created"] >= 2
        assert outcome(done)["created"] + outcome(done)["untried"] == 5
        assert str(error.args[-1]) in done.err

    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
    def test_signals(self, name: str, pbx: PBXSimulator, tmp_path: Path) -> None:
        """SIGTERM and SIGHUP stop an import as Ctrl-C does, with a report."""
        path = self.people(tmp_path, *(f"{number},a,b," for number in range(5000, 5040)))
        pbx.fail("extensions.create", latency=0.3, times=None)
        command = ("extensions", "import", str(path), "--concurrency", "2")
        with process(*command, pbx=pbx) as running:
            wait_for(lambda: pbx.served["extensions.create"], "the first row")
            running.send_signal(getattr(signal, name))
            out, _ = running.communicate(timeout=PATIENCE)
        assert running.returncode == 128 + getattr(signal, name)
        outcome = json.loads(out)
        assert outcome["created"] == pbx.acted["extensions.create"] > 0
        assert outcome["created"] + outcome["untried"] == 40
        assert sorted(os.listdir(tmp_path)) == ["people.csv", "people.failed.csv"]


class TestHints:
    @pytest.mark.parametrize(
        "name",
        [
            "my people's.csv",
            "-x.csv",
            "--dry-run.csv",
            "a\nb.csv",
            "\x1b[31m\u202ered.csv",
            "two  blanks.csv",
            "$(touch oops) `touch oops`;\\.csv",
            "Zoë.csv",
            "people",
        ],
    )
    def test_can_be_pasted(
        self, name: str, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hint can be pasted into a shell, and imports the rest."""
        monkeypatch.chdir(tmp_path)
        write(tmp_path, f"{HEAD}\n101,a,b,\n", name)
        done = run(cli, Path("./") / name if name[0] != "-" else tmp_path / name, "--format", "csv")
        if name[0] == "-":
            done = cli(
                "extensions", "import", "--format", "csv", "--report", f"{name}.csv", "--", name
            )
        assert done.code == 1
        assert done.err.replace("\n", "").isprintable()
        hint = done.err.splitlines()[-1].removeprefix("Hint: ")
        pasted = f"portsip-async() {{ printf '%s\\0' \"$@\"; }}\n{hint}\n"
        words = subprocess.run(
            ["bash", "-c", pasted], capture_output=True, check=True, cwd=tmp_path, timeout=PATIENCE
        ).stdout
        arguments = [os.fsdecode(word) for word in words.split(b"\0")[:-1]]
        done = cli(*arguments, terminal=False)
        assert done.code == 0, done.err
        assert outcome(done)["skipped"] == 1
        assert not (tmp_path / "oops").exists()

    def test_has_the_options_that_are_needed(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        """The hint repeats the connection options; it never holds a password."""
        path = write(tmp_path, f"{HEAD}\n101,a,b,\n", "people.txt")
        done = run(
            cli,
            path,
            *("--format", "csv", "--report", str(tmp_path / "left")),
            *("--url", pbx.url, "-u", pbx.username, "--allow-http", "--rate", "50"),
            *("--endpoint", "groups.list=/x", "--endpoint", "groups.show=/y"),
            PORTSIP_URL=None,
            PORTSIP_USERNAME=None,
        )
        assert done.code == 1
        words = shlex.split(done.err.splitlines()[-1].removeprefix("Hint: "))
        assert words[:4] == ["portsip-async", "extensions", "import", str(tmp_path / "left")]
        assert " ".join(words[4:]) == (
            f"--format csv --url {pbx.url} --username {pbx.username} --allow-http --rate 50.0"
            " --endpoint groups.list=/x --endpoint groups.show=/y --skip-existing"
        )


class TestDryRun:
    def test_names_the_numbers_that_exist(self, cli: CommandLine, tmp_path: Path) -> None:
        path = write(tmp_path, f"{HEAD}\n501,a,b,\n101,a,b,\n105,a,b,\n501,a,b,\n")
        for more in ((), ("--skip-existing",)):
            done = run(cli, path, "--dry-run", *more)
            assert outcome(done)["taken"] == ["101", "105"]
            assert "line 3 (101), line 4 (105)" in done.err
            assert "line 5 (501): is also in line 2" in done.err

    def test_many(
        self, make_pbx: Callable[..., PBXSimulator], cli: CommandLine, tmp_path: Path
    ) -> None:
        """JSON lists all numbers; a table stays short."""
        pbx = make_pbx(extensions=2000)
        rows = "".join(f"{number},a,b,\n" for number in pbx.extension_numbers)
        path = write(tmp_path, f"{HEAD}\n{rows}")
        done = run(cli, path, "--dry-run", PORTSIP_URL=pbx.url, PORTSIP_PASSWORD=pbx.password)
        assert outcome(done)["taken"] == pbx.extension_numbers
        assert "and 1,980 more" in done.err
        assert len(done.err) < 1000
        done = run(cli, path, "--dry-run", "-o", "table", PORTSIP_URL=pbx.url)
        assert "and 1,995 more" in done.out
        assert max(map(len, done.lines)) < 120
