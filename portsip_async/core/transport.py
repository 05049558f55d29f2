"""The wire itself, over aiohttp: send a request, read its reply, translate what went wrong.

This file and `connections.py` are the two that know aiohttp. Several of aiohttp's exceptions hold
the URL, thus the token. Each of them is translated here, with a scrubbed stand-in as its cause.
"""

import asyncio
import errno
import math
import os
import posixpath
import ssl as tls
from collections.abc import Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp import hdrs, payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from ..errors import (
    ClientClosed,
    ConfigurationError,
    ConnectError,
    PortSIPError,
    ReplyError,
    RequestTimeout,
    TransportError,
)
from ..redact import scrub_text
from .connections import (
    CheckConnection,
    ConnectionGuard,
    GuardedConnector,
    GuardedResponse,
    HungUp,
    MalformedReply,
    Unconnected,
    abort_response,
)
from .endpoint import Endpoint
from .message import FieldValue, Reply, Request
from .safety import Failure
from .upload import Source

SSL: TypeAlias = tls.SSLContext | aiohttp.Fingerprint | str | os.PathLike[str] | bool | None

# A connection that is not made in this part of `total` is told as such, before `total` strikes.
_CONNECT_PART: Final = 0.95
_SWITCHING_PROTOCOLS: Final = 101
# Bytes of an upload that go out under one timer: little enough for a slow line.
_PIECE: Final = 16 * 1024


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


class HttpTimeouts:
    """A Timeout as aiohttp takes it, but for `total`, which is not aiohttp's affair.

    aiohttp rounds times above 5 s up to whole seconds unless it is told not to.
    """

    __slots__ = ("exchange", "upload")

    def __init__(self, timeout: Timeout) -> None:
        total, connect, read = timeout.total, timeout.connect, timeout.read
        self.upload: aiohttp.ClientTimeout = _client_timeout(connect, read)
        if total is not None:
            connect = min(connect or total, total * _CONNECT_PART)
            # Silence that outlasts the whole attempt needs no timer of its own.
            read = None if read is None or read >= total else read
        self.exchange: aiohttp.ClientTimeout = _client_timeout(connect, read)


def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_read=read, ceil_threshold=math.inf
    )


class ForeignError(Exception):
    """Stands in for another library's exception: its type's name and its text, without secrets."""


class Route:
    """Where the requests of one endpoint go."""

    __slots__ = ("method", "url")

    def __init__(self, base_url: str, endpoint: Endpoint[Any]) -> None:
        self.method: str = endpoint.method
        self.url: URL = URL(f"{base_url}{endpoint.path}")


