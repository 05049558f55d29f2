"""The log of outages: a line when one starts, at most one a minute during it, one when it ends.

All watches of a client share one log, since they lose the same PBX. An outage starts with the first
watch that fails, and ends when the last one works again. If all watches were left during an outage,
a watch that fails within a minute of the latest line continues it.
"""

import logging
from typing import Final

from ..errors import PortSIPError

logger: logging.Logger = logging.getLogger("portsip_async")

REMIND_AFTER: Final = 60.0  # seconds
_NUMBERS_SHOWN: Final = 10


class OutageLog:
    """Writes the outages of one PBX to the program's log.

    Args:
        host: the PBX, as the log names it.
    """

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._failing: set[object] = set()  # watches
        self._is_outage = False  # from the first failure until all watches work
        self._started_at = 0.0
        self._logged_at = 0.0

    def failed(self, watch: object, error: PortSIPError, now: float) -> None:
        """Note a failure of a watch.

        Args:
            watch: the watch.
            error: how it failed.
            now: the time of the monotonic clock, in seconds.
        """
        may_log = now - self._logged_at >= REMIND_AFTER
        starts = not self._is_outage or (not self._failing and may_log)
        self._failing.add(watch)
        if starts:
            self._is_outage = True
            self._started_at = now
            text = f"{self._host}: a status watch fails, and goes on"
        elif may_log:
            text = f"{self._host}: a status watch still fails after {now - self._started_at:.0f} s"
        else:
            return
        self._logged_at = now
        logger.warning("%s: %s: %s", text, type(error).__name__, _one_line(str(error)))

    def recovered(self, watch: object, now: float) -> None:
        """Note that nothing of a watch fails any more."""
        had_failed = watch in self._failing
        self._failing.discard(watch)
        if self._failing:
            return
        self._is_outage = False
        if had_failed:
            logger.warning(
                "%s: the status watch works again after %.1f s", self._host, now - self._started_at
            )

    def left(self, watch: object) -> None:
        """Forget a watch that was left. The end of its outage is not logged."""
        self._failing.discard(watch)

    def refused(self, numbers: list[str]) -> None:
        """Log extensions that the PBX gives no status for."""
        shown = ", ".join(map(_one_line, numbers[:_NUMBERS_SHOWN]))
        more = len(numbers) - _NUMBERS_SHOWN
        logger.warning(
            "%s: there is no status for %s%s",
            self._host,
            shown,
            f" and {more} more" if more > 0 else "",
        )


def _one_line(text: str) -> str:
    """Escape characters that would start a new line in a log, or control a terminal."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
