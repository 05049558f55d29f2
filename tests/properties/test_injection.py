"""Nothing that a caller passes can become anything else than the value of its own field.

Whatever the text, one request arrives at a raw server, and what the server reads out of its query,
its JSON or its form is what was given; or the call raises before anything is sent. The server's
reading is the standard library's and this file's own, not the client's.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import (
    ConfigurationError,
    Endpoint,
    PortSIPClient,
    Profile,
    ReplyError,
    RetryPolicy,
    Token,
)

from ..concurrency import until
from ..operations import ROWS, Row
from ..wire_server import TOKEN, Arrival, WireServer, reply
from .values import HOSTILE, UNICODE, json_of

# A reply to every operation, on a connection that would carry a second request.
ANSWER = reply(
    {name: value for row in ROWS for name, value in (row.replies or {}).items()}
    | {"access_token": TOKEN},
    headers={"Connection": "keep-alive"},
)
HEADERS = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
HEADERS_OF_PART = {"content-type", "content-length", "content-disposition"}
# Logins too are sent to where the server takes note of them.
ELSEWHERE: Any = {
    "account.verify": {"path": "/verify"},
    "account.verify_email": {"path": "/verify_email"},
}

ONCE = RetryPolicy(attempts=1)

Fields = Mapping[str, Any]


class Wire:
    """A raw server, and what a client sent to it."""

    def __init__(self) -> None:
        self.server = WireServer()
        self.server.script = [ANSWER]
        self.raised: Exception | None = None

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.__aexit__()

    async def sends(self, send: Callable[[PortSIPClient], Awaitable[Any]], **options: Any) -> bool:
        """Let a client send. Return whether one request came, rather than an error."""
        if not options.keys() & {"credentials", "token"}:
            options["token"] = TOKEN
        options["endpoints"] = ELSEWHERE | options.pop("endpoints", {})
        try:
            async with PortSIPClient(self.server.url, retry=ONCE, **options) as pbx:
                await send(pbx)
        except (ValueError, TypeError, ConfigurationError, ReplyError) as error:
            assert self.server.arrivals == []
            self.raised = error
        # Also what would follow a request on its connection has been read then.
        await until(lambda: not self.server.open)
        assert len(self.server.arrivals) == (self.raised is None)
        return self.raised is None

    @property
    def arrival(self) -> Arrival:
        return self.server.arrivals[0]

    def fields(self, token: str | None = TOKEN, header: str | None = None) -> Fields:
        """Return the fields that arrived, without the token."""
        arrival = self.arrival
        assert set(arrival.headers) <= HEADERS | {header}
        fields: dict[str, Any] = {}
        for name, value in parse_qsl(
            arrival.query, keep_blank_values=True, strict_parsing=bool(arrival.query)
        ):
            fields[name] = [*as_list(fields[name]), value] if name in fields else value
        media = arrival.headers.get("content-type", "")
        if media.startswith("multipart/form-data"):
            assert set(fields) <= {"access_token"}
            fields |= form(media, arrival.body)
        elif media == "application/json":
            assert set(fields) <= {"access_token"}
            fields |= json.loads(arrival.body)
        else:
            assert arrival.body == b""
        if token is not None:
            assert fields.pop("access_token") == token
        return fields


def encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def form(media: str, body: bytes) -> Fields:
    """Read a form as RFC 7578 has it; a file reads as its name and its bytes."""
    _, _, boundary = media.partition("; boundary=")
    mark = b"--" + boundary.strip('"').encode()
    start, *parts, end = body.split(mark)
    assert start == b""
    assert end.strip() == b"--"
    fields: dict[str, Any] = {}
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert content.endswith(b"\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert {name.lower() for name in lines} <= HEADERS_OF_PART
        assert re.fullmatch(r"[\w/.+-]+(; ?charset=[\w-]+)?", lines["Content-Type"])
        named = re.fullmatch(
            r'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?',
            lines["Content-Disposition"],
        )
        assert named is not None
        name = unescaped(named[1])
        value: Any = content[:-2] if named[2] else content[:-2].decode()
        if named[2] is not None:
            value = unescaped(named[2]), value
        fields[name] = [*as_list(fields[name]), value] if name in fields else value
    return fields


def unescaped(quoted: str) -> str:
    """Decode the escapes of quotation marks and control characters in a quoted name."""
    return re.sub("%(22|[01][0-9A-F]|7F)", lambda code: chr(int(code[1], 16)), quoted)


_EMPTY: Any = {"options": {}, "forward_rules": {}, "office_hours": {}, "voice_mail": {}}
# A refresh, a status request and an upload have no text or a test of their own.
TEXTS = [row for row in ROWS if row.texts and row.parameters != "multipart"]


@given(row=st.sampled_from(TEXTS), data=st.data())
async def test_any_text_as_any_argument(row: Row, data: st.DataObject) -> None:
    """Each operation: its fields arrive as they were given, or nothing is sent."""
    texts = {name: data.draw(HOSTILE, name) for name in row.texts}
    async with Wire() as wire:
        if await wire.sends(lambda pbx: row.send(pbx, **texts)):
            sent = {**row.sends, **texts}
            if row.parameters == "query":
                sent = {name: str(value) for name, value in sent.items()}
            assert wire.fields(None if row.token == "none" else TOKEN) == sent
        else:
            assert any(map(unsendable, texts.values()))


@given(texts=st.lists(HOSTILE, min_size=1, max_size=4), method=st.sampled_from(["GET", "POST"]))
async def test_any_texts_in_a_list(texts: list[str], method: str) -> None:
    """The numbers of a status request, in JSON, and in a query that repeats its key."""
    async with Wire() as wire:
        moved = {"extensions.status": {"method": method}}
        if await wire.sends(lambda pbx: pbx.extensions.status(texts), endpoints=moved):
            fields = wire.fields()
            assert as_list(fields["extensions"]) == texts
            assert len(fields) == 1
        else:
            assert any(unsendable(text) for text in texts)


@given(number=UNICODE, filename=HOSTILE, data=st.binary(max_size=40) | HOSTILE.map(encoded))
@example(number="101", filename="data:a/b\r\nX-Evil: 1,", data=b"RIFF")
async def test_any_name_of_an_upload(number: str, filename: str, data: bytes) -> None:
    """The form has the name twice, and its suffix decides about the file's type."""
    async with Wire() as wire:
        if await wire.sends(lambda pbx: pbx.greetings.upload(number, data, filename=filename)):
            fields = wire.fields()
            # The other field distinguishes a name with %22 from one with a quotation mark.
            assert fields["file"] == (unescaped(filename), data)
            assert fields["filename"] == filename
            assert fields["extension_number"] == number
            assert len(fields) == 3
        else:
            assert unsendable(number) or unsendable(filename)


