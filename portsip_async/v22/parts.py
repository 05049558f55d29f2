"""What the models of users, groups and calls share."""

from typing import Final

from ..redact import Record

# The fields of a page that no reply of this generation has: it numbers items, not pages.
UNNUMBERED: Final = frozenset({"pagination", "pagesize", "page_count"})


class OutboundCallerID(Record, frozen=True, kw_only=True, gc=False):
    """A caller id that calls to the outside show.

    Attributes:
        provider_id: the id of the trunk that the calls go through.
        caller_id: the number that is shown.
        preferred: whether it comes first; None for the caller ids of a group.
        description: any text about it.
    """

    provider_id: str | None = None
    caller_id: str | None = None
    preferred: bool | None = None
    description: str | None = None
