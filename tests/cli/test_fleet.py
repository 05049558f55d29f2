"""``portsip-async fleet``: workers, their board and lines, and what reads or changes a fleet."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from portsip_async.cli.fleet.fleet_board import board_of
from portsip_async.cli.fleet.fleet_view import FleetView
from portsip_async.cli.fleet.worker_lines import WorkerLines
from portsip_async.fleet import FleetStatus, PBXStatus
from portsip_async.simulator import PBXSimulator

from .processes import COMMAND, PATIENCE, environment, on_terminal
from .terminal import CommandLine, Done
from .test_watch import Reacting

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# A fleet whose state, events and work are made up. It writes down what is called.
MADE_UP = """
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from portsip_async import ConnectError, ExtensionStatus, StatusChange
from portsip_async.fleet import *
from portsip_async.v22 import ExtensionState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NO_WAY = "ConnectError: account.verify: no connection was made (ClientConnectorError: Cannot" \\
    " connect to host h:1 ssl:default [Connect call failed ('h', 1)]) (4 attempts)"

def note(text):
    with open("calls", "a") as file:
        print(text, file=file)

class MadeUp(Fleet):
    async def status(self):
        return FleetStatus(
            {
                "umbrella": PBXStatus(AT, None, 0, 50, "w1#7"),
                "acme": PBXStatus(None, NO_WAY, 3, 0, "w2#8"),
                "globex": PBXStatus(AT, None, 0, 25, "w1#7"),
            },
            {"board": GroupStatus(4)},
        )

    async def changes(self, group, *, consumer=None, from_start=False):
        note(f"{group} {consumer} {from_start}")
        try:
            for event in EVENTS:
                yield event
                note(f"acknowledged {event.id}")
            await asyncio.Event().wait()
        finally:
            note("closed")

    async def add(self, *pbxes):
        note(f"add {pbxes}")

    async def remove(self, *pbxes):
        note(f"remove {pbxes}")

    async def work(self, *, concurrency, grace):
        note(f"work {concurrency} {grace}")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(LAST_CYCLE)
            note("finished")

    async def close(self):
        note("close")

async def connect(pbx, **shared):
    raise AssertionError

def classic(status):
    return ExtensionStatus("101", status, "Desk")

def v22(status):
    return ExtensionState("200", status, user_id="u1")

EVENTS = [
    FleetChange("acme", StatusChange("101", classic("ONLINE"), classic("ON_CALL"), AT), "1-0"),
    FleetChange("globex", StatusChange("200", None, v22("RINGING"), AT), "2-0"),
    FleetChange("globex", StatusChange("200", v22("RINGING"), None, AT), "2-1"),
    FleetOutage("acme", AT, NO_WAY, "3-0"),
    FleetOutage("acme", AT, None, "4-0"),
    FleetResync("globex", {"200": v22("ONLINE")}, "5-0"),
]
LAST_CYCLE = 0.0
fleet = MadeUp("memory://", connect=connect)
"""
REAL = """
import os
from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet

async def connect(pbx, **shared):
    return PortSIPClient(os.environ["PORTSIP_URL"], username=os.environ["PORTSIP_USERNAME"],
                         password=os.environ["PORTSIP_PASSWORD"], **shared)

