"""The server's side of a web socket, written byte by byte, for a `WireServer`'s script."""

import asyncio
import base64
import struct
from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Any, Final

from .wire_server import Arrival

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


def accepted(arrival: Arrival, **changes: str) -> bytes:
    """Write the reply that accepts a handshake, with some headers changed."""
    key = arrival.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(sha1(key.encode()).digest()).decode(),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """Write a whole message, or a control frame."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    return bytes([0x80 | opcode, 127]) + struct.pack("!Q", size) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame of the client: its opcode and its payload."""
    first, size = await reader.readexactly(2)
    size &= 0x7F  # all frames of a client are masked
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    elif size == 127:
        size = int.from_bytes(await reader.readexactly(8))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def accept(handler: Handler | bytes | None = None, **changes: str) -> Any:
    """Make a step that accepts a handshake.

    Args:
        handler: goes on with the open web socket; bytes are sent, then the step waits.
        changes: headers of the reply to change.
    """

    async def step(
        arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(accepted(arrival, **changes))
        if callable(handler):
            await handler(reader, writer)
            return
        writer.write(handler or b"")
        await asyncio.Event().wait()

    return step


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each message back, until the client closes the web socket."""
    while True:
        opcode, payload = await read_frame(reader)
        writer.write(frame(opcode, payload))
        if opcode == CLOSE:
            return
