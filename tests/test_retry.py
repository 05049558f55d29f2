"""What may be repeated, when, and how often: the policy, the budget, and the table both ways."""

import asyncio
import contextlib
import ssl as tls
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
import trustme

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    RetryBudget,
    RetryPolicy,
    ServerError,
    Timeout,
    TransportError,
)
from portsip_async.core.retry import RetryBucket

from .operations import BY_NAME, Operation
from .wire_server import Step, WireServer, hang_up, reply, reset, silence

# Three attempts, told apart from a default of four.
THREE = RetryPolicy(attempts=3)


class Pauses:
    """Stands in for `asyncio.sleep`: notes each pause, and lets the clock jump over it."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.now = 1000.0

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.now += seconds


def steady(client: PortSIPClient, chance: float = 1.0, *, clock: bool = False) -> Pauses:
    """Let a client pause without waiting, with a chance that is known."""
    pauses = Pauses()
    session = client._session
    session.clock.sleep = pauses
    session.clock.random = lambda: chance
    if clock:
        session.clock.monotonic = lambda: pauses.now
    return pauses


class Fault(NamedTuple):
    """What the wire does, and what must come of it at three attempts."""

    step: Step | str
    arrivals: tuple[int, int, int]
    """For what is safe, idempotent, and unsafe."""
    error: type[PortSIPError]
    acted: bool
    """Whether a write may have been carried out."""
    attempts: int | None = None
    """Where it is not the number of arrivals."""


def told(
    status: int, err_code: Any = None, headers: dict[str, str] | None = None, **more: Any
) -> bytes:
    body = more if err_code is None else {"err_code": err_code, "msg": "Told so", **more}
    return reply(body, status, headers)


WAIT = {"Retry-After": "1"}
PAGE = "<html><h1>502 Bad Gateway</h1></html>"
CUT = reply({"extension_number": "101"}, headers={"Content-Length": "4000"})

FAULTS: dict[str, Fault] = {
    "connection refused": Fault("nobody", (0, 0, 0), ConnectError, False, 3),
    "connect timeout": Fault("no handshake", (0, 0, 0), ConnectError, False, 3),
    "certificate refused": Fault("stranger", (0, 0, 0), ConnectError, False, 1),
    "reset": Fault(reset, (3, 3, 1), TransportError, True),
    "hang-up": Fault(hang_up, (3, 3, 1), TransportError, True),
    "timeout": Fault(silence, (3, 3, 1), RequestTimeout, True),
    "truncated": Fault(CUT, (3, 3, 1), TransportError, True),
    "408": Fault(told(408), (3, 3, 1), APIError, True),
    "429": Fault(told(429), (3, 3, 3), RateLimited, False),
    "429 Retry-After": Fault(told(429, headers=WAIT), (3, 3, 3), RateLimited, False),
    "403.5 in 200": Fault(told(200, 403.5), (3, 3, 3), RateLimited, False),
    "403.5 in 403": Fault(told(403, "403.5"), (3, 3, 3), RateLimited, False),
    "403.5 in 503": Fault(told(503, "403.5"), (3, 3, 3), RateLimited, False),
    "500": Fault(told(500, 500), (3, 3, 1), ServerError, True),
    "500 in 200": Fault(told(200, 500), (3, 3, 1), ServerError, True),
    "500 Retry-After": Fault(told(500, 500, WAIT), (3, 3, 1), ServerError, True),
    "502 HTML": Fault(
        reply(PAGE, 502, {"Content-Type": "text/html"}), (3, 3, 1), ServerError, True
    ),
    "503": Fault(told(503, 503), (3, 3, 1), ServerError, True),
    "503 Retry-After": Fault(told(503, 503, WAIT), (3, 3, 3), ServerError, False),
    "503 Retry-After unreadable": Fault(
        told(503, 503, {"Retry-After": "soon"}), (3, 3, 1), ServerError, True
    ),
    "504 empty": Fault(reply(b"", 504), (3, 3, 1), ServerError, True),
    "400": Fault(told(400, 400.1), (1, 1, 1), BadRequest, False),
    "403": Fault(told(403, "403.1"), (1, 1, 1), PermissionDenied, False),
    "404": Fault(told(404, 404.1), (1, 1, 1), NotFound, False),
    "404 in 200": Fault(told(200, "404.1"), (1, 1, 1), NotFound, False),
    "418": Fault(told(418), (1, 1, 1), APIError, False),
    "302": Fault(told(302, headers={"Location": "/elsewhere"}), (1, 1, 1), APIError, False),
    "unreadable": Fault(reply("<html>not JSON"), (1, 1, 1), ReplyError, True),
    "rubbish": Fault(b"Welcome to telnet\r\n\r\n", (1, 1, 1), ReplyError, True),
    # Once more with a new token, outside the count of repeats, whatever the safety.
    "401": Fault(told(401), (2, 2, 2), AuthenticationError, False),
    "403.4 in 200": Fault(told(200, 403.4), (2, 2, 2), AuthenticationError, False),
    "401.2": Fault(told(401, "401.2"), (1, 1, 1), AuthenticationError, False),
}
SAFETIES = ("safe", "idempotent", "unsafe")
# One or two of each safety and method; every operation has its turn in the fault matrix.
ROWS = [
    BY_NAME[name]
    for name in (
        "extensions.show",
        "extensions.status",
        "extensions.update",
        "extensions.create",
        "extensions.call",
        "greetings.upload",
    )
]


@contextlib.asynccontextmanager
async def told_by(step: Step | str) -> Any:
    """Set up the wire that does what a step says, and the timeouts that notice it."""
    timeout = Timeout(total=5)
    if step == "nobody":
        async with WireServer() as wire:
            await wire.leave()
            yield wire, timeout
    elif step == "no handshake":
        async with WireServer() as wire:
            wire.url = wire.url.replace("http:", "https:")
            yield wire, Timeout(total=5, connect=0.03)
    elif step == "stranger":
        context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        async with WireServer(context) as wire:
            yield wire, timeout
    else:
        async with WireServer() as wire:
            assert not isinstance(step, str)
            wire.script = [step]
            yield wire, Timeout(total=5, read=0.06) if step is silence else timeout


CASES = [
    pytest.param(fault, operation, id=f"{name}-{operation.name}")
    for name, fault in FAULTS.items()
    for operation in ROWS
]


@pytest.mark.parametrize(("fault", "operation"), CASES)
async def test_repeats_by_safety_and_fault(fault: Fault, operation: Operation) -> None:
    """What may be repeated is, as often as the policy says; what may not arrives once."""
    async with (
        told_by(fault.step) as (wire, timeout),
        PortSIPClient(wire.url, token="1", timeout=timeout, retry=THREE) as pbx,
    ):
        steady(pbx)
        with pytest.raises(PortSIPError) as caught:
            await operation.send(pbx)
    error = caught.value
    arrivals = fault.arrivals[SAFETIES.index(operation.safety)]
    assert len(wire.arrivals) == arrivals
    assert type(error) is fault.error
    assert error.attempts == (arrivals if fault.attempts is None else fault.attempts)
    assert error.operation == operation.name
    assert error.may_have_acted == (fault.acted and operation.safety != "safe")


@pytest.mark.parametrize(
    ("steps", "ours", "acted"),
    [
        ([reply("", 500)], None, True),
        ([hang_up], None, True),
        ([CUT], None, True),
        ([reply("", 408)], None, True),
        ([hang_up, reply("", 401)], None, True),
        ([], NotFound, False),
        ([reply("", 429)], NotFound, False),
        ([told(503, 503, WAIT)], NotFound, False),
        ([reply("", 401)], NotFound, False),
    ],
)
@pytest.mark.parametrize("name", ["extensions.remove", "groups.remove", "greetings.remove"])
async def test_remove_not_found(
    name: str, steps: list[Step], ours: type[PortSIPError] | None, acted: bool, wire: WireServer
) -> None:
    """A removal that finds nothing has succeeded if an attempt before it may have acted."""
    wire.script = [*steps, told(404, 404.1)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        steady(pbx)
        if ours is None:
            await BY_NAME[name].send(pbx)
        else:
            with pytest.raises(ours) as caught:
                await BY_NAME[name].send(pbx)
            assert caught.value.may_have_acted is acted
    assert len(wire.arrivals) == len(steps) + 1


async def test_removal_is_not_done_because_of_a_page(wire: WireServer) -> None:
    """A page with status 404 comes from something in between, which knows no extensions."""
    wire.script = [hang_up, reply("<html>Not here</html>", 404)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        steady(pbx)
        with pytest.raises(NotFound) as caught:
            await BY_NAME["extensions.remove"].send(pbx)
    assert caught.value.may_have_acted


async def test_not_found_after_a_lost_update(wire: WireServer) -> None:
    """Only a removal is done by NotFound."""
    wire.script = [hang_up, told(404, 404.1)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        steady(pbx)
        with pytest.raises(NotFound) as caught:
            await BY_NAME["extensions.update"].send(pbx)
    assert caught.value.may_have_acted
    assert caught.value.attempts == 2


@pytest.mark.parametrize(
    ("name", "steps", "error", "acted"),
    [
        ("extensions.update", [hang_up, told(400, 400.1)], BadRequest, True),
        ("extensions.update", [told(500), told(429)], RateLimited, True),
        ("extensions.update", [told(429), told(400, 400.1)], BadRequest, False),
        ("extensions.create", [told(429), told(500)], ServerError, True),
        ("extensions.create", [told(503, 503, WAIT), told(400, 400.1)], BadRequest, False),
        ("extensions.create", [told(401), hang_up], TransportError, True),
        ("extensions.show", [hang_up, told(400, 400.1)], BadRequest, False),
    ],
)
async def test_may_have_acted_sticks(
    name: str, steps: list[Step], error: type[PortSIPError], acted: bool, wire: WireServer
) -> None:
    """What one attempt may have done is not forgotten for what the next one meets."""
    wire.script = steps
    async with PortSIPClient(wire.url, token="1", retry=THREE) as pbx:
        steady(pbx)
        with pytest.raises(error) as caught:
            await BY_NAME[name].send(pbx)
    assert caught.value.may_have_acted is acted


async def test_success_after_faults(wire: WireServer) -> None:
    """A call that comes through in the end answers as if nothing had been."""
    wire.script = [reset, told(500), CUT, reply({"extension_number": "101"})]
    async with PortSIPClient(wire.url, token="1") as pbx:
        steady(pbx)
        assert (await pbx.extensions.show("101")).extension_number == "101"
    assert len(wire.arrivals) == 4


async def test_one_attempt_never_repeats(wire: WireServer) -> None:
    wire.script = [told(429)]
    async with PortSIPClient(wire.url, token="1", retry=RetryPolicy(attempts=1)) as pbx:
        with pytest.raises(RateLimited):
            await pbx.extensions.show("101")
    assert len(wire.arrivals) == 1


class TestPolicy:
    @pytest.mark.parametrize(
        "options",
        [
            {"attempts": 0},
            {"attempts": -1},
            {"initial": -0.1},
            {"initial": float("inf")},
            {"initial": float("nan")},
            {"maximum": -1},
            {"maximum": float("inf")},
            {"maximum": float("nan")},
            {"deadline": 0},
            {"deadline": -1},
            {"deadline": float("inf")},
            {"deadline": float("nan")},
        ],
    )
    def test_out_of_bounds(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="RetryPolicy"):
            RetryPolicy(**options)

    @pytest.mark.parametrize(
        "options", [{"ratio": -0.1}, {"ratio": float("nan")}, {"ratio": 101}, {"burst": -1}]
    )
    def test_budget_out_of_bounds(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="RetryBudget"):
            RetryBudget(**options)

    def test_defaults(self) -> None:
        """The contract's own."""
        policy = RetryPolicy()
        assert (policy.attempts, policy.initial, policy.maximum) == (4, 0.1, 5.0)
        assert (policy.deadline, policy.budget) == (30.0, RetryBudget())

    @pytest.mark.parametrize(
        ("repeat", "longest"),
        [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (61, 5.0), (10_000, 5.0)],
    )
    def test_full_jitter(self, repeat: int, longest: float) -> None:
        """A pause is anything from nothing to a limit that doubles up to the maximum."""
        policy = RetryPolicy()
        assert policy.pause(repeat, 0.0) == 0
        assert policy.pause(repeat, 0.5) == pytest.approx(longest / 2)
        assert policy.pause(repeat, 1.0) == pytest.approx(longest)

    @pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
    async def test_pauses_of_a_call(self, chance: float, wire: WireServer) -> None:
        """The pauses of a call double, each by a chance of its own."""
        wire.script = [told(500)]
        policy = RetryPolicy(attempts=5, initial=1.0, maximum=3.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = steady(pbx, chance)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [chance * longest for longest in (1.0, 2.0, 3.0, 3.0)]


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "pause"),
        [
            ("7", 7.0),
            ("0", 0.1),  # what chance gives
            ("Wed, 21 Oct 2015 07:28:09 GMT", 9.0),
            ("Wed, 21 Oct 2015 07:28:09", 9.0),
            ("Wed, 21 Oct 2015 07:27:00 GMT", 0.1),
            ("86401", 0.1),
            ("-3", 0.1),
            ("shortly", 0.1),
        ],
    )
    async def test_pause(self, value: str, pause: float, wire: WireServer) -> None:
        """The PBX's wish is honoured, where it is readable and longer than chance."""
        wire.script = [told(429, headers={"Retry-After": value}), reply({"extension_number": "1"})]
        async with PortSIPClient(wire.url, token="1") as pbx:
            pauses = steady(pbx, clock=True)
            pbx._session.clock.now = lambda: 1445412480.0  # Wed, 21 Oct 2015 07:28:00 UTC
            await pbx.extensions.show("1")
        assert pauses.taken == [pytest.approx(pause)]

    @pytest.mark.parametrize(
        ("asked", "deadline", "arrivals"),
        [("9", 10.0, 2), ("10", 10.0, 1), ("11", 10.0, 1), ("86400", None, 2), ("6", 10.0, 2)],
    )
    @pytest.mark.parametrize("name", ["extensions.show", "extensions.create", "extensions.call"])
    async def test_deadline(
        self, name: str, asked: str, deadline: float | None, arrivals: int, wire: WireServer
    ) -> None:
        """A wait that can't end before the deadline raises at once, with the PBX's error."""
        wire.script = [told(429, headers={"Retry-After": asked})]
        policy = RetryPolicy(attempts=2, deadline=deadline)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = steady(pbx, clock=True)
            with pytest.raises(RateLimited) as caught:
                await BY_NAME[name].send(pbx)
        assert len(wire.arrivals) == arrivals
        assert pauses.taken == [float(asked)] * (arrivals - 1)
        assert caught.value.retry_after == float(asked)

    async def test_deadline_over_all_pauses(self, wire: WireServer) -> None:
        """The deadline counts what earlier attempts and pauses took."""
        wire.script = [told(503, 503, {"Retry-After": "4"})]
        policy = RetryPolicy(attempts=10, deadline=10.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = steady(pbx, clock=True)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [4.0, 4.0]
        assert len(wire.arrivals) == 3

    async def test_backoff_beyond_the_deadline(self, wire: WireServer) -> None:
        """Nor is a pause of our own begun that can't end in time."""
        wire.script = [told(500)]
        policy = RetryPolicy(attempts=10, initial=8.0, maximum=8.0, deadline=10.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = steady(pbx, clock=True)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [8.0]


async def storm(
    pbx: PortSIPClient, calls: int, send: Callable[[PortSIPClient], Awaitable[Any]]
) -> list[BaseException]:
    """Make many calls at once, and collect their errors."""
    outcomes = await asyncio.gather(*(send(pbx) for _ in range(calls)), return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def show(pbx: PortSIPClient) -> Any:
    return await pbx.extensions.show("101")


class TestBudget:
    @pytest.mark.parametrize("calls", [1, 2, 10, 100])
    @pytest.mark.parametrize("before", [0, 300])
    async def test_outage(self, calls: int, before: int, wire: WireServer) -> None:
        """An outage costs twice the load and the repeats of a few calls, also after peace."""
        async with PortSIPClient(wire.url, token="1") as pbx:
            steady(pbx)
            wire.script = [OK]
            assert await storm(pbx, before, show) == []
            assert len(wire.arrivals) == before
            wire.script = [told(500, headers=KEEP)]
            assert len(await storm(pbx, calls, show)) == calls
        arrivals = len(wire.arrivals) - before
        assert arrivals >= calls * 2
        assert arrivals <= min(calls * 4, calls * 2 + SPARE)

    async def test_one_call_on_a_cold_client(self, wire: WireServer) -> None:
        """The first call may use up its own repeats, and all its attempts arrive."""
        wire.script = [told(500)]
        async with PortSIPClient(wire.url, token="1", retry=RetryPolicy(attempts=9)) as pbx:
            steady(pbx)
            with pytest.raises(ServerError) as caught:
                await show(pbx)
        assert caught.value.attempts == 9

    async def test_storm_that_hits_all_in_flight(self, wire: WireServer) -> None:
        """Each of many calls whose connections break at once has a repeat of its own."""
        wire.script = [OK]
        async with PortSIPClient(wire.url, token="1") as pbx:
            steady(pbx)
            await storm(pbx, 200, show)
            start = len(wire.arrivals)
            wire.script = [*[OK] * start, *[hang_up] * 64, OK]
            assert await storm(pbx, 64, show) == []
        assert len(wire.arrivals) == start + 128

    async def test_views_share_it(self, wire: WireServer) -> None:
        """A view has no budget of its own, whatever its policy says."""
        wire.script = [told(500, headers=KEEP)]
        async with PortSIPClient(
            wire.url, token="1", retry=RetryPolicy(budget=RetryBudget(ratio=0, burst=0))
        ) as pbx:
            view = pbx.with_options(retry=RetryPolicy(budget=RetryBudget(ratio=100, burst=999)))
            steady(pbx)
            assert [error.attempts for error in await one_by_one(view, 3)] == [4, 1, 1]
            assert [error.attempts for error in await one_by_one(pbx, 2)] == [1, 1]

    async def test_ratio(self, wire: WireServer) -> None:
        """Each call earns so many repeats."""
        wire.script = [told(500, headers=KEEP)]
        policy = RetryPolicy(attempts=2, budget=RetryBudget(ratio=0.5, burst=0))
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            steady(pbx)
            attempts = [error.attempts for error in await one_by_one(pbx, 9)]
        assert sum(attempts) == pytest.approx(9 * 1.5 + 1, abs=1)

    async def test_refused_connections_are_free(self, wire: WireServer) -> None:
        """A connection that was refused is no load, and costs no repeat."""
        await wire.leave()
        policy = RetryPolicy(budget=RetryBudget(ratio=0, burst=0))
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            steady(pbx)
            errors = await one_by_one(pbx, 10)
        assert {type(error) for error in errors} == {ConnectError}
        assert {error.attempts for error in errors} == {4}

    async def test_replays_are_free(self, wire: WireServer) -> None:
        """A rejected token is none of the budget's affair."""
        wire.script = [told(401, headers=KEEP), OK] * 9
        policy = RetryPolicy(attempts=1, budget=RetryBudget(ratio=0, burst=0))
        async with PortSIPClient(wire.url, username="a", password="b", retry=policy) as pbx:
            for _ in range(9):
                await show(pbx)
        assert len(wire.arrivals) == 18


KEEP = {"Connection": "keep-alive"}
OK = reply({"extension_number": "101"}, headers=KEEP)
# Repeats beyond one a call that an outage may find unspent.
SPARE = 10


async def one_by_one(pbx: PortSIPClient, calls: int) -> list[PortSIPError]:
    errors = []
    for _ in range(calls):
        with pytest.raises(PortSIPError) as caught:
            await show(pbx)
        errors.append(caught.value)
    return errors


def test_balance_is_bounded() -> None:
    """However long the peace, no more repeats than its burst are kept."""
    balance = RetryBucket(RetryPolicy(attempts=3, budget=RetryBudget(ratio=1.0, burst=5)))
    for _ in range(1000):
        balance.begin_call()
        balance.end_call()
    assert [balance.spend() for _ in range(7)] == [True] * 5 + [False] * 2


def test_balance_keeps_what_calls_under_way_earned() -> None:
    """What a call under way has earned is not cut off by the burst."""
    balance = RetryBucket(RetryPolicy(attempts=1, budget=RetryBudget(ratio=1.0, burst=2)))
    for _ in range(10):
        balance.begin_call()
    balance.end_call()  # that one has ended is no loss to the other nine
    assert [balance.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        balance.end_call()
    assert not balance.spend()
