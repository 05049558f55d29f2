"""One open web socket of the simulator: `SocketConnection`."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import WSMsgType, web

_MAX_MESSAGES = 100_000  # that wait for a client that does not read
_MAX_BYTES = 64 * 1024 * 1024  # of these messages
# The option of Linux or macOS that holds back incomplete packets; Windows has none.
_CORK: Final[int | None] = getattr(socket, "TCP_CORK", getattr(socket, "TCP_NOPUSH", None))


class SocketConnection:
    """Sends messages in their order, and passes on those that arrive.

    Attributes:
        user: the index of the extension that logged in; None for an administrator.
        is_logged_in: whether a login was accepted.
        is_system: whether the login named no domain, as a system administrator's.
        numbers: the extension numbers whose states it is subscribed to.
        replies: how many commands were replied to.
        is_silent: whether it sends nothing more.
    """

    def __init__(self, request: web.BaseRequest) -> None:
        """Store the request that opens it."""
        self.user: int | None = None
        self.is_logged_in: bool = False
        self.is_system: bool = False
        self.numbers: set[str] = set()
        self.replies: int = 0
        self.is_silent: bool = False
        self._answers_pings = True
        self._request = request
        self._queue: deque[tuple[WSMsgType, bytes]] = deque()
        self._queued_bytes = 0
        self._has_more = asyncio.Event()
        self._socket = web.WebSocketResponse(autoping=False, compress=False)

    async def serve(
        self, on_message: Callable[["SocketConnection", str | bytes], None]
    ) -> web.WebSocketResponse:
        """Open it, and call ``on_message`` with each message until it ends."""
        await self._socket.prepare(self._request)
        # Not one task per message: this one writes all of them.
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write())
            try:
                await self._read(on_message)
            finally:
                writer.cancel()
        return self._socket

    def send(self, message: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        """Send a message; cut the connection if its client has not read for too long."""
        if self.is_silent:
            return
        self._queue.append((kind, message))
        self._queued_bytes += len(message)
        self._has_more.set()
        if len(self._queue) > _MAX_MESSAGES or self._queued_bytes > _MAX_BYTES:
            self.cut()

    def cut(self) -> None:
        """End the connection at once, without a farewell."""
        self.silence(answers_pings=False)
        if self._request.transport is not None:
            self._request.transport.abort()

    def silence(self, *, answers_pings: bool) -> None:
        """Send nothing more, but leave the connection open."""
        self.is_silent = True
        self._answers_pings = answers_pings
        self._queue.clear()
        self._queued_bytes = 0

    async def _read(self, on_message: Callable[["SocketConnection", str | bytes], None]) -> None:
        with suppress(ConnectionError):  # the client went away
            async for message in self._socket:
                if message.type is WSMsgType.PING:
                    if self._answers_pings:
                        await self._socket.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    on_message(self, message.data)

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while True:
                await self._has_more.wait()
                self._has_more.clear()
                with self._together():
                    while self._queue:
                        kind, message = self._queue.popleft()
                        self._queued_bytes -= len(message)
                        await self._socket.send_frame(message, kind)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Send the messages of one change in one packet: a client sees the change at once."""
        transport = self._request.transport
        raw = None if transport is None else transport.get_extra_info("socket")
        if raw is None or _CORK is None or len(self._queue) < 2:
            yield
            return
        with suppress(OSError):  # it was closed meanwhile
            raw.setsockopt(socket.IPPROTO_TCP, _CORK, True)
        try:
            yield
        finally:
            with suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, _CORK, False)
