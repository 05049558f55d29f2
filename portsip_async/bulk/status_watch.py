"""Watches the status of many extensions, for weeks if needed (`StatusWatch`).

A watch polls at a fixed interval in a task of its own, and records what changed. For each
extension, its consumer gets the difference between what it received last and the latest status. So
the memory for a slow consumer grows with the number of extensions, not the number of changes.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from ..core.credentials import is_fetch_error
from ..core.tasks import Run, TaskOwner
from ..errors import APIError, PortSIPError, StatusMissing, is_fatal
from ..redact import Record
from .refused_numbers import RefusedNumbers
from .status_batches import SINGLE_FAILURES, BatchReader, BatchResult, S, StatusSource
from .workers import Batcher, JobStream, WorkerPool

P = ParamSpec("P")
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class WatchStats:
    """The progress and the failures of a watch.

    Attributes:
        cycles: cycles that ended.
        skipped: cycles that were skipped, because an earlier one took too long or was postponed.
        failures: batches and listings that failed, and the error that ended the watch.
        consecutive_failures: cycles in a row that brought no status at all.
        missing: extensions that the latest cycle's replies left out.
        last_error: the latest failure.
        last_success: when a cycle last brought a status, in UTC.
        lag: seconds by which the latest cycle started late.
        cycle_seconds: how long the latest cycle took.
        unknown: the numbers that the PBX never gave a status for, in the order of the watched ones:
            it refused each of them alone, or left it out of a reply. A number is removed once it
            has a status. Empty if all are known.
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


class DiscoveredExtensions(NamedTuple):
    """The extensions that the PBX lists.

    Attributes:
        numbers: their numbers.
        is_complete: whether the list stayed the same during the walk, so that an extension that is
            not in it is gone.
    """

    numbers: list[str]
    is_complete: bool


class StatusWatch(JobStream[StatusChange[S]], Generic[S]):
    """Yields changes of status until the loop is left.

    Each loop over it is a watch of its own. `snapshot` and `stats` are those of the latest one.
    """

    def __init__(
        self,
        source: StatusSource[S],
        numbers: Sequence[str] | None,
        *,
        owner: TaskOwner,
        discover: Callable[[], Coroutine[Any, Any, DiscoveredExtensions]],
        interval: float,
        batch_size: int | None,
        concurrency: int,
        known: Mapping[str, S] | None,
        rediscover: float,
    ) -> None:
        """Store the settings; nothing is sent before the loop.

        Args:
            source: the PBX.
            numbers: what to watch; None: what `discover` finds.
            owner: starts the tasks.
            discover: lists the extensions.
            interval: seconds from the start of one cycle to the start of the next.
            batch_size: numbers per request; None: as many as the PBX takes.
            concurrency: requests in flight at most.
            known: statuses that the consumer knows already, by number.
            rediscover: seconds from one listing to the next.
        """
        super().__init__()
        self._source = source
        self._numbers = numbers
        self._owner = owner
        self._discover = discover
        self._interval = interval
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._known: dict[str, S] = dict(known or {})
        self._rediscover = rediscover
        self._latest: _WatchRun[S] | None = None

    @property
    def snapshot(self) -> dict[str, S]:
        """A copy of what was delivered. Save it to pass it as ``known=`` later."""
        return dict(self._known if self._latest is None else self._latest.delivered)

    @property
    def stats(self) -> WatchStats:
        """The progress and the failures of the latest loop."""
        return WatchStats() if self._latest is None else self._latest.stats

    def _start_run(self) -> tuple[AsyncGenerator[StatusChange[S], None], Run]:
        source = replace(self._source, ask=_with_portsip_errors(self._source.ask))
        run = _WatchRun(
            source,
            self._numbers,
            owner=self._owner,
            discover=_with_portsip_errors(self._discover),
            interval=self._interval,
            reader=BatchReader(source, concurrency=self._concurrency, batch_size=self._batch_size),
            known=self._known,
            rediscover=self._rediscover,
        )
        self._latest = run
        return run.changes(), run


