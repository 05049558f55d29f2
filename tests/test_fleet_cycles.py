"""The cycles of one worker, run by hand on ``memory://``."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from portsip_async import PortSIPClient, RetryPolicy
from portsip_async.fleet import FleetOutage, PBXStatus
from portsip_async.fleet.cycle import Cycles
from portsip_async.fleet.engine import Engine
from portsip_async.fleet.metrics import FleetMetrics
from portsip_async.fleet.store import REFUSED, WRITTEN, FleetStore, outage_event
from portsip_async.simulator import PBXSimulator


@pytest.fixture
async def store() -> AsyncIterator[FleetStore]:
    """A store with one PBX, and a group that reads its stream from the start."""
    engine = Engine("memory://", "fleet")
    await engine.open()
    store = FleetStore(engine.redis, engine.prefix)
    await store.seed(["acme"])
    await store.ensure_group("board", "0-0")
    yield store
    await engine.close()


async def test_two_cycles_of_a_pbx_in_one_worker_run_one_after_the_other(
    store: FleetStore,
) -> None:
    """A worker that was paused may get its own cycle again while it runs."""
    async with PBXSimulator(2, status_seconds=0) as pbx:

        async def connect(name: str, **_: Any) -> PortSIPClient:
            return PortSIPClient(
                pbx.url,
                username=pbx.username,
                password=pbx.password,
                retry=RetryPolicy(attempts=1),
            )

        cycles = Cycles(
            store,
            connect,
            shared={},
            interval=5.0,
            keep_changes=1000,
            metrics=FleetMetrics("fleet"),
            worker="worker",
        )
        await asyncio.gather(cycles.run("acme"), cycles.run("acme"))
        assert len((await store.read("acme")).statuses) == 2
        pbx.fail("extensions.status", status=503, times=None)
        await asyncio.gather(cycles.run("acme"), cycles.run("acme"))
        assert (await store.read("acme")).status.consecutive_failures == 2
        events = [entry.event for entry in await store.next("board", "consumer", 0.1)]
        assert [type(event) for event in events][2:] == [FleetOutage]
        await cycles.close()


async def test_a_cycle_that_another_one_overtook_writes_nothing(store: FleetStore) -> None:
    """It read the same snapshot as the cycle that wrote first."""
    record = await store.read("acme")

    async def write(worker: str) -> int:
        return await store.write(
            "acme",
            record,
            status=PBXStatus(worker=worker),
            outage_since=None,
            snapshot=None,
            events=[outage_event(datetime.now(UTC), worker)],
        )

    assert [await write("first"), await write("late")] == [WRITTEN, REFUSED]
    assert (await store.read("acme")).status.worker == "first"
    events = [entry.event for entry in await store.next("board", "consumer", 0.1)]
    assert [getattr(event, "error", None) for event in events] == ["first"]
