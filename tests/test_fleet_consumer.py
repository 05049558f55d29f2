"""A consumer of a fleet whose reads go wrong, on ``memory://``."""

import asyncio
from typing import Any

import pytest

from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet, FleetChange
from portsip_async.fleet.store import FleetStore, StreamEvent
from portsip_async.simulator import PBXSimulator


async def test_events_whose_reply_was_lost_come_without_a_later_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis counts them as delivered, so no later read returns them."""
    lost: list[StreamEvent] = []
    read = FleetStore.next

    async def lose_first(self: FleetStore, *arguments: Any) -> list[StreamEvent]:
        found = await read(self, *arguments)
        if lost:
            return found
        lost.extend(found)
        return []

    monkeypatch.setattr(FleetStore, "next", lose_first)
    async with PBXSimulator(2, status_seconds=0) as pbx:

        async def connect(name: str, **shared: Any) -> PortSIPClient:
            return PortSIPClient(pbx.url, username=pbx.username, password=pbx.password, **shared)

        async with Fleet("memory://", connect=connect, pbxes=["acme"]) as fleet:
            stream = fleet.changes("board", from_start=True)
            async with asyncio.timeout(10):
                events = [await anext(stream) for _ in range(2)]
            await stream.aclose()
    numbers = [each.change.extension_number for each in events if isinstance(each, FleetChange)]
    assert sorted(numbers) == ["100", "101"]
    assert len(lost) == 2