def _with_portsip_errors(
    send: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Wrap a call so that an exception of the application's fetch_token does not end a watch."""

    async def send_and_convert(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await send(*args, **kwargs)
        except PortSIPError:
            raise
        except Exception as error:
            if not is_fetch_error(error):
                raise
            cause = error.with_traceback(None)
        # Its text may hold secrets that only the application knows, and this error is logged.
        raise PortSIPError(f"fetching a token raised {type(cause).__name__}") from cause

    return send_and_convert


class _WatchRun(Run, Generic[S]):
    """One loop of a watch: a task that polls, and the changes that wait for the consumer.

    Attributes:
        delivered: what the consumer received, by number.
        stats: the progress and the failures of the watch.
        ended: as in `Run`.
    """

    def __init__(
        self,
        source: StatusSource[S],
        numbers: Sequence[str] | None,
        *,
        owner: TaskOwner,
        discover: Callable[[], Coroutine[Any, Any, DiscoveredExtensions]],
        interval: float,
        reader: BatchReader[S],
        known: Mapping[str, S],
        rediscover: float,
    ) -> None:
        self.delivered: dict[str, S] = dict(known)
        self.stats = WatchStats()
        self.ended = asyncio.Event()
        self.ended.set()
        self._source = source
        self._numbers = None if numbers is None else list(dict.fromkeys(numbers))
        self._owner = owner
        self._discover = discover
        self._interval = interval
        self._reader = reader
        self._rediscover = rediscover
        self._discovered_at = -math.inf
        self._latest: dict[str, S] = dict(known)
        # The numbers that changed since they were delivered, and when.
        self._pending: dict[str, datetime] = {}
        self._refused = RefusedNumbers()
        self._failing = False  # whether anything failed in this cycle
        self._postponed_until = -math.inf
        self._wake = asyncio.Event()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    async def changes(self) -> AsyncGenerator[StatusChange[S], None]:
        """Poll in a task, and yield what changed since it was last yielded."""
        self._owner.check_open()
        self.ended.clear()
        polling = self._owner.start(self._poll_forever())
        polling.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopped:
                while self._pending and not self._stopped:
                    number = next(iter(self._pending))
                    change = self._deliver(number, self._pending.pop(number))
                    if change is not None:
                        yield change
                if polling.done():
                    if polling.cancelled():
                        self._owner.check_open()
                    polling.result()  # raises what ended the watch
                self._wake.clear()
                await self._wake.wait()
        finally:
            polling.cancel()
            try:
                await asyncio.gather(polling, return_exceptions=True)
            finally:  # even if this wait was cancelled too
                self._source.outages.left(self)
                self.ended.set()

    def _deliver(self, number: str, at: datetime) -> StatusChange[S] | None:
        before, after = self.delivered.get(number), self._latest.get(number)
        if before == after:
            return None  # it changed and changed back before it was delivered
        if after is None:
            del self.delivered[number]
        else:
            self.delivered[number] = after
        return StatusChange(number, before, after, at)

    async def _poll_forever(self) -> None:
        clock = self._source.clock
        # Cycle n starts at `start + n * interval`, so that small delays don't add up.
        start, cycle = clock(), 0
        while True:
            scheduled_at = start + cycle * self._interval
            started_at = clock()
            try:
                await self._run_cycle(cycle)
            except PortSIPError as error:
                # The consumer gets this error later. Until then the stats must show it.
                self.stats = replace(
                    self.stats,
                    failures=self.stats.failures + 1,
                    consecutive_failures=self.stats.consecutive_failures + 1,
                    last_error=error,
                )
                raise
            now = clock()
            # The next cycle is the first that is neither in the past nor postponed.
            earliest = (max(now, self._postponed_until) - start) / self._interval
            next_cycle = max(cycle + 1, math.ceil(earliest - 1e-9))
            self.stats = replace(
                self.stats,
                cycles=self.stats.cycles + 1,
                skipped=self.stats.skipped + next_cycle - cycle - 1,
                lag=max(0.0, started_at - scheduled_at),
                cycle_seconds=now - started_at,
            )
            cycle = next_cycle
            await self._source.sleep(max(0.0, start + cycle * self._interval - now))

    async def _run_cycle(self, cycle: int) -> None:
        self._failing = False
        # 1. Find out what to ask for, and ask.
        discovered = await self._find_numbers()
        numbers = self._numbers if self._numbers is not None else list(self._latest)
        # Numbers that the PBX refuses would split every batch, so they are sent separately, in
        # batches so small that a refusal is never about the batch as a whole.
        normal = [number for number in numbers if number not in self._refused]
        found, missing = await self._poll(normal, self._reader.next_size, cycle)
        retried = self._refused.to_ask(numbers, cycle)
        found_again, missing_again = await self._poll(
            retried, lambda: min(self._reader.next_size(), SINGLE_FAILURES), cycle
        )
        found, missing = found + found_again, missing + missing_again
        # 2. Log unknown numbers, and the end of an outage.
        self._show_unknown(numbers)
        if not self._failing and (normal or retried or not numbers):
            self._source.outages.recovered(self, self._source.clock())
        # 3. Count the cycle as a success or a failure.
        if discovered and not normal and not retried and numbers:
            return  # all numbers are refused and paused: neither a success nor a failure
        if found or (discovered and not numbers):
            self.stats = replace(
                self.stats,
                missing=missing,
                consecutive_failures=0,
                last_success=self._source.now(),
            )
        else:
            self.stats = replace(
                self.stats,
                missing=missing,
                consecutive_failures=self.stats.consecutive_failures + 1,
            )

    async def _poll(
        self, numbers: list[str], size: Callable[[], int], cycle: int
    ) -> tuple[int, int]:
        """Read the status of some numbers; return how many came, and how many were left out."""
        found = missing = 0
        pool = WorkerPool(
            Batcher(numbers, size, owner=self._owner),
            self._reader.read,
            owner=self._owner,
            limit=lambda: self._reader.gate.limit,
        )
        batches = pool.results()
        try:
            async for batch in batches:
                batch_found, batch_missing = self._take_batch(batch, cycle)
                found, missing = found + batch_found, missing + batch_missing
        finally:
            await batches.aclose()
        return found, missing

    def _take_batch(self, batch: BatchResult[S], cycle: int) -> tuple[int, int]:
        """Record the results of a batch; return how many statuses it has and how many it lacks."""
        found = missing = 0
        failures: dict[int, PortSIPError] = {}  # by identity: numbers share errors
        refused = set(batch.refused)
        asked_again = self._retry_doubted(batch.doubted, cycle)
        for result in batch.results:
            number, error = result.extension_number, result.error
            if result.status is not None:
                found += 1
                self._note(number, result.status)
            elif isinstance(error, StatusMissing):
                missing += 1
                self._refused.accept(number)
                self._note_unknown(number)
            elif isinstance(error, PortSIPError):
                if number in refused:
                    self._count(error)  # the number is at fault, not the PBX
                elif number not in asked_again:
                    failures[id(error)] = error
        for number in batch.refused:
            self._refused.postpone(number, cycle)
            self._note_unknown(number)
        for failure in failures.values():
            self._note_failure(failure)
        return found, missing

    def _note(self, number: str, status: S) -> None:
        """Record the status of a number, and wake the consumer if it changed."""
        self._refused.note_status(number)
        if self._latest.get(number) != status:
            self._latest[number] = status
            self._pending[number] = self._source.now()
            self._wake.set()

    def _retry_doubted(self, doubted: list[str], cycle: int) -> set[str]:
        """Schedule numbers that never had a status for another request in this cycle.

        Numbers with a status are requested again in the next cycle. If all of them have one, the
        PBX has lost its extensions, and requests for single numbers would show nothing new.

        Returns:
            The numbers that will be requested again; none if all have a status.
        """
        new = [number for number in doubted if number not in self._latest]
        self._refused.ask_now(new, cycle)
        return set(doubted) if new else set()

    def _note_unknown(self, number: str) -> None:
        """Record that the PBX gave no status for a number that never had one."""
        if number not in self._latest:
            self._refused.note_unknown(number)

    def _show_unknown(self, numbers: list[str]) -> None:
        """Show the unknown numbers in the stats; log them and the refused ones, each once."""
        unknown = self._refused.unknown(numbers)
        if unknown != self.stats.unknown:
            self.stats = replace(self.stats, unknown=unknown)
        new = self._refused.not_yet_logged(numbers)
        if new:
            self._source.outages.refused(new)

    def _note_failure(self, error: PortSIPError) -> None:
        """Count a failure of the PBX, and log the outage."""
        self._failing = True
        self._source.outages.failed(self, error, self._source.clock())
        self._count(error)

    def _count(self, error: PortSIPError) -> None:
        self.stats = replace(self.stats, failures=self.stats.failures + 1, last_error=error)
        if isinstance(error, APIError) and error.retry_after is not None:
            until = self._source.clock() + error.retry_after
            self._postponed_until = max(self._postponed_until, until)

    async def _find_numbers(self) -> bool:
        """List the extensions if no numbers were given and the last listing is old enough.

        Returns:
            Whether it is known which extensions there are.
        """
        if self._numbers is not None and self._discovered_at == -math.inf:
            return True  # they were given
        now = self._source.clock()
        if now < self._discovered_at + self._rediscover:
            return True
        try:
            listed = await self._discover()
        except PortSIPError as error:
            if is_fatal(error):
                raise
            self._note_failure(error)
            return False
        self._discovered_at = now
        present = dict.fromkeys(listed.numbers)
        if not listed.is_complete:
            # An extension may have moved to another page, so that the walk missed it.
            present |= dict.fromkeys(self._latest)
        self._numbers = list(present)
        for gone in self._latest.keys() - present.keys():
            del self._latest[gone]
            self._pending[gone] = self._source.now()
            self._wake.set()
        self._refused.forget_all_but(present.keys())
        return True
