"""Groups, greetings, calls and the server's information: each request as it is sent."""

import json
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote_plus

import pytest

from portsip_async import Attempt, AuthenticationError, NotFound, PortSIPError, RetryPolicy
from portsip_async.v22 import (
    Call,
    CallSession,
    Greeting,
    Group,
    Member,
    OutboundCallerID,
    PortSIPClient,
    ServerInfo,
)

from ..test_secrecy import forms
from ..test_tracebacks import check
from ..wire_server import Arrival, WireServer, hang_up, reply, reset

QUICK = RetryPolicy(initial=0.001, maximum=0.002)
TOKEN = "access+token/1"
ID = "NzAwNTUxOTA5NzczMTQ4MTYw"
FILE = "FileNTUxOTA5NzczMTQ4MTYw"
GROUP = {"id": ID, "name": "Sales", "description": "d", "outbound_caller_ids": [], "new": {"a": 1}}
STARTED = datetime(2017, 7, 21, 17, 32, 28, tzinfo=UTC)
CALL: dict[str, Any] = {
    "caller": "101",
    "caller_display_name": "Ann",
    "callee": "102",
    "started_at": "2017-07-21T17:32:28Z",
    "talking_time": 7,
}
NOT_FOUND = {"errors": [{"code": "UNKNOWN", "message": "not found"}]}
UPLOAD = {"PortSIP-Upload-ID": "upload", "PortSIP-Upload-Token": "token"}
DIGEST = sha256(b"RIFF").hexdigest()
SECRET = 'pass wörd/+&"1'


def client(wire: WireServer, **options: Any) -> PortSIPClient:
    return PortSIPClient(wire.url, token=TOKEN, **{"retry": QUICK, **options})


class Row(NamedTuple):
    """A call, the request that it sends, a reply, and what the call then returns."""

    call: Callable[[PortSIPClient], Awaitable[Any]]
    sent: str
    body: Any = None
    status: int = 200
    reply: Any = b""
    returns: Any = None


ROWS = {
    "groups.show": Row(
        lambda pbx: pbx.groups.show(ID),
        f"GET /api/groups/{ID}",
        reply=GROUP,
        returns=Group(id=ID, name="Sales", description="d", outbound_caller_ids=()),
    ),
    "groups.create": Row(
        lambda pbx: pbx.groups.create(
            "Sales",
            description="",
            outbound_caller_ids=[
                OutboundCallerID(provider_id="p", caller_id="5550100"),
                {"caller_id": "5550101", "description": None},
            ],
        ),
        "POST /api/groups",
        body={
            "name": "Sales",
            "description": "",
            "outbound_caller_ids": [
                {"provider_id": "p", "caller_id": "5550100"},
                {"caller_id": "5550101"},
            ],
        },
        status=201,
        reply={"id": ID},
        returns=ID,
    ),
    "groups.create, only a name": Row(
        lambda pbx: pbx.groups.create("Sales"),
        "POST /api/groups",
        body={"name": "Sales"},
        status=201,
        reply={"id": ID},
        returns=ID,
    ),
    "groups.remove": Row(
        lambda pbx: pbx.groups.remove(ID), f"POST /api/groups/{ID}/destroy", status=204
    ),
    "groups.members": Row(
        lambda pbx: pbx.groups.members(ID),
        f"GET /api/groups/{ID}/members",
        reply={"items": [{"extension_number": "101", "id": "u", "name": "ann"}]},
        returns=[Member(extension_number="101", id="u", name="ann")],
    ),
    "groups.add_members": Row(
        lambda pbx: pbx.groups.add_members(ID, ["101"]), f"POST /api/groups/{ID}/members/101"
    ),
    "groups.remove_members": Row(
        lambda pbx: pbx.groups.remove_members(ID, ["101"]),
        f"POST /api/groups/{ID}/members/101/destroy",
        status=204,
    ),
    "greetings.list": Row(
        lambda pbx: pbx.greetings.list(ID),
        f"GET /api/users/{ID}/greetings",
        reply={"items": [{"id": "g", "enabled": True, "file_name": "a.wav", "file_size": 7}]},
        returns=[Greeting(id="g", enabled=True, file_name="a.wav", file_size=7)],
    ),
    "greetings.create": Row(
        lambda pbx: pbx.greetings.create(ID, FILE),
        f"POST /api/users/{ID}/greetings",
        body={"file_id": FILE},
        status=201,
        reply={"id": "g"},
        returns="g",
    ),
    "greetings.enable": Row(
        lambda pbx: pbx.greetings.enable(ID, "g"), f"POST /api/users/{ID}/greetings/g/enable"
    ),
    "greetings.disable": Row(
        lambda pbx: pbx.greetings.disable(ID, "g"), f"POST /api/users/{ID}/greetings/g/disable"
    ),
    "greetings.remove": Row(
        lambda pbx: pbx.greetings.remove(ID, "g"),
        f"POST /api/users/{ID}/greetings/g/destroy",
        status=204,
    ),
    "calls.create": Row(
        lambda pbx: pbx.calls.create("101", "102"),
        "POST /api/sessions",
        body={"send_sdp": True, "caller": "101", "callee": "102"},
        status=201,
        reply={"id": ID},
        returns=ID,
    ),
    "calls.create, with settings": Row(
        lambda pbx: pbx.calls.create(
            "101",
            "102",
            send_sdp=False,
            trunk="T 1",
            user_data=None,
            additional_header="ANSWER_MODE",
            header_direction="CALLEE",
        ),
        "POST /api/sessions",
        body={
            "send_sdp": False,
            "trunk": "T 1",
            "additional_header": "ANSWER_MODE",
            "header_direction": "CALLEE",
            "caller": "101",
            "callee": "102",
        },
        status=201,
        reply={"id": ID},
        returns=ID,
    ),
    "calls.create_directly": Row(
        lambda pbx: pbx.calls.create_directly(
            "101", "pa+ss", domain="test.io", caller="101", callee="102", caller_display_name="A"
        ),
        "GET /api/sessions/directly?extension_number=101&password=pa%2Bss&domain=test.io"
        "&send_sdp=true&caller_display_name=A&caller=101&callee=102",
        status=201,
        reply={"id": ID},
        returns=ID,
    ),
    "calls.list": Row(
        lambda pbx: pbx.calls.list(),
        "GET /api/sessions",
        status=201,
        reply={"count": 1, "items": [{"id": ID, "calls": [CALL]}]},
        returns=[CallSession(id=ID, calls=(Call(**{**CALL, "started_at": STARTED}),))],
    ),
    "calls.show": Row(
        lambda pbx: pbx.calls.show(ID),
        f"GET /api/sessions/{ID}",
        reply={"id": ID, "calls": []},
        returns=CallSession(id=ID, calls=()),
    ),
    "calls.hang_up": Row(
        lambda pbx: pbx.calls.hang_up(ID), f"POST /api/sessions/{ID}/destroy", status=204
    ),
    "info": Row(
        lambda pbx: pbx.info(),
        "GET /api/info",
        reply={"web_domain": "pbx.test.io"},
        returns=ServerInfo(web_domain="pbx.test.io"),
    ),
}
TOKENLESS = {"calls.create_directly", "info"}


