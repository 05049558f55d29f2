"""What is repeated, when, and how often: the policy, the budget, and every kind of failure."""

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
from portsip_async.core.retry import RetryBucket, failure_of
from portsip_async.core.safety import Failure

from .clocks import set_clock
from .operations import BY_NAME, Operation
from .wire_server import Step, WireServer, hang_up, reply, reset, silence

# Three attempts, to differ from the default of four.
THREE = RetryPolicy(attempts=3)


class Pauses:
    """Replaces `asyncio.sleep`: records each pause, and moves a clock ahead instead."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.now = 1000.0

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.now += seconds


def skip_pauses(client: PortSIPClient, random: float = 1.0, *, clock: bool = False) -> Pauses:
    """Let a client pause without waiting, with a fixed random number; return its pauses.

    Args:
        client: the client.
        random: what its random numbers are.
        clock: True lets its clock go by the pauses.
    """
    pauses = Pauses()
    set_clock(
        client,
        sleep=pauses,
        random=lambda: random,
        monotonic=(lambda: pauses.now) if clock else None,
    )
    return pauses


class Fault(NamedTuple):
    """What a server does, and how a call of three attempts must end."""

    step: Step | str
    arrivals: tuple[int, int, int]
    """Requests that arrive, for a safe, an idempotent and an unsafe operation."""
    error: type[PortSIPError]
    acted: bool
    """Whether a write may have been carried out."""
    attempts: int | None = None
    """The error's `attempts`; None: as many as arrived."""


def refusal(
    status: int, err_code: Any = None, headers: dict[str, str] | None = None, **more: Any
) -> bytes:
    """Make a reply with this status and this code."""
    body = more if err_code is None else {"err_code": err_code, "msg": "Refused", **more}
    return reply(body, status, headers)


WAIT = {"Retry-After": "1"}
PAGE = "<html><h1>502 Bad Gateway</h1></html>"
CUT = reply({"extension_number": "101"}, headers={"Content-Length": "4000"})

