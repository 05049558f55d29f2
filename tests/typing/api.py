"""The types of the public interface. mypy and pyright check this file; nothing runs it."""

# pyright reports an error that it does not find, as mypy does.
# pyright: reportUnnecessaryTypeIgnoreComment=error

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Literal, assert_type

from portsip_async import (
    ENDPOINTS,
    APIError,
    Attempt,
    AttemptStart,
    AuthenticationError,
    AvailableRule,
    BulkResult,
    BulkRun,
    CreatedGroup,
    Credentials,
    Detected,
    Drift,
    Endpoint,
    Extension,
    ExtensionChanges,
    ExtensionStatus,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardAction,
    ForwardRulesChanges,
    GreetingFile,
    GreetingPage,
    Group,
    GroupSummary,
    NewExtension,
    Options,
    Page,
    Paginator,
    PollStats,
    PortSIPClient,
    PortSIPError,
    Profile,
    RawReply,
    RetryBudget,
    RetryPolicy,
    StaticToken,
    StatusChange,
    StatusPoll,
    StatusResult,
    StatusWatch,
    Timeout,
    Token,
    TokenStore,
    TransportError,
    WatchStats,
    classic,
    detect,
)
from portsip_async.openapi import document
from portsip_async.redis import RedisTokenStore
from portsip_async.simulator import Faults, PBXSimulator
from portsip_async.telemetry import Telemetry


async def generations() -> None:
    found = await detect("https://pbx.example", timeout=5)
    assert_type(found, Detected)
    assert_type(found.generation, Literal["classic", "v22"] | None)
    assert_type(found.reason, str)


async def account(pbx: PortSIPClient) -> None:
    assert_type(await pbx.account.verify("admin", "password"), Token)
    assert_type(await pbx.account.verify_email("a@b.example", "password"), Token)
    assert_type(await pbx.account.refresh(), Token)


async def extensions(pbx: PortSIPClient, new: NewExtension) -> None:
    walk = pbx.extensions.list(page_size=10, sort_by="DEFAULT")
    assert_type(walk, Paginator[ExtensionSummary])
    async for extension in walk:
        assert_type(extension, ExtensionSummary)
    assert_type(await walk, Page[ExtensionSummary])
    assert_type(walk.pages(), AsyncGenerator[Page[ExtensionSummary], None])
    assert_type(await walk.collect(limit=3), list[ExtensionSummary])
    assert_type(walk.drift, Drift)
    assert_type(pbx.extensions.search("100"), Paginator[ExtensionSummary])
    assert_type(await pbx.extensions.show("101"), Extension)
    assert_type(await pbx.extensions.status({"101", "102"}), list[ExtensionStatus])
    assert_type(await pbx.extensions.patch("101", profile={"first_name": None}), Extension)
    async with walk:
        assert_type(aiter(walk), AsyncGenerator[ExtensionSummary, None])
    assert_type(await walk.aclose(), None)
    assert_type(await pbx.extensions.create(new), None)
    assert_type(await pbx.extensions.remove("101"), None)
    ringing = pbx.extensions.call("101", "102", auth="password", domain="d", src="s")
    assert_type(await ringing, None)
    settings: Mapping[str, object] = {}
    updating = pbx.extensions.update(
        "101",
        profile=Profile(gender="an unlisted one"),
        options=settings,
        forward_rules=settings,
        office_hours=settings,
        voice_mail=settings,
    )
    assert_type(await updating, None)


async def changes(pbx: PortSIPClient, read: Mapping[str, Any], vague: dict[str, object]) -> None:
    """A wrong field or type in a dictionary is an error, at any depth. Parsed JSON is accepted."""
    patch, patch_many = pbx.extensions.patch, pbx.extensions.patch_many
    rules: ForwardRulesChanges = {"available": AvailableRule(), "dnd": {"office_hours_action": "X"}}
    await patch("101", profile={"gender": None}, forward_rules=rules, options=Options())
    await patch("101", profile=read, forward_rules=read["forward_rules"])
    await patch("101", profile={"first_nam": "Ann"})  # type: ignore[dict-item]
    await patch("101", profile={"first_name": 1})  # type: ignore[dict-item]
    await patch("101", options={"enable_extension": "yes"})  # type: ignore[dict-item]
    await patch("101", forward_rules={"dnd": {"action": "X"}})  # type: ignore[dict-item]
    await patch("101", forward_rules={"availabel": {}})  # type: ignore[dict-item]
    await patch("101", profile=vague)  # type: ignore[arg-type]
    sections: ExtensionChanges = {"office_hours": {"monday_from": "09:00"}, "options": None}
    patch_many([("101", sections), ("102", {"voice_mail": {"voicemail_pin": None}})])
    patch_many([("101", read)])
    patch_many([("101", {"profil": {"first_name": "Ann"}})])  # type: ignore[dict-item]
    patch_many([("101", {"profile": {"first_nam": "Ann"}})])  # type: ignore[dict-item]
    await pbx.groups.patch("12", **read)
    await pbx.groups.patch("12", group_name="Sales", enable_intercom=None, members=("101",))
    await pbx.groups.patch("12", enable_intercom="yes")  # type: ignore[arg-type]
    await pbx.groups.patch("12", name="Sales")  # type: ignore[call-arg]


