"""What `patch` takes: typed dictionaries with the fields of the structures.

All keys may be left out: a field that is not named stays as it is. A part is merged field by field.
Where a struct stands beside a dictionary, a field of the struct that is None is left out, but None
in a dictionary is sent as null.
"""

from collections.abc import Iterable
from typing import TypedDict

from .enums import (
    ForwardActionValue,
    GenderValue,
    OfficeHoursModeValue,
    ReadOutDatetimeValue,
)
from .extension_models import (
    AvailableRule,
    AwayRule,
    ForwardRules,
    OfficeHours,
    Options,
    Profile,
    VoiceMail,
)

__all__ = [
    "ExtensionChanges",
    "ProfileChanges",
    "OptionsChanges",
    "ForwardRulesChanges",
    "AvailableRuleChanges",
    "AwayRuleChanges",
    "OfficeHoursChanges",
    "VoiceMailChanges",
    "GroupChanges",
]


class ProfileChanges(TypedDict, total=False):
    """Fields of a `Profile` to change."""

    first_name: str | None
    last_name: str | None
    gender: GenderValue | None
    email: str | None
    mobile_phone: str | None
    work_phone: str | None
    home_phone: str | None
    twitter: str | None
    facebook: str | None
    linkedin: str | None
    instagram: str | None
    description: str | None


class VoiceMailChanges(TypedDict, total=False):
    """Fields of `VoiceMail` to change."""

    enable_voicemail: bool | None
    prompt_language: str | None
    enable_vm_pin_auth: bool | None
    voicemail_pin: str | None
    enable_play_caller_id: bool | None
    msg_read_out_datetime: ReadOutDatetimeValue | None


class OptionsChanges(TypedDict, total=False):
    """Fields of `Options` to change."""

    enable_audio_record_calls: bool | None
    enable_video_record_calls: bool | None
    enable_extension: bool | None


class AvailableRuleChanges(TypedDict, total=False):
    """Fields of an `AvailableRule` to change."""

    no_answer_timeval: int | None
    no_answer_action: ForwardActionValue | None
    no_answer_action_value: str | None
    busy_action: ForwardActionValue | None
    busy_action_value: str | None


class AwayRuleChanges(TypedDict, total=False):
    """Fields of an `AwayRule` to change."""

    office_hours_action: ForwardActionValue | None
    office_hours_action_value: str | None
    outside_office_hours_action: ForwardActionValue | None
    outside_office_hours_action_value: str | None


class ForwardRulesChanges(TypedDict, total=False):
    """Rules of `ForwardRules` to change. Each rule is merged field by field."""

    available: AvailableRule | AvailableRuleChanges | None
    offline: AwayRule | AwayRuleChanges | None
    dnd: AwayRule | AwayRuleChanges | None
    away: AwayRule | AwayRuleChanges | None


class OfficeHoursChanges(TypedDict, total=False):
    """Fields of `OfficeHours` to change."""

    office_hours_mode: OfficeHoursModeValue | None
    monday_from: str | None
    monday_to: str | None
    tuesday_from: str | None
    tuesday_to: str | None
    wednesday_from: str | None
    wednesday_to: str | None
    thursday_from: str | None
    thursday_to: str | None
    friday_from: str | None
    friday_to: str | None
    saturday_from: str | None
    saturday_to: str | None
    sunday_from: str | None
    sunday_to: str | None


class ExtensionChanges(TypedDict, total=False):
    """Sections of an extension to change, for `patch_many`. None changes nothing."""

    profile: Profile | ProfileChanges | None
    options: Options | OptionsChanges | None
    forward_rules: ForwardRules | ForwardRulesChanges | None
    office_hours: OfficeHours | OfficeHoursChanges | None
    voice_mail: VoiceMail | VoiceMailChanges | None


class GroupChanges(TypedDict, total=False):
    """Settings of a `Group` to change. The members replace all that the group has."""

    group_name: str | None
    group_description: str | None
    enable_intercom: bool | None
    enable_external_call: bool | None
    enable_management_console_access: bool | None
    members: Iterable[str] | None
