"""A consumer of a fleet that writes down each event before it asks for the next one."""

import asyncio
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

import msgspec

from portsip_async import ExtensionStatus
from portsip_async.fleet import FleetChange, FleetEvent, FleetOutage

from .chains import Line, State, View
from .processes import settings


def line_of(event: FleetEvent) -> Line:
    """Return an event as a line."""
    now = time.monotonic()
    if isinstance(event, FleetChange):
        change = event.change
        return Line(
            now,
            "change",
            event.pbx,
            event.id,
            change.extension_number,
            state_of(change.before),
            state_of(change.after),
        )
    if isinstance(event, FleetOutage):
        error = None if event.error is None else str(event.error)
        return Line(now, "outage", event.pbx, event.id, error=error)
    return Line(now, "resync", event.pbx, event.id, snapshot=view_of(event.snapshot))


def state_of(status: object) -> State | None:
    """Return a status as the farm knows it."""
    if status is None:
        return None
    assert isinstance(status, ExtensionStatus)
    return status.status, status.user_agent


def view_of(snapshot: Mapping[str, object]) -> View:
    """Return a snapshot as the farm knows it."""
    states = {number: state_of(status) for number, status in snapshot.items()}
    return {number: state for number, state in states.items() if state is not None}


def read_lines(path: Path) -> list[Line]:
    """Return what a consumer wrote; a last line that it did not finish is left out."""
    whole = path.read_bytes() if path.exists() else b""
    lines = whole[: whole.rfind(b"\n") + 1].splitlines()
    return [msgspec.json.decode(line, type=Line) for line in lines]


async def _consume(file: FileIO, group: str, consumer: str) -> None:
    from .noc import fleet

    async with fleet:
        async for event in fleet.changes(group, consumer=consumer, from_start=True):
            file.write(msgspec.json.encode(line_of(event)) + b"\n")


def _main(group: str, consumer: str, path: str) -> None:
    # Unbuffered, so that what a killed consumer wrote is there.
    with Path(path).open("ab", buffering=0) as file:
        asyncio.run(_consume(file, group, consumer))


if __name__ == "__main__":
    _main(**settings())
