"""Hours in seconds: an event loop whose clock jumps to the next timer when nothing is ready.

Connections are made in memory, in the same loop, so that time passes only where somebody waits for
it, and a run comes out the same each time. All else is real: the client with its connector, aiohttp
on both sides, the bytes of HTTP, the simulator.

What works in threads (names that are looked up, files that are uploaded) has no place here.
"""

import asyncio
import random
import selectors
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, NamedTuple, ParamSpec, cast
from unittest.mock import patch
from weakref import WeakKeyDictionary

from portsip_async import PortSIPClient
from portsip_async.simulator import PBXSimulator

P = ParamSpec("P")
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
_TICK: Final = 1e-9  # seconds
EPOCH: Final = 1_704_067_200.0  # 2024 begins, at the loop's 0

MakeProtocol = Callable[[], asyncio.Protocol]


class Stuck(RuntimeError):
    """Nothing is ready and nobody waits for a time: nothing would ever happen again."""


class _Leaps(selectors.DefaultSelector):
    """Waits for no time to pass, but lets it have passed.

    Attributes:
        now: seconds since the loop was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._still = 0  # turns in which nothing was ready and no time passed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("nothing is ready, and no timer is set")
            self._still = self._still + 1 if timeout <= 0 else 0
            # Who sets a timer for now, again and again, would otherwise stand still for ever.
            self.now += _TICK if self._still > 1000 else max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock and a network of its own.

    Attributes:
        connections: ends of connections that are open.
    """

    def __init__(self) -> None:
        self._leaps = _Leaps()
        super().__init__(self._leaps)
        self.connections: set[_End] = set()
        self._listeners: dict[int, _Listener] = {}
        self._dialled: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
        self._last_port = 1024

    def time(self) -> float:
        return self._leaps.now

    def now(self) -> float:
        """Tell the time of day, in seconds since the epoch."""
        return EPOCH + self.time()

    # The signatures of asyncio, as far as aiohttp and the simulator use them.

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
        """Dial; the socket is not connected, but only stands for the connection to come."""
        if address[1] not in self._listeners:
            raise ConnectionRefusedError(f"nobody listens on port {address[1]}")
        self._dialled[sock] = address[1]

    async def create_connection(  # type: ignore[override]
        self, factory: MakeProtocol, *, sock: socket.socket, **_: Any
    ) -> "tuple[_End, asyncio.Protocol]":
        sock.close()
        listener = self._listeners.get(self._dialled.pop(sock))
        if listener is None:
            raise ConnectionRefusedError("nobody listens any more")
        ours, theirs = _End(self, factory()), _End(self, listener.factory())
        ours.other, theirs.other = theirs, ours
        for end in (theirs, ours):
            self.connections.add(end)
            end.protocol.connection_made(end)
        return ours, ours.protocol


class _Address(NamedTuple):
    """Stands for the socket that is listened on."""

    host: str
    port: int

    def getsockname(self) -> tuple[str, int]:
        return self.host, self.port

    def fileno(self) -> int:
        return 1 << 30  # no descriptor that is open


class _Listener:
    """What `create_server` answers."""

    def __init__(
        self, factory: MakeProtocol, address: _Address, listeners: "dict[int, _Listener]"
    ) -> None:
        self.factory = factory
        self.sockets = [address]
        self._listeners = listeners

    def close(self) -> None:
        self._listeners.pop(self.sockets[0].port, None)

    async def start_serving(self) -> None:
        """Do nothing: it listens since it was made."""


class _End(asyncio.Transport):
    """One end of a connection; what is written arrives at the other in the loop's next turn.

    A reader that pauses is respected; a writer is never told to pause.
    """

    other: "_End"

    def __init__(self, loop: VirtualTimeLoop, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 1)})
        self.protocol = protocol
        self._loop = loop
        self._arrived: deque[bytes] = deque()  # b"" for the end
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
        self._loop.call_soon(self._hand_over)

    def get_write_buffer_size(self) -> int:
        return 0

    def _arrive(self, data: bytes) -> None:
        self._arrived.append(data)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._arrived and not self._paused and not self._closing:
            data = self._arrived.popleft()
            if data:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in a loop of virtual time, and see that it leaves nothing behind.

    Such a test takes no async fixtures: those live in another loop.
    """

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualTimeLoop()

        async def whole() -> None:
            await test(*args, **kwargs)
            await asyncio.sleep(1.0)  # for what was closed to be through
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not loop.connections

        with (
            asyncio.Runner(loop_factory=lambda: loop) as runner,
            patch("aiohttp.connector.monotonic", loop.time),
        ):
            runner.run(whole())

    return run


def the_loop() -> VirtualTimeLoop:
    return cast(VirtualTimeLoop, asyncio.get_running_loop())


async def sleep_until(time: float) -> None:
    """Sleep until the loop's clock shows a time."""
    await asyncio.sleep(time - the_loop().time())


def simulator(**options: Any) -> PBXSimulator:
    """Make a simulator that goes by the loop's clock."""
    return PBXSimulator(clock=the_loop().time, **options)


def client(sim: PBXSimulator, *, seed: int = 0, **options: Any) -> PortSIPClient:
    """Make a client that goes by the loop's clock, and by chance that can be had again."""
    if not options.keys() & {"username", "credentials", "token"}:
        options |= {"username": sim.username, "password": sim.password}
    made = PortSIPClient(sim.url, **options)
    session, loop = made._session, the_loop()
    session.clock.monotonic = loop.time
    session.clock.now = loop.now
    session.clock.random = random.Random(seed).random
    return made
