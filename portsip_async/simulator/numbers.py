"""The extension numbers that exist, in the order of their creation.

Each extension has an index, counted from 0 and never reused. The numbers that a simulator starts
with are computed from their index. Only numbers that were created or removed later are stored. The
cost of a page depends on its length, not on where it begins.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

_FIRST_NUMBER = 100


class ExtensionNumbers:
    """The numbers of a PBX, in order.

    Attributes:
        next_index: the index of the next number that is added.
        initial: how many numbers it started with; they have the lowest indexes.
    """

    def __init__(self, initial: int) -> None:
        """Start with ``initial`` numbers, the first of which is "100"."""
        self.next_index: int = initial
        self.initial: int = initial
        self._removed: list[int] = []  # indexes, sorted
        self._added: dict[str, int] = {}  # index by number
        self._added_at: dict[int, str] = {}  # the same, number by index

    def __len__(self) -> int:
        return self.next_index - len(self._removed)

    def __contains__(self, number: str) -> bool:
        return self.index_of(number) is not None

    def __iter__(self) -> Iterator[str]:
        return (self.number_at(index) for index in range(self.next_index) if self.exists(index))

    def index_of(self, number: str) -> int | None:
        """Return the index of a number; None if the number does not exist."""
        added = self._added.get(number)
        if added is not None:
            return added
        if not (number.isascii() and number.isdigit()) or number[0] == "0" or len(number) > 9:
            return None
        index = int(number) - _FIRST_NUMBER
        return index if 0 <= index < self.initial and self.exists(index) else None

    def exists(self, index: int) -> bool:
        """Return whether the extension with this index still exists."""
        at = bisect_left(self._removed, index)
        return at == len(self._removed) or self._removed[at] != index

    def number_at(self, index: int) -> str:
        """Return the number with this index."""
        return self._added_at.get(index) or str(_FIRST_NUMBER + index)

    def add(self, number: str) -> int:
        """Append a new number, and return its index."""
        index = self.next_index
        self.next_index += 1
        self._added[number] = index
        self._added_at[index] = number
        return index

    def remove(self, number: str) -> None:
        """Remove a number.

        Raises:
            KeyError: it does not exist.
        """
        index = self.index_of(number)
        if index is None:
            raise KeyError(number)
        self._added.pop(number, None)
        self._added_at.pop(index, None)
        insort(self._removed, index)

    def __getitem__(self, part: slice) -> list[int]:
        """Return a slice of the indexes of all extensions that exist."""
        start, stop, _ = part.indices(len(self))
        removed = self._removed
        # How many indexes were removed before the first one of the slice.
        skipped = bisect_right(range(len(removed)), start, key=lambda at: removed[at] - at)
        index = start + skipped
        found: list[int] = []
        while len(found) < stop - start:
            if skipped < len(removed) and removed[skipped] == index:
                skipped += 1
            else:
                found.append(index)
            index += 1
        return found
