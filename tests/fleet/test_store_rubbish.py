"""What somebody else wrote to the key of a token counts as nothing there."""

from collections.abc import Callable, Mapping

import pytest
import redis
from cryptography.fernet import Fernet

from portsip_async import PortSIPClient
from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import PBXSimulator

from .redis_server import RedisServer

pytestmark = pytest.mark.fleet

Change = Callable[["redis.Redis", bytes], object]
LIFE_MS = 30_000


def _write(value: bytes) -> Change:
    return lambda client, key: client.set(key, value, px=LIFE_MS)


def _cut(client: "redis.Redis", key: bytes) -> None:
    value = client.get(key)
    assert isinstance(value, bytes)
    client.set(key, value[:-3], px=LIFE_MS)


def _replace_by_list(client: "redis.Redis", key: bytes) -> None:
    client.delete(key)
    client.rpush(key, b"an item")


CHANGES: Mapping[str, Change] = {
    "empty": _write(b""),
    "bytes": _write(b"\xff\x00\xfe" * 100),
    "null": _write(b"null"),
    "object": _write(b"{}"),
    "other-types": _write(b'{"token": {"access_token": 1, "expires": "long"}, "refusal": []}'),
    "cut": _cut,
    "another-cipher": _write(Fernet(Fernet.generate_key()).encrypt(b"{}")),
    "list": _replace_by_list,
    "no-expiry": lambda client, key: client.persist(key),
    "huge-expiry": lambda client, key: client.pexpire(key, 10**12),
    "expired": lambda client, key: client.pexpire(key, 1),
}


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("change", CHANGES)
async def test_rubbish(change: str, encrypted: bool, redis_server: RedisServer) -> None:
    """A process that finds rubbish logs in, and the next one finds its token."""
    cipher = Fernet(Fernet.generate_key()) if encrypted else None
    with PBXSimulator.in_thread(extensions=5) as sim:

        async def call() -> None:
            store = RedisTokenStore.from_url(redis_server.url, cipher=cipher)
            async with PortSIPClient(
                sim.url, username=sim.username, password=sim.password, token_store=store
            ) as client:
                await client.extensions.show("100")

        await call()
        with redis_server.client() as client:
            (key,) = client.keys()
            CHANGES[change](client, key)
            await call()
            await call()
            # A token says itself how long it lives. What Redis refuses to read stays.
            logins = {"huge-expiry": 1, "list": 3}.get(change, 2)
            assert sim.served["account.verify"] == logins
            if change not in ("huge-expiry", "list"):
                assert 0 < client.pttl(key) <= LIFE_MS


async def test_different_ciphers(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Processes with different ciphers share nothing, and the log says why, once per store."""
    with PBXSimulator.in_thread(extensions=5) as sim:
        stores = [
            RedisTokenStore.from_url(redis_server.url, cipher=Fernet(Fernet.generate_key()))
            for _ in range(2)
        ]
        for store in (*stores, *stores):
            async with PortSIPClient(
                sim.url, username=sim.username, password=sim.password, token_store=store
            ) as client:
                await client.extensions.show("100")
        assert sim.served["account.verify"] == 4
    assert [record.message for record in caplog.records if record.name == "portsip_async"] == [
        "a shared token can't be decrypted: all processes need the same cipher"
    ] * 2
