"""The wire format: how a request is built, and how a reply is judged. Pure."""

import itertools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    Endpoint,
    NewExtension,
    NotFound,
    PermissionDenied,
    PortSIPError,
    Profile,
    RateLimited,
    ReplyError,
    ServerError,
)
from portsip_async.core.message import Reply
from portsip_async.core.reply import ReplyParser, parse_retry_after, scrub_error
from portsip_async.core.request import RequestTemplate, secrets_of
from portsip_async.core.retry import Failure, failure_of

NOON = 1445428800.0  # Wed, 21 Oct 2015 12:00:00 UTC
TOKEN = 'to"ken\\é'


def endpoint(token: Any = "body", parameters: Any = "json", reply: Any = None) -> Endpoint[Any]:
    return Endpoint("a.b", "POST", "/a/b", token=token, parameters=parameters, reply=reply)


def sent(query: str | Mapping[str, Any]) -> dict[str, list[str]]:
    """Read a query as a server does."""
    url = URL("http://h/").extend_query(query)
    return parse_qs(url.raw_query_string, keep_blank_values=True)


class TestRequest:
    @pytest.mark.parametrize("parameters", [{}, {"a": 1}, {"a": None}, {"a": {"b": ["é", 1.5]}}])
    def test_token_in_body(self, parameters: dict[str, Any]) -> None:
        """The token is a field among the others, in valid JSON whatever it holds."""
        request = RequestTemplate(endpoint(), parameters).request(TOKEN)
        assert request.body is not None
        assert json.loads(request.body) == {"access_token": TOKEN, **parameters}
        assert request.headers == {"Content-Type": "application/json"}
        assert request.query == {}

    @pytest.mark.parametrize(
        ("token", "query", "headers"),
        [
            ("query", {"access_token": [TOKEN]}, {}),
            ("header", {}, {"access_token": TOKEN}),
            ("bearer", {}, {"Authorization": f"Bearer {TOKEN}"}),
            ("none", {}, {}),
        ],
    )
    def test_token_elsewhere(
        self, token: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> None:
        """Wherever the token goes, it goes nowhere else."""
        in_query = RequestTemplate(endpoint(token, "query"), {"n": "1"}).request(TOKEN)
        assert sent(in_query.query) == {**query, "n": ["1"]}
        assert in_query.headers == headers
        assert in_query.body is None
        in_json = RequestTemplate(endpoint(token, "json"), {"n": "1"}).request(TOKEN)
        assert sent(in_json.query) == query
        assert in_json.headers == {"Content-Type": "application/json", **headers}
        assert in_json.body == b'{"n":"1"}'

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("é +&=%;?/", ["é +&=%;?/"]),
            ("", [""]),
            (7, ["7"]),
            (1.5, ["1.5"]),
            (True, ["true"]),
            (["a", 1, False], ["a", "1", "false"]),
            (("a",), ["a"]),
            ([], []),
        ],
    )
    def test_query_values(self, value: object, text: list[str]) -> None:
        """Values are told as JSON tells them; an array repeats its key."""
        request = RequestTemplate(endpoint("none", "query"), {"v": value, "absent": None}).request(
            ""
        )
        assert sent(request.query) == ({"v": text} if text else {})

    def test_struct(self) -> None:
        """A struct is sent under the API's names, without what is None."""
        extension = NewExtension(
            extension_number="101",
            password="a",
            web_access_password="b",
            profile=Profile(first_name="Ann"),
        )
        body = RequestTemplate(endpoint(), extension).request("t").body
        assert body is not None
        assert json.loads(body) == {
            "access_token": "t",
            "extension_number": "101",
            "password": "a",
            "web_access_password": "b",
            "profile": {"first_name": "Ann"},
        }

    def test_multipart(self) -> None:
        """The fields of a form stand apart, the token in the query."""
        draft = RequestTemplate(endpoint("query", "multipart"), {"extension_number": "1", "n": 2})
        assert draft.form == {"extension_number": "1", "n": "2"}
        request = draft.request("t")
        assert (request.query, request.body) == ({"access_token": "t"}, None)

    def test_anew_on_each_attempt(self) -> None:
        draft = RequestTemplate(endpoint(), {"a": 1})
        bodies = [draft.request(token).body for token in ("one", "two", "one")]
        assert bodies[0] == bodies[2] == b'{"access_token":"one","a":1}'
        assert bodies[1] == b'{"access_token":"two","a":1}'

    @pytest.mark.parametrize("place", ["query", "json", "multipart"])
    def test_half_a_surrogate_pair(self, place: str) -> None:
        """Text that can't be sent is refused at once, and not shown."""
        token = "body" if place == "json" else "query"
        with pytest.raises(ValueError, match="half a surrogate pair") as caught:
            RequestTemplate(endpoint(token, place), {"auth": "hidden\ud800"})
        assert type(caught.value) is ValueError
        assert caught.value.__context__ is None
        assert "hidden" not in repr(caught.value)

    @pytest.mark.parametrize("place", ["query", "json", "multipart"])
    def test_half_a_surrogate_pair_in_a_name(self, place: str) -> None:
        """A parameter is never sent under another name than its own."""
        token = "body" if place == "json" else "query"
        with pytest.raises(ValueError, match="half a surrogate pair"):
            RequestTemplate(endpoint(token, place), {"name\ud800": "1"})

    @pytest.mark.parametrize("place", ["query", "json"])
    def test_what_cannot_be_sent(self, place: str) -> None:
        with pytest.raises(TypeError, match="object"):
            RequestTemplate(endpoint("none", place), {"a": object()})

    def test_parameters_without_names(self) -> None:
        class Pair(msgspec.Struct, array_like=True):
            first: int

        with pytest.raises(TypeError, match="must have names"):
            RequestTemplate(endpoint(), Pair(1))

    def test_reprs(self) -> None:
        request = RequestTemplate(endpoint("query", "query"), {"auth": "hidden"}).request("hidden")
        assert "hidden" not in repr(request)
        assert "hidden" not in repr(Reply(200, {}, b"hidden"))

    @given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(-9, 9)), st.text())
    def test_any_json(self, parameters: dict[str, int], token: str) -> None:
        """Splicing the token in gives what encoding it with the rest would."""
        parameters.pop("access_token", None)
        try:
            token.encode()
        except UnicodeEncodeError:
            return  # no token: `isprintable` is False for it
        body = RequestTemplate(endpoint(), parameters).request(token).body
        assert body is not None
        assert json.loads(body) == {"access_token": token, **parameters}


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0.0),
            ("120", 120.0),
            (" 7 ", 7.0),
            ("86400", 86400.0),
            ("Wed, 21 Oct 2015 12:00:30 GMT", 30.0),
            ("Wednesday, 21-Oct-15 12:00:30 GMT", 30.0),
            ("Wed Oct 21 12:00:30 2015", 30.0),
            ("Wed, 21 Oct 2015 12:00:30", 30.0),
            ("Wed, 21 Oct 2015 12:00:30 -0000", 30.0),
            ("Wed, 21 Oct 2015 14:00:30 +0200", 30.0),
            ("Thu, 22 Oct 2015 12:00:00 GMT", 86400.0),
            ("Wed, 21 Oct 2015 11:59:59 GMT", 0.0),
            ("Mon, 01 Jan 1990 00:00:00 GMT", 0.0),
            ("86401", None),
            ("9" * 400, None),
            ("Thu, 22 Oct 2015 12:00:01 GMT", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("0x10", None),
            ("1, 2", None),
            ("٣", None),
            ("nan", None),
            ("", None),
            ("soon", None),
            ("Wed, 32 Oct 2015 12:00:00 GMT", None),
            ("Wed, 21 Oct 99999 12:00:00 GMT", None),
            ("2015-10-21T12:00:30Z", None),
        ],
    )
    def test_values(self, value: str, seconds: float | None) -> None:
        """Digits or a date, of today and UTC where it doesn't say; anything else is ignored."""
        assert parse_retry_after(value, lambda: NOON) == seconds

    @given(st.text() | st.from_regex(r"\w{3}, \d\d? \w{3} \d{2,5} \d\d:\d\d:\d\d( [+-]\d{4})?"))
    def test_anything(self, value: str) -> None:
        """Whatever a server sends, it is a time within a day or nothing."""
        seconds = parse_retry_after(value, lambda: NOON)
        assert seconds is None or 0 <= seconds <= 86400

    def test_attribute(self) -> None:
        """Any error tells it."""
        for status in (400, 404, 429, 500, 503):
            assert judged(Reply(status, {"Retry-After": "12"}, b"")).retry_after == 12.0
            assert judged(Reply(status, {"Retry-After": "soon"}, b"")).retry_after is None
            assert judged(Reply(status, {}, b"")).retry_after is None


