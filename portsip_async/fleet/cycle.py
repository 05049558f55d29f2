"""A cycle of one PBX: reads the statuses once, and writes what changed since the previous cycle.

The previous cycle may have run in another process. What it left is read from Redis, and the outcome
is written there in one step, which is refused if another cycle came first.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from ..bulk.status_polling import StatusPolling
from ..bulk.status_watch import StatusChange, WatchStats
from ..client.base import BaseClient
from ..errors import APIError, ClientClosed, ConfigurationError, PortSIPError
from ..v22.extensions import Extensions as V22Extensions
from .events import PBXStatus, Status
from .metrics import FleetMetrics
from .store import (
    GONE,
    REFUSED,
    WRITTEN,
    ClassicSnapshot,
    FleetStore,
    PBXRecord,
    Snapshot,
    V22Snapshot,
    change_event,
    outage_event,
)

logger: logging.Logger = logging.getLogger("portsip_async")
outage_logger: logging.Logger = logging.getLogger("portsip_async.fleet.outages")

RELIST_EVERY: Final = 60.0  # seconds
CONNECT_SECONDS: Final = 30.0  # that `connect` may take


class Sink:
    """Collects what a cycle reports.

    Attributes:
        stats: as in `StatusSink`.
        latest: as in `StatusSink`.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.stats: WatchStats = WatchStats()
        self.latest: dict[str, Any] = dict(known)

    def note(self, number: str, status: Any) -> None:
        """Record the status of an extension."""
        self.latest[number] = status

    def gone(self, number: str) -> None:
        """Record that an extension no longer exists."""
        self.latest.pop(number, None)


class Outcome(NamedTuple):
    """What a cycle found.

    Attributes:
        snapshot: the statuses now; None if the cycle failed before it asked for any.
        error: why it brought no status; None if it brought some.
        last_error: its latest failure, even if it brought statuses.
        pause: seconds that the PBX wants until the next cycle, by a ``Retry-After`` or by the
            client's rate of requests.
    """

    snapshot: Snapshot | None
    error: str | None
    last_error: str | None
    pause: float = 0.0


class Connected(NamedTuple):
    """The client of a PBX, and how to poll through it."""

    client: BaseClient
    polling: StatusPolling[Any]
    is_v22: bool


class Cycles:
    """Runs the cycles of one worker, and keeps its clients."""

    def __init__(
        self,
        store: FleetStore,
        connect: Callable[..., Awaitable[BaseClient]],
        *,
        shared: Mapping[str, object],
        interval: float,
        keep_changes: int,
        metrics: FleetMetrics,
        worker: str,
    ) -> None:
        """Store the settings.

        Args:
            store: reads and writes what the fleet keeps in Redis.
            connect: makes the client of a PBX.
            shared: the arguments that `connect` passes on to the client.
            interval: seconds from the start of one cycle to the start of the next.
            keep_changes: about how many events stay in the stream.
            metrics: counts the cycles and their changes.
            worker: the name of the worker.
        """
        self._store = store
        self._connect = connect
        self._shared = shared
        self._interval = interval
        self._keep_changes = keep_changes
        self._metrics = metrics
        self._worker = worker
        self._connected: dict[str, Connected] = {}
        # By PBX, as long as a cycle of it runs or waits.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, pbx: str) -> float | None:
        """Run a cycle; return the seconds until the next one, or None if there is none."""
        # A worker that was paused may get its own cycle again while it still runs. Both would use
        # the same `StatusPolling`, which is for one cycle at a time.
        async with self._locks.setdefault(pbx, asyncio.Lock()):
            return await self._run(pbx)

    async def _run(self, pbx: str) -> float | None:
        began = time.monotonic()
        if not await self._store.is_member(pbx):
            await self._forget(pbx)
            await finish_removal(self._store, pbx)  # if the process that began it was killed
            return None
        record = await self._store.read(pbx)
        outcome = await self._poll(pbx, record)
        self._metrics.cycle(pbx, outcome.error and outcome.error.partition(":")[0])
        written = await self._write(pbx, record, outcome)
        if written == GONE:
            await self._forget(pbx)
            return None
        if written == REFUSED:
            self._metrics.refused_write(pbx)
        return max(self._interval - (time.monotonic() - began), outcome.pause, 0.0)

    async def close(self) -> None:
        """Close the clients."""
        for pbx in list(self._connected):
            await self._forget(pbx)

    async def _forget(self, pbx: str) -> None:
        connected = self._connected.pop(pbx, None)
        if connected is None:
            return
        # `connect` may return one client for two PBXes.
        if all(other.client is not connected.client for other in self._connected.values()):
            await connected.client.close()

    async def _client(self, pbx: str) -> Connected:
        connected = self._connected.get(pbx)
        if connected is None:
            connected = _connected(await self._new_client(pbx), self._interval)
            self._connected[pbx] = connected
        return connected

    async def _new_client(self, pbx: str) -> BaseClient:
        """Call the application's `connect`.

        Raises:
            ConfigurationError: it returned something else.
            PortSIPError: it took too long.
        """
        limit = asyncio.timeout(CONNECT_SECONDS)
        try:
            async with limit:
                client: object = self._connect(pbx, **self._shared)
                if isawaitable(client):
                    client = await client
                    if isinstance(client, BaseClient):
                        return client
        except TimeoutError:
            if not limit.expired():
                raise
        else:
            kind = type(client).__name__
            raise ConfigurationError(f"connect must be async and return a client, got {kind}")
        raise PortSIPError(f"connect did not return within {CONNECT_SECONDS:g} s")

    async def _poll(self, pbx: str, record: PBXRecord) -> Outcome:
        """Read the statuses. Whatever fails is part of the outcome."""
        try:
            connected = await self._client(pbx)
        except Exception as error:
            text = _failure(pbx, error, is_first=record.outage_since is None)
            return Outcome(None, text, text)
        previous, kind = record.snapshot, V22Snapshot if connected.is_v22 else ClassicSnapshot
        if not isinstance(previous, kind):
            previous = kind()
        sink, state = Sink(previous.statuses), previous.polling
        failed: str | None = None
        pause = 0.0
        try:
            relist_after = max(1, round(RELIST_EVERY / self._interval))
            state = await connected.polling.run_one(sink, record.next_version, state, relist_after)
        except Exception as error:
            failed = _failure(pbx, error, is_first=record.outage_since is None)
            if isinstance(error, ClientClosed):  # by the application, so connect again
                self._connected.pop(pbx, None)
            if isinstance(error, APIError):
                pause = error.retry_after or 0.0
        else:
            if sink.stats.consecutive_failures:
                failed = _text(sink.stats.last_error)
        latest_error, rate = sink.stats.last_error, connected.client._session.rate
        return Outcome(
            kind(sink.latest, state),
            failed,
            failed or (None if latest_error is None else _text(latest_error)),
            # A client of another worker begins with a slot at once. So wait for it here.
            max(pause, connected.polling.postponed, 0.0 if rate is None else rate.pause),
        )

    async def _write(self, pbx: str, record: PBXRecord, outcome: Outcome) -> int:
        now = datetime.now(UTC)
        old, before = record.status, record.statuses
        after: dict[str, Status] = before
        if outcome.snapshot is not None:
            after = {**outcome.snapshot.statuses}
        events = [change_event(change) for change in _changes(before, after, now)]
        changes = len(events)
        since = record.outage_since
        if outcome.error is not None and since is None:
            since = now
            events.append(outage_event(since, outcome.error))
        elif outcome.error is None and since is not None:
            events.insert(0, outage_event(since, None))
            since = None
        failed = outcome.error is not None
        status = PBXStatus(
            last_success=old.last_success if failed else now,
            last_error=outcome.last_error or old.last_error,
            consecutive_failures=old.consecutive_failures + 1 if failed else 0,
            extensions=len(after),
            worker=self._worker,
        )
        written = await self._store.write(
            pbx,
            record,
            status=status,
            outage_since=since,
            snapshot=None if outcome.snapshot == record.snapshot else outcome.snapshot,
            events=events,
        )
        if written == WRITTEN and events:
            self._metrics.changes(pbx, changes)
            if failed and since == now:
                outage_logger.warning("%s: an outage began: %s", pbx, outcome.error)
            elif record.outage_since is not None and since is None:
                outage_logger.warning("%s: the outage is over", pbx)
            await self._store.trim(self._keep_changes)
        return written


