"""One call, from its admission to its result.

    run                         waits for the semaphore; raises a PortSIPError if the call fails
      _run_in_slot              waits for the rate, makes the first attempt
        _dispatch               opens the upload or passes the gate, if there is one
          _attempt              token, request, send, receive, parse: once
        _retry                  only after a failure: repeats with backoff
          _attempt_with_reauth  an attempt, and another one if the PBX rejected the token

A call that succeeds at once uses no tenacity, no extra task and no timer of its own.

Python links an exception that is raised in an ``except`` block to the one that was caught. So
errors are kept in a variable and raised after the block.
"""

import asyncio
import logging
import math
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

from ..errors import (
    APIError,
    AuthenticationError,
    ClientClosed,
    NotFound,
    PortSIPError,
    ReplyError,
    RequestTimeout,
)
from .connections import FOREIGN
from .context import CallContext, PreparedEndpoint
from .headers import naming_headers
from .hooks import AttemptStart, logger
from .limits import CLOSED, TIMED_OUT, Gate, Interruptible
from .message import Parameters
from .reply import scrub_error
from .request import RequestTemplate, secrets_of
from .retry import failure_of, repeat
from .safety import Failure, may_have_acted, may_repeat
from .token_types import CachedToken, Token, secrets_of_token
from .transport import CallOptions, HttpTimeouts
from .upload import Source

X = TypeVar("X")

# For operations without a token.
_NO_TOKEN: Final = Token("")
_NOT_SENT: Final = "the deadline passed before the request could be sent"
_NOT_REPLAYABLE: Final = "not sent again: the upload's bytes can be read only once"