def judged(reply: Reply, /, **places: Any) -> APIError:
    """Judge a reply that must be an error."""
    with pytest.raises(APIError) as caught:
        ReplyParser(endpoint(**places)).parse(reply, lambda: NOON)
    error = caught.value
    assert error.status == reply.status
    return error


class Reading(msgspec.Struct):
    """A reply's type without a field for errors."""

    name: str


class Cautious(msgspec.Struct):
    """A reply's type with one."""

    name: str = ""
    err_code: int | float | str | None = None


NAMED: dict[str, type[APIError]] = {
    "400.1": BadRequest,
    "400.2": BadRequest,
    "401.1": AuthenticationError,
    "401.2": AuthenticationError,
    "403.1": PermissionDenied,
    "403.2": Conflict,
    "403.3": Conflict,
    "403.4": AuthenticationError,
    "403.5": RateLimited,
    "404.1": NotFound,
    "404.2": NotFound,
    "404.3": NotFound,
    "500": ServerError,
    "503": ServerError,
}
STATUSES: dict[int, type[APIError]] = {
    301: APIError,
    304: APIError,
    400: BadRequest,
    401: AuthenticationError,
    402: APIError,
    403: PermissionDenied,
    404: NotFound,
    405: APIError,
    408: APIError,
    409: Conflict,
    422: BadRequest,
    429: RateLimited,
    451: APIError,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    599: ServerError,
    700: APIError,
}


