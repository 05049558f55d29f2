"""`Fleet`: follows the statuses of many PBXes, in several processes that share a Redis."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis.exceptions import ResponseError

from ..arguments import check_int, check_number, check_str, check_strs, check_type, plain_text
from ..classic.client import PortSIPClient
from ..core.tasks import NotCopyable
from ..core.urls import is_loopback
from ..errors import ConfigurationError, ConnectError
from ..redis import Cipher, RedisTokenStore
from ..v22.client import PortSIPClient as V22Client
from .consumer import COMMAND_SECONDS, REDIS_AWAY, Consumer
from .cycle import Cycles, remove
from .engine import Engine, end_task
from .events import FleetEvent, FleetStatus, Status
from .metrics import FleetMetrics
from .store import FleetStore

__all__ = ["Fleet"]

logger: logging.Logger = logging.getLogger("portsip_async")

T = TypeVar("T")

_SCHEMES: Final = frozenset(
    {
        "memory",
        "redis",
        "rediss",
        "redis+sentinel",
        "rediss+sentinel",
        "redis+cluster",
        "rediss+cluster",
        "unix",
    }
)
EMBEDDED_CONCURRENCY: Final = 50
REPORT_EVERY: Final = 10.0  # seconds, for the metrics


class Fleet(NotCopyable):
    """Follows the statuses of the extensions of many PBXes.

    Any number of processes may have the same fleet, with the same URL and name. Workers (`work`, or
    ``portsip-async fleet work``) poll the PBXes, each PBX once per interval. The loops over
    `changes` get what they found. If a worker or a loop dies, another one goes on.

    With ``memory://`` everything runs in this process, without a server. Then the first use of
    `changes`, `snapshot`, `status`, `add` or `remove` starts a worker in the background.

    Anybody who may write to the Redis can run code in the workers. So protect it like the workers
    themselves.
    """

    def __init__(
        self,
        url: str,
        *,
        connect: Callable[..., Awaitable[PortSIPClient | V22Client]],
        pbxes: Iterable[str] = (),
        interval: float = 5.0,
        name: str = "fleet",
        keep_changes: int = 100_000,
        cipher: Cipher | None = None,
        allow_plain: bool = False,
    ) -> None:
        """Store the settings. Nothing is opened or sent before the first use.

        Args:
            url: the Redis, such as ``rediss://user:password@redis.example.com/0``, or
                ``memory://``.
            connect: an async function that makes the client of a PBX. It gets the name of the PBX,
                and arguments such as ``token_store`` that it must pass on to the client.
            pbxes: the names of the PBXes. A PBX that was removed by `remove` stays removed.
            interval: seconds from the start of one cycle of a PBX to the start of the next.
            name: distinguishes several fleets in one Redis.
            keep_changes: about how many events stay in the stream. A group that has not read an
                event before it is trimmed gets a `FleetResync`.
            cipher: encrypts the tokens in Redis; see `portsip_async.redis.RedisTokenStore`.
            allow_plain: whether a connection without TLS is allowed to a host that is not
                loopback.

        Raises:
            ConfigurationError: the URL can't be used.
            TypeError, ValueError: an argument is out of bounds, or has the wrong type.
        """
        check_type("allow_plain", allow_plain, bool)
        self._url = _checked_url(url, allow_plain=allow_plain)
        if not callable(connect):
            raise TypeError(f"connect must be an async function, got {type(connect).__name__}")
        self._connect = connect
        self._pbxes = _names("pbxes", pbxes)
        self._interval = check_number("interval", interval, above=0)
        self._name = _name("name", name)
        self._keep_changes = check_int("keep_changes", keep_changes, 1)
        self._cipher = cipher
        self._engine: Engine | None = None
        self._store: FleetStore
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._cycles: Cycles | None = None  # while a worker runs
        self._has_worker = False  # that `work` runs
        self._working: asyncio.Task[None] | None = None  # its latest task
        self._embedded: asyncio.Task[None] | None = None
        self._is_refused = False  # whether Redis refused a command of the latest cycle

    def __repr__(self) -> str:
        return f"<Fleet {self._name!r}>"

    def changes(
        self, group: str, *, consumer: str | None = None, from_start: bool = False
    ) -> AsyncGenerator[FleetEvent, None]:
        """Yield what changes, until the loop is left or the fleet is closed.

        Each event is acknowledged when the next one is asked for. Until then it is delivered again
        if this process dies. The events of a PBX are in order. One consumer of a group is active at
        a time; others stand by and take over if it dies. Each group gets all events.

        If Redis is away, the loop waits for it.

        Args:
            group: the name of the group, which remembers how far it has read.
            consumer: the name of this consumer; None: the host and the process.
            from_start: whether a new group begins with the oldest event that is kept, instead of
                the next one.

        Yields:
            `FleetChange`, `FleetOutage` when a PBX can't be reached and when it is back, and
            `FleetResync` if events were trimmed before the group read them.

        Raises:
            TypeError, ValueError: a name is empty or no visible text. Raised by this call itself.
        """
        group = _name("group", group)
        check_type("from_start", from_start, bool)
        if consumer is None:
            consumer = f"{socket.gethostname()}#{os.getpid()}"
        consumer = _name("consumer", consumer)
        return Consumer(self._connected, group, consumer, from_start=from_start).events()

    async def snapshot(self, pbx: str) -> dict[str, Status]:
        """Return the latest statuses of a PBX by extension number. It may be empty.

        Raises:
            ValueError: the PBX is not in the fleet.
            ConnectError: Redis can't be reached.
        """
        check_str("pbx", pbx)
        pbx = plain_text(pbx)

        async def read(store: FleetStore) -> dict[str, Status]:
            if pbx not in await store.pbxes(self._pbxes):
                raise ValueError(f"pbx must be one of the fleet's, got {pbx!a}")
            return (await store.read(pbx)).statuses

        return await self._ask(read)

    async def status(self) -> FleetStatus:
        """Return how the cycles of each PBX went, and how far each group has read.

        Raises:
            ConnectError: Redis can't be reached.
        """
        return await self._ask(lambda store: store.status(self._pbxes))

    async def add(self, *pbxes: str) -> None:
        """Add PBXes, even if they were removed before. A worker begins with them within seconds.

        Raises:
            TypeError, ValueError: a name is empty or no text.
            ConnectError: Redis can't be reached.
        """
        names = _names("pbxes", pbxes)

        async def add(store: FleetStore) -> None:
            for name in names:
                await store.add(name)
            assert self._engine is not None  # noqa: S101 - `_ask` opened it
            await self._engine.schedule(names)

        await self._ask(add)

    async def remove(self, *pbxes: str) -> None:
        """Remove PBXes. Each of their extensions is reported as gone.

        Raises:
            TypeError, ValueError: a name is empty or no text.
            ConnectError: Redis can't be reached.
        """
        names = _names("pbxes", pbxes)

        async def remove_all(store: FleetStore) -> None:
            for name in names:
                await remove(store, name)

        await self._ask(remove_all)

    async def work(self, *, concurrency: int = 200, grace: float = 30.0) -> None:
        """Run a worker until the task is cancelled. If Redis is away, it waits for it.

        The first cancellation lets the cycles finish, and a second one ends them at once.

        Args:
            concurrency: the most cycles at once.
            grace: seconds that the cycles may take to finish after the cancellation.

        Raises:
            TypeError, ValueError: an argument is out of bounds.
            RuntimeError: this fleet already has a worker in this process.
        """
        check_int("concurrency", concurrency, 1)
        check_number("grace", grace)
        self._enter_loop()
        if self._has_worker:
            raise RuntimeError("this fleet already has a worker in this process")
        self._has_worker = True
        try:
            await self._end_embedded()
            stop = asyncio.Event()
            self._working = working = asyncio.create_task(self._work(stop, concurrency))
            try:
                await asyncio.wait((working,))
            finally:
                stop.set()
                try:
                    await asyncio.wait((working,), timeout=grace)
                finally:  # even if a second cancellation ends the grace
                    await end_task(working)
        finally:
            self._has_worker = False
        if not working.cancelled():  # by `close`
            working.result()

    async def close(self) -> None:
        """End the worker, the loops over `changes` and the connections to Redis.

        It does not wait for the cycles of the worker. To let them finish, cancel `work` before.
        """
        await self._end_embedded()
        if self._has_worker and self._working is not None:
            await end_task(self._working)
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _enter_loop(self) -> None:
        """Forget what belongs to an event loop that has ended, such as connections."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening = loop, asyncio.Lock()
            self._engine = self._cycles = self._embedded = self._working = None
            self._has_worker = False

    async def _open(self) -> tuple[Engine, FleetStore]:
        """Connect to Redis, once."""
        self._enter_loop()
        async with self._opening:
            if self._engine is None:
                engine = Engine(self._url, self._name)
                engine.register(self._cycle, self._seed, self._interval)
                await engine.open()
                self._engine, self._store = engine, FleetStore(engine.redis, engine.prefix)
        return self._engine, self._store

    async def _connected(self) -> tuple[Engine, FleetStore]:
        """Connect to Redis; with ``memory://`` start a worker too."""
        engine, store = await self._open()
        if engine.is_memory and not self._has_worker and self._embedded is None:
            self._embedded = asyncio.create_task(self._work(asyncio.Event(), EMBEDDED_CONCURRENCY))
            await self._seed()
        return engine, store

    async def _ask(self, ask: Callable[[FleetStore], Awaitable[T]]) -> T:
        """Do something with what Redis has.

        Raises:
            ConnectError: Redis can't be reached.
        """
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                _, store = await self._connected()
                return await ask(store)
        except REDIS_AWAY as error:
            kind = type(error).__name__
        # Its text may hold the address of the server.
        raise ConnectError(f"the fleet's Redis can't be reached: {kind}")

    async def _work(self, stop: asyncio.Event, concurrency: int) -> None:
        engine, store = await self._open()
        metrics = FleetMetrics(self._name)
        name = engine.worker_name()
        cycles = self._cycles = Cycles(
            store,
            self._connect,
            shared=self._shared(engine),
            interval=self._interval,
            keep_changes=self._keep_changes,
            metrics=metrics,
            worker=name,
        )
        reporting = asyncio.create_task(self._report(store, metrics))
        try:
            await engine.work(name, stop, concurrency=concurrency)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
            metrics.close()
            self._cycles = None
            await cycles.close()

    async def _end_embedded(self) -> None:
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            await end_task(embedded)

    async def _cycle(self, pbx: str) -> float | None:
        assert self._cycles is not None  # noqa: S101 - docket calls this in a worker
        try:
            pause = await self._cycles.run(pbx)
        except ResponseError as error:
            # It is out of memory, for example, or somebody else wrote to the fleet's keys.
            if not self._is_refused:
                kind = type(error).__name__
                logger.warning("%s: the fleet's Redis refused a cycle's command: %s", pbx, kind)
            self._is_refused = True
            raise
        self._is_refused = False
        return pause

    async def _seed(self) -> None:
        """Add the PBXes of the constructor, and schedule the cycles that lack."""
        assert self._engine is not None  # noqa: S101 - the caller opened it
        await self._store.seed(self._pbxes)
        await self._engine.schedule(await self._store.pbxes())

    async def _report(self, store: FleetStore, metrics: FleetMetrics) -> None:
        """Keep the gauges up to date."""
        while True:
            with suppress(*REDIS_AWAY):  # the gauges show that by themselves
                metrics.report(await store.status(self._pbxes))
            await asyncio.sleep(REPORT_EVERY)

    def _shared(self, engine: Engine) -> dict[str, object]:
        """Return the arguments that all clients of the fleet get."""
        if engine.is_memory:
            return {}  # one process needs no shared token
        return {"token_store": RedisTokenStore(engine.redis, cipher=self._cipher)}


