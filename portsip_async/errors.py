"""The error tree: one root, few branches, facts as attributes.

Every error survives pickling and copying, but for its ``__cause__``. No text here holds a token,
a password, a pin or ``auth``: what comes from outside is scrubbed before it gets here.
"""

from contextlib import suppress
from typing import Any, Final, Self


def _restore(kind: type["PortSIPError"], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    if "__notes__" in state:
        # A note on one waiter's copy is not another's.
        error.__notes__ = list(state["__notes__"])
    return error


class PortSIPError(Exception):
    """The root of every error that the SDK raises of its own.

    Attributes:
        operation: the endpoint's name, such as ``extensions.show``; None outside a call.
        attempts: how many requests were sent for the call.
        may_have_acted: True where the PBX may have carried out a write although no reply said so.
        page: the number of the page that failed in a walk, from which it can resume; else None.
    """

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
        text = str(self.args[0]) if self.args else ""
        return f"{self.operation}: {text}" if self.operation else text

    def copy(self) -> Self:
        """Copy the error with its cause, so that several waiters can each raise their own."""
        twin: Self = _restore(type(self), self.args, self.__dict__.copy())
        twin.__cause__ = self.__cause__
        return twin


class ConfigurationError(PortSIPError):
    """The client was given what it can't work with: a bad URL, no credentials, an unknown row."""


class ClientClosed(PortSIPError):
    """The client was closed before or during the call."""


class TransportError(PortSIPError):
    """No whole reply arrived: the connection broke, or the reply was cut short."""


class ConnectError(TransportError):
    """No connection was made, a connect timeout included: the PBX can't have acted.

    Attributes:
        refused_certificate: True where the PBX's certificate was refused; never repeated.
    """

    refused_certificate: bool = False


class RequestTimeout(TransportError, TimeoutError):
    """The call took longer than its timeout or its deadline; also a builtin TimeoutError."""


class ReplyError(PortSIPError):
    """A reply arrived and could not be read as what the operation answers.

    Attributes:
        expected: what should have stood there.
        where: the place in the reply, such as ``$.extensions[3].extension_number``.
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
    """The PBX answered a status request and left this extension out.

    Attributes:
        extension_number: the number that was asked for.
    """

    def __init__(self, extension_number: str, *, operation: str | None = None) -> None:
        super().__init__(f"no status for extension {extension_number}", operation=operation)
        self.extension_number = extension_number


class APIError(PortSIPError):
    """The PBX answered with an error.

    Attributes:
        status: the HTTP status; may be 200 where only the body tells of the error.
        err_code: the PBX's own code as it gave it, a number or a dotted string, or None.
        message: the PBX's message, scrubbed; "" where it gave none.
        retry_after: seconds after which to ask again, where the PBX said so.
        is_page: True where the body is neither empty nor JSON: something between this program and
            the PBX may have sent it.
    """

    is_page: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        err_code: str | int | float | None = None,
        retry_after: float | None = None,
        operation: str | None = None,
        attempts: int = 1,
        may_have_acted: bool = False,
    ) -> None:
        told = f"HTTP {status}"
        if err_code is not None:
            told += f", err_code {err_code}"
        super().__init__(
            f"{told}: {message}" if message else told,
            operation=operation,
            attempts=attempts,
            may_have_acted=may_have_acted,
        )
        self.status = status
        self.err_code = err_code
        self.message = message
        self.retry_after = retry_after


class BadRequest(APIError):
    """The PBX refused the request's form or values: status 400, err_code 400.1 or 400.2."""


class AuthenticationError(APIError):
    """The credentials or the token were refused: status 401, err_code 401.1, 401.2 or 403.4.

    A login that gets 400 or 403 with an empty or JSON body raises this as well.

    Attributes:
        token_rejected: True where the PBX refused the access token, not the credentials.
    """

    token_rejected: bool = False


class PermissionDenied(APIError):
    """The account's role does not allow it: status 403, err_code 403.1."""


class NotFound(APIError):
    """There is no such extension, group, file or address: status 404, err_code 404.1 to 404.3."""


class Conflict(APIError):
    """It exists already: status 409, err_code 403.2 or 403.3."""


class RateLimited(APIError):
    """Too many requests: status 429 or err_code 403.5."""


class ServerError(APIError):
    """The PBX or a proxy before it failed: any 5xx."""


def is_fatal(error: Exception) -> bool:
    """Return whether the same error awaits everything that is still to be sent.

    A page is no refusal: a proxy in front of a PBX that restarts may have sent it.
    """
    if isinstance(error, AuthenticationError):
        return not error.is_page
    return isinstance(error, ConfigurationError | ClientClosed)


# The err_codes of a NotFound that is not about an extension: no such address, no such file.
ELSEWHERE_CODES: Final = frozenset({"404.2", "404.3"})
# The err_codes that mean that there is no such extension.
UNKNOWN_EXTENSION_CODES: Final = frozenset({"404.1"})

_FETCH_TOKEN_NOTE: Final = "raised by the fetch_token of the client's credentials"


def note_fetch_token(error: Exception) -> None:
    """Mark an exception as one that the application's fetch_token raised, or caused."""
    if not is_from_fetch_token(error):
        with suppress(AttributeError):  # of a frozen exception
            error.add_note(_FETCH_TOKEN_NOTE)


def is_from_fetch_token(error: Exception) -> bool:
    """Return whether the application's fetch_token raised or caused an exception."""
    return _FETCH_TOKEN_NOTE in getattr(error, "__notes__", ())
