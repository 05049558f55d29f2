"""Standard streams that are closed, full, without a reader, in another encoding, or a terminal."""

import json
import sys
import unicodedata
from pathlib import Path
from typing import ClassVar

import pytest

from portsip_async.cli.app import app
from portsip_async.simulator import PBXSimulator

from .processes import Ended, each, shell
from .terminal import CommandLine, Gone, Stream

PEOPLE = "extension_number,password,web_access_password\n{number},Pw-1-aaaaa,Web-1-aaaaa\n"


CLOSED = {
    "--help": 0,
    "--version": 0,
    "openapi": 0,
    "check": 0,
    "extensions list": 0,
    "extensions show 101 -o table": 0,
    "extensions export": 0,
    "extensions export -o jsonl": 0,
    "extensions watch --limit 3 -o csv": 0,
    "extensions status 101 99999": 4,
    "extensions status -": 2,
    "extensions list --password-stdin": 2,
    "extensions update 101 --settings -": 2,
    "extensions update 101 --set profile.first_name=Zed": 0,
    "extensions remove 102": 2,
    "extensions remove 102 99999 -y": 4,
    "extensions nope": 2,
    "groups list -o json": 0,
    "groups show 1": 4,
}
CLOSED_EACH = (
    "--help",
    "extensions list",
    "extensions status 101 99999",
    "extensions update 101 --set profile.first_name=Zed",
    "extensions nope",
)


