"""The status of many extensions, followed for weeks (`StatusWatch`).

A watch polls on a fixed rhythm in a task of its own and notes what changed; its consumer is handed,
for each extension, the difference between what it received last and what holds now. So a consumer
that falls behind costs memory by the number of extensions, not by the number of changes.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from ..classic.models import ExtensionStatus
from ..core.streams import Run
from ..errors import APIError, PortSIPError, StatusMissing, is_fatal
from ..record import Record
from .status_poll import ALONE, Batches, Owner
from .workers import Crew, Feed, Stream

P = ParamSpec("P")
T = TypeVar("T")

_REFUSED_CYCLES_MOST: Final = 64  # cycles between two questions for a refused number, at most


class StatusChange(Record, frozen=True, gc=False):
    """How an extension's status differs from what this consumer received last.

    Attributes:
        extension_number: the extension.
        before: what was received last; None where nothing was.
        after: what holds now; None where the extension is gone.
        at: when the change was seen, in UTC.
    """

    extension_number: str
    before: ExtensionStatus | None
    after: ExtensionStatus | None
    at: datetime


@dataclass(frozen=True, slots=True)
class WatchStats:
    """How a watch fares.

    Attributes:
        cycles: cycles that ended.
        skipped: beats of the rhythm that were left out, since a cycle overran or was postponed.
        failures: batches and listings that failed, and what ended the watch.
        consecutive_failures: cycles in a row that brought no status at all.
        missing: extensions that the latest cycle's replies left out.
        unknown: the numbers that the PBX never gave a status for, in the order of the watched ones:
            it refused each of them alone, or left it out of a reply. A number leaves once it has
            a status. Empty where all are known.
        last_error: the latest failure.
        last_success: when a cycle last brought a status, in UTC.
        lag: seconds by which the latest cycle began late.
        cycle_seconds: how long the latest cycle took.
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


class Listing(NamedTuple):
    """The extensions that there are.

    Attributes:
        numbers: their numbers.
        steady: whether the list stood still while it was walked, so that what it lacks is gone.
    """

    numbers: list[str]
    steady: bool


class StatusWatch(Stream[StatusChange]):
    """Changes of status, followed until the loop is left.

    Each loop over it is a watch of its own; `snapshot` and `stats` are the latest one's.
    """

    def __init__(
        self,
        owner: Owner,
        numbers: Sequence[str] | None,
        *,
        discover: Callable[[], Coroutine[Any, Any, Listing]],
        interval: float,
        batch_size: int,
        concurrency: int,
        known: Mapping[str, ExtensionStatus] | None,
        rediscover: float,
    ) -> None:
        super().__init__()
        self._owner = owner
        self._numbers = numbers
        self._discover = discover
        self._interval = interval
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._known = dict(known or {})
        self._rediscover = rediscover
        self._latest: _Watch | None = None

    @property
    def snapshot(self) -> dict[str, ExtensionStatus]:
        """What was delivered: a copy, to be saved and given back as ``known=``."""
        return dict(self._known if self._latest is None else self._latest.delivered)

    @property
    def stats(self) -> WatchStats:
        """How the latest loop fares."""
        return WatchStats() if self._latest is None else self._latest.stats

    def _begin(self) -> tuple[AsyncGenerator[StatusChange, None], Run]:
        watch = _Watch(
            self._owner,
            self._numbers,
            discover=_with_errors_of_ours(self._discover),
            interval=self._interval,
            batch_size=self._batch_size,
            batches=Batches(_with_errors_of_ours(self._owner.ask), self._concurrency),
            known=self._known,
            rediscover=self._rediscover,
        )
        self._latest = watch
        return watch.changes(), watch


