"""The demo shows that nothing was lost, and fails if something was."""

import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console
from typer.testing import CliRunner

from portsip_async import (
    ENDPOINTS,
    Attempt,
    BulkResult,
    BulkRun,
    ConnectError,
    NotFound,
    Paginator,
    PortSIPError,
    RetryPolicy,
    StatusChange,
    StatusPoll,
    StatusWatch,
    TransportError,
)
from portsip_async.cli.app import app
from portsip_async.cli.demo import demo, demo_v22
from portsip_async.cli.demo.demo import run
from portsip_async.cli.demo.demo_steps import Failed, Traffic, compare, until_done
from portsip_async.simulator import Faults, PBXSimulator
from portsip_async.v22.directory import Directory

# Every other 429 has a Retry-After of one second, so they are rare here.
FAULTS = Faults(
    latency=0.003, rate_limited=0.002, server_error=0.03, html=0.02, dropped=0.03, truncated=0.03
)


async def show(sim: PBXSimulator, *, width: int = 200, **sizes: Any) -> tuple[int, str]:
    """Run the demo; return its exit code and what it printed."""
    out = io.StringIO()
    few = {"created": 4, "watched": 3, "interval": 0.05, "downtime": 0.1, "created_v22": 3}
    code = await run(Console(file=out, width=width, highlight=False), sim, **(few | sizes))
    return code, out.getvalue()


@pytest.fixture
def quiet() -> PBXSimulator:
    """Return a simulator without faults, in which no status changes by itself."""
    return PBXSimulator(extensions=3, token_lifetime=2.0, status_seconds=0)


@pytest.mark.parametrize("seed", [0, 1, 2])
async def test_demo_loses_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the faults, the exit code is 0, and a pipe gets 80 printable columns."""
    monkeypatch.setattr(demo, "_RETRY", RetryPolicy(attempts=8, initial=0.02))
    sim = PBXSimulator(extensions=230, token_lifetime=1.0, faults=FAULTS, seed=seed)
    code, shown = await show(sim, width=80, created=100, watched=90, interval=0.1, downtime=0.2)
    assert code == 0, shown
    assert "Nothing was lost." in shown
    assert "WRONG" not in shown
    assert "230 seen, each once" in shown
    assert "231 seen, each once; 1 unknown" in shown
    assert shown.count("90 of 90 seen") == 3
    assert "all exist" in shown
    assert shown.count("230 left") == 2
    assert "201 seen, each once; no id asked" in shown
    assert "now in Sales, still Demo 330" in shown
    assert "refresh tokens, each sent once" in shown
    assert re.search(r"the change\s+after \d+\.\d\s+ms;\s+no\s+status\s+asked\s+for", shown)
    assert sim.injected.total() > 20
    assert fits(shown, 80)


def fits(shown: str, width: int) -> bool:
    return all(
        line.isprintable() and len(line) <= width and line == line.rstrip()
        for line in shown.splitlines()
    )


async def test_demo_fits_a_narrow_terminal(quiet: PBXSimulator) -> None:
    """A step takes two lines there or more, and the counts of an operation take one."""
    code, shown = await show(quiet, width=40)
    assert code == 0, shown
    assert fits(shown, 40)
    assert re.search(r"^  remove them\n +\d\.\d\d s  3 left; runs: 1,", shown, re.MULTILINE)
    assert re.search(r"^  extensions.create +4 +4  ok$", shown, re.MULTILINE)


def test_demo_ends_when_its_reader_leaves() -> None:
    """Without terminal, standard input and locale, as in `demo | head -1` in a job of cron."""
    with subprocess.Popen(
        [sys.executable, "-m", "portsip_async", "demo", "--extensions", "3"],
        env={"LANG": "C", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"A simulated PBX with 3 extensions")
        process.stdout.close()
        _, err = process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(("acted", "uploads"), [(True, 1), (False, 2)])
async def test_demo_repeats_an_upload_only_if_it_did_not_arrive(
    acted: bool, uploads: int, quiet: PBXSimulator
) -> None:
    """After a lost reply, the demo checks the list of greetings."""
    quiet.fail("greetings.upload", drop=True, act=acted)
    code, shown = await show(quiet)
    assert code == 0, shown
    assert ("no reply, so looked: it is there" in shown) is acted
    assert quiet.served["greetings.upload"] == uploads


async def test_demo_repeats_a_bulk_write_for_failed_items(quiet: PBXSimulator) -> None:
    quiet.fail("extensions.create", status=500)
    code, shown = await show(quiet)
    assert code == 0, shown
    assert "all exist; runs: 2" in shown


@pytest.mark.parametrize(
    ("operation", "failure", "problem"),
    [
        ("extensions.search", {"body": '{"extensions": []}'}, "0 extensions instead of "),
        ("extensions.create", {"body": "{}"}, "exist, not as wanted"),
        ("extensions.update", {"body": "{}"}, "the patch had no effect"),
        ("extensions.remove", {"body": "{}"}, "not the extensions from the start"),
        ("greetings.upload", {"body": "{}"}, "the PBX has another file"),
        ("greetings.upload", {"drop": True, "times": None}, "not done in 10 tries"),
        ("greetings.upload", {"status": 400}, "greetings.upload: HTTP 400"),
    ],
)
async def test_demo_fails_if_a_step_fails(
    operation: str, failure: dict[str, Any], problem: str, quiet: PBXSimulator
) -> None:
    """A wrong result ends the steps. The counts are still shown, and the exit code is 1."""
    quiet.fail(operation, **failure)
    code, shown = await show(quiet)
    assert code == 1
    counts, problems = shown.split("Something was lost:")
    assert "account.verify" in counts
    assert problem in problems


@pytest.mark.parametrize(
    ("operation", "failure", "problem"),
    [
        ("auth.sign_in", {"status": 400, "body": "{}"}, "sign in, walk the users: auth."),
        ("users.list", {"body": '{"count": 0, "items": []}'}, "0 extensions instead of 3"),
        ("users.create", {"status": 400, "times": None}, "not done in 10 runs"),
        ("users.update", {"body": "{}"}, "the patch had no effect"),
        ("users.remove", {"status": 204, "body": ""}, "not the users from the start"),
        ("users.status", {"status": 400}, "no status of 100, "),
    ],
)
async def test_demo_fails_if_a_step_of_v22_fails(
    operation: str, failure: dict[str, Any], problem: str, quiet: PBXSimulator
) -> None:
    quiet.v22.fail(operation, **failure)
    code, shown = await show(quiet)
    assert code == 1
    assert problem in shown.split("Something was lost:")[1]


async def test_demo_fails_without_a_web_socket(
    quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet.v22.socket.refuse(times=None)
    monkeypatch.setattr(demo_v22, "_PATIENCE", 0.3)
    code, shown = await show(quiet)
    assert code == 1
    assert "follow 3 live, change one: 3 states not seen after 0.3 s" in shown


async def test_demo_fails_if_a_change_does_not_arrive(
    quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_status = quiet.set_status

    def cut_and_set(*arguments: Any, **more: Any) -> None:
        quiet.v22.socket.silence(pings=True)
        set_status(*arguments, **more)

    monkeypatch.setattr(quiet, "set_status", cut_and_set)
    monkeypatch.setattr(demo_v22, "_PATIENCE", 0.3)
    code, shown = await show(quiet)
    assert code == 1
    assert "the change not seen after 0.3 s" in shown


async def test_demo_fails_if_ids_are_looked_up(
    quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk must have taught them to the client."""
    monkeypatch.setattr(Directory, "learn", lambda *_: None)
    code, shown = await show(quiet)
    assert code == 1
    assert "ids looked up, though the list had told them" in shown


