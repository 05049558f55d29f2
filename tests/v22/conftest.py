"""Fixtures of the tests of generation v22."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient

from ..conftest import QUICK

V22Maker = Callable[..., PortSIPClient]


@pytest.fixture
async def make_v22(sim: PBXSimulator) -> AsyncIterator[V22Maker]:
    """Make clients of v22 that are closed at the end: of the simulator, or of the PBX at `url`."""
    async with AsyncExitStack() as stack:

        def make(url: str | None = None, **options: Any) -> PortSIPClient:
            if not options.keys() & {"username", "credentials", "token"}:
                options |= {
                    "username": sim.username,
                    "password": sim.password,
                    "domain": sim.domain,
                }
            options.setdefault("retry", QUICK)
            client = PortSIPClient(url or sim.url, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def pbx22(make_v22: V22Maker) -> PortSIPClient:
    """A client of the simulator that has not logged in yet."""
    return make_v22()