class Transport:
    """Connections of our own, or the application's session."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession | None,
        ssl: SSL,
        proxy: str | None,
        user_agent: str | None,
        max_reply_bytes: int,
    ) -> None:
        """Store the settings; the first request opens connections, in its loop."""
        self._max_reply_bytes = max_reply_bytes
        self._ssl = ssl
        self._user_agent = user_agent
        self._owned = session is None
        self._http = session
        self._guard = ConnectionGuard(owned=self._owned)
        self._connector: GuardedConnector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # An application's session may have other ideas of these two. One of our own that somebody
        # else's instrumentation had a hand in when it was made may have middlewares.
        self._extra: dict[str, Any] = (
            {"middlewares": ()}
            if self._owned
            else {"auto_decompress": True, "raise_for_status": False}
        )
        self._secrets: list[str] = []
        if proxy is not None:
            self._extra["proxy"] = proxy
            # What its exceptions may hold.
            self._secrets = [text for text in _credentials(proxy) if text]
        self._headers: dict[str, str] = {}
        if session is not None and user_agent is not None:
            self._headers["User-Agent"] = user_agent

    def open(self) -> None:
        """Make sure of a session to send with; take up the running loop at the first call.

        Raises:
            ConfigurationError: another event loop than the first call's, or an unusable CA file.
            ConnectError: the CA file could not be read for want of descriptors or memory.
            ClientClosed: the application closed its session.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._owned:
            return
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError("the client belongs to the event loop of its first call")
            ssl = _checked(self._ssl)
            if ssl is not True:
                self._extra["ssl"] = ssl
            self._loop = loop
        if self._http is None:
            self._connector = GuardedConnector(self._guard)
            self._http = aiohttp.ClientSession(
                connector=self._connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=GuardedResponse,
                headers=None if self._user_agent is None else {"User-Agent": self._user_agent},
            )
            # Tracing tools (OpenTelemetry, error trackers) patch `ClientSession.__init__` to add
            # theirs to every session of a program. They would record URLs, which hold the token.
            # The list may be the tool's own, so it is replaced rather than emptied; aiohttp has no
            # public way to do that.
            self._http._trace_configs = []
        elif self._http.closed:
            raise ClientClosed("the session that the client was given is closed")

    async def close(self) -> None:
        """Close the connections, if they are our own: at once, and to the last socket."""
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
            request: what varies.
            timeouts: how long connecting and silence may last.
            fields: the fields of a form; None where the body is none.
            source: what the form's part ``file`` streams from.

        Raises:
            aiohttp.ClientError, OSError: when awaited, as `FOREIGN` says; to be translated.
        """
        headers, extra = request.headers, self._extra
        if not self._owned:
            if self._headers:
                headers = {**headers, **self._headers}
            if hdrs.AUTHORIZATION in headers and self._http is not None and self._http.auth:
                raise ConfigurationError(
                    "the session logs in by itself (auth=), which excludes a bearer token"
                )
            extra = {**extra, "middlewares": (CheckConnection(self._guard),)}
        assert self._http is not None  # noqa: S101 - open came before
        return self._http.request(
            route.method,
            route.url,
            params=request.query,
            data=(
                request.body if fields is None else _form(fields, source, timeouts.upload.sock_read)
            ),
            headers=headers,
            timeout=timeouts.exchange if source is None else timeouts.upload,
            allow_redirects=False,
            **extra,
        )

    def received(self, response: aiohttp.ClientResponse) -> Reply | None:
        """Answer the reply if all of it came with its head, as short ones do; else None.

        4 µs less than `receive`, which also tells the traces that only an application's session
        has.

        Raises:
            aiohttp.ClientError, OSError: as `FOREIGN` says; to be translated.
            ReplyError: the reply goes beyond the limit.
        """
        content = response.content
        if not self._owned or not content.is_eof() or response.status == _SWITCHING_PROTOCOLS:
            return None
        body = content.read_nowait()
        if len(body) > self._max_reply_bytes:
            raise self._too_large()
        self._guard.settle(response, body)
        return Reply(response.status, response.headers, body)

    async def receive(self, response: aiohttp.ClientResponse) -> Reply:
        """Read a reply to its end or to the limit.

        Raises:
            aiohttp.ClientError, OSError: as `FOREIGN` says; to be translated.
            ReplyError: the reply goes beyond the limit.
        """
        reply = self.received(response)
        if reply is not None:
            return reply
        try:
            limit, headers = self._max_reply_bytes, response.headers
            length = headers.get(hdrs.CONTENT_LENGTH, "")
            if length.isdigit() and hdrs.CONTENT_ENCODING not in headers:
                if int(length) > limit:
                    raise self._too_large()
                body = await response.read()
            else:
                # Only reading tells how long a compressed or chunked reply is.
                chunks: list[bytes] = []
                async for chunk in response.content.iter_any():
                    chunks.append(chunk)
                    limit -= len(chunk)
                    if limit < 0:
                        raise self._too_large()
                body = b"".join(chunks)
        except BaseException:
            abort_response(response)
            del response  # whose repr shows the URL, from tracebacks that show locals
            raise
        if response.status == _SWITCHING_PROTOCOLS:
            abort_response(response)  # aiohttp hands such a connection over instead of releasing it
        self._guard.settle(response, body)
        return Reply(response.status, response.headers, body)

    def silent(self) -> None:
        """Note that a connection kept silent for too long."""
        self._guard.silent()

    def drop(self, response: aiohttp.ClientResponse | None) -> None:
        """Keep the connection of a reply that could not be read from being used again."""
        self._guard.drop(response)

    def translate(self, error: Exception, secrets: list[str]) -> tuple[PortSIPError, Failure]:
        """Translate a foreign error, with a stand-in that holds no secret as its cause."""
        return translate(error, [*secrets, *self._secrets])

    def _too_large(self) -> ReplyError:
        return ReplyError(expected=f"at most {self._max_reply_bytes} bytes")


def _credentials(proxy: str) -> tuple[str | None, ...]:
    try:
        url = URL(proxy)
    except ValueError:
        return ()  # aiohttp will say so
    return (url.password, url.raw_password)


# What keeps a good CA file from being read for a while: no descriptor, no memory.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


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
        passing = error.errno in _PASSING
    text = f"ssl: {os.fspath(ssl)}: {reason}"
    raise ConnectError(f"no connection was made ({text})") if passing else ConfigurationError(text)


class _Body(payload.Payload):
    """A source as a part of a form; unlike aiohttp's own, it leaves the caller's file open.

    aiohttp's `sock_read` begins to count when all is sent. A PBX that stops taking bytes on the way
    would hold an upload for ever, so the same seconds bound the sending of each piece.
    """

    def __init__(self, source: Source, content_type: str, silence: float | None) -> None:
        super().__init__(source, content_type=content_type)
        self._source = source
        self._size = source.size
        self._silence = silence

    async def write(self, writer: AbstractStreamWriter) -> None:
        async with aclosing(self._source.chunks()) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), _PIECE):
                    async with asyncio.timeout(self._silence):
                        await writer.write(chunk[start : start + _PIECE])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("an upload is streamed")


def _form(
    fields: Mapping[str, FieldValue], source: Source | None, silence: float | None
) -> aiohttp.MultipartWriter:
    """Build a form with the fields, and the source as its part ``file``.

    File names go out as UTF-8. What would end a quoted name is percent-encoded, as browsers do.
    """
    form = aiohttp.MultipartWriter("form-data")
    for name, value in fields.items():
        for text in [value] if isinstance(value, str) else value:
            part = payload.StringPayload(text)
            quoted = name.translate(_QUOTED)
            part.headers["Content-Disposition"] = f'form-data; name="{quoted}"'
            form.append_payload(part)
    if source is None:
        return form
    filename = str(fields["filename"])
    # Only by its end: a name such as "data:x/y,z" would name its type, or another header, itself.
    kind, _ = guess_type("file" + posixpath.splitext(filename)[1])
    body = _Body(source, kind or "application/octet-stream", silence)
    quoted = filename.translate(_QUOTED)
    body.headers["Content-Disposition"] = f'form-data; name="file"; filename="{quoted}"'
    form.append_payload(body)
    return form


# aiohttp refuses control characters in a header.
_QUOTED = str.maketrans({mark: f"%{ord(mark):02X}" for mark in ('"', *map(chr, range(32)), "\x7f")})


@dataclass(frozen=True, slots=True)
class _Translation:
    """How a foreign error is told: the first row that fits counts."""

    foreign: tuple[type[Exception], ...]
    ours: type[PortSIPError]
    fault: Failure
    text: str


_UNSENT = _Translation(
    (
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
    ),
    ConnectError,
    Failure.NOT_SENT,
    "no connection was made",
)
_TRANSLATIONS = (
    _Translation(
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ConnectError,
        Failure.DISTRUSTED,
        "the PBX's certificate was refused; see the client's ssl= argument",
    ),
    _UNSENT,
    _Translation((aiohttp.InvalidURL,), ConnectError, Failure.NOT_SENT, "a URL that can't be used"),
    _Translation((TimeoutError,), RequestTimeout, Failure.LOST, "the PBX fell silent"),
    _Translation(
        (aiohttp.ClientResponseError, MalformedReply),
        ReplyError,
        Failure.UNREADABLE,
        "the reply is no valid HTTP",
    ),
    _Translation(
        (ContentEncodingError,), ReplyError, Failure.UNREADABLE, "the reply can't be unpacked"
    ),
    _Translation((Exception,), TransportError, Failure.LOST, "the connection broke"),
)


def translate(error: Exception, secrets: list[str]) -> tuple[PortSIPError, Failure]:
    """Translate a foreign error, with a stand-in that holds no secret as its cause."""
    unsent = isinstance(error, Unconnected)
    if isinstance(error, HungUp | Unconnected):
        error = error.error
    if isinstance(error.__cause__, ContentEncodingError):
        error = error.__cause__  # else it looks like a broken connection
    row = next(row for row in _TRANSLATIONS if isinstance(error, row.foreign))
    if unsent and row.ours is not ConnectError:
        row = _UNSENT
    # A URL that can't be used may be a proxy's, with its password.
    text = "" if isinstance(error, aiohttp.InvalidURL) else scrub_text(str(error), secrets)
    failure = row.ours(f"{row.text} ({type(error).__name__}{': ' if text else ''}{text})")
    if isinstance(failure, ConnectError):
        failure.refused_certificate = row.fault is Failure.DISTRUSTED
    failure.__cause__ = _stand_in(type(error).__name__)(text)
    return failure, row.fault


@lru_cache(maxsize=64)
def _stand_in(name: str) -> type[ForeignError]:
    return type(name, (ForeignError,), {"__module__": ForeignError.__module__})
