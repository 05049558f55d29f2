"""Sends requests, reads replies and opens web sockets with aiohttp.

`connections.py` and `monitor.py` handle aiohttp's connections, and `translation.py` its errors.
"""

import asyncio
import math
import os
import ssl as tls
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import hdrs
from yarl import URL

from ..arguments import check_number
from ..errors import (
    ClientClosed,
    ConfigurationError,
    PortSIPError,
    ReplyError,
)
from .ca_file import load_ca_file
from .connections import (
    CheckConnection,
    ConnectionGuard,
    GuardedConnector,
    MonitoredResponse,
    UpgradeResponse,
    abort_response,
)
from .endpoint import Endpoint
from .forms import build_body
from .message import FieldValue, Reply, Request
from .retry import RetryPolicy
from .safety import Failure
from .translation import translate
from .unclosed import UnclosedWarning
from .upload import Source

SSL: TypeAlias = tls.SSLContext | aiohttp.Fingerprint | str | os.PathLike[str] | bool | None

# Connecting may take this part of `total`. So an unreachable PBX is reported as a ConnectError, and
# not as a request that took too long.
_CONNECT_PART: Final = 0.95
_SWITCHING_PROTOCOLS: Final = 101
# Seconds between two pings of a web socket; aiohttp waits half as long for the answer.
_PING_INTERVAL: Final = 20.0


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long an attempt may take, in seconds; None means unlimited.

    Attributes:
        total: the whole attempt, from sending to the last byte; does not apply to uploads.
        connect: making a connection.
        read: the longest pause between two bytes of the reply.

    Raises:
        TypeError: one of them is neither a number nor None.
        ValueError: a number is not above 0, or not finite.
    """

    total: float | None = 15.0
    connect: float | None = 5.0
    read: float | None = 15.0

    def __post_init__(self) -> None:
        for name in ("total", "connect", "read"):
            seconds = getattr(self, name)
            if seconds is not None:
                check_number(f"Timeout: {name}", seconds, above=0)


class HttpTimeouts:
    """A Timeout in aiohttp's form, without `total`, for which a call has a timer of its own.

    Attributes:
        exchange: for requests other than uploads.
        upload: for uploads.
    """

    __slots__ = ("exchange", "upload")

    def __init__(self, timeout: Timeout) -> None:
        total, connect, read = timeout.total, timeout.connect, timeout.read
        self.upload: aiohttp.ClientTimeout = _client_timeout(connect, read)
        if total is not None:
            connect = min(connect or total, total * _CONNECT_PART)
            # A read timeout of `total` or more would never fire first, so it needs no timer.
            read = None if read is None or read >= total else read
        self.exchange: aiohttp.ClientTimeout = _client_timeout(connect, read)


def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # By default aiohttp rounds times above 5 s up to whole seconds.
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_read=read, ceil_threshold=math.inf
    )


class HandshakeRefused(Exception):
    """The reply to the handshake of a web socket is an ordinary one.

    Attributes:
        reply: that reply.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply: Reply = reply


class CallOptions:
    """The timeout and the retry policy of a client, or of a view of it.

    Attributes:
        attempt_seconds: the most that an attempt may take; None: unlimited.
        http: the timeouts in aiohttp's form.
    """

    __slots__ = ("attempt_seconds", "http", "retry", "timeout")

    def __init__(self, timeout: Timeout, retry: RetryPolicy) -> None:
        self.timeout: Timeout = timeout
        self.retry: RetryPolicy = retry
        limits = [limit for limit in (timeout.total, retry.deadline) if limit is not None]
        self.attempt_seconds: float | None = min(limits) if limits else None
        self.http: HttpTimeouts = HttpTimeouts(replace(timeout, total=self.attempt_seconds))


class Route:
    """The method and the URL of one endpoint."""

    __slots__ = ("_base_path", "method", "url")

    def __init__(self, base_url: str, endpoint: Endpoint[Any]) -> None:
        self.method: str = endpoint.method
        self.url: URL = URL(f"{base_url}{endpoint.path}")
        self._base_path = URL(base_url).raw_path

    def url_of(self, path: str | None) -> URL:
        """Return the URL of a request with arguments in its path; None: the endpoint's own."""
        if path is None:
            return self.url
        return self.url.with_path(self._base_path + path, encoded=True)


