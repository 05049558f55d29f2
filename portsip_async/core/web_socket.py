"""A web socket that is open. `handshake.py` opens it.

aiohttp's own web socket sends the pings. Its exceptions, and the frames in their tracebacks, may
hold the texts that were sent, which may contain a password. So errors are raised outside of the
``except`` blocks that caught aiohttp's. A cancellation loses the frames of its traceback, and no
local variable of a frame that raises holds a text.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import aiohttp

from ..errors import PortSIPError, TransportError
from .connections import FOREIGN
from .tasks import NotCopyable
from .translation import translate

# Seconds until a text must have left the client's memory.
_SEND_WITHIN: Final = 10.0
_CONTENT: Final = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


class WebSocket(NotCopyable):
    """A web socket that is open.

    The client pings after 20 s without a byte from the peer, and gives up if no byte arrives in
    10 s. While nobody receives, unread messages soon stop the reading, and so end the web socket.

    Attributes:
        error: why it ended; None while it is open.
    """

    def __init__(
        self,
        opened: aiohttp.ClientWebSocketResponse,
        response: aiohttp.ClientResponse,
        on_message: Callable[[], object] | None = None,
    ) -> None:
        """Store an open web socket.

        Args:
            opened: aiohttp's web socket.
            response: the reply to its handshake. Closing it closes the connection at once.
            on_message: called for each message that arrives.
        """
        self.error: PortSIPError | None = None
        self._opened = opened
        self._response = response
        self._on_message = on_message

    def __repr__(self) -> str:
        return f"<WebSocket, {'open' if self.error is None else 'closed'}>"

    async def send(self, text: str) -> None:
        """Send a text message.

        Raises:
            TransportError: the web socket is closed, or the PBX did not read for 10 s.
            ClientClosed: the client was closed.
        """
        failure: BaseException | None = None
        if self.error is None:
            timeout = asyncio.timeout(_SEND_WITHIN)
            try:
                async with timeout:
                    await self._opened.send_str(text)
                return
            except asyncio.CancelledError as cancelled:
                failure = cancelled.with_traceback(None)
            except FOREIGN as foreign:
                if timeout.expired():
                    self.abort(TransportError(f"the PBX read nothing for {_SEND_WITHIN:g} s"))
                else:
                    self._end(foreign)
        del text  # tracebacks may show local variables
        try:
            raise failure or self._copy_error()
        finally:
            del failure  # breaks a reference cycle: its traceback holds this frame

    async def receive(self) -> str | bytes:
        """Wait for a message and return it.

        No message is lost if this is cancelled.

        Raises:
            TransportError: the web socket is closed, or the connection broke.
            ClientClosed: the client was closed.
        """
        content = await self._receive() if self.error is None else None
        if content is None:
            raise self._copy_error()
        if self._on_message is not None:
            self._on_message()
        return content

    async def _receive(self) -> str | bytes | None:
        """Return a message; None if the web socket ended."""
        try:
            message = await self._opened.receive()
        except asyncio.CancelledError as cancelled:
            cancelled.__traceback__ = None
            raise
        except FOREIGN as foreign:
            self._end(foreign)
            return None
        if message.type in _CONTENT:
            return cast("str | bytes", message.data)
        if message.type is aiohttp.WSMsgType.CLOSE:
            # The reason in the frame is left out: it may repeat a text that was sent.
            code = f" with code {message.data}" if message.data else ""
            self.abort(TransportError(f"the PBX closed the web socket{code}"))
        else:
            self._end(message.data)
        return None

    async def close(self, error: PortSIPError | None = None) -> None:
        """Send the closing frame, if that is possible at once, and close the connection.

        This takes a few passes of the event loop: the peer's closing frame is not waited for.

        Args:
            error: what `send` and `receive` raise from now on; None: a TransportError.
        """
        if self.error is None:
            self.error = error or TransportError("the web socket was closed")
        try:
            connection = self._response.connection
            transport = None if connection is None else connection.transport
            if transport is not None and transport.get_write_buffer_size():
                # The frame may have to wait until the peer reads. Closed before, it is not written.
                self._response.close()
            await self._opened.close()
        except asyncio.CancelledError as cancelled:
            cancelled.__traceback__ = None
            raise
        finally:
            self._disconnect()

    def abort(self, error: PortSIPError) -> None:
        """Close the connection without a closing frame.

        Args:
            error: what `send` and `receive` raise from now on, unless it has ended before.
        """
        if self.error is None:
            self.error = error
        self._disconnect()

    def _disconnect(self) -> None:
        """Close the connection at once, and stop the timers of the pings."""
        self._response.close()
        # Bytes that arrive while aiohttp closes a web socket start the timers again.
        self._opened._cancel_heartbeat()

    def _end(self, reason: object) -> None:
        """End because of an exception of aiohttp or of the system; None: the connection ended."""
        error: PortSIPError
        if isinstance(self._opened.exception(), aiohttp.ServerTimeoutError):
            error = TransportError("the PBX did not answer a ping")
        elif isinstance(reason, aiohttp.WebSocketError):
            error = TransportError(f"the client closed the web socket: {reason}")
        elif isinstance(reason, Exception):
            error, _ = translate(reason, [])
        else:
            error = TransportError("the connection of the web socket was lost")
        self.abort(error)

    def _copy_error(self) -> PortSIPError:
        """Return a copy of `error`, so that each caller raises its own."""
        assert self.error is not None  # noqa: S101 - the callers checked it
        return self.error.copy()