@given(profile=st.dictionaries(HOSTILE, json_of(HOSTILE), max_size=3), name=HOSTILE)
async def test_any_settings(profile: dict[str, Any], name: str) -> None:
    """Sections that are given as mappings or as structs, at any depth."""
    async with Wire() as wire:
        sections = {**_EMPTY, "voice_mail": profile}
        update = Profile(first_name=name)
        if await wire.sends(lambda pbx: pbx.extensions.update("101", profile=update, **sections)):
            fields = wire.fields()
            assert fields["profile"] == {"first_name": name}
            assert fields["voice_mail"] == without_null(profile)
        else:
            assert has_half_a_pair(json.dumps([profile, name], ensure_ascii=False))


@given(
    parameters=st.dictionaries(HOSTILE, HOSTILE, max_size=3).filter(
        lambda parameters: len({*map(unescaped, parameters)}) == len(parameters)
    ),
    place=st.sampled_from(["query", "json", "multipart"]),
    token_place=st.sampled_from(["query", "body", "header", "bearer", "none"]),
)
@example(parameters={"\ud800": "1"}, place="query", token_place="query")
@example(parameters={"access_token": "evil"}, place="query", token_place="query")
@example(parameters={"access_token": "evil"}, place="json", token_place="body")
async def test_any_parameters_of_a_row_of_ones_own(
    parameters: dict[str, str], place: Any, token_place: Any
) -> None:
    """Names of parameters can be any text too."""
    if token_place == "body" and place != "json":
        token_place = "none"
    row = Endpoint("own.row", "POST", "/own", parameters=place, token=token_place)
    in_fields = TOKEN if token_place in ("query", "body") else None
    header = {"header": "access_token", "bearer": "authorization"}.get(token_place)
    async with Wire() as wire:
        if await wire.sends(lambda pbx: pbx.request(row, **parameters)):
            if place == "multipart":  # quoted as browsers do, so a name with %22 looks the same
                parameters = {unescaped(name): value for name, value in parameters.items()}
            assert wire.fields(in_fields, header) == parameters
        else:
            texts = [*parameters, *parameters.values()]
            assert "access_token" in parameters or any(map(has_half_a_pair, texts))


