"""The error classes of the SDK, and the tables that map replies of the PBX to them.

Errors carry details as attributes, so callers need not parse their texts. Errors survive pickling
and copying, except for their ``__cause__``. Their texts never contain a token, a password, a pin or
``auth``: anything that comes from outside is scrubbed first.

Which codes mean what differs between the generations of the API: see `ErrorScheme`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn, Self, TypeVar, overload

E = TypeVar("E", bound="PortSIPError")

# The headers in which a server or a proxy tells its id of a request, the likeliest first.
REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "portsip-request-id",
    "x-correlation-id",
    "correlation-id",
    "x-trace-id",
    "x-amzn-trace-id",
    "x-amz-cf-id",
    "cf-ray",
)


def _restore(kind: type[E], args: tuple[Any, ...], state: dict[str, Any]) -> E:
    """Build an error without calling ``__init__``, which each class defines in its own way."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    if "__notes__" in state:
        # Each copy gets its own list, so a note added to one does not show on another.
        error.__notes__ = list(state["__notes__"])
    return error


def raise_without_context(error: BaseException) -> NoReturn:
    """Raise an error from an ``except`` block without linking the caught exception to it.

    Exceptions of other libraries may contain a URL with the token. Python would keep the caught
    exception as ``__context__``, where error trackers find it. ``from None`` only keeps it out of
    printed tracebacks.
    """
    try:
        raise error
    finally:
        error.__context__ = None
        del error  # breaks a reference cycle: the error's traceback holds this frame


class PortSIPError(Exception):
    """The base class of all errors that the SDK defines.

    Attributes:
        operation: the endpoint's name, such as ``extensions.show``; None outside a call.
        attempts: how many requests were sent for the call.
        may_have_acted: True if the PBX may have carried out a write although no reply said so.
        page: the page number at which a walk failed, to resume from; None outside a walk.
        headers: the headers of the reply that name the request, such as ``X-Request-Id``, and the
            vendor's ``PortSIP-...``, except for secrets; empty if no reply arrived. Names match in
            any case.
    """

    headers: Mapping[str, str] = MappingProxyType({})

    # What the SDK adds at the end of the text.
    _remark: str = ""

    def __init__(
        self,
        message: str = "",
        *,
        operation: str | None = None,
        attempts: int = 0,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.attempts = attempts
        self.may_have_acted = may_have_acted
        self.page: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__.copy())

    def __str__(self) -> str:
        text = self._full_text()
        return f"{self.operation}: {text}" if self.operation else text

    def __repr__(self) -> str:
        # Not the one of Exception: the args of an APIError have neither its status nor its code.
        return f"{type(self).__name__}({self._full_text()!r})"

    @property
    def request_id(self) -> str | None:
        """The id that the PBX or a proxy gave the request; None if the reply had none."""
        return next((self.headers[name] for name in REQUEST_IDS if name in self.headers), None)

    def _full_text(self) -> str:
        """Return what happened, how often it was tried, and the SDK's remark."""
        facts = ", ".join(self._facts())
        text = f"{self._text()} ({facts})" if facts else self._text()
        return f"{text}; {self._remark}" if self._remark else text

    def _facts(self) -> list[str]:
        """Return what the text says about the call's requests."""
        facts = [f"{self.attempts} attempts"] if self.attempts > 1 else []
        return facts if self.request_id is None else [*facts, f"request id {self.request_id}"]

    def _text(self) -> str:
        """Return what happened, without the operation and the remark."""
        return str(self.args[0]) if self.args else ""

    @overload
    def copy(self, kind: None = None, **changes: object) -> Self: ...
    @overload
    def copy(self, kind: type[E], **changes: object) -> E: ...
    def copy(self, kind: "type[PortSIPError] | None" = None, **changes: object) -> "PortSIPError":
        """Copy the error with its cause, so that several waiters can each raise their own.

        Args:
            kind: the class of the copy; None keeps the error's class.
            changes: attributes to change in the copy; all others are kept.
        """
        args = (changes["message"], *self.args[1:]) if "message" in changes else self.args
        copied = _restore(kind or type(self), args, self.__dict__ | changes)
        copied.__cause__ = self.__cause__
        return copied

    def with_remark(self, remark: str) -> Self:
        """Copy the error with a remark at the end of its text."""
        return self.copy(_remark=remark)


class ConfigurationError(PortSIPError):
    """A setting of the client can't be used: a bad URL, no credentials, an unknown endpoint."""


class ClientClosed(PortSIPError):
    """The client was closed before or during the call."""


class TransportError(PortSIPError):
    """No complete reply arrived: the connection broke, or the reply was cut short."""


class ConnectError(TransportError):
    """No connection was made, so the PBX can't have acted. Includes connect timeouts.

    Attributes:
        refused_certificate: True if the PBX's certificate was refused. Such a call is not repeated.
    """

    refused_certificate: bool = False


class RequestTimeout(TransportError, TimeoutError):
    """The call took longer than its timeout or its deadline; also a builtin TimeoutError.

    Its text says so if the event loop was blocked for most of that time.
    """


