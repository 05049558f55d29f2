"""Starts the service of `service` with several workers, and sends requests to it."""

import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress

import aiohttp

from portsip_async.simulator import PBXSimulator

from ..soak.nginx import HOST, free_port
from .processes import PATIENCE, Process, Processes

WORKERS = 4


class ServiceLoad:
    """What the service replied.

    Attributes:
        statuses: how many replies had each status.
        processes: how many replies came from each process, errors not included.
    """

    def __init__(self, processes: Processes, sim: PBXSimulator, store: str | None) -> None:
        """Start the service with a client of the simulator in each worker."""
        self.statuses: Counter[int] = Counter()
        self.processes: Counter[str] = Counter()
        port = free_port()
        self._url = f"http://{HOST}:{port}/100"
        env = {
            "PORTSIP_URL": sim.url,
            "PORTSIP_USERNAME": sim.username,
            "PORTSIP_PASSWORD": sim.password,
        }
        if store is not None:
            env["TOKEN_STORE"] = store
        self._service: Process = processes.run(
            *(sys.executable, "-m", "uvicorn", "tests.fleet.service:app", "--no-access-log"),
            *("--host", HOST, "--port", str(port), "--workers", str(WORKERS)),
            env=env,
        )

    async def run(self, seconds: float, *, in_flight: int = 2 * WORKERS) -> None:
        """Send requests, each over a connection of its own, so that all workers get some."""
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            await self._wait_for_workers(session)
            self.statuses.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                    for _ in range(in_flight):
                        group.create_task(self._loop(session))

    def stop(self) -> None:
        """Stop the service, and wait until its workers have ended."""
        self._service.terminate()
        assert self._service.wait() == 0

    async def _wait_for_workers(self, session: aiohttp.ClientSession) -> None:
        until = time.monotonic() + PATIENCE
        while len(self.processes) < WORKERS:
            assert time.monotonic() < until, self._service.log.read_text()
            assert self._service.exit_code is None, self._service.log.read_text()
            try:
                await self._get(session)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)

    async def _loop(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._get(session)

    async def _get(self, session: aiohttp.ClientSession) -> None:
        async with session.get(self._url) as response:
            self.statuses[response.status] += 1
            if process := response.headers.get("X-Process"):
                self.processes[process] += 1
