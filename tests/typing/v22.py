"""The types of the client of generation v22. mypy and pyright check this file; nothing runs it."""

from typing import assert_type

from portsip_async import (
    Credentials,
    Endpoint,
    RetryPolicy,
    Timeout,
    Token,
    v22,
)
from portsip_async.v22 import ENDPOINTS, PortSIPClient, ServerInfo, SignIn, Tokens


async def requests(pbx: PortSIPClient) -> None:
    assert_type(await pbx.info(), ServerInfo)
    assert_type(await pbx.info(domain="test.io"), ServerInfo)
    ping = Endpoint("system.ping", "GET", "/ping/{id}", reply=dict[str, int])
    assert_type(await pbx.request(ping, id="1"), dict[str, int])
    poke = Endpoint("system.poke", "POST", "/poke")
    assert_type(await pbx.request(poke), None)
    assert_type(await pbx.request(ENDPOINTS["users.show"], id="1"), object)
    assert_type(pbx.with_options(timeout=Timeout(), retry=RetryPolicy()), PortSIPClient)
    assert_type(PortSIPClient.from_env(timeout=3, domain="test.io"), PortSIPClient)
    async with pbx as entered:
        assert_type(entered, PortSIPClient)
    assert_type(await pbx.close(), None)


class Tenant(PortSIPClient):
    """A client of an application, with an attribute of its own."""

    name: str = ""


async def subclasses(pbx: Tenant) -> None:
    """Views and clients from the environment keep the application's class."""
    assert_type(Tenant.from_env(refresh_token="r"), Tenant)
    assert_type(pbx.with_options(timeout=3), Tenant)
    assert_type(pbx.with_options(timeout=3).name, str)
    async with Tenant("https://pbx.example", token="t") as entered:
        assert_type(entered, Tenant)


class Vault:
    """Credentials that an application implements."""

    async def fetch_token(self) -> Token:
        return Token("token", expires=60)


def clients() -> None:
    """Create clients with each kind of credentials."""
    url = "https://pbx.example"
    vault: Credentials = Vault()
    PortSIPClient(url, credentials=vault)
    PortSIPClient(url, credentials=SignIn("admin", "password", "test.io"))
    PortSIPClient(url, credentials=Tokens("t", "r"), timeout=3, ssl="ca.pem")
    PortSIPClient(url, username="admin", password="password", domain="test.io")
    PortSIPClient(url, token="t", refresh_token="r", endpoints={"users.show": {"path": "/u/{id}"}})
    v22.PortSIPClient(url, token="t", on_attempt=print)
