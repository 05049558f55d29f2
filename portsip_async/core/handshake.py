"""Opens a web socket: the deadline, the errors, and the interruption by closing the client."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from ..errors import (
    APIError,
    ClientClosed,
    ErrorScheme,
    PortSIPError,
    ReplyError,
    RequestTimeout,
    TransportError,
)
from .connections import FOREIGN
from .context import CallContext
from .endpoint import Endpoint
from .headers import naming_headers
from .hooks import AttemptStart, logger
from .limits import CLOSED, Interruptible
from .message import Reply
from .observer import Observer
from .reply import ReplyParser, scrub_error
from .transport import CallOptions, HandshakeRefused
from .web_socket import WebSocket

# As logs, hooks and errors name it.
_NAME: Final = "web_socket"
# A refusal is parsed like a reply to this.
_ENDPOINT: Final = Endpoint(_NAME, "GET", "/", reply=bytes, token="none")


class Handshake(Interruptible):
    """The opening of one web socket."""

    def __init__(
        self,
        context: CallContext,
        url: str,
        options: CallOptions,
        errors: ErrorScheme,
        observer: Observer | None,
    ) -> None:
        """Store the settings; `run` opens the web socket.

        Args:
            context: the objects that a client's calls share.
            url: the address.
            options: the timeout; its `total` limits the handshake.
            errors: what the statuses of a refusal mean.
            observer: counts connections and messages.
        """
        self._context = context
        self._url = url
        self._options = options
        self._errors = errors
        self._observer = observer

    async def run(self) -> WebSocket:
        """Open the web socket; see `Session.web_socket` for what it raises."""
        context = self._context
        context.check_open()
        context.transport.open()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that awaits runs in a task
        self.enter(task)
        context.calls[self] = None
        if not context.stalls.is_running:
            context.stalls.start()
        began = context.clock.monotonic()
        error: PortSIPError | None = None
        web_socket: WebSocket | None = None
        try:
            web_socket = await self._open(began)
        except asyncio.CancelledError as cancelled:
            if not self.caught(CLOSED):
                cancelled.__traceback__ = None  # as below
                raise
            error = ClientClosed("the client was closed while a web socket was opened")
        except ReplyError as unreadable:
            error = unreadable.copy(TransportError)  # it is not the reply of an operation
        except PortSIPError as failed:
            error = failed
        finally:
            context.calls.pop(self, None)
            self.revoke(CLOSED)
        if logger.isEnabledFor(logging.DEBUG):
            outcome = "-" if error is None else type(error).__name__
            seconds = context.clock.monotonic() - began
            logger.debug("%s error=%s ms=%.1f", _NAME, outcome, seconds * 1000)
        if self._observer is not None:
            self._observer.connection(error)
        if web_socket is not None:
            return web_socket
        assert error is not None  # noqa: S101 - there is either
        error.operation, error.attempts = _NAME, 1
        try:
            # The inner frames have the headers of `before_attempt` and the proxy's password.
            raise error.with_traceback(None)
        finally:
            del error  # breaks a reference cycle: its traceback holds this frame

    async def _open(self, began: float) -> WebSocket:
        context, seconds = self._context, self._options.attempt_seconds
        headers: Mapping[str, str] = {}
        if context.hooks.before is not None:
            headers = context.hooks.extra_headers(AttemptStart(_NAME, 1), {})
        timeout = asyncio.timeout(seconds)
        error: PortSIPError
        try:
            async with timeout:
                opened, response = await context.transport.open_web_socket(
                    self._url, self._options.http, headers
                )
            on_message = None if self._observer is None else self._observer.message
            return WebSocket(opened, response, on_message)
        except HandshakeRefused as refused:
            error = self._refusal(refused.reply)
        except AssertionError:
            error = TransportError("the connection broke right after the handshake")
        except FOREIGN as foreign:
            if timeout.expired():
                text = f"no complete handshake came within {seconds:.3g} s"
                error = RequestTimeout(context.stalls.explain(text, began))
            else:
                error, _ = context.transport.translate(foreign, [])
        if isinstance(error, RequestTimeout):
            context.transport.retire_idle()
        raise error

    def _refusal(self, reply: Reply) -> PortSIPError:
        """Return the error of an ordinary reply."""
        error: PortSIPError
        try:
            ReplyParser(_ENDPOINT, self._errors).parse(reply, self._context.clock.now)
            error = TransportError(f"no web socket there: expected HTTP 101, got {reply.status}")
        except APIError as failed:
            error = scrub_error(failed, [])
        error.headers = naming_headers(reply.headers, [])
        return error
