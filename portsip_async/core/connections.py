"""Checks aiohttp's connections, so that no reply is mistaken for the reply to another request.

HTTP/1.1 does not number replies. Bytes that are left over from one exchange look like the reply to
the next request. aiohttp looks for such bytes only when a connection goes back into the pool. So
two things are added:

- A `ConnectionMonitor` sits between each connection's transport and aiohttp's parser, and watches
  the bytes that arrive.
- A `ConnectionGuard` checks a connection right before a request is sent on it.

A connection passes the check if all of this is true:

- Nothing arrived since its last reply, neither in the parser nor in the kernel.
- Its last reply was read to the end, and no bytes had arrived after that end.
- The peer did not close it.
- Since it was last used, no request on another connection timed out.

If a connection from the pool fails the check, it is closed, and the next one is tried.

A session of our own makes the check in its connector, and handles the head of a reply in its
response class. An application's session has its own classes, so there a middleware does both. One
middleware for all sessions would take 40 lines less, but would add 4 µs to a call of about 110.
"""

import asyncio
import math
import socket
import zlib
from contextvars import ContextVar
from time import monotonic
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ..errors import raise_without_context
from .monitor import (
    TAIL,
    ConnectionMonitor,
    HungUp,
    Unconnected,
    monitor_of,
    shut_down,
)

# After these errors aiohttp sends a GET a second time by itself.
HANGING_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
# The errors of sending and reading, which `Transport.translate` takes.
FOREIGN: Final = (aiohttp.ClientError, OSError)

# The largest block, in bytes, to receive into.
_RECEIVE: Final = 64 * 1024
# How a head without a body ends, and how the last chunk of a body ends.
_ENDS: Final = (b"\n\r\n", b"\n\n")
# The most passes of the loop to wait for sockets to close; TLS within TLS needs four.
_PASSES: Final = 20


class EarlyReply(aiohttp.ClientError):
    """The peer wrote to a new connection, or closed it, before a request was sent."""


class _Stale(aiohttp.ClientError):
    """A connection from the pool can't be used; another one must be tried."""


