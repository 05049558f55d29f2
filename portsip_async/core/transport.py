"""The wire itself, over aiohttp: send a request, read its reply, translate what went wrong.

This is the one file that knows aiohttp. aiohttp repeats a GET by itself where the peer hangs up,
and several of its exceptions hold the URL, thus the token. Each of them is translated here, with a
scrubbed stand-in as its cause.
"""

import asyncio
import errno
import math
import os
import posixpath
import select
import socket
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from mimetypes import guess_type
from typing import Any, Final, TypeAlias
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs, payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.tracing import Trace
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
from .endpoint import Endpoint
from .retry import Fault
from .upload import Source
from .wire import FieldValue, Reply, Request

SSL: TypeAlias = tls.SSLContext | aiohttp.Fingerprint | str | os.PathLike[str] | bool | None

# What sending and reading raise, to be translated.
FOREIGN: Final = (aiohttp.ClientError, OSError)

# A connection that is not made in this part of `total` is told as such, before `total` strikes.
_CONNECT_PART: Final = 0.95
_SWITCHING_PROTOCOLS: Final = 101
_RECEIVE: Final = 64 * 1024
# Bytes at the end of a reply that show whether a further one has begun.
_TAIL: Final = 16
_ENDS: Final = (b"\n\r\n", b"\n\n")
# Passes of the loop that closing sockets may take; TLS within TLS takes four.
_PASSES: Final = 20
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


class _HungUp(aiohttp.ClientError):
    """Carries what aiohttp would take for a reason to repeat a request past it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class MalformedReply(aiohttp.ClientError):
    """A reply whose rest is no HTTP."""


class EarlyReply(aiohttp.ClientError):
    """Bytes, or the end, that came on a new connection before a request was sent."""


class _Unconnected(aiohttp.ClientError):
    """Carries what failed before a connection stood, so that nothing was sent to the PBX."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Unclean(aiohttp.ClientError):
    """Says that a kept connection can't be used, so that another is to be taken."""


