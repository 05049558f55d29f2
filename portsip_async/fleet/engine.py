"""Wraps docket: the tasks of a fleet, and the workers that run them.

A cycle of a PBX is a perpetual task with the name of the PBX as its key. So there is one at a time,
and docket redelivers it to another worker if its own dies. One more task adds tasks that are
missing, such as those of PBXes that were just added.
"""

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from docket import Docket, Perpetual, Worker
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

# Seconds after which another worker runs the cycle of a worker that died. A living worker prolongs
# its claim four times in this time.
REDELIVERED_AFTER: Final = 4.0
RECONNECT_AFTER: Final = 1.0  # seconds
SEED_EVERY: Final = 5.0  # seconds
RESOLUTION: Final = 0.1  # seconds; how exactly a cycle starts
LONGEST_PAUSE: Final = 86_400.0  # seconds between two cycles; a date can't hold every number
# Seconds that a consumer's turn lasts if it is not prolonged, and between two attempts to get it.
TURN: Final = 5.0
TURN_PROLONGED_EVERY: Final = 1.25
TURN_TRIED_EVERY: Final = 0.25

# redis-py allows 100 by default, which is fewer than a worker may have cycles.
CONNECTIONS: Final = 10_000

_numbers = itertools.count()


class Turn:
    """The right to be the active consumer of a group.

    Attributes:
        held_until: when it ends unless it is prolonged, on the loop's clock.
    """

    def __init__(self, held_until: float) -> None:
        self.held_until: float = held_until

    @property
    def is_held(self) -> bool:
        """Whether it lasts still, so that no other consumer can have it."""
        return asyncio.get_running_loop().time() < self.held_until