class ConnectionGuard:
    """Decides which connections may be used again."""

    def __init__(self, *, owned: bool) -> None:
        """Store whether the pool is our own, or that of an application's session."""
        self._owned = owned
        # When a request last timed out, on the monotonic clock.
        self._timed_out_at = -math.inf

    def retire_idle(self) -> None:
        """Stop using the connections that are idle now, because a request timed out.

        A firewall that dropped one connection may have dropped all that were idle. Otherwise each
        repeat would try the next dead one.
        """
        self._timed_out_at = monotonic()

    def check(self, connection: Connection, *, pooled: bool = False) -> ConnectionMonitor:
        """Check a connection right before a request is sent on it.

        If bytes arrive between the check and the request, they still look like its reply.

        Args:
            connection: the connection.
            pooled: whether it comes from the pool although it has no monitor yet.

        Raises:
            _Stale: a connection from the pool can't be used. It was closed here.
            Unconnected: a new connection can't be used: the peer wrote first or closed it. The
                next one may fail too, so the call's retry policy decides about a repeat.
        """
        transport, handler = connection.transport, connection.protocol
        if transport is not None and handler is not None:
            monitor = monitor_of(transport)
            if monitor is None:
                monitor = ConnectionMonitor(handler, transport)
                if pooled:
                    monitor.idle_since = -math.inf  # unknown, so assume the worst
                self._limit_receive_buffer(transport)
            else:
                pooled = True
            if (
                monitor.arrived is None
                and not monitor.dropped
                and not handler.should_close
                and not transport.is_closing()
                and monitor.idle_since >= self._timed_out_at
                # A new TLS connection may hold session tickets, which are not part of a reply.
                and not (
                    (pooled or transport.get_extra_info("sslcontext") is None)
                    and monitor.has_unread()
                )
            ):
                monitor.uses += 1
                monitor.end = b""
                return monitor
            monitor.abort()
        # Only a new connection can lack a transport: it was lost while it was being made.
        connection.close()
        raise (
            _Stale
            if pooled
            else Unconnected(EarlyReply("the peer sent bytes or hung up before the request"))
        )

    def settle(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Check, after a reply was read, whether its connection can be used again.

        aiohttp notices a complete second reply that arrived in one piece with the first. Part of a
        reply shows only because the last bytes that arrived are not the end of the first reply.
        """
        monitor: ConnectionMonitor | None = getattr(response, "monitor", None)
        if monitor is None:
            return
        if monitor.transport.is_closing():
            monitor.abort()  # the reply asked for it; a graceful close over TLS takes up to 30 s
        elif not (len(body) >= TAIL and monitor.end.endswith(body[-TAIL:])) and not _is_end(
            monitor.end, body, response
        ):
            self.drop(response)

    def drop(self, response: Any) -> None:
        """Make sure that the connection of an unreadable reply is not used again."""
        monitor: ConnectionMonitor | None = getattr(response, "monitor", None)
        if monitor is None:
            return
        monitor.dropped = True
        # Another request may use it already. In an application's pool, only aiohttp knows.
        if self._owned and response.connection is None and monitor.uses == response.use:
            monitor.abort()

    def _limit_receive_buffer(self, transport: asyncio.Transport) -> None:
        """Make asyncio allocate 64 KiB instead of 256 KiB to receive into.

        In some processes, each block of 256 KiB comes fresh from the kernel, which costs up to 27 %
        more CPU per list page. A block of 64 KiB never does.
        """
        if self._owned and getattr(transport, "max_size", 0) > _RECEIVE:
            transport.max_size = _RECEIVE  # type: ignore[attr-defined]  # just found


def _is_end(end: bytes, body: bytes, response: aiohttp.ClientResponse) -> bool:
    """Return whether the last bytes that arrived are the end of a reply."""
    # No body, or chunks, or a short body after the line feed of its head.
    if end.endswith(_ENDS) or (body and end.endswith((b"\n" + body)[-TAIL:])):
        return True
    # A compressed body that came in one piece ends with a checksum of the uncompressed one.
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    if encoding in ("gzip", "x-gzip"):
        size = len(body) % 2**32
        return end.endswith(zlib.crc32(body).to_bytes(4, "little") + size.to_bytes(4, "little"))
    return encoding == "deflate" and end.endswith(zlib.adler32(body).to_bytes(4, "big"))


def abort_response(response: aiohttp.ClientResponse) -> None:
    """Close the connection of a response at once: a graceful close over TLS takes up to 30 s."""
    monitor: ConnectionMonitor | None = getattr(response, "monitor", None)
    # aiohttp may have closed it already, for example when `read` was cancelled.
    if monitor is not None and (response.connection is not None or monitor.transport.is_closing()):
        monitor.abort()
    response.close()


def _unconnected(error: BaseException) -> Unconnected | None:
    """Wrap an error from before there was a connection; None if it must be raised unchanged."""
    if isinstance(error, TimeoutError | Unconnected):
        return None
    # A RuntimeError says that no thread could be started to look up the name.
    return Unconnected(error) if isinstance(error, (*FOREIGN, RuntimeError)) else None


# The sockets that were opened for one call of `GuardedConnector.connect`.
_OPENED: ContextVar[list[socket.socket]] = ContextVar("portsip_async_opened")


class GuardedConnector(aiohttp.TCPConnector):
    """The connection pool of our own session: it checks connections, and closes all sockets."""

    def __init__(self, guard: ConnectionGuard) -> None:
        # No limit here: the client's semaphore limits calls, and logins are not limited.
        super().__init__(limit=0, socket_factory=self._open)
        self._check = guard.check
        self._sockets: WeakSet[socket.socket] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return a checked connection from the pool, or a new one.

        Raises:
            aiohttp.ClientError, TimeoutError: there is no connection; nothing was sent.
        """
        opened: list[socket.socket] = []
        outer = _OPENED.set(opened)
        try:
            while True:
                connection = await super().connect(req, traces, timeout)
                try:
                    self._check(connection)
                except _Stale:
                    continue  # each try takes one out of the pool
                return connection
        except BaseException as error:
            for each in opened:
                shut_down(each)
            failure = _unconnected(error)
            if failure is None:
                raise
            raise_without_context(failure)
        finally:
            _OPENED.reset(outer)

    async def shut(self) -> None:
        """Close every socket, even those that aiohttp closes gracefully or does not know yet."""
        for each in self._sockets:
            shut_down(each)
        await self.close()
        # The loop closes the sockets in its next passes.
        for _ in range(_PASSES):
            if all(each.fileno() == -1 for each in self._sockets):
                break
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """Close every socket at once, in any thread and even after the event loop was closed."""
        for each in self._sockets:
            shut_down(each)
        self._closed = True  # otherwise aiohttp would warn too

    def _open(self, address: Any) -> socket.socket:
        """Open a socket, and keep track of it."""
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        _OPENED.get([]).append(opened)
        return opened


class MonitoredResponse(aiohttp.ClientResponse):
    """A response of our own session.

    Attributes:
        monitor: the monitor of its connection; None for a proxy's reply to CONNECT.
        use: which request on the connection it replies to, counted from 1.
    """

    monitor: ConnectionMonitor | None = None
    use: int = 0

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the head of a reply; keep aiohttp from sending again if the peer hangs up."""
        transport = connection.transport
        monitor = None if transport is None else monitor_of(transport)
        if monitor is not None:
            self.monitor, self.use = monitor, monitor.uses
        try:
            response = await super().start(connection)
        except BaseException as error:
            if monitor is not None:
                monitor.abort()
            if not isinstance(error, HANGING_UP):
                raise
            raise_without_context(HungUp(error))
        if monitor is not None:
            monitor.follow(self)
        return response

    def __repr__(self) -> str:
        return "<response>"  # aiohttp's own repr shows the URL


class UpgradeResponse(MonitoredResponse):
    """The reply to the handshake of a web socket. Closing it closes its connection at once.

    aiohttp closes it when the web socket ends, whatever the reason was.
    """

    def close(self) -> None:
        """Close the connection at once: a graceful close over TLS takes up to 30 s."""
        if self.monitor is not None and self.connection is not None:
            self.monitor.abort()
        super().close()


class CheckConnection:
    """A middleware for one request through an application's session."""

    def __init__(self, guard: ConnectionGuard) -> None:
        self._check = guard.check

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request on a checked connection; keep aiohttp from sending again."""
        send = request.send
        monitor: ConnectionMonitor | None = None
        # Empty while the loop has not run since the request began to look for a connection.
        passes: list[None] = []

        async def send_checked(connection: Connection) -> aiohttp.ClientResponse:
            nonlocal monitor
            # A connection without a monitor is new, or was used by the application before. aiohttp
            # does not say which. Making a new one takes a pass of the loop, so without a pass it
            # came from the pool.
            monitor = self._check(connection, pooled=not passes)
            return await send(connection)

        # aiohttp calls this as soon as it has a connection.
        request.send = send_checked  # type: ignore[assignment]  # for this one request
        try:
            while True:
                passes.clear()
                asyncio.get_running_loop().call_soon(passes.append, None)
                try:
                    response = await handler(request)
                except _Stale:
                    continue  # each try takes one out of the pool
                break
        except BaseException as error:
            if monitor is None:
                failure: Exception | None = _unconnected(error)
            else:
                monitor.abort()
                failure = HungUp(error) if isinstance(error, HANGING_UP) else None
            if failure is None:
                raise
            raise_without_context(failure)
        finally:
            del request.send  # breaks a reference cycle of the request and this function
        if monitor is not None:
            monitor.follow(response)
            response.monitor = monitor  # type: ignore[attr-defined]  # see MonitoredResponse
        return response
