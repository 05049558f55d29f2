"""How a reply is parsed: its value, its errors, its Retry-After."""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    Conflict,
    Endpoint,
    NotFound,
    PermissionDenied,
    RateLimited,
    ReplyError,
    ServerError,
)
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.core.message import Reply
from portsip_async.core.reply import ReplyParser, parse_retry_after, scrub_error

NOON = 1445428800.0  # Wed, 21 Oct 2015 12:00:00 UTC


def endpoint(token: Any = "body", reply: Any = None) -> Endpoint[Any]:
    return Endpoint("a.b", "POST", "/a/b", token=token, reply=reply)


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
        """Digits and dates give seconds, a date without a zone in UTC; anything else is ignored."""
        assert parse_retry_after(value, lambda: NOON) == seconds

    @given(st.text() | st.from_regex(r"\w{3}, \d\d? \w{3} \d{2,5} \d\d:\d\d:\d\d( [+-]\d{4})?"))
    def test_any_text(self, value: str) -> None:
        """Any text gives a time within a day, or None."""
        seconds = parse_retry_after(value, lambda: NOON)
        assert seconds is None or 0 <= seconds <= 86400

    def test_error_has_it_as_an_attribute(self) -> None:
        """Errors of every status have `retry_after`; it is None without a readable header."""
        for status in (400, 404, 429, 500, 503):
            assert error_of(Reply(status, {"Retry-After": "12"}, b"")).retry_after == 12.0
            assert error_of(Reply(status, {"Retry-After": "soon"}, b"")).retry_after is None
            assert error_of(Reply(status, {}, b"")).retry_after is None


def error_of(reply: Reply, /, **options: Any) -> APIError:
    """Return the error that a reply is parsed to, for an endpoint with these options."""
    with pytest.raises(APIError) as caught:
        ReplyParser(endpoint(**options), CLASSIC_ERRORS).parse(reply, lambda: NOON)
    error = caught.value
    assert error.status == reply.status
    return error


class Plain(msgspec.Struct):
    """A type of replies without a field for errors."""

    name: str


class WithErrorCode(msgspec.Struct):
    """A type of replies with its own field `err_code`."""

    name: str = ""
    err_code: int | float | str | None = None


