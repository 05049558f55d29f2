"""The chapter of the demo that provisions: many extensions created in one go, and removed."""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ... import BulkRun, NewExtension, NotFound, Profile
from .stage import Chapter, Stage, Step, check

_RUNS = 10  # in all; about one creation in 25 is not carried out in each


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        done: the numbers that are as they should be, those passed over included.
        settled: how many of them lost their reply, and were looked up.
        failed: the numbers that are not.
        gone: those of them that the PBX does not know.
        in_doubt: the numbers of which that could not be found out.
    """

    done: list[str]
    settled: int
    failed: list[str]
    gone: list[str]
    in_doubt: list[str]


class Provisioning:
    """Many extensions, from their creation to their removal."""

    def __init__(self, stage: Stage, *, count: int, in_flight: int) -> None:
        """Choose the numbers after the last, which nobody has."""
        self._stage, self._in_flight = stage, in_flight
        self._numbers = stage.next_numbers(count)
        self._new = {number: _new(number) for number in self._numbers}
        self._left = self._numbers

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            f"{len(self._numbers):,} extensions in one go",
            (
                Step("create them", self._create),
                Step("create what is missing", self._create_missing),
                Step("read their status", self._read),
                Step("remove them", self._remove),
                Step("renew the token by hand", self._stage.renew),
            ),
        )

    async def _create(self) -> str:
        self._once("extensions.create")
        outcome = await self._run(
            self._stage.pbx.extensions.create_many(self._new.values(), concurrency=self._in_flight),
            self._numbers,
        )
        there = set(self._stage.sim.extension_numbers)
        check(there.issuperset(outcome.done), "told to be created, and not there")
        check(there.isdisjoint(outcome.failed), "told not to be created, and there")
        self._left = [*outcome.failed, *outcome.in_doubt]
        return (
            f"{len(outcome.done)} created, {outcome.settled} of them settled by looking;"
            f" {len(outcome.failed)} not created, {len(outcome.in_doubt)} in doubt"
        )

    async def _create_missing(self) -> str:
        missing, runs = len(self._left), 0
        while self._left:
            check(runs < _RUNS, f"{len(self._left)} not created in {runs} runs")
            runs += 1
            outcome = await self._run(
                self._stage.pbx.extensions.create_many(
                    [self._new[number] for number in self._left],
                    concurrency=self._in_flight,
                    if_exists="skip",
                ),
                self._left,
            )
            self._left = [*outcome.failed, *outcome.in_doubt]
        # They are listed in the order of their creation.
        numbers = sorted(self._stage.sim.extension_numbers, key=int)
        check(numbers == [*self._stage.numbers, *self._numbers], "others than those wanted")
        told = f"{missing} in {runs} run{'' if runs == 1 else 's'} more" if runs else "none is"
        return f"{told}; all {len(self._numbers)} are there, each created once"

    async def _read(self) -> str:
        poll = self._stage.pbx.extensions.poll_status(self._numbers)
        read = Counter([result.extension_number async for result in poll if result.error is None])
        check(read == Counter(self._numbers), f"{read.total()} of {len(self._numbers)}")
        return f"{read.total()} of {len(self._numbers)}"

    async def _remove(self) -> str:
        self._once("extensions.remove")
        left, runs, settled = self._numbers, 0, 0
        while left:
            check(runs < _RUNS, f"{len(left)} not removed in {runs} runs")
            runs += 1
            outcome = await self._run(
                self._stage.pbx.extensions.remove_many(left, concurrency=self._in_flight), left
            )
            settled += outcome.settled
            check(runs > 1 or not outcome.gone, "gone before it was removed")
            # What was in doubt in the run before may be gone by now.
            left = [*(set(outcome.failed) - set(outcome.gone)), *outcome.in_doubt]
        check(self._stage.sim.extension_numbers == self._stage.numbers, "others than before")
        told = f"{len(self._numbers)} removed, each once"
        if settled:
            told += f", {settled} of them settled by looking"
        return f"{told}; {len(self._stage.numbers):,} left, as before"

    def _once(self, operation: str) -> None:
        """Let the ledger expect that an operation is carried out once for each number."""
        done = self._stage.sim.acted[operation]
        self._stage.ledger.once[operation] = (done + len(self._numbers),)

    async def _run(self, run: BulkRun[None], numbers: Sequence[str]) -> Outcome:
        """Run to the end, and sort the results."""
        results = [result async for result in run]
        places = sorted((result.index, result.key) for result in results)
        check(places == list(enumerate(numbers)), "not one result for each number")
        in_doubt = run.in_doubt
        failed = [
            result for result in results if result.error is not None and result.key not in in_doubt
        ]
        settled = [result for result in results if result.settled]
        self._stage.in_doubt += len(settled) + len(in_doubt)
        return Outcome(
            done=[result.key for result in results if result.error is None and not result.skipped],
            settled=sum(result.error is None for result in settled),
            failed=[result.key for result in failed],
            gone=[result.key for result in failed if isinstance(result.error, NotFound)],
            in_doubt=in_doubt,
        )


def _new(number: str) -> NewExtension:
    return NewExtension(
        extension_number=number,
        password=secrets.token_urlsafe(12),
        web_access_password=secrets.token_urlsafe(12),
        profile=Profile(first_name="New", last_name=f"Colleague {number}"),
    )