class Call(Interruptible):
    """One call. Defaults are class attributes, so a call sets only what changes.

    Attributes:
        attempts: how many requests were sent.
        sent_at: when the latest attempt was sent, on the monotonic clock.
    """

    attempts: int = 0
    sent_at: float = 0.0

    # On the monotonic clock; None: unlimited.
    _deadline: float | None = None
    # The token of the latest attempt, and those of earlier ones, to hide in error texts.
    _sent_token: CachedToken | None = None
    _former_tokens: tuple[str, ...] = ()
    # How the latest attempt failed; None if none was sent.
    _failure: Failure | None = None
    # Whether the latest attempt was sent and has not ended yet.
    _in_flight: bool = False
    # Whether any attempt may have carried out a write.
    _may_have_acted: bool = False

    def __init__(
        self,
        context: CallContext,
        prepared: PreparedEndpoint,
        parameters: Parameters,
        options: CallOptions,
        *,
        source: Source | None = None,
        gate: Gate | None = None,
        token: Token | None = None,
        is_login: bool = False,
    ) -> None:
        """Store what the call needs, and encode its parameters; `run` makes the call.

        Raises:
            TypeError, ValueError: parameters that can't be sent.
        """
        self._context = context
        self._prepared = prepared
        self._endpoint = prepared.endpoint
        self._parameters = parameters
        self._options = options
        self._template = RequestTemplate(prepared.endpoint, parameters)
        # The source of an upload.
        self._source = source
        # An additional limit on attempts, such as a poll's.
        self._gate = gate
        # A login or a refresh bypasses the semaphore, the rate and the retry budget.
        self._is_login = is_login
        # A token to send instead of the client's own: the one to refresh or to end, or none.
        self._fixed_token = token or (_NO_TOKEN if prepared.endpoint.token == "none" else None)

    def __repr__(self) -> str:
        return f"<call of {self._endpoint.name}, attempt {self.attempts}>"

    async def run(self) -> Any:
        """Make the call and return the value of its reply.

        Raises:
            PortSIPError: the call failed for good.
        """
        context = self._context
        context.check_open()
        context.transport.open()  # refuses another event loop before anything waits in this one
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        self.enter(task)
        context.calls[self] = None
        if not context.stalls.is_running:
            context.stalls.start()
        error: PortSIPError
        try:
            if self._is_login:
                return await self._run_in_slot()
            await context.semaphore.acquire()
            context.bucket.begin_call()
            try:
                return await self._run_in_slot()
            finally:
                context.bucket.end_call()
                context.semaphore.release()
        except asyncio.CancelledError as cancelled:
            if not self.caught(CLOSED):
                cancelled.__traceback__ = None  # as below
                raise
            if self._in_flight:
                self._note(Failure.LOST)
            error = ClientClosed("the client was closed during the call")
        except PortSIPError as failed:
            error = failed
        finally:
            context.calls.pop(self, None)
            if self.cause is not None:
                self.revoke(CLOSED)
        # The error of a failed login keeps its own operation and number of attempts.
        if error.operation is None:
            error.operation = self._endpoint.name
            error.attempts = self.attempts
        error.may_have_acted = self._may_have_acted
        try:
            # The inner frames mean nothing to a caller, and aiohttp's have the token as a local.
            raise error.with_traceback(None)
        finally:
            del error  # breaks a reference cycle: its traceback holds this frame

    async def _run_in_slot(self) -> Any:
        """Make the first attempt, and repeat it if it fails and may be repeated."""
        rate = self._context.rate
        self._start_deadline()
        if rate is not None and not self._is_login:
            # The token comes first. Otherwise all calls that have a slot and wait for the same
            # token would be sent at once when it arrives.
            await self._token()
            await rate.wait(has_priority=False)
            self._start_deadline()  # again: the time in the queue does not count
        error: PortSIPError
        try:
            return await self._dispatch()
        except PortSIPError as failed:
            error = failed
        return await self._retry(error)

    def _start_deadline(self) -> None:
        deadline = self._options.retry.deadline
        if deadline is not None and self._source is None:
            self._deadline = self._context.clock.monotonic() + deadline

    def _dispatch(self) -> Coroutine[Any, Any, Any]:
        """Make one attempt; open an upload's source for it, or pass the gate if there is one."""
        if self._source is not None:
            return self._attempt_upload(self._source)
        return self._attempt() if self._gate is None else self._attempt_through(self._gate)

    async def _attempt_upload(self, source: Source) -> Any:
        await source.open()
        try:
            return await self._attempt()
        finally:
            await source.close()

    async def _attempt_through(self, gate: Gate) -> Any:
        ticket = gate.admit()
        if ticket is None:
            ticket = await self._before_deadline(gate.enter())
        error: PortSIPError | None = None
        try:
            return await self._attempt()
        except PortSIPError as failed:
            error = failed
            raise
        finally:
            gate.leave(ticket, error, repeated=self.attempts > 1)

    async def _attempt(self) -> Any:
        """Send the request once, and parse the reply."""
        context, options = self._context, self._options
        context.check_open()

        # 1. Get the token. The first attempt uses the cached one at once; others may have to wait.
        cached = context.tokens.current() if self._fixed_token is None else None
        if self.attempts or (self._fixed_token is None and cached is None):
            self._failure = None
            cached = await self._wait_for_token_and_rate()
            context.transport.open()  # the application may have closed its session meanwhile
        if self._sent_token is not None and self._sent_token is not cached:
            self._former_tokens += (*secrets_of_token(self._sent_token.token),)
        self._sent_token = cached

        # 2. Build the request. Tracebacks may show local variables, so no local of a frame that
        # awaits holds a token.
        self.sent_at = context.clock.monotonic()
        timer = None
        if self._source is None and options.attempt_seconds is not None:
            left = self._seconds_left(self.sent_at)
            if left <= 0:
                raise self._deadline_passed()
            timer = context.timer(options.attempt_seconds, left)
        token = cached.token if cached is not None else self._fixed_token or _NO_TOKEN
        request = self._template.request(token.access_token)
        if context.hooks.before is not None:
            start = AttemptStart(self._endpoint.name, self.attempts + 1)
            request.headers = context.hooks.extra_headers(start, request.headers)
        http = options.http
        if timer is not None:
            timer.start(self)
            if timer.seconds != options.attempt_seconds:
                # The deadline is close, so connecting must time out sooner too.
                http = HttpTimeouts(replace(options.timeout, total=timer.seconds))

        # 3. Send it and read the reply. Any failure becomes an error of ours without secrets.
        self.attempts += 1
        self._in_flight = True
        status: int | None = None
        value: Any = None
        error: Exception | None = None
        response: Any = None
        try:
            response = await context.transport.send(
                self._prepared.route, request, http, self._template.form, self._source
            )
            reply = await context.transport.receive(response)
            status = reply.status
            value = self._prepared.parser.parse(reply, context.clock.now, self._parameters)
        except asyncio.CancelledError:
            if not self.caught(TIMED_OUT):
                raise
            self._note(Failure.LOST)
            assert timer is not None  # noqa: S101 - only a timer interrupts with TIMED_OUT
            text = f"no complete reply came within {timer.seconds:.3g} s"
            error = RequestTimeout(context.stalls.explain(text, self.sent_at))
        except PortSIPError as failed:
            self._note(failure_of(failed))
            error = failed
            if isinstance(failed, ReplyError):
                context.transport.drop(response)
        except FOREIGN as foreign:
            error = self._translate(foreign)
            context.transport.drop(response)
        finally:
            if response is not None and isinstance(error, PortSIPError):
                error.headers = naming_headers(response.headers, self._secrets())
            response = None  # its repr shows the URL
            if timer is not None:
                timer.stop(self)
                if timer.seconds != options.attempt_seconds:
                    timer.cancel()  # it is not shared
        self._in_flight = False

        # 4. Report the outcome to the log, to the hook and to the caller.
        if isinstance(error, APIError):
            error = scrub_error(error, self._secrets())
        if context.hooks.after is not None or logger.isEnabledFor(logging.DEBUG):
            seconds = context.clock.monotonic() - self.sent_at
            if isinstance(error, PortSIPError):
                error.operation, error.attempts = self._endpoint.name, self.attempts
                error.may_have_acted = self._may_have_acted
            context.hooks.report(self._endpoint.name, self.attempts, status, error, seconds)
        if error is None:
            return value
        if isinstance(error, RequestTimeout):
            context.transport.retire_idle()
        raise error

    async def _wait_for_token_and_rate(self) -> CachedToken | None:
        """Wait for the token and for a slot of the rate, then return the current token."""
        cached = await self._token()
        rate = self._context.rate
        if rate is None or self._is_login:
            return cached
        if self._no_slot_before_deadline():
            raise self._deadline_passed("requests_per_second has no slot before the deadline")
        await self._before_deadline(rate.wait(has_priority=True))
        return await self._token()

    async def _token(self) -> CachedToken | None:
        if self._fixed_token is not None:
            return None
        tokens = self._context.tokens
        return tokens.current() or await self._before_deadline(tokens.wait())

    def _translate(self, foreign: Exception) -> Exception:
        """Translate another library's error, or return what the upload's source raised."""
        if self._source is not None and self._source.error is not None:
            return self._source.error.with_traceback(self._source.trace)
        error, failure = self._context.transport.translate(foreign, self._secrets())
        if isinstance(foreign, TimeoutError):
            text = self._context.stalls.explain(str(error), self.sent_at)
            error = error.copy(message=text)
        self._note(failure)
        return error

    def _note(self, failure: Failure) -> None:
        """Record how the latest attempt failed."""
        self._failure = failure
        if may_have_acted(failure, self._endpoint.safety):
            self._may_have_acted = True

    def _secrets(self) -> list[str]:
        """Return the secrets of this call, which no text may show."""
        cached = self._sent_token
        token = cached.token if cached is not None else self._fixed_token
        sent = [*self._former_tokens, *secrets_of_token(token)]
        return [*sent, *secrets_of(self._parameters, None, self._endpoint.secrets)]

    async def _retry(self, error: PortSIPError) -> Any:
        """Repeat a call after its first failure, if its policy and its safety allow it."""
        failed: PortSIPError | None
        try:
            return await self._attempt_with_reauth(error)
        except PortSIPError as latest:
            if not self._may_repeat():
                raise
            failed = latest

        async def attempt() -> Any:
            nonlocal failed
            if failed is not None:  # tenacity's first attempt is the one that was just made
                first, failed = failed, None
                raise first
            return await self._attempt_with_reauth(None)

        def spend() -> bool:
            # A refused connection puts no load on the PBX, and the token cache limits logins.
            free = self._is_login or self._failure is Failure.NOT_SENT
            return free or self._context.bucket.spend()

        return await repeat(
            attempt,
            policy=self._options.retry,
            may_repeat=self._may_repeat,
            spend=spend,
            seconds_left=lambda: 0.0 if self._no_slot_before_deadline() else self._seconds_left(),
            sleep=self._context.clock.sleep,
            random=self._context.clock.random,
        )

    async def _attempt_with_reauth(self, error: PortSIPError | None) -> Any:
        """Make an attempt, and make it again with a new token if the PBX rejected the token.

        Args:
            error: the error of the attempt if it was made already; None makes it here.
        """
        if error is None:
            try:
                return await self._dispatch()
            except PortSIPError as failed:
                error = failed
        # The PBX may forget all tokens, even one that was fetched since this attempt was sent. So a
        # rejection is final only if the rejected token is newer than the first rejection. A token
        # from a store is no newer: another process got it, at a time that nobody knows.
        for _ in range(2):
            cached = self._sent_token
            rejected = isinstance(error, AuthenticationError) and error.token_rejected
            if not rejected or cached is None:
                break
            newest = self._context.tokens.generation
            self._context.tokens.reject(cached)
            self._check_replayable(error)
            try:
                return await self._dispatch()
            except PortSIPError as failed:
                error = failed
            sent = self._sent_token
            if sent is not None and sent.generation > newest and not sent.shared:
                break
        # If an earlier attempt may have acted, "not found" means that the item was removed. Without
        # a `_failure` nothing was sent, because there was no token: the NotFound is the login's.
        missing = isinstance(error, NotFound) and not error.is_page
        if self._failure and self._endpoint.removes and self._may_have_acted and missing:
            return None
        if self._failure is not None and may_repeat(self._failure, self._endpoint.safety):
            self._check_replayable(error)
        raise error

    def _check_replayable(self, error: PortSIPError) -> None:
        """Raise the error, with a remark, if the upload's bytes can't be read again."""
        if self._source is not None and not self._source.replayable:
            raise error.with_remark(_NOT_REPLAYABLE)

    def _may_repeat(self) -> bool:
        if self._failure is None or not may_repeat(self._failure, self._endpoint.safety):
            return False
        return self._source is None or self._source.replayable

    def _no_slot_before_deadline(self) -> bool:
        """Return whether the rate's next slot is after the call's deadline."""
        rate = self._context.rate
        if rate is None or self._is_login or self._deadline is None:
            return False
        return rate.next_slot >= self._deadline

    def _seconds_left(self, now: float | None = None) -> float:
        if self._deadline is None:
            return math.inf
        return self._deadline - (self._context.clock.monotonic() if now is None else now)

    async def _before_deadline(self, waiting: Coroutine[Any, Any, X]) -> X:
        """Wait, at most until the call's deadline."""
        if self._deadline is None:
            return await waiting
        timeout = asyncio.timeout(max(0.0, self._seconds_left()))
        try:
            async with timeout:
                return await waiting
        except TimeoutError as error:
            if not timeout.expired() or isinstance(error, PortSIPError):
                raise
        raise self._deadline_passed()

    def _deadline_passed(self, text: str = _NOT_SENT) -> RequestTimeout:
        """Build the error of a call that ran out of time before it could be sent."""
        since = (self._deadline or 0.0) - (self._options.retry.deadline or 0.0)
        return RequestTimeout(self._context.stalls.explain(text, since))
