"""Read what ``extensions apply`` compares with a file.

A list shows a few fields of each extension. Only if a row names another field, or the list leaves
one out, the extension's settings are read by a request of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..failures import print_error
from ..fields import flat, plain
from ..files.import_file import Columns, Row
from ..pbx.generation import PBX
from ..terminal.progress import progress
from .plan import Plan, compared, make_plan, prune

_MAX_LISTS: Final = 3  # times that a list is read which changes meanwhile


@dataclass
class PlanReader:
    """Reads a PBX, and compares the rows of a file with it.

    Attributes:
        rows: the rows.
        known: what they may hold.
        prune: whether the extensions that the file lacks are to be removed.
        concurrency: requests in flight.
        account: the account that is logged in, which is never removed; None for a token.
        listed: the extensions that exist, by number, as the list shows them.
    """

    rows: list[Row]
    known: Columns
    prune: bool
    concurrency: int
    account: Mapping[str, str] | None
    listed: dict[str, Any] = field(default_factory=dict)

    async def plan(self, pbx: PBX) -> Plan:
        """Read the PBX, and return the plan."""
        await self._list(pbx)
        existing = await self._settings(pbx)
        plan = make_plan(self.rows, existing, self.known, pbx.changeable)
        if self.prune:
            if plan.errors:
                print_error("nothing will be removed: rows with errors may hide numbers")
            else:
                kept = await pbx.never_pruned([*self.listed.values()], self.account)
                people = {number: pbx.person(each) for number, each in self.listed.items()}
                prune(plan, self.rows, people, kept)
        return plan

    async def _list(self, pbx: PBX) -> None:
        with progress("Reading the list") as read:
            for _ in range(_MAX_LISTS):
                walk = pbx.extensions({"page_size": None, "prefetch": 2}, {})
                async for extension in walk:
                    # A user of v22 may have no number.
                    if extension.extension_number:
                        self.listed[extension.extension_number] = extension
                    read.advance()
                drift = walk.drift
                changed = drift.count_changed and pbx.counts_all
                if not (drift.dropped or drift.missing_pages or changed):
                    return
                # The walk may have missed some, which would be created again.
                read.restart(0)

    async def _settings(self, pbx: PBX) -> dict[str, Mapping[str, Any]]:
        """Return the settings to compare, by number and dotted name, of rows that exist."""
        existing: dict[str, Mapping[str, Any]] = {}
        shown = []
        for row in self.rows:
            listed = self.listed.get(row.number)
            if listed is None:
                continue
            row_of_list = plain(listed)
            settings = {name: row_of_list.get(field) for name, field in pbx.in_lists.items()}
            # A list may leave a field out that the extension has.
            if all(settings.get(name) is not None for name in compared(row)):
                existing[row.number] = settings
            else:
                shown.append(listed)
        with progress("Reading settings", len(shown)) as read:
            async for listed, record in pbx.show_listed(shown, self.concurrency):
                found = flat(plain(record, reveal=True))
                # Someone may have been given another number since.
                if found.get("extension_number") in (None, listed.extension_number):
                    existing[listed.extension_number] = found
                read.advance()
        return existing