async def remove(store: FleetStore, pbx: str) -> None:
    """Remove a PBX from a fleet: each of its extensions is reported as gone."""
    await store.remove(pbx)
    await finish_removal(store, pbx)


async def finish_removal(store: FleetStore, pbx: str) -> None:
    """Report the extensions of a removed PBX as gone, unless that was done."""
    while True:
        record = await store.read(pbx)
        gone = _changes(record.statuses, {}, datetime.now(UTC))
        written = await store.write(
            pbx,
            record,
            status=PBXStatus(),
            outage_since=None,
            snapshot=None,
            events=[change_event(change) for change in gone],
            removed=True,
        )
        if written != REFUSED:
            return
        await asyncio.sleep(0)


def _connected(client: BaseClient, interval: float) -> Connected:
    extensions: Any = client.extensions  # type: ignore[attr-defined]  # each generation has them
    is_v22 = isinstance(extensions, V22Extensions)
    options = {"source": "poll"} if is_v22 else {}
    polling = extensions.watch_status(interval=interval, **options)._new_feed()
    return Connected(client, polling, is_v22)


def _changes(
    before: Mapping[str, Status], after: Mapping[str, Status], at: datetime
) -> list[StatusChange[Any]]:
    """Return the differences between two snapshots."""
    changes: list[StatusChange[Any]] = []
    for number, old in before.items():
        new = after.get(number)
        if new is not None and type(new) is not type(old):
            # The PBX was moved to the other generation: its statuses can't be compared.
            changes += [StatusChange(number, old, None, at), StatusChange(number, None, new, at)]
        elif new != old:
            changes.append(StatusChange(number, old, new, at))
    changes += [
        StatusChange(number, None, new, at) for number, new in after.items() if number not in before
    ]
    return changes


def _failure(pbx: str, error: Exception, *, is_first: bool) -> str:
    """Return an error as one line. One that is not of this package is logged when it is new."""
    if not isinstance(error, PortSIPError) and is_first:
        logger.warning("%s: a cycle failed", pbx, exc_info=error)
    return _text(error)


def _text(error: Exception | None) -> str:
    """Return an error as one line. Only the errors of this package are known to show no secret."""
    if error is None:
        return "StatusMissing: no status came"
    if isinstance(error, PortSIPError):
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return type(error).__name__
