"""The vendor's page to the letter: what the client sends, and what it makes of the replies."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from yarl import URL

from portsip_async import (
    ENDPOINTS,
    CreatedGroup,
    Extension,
    ExtensionStatus,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    PortSIPClient,
    Profile,
    StaticToken,
    Token,
    VoiceMail,
)

from .conftest import ClientMaker, Mocked
from .samples import SAMPLES, TOKEN, load
from .wire_server import WireServer, reply

URL_BASE = "https://example.com/api"

SECTIONS: dict[str, Any] = {
    "profile": Profile,
    "options": Options,
    "forward_rules": ForwardRules,
    "office_hours": OfficeHours,
    "voice_mail": VoiceMail,
}


def new_extension() -> NewExtension:
    body = load("extensions.create").body
    assert body is not None
    return msgspec.convert({k: v for k, v in body.items() if k != "access_token"}, NewExtension)


def sections() -> dict[str, Any]:
    body = load("extensions.update").body
    assert body is not None
    return {name: body[name] for name in SECTIONS}


GROUP: dict[str, Any] = {
    "group_name": "Sample extension group",
    "group_description": "Sample extension group",
    "enable_intercom": True,
    "enable_external_call": True,
    "enable_management_console_access": True,
    "members": ["105", "106", "107"],
}

CALLS: dict[str, Callable[[PortSIPClient], Awaitable[Any]]] = {
    "account.verify": lambda pbx: pbx.account.verify("admin", "example password"),
    "account.verify_email": lambda pbx: pbx.account.verify_email(
        "admin@example.com", "example password"
    ),
    "account.refresh": lambda pbx: pbx.account.refresh(),
    "extensions.list": lambda pbx: pbx.extensions.list(sort_by="DEFAULT"),
    "extensions.search": lambda pbx: pbx.extensions.search("100a"),
    "extensions.create": lambda pbx: pbx.extensions.create(new_extension()),
    "extensions.show": lambda pbx: pbx.extensions.show("1000"),
    "extensions.status": lambda pbx: pbx.extensions.status(["102"]),
    "extensions.call": lambda pbx: pbx.extensions.call(
        "1000", "1001", auth="example password", domain="example domain", src="example source"
    ),
    "extensions.update": lambda pbx: pbx.extensions.update("102", **sections()),
    "extensions.remove": lambda pbx: pbx.extensions.remove("1000"),
    "groups.list": lambda pbx: pbx.groups.list(sort_by="DEFAULT"),
    "groups.show": lambda pbx: pbx.groups.show("Group ID 1"),
    "groups.create": lambda pbx: pbx.groups.create(**GROUP),
    "groups.update": lambda pbx: pbx.groups.update("12", **GROUP),
    "groups.remove": lambda pbx: pbx.groups.remove("Sample extension group"),
    "greetings.list": lambda pbx: pbx.greetings.list("1000", sort_by="DEFAULT"),
    "greetings.add": lambda pbx: pbx.greetings.add(
        "1000", filename="some_filename.wav", url="some_url"
    ),
    "greetings.setup": lambda pbx: pbx.greetings.setup("1000", "some_filename"),
    "greetings.remove": lambda pbx: pbx.greetings.remove("1000", "some_filename"),
}


def test_samples_cover_every_operation() -> None:
    assert set(SAMPLES) == set(ENDPOINTS) == {*CALLS, "greetings.upload"}


@pytest.mark.parametrize("operation", CALLS)
async def test_client_sends_what_the_page_shows(
    operation: str, mocked: Mocked, make_client: ClientMaker
) -> None:
    """Method, path, query and body are those of the page, the token in its place."""
    sample = load(operation)
    mocked.add(re.compile(f"{re.escape(URL_BASE)}.*"), sample.method, body=sample.reply)
    pbx = make_client("https://example.com", credentials=StaticToken(TOKEN))
    await CALLS[operation](pbx)
    ((method, url), [request]) = next(iter(mocked.requests.items()))
    assert (method, str(url.with_query(None))) == (sample.method, f"{URL_BASE}{sample.path}")
    assert dict(URL(url).query) == (sample.query or {})
    data = request.kwargs["data"]
    assert (None if data is None else json.loads(data)) == sample.body


EXTENSION = load("extensions.show").parsed

ANSWERS: dict[str, Callable[[Any], object]] = {
    "account.verify": lambda answer: answer == Token(TOKEN, 600.0, "tenant", "2.0.0"),
    "account.verify_email": lambda answer: answer == Token(TOKEN, 600.0, "tenant", "2.0.0"),
    "account.refresh": lambda answer: answer == Token(TOKEN, 600.0, "tenant", "2.0.0"),
    "extensions.list": lambda page: (
        [item.extension_number for item in page.items] == ["1001"]
        and (page.pagination, page.pagesize, page.page_count, page.count) == (1, 100, 100, 100)
        and page.sort_by == "DEFAULT"
    ),
    "extensions.search": lambda page: [item.email for item in page.items] == ["sample@sample.com"],
    "extensions.show": lambda answer: (
        isinstance(answer, Extension)
        and answer.forward_rules.available.busy_action  # type: ignore[union-attr]  # it is there
        == "CONNECT_TO_VOICE"
        and answer.office_hours.sunday_to == "17:00"  # type: ignore[union-attr]  # likewise
    ),
    "extensions.status": lambda answer: answer == [ExtensionStatus("101", "ON_CALL", "")],
    "groups.list": lambda page: [group.members_count for group in page.items] == [0, 0],
    "groups.show": lambda group: (
        (group.group_id, group.members) == ("Group ID 1", ("105", "106", "107"))
    ),
    "groups.create": lambda answer: answer == CreatedGroup("12", "test"),
    "greetings.list": lambda page: (
        [(file.filename, file.enabled) for file in page.items]
        == [("default.wav,", True), ("qweqwrer.wav", False)]
        and page.default_file == "abcdfeg.wav"
    ),
}


@pytest.mark.parametrize("operation", CALLS)
async def test_client_reads_what_the_page_shows(
    operation: str, mocked: Mocked, make_client: ClientMaker
) -> None:
    sample = load(operation)
    mocked.add(re.compile(f"{re.escape(URL_BASE)}.*"), sample.method, body=sample.reply)
    pbx = make_client("https://example.com", credentials=StaticToken(TOKEN))
    answer = await CALLS[operation](pbx)
    fits = ANSWERS.get(operation, lambda nothing: nothing is None)
    assert fits(answer), answer


async def test_client_uploads_as_told(wire: WireServer, make_client: ClientMaker) -> None:
    """An upload has the parts of our reading, and its token in the query."""
    sample = load("greetings.upload")
    assert sample.parts is not None
    wire.script = [reply()]
    await make_client(wire.url).greetings.upload("1000", b"RIFF", filename="some_filename.wav")
    arrival = wire.arrivals[0]
    assert (arrival.method, arrival.path) == (sample.method, f"/api{sample.path}")
    assert arrival.query == f"access_token={TOKEN}"
    boundary = arrival.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = arrival.body.split(b"--" + boundary)[1:-1]
    assert len(parts) == len(sample.parts)
    for part, told in zip(parts, sample.parts, strict=True):
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        assert f'name="{told["name"]}"'.encode() in head
        assert content == (told.get("value") or told["content"]).encode()
