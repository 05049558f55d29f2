"""One store for several loops, threads and forks."""

from collections import Counter

import pytest

from portsip_async.simulator import PBXSimulator

from .processes import Processes
from .redis_server import RedisServer

pytestmark = pytest.mark.fleet


def test_loops_threads_and_forks(redis_server: RedisServer, processes: Processes) -> None:
    """A store may be made before a fork, and serves any number of loops: all log in once."""
    with PBXSimulator.in_thread(extensions=5, quirks=["one_token"]) as sim:
        process = processes.start(
            "tests.fleet.forks",
            url=sim.url,
            username=sim.username,
            password=sim.password,
            store=redis_server.url,
        )
        process.read_until("end")
        reports = process.lines[:-1]
        assert [each for each in reports if each["error"]] == []
        kinds = Counter(each["kind"] for each in reports)
        assert kinds == {"loop": 2, "thread": 2, "fork": 3, "late fork": 1}
        assert sim.served["account.verify"] == 1
        assert process.wait() == 0
