"""What must come of a fault: the contract, as one table by kind of fault and safety.

Written down from what the client promises, not from what it does. A policy of three attempts is
taken for granted.
"""

from typing import NamedTuple

from portsip_async import (
    ENDPOINTS,
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

ATTEMPTS = 3
SAFETIES = ("safe", "idempotent", "unsafe")


class Rule(NamedTuple):
    """What must come of a kind of fault.

    Attributes:
        meaning: what the client can tell from it.
        error: what the call raises; None where it answers.
        attempts: how many are made of what is safe, idempotent, and unsafe.
        in_doubt: whether a write may have been carried out.
        arrives: whether anything reaches the PBX at all.
    """

    meaning: str
    error: type[PortSIPError] | None
    attempts: tuple[int, int, int]
    in_doubt: bool = False
    arrives: bool = True


RULES: dict[str, Rule] = {
    "unconnected": Rule("no connection was made", ConnectError, (3, 3, 3), arrives=False),
    "distrusted": Rule("the certificate was refused", ConnectError, (1, 1, 1), arrives=False),
    "lost": Rule("no whole reply arrived", TransportError, (3, 3, 1), in_doubt=True),
    "silent": Rule("no whole reply came in time", RequestTimeout, (3, 3, 1), in_doubt=True),
    "dripping": Rule("no whole reply came in time", RequestTimeout, (3, 3, 1), in_doubt=True),
    "gave up": Rule("the PBX gave up waiting", APIError, (3, 3, 1), in_doubt=True),
    "failed": Rule("the PBX or a proxy failed", ServerError, (3, 3, 1), in_doubt=True),
    "busy": Rule("unavailable, and told until when", ServerError, (3, 3, 3)),
    "limited": Rule("too many requests", RateLimited, (3, 3, 3)),
    "limited for long": Rule("too many requests", RateLimited, (1, 1, 1)),
    "rejected": Rule("the token is dead", AuthenticationError, (2, 2, 2)),
    "rejected once": Rule("the token is dead, the next one lives", None, (2, 2, 2)),
    "refused": Rule("the PBX said no", PermissionDenied, (1, 1, 1)),
    "redirected": Rule("the PBX is elsewhere", APIError, (1, 1, 1)),
    "unreadable": Rule("a reply that can't be read", ReplyError, (1, 1, 1), in_doubt=True),
    "empty": Rule("a reply that can't be read", ReplyError, (1, 1, 1), in_doubt=True),
    "odd": Rule("a reply that can be read", None, (1, 1, 1)),
}


class Exemption(NamedTuple):
    """Where some operations differ from their class.

    Attributes:
        operations: whose it is.
        kinds: the kinds of fault.
        rule: what holds instead.
        note: why, as the page tells it.
    """

    operations: frozenset[str]
    kinds: frozenset[str]
    rule: Rule
    note: str


EXEMPTIONS = (
    Exemption(
        frozenset(name for name in ENDPOINTS if name.startswith("account.")),
        frozenset({"rejected", "rejected once", "refused"}),
        Rule("a refused login", AuthenticationError, (1, 1, 1)),
        "The account calls have no token that could be replaced: a reply that refuses them is a "
        "refused login, an `AuthenticationError` at once.",
    ),
    Exemption(
        frozenset(name for name, row in ENDPOINTS.items() if row.reply is None),
        frozenset({"empty"}),
        RULES["odd"],
        "Where no body is due, an empty one is success.",
    ),
    Exemption(
        frozenset(name for name, row in ENDPOINTS.items() if row.parameters == "multipart"),
        frozenset({"dripping"}),
        RULES["odd"],
        "An upload has no time limit as a whole, only on silence: a slow reply is waited for.",
    ),
    Exemption(
        frozenset(name for name, row in ENDPOINTS.items() if row.parameters == "multipart"),
        frozenset({"limited for long"}),
        RULES["limited"],
        "Nor has an upload a deadline, so it waits as long as a `Retry-After` asks, up to a day.",
    ),
)


def rule_of(kind: str, operation: str) -> Rule:
    """Find what must come of a kind of fault that strikes an operation."""
    for exemption in EXEMPTIONS:
        if operation in exemption.operations and kind in exemption.kinds:
            return exemption.rule
    return RULES[kind]


def unbounded(kind: str, operation: str) -> bool:
    """Tell whether neither the deadline nor the timeout as a whole bounds this call."""
    return ENDPOINTS[operation].parameters == "multipart" and kind in {
        "dripping",
        "limited for long",
    }
