"""The demo plays through, tells its story, and fails where a count is wrong."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from portsip_async import (
    Attempt,
    ConnectError,
    NotFound,
    PortSIPError,
    ReplyError,
    RetryPolicy,
    TransportError,
)
from portsip_async.cli.app import app
from portsip_async.cli.demo import command, watching
from portsip_async.cli.demo.command import Setting, run
from portsip_async.cli.demo.ledger import Ledger, wrong
from portsip_async.cli.demo.many import Provisioning
from portsip_async.cli.demo.stage import Stage, Wrong
from portsip_async.simulator import Faults, PBXSimulator

SHORT = Setting(
    extensions=230,
    token_lifetime=1.0,
    # Each second 429 says to wait a second, so they are rare here.
    faults=Faults(
        latency=0.003,
        rate_limited=0.002,
        server_error=0.03,
        html=0.02,
        dropped=0.03,
        truncated=0.03,
    ),
    batch=20,
    watched=90,
    interval=0.1,
    downtime=0.2,
    provisioned=50,
)
QUIET = Setting(
    extensions=3, faults=Faults(), batch=2, watched=3, interval=0.05, downtime=0.1, provisioned=4
)

Scripted = Callable[..., None]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Let the demo's own simulator fail by scripts."""

    def script(*failures: tuple[str, dict[str, Any]]) -> None:
        class Failing(PBXSimulator):
            async def start(self) -> None:
                await super().start()
                for row, failure in failures:
                    self.fail(row, **failure)

        monkeypatch.setattr(command, "PBXSimulator", Failing)

    return script


async def played(setting: Setting, **options: Any) -> tuple[int, str]:
    out = io.StringIO()
    code = await run(Console(file=out, highlight=False, **options), setting)
    return code, out.getvalue()


@pytest.mark.parametrize("seed", [0, 1, 2])
async def test_demo_accounts_for_everything(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the faults: exit code 0, no row that is wrong, no control character in a pipe."""
    monkeypatch.setattr(command, "_RETRY", RetryPolicy(attempts=8, initial=0.02))
    setting = replace(SHORT, seed=seed)
    code, told = await played(setting, width=80)
    assert code == 0, told
    assert "Everything is accounted for, nothing was lost." in told
    assert "WRONG" not in told
    assert "230 extensions, each once" in told
    assert told.count("in doubt") >= 1  # the reply to the creation is cut off each time
    assert "234 numbers, 234 results" in told
    assert "90 set, 90 told in" in told
    assert "50 removed, each once" in told
    assert all(text.isprintable() for text in told.splitlines())
    assert max(map(len, told.splitlines())) <= 80


async def test_demo_counts_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that only the PBX knows of is told, and the exit code is 1."""

    class Miscounting(PBXSimulator):
        async def start(self) -> None:
            await super().start()
            self.served["groups.list"] += 1

    monkeypatch.setattr(command, "PBXSimulator", Miscounting)
    code, told = await played(QUIET)
    assert code == 1
    assert "Not everything is accounted for" in told
    assert "groups.list: " in told
    assert "WRONG" in told


async def test_demo_writes_in_doubt(scripted: Scripted) -> None:
    """A lost reply is looked up where that tells, and a telephone is not rung twice."""
    scripted(
        ("extensions.call", {"drop": True, "act": True}),
        ("groups.create", {"drop": True, "act": True}),
        ("greetings.upload", {"drop": True}),
    )
    code, told = await played(QUIET)
    assert code == 0, told
    assert "in doubt: may have rung, so left alone" in told
    assert told.count("in doubt, so looked: it is there") == 2
    assert "done: 32,044 bytes" in told
    assert "Writes in doubt: 4" in told


async def test_demo_provisions_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run leaves undone or in doubt is taken up by the next, and done once in the end."""
    monkeypatch.setattr(command, "_RETRY", RetryPolicy(attempts=2, initial=0.0))
    create, remove = Provisioning._create, Provisioning._remove

    async def create_in_doubt(provisioning: Provisioning) -> str:
        sim = provisioning._stage.sim
        sim.fail("extensions.create", drop=True, act=True)
        sim.fail("extensions.create", drop=True)
        sim.fail("extensions.show", drop=True, times=2)
        return await create(provisioning)

    async def remove_in_doubt(provisioning: Provisioning) -> str:
        sim = provisioning._stage.sim
        sim.fail("extensions.remove", drop=True, act=True, times=2)
        sim.fail("extensions.show", drop=True, times=2)
        return await remove(provisioning)

    monkeypatch.setattr(Provisioning, "_create", create_in_doubt)
    monkeypatch.setattr(Provisioning, "_remove", remove_in_doubt)
    monkeypatch.setattr(command, "_IN_FLIGHT", 1)
    code, told = await played(QUIET, width=200)
    assert code == 0, told
    assert "2 created, 0 of them settled by looking; 1 not created, 1 in doubt" in told
    assert "2 in 1 run more; all 4 are there, each created once" in told
    assert "4 removed, each once; 3 left, as before" in told


async def test_demo_change_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that was set and is not told fails the demo, though others change meanwhile."""

    class Forgetful(PBXSimulator):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options, status_seconds=0.05)

        def set_status(self, number: str, status: str | None, **_: Any) -> None:
            pass

    monkeypatch.setattr(command, "PBXSimulator", Forgetful)
    monkeypatch.setattr(watching, "_PATIENCE", 0.3)
    code, told = await played(QUIET, width=200)
    assert code == 1
    assert "change some: still not told after 0.3 s" in told


