"""Report a failure: one line and a hint on stderr, and an exit code for its kind.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 authentication, 4 not found, 5 unreachable,
130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.

A closed standard output, or one that nobody reads any more, does not change the exit code. An
output that can't be written, as on a full disk, is a failure.
"""

import json
import os
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
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
    TwoFactorRequired,
    WatchStats,
)
from .profiles.current_pbx import hint_of_profile, labelled, names_in_hints
from .reasons import plain_text
from .terminal.terminal_text import one_line, terminal_width, wrapped

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 4
INTERRUPTED: Final = 130
EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 authentication, 4 not found, 5 unreachable,"
    " 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP."
)

# The name of the command that runs, such as "list".
running_command: ContextVar[str] = ContextVar("running", default="")
# Returns a hint about the generation that replies where the chosen one has no login; "" for none.
answering_generation: ContextVar[Callable[[], str]] = ContextVar("answering", default=str)

# Parts of hints that are other ones for a profile; see `names_in_hints`.
ADDRESS: Final = "--url or PORTSIP_URL"
SETTINGS: Final = "set PORTSIP_URL, PORTSIP_USERNAME and PORTSIP_PASSWORD"
TOKEN: Final = "PORTSIP_TOKEN"
LISTENS: Final = f"check the address ({ADDRESS}), and that the PBX listens there"

# The exit code and a hint for each class of errors; the first class that fits counts.
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (
        ConfigurationError,
        USAGE,
        f"{SETTINGS}, or see --help for the options",
    ),
    (
        TwoFactorRequired,
        3,
        f"run this on a terminal to enter the one-time password, or set {TOKEN} to a token of"
        " the account",
    ),
    (
        AuthenticationError,
        3,
        "check user name and password; a PBX may block an address after repeated refusals",
    ),
    (PermissionDenied, FAILED, "log in as an administrator, or as the tenant's administrator"),
    (
        NotFound,
        NOT_FOUND,
        "'list' shows what exists, and 'check' whether the PBX has this operation",
    ),
    (StatusMissing, NOT_FOUND, "the PBX sent no status for it: does it exist?"),
    (BadRequest, FAILED, "the PBX refuses a value: 'show' something similar to see valid values"),
    (Conflict, FAILED, "it exists already: change it with 'update'"),
    (RateLimited, FAILED, "the PBX asks for fewer requests: try --rate 10"),
    (ConnectError, 5, LISTENS),
    (RequestTimeout, 5, "the PBX is slow or unreachable: try --timeout 60"),
    (TransportError, 5, "the connection broke: try again; 'check' shows more"),
    (ServerError, FAILED, "the PBX or a proxy in front of it has failed: try again later"),
    (ReplyError, FAILED, "'portsip-async check' shows where this PBX's replies differ"),
)
# A hint must not recommend the command that just failed. These commands have other hints.
_OTHER_HINTS: Mapping[str, Mapping[type[Exception], str]] = {
    "list": {
        NotFound: "'check' shows whether the PBX has this operation; see --endpoint",
        BadRequest: "the PBX refuses an option: see --help for what they take",
    },
    "show": {BadRequest: "the PBX refuses a value"},
    "update": {Conflict: "another one with this name or number exists already"},
    "apply": {Conflict: "another one with this name or number exists already"},
    "check": {
        NotFound: "use --endpoint if this PBX has the operation at another path",
        TransportError: "the connection broke: try again",
        ReplyError: "the report shows where this PBX's replies differ",
    },
}
NO_API: Final = f"check the address ({ADDRESS}), its port and path: no PBX API was found there"
_PAGE = f"check the address ({ADDRESS}), and any proxy in front of the PBX"
# These statuses do not refuse a login: nothing at the address handles logins.
_NO_API_STATUSES = frozenset({404, 405, 410, 501})
# Operations of the same groups as logins that carry a token, as the others do.
_WITH_TOKEN = ("auth.user", "auth.sign_out")
_IN_DOUBT = "the PBX may have acted anyway: check before you retry"
_SETTLED = "the PBX was asked again and has not done it: try again"
_MAX_FAILED_KEYS = 5  # keys named in one line about many failures
_INDENT = 2  # spaces before the later lines of a broken one
_MAX_KEYS = 20  # keys named in any other line


