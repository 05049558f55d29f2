"""Clocks that tests hold in their hands."""

import time

from portsip_async import PortSIPClient


class FrozenClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


class LeapingClock:
    """Runs like the loop's clock, and leaps ahead when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def leap(self, seconds: float) -> None:
        self.ahead += seconds


def leaping(client: PortSIPClient) -> LeapingClock:
    """Let a client, before its first call, and its tokens go by a clock that can leap."""
    clock = LeapingClock()
    client._session.clock.monotonic = clock
    return clock
