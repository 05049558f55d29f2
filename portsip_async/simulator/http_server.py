"""The simulator's HTTP server: what ``aiohttp.web`` lacks, and nothing about a PBX.

It stops at once, whatever its connections are doing, and restarts on the same port. It can break
off replies, accepts large bodies, and logs no text from requests.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

_BACKLOG = 2048  # connections that wait to be accepted, as when hundreds of calls start at once
_MAX_BODY = 64 * 1024 * 1024  # bytes of JSON; a status request may name 100,000 extensions
_STOP_SECONDS = 5.0  # the most that a stop waits for cut connections, which end within milliseconds


class DroppedReply(web.StreamResponse):
    """No reply: the connection is closed instead."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Disconnect before the first byte."""
        # aiohttp treats this as a client that went away, and closes the connection.
        raise ConnectionResetError


class TruncatedReply(web.StreamResponse):
    """A reply that is cut off in the middle of its body."""

    def __init__(self, *, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = len(body) or 2  # an empty body can't be cut in the middle
        self._half = body[: len(body) // 2]

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the head and half of the body, and disconnect."""
        await super().prepare(request)
        await self.write(self._half)
        raise ConnectionResetError


async def send_continue(request: web.BaseRequest) -> None:
    """Ask for the body if the client waits for it, as curl does with a large file."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # these bytes are not part of the reply


class HTTPServer:
    """Listens on a port, and keeps the same port over restarts.

    Attributes:
        host: the address to listen on.
        port: the port; 0 before the first start if none was given.
        is_listening: False from the beginning of a stop to the next start.
        requests: the tasks of the requests in flight. The handler adds and removes its task, since
            a wrapper around the handler would slow down every request.
        sockets: the tasks of the web sockets, which are no requests in flight.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        host: str,
        port: int,
        *,
        on_cut: Callable[[], None],
    ) -> None:
        """Store what to serve; ``on_cut`` is called when a stop has cut all connections."""
        self.host = host
        self.port: int = port
        self.is_listening: bool = False
        self.requests: set[asyncio.Task[Any]] = set()
        self.sockets: set[asyncio.Task[Any]] = set()
        self._handler = handler
        self._on_cut = on_cut
        self._connections: _Connections | None = None  # while it is started
        self._listener: asyncio.Server | None = None
        self._stopping: asyncio.Task[None] | None = None  # of the latest stop

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: it is already started.
            OSError: the port is in use.
        """
        if self._connections is not None:
            raise RuntimeError("the simulator is already started: stop it first")
        self._connections = _Connections(
            self._handler,
            request_factory=_make_request,
            access_log=None,  # it would contain the token of each GET
            logger=_safe_logger(),
            lingering_time=0,
        )
        try:
            if self._stopping is not None:
                await asyncio.wait([self._stopping])
            # With start_serving=True, this would await once more after it opened the socket, and a
            # cancellation there would leave the socket open.
            self._listener = await asyncio.get_running_loop().create_server(
                self._connections, self.host, self.port, backlog=_BACKLOG, start_serving=False
            )
            self.port = self._listener.sockets[0].getsockname()[1]
            self.is_listening = True
            await self._listener.start_serving()
        except BaseException:
            await self.stop()
            self._connections = None
            raise

    async def stop(self) -> None:
        """Cut all connections and requests; do nothing if it is not started.

        A stop that is cancelled still cuts everything. Another stop or start waits for it.
        """
        listener, connections = self._listener, self._connections
        if listener is not None and connections is not None:
            self._listener = self._connections = None
            self.is_listening = False
            with suppress(NotImplementedError):  # of a loop without readers, as on Windows
                for listening in listener.sockets:
                    asyncio.get_running_loop().remove_reader(listening.fileno())
            self._stopping = asyncio.create_task(self._cut(listener, connections))
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def _cut(self, listener: asyncio.Server, connections: "_Connections") -> None:
        # A connection that was accepted before the stop has a task that ran before this one. So its
        # transport is attached to the listener by now. After the close it could not be attached,
        # and the connection would stay open. `connections` gets the transport in the next pass of
        # the loop.
        listener.close()
        try:
            await asyncio.sleep(0)
        finally:
            connections.abort()
            for task in self.requests | self.sockets:
                task.cancel()
            self._on_cut()
        # ``listener.wait_closed()`` does not help: before Python 3.12 it returns at once.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await connections.wait_lost()
                if self.sockets:
                    await asyncio.wait(self.sockets)


class _Connections(web.Server):
    """A ``web.Server`` that knows the transports of its connections until they are lost.

    ``web.Server`` only knows its handlers. A handler forgets its transport when it closes it, but a
    transport with unsent data stays open until its client has read that data.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        self._transports.pop(handler, None)

    def abort(self) -> None:
        """Cut all connections; unsent data is lost."""
        for transport in list(self._transports.values()):
            transport.abort()

    async def wait_lost(self) -> None:
        """Wait until all connections are lost and their tasks have ended."""
        # A cut connection needs only a few passes of the loop.
        while self._transports or self.connections:  # noqa: ASYNC110 - no event covers both
            await asyncio.sleep(0)


def _make_request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: Any
) -> web.BaseRequest:
    # As web.Server does, but with a higher limit for bodies.
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY
    )


def _safe_logger() -> logging.Logger:
    """Return a logger for aiohttp.web that shows the type of an error, never its text."""
    logger = logging.getLogger(__name__)
    logger.addFilter(_hide_text)
    return logger


def _hide_text(record: logging.LogRecord) -> bool:
    # The error quotes a request that could not be read, with its token.
    kind = record.exc_info[0] if record.exc_info else None
    record.msg = f"a request failed: {kind.__name__ if kind else 'unknown'}"
    record.args = record.exc_info = record.exc_text = None
    return True
