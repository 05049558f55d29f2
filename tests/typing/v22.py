"""The types of the client of generation v22. mypy and pyright check this file; nothing runs it."""

# pyright reports an error that it does not find, as mypy does.
# pyright: reportUnnecessaryTypeIgnoreComment=error

from collections.abc import AsyncGenerator, Mapping
from typing import Any, assert_type

from portsip_async import (
    BulkResult,
    BulkRun,
    Credentials,
    Endpoint,
    Page,
    Paginator,
    RetryPolicy,
    StatusChange,
    StatusPoll,
    StatusResult,
    StatusWatch,
    Timeout,
    Token,
    v22,
)
from portsip_async.v22 import (
    BLF,
    ENDPOINTS,
    AuthUser,
    CallSession,
    CallSettings,
    DayHours,
    DayHoursChanges,
    ExtensionNumber,
    ExtensionState,
    Greeting,
    Group,
    GroupSummary,
    Member,
    MembersError,
    NewUser,
    OutboundCallerID,
    PortSIPClient,
    Presence,
    Role,
    ServerInfo,
    SignIn,
    Tokens,
    User,
    UserChanges,
    UserSettings,
    UserStatus,
    UserSummary,
)


async def auth(pbx: PortSIPClient) -> None:
    assert_type(await pbx.auth.refresh(), Token)
    assert_type(await pbx.auth.user(), AuthUser)
    assert_type(await pbx.auth.send_otp("challenge"), None)
    assert_type(await pbx.auth.verify_otp("challenge", "123456"), Token)
    assert_type(await pbx.auth.sign_out(), None)


async def users(pbx: PortSIPClient, new: NewUser) -> None:
    walk = pbx.users.list(search="10", filter="role eq 'StandardUser'", orderby="display_name")
    assert_type(walk, Paginator[UserSummary])
    async for user in walk:
        assert_type(user, UserSummary)
        assert_type(user.id, str)
    assert_type(await walk, Page[UserSummary])
    assert_type(walk.pages(), AsyncGenerator[Page[UserSummary], None])
    assert_type(await pbx.users.find("101"), ExtensionNumber)
    assert_type(await pbx.users.create(new), str)
    assert_type(await pbx.users.show("id"), User)
    assert_type(await pbx.users.update("id", UserSettings(department="Sales")), None)
    assert_type(await pbx.users.patch("id", {"department": None}), User)
    assert_type(await pbx.users.patch("id", UserSettings(department="Sales")), User)
    assert_type(await pbx.users.remove("id"), None)
    assert_type(await pbx.users.set_password("id", "password"), None)
    assert_type(await pbx.users.set_extension_password("id", "password"), None)
    assert_type(await pbx.users.set_role("id", Role.STANDARD_USER), None)
    assert_type(await pbx.users.set_role("id", "AnotherRole"), None)
    assert_type(await pbx.users.status("id"), UserStatus)
    assert_type(await pbx.users.own_status(), UserStatus)
    assert_type(await pbx.users.set_own_presence(Presence.AWAY, "at lunch"), None)
    assert_type(await pbx.users.set_own_presence("AN_UNLISTED_ONE"), None)
    assert_type(pbx.users.show_many(["id"], ordered=True), BulkRun[User])
    created = pbx.users.create_many([new], if_exists="skip")
    assert_type(created, BulkRun[str])
    async for result in created:
        assert_type(result, BulkResult[str])
        assert_type(result.value, str | None)
    assert_type(pbx.users.patch_many([("id", {"department": None})]), BulkRun[User])
    assert_type(pbx.users.remove_many({"id"}), BulkRun[None])
    assert_type(pbx.users.show_many({"id"}, ordered=True), BulkRun[User])


