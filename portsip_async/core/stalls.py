"""Notices when the event loop stands still, because the application blocks it.

While the loop is blocked, no reply is read, and every timer fires late. A call that runs out of
time then is not the fault of the PBX, and its error should say so.

While calls are in flight, a timer is set again and again, a tenth of a second ahead. If it fires
late, the loop was blocked for as long as it is late. A call pays nothing for it but a comparison.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sized
from typing import Final

from .limits import Clock

_TICK: Final = 0.1  # seconds
_LEAST: Final = 0.05  # seconds; a busy loop is late by less
_KEPT: Final = 100


class StallWatch:
    """Measures for how long the event loop was blocked.

    Attributes:
        is_running: whether the timer is set.
    """

    def __init__(self, calls: Sized, clock: Clock) -> None:
        """Store what to look at.

        Args:
            calls: the calls in flight; the timer stops when there are none.
            clock: the time.
        """
        self.is_running: bool = False
        self._calls = calls
        self._clock = clock
        # When the loop was blocked, and when that ended, on the monotonic clock.
        self._stalls: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        # When the timer should fire, on the monotonic clock.
        self._due = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Set the timer."""
        self.is_running = True
        self._due = self._clock.monotonic() + _TICK
        self._handle = asyncio.get_running_loop().call_later(_TICK, self._on_timer)

    def stop(self) -> None:
        """Remove the timer from the loop."""
        self.is_running = False
        if self._handle is not None:
            self._handle.cancel()

    def seconds_blocked(self, since: float) -> float:
        """Return for how long the loop was blocked since a time, if that was most of the time.

        Returns:
            Seconds; 0.0 if it was blocked for less than half of the time.
        """
        now = self._clock.monotonic()
        # The timer may be due in this pass of the loop too, after what called this.
        stalls = [*self._stalls, (self._due, now)] if now > self._due + _LEAST else self._stalls
        blocked = sum(max(0.0, end - max(begin, since)) for begin, end in stalls)
        return blocked if blocked >= (now - since) / 2 > 0 else 0.0

    def explain(self, text: str, since: float) -> str:
        """Return the text of a timeout, with a reason if the loop was blocked.

        Args:
            text: what did not happen in time.
            since: when the time began, on the monotonic clock.
        """
        blocked = self.seconds_blocked(since)
        if not blocked:
            return text
        return (
            f"the event loop was blocked for {blocked:.1f} s, so {text}: "
            "run blocking code in a thread"
        )

    def _on_timer(self) -> None:
        now = self._clock.monotonic()
        if now > self._due + _LEAST:
            self._stalls.append((self._due, now))
        if self._calls:
            self.start()
        else:
            self.is_running = False
