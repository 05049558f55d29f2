"""Users of generation v22, with the API's own field names.

A user is what older generations call an extension: a person's account, telephone number, settings,
forward rules and office hours in one object.

In a reply, only the field that identifies an item is required. Any other field reads as None if the
reply lacks it or if it can't be read. In a request, a field that is None is left out, and any other
value is sent. So None is the only default here: a field that was set to another default would not
be sent.
"""

from datetime import datetime
from typing import ClassVar, Final

from ..core.page_sequence import Page
from ..redact import Record
from .enums import (
    ClientCertificateValue,
    ForwardActionValue,
    ForwardHoursValue,
    InterfaceValue,
    OfficeHoursModeValue,
    RoleValue,
    SMSModeValue,
    SyncTypeValue,
    TransportValue,
    VoicemailDatetimeValue,
)
from .parts import BLF, UNNUMBERED, DayHours, OutboundCallerID, TimeRange, WeekHours

__all__ = [
    "UserPage",
    "UserSummary",
    "User",
    "NewUser",
    "UserSettings",
    "ForwardRule",
    "CustomForwardRule",
    "OfficeHours",
    "WeekHours",
    "DayHours",
    "TimeRange",
    "OutboundCallerID",
    "BLF",
    "TransportPort",
]


# As in the classic models, gc=False hides objects from the garbage collector: none is in a cycle.
class OfficeHours(WeekHours, frozen=True, kw_only=True, gc=False):
    """The office hours of a user: those of the tenant, or the days that are given here.

    All other fields are those of `WeekHours`.

    Attributes:
        mode: an `OfficeHoursMode`: GLOBAL for the tenant's hours, CUSTOM for the days given here.
    """

    # The PBX may leave it out unless the hours are the user's own.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"mode"})

    mode: OfficeHoursModeValue | None = None


class ForwardRule(Record, frozen=True, kw_only=True, gc=False):
    """What happens to calls in one state of a user.

    Attributes:
        action: what happens: a `ForwardAction`.
        number: where a call is forwarded: an extension, or a number outside with or without a plus.
        timeout: seconds of ringing until a call counts as unanswered. Only the two rules for
            unanswered calls have it. If it is None, the PBX uses 60.
    """

    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"timeout"})

    action: ForwardActionValue | None = None
    number: str | None = None
    timeout: int | None = None


class CustomForwardRule(Record, frozen=True, kw_only=True, gc=False):
    """What happens to calls from certain numbers.

    Attributes:
        action: what happens: a `ForwardAction`.
        number: where a call is forwarded, as in a `ForwardRule`.
        caller_id: a mask of the numbers that call.
        type: a `ForwardHours`: whether it applies always, within `hours`, or outside of them.
        hours: the hours; None if the type needs none.
    """

    action: ForwardActionValue | None = None
    number: str | None = None
    caller_id: str | None = None
    type: ForwardHoursValue | None = None
    hours: WeekHours | None = None


class TransportPort(Record, frozen=True, kw_only=True, gc=False):
    """A transport by which telephones can reach the PBX.

    Attributes:
        protocol: a `Transport`.
        port: the number of the port.
        verification: a `ClientCertificate`: whether a TLS client must present a certificate.
    """

    protocol: TransportValue | None = None
    port: int | None = None
    verification: ClientCertificateValue | None = None


