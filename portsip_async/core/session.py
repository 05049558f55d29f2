"""One call's way through the core: place, token, request, judgement, repeats.

The hot path is `Session._run` and `Session._attempt`: a call that succeeds at once meets no
tenacity, no task and no timer of its own. Everything that costs (repeats, a rejected token, a wait
for a token) lies on the path of a failure.

This is the one file that knows aiohttp. aiohttp repeats a GET by itself where the peer hangs up,
and several of its exceptions hold the URL, thus the token: every one of them is translated here,
scrubbed, and raised outside the `except` that caught it, so that it does not hang on as context.
"""

import asyncio
import logging
import math
import os
import random
import ssl as tls
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from typing import Any, Final, TypeAlias, TypeVar

import aiohttp
from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter
from aiolimiter import AsyncLimiter
from yarl import URL

from .._version import __version__
from ..errors import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    NotFound,
    PortSIPError,
    ReplyError,
    RequestTimeout,
    TransportError,
)
from ..record import Record
from ..redact import scrub_text
from .endpoint import Endpoint
from .retry import Balance, Fault, RetryPolicy, may_have_acted, may_repeat, repeat
from .scopes import CLOSED, EXPIRED, Scope, Timer
from .tokens import Held, Token, TokenCache
from .upload import Source
from .wire import (
    Draft,
    Judge,
    Parameters,
    QueryValue,
    Reply,
    Request,
    fault_of,
    scrub_error,
    secrets_of,
)

T = TypeVar("T")
X = TypeVar("X")

logger = logging.getLogger("portsip_async")

SSL: TypeAlias = tls.SSLContext | aiohttp.Fingerprint | str | os.PathLike[str] | bool | None

# A connection that is not made in this part of `total` is told as such, before `total` strikes.
_CONNECT_PART: Final = 0.95
# aiohttp rounds times above this up to whole seconds; ours are meant as given.
_NEVER_ROUND: Final = math.inf
# Seconds that may have passed since a call was admitted for it to share a timer.
_SLACK: Final = 0.001
_METHODS_REPEATED_BY_AIOHTTP: Final = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}
)
_PLANS_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long an attempt may take, in seconds; None: unlimited.

    Attributes:
        total: the whole attempt, from the sending to the last byte; does not bound an upload.
        connect: the making of a connection.
        read: the silence between bytes of the reply.

    Raises:
        ValueError: a time of 0 or less, or an endless one.
    """

    total: float | None = 15.0
    connect: float | None = 5.0
    read: float | None = 15.0

    def __post_init__(self) -> None:
        for seconds in (self.total, self.connect, self.read):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError("Timeout: seconds, more than 0, or None")


class Attempt(Record, frozen=True):
    """One attempt that ended.

    Attributes:
        operation: the endpoint's name.
        number: 1 for a call's first attempt.
        status: the HTTP status; None where no reply arrived.
        error: why it failed; None where it succeeded.
        seconds: how long it took.
    """

    operation: str
    number: int
    status: int | None
    error: PortSIPError | None
    seconds: float


class ForeignError(Exception):
    """Stands in for another library's exception: its type's name and its text, without secrets."""


class _HungUp(aiohttp.ClientError):
    """Carries what aiohttp would take for a reason to repeat a request past it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _TooLarge(aiohttp.ClientError):
    """A reply goes beyond the client's limit, and was not read to its end."""


class CallOptions:
    """The timeout and the retry policy of a client or of a view of it, ready for use."""

    __slots__ = ("http", "patience", "retry", "timeout", "timer", "upload")

    def __init__(self, timeout: Timeout, retry: RetryPolicy) -> None:
        self.timeout = timeout
        self.retry = retry
        total, connect, read = timeout.total, timeout.connect, timeout.read
        self.upload = _client_timeout(connect, read)
        if total is not None:
            connect = min(connect or total, total * _CONNECT_PART)
            # Silence that outlasts the whole attempt needs no timer of its own.
            read = None if read is None or read >= total else read
        self.http = _client_timeout(connect, read)
        limits = [limit for limit in (total, retry.deadline) if limit is not None]
        self.patience = min(limits) if limits else None
        self.timer: Timer | None = None


def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_read=read, ceil_threshold=_NEVER_ROUND
    )


