"""Each quirk, as a client sees it in a reply."""

import codecs
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import QUIRKS, PBXSimulator
from portsip_async.simulator.quirks import ReplyShaper, check_quirks

from .test_simulator import Clock, Probe

LIST = ("/extensions/list", {"pagination": "1", "pagesize": "2"})
SHOW = ("/extensions/show", {"extension_number": "100"})
UNKNOWN = ("/extensions/show", {"extension_number": "1"})
SEARCH = ("/extensions/search", {"pagination": "1", "condition": "119"})
SEARCH_MANY = ("/extensions/search", {"pagination": "1", "condition": "11"})
GROUP = ("/extensions/group/show", {"group_id": "__DEFAULT_EXTENSION_GROUP__"})

Get = tuple[str, dict[str, str]]


@pytest.mark.parametrize(
    ("quirk", "get", "holds"),
    [
        ("absent_fields", LIST, lambda body: body["extensions"][0].keys() == {"extension_number"}),
        ("absent_fields", LIST, lambda body: body.keys() == {"page_count", "extensions"}),
        ("absent_fields", SHOW, lambda body: body["profile"] == {}),
        ("count_lies", LIST, lambda body: (body["count"], body["page_count"]) == (100, 100)),
        ("count_lies", SHOW, lambda body: "count" not in body),
        ("err_code_strings", UNKNOWN, lambda body: body["err_code"] == "404.1"),
        ("errors_v22", UNKNOWN, lambda body: body["errors"][0]["code"] == "NOT_FOUND"),
        ("group_show_without_id", GROUP, lambda body: "group_id" not in body),
        ("group_show_without_id", SHOW, lambda body: "extension_number" in body),
        ("message_for_msg", UNKNOWN, lambda body: "msg" not in body and body["message"]),
        ("no_page_count", LIST, lambda body: "page_count" not in body and body["count"] == 20),
        ("nulls", LIST, lambda body: body["extensions"][0]["status"] is None),
        ("nulls", SHOW, lambda body: body["profile"]["first_name"] is None),
        ("numbers_as_strings", LIST, lambda body: body["page_count"] == "10"),
        ("numbers_as_strings", SHOW, lambda body: body["options"]["enable_extension"] == "true"),
        ("numbers_as_strings", GROUP, lambda body: body["enable_external_call"] == "true"),
        ("search_one_object", SEARCH, lambda body: body["extensions"]["extension_number"] == "119"),
        ("search_one_object", SEARCH_MANY, lambda body: len(body["extensions"]) == 10),
        ("unknown_enums", LIST, lambda body: body["extensions"][0]["status"] == "NEW_VALUE"),
        ("unknown_enums", LIST, lambda body: body["sort_by"] == "NEW_VALUE"),
        ("unknown_fields", LIST, lambda body: "x_unknown" in body["extensions"][0]),
        ("unknown_fields", SHOW, lambda body: "x_unknown" in body["forward_rules"]["dnd"]),
    ],
)
async def test_quirk_changes_its_replies(
    quirk: str, get: Get, holds: Callable[[Any], bool]
) -> None:
    """A quirk changes the replies that it is for, and no others."""
    async with PBXSimulator(20, quirks=[quirk]) as sim, aiohttp.ClientSession() as session:
        path, query = get
        reply = await Probe(sim, session).get(path, **query)
        assert holds(reply.body)
        assert reply.status == (404 if get is UNKNOWN else 200)


@pytest.mark.parametrize(
    ("quirk", "body"), [("empty_as_null", "null"), ("empty_as_object", "{}"), ("bom", "")]
)
async def test_empty_body(quirk: str, body: str) -> None:
    """An empty reply has no body, null or an empty object."""
    async with PBXSimulator(20, quirks=[quirk]) as sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        login = {"username": sim.username, "password": sim.password}
        async with session.post(f"{sim.url}/api/account/credentials/verify", json=login) as reply:
            content = json.loads((await reply.read()).removeprefix(codecs.BOM_UTF8))
        probe.token = content["access_token"]
        url = f"{sim.url}/api/extensions/destroy"
        sent = {"access_token": probe.token, "extension_number": "100"}
        async with session.post(url, json=sent) as reply:
            assert await reply.text() == body


async def test_error_in_200() -> None:
    """An error has status 200, and only its err_code shows that it is one."""
    async with PBXSimulator(quirks=["error_in_200"]) as sim, aiohttp.ClientSession() as session:
        reply = await Probe(sim, session).get(*UNKNOWN[:1], **UNKNOWN[1])
    assert (reply.status, reply.body["err_code"]) == (200, 404.1)


