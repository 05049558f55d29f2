"""Whatever a caller passes can only become the value of its own field.

For any text, either one request arrives, and the fields in its query, JSON or form are those that
were given, or the call raises before anything is sent. The requests are parsed by the standard
library and by this module, not by the client.
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

# A reply that every operation accepts, on a connection that stays open for a second request.
REPLY = reply(
    {name: value for row in ROWS for name, value in (row.replies or {}).items()}
    | {"access_token": TOKEN},
    headers={"Connection": "keep-alive"},
)
HEADERS = {"host", "accept", "accept-encoding", "user-agent", "content-type", "content-length"}
PART_HEADERS = {"content-type", "content-length", "content-disposition"}
# At paths where the server records logins too.
SCRIPTED_LOGINS: Any = {
    "account.verify": {"path": "/verify"},
    "account.verify_email": {"path": "/verify_email"},
}

ONCE = RetryPolicy(attempts=1)

Fields = Mapping[str, Any]


class Wire:
    """A raw server, and what a client sent to it.

    Attributes:
        raised: the error of a call that sent nothing.
    """

    def __init__(self) -> None:
        self.server = WireServer()
        self.server.script = [REPLY]
        self.raised: Exception | None = None

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.__aexit__()

    async def sends(self, send: Callable[[PortSIPClient], Awaitable[Any]], **options: Any) -> bool:
        """Make a call. Return True if one request arrived, False if it raised and sent none."""
        if not options.keys() & {"credentials", "token"}:
            options["token"] = TOKEN
        options["endpoints"] = SCRIPTED_LOGINS | options.pop("endpoints", {})
        try:
            async with PortSIPClient(self.server.url, retry=ONCE, **options) as pbx:
                await send(pbx)
        except (ValueError, TypeError, ConfigurationError, ReplyError) as error:
            assert self.server.arrivals == []
            self.raised = error
        # By then, the server has read everything that could follow the request.
        await until(lambda: not self.server.open)
        assert len(self.server.arrivals) == (self.raised is None)
        return self.raised is None

    @property
    def arrival(self) -> Arrival:
        """Return the first request."""
        return self.server.arrivals[0]

    def fields(self, token: str | None = TOKEN, header: str | None = None) -> Fields:
        """Parse the fields of the request.

        Args:
            token: the token that has to be among them, and is removed; None: there is none.
            header: a further header that the request may have.
        """
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
    """Parse a form as in RFC 7578; a file becomes its name and its bytes."""
    _, _, boundary = media.partition("; boundary=")
    delimiter = b"--" + boundary.strip('"').encode()
    start, *parts, end = body.split(delimiter)
    assert start == b""
    assert end.strip() == b"--"
    fields: dict[str, Any] = {}
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert content.endswith(b"\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert {name.lower() for name in lines} <= PART_HEADERS
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
    """Decode the escapes of a quotation mark and of control characters in a quoted name."""
    return re.sub("%(22|[01][0-9A-F]|7F)", lambda code: chr(int(code[1], 16)), quoted)


_EMPTY: Any = {"options": {}, "forward_rules": {}, "office_hours": {}, "voice_mail": {}}
# A refresh has no text. Status requests and uploads have separate tests.
TEXTS = [row for row in ROWS if row.texts and row.parameters != "multipart"]


@given(row=st.sampled_from(TEXTS), data=st.data())
async def test_any_text_as_any_argument(row: Row, data: st.DataObject) -> None:
    """The fields of each operation arrive unchanged, or nothing is sent."""
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
    """The numbers of a status request arrive, in JSON or in a query that repeats its key."""
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
async def test_any_filename_of_an_upload(number: str, filename: str, data: bytes) -> None:
    """The file's name arrives in both fields that have it, and the bytes arrive unchanged."""
    async with Wire() as wire:
        if await wire.sends(lambda pbx: pbx.greetings.upload(number, data, filename=filename)):
            fields = wire.fields()
            # The form escapes a quotation mark as %22, so only the other field has the exact name.
            assert fields["file"] == (unescaped(filename), data)
            assert fields["filename"] == filename
            assert fields["extension_number"] == number
            assert len(fields) == 3
        else:
            assert unsendable(number) or unsendable(filename)


