"""The cycles of one worker, run by hand on ``memory://``."""

import asyncio
from typing import Any

from portsip_async import PortSIPClient, RetryPolicy
from portsip_async.fleet import FleetOutage
from portsip_async.fleet.cycle import Cycles
from portsip_async.fleet.engine import Engine
from portsip_async.fleet.metrics import FleetMetrics
from portsip_async.fleet.store import FleetStore
from portsip_async.simulator import PBXSimulator


async def test_two_cycles_of_a_pbx_in_one_worker_run_one_after_the_other() -> None:
    """A worker that was paused may get its own cycle again while it runs."""
    engine = Engine("memory://", "fleet")
    await engine.open()
    store = FleetStore(engine.redis, engine.prefix)
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
        await store.seed(["acme"])
        await store.ensure_group("board", "0-0")
        await asyncio.gather(cycles.run("acme"), cycles.run("acme"))
        assert len((await store.read("acme")).statuses) == 2
        pbx.fail("extensions.status", status=503, times=None)
        await asyncio.gather(cycles.run("acme"), cycles.run("acme"))
        assert (await store.read("acme")).status.consecutive_failures == 2
        events = [entry.event for entry in await store.next("board", "consumer", 0.1)]
        assert [type(event) for event in events][2:] == [FleetOutage]
        await cycles.close()
    await engine.close()
