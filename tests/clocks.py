"""Clocks for tests, and functions that give them to a client."""

import time
from collections.abc import Awaitable, Callable

from portsip_async.client.base import BaseClient
from portsip_async.core.limits import Clock

from .internals import session_of


class FrozenClock:
    """A clock that changes only when a test sets `now`."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now

    monotonic = __call__


class JumpingClock:
    """A clock that runs like the event loop's, and can jump ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def jump(self, seconds: float) -> None:
        """Jump ahead."""
        self.ahead += seconds


def set_clock(
    client: BaseClient,
    *,
    monotonic: Callable[[], float] | None = None,
    now: Callable[[], float] | None = None,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    random: Callable[[], float] | None = None,
) -> None:
    """Replace functions of a client's clock; None leaves one as it is.

    A token that was cached before keeps the times that the old clock gave it.
    """
    clock = session_of(client).clock
    clock.monotonic = monotonic or clock.monotonic
    clock.now = now or clock.now
    clock.sleep = sleep or clock.sleep
    clock.random = random or clock.random


def use_jumping_clock(client: BaseClient) -> JumpingClock:
    """Give a client, before its first call, a clock that can jump ahead."""
    clock = JumpingClock()
    set_clock(client, monotonic=clock)
    return clock


def clock_that_reads(monotonic: Callable[[], float]) -> Clock:
    """Return a clock with the test's monotonic time."""
    clock = Clock()
    clock.monotonic = monotonic
    return clock