class Engine:
    """A connection to a fleet's docket.

    Attributes:
        is_memory: whether everything is in this process.
        is_closed: whether `close` was called.
        redis: a client of redis-py, or docket's in-process store; set by `open`.
    """

    def __init__(self, url: str, name: str) -> None:
        """Store the settings; nothing is opened.

        Args:
            url: the Redis, or ``memory://``.
            name: the name of the fleet, which is the prefix of all keys.
        """
        self.is_memory: bool = urlsplit(url).scheme == "memory"
        self.is_closed: bool = False
        if self.is_memory:
            # docket shares the in-process store of equal URLs.
            url = f"memory://{id(self)}-{next(_numbers)}"
        elif "max_connections" not in parse_qs(urlsplit(url).query):
            url += f"{'&' if urlsplit(url).query else '?'}max_connections={CONNECTIONS}"
        self._docket = Docket(name=name, url=url)
        self._stack = AsyncExitStack()
        self._turns: dict[str, asyncio.Lock] = {}  # of groups, for memory://
        # Of the turns, with a Redis; each has a task that prolongs it.
        self._locks: dict[Any, asyncio.Task[None]] = {}
        self.redis: Any

    @property
    def prefix(self) -> str:
        """The prefix of keys that are not docket's own."""
        return self._docket.key("portsip")

    async def open(self) -> None:
        """Connect to Redis."""
        await self._stack.enter_async_context(self._docket)
        async with self._docket.redis() as self.redis:
            pass  # the client stays usable until the docket is closed
        if not self.is_memory:
            # A restart of Redis leaves dead connections in the pool, which docket uses too. Without
            # a repeat, each of them would fail a command later, and delay a cycle by seconds. One
            # at once is enough: docket has to notice the outage itself, to schedule what was lost.
            self.redis.set_retry(Retry(NoBackoff(), 1))

    async def close(self) -> None:
        """Disconnect, and give the turns back."""
        self.is_closed = True
        for lock in list(self._locks):
            await self._release(lock)
        await self._stack.aclose()

    async def schedule(self, pbxes: Sequence[str]) -> None:
        """Schedule the cycles of PBXes. Those that are scheduled or run already are left alone.

        Raises:
            RedisError: Redis refused one of them.
        """
        if self.is_memory:
            for pbx in pbxes:  # the in-process store has no pipeline for this
                await self._docket.add("cycle", key=_key(pbx))(pbx)
        elif pbxes:
            calls = [self._docket.call("cycle", key=_key(pbx))(pbx) for pbx in pbxes]
            for execution in await self._docket.add_many(calls):
                if execution.schedule_exception is not None:
                    raise execution.schedule_exception

    def register(
        self,
        cycle: Callable[[str], Awaitable[float | None]],
        seed: Callable[[], Awaitable[None]],
        interval: float,
    ) -> None:
        """Register the tasks. Every process of a fleet has the same ones.

        Args:
            cycle: runs a cycle of a PBX; returns the seconds until the next one, or None if there
                is none.
            seed: schedules the cycles of all PBXes.
            interval: seconds until the next cycle if one raises an error.
        """

        async def run_cycle(pbx: str, perpetual: Perpetual = Perpetual()) -> None:  # noqa: B008 - docket's way
            # If the cycle raises an error, docket would run the next one at once.
            perpetual.after(timedelta(seconds=min(interval, LONGEST_PAUSE)))
            pause = await cycle(pbx)
            if pause is None:
                perpetual.cancel()
            else:
                perpetual.after(timedelta(seconds=min(pause, LONGEST_PAUSE)))

        async def run_seed(
            perpetual: Perpetual = Perpetual(every=timedelta(seconds=SEED_EVERY), automatic=True),  # noqa: B008 - docket's way
        ) -> None:
            await seed()

        run_cycle.__name__, run_seed.__name__ = "cycle", "seed"
        self._docket.register(run_cycle)
        self._docket.register(run_seed)

    def worker_name(self) -> str:
        """Return a name for a worker: the host, the process, and a number for later ones in it."""
        number = next(_numbers)
        return f"{socket.gethostname()}#{os.getpid()}{f'.{number}' if number else ''}"

    async def work(self, name: str, stop: asyncio.Event, *, concurrency: int) -> None:
        """Run a worker until `stop` is set and its cycles have finished; if cancelled, end them."""
        worker = Worker(
            self._docket,
            name=name,
            concurrency=concurrency,
            redelivery_timeout=timedelta(seconds=REDELIVERED_AFTER),
            reconnection_delay=timedelta(seconds=RECONNECT_AFTER),
            minimum_check_interval=timedelta(seconds=RESOLUTION),
            scheduling_resolution=timedelta(seconds=RESOLUTION),
        )
        await worker.__aenter__()
        running = asyncio.create_task(worker.run_forever())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            # This lets the worker take no more tasks, and waits for those that it has.
            await worker.__aexit__(None, None, None)
        finally:
            stopping.cancel()
            await end_task(running)
        if not running.cancelled():
            running.result()

    @asynccontextmanager
    async def turn(self, group: str) -> AsyncIterator[Turn]:
        """Wait until no other consumer of a group is active, and be the active one.

        Raises:
            ConnectionError: this engine was closed.
        """
        if self.is_memory:
            async with self._turns.setdefault(group, asyncio.Lock()):
                yield Turn(float("inf"))
            return
        try:
            async with self._locked(group) as turn:
                yield turn
        finally:
            # redis-py opens a new connection for a command that was cut off.
            if self.is_closed:
                await self.redis.connection_pool.disconnect()

    @asynccontextmanager
    async def _locked(self, group: str) -> AsyncIterator[Turn]:
        lock = self.redis.lock(f"{self.prefix}:turn:{group}", timeout=TURN, thread_local=False)
        while not await lock.acquire(blocking=False):
            if self.is_closed:
                raise ConnectionError("the fleet was closed")
            await asyncio.sleep(TURN_TRIED_EVERY)
        loop = asyncio.get_running_loop()
        turn = Turn(loop.time() + TURN - TURN_TRIED_EVERY)

        async def prolong() -> None:
            while turn.is_held:
                await asyncio.sleep(TURN_PROLONGED_EVERY)
                began = loop.time()
                await lock.reacquire()
                turn.held_until = began + TURN - TURN_TRIED_EVERY

        self._locks[lock] = asyncio.create_task(prolong())
        try:
            yield turn
        finally:
            await self._release(lock)

    async def _release(self, lock: Any) -> None:
        prolonging = self._locks.pop(lock, None)
        if prolonging is None:
            return
        prolonging.cancel()
        await asyncio.gather(prolonging, return_exceptions=True)
        try:
            async with asyncio.timeout(1.0):
                await lock.release()
        except (RedisError, OSError, TimeoutError):
            pass  # it ends by itself


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended, even if this is cancelled meanwhile.

    A worker of docket and some waits of its in-process store ignore the first cancellation.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait((task,), timeout=1.0)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _key(pbx: str) -> str:
    return f"pbx:{pbx}"
