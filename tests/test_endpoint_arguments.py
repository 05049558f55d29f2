"""What an endpoint can say about its arguments and its reply, as a server sees it."""

import json
import traceback
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
import pytest

from portsip_async import APIError, Endpoint, NotFound, PortSIPClient, ReplyError
from portsip_async.classic.operations import ENDPOINTS, GROUPS_SHOW
from portsip_async.core.endpoint import EndpointTable

from .conftest import ClientMaker
from .wire_server import WireServer, reply

GROUP = {"group_id": "7", "group_name": "Sales", "members": []}

SHOW = Endpoint("users.show", "GET", "/users/{id}", token="bearer", reply=dict[str, str])
REMOVE_MEMBER = Endpoint(
    "groups.remove_member",
    "POST",
    "/groups/{id}/members/{number}/destroy",
    token="bearer",
    parameters="query",
)


@pytest.fixture
def client(wire: WireServer, make_client: ClientMaker) -> PortSIPClient:
    wire.script = [reply({})]
    return make_client(wire.url)


class TestPathArguments:
    @pytest.mark.parametrize(
        "text",
        [
            "NzAwNTUxOTA5NzczMTQ4MTYw",
            "a/b",
            "a%2Fb",
            "a?b",
            "a#b",
            "...",
            "..%2f",
            "%2e%2e",
            "../users",
            "a;b=c",
            "a b",
            "a+b",
            "a\\b",
            "{number}",
            "ä€𝄞",
            "a\nb",
            "a&b=c",
            "a:b@c",
            "~a-b_c.d",
        ],
    )
    async def test_value_stays_in_its_segment(
        self, wire: WireServer, client: PortSIPClient, text: str
    ) -> None:
        """Whatever an argument holds, the request goes to its operation, and the value arrives."""
        await client.request(SHOW, id=text)
        await client.request(REMOVE_MEMBER, id="7", number=text)
        show, remove = wire.arrivals
        assert (show.query, remove.query) == ("", "")
        assert show.path.split("/")[:3] == ["", "api", "users"]
        assert [unquote(part) for part in show.path.split("/")[3:]] == [text]
        segments = remove.path.split("/")
        assert [*segments[:5], segments[6]] == ["", "api", "groups", "7", "members", "destroy"]
        assert unquote(segments[5]) == text
        assert len(segments) == 7

    async def test_path_beyond_ascii(self, wire: WireServer, client: PortSIPClient) -> None:
        """The path of a row is percent-encoded too, and no argument is encoded twice."""
        await client.request(
            Endpoint("größe.show", "GET", "/größe/{größe}", token="none"), größe="a/ä"
        )
        assert wire.paths() == ["/api/gr%C3%B6%C3%9Fe/a%2F%C3%A4"]

    @pytest.mark.parametrize("text", ["", ".", ".."])
    async def test_step_in_the_path_is_refused(
        self, wire: WireServer, client: PortSIPClient, text: str
    ) -> None:
        """A value that servers read as a step in the path is refused before anything is sent."""
        with pytest.raises(ValueError, match=r'users.show: id must not be empty, "." or ".."'):
            client.request(SHOW, id=text)
        assert not wire.arrivals

    async def test_half_of_a_surrogate_pair_is_refused(self, client: PortSIPClient) -> None:
        """A text that has no UTF-8 is refused, and the message does not show it."""
        with pytest.raises(ValueError, match="half of a surrogate pair") as caught:
            client.request(SHOW, id="secret-" + "\ud800")
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None

    @pytest.mark.parametrize("value", [None, ["7"], {"a": 1}, ("7",)])
    async def test_missing_or_wrong_argument(self, client: PortSIPClient, value: Any) -> None:
        """An argument of the path must be there, and be a single value."""
        with pytest.raises(TypeError, match=r"users\.show: id"):
            client.request(SHOW, id=value)

    async def test_number_is_a_single_value(self, wire: WireServer, client: PortSIPClient) -> None:
        """A number in the path is written as its digits, and other arguments stay in the query."""
        await client.request(SHOW, id=7, top=5)
        assert [(each.path, each.query) for each in wire.arrivals] == [("/api/users/7", "top=5")]

    async def test_base_url_with_a_path(self, wire: WireServer, make_client: ClientMaker) -> None:
        """A base URL with a path of its own keeps it, also if that is percent-encoded."""
        wire.script = [reply({})]
        pbx = make_client(f"{wire.url}/p%20bx/api", token="t")
        await pbx.request(SHOW, id="a/b")
        assert wire.paths() == ["/p%20bx/api/users/a%2Fb"]

    @pytest.mark.parametrize("path", ["/users/{", "/users/{id", "/users/id}", "/{}", "/{a b}"])
    def test_stray_brace(self, path: str) -> None:
        """A brace that holds no name is a mistake in the endpoint."""
        with pytest.raises(ValueError, match="braces in the path must hold a name"):
            Endpoint("a.b", "GET", path)

    async def test_override_of_a_path(self, wire: WireServer, make_client: ClientMaker) -> None:
        """An override may put an argument into the path."""
        wire.script = [reply(GROUP)]
        pbx = make_client(wire.url, endpoints={"groups.show": {"path": "/groups/{group_id}"}})
        assert (await pbx.groups.show("7")).group_name == "Sales"
        assert wire.paths() == ["/api/groups/7"]
        assert "group_id" not in wire.arrivals[0].query


