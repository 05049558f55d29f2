"""How a failure is told: one line and a hint on stderr, and an exit code that says of what kind.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 authentication, 4 not found, 5 unreachable,
130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.

A standard output that is closed, or that its reader has left, changes no exit code: whoever
closed it wants no more. One that can't be written, as on a full disk, is a failure.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Final

from .. import (
    APIError,
    AuthenticationError,
    BadRequest,
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
from .letters import one_line

FAILED: Final = 1
USAGE: Final = 2
_NOT_FOUND: Final = 4
INTERRUPTED: Final = 130
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 authentication, 4 not found, 5 unreachable,"
    " 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP."
)

# The command that runs, by its name, as "list".
running: ContextVar[str] = ContextVar("running", default="")

# The first class that fits counts: the exit code, and what may help.
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (
        ConfigurationError,
        USAGE,
        "set PORTSIP_URL, PORTSIP_USERNAME and PORTSIP_PASSWORD, or see the options with --help",
    ),
    (
        AuthenticationError,
        3,
        "check user name and password; a PBX blocks the address of one who insists",
    ),
    (PermissionDenied, FAILED, "log in as an administrator, or as the tenant's"),
    (
        NotFound,
        _NOT_FOUND,
        "'list' shows what there is, 'check' whether the PBX has this operation at all",
    ),
    (StatusMissing, 4, "the PBX tells no status of it: does it exist?"),
    (BadRequest, FAILED, "the PBX refuses a value: 'show' of something alike tells what it takes"),
    (Conflict, FAILED, "it exists already: change it with 'update'"),
    (RateLimited, FAILED, "the PBX asks for fewer requests: try --rate 10"),
    (ConnectError, 5, "check the address (--url or PORTSIP_URL), and that the PBX listens there"),
    (RequestTimeout, 5, "the PBX is slow or away: try --timeout 60"),
    (TransportError, 5, "the connection broke: try again; 'check' tells more"),
    (ServerError, FAILED, "the PBX, or a proxy before it, is in trouble: try again later"),
    (ReplyError, FAILED, "'portsip-async check' tells where this PBX's replies differ"),
)
# No hint names the command that just failed. These commands say this instead.
_INSTEAD: Mapping[str, Mapping[type[Exception], str]] = {
    "list": {NotFound: "'check' shows whether the PBX has this operation at all; see --endpoint"},
    "show": {BadRequest: "the PBX refuses a value"},
    "update": {Conflict: "another one of that name or number exists already"},
    "check": {
        NotFound: "--endpoint names where this PBX has an operation",
        TransportError: "the connection broke: try again",
        ReplyError: "the report shows where this PBX's replies differ",
    },
}
_DISTRUSTED = "pass its CA with --ca-file, or pin it with --fingerprint"
_EXPIRED = "renew the PBX's certificate, or pin it with --fingerprint"
_DIGEST = ", which 'portsip-async check' shows"
NO_API: Final = (
    "check the address (--url or PORTSIP_URL), its port and path: no PBX API was found there"
)
_PAGE = "check the address (--url or PORTSIP_URL), and any proxy in front of the PBX"
# A login that gets one of these was not refused: nothing there takes logins.
_NOWHERE = frozenset({404, 405, 410, 501})
_IN_DOUBT = "the PBX may have acted all the same: look before you repeat it"
_SHOWN = 5  # keys in one line that tells of many
_LISTED = 20  # keys that one line names, at most


class Failure(Exception):
    """A command failed for a reason of its own.

    Attributes:
        hint: what may help; "" where there is nothing to say.
        code: the exit code.
    """

    def __init__(self, message: str, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def exit_code(error: Exception) -> int:
    """Answer the exit code that an error ends the command with."""
    if isinstance(error, Failure):
        return error.code
    if found_no_api(error):
        return _NOT_FOUND
    return next((code for kind, code, _ in _KINDS if isinstance(error, kind)), FAILED)


def hint(error: Exception) -> str:
    """Answer what may help against an error; "" where nothing is known."""
    if isinstance(error, Failure):
        return error.hint
    if isinstance(error, PortSIPError) and error.may_have_acted:
        return _IN_DOUBT
    if isinstance(error, ConfigurationError) and "allow_http" in str(error):
        return "pass --allow-http where the way to the PBX is your own"
    if isinstance(error, ConnectError) and error.refused_certificate:
        told = _EXPIRED if "expired" in str(error) else _DISTRUSTED
        return told if running.get() == "check" else told + _DIGEST
    if found_no_api(error):
        return NO_API
    if is_page(error):
        return _PAGE
    kind, told = next(
        ((kind, told) for kind, _, told in _KINDS if isinstance(error, kind)), (Exception, "")
    )
    return _INSTEAD.get(running.get(), {}).get(kind, told)


def found_no_api(error: Exception) -> bool:
    """Return whether an error means that nothing at the address takes logins."""
    return (
        isinstance(error, APIError)
        and error.status in _NOWHERE
        and "account." in (error.operation or "")
    )


def is_page(error: Exception) -> bool:
    """Return whether something other than a PBX refused a login or a token, with its own page."""
    if isinstance(error, AuthenticationError) and error.is_page:
        return True
    if not isinstance(error, PortSIPError) or "account." not in (error.operation or ""):
        return False
    if isinstance(error, ReplyError):
        return error.where == "$"  # a page with a status of success
    return isinstance(error, APIError) and error.is_page


def tell(message: str, helpful: str = "") -> None:
    """Write one line and a hint to stderr."""
    lines = [f"portsip-async: {one_line(message)}"]
    if helpful:
        lines.append(f"Hint: {one_line(helpful)}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def tell_error(error: Exception) -> int:
    """Tell an error, and answer its exit code."""
    tell(str(error) or type(error).__name__, hint(error))
    return exit_code(error)


def tell_many(failures: Iterable[tuple[str, Exception]]) -> int:
    """Tell what failed of many, a line for each reason; answer the exit code, 0 for no failure.

    A reason is a kind of error with its status and code: a PBX that names the extension in its
    message would give each its own text. The first one's text is shown, and each hint once.

    Where all failed in the same way the code is that way's, else 1.
    """
    reasons: dict[tuple[object, ...], list[tuple[str, Exception]]] = {}
    codes = set()
    for key, error in failures:
        reasons.setdefault(_reason(error), []).append((key, error))
        codes.add(exit_code(error))
    hinted = set()
    for failed in reasons.values():
        error = failed[0][1]
        shown = ", ".join(key for key, _ in failed[:_SHOWN])
        more = f" and {len(failed) - _SHOWN:,} more" if len(failed) > _SHOWN else ""
        texts = {_text(alike) for _, alike in failed}
        first = "the first: " if len(texts) > 1 else ""
        helpful = hint(error)
        tell(f"{shown}{more}: {first}{_text(error)}", "" if helpful in hinted else helpful)
        hinted.add(helpful)
    return 0 if not codes else codes.pop() if len(codes) == 1 else FAILED


def _reason(error: Exception) -> tuple[object, ...]:
    """Answer what errors have in common that need no lines of their own."""
    if isinstance(error, APIError):
        return type(error), error.status, error.err_code, error.may_have_acted
    if isinstance(error, PortSIPError):
        return type(error), error.may_have_acted
    return type(error), str(error)  # our own words, which name a field and no extension


def _text(error: Exception) -> str:
    # A StatusMissing names its number; the line names all of them.
    return "no status" if isinstance(error, StatusMissing) else str(error)


def shortened(keys: Sequence[str]) -> str:
    """List some keys, and count the rest."""
    more = f" and {len(keys) - _LISTED:,} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more


def note(message: str) -> None:
    """Tell a person at a terminal that something was done; scripts hear nothing."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{one_line(message)}\n")
        sys.stderr.flush()
