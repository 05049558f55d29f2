"""The vendor's literal samples: what the client sends, and how it reads the replies."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
from yarl import URL

from portsip_async import ENDPOINTS, Group, PortSIPClient, StaticToken, Token
from portsip_async.classic.extension_models import ExtensionStatuses
from portsip_async.classic.models import RefreshReply

from .conftest import ClientMaker, Mocked
from .operations import BY_ROW, ROWS, Row
from .samples import SAMPLES, TOKEN, load
from .test_models import REPLIES
from .wire_server import WireServer, reply

URL_BASE = "https://example.com/api"

CALLS = [row for row in ROWS if row.name != "greetings.upload"]


def send(row: Row, pbx: PortSIPClient) -> Any:
    """Send the sample request of the vendor's page."""
    sample = load(row.name)
    sent = {**(sample.query or sample.body or {})}
    sent.pop("access_token", None)
    for name in {"pagination", "pagesize"} & sent.keys():
        sent[name] = int(sent[name])
    return replace(row, sends=sent).send(pbx)


def test_samples_cover_every_operation() -> None:
    assert set(SAMPLES) == set(ENDPOINTS) == set(BY_ROW)


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
async def test_request_equals_the_sample(
    row: Row, mocked: Mocked, make_client: ClientMaker
) -> None:
    """Method, path, query and body are those of the sample, with the token where it belongs."""
    sample = load(row.name)
    mocked.add(re.compile(f"{re.escape(URL_BASE)}.*"), sample.method, body=sample.reply)
    pbx = make_client("https://example.com", credentials=StaticToken(TOKEN))
    await send(row, pbx)
    ((method, url), [request]) = next(iter(mocked.requests.items()))
    assert (method, str(url.with_query(None))) == (sample.method, f"{URL_BASE}{sample.path}")
    assert dict(URL(url).query) == (sample.query or {})
    data = request.kwargs["data"]
    assert (None if data is None else json.loads(data)) == sample.body


def expected(row: Row) -> object:
    """Return the result that the page's sample reply should give, written down by hand."""
    reply = REPLIES.get(row.name)
    if isinstance(reply, RefreshReply):
        return Token(TOKEN, 600.0, "tenant", "2.0.0")
    if isinstance(reply, ExtensionStatuses):
        return [*reply.extension_status]
    if isinstance(reply, Group):
        return structs.replace(reply, group_id="Group ID 1")
    return reply


@pytest.mark.parametrize("row", CALLS, ids=lambda row: row.name)
async def test_reply_of_the_sample_is_read(
    row: Row, mocked: Mocked, make_client: ClientMaker
) -> None:
    sample = load(row.name)
    mocked.add(re.compile(f"{re.escape(URL_BASE)}.*"), sample.method, body=sample.reply)
    pbx = make_client("https://example.com", credentials=StaticToken(TOKEN))
    found = await send(row, pbx)
    assert found == expected(row)


async def test_upload_equals_the_sample(wire: WireServer, make_client: ClientMaker) -> None:
    """An upload has the parts of the sample, and its token in the query."""
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
    for part, expected_part in zip(parts, sample.parts, strict=True):
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        assert f'name="{expected_part["name"]}"'.encode() in head
        assert content == (expected_part.get("value") or expected_part["content"]).encode()
