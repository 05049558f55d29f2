"""When the statuses of extensions change by themselves: `ChangeCycle`. Pure: the time is passed in.

All statuses last equally long, so the extensions change in the same order again and again. Their
positions in this cycle are sorted once, and one timer is enough for all of them.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable
from operator import itemgetter

_position = itemgetter(0)


class ChangeCycle:
    """The order in which extensions change their statuses.

    Attributes:
        period: seconds that a status lasts; 0 means forever.
    """

    def __init__(self, period: float) -> None:
        """Start with no extensions."""
        self.period = period
        self._positions: list[tuple[float, str]] = []  # seconds into the cycle, and the number

    def add(self, offsets: Iterable[tuple[float, str]]) -> None:
        """Add extensions: by how much of a period each is ahead, from 0 to 1, and its number."""
        if self.period:
            self._positions += [(-offset % 1.0 * self.period, number) for offset, number in offsets]
            self._positions.sort()  # quick, since it is one sorted list and a few more

    def discard(self, numbers: Collection[str]) -> None:
        """Remove extensions; numbers that it does not have are ignored."""
        self._positions = [each for each in self._positions if each[1] not in numbers]

    def due(self, since: float, now: float) -> list[str]:
        """Return the extensions that changed after ``since``, up to ``now``, in their order."""
        if not self.period or now <= since:
            return []
        found = self._positions
        if now - since < self.period:
            first = bisect_right(found, since % self.period, key=_position)
            last = bisect_right(found, now % self.period, key=_position)
            wraps = now % self.period < since % self.period
            found = found[first:] + found[:last] if wraps else found[first:last]
        return [number for _, number in found]

    def next_after(self, now: float) -> float | None:
        """Return the time of the next change after ``now``; None if nothing changes."""
        if not self._positions:
            return None
        into = now % self.period
        at = bisect_right(self._positions, into, key=_position)
        if at < len(self._positions):
            return now - into + self._positions[at][0]
        return now - into + self.period + self._positions[0][0]
