"""The open enums of the classic generation.

The members are the values that the vendor's page shows. Any other value is kept as it is.
"""

from typing import TYPE_CHECKING, TypeAlias

from ..core.open_enum import OpenEnum

__all__ = [
    "SortBy",
    "Presence",
    "Gender",
    "ForwardAction",
    "ReadOutDatetime",
    "OfficeHoursMode",
]


class SortBy(OpenEnum):
    """How a list is sorted."""

    DEFAULT = "DEFAULT"
    OPTIONAL = "Optional"
    OPTIONAL_UPPER = "OPTIONAL"  # the spelling of later versions


class Presence(OpenEnum):
    """What an extension is doing."""

    OFFLINE = "OFFLINE"
    ONLINE = "ONLINE"
    RINGING = "RINGING"
    ON_CALL = "ON_CALL"


class Gender(OpenEnum):
    """The gender in a profile."""

    MALE = "MALE"


class ForwardAction(OpenEnum):
    """Where an unanswered call goes."""

    CONNECT_TO_VOICE_MAIL = "CONNECT_TO_VOICE_MAIL"
    CONNECT_TO_VOICE = "CONNECT_TO_VOICE"


class ReadOutDatetime(OpenEnum):
    """Whether voicemail reads out the time of a message."""

    DO_NOT_READ = "DO_NOT_READ"


class OfficeHoursMode(OpenEnum):
    """Which office hours apply to an extension."""

    CUSTOM = "CUSTOM"


# Type checkers accept any str for an open enum, and see that a match over its members is not
# exhaustive. At run time a reply decodes to the enum.
if TYPE_CHECKING:
    SortByValue: TypeAlias = SortBy | str
    PresenceValue: TypeAlias = Presence | str
    GenderValue: TypeAlias = Gender | str
    ForwardActionValue: TypeAlias = ForwardAction | str
    ReadOutDatetimeValue: TypeAlias = ReadOutDatetime | str
    OfficeHoursModeValue: TypeAlias = OfficeHoursMode | str
else:
    SortByValue = SortBy
    PresenceValue = Presence
    GenderValue = Gender
    ForwardActionValue = ForwardAction
    ReadOutDatetimeValue = ReadOutDatetime
    OfficeHoursModeValue = OfficeHoursMode