CODES: dict[str, type[APIError]] = {
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
    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("reply", [None, Plain, WithErrorCode, dict[str, Any]])
    def test_code_decides_the_class(self, code: str, reply: Any) -> None:
        """A documented code decides, as a number and as text, whatever the status is."""
        number = float(code) if "." in code else int(code)
        statuses = (200, 400, 402, 404, 409, 422, 500)
        for err_code, status in itertools.product((code, number), statuses):
            body = json.dumps({"err_code": err_code, "msg": "No"}).encode()
            error = error_of(Reply(status, {}, body), reply=reply)
            assert type(error) is CODES[code]
            assert (error.err_code, type(error.err_code)) == (err_code, type(err_code))
            assert error.message == "No"

    @pytest.mark.parametrize("status", STATUSES)
    @pytest.mark.parametrize(
        "body",
        [b"", b"null", b"[]", b"<html>\xff", b'{"msg": null}', b'{"err_code": 0}', b"{"],
    )
    def test_status_decides_without_a_code(self, status: int, body: bytes) -> None:
        """Without a code the status decides, whatever the body is."""
        error = error_of(Reply(status, {}, body))
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
    def test_unknown_code_leaves_it_to_the_status(
        self, status: int, err_code: object, kind: type[APIError]
    ) -> None:
        """With an unknown code the status decides; in a 200, the leading status of the code."""
        body = json.dumps({"err_code": err_code}).encode()
        assert type(error_of(Reply(status, {}, body))) is kind

    @pytest.mark.parametrize("err_code", ["absent", None, "", 0, "0", 0.0])
    @pytest.mark.parametrize("status", [200, 201, 204])
    def test_empty_code_is_not_an_error(self, err_code: object, status: int) -> None:
        """A reply with an empty or a zero err_code is a success."""
        fields = {} if err_code == "absent" else {"err_code": err_code}
        body = json.dumps({"name": "a", **fields}).encode()
        read = Reply(status, {}, body)
        assert ReplyParser(endpoint(), CLASSIC_ERRORS).parse(read, lambda: NOON) is None
        assert ReplyParser(endpoint(reply=Plain), CLASSIC_ERRORS).parse(
            read, lambda: NOON
        ) == Plain("a")
        assert (
            ReplyParser(endpoint(reply=WithErrorCode), CLASSIC_ERRORS)
            .parse(read, lambda: NOON)
            .name
            == "a"
        )

    @pytest.mark.parametrize("body", [b"", b"{}", b"null", b" \r\n", b"[]", b'{"more": 1}', b"1"])
    def test_reply_without_a_value(self, body: bytes) -> None:
        """For an endpoint without a reply, an empty body and any JSON mean success."""
        assert (
            ReplyParser(endpoint(), CLASSIC_ERRORS).parse(Reply(200, {}, body), lambda: NOON)
            is None
        )

    @pytest.mark.parametrize("reply", [None, Plain])
    @pytest.mark.parametrize("body", [b"<html>hidden</html>", b'{"name": ', b"\xff\xfe\x00"])
    def test_body_that_is_not_json(self, body: bytes, reply: Any) -> None:
        """A body that is not JSON is a ReplyError, which does not quote it."""
        with pytest.raises(ReplyError) as caught:
            ReplyParser(endpoint(reply=reply), CLASSIC_ERRORS).parse(
                Reply(200, {}, body), lambda: NOON
            )
        assert "hidden" not in repr(caught.value)
        assert caught.value.__context__ is None

    def test_value_that_mentions_err_code(self) -> None:
        """A text that mentions err_code does not make a reply an error."""
        body = b'{"name": "the \\"err_code\\": 5 of x"}'
        read = ReplyParser(endpoint(reply=Plain), CLASSIC_ERRORS).parse(
            Reply(200, {}, body), lambda: NOON
        )
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
    def test_code_and_message_are_found(
        self, body: dict[str, Any], err_code: Any, message: str
    ) -> None:
        """Code and message are found under the names that each version of the PBX uses."""
        error = error_of(Reply(400, {}, json.dumps(body).encode()))
        assert type(error) is BadRequest
        assert (error.err_code, error.message) == (err_code, message)

    def test_refused_token_of_version_22(self) -> None:
        """Version 22 reports a refused token in a list of errors."""
        body = b'{"errors": [{"code": "UNAUTHORIZED", "message": "Unauthorized"}]}'
        error = error_of(Reply(401, {}, body))
        assert isinstance(error, AuthenticationError)
        assert (error.token_rejected, error.err_code) == (True, "UNAUTHORIZED")

    def test_repr_hides_the_body(self) -> None:
        """The repr of a reply shows nothing of its body."""
        assert "hidden" not in repr(Reply(200, {}, b"hidden"))

    def test_redirect_has_a_message(self) -> None:
        """The error of a redirect says that redirects are not followed."""
        assert error_of(Reply(302, {}, b"")).message == "redirects are not followed"


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
    def test_token_rejected(self, status: int, err_code: Any, message: str, rejected: bool) -> None:
        """These replies mean that the token was rejected; the call is repeated with a new one."""
        body = json.dumps({"err_code": err_code, "msg": message}).encode()
        error = error_of(Reply(status, {}, body))
        assert (isinstance(error, AuthenticationError) and error.token_rejected) is rejected
        # An operation without a token can't have it rejected.
        error = error_of(Reply(status, {}, body), token="none")
        assert not (isinstance(error, AuthenticationError) and error.token_rejected)


class TestScrubbing:
    def test_secrets_in_message_and_code(self) -> None:
        """Secrets that the PBX repeats are hidden; everything else stays."""
        error = AuthenticationError(
            "wrong password p w/1 and p%20w%2F1 of 101",
            status=400,
            err_code="p w/1",
            retry_after=3.0,
        )
        error.token_rejected = True
        clean = scrub_error(error, ["p w/1"])
        assert "p w/1" not in repr(clean)
        assert "p%20w" not in str(clean)
        assert "of 101" in clean.message
        assert (clean.status, clean.retry_after, clean.err_code) == (400, 3.0, "***")
        assert isinstance(clean, AuthenticationError)
        assert clean.token_rejected

    def test_code_that_is_a_number(self) -> None:
        """A numeric code is kept, also if it contains a secret."""
        assert scrub_error(BadRequest("x", status=400, err_code=400.1), ["400"]).err_code == 400.1
