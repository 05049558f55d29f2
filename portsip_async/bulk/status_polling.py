"""Polls the status of many extensions at a fixed interval, and feeds a watch.

In each cycle, numbers that the PBX refuses are asked for apart from the others, and more and more
rarely. If no numbers were given, the PBX's extensions are listed from time to time. Failures are
logged and counted, and polling goes on.
"""

import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, ParamSpec, TypeVar

import msgspec

from ..core.credentials import is_fetch_error
from ..core.tasks import TaskOwner
from ..errors import APIError, PortSIPError, StatusMissing, is_fatal
from ..redact import Record
from .refused_numbers import RefusedNumbers
from .status_batches import SINGLE_FAILURES, BatchReader, BatchResult, StatusSource
from .status_type import S
from .status_watch import DiscoveredExtensions, StatusFeed, StatusSink
from .workers import Batcher, WorkerPool

P = ParamSpec("P")
T = TypeVar("T")


class PollingState(Record, frozen=True):
    """What one cycle leaves for the next, which may run in another process.

    Attributes:
        numbers: the extensions that were listed; None if none were yet.
        listed_in: the cycle of the latest listing.
        refused: see `RefusedNumbers`, like the two below.
        unknown: see refused.
        logged: see refused.
    """

    numbers: tuple[str, ...] | None = None
    listed_in: int = 0
    refused: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    logged: tuple[str, ...] = ()


