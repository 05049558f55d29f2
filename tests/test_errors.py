"""The error classes: their bases, attributes and texts, and that copies and pickles keep all."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async import errors
from portsip_async.errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConfigurationError,
    Conflict,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    StatusMissing,
    TransportError,
    TwoFactorRequired,
)

TREE: dict[type[PortSIPError], tuple[type[BaseException], ...]] = {
    PortSIPError: (Exception,),
    ConfigurationError: (PortSIPError,),
    ClientClosed: (PortSIPError,),
    TransportError: (PortSIPError,),
    ConnectError: (TransportError,),
    RequestTimeout: (TransportError, TimeoutError),
    ReplyError: (PortSIPError,),
    StatusMissing: (PortSIPError,),
    APIError: (PortSIPError,),
    BadRequest: (APIError,),
    AuthenticationError: (APIError,),
    TwoFactorRequired: (AuthenticationError,),
    PermissionDenied: (APIError,),
    NotFound: (APIError,),
    Conflict: (APIError,),
    RateLimited: (APIError,),
    ServerError: (APIError,),
}

each_class = pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)


def full(kind: type[PortSIPError]) -> PortSIPError:
    """Make an error of a class, with all its attributes and a note set."""
    facts: dict[str, Any] = {"operation": "extensions.show"}
    if issubclass(kind, StatusMissing):
        error: PortSIPError = kind("101", **facts)
    elif issubclass(kind, APIError):
        facts |= {"status": 418, "err_code": "403.9", "detail": {"field": ["name"]}}
        error = kind("no", retry_after=1.5, attempts=3, **facts)
        if isinstance(error, TwoFactorRequired):
            error.challenge = "challenge-1"
    elif issubclass(kind, ReplyError):
        error = kind(expected="text", where="$.x", attempts=3, **facts)
    else:
        error = kind("it broke", attempts=3, may_have_acted=True, **facts)
    error.page = 7
    error.add_note("seen on Monday")
    return error


def by_pickle(protocol: int) -> Callable[[Any], Any]:
    """Make a function that pickles and unpickles with a protocol."""
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


class TestTree:
    @each_class
    def test_bases_match_the_contract(self, kind: type[PortSIPError]) -> None:
        """Catching a class catches its documented subclasses."""
        assert kind.__bases__ == TREE[kind]

    def test_table_lists_every_public_error(self) -> None:
        """The table has every error that the module defines."""
        public = {
            value
            for name, value in vars(errors).items()
            if isinstance(value, type) and issubclass(value, Exception)
        }
        assert public == set(TREE)

    def test_request_timeout_is_caught_as_any_timeout(self) -> None:
        """A handler of the built-in TimeoutError catches a RequestTimeout."""
        with pytest.raises(TimeoutError):
            raise RequestTimeout("took too long", operation="extensions.list")


class TestAttributes:
    @each_class
    def test_attributes_have_defaults(self, kind: type[PortSIPError]) -> None:
        """An error that was made without arguments has a sensible value for each attribute."""
        error = kind("") if kind is StatusMissing else kind()
        assert error.operation is None
        assert error.attempts == (1 if isinstance(error, APIError) else 0)
        assert error.may_have_acted is False
        assert error.page is None
        assert isinstance(str(error), str)

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (PortSIPError(), ""),
            (PortSIPError("broke"), "broke"),
            (TransportError("broke", operation="groups.list"), "groups.list: broke"),
            (RequestTimeout("late", operation="groups.list"), "groups.list: late"),
            (APIError(status=500), "HTTP 500"),
            (APIError("no", status=400), "HTTP 400: no"),
            (APIError("no", status=200, err_code=0.5), "HTTP 200, err_code 0.5: no"),
            (
                NotFound("gone", status=404, err_code="404.1", operation="groups.show"),
                "groups.show: HTTP 404, err_code 404.1: gone",
            ),
            (
                ReplyError(expected="text", where="$.x", operation="groups.show"),
                "groups.show: the reply could not be read: expected text at $.x",
            ),
            (ReplyError("too long"), "too long"),
            (StatusMissing("101"), "no status for extension 101"),
        ],
    )
    def test_text_shows_the_attributes(self, error: PortSIPError, text: str) -> None:
        """The text names the operation first, then what happened."""
        assert str(error) == text

    def test_repr_holds_what_the_text_says(self) -> None:
        """A log line with ``%r`` says as much as one with ``%s``, except for the operation."""
        error = NotFound("gone", status=404, err_code="404.1", operation="groups.show")
        assert repr(error) == "NotFound('HTTP 404, err_code 404.1: gone')"
        assert repr(ServerError(status=503)) == "ServerError('HTTP 503')"
        assert repr(RequestTimeout("late").with_remark("not again")) == (
            "RequestTimeout('late; not again')"
        )

    def test_attributes_agree_with_the_text(self) -> None:
        """Nobody has to parse the text of an error."""
        api = full(RateLimited)
        assert isinstance(api, RateLimited)
        assert (api.status, api.err_code, api.message) == (418, "403.9", "no")
        assert (api.retry_after, api.attempts, api.operation) == (1.5, 3, "extensions.show")
        reply = full(ReplyError)
        assert isinstance(reply, ReplyError)
        assert (reply.expected, reply.where) == ("text", "$.x")
        missing = full(StatusMissing)
        assert isinstance(missing, StatusMissing)
        assert missing.extension_number == "101"
        connect = ConnectError("no route")
        assert connect.refused_certificate is False

    @pytest.mark.parametrize("err_code", ["403.4", 403.4, 4034, None])
    def test_err_code_is_kept_as_given(self, err_code: str | float | None) -> None:
        """A number stays a number, and a dotted string stays a string."""
        error = APIError(err_code=err_code)
        assert error.err_code == err_code
        assert type(error.err_code) is type(err_code)


class TestCopies:
    @each_class
    @pytest.mark.parametrize(
        "duplicate",
        [
            pytest.param(copy.copy, id="copy"),
            pytest.param(copy.deepcopy, id="deepcopy"),
            pytest.param(PortSIPError.copy, id="method"),
            *(
                pytest.param(by_pickle(protocol), id=f"pickle-{protocol}")
                for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
            ),
        ],
    )
    def test_copy_equals_the_error(
        self, kind: type[PortSIPError], duplicate: Callable[[Any], Any]
    ) -> None:
        """A copy or a pickle keeps the class, the text, the attributes and the notes."""
        error = full(kind)
        twin = duplicate(error)
        assert twin is not error
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert twin.__notes__ == ["seen on Monday"]

    def test_pickle_keeps_attributes_that_were_set_later(self) -> None:
        """An attribute that was set after construction is pickled too."""
        error = ConnectError("refused")
        error.refused_certificate = True
        assert pickle.loads(pickle.dumps(error)).refused_certificate is True

    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, by_pickle(5), PortSIPError.copy]
    )
    def test_copy_keeps_the_challenge_hidden(self, duplicate: Callable[[Any], Any]) -> None:
        """A copy has the challenge of a second factor, and shows it as little as the error."""
        twin = duplicate(full(TwoFactorRequired))
        assert twin.challenge == "challenge-1"
        assert type(twin.challenge) is str
        assert "challenge-1" not in f"{twin!r} {twin} {vars(twin)} {twin.args}"

    def test_copy_keeps_the_cause_and_no_traceback(self) -> None:
        """Several waiters can each raise a separate copy, with the same cause."""
        error = TransportError("broke")
        cause = OSError("reset")
        try:
            raise error from cause
        except TransportError:
            pass
        twin = error.copy()
        assert twin.__cause__ is cause
        assert twin.__traceback__ is None
        twin.page = 5
        twin.add_note("mine")
        assert error.page is None
        assert not hasattr(error, "__notes__")

    def test_copy_shares_no_notes(self) -> None:
        """A note on a copy does not show on the original."""
        error = full(TransportError)
        twin = error.copy()
        twin.add_note("mine")
        assert error.__notes__ == ["seen on Monday"]

    def test_subclass_of_an_application_can_be_pickled(self) -> None:
        """A subclass may define its own constructor without support for pickling."""
        twin = pickle.loads(pickle.dumps(Mine("x", colour="red")))
        assert type(twin) is Mine
        assert twin.colour == "red"
        assert str(twin) == "x"


class Mine(PortSIPError):
    def __init__(self, message: str, *, colour: str) -> None:
        super().__init__(message)
        self.colour = colour