@given(profile=st.dictionaries(HOSTILE, json_of(HOSTILE), max_size=3), name=HOSTILE)
async def test_any_settings(profile: dict[str, Any], name: str) -> None:
    """Sections arrive, passed as mappings or as structs, at any depth."""
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
    form=st.sampled_from(["query", "json", "multipart"]),
    location=st.sampled_from(["query", "body", "header", "bearer", "none"]),
)
@example(parameters={"\ud800": "1"}, form="query", location="query")
@example(parameters={"access_token": "evil"}, form="query", location="query")
@example(parameters={"access_token": "evil"}, form="json", location="body")
async def test_any_parameters_of_an_own_endpoint(
    parameters: dict[str, str], form: Any, location: Any
) -> None:
    """The names of parameters can be any text, too."""
    if location == "body" and form != "json":
        location = "none"
    row = Endpoint("own.endpoint", "POST", "/own", parameters=form, token=location)
    in_fields = TOKEN if location in ("query", "body") else None
    header = {"header": "access_token", "bearer": "authorization"}.get(location)
    async with Wire() as wire:
        if await wire.sends(lambda pbx: pbx.request(row, **parameters)):
            if (
                form == "multipart"
            ):  # as in browsers, " is quoted as %22, so both names arrive alike
                parameters = {unescaped(name): value for name, value in parameters.items()}
            assert wire.fields(in_fields, header) == parameters
        else:
            texts = [*parameters, *parameters.values()]
            assert "access_token" in parameters or any(map(has_half_a_pair, texts))


class OwnCredentials:
    """Credentials that return a token."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def fetch_token(self) -> Token:
        return Token(self.token, 600.0)


@given(
    token=HOSTILE,
    location=st.sampled_from(["query", "body", "header", "bearer"]),
    fetched=st.booleans(),
)
@example(token='","evil":"', location="body", fetched=False)
async def test_any_token(token: str, location: Any, fetched: bool) -> None:
    """A token arrives unchanged; in a header, without white space around it."""
    row = Endpoint("own.endpoint", "GET", "/own", parameters="json", token=location)
    login: Any = {"credentials": OwnCredentials(token)} if fetched else {"token": token}
    async with Wire() as wire:
        if not await wire.sends(lambda pbx: pbx.request(row), **login):
            assert not token or not token.isprintable()
        elif location in ("query", "body"):
            assert wire.fields(token) == {}
        else:
            name = "access_token" if location == "header" else "authorization"
            assert wire.fields(None, name) == {}
            arrived = header_of(wire.arrival, name)
            assert arrived == (token if location == "header" else f"Bearer {token}").strip()


@given(user_agent=HOSTILE)
async def test_any_user_agent(user_agent: str) -> None:
    """The user agent arrives as one header."""
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
async def test_any_path_of_an_own_endpoint(method: str, path: str) -> None:
    """A path can't add a query, a fragment or a header."""
    async with Wire() as wire:
        try:
            row = Endpoint("own.endpoint", method, f"/{path}", parameters="query", token="query")
        except ValueError:
            letters = method.isascii() and method.isalpha()
            assert not letters or not path.isprintable() or not {*"?#{}"}.isdisjoint(path)
            return
        if row.path_arguments:
            return  # test_endpoint_arguments.py has these
        assert await wire.sends(lambda pbx: pbx.request(row, name="value"))
        assert wire.fields() == {"name": "value"}
        assert wire.arrival.method == method.upper()
        if {".", ".."}.isdisjoint(path.split("/")):  # "." and ".." are resolved, as in any URL
            assert unquote(wire.arrival.path) == unquote(f"/api/{path}")


def unsendable(text: str) -> bool:
    return not text or has_half_a_pair(text)


def has_half_a_pair(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def without_null(value: Any) -> Any:
    """Remove null values from objects, as an update does; lists stay as they are."""
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items() if item is not None}
    return value


def header_of(arrival: Arrival, name: str) -> str:
    """Return a header, decoded as UTF-8."""
    return arrival.headers[name].encode("latin-1").decode()
