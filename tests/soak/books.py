"""The soak's books: what each write came to by the SDK's word, held against what the PBX did.

Everything goes to files as it happens, so that hours of it take no memory.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from portsip_async import ENDPOINTS, Attempt, ConnectError, PortSIPError

from .journal import WRITES, Journal

Outcome = Literal["done", "refused", "unknown"]

# A write of these may be carried out again after a lost reply; it comes to the same.
_REPEATED = ("extensions.update", "groups.update", "greetings.setup")
_REMOVALS = {
    "extensions.remove": ("extensions.create",),
    "greetings.remove": ("greetings.add", "greetings.upload"),
}


class Note(msgspec.Struct, frozen=True, gc=False):
    """What a write came to, as the SDK told it."""

    row: str
    key: str
    outcome: Outcome
    error: str = ""


@dataclass(slots=True)
class Line:
    """One kind of write, counted on all sides."""

    row: str
    asked: int = 0
    done: int = 0
    refused: int = 0
    unknown: int = 0
    acted_unknown: int = 0
    acted: int = 0
    attempts: int = 0


class Books:
    """Takes down attempts and what writes came to; ``on_attempt`` is the client's hook."""

    def __init__(self, path: Path) -> None:
        self.totals: Counter[Outcome] = Counter()
        self.failures: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.unsent: Counter[str] = Counter()
        self._path = path
        self._file = path.open("ab", buffering=0)

    def on_attempt(self, attempt: Attempt) -> None:
        """Count an attempt."""
        self.attempts[attempt.operation] += 1
        if isinstance(attempt.error, ConnectError):
            self.unsent[attempt.operation] += 1

    def note(self, row: str, key: str, error: Exception | None, *, in_doubt: bool) -> Outcome:
        """Take down what a write came to, and answer it.

        Args:
            row: the operation.
            key: what tells this write from every other one of its row.
            error: why it failed; None where it was carried out.
            in_doubt: whether the SDK says that it may have been carried out all the same.
        """
        outcome: Outcome = "done" if error is None else "unknown" if in_doubt else "refused"
        self.totals[outcome] += 1
        kind = ""
        if error is not None:
            kind = type(error).__name__
            self.failures[f"{row} {outcome}: {kind}"] += 1
        self._file.write(msgspec.json.encode(Note(row, key, outcome, kind)) + b"\n")
        return outcome

    async def write(
        self, row: str, key: str, call: Awaitable[object]
    ) -> tuple[Outcome, PortSIPError | None]:
        """Carry out a write, and answer what it came to, and why it failed, if it did."""
        try:
            await call
        except PortSIPError as error:
            return self.note(row, key, error, in_doubt=error.may_have_acted), error
        return self.note(row, key, None, in_doubt=False), None

    def notes(self) -> Iterable[Note]:
        """List what was taken down, the oldest first."""
        with self._path.open("rb") as lines:
            for line in lines:
                yield msgspec.json.decode(line, type=Note)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Audit:
    """The books against the journal.

    Attributes:
        lines: by row, the counts of all sides.
        wrong: what does not agree, a sentence each.
        repeats: how often a write was carried out again that comes to the same.
        extensions: the numbers created and not removed, by the PBX's account.
        markers: by number, the descriptions that it may have by the SDK's account.
    """

    def __init__(self, books: Books, journal: Journal, came: Counter[str]) -> None:
        self.lines = {row: Line(row, attempts=books.attempts[row]) for row in WRITES}
        self.wrong: list[str] = []
        self.repeats = 0
        self.extensions: set[str] = set()
        self.markers: dict[str, set[str]] = {}
        self._acts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for entry in journal:
            if entry.row in WRITES:
                self._acts[entry.row][entry.key] += 1
                self.lines[entry.row].acted += 1
            if entry.row == "extensions.create":
                self.extensions.add(entry.key)
            elif entry.row == "extensions.remove":
                self.extensions.discard(entry.key)
        asked: defaultdict[str, set[str]] = defaultdict(set)
        for note in books.notes():
            if note.key in asked[note.row]:
                self._wrong(note, "was asked twice, which is a fault of the soak's own")
            asked[note.row].add(note.key)
            self._count(note)
            self._check(note)
            if note.row == "extensions.update":
                self._mark(note)
        for row, acts in self._acts.items():
            for key in acts.keys() - asked[row]:
                self.wrong.append(f"{row} {key}: the PBX acted, and nobody asked for it")
        self._check_arrivals(books, came)

    def _count(self, note: Note) -> None:
        line = self.lines[note.row]
        line.asked += 1
        if note.outcome == "done":
            line.done += 1
        elif note.outcome == "refused":
            line.refused += 1
        else:
            line.unknown += 1
            line.acted_unknown += self._acts[note.row][note.key] > 0

    def _check(self, note: Note) -> None:
        acted = self._acts[note.row][note.key]
        if note.outcome == "refused":
            if acted:
                self._wrong(note, f"is told as not carried out, and acted {acted} times")
        elif note.row in _REPEATED:
            self.repeats += max(0, acted - 1)
            if note.outcome == "done" and not acted:
                self._wrong(note, "is told as done, and never acted")
        elif acted > 1:
            self._wrong(note, f"acted {acted} times")
        elif note.outcome == "done" and acted != self._due(note):
            self._wrong(note, f"is told as done, and acted {acted} times")

    def _due(self, note: Note) -> int:
        # What a create that stayed in doubt never made, a removal finds gone, and that is its end.
        makers = _REMOVALS.get(note.row, ())
        return sum(self._acts[maker][note.key] for maker in makers) if makers else 1

    def _mark(self, note: Note) -> None:
        number, marker = note.key.split(" ", 1)
        if note.outcome == "done":
            self.markers[number] = {marker}
        elif note.outcome == "unknown":
            self.markers.setdefault(number, {""}).add(marker)

    def _check_arrivals(self, books: Books, came: Counter[str]) -> None:
        rows: defaultdict[str, list[str]] = defaultdict(list)
        for row in WRITES:
            endpoint = ENDPOINTS[row]
            rows[f"{endpoint.method} /api{endpoint.path}"].append(row)
        for place, names in rows.items():
            sent = sum(books.attempts[name] - books.unsent[name] for name in names)
            acted = sum(self.lines[name].acted for name in names)
            if not acted <= came[place] <= sent:
                self.wrong.append(
                    f"{' and '.join(names)}: {sent} sent, {came[place]} came, {acted} acted"
                )

    def _wrong(self, note: Note, what: str) -> None:
        self.wrong.append(f"{note.row} {note.key} ({note.error or 'no error'}): {what}")
