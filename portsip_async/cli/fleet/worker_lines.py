"""Lines about a fleet for a log: which PBXes don't answer, and which are back."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Final

from ..failures import shorten
from ..reasons import plain_record
from ..terminal.streams import print_line, reader_may_leave
from ..terminal.terminal_text import one_line
from .fleet_view import FleetView
from .rows import PBXRow

_PROGRESS_EVERY: Final = 10.0  # seconds, until each PBX had a cycle
_REMINDER_EVERY: Final = 60.0  # seconds between two lines about PBXes that don't answer
_FEW: Final = 5  # PBXes that get a line each


class WorkerLines:
    """Writes what is new to standard output."""

    def __init__(self) -> None:
        """Begin before the fleet was read."""
        self._problem: str | None = None
        self._members: set[str] = set()
        self._failing: dict[str, float] = {}  # since when, by name
        self._is_started = False  # whether each PBX had a cycle
        self._next_progress = 0.0
        self._next_reminder = 0.0
        self._is_ending = False

    def show(self, view: FleetView) -> None:
        """Write lines for what is new."""
        for line in self.news(view, monotonic()):
            self.write(line)

    def write(self, text: str) -> None:
        """Write a line. A worker goes on even if nobody reads it."""
        with reader_may_leave():
            print_line(one_line(text))

    def news(self, view: FleetView, now: float) -> Iterator[str]:
        """Yield new lines; `now` is in seconds of any monotonic clock."""
        if view.problem != self._problem:
            self._problem = view.problem
            yield _sentence(view.problem or "the fleet's Redis answers again")
        if view.rows is not None and view.problem is None:
            yield from self._changed_members(view.rows)
            yield from self._progress(view, now)
            yield from self._outages(view.rows, now)
        if view.is_ending and not self._is_ending:
            self._is_ending = True
            yield _sentence(view.ending_text)

    def _changed_members(self, rows: Sequence[PBXRow]) -> Iterator[str]:
        """Yield a line for PBXes that were added or removed."""
        before, self._members = self._members, {row.pbx for row in rows}
        if not before:
            return  # the worker has just added them itself
        for verb, names in (("Added", self._members - before), ("Removed", before - self._members)):
            if names:
                yield f"{verb} {shorten(sorted(names))}."

    def _progress(self, view: FleetView, now: float) -> Iterator[str]:
        """Yield lines until each PBX had a cycle."""
        rows = view.rows or []
        if self._is_started or not rows:
            return
        self._is_started = view.tried == len(rows)
        if self._is_started or now >= self._next_progress:
            self._next_progress = now + _PROGRESS_EVERY
            extensions = sum(row.extensions for row in rows)
            counts = f"{view.tried:,} of {len(rows):,} PBXes"
            yield f"Read {counts}, with {extensions:,} extensions."

    def _outages(self, rows: Sequence[PBXRow], now: float) -> Iterator[str]:
        """Yield lines for PBXes that stopped answering, are still silent, or are back."""
        failing = {row.pbx: row for row in rows if row.is_failing}
        new = [row for name, row in failing.items() if name not in self._failing]
        back = [row for row in rows if row.pbx in self._failing and not row.is_failing]
        if len(new) > _FEW:
            names = shorten([row.pbx for row in new])
            yield f"No answer from {len(new):,} PBXes: {names}; the first: {_reason(new[0])}"
        else:
            yield from (f"{row.pbx}: no answer: {_reason(row)}" for row in new)
        if len(back) > _FEW:
            yield f"{len(back):,} PBXes answer again: {shorten([row.pbx for row in back])}."
        else:
            lasted = {row.pbx: now - self._failing[row.pbx] for row in back}
            yield from (f"{name}: answers again, after {lasted[name]:.0f} s" for name in lasted)
        self._failing = {name: self._failing.get(name, now) for name in failing}
        if not failing or new:
            self._next_reminder = now + _REMINDER_EVERY
        elif now >= self._next_reminder:
            self._next_reminder = now + _REMINDER_EVERY
            yield f"Still no answer from {len(failing):,} of {len(rows):,}: {shorten([*failing])}."


def _reason(row: PBXRow) -> str:
    return plain_record(row.last_error or "")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