async def test_text_html() -> None:
    """JSON has the content type of HTML."""
    async with PBXSimulator(quirks=["text_html"]) as sim, aiohttp.ClientSession() as session:
        reply = await Probe(sim, session).get(*LIST[:1], **LIST[1])
    assert reply.headers["Content-Type"] == "text/html"
    assert len(reply.body["extensions"]) == 2


def test_encodings() -> None:
    """A reply is encoded in Latin-1, or starts with a byte order mark."""
    reply = {"first_name": "Zoë", "last_name": "Łucja"}
    assert ReplyShaper(frozenset({"latin1"})).reply("x", reply) == (
        b'{"first_name":"Zo\xeb","last_name":"?ucja"}'
    )
    marked = ReplyShaper(frozenset({"bom"})).reply("x", {"a": 1})
    assert marked == codecs.BOM_UTF8 + b'{"a":1}'


async def test_greetings() -> None:
    """Greeting files are under greetings, and their names end in a comma."""
    quirks = ["greetings_as_greetings", "stray_comma"]
    async with PBXSimulator(quirks=quirks) as sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        added = {"extension_number": "100", "filename": "a.wav"}
        await probe.post("/extensions/greeting_file/create", **added)
        listed = await probe.get(
            "/extensions/greeting_file/list", extension_number="100", pagination=1
        )
        assert listed.body["greetings"] == [{"filename": "a.wav,", "enabled": False}]
        assert not listed.body.keys() & {"files", "default_file"}
        removed = await probe.post(
            "/extensions/greeting_file/destroy", extension_number="100", filename="a.wav,"
        )
        assert removed.status == 200
        shown = await probe.get(*SHOW[:1], **SHOW[1])
        assert "greetings" not in shown.body


async def test_status() -> None:
    """Unknown numbers are omitted, the order differs, and the first status was not requested."""
    quirks = ["status_omits_unknown", "status_shuffled", "status_stranger"]
    async with PBXSimulator(quirks=quirks) as sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        for numbers, answered in (
            (["101", "1", "102", "103"], ["000", "103", "102", "101"]),
            (["101", "102"], ["000", "102", "101"]),
            (["1"], ["000"]),
        ):
            reply = await probe.post("/extensions/status", extensions=numbers)
            rows = reply.body["extension_status"]
            assert [row["extension_number"] for row in rows] == answered
        assert (await probe.get(*SHOW[:1], **SHOW[1])).status == 200


@pytest.mark.parametrize(
    ("quirk", "shown"),
    [("expires_as_string", {"expires": "1.5"}), ("no_expires", {})],
)
async def test_lifetime_of_tokens(quirk: str, shown: dict[str, str]) -> None:
    """The lifetime of a token is a string, or missing."""
    sim = PBXSimulator(token_lifetime=1.5, quirks=[quirk])
    async with sim, aiohttp.ClientSession() as session:
        login = {"username": sim.username, "password": sim.password}
        reply = await Probe(sim, session).send("POST", "/account/credentials/verify", json=login)
    assert {name: value for name, value in reply.body.items() if name == "expires"} == shown


async def test_refresh_prolongs() -> None:
    """A refresh returns no new token and prolongs the one of its request."""
    clock = Clock()
    sim = PBXSimulator(token_lifetime=10, clock=clock, quirks=["refresh_prolongs"])
    async with sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        await probe.login()
        clock.now += 6
        assert (await probe.post("/account/token/refresh")).body == {"expires": 10}
        clock.now += 6
        assert (await probe.get(*SHOW[:1], **SHOW[1])).status == 200
    assert sim.tokens_issued == 1


async def test_one_token() -> None:
    """A login revokes the previous token."""
    async with PBXSimulator(quirks=["one_token"]) as sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        probe.token = await Probe(sim, session).login()
        await Probe(sim, session).login()
        assert (await probe.get(*SHOW[:1], **SHOW[1])).status == 401


async def test_login_block() -> None:
    """After three wrong logins, even the right one is refused for a minute."""
    clock = Clock()
    sim = PBXSimulator(clock=clock, quirks=["login_block"])
    async with sim, aiohttp.ClientSession() as session:
        probe = Probe(sim, session)
        path = "/account/credentials/verify"
        for name in ("admin", "nobody", "admin"):
            wrong = await probe.send("POST", path, json={"username": name, "password": "x"})
            assert wrong.status == 400
        right = {"username": sim.username, "password": sim.password}
        assert (await probe.send("POST", path, json=right)).status == 403
        clock.now += 60
        assert (await probe.send("POST", path, json=right)).status == 200


def test_quirk_names() -> None:
    """Each quirk has a description; unknown names raise ValueError."""
    assert all(QUIRKS.values())
    assert check_quirks(iter(("bom", "bom"))) == {"bom"}
    with pytest.raises(ValueError, match="names from QUIRKS, got bim"):
        check_quirks(["bim"])
    with pytest.raises(TypeError):
        check_quirks("bom")
