"""The token cache as a state machine on a frozen clock, with events in any order.

The machine is the PBX, the calls, and the application that closes the client. Between two steps
everything runs that needs no clock.
"""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import assume, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from portsip_async import (
    AuthenticationError,
    ClientClosed,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
    Token,
    TransportError,
)
from portsip_async.core.token_types import CachedToken, TokenReply
from portsip_async.core.tokens import COOL_DOWN, MAX_COOL_DOWN, MAX_PAUSE, PAUSE, TokenCache

from ..clocks import FrozenClock, clock_that_reads

X = TypeVar("X")

LIVES = st.sampled_from([0.5, 5.0, 30.0, 600.0]) | st.floats(0.1, 1000.0)
REFUSALS = [AuthenticationError("no", status=status) for status in (400, 401)]
FAILURES: tuple[BaseException | Token, ...] = (
    TransportError("gone"),
    ServerError("down", status=503),
    RateLimited("slow", status=429),
    ReplyError(expected="JSON"),
    RuntimeError("the vault's own"),
    asyncio.CancelledError(),
    Token("no\r\ntoken"),
)


class Request:
    """A login or a refresh in progress."""

    def __init__(self, now: float, refreshed: str | None) -> None:
        self.sent_at = now
        self.refreshed = refreshed
        self.reply: asyncio.Future[Token] = asyncio.get_running_loop().create_future()


class Waiter:
    """A call that needs a token."""

    def __init__(self, task: asyncio.Task[CachedToken]) -> None:
        self.task = task
        self.cancelled = False


