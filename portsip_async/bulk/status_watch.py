"""Watches the status of many extensions, for weeks if needed (`StatusWatch`).

A feed, such as `status_polling.StatusPolling`, runs in a task of its own and reports the statuses.
For each extension, the consumer gets the difference between what it received last and the latest
status. So the memory for a slow consumer grows with the number of extensions, not the number of
changes. Only the feed knows where the statuses come from.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, NamedTuple, Protocol

from ..core.tasks import Run, TaskOwner
from ..errors import PortSIPError
from ..redact import Record
from .status_type import S
from .workers import JobStream


class StatusChange(Record, Generic[S], frozen=True, gc=False):
    """The difference between an extension's status and what this consumer received last.

    Attributes:
        extension_number: the extension.
        before: what was received last; None if nothing was.
        after: the latest status; None if the extension is gone.
        at: when the change was seen, in UTC.
    """

    extension_number: str
    before: S | None
    after: S | None
    at: datetime


class WatchStats(Record, frozen=True):
    """The progress and the failures of a watch.

    Attributes:
        cycles: cycles of polling that ended; a watch that follows the web socket has none.
        skipped: cycles that were skipped, because an earlier one took too long or was postponed.
        failures: batches, listings and connections that failed, and the error that ended the watch.
        consecutive_failures: cycles in a row that brought no status at all; without polling,
            connections in a row that failed.
        missing: extensions that the latest cycle's replies left out.
        last_error: the latest failure.
        last_success: when a status last came, in UTC.
        lag: seconds by which the latest cycle started late.
        cycle_seconds: how long the latest cycle took.
        unknown: the numbers that the PBX never gave a status for, in the order of the watched ones:
            it refused each of them alone, or left it out of a reply. A number is removed once it
            has a status. Empty if all are known.
        source: where the statuses come from now: "poll" or "socket".
        connections: how often the web socket was connected and logged in.
        messages: messages that the web socket received.
        unreadable: those of them that were no message of the API, or one of an unknown kind.
        unacknowledged: subscriptions of the current connection that the PBX has not acknowledged.
            Some versions acknowledge none.
    """

    cycles: int = 0
    skipped: int = 0
    failures: int = 0
    consecutive_failures: int = 0
    missing: int = 0
    last_error: PortSIPError | None = None
    last_success: datetime | None = None
    lag: float = 0.0
    cycle_seconds: float = 0.0
    unknown: tuple[str, ...] = ()
    source: Literal["poll", "socket"] = "poll"
    connections: int = 0
    messages: int = 0
    unreadable: int = 0
    unacknowledged: int = 0


class DiscoveredExtensions(NamedTuple):
    """The extensions that the PBX lists.

    Attributes:
        numbers: their numbers.
        is_complete: whether the list stayed the same during the walk, so that an extension that is
            not in it is gone.
    """

    numbers: list[str]
    is_complete: bool


class StatusSink(Protocol[S]):
    """Receives what a feed reports. A feed that combines others gives each of them its own sink."""

    @property
    def stats(self) -> WatchStats:
        """The progress and the failures; the feed replaces them."""
        ...

    @stats.setter
    def stats(self, stats: WatchStats) -> None: ...

    @property
    def latest(self) -> Mapping[str, S]:
        """The latest status by number, including those that the consumer knew before."""
        ...

    def note(self, number: str, status: S) -> None:
        """Record the status of an extension; the same one again is no change."""
        ...

    def gone(self, number: str) -> None:
        """Record that an extension no longer exists; one that had no status is no change."""
        ...


class StatusFeed(Protocol[S]):
    """Reports the statuses to one loop of a watch, which cancels it at its end."""

    def run(self, sink: StatusSink[S]) -> Coroutine[Any, Any, None]:
        """Report the statuses until cancelled. An error ends the loop after the last change."""
        ...


class StatusWatch(JobStream[StatusChange[S]], Generic[S]):
    """Yields changes of status until the loop is left.

    Each loop over it is a watch of its own. `snapshot` and `stats` are those of the latest one.
    """

    def __init__(
        self,
        new_feed: Callable[[], StatusFeed[S]],
        *,
        owner: TaskOwner,
        known: Mapping[str, S] | None,
        now: Callable[[], datetime],
    ) -> None:
        """Store the settings; nothing is sent before the loop.

        Args:
            new_feed: makes the feed of a loop.
            owner: starts the tasks.
            known: statuses that the consumer knows already, by number.
            now: the time of day, in UTC.
        """
        super().__init__()
        self._new_feed = new_feed
        self._owner = owner
        self._known: dict[str, S] = dict(known or {})
        self._now = now
        self._latest: _WatchRun[S] | None = None

    def __repr__(self) -> str:
        stats = self.stats
        return (
            f"<{type(self).__name__} extensions={len(self.snapshot)}, cycles={stats.cycles}, "
            f"failures={stats.failures}{self._state()}"
        )

    @property
    def snapshot(self) -> dict[str, S]:
        """A copy of what was delivered. Save it to pass it as ``known=`` later."""
        return dict(self._known if self._latest is None else self._latest.delivered)

    @property
    def stats(self) -> WatchStats:
        """The progress and the failures of the latest loop."""
        return WatchStats() if self._latest is None else self._latest.stats

    def _start_run(self) -> tuple[AsyncGenerator[StatusChange[S], None], Run]:
        run = _WatchRun(self._new_feed(), owner=self._owner, known=self._known, now=self._now)
        self._latest = run
        return run.changes(), run


class _WatchRun(Run, Generic[S]):
    """One loop of a watch: the task of its feed, and the changes that wait for the consumer.

    It is the feed's `StatusSink`.

    Attributes:
        delivered: what the consumer received, by number.
        latest: as in `StatusSink`.
        stats: as in `StatusSink`.
        ended: as in `Run`.
    """

    def __init__(
        self,
        feed: StatusFeed[S],
        *,
        owner: TaskOwner,
        known: Mapping[str, S],
        now: Callable[[], datetime],
    ) -> None:
        self.delivered: dict[str, S] = dict(known)
        self.latest: dict[str, S] = dict(known)
        self.stats = WatchStats()
        self.ended = asyncio.Event()
        self.ended.set()
        self._feed = feed
        self._owner = owner
        self._now = now
        # The numbers that changed since they were delivered, and when.
        self._pending: dict[str, datetime] = {}
        self._wake = asyncio.Event()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    def note(self, number: str, status: S) -> None:
        if self.latest.get(number) != status:
            self.latest[number] = status
            self._changed(number)

    def gone(self, number: str) -> None:
        if self.latest.pop(number, None) is not None:
            self._changed(number)

    async def changes(self) -> AsyncGenerator[StatusChange[S], None]:
        """Run the feed in a task, and yield what changed since it was last yielded."""
        self._owner.check_open()
        self.ended.clear()
        feeding = self._owner.start(self._feed.run(self))
        feeding.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopped:
                while self._pending and not self._stopped:
                    number = next(iter(self._pending))
                    change = self._deliver(number, self._pending.pop(number))
                    if change is not None:
                        yield change
                if feeding.done():
                    if feeding.cancelled():
                        self._owner.check_open()
                    feeding.result()  # raises what ended the watch
                    break
                self._wake.clear()
                await self._wake.wait()
        finally:
            feeding.cancel()
            try:
                await asyncio.gather(feeding, return_exceptions=True)
            finally:  # even if this wait was cancelled too
                self.ended.set()

    def _changed(self, number: str) -> None:
        self._pending[number] = self._now()
        self._wake.set()

    def _deliver(self, number: str, at: datetime) -> StatusChange[S] | None:
        before, after = self.delivered.get(number), self.latest.get(number)
        if before == after:
            return None  # it changed and changed back before it was delivered
        if after is None:
            del self.delivered[number]
        else:
            self.delivered[number] = after
        return StatusChange(number, before, after, at)