class UserSettings(Record, frozen=True, kw_only=True, gc=False):
    """New settings for a user; None leaves a field out. The repr hides the pin.

    Attributes:
        email: the email address, at most 128 characters.
        display_name: the name that people see.
        enabled: False disables the extension for a time.
        mobile_phone: the number of the mobile telephone. This and the next two: at most 32
            characters.
        work_phone: the number of the telephone at work.
        home_phone: the number of the telephone at home.
        address: the postal address, at most 128 characters.
        department: the department, at most 128 characters.
        enable_audio_recording: whether the PBX records the sound of all calls, and keeps it.
        enable_video_recording: whether it records the picture too.
        enable_dnd: whether do-not-disturb is on.
        enable_acb: whether automatic callback is on.
        enable_hot_desking: whether the user may log in at shared telephones.
        anonymous_outbound_calls: whether calls to the outside hide the number.
        delivery_outbound_cid: whether calls to the outside always carry the outbound caller id.
        sms: an `SMSMode`: whether the user may send text messages. To change it, the account needs
            the privilege ``UserManagement::Users``.
        outbound_caller_ids: the caller ids for calls to the outside.
        custom_options: further options, as one JSON text.
        office_hours: the office hours, on which many of the rules depend.
        available_office_hours_forward_rule: calls while the user is available, in office hours.
        available_non_office_hours_forward_rule: the same, outside of office hours.
        available_no_answer_forward_rule: the same, for calls that nobody answers.
        busy_office_hours_forward_rule: calls while the user is on a call, in office hours.
        busy_non_office_hours_forward_rule: the same, outside of office hours.
        busy_no_answer_forward_rule: the same, for calls that nobody answers.
        dnd_office_hours_forward_rule: calls in do-not-disturb, in office hours.
        dnd_non_office_hours_forward_rule: the same, outside of office hours.
        away_office_hours_forward_rule: calls while the user is away, in office hours.
        away_non_office_hours_forward_rule: the same, outside of office hours.
        lunch_office_hours_forward_rule: calls during lunch, in office hours.
        lunch_non_office_hours_forward_rule: the same, outside of office hours.
        trip_office_hours_forward_rule: calls during a business trip, in office hours.
        trip_non_office_hours_forward_rule: the same, outside of office hours.
        offline_office_hours_forward_rule: calls while no telephone is registered, in office hours.
        offline_non_office_hours_forward_rule: the same, outside of office hours.
        custom_forward_rules: rules for certain callers.
        voicemail_prompt: the language of voicemail as a tag of BCP 47, such as ``en-US``.
        enable_voicemail_pin: whether voicemail asks for the pin.
        voicemail_pin: the pin, 6 to 10 digits. The PBX refuses digits that repeat (111) or count up
            (123).
        enable_voicemail_notify: whether messages are announced by email.
        voicemail_play_datetime: a `VoicemailDatetime`: whether voicemail reads out when a message
            arrived.
        interface: an `Interface`: the address that QR codes and provisioned telephones use.
        preferred_transport: a `Transport`: the protocol that they use.
        blfs: the keys with lamps.
    """

    email: str | None = None
    display_name: str | None = None
    enabled: bool | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    address: str | None = None
    department: str | None = None
    enable_audio_recording: bool | None = None
    enable_video_recording: bool | None = None
    enable_dnd: bool | None = None
    enable_acb: bool | None = None
    enable_hot_desking: bool | None = None
    anonymous_outbound_calls: bool | None = None
    delivery_outbound_cid: bool | None = None
    sms: SMSModeValue | None = None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None = None
    custom_options: str | None = None
    office_hours: OfficeHours | None = None
    available_office_hours_forward_rule: ForwardRule | None = None
    available_non_office_hours_forward_rule: ForwardRule | None = None
    available_no_answer_forward_rule: ForwardRule | None = None
    busy_office_hours_forward_rule: ForwardRule | None = None
    busy_non_office_hours_forward_rule: ForwardRule | None = None
    busy_no_answer_forward_rule: ForwardRule | None = None
    dnd_office_hours_forward_rule: ForwardRule | None = None
    dnd_non_office_hours_forward_rule: ForwardRule | None = None
    away_office_hours_forward_rule: ForwardRule | None = None
    away_non_office_hours_forward_rule: ForwardRule | None = None
    lunch_office_hours_forward_rule: ForwardRule | None = None
    lunch_non_office_hours_forward_rule: ForwardRule | None = None
    trip_office_hours_forward_rule: ForwardRule | None = None
    trip_non_office_hours_forward_rule: ForwardRule | None = None
    offline_office_hours_forward_rule: ForwardRule | None = None
    offline_non_office_hours_forward_rule: ForwardRule | None = None
    custom_forward_rules: tuple[CustomForwardRule, ...] | None = None
    voicemail_prompt: str | None = None
    enable_voicemail_pin: bool | None = None
    voicemail_pin: str | None = None
    enable_voicemail_notify: bool | None = None
    voicemail_play_datetime: VoicemailDatetimeValue | None = None
    interface: InterfaceValue | None = None
    preferred_transport: TransportValue | None = None
    blfs: tuple[BLF, ...] | None = None


