"""A raw TCP server that follows a script: it handles each request with the script's next step.

It does what only a broken server or network does. Tests of normal behaviour use the simulator. It
replies to logins without the script, so a script contains only what its test is about.
"""

import asyncio
import json
import socket
import ssl as tls
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, Self

TOKEN = "196ACE20C6F34027895F7F95402BB164"


class Arrival(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


# A callable that returns True leaves the connection open for a further request.
Step = Callable[[Arrival, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]] | bytes


def reply(
    body: bytes | str | dict[str, Any] = b"",
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    content_length: bool = True,
) -> bytes:
    """Write an HTTP reply; with `Connection: close` unless the headers say otherwise."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    lines = {"Content-Type": "application/json", "Connection": "close"} | (headers or {})
    if content_length and "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Some reason\r\n{head}\r\n".encode() + body


async def hang_up(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close the connection without a reply."""
    writer.close()


async def reset(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection without a reply."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silence(_: Arrival, __: asyncio.StreamReader, ___: asyncio.StreamWriter) -> None:
    """Never reply."""
    await asyncio.Event().wait()


class WireServer:
    """Handles requests by a script.

    Attributes:
        script: the step for each request; the last one is repeated.
        arrivals: the requests so far, logins left out.
        handles_logins: whether it replies to logins without the script, as it does by default.
        logins: how many logins it replied to.
        connections: how many connections were made to it.
        writers: the connections that are open now.
    """

    def __init__(self, ssl: tls.SSLContext | None = None, port: int = 0) -> None:
        self._ssl = ssl
        self.port = port
        self.script: list[Step] = [reply({"extension_number": "101"})]
        self.arrivals: list[Arrival] = []
        self.handles_logins = True
        self.logins = 0
        self.connections = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None  # keeps the port while nothing listens on it
        self.writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()

    def paths(self) -> list[str]:
        """Return the paths of the requests, logins left out."""
        return [arrival.path for arrival in self.arrivals]

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self.writers)

    def say(self, data: bytes) -> None:
        """Write to every open connection, without a request."""
        for writer in self.writers:
            writer.write(data)

    def end(self) -> None:
        """Shut every connection down in the kernel, so that the peer can see it at once."""
        for writer in self.writers:
            writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    async def leave(self) -> None:
        """Stop listening, so that connections are refused. The port stays reserved."""
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def __aenter__(self) -> Self:
        if self._reserved is None:
            # Bound before anything listens: the kernel then gives the port to no connection, even
            # between two servers on it.
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(("127.0.0.1", self.port))
            self.port = self._reserved.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._ssl
        )
        self.url = f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self._reply_to(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()  # only after this can the client see it
            self.writers.discard(writer)
            self._serving.discard(task)

    async def _reply_to(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        arrival = await arriving(reader)
        if self.handles_logins and arrival.path.startswith("/api/account/"):
            self.logins += 1
            writer.write(
                reply({"access_token": TOKEN, "expires": 600}, headers={"Connection": "keep-alive"})
            )
            await writer.drain()
            return True
        self.arrivals.append(arrival)
        step = self.script[min(len(self.arrivals), len(self.script)) - 1]
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
            return b"Connection: close" not in step
        return await step(arrival, reader, writer) is True


async def arriving(reader: asyncio.StreamReader) -> Arrival:
    """Read a whole request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *lines = head[:-4].split("\r\n")
    method, target, _ = request.split(" ", 2)
    path, _, query = target.partition("?")
    headers = {
        name.lower(): value.strip(" \t")
        for name, _, value in (line.partition(":") for line in lines)
    }
    return Arrival(method, path, query, headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(chunks)
