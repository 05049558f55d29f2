"""Connections that are safe to use again, on top of aiohttp's.

HTTP/1.1 does not number replies: what is left over from one exchange looks like the reply to the
next request. aiohttp looks for leftovers only when a connection goes back into the pool. So each
connection gets a protocol of ours between its transport and aiohttp's parser, which sees what
arrives, and is checked right before a request is sent on it:

- nothing arrived since its last reply, neither in the parser nor in the kernel;
- its last reply was read whole, and ended where the bytes that had arrived ended;
- the peer has not ended it, and it has not rested in the pool since before another fell silent.

A kept connection that fails the check is closed, and the next one is tried. Every call pays for
this, so what the parts cost is noted where it shaped the code.
"""

import asyncio
import math
import select
import socket
import zlib
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

# Errors of aiohttp that make it send a GET a second time.
HANGING_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
# What sending and reading raise, to be translated.
FOREIGN: Final = (aiohttp.ClientError, OSError)

# The largest block, in bytes, to receive into.
_RECEIVE: Final = 64 * 1024
# How many bytes of the end of a reply show whether anything came behind it.
_TAIL: Final = 16
# How a head without a body and the last chunk end.
_ENDS: Final = (b"\n\r\n", b"\n\n")
# Passes of the loop that closing sockets may take; TLS within TLS takes four.
_PASSES: Final = 20


class _Carrier(aiohttp.ClientError):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class HungUp(_Carrier):
    """Carries an error past aiohttp, which would take it for a reason to send again."""


class Unconnected(_Carrier):
    """Carries an error from before there was a connection, so nothing was sent to the PBX."""


class MalformedReply(aiohttp.ClientError):
    """The rest of a reply is not HTTP."""


class EarlyReply(aiohttp.ClientError):
    """The peer wrote to a new connection, or ended it, before a request was sent."""


class _Stale(aiohttp.ClientError):
    """A kept connection can't be used, so another one is to be tried."""


class GuardedProtocol(asyncio.Protocol):
    """Sees what arrives on a connection before aiohttp's parser does.

    The parser can't be asked: the first bytes of a second reply vanish in it, and the next request
    replaces it.

    Attributes:
        transport: the connection.
        arrived: the latest bytes since the last reply was read; None: none came.
        end: the bytes that the last reply ended with, and anything that came behind it.
        rested: when the connection was last released, on the monotonic clock.
        uses: how many requests it was checked for.
        dropped: whether it must not be used again.
        has_unread: checks whether the kernel holds bytes, or the peer's end, that the loop has not
            read yet. A loop that was busy has not.
    """

    __slots__ = (
        "_content",
        "_handler",
        "_socket",
        "arrived",
        "dropped",
        "end",
        "has_unread",
        "rested",
        "transport",
        "uses",
    )

    def __init__(self, handler: ResponseHandler, transport: asyncio.Transport) -> None:
        self.transport: asyncio.Transport = transport
        self.arrived: bytes | None = None
        self.end: bytes = b""
        self.rested: float = math.inf
        self.uses: int = 0
        self.dropped: bool = False
        # The body that is being read.
        self._content: aiohttp.StreamReader | None = None
        self._handler = handler
        self._socket = transport.get_extra_info("socket")
        self.has_unread: Callable[[], object] = _unread_check(self._socket)
        with suppress(NotImplementedError):  # as in `guard_of`
            transport.set_protocol(self)

    def follow(self, response: aiohttp.ClientResponse) -> None:
        """Note when a response, of which the head was read, has been read whole.

        aiohttp releases the connection at that moment, and calls back. A callback costs 1 µs, so
        there is none for a short reply, which came whole with its head.
        """
        connection = response.connection
        if connection is None:
            self.rest()
        else:
            self._content = response.content
            connection.add_callback(self.rest)

    def rest(self) -> None:
        """Note that a reply was read whole."""
        self._content = None
        self.end, self.arrived = self.arrived or b"", None
        self.rested = monotonic()

    def abort(self) -> None:
        """Close the connection at once: gently it would take up to 30 s over TLS.

        The socket is shut down too: asyncio's TLS transport ignores `abort` after a second `close`.
        """
        self.transport.abort()
        if self._socket is not None:
            _shut_down(self._socket)

    def data_received(self, data: bytes) -> None:
        """Note what arrived, and pass it on."""
        # A short piece may be less than the end of a reply.
        self.arrived = data if len(data) >= _TAIL else (self.arrived or b"")[-_TAIL:] + data
        self._handler.data_received(data)

    def eof_received(self) -> None:
        """Pass on that the peer ended the connection."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on that the connection is closed, and end the reading of a body."""
        self._handler.connection_lost(exc)
        # aiohttp's parser forgets the body when it meets rubbish in it. The reader would wait until
        # `total` strikes, which it never does for an upload.
        content, self._content = self._content, None
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(MalformedReply("rubbish in the body"))

    def pause_writing(self) -> None:
        """Pass on that the peer takes no more for now."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the peer takes more again."""
        self._handler.resume_writing()


