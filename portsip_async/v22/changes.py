"""What `patch` takes: typed dictionaries with the fields of `UserSettings` and of its parts.

All keys may be left out: a field that is not named stays as it is. A part is merged field by field,
but a list is replaced as a whole, so its items need all their fields. Where a struct stands beside
a dictionary, a field of the struct that is None is left out, but None in a dictionary is sent as
null.
"""

from collections.abc import Sequence
from typing import TypedDict

from .enums import (
    ForwardActionValue,
    ForwardHoursValue,
    InterfaceValue,
    OfficeHoursModeValue,
    SMSModeValue,
    TransportValue,
    VoicemailDatetimeValue,
)
from .parts import BLF, DayHours, OutboundCallerID, TimeRange, WeekHours
from .user_models import CustomForwardRule, ForwardRule, OfficeHours

__all__ = [
    "UserChanges",
    "ForwardRuleChanges",
    "CustomForwardRuleChanges",
    "OfficeHoursChanges",
    "WeekHoursChanges",
    "DayHoursChanges",
    "TimeRangeChanges",
    "OutboundCallerIDChanges",
    "BLFChanges",
]


# Not a class, because `from` is a keyword.
TimeRangeChanges = TypedDict(
    "TimeRangeChanges", {"from": str | None, "to": str | None}, total=False
)
"""A `TimeRange`. The ranges of a day are replaced as a whole, so give both ends."""


class DayHoursChanges(TypedDict, total=False):
    """Fields of `DayHours` to change. The ranges replace all that the day has."""

    enabled: bool | None
    ranges: Sequence[TimeRange | TimeRangeChanges] | None


class WeekHoursChanges(TypedDict, total=False):
    """Days of `WeekHours` to change."""

    monday: DayHours | DayHoursChanges | None
    tuesday: DayHours | DayHoursChanges | None
    wednesday: DayHours | DayHoursChanges | None
    thursday: DayHours | DayHoursChanges | None
    friday: DayHours | DayHoursChanges | None
    saturday: DayHours | DayHoursChanges | None
    sunday: DayHours | DayHoursChanges | None


class OfficeHoursChanges(WeekHoursChanges, total=False):
    """Fields of `OfficeHours` to change."""

    mode: OfficeHoursModeValue | None


class ForwardRuleChanges(TypedDict, total=False):
    """Fields of a `ForwardRule` to change."""

    action: ForwardActionValue | None
    number: str | None
    timeout: int | None


class CustomForwardRuleChanges(TypedDict, total=False):
    """A `CustomForwardRule`. All rules are replaced at once, so give all fields."""

    action: ForwardActionValue | None
    number: str | None
    caller_id: str | None
    type: ForwardHoursValue | None
    hours: WeekHours | WeekHoursChanges | None


class OutboundCallerIDChanges(TypedDict, total=False):
    """An `OutboundCallerID`. All ids are replaced at once, so give all fields."""

    provider_id: str | None
    caller_id: str | None
    preferred: bool | None
    description: str | None


class BLFChanges(TypedDict, total=False):
    """A `BLF`. All keys are replaced at once, so give all fields."""

    key: str | None
    value: str | None
    first_name: str | None
    last_name: str | None


class UserChanges(TypedDict, total=False):
    """Fields of `UserSettings` to change."""

    email: str | None
    display_name: str | None
    enabled: bool | None
    mobile_phone: str | None
    work_phone: str | None
    home_phone: str | None
    address: str | None
    department: str | None
    enable_audio_recording: bool | None
    enable_video_recording: bool | None
    enable_dnd: bool | None
    enable_acb: bool | None
    enable_hot_desking: bool | None
    anonymous_outbound_calls: bool | None
    delivery_outbound_cid: bool | None
    sms: SMSModeValue | None
    outbound_caller_ids: Sequence[OutboundCallerID | OutboundCallerIDChanges] | None
    custom_options: str | None
    office_hours: OfficeHours | OfficeHoursChanges | None
    available_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    available_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    available_no_answer_forward_rule: ForwardRule | ForwardRuleChanges | None
    busy_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    busy_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    busy_no_answer_forward_rule: ForwardRule | ForwardRuleChanges | None
    dnd_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    dnd_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    away_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    away_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    lunch_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    lunch_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    trip_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    trip_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    offline_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    offline_non_office_hours_forward_rule: ForwardRule | ForwardRuleChanges | None
    custom_forward_rules: Sequence[CustomForwardRule | CustomForwardRuleChanges] | None
    voicemail_prompt: str | None
    enable_voicemail_pin: bool | None
    voicemail_pin: str | None
    enable_voicemail_notify: bool | None
    voicemail_play_datetime: VoicemailDatetimeValue | None
    interface: InterfaceValue | None
    preferred_transport: TransportValue | None
    blfs: Sequence[BLF | BLFChanges] | None
