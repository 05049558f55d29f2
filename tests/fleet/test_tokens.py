"""Several processes share one token through a real Redis, with PBXes that allow one login."""

from collections.abc import Iterator

import pytest

from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import Faults, PBXSimulator

from .processes import Processes, wait_until
from .redis_server import RedisServer
from .token_workers import (
    GENERATIONS,
    LOGIN,
    REFRESH,
    Turns,
    fail,
    go,
    log_in,
    run,
    served,
    start_workers,
    stop,
    wait_for_calls,
)

pytestmark = pytest.mark.fleet

LIFE = 30.0  # seconds of a token, as a classic PBX issues it
STALE = LIFE * 2 / 3  # its age when it is renewed
PAUSE = 0.05  # seconds between two calls where the throughput doesn't matter


@pytest.fixture
def sim() -> Iterator[PBXSimulator]:
    """A PBX that ends a token of an account on its next login."""
    with PBXSimulator.in_thread(extensions=5, token_lifetime=LIFE, quirks=["one_token"]) as sim:
        yield sim


@pytest.mark.parametrize("generation", GENERATIONS)
def test_one_login(
    generation: str, sim: PBXSimulator, redis_server: RedisServer, processes: Processes
) -> None:
    """Four processes log in once, and do at least 0.7 of what one of them does.

    Both have eight calls in flight. Without a store it is less than half.
    """
    workers = start_workers(processes, sim, **{generation: 4}, store=redis_server.url)
    sim.faults = Faults(latency=0.02)
    alone = run(workers[:1], 1.5, loops=8)
    together = run(workers, 1.5, loops=2)
    assert together.errors == alone.errors == {}
    assert served(sim, generation)[LOGIN[generation]] == 1
    assert together.rate >= 0.7 * alone.rate


@pytest.mark.parametrize("quirks", [[], ["refresh_prolongs"]], ids=["replacing", "prolonging"])
def test_renewals_are_shared(
    quirks: list[str], redis_server: RedisServer, processes: Processes
) -> None:
    """One process refreshes for all of them, and nobody logs in again.

    A refresh of v22 ends the token that it replaces, so the others' calls are rejected and sent
    again.
    """
    life, seconds = 2.0, 4.0
    with PBXSimulator.in_thread(
        extensions=5, token_lifetime=life, quirks=["one_token", *quirks]
    ) as sim:
        workers = start_workers(
            processes, sim, classic=3, v22=2, store=redis_server.url, pause=PAUSE
        )
        assert run(workers, seconds).errors == {}
        wanted = seconds / (life * 2 / 3)
        for generation in GENERATIONS:
            arrived = served(sim, generation)
            assert arrived[LOGIN[generation]] == 1
            assert wanted - 1 <= arrived[REFRESH[generation]] <= wanted + 1


def test_outside_logins(sim: PBXSimulator, redis_server: RedisServer, processes: Processes) -> None:
    """Each of five logins of somebody else costs the processes one login, and no call fails."""
    workers = start_workers(processes, sim, classic=4, v22=2, store=redis_server.url, pause=PAUSE)
    go(workers)
    wait_for_calls(workers)
    for _ in range(5):
        for generation in GENERATIONS:
            log_in(sim, generation)
        wait_for_calls(workers)
    assert stop(workers).errors == {}
    for generation in GENERATIONS:
        assert 5 <= served(sim, generation)[LOGIN[generation]] - 5 <= 6


def test_wrong_password(sim: PBXSimulator, redis_server: RedisServer, processes: Processes) -> None:
    """Six processes with a wrong password make one login, until one has the right password."""
    workers = start_workers(
        processes, sim, classic=6, v22=2, password="wrong", store=redis_server.url, pause=PAUSE
    )
    result = run(workers, 1.2)
    assert result.calls == 0
    assert result.errors.keys() == {"AuthenticationError"}
    assert result.errors["AuthenticationError"] >= 8 * 5
    for generation in GENERATIONS:
        assert served(sim, generation)[LOGIN[generation]] == 1
    for generation in GENERATIONS:
        log_in(sim, generation, RedisTokenStore.from_url(redis_server.url))
    go(workers)
    wait_for_calls(workers, 1)
    stop(workers)
    for generation in GENERATIONS:
        assert served(sim, generation)[LOGIN[generation]] == 2


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("fault", ["killed", "paused"])
def test_renewer_stops(
    generation: str,
    fault: str,
    sim: PBXSimulator,
    redis_server: RedisServer,
    processes: Processes,
) -> None:
    """A process that is killed or paused while it renews the token delays nobody.

    The PBX answers the renewal late, so it happens within the turn.
    """
    workers = start_workers(processes, sim, **{generation: 3}, store=redis_server.url, pause=PAUSE)
    log_in(sim, generation, RedisTokenStore.from_url(redis_server.url))
    _make_stale_in(redis_server, 1)
    fail(sim, generation)(REFRESH[generation], latency=1.5)
    turns = Turns(workers)
    go(workers)
    renewer = turns.next()
    others = [worker for worker in workers if worker is not renewer]
    wait_until(lambda: served(sim, generation)[REFRESH[generation]] == 1)
    if fault == "killed":
        renewer.kill()
    else:
        renewer.pause()
    assert turns.next() in others
    wait_for_calls(others)
    if fault == "paused":
        renewer.resume()
        wait_until(lambda: False in renewer.having("put"))  # its outcome is too old
        wait_for_calls(workers)
        assert stop([renewer]).errors == {}
    result = stop(others)
    assert result.errors == {}
    assert result.longest < 1


def test_slow_login(sim: PBXSimulator, redis_server: RedisServer, processes: Processes) -> None:
    """A turn lasts as long as its renewal: while one process logs in, the others wait."""
    workers = start_workers(processes, sim, classic=3, v22=2, store=redis_server.url, pause=PAUSE)
    for generation in GENERATIONS:
        fail(sim, generation)(LOGIN[generation], latency=2.5)
    go(workers)
    wait_for_calls(workers)
    assert stop(workers).errors == {}
    for generation in GENERATIONS:
        assert served(sim, generation)[LOGIN[generation]] == 1


def test_first_login_killed(
    sim: PBXSimulator, redis_server: RedisServer, processes: Processes
) -> None:
    """If the first login is killed, the others wait a short time, and one of them logs in."""
    workers = start_workers(processes, sim, classic=4, store=redis_server.url, pause=PAUSE)
    sim.fail("account.verify", latency=5)
    turns = Turns(workers)
    go(workers)
    renewer = turns.next()
    wait_until(lambda: sim.served["account.verify"] == 1)
    renewer.kill()
    others = [worker for worker in workers if worker is not renewer]
    wait_for_calls(others)
    result = stop(others)
    assert result.errors == {}
    assert result.longest < 2
    assert sim.served["account.verify"] == 2


def _make_stale_in(server: RedisServer, seconds: float) -> None:
    """Let the shared token be so old that it has to be renewed in a few seconds."""
    with server.client() as client:
        (key,) = client.keys("portsip:token:*")
        client.pexpire(key, round((LIFE - STALE + seconds) * 1000))