class TestClosed:
    """A closed stream changes no exit code, and its descriptor is not reused for output."""

    def test_all_three(self, pbx: PBXSimulator) -> None:
        done = each(CLOSED, "<&- >&- 2>&-", pbx)
        assert done == Ended(CLOSED, b"", b"")

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
    def test_one(self, closed: str, pbx: PBXSimulator) -> None:
        codes = {words: CLOSED[words] for words in CLOSED_EACH}
        done = each(codes, closed, pbx)
        assert done.codes == codes
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr
        assert bool(done.stdout) == (closed != ">&-")
        assert bool(done.stderr) == (closed != "2>&-")

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_new_process(self, closed: str, pbx: PBXSimulator) -> None:
        """The streams are closed while modules are loaded, too."""
        done = shell(f"run extensions list {closed}", pbx)
        assert (done.returncode, done.stderr) == (0, b"")
        assert bool(done.stdout) == (" >&-" not in f" {closed}")

    def test_descriptors_stay_taken(self) -> None:
        """No file or socket of a command gets the number of a closed stream."""
        program = (
            "import os, sys\n"
            "sys.argv = ['portsip-async', '--version']\n"
            "from portsip_async.cli import main\n"
            "try: main()\n"
            "finally: os._exit(os.open(os.devnull, os.O_RDONLY))"
        )
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            assert shell(f'"$PYTHON" -c "{program}" {closed}').returncode == 3

    def test_watch_and_demo(self, pbx: PBXSimulator) -> None:
        """A watch without a limit ends too, because nobody can read it."""
        codes = {"extensions watch": 0, "demo --extensions 40 --token-lifetime 0.5": 0}
        assert each(codes, "<&- >&- 2>&-", pbx).codes == codes

    def test_no_prompt(self, pbx: PBXSimulator) -> None:
        done = shell("run extensions list <&-", pbx, changes={"PORTSIP_PASSWORD": None})
        assert done.returncode == 2
        assert b"Hint: set PORTSIP_PASSWORD" in done.stderr

    def test_file_does_not_get_printed_text(self, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A file opened next does not get the descriptor of standard output."""
        whole, other = tmp_path / "whole.csv", tmp_path / "other.csv"
        assert shell(f"run extensions export {whole}", pbx).returncode == 0
        done = shell(f"run extensions export {other} <&- >&- 2>&-", pbx)
        assert done.returncode == 0
        assert other.read_bytes() == whole.read_bytes()

    def test_exit_code_of_an_import(self, pbx: PBXSimulator, tmp_path: Path) -> None:
        file = tmp_path / "people.csv"
        for number, code in (("900", 0), ("100", 1)):
            file.write_text(PEOPLE.format(number=number))
            assert shell(f"run extensions import {file} >&- 2>&-", pbx).returncode == code

    def test_in_process(self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Streams that are None, as Python starts without them, are handled."""
        for name, value in cli.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("stdin", "stdout", "stderr"):
            monkeypatch.setattr(sys, name, None)
        with pytest.raises(SystemExit) as ended:
            app(["extensions", "list"], prog_name="portsip-async")
        assert ended.value.code == 0
        assert sys.stdout is None


class TestReaderLeft:
    """The exit code stays the same, and nothing is written about the pipe."""

    CODES: ClassVar = {
        "--help": 0,
        "extensions list --help": 0,
        "--version": 0,
        "extensions list": 0,
        "extensions list -o json": 0,
        "extensions status 99999 101": 4,
        "extensions show 99999": 4,
        "extensions nope": 2,
        "extensions import people.csv": 1,
        "extensions import people.csv --dry-run": 1,
        "extensions apply people.csv --yes": 0,
        "check": 1,
        "extensions export": 0,
        "openapi": 0,
    }

    @pytest.fixture(autouse=True)
    def failing(self, pbx: PBXSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let an import and a check fail."""
        monkeypatch.chdir(tmp_path)
        Path("people.csv").write_text(PEOPLE.format(number=100))
        pbx.fail("groups.list", status=403, err_code=403.1, times=None)

    @pytest.mark.parametrize("both", ["", "2>&1 "])
    def test_exit_codes(self, both: str, pbx: PBXSimulator) -> None:
        done = each(self.CODES, f"{both}| true", pbx)
        assert done.codes == self.CODES
        assert b"Traceback" not in done.stderr
        assert b"Exception" not in done.stderr
        assert b"roken pipe" not in done.stderr

    @pytest.mark.parametrize(
        ("words", "code"),
        [("extensions import people.csv", 1), ("extensions list", 0), ("--help", 0)],
    )
    def test_new_process(self, words: str, code: int, pbx: PBXSimulator) -> None:
        done = shell(f"run {words} | true", pbx)
        assert done.returncode == code  # of the first command that failed, by pipefail
        assert b"xception" not in done.stderr
        assert b"roken pipe" not in done.stderr

    @pytest.mark.parametrize("error", ["", "2>&1"])
    def test_demo(self, error: str) -> None:
        done = shell(f"run demo {error} | head -2; echo ${{PIPESTATUS[0]}} >&2")
        assert done.stderr == b"0\n"
        assert len(done.stdout.splitlines()) == 2

    def test_list_stops(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        """A list without a reader reads no further pages."""
        done = cli("extensions", "list", "--page-size", 1, out=Gone(1))
        assert (done.code, done.err) == (0, "")
        assert pbx.served["extensions.list"] < 6

    @pytest.mark.parametrize("form", ["jsonl", "csv", "table", "json"])
    def test_exit_code_covers_all_numbers(self, form: str, cli: CommandLine) -> None:
        done = cli("extensions", "status", "101", "102", "99999", "-o", form, out=Gone(0))
        assert done.code == 4
        assert "99999" in done.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
class TestFull:
    WORDS = (
        "--help",
        "extensions list --help",
        "--version",
        "extensions list",
        "extensions list -o table",
        "extensions show 101 -o json",
        "extensions export",
        "openapi",
        "check",
        "extensions watch",
        "demo --extensions 40",
    )
    LINE = b"portsip-async: No space left on device\n"

    def test_output(self, pbx: PBXSimulator) -> None:
        done = each(self.WORDS, "> /dev/full", pbx)
        assert done.codes == dict.fromkeys(self.WORDS, 1)
        assert done.stderr == self.LINE * len(self.WORDS)

    @pytest.mark.parametrize("words", ["--help", "extensions list"])
    def test_new_process(self, words: str, pbx: PBXSimulator) -> None:
        done = shell(f"run {words} > /dev/full", pbx)
        assert (done.returncode, done.stderr) == (1, self.LINE)

    def test_own_failure_comes_first(self, pbx: PBXSimulator) -> None:
        done = shell("run extensions status 101 99999 > /dev/full", pbx)
        assert done.returncode == 4
        assert b"99999" in done.stderr
        assert done.stderr.endswith(b"portsip-async: No space left on device\n")

    def test_outcome_of_an_import(self, pbx: PBXSimulator, tmp_path: Path) -> None:
        file = tmp_path / "people.csv"
        file.write_text(PEOPLE.format(number=100))
        done = shell(f"run extensions import {file} > /dev/full", pbx)
        assert done.returncode == 1
        assert b"people.failed.csv" in done.stderr

    def test_errors(self, pbx: PBXSimulator) -> None:
        codes = {"extensions list": 0, "extensions show 99999": 4, "nope": 2}
        assert each(codes, "2> /dev/full", pbx).codes == codes


ENCODINGS = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
NAME = "田中 Zoë Ωß"


@pytest.mark.parametrize("locale", ENCODINGS, ids=str)
class TestEncoding:
    """Text in a pipe is UTF-8, in any locale."""

    def test_input_output_and_errors(
        self, locale: dict[str, str | None], pbx: PBXSimulator
    ) -> None:
        pbx.fail("groups.show", status=403, err_code=403.1, msg=NAME)
        settings = json.dumps({"profile": {"first_name": NAME}}, ensure_ascii=False)
        forms = ("json", "jsonl", "csv", "table")
        shows = [f"extensions show 101 -c profile.first_name -o {form}" for form in forms]
        words = ["extensions update 101 --settings -", *shows, "extensions export"]
        refused = f"groups show {pbx.group_ids[0]}"
        done = each([*words, refused], pbx=pbx, stdin=settings.encode(), changes=locale)
        assert done.codes == {**dict.fromkeys(words, 0), refused: 1}
        assert pbx.extension("101")["profile"]["first_name"] == NAME
        assert done.stdout.decode().count(NAME) == 5
        assert done.stderr.decode().count(NAME) == 1

    def test_numbers(self, locale: dict[str, str | None], pbx: PBXSimulator) -> None:
        words = "run extensions status -"
        done = shell(words, pbx, stdin="٩٩٩\n101\n".encode(), changes=locale)
        assert done.returncode == 4
        assert "٩٩٩" in done.stderr.decode()


class TestStandardInput:
    """The first lines are secrets, and the rest is data."""

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_numbers_after_the_password(
        self, end: str, mark: str, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        text = mark + end.join([pbx.password, "101", "", "102"])
        done = cli("extensions", "status", "-", "--password-stdin", stdin=text)
        assert done.code == 0, done.err
        assert [json.loads(line)["extension_number"] for line in done.lines] == ["101", "102"]

    def test_every_command_that_reads_numbers(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        text = f"{pbx.password}\n101\n102\n"
        words = ("-", "--password-stdin")
        done = cli("extensions", "watch", *words, "--limit", 2, stdin=text)
        assert (done.code, len(done.lines)) == (0, 2)
        assert cli("extensions", "remove", *words, "-y", stdin=text).code == 0
        assert not {"101", "102"} & {*pbx.extension_numbers}

    def test_settings_after_the_password(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        text = f'\ufeff{pbx.password}\n{{"profile":\n {{"first_name": "Zed"}}}}'
        words = ("--settings", "-", "--password-stdin")
        assert cli("extensions", "update", "101", *words, stdin=text).code == 0
        assert pbx.extension("101")["profile"]["first_name"] == "Zed"

    def test_every_secret_before_the_settings(self, cli: CommandLine, pbx: PBXSimulator) -> None:
        text = f'{pbx.password}\nPw-9-aaaaa\nWeb-9-aaaaa\n{{"profile": {{"first_name": "Zed"}}}}'
        words = ("--settings", "-", "--password-stdin", "--new-passwords-stdin")
        done = cli("extensions", "create", "900", *words, stdin=text)
        assert (done.code, done.err) == (0, "")
        made = pbx.extension("900")
        assert (made["password"], made["web_access_password"]) == ("Pw-9-aaaaa", "Web-9-aaaaa")
        assert made["profile"]["first_name"] == "Zed"

    def test_password_of_the_extension_after_ours(
        self, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        words = ("--domain", "d.example", "--auth-stdin", "--password-stdin")
        done = cli("extensions", "call", "101", "55", *words, stdin=f"{pbx.password}\nsecret\n")
        assert (done.code, done.err) == (0, "")

    def test_rest_is_left_for_others(self, pbx: PBXSimulator, tmp_path: Path) -> None:
        """A file named /dev/stdin holds what follows the password."""
        text = f"{pbx.password}\n" + PEOPLE.format(number=900)
        report = f"--report {tmp_path}/left.csv"
        words = f"run extensions import /dev/stdin --format csv --password-stdin {report}"
        done = shell(words, pbx, stdin=text.encode())
        assert (done.returncode, done.stderr) == (0, b"")
        assert "900" in pbx.extension_numbers

    @pytest.mark.parametrize(
        ("words", "text", "message"),
        [
            (("status", "-", "--password-stdin"), "", "no line with a password"),
            (("status", "-", "--password-stdin"), "\n101\n", "no line with a password"),
            (("status", "-", "--password-stdin"), "PW\n", "standard input is empty"),
            (("create", "9", "--new-passwords-stdin"), "one\n", "a web access password"),
            (("update", "101", "--settings", "-", "--password-stdin"), "PW\n", "not JSON"),
        ],
    )
    def test_missing_line(
        self, words: tuple[str, ...], text: str, message: str, cli: CommandLine, pbx: PBXSimulator
    ) -> None:
        done = cli("extensions", *words, stdin=text.replace("PW", pbx.password))
        assert done.code == 2
        assert message in done.err
        assert not pbx.served

    @pytest.mark.parametrize(
        "words", ["status -", "list --password-stdin", "update 101 --settings -"]
    )
    def test_other_encoding(self, words: str, pbx: PBXSimulator) -> None:
        done = shell(f"run extensions {words}", pbx, stdin="pässword\n".encode("latin-1"))
        assert done.returncode == 2
        assert b"UTF-8 text" in done.stderr
        assert b"word" not in done.stderr

    def test_settings_file_with_a_mark(
        self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path
    ) -> None:
        file = tmp_path / "settings.json"
        file.write_text('\ufeff{"profile": {"first_name": "Zed"}}', encoding="utf-8")
        assert cli("extensions", "update", "101", "--settings", file).code == 0
        file.write_bytes(b'{"profile": {"first_name": "Zo\xeb"}}')
        done = cli("extensions", "update", "101", "--settings", file)
        assert done.code
        assert "UTF-8" in done.err


# Characters that a terminal acts on, or that make text look like other text.
EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\x9d0;owned\x9c\r\b\x7f\t\x0b\u202eab\u2066cd\u2069\u200f"
    "\u061c\u200b\ufeff\u2028\u2029\u0085\x00"
)
# Persian needs a non-joiner, a family of emoji joiners; spaces may be wide.
FINE = (
    "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627 "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u7530\u3000\u4e2d"
)
OWN = {"\n"}


def control_characters(text: str) -> set[str]:
    """Return the characters of a text that a terminal may act on."""
    found = {
        mark
        for mark in text
        if unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp") and mark not in OWN
    }
    return found - {"\u200c", "\u200d"}


@pytest.fixture
def evil(cli: CommandLine, pbx: PBXSimulator) -> CommandLine:
    """A PBX with control characters in the name of extension 101."""
    settings = json.dumps({"profile": {"first_name": EVIL, "last_name": FINE}})
    assert cli("extensions", "update", "101", "--settings", "-", stdin=settings).code == 0
    assert pbx.extension("101")["profile"]["first_name"] == EVIL
    pbx.set_status("101", "ON_CALL" + EVIL, user_agent=EVIL)
    return cli


READS = [
    ("extensions", "list"),
    ("extensions", "search", "101"),
    ("extensions", "show", "101"),
    ("extensions", "status", "101"),
]


class TestTerminal:
    @pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
    @pytest.mark.parametrize("words", READS, ids=" ".join)
    def test_control_characters_are_escaped(
        self, words: tuple[str, ...], form: str, evil: CommandLine
    ) -> None:
        done = evil(*words, "-o", form, terminal=True, NO_COLOR="1", COLUMNS="500", TERM="dumb")
        assert done.code == 0
        assert control_characters(done.out + done.err) == set()
        assert "owned" in done.out
        if "status" not in words and form != "jsonl":
            assert FINE in done.out

    @pytest.mark.parametrize("words", READS[:3], ids=" ".join)
    def test_json_on_a_terminal_means_the_same(
        self, words: tuple[str, ...], evil: CommandLine
    ) -> None:
        for form in ("json", "jsonl"):
            shown = evil(*words, "-o", form, terminal=True, TERM="dumb").out
            piped = evil(*words, "-o", form).out
            if form == "json":
                assert json.loads(shown) == json.loads(piped)
            else:
                # Split at "\n" only: JSON may hold other line separators.
                pairs = zip(shown.split("\n")[:-1], piped.split("\n")[:-1], strict=True)
                assert all(json.loads(one) == json.loads(other) for one, other in pairs)

    def test_pipe_gets_it_exactly(self, evil: CommandLine) -> None:
        shown = json.loads(evil("extensions", "show", "101", "-o", "json").out)
        assert shown["profile"]["first_name"] == EVIL
        out = evil("extensions", "show", "101", "-o", "csv", "-c", "profile.first_name").out
        assert out == f'profile.first_name\n"{EVIL}"\n'
        assert "\u202e" in evil("extensions", "show", "101", "-o", "jsonl").out

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_export(self, form: str, evil: CommandLine) -> None:
        done = evil("extensions", "export", "-o", form, terminal=True)
        assert done.code == 0
        assert control_characters(done.out + done.err) == set()
        assert "owned" in done.out

    def test_watch(self, evil: CommandLine) -> None:
        for form in ("jsonl", "csv"):
            done = evil("extensions", "watch", "--limit", 12, "-o", form, terminal=True)
            assert control_characters(done.out + done.err) == set()
        done = evil("extensions", "watch", "--limit", 12, terminal=True)
        assert done.code == 0
        for mark in ("\x1b]", "\x9b", "\u202e", "\x07"):
            assert mark not in done.out

    @pytest.mark.parametrize(
        "words",
        [
            ("extensions", EVIL),
            ("extensions", "list", f"--{EVIL}"),
            ("extensions", "list", "-c", EVIL),
            ("extensions", "list", "--limit", EVIL),
            ("extensions", "list", "-o", EVIL),
            ("extensions", "list", "--url", f"https://{EVIL}"),
            ("extensions", "list", "--endpoint", EVIL),
            ("extensions", "show", EVIL),
            ("extensions", "update", "101", "-s", EVIL),
            ("extensions", "update", "101", "--settings", EVIL),
            ("extensions", "import", EVIL),
            ("extensions", "remove", EVIL, "101", "-y"),
            ("extensions", "status", EVIL),
            ("extensions", "export", f"/no/such/{EVIL.replace('/', '')}.csv"),
            ("groups", "show", EVIL),
            ("greetings", "upload", "101", EVIL),
            ("simulate", "--quirk", EVIL),
            ("simulate", "--host", EVIL),
        ],
        ids=lambda words: " ".join(word if word.isprintable() else "EVIL" for word in words),
    )
    def test_messages(self, words: tuple[str, ...], cli: CommandLine) -> None:
        done = cli(*(word.replace("\x00", "") for word in words), terminal=True, TERM="dumb")
        assert done.code
        assert control_characters(done.out + done.err) == set()

    def test_files(self, cli: CommandLine, pbx: PBXSimulator, tmp_path: Path) -> None:
        """File names are safe in progress bars, notes, reports and hints; markup is plain text."""
        name = EVIL.translate({0: None}) + "[red]x[bold]"
        sound = tmp_path / f"{name}.wav"
        sound.write_bytes(b"RIFF" * 10)
        words = ("greetings", "upload", "101", sound, "--filename", "a.wav")
        done = cli(*words, terminal=True)
        assert done.code == 0
        assert "[red]x[bold]" in done.err
        for mark in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\x07", "\u2066", "\x08"):
            assert mark not in done.out + done.err
        people = tmp_path / f"{name}.csv"
        people.write_text(PEOPLE.format(number=100))
        done = cli("extensions", "import", people, terminal=True, TERM="dumb", NO_COLOR="1")
        assert done.code == 1
        assert control_characters(done.out + done.err) == set()

    def test_questions(
        self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch, pbx: PBXSimulator
    ) -> None:
        import typer

        asked: list[str] = []

        def ask(question: str, **_: object) -> str:
            asked.append(question)
            raise typer.Abort

        monkeypatch.setattr(typer, "confirm", ask)
        monkeypatch.setattr(typer, "prompt", ask)
        cli("greetings", "remove", "101", EVIL, terminal=True)
        cli("groups", "remove", EVIL, terminal=True)
        cli("extensions", "remove", EVIL, terminal=True)
        cli("extensions", "list", "-u", EVIL, terminal=True, PORTSIP_PASSWORD=None)
        cli("extensions", "call", EVIL, "5", "--domain", "d", terminal=True)
        assert len(asked) == 5
        assert not {mark for question in asked for mark in control_characters(question)}

    def test_letters_that_a_terminal_lacks(self, evil: CommandLine) -> None:
        """Letters that the terminal lacks are escaped, and the columns stay aligned."""

        class Old(Stream):
            encoding = "cp1252"

        out = Old(terminal=True)
        done = evil(
            *("extensions", "list", "-o", "table", "-c", "last_name,extension_number"),
            out=out,
            COLUMNS="300",
            NO_COLOR="1",
        )
        done.out.encode("cp1252")
        lines = done.lines
        assert "\\u7530" in done.out
        at = lines[0].index("extension_number")
        assert {line[at - 1 : at + 2] for line in lines[2:]} <= {
            f" {number}"[:3] for number in range(100, 112)
        }


class TestTracebacks:
    def test_are_shown_too(self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A traceback on a terminal has its control characters escaped."""
        stream = Stream(terminal=True)
        monkeypatch.setattr(sys, "stderr", stream)
        from portsip_async.cli.terminal.streams import standard_streams

        with standard_streams():
            sys.stderr.write(EVIL)
        assert control_characters(stream.getvalue()) == set()
