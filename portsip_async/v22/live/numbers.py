"""The extensions that a watch through the web socket follows: given, or those that the PBX has."""

import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from ...bulk.status_watch import DiscoveredExtensions
from ...core.limits import Clock


class WatchedNumbers:
    """The numbers to watch, which change if they were not given.

    Attributes:
        discovers: whether they are what the PBX has.
        current: the numbers, as an ordered set; None before the first listing.
        listed_at: when the PBX last listed them, on the monotonic clock.
    """

    def __init__(
        self,
        numbers: Sequence[str] | None,
        discover: Callable[[], Coroutine[Any, Any, DiscoveredExtensions]],
        *,
        known: Iterable[str],
        clock: Clock,
        on_change: Callable[[list[str], list[str]], None],
    ) -> None:
        """Store the numbers, or how to list them.

        Args:
            numbers: what to watch; None: what the PBX lists.
            discover: lists the extensions.
            known: extensions that existed earlier; the first listing may lack some.
            clock: the time.
            on_change: is called with the numbers that came and those that went.
        """
        self.discovers: bool = numbers is None
        self.current: dict[str, None] | None = None if numbers is None else dict.fromkeys(numbers)
        self.listed_at: float = -math.inf
        self._list = discover
        self._known = dict.fromkeys(known)
        self._clock = clock
        self._on_change = on_change
        # What was reported during a listing: whether the extension exists.
        self._reported: dict[str, bool] = {}

    def __contains__(self, number: str) -> bool:
        return self.current is not None and number in self.current

    async def discover(self) -> DiscoveredExtensions:
        """List the extensions, and watch those that exist.

        Raises:
            PortSIPError: they could not be listed. The numbers stay as they were.
        """
        self._reported.clear()
        listed = await self._list()
        self.listed_at = self._clock.monotonic()
        watched = self._known if self.current is None else self.current
        present = dict.fromkeys(listed.numbers)
        if not listed.is_complete:
            # An extension may have moved to another page, so that the walk missed it.
            present |= watched
        for number, exists in self._reported.items():
            if exists:
                present[number] = None
            else:
                present.pop(number, None)
        self.current = present
        self._on_change(
            [number for number in present if number not in watched],
            [number for number in watched if number not in present],
        )
        return DiscoveredExtensions(list(present), is_complete=True)

    def add(self, number: str) -> None:
        """Watch an extension that the PBX reported as new."""
        if self.discovers and self.current is not None:
            self._reported[number] = True
            self.current[number] = None
            self._on_change([number], [])

    def remove(self, number: str) -> None:
        """Stop watching an extension that the PBX reported as removed."""
        if self.discovers and self.current is not None:
            self._reported[number] = False
            if self.current.pop(number, self) is None:
                self._on_change([], [number])
