"""Start and stop a simulator, in the caller's loop or in a thread with a loop of its own.

The state of a simulator belongs to the thread of its loop. Methods that read or change it have the
decorator `in_its_thread`: a call from another thread runs in that thread, and the caller waits.
Counts and single attributes need no decorator, because each access to them is atomic.
"""

import asyncio
import atexit
import functools
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from .http_server import HTTPServer

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Lifecycle")


class SimulatorThread:
    """The thread of a simulator's loop, if it has one of its own."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # while other threads may use it
        self._lock = threading.Lock()  # guards the end of `_loop`

    @contextmanager
    def serve(self, server: AbstractAsyncContextManager[object]) -> Iterator[None]:
        """Run a server in a new thread until the block ends.

        Raises:
            Exception: what the start of the server raised.
        """
        started: Future[None] = Future()
        ending: Future[None] = Future()

        async def run() -> None:
            async with server:
                self._loop = asyncio.get_running_loop()
                started.set_result(None)
                await asyncio.wrap_future(ending)
                with self._lock:
                    self._loop = None
                await asyncio.sleep(0)  # the last calls of other threads begin

        def run_loop() -> None:
            try:
                asyncio.run(run())
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=run_loop, name="portsip-simulator", daemon=True)

        def end() -> None:
            if not ending.done():
                ending.set_result(None)
            thread.join()

        # An interpreter may exit before the block ends. It waits for other threads before it calls
        # `end`, so this one is a daemon. After that, no thread runs, and joining it would hang.
        atexit.register(end)
        self._thread = thread
        thread.start()
        try:
            started.result()
            yield
        finally:
            end()
            atexit.unregister(end)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, and return its result. Without a thread, just call it."""
        if self._thread is None or self._is_current():
            return function()
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        with self._lock:
            loop = self._loop
            if loop is not None:
                loop.call_soon_threadsafe(run)
        if loop is not None:
            return result.result()
        self._thread.join()
        return function()

    async def wait(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await a coroutine in the thread, from any loop. Without a thread, just await it.

        Raises:
            RuntimeError: the thread has ended.
        """
        if self._thread is None or self._is_current():
            return await make()
        with self._lock:
            if self._loop is None:
                raise RuntimeError("the block of PBXSimulator.in_thread has ended: enter a new one")
            future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        return await asyncio.wrap_future(future)

    @property
    def has_ended(self) -> bool:
        """Whether there was a thread, and other threads can't use it any more."""
        return self._thread is not None and self._loop is None and not self._is_current()

    def _is_current(self) -> bool:
        return self._thread is threading.current_thread()


class _HasThread(Protocol):
    _thread: SimulatorThread


H = TypeVar("H", bound=_HasThread)


def in_its_thread(method: Callable[Concatenate[H, P], T]) -> Callable[Concatenate[H, P], T]:
    """Make a method run in the thread of its simulator, whichever thread calls it."""

    @functools.wraps(method)
    def call(self: H, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.call(lambda: method(self, *args, **kwargs))

    return call


class Lifecycle:
    """Starts and stops a simulator: the part of `PBXSimulator` that knows no PBX."""

    _http: HTTPServer
    _thread: SimulatorThread

    # Pyright expects a class. With a callable, the arguments are those of the constructor.
    @classmethod  # pyright: ignore[reportArgumentType]
    @contextmanager
    def in_thread(cls: Callable[P, S], *args: P.args, **kwargs: P.kwargs) -> Iterator[S]:
        """Run a simulator in a thread with a loop of its own, until the block ends.

        ``with PBXSimulator.in_thread(extensions=50) as sim:`` takes the arguments of
        `PBXSimulator`. Use it for code that is synchronous or blocks its loop: scripts, tests
        without ``async``, and test clients of web frameworks.

        Every thread and every loop may call the methods of ``sim``. ``await sim.restart()`` works
        in any loop; without one, write ``asyncio.run(sim.restart())``. The end of the block stops
        the simulator at once, even if requests are in flight, and ends its thread. What the PBX
        holds can still be read.

        Raises:
            ValueError: an invalid argument; see `PBXSimulator`.
            OSError: the port is in use.
        """
        simulator = cls(*args, **kwargs)
        with simulator._thread.serve(simulator):
            yield simulator

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if it was started before.

        Raises:
            RuntimeError: it is already started, or its thread has ended.
            OSError: the port is in use.
        """
        await self._thread.wait(self._http.start)

    async def stop(self) -> None:
        """Stop at once: cut all connections, and leave requests in flight without a reply.

        Tokens are lost; everything else is kept. Does nothing if it is not started. A stop that is
        cancelled still cuts everything. Another stop or start waits for it.
        """
        if not self._thread.has_ended:
            await self._thread.wait(self._http.stop)

    async def restart(self, downtime: float = 0.0) -> None:
        """Stop, wait for ``downtime`` seconds, and start on the same port."""
        await self.stop()
        await asyncio.sleep(downtime)
        await self.start()
