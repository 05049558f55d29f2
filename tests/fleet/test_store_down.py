"""The processes go on while their Redis doesn't, if the PBX allows an account several tokens."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest

from portsip_async.simulator import PBXSimulator

from .processes import Processes
from .redis_server import RedisServer
from .token_workers import go, start_workers, stop, wait_for_calls, wait_for_warnings

pytestmark = pytest.mark.fleet


class Fault(NamedTuple):
    """Something that happens to Redis, and its end."""

    begin: Callable[[RedisServer], None]
    end: Callable[[RedisServer], None]


def _configure(name: str, value: str) -> Callable[[RedisServer], None]:
    def configure(server: RedisServer) -> None:
        with server.client() as client:
            client.config_set(name, value)

    return configure


def _change_password(server: RedisServer) -> None:
    _configure("requirepass", "another-password")(server)


def _restore_password(server: RedisServer) -> None:
    with server.client("another-password") as client:
        client.config_set("requirepass", server.password)


FAULTS: Mapping[str, Fault] = {
    "killed": Fault(RedisServer.kill, RedisServer.start),
    "paused": Fault(RedisServer.pause, RedisServer.resume),
    "full": Fault(_configure("maxmemory", "1"), _configure("maxmemory", "0")),
    "password": Fault(_change_password, _restore_password),
}


@pytest.fixture
def sim() -> Iterator[PBXSimulator]:
    """A PBX that allows an account several tokens, with short lives."""
    with PBXSimulator.in_thread(extensions=5, token_lifetime=2.0) as sim:
        yield sim


def test_redis_fails(sim: PBXSimulator, redis_server: RedisServer, processes: Processes) -> None:
    """No call fails, and each process warns once when Redis goes and once when it is back."""
    workers = start_workers(processes, sim, classic=2, v22=2, store=redis_server.url, pause=0.05)
    go(workers)
    wait_for_calls(workers)
    warnings = 0
    for fault in FAULTS.values():
        fault.begin(redis_server)
        wait_for_warnings(workers, warnings + 1)
        wait_for_calls(workers)
        fault.end(redis_server)
        wait_for_warnings(workers, warnings := warnings + 2)
        wait_for_calls(workers)
        for worker in workers:
            gone, back = worker.having("warning")[warnings - 2 :]
            assert gone != back
    result = stop(workers)
    assert result.errors == {}
    assert result.longest < 3
    logged = processes.logged().decode()
    assert redis_server.password not in logged
    assert redis_server.url.partition("@")[2] not in logged