class TestErrors:
    @pytest.mark.parametrize("code", NAMED)
    @pytest.mark.parametrize("reply", [None, Reading, Cautious, dict[str, Any]])
    def test_by_code(self, code: str, reply: Any) -> None:
        """A code of the console's list decides, as a number and as text, whatever the status."""
        number = float(code) if "." in code else int(code)
        statuses = (200, 400, 402, 404, 409, 422, 500)
        for err_code, status in itertools.product((code, number), statuses):
            body = json.dumps({"err_code": err_code, "msg": "No"}).encode()
            error = judged(Reply(status, {}, body), reply=reply)
            assert type(error) is NAMED[code]
            assert (error.err_code, type(error.err_code)) == (err_code, type(err_code))
            assert error.message == "No"

    @pytest.mark.parametrize("status", STATUSES)
    @pytest.mark.parametrize(
        "body",
        [b"", b"null", b"[]", b"<html>\xff", b'{"msg": null}', b'{"err_code": 0}', b"{"],
    )
    def test_by_status(self, status: int, body: bytes) -> None:
        """Without a code the status decides, whatever the body."""
        error = judged(Reply(status, {}, body))
        assert type(error) is STATUSES[status]
        assert error.message in ("", "redirects are not followed")

    @pytest.mark.parametrize(
        ("status", "err_code", "kind"),
        [
            (400, 999, BadRequest),
            (404, "7.7", NotFound),
            (500, "WEIRD", ServerError),
            (409, [1], Conflict),
            (200, 999, APIError),
            (200, "WEIRD", APIError),
            (200, 429, RateLimited),
            (200, "404.9", NotFound),
            (200, 502, ServerError),
            (200, {"a": 1}, APIError),
            (200, True, APIError),
        ],
    )
    def test_unknown_code(self, status: int, err_code: object, kind: type[APIError]) -> None:
        """An unknown code leaves it to the status, and in a 200 to the status it begins with."""
        body = json.dumps({"err_code": err_code}).encode()
        assert type(judged(Reply(status, {}, body))) is kind

    @pytest.mark.parametrize("err_code", ["absent", None, "", 0, "0", 0.0])
    @pytest.mark.parametrize("status", [200, 201, 204])
    def test_no_error(self, err_code: object, status: int) -> None:
        """An err_code that says nothing is no error."""
        fields = {} if err_code == "absent" else {"err_code": err_code}
        body = json.dumps({"name": "a", **fields}).encode()
        read = Reply(status, {}, body)
        assert ReplyParser(endpoint()).parse(read, lambda: NOON) is None
        assert ReplyParser(endpoint(reply=Reading)).parse(read, lambda: NOON) == Reading("a")
        assert ReplyParser(endpoint(reply=Cautious)).parse(read, lambda: NOON).name == "a"

    @pytest.mark.parametrize("body", [b"", b"{}", b"null", b" \r\n", b"[]", b'{"more": 1}', b"1"])
    def test_nothing_due(self, body: bytes) -> None:
        """Where no body is due, nothing and any JSON mean success."""
        assert ReplyParser(endpoint()).parse(Reply(200, {}, body), lambda: NOON) is None

    @pytest.mark.parametrize("reply", [None, Reading])
    @pytest.mark.parametrize("body", [b"<html>hidden</html>", b'{"name": ', b"\xff\xfe\x00"])
    def test_unreadable(self, body: bytes, reply: Any) -> None:
        """What is no JSON is no reply, and the error does not quote it."""
        with pytest.raises(ReplyError) as caught:
            ReplyParser(endpoint(reply=reply)).parse(Reply(200, {}, body), lambda: NOON)
        assert "hidden" not in repr(caught.value)
        assert caught.value.__context__ is None

    def test_word_in_a_value(self) -> None:
        """A reply that only speaks of err_code is none."""
        body = b'{"name": "the \\"err_code\\": 5 of x"}'
        read = ReplyParser(endpoint(reply=Reading)).parse(Reply(200, {}, body), lambda: NOON)
        assert read.name.startswith("the")

    @pytest.mark.parametrize(
        ("body", "err_code", "message"),
        [
            ({"err_code": 400.1, "msg": "a", "message": "b"}, 400.1, "a"),
            ({"err_code": 400.1, "message": "b"}, 400.1, "b"),
            ({"msg": 7}, None, ""),
            ({"errors": [{"code": "BAD", "message": "c"}]}, "BAD", "c"),
            ({"errors": [{"code": "BAD"}, {"code": "WORSE"}]}, "BAD", ""),
            ({"errors": []}, None, ""),
            ({"errors": "no"}, None, ""),
            ({"errors": ["no"]}, None, ""),
        ],
    )
    def test_places(self, body: dict[str, Any], err_code: Any, message: str) -> None:
        """Code and message are found where the versions of the PBX put them."""
        error = judged(Reply(400, {}, json.dumps(body).encode()))
        assert type(error) is BadRequest
        assert (error.err_code, error.message) == (err_code, message)

    def test_later_version(self) -> None:
        """Version 22's refusal of a token."""
        body = b'{"errors": [{"code": "UNAUTHORIZED", "message": "Unauthorized"}]}'
        error = judged(Reply(401, {}, body))
        assert isinstance(error, AuthenticationError)
        assert (error.token_rejected, error.err_code) == (True, "UNAUTHORIZED")

    def test_redirect(self) -> None:
        assert judged(Reply(302, {}, b"")).message == "redirects are not followed"


