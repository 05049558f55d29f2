"""The chapter of the demo that watches: every change of status, through a restart of the PBX."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import TypeVar

from ... import ExtensionStatus, RetryPolicy, StatusChange, StatusWatch
from .stage import Chapter, Stage, Step, Wrong, check

T = TypeVar("T")

# What fails is asked for again with the next cycle, so a watch needs few repeats.
_RETRY = RetryPolicy(attempts=2)
_ONE_IN = 10  # of those who are watched, for each of the first three changes
_PATIENCE = 20.0  # seconds for changes to arrive
_GLANCE = 0.005  # seconds between two looks for the end of a cycle


class Watching:
    """Follows some extensions, and holds what is told against what the PBX was set to.

    Statuses change by themselves too, so each that is set is told apart by a user agent of its own.

    Attributes:
        watch: to be closed after the play, however it ends.
    """

    def __init__(
        self, stage: Stage, *, watched: int, interval: float, batch: int, downtime: float
    ) -> None:
        """Take how many to follow, and how long the PBX stays away; send nothing yet."""
        self._stage = stage
        self._numbers = stage.numbers[:watched]
        self._interval, self._downtime = interval, downtime
        self.watch: StatusWatch = stage.pbx.with_options(retry=_RETRY).extensions.watch_status(
            self._numbers, interval=interval, batch_size=batch
        )
        self._changes = aiter(self.watch)
        self._set: dict[str, ExtensionStatus] = {}
        self._told: dict[str, ExtensionStatus] = {}

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            f"The status of {len(self._numbers):,}, watched every {self._interval:g} s",
            (
                Step("begin", self._begin),
                Step("change some", self._change),
                Step("restart, and change some more", self._restart),
                Step("change some after it", self._change_after),
                Step("change all, compare, and leave", self._compare),
            ),
        )

    async def _begin(self) -> str:
        await _soon(self._collect(set(self._numbers)))
        return f"{len(self._told):,} told, from now on what changes"

    async def _change(self) -> str:
        return await self._all_told(self._set_some(0, "before the restart"))

    async def _restart(self) -> str:
        before = self.watch.stats
        await self._under_way()
        with self._stage.ledger.outage():
            restart = asyncio.create_task(self._stage.sim.restart(self._downtime))
            await asyncio.sleep(self._downtime / 2)
            count = self._set_some(1, "while it was away")
            await restart
        self._stage.revoked += 1
        told = await self._all_told(count)
        await _soon(self._at_rest())
        after = self.watch.stats
        failed, skipped = after.failures - before.failures, after.skipped - before.skipped
        check(failed + skipped > 0, "nothing was missed of a PBX that was away")
        missed = f"failed batches: {failed}, skipped beats: {skipped}"
        return f"away {self._downtime:g} s; {missed}; {told}"

    async def _change_after(self) -> str:
        return await self._all_told(self._set_some(2, "after the restart"))

    async def _compare(self) -> str:
        """Hold all still, so that what is told can be compared; leave at rest."""
        told = await self._all_told(self._set_some(0, "in the end", one_in=1))
        await _soon(self._at_rest())
        snapshot = self.watch.snapshot
        await self.watch.aclose()
        check(snapshot == self._set == self._told, "the snapshot is not what the PBX holds")
        return f"{told}; the snapshot is what the PBX holds"

    def _set_some(self, first: int, phase: str, *, one_in: int = _ONE_IN) -> int:
        """Hold some at a status; answer how many."""
        numbers = self._numbers[first::one_in]
        for at, number in enumerate(numbers):
            status = "ON_CALL" if at % 2 else "ONLINE"
            self._stage.sim.set_status(number, status, user_agent=phase)
            self._set[number] = ExtensionStatus(number, status, phase)
        return len(numbers)

    async def _all_told(self, count: int) -> str:
        """Take changes until all that was set was told."""
        began = monotonic()
        waiting = {number for number, status in self._set.items() if self._told[number] != status}
        check(len(waiting) == count, "told before it was set")
        await _soon(self._collect(waiting))
        return f"{count} set, {count} told in {monotonic() - began:.2f} s"

    async def _collect(self, waiting: set[str]) -> None:
        """Take changes until those who are waited for were told as they were set, if they were."""
        while waiting:
            change = await anext(self._changes)
            self._take(change)
            number = change.extension_number
            if change.after == self._set.get(number, change.after):
                waiting.discard(number)

    def _take(self, change: StatusChange) -> None:
        """Take down what is told; each change goes on from where the last one ended."""
        number, after = change.extension_number, change.after
        check(change.before == self._told.get(number), f"a change of {number} was lost")
        if after is None or after == change.before:
            raise Wrong(f"{number} is told to be {'gone' if after is None else 'as it was'}")
        self._told[number] = after

    async def _under_way(self) -> None:
        """Wait until requests are under way, for the restart to cut; not long, if they are fast."""
        until = monotonic() + 2 * self._interval
        while not self._stage.sim.in_flight and monotonic() < until:  # noqa: ASYNC110 - no event
            await asyncio.sleep(_GLANCE)

    async def _at_rest(self) -> None:
        """Return at the end of a cycle, well before the next: then no request is under way."""
        cycles, looked = self.watch.stats.cycles, monotonic()
        while True:
            await asyncio.sleep(_GLANCE)
            stats, before, looked = self.watch.stats, looked, monotonic()
            passed = stats.lag + stats.cycle_seconds + looked - before
            if stats.cycles > cycles and passed < self._interval / 2:
                return
            cycles = stats.cycles


async def _soon(awaited: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await awaited
    except TimeoutError:
        raise Wrong(f"still not told after {_PATIENCE:g} s") from None
