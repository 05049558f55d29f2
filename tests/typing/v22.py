"""The types of the client of generation v22. mypy and pyright check this file; nothing runs it."""

from collections.abc import AsyncIterator
from typing import BinaryIO, assert_type

from portsip_async import (
    Credentials,
    Endpoint,
    Paginator,
    RetryPolicy,
    Timeout,
    Token,
    v22,
)
from portsip_async.v22 import (
    ENDPOINTS,
    AdditionalHeader,
    CallSession,
    CallSettings,
    Greeting,
    Group,
    GroupSummary,
    Member,
    MembersError,
    OutboundCallerID,
    PortSIPClient,
    ServerInfo,
    SignIn,
    Tokens,
)


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


async def groups(pbx: PortSIPClient) -> None:
    walk = pbx.groups.list(search="s", filter="f", orderby="name", page_size=50, prefetch=0)
    assert_type(walk, Paginator[GroupSummary])
    assert_type(await pbx.groups.show("1"), Group)
    caller_ids = [OutboundCallerID(caller_id="5550100")]
    assert_type(await pbx.groups.create("Sales", outbound_caller_ids=caller_ids), str)
    assert_type(await pbx.groups.create("Sales", outbound_caller_ids=[{"caller_id": "5"}]), str)
    assert_type(await pbx.groups.update("1", name="Sales", description=None), None)
    assert_type(await pbx.groups.remove("1"), None)
    assert_type(await pbx.groups.members("1"), list[Member])
    try:
        assert_type(await pbx.groups.add_members("1", ["101"]), None)
        assert_type(await pbx.groups.remove_members("1", {"101": 1}), None)
    except MembersError as error:
        assert_type(error.done, list[str])
        assert_type(error.failed, dict[str, Exception])


async def greetings(pbx: PortSIPClient, file: BinaryIO, chunks: AsyncIterator[bytes]) -> None:
    assert_type(await pbx.greetings.list("1"), list[Greeting])
    assert_type(await pbx.greetings.upload("1", "a.wav"), str)
    assert_type(await pbx.greetings.create("1", "2"), str)
    assert_type(await pbx.greetings.enable("1", "2"), None)
    assert_type(await pbx.greetings.disable("1", "2"), None)
    assert_type(await pbx.greetings.remove("1", "2"), None)
    assert_type(await pbx.blobs.upload(file, filename="a.wav"), str)
    assert_type(await pbx.blobs.upload(chunks), str)


async def calls(pbx: PortSIPClient) -> None:
    assert_type(await pbx.calls.create("101", "102", trunk="T", header_direction="ALL"), str)
    settings: CallSettings = {"send_sdp": False, "additional_header": AdditionalHeader.CALL_INFO}
    called = await pbx.calls.create_directly(
        "101", "password", domain="test.io", caller="101", callee="102", **settings
    )
    assert_type(called, str)
    assert_type(await pbx.calls.list(), list[CallSession])
    assert_type(await pbx.calls.show("1"), CallSession)
    assert_type(await pbx.calls.hang_up("1"), None)


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