@pytest.mark.parametrize("name", ROWS)
async def test_request(name: str, wire: WireServer) -> None:
    """Each coroutine sends this request, and nothing else."""
    row = ROWS[name]
    wire.script = [reply(row.reply, row.status)]
    async with client(wire) as pbx:
        returned = await row.call(pbx)
    [arrival] = wire.arrivals
    query = f"?{arrival.query}" if arrival.query else ""
    assert f"{arrival.method} {arrival.path}{query}" == row.sent
    if row.body is None:
        assert arrival.body == b""
        assert "content-type" not in arrival.headers
    else:
        assert json.loads(arrival.body) == row.body
        assert arrival.headers["content-type"] == "application/json"
    token = None if name in TOKENLESS else f"Bearer {TOKEN}"
    assert arrival.headers.get("authorization") == token
    assert returned == row.returns


async def test_list_of_groups(wire: WireServer) -> None:
    """A walk passes its conditions on, and yields every group."""
    found = [{"id": str(number), "name": f"g{number}"} for number in range(3)]
    wire.script = [
        reply({"count": 3, "items": found[:2]}),
        reply({"count": 3, "items": found[2:]}),
    ]
    async with client(wire) as pbx:
        walk = pbx.groups.list(
            search="g", filter="name ne 'x'", orderby="name desc", page_size=2, prefetch=0
        )
        assert [group.name async for group in walk] == ["g0", "g1", "g2"]
    queries = [parse_qs(arrival.query) for arrival in wire.arrivals]
    conditions = {"search": ["g"], "filter": ["name ne 'x'"], "orderby": ["name desc"]}
    assert queries == [
        {"skip": ["0"], "top": ["2"], **conditions},
        {"skip": ["2"], "top": ["2"], **conditions},
    ]


@pytest.mark.parametrize("size", [0, 101, True, "5", None])
async def test_page_size_of_groups(wire: WireServer, size: Any) -> None:
    """A page has 1 to 100 groups."""
    async with client(wire) as pbx:
        with pytest.raises((TypeError, ValueError), match="page_size"):
            pbx.groups.list(page_size=size)


