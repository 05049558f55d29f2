"""Parts of the models: caller ids, hours, and keys of telephones."""

from typing import Final

from msgspec import field

from ..redact import Record

# The fields of a page that no reply of this generation has: it numbers items, not pages.
UNNUMBERED: Final = frozenset({"pagination", "pagesize", "page_count"})


# As in the classic models, gc=False hides objects from the garbage collector: none is in a cycle.
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


class TimeRange(Record, frozen=True, kw_only=True, gc=False):
    """A part of a day. Both ends are ``HH:MM`` of 24 hours, such as ``09:00``.

    Attributes:
        from_: where it begins, before `to`. The API calls the field ``from``, and so does
            `to_dict`.
        to: where it ends.
    """

    from_: str | None = field(default=None, name="from")
    to: str | None = None


class DayHours(Record, frozen=True, kw_only=True, gc=False):
    """The hours of one day of the week.

    Attributes:
        enabled: whether it is a working day. False makes all of it free time.
        ranges: the working hours, in one part or several.
    """

    enabled: bool | None = None
    ranges: tuple[TimeRange, ...] | None = None


class WeekHours(Record, frozen=True, kw_only=True, gc=False):
    """The hours of each day of the week.

    Attributes:
        monday: the hours of Monday.
        tuesday: the hours of Tuesday.
        wednesday: the hours of Wednesday.
        thursday: the hours of Thursday.
        friday: the hours of Friday.
        saturday: the hours of Saturday.
        sunday: the hours of Sunday.
    """

    monday: DayHours | None = None
    tuesday: DayHours | None = None
    wednesday: DayHours | None = None
    thursday: DayHours | None = None
    friday: DayHours | None = None
    saturday: DayHours | None = None
    sunday: DayHours | None = None


class BLF(Record, frozen=True, kw_only=True, gc=False):
    """A key of a telephone with a lamp that shows the state of another extension.

    Attributes:
        key: which key it is.
        value: what the key watches, such as a number.
        first_name: the given name of the person behind it.
        last_name: the family name of that person.
    """

    key: str | None = None
    value: str | None = None
    first_name: str | None = None
    last_name: str | None = None
