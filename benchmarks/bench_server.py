"""The server: how many requests it can serve, to show that no client waits for it.

A few connections send pipelines of requests. They count the bytes of the replies, but don't parse
them. Rates are per CPU second of each side, as if each side had a core to itself.
"""

import asyncio
from typing import Any

import msgspec

from .bench_calls import BATCH, OPERATIONS, Results
from .harness import HOST, Figure, Findings, Progress, Server, Table, main, run_in_process

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
    """A connection that sends one pipeline of requests after the other."""

    def __init__(self, request: bytes, reply_bytes: int) -> None:
        self._requests = request * PIPELINE
        self._expected = self._left = reply_bytes * PIPELINE
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._requests)

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left == 0:
            self._left = self._expected
            self._transport.write(self._requests)


async def _reply_bytes(host: str, port: int, request: bytes) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return len(head) + int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


async def run(task: dict[str, Any]) -> None:
    """Send requests of one operation for some seconds."""
    host, port = task["host"], task["port"]
    loop = asyncio.get_running_loop()
    request = REQUESTS[task["operation"]]
    size = await _reply_bytes(host, port, request)
    floods = [
        await loop.create_connection(lambda: _Flood(request, size), host, port)
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(task["seconds"])
    for transport, _ in floods:
        transport.abort()


def measure(calls: Results, *, quick: bool, progress: Progress) -> Findings:
    """Flood the server, and compare its rate with that of the fastest client in the run."""
    progress("server")
    rows = []
    ratios = []
    with Server() as server:
        host, port = server.urls["plain"].removeprefix("http://").split(":")
        for operation in OPERATIONS:
            task = {
                "operation": operation,
                "host": host,
                "port": int(port),
                "seconds": QUICK_SECONDS if quick else SECONDS,
            }
            before = server.counts()
            run_in_process("bench_server", task)
            after = server.counts()
            served = (after["requests"] - before["requests"]) / (after["cpu"] - before["cpu"])
            client, sent = calls.fastest(operation)
            ratios.append(served / sent)
            rows.append([operation, f"{served:,.0f}", client, f"{sent:,.0f}", f"{ratios[-1]:.1f}"])
    head = ["operation", "served a second", "fastest client", "sent a second", "ratio"]
    note = (
        f"Per CPU second of each side. The server is measured over {CONNECTIONS} connections with "
        f"pipelines of {PIPELINE}."
    )
    table = Table("What the server can serve", head, rows, note)
    return {"server": Figure.of([min(ratios)])}, [table]


if __name__ == "__main__":
    main(run)
