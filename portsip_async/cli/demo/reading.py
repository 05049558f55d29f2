"""The chapters of the demo that read: long lists, and the status of everybody."""

from collections import Counter
from collections.abc import Sequence

from ... import ExtensionSummary, NotFound, Paginator, StatusPoll, StatusResult
from .stage import Chapter, Stage, Step, check

_PAGE_SIZE = 100  # items
_AHEAD = 8  # pages
_STRANGERS = 3  # numbers that nobody has
_BORNE = 6  # requests at once


class Lists:
    """Walks over long lists, page by page."""

    def __init__(self, stage: Stage) -> None:
        """Begin with nothing listed."""
        self._stage = stage
        self._listed: list[ExtensionSummary] = []

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            "Long lists, page by page",
            (
                Step("walk, tokens revoked midway", self._walk),
                Step(f"walk, {_AHEAD} pages ahead", self._walk_ahead),
                Step("search by a name", self._search),
            ),
        )

    async def _walk(self) -> str:
        walk = self._stage.pbx.extensions.list(page_size=_PAGE_SIZE, prefetch=0)
        async for extension in walk:
            self._listed.append(extension)
            if len(self._listed) == len(self._stage.numbers) // 2:
                await self._stage.revoke()
        return self._all_seen(self._listed, self._stage.numbers, walk)

    async def _walk_ahead(self) -> str:
        walk = self._stage.pbx.extensions.list(page_size=_PAGE_SIZE, prefetch=_AHEAD)
        return self._all_seen(await walk.collect(), self._stage.numbers, walk)

    async def _search(self) -> str:
        wanted = (self._listed[0].last_name or "").casefold()
        walk = self._stage.pbx.extensions.search(wanted, page_size=_PAGE_SIZE)
        found = await walk.collect()
        expected = [
            extension.extension_number
            for extension in self._listed
            if wanted
            in f"{extension.first_name} {extension.last_name} {extension.email}".casefold()
        ]
        return f"{wanted!r}: {self._all_seen(found, expected, walk)}"

    @staticmethod
    def _all_seen(
        seen: Sequence[ExtensionSummary],
        expected: Sequence[str],
        walk: Paginator[ExtensionSummary],
    ) -> str:
        numbers = [extension.extension_number for extension in seen]
        check(numbers == expected, f"{len(numbers)} extensions, of {len(expected)}")
        check(not walk.drift.dropped, "items that moved, in a list at rest")
        return f"{len(seen):,} extensions, each once"


class Poll:
    """Reads the status of all extensions, in many batches at once."""

    def __init__(self, stage: Stage, *, batch: int, in_flight: int) -> None:
        """Take the numbers of a batch, and the batches in flight at most."""
        self._stage = stage
        self._batch, self._in_flight = batch, in_flight

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            "The status of everybody",
            (
                Step("poll, some numbers unknown", self._poll_with_strangers),
                Step("poll in order, tokens revoked", self._poll_in_order),
                Step(f"poll, {_BORNE} at once are borne", self._poll_what_bears_little),
            ),
        )

    async def _poll_with_strangers(self) -> str:
        """Ask for numbers that nobody has too, and for one twice."""
        known = self._stage.numbers
        strangers = self._stage.next_numbers(_STRANGERS)
        asked = [*known, known[0]]
        for at, stranger in enumerate(strangers, 1):
            asked.insert(at * len(asked) // (_STRANGERS + 1), stranger)
        poll = self._stage.pbx.extensions.poll_status(
            asked, batch_size=self._batch, concurrency=self._in_flight
        )
        refused = self._refused()
        results = await self._collected(poll)
        refused = self._refused() - refused
        told = Counter(result.extension_number for result in results)
        check(told == Counter(asked), "not one result for each number")
        failed = {result.extension_number: result.error for result in results if result.error}
        check(failed.keys() == set(strangers), f"no status of {', '.join(failed)}")
        splits = poll.stats.splits
        check(refused == splits + len(failed), f"{refused} batches refused, {splits} splits")
        kinds = " ".join({type(error).__name__: None for error in failed.values()})
        return (
            f"{len(results):,} numbers, {len(results):,} results;"
            f" {kinds}: {', '.join(sorted(failed, key=int))};"
            f" nobody else lost one in {splits} splits"
        )

    async def _poll_in_order(self) -> str:
        await self._stage.revoke()
        poll = self._stage.pbx.extensions.poll_status(
            self._stage.numbers,
            batch_size=self._batch,
            concurrency=self._in_flight,
            ordered=True,
        )
        return self._all_read(await self._collected(poll))

    async def _poll_what_bears_little(self) -> str:
        """Meet a PBX that answers 429 where there is more in flight than it says."""
        sim, before = self._stage.sim, self._stage.sim.injected["overload"]
        poll = self._stage.pbx.extensions.poll_status(
            self._stage.numbers, batch_size=self._batch, concurrency=self._in_flight
        )
        allowed: list[int] = []
        sim.max_in_flight = _BORNE
        try:
            results = await self._collected(poll, allowed)
        finally:
            sim.max_in_flight = None
        results.sort(key=lambda result: int(result.extension_number))
        return (
            f"{self._all_read(results)}; requests: {poll.stats.requests},"
            f" too many: {sim.injected['overload'] - before};"
            f" in flight: {min(allowed)} to {max(allowed)} of {self._in_flight}"
        )

    async def _collected(
        self, poll: StatusPoll, allowed: list[int] | None = None
    ) -> list[StatusResult]:
        """Collect the results, and how many requests were allowed in flight at each."""
        before = self._stage.ledger.attempts("extensions.status")
        results = []
        async for result in poll:
            results.append(result)
            if allowed is not None:
                allowed.append(poll.stats.concurrency)
        attempts = self._stage.ledger.attempts("extensions.status") - before
        check(
            poll.stats.requests == attempts, f"{poll.stats.requests} requests counted of {attempts}"
        )
        return results

    def _refused(self) -> int:
        return self._stage.ledger.count(NotFound, ("extensions.status",))

    def _all_read(self, results: Sequence[StatusResult]) -> str:
        """Tell who is on a call, if everybody's status was read, in the order of the list."""
        statuses = [result.status for result in results if result.status is not None]
        read = [status.extension_number for status in statuses]
        check(read == self._stage.numbers, f"{len(read)} of {len(self._stage.numbers)}")
        on_call = sum(status.status == "ON_CALL" for status in statuses)
        return f"{len(read):,} read, {on_call:,} on a call"
