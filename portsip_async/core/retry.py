"""When a failed call is repeated, and how often. `safety.py` decides what may be repeated at all.

tenacity runs the repeats, with a clock, a sleep and random numbers that are passed in. Its own
`stop_after_delay` reads the real clock, so `stop` and `wait` are ours.

A call makes its first attempt before any of this runs, so a call that succeeds pays nothing for it.
tenacity is imported at the top anyway: when something fails, there may be no file descriptor left
to import it with.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import tenacity

from ..arguments import check_int, check_number, check_type
from ..errors import APIError, PortSIPError, RateLimited, ReplyError, ServerError
from .safety import Failure

T = TypeVar("T")


def failure_of(error: PortSIPError) -> Failure:
    """Classify the error that a reply reported."""
    if isinstance(error, ReplyError):
        return Failure.UNREADABLE
    if isinstance(error, RateLimited):
        return Failure.LIMITED
    if isinstance(error, ServerError):
        busy = error.status == 503 and error.retry_after is not None
        return Failure.BUSY if busy else Failure.SERVER_ERROR
    if isinstance(error, APIError) and error.status == 408:
        return Failure.STALLED
    return Failure.REFUSED


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many repeats all calls of a client may share.

    Attributes:
        ratio: repeats that each call adds to the budget. With 1, an outage at most doubles the
            load.
        burst: the most unused repeats that are kept when calls end, so that quiet times don't save
            up for an overload. At least the repeats of one call are kept.
    """

    ratio: float = 1.0
    burst: int = 10

    def __post_init__(self) -> None:
        check_int("RetryBudget: burst", self.burst, 0)
        if check_number("RetryBudget: ratio", self.ratio) > 100:
            raise ValueError(f"RetryBudget: ratio must be at most 100, got {self.ratio}")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failed attempts are repeated.

    Attributes:
        attempts: the most attempts that a call makes, including the first; 1 never repeats.
        initial: seconds; the longest pause before the first repeat, doubled for each further one.
        maximum: seconds; the longest random pause. A Retry-After of the PBX may be longer.
        deadline: seconds from a call's admission to its end, including pauses; None: unlimited.
        budget: the repeats that all calls of a client share. A view uses its client's budget.

    Raises:
        TypeError: `attempts` is not an int, a time is not a number, or `budget` is not a
            RetryBudget.
        ValueError: `attempts` is below 1, or a time is negative or infinite.
    """

    attempts: int = 4
    initial: float = 0.1
    maximum: float = 5.0
    deadline: float | None = 30.0
    budget: RetryBudget = field(default_factory=RetryBudget)

    def __post_init__(self) -> None:
        check_int("RetryPolicy: attempts", self.attempts, 1)
        check_number("RetryPolicy: initial", self.initial)
        check_number("RetryPolicy: maximum", self.maximum)
        if self.deadline is not None:
            check_number("RetryPolicy: deadline", self.deadline, above=0)
        check_type("RetryPolicy: budget", self.budget, RetryBudget)

    def pause(self, repeat: int, random: float) -> float:
        """Return the pause before a repeat, in seconds: exponential backoff with full jitter.

        Args:
            repeat: 1 for the first repeat.
            random: a random number from 0 to 1.
        """
        return random * min(self.maximum, self.initial * 2.0 ** min(repeat - 1, 60))


class RetryBucket:
    """What is left of the retry budget that the calls of a client share.

    It starts with the repeats of one call, so that a single call on a quiet client may use them
    all. Calls in flight may hold more than the burst: if all their connections break at once, as
    when the PBX restarts, each of them can be repeated.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._ratio = policy.budget.ratio
        self._burst = float(max(policy.budget.burst, policy.attempts - 1))
        self._calls = 0  # in flight
        self._tokens = float(policy.attempts - 1)

    def begin_call(self) -> None:
        """Add the repeats of a call that begins."""
        self._calls += 1
        self._tokens += self._ratio

    def end_call(self) -> None:
        """Keep at most the burst and the repeats of the calls still in flight."""
        self._calls -= 1
        self._tokens = min(self._tokens, self._burst + self._calls * self._ratio)

    def spend(self) -> bool:
        """Use one repeat; return False if there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


async def repeat(
    attempt: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    may_repeat: Callable[[], bool],
    spend: Callable[[], bool],
    seconds_left: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    random: Callable[[], float],
) -> T:
    """Make attempts until one succeeds, must not be repeated, or time or repeats run out.

    Args:
        attempt: makes one attempt; raises a PortSIPError if it fails.
        policy: how often, and with which pauses.
        may_repeat: returns whether the latest failure may be repeated.
        spend: uses one repeat of the shared budget; returns False if there is none left.
        seconds_left: returns the seconds until the call's deadline.
        sleep: waits for a number of seconds.
        random: returns a random number from 0 to 1.

    Raises:
        PortSIPError: the error of the last attempt, at once if the next pause can't end in time.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        pause = policy.pause(state.attempt_number, random())
        error = state.outcome.exception() if state.outcome else None
        retry_after = error.retry_after if isinstance(error, APIError) else None
        return max(pause, retry_after or 0.0)

    def stop(state: tenacity.RetryCallState) -> bool:
        return (
            state.attempt_number >= policy.attempts
            or state.upcoming_sleep >= seconds_left()
            or not spend()
        )

    return await tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, PortSIPError) and may_repeat()
        ),
        wait=wait,
        stop=stop,
        sleep=sleep,
        reraise=True,
    )(attempt)
