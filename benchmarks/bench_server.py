"""The server itself: how much it serves, so that no client waits for it.

Connections with pipelines full of requests ask as fast as replies can be counted, in a process
that reads nothing of them. Both sides are told by their CPU time: what each could do with a core
to itself.
"""

import asyncio
from typing import Any

import msgspec

from .bench_calls import BATCH, WORKS, Rounds
from .harness import HOST, Figure, Server, Table, answer, fresh

CONNECTIONS, PIPELINE = 4, 8
SECONDS, QUICK_SECONDS = 0.8, 0.4

_HEAD = b" HTTP/1.1\r\nHost: %s\r\n" % HOST.encode()
_BATCH = msgspec.json.encode({"access_token": "0" * 32, "extensions": BATCH})
REQUESTS = {
    "list": b"GET /api/extensions/list?access_token=0&pagination=1&pagesize=100%s\r\n" % _HEAD,
    "show": b"GET /api/extensions/show?access_token=0&extension_number=1000%s\r\n" % _HEAD,
    "status": b"POST /api/extensions/status%sContent-Length: %d\r\n\r\n%s"
    % (_HEAD, len(_BATCH), _BATCH),
}


class _Flood(asyncio.Protocol):
    """A connection that asks a pipeline of requests, and again when all are answered."""

    def __init__(self, request: bytes, reply_bytes: int) -> None:
        self._requests = request * PIPELINE
        self._due = self._left = reply_bytes * PIPELINE
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._requests)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left == 0:
            self._left = self._due
            self._transport.write(self._requests)


async def _reply_bytes(host: str, port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return len(head) + int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


async def work(task: dict[str, Any]) -> None:
    """Be the flood."""
    host, port = task["host"], task["port"]
    loop = asyncio.get_running_loop()
    request = REQUESTS[task["work"]]
    size = await _reply_bytes(host, port, request)
    floods = [
        await loop.create_connection(lambda: _Flood(request, size), host, port)
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(task["seconds"])
    for transport, _ in floods:
        transport.abort()


def measure(rounds: Rounds, *, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Flood the server, and answer how far it is ahead of the fastest client of the run."""
    progress("server")
    rows = []
    ahead = []
    with Server() as server:
        host, port = server.urls["plain"].removeprefix("http://").split(":")
        for name in WORKS:
            seconds = QUICK_SECONDS if quick else SECONDS
            before = server.counts()
            task = {"work": name, "host": host, "port": int(port), "seconds": seconds}
            fresh("bench_server", task)
            after = server.counts()
            served = (after["requests"] - before.get("requests", 0)) / (
                after["cpu"] - before["cpu"]
            )
            who, asked = rounds.fastest(name)
            ahead.append(served / asked)
            rows.append([name, f"{served:,.0f}", who, f"{asked:,.0f}", f"{ahead[-1]:.1f}"])
    head = ["work", "served a second", "fastest client", "asked a second", "times as much"]
    note = (
        f"By CPU seconds of each side; the server was asked over {CONNECTIONS} connections in "
        f"pipelines of {PIPELINE}."
    )
    table = Table("What the server can serve", head, rows, note)
    return {"server": Figure.of([min(ahead)])}, [table]


if __name__ == "__main__":
    answer(work)
