"""A simulated PBX for the examples, used if the environment names no PBX."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portsip_async.simulator import PBXSimulator


@asynccontextmanager
async def simulated_pbx(extensions: int = 1000) -> AsyncIterator[None]:
    """Start a simulated PBX for `PortSIPClient.from_env`, unless PORTSIP_URL is set.

    Your own application doesn't need this.
    """
    if os.environ.get("PORTSIP_URL"):
        yield
        return
    async with PBXSimulator(extensions=extensions) as simulator:
        variables = {
            "PORTSIP_URL": simulator.url,
            "PORTSIP_USERNAME": simulator.username,
            "PORTSIP_PASSWORD": simulator.password,
            "PORTSIP_DOMAIN": simulator.domain,  # only used by the client of generation v22
        }
        os.environ.update(variables)
        print(f"PORTSIP_URL is not set: simulating a PBX at {simulator.url}", file=sys.stderr)
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]
