"""The numbers of a watch that the PBX gives no status for: when to ask again, which to name.

Pure: the results of cycles go in, the numbers to ask for come out.
"""

from collections.abc import Iterable, Set
from typing import Final

# The most cycles between two requests for a number that the PBX refuses.
_LONGEST_PAUSE: Final = 64


class RefusedNumbers:
    """What a watch knows about numbers without a status."""

    def __init__(self) -> None:
        # The numbers that the PBX refuses: the cycle to ask again in, and the pause in cycles.
        self._refused: dict[str, tuple[int, int]] = {}
        self._unknown: set[str] = set()  # asked for, and never had a status
        self._logged: set[str] = set()

    def __contains__(self, number: object) -> bool:
        """Check whether the PBX refuses a number, so that it is asked for separately."""
        return number in self._refused

    def to_ask(self, numbers: Iterable[str], cycle: int) -> list[str]:
        """Return the refused ones of some numbers that should be asked for in a cycle."""
        # A number that is not refused gets a cycle in the future.
        return [each for each in numbers if self._refused.get(each, (cycle + 1, 0))[0] <= cycle]

    def postpone(self, number: str, cycle: int) -> None:
        """Note that a number was refused. The pause before it is asked for doubles each time."""
        _, pause = self._refused.get(number, (0, 1))
        pause = min(pause * 2, _LONGEST_PAUSE)
        self._refused[number] = (cycle + pause, pause)

    def ask_now(self, numbers: Iterable[str], cycle: int) -> None:
        """Have numbers asked for separately in this cycle."""
        self._refused |= dict.fromkeys(numbers, (cycle, 1))

    def accept(self, number: str) -> None:
        """Note that the PBX no longer refuses a number."""
        self._refused.pop(number, None)

    def note_status(self, number: str) -> None:
        """Note that a number has a status."""
        self._refused.pop(number, None)
        self._unknown.discard(number)

    def note_unknown(self, number: str) -> None:
        """Note that a number never had a status."""
        self._unknown.add(number)

    def unknown(self, numbers: Iterable[str]) -> tuple[str, ...]:
        """Return the unknown ones of some numbers."""
        if not self._unknown:
            return ()
        return tuple(number for number in numbers if number in self._unknown)

    def not_yet_logged(self, numbers: Iterable[str]) -> list[str]:
        """Return the numbers without a status that were not returned here before."""
        new = (self._unknown | self._refused.keys()) - self._logged
        self._logged |= new
        return [number for number in numbers if number in new] if new else []

    def forget_all_but(self, present: Set[str]) -> None:
        """Forget the extensions that are gone."""
        for gone in self._refused.keys() - present:
            del self._refused[gone]
        self._unknown &= present
        self._logged &= present
