"""A web service with several workers, in front of a PBX that allows an account one token."""

import pytest

from portsip_async.simulator import PBXSimulator

from .processes import Processes
from .redis_server import RedisServer
from .service_load import ServiceLoad

pytestmark = pytest.mark.fleet


async def test_uvicorn_with_workers(redis_server: RedisServer, processes: Processes) -> None:
    """Four workers log in once, and each of them serves."""
    with PBXSimulator.in_thread(extensions=5, quirks=["one_token"]) as sim:
        load = ServiceLoad(processes, sim, redis_server.url)
        await load.run(2)
        assert load.statuses.keys() == {200}
        assert load.statuses[200] > 50
        assert sim.served["account.verify"] == 1
        load.stop()
