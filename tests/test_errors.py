"""The error tree: who is whose kin, what an error tells, and that it travels whole."""

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
    PermissionDenied: (APIError,),
    NotFound: (APIError,),
    Conflict: (APIError,),
    RateLimited: (APIError,),
    ServerError: (APIError,),
}

KINDS = pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)


def full(kind: type[PortSIPError]) -> PortSIPError:
    """Make an error with every fact that its kind can tell."""
    facts: dict[str, Any] = {"operation": "extensions.show"}
    if issubclass(kind, StatusMissing):
        error: PortSIPError = kind("101", **facts)
    elif issubclass(kind, APIError):
        error = kind("no", status=418, err_code="403.9", retry_after=1.5, attempts=3, **facts)
    elif issubclass(kind, ReplyError):
        error = kind(expected="text", where="$.x", attempts=3, **facts)
    else:
        error = kind("it broke", attempts=3, may_have_acted=True, **facts)
    error.page = 7
    error.add_note("seen on Monday")
    return error


def by_pickle(protocol: int) -> Callable[[Any], Any]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))


class TestTree:
    @KINDS
    def test_bases_are_those_of_the_contract(self, kind: type[PortSIPError]) -> None:
        """Who catches one kind catches what is below it."""
        assert kind.__bases__ == TREE[kind]

    def test_tree_is_whole(self) -> None:
        """No other error is public."""
        public = {
            value
            for name, value in vars(errors).items()
            if isinstance(value, type) and issubclass(value, Exception)
        }
        assert public == set(TREE)

    def test_request_timeout_is_caught_as_any_timeout(self) -> None:
        """An application that catches TimeoutError catches ours."""
        with pytest.raises(TimeoutError):
            raise RequestTimeout("took too long", operation="extensions.list")


class TestFacts:
    @KINDS
    def test_kind_can_be_made_of_nothing(self, kind: type[PortSIPError]) -> None:
        """Each has a sensible default for every fact."""
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
    def test_text_tells_the_facts(self, error: PortSIPError, text: str) -> None:
        """Operation first, then what happened."""
        assert str(error) == text

    def test_facts_are_attributes(self) -> None:
        """What the text tells needs no parsing."""
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
        """A number stays a number, a dotted string a string."""
        error = APIError(err_code=err_code)
        assert error.err_code == err_code
        assert type(error.err_code) is type(err_code)


class TestTravel:
    @KINDS
    @pytest.mark.parametrize(
        "travel",
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
    def test_error_arrives_whole(
        self, kind: type[PortSIPError], travel: Callable[[Any], Any]
    ) -> None:
        """Kind, text, facts and notes survive a queue, a process pool and a copy."""
        error = full(kind)
        twin = travel(error)
        assert twin is not error
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert twin.__notes__ == ["seen on Monday"]

    def test_attribute_of_a_single_error_arrives(self) -> None:
        """Also what is set after the error was made."""
        error = ConnectError("refused")
        error.refused_certificate = True
        assert pickle.loads(pickle.dumps(error)).refused_certificate is True

    def test_copy_keeps_the_cause_and_no_traceback(self) -> None:
        """Each of several waiters raises an error of its own, for the same cause."""
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
        """A note on one waiter's error stays with that waiter."""
        error = full(TransportError)
        twin = error.copy()
        twin.add_note("mine")
        assert error.__notes__ == ["seen on Monday"]

    def test_subclass_of_an_application_travels(self) -> None:
        """A kind of the application's own needs nothing for it."""
        twin = pickle.loads(pickle.dumps(Mine("x", colour="red")))
        assert type(twin) is Mine
        assert twin.colour == "red"
        assert str(twin) == "x"


class Mine(PortSIPError):
    def __init__(self, message: str, *, colour: str) -> None:
        super().__init__(message)
        self.colour = colour