class _Plan:
    """What all calls of one endpoint share."""

    __slots__ = ("judge", "middlewares", "url")

    def __init__(self, base_url: str, endpoint: Endpoint[Any]) -> None:
        self.url = URL(f"{base_url}{endpoint.path}")
        self.judge: Judge[Any] = Judge(endpoint)
        repeated = endpoint.method in _METHODS_REPEATED_BY_AIOHTTP
        self.middlewares = (_once,) if repeated else ()


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending again when the peer hangs up: one attempt, one arrival."""
    try:
        return await handler(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        hung_up = _HungUp(error)
    raise hung_up


class _Call:
    """One call under way."""

    __slots__ = (
        "acted",
        "deadline",
        "draft",
        "endpoint",
        "fault",
        "flying",
        "held",
        "number",
        "options",
        "parameters",
        "plan",
        "renews",
        "scope",
        "source",
        "started",
        "token",
    )

    def __init__(
        self,
        endpoint: Endpoint[Any],
        parameters: Parameters,
        options: CallOptions,
        plan: _Plan,
        *,
        source: Source | None = None,
        token: str | None = None,
        renews: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.parameters = parameters
        self.options = options
        self.plan = plan
        self.source = source
        # Set where the call does not use the client's own token.
        self.token = "" if endpoint.token == "none" else token
        self.renews = renews
        self.draft = Draft(endpoint, parameters)
        self.scope: Scope
        self.held: Held | None = None
        self.number = 0
        self.deadline: float | None = None
        self.started = 0.0
        self.fault: Fault | None = None  # of the latest attempt; None where none was sent
        self.flying = False
        self.acted = False

    def __repr__(self) -> str:
        return f"<call of {self.endpoint.name}, attempt {self.number}>"

    @property
    def repeatable(self) -> bool:
        """Whether the latest attempt failed in a way that allows another."""
        if self.fault is None or not may_repeat(self.fault, self.endpoint.safety):
            return False
        return self.source is None or self.source.replayable

    def failed(self, fault: Fault) -> None:
        """Note what became of the latest attempt."""
        self.fault = fault
        self.acted = self.acted or may_have_acted(fault, self.endpoint.safety)

    def secrets(self) -> list[str]:
        """List what must not be told of this call."""
        token = self.held.token.access_token if self.held is not None else self.token
        return secrets_of(self.parameters, token)


class Session:
    """The async core that all views of a client share.

    Attributes:
        options: the timeout and retry policy of calls that bring none of their own.
        tokens: the cache that the client sets up over `renew`.
        closed: whether `close` was called.
        base_url: what the paths of endpoints are appended to.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        options: CallOptions,
        max_connections: int = 64,
        requests_per_second: float | None = None,
        max_reply_bytes: int = 16 * 1024 * 1024,
        session: aiohttp.ClientSession | None = None,
        ssl: SSL = None,
        proxy: str | None = None,
        user_agent: str | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Store the settings; the first call opens connections, in its loop.

        Args:
            base_url: up to and with ``/api``, without a trailing slash.
            options: the client's timeout and retry policy.
            max_connections: calls in flight at once.
            requests_per_second: attempts, spaced evenly; None: unlimited.
            max_reply_bytes: the longest reply that is read, after decompression.
            session: the application's own; None: one of ours, closed with the client.
            ssl: as the client takes it; None: certificates are checked.
            proxy: the URL of an HTTP proxy; None: none.
            user_agent: None: ours, or the application's session's own.
            on_attempt: called after each attempt.
            clock: monotonic, in seconds.
            now: the time of day, in seconds since the epoch.
            sleep: pauses before a repeat.
            chance: a random number from 0 to 1.
        """
        self.options = options
        self.tokens: TokenCache
        self.closed = False
        self.base_url = base_url
        self._gate = asyncio.Semaphore(max_connections)
        self._rate = (
            None if requests_per_second is None else AsyncLimiter(1, 1 / requests_per_second)
        )
        self._max_reply_bytes = max_reply_bytes
        self._ssl = ssl
        self._user_agent = user_agent
        self._owned = session is None
        self._http = session
        self._extra: dict[str, Any] = {} if proxy is None else {"proxy": proxy}
        self._headers: dict[str, str] = {}
        if session is not None and user_agent is not None:
            self._headers["User-Agent"] = user_agent
        self._on_attempt = on_attempt
        self.clock = clock
        self._now = now
        self._sleep = sleep
        self._chance = chance
        self._balance = Balance(options.retry)
        self._plans: dict[Endpoint[Any], _Plan] = {}
        self._scopes: set[Scope] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<Session of {self.base_url}, {len(self._scopes)} calls in flight>"

    def check(self) -> None:
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
        await asyncio.sleep(0)  # a task that has not begun yet runs into `check` now
        others = self._tasks - {current}
        for task in others - {scope.task for scope in calling}:
            task.cancel()
        if others:
            await asyncio.wait(others)
        if self.options.timer is not None:
            self.options.timer.cancel()
        if self._owned and self._http is not None:
            await self._http.close()

    def call(
        self,
        endpoint: Endpoint[T],
        parameters: Parameters,
        options: CallOptions | None = None,
        *,
        source: Source | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Send one operation, with its place, token, limits and repeats, and answer its reply.

        Raises:
            PortSIPError: when awaited, as the errors' own texts tell.
            TypeError, ValueError: at the call; parameters that can't be sent.
        """
        plan = self._plan(endpoint)
        return self._run(_Call(endpoint, parameters, options or self.options, plan, source=source))

    async def renew(
        self, endpoint: Endpoint[T], parameters: Parameters, token: str | None = None
    ) -> tuple[T, float]:
        """Send a login or a refresh in a lane of its own: no place, no rate, no budget.

        Returns:
            The reply, and when the attempt that brought it was sent, on the monotonic clock.
        """
        plan = self._plan(endpoint)
        call = _Call(endpoint, parameters, self.options, plan, token=token, renews=True)
        return await self._run(call), call.started

    async def renew_token(self) -> Token:
        """Renew the client's token now, and answer it."""
        self.check()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        scope = Scope(task)
        self._scopes.add(scope)
        try:
            return await self.tokens.renew()
        except asyncio.CancelledError:
            if not scope.took(CLOSED):
                raise
        finally:
            self._scopes.discard(scope)
        raise ClientClosed("the client was closed during the call")

    async def _run(self, call: _Call) -> Any:
        """Take a call from its admission to its end."""
        self.check()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        scope = call.scope = Scope(task)
        self._scopes.add(scope)
        failure: PortSIPError
        try:
            if call.renews:
                return await self._admitted(call)
            async with self._gate:
                if self._rate is not None:
                    await self._rate.acquire()
                self._balance.earn()
                return await self._admitted(call)
        except asyncio.CancelledError:
            if not scope.took(CLOSED):
                raise
            if call.flying:
                call.failed(Fault.LOST)
            failure = ClientClosed("the client was closed during the call")
        except PortSIPError as error:
            failure = error
        finally:
            self._scopes.discard(scope)
        # The failure of a renewal keeps the name and the count of its own.
        if failure.operation is None:
            failure.operation = call.endpoint.name
            failure.attempts = call.number
        failure.may_have_acted = call.acted
        raise failure

    async def _admitted(self, call: _Call) -> Any:
        """Try once; only where that fails, plan what comes after."""
        retry = call.options.retry
        if retry.deadline is not None and call.source is None:
            call.deadline = self.clock() + retry.deadline
        failure: PortSIPError | None
        try:
            return await self._attempt(call)
        except PortSIPError as error:
            failure = error

        async def attempt() -> Any:
            nonlocal failure
            first, failure = failure, None
            return await self._try(call, first)

        def spend() -> bool:
            # A refused connection is no load on the PBX, and renewals are alone in their lane.
            return call.renews or call.fault is Fault.UNSENT or self._balance.spend()

        return await repeat(
            attempt,
            policy=retry,
            repeatable=lambda: call.repeatable,
            spend=spend,
            remaining=lambda: self._remaining(call),
            sleep=self._sleep,
            chance=self._chance,
        )

    async def _try(self, call: _Call, error: PortSIPError | None) -> Any:
        """Attempt, and once more if the token was rejected; a removal that hit nothing is done.

        Args:
            call: the call.
            error: how it failed already, where it was attempted before.
        """
        if error is None:
            try:
                return await self._attempt(call)
            except PortSIPError as failed:
                error = failed
        held = call.held
        if isinstance(error, AuthenticationError) and error.token_rejected and held is not None:
            self.tokens.reject(held)
            if call.source is not None and not call.source.replayable:
                raise _told_not_replayable(error)
            try:
                return await self._attempt(call)
            except PortSIPError as failed:
                error = failed
        if call.endpoint.removes and call.acted and isinstance(error, NotFound):
            return None
        repeatable = call.fault is not None and may_repeat(call.fault, call.endpoint.safety)
        if repeatable and call.source is not None and not call.source.replayable:
            raise _told_not_replayable(error)
        raise error

    async def _attempt(self, call: _Call) -> Any:
        """Send once, and judge what comes back."""
        self.check()
        call.fault = None
        if call.number and self._rate is not None and not call.renews:
            await self._within(call, self._rate.acquire())
        # The token comes last, after every wait.
        token = call.token
        if token is None:
            held = self.tokens.current()
            if held is None:
                held = await self._within(call, self.tokens.wait())
            call.held = held
            token = held.token.access_token
        http = self._open()
        timer = self._timer(call)
        if call.source is not None:
            await call.source.open()
        request = call.draft.request(token)
        call.number += 1
        call.started = self.clock()
        call.flying = True
        status: int | None = None
        value: Any = None
        failure: Exception | None = None
        if timer is not None:
            timer.start(call.scope)
        try:
            response = await self._send(http, call, request)
            status = response.status
            reply = await self._read(response)
        except asyncio.CancelledError:
            if not call.scope.took(EXPIRED):
                raise
            call.failed(Fault.LOST)
            failure = RequestTimeout("no whole reply in time")
        except (aiohttp.ClientError, OSError) as error:
            failure = self._translate(call, error)
        else:
            try:
                value = call.plan.judge.read(reply, self._now)
            except PortSIPError as error:
                call.failed(fault_of(error))
                failure = error
        finally:
            if timer is not None:
                timer.stop(call.scope)
                if timer is not call.options.timer:
                    timer.cancel()
            if call.source is not None:
                await call.source.close()
        call.flying = False
        if isinstance(failure, APIError):
            failure = scrub_error(failure, call.secrets())
        self._tell(call, status, failure)
        if failure is not None:
            raise failure
        return value

    def _send(
        self, http: aiohttp.ClientSession, call: _Call, request: Request
    ) -> Awaitable[aiohttp.ClientResponse]:
        source = call.source
        headers = request.headers
        if self._headers:
            headers = {**(headers or {}), **self._headers}
        return http.request(
            call.endpoint.method,
            call.plan.url,
            params=request.query,
            data=request.body if source is None else _form(call.draft.fields, source),
            headers=headers,
            timeout=call.options.http if source is None else call.options.upload,
            middlewares=call.plan.middlewares,
            allow_redirects=False,
            auto_decompress=True,
            raise_for_status=False,
            **self._extra,
        )

    async def _read(self, response: aiohttp.ClientResponse) -> Reply:
        """Read a reply to its end, or to the limit."""
        limit, headers = self._max_reply_bytes, response.headers
        length = headers.get("Content-Length", "")
        try:
            if length.isdigit() and "Content-Encoding" not in headers:
                if int(length) > limit:
                    raise _TooLarge
                body = await response.read()
            else:
                # Only reading tells how long a compressed or chunked reply is.
                chunks: list[bytes] = []
                async for chunk in response.content.iter_any():
                    chunks.append(chunk)
                    limit -= len(chunk)
                    if limit < 0:
                        raise _TooLarge
                body = b"".join(chunks)
        except BaseException:
            response.close()
            raise
        return Reply(response.status, headers.get("Retry-After"), body)

    def _translate(self, call: _Call, error: Exception) -> Exception:
        """Tell a foreign error as ours, or as the one that the caller's upload raised."""
        source = call.source
        if source is not None and source.error is not None:
            return source.error
        if isinstance(error, _TooLarge):
            call.failed(Fault.UNREADABLE)
            return ReplyError(expected=f"at most {self._max_reply_bytes} bytes")
        failure, fault = _ours(error, call.secrets())
        call.failed(fault)
        return failure

    def _tell(self, call: _Call, status: int | None, failure: Exception | None) -> None:
        """Log an attempt that ended, and pass it to the caller's hook."""
        telling = logger.isEnabledFor(logging.DEBUG)
        if not telling and self._on_attempt is None:
            return
        name, number = call.endpoint.name, call.number
        seconds = self.clock() - call.started
        if telling:
            outcome = "-" if failure is None else type(failure).__name__
            milliseconds = seconds * 1000
            logger.debug(
                "%s attempt=%d status=%s error=%s ms=%.1f",
                name,
                number,
                status or "-",
                outcome,
                milliseconds,
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

    def _remaining(self, call: _Call) -> float:
        return math.inf if call.deadline is None else call.deadline - self.clock()

    async def _within(self, call: _Call, waiting: Coroutine[Any, Any, X]) -> X:
        """Wait no longer than the call's deadline."""
        if call.deadline is None:
            return await waiting
        try:
            async with asyncio.timeout(max(0.0, self._remaining(call))) as bound:
                return await waiting
        except TimeoutError as error:
            if not bound.expired() or isinstance(error, PortSIPError):
                raise
        raise RequestTimeout("the deadline passed before the request could be sent")

    def _timer(self, call: _Call) -> Timer | None:
        """Choose what bounds an attempt: the shared timer, or what the deadline leaves."""
        options = call.options
        if call.source is not None or options.patience is None:
            return None
        assert self._loop is not None  # noqa: S101 - _open came before
        remaining = self._remaining(call)
        if remaining > options.patience - _SLACK:
            if options.timer is None:
                options.timer = Timer(options.patience, self._loop)
            return options.timer
        if remaining <= 0:
            raise RequestTimeout("the deadline passed before the request could be sent")
        return Timer(remaining, self._loop)

    def _plan(self, endpoint: Endpoint[Any]) -> _Plan:
        plan = self._plans.get(endpoint)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            plan = self._plans[endpoint] = _Plan(self.base_url, endpoint)
        return plan

    def _open(self) -> aiohttp.ClientSession:
        """Take up the running loop, and make a session of our own where none was given."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError("the client belongs to the event loop of its first call")
            self._loop = loop
            ssl = _checked(self._ssl)
            if ssl is not True:
                self._extra["ssl"] = ssl
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # Calls wait for their place at our own gate, renewals at none.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._user_agent or f"portsip_async/{__version__}"},
            )
        elif self._http.closed:
            raise ClientClosed("the session that the client was given is closed")
        return self._http


def _checked(ssl: SSL) -> tls.SSLContext | aiohttp.Fingerprint | bool:
    """Turn what the client was given into how aiohttp checks a certificate."""
    if ssl is None:
        return True
    if not isinstance(ssl, str | os.PathLike):
        return ssl
    try:
        return tls.create_default_context(cafile=ssl)
    except OSError as error:
        reason = error.strerror or "no certificates in it"
    raise ConfigurationError(f"ssl: {os.fspath(ssl)}: {reason}")


def _told_not_replayable(error: PortSIPError) -> PortSIPError:
    """Say that the upload ends here because its source can't be read again."""
    error.args = (f"{error.args[0]}; not sent again: the upload's bytes can be read only once",)
    return error


class _Body(payload.Payload):
    """A source as a part of a form; unlike aiohttp's own, it leaves the caller's file open."""

    def __init__(self, source: Source, content_type: str) -> None:
        super().__init__(source, content_type=content_type)
        self._source = source
        self._size = source.size

    async def write(self, writer: AbstractStreamWriter) -> None:
        async for chunk in self._source.chunks():
            await writer.write(chunk)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("an upload is streamed")


def _form(fields: Mapping[str, QueryValue], source: Source) -> aiohttp.MultipartWriter:
    """Build a form with the fields, and the source as its part ``file``.

    File names go out as UTF-8. What would end a quoted name is percent-encoded, as browsers do.
    """
    form = aiohttp.MultipartWriter("form-data")
    for name, value in fields.items():
        part = payload.StringPayload(str(value))
        part.headers["Content-Disposition"] = f'form-data; name="{name}"'
        form.append_payload(part)
    filename = str(fields["filename"])
    body = _Body(source, guess_type(filename)[0] or "application/octet-stream")
    quoted = filename.translate(_QUOTED)
    body.headers["Content-Disposition"] = f'form-data; name="file"; filename="{quoted}"'
    form.append_payload(body)
    return form


_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\0": "%00"})


@dataclass(frozen=True, slots=True)
class _Translation:
    """How a foreign error is told: the first row that fits counts."""

    foreign: tuple[type[Exception], ...]
    ours: type[PortSIPError]
    fault: Fault
    text: str


_TRANSLATIONS = (
    _Translation(
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ConnectError,
        Fault.DISTRUSTED,
        "the PBX's certificate was refused; see the client's ssl= argument",
    ),
    _Translation(
        (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
        ),
        ConnectError,
        Fault.UNSENT,
        "no connection was made",
    ),
    _Translation((TimeoutError,), RequestTimeout, Fault.LOST, "the PBX fell silent"),
    _Translation(
        (aiohttp.ClientResponseError,), ReplyError, Fault.UNREADABLE, "the reply is no valid HTTP"
    ),
    _Translation((Exception,), TransportError, Fault.LOST, "the connection broke"),
)


def _ours(error: Exception, secrets: list[str]) -> tuple[PortSIPError, Fault]:
    """Translate a foreign error, with a stand-in that holds no secret as its cause."""
    if isinstance(error, _HungUp):
        error = error.error
    row = next(row for row in _TRANSLATIONS if isinstance(error, row.foreign))
    text = scrub_text(str(error), secrets)
    failure = row.ours(f"{row.text} ({type(error).__name__}{': ' if text else ''}{text})")
    if isinstance(failure, ConnectError):
        failure.refused_certificate = row.fault is Fault.DISTRUSTED
    failure.__cause__ = _stand_in(type(error).__name__)(text)
    return failure, row.fault


@lru_cache(maxsize=64)
def _stand_in(name: str) -> type[ForeignError]:
    return type(name, (ForeignError,), {"__module__": ForeignError.__module__})
