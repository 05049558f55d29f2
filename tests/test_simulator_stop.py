"""The stop of a simulator: it returns whatever its connections do, and leaves nothing open.

Clients are plain sockets that do nothing by themselves. Each test says what its clients do.
"""

import asyncio
import gc
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import closing, suppress
from typing import Any

import pytest

from portsip_async.simulator import Faults, PBXSimulator, http_server

from .concurrency import hang, until, yield_to_loop
from .virtual_time import in_virtual_time

SECONDS = 10  # after which a stop counts as hanging; it takes milliseconds
TOO_MUCH = b"x" * 16_000_000  # bytes that fit in no buffer between two sockets
LOGIN = json.dumps({"username": "admin", "password": "simulated-Secret-1"}).encode()
HEAD = b"POST /api/account/credentials/verify HTTP/1.1\r\nHost: pbx\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(LOGIN) + LOGIN


def connect(sim: PBXSimulator) -> socket.socket:
    """Connect without an iteration of the loop, so the simulator has not noticed it yet."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((sim.host, sim.port))
    client.setblocking(False)
    return client


async def is_cut(client: socket.socket) -> bool:
    """Read until the simulator ends the connection."""
    async with asyncio.timeout(SECONDS):
        with suppress(ConnectionError):
            while await asyncio.get_running_loop().sock_recv(client, 1 << 20):
                pass
    return True


async def is_refused(sim: PBXSimulator) -> bool:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(sim.host, sim.port)
    return True


async def stopped(stop: Awaitable[object]) -> None:
    """Wait for a stop, and fail the test if it does not end."""
    try:
        await asyncio.wait_for(stop, SECONDS)
    except TimeoutError:
        pytest.fail(f"stop() did not end within {SECONDS} seconds", pytrace=False)


def other_tasks() -> "set[asyncio.Task[Any]]":
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture
async def sim() -> AsyncIterator[PBXSimulator]:
    sim = PBXSimulator(extensions=1, groups=1)
    await sim.start()
    yield sim
    await stopped(sim.stop())


# The states of a connection at the time of the stop.

Act = Callable[[PBXSimulator, socket.socket], Awaitable[object]]


async def send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)
    await asyncio.sleep(0.01)  # for the kernel to hand it over


async def idle(sim: PBXSimulator, client: socket.socket) -> None:
    await yield_to_loop()


async def idle_after_a_reply(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, REQUEST)
    assert await asyncio.get_running_loop().sock_recv(client, 1 << 16)


async def half_a_head(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, HEAD)


async def half_a_body(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, REQUEST[:-5])
    await until(lambda: sim.in_flight)


async def half_a_chunk(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{")
    await until(lambda: sim.in_flight)


async def waiting_for_100(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
    await until(lambda: sim.in_flight)


async def unreadable_bytes(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, b"\x16\x03\x01\x02\x00\r\n\r\n")  # TLS, which the server doesn't speak


async def half_closed(sim: PBXSimulator, client: socket.socket) -> None:
    await send(client, REQUEST[:-5])
    client.shutdown(socket.SHUT_WR)


async def reply_by_fault_late(sim: PBXSimulator, client: socket.socket) -> None:
    sim.faults = Faults(latency=3600)
    await send(client, REQUEST)
    await until(lambda: sim.in_flight)


async def reply_by_script_late(sim: PBXSimulator, client: socket.socket) -> None:
    sim.fail("account.verify", latency=3600)
    await send(client, REQUEST)
    await until(lambda: sim.in_flight)


async def several_requests_at_once(sim: PBXSimulator, client: socket.socket) -> None:
    sim.fail("account.verify", latency=3600)
    await send(client, REQUEST * 5)
    await until(lambda: sim.in_flight)


async def gone_while_the_reply_is_late(sim: PBXSimulator, client: socket.socket) -> None:
    await reply_by_script_late(sim, client)
    client.shutdown(socket.SHUT_RDWR)
    client.close()
    await asyncio.sleep(0.01)


async def reply_not_read(sim: PBXSimulator, client: socket.socket) -> None:
    sim.fail("account.verify", status=200, body=TOO_MUCH)
    await send(client, REQUEST)
    await until(lambda: sim.injected["scripted"])
    await yield_to_loop()


async def broken_reply_not_read(sim: PBXSimulator, client: socket.socket) -> None:
    sim.fail("account.verify", status=200, body=TOO_MUCH, truncate=True)
    await send(client, REQUEST)
    await until(lambda: sim.injected["scripted"])
    await yield_to_loop()


async def dropped(sim: PBXSimulator, client: socket.socket) -> None:
    sim.fail("account.verify", drop=True)
    await send(client, REQUEST)


async def tasks_cancelled_by_others(sim: PBXSimulator, client: socket.socket) -> None:
    """Cancel the tasks of connections, as asyncio.run() does when it ends."""
    await reply_not_read(sim, client)
    for task in asyncio.all_tasks():
        # Only the tasks of this connection belong to aiohttp.
        if "aiohttp" in str(task.get_coro()) or "RequestHandler" in str(task.get_coro()):
            task.cancel()
    await yield_to_loop()


ACTS: list[Act] = [
    idle,
    idle_after_a_reply,
    half_a_head,
    half_a_body,
    half_a_chunk,
    waiting_for_100,
    unreadable_bytes,
    half_closed,
    reply_by_fault_late,
    reply_by_script_late,
    several_requests_at_once,
    gone_while_the_reply_is_late,
    reply_not_read,
    broken_reply_not_read,
    dropped,
    tasks_cancelled_by_others,
]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
async def test_stop_whatever_a_connection_does(sim: PBXSimulator, act: Act) -> None:
    """A stop waits for no client. It returns after the connection and its tasks have ended."""
    before = other_tasks()
    with closing(connect(sim)) as client:
        await act(sim, client)
        await stopped(sim.stop())
        assert other_tasks() <= before
        assert client.fileno() < 0 or await is_cut(client)
    assert sim.in_flight == 0
    assert await is_refused(sim)


# A connection that begins at the time of the stop.


@pytest.fixture(params=["lazy", "eager"])
async def task_factory(request: pytest.FixtureRequest) -> None:
    """Make the loop start tasks in its next iteration, or at once."""
    if request.param == "eager":
        if sys.version_info < (3, 12):
            pytest.skip("eager tasks came with Python 3.12")
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)


@pytest.mark.usefixtures("task_factory")
@pytest.mark.parametrize("sent", [b"", REQUEST[:-5], REQUEST], ids=["idle", "half", "whole"])
@pytest.mark.parametrize("turns", range(6))
async def test_stop_while_a_connection_begins(sim: PBXSimulator, turns: int, sent: bytes) -> None:
    """A new connection or request is closed at any stage of its setup, and leaves no task."""
    sim.faults = Faults(latency=3600)
    before = other_tasks()
    with closing(connect(sim)) as client:
        client.send(sent)
        for _ in range(turns):
            await asyncio.sleep(0)
        await stopped(sim.stop())
        assert other_tasks() <= before
        assert await is_cut(client)
        gc.collect()  # Python would warn of a socket that was not closed
    assert sim.in_flight == 0


@pytest.mark.parametrize("turns", range(5))
async def test_stop_while_many_connections_begin(sim: PBXSimulator, turns: int) -> None:
    """Hundreds of connections that begin in a few loop iterations are all closed."""
    before = other_tasks()
    clients = []
    for _ in range(turns + 1):
        clients += [connect(sim) for _ in range(60)]
        await asyncio.sleep(0)
    clients += [connect(sim) for _ in range(60)]
    await stopped(sim.stop())
    assert other_tasks() <= before
    for client in clients:
        with closing(client):
            assert await is_cut(client)
    gc.collect()


@pytest.mark.parametrize("turns", range(6))
async def test_stop_while_a_request_begins(sim: PBXSimulator, turns: int) -> None:
    """A request on an idle connection is not started after the stop."""
    sim.faults = Faults(latency=3600)
    before = other_tasks()
    with closing(connect(sim)) as client:
        await yield_to_loop()
        client.send(REQUEST)
        for _ in range(turns):
            await asyncio.sleep(0)
        await stopped(sim.stop())
        assert other_tasks() <= before
        assert await is_cut(client)
    assert sim.in_flight == 0


async def test_stop_with_a_request_that_ends_slowly(
    sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop returns after the last task has ended."""

    async def end_slowly(*_: Any) -> None:
        try:
            await hang()
        finally:
            await yield_to_loop(50)

    monkeypatch.setattr(sim, "_respond", end_slowly)
    before = other_tasks()
    with closing(connect(sim)) as client:
        await send(client, REQUEST)
        await until(lambda: sim.in_flight)
        await stopped(sim.stop())
        assert sim.in_flight == 0
        assert other_tasks() <= before
        assert await is_cut(client)