def plain(extension: Extension, result: StatusResult[ExtensionStatus], drift: Drift) -> None:
    """Every struct becomes a dictionary, and a copy keeps its class."""
    assert_type(extension.to_dict(), dict[str, object])
    assert_type(extension.to_dict(reveal=True), dict[str, object])
    assert_type(extension.replace(password=None), Extension)
    assert_type(result.replace(error=None), StatusResult[ExtensionStatus])
    assert_type(drift.to_dict(), dict[str, object])


async def groups(pbx: PortSIPClient) -> None:
    assert_type(pbx.groups.list(), Paginator[GroupSummary])
    assert_type(await pbx.groups.show("12"), Group)
    assert_type(
        await pbx.groups.create(
            "Sales",
            enable_intercom=True,
            enable_external_call=True,
            enable_management_console_access=False,
            members=("101",),
        ),
        CreatedGroup,
    )
    assert_type(await pbx.groups.patch("12", group_description=None), Group)
    assert_type(await pbx.groups.add_members("12", ["101"]), Group)
    assert_type(await pbx.groups.remove_members("12", {"101"}), Group)
    updating = pbx.groups.update(
        "12",
        group_name="Sales",
        enable_intercom=True,
        enable_external_call=True,
        enable_management_console_access=False,
    )
    assert_type(await updating, None)
    assert_type(await pbx.groups.remove("12"), None)


async def greetings(pbx: PortSIPClient) -> None:
    walk = pbx.greetings.list("101")
    async for file in walk:
        assert_type(file, GreetingFile)
    assert_type(await walk, GreetingPage)
    assert_type((await walk).default_file, str | None)
    async for page in walk.pages():
        assert_type(page, GreetingPage)
    assert_type(await pbx.greetings.upload("101", b"RIFF", filename="a.wav"), None)
    adding = pbx.greetings.add("101", filename="a.wav", url="https://files.example/a.wav")
    assert_type(await adding, None)
    assert_type(await pbx.greetings.setup("101", "a.wav"), None)
    assert_type(await pbx.greetings.remove("101", "a.wav"), None)


async def many(pbx: PortSIPClient, new: list[NewExtension], updates: list[ExtensionUpdate]) -> None:
    poll = pbx.extensions.poll_status(iter(["101"]), batch_size=None, ordered=True)
    assert_type(poll, StatusPoll[ExtensionStatus])
    async for result in poll:
        assert_type(result, StatusResult[ExtensionStatus])
        assert_type(result.status, ExtensionStatus | None)
    assert_type(poll.stats, PollStats)
    bare: StatusResult = StatusResult("101")
    assert_type(bare.status, Any | None)
    watch = pbx.extensions.watch_status(batch_size=None, known={"101": ExtensionStatus("101")})
    assert_type(watch, StatusWatch[ExtensionStatus])
    async with watch:
        async for change in watch:
            assert_type(change, StatusChange[ExtensionStatus])
    assert_type(watch.snapshot, dict[str, ExtensionStatus])
    assert_type(watch.stats, WatchStats)
    async for shown in pbx.extensions.show_many(["101"], ordered=True):
        assert_type(shown, BulkResult[Extension])
    created = pbx.extensions.create_many(new, if_exists="skip")
    assert_type(created, BulkRun[None])
    assert_type(created.in_doubt, list[str])
    assert_type(pbx.extensions.update_many(updates), BulkRun[None])
    assert_type(pbx.extensions.remove_many({"101"}, if_missing="skip"), BulkRun[None])
    async for patched in pbx.extensions.patch_many([("101", {"profile": {"first_name": None}})]):
        assert_type(patched, BulkResult[Extension])
        assert_type(patched.value, Extension | None)


async def requests(pbx: PortSIPClient) -> None:
    ping = Endpoint("system.ping", "GET", "/ping", reply=dict[str, int])
    assert_type(ping, Endpoint[dict[str, int]])
    assert_type(await pbx.request(ping, verbose=True), dict[str, int])
    poke = Endpoint("system.poke", "POST", "/poke")
    assert_type(poke, Endpoint[None])
    assert_type(pbx.with_options(timeout=Timeout(), retry=RetryPolicy()), PortSIPClient)
    assert_type(PortSIPClient.from_env(timeout=3, max_connections=8), PortSIPClient)
    assert_type(await pbx.request(ENDPOINTS["extensions.show"], extension_number="101"), object)
    async with pbx as entered:
        assert_type(entered, PortSIPClient)
    assert_type(await pbx.close(), None)


