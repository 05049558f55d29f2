"""Checks aiohttp's connections, so that no reply is taken for the reply to another request.

HTTP/1.1 does not number replies. Bytes that are left over from one exchange look like the reply to
the next request. aiohttp looks for such bytes only when a connection goes back into the pool. So
two things are added:

- a `ConnectionMonitor` on each connection, between its transport and aiohttp's parser. It sees what
  arrives;
- a `ConnectionGuard`, which checks a connection right before a request is sent on it.

A connection passes the check if all of this is true:

- Nothing arrived since its last reply, neither in the parser nor in the kernel.
- Its last reply was read to the end, and no bytes had arrived after that end.
- The peer did not close it.
- Since it was last used, no other connection fell silent.

If a connection from the pool fails the check, it is closed, and the next one is tried.

A session of our own makes the check in its connector, and watches the head of a reply in its
response class. An application's session has its own classes, so there a middleware does both. It
could do so for all sessions in 40 lines less, but a call would take 4 µs more of about 110.
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
from .monitor import TAIL, ConnectionMonitor, monitor_of, shut_down

# After these errors aiohttp sends a GET a second time by itself.
HANGING_UP: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
# The errors of sending and reading, which `Transport.translate` takes.
FOREIGN: Final = (aiohttp.ClientError, OSError)

# The largest block, in bytes, to receive into.
_RECEIVE: Final = 64 * 1024
# How a head without a body and the last chunk end.
_ENDS: Final = (b"\n\r\n", b"\n\n")
# Passes of the loop that closing sockets may take; TLS within TLS takes four.
_PASSES: Final = 20


class _Wrapper(aiohttp.ClientError):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class HungUp(_Wrapper):
    """Wraps an error for which aiohttp would send the request again."""


class Unconnected(_Wrapper):
    """Wraps an error from before there was a connection: nothing was sent to the PBX."""


class EarlyReply(aiohttp.ClientError):
    """The peer wrote to a new connection, or closed it, before a request was sent."""


class _Stale(aiohttp.ClientError):
    """A connection from the pool can't be used; another one must be tried."""


class ConnectionGuard:
    """Decides which connections may be used again."""

    def __init__(self, *, owned: bool) -> None:
        """Store whether the pool is our own, or that of an application's session."""
        self._owned = owned
        # When a connection last fell silent, on the monotonic clock.
        self._silent_at = -math.inf

    def silent(self) -> None:
        """Note that a connection kept silent for too long.

        A firewall that forgot one connection may have forgotten all that were idle then, so none of
        them is used again. Otherwise each repeat would meet the next dead one.
        """
        self._silent_at = monotonic()

    def check(self, connection: Connection, *, kept: bool = False) -> ConnectionMonitor:
        """Check a connection right before a request is sent on it.

        If bytes arrive between the check and the request, they still look like its reply.

        Args:
            connection: the connection.
            kept: whether it comes from the pool even if it has no monitor yet.

        Raises:
            _Stale: a connection from the pool can't be used; it was closed.
            Unconnected: nor can a new one, because the peer wrote first or hung up. Another one
                may be no better, so the retry policy of the call decides about a repeat.
        """
        transport, handler = connection.transport, connection.protocol
        if transport is not None and handler is not None:
            monitor = monitor_of(transport)
            if monitor is None:
                monitor = ConnectionMonitor(handler, transport)
                if kept:
                    monitor.idle_since = -math.inf  # it is not known since when
                self._limit_receive_buffer(transport)
            else:
                kept = True
            if (
                monitor.arrived is None
                and not monitor.dropped
                and not handler.should_close
                and not transport.is_closing()
                and monitor.idle_since >= self._silent_at
                # A new TLS connection may hold session tickets, which are not part of a reply.
                and not (
                    (kept or transport.get_extra_info("sslcontext") is None)
                    and monitor.has_unread()
                )
            ):
                monitor.uses += 1
                monitor.end = b""
                return monitor
            monitor.abort()
        # Only a new connection has no transport: it was lost while it was made.
        connection.close()
        raise _Stale if kept else Unconnected(EarlyReply("the peer spoke first, or hung up"))

    def settle(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Check, after a reply was read, whether its connection can be used again.

        aiohttp notices a complete second reply that came in one piece with the first. Less than
        that shows only in the last bytes that arrived: they are not the end of the reply.
        """
        monitor: ConnectionMonitor | None = getattr(response, "monitor", None)
        if monitor is None:
            return
        if monitor.transport.is_closing():
            monitor.abort()  # the reply said so; a gentle close over TLS takes up to 30 s
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
        # Another request may use it already. In an application's pool only aiohttp knows.
        if self._owned and response.connection is None and monitor.uses == response.use:
            monitor.abort()

    def _limit_receive_buffer(self, transport: asyncio.Transport) -> None:
        """Keep asyncio from asking for 256 KiB of memory to receive a short reply.

        A block of that size may come fresh from the kernel each time, depending on how the process
        began, for up to 27 % more CPU per list page. 64 KiB never does.
        """
        if self._owned and getattr(transport, "max_size", 0) > _RECEIVE:
            transport.max_size = _RECEIVE  # type: ignore[attr-defined]  # asyncio's own, no proxy's


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
    """Close the connection of a response at once: a gentle close over TLS takes up to 30 s."""
    monitor: ConnectionMonitor | None = getattr(response, "monitor", None)
    # aiohttp may have closed it already, for example when `read` was cancelled.
    if monitor is not None and (response.connection is not None or monitor.transport.is_closing()):
        monitor.abort()
    response.close()


def _unconnected(error: BaseException) -> Unconnected | None:
    """Wrap an error from before there was a connection; None if it must be raised as it is."""
    if isinstance(error, TimeoutError | Unconnected):
        return None
    # A RuntimeError says that no thread could be started to look up the name.
    return Unconnected(error) if isinstance(error, (*FOREIGN, RuntimeError)) else None


# The sockets that were opened for one call of `GuardedConnector.connect`.
_OPENED: ContextVar[list[socket.socket]] = ContextVar("portsip_async_opened")


class GuardedConnector(aiohttp.TCPConnector):
    """The pool of a session of our own: returns checked connections, and closes all sockets."""

    def __init__(self, guard: ConnectionGuard) -> None:
        # Calls wait at a semaphore of the client's; logins do not wait.
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
                    continue  # each takes one out of the pool
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
        """Close every socket, also those that aiohttp closes gently or does not know yet."""
        for each in self._sockets:
            shut_down(each)
        await self.close()
        # The loop closes the sockets in its next passes.
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


class MonitoredResponse(aiohttp.ClientResponse):
    """A response of a session of our own.

    Attributes:
        monitor: that of its connection; None for a proxy's reply to CONNECT.
        use: the number of its request among those on the connection.
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
        return "<response>"  # aiohttp's own shows the URL


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
            # A connection without a monitor is new, or the application used it before. To make a
            # new one takes a pass of the loop; without a pass it comes from the pool. aiohttp does
            # not say which.
            monitor = self._check(connection, kept=not passes)
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
                    continue  # each takes one out of the pool
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
            del request.send  # else the request and this function keep each other alive
        if monitor is not None:
            monitor.follow(response)
            response.monitor = monitor  # type: ignore[attr-defined]  # see MonitoredResponse
        return response