async def test_stop_with_a_task_that_does_not_end(
    sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop returns even if the task of a request never ends."""
    released = asyncio.Event()

    async def resist(*_: Any) -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    monkeypatch.setattr(sim, "_respond", resist)
    monkeypatch.setattr(http_server, "_STOP_SECONDS", 0.05)
    with closing(connect(sim)) as client:
        await send(client, REQUEST)
        await until(lambda: sim.in_flight)
        await stopped(sim.stop())
        assert await is_cut(client)
        released.set()


# Several stops and starts.


async def stop_twice(sim: PBXSimulator) -> None:
    await sim.stop()
    await sim.stop()


async def stop_from_two_tasks(sim: PBXSimulator) -> None:
    await asyncio.gather(sim.stop(), sim.stop())


async def stop_while_another_stops(sim: PBXSimulator) -> None:
    first = asyncio.create_task(sim.stop())
    await asyncio.sleep(0)
    await sim.stop()
    assert await is_refused(sim)
    await first


async def stop_after_a_cancelled_one(sim: PBXSimulator) -> None:
    first = asyncio.create_task(sim.stop())
    await asyncio.sleep(0)
    first.cancel()
    await sim.stop()
    with suppress(asyncio.CancelledError):
        await first


async def restart_and_stop(sim: PBXSimulator) -> None:
    await sim.restart()
    await sim.stop()


async def start_while_it_stops(sim: PBXSimulator) -> None:
    stop = asyncio.create_task(sim.stop())
    await asyncio.sleep(0)
    await sim.start()
    await stop
    await sim.stop()


async def start_at_once_many_times(sim: PBXSimulator) -> None:
    for _ in range(20):
        await sim.stop()
        await sim.start()
    await sim.stop()


STOPS: list[Callable[[PBXSimulator], Coroutine[Any, Any, None]]] = [
    stop_twice,
    stop_from_two_tasks,
    stop_while_another_stops,
    stop_after_a_cancelled_one,
    restart_and_stop,
    start_while_it_stops,
    start_at_once_many_times,
]


@pytest.mark.parametrize("turns", [0, 2, 20])
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: stop.__name__)
async def test_stops_and_starts(
    sim: PBXSimulator, stop: Callable[[PBXSimulator], Coroutine[Any, Any, None]], turns: int
) -> None:
    """Stops may overlap each other and a start. Each ends after the last connection and task."""
    before, port = other_tasks(), sim.port
    with closing(connect(sim)) as client, closing(connect(sim)) as late:
        sim.faults = Faults(latency=3600)
        late.send(REQUEST)
        for _ in range(turns):
            await asyncio.sleep(0)
        await stopped(stop(sim))
        assert other_tasks() <= before
        assert await is_cut(client)
        assert await is_cut(late)
        gc.collect()
    assert sim.port == port
    assert sim.in_flight == 0
    assert await is_refused(sim)
    async with sim:
        sim.faults = Faults()
        with closing(connect(sim)) as client:
            await idle_after_a_reply(sim, client)


@in_virtual_time
async def test_start_while_it_stops_in_memory() -> None:
    """A start waits until the port is free, even on a loop that listens immediately."""
    sim = PBXSimulator(extensions=1)
    await sim.start()
    await asyncio.gather(sim.stop(), sim.start())
    await sim.stop()


@pytest.mark.parametrize("turns", range(1, 8))
async def test_stop_cancelled(sim: PBXSimulator, turns: int) -> None:
    """A cancelled stop raises at once, but still closes everything."""
    before = other_tasks()
    with closing(connect(sim)) as client, closing(connect(sim)) as late:
        sim.faults = Faults(latency=3600)
        late.send(REQUEST)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stop = asyncio.create_task(sim.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        stop.cancel()
        with suppress(asyncio.CancelledError):
            await stopped(stop)
        assert await is_cut(client)
        assert await is_cut(late)
        await until(lambda: other_tasks() <= before, SECONDS)
        gc.collect()
    assert await is_refused(sim)
    await stopped(sim.stop())


def test_stop_at_the_end_of_a_loop() -> None:
    """A simulator in a task that asyncio.run() cancels stops and closes its connections."""
    clients: list[socket.socket] = []

    async def simulate(ready: "asyncio.Future[PBXSimulator]") -> None:
        async with PBXSimulator(extensions=1, faults=Faults(latency=3600)) as sim:
            ready.set_result(sim)
            await asyncio.Event().wait()

    async def main() -> None:
        ready: asyncio.Future[PBXSimulator] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(simulate(ready))
        sim = await ready
        for act in (idle, half_a_head, half_a_body, reply_by_fault_late, reply_not_read):
            clients.append(connect(sim))
            await act(sim, clients[-1])
            sim.faults = Faults()
        assert not task.done()

    asyncio.run(asyncio.wait_for(main(), SECONDS))
    for client in clients:
        with closing(client):
            client.settimeout(SECONDS)
            with suppress(ConnectionError):
                while client.recv(1 << 20):
                    pass


async def test_start_cancelled() -> None:
    """A cancelled start leaves no open port, and the simulator can be started again."""
    sim = PBXSimulator(extensions=1)
    for turns in range(6):
        start = asyncio.create_task(sim.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        with suppress(asyncio.CancelledError):
            await start
            await sim.stop()
        if sim.port:
            assert await is_refused(sim)
    async with sim:
        with closing(connect(sim)) as client:
            await idle_after_a_reply(sim, client)


async def test_two_starts_at_once() -> None:
    """One of two starts works; the other raises RuntimeError and leaves no open port."""
    sim = PBXSimulator(extensions=1)
    outcomes = await asyncio.gather(sim.start(), sim.start(), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "RuntimeError"]
    await stopped(sim.stop())
    assert await is_refused(sim)
