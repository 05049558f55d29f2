"""Serve the wallboard of the examples in the process of a test, with its simulated PBX."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import wallboard
from aiohttp import web

from portsip_async.simulator import PBXSimulator

SECONDS = 20.0  # to wait for an event of a board


def point_at(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the wallboard at a simulator, and shorten its intervals."""
    monkeypatch.setenv("PORTSIP_URL", sim.url)
    monkeypatch.setenv("PORTSIP_USERNAME", sim.username)
    monkeypatch.setenv("PORTSIP_PASSWORD", sim.password)
    monkeypatch.setenv("PORTSIP_DOMAIN", sim.domain)
    for name, seconds in (
        ("FRAME", 0.02),
        ("BEAT", 0.2),
        ("NAMES_PAUSE", 0.05),
        ("REFUSED_PAUSE", 0.05),
    ):
        monkeypatch.setattr(wallboard, name, seconds)


@asynccontextmanager
async def served(
    *, interval: float = 0.05, port: int = 0, api: str = "classic"
) -> AsyncIterator[str]:
    """Serve the wallboard on a local port and yield its URL."""
    runner = web.AppRunner(wallboard.make_app(interval, api), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        async with asyncio.timeout(SECONDS):
            await runner.cleanup()


class Listener:
    """The state of a browser that receives the events. `read` returns the next event."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self.events: list[tuple[str, Any]] = []
        self.rows: dict[str, list[Any]] = {}
        self.groups: list[Any] = []
        self.health: list[Any] = []
        self._read = read

    async def next_event(self) -> tuple[str, Any]:
        """Read the next event and apply it."""
        lines = (await self._read()).decode().splitlines()
        name, data = lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))
        self.events.append((name, data))
        if name == "snapshot":
            self.rows = {row[0]: row for row in data}
        elif name == "changes":
            for number, row in data:
                if row is None:
                    self.rows.pop(number, None)
                else:
                    self.rows[number] = row
        elif name == "groups":
            self.groups = data
        else:
            self.health = data
        return name, data

    async def until(self, condition: "Callable[[Listener], object]") -> None:
        """Read events until a condition is true."""
        async with asyncio.timeout(SECONDS):
            while not condition(self):
                await self.next_event()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Listener]:
    """Open an event stream, as a browser does."""
    async with (
        aiohttp.ClientSession(read_bufsize=2**22) as session,
        session.get(f"{url}events", timeout=aiohttp.ClientTimeout(total=None)) as reply,
    ):
        assert reply.content_type == "text/event-stream"
        yield Listener(lambda: reply.content.readuntil(b"\n\n"))
