"""What the simulated PBX refuses, as a table: the reason, its HTTP status and its err_code."""

from collections.abc import Mapping

# The statuses and codes are those of the reference's list. It has no code for a group that is not
# there, hence the plain one.
_REASONS: Mapping[str, tuple[int, float | int, str]] = {
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
    "broken": (500, 500, "Internal error"),
}


class Refusal(Exception):
    """A request that the PBX does not carry out.

    Attributes:
        status: the HTTP status.
        err_code: the PBX's own code.
        msg: what it says about it.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """Refuse for a reason of the table; ``detail`` is added to its message."""
        status, err_code, msg = _REASONS[reason]
        self.status: int = status
        self.err_code: float | int = err_code
        self.msg: str = f"{msg}: {detail}" if detail else msg
        super().__init__(self.msg)