def guard_of(transport: asyncio.Transport) -> GuardedProtocol | None:
    """Return a connection's guard; None if it has none yet."""
    try:
        protocol = transport.get_protocol()
    except NotImplementedError:  # not a loop's own transport, as in tests
        return None
    return protocol if isinstance(protocol, GuardedProtocol) else None


def _unread_check(connection: Any) -> Callable[[], object]:
    """Build a check of a socket for unread bytes.

    Takes 0.7 µs with a poll object that is made once; making one each time takes 1.7 µs.
    """
    if connection is None:
        return bool
    if not hasattr(select, "poll"):  # Windows, where select takes any socket
        return lambda: select.select([connection], [], [], 0)[0]
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return partial(poll.poll, 0)


class ConnectionGuard:
    """Decides which connections may be used again."""

    def __init__(self, *, owned: bool) -> None:
        """Store whether the pool is ours, or that of an application's session."""
        self._owned = owned
        # When a connection last fell silent, on the monotonic clock.
        self._silent = -math.inf

    def silent(self) -> None:
        """Note that a connection kept silent for too long.

        Those that rest in the pool may be dead for the same reason, such as a firewall that forgot
        them all, so none of them is used again. Else each repeat would meet the next dead one.
        """
        self._silent = monotonic()

    def check(
        self, connection: aiohttp.connector.Connection, *, kept: bool = False
    ) -> GuardedProtocol:
        """Check a connection right before a request is sent on it.

        Bytes that arrive after the check and before the request does still look like its reply.

        Args:
            connection: the connection.
            kept: whether it comes from the pool even if it has no guard yet.

        Raises:
            _Stale: a kept connection that can't be used; it was closed.
            Unconnected: likewise a new one, on which the peer spoke first. Others may fare no
                better, so the call's policy decides about a repeat.
        """
        transport, handler = connection.transport, connection.protocol
        if transport is not None and handler is not None:
            guard = guard_of(transport)
            if guard is None:
                guard = GuardedProtocol(handler, transport)
                if kept:
                    guard.rested = -math.inf  # nobody knows since when
                self._save_memory(transport)
            else:
                kept = True
            if (
                guard.arrived is None
                and not guard.dropped
                and not handler.should_close
                and not transport.is_closing()
                and guard.rested >= self._silent
                # A new TLS connection may hold session tickets, which are no part of a reply.
                and not (
                    (kept or transport.get_extra_info("sslcontext") is None) and guard.has_unread()
                )
            ):
                guard.uses += 1
                guard.end = b""
                return guard
            guard.abort()
        # Without a transport it was lost while it was made: aiohttp hands out no kept one like it.
        connection.close()
        raise _Stale if kept else Unconnected(EarlyReply("the peer spoke first, or hung up"))

    def settle(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Check, after a reply that was read whole, whether its connection can be used again.

        aiohttp notices a whole second reply that came in one piece with it. Less than that only
        shows in the last bytes that arrived: they are not the end of the reply.
        """
        guard: GuardedProtocol | None = getattr(response, "guard", None)
        if guard is None:
            return
        if guard.transport.is_closing():
            guard.abort()  # as the reply said; gently it would take up to 30 s over TLS
        elif not (len(body) >= _TAIL and guard.end.endswith(body[-_TAIL:])) and not _is_end(
            guard.end, body, response
        ):
            self.drop(response)

    def drop(self, response: Any) -> None:
        """Keep the connection of a reply that could not be read from being used again."""
        guard: GuardedProtocol | None = getattr(response, "guard", None)
        if guard is None:
            return
        guard.dropped = True
        # Somebody else may use it already; in an application's pool only aiohttp knows.
        if self._owned and response.connection is None and guard.uses == response.use:
            guard.abort()

    def _save_memory(self, transport: asyncio.Transport) -> None:
        """Keep asyncio from asking for 256 KiB of memory to receive a short reply.

        So large a block may come fresh from the kernel each time, depending on how the process
        began, for up to 27 % more CPU a list page. 64 KiB never does.
        """
        if self._owned and getattr(transport, "max_size", 0) > _RECEIVE:
            transport.max_size = _RECEIVE  # type: ignore[attr-defined]  # asyncio's own, no proxy's


def _is_end(end: bytes, body: bytes, response: aiohttp.ClientResponse) -> bool:
    """Check whether the last bytes that arrived are the end of a reply."""
    # No body, chunks, or a short body after the line feed of its head.
    if end.endswith(_ENDS) or (body and end.endswith((b"\n" + body)[-_TAIL:])):
        return True
    # A packed body that came in one piece ends with a checksum of what was packed.
    packed = response.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if packed in ("gzip", "x-gzip"):
        size = len(body) % 2**32
        return end.endswith(zlib.crc32(body).to_bytes(4, "little") + size.to_bytes(4, "little"))
    return packed == "deflate" and end.endswith(zlib.adler32(body).to_bytes(4, "big"))


def abort_response(response: aiohttp.ClientResponse) -> None:
    """Close a response's connection at once: gently it would take up to 30 s over TLS."""
    guard: GuardedProtocol | None = getattr(response, "guard", None)
    # aiohttp may have closed it already, as when `read` is cancelled.
    if guard is not None and (response.connection is not None or guard.transport.is_closing()):
        guard.abort()
    response.close()


# The sockets that are opened for one call of `GuardedConnector.connect`.
_OPENED: ContextVar[list[socket.socket]] = ContextVar("portsip_async_opened")


class GuardedConnector(aiohttp.TCPConnector):
    """The pool of a session of our own: hands out checked connections, and leaves no socket."""

    def __init__(self, guard: ConnectionGuard) -> None:
        # Calls wait for their place at a gate of the client's; renewals wait for none.
        super().__init__(limit=0, socket_factory=self._open)
        self._check = guard.check
        self._sockets: WeakSet[socket.socket] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        """Return a checked connection from the pool, or a new one.

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
                    self._check(connection)
                except _Stale:
                    continue  # each takes one out of the pool
                return connection
        except BaseException as error:
            for each in opened:
                _shut_down(each)
            # A RuntimeError says that no thread could be started to look up the name.
            if isinstance(error, TimeoutError | Unconnected) or not isinstance(
                error, (*FOREIGN, RuntimeError)
            ):
                raise
            failed = Unconnected(error)
        finally:
            _OPENED.reset(outer)
        raise failed

    async def shut(self) -> None:
        """Close every socket, also those that aiohttp closes gently or does not know yet."""
        for each in self._sockets:
            _shut_down(each)
        await self.close()
        # The loop closes a socket in its next passes.
        for _ in range(_PASSES):
            if all(each.fileno() == -1 for each in self._sockets):
                break
            await asyncio.sleep(0)

    def _open(self, address: Any) -> socket.socket:
        """Open a socket, and keep track of it."""
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        _OPENED.get([]).append(opened)
        return opened


def _shut_down(connection: Any) -> None:
    """End a connection at once, from below: its transport sees it as the peer's end.

    A transport that closes over TLS waits 30 s for the peer's consent.
    """
    with suppress(OSError, TypeError):  # closed already or never connected; uvloop has no such call
        connection.shutdown(socket.SHUT_RDWR)


class GuardedResponse(aiohttp.ClientResponse):
    """A response of a session of our own.

    Attributes:
        guard: the guard of its connection; None for a proxy's reply to CONNECT.
        use: the number of its request among those on the connection.
    """

    guard: GuardedProtocol | None = None
    use: int = 0

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Read the head of a reply.

        Keeps aiohttp from sending again when the peer hangs up, as `CheckConnection` does, for
        1 µs less.
        """
        transport = connection.transport
        guard = None if transport is None else guard_of(transport)
        if guard is not None:
            self.guard, self.use = guard, guard.uses
        try:
            response = await _start(self, connection)
        except BaseException as error:
            if guard is not None:
                guard.abort()
            if not isinstance(error, HANGING_UP):
                raise
            hung_up = HungUp(error)
        else:
            if guard is not None:
                guard.follow(self)
            return response
        raise hung_up

    def __repr__(self) -> str:
        return "<response>"  # aiohttp's own shows the URL


_start: Final = aiohttp.ClientResponse.start


class CheckConnection:
    """A middleware for one request through an application's session. Its connector is not ours.

    Sends the request only on a connection that passes the check, which is made last of all. Keeps
    aiohttp from sending again when the peer hangs up: one attempt, one arrival.
    """

    def __init__(self, guard: ConnectionGuard) -> None:
        self._check = guard.check

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request on a checked connection."""
        send = request.send
        loop = asyncio.get_running_loop()
        guard: GuardedProtocol | None = None
        passes: list[None] = []

        async def checked(connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            nonlocal guard
            # Only a connection that the application made has no guard. If the loop had no pass to
            # make it in, it comes from the pool. aiohttp does not say so.
            guard = self._check(connection, kept=not passes)
            return await send(connection)

        request.send = checked  # type: ignore[assignment]  # of this one request
        failed: Exception
        while True:
            passes.clear()
            loop.call_soon(passes.append, None)
            try:
                response = await handler(request)
            except _Stale:
                continue
            except BaseException as error:
                if guard is not None:
                    guard.abort()
                    if not isinstance(error, HANGING_UP):
                        raise
                    failed = HungUp(error)
                elif isinstance(error, RuntimeError):
                    failed = Unconnected(error)  # no thread could be started to look up the name
                elif request.proxy is None or isinstance(error, TimeoutError | Unconnected):
                    raise  # these are translated to ConnectError as they are
                elif isinstance(error, FOREIGN):
                    failed = Unconnected(error)
                else:
                    raise
                break
            if guard is not None:
                guard.follow(response)
                response.guard = guard  # type: ignore[attr-defined]  # as `GuardedResponse` has it
            return response
        raise failed