class Transport:
    """Sends requests, over connections of its own or through an application's session.

    Attributes:
        unclosed: warns if a session of our own is never closed; None: nothing warns.
    """

    unclosed: UnclosedWarning | None = None

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None,
        ssl: SSL,
        proxy: str | None,
        user_agent: str | None,
        max_reply_bytes: int,
    ) -> None:
        """Store the settings; the first request opens a session in its event loop.

        Args:
            session: the application's session; None: one of our own.
            ssl: how certificates are checked, as the client's argument says.
            proxy: the URL of a proxy, or None.
            user_agent: the User-Agent header; None: the session's own.
            max_reply_bytes: the longest reply that is read.
        """
        self._max_reply_bytes = max_reply_bytes
        self._ssl = ssl
        self._user_agent = user_agent
        self._owned = session is None
        self._http = session
        self._guard = ConnectionGuard(owned=self._owned)
        self._connector: GuardedConnector | None = None
        # The event loop of the first request.
        self._loop: asyncio.AbstractEventLoop | None = None
        # Further arguments of each request. They override the session's own: an application may
        # have chosen other values, and instrumentation may add middlewares even to our session.
        self._extra: dict[str, Any] = {"middlewares": ()}
        if not self._owned:
            self._extra["middlewares"] = (CheckConnection(self._guard),)
            self._extra |= {"auto_decompress": True, "raise_for_status": False}
        # The proxy's password, which exceptions may contain.
        self._secrets: list[str] = []
        if proxy is not None:
            self._extra["proxy"] = proxy
            self._secrets = [text for text in _passwords(proxy) if text]
        # Headers to add to each request; our own session has them as its defaults.
        self._headers: dict[str, str] = {}
        if session is not None and user_agent is not None:
            self._headers["User-Agent"] = user_agent

    def open(self) -> None:
        """Open a session if there is none yet, and check that it can be used.

        Raises:
            ConfigurationError: this is not the event loop of the first call, or the CA file can't
                be used.
            ConnectError: the CA file could not be read because descriptors or memory ran out.
            ClientClosed: the application closed its session.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._owned:
            return  # every call except the first
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError(
                    "a client must be used in one event loop, got a second one; "
                    "create a client for each loop"
                )
            ssl = self._ssl
            if isinstance(ssl, str | os.PathLike):
                ssl = load_ca_file(ssl)
            if ssl is not None and ssl is not True:
                self._extra["ssl"] = ssl
            self._loop = loop
        if self._http is None:
            self._connector = GuardedConnector(self._guard)
            self._http = aiohttp.ClientSession(
                connector=self._connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=MonitoredResponse,
                headers=None if self._user_agent is None else {"User-Agent": self._user_agent},
            )
            # Tracing tools (OpenTelemetry, error trackers) patch `ClientSession.__init__` to add
            # their traces to every session. They would record URLs, which may hold the token.
            # aiohttp has no public way to remove them. The list itself may belong to the tool, so
            # it is replaced and not emptied.
            self._http._trace_configs = []
            if self.unclosed is not None:
                self.unclosed.opened(partial(_abandon, self._http, self._connector))
        elif self._http.closed:
            raise ClientClosed("the session that was passed as session= is closed")

    async def close(self) -> None:
        """Close all connections at once if they are our own."""
        if self.unclosed is not None:
            self.unclosed.closed()
        if self._connector is not None and self._http is not None:
            await self._connector.shut()
            await self._http.close()

    def send(
        self,
        route: Route,
        request: Request,
        timeouts: HttpTimeouts,
        fields: Mapping[str, FieldValue] | None = None,
        source: Source | None = None,
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Send a request, and read the head of its reply.

        Args:
            route: the method and the URL.
            request: the query, the headers and the body.
            timeouts: the limits for connecting and reading.
            fields: the fields of a multipart form; None if the body is not one.
            source: the bytes of the form's part ``file``, or of the whole body.

        Raises:
            aiohttp.ClientError, OSError: when awaited; see `translate`.
            ConfigurationError: the request has a bearer token, and the session sends its own.
        """
        assert self._http is not None  # noqa: S101 - `open` was called before
        headers = request.headers
        if self._headers:
            headers = {**headers, **self._headers}
        if not self._owned and hdrs.AUTHORIZATION in headers and self._http.auth:
            raise ConfigurationError(
                "session must not have auth= if an endpoint sends a bearer token: remove auth="
            )
        body: Any = request.body
        extra = self._extra
        if fields is not None or source is not None:
            body = build_body(fields, source, timeouts.upload.sock_read)
        elif body is None and route.method != "GET":
            extra = {**extra, "skip_auto_headers": (hdrs.CONTENT_TYPE,)}  # there is no content
        return self._http.request(
            route.method,
            route.url_of(request.path),
            params=request.query,
            data=body,
            headers=headers,
            timeout=timeouts.exchange if source is None else timeouts.upload,
            allow_redirects=False,
            **extra,
        )

    async def receive(self, response: aiohttp.ClientResponse) -> Reply:
        """Read a reply to its end or to the limit.

        Raises:
            aiohttp.ClientError, OSError: see `translate`.
            ReplyError: the reply is longer than the limit.
        """
        content, limit = response.content, self._max_reply_bytes
        try:
            if self._owned and content.is_eof() and response.status != _SWITCHING_PROTOCOLS:
                # The body arrived with the head. `response.read` would take 4 µs more, for traces
                # that only an application's session has.
                body = content.read_nowait()
                if len(body) > limit:
                    raise self._too_large()
            elif (length := _length(response.headers)) is not None:
                if length > limit:
                    raise self._too_large()
                body = await response.read()
            else:
                # The size of a compressed or chunked body is known only while it is read.
                chunks: list[bytes] = []
                async for chunk in content.iter_any():
                    chunks.append(chunk)
                    limit -= len(chunk)
                    if limit < 0:
                        raise self._too_large()
                body = b"".join(chunks)
        except BaseException:
            abort_response(response)
            del response  # its repr shows the URL, and tracebacks may show local variables
            raise
        if response.status == _SWITCHING_PROTOCOLS:
            abort_response(response)  # aiohttp would hand the connection over, not release it
        self._guard.settle(response, body)
        return Reply(response.status, response.headers, body)

    async def open_web_socket(
        self, url: str, timeouts: HttpTimeouts, headers: Mapping[str, str]
    ) -> tuple[aiohttp.ClientWebSocketResponse, aiohttp.ClientResponse]:
        """Open a web socket.

        aiohttp takes neither a timeout nor middlewares for one handshake, and would follow a
        redirect. So each handshake has a session of its own, which shares the connections, the
        cookies and the default headers of the client's session. It has no traces.

        Args:
            url: the address.
            timeouts: the limits for connecting and reading.
            headers: headers to add to the handshake.

        Returns:
            aiohttp's web socket, and the reply to the handshake. Closing the reply closes the
            connection at once.

        Raises:
            aiohttp.ClientError, OSError: see `translate`.
            AssertionError: the connection was lost at once after the handshake.
            HandshakeRefused: the reply has another status than 101.
        """
        http = self._http
        assert http is not None  # noqa: S101 - `open` was called before
        defaults = http.headers.copy()
        defaults.update(self._headers)
        session = aiohttp.ClientSession(
            connector=http.connector,
            connector_owner=False,
            cookie_jar=http.cookie_jar,
            headers=defaults,
            response_class=UpgradeResponse,
            skip_auto_headers=http.skip_auto_headers,
            timeout=timeouts.exchange,
            trust_env=http.trust_env,
        )
        session._default_proxy = http._default_proxy
        session._default_proxy_auth = http._default_proxy_auth
        replies: list[aiohttp.ClientResponse] = []

        async def check_status(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            response = await handler(request)
            if response.status != _SWITCHING_PROTOCOLS:
                raise HandshakeRefused(await self.receive(response))
            replies.append(response)
            return response

        # As in `open`: tools add their own.
        session._trace_configs = []
        session._middlewares = (check_status, *(() if self._owned else self._extra["middlewares"]))
        try:
            opened = await session.ws_connect(
                url,
                # Pyright does not know the arguments of this class of attrs.
                timeout=aiohttp.ClientWSTimeout(ws_close=0.0),  # pyright: ignore[reportCallIssue]
                heartbeat=_PING_INTERVAL,
                max_msg_size=self._max_reply_bytes,
                headers={**headers, **self._headers},
                **{name: self._extra[name] for name in ("proxy", "ssl") if name in self._extra},
            )
        finally:
            session.detach()
        return opened, replies[0]

    def retire_idle(self) -> None:
        """Stop using the connections that are idle now, because a request timed out."""
        self._guard.retire_idle()

    def drop(self, response: aiohttp.ClientResponse | None) -> None:
        """Make sure that the connection of an unreadable reply is not used again."""
        self._guard.drop(response)

    def translate(self, error: Exception, secrets: list[str]) -> tuple[PortSIPError, Failure]:
        """Translate an error of aiohttp or of the system; see the function `translate`."""
        return translate(error, [*secrets, *self._secrets])

    def _too_large(self) -> ReplyError:
        return ReplyError(expected=f"at most {self._max_reply_bytes} bytes")


def _abandon(session: aiohttp.ClientSession, connector: GuardedConnector) -> None:
    """Close the sockets of a client that was never closed, without aiohttp's own warnings."""
    connector.abandon()
    session.detach()


def _length(headers: Mapping[str, str]) -> int | None:
    """Return the length of a body that is not compressed, if its head says so."""
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    return int(length) if length.isdigit() and hdrs.CONTENT_ENCODING not in headers else None


def _passwords(proxy: str) -> tuple[str | None, ...]:
    try:
        url = URL(proxy)
    except ValueError:
        return ()  # aiohttp will raise an error
    return (url.password, url.raw_password)
