"""The fleet on ``memory://`` and on a real Redis, with workers and consumers in this process.

The trial at the end runs them in processes of their own, and kills them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from portsip_async.fleet import Fleet

from ..concurrency import in_background, until
from .chains import Chains
from .consumer import line_of, view_of
from .farm import Farm
from .fleet_trial import SMALL, FleetTrial
from .noc import Settings
from .redis_server import RedisServer

pytestmark = pytest.mark.fleet

PASSWORD = "a-password-of-the-farm"
INTERVAL = 0.3


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Where the fleet keeps what it has."""
    if request.param == "memory":
        return "memory://"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


def farm(*names: str, extensions: int = 5, rate: float = 0.0) -> Farm:
    return Farm(names, extensions=extensions, rate=rate, password=PASSWORD)


@asynccontextmanager
async def watched(
    url: str, farm: Farm, *, pbxes: list[str] | None = None, keep_changes: int = 100_000
) -> AsyncIterator[Fleet]:
    """Start the fleet of a farm, with a worker."""
    settings = Settings(url, farm.urls, PASSWORD, pbxes, INTERVAL, keep_changes)
    async with settings.fleet() as fleet:
        if url.startswith("memory:"):
            yield fleet  # it starts a worker itself
        else:
            async with in_background(fleet.work()):
                yield fleet


async def follow(fleet: Fleet, chains: Chains, group: str = "board") -> None:
    """Give all events of a group to the checks."""
    async with aclosing(fleet.changes(group, from_start=True)) as events:
        async for event in events:
            chains.add([line_of(event)])


async def test_changes_and_snapshots(url: str) -> None:
    """Two groups receive every change, and the snapshots are right."""
    board, other = Chains(), Chains()
    names = [f"pbx{number}" for number in range(8)]
    async with (
        farm(*names, extensions=10, rate=100.0) as pbxes,
        watched(url, pbxes) as fleet,
        in_background(follow(fleet, board), follow(fleet, other, "other")),
    ):
        await until(lambda: board.count["change"] > 400)
        pbxes.rate = 0
        truth = pbxes.truth.views
        await until(lambda: board.views == truth and other.views == truth)
        assert {name: view_of(await fleet.snapshot(name)) for name in names} == truth
        status = await fleet.status()
    assert (board.wrong, other.wrong, board.ids.keys()) == ([], [], other.ids.keys())
    assert {name: of_pbx.extensions for name, of_pbx in status.pbxes.items()} == dict.fromkeys(
        names, 10
    )
    assert status.groups.keys() == {"board", "other"}


async def test_consumers_come_and_go(url: str) -> None:
    """Each of them is left in the middle, and the next one goes on where it was."""
    chains = Chains()
    async with farm("acme", "globex", rate=100.0) as pbxes, watched(url, pbxes) as fleet:
        for _ in range(5):
            later = chains.count["change"] + 20
            async with in_background(follow(fleet, chains), follow(fleet, chains)):
                await until(lambda later=later: chains.count["change"] > later)  # type: ignore[misc]
        pbxes.rate = 0
        async with in_background(follow(fleet, chains)):
            await until(lambda: chains.views == pbxes.truth.views)
    assert (chains.wrong, chains.count["resync"]) == ([], 0)


async def test_consumer_that_lost_its_turn(redis_server: RedisServer) -> None:
    """What a consumer reads that was paused and wakes up is received by the active one."""
    chains = Chains()

    def read_late() -> bool:
        with redis_server.client() as client:
            [stream] = (key for key in client.scan_iter("*changes"))
            return bool(client.xreadgroup("board", "late", {stream: ">"}, count=3))

    async with (
        farm("acme", "globex", rate=100.0) as pbxes,
        watched(redis_server.url, pbxes) as fleet,
        in_background(follow(fleet, chains)),
    ):
        await until(lambda: chains.count["change"])
        late = 0
        while late < 5:
            late += await asyncio.to_thread(read_late)
        pbxes.rate = 0
        await until(lambda: chains.views == pbxes.truth.views)
    assert (chains.wrong, chains.count["resync"]) == ([], 0)


async def test_redis_that_lost_everything(redis_server: RedisServer) -> None:
    """The workers begin again, and the consumer gets a snapshot instead of what was lost."""
    chains = Chains()
    async with (
        farm("acme", "globex", rate=100.0) as pbxes,
        watched(redis_server.url, pbxes) as fleet,
        in_background(follow(fleet, chains)),
    ):
        await until(lambda: chains.count["change"] > 100)
        await asyncio.to_thread(redis_server.kill)
        await asyncio.to_thread(redis_server.start)
        await until(lambda: chains.count["resync"] >= 2)
        later = chains.count["change"] + 20
        await until(lambda: chains.count["change"] > later)
        pbxes.rate = 0
        await until(lambda: chains.views == pbxes.truth.views)
    assert chains.wrong == []


async def test_close_ends_a_worker_and_loops(redis_server: RedisServer) -> None:
    """Nothing is left of them: no connection, and no turn that others would have to wait for."""
    chains = Chains()
    async with farm("acme") as pbxes:
        fleet = Settings(redis_server.url, pbxes.urls, PASSWORD, interval=INTERVAL).fleet()
        tasks = asyncio.gather(fleet.work(), follow(fleet, chains), follow(fleet, chains))
        await until(lambda: chains.views == pbxes.truth.views)
        await fleet.close()
        async with asyncio.timeout(5):
            await tasks
    with redis_server.client() as client:
        assert not client.keys("*:turn:*")
        await until(lambda: len(client.client_list()) == 1)