class Failure(Exception):
    """A command failed for a reason of its own.

    Attributes:
        hint: what to do; "" if there is no advice.
        code: the exit code.
    """

    def __init__(self, message: str, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    if isinstance(error, Failure):
        return error.code
    if found_no_api(error):
        return NOT_FOUND
    return _kind(error)[1]


def hint(error: Exception) -> str:
    """Return what to do about an error; "" if there is no advice."""
    if isinstance(error, Failure):
        return error.hint
    if isinstance(error, PortSIPError) and error.may_have_acted:
        return _IN_DOUBT
    if isinstance(error, ConfigurationError) and "allow_http" in str(error):
        return "pass --allow-http if you trust the network to the PBX"
    if isinstance(error, ConfigurationError) and str(error).startswith("base_url must"):
        return hint_of_profile(f"correct {ADDRESS}")
    if isinstance(error, ConnectError) and error.refused_certificate:
        action = "pass its CA with --ca-file"
        if "expired" in str(error):
            action = "renew the PBX's certificate"
        shown = "" if running_command.get() == "check" else ", which 'portsip-async check' shows"
        return f"{action}, or pin it with --fingerprint{shown}"
    if isinstance(error, AuthenticationError) and error.operation == "auth.verify_otp":
        return "run the command again, which has the PBX send another one-time password"
    token = names_in_hints.get().get(TOKEN, TOKEN)
    if _refused_token(error) and os.environ.get(token):
        return f"set {token} to a new token, or unset it to log in with a password"
    if found_no_api(error):
        return answering_generation.get()() or hint_of_profile(NO_API)
    if is_page(error):
        return hint_of_profile(_PAGE)
    kind, _, text = _kind(error)
    return hint_of_profile(_OTHER_HINTS.get(running_command.get(), {}).get(kind, text))


def _kind(error: Exception) -> tuple[type[Exception], int, str]:
    return next((row for row in _KINDS if isinstance(error, row[0])), (Exception, FAILED, ""))


def found_no_api(error: Exception) -> bool:
    """Return whether an error means that nothing at the address handles logins."""
    return isinstance(error, APIError) and error.status in _NO_API_STATUSES and _is_login(error)


def _is_login(error: PortSIPError) -> bool:
    """Return whether an error is about a login. The names are those of both generations."""
    operation = error.operation or ""
    if operation.endswith(_WITH_TOKEN):
        return False
    return any(name in operation for name in ("account.", "auth."))


def _refused_token(error: Exception) -> bool:
    """Return whether an error is about a token, not about a password."""
    if not isinstance(error, AuthenticationError):
        return False
    return not _is_login(error) or (error.operation or "").endswith(".refresh")


def is_page(error: Exception) -> bool:
    """Return whether a web page, which is not from a PBX, refused a login or a token."""
    if isinstance(error, AuthenticationError) and error.is_page:
        return True
    if not isinstance(error, PortSIPError) or not _is_login(error):
        return False
    if isinstance(error, ReplyError):
        return error.where == "$"  # a page with a status of success
    return isinstance(error, APIError) and error.is_page


def is_outage(stats: WatchStats) -> bool:
    """Return whether a watch gets no answers; a PBX that knows none of the numbers does answer."""
    error = stats.last_error
    refused = isinstance(error, NotFound | BadRequest) and not error.is_page
    if stats.last_success is None and error is not None and error.operation == "web_socket":
        refused = True  # this error says nothing about the polls
    return stats.consecutive_failures > 0 and not (refused and stats.unknown)


def print_error(message: str, hint: str = "") -> None:
    """Write one line and a hint to stderr; a terminal gets them broken between words."""
    _write_line(f"portsip-async: {labelled(message)}")
    if hint:
        _write_line(f"Hint: {hint}")


def report_error(error: Exception) -> int:
    """Write an error and its hint to stderr, and return its exit code."""
    print_error(error_text(error) or type(error).__name__, hint(error))
    return exit_code(error)


def report_failures(failures: Iterable[tuple[str, Exception]], settled: Container[str] = ()) -> int:
    """Write a line to stderr for each reason why some of many items failed.

    A reason is a class of error with its status and code, because a message of the PBX may name
    the extension. A line shows the text of the first error; each hint is shown once.

    Args:
        failures: the keys of the items and their errors.
        settled: the keys of those that were looked up afterwards: the PBX has not acted.

    Returns:
        The exit code: 0 for no failure, the common code of all failures, else 1.
    """
    # Group the failures by their reason.
    reasons: dict[tuple[object, ...], list[tuple[str, Exception]]] = {}
    codes = set()
    for key, error in failures:
        reasons.setdefault((*_reason(error), key in settled), []).append((key, error))
        codes.add(exit_code(error))
    # Write a line for each reason.
    shown_hints = set()
    for failed in reasons.values():
        error = failed[0][1]
        keys = shorten([key for key, _ in failed], _MAX_FAILED_KEYS)
        # The line names the numbers already.
        texts = {_short(other) for _, other in failed}
        first = "the first: " if len(texts) > 1 else ""
        text = _SETTLED if failed[0][0] in settled else hint(error)
        print_error(f"{keys}: {first}{_short(error)}", "" if text in shown_hints else text)
        shown_hints.add(text)
    return 0 if not codes else codes.pop() if len(codes) == 1 else FAILED


def _reason(error: Exception) -> tuple[object, ...]:
    """Return what the errors that share a line have in common."""
    if isinstance(error, APIError):
        return type(error), error.status, error.err_code, error.may_have_acted
    if isinstance(error, PortSIPError):
        return type(error), error.may_have_acted
    return type(error), str(error)  # our own text, which names no extension


def error_text(error: Exception) -> str:
    """Return an error's text, with the details that the PBX sent."""
    if isinstance(error, TwoFactorRequired):
        return "the PBX wants a second factor"  # its own text is for programmers
    detail = error.detail if isinstance(error, APIError) else None
    text = plain_text(error)
    return f"{text} ({json.dumps(detail, ensure_ascii=False)})" if detail else text


def _short(error: Exception) -> str:
    return "no status" if isinstance(error, StatusMissing) else error_text(error)


def shorten(keys: Sequence[str], most: int = _MAX_KEYS) -> str:
    """Join some keys, and count the rest."""
    more = f" and {len(keys) - most:,} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def print_note(message: str) -> None:
    """Write a message to stderr if that is a terminal; scripts don't need it."""
    if sys.stderr.isatty():
        _write_line(labelled(message))


def _write_line(text: str) -> None:
    """Write a line to stderr in one piece, so that lines of a log are whole."""
    lines = [one_line(text)]
    if sys.stderr.isatty():
        lines = wrapped(lines[0], terminal_width(sys.stderr), _INDENT)
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