async def changes(pbx: PortSIPClient, read: Mapping[str, Any], vague: dict[str, object]) -> None:
    """A wrong field or type in a dictionary is an error, at any depth. Parsed JSON is accepted."""
    patch = pbx.users.patch
    hours: DayHoursChanges = {"enabled": True, "ranges": [{"from": "09:00", "to": "17:00"}]}
    await patch("id", {"office_hours": {"mode": "CUSTOM", "monday": hours, "friday": DayHours()}})
    await patch("id", {"dnd_office_hours_forward_rule": {"number": None}, "blfs": (BLF(),)})
    await patch("id", {"outbound_caller_ids": [{"caller_id": "1"}, OutboundCallerID()]})
    await patch("id", read)
    await patch("id", {"departmnet": "Sales"})  # type: ignore[dict-item]
    await patch("id", {"enabled": "yes"})  # type: ignore[dict-item]
    await patch("id", {"role": "Admin"})  # type: ignore[dict-item]
    await patch("id", {"office_hours": {"sunnyday": {}}})  # type: ignore[dict-item]
    await patch("id", {"blfs": [{"kee": "1"}]})  # type: ignore[dict-item]
    await patch("id", vague)  # type: ignore[arg-type]
    await pbx.extensions.patch("101", read)
    await pbx.extensions.patch("101", {"departmnet": "Sales"})  # type: ignore[dict-item]
    one: UserChanges = {"department": None}
    pbx.users.patch_many([("id", one), ("id", {"enable_dnd": True}), ("id", read)])
    pbx.users.patch_many([("id", {"departmnet": "Sales"})])  # type: ignore[dict-item]


def plain(user: User, state: ExtensionState) -> None:
    assert_type(user.to_dict(reveal=True), dict[str, object])
    assert_type(state.replace(status="ONLINE"), ExtensionState)


async def extensions(pbx: PortSIPClient) -> None:
    assert_type(pbx.extensions.list(page_size=10), Paginator[UserSummary])
    assert_type(pbx.extensions.search("10"), Paginator[UserSummary])
    assert_type(await pbx.extensions.show("101"), User)
    assert_type(await pbx.extensions.patch("101", {"department": None}), User)
    assert_type(await pbx.extensions.remove("101"), None)
    ringing = pbx.extensions.call("101", "102", auth="password", domain="test.io", src="s")
    assert_type(await ringing, str)
    assert_type(await pbx.extensions.status({"101", "102"}), list[ExtensionState])
    poll = pbx.extensions.poll_status(iter(["101"]), ordered=True)
    assert_type(poll, StatusPoll[ExtensionState])
    async for result in poll:
        assert_type(result, StatusResult[ExtensionState])
    known: Mapping[str, ExtensionState] = {"101": ExtensionState("101")}
    watch = pbx.extensions.watch_status(source="poll", verify=60, known=known)
    assert_type(watch, StatusWatch[ExtensionState])
    async for change in watch:
        assert_type(change, StatusChange[ExtensionState])
        assert_type(change.after, ExtensionState | None)


async def groups(pbx: PortSIPClient) -> None:
    assert_type(pbx.groups.list(search="s"), Paginator[GroupSummary])
    assert_type(await pbx.groups.show("id"), Group)
    assert_type(await pbx.groups.create("Sales", description="Sells"), str)
    assert_type(await pbx.groups.update("id", name="Sales"), None)
    assert_type(await pbx.groups.remove("id"), None)
    assert_type(await pbx.groups.members("id"), list[Member])
    try:
        assert_type(await pbx.groups.add_members("id", ["101"]), None)
        assert_type(await pbx.groups.remove_members("id", {"101"}), None)
    except MembersError as error:
        assert_type(error.done, list[str])
        assert_type(error.failed, dict[str, Exception])


async def greetings_and_blobs(pbx: PortSIPClient) -> None:
    assert_type(await pbx.greetings.list("id"), list[Greeting])
    assert_type(await pbx.greetings.upload("id", b"RIFF", filename="a.wav"), str)
    assert_type(await pbx.greetings.create("id", "file"), str)
    assert_type(await pbx.greetings.enable("id", "greeting"), None)
    assert_type(await pbx.greetings.disable("id", "greeting"), None)
    assert_type(await pbx.greetings.remove("id", "greeting"), None)
    assert_type(await pbx.blobs.upload("a.wav"), str)


async def calls(pbx: PortSIPClient) -> None:
    more: CallSettings = {"trunk": "t"}
    assert_type(await pbx.calls.create("101", "102", **more), str)
    direct = pbx.calls.create_directly("101", "password", domain="d", caller="101", callee="102")
    assert_type(await direct, str)
    assert_type(await pbx.calls.list(), list[CallSession])
    assert_type(await pbx.calls.show("session"), CallSession)
    assert_type(await pbx.calls.hang_up("session"), None)


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
    v22.PortSIPClient(
        url, token="t", on_attempt=print, before_attempt=lambda start: {"X-Id": start.operation}
    )
