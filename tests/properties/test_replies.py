"""Any bytes as a reply give a value of the declared type, or an error of this package.

The parser is tested alone for each type of the endpoint table. Then each operation is tested with
a client and a raw server.
"""

import json
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import (
    ENDPOINTS,
    APIError,
    Endpoint,
    PortSIPClient,
    PortSIPError,
    ReplyError,
    RetryPolicy,
    StatusResult,
)
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.core.message import Reply
from portsip_async.core.reply import ReplyParser

from ..operations import BY_NAME, OPERATIONS
from ..samples import load
from ..wire_server import TOKEN, WireServer, reply
from .values import ANY_CHARACTER, json_of

MARK = "S3cr3t"
# One row for each type, and the dict that a patch reads.
ROWS: list[Endpoint[Any]] = [
    *{row.reply: row for row in ENDPOINTS.values()}.values(),
    ENDPOINTS["extensions.show"].replace(reply=dict[str, Any]),
]
FIELDS = sorted(
    {"err_code", "msg", "message", "errors", "code", "password", "access_token", "greetings"}
    | {name for row in ROWS for name in getattr(row.reply, "__struct_encode_fields__", ())}
)
SECRET_FIELDS = ("password", "web_access_password", "voicemail_pin", "access_token", "auth")
PLAIN = st.text(ANY_CHARACTER, max_size=8) | st.sampled_from(
    ["nan", "", "1", "0", "true", "null", "1e999", "OFFLINE", "404.1", "9" * 5000]
)


@st.composite
def json_bytes(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """Draw JSON with any spelling and encoding that a server may use."""
    value = draw(
        json_of(texts, FIELDS)
        | st.dictionaries(st.sampled_from(FIELDS), json_of(texts, FIELDS), max_size=6)
    )
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace("1", draw(st.sampled_from(["NaN", "1e999", "9" * 5000, "-Infinity"])))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"]))
    return text.encode(encoding, "replace")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a reply of the vendor's page with some bytes removed and others inserted."""
    body = load(draw(st.sampled_from(sorted(ENDPOINTS)))).reply
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(start + 20, len(body))))
    inserted = draw(
        st.binary(max_size=5) | st.sampled_from([b"null", b'"', b"{}", b"[]", b"1e999"])
    )
    return body[:start] + inserted + body[end:]


ANYTHING = json_bytes(PLAIN) | st.binary(max_size=200) | damaged()


def parse(row: Endpoint[Any], body: bytes, status: int = 200) -> Any:
    """Parse a reply as a call does, and return the value or the error."""
    try:
        return ReplyParser(row, CLASSIC_ERRORS).parse(Reply(status, {}, body), lambda: 1.8e9)
    except (ReplyError, APIError) as error:
        return error


def full_text(error: BaseException) -> str:
    """Return the traceback of an error with its causes, its repr and its attributes."""
    parts = [*traceback.format_exception(error), repr(error), repr(vars(error))]
    return " ".join(parts)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.reply))
@given(body=ANYTHING)
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b'{"extensions":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
@example(body=b'{"extensions": [{"extension_number": "1"}], "extensions": 5}')
@example(body=b'{"access_token": "t", "expires": ' + b"9" * 400 + b"}")
def test_parser_with_any_reply(row: Endpoint[Any], body: bytes) -> None:
    """The result has the declared type in every field, or a ReplyError says where it fails."""
    found = parse(row, body)
    if isinstance(found, ReplyError):
        assert found.where.startswith("$")
        assert found.expected
        assert found.__cause__ is found.__context__ is None
    elif isinstance(found, APIError):
        assert b"err_code" in body.replace(b"\0", b"") or rb"\u" in body
    elif row.reply is None:
        assert found is None
    elif row.reply == dict[str, Any]:
        assert isinstance(found, dict)
    else:
        assert type(found) is row.reply
        # Each field has the type of the model: a strict decoder reads it back.
        again = msgspec.json.decode(msgspec.json.encode(found), type=row.reply, strict=True)
        assert again == found


