"""The structures of the PBX REST API, field by field, under the API's own names.

Strict in what is sent, liberal in what is read: only the field that tells a row from others is
required; any other reads as None where a reply lacks it, and is left out of what is sent where it
is None. Enums are open: constants for the documented values, any other value kept as it came.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

from msgspec import field

from ..core.page_sequence import Page
from ..core.tokens import LIFETIME
from ..record import Record

_VALUES_KEPT = 128


class OpenEnum(StrEnum):
    """A StrEnum that keeps a value it doesn't know."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        kept = str.__new__(cls, value)
        kept._name_ = kept._value_ = value
        # Found there, it costs a fifth of coming here. A PBX has few values, a hostile one many.
        if len(cls._value2member_map_) < _VALUES_KEPT:
            cls._value2member_map_[value] = kept
        return kept


class SortBy(OpenEnum):
    """How a list is sorted."""

    DEFAULT = "DEFAULT"
    OPTIONAL = "Optional"
    OPTIONAL_UPPER = "OPTIONAL"  # as later versions spell it


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
    """What becomes of a call that is not answered."""

    CONNECT_TO_VOICE_MAIL = "CONNECT_TO_VOICE_MAIL"
    CONNECT_TO_VOICE = "CONNECT_TO_VOICE"


class ReadOutDatetime(OpenEnum):
    """Whether voicemail reads out when a message came."""

    DO_NOT_READ = "DO_NOT_READ"


class OfficeHoursMode(OpenEnum):
    """Whose office hours hold for an extension."""

    CUSTOM = "CUSTOM"


# Type checkers take a plain string wherever an open enum stands, and see that a match over its
# constants is not exhaustive; at run time a reply decodes to the enum.
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


class Profile(Record, frozen=True, kw_only=True, gc=False):
    """Who uses an extension."""

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
    """The voicemail settings of an extension; the repr hides the pin."""

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
    """Where calls go while an extension is available; ``no_answer_timeval`` is in seconds."""

    no_answer_timeval: int | None = None
    no_answer_action: ForwardActionValue | None = None
    no_answer_action_value: str | None = None
    busy_action: ForwardActionValue | None = None
    busy_action_value: str | None = None


class AwayRule(Record, frozen=True, kw_only=True, gc=False):
    """Where calls go while an extension is offline, away, or not to be disturbed."""

    office_hours_action: ForwardActionValue | None = None
    office_hours_action_value: str | None = None
    outside_office_hours_action: ForwardActionValue | None = None
    outside_office_hours_action_value: str | None = None


class ForwardRules(Record, frozen=True, kw_only=True, gc=False):
    """Where an extension's calls go, by its state."""

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
    """An extension to be created; the repr hides its passwords and its pin."""

    extension_number: str
    password: str
    web_access_password: str
    profile: Profile | None = None
    voice_mail: VoiceMail | None = None
    forward_rules: ForwardRules | None = None
    options: Options | None = None
    office_hours: OfficeHours | None = None


class ExtensionUpdate(Record, frozen=True, kw_only=True, gc=False):
    """New settings for an extension, all sections at once; the repr hides its pin."""

    extension_number: str
    profile: Profile
    options: Options
    forward_rules: ForwardRules
    office_hours: OfficeHours
    voice_mail: VoiceMail


class Extension(Record, frozen=True, kw_only=True, gc=False):
    """An extension with its settings; the repr hides its passwords and its pin."""

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
    """What an extension is doing, and with which telephone."""

    extension_number: str
    status: PresenceValue | None = None
    user_agent: str | None = None


class ExtensionStatuses(Record, frozen=True):
    """The reply to a status request."""

    extension_status: tuple[ExtensionStatus, ...]
    err_code: int | float | str | None = None


class GroupSummary(Record, frozen=True, gc=False):
    """An extension group as a list shows it."""

    group_id: str
    group_name: str | None = None
    members_count: int | None = None


class Group(Record, frozen=True, kw_only=True, gc=False):
    """An extension group; ``group_id`` is filled from the request where the reply lacks it."""

    group_id: str = ""
    group_name: str | None = None
    group_description: str | None = None
    enable_intercom: bool | None = None
    enable_external_call: bool | None = None
    enable_management_console_access: bool | None = None
    members: tuple[str, ...] = ()


class CreatedGroup(Record, frozen=True, gc=False):
    """What the PBX tells of a group that was created."""

    group_id: str
    group_name: str | None = None


class GreetingFile(Record, frozen=True, gc=False):
    """A voicemail greeting; ``filename`` as the PBX gave it, stray marks included."""

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
        default_file: the name of the greeting that plays where none was set up.
    """

    # The vendor's table calls the array `greetings`, the sample `files`.
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"files": ("greetings",)}

    items: tuple[GreetingFile, ...] = field(name="files")
    default_file: str | None = None


class RefreshReply(Record, frozen=True):
    """The reply to a refresh. Without an `access_token` it prolongs the token that was sent."""

    access_token: str | None = None
    expires: float = LIFETIME  # seconds
    role: str | None = None
    api_version: str | None = None
