"""What of a login can be read in Redis: in all that was ever written, and in what it holds."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from portsip_async import AuthenticationError, PortSIPClient, Token, v22
from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import PBXSimulator

from .redis_server import RedisServer
from .token_workers import GENERATIONS

pytestmark = pytest.mark.fleet

USER, PASSWORD, WRONG = "monitoring-user", "right/Secret-1", "wrong/Secret-2"


async def renew(client: PortSIPClient | v22.PortSIPClient) -> Token:
    if isinstance(client, PortSIPClient):
        return await client.account.refresh()
    return await client.auth.refresh()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("generation", GENERATIONS)
async def test_redis_shows_no_secrets(generation: str, encrypted: bool, tmp_path: Path) -> None:
    """No password and no address is in Redis, and with a cipher nothing can be read at all."""
    make: type[PortSIPClient] | type[v22.PortSIPClient] = (
        PortSIPClient if generation == "classic" else v22.PortSIPClient
    )
    cipher = Fernet(Fernet.generate_key()) if encrypted else None
    with (
        RedisServer(tmp_path / "redis", append_only=True) as server,
        PBXSimulator.in_thread(extensions=5, username=USER, password=PASSWORD) as sim,
    ):
        store = RedisTokenStore.from_url(server.url, cipher=cipher)
        async with (
            make(sim.url, username=USER, password=WRONG, token_store=store) as wrong,
            make(sim.url, username=USER, password=PASSWORD, token_store=store) as right,
        ):
            with pytest.raises(AuthenticationError) as refused:
                await renew(wrong)
            tokens = [await renew(right), await renew(right)]
            assert server.password not in repr(store) + repr(right)
        dump = server.dump().decode(errors="replace")
        with server.client() as client:
            (key,) = client.keys()
            assert 25_000 < client.pttl(key) <= 30_000
    assert key.decode() in dump
    never = [USER, PASSWORD, WRONG, str(sim.port), sim.domain, server.password]
    assert [text for text in never if text in dump] == []
    texts = [text for token in tokens for text in (token.access_token, token.refresh_token) if text]
    assert len(set(texts)) == (2 if generation == "classic" else 4)
    readable = [*texts, str(refused.value), "AuthenticationError", 'token"', "expires"]
    found = [text for text in readable if text in dump]
    if encrypted:
        assert found == []
    else:
        # So the search finds what is there.
        assert set(texts) <= set(found)
