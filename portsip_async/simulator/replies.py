"""What aiohttp.web has no switch for: replies that break off, large bodies, a log without texts."""

import asyncio
import logging
from collections.abc import Mapping

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage

_MAX_BODY = 64 * 1024 * 1024  # bytes of JSON; a status request may name 100,000 extensions


class Unanswered(web.StreamResponse):
    """No reply: the connection is closed instead."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Break off before the first byte."""
        # aiohttp takes this for a client that went away, and closes the connection.
        raise ConnectionResetError


class Truncated(web.StreamResponse):
    """A reply whose connection is closed in the middle of the body that it promised."""

    def __init__(self, *, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        # An empty body has no middle: one is promised.
        self.content_length = len(body) or 2
        self._sent = body[: len(body) // 2]

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the head and half of the body, and break off."""
        await super().prepare(request)
        await self.write(self._sent)
        raise ConnectionResetError


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """Make a request as ``web.Server`` does, but with room for a large body."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY
    )


async def invite_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it, as curl does with a large file, to send its body."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # what follows is the reply's first byte


def discreet_log() -> logging.Logger:
    """Answer a logger for aiohttp.web that tells an error's type, never its text."""
    log = logging.getLogger(__name__)
    log.addFilter(_hide_text)
    return log


def _hide_text(record: logging.LogRecord) -> bool:
    # A request that could not be read is quoted in the error, its token included.
    kind = record.exc_info[0] if record.exc_info else None
    record.msg = f"a request failed: {kind.__name__ if kind else 'unknown'}"
    record.args = record.exc_info = record.exc_text = None
    return True