class TestBodies:
    async def test_post_without_a_body(self, wire: WireServer, client: PortSIPClient) -> None:
        """A POST whose parameters go to the query has no body and no Content-Type."""
        await client.request(REMOVE_MEMBER, id="7", number="101")
        (arrival,) = wire.arrivals
        assert arrival.body == b""
        assert arrival.headers["content-length"] == "0"
        assert "content-type" not in arrival.headers

    async def test_form(self, wire: WireServer, client: PortSIPClient) -> None:
        """A form is URL-encoded: any text, numbers, and a list as repeated fields."""
        row = Endpoint("a.form", "POST", "/form", token="none", parameters="form")
        sent = {"grant": "a&b=c", "name": "ä ö+%", "count": 3, "each": ["1", "2"], "none": None}
        await client.request(row, **sent)
        (arrival,) = wire.arrivals
        assert arrival.headers["content-type"] == "application/x-www-form-urlencoded"
        assert parse_qs(arrival.body.decode()) == {
            "grant": ["a&b=c"],
            "name": ["ä ö+%"],
            "count": ["3"],
            "each": ["1", "2"],
        }

    @pytest.mark.parametrize("size", [0, 1, 600_000])
    async def test_binary(self, wire: WireServer, client: PortSIPClient, size: int) -> None:
        """A binary body is the bytes of the file; other arguments are in path, query and header."""
        row = Endpoint(
            "a.append",
            "POST",
            "/uploads/{id}/append",
            token="bearer",
            parameters="binary",
            headers={"upload_token": "PortSIP-Upload-Token"},
        )
        await client.request(row, id="u/1", upload_token="secret-1", part=2, file=b"x" * size)
        (arrival,) = wire.arrivals
        assert (arrival.path, arrival.query) == ("/api/uploads/u%2F1/append", "part=2")
        assert arrival.headers["content-type"] == "application/octet-stream"
        assert arrival.headers["content-length"] == str(size)
        assert arrival.headers["portsip-upload-token"] == "secret-1"
        assert arrival.body == b"x" * size

    async def test_binary_from_an_iterator(self, wire: WireServer, client: PortSIPClient) -> None:
        """An iterator is streamed in chunks, since its size is not known."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"y" * 70_000

        row = Endpoint("a.append", "POST", "/append", token="bearer", parameters="binary")
        await client.request(row, file=chunks())
        (arrival,) = wire.arrivals
        assert arrival.headers["transfer-encoding"] == "chunked"
        assert arrival.body == b"y" * 210_000


class TestHeaders:
    ROW = Endpoint("a.b", "GET", "/a", token="none", headers={"mark": "X-Mark"})

    @pytest.mark.parametrize("text", ["a\r\nX-Other: 1", "a\nb", "a\x00b", "a\x7f"])
    async def test_header_cannot_hold_another(self, client: PortSIPClient, text: str) -> None:
        """A value that would end its header line is refused before anything is sent."""
        with pytest.raises(ValueError, match=r"a\.b: mark must be visible characters"):
            client.request(self.ROW, mark=text)

    async def test_missing_header(self, client: PortSIPClient) -> None:
        """An argument of a header must be there."""
        with pytest.raises(TypeError, match=r"a\.b: mark is missing"):
            client.request(self.ROW)


class Started(msgspec.Struct):
    id: str
    token: str
    count: int = 0


class TestReplyHeaders:
    ROW = Endpoint(
        "a.begin",
        "POST",
        "/begin",
        token="none",
        parameters="query",
        reply=Started,
        reply_headers={"id": "PortSIP-Upload-ID", "token": "X-Token", "count": "X-Count"},
    )

    @pytest.mark.parametrize("body", [b"", b"not JSON", b"<html>"])
    async def test_reply_from_headers(
        self, wire: WireServer, client: PortSIPClient, body: bytes
    ) -> None:
        """The value is built from the headers, whatever their case, and the body is ignored."""
        headers = {"portsip-upload-id": "u-1", "X-TOKEN": "t-1", "X-Count": "12"}
        wire.script = [reply(body, 202, headers)]
        assert await client.request(self.ROW) == Started("u-1", "t-1", 12)

    async def test_missing_reply_header(self, wire: WireServer, client: PortSIPClient) -> None:
        """A reply without a required header is a ReplyError that names it."""
        wire.script = [reply(b"", 202, {"PortSIP-Upload-ID": "u-1"})]
        with pytest.raises(ReplyError, match="X-Token") as caught:
            await client.request(self.ROW)
        assert caught.value.may_have_acted

    async def test_error_with_status_200(self, wire: WireServer, client: PortSIPClient) -> None:
        """An error in the body counts, even if the headers are there."""
        headers = {"PortSIP-Upload-ID": "u-1", "X-Token": "t-1"}
        wire.script = [reply({"err_code": "404.1", "msg": "no"}, 200, headers)]
        with pytest.raises(NotFound):
            await client.request(self.ROW)

    async def test_error_of_such_an_operation(
        self, wire: WireServer, client: PortSIPClient
    ) -> None:
        """An error is read from the body, as for any operation."""
        wire.script = [reply({"err_code": "404.1", "msg": "no"}, 404)]
        with pytest.raises(NotFound):
            await client.request(self.ROW)


class TestErrors:
    async def test_code_message_and_detail(self, wire: WireServer, client: PortSIPClient) -> None:
        """The first of ``errors`` has the code, the message and the detail, which is parsed."""
        detail = {"fields": [{"field": "email", "rule": "unique", "n": 1}], "more": None}
        errors = [{"code": "VALIDATE_FAILED", "message": "no", "detail": detail}, {"code": "B"}]
        wire.script = [reply({"errors": errors}, 400)]
        with pytest.raises(APIError) as caught:
            await client.request(SHOW, id="7")
        error = caught.value
        assert (error.err_code, error.message, error.detail) == ("VALIDATE_FAILED", "no", detail)

    @pytest.mark.parametrize("depth", [100, 900, 5000])
    async def test_nested_detail(self, wire: WireServer, client: PortSIPClient, depth: int) -> None:
        """A detail that is nested too deeply to be searched for secrets is left out."""
        detail = "[" * depth + "]" * depth
        body = f'{{"errors": [{{"code": "X", "message": "no", "detail": {detail}}}]}}'
        wire.script = [reply(body.encode(), 404)]
        with pytest.raises(NotFound) as caught:
            await client.request(SHOW, id="7")
        assert (caught.value.detail is not None) == (depth == 100)

    @pytest.mark.parametrize("odd", [None, "", 7, ["x"], {}, [None], [[]], [{"message": 5}]])
    async def test_odd_errors(self, wire: WireServer, client: PortSIPClient, odd: Any) -> None:
        """An unreadable list of errors leaves the status to decide."""
        wire.script = [reply({"errors": odd}, 404)]
        with pytest.raises(NotFound) as caught:
            await client.request(SHOW, id="7")
        assert (caught.value.err_code, caught.value.detail) == (None, None)

    async def test_further_secrets_are_hidden(
        self, wire: WireServer, client: PortSIPClient
    ) -> None:
        """An argument that the endpoint calls a secret is hidden wherever the PBX repeats it."""
        row = Endpoint("auth.verify", "POST", "/verify", token="bearer", secrets={"code"})
        code, challenge = "481516", "challenge-23-42"
        detail = {
            "code": int(code),
            "said": [f"the code was {code}", {code: challenge}],
            "password": "another",
        }
        error = {"code": f"BAD {code}", "message": f"{code} and {challenge}", "detail": detail}
        wire.script = [reply({"errors": [error]}, 400)]
        with pytest.raises(APIError) as caught:
            await client.request(row, token=challenge, code=code)
        shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
        for secret in (code, challenge, "another"):
            assert secret not in shown
        assert "the code was ***" in json.dumps(caught.value.detail)


class TestRename:
    async def test_override_renames_an_argument(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A PBX that calls an argument otherwise gets it under its own name."""
        wire.script = [reply(GROUP)]
        overrides = {"groups.show": {"rename": {"group_id": "id"}, "token": "header"}}
        pbx = make_client(wire.url, endpoints=overrides, token="tok")
        assert (await pbx.groups.show("7")).group_name == "Sales"
        (arrival,) = wire.arrivals
        assert (arrival.query, arrival.headers["access_token"]) == ("id=7", "tok")

    async def test_rename_in_a_json_body(self, wire: WireServer, client: PortSIPClient) -> None:
        """Arguments of a JSON body are renamed as well; others keep their names."""
        row = Endpoint("a.b", "POST", "/a", token="bearer", rename={"extension_number": "id"})
        await client.request(row, extension_number="101", more=1)
        assert json.loads(wire.arrivals[0].body) == {"id": "101", "more": 1}


