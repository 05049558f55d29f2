"""Which extension numbers exist, in which order: pages of them without touching the rest.

The numbers that a simulator starts with are counted, not stored: every extension has a place, the
first has 0, and only what was created or removed since takes memory. A place is never used again,
so the order is that of creation, as in a PBX's own data base.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

_FIRST_NUMBER = 100


class Roster:
    """The extension numbers of a PBX, in order."""

    def __init__(self, extensions: int) -> None:
        """Count ``extensions`` numbers from "100" on."""
        self._initial = extensions
        self._next = extensions
        self._gone: list[int] = []  # places, sorted
        self._created: dict[str, int] = {}
        self._numbers: dict[int, str] = {}

    def __len__(self) -> int:
        return self._next - len(self._gone)

    def __contains__(self, number: str) -> bool:
        return self.place(number) is not None

    def __iter__(self) -> Iterator[str]:
        return (self.number(place) for place in range(self._next) if self.is_taken(place))

    def place(self, number: str) -> int | None:
        """Tell the place of a number; None if it does not exist."""
        created = self._created.get(number)
        if created is not None:
            return created
        if not (number.isascii() and number.isdigit()) or number[0] == "0" or len(number) > 9:
            return None
        place = int(number) - _FIRST_NUMBER
        return place if 0 <= place < self._initial and self.is_taken(place) else None

    def is_taken(self, place: int) -> bool:
        """Tell whether the extension of a place still exists."""
        at = bisect_left(self._gone, place)
        return at == len(self._gone) or self._gone[at] != place

    def number(self, place: int) -> str:
        """Tell the number at a place that was given out."""
        return self._numbers.get(place) or str(_FIRST_NUMBER + place)

    def add(self, number: str) -> int:
        """Give a number that does not exist a place at the end."""
        place = self._next
        self._next += 1
        self._created[number] = place
        self._numbers[place] = number
        return place

    def remove(self, number: str) -> None:
        """Take a number that exists out."""
        place = self.place(number)
        if place is None:
            raise KeyError(number)
        self._created.pop(number, None)
        self._numbers.pop(place, None)
        insort(self._gone, place)

    def places(self, start: int, size: int) -> list[int]:
        """List the places of up to ``size`` extensions, from the ``start``-th on, counted from 0.

        Costs as much as the page is long, wherever in the list it stands.
        """
        gone = self._gone
        # How many places are gone before the start-th that is taken.
        passed = bisect_right(range(len(gone)), start, key=lambda at: gone[at] - at)
        place = start + passed
        found: list[int] = []
        while len(found) < size and place < self._next:
            if passed < len(gone) and gone[passed] == place:
                passed += 1
            else:
                found.append(place)
            place += 1
        return found
