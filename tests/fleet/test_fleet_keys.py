"""A fleet whose keys in Redis were deleted, or written by somebody else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
import redis.asyncio

from portsip_async.fleet import Fleet, PBXStatus
from portsip_async.fleet.cycle import remove
from portsip_async.fleet.store import REFUSED, WRITTEN, FleetStore, PBXRecord

from ..concurrency import in_background, until
from .chains import Chains
from .consumer import line_of
from .farm import Farm
from .noc import Settings
from .redis_server import RedisServer

pytestmark = pytest.mark.fleet

PASSWORD = "a-password-of-the-farm"
PREFIX = "fleet:portsip:"
Change = Callable[["redis.Redis"], object]

LOST: dict[str, Change] = {
    "everything": lambda client: client.flushall(),
    "group": lambda client: client.xgroup_destroy(f"{PREFIX}changes", "board"),
    "stream": lambda client: client.delete(f"{PREFIX}changes"),
    "groups": lambda client: client.delete(f"{PREFIX}groups"),
    "group-number": lambda client: client.hset(f"{PREFIX}groups", "board", "9" * 30),
    "number": lambda client: client.hset(f"{PREFIX}meta", "n", "rubbish"),
    "meta": lambda client: client.delete(f"{PREFIX}meta"),
    "snapshot": lambda client: client.set(f"{PREFIX}snapshot:acme", b"\xff"),
    "version": lambda client: client.hset(f"{PREFIX}pbx:acme", "version", "1e3"),
    "version-zeros": lambda client: client.hset(f"{PREFIX}pbx:acme", "version", "007"),
    "version-length": lambda client: client.hset(f"{PREFIX}pbx:acme", "version", "9" * 5000),
}


@asynccontextmanager
async def running(server: RedisServer, farm: Farm) -> AsyncIterator[Fleet]:
    settings = Settings(server.url, farm.urls, PASSWORD, interval=0.3)
    async with settings.fleet() as fleet, in_background(fleet.work()):
        yield fleet


async def follow(fleet: Fleet, chains: Chains) -> None:
    async with aclosing(fleet.changes("board", from_start=True)) as events:
        async for event in events:
            chains.add([line_of(event)])
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("lost", LOST)
async def test_a_loop_goes_on_after_a_loss(lost: str, redis_server: RedisServer) -> None:
    """What the loop knows is right again soon, and it did not have to start anew."""
    chains = Chains()
    async with (
        Farm(["acme"], extensions=5, rate=20.0, password=PASSWORD) as farm,
        running(redis_server, farm) as fleet,
        in_background(follow(fleet, chains)),
    ):
        await until(lambda: chains.count["change"] > 10)
        with redis_server.client() as client:
            LOST[lost](client)
        await asyncio.sleep(1.0)
        farm.rate = 0
        await until(lambda: chains.views == farm.truth.views, seconds=30)


async def test_a_write_of_an_earlier_life_of_a_pbx_is_refused(redis_server: RedisServer) -> None:
    """It was paused while the PBX was removed and added, and had as many cycles as before."""
    client = redis.asyncio.Redis.from_url(redis_server.url)
    async with client:
        store = FleetStore(client, "fleet:portsip")

        async def write(record: PBXRecord) -> int:
            return await store.write(
                "acme", record, status=PBXStatus(), outage_since=None, snapshot=None, events=[]
            )

        await store.add("acme")
        early = await store.read("acme")
        assert await write(early) == WRITTEN
        paused = await store.read("acme")
        assert await write(paused) == WRITTEN
        await remove(store, "acme")
        await store.add("acme")
        for _ in range(2):
            assert await write(await store.read("acme")) == WRITTEN
            assert await write(paused) == REFUSED
        assert await write(early) == REFUSED
