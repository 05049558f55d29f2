"""The log of outages: a line when one starts, at most one a minute during it, one when it ends.

All watches of a client share one log, since they poll the same PBX. An outage starts with the first
watch that fails, and ends when the last one works again. If all watches were left during an outage,
a watch that fails within a minute of the latest line continues it.
"""

import logging
import math
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
        self._polling: set[object] = set()  # watches that poll for lack of a web socket
        self._polling_logged_at = -math.inf
        self._shows_polling = False
        self._polls_without_password = False

    def failed(self, watch: object, error: PortSIPError, now: float) -> None:
        """Record a failure of a watch.

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
            text = f"{self._host}: a status watch is failing and will keep trying"
        elif may_log:
            seconds = now - self._started_at
            text = f"{self._host}: a status watch is still failing after {seconds:.0f} s"
        else:
            return
        self._logged_at = now
        logger.warning("%s: %s: %s", text, type(error).__name__, _one_line(str(error)))

    def recovered(self, watch: object, now: float) -> None:
        """Record that a watch works; log that if it had failed."""
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
        self._polling.discard(watch)

    def began_polling(self, watch: object, error: PortSIPError | None, now: float) -> None:
        """Log that a watch polls, because there is no web socket.

        Args:
            watch: the watch.
            error: why there is none; None if the PBX has not replied yet.
            now: the time of the monotonic clock, in seconds.
        """
        if not self._polling and now - self._polling_logged_at >= REMIND_AFTER:
            self._polling_logged_at = now
            self._shows_polling = True
            reason = "no reply yet" if error is None else f"{type(error).__name__}: {error}"
            logger.warning(
                "%s: a status watch has no web socket, and polls: %s", self._host, _one_line(reason)
            )
        self._polling.add(watch)

    def ended_polling(self, watch: object) -> None:
        """Log that a watch has a web socket again, if the log says that it polls."""
        self._polling.discard(watch)
        if self._shows_polling and not self._polling:
            self._shows_polling = False
            logger.warning("%s: the status watch follows its web socket again", self._host)

    def polls_without_password(self) -> None:
        """Log, once for a client, that its watches poll because a token can't log in."""
        if not self._polls_without_password:
            self._polls_without_password = True
            logger.warning(
                "%s: status watches poll, because a token can't log in to the web socket: pass "
                "username= and password= to the client",
                self._host,
            )

    def refused(self, numbers: list[str]) -> None:
        """Log extensions that the PBX gives no status for."""
        shown = ", ".join(map(_one_line, numbers[:_NUMBERS_SHOWN]))
        more = len(numbers) - _NUMBERS_SHOWN
        logger.warning(
            "%s: the PBX gives no status for %s%s",
            self._host,
            shown,
            f" and {more} more" if more > 0 else "",
        )


def _one_line(text: str) -> str:
    """Escape characters that would start a new line in a log, or control a terminal."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in text)