# Each coroutine with an id, or with a number in its path.
WITH_ID: dict[str, Callable[[PortSIPClient, str], Awaitable[Any]]] = {
    "groups.show": lambda pbx, text: pbx.groups.show(text),
    "groups.update": lambda pbx, text: pbx.groups.update(text, name="n"),
    "groups.remove": lambda pbx, text: pbx.groups.remove(text),
    "groups.members": lambda pbx, text: pbx.groups.members(text),
    "groups.add_members": lambda pbx, text: pbx.groups.add_members(text, ["1"]),
    "groups.add_members, none": lambda pbx, text: pbx.groups.add_members(text, []),
    "groups.remove_members": lambda pbx, text: pbx.groups.remove_members(text, ["1"]),
    "groups.add_members, number": lambda pbx, text: pbx.groups.add_members("7", ["1", text]),
    "groups.remove_members, number": lambda pbx, text: pbx.groups.remove_members("7", ["1", text]),
    "greetings.list": lambda pbx, text: pbx.greetings.list(text),
    "greetings.create": lambda pbx, text: pbx.greetings.create(text, "f"),
    "greetings.upload": lambda pbx, text: pbx.greetings.upload(text, b"RIFF"),
    "greetings.enable": lambda pbx, text: pbx.greetings.enable(text, "g"),
    "greetings.enable, greeting": lambda pbx, text: pbx.greetings.enable("7", text),
    "greetings.disable": lambda pbx, text: pbx.greetings.disable(text, "g"),
    "greetings.disable, greeting": lambda pbx, text: pbx.greetings.disable("7", text),
    "greetings.remove": lambda pbx, text: pbx.greetings.remove(text, "g"),
    "greetings.remove, greeting": lambda pbx, text: pbx.greetings.remove("7", text),
    "calls.show": lambda pbx, text: pbx.calls.show(text),
    "calls.hang_up": lambda pbx, text: pbx.calls.hang_up(text),
}


@pytest.mark.parametrize("name", WITH_ID)
@pytest.mark.parametrize("text", ["", ".", "..", "\ud800"], ids=ascii)
async def test_id_that_is_no_segment(name: str, text: str, wire: WireServer) -> None:
    """A text that can't be a segment of a path is refused before anything is sent."""
    async with client(wire) as pbx:
        with pytest.raises(ValueError, match=r"empty|half of a surrogate pair"):
            await WITH_ID[name](pbx, text)
    assert wire.connections == 0


@pytest.mark.parametrize("name", [name for name in WITH_ID if ", none" not in name])
@pytest.mark.parametrize("text", ["a/b", "a%2Fb", "a?b", "../users", "a#b", "a;b", "ä b"])
async def test_id_stays_in_its_segment(name: str, text: str, wire: WireServer) -> None:
    """No id reaches another operation: requests differ from those of a plain id in it only."""
    paths = []
    for value in ("plain", text):
        wire.arrivals.clear()
        wire.script = [reply({"id": value, "items": []}, headers=UPLOAD)]
        async with client(wire) as pbx:
            await WITH_ID[name](pbx, value)
        assert {each.query for each in wire.arrivals} <= {"", f"digest={DIGEST}"}
        paths.append(sorted(wire.paths()))
    plain = [path.replace("plain", quote(text, safe="")) for path in paths[0]]
    assert paths[1] == sorted(plain)