class StatusPolling(StatusFeed[S], Generic[S]):
    """Polls, for one loop of a watch (`run`) or for a cycle at a time (`run_one`)."""

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
        rediscover: float,
    ) -> None:
        """Store the settings; nothing is sent before `run`.

        Args:
            source: the PBX.
            numbers: what to poll; None: what `discover` finds.
            owner: starts the tasks.
            discover: lists the extensions.
            interval: seconds from the start of one cycle to the start of the next.
            batch_size: numbers per request; None: as many as the PBX takes.
            concurrency: requests in flight at most.
            rediscover: seconds from one listing to the next.
        """
        self._source = replace(source, ask=with_portsip_errors(source.ask))
        self._numbers = None if numbers is None else list(dict.fromkeys(numbers))
        self._owner = owner
        self._discover = with_portsip_errors(discover)
        self._interval = interval
        self._reader = BatchReader(self._source, concurrency=concurrency, batch_size=batch_size)
        self._rediscover = rediscover
        self._discovered_at = -math.inf
        self._refused = RefusedNumbers()
        self._failing = False  # whether anything failed in this cycle
        self._postponed_until = -math.inf
        self._logs_outages = True
        self._sink: StatusSink[S]

    async def run(self, sink: StatusSink[S]) -> None:
        """Poll until cancelled.

        Raises:
            AuthenticationError, ConfigurationError, ClientClosed: polling can't go on.
        """
        self._sink = sink
        try:
            await self._poll_forever()
        finally:
            self._source.outages.left(self)

    async def run_one(
        self, sink: StatusSink[S], cycle: int, state: PollingState, relist_after: int
    ) -> PollingState:
        """Run one cycle, and return what the next one needs. An outage is not logged.

        Args:
            sink: receives the statuses; its `latest` has those that are known.
            cycle: the number of the cycle.
            state: what the previous cycle left.
            relist_after: the number of cycles from one listing to the next.

        Raises:
            AuthenticationError, ConfigurationError, ClientClosed: the cycle failed as a whole.
        """
        self._sink, self._logs_outages = sink, False
        self._refused = RefusedNumbers(state.refused, state.unknown, state.logged)
        listed_at = -math.inf
        self._numbers = None
        if state.numbers is not None and cycle < state.listed_in + relist_after:
            self._numbers, listed_at = list(state.numbers), self._source.clock()
        self._discovered_at = listed_at
        await self._run_cycle(cycle)
        has_listed = self._discovered_at != listed_at
        numbers = state.numbers if self._numbers is None else tuple(self._numbers)
        refused, unknown, logged = self._refused.state()
        return PollingState(
            numbers=numbers,
            listed_in=cycle if has_listed else state.listed_in,
            refused=refused,
            unknown=tuple(unknown),
            logged=tuple(logged),
        )

    @property
    def postponed(self) -> float:
        """The seconds until the next cycle may start, because a reply had a ``Retry-After``."""
        return max(0.0, self._postponed_until - self._source.clock())

    async def _poll_forever(self) -> None:
        sink, clock = self._sink, self._source.clock
        # Cycle n starts at `start + n * interval`, so that small delays don't add up.
        start, cycle = clock(), 0
        while True:
            scheduled_at = start + cycle * self._interval
            started_at = clock()
            try:
                await self._run_cycle(cycle)
            except PortSIPError as error:
                # The consumer gets this error later. Until then the stats must show it.
                stats = sink.stats
                sink.stats = stats.replace(
                    failures=stats.failures + 1,
                    consecutive_failures=stats.consecutive_failures + 1,
                    last_error=error,
                )
                raise
            now = clock()
            # The next cycle is the first that is neither in the past nor postponed.
            earliest = (max(now, self._postponed_until) - start) / self._interval
            next_cycle = max(cycle + 1, math.ceil(earliest - 1e-9))
            sink.stats = sink.stats.replace(
                cycles=sink.stats.cycles + 1,
                skipped=sink.stats.skipped + next_cycle - cycle - 1,
                lag=max(0.0, started_at - scheduled_at),
                cycle_seconds=now - started_at,
            )
            cycle = next_cycle
            await self._source.sleep(max(0.0, start + cycle * self._interval - now))

    async def _run_cycle(self, cycle: int) -> None:
        self._failing = False
        # 1. Find out what to ask for, and ask.
        discovered = await self._find_numbers()
        numbers = self._numbers if self._numbers is not None else list(self._sink.latest)
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
        stats = self._sink.stats.replace(missing=missing)
        if found or (discovered and not numbers):
            now = self._source.now()
            self._sink.stats = stats.replace(consecutive_failures=0, last_success=now)
        else:
            failures = stats.consecutive_failures + 1
            self._sink.stats = stats.replace(consecutive_failures=failures)

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
                self._refused.note_status(number)
                self._sink.note(number, result.status)
            elif isinstance(error, StatusMissing) or not isinstance(error, PortSIPError):
                missing += 1  # it was left out, or can't be sent
                self._refused.accept(number)
                self._note_unknown(number)
            elif number in refused:
                self._count(error)  # the number is at fault, not the PBX
            elif number not in asked_again:
                failures[id(error)] = error
        for number in batch.refused:
            self._refused.postpone(number, cycle)
            self._note_unknown(number)
        for failure in failures.values():
            self._note_failure(failure)
        return found, missing

    def _retry_doubted(self, doubted: list[str], cycle: int) -> set[str]:
        """Schedule numbers that never had a status for another request in this cycle.

        Numbers with a status are requested again in the next cycle. If all of them have one, the
        PBX has lost its extensions, and requests for single numbers would show nothing new.

        Returns:
            The numbers that will be requested again; none if all have a status.
        """
        new = [number for number in doubted if number not in self._sink.latest]
        self._refused.ask_now(new, cycle)
        return set(doubted) if new else set()

    def _note_unknown(self, number: str) -> None:
        """Record that the PBX gave no status for a number that never had one."""
        if number not in self._sink.latest:
            self._refused.note_unknown(number)

    def _show_unknown(self, numbers: list[str]) -> None:
        """Show the unknown numbers in the stats; log them and the refused ones, each once."""
        unknown = self._refused.unknown(numbers)
        if unknown != self._sink.stats.unknown:
            self._sink.stats = self._sink.stats.replace(unknown=unknown)
        new = self._refused.not_yet_logged(numbers)
        if new:
            self._source.outages.refused(new)

    def _note_failure(self, error: PortSIPError) -> None:
        """Count a failure of the PBX, and log the outage."""
        self._failing = True
        if self._logs_outages:
            self._source.outages.failed(self, error, self._source.clock())
        self._count(error)

    def _count(self, error: PortSIPError) -> None:
        stats = self._sink.stats
        self._sink.stats = stats.replace(failures=stats.failures + 1, last_error=error)
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
            present |= dict.fromkeys(self._sink.latest)
        self._numbers = list(present)
        for gone in self._sink.latest.keys() - present.keys():
            self._sink.gone(gone)
        self._refused.forget_all_but(present.keys())
        return True


def with_portsip_errors(
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