class Tenant(PortSIPClient):
    """A client of an application, with an attribute of its own."""

    name: str = ""


async def subclasses(pbx: Tenant) -> None:
    """Views and clients from the environment keep the application's class."""
    assert_type(Tenant.from_env(token="t"), Tenant)
    assert_type(pbx.with_options(timeout=3), Tenant)
    assert_type(pbx.with_options(timeout=3).name, str)
    async with Tenant("https://pbx.example", token="t") as entered:
        assert_type(entered, Tenant)
    client: type[PortSIPClient] = classic.PortSIPClient
    assert_type(client("https://pbx.example", token="t"), PortSIPClient)


class Vault:
    """Credentials that an application implements."""

    async def fetch_token(self) -> Token:
        return Token("token", expires=60)


def on_attempt(attempt: Attempt) -> None:
    assert_type(attempt.operation, str)
    assert_type(attempt.number, int)
    assert_type(attempt.status, int | None)
    assert_type(attempt.error, PortSIPError | None)
    assert_type(attempt.seconds, float)


def before_attempt(start: AttemptStart) -> dict[str, str] | None:
    assert_type(start.operation, str)
    assert_type(start.number, int)
    return {"X-Request-Id": start.operation}


async def raw_replies(pbx: PortSIPClient, endpoint: Endpoint[Extension]) -> None:
    """A raw reply keeps the type of its endpoint's reply."""
    raw = await pbx.request(endpoint, raw=True, extension_number="101")
    assert_type(raw, RawReply[Extension])
    assert_type(raw.status, int)
    assert_type(raw.headers, Mapping[str, str])
    assert_type(raw.body, bytes)
    assert_type(raw.data, Extension)
    assert_type(await pbx.request(endpoint, extension_number="101"), Extension)
    parameters = {"extension_number": "101"}
    assert_type(await pbx.request(endpoint, **parameters), Extension)
    assert_type(await pbx.request(endpoint, raw=True, **parameters), RawReply[Extension])


def clients() -> None:
    """Create clients with each kind of credentials."""
    url = "https://pbx.example"
    vault: Credentials = Vault()
    PortSIPClient(url, credentials=vault, on_attempt=on_attempt, before_attempt=before_attempt)
    PortSIPClient(url, credentials=StaticToken("t"), on_attempt=Telemetry())
    PortSIPClient(url, username="admin", password="password", timeout=3, ssl="ca.pem")
    store: TokenStore = RedisTokenStore.from_url("redis://localhost/0", cipher=None)
    PortSIPClient(url, token="t", token_store=store)
    PortSIPClient.from_env(token_store=store)
    retry = RetryPolicy(attempts=2, deadline=None, budget=RetryBudget())
    PortSIPClient(url, token="t", retry=retry, endpoints={"extensions.status": {"method": "GET"}})


def errors(error: PortSIPError) -> None:
    assert_type(error.operation, str | None)
    assert_type(error.attempts, int)
    assert_type(error.may_have_acted, bool)
    assert_type(error.page, int | None)
    assert_type(error.headers, Mapping[str, str])
    assert_type(error.request_id, str | None)
    if isinstance(error, APIError):
        assert_type(error.status, int)
        assert_type(error.err_code, int | float | str | None)
        assert_type(error.message, str)
        assert_type(error.retry_after, float | None)
    if isinstance(error, TransportError):
        assert_type(error.__cause__, BaseException | None)
    if isinstance(error, AuthenticationError):
        assert_type(error.__traceback__, TracebackType | None)


async def simulators() -> AsyncIterator[str]:
    async with PBXSimulator(extensions=5, faults=Faults(latency=0.1)) as sim:
        assert_type(sim, PBXSimulator)
        assert_type(sim.fail("extensions.show", status=503, times=2, retry_after=1), None)
        assert_type(sim.served["extensions.show"], int)
        assert_type(sim.extension_numbers, list[str])
        yield sim.url
    with PBXSimulator.in_thread(5, domain="test.io", faults=Faults(latency=0.1)) as beside:
        assert_type(beside, PBXSimulator)
        assert_type(beside.extension_numbers, list[str])
        assert_type(await beside.restart(downtime=0.1), None)
        PBXSimulator.in_thread(extensions="5")  # type: ignore[arg-type]


def documents() -> None:
    assert_type(document(), dict[str, object])


def enums(extension: ExtensionSummary) -> str:
    """A field with an open enum has type str, so a match over its constants needs a default."""
    match extension.status:
        case "OFFLINE":
            return "off"
        case None:
            return "unknown"
        case other:
            return other if other != ForwardAction.CONNECT_TO_VOICE else "on"
