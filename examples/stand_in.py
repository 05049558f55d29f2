"""A PBX to try the examples on, where the environment names none."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portsip_async.simulator import PBXSimulator


@asynccontextmanager
async def stand_in_pbx(extensions: int = 1000) -> AsyncIterator[None]:
    """Let `PortSIPClient.from_env` find a simulated PBX, unless PORTSIP_URL is set.

    An application of your own leaves this out.
    """
    if os.environ.get("PORTSIP_URL"):
        yield
        return
    async with PBXSimulator(extensions=extensions) as simulator:
        told = {
            "PORTSIP_URL": simulator.url,
            "PORTSIP_USERNAME": simulator.username,
            "PORTSIP_PASSWORD": simulator.password,
        }
        os.environ.update(told)
        print(f"PORTSIP_URL is not set: simulating a PBX at {simulator.url}", file=sys.stderr)
        try:
            yield
        finally:
            for name in told:
                del os.environ[name]
