"""The objects that a client's calls share: the transport, the token, the limits and the clock."""

import asyncio
from copy import copy
from typing import Any, Final

from ..errors import ClientClosed, ErrorScheme
from .endpoint import Endpoint
from .hooks import Hooks
from .limits import Clock, Interruptible, RequestRate, SharedTimer
from .reply import RawParser, ReplyParser
from .retry import RetryBucket
from .stalls import StallWatch
from .tokens import TokenCache
from .transport import Route, Transport

_TIMERS_KEPT: Final = 64
# Seconds. A call still shares a timer if its deadline began no longer ago than this.
_SLACK: Final = 0.001


class PreparedEndpoint:
    """An endpoint with the URL and the parser that all its calls share."""

    __slots__ = ("_raw", "endpoint", "parser", "route")

    def __init__(self, base_url: str, endpoint: Endpoint[Any], errors: ErrorScheme) -> None:
        self.endpoint: Endpoint[Any] = endpoint
        self.route: Route = Route(base_url, endpoint)
        self.parser: ReplyParser[Any] | RawParser[Any] = ReplyParser(endpoint, errors)
        self._raw: PreparedEndpoint | None = None  # made once: that takes as long as half a call

    def raw(self) -> "PreparedEndpoint":
        """Return a copy whose replies are a `RawReply`."""
        if self._raw is not None:
            return self._raw
        prepared = copy(self)
        # A removal counts as a success if a repeat finds nothing. A raw reply to it would be an
        # error's, so such a call raises it.
        prepared.endpoint = self.endpoint.replace(removes=False)
        prepared.parser = RawParser(self.parser)
        self._raw = prepared
        return prepared


class CallContext:
    """The objects that a client's calls share: the transport, the token, the limits and the clock.

    Attributes:
        calls: everything in flight that closing the client interrupts.
        stalls: measures for how long the event loop was blocked.
        closed: whether the client was closed.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        tokens: TokenCache,
        max_connections: int,
        rate: RequestRate | None,
        bucket: RetryBucket,
        hooks: Hooks,
        clock: Clock,
    ) -> None:
        self.transport: Transport = transport
        self.tokens: TokenCache = tokens
        self.semaphore: asyncio.Semaphore = asyncio.Semaphore(max_connections)
        self.rate: RequestRate | None = rate
        self.bucket: RetryBucket = bucket
        self.hooks: Hooks = hooks
        self.clock: Clock = clock
        # A dict, since they are interrupted in their order: the semaphore's queue is searched for
        # each call that leaves it, and for 20,000 calls in any other order that takes seconds.
        self.calls: dict[Interruptible, None] = {}
        self.stalls: StallWatch = StallWatch(self.calls, clock)
        self.closed: bool = False
        self._timers: dict[float, SharedTimer] = {}

    def check_open(self) -> None:
        """Check that the client was not closed.

        Raises:
            ClientClosed: it was.
        """
        if self.closed:
            raise ClientClosed("the client was closed")

    def timer(self, seconds: float, left: float) -> SharedTimer:
        """Return the timer of an attempt.

        Args:
            seconds: the most that an attempt may take; all such attempts share one timer.
            left: the seconds until the deadline of the call. If they are fewer, the attempt gets a
                timer of its own.
        """
        if left <= seconds - _SLACK:
            return SharedTimer(left, asyncio.get_running_loop())
        timer = self._timers.get(seconds)
        if timer is None:
            if len(self._timers) >= _TIMERS_KEPT:
                self._timers = {each: kept for each, kept in self._timers.items() if kept.is_set}
            timer = self._timers[seconds] = SharedTimer(seconds, asyncio.get_running_loop())
        return timer

    def close(self) -> None:
        """Refuse further calls."""
        self.closed = True

    def cancel_timers(self) -> None:
        """Remove the timers from the event loop."""
        self.stalls.stop()
        for timer in self._timers.values():
            timer.cancel()
