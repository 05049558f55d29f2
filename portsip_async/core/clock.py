"""Time and chance, in one object, so that tests can replace them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable


class Clock:
    """Where a client reads the time, waits, and draws random numbers.

    Attributes:
        monotonic: returns seconds that never go back.
        now: returns the seconds since the epoch.
        sleep: waits for so many seconds.
        random: returns a random number from 0 to 1.
    """

    __slots__ = ("monotonic", "now", "random", "sleep")

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic
        self.now: Callable[[], float] = time.time
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self.random: Callable[[], float] = random.random
