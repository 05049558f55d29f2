"""The structures of the PBX REST API, with the API's own field names.

In a reply, only the field that identifies an item is required. Any other field reads as None if the
reply lacks it. In a request, a field that is None is left out. Enums are open: they have members
for the documented values and keep any other value unchanged.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from msgspec import field

from ..core.open_enum import OpenEnum
from ..core.page_sequence import Page
from ..redact import Record

# The public structures; `portsip_async` exports all of them.
__all__ = [
    # extensions
    "ExtensionPage",
    "ExtensionSummary",
    "ExtensionStatus",
    "Extension",
    "NewExtension",
    "ExtensionUpdate",
    "Profile",
    "VoiceMail",
    "Options",
    "ForwardRules",
    "AvailableRule",
    "AwayRule",
    "OfficeHours",
    # groups and greetings
    "GroupPage",
    "GroupSummary",
    "Group",
    "CreatedGroup",
    "GreetingPage",
    "GreetingFile",
    # open enums
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


# gc=False hides objects from the garbage collector, since they can't be in a reference cycle. Each
# takes 16 bytes less, and a full collection with 100,000 of them 3 ms instead of 11 to 15.
class Profile(Record, frozen=True, kw_only=True, gc=False):
    """The person who uses an extension."""

    first_name: str | None = None
    last_name: str | None = None
    gender: GenderValue | None = None
    email: str | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    twitter: str | None = None
    facebook: str | None = None
    linkedin: str | None = None
    instagram: str | None = None
    description: str | None = None


class VoiceMail(Record, frozen=True, kw_only=True, gc=False):
    """The voicemail settings of an extension. The repr hides the pin."""

    enable_voicemail: bool | None = None
    prompt_language: str | None = None
    enable_vm_pin_auth: bool | None = None
    voicemail_pin: str | None = None
    enable_play_caller_id: bool | None = None
    msg_read_out_datetime: ReadOutDatetimeValue | None = None


class Options(Record, frozen=True, kw_only=True, gc=False):
    """The options of an extension."""

    enable_audio_record_calls: bool | None = None
    enable_video_record_calls: bool | None = None
    enable_extension: bool | None = None


class AvailableRule(Record, frozen=True, kw_only=True, gc=False):
    """Where calls go while an extension is available. ``no_answer_timeval`` is in seconds."""

    no_answer_timeval: int | None = None
    no_answer_action: ForwardActionValue | None = None
    no_answer_action_value: str | None = None
    busy_action: ForwardActionValue | None = None
    busy_action_value: str | None = None


class AwayRule(Record, frozen=True, kw_only=True, gc=False):
    """Where calls go while an extension is offline, away, or in do-not-disturb mode."""

    office_hours_action: ForwardActionValue | None = None
    office_hours_action_value: str | None = None
    outside_office_hours_action: ForwardActionValue | None = None
    outside_office_hours_action_value: str | None = None


class ForwardRules(Record, frozen=True, kw_only=True, gc=False):
    """Where an extension's calls go in each of its states."""

    available: AvailableRule | None = None
    offline: AwayRule | None = None
    dnd: AwayRule | None = None
    away: AwayRule | None = None


class OfficeHours(Record, frozen=True, kw_only=True, gc=False):
    """The office hours of an extension, each as ``HH:MM``."""

    office_hours_mode: OfficeHoursModeValue | None = None
    monday_from: str | None = None
    monday_to: str | None = None
    tuesday_from: str | None = None
    tuesday_to: str | None = None
    wednesday_from: str | None = None
    wednesday_to: str | None = None
    thursday_from: str | None = None
    thursday_to: str | None = None
    friday_from: str | None = None
    friday_to: str | None = None
    saturday_from: str | None = None
    saturday_to: str | None = None
    sunday_from: str | None = None
    sunday_to: str | None = None


class NewExtension(Record, frozen=True, kw_only=True, gc=False):
    """An extension to create. The repr hides its passwords and its pin."""

    extension_number: str
    password: str
    web_access_password: str
    profile: Profile | None = None
    voice_mail: VoiceMail | None = None
    forward_rules: ForwardRules | None = None
    options: Options | None = None
    office_hours: OfficeHours | None = None


class ExtensionUpdate(Record, frozen=True, kw_only=True, gc=False):
    """New settings for an extension, with all sections. The repr hides its pin."""

    extension_number: str
    profile: Profile
    options: Options
    forward_rules: ForwardRules
    office_hours: OfficeHours
    voice_mail: VoiceMail


# The names of the sections: every field of an update except the number.
SECTIONS: Final[tuple[str, ...]] = ExtensionUpdate.__struct_fields__[1:]


class Extension(Record, frozen=True, kw_only=True, gc=False):
    """An extension with its settings. The repr hides its passwords and its pin."""

    extension_number: str
    password: str | None = None
    web_access_password: str | None = None
    profile: Profile | None = None
    voice_mail: VoiceMail | None = None
    forward_rules: ForwardRules | None = None
    options: Options | None = None
    office_hours: OfficeHours | None = None
    belong_groups: tuple[str, ...] | None = None


class ExtensionSummary(Record, frozen=True, gc=False):
    """An extension as a list shows it."""

    extension_number: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    status: PresenceValue | None = None
    user_agent: str | None = None
    phone_mac_address: str | None = None
    phone_model: str | None = None


class ExtensionStatus(Record, frozen=True, gc=False):
    """What an extension is doing, and on which telephone."""

    extension_number: str
    status: PresenceValue | None = None
    user_agent: str | None = None


class ExtensionStatuses(Record, frozen=True):
    """The reply to a status request."""

    extension_status: tuple[ExtensionStatus, ...]
    err_code: int | float | str | None = None


class GroupSummary(Record, frozen=True, gc=False):
    """An extension group as a list shows it."""

    # Version 12 calls it `id`.
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"group_id": ("id",)}

    group_id: str
    group_name: str | None = None
    members_count: int | None = None


class Group(Record, frozen=True, kw_only=True, gc=False):
    """An extension group. ``group_id`` comes from the request if the reply lacks it."""

    group_id: str = ""
    group_name: str | None = None
    group_description: str | None = None
    enable_intercom: bool | None = None
    enable_external_call: bool | None = None
    enable_management_console_access: bool | None = None
    members: tuple[str, ...] = ()


class CreatedGroup(Record, frozen=True, gc=False):
    """The reply to the creation of a group."""

    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"group_id": ("id",)}

    group_id: str
    group_name: str | None = None


class GreetingFile(Record, frozen=True, gc=False):
    """A voicemail greeting. ``filename`` is as the PBX sent it, stray characters included."""

    filename: str
    enabled: bool | None = None


class ExtensionPage(Page[ExtensionSummary], frozen=True, kw_only=True):
    """A page of extensions."""

    items: tuple[ExtensionSummary, ...] = field(name="extensions")


class GroupPage(Page[GroupSummary], frozen=True, kw_only=True):
    """A page of extension groups."""

    items: tuple[GroupSummary, ...] = field(name="groups")


class GreetingPage(Page[GreetingFile], frozen=True, kw_only=True):
    """A page of voicemail greetings.

    Attributes:
        default_file: the name of the greeting that plays if none was set up.
    """

    # The array is `greetings` in the vendor's table and `files` in the sample.
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"files": ("greetings",)}

    items: tuple[GreetingFile, ...] = field(name="files")
    default_file: str | None = None


class RefreshReply(Record, frozen=True):
    """The reply to a refresh. Without an `access_token`, the old token was prolonged."""

    access_token: str | None = None
    expires: float = 30.0  # seconds
    role: str | None = None
    api_version: str | None = None
