"""The errors that the simulated PBX replies with: a table of reasons, statuses and err_codes."""

from collections.abc import Mapping

# By reason: the HTTP status, the err_code and the message, as in the vendor's list of codes. The
# list has no code for an unknown group, so its code is the status.
_ERRORS: Mapping[str, tuple[int, float | int, str]] = {
    "format": (400, 400.1, "Invalid parameter"),
    "syntax": (400, 400.2, "Invalid syntax"),
    "no user": (400, 401.1, "The user does not exist"),
    "wrong password": (400, 401.2, "The password is wrong"),
    "blocked": (403, 403.1, "Too many wrong logins from this address"),
    "permission": (403, 403.1, "Permission denied"),
    "extension exists": (403, 403.3, "The extension exists already"),
    "token": (401, 403.4, "Invalid access token"),
    "rate": (429, 403.5, "Rate limit exceeded"),
    "no extension": (404, 404.1, "The extension does not exist"),
    "no URI": (404, 404.2, "There is nothing at this address"),
    "no file": (404, 404.3, "The file does not exist"),
    "no group": (404, 404, "The extension group does not exist"),
    "too large": (413, 413, "The request is too large"),
    "internal": (500, 500, "Internal error"),
}

# The err_codes of scripted faults for which only a status was given.
_CODES: Mapping[int, float] = {
    400: 400.1,
    401: 403.4,
    403: 403.1,
    404: 404.1,
    409: 403.3,
    429: 403.5,
}


class PBXError(Exception):
    """A request that the PBX refuses.

    Attributes:
        status: the HTTP status of the reply.
        err_code: the PBX's own code.
        msg: the message of the reply.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """Look a reason up in the table, and add ``detail`` to its message."""
        status, err_code, msg = _ERRORS[reason]
        self.status: int = status
        self.err_code: float | int = err_code
        self.msg: str = f"{msg}: {detail}" if detail else msg
        super().__init__(self.msg)


def code_of(status: int) -> float | int:
    """Return the err_code that fits an HTTP status."""
    return _CODES.get(status, status)


def status_of(err_code: float | int | str) -> int:
    """Return the HTTP status at the start of an err_code; 400 if there is none."""
    whole = str(err_code).partition(".")[0]
    return int(whole) if whole.isdigit() and 400 <= int(whole) <= 599 else 400
