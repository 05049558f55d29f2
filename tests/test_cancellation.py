"""Cancellation: prompt wherever a call stands, never swallowed, with nothing left behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from portsip_async import (
    ClientClosed,
    NotFound,
    PortSIPClient,
    RequestTimeout,
    RetryPolicy,
    Timeout,
)
from portsip_async.core.limits import CLOSED, TIMED_OUT, Interruptible, SharedTimer
from portsip_async.simulator import PBXSimulator

from .concurrency import Vault, entered, hang, ticks, under_way, until
from .conftest import ClientMaker
from .wire_server import Arrival, WireServer, reply

OK = reply({"extension_number": "101"}, headers={"Connection": "keep-alive"})


class Stalling:
    """Steps of a wire that say so much and then nothing, until the client hangs up.

    Attributes:
        reached: how many requests stand at that point.
        left: how many of their connections the client has closed.
    """

    def __init__(self, head: bytes = b"") -> None:
        self.head = head
        self.reached = 0
        self.left = 0

    async def __call__(
        self, _: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(self.head)
        await ticks()  # a client that leaves with bytes unread resets instead of hanging up
        self.reached += 1
        await reader.read()
        self.left += 1


class Held(NamedTuple):
    """A call that stands where a test wants it."""

    pbx: PortSIPClient
    call: Callable[[], Awaitable[Any]]
    reached: Callable[[], object]
    left: Callable[[], object]


@pytest.fixture
def hold(
    wire: WireServer, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Held]:
    """Make a client whose next call comes as far as a place and no further."""

    def nothing() -> bool:
        return True

    def make(place: str, **options: Any) -> Held:
        stalling = Stalling()
        wire.script = [stalling]
        options.setdefault("max_connections", 1)
        vault = Vault()
        pbx = make_client(wire.url, credentials=vault, **options)
        session = pbx._session

        def show() -> Awaitable[Any]:
            return pbx.extensions.show("101")

        def scopes() -> int:
            return len(session._context.calls)

        if place == "token":
            vault.open.clear()
            return Held(pbx, show, lambda: vault.fetched, nothing)
        if place == "connecting":
            connecting = asyncio.Event()

            async def connect(*_: object) -> None:
                connecting.set()
                await hang()

            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
            return Held(pbx, show, connecting.is_set, nothing)
        if place == "sending":
            waiting = asyncio.Event()

            async def chunks() -> AsyncIterator[bytes]:
                yield b"some"
                waiting.set()
                await hang()

            def upload() -> Awaitable[Any]:
                return pbx.greetings.upload("101", chunks(), filename="a.wav")

            return Held(pbx, upload, waiting.is_set, nothing)
        if place == "backing off":
            pausing = asyncio.Event()

            async def pause(_: float) -> None:
                pausing.set()
                await hang()

            session.clock.sleep = pause
            wire.script = [reply(status=503)]
            return Held(pbx, show, pausing.is_set, nothing)
        if place == "body":
            stalling.head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
        return Held(pbx, show, lambda: stalling.reached and scopes() == 1, lambda: stalling.left)

    return make


PLACES = ["token", "connecting", "sending", "head", "body", "backing off"]


class TestCancelled:
    @pytest.mark.parametrize("place", PLACES)
    async def test_promptly_with_nothing_left(
        self, hold: Callable[..., Held], place: str, wire: WireServer
    ) -> None:
        """The CancelledError comes through at once; the place and the connection are given back."""
        held = hold(place)
        task = asyncio.ensure_future(held.call())
        await until(held.reached)
        session = held.pbx._session
        assert session._context.semaphore.locked()
        task.cancel()
        await ticks()
        assert task.cancelled()
        assert not session._context.semaphore.locked()
        assert not session._context.calls
        await until(held.left)

    @pytest.mark.parametrize("place", PLACES)
    async def test_by_a_timeout_around_the_call(
        self, hold: Callable[..., Held], place: str
    ) -> None:
        """`asyncio.timeout` bounds everything, and its TimeoutError is the one that is raised."""
        held = hold(place)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as bound, under_way(self.expiring(held, bound)):
                await held.call()
        assert type(caught.value) is TimeoutError
        assert bound.expired()
        assert task.cancelling() == 0
        assert not held.pbx._session._context.semaphore.locked()

    @staticmethod
    async def expiring(held: Held, bound: asyncio.Timeout) -> None:
        await until(held.reached)
        bound.reschedule(asyncio.get_running_loop().time())

    async def test_waiting_for_a_place(self, hold: Callable[..., Held]) -> None:
        """One who waits in the line leaves it; those behind move up, and the place is not lost."""
        held = hold("head")
        async with under_way(*(held.call() for _ in range(4))) as (first, second, third, _):
            await until(lambda: len(held.pbx._session._context.calls) == 4)
            second.cancel()
            await ticks()
            assert second.cancelled()
            assert not third.done()
            first.cancel()
            await ticks()
            assert held.pbx._session._context.semaphore.locked()
        assert not held.pbx._session._context.semaphore.locked()

    async def test_woken_and_cancelled_at_once(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A place that falls to one who is cancelled in the same moment goes to the next."""
        wire.script = [OK]
        pbx = make_client(wire.url, max_connections=1)
        await pbx._session._context.semaphore.acquire()
        async with under_way(pbx.extensions.show("101"), pbx.extensions.show("102")) as (one, two):
            await ticks()
            pbx._session._context.semaphore.release()
            one.cancel()
            await two
            assert one.cancelled()
        assert not pbx._session._context.semaphore.locked()

    async def test_waiting_for_the_rate(self, wire: WireServer, make_client: ClientMaker) -> None:
        wire.script = [OK]
        pbx = make_client(wire.url, requests_per_second=0.01, max_connections=1)
        await pbx.extensions.show("101")
        task = asyncio.ensure_future(pbx.extensions.show("101"))
        await ticks()
        assert pbx._session._context.semaphore.locked()
        task.cancel()
        await ticks()
        assert task.cancelled()
        assert not pbx._session._context.semaphore.locked()
        assert len(wire.arrivals) == 1

    async def test_slot_of_the_cancelled_goes_to_the_next(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """One who leaves the line for the rate takes no slot with it."""
        wire.script = [OK]
        pbx = make_client(wire.url, requests_per_second=2)
        await pbx.extensions.show("101")
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with under_way(*(pbx.extensions.show("101") for _ in range(6))) as tasks:
            await ticks()
            for task in tasks[:5]:
                task.cancel()
            await tasks[5]
        assert loop.time() - start < 2

    async def test_waiter_leaves_the_renewal_to_others(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """Of calls that wait for one token, a cancelled one takes it from nobody."""
        wire.script = [OK]
        vault = Vault()
        vault.open.clear()
        pbx = make_client(wire.url, credentials=vault)
        async with under_way(*(pbx.extensions.show("101") for _ in range(5))) as (first, *others):
            await until(lambda: vault.fetched)
            first.cancel()
            await ticks()
            assert first.cancelled()
            vault.open.set()
            await asyncio.gather(*others)
        assert vault.fetched == 1

    async def test_all_at_once(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Hundreds that are cancelled together leave a client that works."""
        pbx = make_client(max_connections=8)
        await pbx.extensions.show("101")
        sim.fail("extensions.show", latency=30, times=8)
        async with under_way(*(pbx.extensions.show("101") for _ in range(200))) as tasks:
            await until(lambda: sim.in_flight == 8)
            for task in tasks:
                task.cancel()
            await ticks()
            assert all(task.cancelled() for task in tasks)
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(20)))

    async def test_own_timer_of_a_late_attempt_goes(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A cancelled call is not interrupted later by what bounded it."""
        stalling = Stalling()
        wire.script = [stalling]
        pbx = make_client(wire.url, token="T", timeout=0.02, retry=RetryPolicy(attempts=1))
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pbx.extensions.show("101")
        await asyncio.sleep(0.05)
        assert task.cancelling() == 0


class TestOurOwn:
    """Interruptions of ours are no cancellation of the task."""

    @pytest.mark.parametrize(
        "options",
        [
            {"timeout": 0.02, "retry": RetryPolicy(attempts=1)},
            {"timeout": Timeout(total=None, read=0.02), "retry": RetryPolicy(attempts=1)},
            {"retry": RetryPolicy(deadline=0.02)},
            {"timeout": 0.01, "retry": RetryPolicy(initial=0, deadline=0.05)},
        ],
        ids=["total", "read", "deadline", "repeated"],
    )
    async def test_timeouts_leave_no_trace(
        self, wire: WireServer, make_client: ClientMaker, options: dict[str, Any]
    ) -> None:
        """After a RequestTimeout the task counts no cancellation, and may time out again."""
        wire.script = [Stalling()]
        pbx = make_client(wire.url, token="T", **options)
        task = asyncio.current_task()
        assert task is not None
        for _ in range(2):
            with pytest.raises(RequestTimeout):
                await pbx.extensions.show("101")
            assert task.cancelling() == 0
        await ticks()

    async def test_deadline_of_a_wait_leaves_no_trace(self, hold: Callable[..., Held]) -> None:
        held = hold("token", retry=RetryPolicy(deadline=0.02))
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RequestTimeout):
            await held.call()
        assert task.cancelling() == 0

    async def test_in_a_task_that_is_being_cancelled(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A call that cleans up after a cancellation times out like any other."""
        wire.script = [Stalling()]
        pbx = make_client(wire.url, token="T", timeout=0.02, retry=RetryPolicy(attempts=1))

        async def work() -> int:
            try:
                await hang()
            except asyncio.CancelledError:
                with pytest.raises(RequestTimeout):
                    await pbx.extensions.show("101")
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        working = asyncio.create_task(work())
        await ticks()
        working.cancel()
        assert await working == 1


class TestAtOnce:
    """A cancellation and an interruption of ours in the same moment."""

    @pytest.fixture
    async def calling(
        self, hold: Callable[..., Held]
    ) -> AsyncIterator[tuple[asyncio.Task[Any], Interruptible, PortSIPClient]]:
        held = hold("head", retry=RetryPolicy(attempts=1))

        async def call() -> Any:
            return await held.call()

        task = asyncio.create_task(call())
        await until(held.reached)
        (scope,) = held.pbx._session._context.calls
        yield task, scope, held.pbx
        assert not held.pbx._session._context.semaphore.locked()
        assert not held.pbx._session._context.calls

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    @pytest.mark.parametrize("ours_first", [True, False])
    async def test_cancellation_wins(
        self,
        calling: tuple[asyncio.Task[Any], Interruptible, PortSIPClient],
        cause: str,
        ours_first: bool,
    ) -> None:
        """A CancelledError that is somebody else's comes through, whoever was first."""
        task, scope, _ = calling
        if ours_first:
            scope.interrupt(cause)
            task.cancel()
        else:
            task.cancel()
            scope.interrupt(cause)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    async def test_ours_alone(
        self, calling: tuple[asyncio.Task[Any], Interruptible, PortSIPClient], cause: str
    ) -> None:
        task, scope, _ = calling
        scope.interrupt(cause)
        scope.interrupt(cause)
        with pytest.raises(RequestTimeout if cause is TIMED_OUT else ClientClosed):
            await task
        assert task.cancelling() == 0

    @pytest.mark.parametrize("causes", [(TIMED_OUT, CLOSED), (CLOSED, TIMED_OUT)])
    async def test_closing_outranks_the_time(
        self,
        calling: tuple[asyncio.Task[Any], Interruptible, PortSIPClient],
        causes: tuple[str, str],
    ) -> None:
        """A call that is late as its client is closed is not repeated after a pause first."""
        task, scope, _ = calling
        for cause in causes:
            scope.interrupt(cause)
        with pytest.raises(ClientClosed):
            await task
        assert task.cancelling() == 0

    async def test_timeout_around_and_close(self, hold: Callable[..., Held]) -> None:
        """Where the application's own timeout strikes as the client closes, the timeout is told."""
        held = hold("head")
        closing: list[asyncio.Task[None]] = []

        async def strike(bound: asyncio.Timeout) -> None:
            await until(held.reached)
            bound.reschedule(asyncio.get_running_loop().time())
            closing.append(asyncio.create_task(held.pbx.close()))

        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as bound, under_way(strike(bound)):
                await held.call()
        assert type(caught.value) is TimeoutError
        assert task.cancelling() == 0
        await asyncio.gather(*closing)


class TestTaskGroup:
    async def test_failure_cancels_the_others(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """One call that fails ends its group at once, with its error alone."""
        pbx = make_client(max_connections=8)
        await pbx.extensions.show("101")
        sim.fail("extensions.status", latency=30, times=None)
        sim.fail("extensions.show", latency=0.05)
        others: list[asyncio.Task[object]] = []

        async def work() -> None:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(pbx.extensions.show("999999"))
                others.extend(group.create_task(pbx.extensions.status(["101"])) for _ in range(20))

        with pytest.raises(ExceptionGroup) as caught:
            await work()
        assert all(other.cancelled() for other in others)
        (error,) = caught.value.exceptions
        assert isinstance(error, NotFound)
        assert not pbx._session._context.calls

    async def test_timeout_within_a_group_is_an_error_of_the_group(
        self, hold: Callable[..., Held]
    ) -> None:
        """A RequestTimeout of ours is no cancellation to a TaskGroup."""
        held = hold("head", timeout=0.02, retry=RetryPolicy(attempts=1))

        async def call() -> None:
            await held.call()

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(call())
        (error,) = caught.value.exceptions
        assert isinstance(error, RequestTimeout)


class TestAgain:
    @pytest.mark.parametrize("pause", range(1, 6))
    @pytest.mark.parametrize("kind", ["poll_status", "watch_status"])
    async def test_while_a_stream_clears_up(
        self, kind: str, pause: int, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """It ends all the same, as where a task group is cancelled with its children."""
        sim.fail("extensions.status", latency=30.0, times=None)
        stream = getattr(pbx.extensions, kind)(["101"])

        async def loop() -> None:
            async with stream:
                async for _ in stream:
                    pass

        async with under_way(loop()) as (looping,):
            await until(lambda: sim.in_flight)
            for _ in range(2):
                looping.cancel()
                await ticks(pause)
            async with asyncio.timeout(5):
                await stream.aclose()
            assert looping.cancelled()


class TestScope:
    async def test_interruption_that_is_swallowed(self) -> None:
        """What something in between swallowed is taken back, and the next one strikes again."""
        task = asyncio.current_task()
        assert task is not None
        scope = entered(task)
        timer = SharedTimer(0.001, asyncio.get_running_loop())
        for _ in range(2):
            timer.start(scope)
            with suppress(asyncio.CancelledError):  # as a tracing callback might
                await asyncio.wait_for(hang(), 5)
            timer.stop(scope)
            assert task.cancelling() == 0
        timer.cancel()

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    async def test_took_nothing(self, cause: str) -> None:
        """A cancellation that no interruption caused is somebody else's."""
        task = asyncio.current_task()
        assert task is not None
        scope = entered(task)
        assert not scope.caught(cause)
        scope.revoke(cause)
        assert task.cancelling() == 0
