"""Fixtures: a simulated PBX, other servers in a thread, and the command line."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import pytest
import trustme

from portsip_async.simulator import PBXSimulator

from .terminal import CommandLine

T = TypeVar("T")


class Beside:
    """An event loop in its own thread, because a command blocks the main thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(20)

    def close(self) -> None:
        self.run(self._settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()

    async def _settle(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def beside() -> Iterator[Beside]:
    loop = Beside()
    yield loop
    loop.close()


PBXMaker = Callable[..., PBXSimulator]
DEFAULTS: dict[str, Any] = {
    "extensions": 12,
    "groups": 3,
    "status_seconds": 0.0,
    "generations": ("classic",),
}


@pytest.fixture
def make_pbx() -> Iterator[PBXMaker]:
    """Return a function that starts simulated PBXes; they stop when the test ends."""
    with ExitStack() as stack:

        def make(**options: Any) -> PBXSimulator:
            return stack.enter_context(PBXSimulator.in_thread(**{**DEFAULTS, **options}))

        yield make


@pytest.fixture
def pbx(make_pbx: PBXMaker) -> PBXSimulator:
    return make_pbx()


def environment_of(pbx: PBXSimulator) -> dict[str, str]:
    return {
        "PORTSIP_URL": pbx.url,
        "PORTSIP_USERNAME": pbx.username,
        "PORTSIP_PASSWORD": pbx.password,
        "PORTSIP_API": "classic",
    }


@pytest.fixture
def cli(pbx: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(monkeypatch, environment_of(pbx))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(beside: Beside, pbx: PBXSimulator, authority: trustme.CA) -> Iterator[str]:
    """Serve the PBX over TLS with a certificate of `authority`; return the URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with relayed(beside, int(pbx.url.rpartition(":")[2]), context) as port:
        yield f"https://127.0.0.1:{port}"


@contextmanager
def relayed(beside: Beside, port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Accept TLS connections and relay them to a local port; yield the new port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)  # so that draining means sent
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    accepted: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        accepted.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(pump(reader, back), pump(there, writer))
            finally:
                back.transport.abort()
        finally:
            writer.transport.abort()

    async def close() -> None:
        server.close()
        for task in accepted:
            task.cancel()
        await asyncio.gather(*accepted, return_exceptions=True)

    server = beside.run(asyncio.start_server(accept, "127.0.0.1", 0, ssl=context))
    yield server.sockets[0].getsockname()[1]
    beside.run(close())