@pytest.mark.parametrize(
    ("row", "failure", "told"),
    [
        (
            "greetings.setup",
            {"status": 400},
            "The life of an extension, set the greeting up: greetings.setup: HTTP 400",
        ),
        (
            "extensions.search",
            {"body": '{"extensions": []}'},
            "Long lists, page by page, search by a name: 0 extensions, of ",
        ),
    ],
)
async def test_demo_step_fails(
    row: str, failure: dict[str, Any], told: str, scripted: Scripted
) -> None:
    """A step that fails ends the play; the counts are shown all the same, and the code is 1."""
    scripted((row, failure))
    code, text = await played(QUIET, width=200)
    assert code == 1
    assert "Every request, counted on both sides" in text
    assert "renew the token by hand" not in text
    assert told in text.split("Not everything is accounted for")[1]


def test_demo_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command hands its options over, and exits with what the play answers."""
    given: list[Setting] = []

    async def note(_: Console, setting: Setting) -> int:
        given.append(setting)
        return 1

    monkeypatch.setattr(command, "run", note)
    arguments = ["demo", "--extensions", "7", "--token-lifetime", "1.5", "--seed", "9"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert CliRunner().invoke(app, ["demo"]).exit_code == 1
    assert given == [Setting(extensions=7, token_lifetime=1.5, seed=9), Setting()]
    assert (given[1].extensions, given[1].token_lifetime) == (5000, 2.0)


@pytest.mark.parametrize("option", [["--extensions", "2"], ["--token-lifetime", "0.1"]])
def test_demo_wrong_usage(option: list[str]) -> None:
    done = CliRunner().invoke(app, ["demo", *option])
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def attempt(operation: str, error: PortSIPError | None = None, seconds: float = 0.01) -> Attempt:
    return Attempt(operation, 1, None if error else 200, error, seconds)


class TestLedger:
    """Over a simulator that never ran: its counters are set by hand."""

    def test_no_connection_is_no_arrival(self, ledger: Ledger) -> None:
        """While the PBX is away, attempts that make no connection are looked for nowhere."""
        with ledger.outage():
            ledger(attempt("groups.list", ConnectError()))
        assert (ledger.sent, ledger.unsent) == (0, 1)
        assert wrong(ledger, PBXSimulator()) == []

    @pytest.mark.parametrize("seconds", [0.0, 60.0])
    def test_no_connection_to_a_pbx_that_is_there(self, seconds: float, ledger: Ledger) -> None:
        """Before an outage, or after it: an attempt that makes no connection is told."""
        if not seconds:
            with ledger.outage():
                pass
        ledger(attempt("groups.list", ConnectError(), seconds))
        assert wrong(ledger, PBXSimulator()) == ["PBX away: 0 caused, 1 met"]

    @pytest.mark.parametrize(
        ("served", "dropped", "limited", "right"),
        [
            (1, 0, 0, False),
            (2, 0, 0, True),
            (3, 0, 0, True),
            (3, 1, 0, True),
            (3, 0, 1, True),
            (3, 2, 0, False),
            (3, 0, 2, False),
            (4, 0, 0, False),
        ],
    )
    def test_cut_by_restart(
        self, served: int, dropped: int, limited: int, right: bool, ledger: Ledger
    ) -> None:
        """What was under way as the PBX went may have arrived, or not, or met a fault before."""
        sim = PBXSimulator()
        ledger(attempt("groups.list"))
        ledger(attempt("groups.list"))
        with ledger.outage():
            pass
        ledger(attempt("groups.list", TransportError(), 1.0))
        sim.served["groups.list"], sim.acted["groups.list"] = served, 2
        sim.injected["dropped"], sim.injected["rate_limited"] = dropped, limited
        (row,) = ledger.rows(sim)
        assert (row.sent, row.cut) == (3, 1)
        assert (wrong(ledger, sim) == []) is right

    def test_broken_after_the_restart(self, ledger: Ledger) -> None:
        """What breaks later was cut by a fault, and there must be one."""
        sim = PBXSimulator()
        with ledger.outage():
            pass
        ledger(attempt("groups.list", TransportError(), 0.0))
        sim.served["groups.list"] = 1
        assert wrong(ledger, sim) == ["reply cut off: 0 caused, 1 met"]

    @pytest.mark.parametrize(
        ("name", "answers", "served", "acted", "right"),
        [
            ("groups.list", 1, 1, 1, True),
            ("groups.list", 1, 2, 1, False),
            ("groups.list", 2, 1, 1, False),
            ("groups.list", 1, 1, 0, False),
            ("groups.list", 1, 1, 2, False),
            ("groups.create", 1, 1, 1, True),
            ("groups.create", 2, 2, 2, False),
        ],
    )
    def test_rows(
        self, name: str, answers: int, served: int, acted: int, right: bool, ledger: Ledger
    ) -> None:
        """Sent is received, answered is carried out, and what may be done once is done once."""
        sim = PBXSimulator()
        ledger.once["groups.create"] = (1,)
        for _ in range(answers):
            ledger(attempt(name))
        sim.served[name], sim.acted[name] = served, acted
        (row,) = ledger.rows(sim)
        assert row.right is right
        assert len(wrong(ledger, sim)) == (not right)

    @pytest.mark.parametrize(
        ("name", "error", "explained"),
        [
            ("extensions.show", NotFound(status=404), True),
            ("extensions.list", NotFound(status=404), False),
            ("extensions.show", ReplyError(expected="a list"), False),
        ],
    )
    def test_strange_errors(
        self, name: str, error: PortSIPError, explained: bool, ledger: Ledger
    ) -> None:
        """An error that no fault and no removal explains is told."""
        sim = PBXSimulator()
        sim.served[name] = 1
        ledger(attempt(name, error))
        assert len(wrong(ledger, sim)) == (not explained)

    def test_faults_and_tokens_differ(self, ledger: Ledger) -> None:
        """A fault that the SDK did not meet is told, and so is a token from nowhere."""
        sim = PBXSimulator()
        sim.injected["html"] = 1
        sim.acted["account.refresh"] = 1
        told = wrong(ledger, sim)
        assert "500, 503, a proxy's 502: 1 caused, 0 met" in told
        assert "0 tokens issued by 1 logins and renewals" in told

    def test_rejection_cut_off(self, ledger: Ledger) -> None:
        """A rejection that was cut off on its way is accounted for as both."""
        sim = PBXSimulator()
        sim.injected["truncated"] = sim.rejected["groups.list"] = sim.served["groups.list"] = 1
        ledger(attempt("groups.list", TransportError()))
        assert wrong(ledger, sim) == []
        *_, dead = ledger.troubles(sim)
        assert (dead.caused, dead.met) == (1, 0)
        assert dead.remedy.endswith("(1 cut off)")


class TestSettled:
    """A write without a reply is looked up, made again if it is not there, and given up at last."""

    @pytest.fixture
    def stage(self, ledger: Ledger) -> Stage:
        # Nothing here calls the PBX.
        return Stage(None, PBXSimulator(extensions=3), ledger)  # type: ignore[arg-type]

    async def test_not_there_is_made_again(self, stage: Stage) -> None:
        outcomes = [PortSIPError(may_have_acted=True), None]

        async def write() -> str:
            error = outcomes.pop(0)
            if error is not None:
                raise error
            return "made"

        async def find() -> None:
            return None

        assert await stage.settled(write, find) == ("made", "done")
        assert stage.in_doubt == 1

    async def test_never_there(self, stage: Stage) -> None:
        async def write() -> str:
            raise PortSIPError(may_have_acted=True)

        async def find() -> None:
            return None

        with pytest.raises(Wrong, match="in doubt 10 times"):
            await stage.settled(write, find)

    async def test_refused_is_raised(self, stage: Stage) -> None:
        """What the PBX can't have done is no case for looking."""

        async def write() -> str:
            raise PortSIPError("refused")

        async def find() -> str:
            raise AssertionError

        with pytest.raises(PortSIPError, match="refused"):
            await stage.settled(write, find)
