"""One call's way through the core: place, token, request, judgement, repeats.

The hot path is `Session._run` and `Session._attempt`: a call that succeeds at once meets no
tenacity, no task and no timer of its own. Everything that costs (repeats, a rejected token, a wait
for a token) lies on the path of a failure.

Errors are raised outside the `except` that caught what they tell of, so that nothing foreign, which
may hold a secret, hangs on as their context.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio loads it to resolve its first name
import encodings.idna  # noqa: F401 - the codec of the first name that is not an address
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import (
    APIError,
    AuthenticationError,
    ClientClosed,
    NotFound,
    PortSIPError,
    ReplyError,
    RequestTimeout,
)
from .call import Attempt, Call, CallOptions, Gate, Observer, Plan
from .connections import FOREIGN
from .endpoint import Endpoint
from .interrupts import CLOSED, EXPIRED, Scope, Timer
from .limits import Places
from .retry import Balance, Fault, may_repeat, repeat
from .tasks import NotCopyable
from .threads import Threads
from .tokens import Held, Token, TokenCache
from .tracebacks import core_entry
from .transport import HttpTimeouts, Transport
from .upload import Source
from .wire import Parameters, fault_of, scrub_error

T = TypeVar("T")
X = TypeVar("X")

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

logger: logging.Logger = logging.getLogger("portsip_async")
# A program that set up no logging is not written to; one that did gets all it asked for.
logger.addHandler(logging.NullHandler())

# Seconds that may have passed since a call was admitted for it to share a timer.
_SLACK: Final = 0.001
_PLANS_KEPT: Final = 256
_TIMERS_KEPT: Final = 64
# aiolimiter serves the smaller amount first: an admitted call, whose deadline runs, goes before
# those that wait to be admitted.
_ADMITTED: Final = 1 - 1e-6


class Session(NotCopyable):
    """The async core that all views of a client share.

    Attributes:
        options: the timeout and retry policy of calls that bring none of their own.
        tokens: the cache that the client sets up over `renew`.
        observer: what stands around calls and renewals; None: nothing.
        closed: whether `close` was called.
        base_url: what the paths of endpoints are appended to.
        clock: monotonic, in seconds.
        now: the time of day, in seconds since the epoch.
        sleep: pauses for so many seconds.
        threads: where uploads open and read their files.
    """

    def __init__(
        self,
        base_url: str,
        *,
        options: CallOptions,
        transport: Transport,
        max_connections: int = 64,
        requests_per_second: float | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Store the settings.

        Args:
            base_url: what the paths of endpoints are appended to.
            options: the client's timeout and retry policy.
            transport: sends requests.
            max_connections: calls in flight at once.
            requests_per_second: attempts, spaced evenly; None: unlimited.
            on_attempt: called after each attempt; an `Observer` stands around calls as well.
            clock: monotonic, in seconds.
            now: the time of day, in seconds since the epoch.
            sleep: pauses before a repeat.
            chance: a random number from 0 to 1.
        """
        self.base_url = base_url
        self.options = options
        self.tokens: TokenCache
        self.closed: bool = False
        self.clock = clock
        self.threads: Threads = Threads()
        self._transport = transport
        self._gate = Places(max_connections)
        self._rate = None if requests_per_second is None else _rate(requests_per_second)
        self._next_slot = -math.inf  # on the clock; the rate has none before
        self._on_attempt = on_attempt
        self.observer: Observer | None = on_attempt if isinstance(on_attempt, Observer) else None
        self.now = now
        self.sleep = sleep
        self._chance = chance
        self._balance = Balance(options.retry)
        self._plans: dict[Endpoint[Any], Plan] = {}
        self._timers: dict[float, Timer] = {}
        self._scopes: set[Scope] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Session of {self.base_url}, {len(self._scopes)} calls in flight>"

    def check_open(self) -> None:
        """Raise ClientClosed once the client was closed."""
        if self.closed:
            raise ClientClosed("the client was closed")

    def start(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        """Make a task that ends with the client."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every call and task, and close the connections if they are our own."""
        self.closed = True
        current = asyncio.current_task()
        calling = [scope for scope in self._scopes if scope.task is not current]
        for scope in calling:
            scope.interrupt(CLOSED)
        try:
            await asyncio.sleep(0)  # a task that has not begun yet runs into `check_open` now
            others = self._tasks - {current}
            for task in others - {scope.task for scope in calling}:
                task.cancel()
            if others:
                await asyncio.wait(others)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await self._transport.close()

    def call(
        self,
        endpoint: Endpoint[T],
        parameters: Parameters,
        options: CallOptions | None = None,
        *,
        source: Source | None = None,
        gate: Gate | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Send one operation, with its place, token, limits and repeats, and answer its reply.

        Raises:
            PortSIPError: when awaited, as the errors' own texts tell.
            TypeError, ValueError: at the call; parameters that can't be sent.
        """
        call = Call(endpoint, parameters, options or self.options, self._plan(endpoint))
        if source is not None:
            call.source = source
        if gate is not None:
            call.gate = gate
        if self.observer is not None:
            return self.observer.call(endpoint, self.base_url, partial(self._run, call))
        return self._run(call)

    async def renew(
        self, endpoint: Endpoint[T], parameters: Parameters, token: str | None = None
    ) -> tuple[T, float]:
        """Send a login or a refresh in a lane of its own: no place, no rate, no budget.

        Returns:
            The reply, and when the attempt that brought it was sent, on the monotonic clock.
        """
        call = Call(endpoint, parameters, self.options, self._plan(endpoint))
        call.renews = True
        if token is not None:
            call.token = token
        del token  # from tracebacks that show locals
        if self.observer is not None:
            run = self.observer.call(endpoint, self.base_url, partial(self._run, call))
            return await run, call.started
        return await self._run(call), call.started

    async def renew_token(self) -> Token:
        """Renew the client's token now, and answer it."""
        self.check_open()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        scope = Scope()
        scope.enter(task)
        self._scopes.add(scope)
        try:
            return await self.tokens.renew()
        except asyncio.CancelledError:
            if not scope.took(CLOSED):
                raise
        finally:
            self._scopes.discard(scope)
            scope.settle(CLOSED)
        raise ClientClosed("the client was closed during the call")

    @core_entry
    async def _run(self, call: Call) -> Any:
        """Take a call from its admission to its end."""
        if self.closed:
            self.check_open()
        self._transport.open()  # another event loop is refused here, before anything waits in it
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        call.enter(task)
        self._scopes.add(call)
        placed = False
        failure: PortSIPError
        try:
            if not call.renews:
                if not self._gate.take():
                    await self._gate.acquire()
                placed = True
                self._balance.earn()
                if self._rate is not None:
                    # Who waits for the token takes no slot yet, lest all go at once after it.
                    self._set_deadline(call)
                    await self._token(call)
                    await self._slot(self._rate)
            self._set_deadline(call)
            try:
                return await self._passing(call)
            except PortSIPError as error:
                failure = error
            return await self._again(call, failure)
        except asyncio.CancelledError as error:
            if not call.took(CLOSED):
                error.__traceback__ = None  # as below
                raise
            if call.flying:
                call.failed(Fault.LOST)
            failure = ClientClosed("the client was closed during the call")
        except PortSIPError as error:
            failure = error
        finally:
            if placed:
                self._balance.settle()
                self._gate.release()
            self._scopes.discard(call)
            if call.cause is not None:
                call.settle(CLOSED)
        # The failure of a renewal keeps the name and the count of its own.
        if failure.operation is None:
            failure.operation = call.endpoint.name
            failure.attempts = call.number
        failure.may_have_acted = call.acted
        try:
            # The frames within tell a caller nothing; aiohttp's hold the token among their locals.
            raise failure.with_traceback(None)
        finally:
            del failure  # lest the error, whose traceback holds this frame, keeps itself

    async def _again(self, call: Call, failed: PortSIPError) -> Any:
        """Repeat a call that failed once, as far as its policy and its safety allow."""
        failure: PortSIPError | None
        try:
            return await self._try(call, failed)
        except PortSIPError as error:
            if not call.repeatable:
                raise
            failure = error

        async def attempt() -> Any:
            nonlocal failure
            if failure is not None:
                first, failure = failure, None
                raise first
            return await self._try(call, None)

        def spend() -> bool:
            # A refused connection is no load on the PBX, and renewals are alone in their lane.
            return call.renews or call.fault is Fault.UNSENT or self._balance.spend()

        return await repeat(
            attempt,
            policy=call.options.retry,
            repeatable=lambda: call.repeatable,
            spend=spend,
            remaining=lambda: 0.0 if self._slotless(call) else self._remaining(call),
            sleep=self.sleep,
            chance=self._chance,
        )

    async def _try(self, call: Call, error: PortSIPError | None) -> Any:
        """Attempt, and once more if the token was rejected; a removal that hit nothing is done.

        Args:
            call: the call.
            error: how it failed already, where it was attempted before.
        """
        if error is None:
            try:
                return await self._passing(call)
            except PortSIPError as failed:
                error = failed
        # A token that was there already when another was rejected may have died with it, as when
        # the PBX forgets them all; so only the rejection of one fetched since then is final.
        for _ in range(2):
            held = call.held
            rejected = isinstance(error, AuthenticationError) and error.token_rejected
            if not rejected or held is None:
                break
            newest = self.tokens.generation
            self.tokens.reject(held)
            if call.source is not None and not call.source.replayable:
                raise _told_not_replayable(error)
            try:
                return await self._passing(call)
            except PortSIPError as failed:
                error = failed
            if call.held is not None and call.held.generation > newest:
                break
        # Where a renewal failed, nothing was sent, and its NotFound is not about what is removed.
        fault = call.fault
        gone = isinstance(error, NotFound) and not error.is_page
        if fault and call.endpoint.removes and call.acted and gone:
            return None
        repeatable = fault is not None and may_repeat(fault, call.endpoint.safety)
        if repeatable and call.source is not None and not call.source.replayable:
            raise _told_not_replayable(error)
        raise error

    def _passing(self, call: Call) -> Coroutine[Any, Any, Any]:
        """Attempt, with the call's source open, or through its gate, if it has one."""
        if call.source is not None:
            return self._opened(call, call.source)
        return self._attempt(call) if call.gate is None else self._gated(call, call.gate)

    async def _opened(self, call: Call, source: Source) -> Any:
        await source.open()
        try:
            return await self._attempt(call)
        finally:
            await source.close()

    async def _gated(self, call: Call, gate: Gate) -> Any:
        ticket = gate.admit()
        if ticket is None:
            ticket = await self._within(call, gate.enter())
        error: PortSIPError | None = None
        try:
            return await self._attempt(call)
        except PortSIPError as failed:
            error = failed
            raise
        finally:
            gate.leave(ticket, error, repeated=call.number > 1)

    async def _attempt(self, call: Call) -> Any:
        """Send once, and judge what comes back."""
        if self.closed:
            self.check_open()
        held = self.tokens.current() if call.token is None else None
        if call.number or (call.token is None and held is None):
            call.fault = None
            held = await self._made_ready(call)
            self._transport.open()  # the application may have closed its session meanwhile
            if call.held is not None and call.held is not held:
                call.former += (call.held.token.access_token,)
        call.held = held
        call.started = self.clock()
        timer = self._timer(call)
        # No local of a frame that awaits holds a token: tracebacks may show locals.
        request = call.draft.request(
            held.token.access_token if held is not None else call.token or ""
        )
        call.number += 1
        call.flying = True
        status: int | None = None
        value: Any = None
        failure: Exception | None = None
        response: Any = None
        http = call.options.http
        if timer is not None:
            timer.start(call)
            if timer is not call.options.timer:
                # Less is left than an attempt may take, so connecting must be told of sooner too.
                http = HttpTimeouts(replace(call.options.timeout, total=timer.seconds))
        try:
            response = await self._transport.send(
                call.plan.route, request, http, call.draft.fields, call.source
            )
            reply = self._transport.received(response)
            if reply is None:
                reply = await self._transport.receive(response)
            status = reply.status
            value = call.plan.judge.read(reply, self.now, call.parameters)
        except asyncio.CancelledError:
            if not call.took(EXPIRED):
                raise
            call.failed(Fault.LOST)
            failure = RequestTimeout("no whole reply in time")
        except PortSIPError as error:
            call.failed(fault_of(error))
            failure = error
            if isinstance(error, ReplyError):
                self._transport.drop(response)
        except FOREIGN as error:
            failure = self._translated(call, error)
            self._transport.drop(response)
        finally:
            response = None  # as above: its repr shows the URL
            if timer is not None:
                timer.stop(call)
                if timer is not call.options.timer:
                    timer.cancel()
        call.flying = False
        if isinstance(failure, APIError):
            failure = scrub_error(failure, call.secrets())
        if self._on_attempt is not None or logger.isEnabledFor(logging.DEBUG):
            self._tell(call, status, failure)
        if failure is not None:
            if isinstance(failure, RequestTimeout):
                self._transport.silent()
            raise failure
        return value

    def _translated(self, call: Call, error: Exception) -> Exception:
        """Tell a foreign error as ours, or as the one that the caller's upload raised."""
        if call.source is not None and call.source.error is not None:
            return call.source.error.with_traceback(call.source.trace)
        failure, fault = self._transport.translate(error, call.secrets())
        call.failed(fault)
        return failure

    def _tell(self, call: Call, status: int | None, failure: Exception | None) -> None:
        """Log an attempt that ended, and pass it to the caller's hook."""
        name, number = call.endpoint.name, call.number
        seconds = self.clock() - call.started
        logger.debug(
            "%s attempt=%d status=%s error=%s ms=%.1f",
            name,
            number,
            "-" if status is None else status,
            "-" if failure is None else type(failure).__name__,
            seconds * 1000,
        )
        if self._on_attempt is not None:
            error = failure if isinstance(failure, PortSIPError) else None
            if error is not None:
                error.operation, error.attempts = name, number
                error.may_have_acted = call.acted
            try:
                self._on_attempt(Attempt(name, number, status, error, seconds))
            except Exception:
                logger.exception("on_attempt raised")

    async def _made_ready(self, call: Call) -> Held | None:
        """Wait for the token and, before a repeat, for a slot; answer the token after both."""
        held = await self._token(call)
        if self._rate is None or call.renews:
            return held
        if self._slotless(call):
            raise RequestTimeout("the rate has no slot before the deadline")
        await self._within(call, self._slot(self._rate, _ADMITTED))
        return await self._token(call)

    async def _token(self, call: Call) -> Held | None:
        if call.token is not None:
            return None
        return self.tokens.current() or await self._within(call, self.tokens.wait())

    async def _slot(self, rate: "AsyncLimiter", amount: float = 1) -> None:
        """Wait for the next slot of the rate."""
        await rate.acquire(amount)
        self._next_slot = self.clock() + rate.time_period

    def _slotless(self, call: Call) -> bool:
        """Tell whether the rate has no further slot before the call's deadline."""
        if self._rate is None or call.renews or call.deadline is None:
            return False
        return self._next_slot >= call.deadline

    def _set_deadline(self, call: Call) -> None:
        deadline = call.options.retry.deadline
        if deadline is not None and call.source is None:
            call.deadline = self.clock() + deadline

    def _remaining(self, call: Call) -> float:
        return math.inf if call.deadline is None else call.deadline - self.clock()

    async def _within(self, call: Call, waiting: Coroutine[Any, Any, X]) -> X:
        """Wait no longer than the call's deadline."""
        if call.deadline is None:
            return await waiting
        bound = asyncio.timeout(max(0.0, self._remaining(call)))
        try:
            async with bound:
                return await waiting
        except TimeoutError as error:
            if not bound.expired() or isinstance(error, PortSIPError):
                raise
        raise RequestTimeout("the deadline passed before the request could be sent")

    def _timer(self, call: Call) -> Timer | None:
        """Choose what bounds an attempt: the shared timer, or what the deadline leaves."""
        patience = call.options.patience
        if patience is None or call.source is not None:
            return None
        remaining = math.inf if call.deadline is None else call.deadline - call.started
        timer = call.options.timer
        if remaining > patience - _SLACK:
            if timer is None:
                timer = call.options.timer = self._shared_timer(patience)
            return timer
        if remaining <= 0:
            raise RequestTimeout("the deadline passed before the request could be sent")
        return Timer(min(remaining, patience), asyncio.get_running_loop())

    def _shared_timer(self, seconds: float) -> Timer:
        """Answer the timer of all calls of all views that run under as many seconds."""
        timer = self._timers.get(seconds)
        if timer is None:
            if len(self._timers) >= _TIMERS_KEPT:
                self._timers = {each: kept for each, kept in self._timers.items() if kept.busy}
            timer = self._timers[seconds] = Timer(seconds, asyncio.get_running_loop())
        return timer

    def _plan(self, endpoint: Endpoint[Any]) -> Plan:
        plan = self._plans.get(endpoint)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            plan = self._plans[endpoint] = Plan(self.base_url, endpoint)
        return plan


def _rate(requests_per_second: float) -> "AsyncLimiter":
    from aiolimiter import AsyncLimiter  # loaded only where a rate is asked for

    return AsyncLimiter(1, 1 / requests_per_second)


def _told_not_replayable(error: PortSIPError) -> PortSIPError:
    """Say that the upload ends here because its source can't be read again."""
    error.args = (f"{error.args[0]}; not sent again: the upload's bytes can be read only once",)
    return error
