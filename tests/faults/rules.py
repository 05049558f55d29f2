"""The expected outcome of each kind of fault for each safety, as one table.

The table states what the client promises. It is not derived from the code. It assumes a policy of
three attempts.
"""

from collections.abc import Callable
from typing import NamedTuple

from portsip_async import (
    APIError,
    AuthenticationError,
    ConnectError,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    TransportError,
)

from .cases import Case

ATTEMPTS = 3
SAFETIES = ("safe", "idempotent", "unsafe", "once")


class Rule(NamedTuple):
    """The expected outcome of a kind of fault.

    Attributes:
        meaning: what the fault means to the client.
        error: the error that the call raises, or None if it succeeds.
        attempts: the number of attempts of an operation of each of the `SAFETIES`.
        in_doubt: whether a write may have been carried out.
        arrives: whether anything reaches the PBX.
    """

    meaning: str
    error: type[PortSIPError] | None
    attempts: tuple[int, int, int, int]
    in_doubt: bool = False
    arrives: bool = True


RULES: dict[str, Rule] = {
    "unconnected": Rule("no connection was made", ConnectError, (3, 3, 3, 3), arrives=False),
    "distrusted": Rule("the certificate was refused", ConnectError, (1, 1, 1, 1), arrives=False),
    "lost": Rule("no whole reply arrived", TransportError, (3, 3, 1, 1), in_doubt=True),
    "silent": Rule("no whole reply came in time", RequestTimeout, (3, 3, 1, 1), in_doubt=True),
    "dripping": Rule("no whole reply came in time", RequestTimeout, (3, 3, 1, 1), in_doubt=True),
    "gave up": Rule("the PBX gave up waiting", APIError, (3, 3, 1, 1), in_doubt=True),
    "failed": Rule("the PBX or a proxy failed", ServerError, (3, 3, 1, 1), in_doubt=True),
    "busy": Rule("unavailable, with a Retry-After", ServerError, (3, 3, 3, 1)),
    "limited": Rule("too many requests", RateLimited, (3, 3, 3, 1)),
    "limited for long": Rule("too many requests", RateLimited, (1, 1, 1, 1)),
    "rejected": Rule("the token was rejected", AuthenticationError, (2, 2, 2, 2)),
    "rejected once": Rule("the token was rejected, the next one is valid", None, (2, 2, 2, 2)),
    "refused": Rule("the PBX refused the request", PermissionDenied, (1, 1, 1, 1)),
    "redirected": Rule("the PBX redirected the request", APIError, (1, 1, 1, 1)),
    "unreadable": Rule("a reply that can't be read", ReplyError, (1, 1, 1, 1), in_doubt=True),
    "empty": Rule("a reply that can't be read", ReplyError, (1, 1, 1, 1), in_doubt=True),
    "odd": Rule("a reply that can be read", None, (1, 1, 1, 1)),
}


LOGINS = ("auth.sign_in", "auth.send_otp", "auth.verify_otp")


def _answers_a_login(case: Case) -> bool:
    return case.name.startswith("account.") or case.name in LOGINS


class Exemption(NamedTuple):
    """A rule for operations that differ from the others of their safety.

    Attributes:
        applies: whether it applies to an operation.
        kinds: the kinds of fault that it applies to.
        rule: the rule that applies instead.
        note: the explanation on the page.
    """

    applies: Callable[[Case], bool]
    kinds: frozenset[str]
    rule: Rule
    note: str


EXEMPTIONS = (
    Exemption(
        _answers_a_login,
        frozenset({"rejected", "rejected once", "refused"}),
        Rule("a refused login", AuthenticationError, (1, 1, 1, 1)),
        "The account calls and the logins of v22 carry no token that could be replaced. If the PBX "
        "refuses one of them, the login is refused, and the call raises an `AuthenticationError` "
        "at once.",
    ),
    Exemption(
        lambda case: case.endpoint.token == "none",
        frozenset({"rejected", "rejected once"}),
        Rule("refused credentials", AuthenticationError, (1, 1, 1, 1)),
        "Other operations without a token, such as `calls.create_directly`, raise an "
        "`AuthenticationError` at once, too.",
    ),
    Exemption(
        lambda case: case.endpoint.reply is None or not case.reads_json,
        frozenset({"empty"}),
        RULES["odd"],
        "If the operation returns nothing, or what it returns is not in a body of JSON, an empty "
        "body means success.",
    ),
    Exemption(
        lambda case: case.uploads,
        frozenset({"dripping"}),
        RULES["odd"],
        "An upload has no total timeout, only a read timeout. So the client waits for a "
        "slow reply.",
    ),
    Exemption(
        lambda case: case.uploads,
        frozenset({"limited for long"}),
        RULES["limited"],
        "An upload also has no deadline. So the client waits as long as the `Retry-After` says, up "
        "to a day.",
    ),
)


def rule_of(kind: str, case: Case) -> Rule:
    """Return the rule for a kind of fault in an operation."""
    for exemption in EXEMPTIONS:
        if exemption.applies(case) and kind in exemption.kinds:
            return exemption.rule
    return RULES[kind]


def unbounded(kind: str, case: Case) -> bool:
    """Return whether neither the deadline nor the total timeout limits this call."""
    return case.uploads and kind in {"dripping", "limited for long"}