fleet = Fleet("memory://", connect=connect, pbxes=["acme", "globex"], interval=0.2)
"""


@pytest.fixture
def noc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Return a function that writes the module noc.py into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}

    def write(source: str, name: str = "noc.py") -> Path:
        (tmp_path / name).write_text(source, encoding="utf-8")
        return tmp_path

    yield write
    for name in {"noc", "lib", "lib.noc"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def made_up(noc: Callable[..., Path]) -> Path:
    return noc(MADE_UP)


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


class TestLoading:
    @pytest.mark.parametrize(
        ("source", "target", "text"),
        [
            ("", "noc", "must be a module and its fleet, such as noc:fleet, got 'noc'"),
            ("", ":fleet", "such as noc:fleet, got ':fleet'"),
            ("", "noc:", "such as noc:fleet, got 'noc:'"),
            ("", "./noc.py:fleet", "such as noc:fleet, got './noc.py:fleet'"),
            ("", "nok:fleet", "there is no module nok"),
            ("", "noc.py:fleet", "there is no module noc.py"),
            ("", "noc:fleet", "noc has no fleet."),
            ("", "noc:__name__", "noc:__name__ must be a Fleet, got str"),
            (MADE_UP, "noc:MadeUp", "noc:MadeUp must be a Fleet, got the class MadeUp"),
            (MADE_UP, "noc:connect", "noc:connect must be a Fleet, got function"),
            (MADE_UP, "noc:flet", "noc has no flet. Did you mean 'fleet'?"),
            (MADE_UP, "noc:app", "noc has no app. Use noc:fleet."),
            ("x = 1\n{}['PW']", "noc:fleet", "noc can't be imported: KeyError: 'PW' ("),
            ("import no_such_module", "noc:fleet", "No module named 'no_such_module'"),
            ("import sys\nsys.exit(3)", "noc:fleet", "noc can't be imported: SystemExit: 3"),
            (
                "a b",
                "noc:fleet",
                "noc can't be imported: SyntaxError: invalid syntax (noc.py, line 1)",
            ),
            (
                MADE_UP.replace("memory://", "redis://:hunter2@redis.example.com/0"),
                "noc:fleet",
                "noc can't be imported: url must be rediss://",
            ),
        ],
        ids=[
            "no colon",
            "no module",
            "no name",
            "path",
            "unknown module",
            "file name",
            "unknown name",
            "another object",
            "class",
            "function",
            "misspelt",
            "other name",
            "error",
            "its import",
            "exit",
            "syntax",
            "configuration",
        ],
    )
    @pytest.mark.parametrize("command", ["work", "status"])
    def test_what_is_wrong(
        self,
        source: str,
        target: str,
        text: str,
        command: str,
        cli: CommandLine,
        noc: Callable[..., Path],
    ) -> None:
        noc(source)
        done = cli("fleet", command, target)
        assert (done.code, done.out) == (2, "")
        assert text in done.err
        assert len(done.err.splitlines()) <= 2
        assert "hunter2" not in done.err

    def test_error_names_the_line(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        folder = noc("def read():\n    return {}['PW']\n\nread()\n")
        assert f"({folder / 'noc.py'}, line 4)" in cli("fleet", "status", "noc:fleet").err

    def test_package_and_attribute(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        folder = noc("")
        (folder / "lib").mkdir()
        source = f"{MADE_UP}\nclass app:\n    fleet = fleet\n"
        (folder / "lib" / "noc.py").write_text(source, encoding="utf-8")
        assert cli("fleet", "status", "lib.noc:app.fleet").code == 0

    def test_extra_missing(
        self, cli: CommandLine, made_up: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The help says what to install, and a command too; it does not load the module."""
        for name in [each for each in sys.modules if each.startswith("portsip_async.fleet")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "docket", None)
        for words in (("fleet", "--help"), ("fleet", "work", "--help")):
            shown = cli(*words, COLUMNS="120")
            assert (shown.code, "pip install 'portsip_async[fleet]'" in shown.out) == (0, True)
        done = cli("fleet", "work", "noc:fleet")
        assert (done.code, done.out) == (2, "")
        assert done.err.endswith("Hint: pip install 'portsip_async[fleet]'\n")
        assert "noc" not in sys.modules
        assert made_up


