"""What limits a call: its time, and the rate of requests.

`SharedTimer` does what `asyncio.timeout` does, for many calls at once. Calls that may take the same
number of seconds share one timer of the event loop, because the first to begin is the first to run
out of time. `asyncio.timeout` would start and cancel a timer of the loop for each call, which costs
6 to 9 us of about 100.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

# Why something was interrupted.
TIMED_OUT: Final = "timed out"
CLOSED: Final = "closed"

# aiolimiter serves the smaller amount first. A call that was admitted, whose deadline is running,
# comes before those that still wait for their first slot.
_FIRST_SLOT: Final = 1.0
_NEXT_SLOT: Final = 1 - 1e-6


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


class Interruptible:
    """Code that runs in a task and can be interrupted from outside.

    An interruption cancels the task. The cause is kept, so that the code can tell an interruption
    from a cancellation by the application, and raise an error of its own instead.
    """

    # Why it was interrupted; None if it was not, or once the interruption was dealt with.
    cause: str | None = None
    # Whether a timer has already waited once for a cancellation that was on its way.
    _postponed: bool = False

    def enter(self, task: asyncio.Task[Any]) -> None:
        """Begin, in the task that an interruption will cancel."""
        self.task = task
        # Cancellations of the task that were requested before: they are not ours.
        self._cancelling = task.cancelling()

    def interrupt(self, cause: str) -> None:
        """Cancel the task, once. A closed client outranks a timeout as the cause."""
        if self.cause is None:
            self.task.cancel()
        elif self.cause is CLOSED:
            return
        self.cause = cause

    def postpone(self) -> bool:
        """Return whether to wait, once, for a cancellation that is already on its way."""
        if self._postponed or self.task.cancelling() <= self._cancelling:
            return False
        self._postponed = True
        return True

    def caught(self, cause: str) -> bool:
        """Return whether a CancelledError that was just caught came from this cause alone.

        If so, the cancellation is used up, and the caller raises an error of its own. If somebody
        else cancelled the task too, the CancelledError is theirs and must be raised.
        """
        if self.cause is not cause:
            return False
        self.cause = None
        return self.task.uncancel() <= self._cancelling

    def revoke(self, cause: str) -> None:
        """Take back an interruption by this cause that came too late to be caught."""
        if self.cause is cause:
            self.cause = None
            self.task.uncancel()


class SharedTimer:
    """Interrupts everything that takes longer than so many seconds."""

    __slots__ = ("_ends", "_handle", "_loop", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds: float = seconds
        self._loop = loop
        # When each one ends, on the loop's clock. The order of insertion is the order of the ends.
        self._ends: dict[Interruptible, float] = {}
        # The loop's timer; None while there is none. It may outlast the calls it was set for.
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether the loop holds a timer of it."""
        return self._handle is not None

    def start(self, call: Interruptible) -> None:
        """Start the time of a call."""
        end = self._loop.time() + self.seconds
        self._ends[call] = end
        if self._handle is None:
            self._handle = self._loop.call_at(end, self._ring)

    def stop(self, call: Interruptible) -> None:
        """Stop the time of a call, and take back an interruption that it did not notice."""
        if self._ends.pop(call, None) is None and call.cause is not None:
            call.revoke(TIMED_OUT)

    def cancel(self) -> None:
        """Remove the timer from the loop."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        now = self._loop.time()
        while self._ends:
            call, end = next(iter(self._ends.items()))
            # If the loop stood still, a timeout within the attempt, such as that of connecting, may
            # be due together with this one. It was due first, so it gets one pass of the loop to
            # raise its own error, which says more.
            if end > now or call.postpone():
                self._handle = self._loop.call_at(end, self._ring)
                return
            del self._ends[call]
            call.interrupt(TIMED_OUT)


class RequestRate:
    """Spaces requests evenly, without bursts.

    Attributes:
        next_slot: when the next request may be sent at the earliest, on the monotonic clock.
    """

    def __init__(self, requests_per_second: float, clock: Clock) -> None:
        from aiolimiter import AsyncLimiter  # loaded only by clients that have a rate

        self.next_slot: float = -math.inf
        self._limiter: AsyncLimiter = AsyncLimiter(1, 1 / requests_per_second)
        self._clock = clock

    async def wait(self, *, admitted: bool) -> None:
        """Wait for a slot.

        Args:
            admitted: True if the call has had a slot before, or its deadline is running.
        """
        await self._limiter.acquire(_NEXT_SLOT if admitted else _FIRST_SLOT)
        self.next_slot = self._clock.monotonic() + self._limiter.time_period


class Gate(Protocol):
    """A further limit that each attempt of a call passes, such as that of a poll."""

    def admit(self) -> object | None:
        """Admit an attempt at once and return a ticket; None if it has to wait."""
        ...

    async def enter(self) -> object:
        """Wait for admission and return a ticket."""
        ...

    def leave(self, ticket: object, error: Exception | None, *, repeated: bool) -> None:
        """Record how an attempt ended; `repeated` is False for the first attempt of a call."""
        ...