async def test_outage(url: str) -> None:
    """A PBX that is away is in the stream once, and again when it is back; others go on."""
    chains = Chains()
    async with (
        farm("acme", "globex") as pbxes,
        watched(url, pbxes) as fleet,
        in_background(follow(fleet, chains)),
    ):
        await until(lambda: chains.views == pbxes.truth.views)
        await pbxes.simulators["acme"].stop()
        await until(lambda: chains.down.keys() == {"acme"})
        pbxes.change("acme", "100")
        pbxes.change("globex", "100")
        await until(lambda: chains.views["globex"] == pbxes.truth.views["globex"])
        status = (await fleet.status()).pbxes
        assert status["acme"].last_error
        assert (status["acme"].consecutive_failures > 0, status["globex"].consecutive_failures) == (
            True,
            0,
        )
        await pbxes.simulators["acme"].start()
        await until(lambda: chains.views == pbxes.truth.views and not chains.down)
        assert (await fleet.status()).pbxes["acme"].consecutive_failures == 0
    assert (chains.wrong, chains.count["outage"]) == ([], 2)


async def test_add_and_remove(url: str) -> None:
    """A PBX that is removed has no extensions any more, and is not polled."""
    chains = Chains()
    async with (
        farm("acme", "globex") as pbxes,
        watched(url, pbxes, pbxes=["acme"]) as fleet,
        in_background(follow(fleet, chains)),
    ):
        truth = pbxes.truth
        await until(lambda: chains.views == {"acme": truth.views["acme"]})
        await fleet.add("globex")
        await until(lambda: chains.views == truth.views)
        await fleet.remove("acme")
        await until(lambda: chains.views.get("acme") == {})
        assert (await fleet.status()).pbxes.keys() == {"globex"}
        count = len(pbxes.look().polls["acme"])
        others = len(truth.polls["globex"])
        await until(lambda: len(pbxes.look().polls["globex"]) > others + 3)
        assert len(truth.polls["acme"]) == count
        await fleet.add("acme")
        await until(lambda: chains.views == truth.views)
    assert chains.wrong == []


async def test_resync(url: str) -> None:
    """A group that fell behind what was trimmed gets the snapshots, and goes on from them."""
    chains = Chains()
    async with (
        farm("acme", "globex", extensions=60) as pbxes,
        watched(url, pbxes, keep_changes=100) as fleet,
    ):
        async with in_background(follow(fleet, chains)):
            await until(lambda: chains.views == pbxes.truth.views)
        other = Chains()
        async with in_background(follow(fleet, other, "other")):
            await pbxes.simulators["globex"].stop()
            await until(lambda: other.down)
            # The stream is trimmed by whole nodes of a hundred.
            while other.count["change"] < 500:
                for number in pbxes.truth.views["acme"]:
                    pbxes.change("acme", number)
                await until(lambda: other.views.get("acme") == pbxes.truth.views["acme"])
        assert chains.count["resync"] == 0
        pbxes.rate = 50.0
        async with in_background(follow(fleet, chains)):
            await until(lambda: chains.down.keys() == {"globex"})
            assert chains.count["resync"]
            await pbxes.simulators["globex"].start()
            later = chains.count["change"] + 100
            await until(lambda: chains.count["change"] > later)
            pbxes.rate = 0
            await until(lambda: chains.views == pbxes.truth.views and not chains.down)
    assert (chains.wrong, other.wrong) == ([], [])


@pytest.mark.parametrize("url", ["memory"], indirect=True)
async def test_fleets_in_memory_are_apart(url: str) -> None:
    """Two fleets of a process have nothing in common."""
    first, second = Chains(), Chains()
    async with (
        farm("acme") as acme,
        farm("globex") as globex,
        watched(url, acme) as one,
        watched(url, globex) as two,
        in_background(follow(one, first), follow(two, second)),
    ):
        await until(lambda: first.views == acme.truth.views)
        await until(lambda: second.views == globex.truth.views)


@pytest.mark.parametrize("key", [None, Fernet.generate_key().decode()], ids=["plain", "cipher"])
async def test_redis_holds_no_secret(key: str | None, redis_server: RedisServer) -> None:
    """The password is never in Redis, and with a cipher the tokens aren't, either."""
    chains = Chains()
    async with farm("acme") as pbxes:
        settings = Settings(redis_server.url, pbxes.urls, PASSWORD, interval=INTERVAL, key=key)
        async with (
            settings.fleet() as fleet,
            in_background(fleet.work(), follow(fleet, chains)),
        ):
            await until(lambda: chains.views == pbxes.truth.views)
            dump = await asyncio.to_thread(redis_server.dump)
        tokens = [token.encode() for token in pbxes.simulators["acme"]._issuer._expiry]
    assert b"phone/1" in dump
    assert PASSWORD.encode() not in dump
    assert tokens
    assert any(token in dump for token in tokens) is (key is None)


@pytest.mark.timeout(240)
def test_trial(tmp_path: Path) -> None:
    """Workers, a consumer and Redis are killed and paused, and nothing is lost or wrong."""
    assert FleetTrial(SMALL, tmp_path).run().wrong == []
