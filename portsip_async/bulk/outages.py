"""The log of outages: one line when one begins, at most one a minute in it, one when it ends.

All watches of a client share one log, since they lose the same PBX. An outage begins with the first
of them that fails, and ends when the last of them works again. If all were left meanwhile, the next
watch that fails within a minute of the latest line meets the same outage.
"""

import logging
from typing import Final

from ..errors import PortSIPError

logger: logging.Logger = logging.getLogger("portsip_async")

REMIND_AFTER: Final = 60.0  # seconds
_NUMBERS_SHOWN: Final = 10


class OutageLog:
    """Writes the outages of one PBX into the program's log.

    Args:
        host: the PBX, as it is named in the log.
    """

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._failing: set[object] = set()
        self._lasts = False  # since no watch was seen to work again
        self._began_at = 0.0
        self._logged_at = 0.0

    def failed(self, watch: object, error: PortSIPError, now: float) -> None:
        """Note a failure of a watch, at a time of the monotonic clock, in seconds."""
        is_due = now - self._logged_at >= REMIND_AFTER
        begins = not self._lasts or (not self._failing and is_due)
        self._failing.add(watch)
        if begins:
            self._lasts = True
            self._began_at = now
            text = f"{self._host}: a status watch fails, and goes on"
        elif is_due:
            text = f"{self._host}: a status watch still fails after {now - self._began_at:.0f} s"
        else:
            return
        self._logged_at = now
        logger.warning("%s: %s: %s", text, type(error).__name__, _one_line(str(error)))

    def recovered(self, watch: object, now: float) -> None:
        """Note that nothing of a watch fails any more."""
        failed = watch in self._failing
        self._failing.discard(watch)
        if self._failing:
            return
        self._lasts = False
        if failed:
            logger.warning(
                "%s: the status watch works again after %.1f s", self._host, now - self._began_at
            )

    def left(self, watch: object) -> None:
        """Forget a watch that was left; the end of its outage is not logged."""
        self._failing.discard(watch)

    def refused(self, numbers: list[str]) -> None:
        """Name extensions that the PBX gives no status for."""
        shown = ", ".join(map(_one_line, numbers[:_NUMBERS_SHOWN]))
        more = len(numbers) - _NUMBERS_SHOWN
        logger.warning(
            "%s: there is no status for %s%s",
            self._host,
            shown,
            f" and {more} more" if more > 0 else "",
        )


def _one_line(text: str) -> str:
    """Escape what would begin another line of a log, or be obeyed by a terminal."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