class NewUser(Record, frozen=True, kw_only=True, gc=False):
    """A user to create. The repr hides the passwords and the pin.

    All other fields are those of `UserSettings`.

    Attributes:
        name: the name to log in with: at most 64 letters, digits, and any of ``_ - ' .``. It
            neither begins nor ends with a dot. Names such as ``admin`` and ``root`` are reserved.
        password: the password to log in with.
        role: the role. A built-in one is a `Role`.
        extension_number: the number, 3 to 64 digits.
        extension_password: the password of the user's telephones.
    """

    name: str
    password: str
    email: str
    display_name: str
    role: RoleValue
    extension_number: str
    extension_password: str
    voicemail_pin: str
    enabled: bool | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    address: str | None = None
    department: str | None = None
    enable_audio_recording: bool | None = None
    enable_video_recording: bool | None = None
    enable_dnd: bool | None = None
    enable_acb: bool | None = None
    enable_hot_desking: bool | None = None
    anonymous_outbound_calls: bool | None = None
    delivery_outbound_cid: bool | None = None
    sms: SMSModeValue | None = None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None = None
    custom_options: str | None = None
    office_hours: OfficeHours | None = None
    available_office_hours_forward_rule: ForwardRule | None = None
    available_non_office_hours_forward_rule: ForwardRule | None = None
    available_no_answer_forward_rule: ForwardRule | None = None
    busy_office_hours_forward_rule: ForwardRule | None = None
    busy_non_office_hours_forward_rule: ForwardRule | None = None
    busy_no_answer_forward_rule: ForwardRule | None = None
    dnd_office_hours_forward_rule: ForwardRule | None = None
    dnd_non_office_hours_forward_rule: ForwardRule | None = None
    away_office_hours_forward_rule: ForwardRule | None = None
    away_non_office_hours_forward_rule: ForwardRule | None = None
    lunch_office_hours_forward_rule: ForwardRule | None = None
    lunch_non_office_hours_forward_rule: ForwardRule | None = None
    trip_office_hours_forward_rule: ForwardRule | None = None
    trip_non_office_hours_forward_rule: ForwardRule | None = None
    offline_office_hours_forward_rule: ForwardRule | None = None
    offline_non_office_hours_forward_rule: ForwardRule | None = None
    custom_forward_rules: tuple[CustomForwardRule, ...] | None = None
    voicemail_prompt: str | None = None
    enable_voicemail_pin: bool | None = None
    enable_voicemail_notify: bool | None = None
    voicemail_play_datetime: VoicemailDatetimeValue | None = None
    interface: InterfaceValue | None = None
    preferred_transport: TransportValue | None = None
    blfs: tuple[BLF, ...] | None = None


