"""The errors of generation v22: the codes that are documented or were seen."""

from collections.abc import Mapping
from typing import Any

UNKNOWN = "UNKNOWN"
VALIDATE_FAILED = "VALIDATE_FAILED"
UNAUTHORIZED = "UNAUTHORIZED"
DENIED = "DENIED"

_CODES: Mapping[int, str] = {400: VALIDATE_FAILED, 401: UNAUTHORIZED, 403: DENIED}
_STATUSES: Mapping[str, int] = {code: status for status, code in _CODES.items()}


class V22Error(Exception):
    """A request that the PBX refuses.

    Attributes:
        status: the HTTP status of the reply.
        code: the PBX's own code.
        message: the message of the reply.
        detail: any JSON value; None is left out.
    """

    def __init__(self, status: int, message: str, code: str = "", detail: Any = None) -> None:
        """Store the error; without a code, it is the one that fits the status."""
        super().__init__(message)
        self.status: int = status
        self.code: str = code or code_of(status)
        self.message: str = message
        self.detail: Any = detail


def invalid(message: str, detail: Any = None) -> V22Error:
    """Return the error for a request that breaks a rule of its fields."""
    return V22Error(400, message, VALIDATE_FAILED, detail)


def missing(what: str) -> V22Error:
    """Return the error for something that does not exist."""
    return V22Error(404, f"{what} does not exist")


def code_of(status: int) -> str:
    """Return the code that fits an HTTP status."""
    return _CODES.get(status, UNKNOWN)


def status_of(code: float | int | str) -> int:
    """Return the HTTP status that fits a code."""
    return _STATUSES.get(str(code), 400)