async def test_demo_fails_if_a_refresh_token_is_sent_twice(quiet: PBXSimulator) -> None:
    quiet.v22.refresh_tokens["one"] = 2
    code, shown = await show(quiet)
    assert code == 1
    assert "a refresh token was sent twice" in shown


async def test_demo_fails_if_the_counts_of_v22_differ(quiet: PBXSimulator) -> None:
    quiet.v22.served["groups.list"] += 1
    code, shown = await show(quiet)
    assert code == 1
    assert "groups.list: 0 sent, 0 of them cut" in shown.split("Something was lost:")[1]


@pytest.mark.parametrize(
    ("kind", "lost", "problem"),
    [
        (Paginator, 1, "walk the list, tokens revoked midway: 2 extensions instead of 3"),
        (StatusPoll, 1, "poll, PBX accepts 6 at once: 3 extensions instead of 4"),
        (StatusWatch, 1, "watch 3 every 0.05 s: 1 of 3 not seen after 0.3 s"),
        (StatusWatch, 4, "change all: 1 of 3 not seen after 0.3 s"),
        (StatusWatch, 7, "restart, change all again: "),
        (BulkRun, 2, "create 4, one reply lost: 3 results for 4 extensions"),
    ],
)
async def test_demo_fails_if_the_sdk_loses_a_result(
    kind: Any, lost: int, problem: str, quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    results_of = kind.__aiter__

    async def without_one(stream: Any) -> AsyncIterator[Any]:
        position = 0
        async for result in results_of(stream):
            position += 1
            if position != lost:
                yield result

    monkeypatch.setattr(kind, "__aiter__", without_one)
    monkeypatch.setattr(demo, "_PATIENCE", 0.3)
    code, shown = await show(quiet)
    assert code == 1
    assert problem in shown.split("Something was lost:")[1]


async def test_demo_fails_if_the_sdk_repeats_a_result(
    quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    results_of = StatusPoll.__aiter__

    async def twice(poll: StatusPoll) -> AsyncIterator[Any]:
        async for result in results_of(poll):
            yield result
            yield result

    monkeypatch.setattr(StatusPoll, "__aiter__", twice)
    code, shown = await show(quiet)
    assert code == 1
    assert "8 extensions instead of 4" in shown


async def test_demo_fails_if_the_watch_skips_a_change(
    quiet: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that doesn't start where the last one ended shows that one is lost."""
    changes_of = StatusWatch.__aiter__

    async def wrong(watch: StatusWatch) -> AsyncIterator[StatusChange]:
        async for change in changes_of(watch):
            yield change if change.before is None else replace(change, before=None)

    monkeypatch.setattr(StatusWatch, "__aiter__", wrong)
    code, shown = await show(quiet)
    assert code == 1
    assert "a change is lost" in shown


async def test_demo_fails_if_the_pbx_keeps_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that was set and is never seen fails the demo, though others change meanwhile."""

    class Forgetful(PBXSimulator):
        def set_status(self, number: str, status: str | None, **_: Any) -> None:
            pass

    monkeypatch.setattr(demo, "_PATIENCE", 0.3)
    code, shown = await show(Forgetful(extensions=3, status_seconds=0.05))
    assert code == 1
    assert "watch 3 every 0.05 s: 3 of 3 not seen after 0.3 s" in shown


async def test_demo_fails_if_the_counts_differ(quiet: PBXSimulator) -> None:
    """The exit code is 1 for a request that only the PBX has counted."""
    quiet.served["groups.list"] += 1
    code, shown = await show(quiet)
    assert code == 1
    problem = "groups.list: 0 sent, 0 of them cut by the restart, 1 received"
    assert problem in shown.split("Something was lost:")[1]


@pytest.mark.parametrize(
    ("error", "restarting", "received", "agrees"),
    [
        (None, False, 1, True),
        (None, False, 0, False),
        (None, False, 2, False),
        (ConnectError(), True, 0, True),
        (ConnectError(), True, 1, False),
        (TransportError(), True, 0, True),
        (TransportError(), True, 1, True),
        (TransportError(), False, 1, True),
        (TransportError(), False, 0, False),
        (NotFound(status=404), True, 0, False),
    ],
)
def test_demo_compares_each_request(
    error: PortSIPError | None, restarting: bool, received: int, agrees: bool
) -> None:
    """As many requests are received as sent, unless the restart cut them."""
    sim = PBXSimulator()  # it never runs
    traffic = Traffic(ENDPOINTS, sim, restarting=restarting)
    traffic(Attempt("groups.list", 1, None, error, 0.01))
    sim.served["groups.list"] = received
    assert (list(compare(Console(file=io.StringIO()), traffic)) == []) is agrees


class TestUntilDone:
    """A bulk write is repeated for the failed items, until none is left."""

    @staticmethod
    def runs(*outcomes: PortSIPError | None) -> Any:
        """Make a bulk write of one extension that ends as given, run after run."""
        left = list(outcomes)

        async def start(keys: list[str]) -> AsyncIterator[BulkResult[None]]:
            yield BulkResult(0, keys[0], None, left.pop(0), settled=True)

        return start

    async def test_removed_by_an_earlier_run(self) -> None:
        """An extension that a later run doesn't find was removed by an earlier one."""
        start = self.runs(TransportError(may_have_acted=True), NotFound(status=404))
        assert await until_done(start, ["101"]) == "runs: 2, looked up: 2"

    async def test_never_done(self) -> None:
        with pytest.raises(Failed, match="1 not done in 10 runs"):
            await until_done(self.runs(*[TransportError()] * 10), ["101"])


def test_demo_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command makes the PBX by its options, and exits with the demo's code."""
    made: list[dict[str, Any]] = []

    class Recorded(PBXSimulator):
        def __init__(self, extensions: int, **options: Any) -> None:
            super().__init__(extensions, **options)
            made.append({"extensions": extensions, **options})

    async def end(console: Console, sim: PBXSimulator) -> int:
        return 1

    monkeypatch.setattr(demo, "PBXSimulator", Recorded)
    monkeypatch.setattr(demo, "run", end)
    arguments = ["demo", "--extensions", "7", "--token-lifetime", "1.5", "--seed", "9"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1
    faults = made[0]["faults"]
    assert faults.dropped > 0
    assert made == [
        {"extensions": 7, "token_lifetime": 1.5, "seed": 9, "faults": faults},
        {"extensions": 5000, "token_lifetime": 2.0, "seed": 0, "faults": faults},
    ]


@pytest.mark.parametrize("option", [["--extensions", "2"], ["--token-lifetime", "0.1"]])
def test_demo_wrong_usage(option: list[str]) -> None:
    done = CliRunner().invoke(app, ["demo", *option])
    assert done.exit_code == 2
    assert done.stdout == ""