class ReplyError(PortSIPError):
    """A reply arrived, but not in the form that the operation expects.

    Attributes:
        expected: what should have been there.
        where: the path in the reply, such as ``$.extensions[3].extension_number``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        expected: str = "",
        where: str = "$",
        operation: str | None = None,
        attempts: int = 0,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(
            message or f"the reply could not be read: expected {expected} at {where}",
            operation=operation,
            attempts=attempts,
            may_have_acted=may_have_acted,
        )
        self.expected = expected
        self.where = where


class StatusMissing(PortSIPError):
    """The PBX replied to a status request, but left this extension out.

    Attributes:
        extension_number: the number that was asked for.
    """

    def __init__(self, extension_number: str, *, operation: str | None = None) -> None:
        super().__init__(f"no status for extension {extension_number}", operation=operation)
        self.extension_number = extension_number


class APIError(PortSIPError):
    """The PBX replied with an error.

    Attributes:
        status: the HTTP status. It may be 200 if only the body reports the error.
        err_code: the PBX's own code as it was sent, a number or a dotted string, or None.
        message: the PBX's message, scrubbed; "" if there was none.
        detail: what the PBX adds to the message, parsed and scrubbed; None if there is nothing.
        retry_after: seconds after which to try again, if the PBX said so.
        is_page: True if the body is neither empty nor JSON, such as an HTML page of a proxy.
    """

    is_page: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        err_code: str | int | float | None = None,
        detail: object = None,
        retry_after: float | None = None,
        operation: str | None = None,
        attempts: int = 1,
        may_have_acted: bool = False,
    ) -> None:
        super().__init__(
            message, operation=operation, attempts=attempts, may_have_acted=may_have_acted
        )
        self.status = status
        self.err_code = err_code
        self.message = message
        self.detail: object = detail
        self.retry_after = retry_after

    def _text(self) -> str:
        # A refusal on the web socket has no status.
        code = [] if self.err_code is None else [f"err_code {self.err_code}"]
        text = ", ".join([f"HTTP {self.status}", *code] if self.status else code)
        return ": ".join(filter(None, (text, self.message)))


class BadRequest(APIError):
    """The PBX refused the form or the values of the request."""


class AuthenticationError(APIError):
    """The PBX refused the credentials or the token.

    A login that gets 400 or 403 with an empty or JSON body raises this as well.

    Attributes:
        token_rejected: True if the PBX refused the access token, not the credentials.
    """

    token_rejected: bool = False


class _HiddenText(str):
    """A text that no repr shows, not even that of the mapping that holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class TwoFactorRequired(AuthenticationError):
    """The PBX accepted the credentials, and waits for a second factor.

    The client sends no further login until a one-time password was verified, or until the program
    renews the token itself.
    """

    _challenge: _HiddenText = _HiddenText()

    @property
    def challenge(self) -> str:
        """What identifies this login, to send and verify a one-time password. It is a secret."""
        return str(self._challenge)

    @challenge.setter
    def challenge(self, challenge: str) -> None:
        self._challenge = _HiddenText(challenge)


class PermissionDenied(APIError):
    """The role of the account does not allow the operation."""


class NotFound(APIError):
    """There is no such extension, group, file or address."""


class Conflict(APIError):
    """The item to create already exists."""


class RateLimited(APIError):
    """The PBX received too many requests."""


class ServerError(APIError):
    """The PBX or a proxy in front of it failed: any status from 500 to 599."""


def is_fatal(error: Exception) -> bool:
    """Return whether all further requests would fail in the same way.

    An AuthenticationError with an HTML page is not fatal: a proxy may have sent the page while the
    PBX restarts.
    """
    if isinstance(error, AuthenticationError):
        return not error.is_page
    return isinstance(error, ConfigurationError | ClientClosed)


@dataclass(frozen=True, slots=True)
class ErrorScheme:
    """How one generation of the API reports errors.

    Attributes:
        error_field: the field of a reply that reports an error, even with status 200.
        codes: the class for each err_code. A code takes precedence over the status.
        statuses: the class for each HTTP status. Any 5xx becomes a ServerError, and any other
            status an APIError.
        rejected_token: codes that refuse the access token, whatever the status.
        not_about_token: codes that never refuse the access token, even if the status is 401 or the
            message mentions it.
        refused_login: further codes that refuse a login.
        no_such_address: codes for an unknown address or file, as opposed to an extension.
        no_such_item: the code for an unknown extension.
    """

    error_field: str
    codes: Mapping[str, type[APIError]]
    statuses: Mapping[int, type[APIError]]
    rejected_token: frozenset[str] = frozenset()
    not_about_token: frozenset[str] = frozenset()
    refused_login: frozenset[str] = frozenset()
    no_such_address: frozenset[str] = frozenset()
    no_such_item: str = ""

    def class_of(self, status: int, code: str) -> type[APIError]:
        """Return the class of an error with this HTTP status and this err_code."""
        if code in self.codes:
            return self.codes[code]
        # In a 200, a code such as 403.9 begins with the real status.
        real_status = status if status >= 300 else leading_status(code)
        if 500 <= real_status < 600:
            return ServerError
        return self.statuses.get(real_status, APIError)


def leading_status(code: str) -> int:
    """Return the HTTP status at the start of an err_code such as 403.9; 0 if there is none."""
    head = code.split(".", 1)[0]
    return int(head) if len(head) == 3 and head.isascii() and head.isdigit() else 0