class Cache(RuleBasedStateMachine):
    """The cache, its PBX and the calls."""

    default_lifetime = 30.0
    single_use = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FrozenClock()
        self.cache: TokenCache
        self.sent: list[Request] = []
        self.requests = 0
        self.renewals: list[asyncio.Task[Any]] = []
        self.waiters: list[Waiter] = []
        self.served: list[CachedToken] = []
        self.rejected: set[int] = set()
        self.issued = 0
        self.dies_at = {"initial": math.inf}
        self.refusals = self.failures = 0
        self.refused_until = self.quiet_until = -math.inf
        self.can_login = True

    @initialize(initial=st.booleans(), credentials=st.booleans())
    def begin(self, *, initial: bool, credentials: bool) -> None:
        self.can_login = credentials or not initial
        self.initial = Token("initial") if initial else None
        self.cache = TokenCache(self, owner=self, clock=clock_that_reads(self.clock))

    # The PBX

    async def login(self) -> TokenReply:
        return await self._send(None)

    async def refresh(self, token: Token) -> TokenReply:
        return await self._send(token.access_token)

    async def _send(self, refreshed: str | None) -> TokenReply:
        sent = Request(self.clock(), refreshed)
        self.sent.append(sent)
        self.requests += 1
        try:
            return TokenReply(await sent.reply, sent.sent_at)
        finally:
            self.sent.remove(sent)

    def start(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        task = self.loop.create_task(coroutine)
        self.renewals.append(task)
        return task

    def check_open(self) -> None:
        """The state machine closes only renewals."""

    # Between two steps

    def settle(self) -> None:
        async def ticks() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(ticks())
        for waiter in [waiter for waiter in self.waiters if waiter.task.done()]:
            self.waiters.remove(waiter)
            self._check_outcome(waiter)

    def _check_outcome(self, waiter: Waiter) -> None:
        """Check how a call's wait ended."""
        if waiter.cancelled:
            assert waiter.task.cancelled()
            return
        assert not waiter.task.cancelled()
        error = waiter.task.exception()
        if error is None:
            self._take(waiter.task.result(), waited=True)
        else:
            assert isinstance(error, PortSIPError | RuntimeError)

    def _take(self, held: CachedToken, *, waited: bool) -> None:
        """Check a token that the cache gave to a call."""
        assert held.generation not in self.rejected
        # A call gets the token that it waited for, even if the token is spent by then.
        assert self.clock() < min(held.spent_at, self.dies_at[held.token.access_token]) or waited
        self.served.append(held)

    # Calls

    async def _call(self) -> CachedToken:
        return self.cache.current() or await self.cache.wait()

    async def _renewed(self) -> CachedToken:
        await self.cache.renew()
        held = self.cache._cached
        assert held is not None
        return held

    @rule()
    def call(self) -> None:
        """A call needs a token. It gets one, waits, or is refused without traffic."""
        before = self.requests
        under_way = bool(self.sent)
        held = self.loop.run_until_complete(self._current())
        if held is not None:
            self._take(held, waited=False)
            self.settle()
            quiet = under_way or self.clock() < max(self.refused_until, self.quiet_until)
            stale = self.clock() >= held.stale_at
            assert self.requests == before + (stale and not quiet)
            return
        waiter = Waiter(self.loop.create_task(self._call()))
        self.waiters.append(waiter)
        self.settle()
        if not under_way and self.clock() < self.refused_until:
            assert self.requests == before
            assert isinstance(waiter.task.exception(), AuthenticationError)
        elif not self.sent:
            assert waiter.task.done()

    async def _current(self) -> CachedToken | None:
        return self.cache.current()

    @rule()
    def renew(self) -> None:
        """A program requests a renewal. The cool-down doesn't prevent it."""
        before = self.requests
        under_way = bool(self.sent)
        waiter = Waiter(self.loop.create_task(self._renewed()))
        self.waiters.append(waiter)
        self.settle()
        assert self.requests == before + (not under_way) or not self.can_login

    @precondition(lambda self: self.waiters)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A waiting call is cancelled. The others continue."""
        waiter = data.draw(st.sampled_from(self.waiters))
        others = [other for other in self.waiters if other is not waiter]
        sent = [*self.sent]
        waiter.cancelled = True
        waiter.task.cancel()
        self.settle()
        assert waiter not in self.waiters
        assert self.waiters == others
        assert self.sent == sent

    @precondition(lambda self: self.served)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        """The PBX rejects a token that a call got earlier."""
        held = data.draw(st.sampled_from(self.served[-3:]))
        before = self.cache._cached
        self.cache.reject(held)
        self.rejected.add(held.generation)
        if before is not None and before.generation != held.generation:
            assert self.cache._cached is before

    # Time

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 11.0, 25.0, 61.0, 1000.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes. An idle client sends nothing."""
        before = self.requests
        self.clock.now += seconds
        self.settle()
        assert self.requests == before

    @rule(ticks=st.integers(-1, 1), point=st.sampled_from(["stale_at", "spent_at"]))
    def reach(self, ticks: int, point: str) -> None:
        """The clock reaches just before, at, or just after a boundary of the cached token."""
        held = self.cache._cached
        assume(held is not None)
        then = float(getattr(held, point)) + ticks * 1e-6
        assume(then > self.clock.now)
        self.clock.now = then

    # Replies of the PBX

    def _reply(self, outcome: Token | BaseException) -> None:
        sent = self.sent[0]
        if isinstance(outcome, asyncio.CancelledError):
            sent.reply.cancel()
        elif isinstance(outcome, BaseException):
            sent.reply.set_exception(outcome)
        else:
            sent.reply.set_result(outcome)
        waiting = [waiter for waiter in self.waiters if not waiter.cancelled]
        renewal = self.renewals[-1]
        self.settle()
        if not renewal.done():
            # After the refused refresh it logs in.
            assert sent.refreshed is not None
            assert self.sent[0].refreshed is None
            assert all(waiter in self.waiters for waiter in waiting)
            return
        # All waiting calls got the same outcome, at once.
        assert self.sent == []
        assert self.waiters == []
        ended = renewal.result()
        for waiter in waiting:
            if isinstance(ended, CachedToken):
                assert waiter.task.result() == ended
            else:
                error = waiter.task.exception()
                assert type(error) is type(ended)
                assert str(error) == str(ended)
        if isinstance(ended, CachedToken):
            self.refusals = self.failures = 0
            self.refused_until = self.quiet_until = -math.inf
        elif isinstance(ended, AuthenticationError):
            self.refusals += 1
            pause = min(COOL_DOWN * 2 ** (self.refusals - 1), MAX_COOL_DOWN)
            self.refused_until = self.clock() + pause
        else:
            self.failures += 1
            pause = min(PAUSE * 2 ** (self.failures - 1), MAX_PAUSE)
            self.quiet_until = self.clock() + pause

    @precondition(lambda self: self.sent)
    @rule(life=LIVES)
    def bring_a_token(self, life: float) -> None:
        self.issued += 1
        token = Token(f"token-{self.issued}", life)
        # Its remaining lifetime counts from before the request was sent.
        self.dies_at[token.access_token] = self.sent[0].sent_at + life
        self._reply(token)

    @precondition(lambda self: self.sent and self.sent[0].refreshed is not None)
    @rule(life=LIVES)
    def prolong(self, life: float) -> None:
        """A refresh without a token prolongs the old one, unless that was rejected."""
        held, sent = self.cache._cached, self.sent[0]
        if held is not None and held.token.access_token == sent.refreshed:
            self.dies_at[held.token.access_token] = sent.sent_at + life
        self._reply(Token(sent.refreshed or "", life))
        if held is not None and held.token.access_token == sent.refreshed:
            assert self.cache._cached is not None
            assert self.cache._cached.generation == held.generation
        else:
            note("prolonging what was rejected")
            assert self.cache._cached is None

    @precondition(lambda self: self.sent)
    @rule(error=st.sampled_from(REFUSALS))
    def refuse(self, error: PortSIPError) -> None:
        self._reply(error)

    @precondition(lambda self: self.sent)
    @rule(error=st.sampled_from(FAILURES))
    def fail(self, error: BaseException | Token) -> None:
        """It fails for another reason. Calls continue to use the cached token."""
        held = self.cache._cached
        refused = self.refused_until
        self._reply(error)
        assert self.cache._cached is held
        assert self.refused_until == refused or not self.can_login

    @precondition(lambda self: self.sent)
    @rule()
    def close(self) -> None:
        """The owner ends the renewal. Waiting calls raise ClientClosed."""
        waiting = [*self.waiters]
        self.renewals[-1].cancel()
        self.settle()
        assert self.sent == []
        assert self.waiters == []
        assert all(
            isinstance(waiter.task.exception(), ClientClosed)
            for waiter in waiting
            if not waiter.cancelled
        )

    # Invariants

    @invariant()
    def one_renewal_at_most_and_no_call_waits_without_one(self) -> None:
        assert len(self.sent) <= 1
        assert self.sent or not self.waiters
        assert len([task for task in self.renewals if not task.done()]) == len(self.sent)

    @invariant()
    def cached_token_is_valid(self) -> None:
        if not hasattr(self, "cache"):
            return
        held = self.cache._cached
        if held is not None:
            assert held.generation not in self.rejected
            assert held.spent_at < self.dies_at[held.token.access_token]

    def teardown(self) -> None:
        tasks = [*self.renewals, *(waiter.task for waiter in self.waiters)]
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled():
                task.exception()
        self.loop.close()


def test_any_order_of_events() -> None:
    """No token is used when spent or rejected, no two logins overlap, and no call hangs."""
    # Some faults need a sequence of five steps, so there are more examples than usual.
    many = settings(max_examples=4 * settings().max_examples)
    run_state_machine_as_test(Cache, settings=many)