class Fetched:
    """Credentials that bring a token of any text."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def fetch_token(self) -> Token:
        return Token(self.token, 600.0)


@given(
    token=HOSTILE,
    place=st.sampled_from(["query", "body", "header", "bearer"]),
    fetched=st.booleans(),
)
@example(token='","evil":"', place="body", fetched=False)
async def test_any_token(token: str, place: Any, fetched: bool) -> None:
    """One that was given, or fetched; in a header, white space around it is not its own."""
    row = Endpoint("own.row", "GET", "/own", parameters="json", token=place)
    options: Any = {"credentials": Fetched(token)} if fetched else {"token": token}
    async with Wire() as wire:
        if not await wire.sends(lambda pbx: pbx.request(row), **options):
            assert not token or not token.isprintable()
        elif place in ("query", "body"):
            assert wire.fields(token) == {}
        else:
            name = "access_token" if place == "header" else "authorization"
            assert wire.fields(None, name) == {}
            arrived = header_of(wire.arrival, name)
            assert arrived == (token if place == "header" else f"Bearer {token}").strip()


@given(user_agent=HOSTILE)
async def test_any_user_agent(user_agent: str) -> None:
    """It stays one line."""
    async with Wire() as wire:
        if await wire.sends(lambda pbx: pbx.groups.show("1"), user_agent=user_agent):
            assert wire.fields() == {"group_id": "1"}
            assert header_of(wire.arrival, "user-agent") == user_agent.strip()
        else:
            assert not user_agent.isprintable()


@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]) | HOSTILE, path=HOSTILE)
@example(method="GET", path="a\tb")
@example(method="GET", path="a?evil=1")
@example(method="GET", path="a#evil")
async def test_any_row_of_ones_own(method: str, path: str) -> None:
    """A path stays a path: it has no query, no fragment and no second line."""
    async with Wire() as wire:
        try:
            row = Endpoint("own.row", method, f"/{path}", parameters="query", token="query")
        except ValueError:
            letters = method.isascii() and method.isalpha()
            assert not letters or not path.isprintable() or "?" in path or "#" in path
            return
        assert await wire.sends(lambda pbx: pbx.request(row, name="value"))
        assert wire.fields() == {"name": "value"}
        assert wire.arrival.method == method.upper()
        if {".", ".."}.isdisjoint(path.split("/")):  # those go up, as in any URL
            assert unquote(wire.arrival.path) == unquote(f"/api/{path}")


def unsendable(text: str) -> bool:
    return not text or has_half_a_pair(text)


def has_half_a_pair(text: str) -> bool:
    return any("\ud800" <= mark <= "\udfff" for mark in text)


def without_null(value: Any) -> Any:
    """Leave out what is null in objects, as an update does; a list is left as it is."""
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items() if item is not None}
    return value


def header_of(arrival: Arrival, name: str) -> str:
    """Read a header as UTF-8, which is how names of another script go out."""
    return arrival.headers[name].encode("latin-1").decode()
