"""What bounds calls: places, the rate, the deadline, the timeouts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest

from portsip_async import (
    ConnectError,
    PortSIPClient,
    RateLimited,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    Timeout,
)
from portsip_async.core.limits import TIMED_OUT, Interruptible, SharedTimer
from portsip_async.core.observer import Attempt
from portsip_async.simulator import PBXSimulator

from .clocks import FrozenClock
from .concurrency import Vault, entered, hang, ticks, under_way, until
from .conftest import ClientMaker
from .virtual_time import client, in_virtual_time, simulator, the_loop
from .wire_server import Arrival, WireServer, reply, silence

SHOW = "extensions.show"
ONCE = RetryPolicy(attempts=1)
OK = reply({"extension_number": "101"}, headers={"Connection": "keep-alive"})
AMPLE = 3.0  # seconds; for a busy machine, and less than what a failure would take


class Starts:
    """Notes when attempts begin, logins and renewals left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, attempt: Attempt) -> None:
        if not attempt.operation.startswith("account."):
            self.times.append(time.monotonic() - attempt.seconds)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(sorted(self.times))]


class TestMaxConnections:
    @pytest.mark.parametrize("places", [1, 3, 10])
    async def test_bounds_calls_in_flight(
        self, sim: PBXSimulator, make_client: ClientMaker, places: int
    ) -> None:
        """As many as that are in flight, and no more, whatever the number of callers."""
        pbx = make_client(max_connections=places)
        sim.fail(SHOW, latency=60, times=places)
        async with under_way(*(pbx.extensions.show("101") for _ in range(50))):
            await until(lambda: sim.in_flight == places)
            await ticks()
        await sim.restart()
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(50)))
        assert sim.peak_in_flight == places

    async def test_in_the_order_of_asking(self, wire: WireServer, make_client: ClientMaker) -> None:
        """Those who wait get their turn one after the other."""
        wire.script = [OK]
        pbx = make_client(wire.url, max_connections=1)
        numbers = [str(number) for number in range(100, 120)]
        await asyncio.gather(*(pbx.extensions.show(number) for number in numbers))
        assert [arrival.query.rpartition("=")[2] for arrival in wire.arrivals] == numbers

    async def test_place_is_kept_through_a_pause(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A call that backs off makes no room for others: from admission to end it is one."""
        pbx = make_client(max_connections=1)
        await pbx.extensions.show("101")
        pausing, go_on = asyncio.Event(), asyncio.Event()

        async def pause(_: float) -> None:
            pausing.set()
            await go_on.wait()

        pbx._session.clock.sleep = pause
        sim.fail(SHOW, status=503)
        async with under_way(pbx.extensions.show("101"), pbx.extensions.status(["101"])) as (
            first,
            second,
        ):
            await pausing.wait()
            await asyncio.sleep(0.02)
            assert sim.served["extensions.status"] == 0
            go_on.set()
            await asyncio.gather(first, second)
        assert sim.served["extensions.status"] == 1

    async def test_failures_give_it_back(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        pbx = make_client(max_connections=2, retry=ONCE)
        sim.fail(SHOW, status=500, times=20)
        outcomes = await asyncio.gather(
            *(pbx.extensions.show("101") for _ in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {ServerError}
        await pbx.extensions.show("101")

    @pytest.mark.parametrize("places", [0, -1])
    def test_less_than_one(self, places: int) -> None:
        with pytest.raises(ValueError, match="max_connections"):
            PortSIPClient("https://pbx.example.com", token="T", max_connections=places)


class TestRate:
    async def test_spaced_evenly(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """The first goes at once, and each further one a slot later, not some together."""
        starts = Starts()
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        begin = time.monotonic()
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(8)))
        assert min(starts.gaps) > 0.04 * 0.7
        assert 7 * 0.04 * 0.95 < max(starts.times) - begin < 7 * 0.04 + AMPLE

    async def test_no_burst_after_a_rest(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Slots that nobody took are gone."""
        starts = Starts()
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        await pbx.extensions.show("101")
        await asyncio.sleep(0.2)
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(4)))
        assert min(starts.gaps[1:]) > 0.04 * 0.7

    async def test_no_burst_after_a_slow_login(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Calls that waited for the token together are spaced like any others."""
        starts = Starts()
        sim.fail("account.verify", latency=0.2)
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(5)))
        assert min(starts.gaps) > 0.04 * 0.7

    async def test_less_than_one_a_second(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Any positive rate will do: at 0.8 a second the second call goes after 1.25 s."""
        starts = Starts()
        pbx = make_client(requests_per_second=0.8, on_attempt=starts)
        await asyncio.gather(pbx.extensions.show("101"), pbx.extensions.show("101"))
        (gap,) = starts.gaps
        assert 1.25 * 0.95 < gap < 1.25 + 0.5

    @pytest.mark.parametrize("rate", [1e-9, 0.001, 0.5, 1, 2.5, 1e6, 1e12])
    async def test_first_call_goes_at_once(
        self, sim: PBXSimulator, make_client: ClientMaker, rate: float
    ) -> None:
        pbx = make_client(requests_per_second=rate)
        async with asyncio.timeout(5):
            await pbx.extensions.show("101")

    @pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
    def test_no_rate(self, rate: float) -> None:
        with pytest.raises(ValueError, match="requests_per_second"):
            PortSIPClient("https://pbx.example.com", token="T", requests_per_second=rate)

    async def test_counts_attempts(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Repeats and the replay after a rejected token take slots like first attempts."""
        starts = Starts()
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        sim.fail(SHOW, status=503, times=2)
        sim.fail(SHOW, status=401)
        await pbx.extensions.show("101")
        assert len(starts.times) == 4
        assert min(starts.gaps) > 0.04 * 0.7

    async def test_repeats_go_before_calls_that_wait(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """The deadline of a call that was admitted runs, so it need not stand in the line again."""
        pbx = make_client(requests_per_second=25)
        ended: list[str] = []

        async def show(number: str) -> None:
            await pbx.extensions.show(number)
            ended.append(number)

        sim.fail(SHOW, status=503)
        await asyncio.gather(*(show(str(number)) for number in range(101, 111)))
        assert ended.index("101") <= 2

    async def test_slot_that_comes_too_late(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A repeat whose slot lies beyond the deadline is not waited for: its error is raised."""
        pbx = make_client(requests_per_second=0.1, retry=RetryPolicy(initial=0, deadline=5))
        sim.fail(SHOW, status=503)
        begin = time.monotonic()
        with pytest.raises(ServerError) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < AMPLE
        assert caught.value.attempts == 1

    async def test_slot_of_a_replay_that_comes_too_late(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(requests_per_second=0.1, retry=RetryPolicy(deadline=5))
        sim.fail(SHOW, status=401)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout, match="requests_per_second"):
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < AMPLE


class TestDeadline:
    @in_virtual_time
    async def test_counts_from_the_place(self) -> None:
        """Waiting for a place takes nothing of it."""
        async with simulator(extensions=10) as sim, client(sim, max_connections=1) as pbx:
            hasty = pbx.with_options(retry=RetryPolicy(deadline=0.2))
            await pbx.extensions.show("101")
            sim.fail(SHOW, latency=0.3)
            async with under_way(pbx.extensions.show("101")) as (slow,):
                await until(lambda: sim.in_flight == 1)
                await hasty.extensions.show("101")
                assert slow.done()

    @in_virtual_time
    async def test_counts_from_the_slot(self) -> None:
        """Waiting for the rate takes nothing of it."""
        policy = RetryPolicy(deadline=0.15)
        async with (
            simulator(extensions=10) as sim,
            client(sim, requests_per_second=10, retry=policy) as pbx,
        ):
            await pbx.extensions.show("101")
            await asyncio.gather(*(pbx.extensions.show("101") for _ in range(4)))
            assert the_loop().time() == pytest.approx(0.4, abs=0.01)

    async def test_bounds_repeats(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """However many attempts a policy allows, they end with it."""
        policy = RetryPolicy(attempts=1000, initial=0.01, maximum=0.02, deadline=0.5)
        pbx = make_client(retry=policy)
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=503, times=None)
        begin = time.monotonic()
        # The last one's own error, unless time ran out during that one.
        with pytest.raises((ServerError, RequestTimeout)) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < 0.5 + AMPLE
        assert caught.value.attempts > 2

    async def test_bounds_an_attempt(self, wire: WireServer, make_client: ClientMaker) -> None:
        """An attempt gets what the deadline leaves of its `total`."""
        wire.script = [reply(status=503), silence]
        policy = RetryPolicy(initial=0, deadline=0.1)
        pbx = make_client(wire.url, token="T", retry=policy, timeout=10)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert 0.09 < time.monotonic() - begin < 0.1 + AMPLE
        assert caught.value.attempts == 2

    async def test_bounds_the_wait_for_a_token(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        vault = Vault()
        vault.open.clear()
        pbx = make_client(wire.url, credentials=vault, retry=RetryPolicy(deadline=0.05))
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert (caught.value.attempts, wire.arrivals) == (0, [])

    @pytest.mark.parametrize("status", [429, 503])
    async def test_wait_that_cannot_end_in_time(
        self, sim: PBXSimulator, make_client: ClientMaker, status: int
    ) -> None:
        """A Retry-After beyond the deadline is not waited for."""
        pbx = make_client(retry=RetryPolicy(deadline=5))
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=status, retry_after=6)
        begin = time.monotonic()
        with pytest.raises((ServerError, RateLimited)) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < AMPLE
        assert (caught.value.attempts, caught.value.retry_after) == (1, 6.0)

    async def test_none(self, wire: WireServer, make_client: ClientMaker) -> None:
        """None of them bounds nothing, and sets no timer."""
        wire.script = [reply(status=503), OK]
        pbx = make_client(
            wire.url,
            retry=RetryPolicy(initial=0, deadline=None),
            timeout=Timeout(total=None, connect=None, read=None),
        )
        await pbx.extensions.show("101")
        assert not pbx._session._context._timers


async def drip(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a byte every now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


async def begin_only(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the beginning of a reply, and then nothing."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
    await hang()


class TestTimeout:
    @pytest.mark.parametrize(
        ("step", "timeout"),
        [
            (silence, Timeout(total=0.05)),
            (silence, Timeout(total=0.05, connect=None, read=None)),
            (silence, 0.05),
            (silence, Timeout(read=0.05)),
            (silence, Timeout(total=None, read=0.05)),
            (drip, Timeout(total=0.05, read=10)),
            (drip, Timeout(total=0.05, read=0.04)),
            (begin_only, Timeout(read=0.05)),
            (begin_only, Timeout(total=0.05)),
        ],
    )
    async def test_no_whole_reply(
        self,
        wire: WireServer,
        make_client: ClientMaker,
        step: Callable[..., Any],
        timeout: Timeout | float,
    ) -> None:
        """`total` bounds the attempt, `read` the silence: RequestTimeout, and a TimeoutError."""
        wire.script = [step]
        pbx = make_client(wire.url, token="T", timeout=timeout, retry=ONCE)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert isinstance(caught.value, TimeoutError)
        assert 0.04 < time.monotonic() - begin < 0.05 + AMPLE
        assert (caught.value.operation, caught.value.attempts) == (SHOW, 1)

    async def test_read_is_no_bound_on_a_reply_that_flows(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A reply that takes longer than `read` as a whole is read as long as bytes come."""

        async def slowly(
            _: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            whole = reply({"extension_number": "101"})
            for start in range(0, len(whole), 16):
                writer.write(whole[start : start + 16])
                await asyncio.sleep(0.15)

        wire.script = [slowly]
        pbx = make_client(wire.url, token="T", timeout=Timeout(read=1), retry=ONCE)
        begin = time.monotonic()
        assert (await pbx.extensions.show("101")).extension_number == "101"
        assert time.monotonic() - begin > 1

    @pytest.mark.parametrize(
        "options",
        [
            {"timeout": Timeout(connect=0.55)},
            {"timeout": Timeout(total=0.6)},
            {"timeout": Timeout(total=0.6, connect=10)},
            {"timeout": 0.6},
            {"retry": RetryPolicy(attempts=1, deadline=0.6)},
        ],
        ids=str,
    )
    async def test_no_connection(
        self,
        sim: PBXSimulator,
        make_client: ClientMaker,
        monkeypatch: pytest.MonkeyPatch,
        options: dict[str, Any],
    ) -> None:
        """A connection that is not made in time is a ConnectError: the PBX can't have acted."""
        pbx = make_client(**({"token": "T", "retry": ONCE} | options))
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", hang)
        begin = time.monotonic()
        with pytest.raises(ConnectError) as caught:
            await pbx.extensions.remove("101")
        assert 0.5 < time.monotonic() - begin < 0.6 + AMPLE
        assert not caught.value.may_have_acted

    async def test_no_connection_for_a_repeat(
        self, wire: WireServer, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the deadline leaves a repeat less than its `connect`, that is told likewise."""
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def once(*arguments: Any) -> None:
            monkeypatch.setattr(loop, "sock_connect", hang)
            await connect(*arguments)

        monkeypatch.setattr(loop, "sock_connect", once)
        wire.script = [reply(status=503, headers={"Retry-After": "0"})]
        pbx = make_client(wire.url, token="T", retry=RetryPolicy(attempts=2, deadline=0.5))
        with pytest.raises(ConnectError) as caught:
            await pbx.extensions.call("101", "102", auth="x", domain="pbx.example", src="101")
        assert (caught.value.attempts, caught.value.may_have_acted) == (2, False)

    async def test_each_attempt_anew(self, wire: WireServer, make_client: ClientMaker) -> None:
        """`total` is an attempt's; a repeat gets all of it again."""
        wire.script = [silence, silence, OK]
        pbx = make_client(wire.url, token="T", timeout=0.05)
        begin = time.monotonic()
        await pbx.extensions.show("101")
        assert time.monotonic() - begin > 0.09
        assert len(wire.arrivals) == 3

    async def test_does_not_bound_an_upload(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Neither `total` nor the deadline; `connect` and `read` do."""
        wire.script = [reply()]

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"some"
                await asyncio.sleep(0.02)

        policy = RetryPolicy(attempts=1, deadline=0.03)
        patience = Timeout(total=0.03, read=1)
        pbx = make_client(wire.url, token="T", timeout=patience, retry=policy)
        await pbx.greetings.upload("101", chunks(), filename="a.wav")
        wire.script = [silence]
        hasty = pbx.with_options(timeout=Timeout(total=0.03, read=0.05))
        with pytest.raises(RequestTimeout):
            await hasty.greetings.upload("101", b"abc", filename="a.wav")

    @in_virtual_time
    async def test_hundreds_at_once(self) -> None:
        """Calls that share a timer are all ended by it, each at its own time."""
        clock = the_loop().time
        async with (
            simulator(extensions=10) as sim,
            client(sim, timeout=0.5, retry=ONCE, max_connections=300) as pbx,
        ):
            await pbx.extensions.show("101")
            sim.fail(SHOW, latency=60, times=None)

            async def lasting(after: float) -> float:
                await asyncio.sleep(after)
                begin = clock()
                with pytest.raises(RequestTimeout):
                    await pbx.extensions.show("101")
                return clock() - begin

            ends = await asyncio.gather(*(lasting(number / 2000) for number in range(300)))
        assert ends == pytest.approx([0.5] * 300, abs=0.01)


class Wheel:
    """A loop's timers, on a clock that stands still."""

    def __init__(self) -> None:
        self.time = FrozenClock()
        self.armed: list[tuple[float, Callable[[], None]]] = []
        self.calls = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> "Wheel":
        self.calls += 1
        self.armed.append((when, callback))
        return self

    def cancel(self) -> None:
        self.armed.clear()

    def advance(self, seconds: float) -> None:
        self.time.now += seconds
        due = [armed for armed in self.armed if armed[0] <= self.time.now]
        self.armed = [armed for armed in self.armed if armed not in due]
        for _, callback in due:
            callback()


class TestTimer:
    """One timer of the loop for all that run under the same number of seconds."""

    @pytest.fixture
    def wheel(self) -> Wheel:
        return Wheel()

    @pytest.fixture
    def timer(self, wheel: Wheel) -> SharedTimer:
        return SharedTimer(10.0, wheel)  # type: ignore[arg-type]  # as much of a loop as it needs

    @pytest.fixture
    async def scopes(self) -> AsyncIterator[list[Interruptible]]:
        tasks = [asyncio.create_task(hang()) for _ in range(5)]
        await ticks()
        yield [entered(task) for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test_rings_for_each_at_its_time(
        self, wheel: Wheel, timer: SharedTimer, scopes: list[Interruptible]
    ) -> None:
        for scope in scopes:
            timer.start(scope)
            wheel.advance(1)
        assert len(wheel.armed) == 1
        wheel.advance(4.9)
        assert [scope.task.cancelling() for scope in scopes] == [0, 0, 0, 0, 0]
        for count in range(1, 6):
            wheel.advance(0.2)
            assert [scope.task.cancelling() for scope in scopes] == [1] * count + [0] * (5 - count)
            wheel.advance(0.8)
        assert wheel.armed == []
        assert all(scope.caught(TIMED_OUT) for scope in scopes)

    async def test_leaves_those_alone_who_are_through(
        self, wheel: Wheel, timer: SharedTimer, scopes: list[Interruptible]
    ) -> None:
        for scope in scopes:
            timer.start(scope)
        for scope in scopes[1:]:
            timer.stop(scope)
        wheel.advance(10)
        assert [scope.task.cancelling() for scope in scopes] == [1, 0, 0, 0, 0]

    async def test_costs_a_quick_call_nothing(
        self, wheel: Wheel, timer: SharedTimer, scopes: list[Interruptible]
    ) -> None:
        """A thousand calls one after the other arm one timer."""
        for _ in range(1000):
            timer.start(scopes[0])
            wheel.advance(0.001)
            timer.stop(scopes[0])
        assert wheel.calls == 1
        wheel.advance(10)
        assert wheel.armed == []
        assert scopes[0].task.cancelling() == 0

    async def test_begins_anew_after_a_rest(
        self, wheel: Wheel, timer: SharedTimer, scopes: list[Interruptible]
    ) -> None:
        timer.start(scopes[0])
        timer.stop(scopes[0])
        wheel.advance(9)
        timer.start(scopes[0])
        wheel.advance(9.9)
        assert scopes[0].task.cancelling() == 0
        wheel.advance(0.2)
        assert scopes[0].task.cancelling() == 1

    async def test_cancelled(
        self, wheel: Wheel, timer: SharedTimer, scopes: list[Interruptible]
    ) -> None:
        """What a closed client leaves in the loop is nothing."""
        timer.start(scopes[0])
        timer.cancel()
        timer.cancel()
        assert wheel.armed == []
