"""The limits of a call: its time, and the rate of requests; and pauses after failures.

`SharedTimer` does what `asyncio.timeout` does, for many calls at once. Calls that may take the same
number of seconds share one timer of the event loop, because the first to begin is the first to run
out of time. `asyncio.timeout` would start and cancel a timer of the loop for each call, which costs
6 to 9 µs of about 100.
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

# aiolimiter serves smaller amounts first. So a call with a running deadline goes before calls that
# wait for their first slot.
_FIRST_SLOT: Final = 1.0
_NEXT_SLOT: Final = 1 - 1e-6


class Clock:
    """A client's sources of time, pauses and random numbers.

    Attributes:
        monotonic: returns seconds that never go back.
        now: returns the seconds since the epoch.
        sleep: waits for a number of seconds.
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

    An interruption cancels the task. The cause is kept, so that the code can distinguish it from a
    cancellation by the application, and raise an error of its own instead.
    """

    # Why it was interrupted; None if it was not, or once the interruption was dealt with.
    cause: str | None = None
    # Whether a timer has already waited once for a pending cancellation.
    _postponed: bool = False

    def enter(self, task: asyncio.Task[Any]) -> None:
        """Begin in a task, which an interruption will cancel."""
        self.task = task
        # Cancellations that were requested before are not ours.
        self._cancelling = task.cancelling()

    def interrupt(self, cause: str) -> None:
        """Cancel the task, once. A later cause replaces TIMED_OUT, but not CLOSED."""
        if self.cause is None:
            self.task.cancel()
        elif self.cause is CLOSED:
            return
        self.cause = cause

    def postpone(self) -> bool:
        """Return whether to wait, once, for a cancellation that is already pending."""
        if self._postponed or self.task.cancelling() <= self._cancelling:
            return False
        self._postponed = True
        return True

    def caught(self, cause: str) -> bool:
        """Return whether a CancelledError that was just caught came only from this cause.

        If so, the cancellation is taken back, and the caller raises an error of its own. If
        somebody else cancelled the task too, the CancelledError must be raised.
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
    """Interrupts calls that take longer than a number of seconds."""

    __slots__ = ("_ends", "_handle", "_loop", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds: float = seconds
        self._loop = loop
        # When each call's time is up, on the loop's clock. All take equally long, so the order of
        # insertion is that of the ends.
        self._ends: dict[Interruptible, float] = {}
        # The loop's timer; None while there is none. It may outlast the calls it was set for.
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether a timer is set in the loop."""
        return self._handle is not None

    def start(self, call: Interruptible) -> None:
        """Start timing a call."""
        end = self._loop.time() + self.seconds
        self._ends[call] = end
        if self._handle is None:
            self._handle = self._loop.call_at(end, self._on_timer)

    def stop(self, call: Interruptible) -> None:
        """Stop timing a call, and take back an interruption that came too late to be caught."""
        if self._ends.pop(call, None) is None and call.cause is not None:
            call.revoke(TIMED_OUT)

    def cancel(self) -> None:
        """Remove the timer from the loop."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_timer(self) -> None:
        self._handle = None
        now = self._loop.time()
        while self._ends:
            call, end = next(iter(self._ends.items()))
            # If the loop was blocked, a timeout within the attempt (connecting, for example) may
            # expire in the same pass as this one. Its error says more, so it gets one more pass of
            # the loop to be raised.
            if end > now or call.postpone():
                self._handle = self._loop.call_at(end, self._on_timer)
                return
            del self._ends[call]
            call.interrupt(TIMED_OUT)


class RequestRate:
    """Spaces requests evenly, without bursts.

    Attributes:
        next_slot: the earliest time for the next request, on the monotonic clock.
    """

    def __init__(self, requests_per_second: float, clock: Clock) -> None:
        from aiolimiter import AsyncLimiter  # loaded only by clients that have a rate

        self.next_slot: float = -math.inf
        self._limiter: AsyncLimiter = AsyncLimiter(1, 1 / requests_per_second)
        self._clock = clock

    @property
    def pause(self) -> float:
        """The seconds until the next slot."""
        return max(0.0, self.next_slot - self._clock.monotonic())

    async def wait(self, *, has_priority: bool) -> None:
        """Wait for a slot.

        Args:
            has_priority: True if the call has had a slot before, so that its deadline is running.
        """
        await self._limiter.acquire(_NEXT_SLOT if has_priority else _FIRST_SLOT)
        self.next_slot = self._clock.monotonic() + self._limiter.time_period


class Gate(Protocol):
    """An additional limit on the attempts of a call, such as a poll's."""

    def admit(self) -> object | None:
        """Admit an attempt at once and return a ticket; None if it has to wait."""
        ...

    async def enter(self) -> object:
        """Wait for admission and return a ticket."""
        ...

    def leave(self, ticket: object, error: Exception | None, *, repeated: bool) -> None:
        """Record how an attempt ended; `repeated` is False for the first attempt of a call."""
        ...


class Backoff:
    """A pause that doubles with each failure in a row.

    Attributes:
        until: when the pause ends, on the monotonic clock.
    """

    def __init__(self, first: float, maximum: float) -> None:
        self._first = first
        self._maximum = maximum
        self._failures = 0
        self.until: float = -math.inf

    def fail(self, now: float) -> None:
        """Start a pause, twice as long as the previous one."""
        pause = self._first * 2.0 ** min(self._failures, 10)
        self._failures += 1
        self.until = now + min(pause, self._maximum)

    def follow(self, until: float) -> None:
        """Take over a pause that another process started; it counts as a failure here too."""
        self._failures += 1
        self.until = until

    def hold(self) -> None:
        """Pause until `reset`, or until the next failure."""
        self.until = math.inf

    def reset(self) -> None:
        """End the pause, and make the next one short again."""
        self._failures, self.until = 0, -math.inf
