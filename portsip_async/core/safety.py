"""Which failed attempts may be repeated: one table, by the failure and the operation's safety.

The rule behind the table: an operation that acts each time is repeated only if the PBX can't have
acted. One that carries something for single use is repeated only if nothing was sent.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Safety = Literal["safe", "idempotent", "unsafe", "once"]


class Failure(Enum):
    """How an attempt failed."""

    NOT_SENT = "no connection was made"
    DISTRUSTED = "the certificate was refused"
    LOST = "no complete reply arrived"
    STALLED = "the PBX did not get the whole request in time"
    LIMITED = "too many requests"
    BUSY = "unavailable, with a Retry-After"
    SERVER_ERROR = "the PBX or a proxy failed"
    UNREADABLE = "a reply that could not be read"
    REFUSED = "the PBX refused the request"


@dataclass(frozen=True, slots=True)
class _Rule:
    repeat: frozenset[Safety] = frozenset()
    may_have_acted: bool = False


_ANY: frozenset[Safety] = frozenset({"safe", "idempotent", "unsafe", "once"})
_REFUSABLE: frozenset[Safety] = frozenset({"safe", "idempotent", "unsafe"})
_HARMLESS: frozenset[Safety] = frozenset({"safe", "idempotent"})

RULES: dict[Failure, _Rule] = {
    Failure.NOT_SENT: _Rule(repeat=_ANY),
    Failure.DISTRUSTED: _Rule(),
    Failure.LOST: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Failure.STALLED: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Failure.LIMITED: _Rule(repeat=_REFUSABLE),
    Failure.BUSY: _Rule(repeat=_REFUSABLE),
    Failure.SERVER_ERROR: _Rule(repeat=_HARMLESS, may_have_acted=True),
    Failure.UNREADABLE: _Rule(may_have_acted=True),
    Failure.REFUSED: _Rule(),
}


def may_repeat(failure: Failure, safety: Safety) -> bool:
    """Return whether an operation of this safety may be repeated after this failure."""
    return safety in RULES[failure].repeat


def may_have_acted(failure: Failure, safety: Safety) -> bool:
    """Return whether the PBX may have carried out a write although no reply said so."""
    return safety != "safe" and RULES[failure].may_have_acted
