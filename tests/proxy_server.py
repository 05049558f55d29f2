"""A proxy for tests. It opens tunnels, or reacts to CONNECT in another way."""

import asyncio
import ssl as tls
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | bytes


class ProxyServer:
    """Reacts to CONNECT requests as a list says; its last entry is repeated.

    Attributes:
        answers: how to react. None opens the tunnel; bytes are sent, then the connection ends.
        heads: the requests that arrived, without bodies.
        writers: the open connections to clients.
    """

    def __init__(self, *answers: Answer | None, ssl: tls.SSLContext | None = None) -> None:
        self.answers = list(answers) or [None]
        self.heads: list[bytes] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self._ssl = ssl
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._ssl else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            answer = self.answers[min(len(self.heads), len(self.answers)) - 1]
            if answer is None:
                await _tunnel(head, reader, writer)
            elif isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.writers.discard(writer)
            self._tasks.discard(task)


async def _tunnel(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = head.split()[1].decode().partition(":")
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    try:
        tasks = [
            asyncio.ensure_future(_pipe(reader, far_writer)),
            asyncio.ensure_future(_pipe(far_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        far_writer.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
