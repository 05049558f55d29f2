"""Public types, held by mypy and pyright; nothing here runs."""

from collections.abc import AsyncGenerator, Mapping
from typing import assert_type

from portsip_async import (
    BulkResult,
    BulkRun,
    CreatedGroup,
    Drift,
    Endpoint,
    Extension,
    ExtensionStatus,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardAction,
    GreetingFile,
    GreetingPage,
    Group,
    GroupSummary,
    NewExtension,
    Page,
    Paginator,
    PollStats,
    PortSIPClient,
    Profile,
    RetryPolicy,
    StatusChange,
    StatusResult,
    Timeout,
    Token,
    WatchStats,
)


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
    await pbx.extensions.create(new)
    await pbx.extensions.remove("101")
    await pbx.extensions.call("101", "102", auth="password", domain="d", src="s")
    settings: Mapping[str, object] = {}
    await pbx.extensions.update(
        "101",
        profile=Profile(gender="an unlisted one"),
        options=settings,
        forward_rules=settings,
        office_hours=settings,
        voice_mail=settings,
    )


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
    await pbx.groups.remove("12")


async def greetings(pbx: PortSIPClient) -> None:
    walk = pbx.greetings.list("101")
    async for file in walk:
        assert_type(file, GreetingFile)
    assert_type(await walk, GreetingPage)
    assert_type((await walk).default_file, str | None)
    async for page in walk.pages():
        assert_type(page, GreetingPage)
    await pbx.greetings.upload("101", b"RIFF", filename="a.wav")
    await pbx.greetings.add("101", filename="a.wav", url="https://files.example/a.wav")


async def many(pbx: PortSIPClient, new: list[NewExtension], updates: list[ExtensionUpdate]) -> None:
    poll = pbx.extensions.poll_status(iter(["101"]), ordered=True)
    async for result in poll:
        assert_type(result, StatusResult)
        assert_type(result.status, ExtensionStatus | None)
    assert_type(poll.stats, PollStats)
    watch = pbx.extensions.watch_status(known={"101": ExtensionStatus("101")})
    async with watch:
        async for change in watch:
            assert_type(change, StatusChange)
    assert_type(watch.snapshot, dict[str, ExtensionStatus])
    assert_type(watch.stats, WatchStats)
    created = pbx.extensions.create_many(new, if_exists="skip")
    assert_type(created, BulkRun[None])
    assert_type(created.in_doubt, list[str])
    assert_type(pbx.extensions.update_many(updates), BulkRun[None])
    assert_type(pbx.extensions.remove_many({"101"}), BulkRun[None])
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
    assert_type(PortSIPClient.from_env(), PortSIPClient)


def enums(extension: ExtensionSummary) -> str:
    """An open enum's field takes any text, and a match over constants is not exhaustive."""
    match extension.status:
        case "OFFLINE":
            return "off"
        case None:
            return "unknown"
        case other:
            return other if other != ForwardAction.CONNECT_TO_VOICE else "on"