class _Line(asyncio.Protocol):
    """Stands between a connection and aiohttp's parser, and notes what arrives uncalled for.

    aiohttp can't be asked: what came of a second reply's head is hidden in the parser that the next
    request replaces.

    Attributes:
        transport: the connection.
        clean: whether all that arrived belongs to a reply that was read.
        busy: whether a call uses the connection.
        content: the body that is being read; its reading ends with the connection.
        rested: when a call last released it, on the loop's clock.
        end: the last bytes that had arrived by then.
    """

    __slots__ = (
        "_handler",
        "_socket",
        "_tail",
        "_time",
        "busy",
        "clean",
        "content",
        "end",
        "rested",
        "transport",
    )

    def __init__(
        self, handler: ResponseHandler, transport: asyncio.Transport, time: Callable[[], float]
    ) -> None:
        self.transport = transport
        self.clean = True
        self.busy = False
        self.content: aiohttp.StreamReader | None = None
        self.rested = math.inf
        self.end = b""
        self._handler = handler
        self._socket = transport.get_extra_info("socket")
        self._time = time
        self._tail = b""
        with suppress(NotImplementedError):  # as in `_line_of`
            transport.set_protocol(self)

    def begin(self) -> None:
        """Note that a call takes the connection."""
        self.busy = True
        self._tail = b""

    def rest(self) -> None:
        """Note that a call released the connection."""
        self.busy = False
        self.content = None
        self.rested = self._time()
        self.end = self._tail

    def holds(self) -> bool:
        """Check whether the kernel holds bytes, or the peer's end, that the loop has not read yet.

        A loop that was busy has not. Takes about 1 µs.
        """
        if self._socket is None:
            return False
        if not hasattr(select, "poll"):  # Windows, where select takes any socket
            return bool(select.select([self._socket], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Close the connection at once: gently it would take up to 30 s over TLS.

        The socket is shut down too: asyncio's TLS transport ignores `abort` after a second `close`.
        """
        self.transport.abort()
        if self._socket is not None:
            _shut(self._socket)

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self.clean = False
        self._tail = data[-_TAIL:] if len(data) >= _TAIL else (self._tail + data)[-_TAIL:]
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)
        # aiohttp's parser forgets the body when it meets rubbish in it: who reads would learn
        # nothing, and wait until `total` strikes, which for an upload it never does.
        content, self.content = self.content, None
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(MalformedReply("rubbish in the body"))

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


# The sockets that are opened for one call of `_Connector.connect`.
_OPENED: ContextVar[list[socket.socket]] = ContextVar("portsip_async_opened")


class _Connector(aiohttp.TCPConnector):
    """Connections of our own: only clean ones are handed out, and no socket outlives `close`."""

    def __init__(self, take: Callable[[aiohttp.connector.Connection], _Line]) -> None:
        # Calls wait for their place at a gate of the client's, renewals at none.
        super().__init__(limit=0, socket_factory=self.opened)
        self.take = take
        self.sockets: WeakSet[socket.socket] = WeakSet()

    def opened(self, address: Any) -> socket.socket:
        """Open a socket, and keep track of it."""
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        self.sockets.add(opened)
        _OPENED.get([]).append(opened)
        return opened

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Take a clean connection out of the pool, or make one.

        Raises:
            aiohttp.ClientError: nothing was sent.
            TimeoutError: likewise.
        """
        opened: list[socket.socket] = []
        outer = _OPENED.set(opened)
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                try:
                    self.take(connection)
                except _Unclean:
                    continue  # each takes one out of the pool
                return connection
        except BaseException as error:
            for each in opened:
                _shut(each)
            if isinstance(error, TimeoutError | _Unconnected) or not isinstance(
                error, (*FOREIGN, RuntimeError)
            ):
                raise
            # A RuntimeError says that no thread could be started to look up the name.
            failed = _Unconnected(error)
        finally:
            _OPENED.reset(outer)
        raise failed

    async def shut(self) -> None:
        """Close every socket, also those that aiohttp closes gently or not yet knows."""
        for each in self.sockets:
            _shut(each)
        await self.close()
        # The loop closes a socket in its next passes.
        for _ in range(_PASSES):
            if all(each.fileno() == -1 for each in self.sockets):
                break
            await asyncio.sleep(0)


def _shut(connection: Any) -> None:
    """End a connection at once, from below: its transport learns of it like of a peer's end.

    A transport that closes over TLS waits 30 s for the peer's consent.
    """
    with suppress(OSError, TypeError):  # closed already or never connected; uvloop has no such call
        connection.shutdown(socket.SHUT_RDWR)


class _Response(aiohttp.ClientResponse):
    """A response of a session of our own."""

    line: _Line | None = None

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Read the head of a reply.

        Keeps asyncio from asking for 256 KiB of memory to receive a short reply: so large a block
        may come fresh from the kernel each time, depending on how the process began, for up to
        27 % more CPU a list page. 64 KiB never does.

        Keeps aiohttp from sending again when the peer hangs up, as `_Checks` does, for 1 µs less.
        """
        transport = connection.transport
        if transport is not None:
            self.line = _line_of(transport)
            if getattr(transport, "max_size", 0) > _RECEIVE:
                transport.max_size = _RECEIVE  # type: ignore[attr-defined]  # asyncio's own, no proxy's
        try:
            return await _start(self, connection)
        except BaseException as error:
            if self.line is not None:
                self.line.abort()
            if not isinstance(error, _HANGING_UP):
                raise
            hung_up = _HungUp(error)
        raise hung_up

    def __repr__(self) -> str:
        return "<response>"  # aiohttp's own shows the URL


_start: Final = aiohttp.ClientResponse.start
_HANGING_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


def _line_of(transport: asyncio.Transport) -> _Line | None:
    try:
        protocol = transport.get_protocol()
    except NotImplementedError:  # a transport that is none of a loop's own, as tests have them
        return None
    return protocol if isinstance(protocol, _Line) else None


class _Checks:
    """A middleware for one request through an application's session. Its connector is not ours.

    Lets the request out only on a clean connection, which is looked at when all is ready and
    nothing sent. Keeps aiohttp from sending again when the peer hangs up: one attempt, one arrival.
    """

    def __init__(self, take: Callable[[aiohttp.connector.Connection], _Line]) -> None:
        self._take = take
        self._line: _Line | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        send = request.send

        async def checked(connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            self._line = self._take(connection)
            return await send(connection)

        request.send = checked  # type: ignore[assignment]  # of this one request
        failed: Exception
        while True:
            try:
                response = await handler(request)
            except _Unclean:
                continue
            except BaseException as error:
                if self._line is not None:
                    self._line.abort()
                    if not isinstance(error, _HANGING_UP):
                        raise
                    failed = _HungUp(error)
                elif isinstance(error, RuntimeError):
                    failed = _Unconnected(error)  # no thread could be started to look up the name
                elif request.proxy is None or isinstance(error, TimeoutError | _Unconnected):
                    raise  # these are translated to ConnectError as they are
                elif isinstance(error, FOREIGN):
                    failed = _Unconnected(error)
                else:
                    raise
                break
            response.line = self._line  # type: ignore[attr-defined]  # as `_Response` has it
            return response
        raise failed


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
        self._connector: _Connector | None = None
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
        # Connections that rested since before this moment may be as dead as the one that then
        # kept silent.
        self._silent = -math.inf
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
            self._connector = _Connector(self._take)
            self._http = aiohttp.ClientSession(
                connector=self._connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=_Response,
                headers=None if self._user_agent is None else {"User-Agent": self._user_agent},
            )
            # Tracing tools (OpenTelemetry, error trackers) patch `ClientSession.__init__` to add
            # theirs to every session of a program. They would record URLs, which hold the token.
            self._http.trace_configs.clear()
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
            extra = {**extra, "middlewares": (_Checks(self._take),)}
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
        self._settle(response, body)
        return Reply(response.status, response.headers, body)

    async def receive(self, response: aiohttp.ClientResponse) -> Reply:
        """Read a reply to its end or to the limit.

        Raises:
            aiohttp.ClientError, OSError: as `FOREIGN` says; to be translated.
            ReplyError: the reply goes beyond the limit.
        """
        line: _Line | None = getattr(response, "line", None)
        try:
            if line is not None and line.busy:
                line.content = response.content
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
            _abort(response)
            del response  # whose repr shows the URL, from tracebacks that show locals
            raise
        if response.status == _SWITCHING_PROTOCOLS:
            _abort(response)  # aiohttp hands such a connection over instead of releasing it
        self._settle(response, body)
        return Reply(response.status, response.headers, body)

    def silent(self) -> None:
        """Note that a connection kept silent for too long.

        Those that rest in the pool may be dead for the same reason, such as a firewall that forgot
        them all, and none of them is used again. Else each repeat would meet the next dead one.
        """
        if self._loop is not None:
            self._silent = self._loop.time()

    def drop(self, response: aiohttp.ClientResponse | None) -> None:
        """Keep the connection of a reply that could not be read from being used again."""
        line: _Line | None = getattr(response, "line", None)
        if line is None:
            return
        line.clean = False
        if self._owned and not line.busy:  # else somebody uses it already
            line.abort()

    def translate(self, error: Exception, secrets: list[str]) -> tuple[PortSIPError, Fault]:
        """Translate a foreign error, with a stand-in that holds no secret as its cause."""
        return translate(error, [*secrets, *self._secrets])

    def _take(self, connection: aiohttp.connector.Connection) -> _Line:
        """Take a connection for a request that is about to be sent, if it is clean.

        A clean one has nothing unread and was not ended by the peer. Bytes that arrive later than
        this, and before the request does, look like its reply: HTTP/1.1 does not number replies.

        Raises:
            _Unclean: a kept connection that can't be used; it was closed.
            _Unconnected: likewise a new one, on which the peer spoke first. Others may fare no
                better, so it is for the call's policy to try again.
        """
        transport, protocol = connection.transport, connection.protocol
        failed: Exception
        if transport is None or protocol is None:
            # Lost while it was being made: aiohttp hands out no kept one that is.
            failed = _Unconnected(EarlyReply("the peer hung up"))
        else:
            line = _line_of(transport)
            kept = line is not None
            if line is None:
                line = _Line(protocol, transport, asyncio.get_running_loop().time)
            if (
                line.clean
                and not protocol.should_close
                and not transport.is_closing()
                and (not kept or line.rested > self._silent)
                # New TLS connections may have been sent tickets, which are none of a reply.
                and not ((kept or transport.get_extra_info("sslcontext") is None) and line.holds())
            ):
                line.begin()
                connection.add_callback(line.rest)
                return line
            line.abort()
            failed = _Unclean() if kept else _Unconnected(EarlyReply("the peer spoke first"))
        connection.close()
        raise failed

    def _settle(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Look, after a reply that was read whole, whether its connection can be used again.

        What came behind it in one piece with it, a whole reply excepted, is known to nobody: it
        only shows in that the reply's end is not the last that came. (Of a packed body the end is
        not known.)
        """
        line: _Line | None = getattr(response, "line", None)
        if line is None:
            return
        if line.transport.is_closing():
            line.abort()  # as the reply said; gently it would take up to 30 s over TLS
        elif not (
            (body and line.end.endswith(body[-_TAIL:]))
            or line.end.endswith(_ENDS)
            or hdrs.CONTENT_ENCODING in response.headers
        ):
            self.drop(response)

    def _too_large(self) -> ReplyError:
        return ReplyError(expected=f"at most {self._max_reply_bytes} bytes")


def _abort(response: aiohttp.ClientResponse) -> None:
    """Close a response's connection at once: gently it would take up to 30 s over TLS."""
    line: _Line | None = getattr(response, "line", None)
    if line is not None and (line.busy or line.transport.is_closing()):
        line.abort()  # aiohttp may have let go of it, as when `read` is cancelled
    response.close()


# What keeps a good CA file from being read for a while: no descriptor, no memory.
_PASSING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def _credentials(proxy: str) -> tuple[str | None, ...]:
    try:
        url = URL(proxy)
    except ValueError:
        return ()  # aiohttp will say so
    return (url.password, url.raw_password)


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
    fault: Fault
    text: str


_UNSENT = _Translation(
    (
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
    ),
    ConnectError,
    Fault.UNSENT,
    "no connection was made",
)
_TRANSLATIONS = (
    _Translation(
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ConnectError,
        Fault.DISTRUSTED,
        "the PBX's certificate was refused; see the client's ssl= argument",
    ),
    _UNSENT,
    _Translation((aiohttp.InvalidURL,), ConnectError, Fault.UNSENT, "a URL that can't be used"),
    _Translation((TimeoutError,), RequestTimeout, Fault.LOST, "the PBX fell silent"),
    _Translation(
        (aiohttp.ClientResponseError, MalformedReply),
        ReplyError,
        Fault.UNREADABLE,
        "the reply is no valid HTTP",
    ),
    _Translation(
        (ContentEncodingError,), ReplyError, Fault.UNREADABLE, "the reply can't be unpacked"
    ),
    _Translation((Exception,), TransportError, Fault.LOST, "the connection broke"),
)


def translate(error: Exception, secrets: list[str]) -> tuple[PortSIPError, Fault]:
    """Translate a foreign error, with a stand-in that holds no secret as its cause."""
    unsent = isinstance(error, _Unconnected)
    if isinstance(error, _HungUp | _Unconnected):
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
        failure.refused_certificate = row.fault is Fault.DISTRUSTED
    failure.__cause__ = _stand_in(type(error).__name__)(text)
    return failure, row.fault


@lru_cache(maxsize=64)
def _stand_in(name: str) -> type[ForeignError]:
    return type(name, (ForeignError,), {"__module__": ForeignError.__module__})