class TestCalls:
    @pytest.mark.parametrize("name", ["calls.create", "calls.create_directly"])
    @pytest.mark.parametrize(
        "step",
        [
            hang_up,
            reset,
            reply({"id": ID}, 201)[:-4],
            reply(b"", 500),
            reply(b"", 502),
            reply(b"", 503),
            reply(b"", 408),
            reply("not JSON", 201),
        ],
    )
    async def test_call_is_not_repeated(self, name: str, step: Any, wire: WireServer) -> None:
        """A telephone may have rung, so the error says that, and nothing is sent again."""
        wire.script = [step, reply({"id": ID}, 201)]
        async with client(wire) as pbx:
            with pytest.raises(PortSIPError) as caught:
                await ROWS[name].call(pbx)
        assert caught.value.may_have_acted
        assert (caught.value.operation, caught.value.attempts) == (name, 1)
        assert len(wire.arrivals) == 1

    @pytest.mark.parametrize("name", ["calls.create", "calls.create_directly"])
    async def test_call_over_a_connection_that_was_used(self, name: str, wire: WireServer) -> None:
        """Aiohttp itself would send a GET again if the PBX hangs up on a used connection."""
        kept = reply({"web_domain": "a"}, headers={"Connection": "keep-alive"})
        wire.script = [kept, hang_up, reply({"id": ID}, 201)]
        async with client(wire) as pbx:
            await pbx.info()
            with pytest.raises(PortSIPError) as caught:
                await ROWS[name].call(pbx)
        assert caught.value.may_have_acted
        assert len(wire.arrivals) == 2

    @pytest.mark.parametrize("name", ["calls.create", "calls.create_directly"])
    @pytest.mark.parametrize("again", [reply(b"", 429), reply(b"", 503, {"Retry-After": "0"})])
    async def test_call_that_did_not_ring(self, name: str, again: bytes, wire: WireServer) -> None:
        """A call that the PBX did not even look at is repeated."""
        wire.script = [again, reply({"id": ID}, 201)]
        async with client(wire) as pbx:
            assert await ROWS[name].call(pbx) == ID
        assert len(wire.arrivals) == 2

    async def test_hang_up_is_repeated(self, wire: WireServer) -> None:
        """If the first request may have ended the session, the second may not find it."""
        wire.script = [hang_up, reply(NOT_FOUND, 404)]
        async with client(wire) as pbx:
            await pbx.calls.hang_up(ID)
            wire.script = [reply(NOT_FOUND, 404)]
            with pytest.raises(NotFound):
                await pbx.calls.hang_up(ID)

    @pytest.mark.parametrize(
        "call",
        [
            lambda pbx, more: pbx.calls.create("101", "102", **more),
            lambda pbx, more: pbx.calls.create_directly(
                "101", SECRET, domain="d", caller="1", callee="2", **more
            ),
        ],
        ids=["create", "create_directly"],
    )
    async def test_unknown_setting(self, call: Any, wire: WireServer) -> None:
        """A misspelt setting is refused with the nearest name, and nothing is sent."""
        async with client(wire) as pbx:
            with pytest.raises(TypeError, match='did you mean "caller_display_name"'):
                await call(pbx, {"caller_displayname": "Ann"})
        assert wire.connections == 0

    @pytest.mark.parametrize("argument", range(5))
    @pytest.mark.parametrize(("value", "error"), [("", ValueError), (7, TypeError)])
    async def test_empty_argument(
        self, argument: int, value: Any, error: type[Exception], wire: WireServer
    ) -> None:
        given: list[Any] = ["101", SECRET, "test.io", "101", "102"]
        given[argument] = value
        number, password, domain, caller, callee = given
        async with client(wire) as pbx:
            with pytest.raises(error) as caught:
                await pbx.calls.create_directly(
                    number, password, domain=domain, caller=caller, callee=callee
                )
            check(caught.value, SECRET)
        assert wire.connections == 0


@pytest.mark.parametrize(
    "step",
    [
        "echo",
        hang_up,
        reply(b"", 302, {"Location": f"/x?password={quote(SECRET, safe='')}"}),
        reply(b"", 500),
        reply("<html>", 400),
        reply("not JSON", 201),
        b"rubbish\r\n\r\n",
    ],
    ids=["echo", "cut", "redirect", "500", "page", "not JSON", "rubbish"],
)
async def test_password_of_a_direct_call(
    step: Any, wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The password is in the URL, but in no error, log or traceback, even if the PBX repeats it."""

    async def echo(arrival: Arrival, _: StreamReader, writer: StreamWriter) -> None:
        text = f"{arrival.query} {SECRET} {unquote_plus(arrival.query)}"
        detail = {"url": arrival.query, "password": SECRET}
        error = {"code": "VALIDATE_FAILED", "message": text, "detail": detail}
        writer.write(reply({"errors": [error]}, 400))

    caplog.set_level(logging.DEBUG)
    attempts: list[Attempt] = []
    wire.script = [echo if step == "echo" else step]
    async with client(wire, on_attempt=attempts.append) as pbx:
        with pytest.raises(PortSIPError) as caught:
            await pbx.calls.create_directly(
                "101", SECRET, domain="test.io", caller="101", callee="102"
            )
    assert parse_qs(wire.arrivals[0].query)["password"] == [SECRET]
    [attempt] = attempts
    assert attempt.error is not None
    for error in (caught.value, attempt.error):
        check(error, SECRET)
    texts = f"{caught.value} {caught.value!r} {vars(caught.value)} {attempt} {caplog.text}"
    assert not [form for form in forms(SECRET) if form in texts]


@pytest.mark.parametrize("name", sorted(TOKENLESS))
async def test_operation_without_a_token(name: str, wire: WireServer) -> None:
    """It needs no login, and a refusal says nothing about the client's token."""
    refusal = reply({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}, 401)
    wire.script = [reply(ROWS[name].reply, ROWS[name].status), refusal]
    async with PortSIPClient(wire.url, username="a", password="b", retry=QUICK) as pbx:
        assert await ROWS[name].call(pbx) == ROWS[name].returns
        with pytest.raises(AuthenticationError) as caught:
            await ROWS[name].call(pbx)
    assert not caught.value.token_rejected
    assert len(wire.arrivals) == 2


async def test_information_for_a_tenant(wire: WireServer) -> None:
    wire.script = [reply({"domain": "test.io", "name": "Test"})]
    async with client(wire) as pbx:
        assert (await pbx.info(domain="test.io")).name == "Test"
    assert wire.arrivals[0].query == "domain=test.io"