class User(Record, frozen=True, kw_only=True, gc=False):
    """A user with all settings. The repr hides the passwords and the pin.

    All other fields are those of `UserSettings`. `patch` refuses those below.

    Attributes:
        id: the PBX's id of the user.
        name: the name to log in with.
        role: the role, perhaps one that an administrator defined. To change it, use
            `users.set_role`.
        extension_number: the number.
        profile: the id of a file with the user's profile.
        created_at: when the user was created.
        avatar_file_name: the name of the file with the user's picture.
        avatar_file_size: its size in bytes.
        avatar_file_url: the path to download it from.
        sync_type: a `SyncType`: the directory that the user comes from; None for a user of the PBX
            itself.
        transports: the transports of the PBX; shown only to the user who is logged in.
        password: the password to log in with; shown from 22.3 on. To change it, use
            `users.set_password`.
        extension_password: the password of the telephones; shown from 22.3 on. To change it, use
            `users.set_extension_password`.
    """

    id: str
    name: str | None = None
    email: str | None = None
    display_name: str | None = None
    role: RoleValue | None = None
    extension_number: str | None = None
    enabled: bool | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    address: str | None = None
    department: str | None = None
    enable_audio_recording: bool | None = None
    enable_video_recording: bool | None = None
    enable_dnd: bool | None = None
    enable_acb: bool | None = None
    enable_hot_desking: bool | None = None
    anonymous_outbound_calls: bool | None = None
    delivery_outbound_cid: bool | None = None
    sms: SMSModeValue | None = None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None = None
    custom_options: str | None = None
    office_hours: OfficeHours | None = None
    available_office_hours_forward_rule: ForwardRule | None = None
    available_non_office_hours_forward_rule: ForwardRule | None = None
    available_no_answer_forward_rule: ForwardRule | None = None
    busy_office_hours_forward_rule: ForwardRule | None = None
    busy_non_office_hours_forward_rule: ForwardRule | None = None
    busy_no_answer_forward_rule: ForwardRule | None = None
    dnd_office_hours_forward_rule: ForwardRule | None = None
    dnd_non_office_hours_forward_rule: ForwardRule | None = None
    away_office_hours_forward_rule: ForwardRule | None = None
    away_non_office_hours_forward_rule: ForwardRule | None = None
    lunch_office_hours_forward_rule: ForwardRule | None = None
    lunch_non_office_hours_forward_rule: ForwardRule | None = None
    trip_office_hours_forward_rule: ForwardRule | None = None
    trip_non_office_hours_forward_rule: ForwardRule | None = None
    offline_office_hours_forward_rule: ForwardRule | None = None
    offline_non_office_hours_forward_rule: ForwardRule | None = None
    custom_forward_rules: tuple[CustomForwardRule, ...] | None = None
    voicemail_prompt: str | None = None
    enable_voicemail_pin: bool | None = None
    voicemail_pin: str | None = None
    enable_voicemail_notify: bool | None = None
    voicemail_play_datetime: VoicemailDatetimeValue | None = None
    interface: InterfaceValue | None = None
    preferred_transport: TransportValue | None = None
    blfs: tuple[BLF, ...] | None = None
    profile: str | None = None
    created_at: datetime | None = None
    avatar_file_name: str | None = None
    avatar_file_size: int | None = None
    avatar_file_url: str | None = None
    sync_type: SyncTypeValue | None = None
    transports: tuple[TransportPort, ...] | None = None
    password: str | None = None
    extension_password: str | None = None

    # Only some versions or operations send these.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset(
        {"transports", "password", "extension_password", "sync_type"}
    )


# What a user that was read holds, but an update does not take.
READ_ONLY: Final[frozenset[str]] = frozenset(User.__struct_fields__) - frozenset(
    UserSettings.__struct_fields__
)


class UserSummary(Record, frozen=True, kw_only=True, gc=False):
    """A user as a list shows it. All fields are read-only.

    Attributes:
        id: the PBX's id of the user.
        name: the name to log in with.
        enabled: False if the extension is disabled.
        email: the email address.
        display_name: the name that people see.
        role: the role; a built-in one is a `Role`.
        mobile_phone: the number of the mobile telephone.
        work_phone: the number of the telephone at work.
        home_phone: the number of the telephone at home.
        address: the postal address.
        department: the department.
        extension_number: the number.
        created_at: when the user was created.
        avatar_file_name: the name of the file with the user's picture.
        avatar_file_size: its size in bytes.
        avatar_file_url: the path to download it from.
        sync_type: a `SyncType`: the directory that the user comes from; None for a user of the PBX
            itself.
    """

    id: str
    name: str | None = None
    enabled: bool | None = None
    email: str | None = None
    display_name: str | None = None
    role: RoleValue | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    address: str | None = None
    department: str | None = None
    extension_number: str | None = None
    created_at: datetime | None = None
    avatar_file_name: str | None = None
    avatar_file_size: int | None = None
    avatar_file_url: str | None = None
    sync_type: SyncTypeValue | None = None

    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"sync_type"})


class UserPage(Page[UserSummary], frozen=True, kw_only=True):
    """A page of users. `count` is the number of all users that match.

    The other fields are those of `Page`.
    """

    reply_may_lack: ClassVar[frozenset[str]] = Page.reply_may_lack | UNNUMBERED