FAULTS: dict[str, Fault] = {
    "connection refused": Fault("not listening", (0, 0, 0), ConnectError, False, 3),
    "connect timeout": Fault("no handshake", (0, 0, 0), ConnectError, False, 3),
    "certificate refused": Fault("unknown CA", (0, 0, 0), ConnectError, False, 1),
    "reset": Fault(reset, (3, 3, 1), TransportError, True),
    "hang-up": Fault(hang_up, (3, 3, 1), TransportError, True),
    "timeout": Fault(silence, (3, 3, 1), RequestTimeout, True),
    "truncated": Fault(CUT, (3, 3, 1), TransportError, True),
    "408": Fault(refusal(408), (3, 3, 1), APIError, True),
    "429": Fault(refusal(429), (3, 3, 3), RateLimited, False),
    "429 Retry-After": Fault(refusal(429, headers=WAIT), (3, 3, 3), RateLimited, False),
    "403.5 in 200": Fault(refusal(200, 403.5), (3, 3, 3), RateLimited, False),
    "403.5 in 403": Fault(refusal(403, "403.5"), (3, 3, 3), RateLimited, False),
    "403.5 in 503": Fault(refusal(503, "403.5"), (3, 3, 3), RateLimited, False),
    "500": Fault(refusal(500, 500), (3, 3, 1), ServerError, True),
    "500 in 200": Fault(refusal(200, 500), (3, 3, 1), ServerError, True),
    "500 Retry-After": Fault(refusal(500, 500, WAIT), (3, 3, 1), ServerError, True),
    "502 HTML": Fault(
        reply(PAGE, 502, {"Content-Type": "text/html"}), (3, 3, 1), ServerError, True
    ),
    "503": Fault(refusal(503, 503), (3, 3, 1), ServerError, True),
    "503 Retry-After": Fault(refusal(503, 503, WAIT), (3, 3, 3), ServerError, False),
    "503 Retry-After unreadable": Fault(
        refusal(503, 503, {"Retry-After": "soon"}), (3, 3, 1), ServerError, True
    ),
    "504 empty": Fault(reply(b"", 504), (3, 3, 1), ServerError, True),
    "400": Fault(refusal(400, 400.1), (1, 1, 1), BadRequest, False),
    "403": Fault(refusal(403, "403.1"), (1, 1, 1), PermissionDenied, False),
    "404": Fault(refusal(404, 404.1), (1, 1, 1), NotFound, False),
    "404 in 200": Fault(refusal(200, "404.1"), (1, 1, 1), NotFound, False),
    "418": Fault(refusal(418), (1, 1, 1), APIError, False),
    "302": Fault(refusal(302, headers={"Location": "/elsewhere"}), (1, 1, 1), APIError, False),
    "unreadable": Fault(reply("<html>not JSON"), (1, 1, 1), ReplyError, True),
    "not HTTP": Fault(b"Welcome to telnet\r\n\r\n", (1, 1, 1), ReplyError, True),
    # Sent again with a new token, whatever the safety; that does not count as a repeat.
    "401": Fault(refusal(401), (2, 2, 2), AuthenticationError, False),
    "403.4 in 200": Fault(refusal(200, 403.4), (2, 2, 2), AuthenticationError, False),
    "401.2": Fault(refusal(401, "401.2"), (1, 1, 1), AuthenticationError, False),
}
SAFETIES = ("safe", "idempotent", "unsafe")
# One or two of each safety and method. The fault matrix has all operations.
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
async def server_that(step: Step | str) -> Any:
    """Start a server with this fault; yield it with a timeout that is short enough to notice."""
    timeout = Timeout(total=5)
    if step == "not listening":
        async with WireServer() as wire:
            await wire.leave()
            yield wire, timeout
    elif step == "no handshake":
        async with WireServer() as wire:
            wire.url = wire.url.replace("http:", "https:")
            yield wire, Timeout(total=5, connect=0.03)
    elif step == "unknown CA":
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
    """An operation is repeated as its safety allows, and as often as the policy says."""
    async with (
        server_that(fault.step) as (wire, timeout),
        PortSIPClient(wire.url, token="1", timeout=timeout, retry=THREE) as pbx,
    ):
        skip_pauses(pbx)
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
    ("steps", "expected", "acted"),
    [
        ([reply("", 500)], None, True),
        ([hang_up], None, True),
        ([CUT], None, True),
        ([reply("", 408)], None, True),
        ([hang_up, reply("", 401)], None, True),
        ([], NotFound, False),
        ([reply("", 429)], NotFound, False),
        ([refusal(503, 503, WAIT)], NotFound, False),
        ([reply("", 401)], NotFound, False),
    ],
)
@pytest.mark.parametrize("name", ["extensions.remove", "groups.remove", "greetings.remove"])
async def test_removal_that_finds_nothing(
    name: str, steps: list[Step], expected: type[PortSIPError] | None, acted: bool, wire: WireServer
) -> None:
    """A removal that gets NotFound has succeeded if an earlier attempt may have acted."""
    wire.script = [*steps, refusal(404, 404.1)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        skip_pauses(pbx)
        if expected is None:
            await BY_NAME[name].send(pbx)
        else:
            with pytest.raises(expected) as caught:
                await BY_NAME[name].send(pbx)
            assert caught.value.may_have_acted is acted
    assert len(wire.arrivals) == len(steps) + 1


async def test_removal_does_not_trust_a_web_page(wire: WireServer) -> None:
    """A web page with status 404 comes from a server in between, which knows no extensions."""
    wire.script = [hang_up, reply("<html>Not here</html>", 404)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        skip_pauses(pbx)
        with pytest.raises(NotFound) as caught:
            await BY_NAME["extensions.remove"].send(pbx)
    assert caught.value.may_have_acted


async def test_update_that_finds_nothing_after_a_lost_reply(wire: WireServer) -> None:
    """NotFound means success for a removal only."""
    wire.script = [hang_up, refusal(404, 404.1)]
    async with PortSIPClient(wire.url, token="1") as pbx:
        skip_pauses(pbx)
        with pytest.raises(NotFound) as caught:
            await BY_NAME["extensions.update"].send(pbx)
    assert caught.value.may_have_acted
    assert caught.value.attempts == 2


@pytest.mark.parametrize(
    ("name", "steps", "error", "acted"),
    [
        ("extensions.update", [hang_up, refusal(400, 400.1)], BadRequest, True),
        ("extensions.update", [refusal(500), refusal(429)], RateLimited, True),
        ("extensions.update", [refusal(429), refusal(400, 400.1)], BadRequest, False),
        ("extensions.create", [refusal(429), refusal(500)], ServerError, True),
        ("extensions.create", [refusal(503, 503, WAIT), refusal(400, 400.1)], BadRequest, False),
        ("extensions.create", [refusal(401), hang_up], TransportError, True),
        ("extensions.show", [hang_up, refusal(400, 400.1)], BadRequest, False),
    ],
)
async def test_may_have_acted_is_kept_over_attempts(
    name: str, steps: list[Step], error: type[PortSIPError], acted: bool, wire: WireServer
) -> None:
    """It stays True if an earlier attempt may have acted, however the last one failed."""
    wire.script = steps
    async with PortSIPClient(wire.url, token="1", retry=THREE) as pbx:
        skip_pauses(pbx)
        with pytest.raises(error) as caught:
            await BY_NAME[name].send(pbx)
    assert caught.value.may_have_acted is acted


async def test_success_after_failures(wire: WireServer) -> None:
    """A call that succeeds in the end returns its value, after any failures."""
    wire.script = [reset, refusal(500), CUT, reply({"extension_number": "101"})]
    async with PortSIPClient(wire.url, token="1") as pbx:
        skip_pauses(pbx)
        assert (await pbx.extensions.show("101")).extension_number == "101"
    assert len(wire.arrivals) == 4


async def test_policy_of_one_attempt_never_repeats(wire: WireServer) -> None:
    """With `attempts=1` one request is sent."""
    wire.script = [refusal(429)]
    async with PortSIPClient(wire.url, token="1", retry=RetryPolicy(attempts=1)) as pbx:
        with pytest.raises(RateLimited):
            await pbx.extensions.show("101")
    assert len(wire.arrivals) == 1


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "failure"),
        [
            (ReplyError(), Failure.UNREADABLE),
            (RateLimited(status=429), Failure.LIMITED),
            (RateLimited(status=503, retry_after=1.0), Failure.LIMITED),
            (ServerError(status=500), Failure.SERVER_ERROR),
            (ServerError(status=500, retry_after=1.0), Failure.SERVER_ERROR),
            (ServerError(status=200, err_code=503, retry_after=1.0), Failure.SERVER_ERROR),
            (ServerError(status=503), Failure.SERVER_ERROR),
            (ServerError(status=503, retry_after=0.0), Failure.BUSY),
            (APIError(status=408), Failure.STALLED),
            (APIError(status=418), Failure.REFUSED),
            (BadRequest(status=400, retry_after=1.0), Failure.REFUSED),
            (AuthenticationError(status=401), Failure.REFUSED),
        ],
    )
    def test_failure_of_an_error(self, error: PortSIPError, failure: Failure) -> None:
        """Each error is one kind of failure, which decides about repeats."""
        assert failure_of(error) is failure


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
    def test_policy_out_of_bounds(self, options: dict[str, Any]) -> None:
        """A policy with a value out of bounds is refused."""
        with pytest.raises(ValueError, match="RetryPolicy"):
            RetryPolicy(**options)

    @pytest.mark.parametrize(
        "options", [{"ratio": -0.1}, {"ratio": float("nan")}, {"ratio": 101}, {"burst": -1}]
    )
    def test_budget_out_of_bounds(self, options: dict[str, Any]) -> None:
        """A budget with a value out of bounds is refused."""
        with pytest.raises(ValueError, match="RetryBudget"):
            RetryBudget(**options)

    def test_defaults(self) -> None:
        """The defaults are those of the contract."""
        policy = RetryPolicy()
        assert (policy.attempts, policy.initial, policy.maximum) == (4, 0.1, 5.0)
        assert (policy.deadline, policy.budget) == (30.0, RetryBudget())

    @pytest.mark.parametrize(
        ("repeat", "longest"),
        [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (61, 5.0), (10_000, 5.0)],
    )
    def test_full_jitter(self, repeat: int, longest: float) -> None:
        """A pause is random, from 0 to a limit that doubles up to the maximum."""
        policy = RetryPolicy()
        assert policy.pause(repeat, 0.0) == 0
        assert policy.pause(repeat, 0.5) == pytest.approx(longest / 2)
        assert policy.pause(repeat, 1.0) == pytest.approx(longest)

    @pytest.mark.parametrize("random", [0.0, 0.25, 1.0])
    async def test_pauses_of_a_call(self, random: float, wire: WireServer) -> None:
        """The limits of a call's pauses double, and each pause is random within its limit."""
        wire.script = [refusal(500)]
        policy = RetryPolicy(attempts=5, initial=1.0, maximum=3.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = skip_pauses(pbx, random)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [random * longest for longest in (1.0, 2.0, 3.0, 3.0)]


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "pause"),
        [
            ("7", 7.0),
            ("0", 0.1),  # the random pause
            ("Wed, 21 Oct 2015 07:28:09 GMT", 9.0),
            ("Wed, 21 Oct 2015 07:28:09", 9.0),
            ("Wed, 21 Oct 2015 07:27:00 GMT", 0.1),
            ("86401", 0.1),
            ("-3", 0.1),
            ("shortly", 0.1),
        ],
    )
    async def test_pause(self, value: str, pause: float, wire: WireServer) -> None:
        """A readable Retry-After replaces a shorter random pause."""
        wire.script = [
            refusal(429, headers={"Retry-After": value}),
            reply({"extension_number": "1"}),
        ]
        async with PortSIPClient(wire.url, token="1") as pbx:
            pauses = skip_pauses(pbx, clock=True)
            set_clock(pbx, now=lambda: 1445412480.0)  # Wed, 21 Oct 2015 07:28:00 UTC
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
        """If the wait can't end before the deadline, the PBX's error is raised at once."""
        wire.script = [refusal(429, headers={"Retry-After": asked})]
        policy = RetryPolicy(attempts=2, deadline=deadline)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = skip_pauses(pbx, clock=True)
            with pytest.raises(RateLimited) as caught:
                await BY_NAME[name].send(pbx)
        assert len(wire.arrivals) == arrivals
        assert pauses.taken == [float(asked)] * (arrivals - 1)
        assert caught.value.retry_after == float(asked)

    async def test_deadline_over_all_pauses(self, wire: WireServer) -> None:
        """The deadline includes the time of earlier attempts and pauses."""
        wire.script = [refusal(503, 503, {"Retry-After": "4"})]
        policy = RetryPolicy(attempts=10, deadline=10.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = skip_pauses(pbx, clock=True)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [4.0, 4.0]
        assert len(wire.arrivals) == 3

    async def test_backoff_beyond_the_deadline(self, wire: WireServer) -> None:
        """A backoff that can't end before the deadline is not begun."""
        wire.script = [refusal(500)]
        policy = RetryPolicy(attempts=10, initial=8.0, maximum=8.0, deadline=10.0)
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            pauses = skip_pauses(pbx, clock=True)
            with pytest.raises(ServerError):
                await pbx.extensions.show("101")
        assert pauses.taken == [8.0]


async def errors_of(
    pbx: PortSIPClient, calls: int, send: Callable[[PortSIPClient], Awaitable[Any]]
) -> list[BaseException]:
    """Make many calls at once, and return their errors."""
    outcomes = await asyncio.gather(*(send(pbx) for _ in range(calls)), return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


async def show(pbx: PortSIPClient) -> Any:
    return await pbx.extensions.show("101")


class TestBudget:
    @pytest.mark.parametrize("calls", [1, 2, 10, 100])
    @pytest.mark.parametrize("before", [0, 300])
    async def test_load_of_an_outage(self, calls: int, before: int, wire: WireServer) -> None:
        """An outage at most doubles the load, plus a few repeats, also after a quiet time."""
        async with PortSIPClient(wire.url, token="1") as pbx:
            skip_pauses(pbx)
            wire.script = [OK]
            assert await errors_of(pbx, before, show) == []
            assert len(wire.arrivals) == before
            wire.script = [refusal(500, headers=KEEP)]
            assert len(await errors_of(pbx, calls, show)) == calls
        arrivals = len(wire.arrivals) - before
        assert arrivals >= calls * 2
        assert arrivals <= min(calls * 4, calls * 2 + SPARE)

    async def test_first_call_of_a_client(self, wire: WireServer) -> None:
        """The first call may make all the attempts of its policy."""
        wire.script = [refusal(500)]
        async with PortSIPClient(wire.url, token="1", retry=RetryPolicy(attempts=9)) as pbx:
            skip_pauses(pbx)
            with pytest.raises(ServerError) as caught:
                await show(pbx)
        assert caught.value.attempts == 9

    async def test_failure_of_all_calls_in_flight(self, wire: WireServer) -> None:
        """If the connections of many calls break at once, each call can repeat."""
        wire.script = [OK]
        async with PortSIPClient(wire.url, token="1") as pbx:
            skip_pauses(pbx)
            await errors_of(pbx, 200, show)
            start = len(wire.arrivals)
            wire.script = [*[OK] * start, *[hang_up] * 64, OK]
            assert await errors_of(pbx, 64, show) == []
        assert len(wire.arrivals) == start + 128

    async def test_views_share_the_budget(self, wire: WireServer) -> None:
        """A view uses the client's budget, whatever the view's policy says."""
        wire.script = [refusal(500, headers=KEEP)]
        async with PortSIPClient(
            wire.url, token="1", retry=RetryPolicy(budget=RetryBudget(ratio=0, burst=0))
        ) as pbx:
            view = pbx.with_options(retry=RetryPolicy(budget=RetryBudget(ratio=100, burst=999)))
            skip_pauses(pbx)
            assert [error.attempts for error in await one_by_one(view, 3)] == [4, 1, 1]
            assert [error.attempts for error in await one_by_one(pbx, 2)] == [1, 1]

    async def test_ratio_of_repeats(self, wire: WireServer) -> None:
        """Each call adds `ratio` repeats to the budget."""
        wire.script = [refusal(500, headers=KEEP)]
        policy = RetryPolicy(attempts=2, budget=RetryBudget(ratio=0.5, burst=0))
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            skip_pauses(pbx)
            attempts = [error.attempts for error in await one_by_one(pbx, 9)]
        assert sum(attempts) == pytest.approx(9 * 1.5 + 1, abs=1)

    async def test_refused_connections_cost_nothing(self, wire: WireServer) -> None:
        """A refused connection puts no load on the PBX, so repeats after it are free."""
        await wire.leave()
        policy = RetryPolicy(budget=RetryBudget(ratio=0, burst=0))
        async with PortSIPClient(wire.url, token="1", retry=policy) as pbx:
            skip_pauses(pbx)
            errors = await one_by_one(pbx, 10)
        assert {type(error) for error in errors} == {ConnectError}
        assert {error.attempts for error in errors} == {4}

    async def test_rejected_tokens_cost_nothing(self, wire: WireServer) -> None:
        """Repeats with a new token, after a rejected one, do not use the budget."""
        wire.script = [refusal(401, headers=KEEP), OK] * 9
        policy = RetryPolicy(attempts=1, budget=RetryBudget(ratio=0, burst=0))
        async with PortSIPClient(wire.url, username="a", password="b", retry=policy) as pbx:
            for _ in range(9):
                await show(pbx)
        assert len(wire.arrivals) == 18


KEEP = {"Connection": "keep-alive"}
OK = reply({"extension_number": "101"}, headers=KEEP)
# The most repeats, beyond one for each call, that the budget may hold when an outage begins.
SPARE = 10


async def one_by_one(pbx: PortSIPClient, calls: int) -> list[PortSIPError]:
    errors = []
    for _ in range(calls):
        with pytest.raises(PortSIPError) as caught:
            await show(pbx)
        errors.append(caught.value)
    return errors


def test_bucket_holds_no_more_than_its_burst() -> None:
    """Successful calls fill the bucket up to its burst, and no further."""
    bucket = RetryBucket(RetryPolicy(attempts=3, budget=RetryBudget(ratio=1.0, burst=5)))
    for _ in range(1000):
        bucket.begin_call()
        bucket.end_call()
    assert [bucket.spend() for _ in range(7)] == [True] * 5 + [False] * 2


def test_bucket_keeps_the_repeats_of_calls_in_flight() -> None:
    """The burst does not limit the repeats that calls in flight have earned."""
    bucket = RetryBucket(RetryPolicy(attempts=1, budget=RetryBudget(ratio=1.0, burst=2)))
    for _ in range(10):
        bucket.begin_call()
    bucket.end_call()  # the other nine keep theirs
    assert [bucket.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(9):
        bucket.end_call()
    assert not bucket.spend()
