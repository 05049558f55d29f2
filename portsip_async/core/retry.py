"""What may be repeated, when, and how often.

What happened to an attempt is a `Fault`; whether it may be repeated is read from one table by the
fault and the operation's safety. The rule behind the table: an operation that acts each time is
repeated only where the PBX cannot have acted. tenacity runs the repeats, over a clock, a sleep and
a source of chance that are passed in (its own `stop_after_delay` reads the real clock whatever is
injected, hence `stop` and `wait` of our own).

A call is tried once before any of this is touched, so a call that succeeds pays nothing for it.
tenacity is loaded all the same: at the first failure there may be no file descriptor left to load
it with.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import tenacity

from ..errors import APIError, PortSIPError
from .endpoint import Safety

T = TypeVar("T")


class Fault(Enum):
    """What became of an attempt that failed."""

    UNSENT = "no connection was made"
    DISTRUSTED = "the certificate was refused"
    LOST = "no whole reply arrived"
    STALLED = "the PBX gave up waiting for the request"
    LIMITED = "too many requests"
    BUSY = "unavailable, and told when to come back"
    FAILED = "the PBX or a proxy failed"
    UNREADABLE = "a reply that could not be read"
    REFUSED = "the PBX said no"


@dataclass(frozen=True, slots=True)
class _Rule:
    repeat: frozenset[Safety] = frozenset()
    may_have_acted: bool = False


_ANY: frozenset[Safety] = frozenset({"safe", "idempotent", "unsafe"})
_HARMLESS: frozenset[Safety] = frozenset({"safe", "idempotent"})

RULES: dict[Fault, _Rule] = {
    Fault.UNSENT: _Rule(repeat=_ANY),
    Fault.DISTRUSTED: _Rule(),
    Fault.LOST: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Fault.STALLED: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Fault.LIMITED: _Rule(repeat=_ANY),
    Fault.BUSY: _Rule(repeat=_ANY),
    Fault.FAILED: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Fault.UNREADABLE: _Rule(may_have_acted=True),
    Fault.REFUSED: _Rule(),
}


def may_repeat(fault: Fault, safety: Safety) -> bool:
    """Tell whether an operation of this safety may be repeated after this fault."""
    return safety in RULES[fault].repeat


def may_have_acted(fault: Fault, safety: Safety) -> bool:
    """Tell whether the PBX may have carried out a write although no reply said so."""
    return safety != "safe" and RULES[fault].may_have_acted


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many repeats all calls of a client may share.

    Attributes:
        ratio: repeats that each call earns; 1 lets an outage double the load at most.
        burst: the most unspent repeats that are kept of calls that have ended, so that a quiet week
            does not pay for a storm; at least a call's own repeats.
    """

    ratio: float = 1.0
    burst: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 100 or self.burst < 0:
            raise ValueError("RetryBudget: ratio from 0 to 100, burst from 0")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failed attempts are repeated.

    Attributes:
        attempts: attempts a call makes at most, the first included; 1 never repeats.
        initial: seconds; the longest pause before the first repeat, doubled for each further one.
        maximum: seconds; the longest pause that is chosen by chance. A Retry-After may be longer.
        deadline: seconds from a call's admission to its end, pauses included; None: unlimited.
        budget: what all calls of a client share; that of the client holds for its views too.

    Raises:
        ValueError: attempts below 1, or a negative or endless time.
    """

    attempts: int = 4
    initial: float = 0.1
    maximum: float = 5.0
    deadline: float | None = 30.0
    budget: RetryBudget = field(default_factory=RetryBudget)

    def __post_init__(self) -> None:
        if type(self.attempts) is not int:
            raise TypeError("RetryPolicy: attempts is an int")
        if not isinstance(self.budget, RetryBudget):
            raise TypeError("RetryPolicy: budget is a RetryBudget")
        if self.attempts < 1:
            raise ValueError("RetryPolicy: attempts is at least 1")
        if not 0 <= self.initial < float("inf") or not 0 <= self.maximum < float("inf"):
            raise ValueError("RetryPolicy: initial and maximum are seconds, 0 or more")
        if self.deadline is not None and not 0 < self.deadline < float("inf"):
            raise ValueError("RetryPolicy: deadline is in seconds, more than 0, or None")

    def pause(self, repeat: int, chance: float) -> float:
        """Choose the pause before a repeat, in seconds: full jitter.

        Args:
            repeat: 1 for the first repeat.
            chance: from 0 to 1.
        """
        return chance * min(self.maximum, self.initial * 2.0 ** min(repeat - 1, 60))


class Balance:
    """The repeats that a client's calls have left to share.

    It starts with one call's own repeats, so that a single call on a quiet client may use them all.
    What calls under way have earned comes on top of the burst: where all their connections break at
    once, as when the PBX restarts, each of them can be repeated.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._ratio = policy.budget.ratio
        self._most = float(max(policy.budget.burst, policy.attempts - 1))
        self._calling = 0
        self._left = float(policy.attempts - 1)

    def earn(self) -> None:
        """Book a call that begins."""
        self._calling += 1
        self._left += self._ratio

    def settle(self) -> None:
        """Book the end of a call."""
        self._calling -= 1
        most = self._most + self._calling * self._ratio
        if self._left > most:
            self._left = most

    def spend(self) -> bool:
        """Take one repeat out, if there is one."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


async def repeat(
    attempt: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    repeatable: Callable[[], bool],
    spend: Callable[[], bool],
    remaining: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    chance: Callable[[], float],
) -> T:
    """Attempt until it succeeds, may not be repeated, or has no repeats or no time left.

    Args:
        attempt: one attempt; raises a PortSIPError where it fails.
        policy: how often, and with which pauses.
        repeatable: whether what became of the latest attempt may be repeated.
        spend: takes a repeat out of the shared budget, if there is one.
        remaining: seconds left until the call's deadline.
        sleep: pauses for so many seconds.
        chance: a random number from 0 to 1.

    Raises:
        PortSIPError: what the last attempt raised; at once where the next pause can't end in time.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        pause = policy.pause(state.attempt_number, chance())
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, APIError) else None
        return max(pause, asked or 0.0)

    def stop(state: tenacity.RetryCallState) -> bool:
        return (
            state.attempt_number >= policy.attempts
            or state.upcoming_sleep >= remaining()
            or not spend()
        )

    return await tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, PortSIPError) and repeatable()
        ),
        wait=wait,
        stop=stop,
        sleep=sleep,
        reraise=True,
    )(attempt)
