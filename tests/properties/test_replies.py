"""Whatever stands in the place of a reply: a value of its type, or an error of ours.

The pure reading is held for each type of the endpoint table, then the whole way for every
operation, by a client and a raw server.
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
from portsip_async.core.message import Reply
from portsip_async.core.reply import ReplyParser

from ..operations import BY_NAME, OPERATIONS
from ..samples import load
from ..wire_server import TOKEN, WireServer, reply
from .values import ANY_CHARACTER, json_of

MARK = "S3cr3t"
# One row for each type; and what a patch reads.
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
def written(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """Draw JSON in any of the ways that a server may write it."""
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
    """Draw one of the page's own replies, with some bytes cut out and others put in."""
    body = load(draw(st.sampled_from(sorted(ENDPOINTS)))).reply
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(start + 20, len(body))))
    put = draw(st.binary(max_size=5) | st.sampled_from([b"null", b'"', b"{}", b"[]", b"1e999"]))
    return body[:start] + put + body[end:]


ANYTHING = written(PLAIN) | st.binary(max_size=200) | damaged()


def read(row: Endpoint[Any], body: bytes, status: int = 200) -> Any:
    """Read a reply as a call does; answers the value or the error."""
    try:
        return ReplyParser(row).parse(Reply(status, {}, body), lambda: 1.8e9)
    except (ReplyError, APIError) as error:
        return error


def told(error: BaseException) -> str:
    """Everything that an error and what hangs on it says."""
    parts = [*traceback.format_exception(error), repr(error), repr(vars(error))]
    return " ".join(parts)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.reply))
@given(body=ANYTHING)
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b'{"extensions":' + b"[" * 5_000 + b"]" * 5_000 + b"}")
@example(body=b'{"extensions": [{"extension_number": "1"}], "extensions": 5}')
@example(body=b'{"access_token": "t", "expires": ' + b"9" * 400 + b"}")
def test_any_reply(row: Endpoint[Any], body: bytes) -> None:
    """A value of the declared type, through and through; or the one error that says where."""
    found = read(row, body)
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
        # Not lenient: each field holds the type that the model says, and can be written.
        again = msgspec.json.decode(msgspec.json.encode(found), type=row.reply, strict=True)
        assert again == found


@given(
    row=st.sampled_from(ROWS), body=written(st.text(ANY_CHARACTER, max_size=3).map(MARK.__add__))
)
def test_no_error_quotes_a_reply(row: Endpoint[Any], body: bytes) -> None:
    """No text of the reply stands in what can't be read, under whatever name it stood there."""
    found = read(row, body)
    if isinstance(found, ReplyError):
        assert MARK not in told(found)


@given(row=st.sampled_from(ROWS), body=ANYTHING, status=st.integers(300, 599))
def test_any_error(row: Endpoint[Any], body: bytes, status: int) -> None:
    """A status that is no success is an error with that status, whatever came with it."""
    found = read(row, body, status)
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
# Where the server takes a login for any other request.
ELSEWHERE: Any = {
    "account.verify": {"path": "/verify"},
    "account.verify_email": {"path": "/verify_email"},
}


@st.composite
def discreet(draw: st.DrawFn) -> bytes:
    """Draw an object whose marked values all stand under a secret name."""
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
    body=ANYTHING | discreet(),
    status=st.sampled_from([*[200] * 8, 201, 302, 400, 401, 403, 404, 408, 409, 429, 500, 503]),
)
async def test_any_reply_to_any_operation(name: str, body: bytes, status: int) -> None:
    """Each coroutine answers, or raises an error that says nothing secret."""
    async with WireServer() as server:
        server.script = [reply(body, status)]
        pbx = PortSIPClient(
            server.url, token=TOKEN, retry=RetryPolicy(attempts=1), endpoints=ELSEWHERE
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
            # An error of a resource's own, as of a group without a name, tells of no attempt.
            assert status != 200 or failure.attempts or isinstance(failure, ReplyError)
            if MARK.encode() in body:
                assert MARK not in told(failure)