def _with_errors_of_ours(
    send: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Wrap a call so that what an application's fetch_token raises ends no watch."""

    async def sent(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await send(*args, **kwargs)
        except PortSIPError:
            raise
        except Exception as error:
            foreign = error.with_traceback(None)
        # Its text may hold secrets that only the application knows, and this one is logged.
        raise PortSIPError(f"fetching a token raised {type(foreign).__name__}") from foreign

    return sent


class _Watch(Run):
    """One loop of a watch: a task that goes round, and what its consumer has still to be told."""

    def __init__(
        self,
        owner: Owner,
        numbers: Sequence[str] | None,
        *,
        discover: Callable[[], Coroutine[Any, Any, Listing]],
        interval: float,
        batch_size: int,
        batches: Batches,
        known: Mapping[str, ExtensionStatus],
        rediscover: float,
    ) -> None:
        self.delivered: dict[str, ExtensionStatus] = dict(known)
        self.stats = WatchStats()
        self.ended = asyncio.Event()
        self.ended.set()
        self._owner = owner
        self._numbers = None if numbers is None else list(dict.fromkeys(numbers))
        self._discover = discover
        self._interval = interval
        self._batch_size = batch_size
        self._batches = batches
        self._rediscover = rediscover
        self._discovered_at = -math.inf
        self._latest: dict[str, ExtensionStatus] = dict(known)
        self._pending: dict[str, datetime] = {}  # what changed since it was delivered, and when
        self._refused: dict[str, tuple[int, int]] = {}  # number: the cycle it is due in, the pause
        self._unknown: set[str] = set()  # without a status so far, though asked for
        self._named: set[str] = set()  # in the log, as without a status
        self._failing = False  # whether anything of this cycle failed
        self._postponed_to = -math.inf
        self._wake = asyncio.Event()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    async def changes(self) -> AsyncGenerator[StatusChange, None]:
        """Go round in a task of its own, and answer what changed since it was answered last."""
        self._owner.check()
        self.ended.clear()
        rounds = self._owner.start(self._go_round())
        rounds.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stopped:
                while self._pending and not self._stopped:
                    number = next(iter(self._pending))
                    change = self._deliver(number, self._pending.pop(number))
                    if change is not None:
                        yield change
                if rounds.done():
                    if rounds.cancelled():
                        self._owner.check()
                    rounds.result()
                self._wake.clear()
                await self._wake.wait()
        finally:
            rounds.cancel()
            try:
                await asyncio.gather(rounds, return_exceptions=True)
            finally:  # cancelled again meanwhile, it has waited all the same
                self._owner.outages.left(self)
                self.ended.set()

    def _deliver(self, number: str, at: datetime) -> StatusChange | None:
        before, after = self.delivered.get(number), self._latest.get(number)
        if before == after:
            return None  # it changed and changed back before it was delivered
        if after is None:
            del self.delivered[number]
        else:
            self.delivered[number] = after
        return StatusChange(number, before, after, at)

    async def _go_round(self) -> None:
        clock = self._owner.clock
        start, beat = clock(), 0
        while True:
            due = start + beat * self._interval
            begun = clock()
            try:
                await self._cycle(beat)
            except PortSIPError as error:
                # The consumer, who is told, may be elsewhere; till then it must not look well.
                self.stats = replace(
                    self.stats,
                    failures=self.stats.failures + 1,
                    consecutive_failures=self.stats.consecutive_failures + 1,
                    last_error=error,
                )
                raise
            now = clock()
            # The next beat that has not passed, and that nothing postponed.
            ahead = (max(now, self._postponed_to) - start) / self._interval
            following = max(beat + 1, math.ceil(ahead - 1e-9))
            self.stats = replace(
                self.stats,
                cycles=self.stats.cycles + 1,
                skipped=self.stats.skipped + following - beat - 1,
                lag=max(0.0, begun - due),
                cycle_seconds=now - begun,
            )
            beat = following
            await self._owner.sleep(max(0.0, start + beat * self._interval - now))

    async def _cycle(self, beat: int) -> None:
        self._failing = False
        listed = await self._find_numbers()
        asked = self._numbers if self._numbers is not None else list(self._latest)
        ordinary = [number for number in asked if number not in self._refused]
        seen, missing = await self._poll(ordinary, self._batch_size, beat)
        # The refused ones in batches so small that none is blamed on the batch.
        due = [number for number in asked if self._refused.get(number, (beat + 1, 0))[0] <= beat]
        found, lacking = await self._poll(due, min(self._batch_size, ALONE), beat)
        seen, missing = seen + found, missing + lacking
        self._show_unknown(asked)
        if not self._failing and (ordinary or due or not asked):
            self._owner.outages.recovered(self, self._owner.clock())
        if listed and not ordinary and not due and asked:
            return  # all are refused and wait: that is neither a success nor a failure
        if seen or (listed and not asked):
            self.stats = replace(
                self.stats,
                missing=missing,
                consecutive_failures=0,
                last_success=self._owner.now(),
            )
        else:
            self.stats = replace(
                self.stats,
                missing=missing,
                consecutive_failures=self.stats.consecutive_failures + 1,
            )

    async def _poll(self, numbers: list[str], size: int, beat: int) -> tuple[int, int]:
        """Read some numbers' status; answers how many came, and how many were left out."""
        found = missing = 0
        crew = Crew(
            Feed(numbers, size, self._owner.start),
            self._batches.read,
            start=self._owner.start,
            check=self._owner.check,
            limit=lambda: self._batches.gate.limit,
            ahead=True,
        )
        outcomes = crew.outcomes()
        try:
            async for reading in outcomes:
                failed: dict[int, PortSIPError] = {}
                refused = set(reading.refused)
                doubted = self._ask_in_small_batches(reading.doubted, beat)
                for result in reading.results:
                    if result.status is not None:
                        found += 1
                        self._note(result.extension_number, result.status)
                    elif isinstance(result.error, StatusMissing):
                        missing += 1
                        self._refused.pop(result.extension_number, None)
                        self._note_unknown(result.extension_number)
                    elif isinstance(result.error, PortSIPError):
                        if result.extension_number in refused:
                            self._count(result.error)  # the number is at fault, not the PBX
                        elif result.extension_number not in doubted:
                            failed[id(result.error)] = result.error
                for number in reading.refused:
                    self._put_off(number, beat)
                    self._note_unknown(number)
                for error in failed.values():
                    self._failed(error)
        finally:
            await outcomes.aclose()
        return found, missing

    def _note(self, number: str, status: ExtensionStatus) -> None:
        self._refused.pop(number, None)
        self._unknown.discard(number)
        if self._latest.get(number) != status:
            self._latest[number] = status
            self._pending[number] = self._owner.now()
            self._wake.set()

    def _ask_in_small_batches(self, doubted: list[str], beat: int) -> set[str]:
        """Make numbers that never had a status due among the refused ones of the same cycle.

        Numbers with a status are asked again at the next beat. If there are no others, the PBX has
        forgotten its extensions, and nothing is learnt from asking each alone.

        Returns:
            The numbers that will be asked again; none if all have a status.
        """
        new = [number for number in doubted if number not in self._latest]
        self._refused |= dict.fromkeys(new, (beat, 1))
        return set(doubted) if new else set()

    def _put_off(self, number: str, beat: int) -> None:
        """Ask for a refused number again after a pause that doubles, in a batch of its own."""
        _, pause = self._refused.get(number, (0, 1))
        pause = min(pause * 2, _REFUSED_CYCLES_MOST)
        self._refused[number] = (beat + pause, pause)

    def _note_unknown(self, number: str) -> None:
        """Note that the PBX gave no status for a number; that it never did, if none is held."""
        if number not in self._latest:
            self._unknown.add(number)

    def _show_unknown(self, asked: list[str]) -> None:
        """Show the unknown numbers in the stats; log them and the refused ones, each once."""
        if not (self._unknown or self._refused or self.stats.unknown):
            return
        unknown = tuple(number for number in asked if number in self._unknown)
        if unknown != self.stats.unknown:
            self.stats = replace(self.stats, unknown=unknown)
        lacking = self._unknown | self._refused.keys()
        if not lacking <= self._named:
            new = [number for number in asked if number in lacking - self._named]
            self._named |= lacking
            self._owner.outages.refused(new)

    def _failed(self, error: PortSIPError) -> None:
        """Count what failed for the PBX's sake, and log the outage."""
        self._failing = True
        self._owner.outages.failed(self, error, self._owner.clock())
        self._count(error)

    def _count(self, error: PortSIPError) -> None:
        self.stats = replace(self.stats, failures=self.stats.failures + 1, last_error=error)
        if isinstance(error, APIError) and error.retry_after is not None:
            self._postponed_to = max(self._postponed_to, self._owner.clock() + error.retry_after)

    async def _find_numbers(self) -> bool:
        """Where none were given, list the extensions again once the last list is old enough.

        Returns:
            Whether it is known which extensions there are, as far as is due.
        """
        if self._numbers is not None and self._discovered_at == -math.inf:
            return True
        if self._owner.clock() < self._discovered_at + self._rediscover:
            return True
        asked_at = self._owner.clock()
        try:
            listing = await self._discover()
        except PortSIPError as error:
            if is_fatal(error):
                raise
            self._failed(error)
            return False
        self._discovered_at = asked_at
        present = dict.fromkeys(listing.numbers)
        if not listing.steady:
            # An extension may have slipped from one page to another, past the walk.
            present |= dict.fromkeys(self._latest)
        self._numbers = list(present)
        for gone in self._latest.keys() - present.keys():
            del self._latest[gone]
            self._pending[gone] = self._owner.now()
            self._wake.set()
        for gone in self._refused.keys() - present.keys():
            del self._refused[gone]
        self._unknown &= present.keys()
        self._named &= present.keys()
        return True