def _names(argument: str, names: Iterable[str]) -> list[str]:
    """Check the names of PBXes, and return them without repetitions."""
    found = [plain_text(name) for name in check_strs(argument, names, f'{argument}=["acme"]')]
    for name in found:
        if not name.isprintable():
            raise ValueError(f"each of {argument} must be visible text, got {name!a}")
    return list(dict.fromkeys(found))


def _name(argument: str, name: str) -> str:
    """Check a name, and return it."""
    check_str(argument, name)
    if not name.isprintable():
        raise ValueError(f"{argument} must be visible text, got {name!a}")
    return plain_text(name)


def _checked_url(url: str, *, allow_plain: bool) -> str:
    """Check the URL of a Redis. No message shows it, because it may hold a password.

    Raises:
        TypeError: it is not a str.
        ConfigurationError: it can't be used, or its connection would not be encrypted.
    """
    check_type("url", url, str)
    url = plain_text(url)
    try:
        parts = urlsplit(url)
        hosts = [each.rpartition("@")[2] for each in parts.netloc.split(",")]
        names = [unquote(urlsplit(f"//{host}").hostname or "") for host in hosts]
        names += parse_qs(parts.query).get("host", [])  # redis-py reads it, too
        _ = [urlsplit(f"//{host}").port for host in hosts]  # raises ValueError
    except ValueError:
        parts, names = urlsplit(""), []
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            "url must be the URL of a Redis, such as rediss://redis.example.com/0, or memory://"
        )
    plain = parts.scheme.startswith("redis") and not parts.scheme.startswith("rediss")
    if plain and not allow_plain and not all(is_loopback(name or "localhost") for name in names):
        raise ConfigurationError(
            "url must be rediss://, got redis:// to a host that is not loopback: whoever can "
            "change what a worker reads from Redis can run code in it. Use TLS, or pass "
            "allow_plain=True"
        )
    return url