class TestRejectedTokens:
    @pytest.mark.parametrize(
        ("status", "err_code", "message", "rejected"),
        [
            (401, None, "", True),
            (401, 999, "", True),
            (401, "403.4", "", True),
            (401, 401.1, "", False),
            (401, "401.2", "", False),
            (400, 401.2, "", False),
            (200, 403.4, "", True),
            (400, 403.4, "", True),
            (403, "403.4", "", True),
            (404, 403.4, "", True),
            (500, "403.4", "", True),
            (400, 400.1, "The access token is invalid", True),
            (400, None, "Invalid access_token.", True),
            (403, None, "Access-Token expired", True),
            (403, 403.1, "accesstoken", True),
            (404, None, "no access token", False),
            (500, None, "no access token", False),
            (200, 400.1, "no access token", False),
            (400, 400.1, "the extension's name is a token of love", False),
            (403, 403.1, "access denied", False),
            (400, None, "", False),
        ],
    )
    def test_table(self, status: int, err_code: Any, message: str, rejected: bool) -> None:
        """What is taken for a rejected token, to be replayed with a new one."""
        body = json.dumps({"err_code": err_code, "msg": message}).encode()
        error = judged(Reply(status, {}, body))
        told = isinstance(error, AuthenticationError) and error.token_rejected
        assert told is rejected
        # An operation that sends no token has none that could be rejected.
        error = judged(Reply(status, {}, body), token="none")
        assert not (isinstance(error, AuthenticationError) and error.token_rejected)


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "fault"),
        [
            (ReplyError(), Failure.UNREADABLE),
            (RateLimited(status=429), Failure.LIMITED),
            (RateLimited(status=503, retry_after=1.0), Failure.LIMITED),
            (ServerError(status=500), Failure.SERVER_ERROR),
            (ServerError(status=500, retry_after=1.0), Failure.SERVER_ERROR),
            (ServerError(status=200, err_code=503, retry_after=1.0), Failure.SERVER_ERROR),
            (ServerError(status=503), Failure.SERVER_ERROR),
            (ServerError(status=503, retry_after=0.0), Failure.BUSY),
            (APIError(status=408), Failure.STALLED),
            (APIError(status=418), Failure.REFUSED),
            (BadRequest(status=400, retry_after=1.0), Failure.REFUSED),
            (AuthenticationError(status=401), Failure.REFUSED),
        ],
    )
    def test_of_an_error(self, error: PortSIPError, fault: Failure) -> None:
        assert failure_of(error) is fault


