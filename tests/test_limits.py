"""What limits calls: connections, the rate, the deadline, the timeouts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
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
from portsip_async.core.hooks import Attempt
from portsip_async.core.limits import TIMED_OUT, Interruptible, SharedTimer
from portsip_async.simulator import PBXSimulator

from .clocks import FrozenClock, set_clock
from .concurrency import (
    GatedCredentials,
    hang,
    in_background,
    interruptible,
    shared_timer_handles,
    until,
    yield_to_loop,
)
from .conftest import ClientMaker
from .virtual_time import client, in_virtual_time, simulator, the_loop
from .wire_server import Arrival, WireServer, reply, silence

SHOW = "extensions.show"
ONCE = RetryPolicy(attempts=1)
OK = reply({"extension_number": "101"}, headers={"Connection": "keep-alive"})
MARGIN = 3.0  # seconds; enough for a busy machine, and less than a failure would take


class Starts:
    """Records when attempts begin, logins and refreshes left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, attempt: Attempt) -> None:
        if not attempt.operation.startswith("account."):
            self.times.append(time.monotonic() - attempt.seconds)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(sorted(self.times))]


class TestMaxConnections:
    @pytest.mark.parametrize("limit", [1, 3, 10])
    async def test_max_connections_limits_calls_in_flight(
        self, sim: PBXSimulator, make_client: ClientMaker, limit: int
    ) -> None:
        """So many calls are in flight, and no more, however many there are."""
        pbx = make_client(max_connections=limit)
        sim.fail(SHOW, latency=60, times=limit)
        async with in_background(*(pbx.extensions.show("101") for _ in range(50))):
            await until(lambda: sim.in_flight == limit)
            await yield_to_loop()
        await sim.restart()
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(50)))
        assert sim.peak_in_flight == limit

    async def test_waiting_calls_keep_their_order(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Waiting calls are sent in the order in which they were made."""
        wire.script = [OK]
        pbx = make_client(wire.url, max_connections=1)
        numbers = [str(number) for number in range(100, 120)]
        await asyncio.gather(*(pbx.extensions.show(number) for number in numbers))
        assert [arrival.query.rpartition("=")[2] for arrival in wire.arrivals] == numbers

    async def test_call_keeps_its_slot_during_a_backoff(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A call counts from its admission to its end, so a backoff makes no room for others."""
        pbx = make_client(max_connections=1)
        await pbx.extensions.show("101")
        pausing, go_on = asyncio.Event(), asyncio.Event()

        async def pause(_: float) -> None:
            pausing.set()
            await go_on.wait()

        set_clock(pbx, sleep=pause)
        sim.fail(SHOW, status=503)
        async with in_background(pbx.extensions.show("101"), pbx.extensions.status(["101"])) as (
            first,
            second,
        ):
            await pausing.wait()
            await asyncio.sleep(0.02)
            assert sim.served["extensions.status"] == 0
            go_on.set()
            await asyncio.gather(first, second)
        assert sim.served["extensions.status"] == 1

    async def test_failed_calls_free_their_slots(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """After many failed calls, another one is sent."""
        pbx = make_client(max_connections=2, retry=ONCE)
        sim.fail(SHOW, status=500, times=20)
        outcomes = await asyncio.gather(
            *(pbx.extensions.show("101") for _ in range(20)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {ServerError}
        await pbx.extensions.show("101")

    @pytest.mark.parametrize("limit", [0, -1])
    def test_less_than_one_is_refused(self, limit: int) -> None:
        """A client needs at least one connection."""
        with pytest.raises(ValueError, match="max_connections"):
            PortSIPClient("https://pbx.example.com", token="T", max_connections=limit)


class TestRate:
    async def test_requests_are_spaced_evenly(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """The first request is sent at once, and each further one a slot later."""
        starts = Starts()
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        begin = time.monotonic()
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(8)))
        assert min(starts.gaps) > 0.04 * 0.7
        assert 7 * 0.04 * 0.95 < max(starts.times) - begin < 7 * 0.04 + MARGIN

    async def test_no_burst_after_idle_time(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Slots that no request used are lost."""
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

    async def test_rate_below_one_a_second(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """At 0.8 requests a second, the second call is sent after 1.25 seconds."""
        starts = Starts()
        pbx = make_client(requests_per_second=0.8, on_attempt=starts)
        await asyncio.gather(pbx.extensions.show("101"), pbx.extensions.show("101"))
        (gap,) = starts.gaps
        assert 1.25 * 0.95 < gap < 1.25 + 0.5

    @pytest.mark.parametrize("rate", [1e-9, 0.001, 0.5, 1, 2.5, 1e6, 1e12])
    async def test_first_call_does_not_wait(
        self, sim: PBXSimulator, make_client: ClientMaker, rate: float
    ) -> None:
        """At any rate, the first call is sent at once."""
        pbx = make_client(requests_per_second=rate)
        async with asyncio.timeout(5):
            await pbx.extensions.show("101")

    @pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
    def test_rate_out_of_bounds_is_refused(self, rate: float) -> None:
        """A rate must be a positive, finite number."""
        with pytest.raises(ValueError, match="requests_per_second"):
            PortSIPClient("https://pbx.example.com", token="T", requests_per_second=rate)

    async def test_rate_counts_attempts(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Repeats wait for slots like first attempts, also the one after a rejected token."""
        starts = Starts()
        pbx = make_client(requests_per_second=25, on_attempt=starts)
        sim.fail(SHOW, status=503, times=2)
        sim.fail(SHOW, status=401)
        await pbx.extensions.show("101")
        assert len(starts.times) == 4
        assert min(starts.gaps) > 0.04 * 0.7

    async def test_repeats_precede_waiting_calls(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A repeat gets the next slot, because the deadline of its call is running."""
        pbx = make_client(requests_per_second=25)
        ended: list[str] = []

        async def show(number: str) -> None:
            await pbx.extensions.show(number)
            ended.append(number)

        sim.fail(SHOW, status=503)
        await asyncio.gather(*(show(str(number)) for number in range(101, 111)))
        assert ended.index("101") <= 2

    async def test_repeat_with_a_slot_after_the_deadline(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """If the slot of a repeat is after the deadline, the error is raised at once."""
        pbx = make_client(requests_per_second=0.1, retry=RetryPolicy(initial=0, deadline=5))
        sim.fail(SHOW, status=503)
        begin = time.monotonic()
        with pytest.raises(ServerError) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < MARGIN
        assert caught.value.attempts == 1

    async def test_new_token_with_a_slot_after_the_deadline(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """After a rejected token, a slot beyond the deadline is a RequestTimeout at once."""
        pbx = make_client(requests_per_second=0.1, retry=RetryPolicy(deadline=5))
        sim.fail(SHOW, status=401)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout, match="requests_per_second"):
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < MARGIN


class TestDeadline:
    @in_virtual_time
    async def test_deadline_excludes_the_wait_for_a_connection(self) -> None:
        """The deadline starts when a call has its slot of `max_connections`."""
        async with simulator(extensions=10) as sim, client(sim, max_connections=1) as pbx:
            short = pbx.with_options(retry=RetryPolicy(deadline=0.2))
            await pbx.extensions.show("101")
            sim.fail(SHOW, latency=0.3)
            async with in_background(pbx.extensions.show("101")) as (slow,):
                await until(lambda: sim.in_flight == 1)
                await short.extensions.show("101")
                assert slow.done()

    @in_virtual_time
    async def test_deadline_excludes_the_wait_for_the_rate(self) -> None:
        """The deadline starts when a call has its first slot of `requests_per_second`."""
        policy = RetryPolicy(deadline=0.15)
        async with (
            simulator(extensions=10) as sim,
            client(sim, requests_per_second=10, retry=policy) as pbx,
        ):
            await pbx.extensions.show("101")
            await asyncio.gather(*(pbx.extensions.show("101") for _ in range(4)))
            assert the_loop().time() == pytest.approx(0.4, abs=0.01)

    async def test_deadline_limits_repeats(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Repeats end by the deadline, however many attempts a policy allows."""
        policy = RetryPolicy(attempts=1000, initial=0.01, maximum=0.02)
        client = make_client(retry=policy)
        await client.extensions.show("101")  # connects and logs in, outside of the deadline
        pbx = client.with_options(retry=replace(policy, deadline=0.5))
        sim.fail(SHOW, status=503, times=None)
        begin = time.monotonic()
        # A RequestTimeout if time ran out during the last attempt.
        with pytest.raises((ServerError, RequestTimeout)) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < 0.5 + MARGIN
        assert caught.value.attempts > 2

    async def test_deadline_limits_an_attempt(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An attempt may take `total`, but no longer than the deadline leaves."""
        wire.script = [reply(status=503), silence]
        policy = RetryPolicy(initial=0, deadline=0.1)
        pbx = make_client(wire.url, token="T", retry=policy, timeout=10)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert 0.09 < time.monotonic() - begin < 0.1 + MARGIN
        assert caught.value.attempts == 2

    async def test_deadline_limits_the_wait_for_a_token(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A call that gets no token by its deadline is a RequestTimeout without an attempt."""
        credentials = GatedCredentials()
        credentials.open.clear()
        pbx = make_client(wire.url, credentials=credentials, retry=RetryPolicy(deadline=0.05))
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert (caught.value.attempts, wire.arrivals) == (0, [])

    @pytest.mark.parametrize("status", [429, 503])
    async def test_retry_after_beyond_the_deadline(
        self, sim: PBXSimulator, make_client: ClientMaker, status: int
    ) -> None:
        """If Retry-After is beyond the deadline, the error is raised at once."""
        pbx = make_client(retry=RetryPolicy(deadline=5))
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=status, retry_after=6)
        begin = time.monotonic()
        with pytest.raises((ServerError, RateLimited)) as caught:
            await pbx.extensions.show("101")
        assert time.monotonic() - begin < MARGIN
        assert (caught.value.attempts, caught.value.retry_after) == (1, 6.0)

    async def test_no_limits_set_no_timer(self, wire: WireServer, make_client: ClientMaker) -> None:
        """A call without a deadline and a timeout sets no timer."""
        wire.script = [reply(status=503), OK]
        pbx = make_client(
            wire.url,
            retry=RetryPolicy(initial=0, deadline=None),
            timeout=Timeout(total=None, connect=None, read=None),
        )
        with shared_timer_handles() as handles:
            await pbx.extensions.show("101")
        assert not handles


async def drip(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a byte every 10 ms, forever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    while True:
        writer.write(b" ")
        await asyncio.sleep(0.01)


async def stop_after_the_first_byte(
    _: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
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
            (stop_after_the_first_byte, Timeout(read=0.05)),
            (stop_after_the_first_byte, Timeout(total=0.05)),
        ],
    )
    async def test_incomplete_reply(
        self,
        wire: WireServer,
        make_client: ClientMaker,
        step: Callable[..., Any],
        timeout: Timeout | float,
    ) -> None:
        """`total` limits the attempt and `read` the silence; the error is a RequestTimeout."""
        wire.script = [step]
        pbx = make_client(wire.url, token="T", timeout=timeout, retry=ONCE)
        begin = time.monotonic()
        with pytest.raises(RequestTimeout) as caught:
            await pbx.extensions.show("101")
        assert isinstance(caught.value, TimeoutError)
        assert 0.04 < time.monotonic() - begin < 0.05 + MARGIN
        assert (caught.value.operation, caught.value.attempts) == (SHOW, 1)

    async def test_read_does_not_limit_a_slow_reply(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A reply that takes longer than `read` is read while its bytes keep coming."""

        async def slowly(
            _: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            data = reply({"extension_number": "101"})
            for start in range(0, len(data), 16):
                writer.write(data[start : start + 16])
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
    async def test_connecting_takes_too_long(
        self,
        sim: PBXSimulator,
        make_client: ClientMaker,
        monkeypatch: pytest.MonkeyPatch,
        options: dict[str, Any],
    ) -> None:
        """If no connection is made in time, it is a ConnectError: the PBX can't have acted."""
        pbx = make_client(**({"token": "T", "retry": ONCE} | options))
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", hang)
        begin = time.monotonic()
        with pytest.raises(ConnectError) as caught:
            await pbx.extensions.remove("101")
        assert 0.5 < time.monotonic() - begin < 0.6 + MARGIN
        assert not caught.value.may_have_acted

    async def test_connecting_for_a_retry_takes_too_long(
        self, wire: WireServer, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is a ConnectError too if the deadline leaves a repeat less than `connect`."""
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

    async def test_total_is_per_attempt(self, wire: WireServer, make_client: ClientMaker) -> None:
        """`total` limits each attempt; a repeat has all of it again."""
        wire.script = [silence, silence, OK]
        pbx = make_client(wire.url, token="T", timeout=0.05)
        begin = time.monotonic()
        await pbx.extensions.show("101")
        assert time.monotonic() - begin > 0.09
        assert len(wire.arrivals) == 3

    async def test_total_does_not_limit_an_upload(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An upload is limited by `connect` and `read`, not by `total` and the deadline."""
        wire.script = [reply()]

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"some"
                await asyncio.sleep(0.02)

        policy = RetryPolicy(attempts=1, deadline=0.03)
        timeout = Timeout(total=0.03, read=1)
        pbx = make_client(wire.url, token="T", timeout=timeout, retry=policy)
        await pbx.greetings.upload("101", chunks(), filename="a.wav")
        wire.script = [silence]
        short = pbx.with_options(timeout=Timeout(total=0.03, read=0.05))
        with pytest.raises(RequestTimeout):
            await short.greetings.upload("101", b"abc", filename="a.wav")

    @in_virtual_time
    async def test_hundreds_of_timeouts_at_once(self) -> None:
        """A shared timer ends each of its calls at the call's own time."""
        clock = the_loop().time
        async with (
            simulator(extensions=10) as sim,
            client(sim, timeout=0.5, retry=ONCE, max_connections=300) as pbx,
        ):
            await pbx.extensions.show("101")
            sim.fail(SHOW, latency=60, times=None)

            async def seconds_until_timeout(after: float) -> float:
                await asyncio.sleep(after)
                begin = clock()
                with pytest.raises(RequestTimeout):
                    await pbx.extensions.show("101")
                return clock() - begin

            ends = await asyncio.gather(
                *(seconds_until_timeout(number / 2000) for number in range(300))
            )
        assert ends == pytest.approx([0.5] * 300, abs=0.01)


class FakeLoop:
    """The timers of an event loop, on a frozen clock."""

    def __init__(self) -> None:
        self.time = FrozenClock()
        self.pending: list[tuple[float, Callable[[], None]]] = []
        self.calls = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> "FakeLoop":
        self.calls += 1
        self.pending.append((when, callback))
        return self

    def cancel(self) -> None:
        self.pending.clear()

    def advance(self, seconds: float) -> None:
        self.time.now += seconds
        due = [timer for timer in self.pending if timer[0] <= self.time.now]
        self.pending = [timer for timer in self.pending if timer not in due]
        for _, callback in due:
            callback()


class TestSharedTimer:
    """One timer of the loop serves all calls that may take the same number of seconds."""

    @pytest.fixture
    def loop(self) -> FakeLoop:
        return FakeLoop()

    @pytest.fixture
    def timer(self, loop: FakeLoop) -> SharedTimer:
        return SharedTimer(10.0, loop)  # type: ignore[arg-type]  # as much of a loop as it needs

    @pytest.fixture
    async def calls(self) -> AsyncIterator[list[Interruptible]]:
        tasks = [asyncio.create_task(hang()) for _ in range(5)]
        await yield_to_loop()
        yield [interruptible(task) for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test_timer_interrupts_each_call_at_its_time(
        self, loop: FakeLoop, timer: SharedTimer, calls: list[Interruptible]
    ) -> None:
        """The shared timer has one timer of the loop, and ends each call at its own end."""
        for call in calls:
            timer.start(call)
            loop.advance(1)
        assert len(loop.pending) == 1
        loop.advance(4.9)
        assert [call.task.cancelling() for call in calls] == [0, 0, 0, 0, 0]
        for count in range(1, 6):
            loop.advance(0.2)
            assert [call.task.cancelling() for call in calls] == [1] * count + [0] * (5 - count)
            loop.advance(0.8)
        assert loop.pending == []
        assert all(call.caught(TIMED_OUT) for call in calls)

    async def test_timer_leaves_ended_calls_alone(
        self, loop: FakeLoop, timer: SharedTimer, calls: list[Interruptible]
    ) -> None:
        """Only calls that still run are interrupted."""
        for call in calls:
            timer.start(call)
        for call in calls[1:]:
            timer.stop(call)
        loop.advance(10)
        assert [call.task.cancelling() for call in calls] == [1, 0, 0, 0, 0]

    async def test_quick_calls_share_one_timer(
        self, loop: FakeLoop, timer: SharedTimer, calls: list[Interruptible]
    ) -> None:
        """A thousand quick calls, one after the other, set one timer of the loop."""
        for _ in range(1000):
            timer.start(calls[0])
            loop.advance(0.001)
            timer.stop(calls[0])
        assert loop.calls == 1
        loop.advance(10)
        assert loop.pending == []
        assert calls[0].task.cancelling() == 0

    async def test_timer_is_set_again_after_idle_time(
        self, loop: FakeLoop, timer: SharedTimer, calls: list[Interruptible]
    ) -> None:
        """The time of a call starts when the call begins, also after the timer was unused."""
        timer.start(calls[0])
        timer.stop(calls[0])
        loop.advance(9)
        timer.start(calls[0])
        loop.advance(9.9)
        assert calls[0].task.cancelling() == 0
        loop.advance(0.2)
        assert calls[0].task.cancelling() == 1

    async def test_cancelled_timer_is_removed_from_the_loop(
        self, loop: FakeLoop, timer: SharedTimer, calls: list[Interruptible]
    ) -> None:
        """A timer may be cancelled twice; nothing is left in the loop."""
        timer.start(calls[0])
        timer.cancel()
        timer.cancel()
        assert loop.pending == []
