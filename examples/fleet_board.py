"""Follow the statuses of many PBXes with a fleet.

    python examples/fleet_board.py [redis://localhost/0] [--pbxes 20] [--workers 2] [--seconds 60]

It simulates the PBXes, and prints each change until Ctrl-C. Without a URL everything runs in this
process, and needs no Redis. With a URL, it starts workers. Kill one, and the others go on.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet, FleetChange, FleetEvent, FleetResync
from portsip_async.simulator import PBXSimulator

VARIABLE = "FLEET_BOARD_PBXES"  # for the workers: the addresses of the simulated PBXes, by name
USERNAME, PASSWORD = "admin", "simulated-Secret-1"  # of the simulated PBXes


def make_fleet(url: str, addresses: dict[str, str]) -> Fleet:
    """Return a fleet that follows the PBXes at these addresses."""

    async def connect(pbx: str, **shared: Any) -> PortSIPClient:
        return PortSIPClient(addresses[pbx], username=USERNAME, password=PASSWORD, **shared)

    return Fleet(url, connect=connect, pbxes=addresses, interval=2.0, name="fleet-board")


@asynccontextmanager
async def simulated_pbxes(count: int) -> AsyncIterator[dict[str, str]]:
    """Start PBXes with 50 extensions each; the value has their addresses by name."""
    async with AsyncExitStack() as stack:
        addresses = {}
        for number in range(1, count + 1):
            simulator = PBXSimulator(
                extensions=50, seed=number, username=USERNAME, password=PASSWORD
            )
            addresses[f"pbx{number:02}"] = (await stack.enter_async_context(simulator)).url
        yield addresses


@asynccontextmanager
async def workers(url: str, count: int, addresses: dict[str, str]) -> AsyncIterator[None]:
    """Run workers in processes of their own, and end them cleanly."""
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, url, "--work"),
            env=os.environ | {VARIABLE: json.dumps(addresses)},
            start_new_session=True,  # Ctrl-C is for this process, which ends the workers
        )
        for _ in range(count)
    ]
    print("Workers:", *(process.pid for process in started), file=sys.stderr)
    try:
        yield
    finally:
        for process in started:
            with suppress(ProcessLookupError):  # somebody killed it
                process.send_signal(signal.SIGTERM)
        for process in started:
            await process.wait()


def describe(event: FleetEvent) -> str:
    """Return an event as a line."""
    if isinstance(event, FleetChange):
        change = event.change
        before = "" if change.before is None else change.before.status
        after = "removed" if change.after is None else change.after.status
        return f"{event.pbx}  {change.extension_number}  {before} -> {after}"
    if isinstance(event, FleetResync):
        return f"{event.pbx}  begins again with {len(event.snapshot)} extensions"
    return f"{event.pbx}  {'is back' if event.error is None else f'is away: {event.error}'}"


async def board(fleet: Fleet) -> None:
    """Print all events. The first ones are the statuses that each extension has now."""
    async for event in fleet.changes(group="board"):
        print(describe(event))


async def report(fleet: Fleet) -> None:
    """Print how many PBXes have statuses, and the workers."""
    status = await fleet.status()
    reached = [pbx for pbx in status.pbxes.values() if pbx.last_success is not None]
    names = sorted({pbx.worker for pbx in reached if pbx.worker is not None})
    extensions = sum(pbx.extensions for pbx in reached)
    print(f"{len(reached)} PBXes with {extensions} extensions, workers: {', '.join(names)}")


async def main(url: str, pbxes: int, count: int, seconds: float | None) -> None:
    """Watch simulated PBXes."""
    async with AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(simulated_pbxes(pbxes))
        fleet = await stack.enter_async_context(make_fleet(url, addresses))
        if not url.startswith("memory:"):
            await stack.enter_async_context(workers(url, count, addresses))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await board(fleet)
        await report(fleet)


async def work(url: str) -> None:
    """Run one worker until SIGTERM."""
    fleet = make_fleet(url, json.loads(os.environ[VARIABLE]))
    working = asyncio.create_task(fleet.work())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    async with fleet:
        with suppress(asyncio.CancelledError):
            await working


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Follow the statuses of many PBXes.")
    parser.add_argument("url", nargs="?", default="memory://", help="a Redis; default: none")
    parser.add_argument("--pbxes", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        if options.work:
            asyncio.run(work(options.url))
        else:
            asyncio.run(main(options.url, options.pbxes, options.workers, options.seconds))