class TestScrubbing:
    def test_secrets_of_a_call(self) -> None:
        """The token, and every value under a secret name at any depth."""
        parameters = {
            "extension_number": "101",
            "password": "p1",
            "voice_mail": {"voicemail_pin": 1234, "prompt_language": "en"},
            "auth": "p2",
        }
        assert sorted(secrets_of(parameters, "tok")) == ["1234", "p1", "p2", "tok"]
        assert secrets_of({"a": "b"}, None) == []
        extension = NewExtension(extension_number="1", password="p", web_access_password="w")
        assert sorted(secrets_of(extension, "")) == ["p", "w"]

    def test_message_and_code(self) -> None:
        """What the PBX repeats of a call's secrets is hidden; the facts stay."""
        told = AuthenticationError(
            "wrong password p w/1 and p%20w%2F1 of 101",
            status=400,
            err_code="p w/1",
            retry_after=3.0,
        )
        told.token_rejected = True
        clean = scrub_error(told, ["p w/1"])
        assert "p w/1" not in repr(clean)
        assert "p%20w" not in str(clean)
        assert "of 101" in clean.message
        assert (clean.status, clean.retry_after, clean.err_code) == (400, 3.0, "***")
        assert isinstance(clean, AuthenticationError)
        assert clean.token_rejected

    def test_code_that_is_a_number(self) -> None:
        """A code is no text to be searched for a pin."""
        assert scrub_error(BadRequest("x", status=400, err_code=400.1), ["400"]).err_code == 400.1
