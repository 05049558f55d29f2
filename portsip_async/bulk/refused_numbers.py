"""The numbers of a watch that have no status: when to ask for them again, and which to log.

Pure: takes the results of cycles, returns numbers.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Final

# The most cycles between two requests for a number that the PBX refuses.
_LONGEST_PAUSE: Final = 64


class RefusedNumbers:
    """What a watch knows about numbers without a status."""

    def __init__(
        self,
        refused: Mapping[str, tuple[int, int]] | None = None,
        unknown: Iterable[str] = (),
        logged: Iterable[str] = (),
    ) -> None:
        """Begin with what `state` returned, or with nothing.

        Args:
            refused: the numbers that the PBX refuses: the cycle to ask again in, and the pause in
                cycles.
            unknown: the numbers that were asked for, and never had a status.
            logged: the numbers without a status that `not_yet_logged` returned.
        """
        self._refused: dict[str, tuple[int, int]] = dict(refused or {})
        self._unknown: set[str] = set(unknown)
        self._logged: set[str] = set(logged)

    def state(self) -> tuple[dict[str, tuple[int, int]], list[str], list[str]]:
        """Return what another object needs to go on: the arguments of the constructor."""
        return dict(self._refused), sorted(self._unknown), sorted(self._logged)

    def __contains__(self, number: object) -> bool:
        """Check whether the PBX refuses a number, so that it is asked for separately."""
        return number in self._refused

    def to_ask(self, numbers: Iterable[str], cycle: int) -> list[str]:
        """Return the refused numbers that should be asked for in this cycle."""
        # The default for a number that is not refused is a later cycle, so it is left out.
        return [each for each in numbers if self._refused.get(each, (cycle + 1, 0))[0] <= cycle]

    def postpone(self, number: str, cycle: int) -> None:
        """Record that a number was refused. The pause until it is asked for doubles each time."""
        _, pause = self._refused.get(number, (0, 1))
        pause = min(pause * 2, _LONGEST_PAUSE)
        self._refused[number] = (cycle + pause, pause)

    def ask_now(self, numbers: Iterable[str], cycle: int) -> None:
        """Schedule numbers to be asked for separately in this cycle."""
        self._refused |= dict.fromkeys(numbers, (cycle, 1))

    def accept(self, number: str) -> None:
        """Record that the PBX no longer refuses a number."""
        self._refused.pop(number, None)

    def note_status(self, number: str) -> None:
        """Record that a number has a status."""
        self._refused.pop(number, None)
        self._unknown.discard(number)

    def note_unknown(self, number: str) -> None:
        """Record that a number never had a status."""
        self._unknown.add(number)

    def unknown(self, numbers: Iterable[str]) -> tuple[str, ...]:
        """Return the numbers that never had a status."""
        if not self._unknown:
            return ()
        return tuple(number for number in numbers if number in self._unknown)

    def not_yet_logged(self, numbers: Iterable[str]) -> list[str]:
        """Return the numbers without a status that were not returned here before."""
        new = (self._unknown | self._refused.keys()) - self._logged
        self._logged |= new
        return [number for number in numbers if number in new] if new else []

    def forget_all_but(self, present: Set[str]) -> None:
        """Forget all other extensions, which no longer exist."""
        for gone in self._refused.keys() - present:
            del self._refused[gone]
        self._unknown &= present
        self._logged &= present
