"""The core of a client: opens and closes, owns the background tasks, and starts calls."""

import asyncio

# Loaded early: later there may be no file descriptor left to load them with.
import concurrent.futures.thread  # noqa: F401 - asyncio imports it to resolve its first host name
import encodings.idna  # noqa: F401 - the codec of the first host name that is not an address
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar

from ..errors import ClientClosed, ErrorScheme
from .call import Call
from .context import CallContext, PreparedEndpoint
from .endpoint import Endpoint
from .handshake import Handshake
from .hooks import AfterAttempt, BeforeAttempt, Hooks
from .limits import CLOSED, Clock, Gate, Interruptible, RequestRate
from .message import Parameters
from .observer import Observer
from .retry import RetryBucket
from .shared_account import SharedAccount
from .tasks import NotCopyable
from .threads import Threads
from .token_sharing import SharedTokenCache
from .token_types import Token, TokenSource
from .tokens import TokenCache
from .transport import CallOptions, Transport
from .unclosed import UnclosedWarning
from .upload import Source
from .web_socket import WebSocket

T = TypeVar("T")

_PREPARED_KEPT: Final = 256


class Session(NotCopyable):
    """The core of a client, which all its views share.

    Attributes:
        base_url: what the paths of endpoints are appended to.
        options: the timeout and retry policy of the client itself.
        clock: the time, for everything that waits.
        tokens: the client's token.
        threads: the threads in which uploads open and read their files.
        rate: spaces the requests; None: no limit.
    """

    def __init__(
        self,
        base_url: str,
        *,
        options: CallOptions,
        transport: Transport,
        token_source: "Callable[[Session], TokenSource]",
        errors: ErrorScheme,
        max_connections: int = 64,
        requests_per_second: float | None = None,
        on_attempt: AfterAttempt | None = None,
        before_attempt: BeforeAttempt | None = None,
        client: str = "a client",
        shared: SharedAccount | None = None,
    ) -> None:
        """Store the settings; nothing is opened or sent.

        Args:
            base_url: what the paths of endpoints are appended to.
            options: the client's timeout and retry policy.
            transport: sends requests.
            token_source: builds the source of tokens, which sends over this session.
            errors: what the API's codes and statuses mean.
            max_connections: calls in flight at once.
            requests_per_second: requests, spaced evenly; None: unlimited.
            on_attempt: called after each attempt. An `Observer` wraps whole calls as well.
            before_attempt: called before each attempt; returns headers to add to its request.
            client: the client's class and address, and where it was created, for a warning.
            shared: where the token is shared with other processes; None: nowhere.
        """
        self.base_url: str = base_url
        self.options: CallOptions = options
        self.clock: Clock = Clock()
        self.threads: Threads = Threads()
        self._observer = on_attempt if isinstance(on_attempt, Observer) else None
        self._transport = transport
        self._errors = errors
        cache = TokenCache if shared is None else partial(SharedTokenCache, account=shared)
        self.tokens: TokenCache = cache(
            token_source(self),
            owner=self,
            clock=self.clock,
            observe=None if self._observer is None else self._observer.renewal,
        )
        rate = requests_per_second
        self.rate: RequestRate | None = None if rate is None else RequestRate(rate, self.clock)
        self._context = CallContext(
            transport=transport,
            tokens=self.tokens,
            max_connections=max_connections,
            rate=self.rate,
            bucket=RetryBucket(options.retry),
            hooks=Hooks(before_attempt, on_attempt),
            clock=self.clock,
        )
        transport.unclosed = UnclosedWarning(self, client)
        self._prepared: dict[Endpoint[Any], PreparedEndpoint] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clean_ups: set[asyncio.Task[Any]] = set()
        self._web_sockets: set[WebSocket] = set()

    def __repr__(self) -> str:
        return f"<Session of {self.base_url}, {len(self._context.calls)} calls in flight>"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._context.closed

    def check_open(self) -> None:
        """Check that the client was not closed.

        Raises:
            ClientClosed: it was.
        """
        self._context.check_open()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a background task that `close` cancels."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start_clean_up(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a background task that `close` waits for; it must limit its own time."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._clean_ups.add(task)
        task.add_done_callback(self._clean_ups.discard)
        return task

    async def close(self) -> None:
        """End every call and task, then the connections if they are our own."""
        try:
            if self._clean_ups:
                await asyncio.wait(self._clean_ups)
        finally:
            await self._end()

    async def _end(self) -> None:
        context = self._context
        context.close()
        # Calls end with ClientClosed. A call in the closing task itself goes on, and finds the
        # client closed at its next step.
        current = asyncio.current_task()
        calls = [call for call in context.calls if call.task is not current]
        for call in calls:
            call.interrupt(CLOSED)
        web_sockets = [*self._web_sockets]
        try:
            for web_socket in web_sockets:
                await web_socket.close(ClientClosed("the client was closed"))
            # Tasks that have not begun yet get one pass of the loop, to find the client closed.
            await asyncio.sleep(0)
            tasks = self._tasks - {current}
            for task in tasks - {call.task for call in calls}:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for web_socket in web_sockets:
                web_socket.abort(ClientClosed("the client was closed"))
            context.cancel_timers()
            await self._transport.close()

    def call(
        self,
        endpoint: Endpoint[T],
        parameters: Parameters,
        options: CallOptions | None = None,
        *,
        source: Source | None = None,
        gate: Gate | None = None,
        token: Token | None = None,
        raw: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of a call, which returns the value of the reply.

        Args:
            endpoint: the operation.
            parameters: the arguments, under the API's names.
            options: the timeout and retry policy; None: the client's own.
            source: the source of an upload.
            gate: an additional limit on attempts.
            token: the token to send; None: the client's own.
            raw: whether to return a `RawReply` with the value.

        Raises:
            PortSIPError: when awaited.
            TypeError, ValueError: at the call, for parameters that can't be sent.
        """
        prepared = self._prepared_endpoint(endpoint)
        call = Call(
            self._context,
            prepared.raw() if raw else prepared,
            parameters,
            options or self.options,
            source=source,
            gate=gate,
            token=token,
        )
        return self._observed(endpoint, call)

    @asynccontextmanager
    async def web_socket(
        self, url: str, options: CallOptions | None = None
    ) -> AsyncIterator[WebSocket]:
        """Open a web socket, and close it at the end of the block or with the client.

        It counts towards neither `max_connections` nor `requests_per_second` nor the retry budget,
        and its opening is not repeated.

        Args:
            url: its address, which begins with ``wss://`` or ``https://``, or without TLS.
            options: the timeout; None: the client's own.

        Raises:
            ConnectError: no connection was made.
            RequestTimeout: the handshake took longer than the timeout's `total`.
            TransportError: the handshake failed in another way.
            APIError: the handshake was refused; the class follows the HTTP status.
            ClientClosed: the client was closed before or meanwhile.
        """
        opening = Handshake(
            self._context, url, options or self.options, self._errors, self._observer
        )
        web_socket = await opening.run()
        self._web_sockets.add(web_socket)
        try:
            yield web_socket
        finally:
            self._web_sockets.discard(web_socket)
            await web_socket.close()

    async def send_login(
        self, endpoint: Endpoint[T], parameters: Parameters, *, token: Token | None = None
    ) -> tuple[T, float]:
        """Send a login or a refresh, which bypasses the client's limits.

        Args:
            endpoint: the operation that logs in or refreshes.
            parameters: its arguments.
            token: the token to refresh.

        Returns:
            The reply, and when the attempt that brought it was sent, on the monotonic clock.
        """
        call = Call(
            self._context,
            self._prepared_endpoint(endpoint),
            parameters,
            self.options,
            token=token,
            is_login=True,
        )
        del parameters  # tracebacks may show local variables
        return await self._observed(endpoint, call), call.sent_at

    async def renew_token(self) -> Token:
        """Renew the client's token now, and return it."""
        self.check_open()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        renewal = Interruptible()
        renewal.enter(task)
        self._context.calls[renewal] = None
        try:
            return await self.tokens.renew()
        except asyncio.CancelledError:
            if not renewal.caught(CLOSED):
                raise
        finally:
            self._context.calls.pop(renewal, None)
            renewal.revoke(CLOSED)
        raise ClientClosed("the client was closed during the call")

    def _observed(self, endpoint: Endpoint[T], call: Call) -> Coroutine[Any, Any, T]:
        if self._observer is None:
            return call.run()
        return self._observer.call(endpoint, self.base_url, partial(call.run))

    def _prepared_endpoint(self, endpoint: Endpoint[Any]) -> PreparedEndpoint:
        prepared = self._prepared.get(endpoint)
        if prepared is None:
            if len(self._prepared) >= _PREPARED_KEPT:
                self._prepared.clear()
            prepared = self._prepared[endpoint] = PreparedEndpoint(
                self.base_url, endpoint, self._errors
            )
        return prepared