class TestStatus:
    def shown(self, cli: CommandLine, *words: str) -> Done:
        done = cli("fleet", "status", "noc:fleet", *words)
        assert (done.code, done.err) == (0, "")
        return done

    def test_pipe_gets_the_pbxes(self, cli: CommandLine, made_up: Path) -> None:
        rows = [json.loads(line) for line in self.shown(cli).lines]
        assert [row["pbx"] for row in rows] == ["acme", "globex", "umbrella"]
        assert rows[1] == {
            "pbx": "globex",
            "last_success": "2026-01-02T03:04:05.000+00:00",
            "consecutive_failures": 0,
            "extensions": 25,
            "worker": "w1#7",
            "last_error": None,
        }
        assert rows[0]["last_error"].startswith("ConnectError: account.verify")
        assert calls(made_up) == ["close"]

    @pytest.mark.usefixtures("made_up")
    def test_other_formats(self, cli: CommandLine) -> None:
        assert len(json.loads(self.shown(cli, "-o", "json").out)) == 3
        columns = self.shown(cli, "-o", "csv", "-c", "pbx,consecutive_failures").lines
        assert columns == ["pbx,consecutive_failures", "acme,3", "globex,0", "umbrella,0"]

    @pytest.mark.usefixtures("made_up")
    def test_groups(self, cli: CommandLine) -> None:
        assert self.shown(cli, "--groups").lines == ['{"group": "board", "lag": 4}']
        done = cli("fleet", "status", "noc:fleet", "--groups", "-c", "pbx")
        assert (done.code, "no such column: pbx" in done.err) == (2, True)

    @pytest.mark.usefixtures("made_up")
    def test_table_is_for_people(self, cli: CommandLine) -> None:
        """Ages and plain words; those that fail are last, where a terminal shows them."""
        lines = self.shown(cli, "-o", "table").lines
        assert [line.split()[0] for line in lines[2:5]] == ["globex", "umbrella", "acme"]
        assert " ago " in lines[2]
        assert " never " in lines[4]
        assert "no connection was made (h:1 refused it) (4 attempts)" in lines[4]
        assert [line.split() for line in lines[6:]][::2] == [["group", "lag"], ["board", "4"]]
        done = cli("fleet", "status", "noc:fleet", terminal=True)
        assert done.err == "2 of 3 PBXes answer.\n"

    def test_redis_is_away(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        away = 'async def status(self):\n        raise ConnectError("Redis can\'t be reached")'
        noc(MADE_UP.replace("async def status(self):", away))
        done = cli("fleet", "status", "noc:fleet")
        assert (done.code, done.out) == (5, "")
        assert "check the URL of the fleet, and that its Redis runs" in done.err


class TestChanges:
    WORDS = ("fleet", "changes", "noc:fleet", "--group", "board")

    def written(self, cli: CommandLine, *words: str, lines: int = 6) -> Done:
        """Run the command until so many lines came."""
        out = Reacting({lines: lambda: os.kill(os.getpid(), signal.SIGINT)})
        done = cli(*self.WORDS, *words, out=out)
        assert (done.code, done.err) == (130, "")
        return done

    def test_pipe_gets_json(self, cli: CommandLine, made_up: Path) -> None:
        rows = [json.loads(line) for line in self.written(cli).lines]
        at = "2026-01-02T03:04:05.000+00:00"
        assert rows[0] == {
            "event": "change",
            "pbx": "acme",
            "id": "1-0",
            "extension_number": "101",
            "before": {"extension_number": "101", "status": "ONLINE", "user_agent": "Desk"},
            "after": {"extension_number": "101", "status": "ON_CALL", "user_agent": "Desk"},
            "at": at,
        }
        assert rows[2]["after"] is None
        assert rows[3]["event"] == "outage"
        assert rows[3]["error"].startswith("ConnectError")
        assert rows[4] == {"event": "back", "pbx": "acme", "id": "4-0", "since": at, "error": None}
        assert rows[5]["event"] == "resync"
        assert rows[5]["snapshot"]["200"]["status"] == "ONLINE"
        assert calls(made_up)[-2:] == ["closed", "close"]

    def test_csv(self, cli: CommandLine, made_up: Path) -> None:
        words = ("-o", "csv", "--consumer", "c1", "--from-start")
        done = self.written(cli, *words, "-c", "event,pbx,after,since", lines=7)
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert [row["event"] for row in rows] == ["change"] * 3 + ["outage", "back", "resync"]
        assert rows[1]["after.user_id"] == "u1"
        assert rows[3]["since"] == "2026-01-02T03:04:05.000+00:00"
        assert calls(made_up)[0] == "board c1 True"

    @pytest.mark.usefixtures("made_up")
    def test_lines_are_for_people(self, cli: CommandLine) -> None:
        lines = self.written(cli, "-o", "table").lines
        # Without the times, which are local.
        assert [line[10:] for line in lines[:4]] == [
            "acme 101  ONLINE -> ON_CALL",
            "globex 200  new -> RINGING",
            "globex 200  RINGING -> gone",
            "acme  no answer: ConnectError: account.verify: no connection was made (h:1 refused"
            " it) (4 attempts)",
        ]
        assert "acme  answers again, after " in lines[4]
        assert lines[5].endswith("globex  changes were lost; 1 statuses replace them")

    def test_event_is_written_before_it_is_acknowledged(
        self, cli: CommandLine, made_up: Path
    ) -> None:
        """What can't be written is delivered again."""
        seen: list[list[str]] = []
        out = Reacting({2: lambda: seen.append(calls(made_up))})

        def fail() -> None:
            raise OSError(28, "No space left on device")

        out._reactions[3] = fail
        done = cli(*self.WORDS, out=out)
        assert done.code == 1
        assert "acknowledged 2-0" not in seen[0]
        assert "acknowledged 2-0" in calls(made_up)
        assert "acknowledged 2-1" not in calls(made_up)

    def test_ends_when_its_reader_leaves(self, made_up: Path) -> None:
        """Even if there is nothing to write."""
        with subprocess.Popen(
            [*COMMAND, *self.WORDS], env=environment(), stdout=subprocess.PIPE
        ) as running:
            assert running.stdout is not None
            for _ in range(6):
                assert running.stdout.readline()
            running.stdout.close()
            try:
                assert running.wait(PATIENCE) == 0
            finally:
                running.kill()
        assert calls(made_up)[-2:] == ["closed", "close"]

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("-o", "json"), "--output must be jsonl or csv"),
            (("-o", "table", "-c", "pbx"), "--columns needs --output jsonl or csv"),
            (("-c", "afer.status"), "did you mean after.status"),
            (("--group", ""), "group must not be empty"),
        ],
        ids=["json", "columns of lines", "column", "group"],
    )
    @pytest.mark.usefixtures("noc")
    def test_wrong_usage(
        self, words: tuple[str, ...], text: str, cli: CommandLine, noc: Callable[..., Path]
    ) -> None:
        noc(REAL)
        done = cli(*self.WORDS, *words)
        assert (done.code, done.out) == (2, "")
        assert text in done.err

    def test_group_is_required(self, cli: CommandLine) -> None:
        assert "--group is missing" in cli("fleet", "changes", "noc:fleet").err

    def test_fleet_in_memory(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        """The first statuses of all extensions arrive from a worker in the same process."""
        noc(REAL)
        done = self.written(cli, "--from-start", lines=24)
        rows = [json.loads(line) for line in done.lines]
        assert {row["pbx"] for row in rows[:24]} == {"acme", "globex"}
        assert len({(row["pbx"], row["extension_number"]) for row in rows[:24]}) == 24


class TestMembers:
    @pytest.mark.parametrize("command", ["add", "remove"])
    def test_names(self, command: str, cli: CommandLine, made_up: Path) -> None:
        done = cli("fleet", command, "noc:fleet", "acme", "globex", terminal=True)
        assert (done.code, done.out) == (0, "")
        assert done.err in ("Added acme, globex.\n", "Removed acme, globex.\n")
        assert cli("fleet", command, "noc:fleet", "-", stdin="umbrella\n\n").code == 0
        pairs = [f"{command} ('acme', 'globex')", f"{command} ('umbrella',)"]
        assert calls(made_up) == [pairs[0], "close", pairs[1], "close"]

    def test_wrong_name(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        noc(REAL)
        done = cli("fleet", "add", "noc:fleet", "")
        assert (done.code, "pbxes" in done.err) == (2, True)


class TestWork:
    WORDS = ("fleet", "work", "noc:fleet")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_signal_lets_the_cycles_finish(
        self, number: signal.Signals, noc: Callable[..., Path]
    ) -> None:
        folder = noc(MADE_UP.replace("LAST_CYCLE = 0.0", "LAST_CYCLE = 0.5"))
        words = (*self.WORDS, "--concurrency", "7", "--grace", "3")
        with subprocess.Popen(
            [*COMMAND, *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            assert running.stdout is not None
            first = [running.stdout.readline() for _ in range(2)]
            running.send_signal(number)
            out, err = running.communicate(timeout=PATIENCE)
        assert (running.returncode, err) == (0, b"")
        assert calls(folder) == ["work 7 3.0", "finished", "close"]
        assert first[0] == b"Read 3 of 3 PBXes, with 75 extensions.\n"
        assert first[1].startswith(b"acme: no answer: ConnectError: account.verify: ")
        assert out.splitlines() == [
            b"Finishing the last cycles in 3 s at most; a second signal ends it now.",
            b"Ended.",
        ]

    @pytest.mark.parametrize(
        ("form", "number"),
        [("board", signal.SIGINT), ("board", signal.SIGHUP), ("lines", signal.SIGTERM)],
        ids=["board by SIGINT", "board by SIGHUP", "lines by SIGTERM"],
    )
    def test_second_signal_ends_at_once(
        self, form: str, number: signal.Signals, noc: Callable[..., Path]
    ) -> None:
        """The terminal is as it was before."""
        folder = noc(MADE_UP.replace("LAST_CYCLE = 0.0", "LAST_CYCLE = 600"))
        changes = {"TERM": "dumb" if form == "lines" else "xterm"}
        with on_terminal(*self.WORDS, changes=changes) as running:
            before = running.settings()
            running.wait_for(lambda shown: "globex" in shown or "Read 3" in shown, "the start")
            running.process.send_signal(number)
            running.wait_for(lambda shown: "inishing" in shown, "the end of the work")
            running.process.send_signal(number)
            assert running.end() == 128 + number
            assert running.settings() == before
        assert running.shown.rfind("\x1b[?1049l") >= running.shown.rfind("\x1b[?1049h")
        assert running.shown.rfind("\x1b[?25h") >= running.shown.rfind("\x1b[?25l")
        assert "finished" not in calls(folder)

    def test_ignored_signal_stays_ignored(self, made_up: Path) -> None:
        """Under nohup, a worker survives SIGHUP; a background job ignores Ctrl-C."""
        words = 'trap "" HUP INT; exec "$@" fleet work noc:fleet'
        command = ["bash", "-c", words, "bash", sys.executable, "-m", "portsip_async"]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stdout.readline()
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                running.send_signal(number)
            running.communicate(timeout=PATIENCE)
        assert running.returncode == 0
        assert calls(made_up)[-2:] == ["finished", "close"]

    def test_worker_goes_on_without_a_reader(self, noc: Callable[..., Path]) -> None:
        """Its lines are only a log."""
        folder = noc(MADE_UP.replace("status(self):", "status(self):\n        note('status')"))
        command = [*COMMAND, *self.WORDS]
        reading, writing = os.pipe()
        os.close(reading)
        with subprocess.Popen(command, env=environment(), stdout=writing) as running:
            os.close(writing)
            until = time.monotonic() + PATIENCE
            while calls(folder).count("status") < 3:  # the first one was shown, or not
                assert time.monotonic() < until
                time.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            assert running.wait(PATIENCE) == 0
        assert [each for each in calls(folder) if each != "status"] == [
            "work 200 30.0",
            "finished",
            "close",
        ]

    def test_worker_that_fails(self, cli: CommandLine, noc: Callable[..., Path]) -> None:
        folder = noc(MADE_UP.replace('note(f"work', "raise ConnectError('Redis is gone')#"))
        done = cli(*self.WORDS)
        assert done.code == 5
        assert "Redis is gone" in done.err
        assert "Ended." not in done.out
        assert calls(folder) == ["close"]

    def test_board_of_a_fleet_in_memory(self, pbx: PBXSimulator, noc: Callable[..., Path]) -> None:
        noc(REAL)
        with on_terminal(*self.WORDS, pbx=pbx) as running:
            running.wait_for(lambda shown: "24 extensions" in shown, "the statuses")
            pbx.fail("extensions.status", status=500, times=None)
            running.wait_for(lambda shown: "2 without an answer" in shown, "the failure")
            pbx.clear()
            shown = len(running.shown)
            running.wait_for(lambda text: "working" in text[shown:], "the end of it")
            running.type("q")
            assert running.end() == 0
        assert "Traceback" not in running.shown


def test_board_ends_when_its_terminal_closes_without_a_signal(made_up: Path) -> None:
    """A worker that ignores SIGHUP does not draw for nobody."""
    ours, theirs = os.openpty()
    with on_terminal("fleet", "work", "noc:fleet", stdout=theirs) as running:
        os.close(theirs)
        while b"globex" not in os.read(ours, 65536):
            pass
        os.close(ours)
        running.end()
        assert "Traceback" not in running.shown
    assert calls(made_up)[-2:] == ["finished", "close"]


def status(**failures: int) -> FleetStatus:
    """Return a state of PBXes with so many failures in a row; -1 for one without a cycle."""
    return FleetStatus(
        {
            name: PBXStatus(
                last_success=NOW if count == 0 else None,
                last_error=f"no way to {name}" if count > 0 else None,
                consecutive_failures=max(0, count),
                extensions=10 * (count == 0),
                worker=None if count < 0 else "w#1",
            )
            for name, count in failures.items()
        },
        {},
    )


class TestLines:
    def told(self, *looks: tuple[float, FleetStatus | str]) -> list[str]:
        """Return the lines for pairs of a time, and a state or a problem."""
        lines, view, found = WorkerLines(), FleetView(grace=3), list[str]()
        for at, now in looks:
            if isinstance(now, str):
                view.problem = now
            else:
                view.update(now)
            found += lines.news(view, at)
        return found

    def test_outage(self) -> None:
        """A line when it begins, one a minute, and one when it ends."""
        long = [(float(at), status(acme=at, globex=0)) for at in range(1, 130)]
        assert self.told(
            (0.0, status(acme=0, globex=0)), *long, (130.0, status(acme=0, globex=0))
        ) == [
            "Read 2 of 2 PBXes, with 20 extensions.",
            "acme: no answer: no way to acme",
            "Still no answer from 1 of 2: acme.",
            "Still no answer from 1 of 2: acme.",
            "acme: answers again, after 129 s",
        ]

    def test_many_at_once_share_a_line(self) -> None:
        names = [f"p{number:02}" for number in range(30)]
        up = status(**dict.fromkeys(names, 0))
        down = status(**dict.fromkeys(names, 1))
        _, gone, back = self.told((0.0, up), (1.0, down), (2.0, up))
        assert gone.startswith("No answer from 30 PBXes: p00, p01, ")
        assert gone.endswith(" and 10 more; the first: no way to p00")
        assert back.startswith("30 PBXes answer again: p00, ")

    def test_start(self) -> None:
        """It shows how far the first cycles are, now and then."""
        begun = [(at / 4, status(a=0, b=-1)) for at in range(60)]
        assert self.told((0.0, status()), *begun, (15.0, status(a=0, b=1))) == [
            "Read 1 of 2 PBXes, with 10 extensions.",
            "Read 1 of 2 PBXes, with 10 extensions.",
            "Read 2 of 2 PBXes, with 10 extensions.",
            "b: no answer: no way to b",
        ]

    def test_members(self) -> None:
        looks = (0.0, status(a=0, b=3)), (1.0, status(a=0, c=0)), (2.0, status(a=0, c=0))
        assert self.told(*looks)[2:] == ["Added c.", "Removed b."]

    def test_redis(self) -> None:
        looks: list[tuple[float, FleetStatus | str]] = [(0.0, status(a=0))]
        looks += [(at, "Redis is away") for at in (1.0, 2.0)]
        assert self.told(*looks, (3.0, status(a=0)))[1:] == [
            "Redis is away.",
            "The fleet's Redis answers again.",
        ]


class TestBoard:
    def drawn(self, view: FleetView, width: int = 100, height: int = 30) -> list[str]:
        screen = Console(width=width, height=height, file=io.StringIO(), legacy_windows=False)
        screen.print(board_of(view, height, NOW + timedelta(seconds=3), "utf-8"))
        assert isinstance(screen.file, io.StringIO)
        return screen.file.getvalue().splitlines()

    def view(self, **failures: int) -> FleetView:
        found = FleetView(grace=3)
        found.update(status(**failures))
        return found

    def test_rows(self) -> None:
        lines = self.drawn(self.view(acme=0, globex=2))
        assert lines[0].split("   ") == ["2 PBXes", "10 extensions", "1 without an answer"]
        assert [line.split() for line in lines[3:]] == [
            ["pbx", "last", "success", "failures", "extensions", "worker", "last", "error"],
            ["globex", "never", "2", "0", "w#1", "no", "way", "to", "globex"],
            ["acme", "3s", "ago", "10", "w#1"],
        ]

    @pytest.mark.parametrize("height", [1, 4, 8, 24, 60])
    @pytest.mark.parametrize("width", [20, 79, 200])
    def test_fits(self, width: int, height: int) -> None:
        """However many there are, those that fail are shown, and the rest is counted."""
        view = self.view(**{f"p{at:02}": 1 if at == 33 else 0 for at in range(40)})
        view.messages.append("a line of the log " * 9)
        lines = self.drawn(view, width, height)
        assert all(len(line) <= width for line in lines)
        assert len(lines) <= max(height, 6)
        if height >= 8:
            assert lines[4].startswith("p33")
            shown = sum(line.startswith("p") for line in lines[4:])
            rest = [line for line in lines if line.startswith("and ")]
            assert rest == ([f"and {40 - shown} more"] if shown < 40 else [])

    def test_what_it_does(self) -> None:
        view = self.view(a=0, b=-1)
        assert "reading: 1 of 2" in self.drawn(view)[1]
        view.problem = "Redis is away"
        assert self.drawn(view)[1] == "Redis is away"
        view.is_ending = True
        assert "a second signal ends it now" in self.drawn(view)[1]
        assert "connecting" in self.drawn(FleetView(grace=1))[1]

    def test_nothing_makes_the_terminal_act(self) -> None:
        view = self.view(**{"a\x1b[2J": 1})
        view.messages.append("b\x1b[2J")
        assert "\x1b" not in "".join(self.drawn(view))