class TestAdoption:
    def test_own_endpoint_gets_the_place_of_the_token(self) -> None:
        """An application's endpoint that does not place the token gets the API's place."""
        table = EndpointTable(ENDPOINTS, token="bearer")
        own = Endpoint("own.list", "GET", "/own")
        adopted = table.adopt(own)
        assert (adopted.token, adopted.path, own.token) == ("bearer", "/own", "query")
        assert table.adopt(own) is adopted
        for token in ("query", "header", "bearer", "none"):
            said = Endpoint("own.list", "GET", "/own", token=token)
            assert table.adopt(said) is said
        assert EndpointTable(ENDPOINTS).adopt(own) is own

    def test_override_comes_first(self) -> None:
        """A row with the name of an overridden operation is that operation."""
        table = EndpointTable(ENDPOINTS, {"groups.show": {"path": "/x"}}, token="bearer")
        assert table.adopt(GROUPS_SHOW).path == "/x"

    @pytest.mark.parametrize("token", ["bearer", "header"])
    def test_override_of_the_method_keeps_a_token_in_a_header(self, token: Any) -> None:
        """Another method moves a token from query to body, but never one in a header."""
        row = Endpoint("a.b", "GET", "/a", token=token)
        table = EndpointTable({"a.b": row}, {"a.b": {"method": "POST"}})
        assert (table[row].token, table[row].parameters) == (token, "json")
        bodiless = Endpoint("a.b", "POST", "/a", token=token, parameters="query")
        table = EndpointTable({"a.b": bodiless}, {"a.b": {"method": "PUT"}})
        assert (table[bodiless].token, table[bodiless].parameters) == (token, "query")