@given(
    row=st.sampled_from(ROWS), body=json_bytes(st.text(ANY_CHARACTER, max_size=3).map(MARK.__add__))
)
def test_reply_error_quotes_no_text_of_the_reply(row: Endpoint[Any], body: bytes) -> None:
    """This holds for every field name."""
    found = parse(row, body)
    if isinstance(found, ReplyError):
        assert MARK not in full_text(found)


@given(row=st.sampled_from(ROWS), body=ANYTHING, status=st.integers(300, 599))
def test_parser_with_any_error_status(row: Endpoint[Any], body: bytes, status: int) -> None:
    """A status from 300 on raises APIError with that status, whatever the body is."""
    found = parse(row, body, status)
    assert isinstance(found, APIError)
    assert found.status == status
    assert isinstance(found.message, str)
    assert isinstance(found.err_code, str | int | float | None)


async def poll(pbx: PortSIPClient) -> list[StatusResult]:
    return [result async for result in pbx.extensions.poll_status(["101", "102"])]


SENDS: dict[str, Callable[[PortSIPClient], Any]] = {
    **{operation.name: operation.send for operation in OPERATIONS},
    "patch": lambda pbx: pbx.extensions.patch("101", profile={"first_name": "Ann"}),
    "patch of a group": lambda pbx: pbx.groups.patch("1", group_name="Sales"),
    "add_members": lambda pbx: pbx.groups.add_members("1", ["101"]),
    "remove_members": lambda pbx: pbx.groups.remove_members("1", ["101"]),
    "walk": lambda pbx: pbx.extensions.list(max_pages=3).collect(),
    "walk of greetings": lambda pbx: pbx.greetings.list("101", max_pages=3, prefetch=0).collect(),
    "poll": poll,
}
# Separate paths, so that the server replies to a login as to any other request.
LOGIN_PATHS: Any = {
    "account.verify": {"path": "/verify"},
    "account.verify_email": {"path": "/verify_email"},
}


@st.composite
def with_marked_secrets(draw: st.DrawFn) -> bytes:
    """Draw an object that has marked values under secret names only."""
    marked = st.text(ANY_CHARACTER, max_size=3).map(MARK.__add__)
    secret = st.dictionaries(
        st.sampled_from(SECRET_FIELDS), marked | st.lists(marked) | st.just({"x": MARK}), min_size=1
    )
    kept = st.dictionaries(st.sampled_from(FIELDS), json_of(PLAIN, FIELDS) | secret, max_size=5)
    document = draw(kept) | draw(secret)
    return json.dumps(
        draw(st.sampled_from([document, [document], {"extensions": document}]))
    ).encode()


@given(
    name=st.sampled_from(sorted(SENDS)),
    body=ANYTHING | with_marked_secrets(),
    status=st.sampled_from([*[200] * 8, 201, 302, 400, 401, 403, 404, 408, 409, 429, 500, 503]),
)
async def test_operation_with_any_reply(name: str, body: bytes, status: int) -> None:
    """Each method returns, or raises an error of this package without the secret."""
    async with WireServer() as server:
        server.script = [reply(body, status)]
        pbx = PortSIPClient(
            server.url, token=TOKEN, retry=RetryPolicy(attempts=1), endpoints=LOGIN_PATHS
        )
        failure: PortSIPError | None = None
        async with pbx:
            try:
                await SENDS[name](pbx)
            except (ReplyError, APIError) as error:
                failure = error
        assert server.arrivals
        if failure is not None:
            assert failure.operation in ENDPOINTS
            assert name not in BY_NAME or failure.operation == name
            # A resource's own error, such as for a group without a name, has no attempts.
            assert status != 200 or failure.attempts or isinstance(failure, ReplyError)
            if MARK.encode() in body:
                assert MARK not in full_text(failure)
