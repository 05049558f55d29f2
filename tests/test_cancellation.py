"""Cancellation: prompt at every stage of a call, never swallowed, with nothing left behind."""

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

from .clocks import set_clock
from .concurrency import (
    GatedCredentials,
    hang,
    in_background,
    interruptible,
    until,
    yield_to_loop,
)
from .conftest import ClientMaker
from .internals import calls_of, semaphore_of
from .wire_server import Arrival, WireServer, reply

OK = reply({"extension_number": "101"}, headers={"Connection": "keep-alive"})


class Stalling:
    """A step that sends the start of a reply, then waits until the client hangs up.

    Attributes:
        head: what it sends.
        reached: how many requests it has received.
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
        await yield_to_loop()  # a client with unread bytes would reset instead of hanging up
        self.reached += 1
        await reader.read()
        self.left += 1


class StalledCall(NamedTuple):
    """A call that stops at a stage.

    Attributes:
        pbx: the client.
        call: begins the call.
        reached: whether the call is at that stage.
        left: whether the server has seen that the call ended.
    """

    pbx: PortSIPClient
    call: Callable[[], Awaitable[Any]]
    reached: Callable[[], object]
    left: Callable[[], object]


@pytest.fixture
def stall(
    wire: WireServer, make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., StalledCall]:
    """Make a client and a call of it that stops at a stage."""

    def nothing() -> bool:
        return True

    def make(stage: str, **options: Any) -> StalledCall:
        stalling = Stalling()
        wire.script = [stalling]
        options.setdefault("max_connections", 1)
        credentials = GatedCredentials()
        pbx = make_client(wire.url, credentials=credentials, **options)

        def show() -> Awaitable[Any]:
            return pbx.extensions.show("101")

        if stage == "token":
            credentials.open.clear()
            return StalledCall(pbx, show, lambda: credentials.fetched, nothing)
        if stage == "connecting":
            connecting = asyncio.Event()

            async def connect(*_: object) -> None:
                connecting.set()
                await hang()

            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
            return StalledCall(pbx, show, connecting.is_set, nothing)
        if stage == "sending":
            waiting = asyncio.Event()

            async def chunks() -> AsyncIterator[bytes]:
                yield b"some"
                waiting.set()
                await hang()

            def upload() -> Awaitable[Any]:
                return pbx.greetings.upload("101", chunks(), filename="a.wav")

            return StalledCall(pbx, upload, waiting.is_set, nothing)
        if stage == "backing off":
            pausing = asyncio.Event()

            async def pause(_: float) -> None:
                pausing.set()
                await hang()

            set_clock(pbx, sleep=pause)
            wire.script = [reply(status=503)]
            return StalledCall(pbx, show, pausing.is_set, nothing)
        if stage == "body":
            stalling.head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"
        return StalledCall(
            pbx, show, lambda: stalling.reached and len(calls_of(pbx)) == 1, lambda: stalling.left
        )

    return make


STAGES = ["token", "connecting", "sending", "head", "body", "backing off"]


class TestCancelled:
    @pytest.mark.parametrize("stage", STAGES)
    async def test_cancelled_call_frees_its_resources(
        self, stall: Callable[..., StalledCall], stage: str, wire: WireServer
    ) -> None:
        """The CancelledError is raised at once. The slot and the connection are free again."""
        stalled = stall(stage)
        task = asyncio.ensure_future(stalled.call())
        await until(stalled.reached)
        assert semaphore_of(stalled.pbx).locked()
        task.cancel()
        await yield_to_loop()
        assert task.cancelled()
        assert not semaphore_of(stalled.pbx).locked()
        assert not calls_of(stalled.pbx)
        await until(stalled.left)

    @pytest.mark.parametrize("stage", STAGES)
    async def test_timeout_around_a_call(
        self, stall: Callable[..., StalledCall], stage: str
    ) -> None:
        """`asyncio.timeout` ends a call at every stage, and raises its own TimeoutError."""
        stalled = stall(stage)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError) as caught:
            async with (
                asyncio.timeout(None) as timeout,
                in_background(self.expire(stalled, timeout)),
            ):
                await stalled.call()
        assert type(caught.value) is TimeoutError
        assert timeout.expired()
        assert task.cancelling() == 0
        assert not semaphore_of(stalled.pbx).locked()

    @staticmethod
    async def expire(stalled: StalledCall, timeout: asyncio.Timeout) -> None:
        await until(stalled.reached)
        timeout.reschedule(asyncio.get_running_loop().time())

    async def test_cancelled_while_waiting_for_a_slot(
        self, stall: Callable[..., StalledCall]
    ) -> None:
        """A waiting call leaves the queue, and no slot is lost."""
        stalled = stall("head")
        async with in_background(*(stalled.call() for _ in range(4))) as (first, second, third, _):
            await until(lambda: len(calls_of(stalled.pbx)) == 4)
            second.cancel()
            await yield_to_loop()
            assert second.cancelled()
            assert not third.done()
            first.cancel()
            await yield_to_loop()
            assert semaphore_of(stalled.pbx).locked()
        assert not semaphore_of(stalled.pbx).locked()

    async def test_cancelled_when_its_slot_becomes_free(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """If a call is cancelled as it gets its slot, the slot goes to the next call."""
        wire.script = [OK]
        pbx = make_client(wire.url, max_connections=1)
        semaphore = semaphore_of(pbx)
        await semaphore.acquire()
        async with in_background(pbx.extensions.show("101"), pbx.extensions.show("102")) as (
            first,
            second,
        ):
            await yield_to_loop()
            semaphore.release()
            first.cancel()
            await second
            assert first.cancelled()
        assert not semaphore.locked()

    async def test_cancelled_while_waiting_for_the_rate(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The call ends at once, and is not sent."""
        wire.script = [OK]
        pbx = make_client(wire.url, requests_per_second=0.01, max_connections=1)
        await pbx.extensions.show("101")
        task = asyncio.ensure_future(pbx.extensions.show("101"))
        await yield_to_loop()
        assert semaphore_of(pbx).locked()
        task.cancel()
        await yield_to_loop()
        assert task.cancelled()
        assert not semaphore_of(pbx).locked()
        assert len(wire.arrivals) == 1

    async def test_cancelled_call_uses_no_slot_of_the_rate(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The slot of a call that is cancelled while it waits goes to the next call."""
        wire.script = [OK]
        pbx = make_client(wire.url, requests_per_second=2)
        await pbx.extensions.show("101")
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with in_background(*(pbx.extensions.show("101") for _ in range(6))) as tasks:
            await yield_to_loop()
            for task in tasks[:5]:
                task.cancel()
            await tasks[5]
        assert loop.time() - start < 2

    async def test_cancelled_waiter_leaves_the_renewal_running(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """If one of the calls that wait for a token is cancelled, the others get the token."""
        wire.script = [OK]
        credentials = GatedCredentials()
        credentials.open.clear()
        pbx = make_client(wire.url, credentials=credentials)
        async with in_background(*(pbx.extensions.show("101") for _ in range(5))) as (
            first,
            *others,
        ):
            await until(lambda: credentials.fetched)
            first.cancel()
            await yield_to_loop()
            assert first.cancelled()
            credentials.open.set()
            await asyncio.gather(*others)
        assert credentials.fetched == 1

    async def test_hundreds_cancelled_at_once(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """After hundreds of calls were cancelled together, the client works."""
        pbx = make_client(max_connections=8)
        await pbx.extensions.show("101")
        sim.fail("extensions.show", latency=30, times=8)
        async with in_background(*(pbx.extensions.show("101") for _ in range(200))) as tasks:
            await until(lambda: sim.in_flight == 8)
            for task in tasks:
                task.cancel()
            await yield_to_loop()
            assert all(task.cancelled() for task in tasks)
        await asyncio.gather(*(pbx.extensions.show("101") for _ in range(20)))

    async def test_cancelled_call_stops_its_timer(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The timeout of a call that was cancelled does not interrupt its task later."""
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


class TestInterruptions:
    """An interruption by the SDK does not count as a cancellation of the task."""

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
    async def test_timeout_leaves_the_task_uncancelled(
        self, wire: WireServer, make_client: ClientMaker, options: dict[str, Any]
    ) -> None:
        """After a RequestTimeout, `task.cancelling()` is 0, and a further call can time out."""
        wire.script = [Stalling()]
        pbx = make_client(wire.url, token="T", **options)
        task = asyncio.current_task()
        assert task is not None
        for _ in range(2):
            with pytest.raises(RequestTimeout):
                await pbx.extensions.show("101")
            assert task.cancelling() == 0
        await yield_to_loop()

    async def test_deadline_during_a_wait_leaves_the_task_uncancelled(
        self, stall: Callable[..., StalledCall]
    ) -> None:
        """This also holds for a deadline that ends the wait for a token."""
        stalled = stall("token", retry=RetryPolicy(deadline=0.02))
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RequestTimeout):
            await stalled.call()
        assert task.cancelling() == 0

    async def test_timeout_in_a_task_that_is_being_cancelled(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A call that a task makes after its cancellation times out like any other."""
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
        await yield_to_loop()
        working.cancel()
        assert await working == 1


class TestSimultaneous:
    """A cancellation and an interruption by the SDK at the same moment."""

    @pytest.fixture
    async def running(
        self, stall: Callable[..., StalledCall]
    ) -> AsyncIterator[tuple[asyncio.Task[Any], Interruptible, PortSIPClient]]:
        stalled = stall("head", retry=RetryPolicy(attempts=1))

        async def run() -> Any:
            return await stalled.call()

        task = asyncio.create_task(run())
        await until(stalled.reached)
        (call,) = calls_of(stalled.pbx)
        yield task, call, stalled.pbx
        assert not semaphore_of(stalled.pbx).locked()
        assert not calls_of(stalled.pbx)

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    @pytest.mark.parametrize("interrupted_first", [True, False])
    async def test_cancellation_wins(
        self,
        running: tuple[asyncio.Task[Any], Interruptible, PortSIPClient],
        cause: str,
        interrupted_first: bool,
    ) -> None:
        """The application's CancelledError is raised, whichever came first."""
        task, call, _ = running
        if interrupted_first:
            call.interrupt(cause)
            task.cancel()
        else:
            task.cancel()
            call.interrupt(cause)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    async def test_interruption_alone(
        self, running: tuple[asyncio.Task[Any], Interruptible, PortSIPClient], cause: str
    ) -> None:
        """Interrupted twice, a call raises the SDK's error once, and the task is not cancelled."""
        task, call, _ = running
        call.interrupt(cause)
        call.interrupt(cause)
        with pytest.raises(RequestTimeout if cause is TIMED_OUT else ClientClosed):
            await task
        assert task.cancelling() == 0

    @pytest.mark.parametrize("causes", [(TIMED_OUT, CLOSED), (CLOSED, TIMED_OUT)])
    async def test_closing_outranks_a_timeout(
        self,
        running: tuple[asyncio.Task[Any], Interruptible, PortSIPClient],
        causes: tuple[str, str],
    ) -> None:
        """A call that times out as its client is closed ends at once, with ClientClosed."""
        task, call, _ = running
        for cause in causes:
            call.interrupt(cause)
        with pytest.raises(ClientClosed):
            await task
        assert task.cancelling() == 0

    async def test_timeout_around_a_call_as_the_client_closes(
        self, stall: Callable[..., StalledCall]
    ) -> None:
        """If the application's timeout expires at the same moment, its TimeoutError is raised."""
        stalled = stall("head")
        closing: list[asyncio.Task[None]] = []

        async def expire_and_close(timeout: asyncio.Timeout) -> None:
            await until(stalled.reached)
            timeout.reschedule(asyncio.get_running_loop().time())
            closing.append(asyncio.create_task(stalled.pbx.close()))

        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as timeout, in_background(expire_and_close(timeout)):
                await stalled.call()
        assert type(caught.value) is TimeoutError
        assert task.cancelling() == 0
        await asyncio.gather(*closing)


class TestTaskGroup:
    async def test_failed_call_cancels_its_group(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A failed call ends its task group at once, and the group has that error alone."""
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
        assert not calls_of(pbx)

    async def test_timeout_in_a_group_is_an_error_of_the_group(
        self, stall: Callable[..., StalledCall]
    ) -> None:
        """A TaskGroup treats a RequestTimeout as an error, not as a cancellation."""
        stalled = stall("head", timeout=0.02, retry=RetryPolicy(attempts=1))

        async def call() -> None:
            await stalled.call()

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(call())
        (error,) = caught.value.exceptions
        assert isinstance(error, RequestTimeout)


class TestStreams:
    @pytest.mark.parametrize("pause", range(1, 6))
    @pytest.mark.parametrize("kind", ["poll_status", "watch_status"])
    async def test_cancelled_again_while_a_stream_closes(
        self, kind: str, pause: int, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """A second cancellation doesn't stop a stream from closing."""
        sim.fail("extensions.status", latency=30.0, times=None)
        stream = getattr(pbx.extensions, kind)(["101"])

        async def iterate() -> None:
            async with stream:
                async for _ in stream:
                    pass

        async with in_background(iterate()) as (iterating,):
            await until(lambda: sim.in_flight)
            for _ in range(2):
                iterating.cancel()
                await yield_to_loop(pause)
            async with asyncio.timeout(5):
                await stream.aclose()
            assert iterating.cancelled()


class TestInterruptible:
    async def test_swallowed_interruption_does_no_harm(self) -> None:
        """If other code swallows an interruption, the next one works again."""
        task = asyncio.current_task()
        assert task is not None
        call = interruptible(task)
        timer = SharedTimer(0.001, asyncio.get_running_loop())
        for _ in range(2):
            timer.start(call)
            with suppress(asyncio.CancelledError):  # as a tracing callback might
                await asyncio.wait_for(hang(), 5)
            timer.stop(call)
            assert task.cancelling() == 0
        timer.cancel()

    @pytest.mark.parametrize("cause", [TIMED_OUT, CLOSED])
    async def test_cancellation_without_an_interruption(self, cause: str) -> None:
        """It is left to the code that requested it."""
        task = asyncio.current_task()
        assert task is not None
        call = interruptible(task)
        assert not call.caught(cause)
        call.revoke(cause)
        assert task.cancelling() == 0
