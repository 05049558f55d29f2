"""The chapters of the demo that read: long lists, and the status of everybody."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

from ... import ExtensionSummary, Paginator
from .stage import Chapter, Stage, Step, check

_PAGE_SIZE = 100  # items
_BATCH = 100  # numbers in a status request
_AHEAD = 8  # pages


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


class Dashboard:
    """Reads the status of all extensions over and over."""

    def __init__(self, stage: Stage, *, rounds: int, interval: float) -> None:
        """Take how often, and the seconds between two rounds."""
        self._stage = stage
        self._rounds, self._interval = rounds, interval

    def chapter(self) -> Chapter:
        """Tell the steps."""
        return Chapter(
            "The status of everybody, as a dashboard reads it",
            (*self._status_rounds(), Step("renew the token by hand", self._stage.renew)),
        )

    def _status_rounds(self) -> Iterator[Step]:
        for at in range(1, self._rounds + 1):
            title, rest = f"round {at} of {self._rounds}", self._interval if at > 1 else 0.0
            if at == 2:
                yield Step(f"{title}, tokens revoked", self._read_after_revoking, rest)
            else:
                yield Step(title, self._read_statuses, rest)

    async def _read_statuses(self) -> str:
        """Read all statuses, many batches at once."""
        batches = [
            self._stage.numbers[at : at + _BATCH]
            for at in range(0, len(self._stage.numbers), _BATCH)
        ]
        presences: Counter[str] = Counter()
        for statuses in await asyncio.gather(*map(self._stage.statuses, batches)):
            presences.update(str(status.status) for status in statuses)
        read = presences.total()
        check(read == len(self._stage.numbers), f"{read} of {len(self._stage.numbers)}")
        return f"{read:,} read, {presences['ON_CALL']:,} on a call"

    async def _read_after_revoking(self) -> str:
        await self._stage.revoke()
        return await self._read_statuses()
