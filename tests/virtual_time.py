"""Hours in seconds: an event loop with a clock that jumps to the next timer when nothing is ready.

Connections are made in memory, in the same loop. So time passes only while something waits for it,
and each run has the same result. Everything else is real: the client with its connector, aiohttp on
both sides, the bytes of HTTP, the simulator.

Threads do not work here, so neither do lookups of host names and uploads of files.
"""

import asyncio
import random
import selectors
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, cast
from unittest.mock import patch
from weakref import WeakKeyDictionary

from portsip_async import PortSIPClient
from portsip_async.client.base import BaseClient
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient as V22Client

from .clocks import set_clock

P = ParamSpec("P")
C = TypeVar("C", bound=BaseClient)
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
_STEP: Final = 1e-9  # seconds
EPOCH: Final = 1_704_067_200.0  # seconds; the start of 2024, which is the loop's 0

MakeProtocol = Callable[[], asyncio.Protocol]


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set, so the loop would wait forever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Moves its clock ahead instead of waiting.

    Attributes:
        now: seconds since the loop was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._idle_passes = 0  # passes in a row with nothing ready and no time to wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("nothing is ready, and no timer is set")
            self._idle_passes = self._idle_passes + 1 if timeout <= 0 else 0
            # Without this, code that sets a timer for now, again and again, would stop the clock.
            self.now += _STEP if self._idle_passes > 1000 else max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a virtual clock and an in-memory network.

    Attributes:
        connections: both ends of each open connection.
    """

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)
        self.connections: set[_End] = set()
        self._listeners: dict[int, _Listener] = {}
        self._dialed: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
        self._last_port = 1024

    def time(self) -> float:
        return self._virtual.now

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return EPOCH + self.time()

    def block(self, seconds: float) -> None:
        """Stand still for some time, as if the application had called `time.sleep`."""
        self._virtual.now += seconds

    # As much of asyncio's signatures as aiohttp and the simulator use.

    async def create_server(  # type: ignore[override]
        self, factory: MakeProtocol, host: str, port: int, **_: Any
    ) -> "_Listener":
        if not port:
            self._last_port = port = self._last_port + 1
        if port in self._listeners:
            raise OSError(f"port {port} is in use")
        listener = self._listeners[port] = _Listener(factory, _Address(host, port), self._listeners)
        return listener

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Note which port to connect to; the socket itself is never connected."""
        if address[1] not in self._listeners:
            raise ConnectionRefusedError(f"nothing listens on port {address[1]}")
        self._dialed[sock] = address[1]

    async def create_connection(  # type: ignore[override]
        self, factory: MakeProtocol, *, sock: socket.socket, **_: Any
    ) -> "tuple[_End, asyncio.Protocol]":
        sock.close()
        listener = self._listeners.get(self._dialed.pop(sock))
        if listener is None:
            raise ConnectionRefusedError("nothing listens any more")
        ours, theirs = _End(self, factory()), _End(self, listener.factory())
        ours.other, theirs.other = theirs, ours
        for end in (theirs, ours):
            self.connections.add(end)
            end.protocol.connection_made(end)
        return ours, ours.protocol


class _Address(NamedTuple):
    """What aiohttp reads of the socket that a server listens on."""

    host: str
    port: int

    def getsockname(self) -> tuple[str, int]:
        return self.host, self.port

    def fileno(self) -> int:
        return 1 << 30  # never an open descriptor


class _Listener:
    """What `create_server` returns."""

    def __init__(
        self, factory: MakeProtocol, address: _Address, listeners: "dict[int, _Listener]"
    ) -> None:
        self.factory = factory
        self.sockets = [address]
        self._listeners = listeners

    def close(self) -> None:
        self._listeners.pop(self.sockets[0].port, None)

    async def start_serving(self) -> None:
        """Do nothing: it has listened since it was made."""


class _End(asyncio.Transport):
    """One end of a connection. Data arrives at the other end in the loop's next pass.

    A paused reader gets no data. A writer is never asked to pause.
    """

    other: "_End"

    def __init__(self, loop: VirtualTimeLoop, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 1)})
        self.protocol = protocol
        self._loop = loop
        self._arrived: deque[bytes] = deque()  # b"" is the end
        self._paused = False
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._closing:
            self._loop.call_soon(self.other._arrive, bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.connections.discard(self)
            self._loop.call_soon(self.protocol.connection_lost, None)
            self._loop.call_soon(self.other._arrive, b"")

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return 0

    def _arrive(self, data: bytes) -> None:
        self._arrived.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._arrived and not self._paused and not self._closing:
            data = self._arrived.popleft()
            if data:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in a loop of virtual time, and check that it leaves nothing behind.

    Such a test can't use async fixtures, which run in another loop.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualTimeLoop()

        async def run_and_check() -> None:
            await test(*args, **kwargs)
            await asyncio.sleep(1.0)  # lets connections that were closed end
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not loop.connections

        with (
            asyncio.Runner(loop_factory=lambda: loop) as runner,
            patch("aiohttp.connector.monotonic", loop.time),
        ):
            runner.run(run_and_check())

    return run


def the_loop() -> VirtualTimeLoop:
    """Return the running loop."""
    return cast(VirtualTimeLoop, asyncio.get_running_loop())


async def sleep_until(time: float) -> None:
    """Sleep until the loop's clock shows a time."""
    await asyncio.sleep(time - the_loop().time())


def simulator(**options: Any) -> PBXSimulator:
    """Make a simulator that uses the loop's clock."""
    return PBXSimulator(clock=the_loop().time, **options)


def client(sim: PBXSimulator, *, seed: int = 0, **options: Any) -> PortSIPClient:
    """Make a client that uses the loop's clock and repeatable random numbers."""
    if not options.keys() & {"username", "credentials", "token"}:
        options |= {"username": sim.username, "password": sim.password}
    return _with_clock(PortSIPClient(sim.url, **options), seed)


def v22_client(sim: PBXSimulator, *, seed: int = 0, **options: Any) -> V22Client:
    """Make such a client of generation v22; the administrator of the tenant logs in by default."""
    if not options.keys() & {"username", "credentials", "token"}:
        options |= {"username": sim.username, "password": sim.password, "domain": sim.domain}
    return _with_clock(V22Client(sim.url, **options), seed)


def _with_clock(made: C, seed: int) -> C:
    loop = the_loop()
    set_clock(made, monotonic=loop.time, now=loop.now, random=random.Random(seed).random)
    return made
