"""The open enums of generation v22.

The members are the values that versions 22.2 and 22.3 document. Any other value is kept as it is.
"""

from typing import TYPE_CHECKING, TypeAlias

from ..core.open_enum import OpenEnum

__all__ = [
    "Role",
    "Status",
    "Presence",
    "ExtensionType",
    "SMSMode",
    "ForwardAction",
    "ForwardHours",
    "OfficeHoursMode",
    "VoicemailDatetime",
    "Interface",
    "Transport",
    "ClientCertificate",
    "SyncType",
    "AdditionalHeader",
    "HeaderDirection",
]


class Role(OpenEnum):
    """The built-in roles of accounts. An administrator can add others."""

    SYSTEM_ADMIN = "SystemAdmin"
    REPLICATOR = "Replicator"
    DEALER = "Dealer"
    ADMIN = "Admin"
    STANDARD_USER = "StandardUser"
    STANDARD_INTERNATIONAL_USER = "StandardInternationalUser"
    QUEUE_MANAGER = "QueueManager"


class Status(OpenEnum):
    """What an extension is doing."""

    OFFLINE = "OFFLINE"
    ONLINE = "ONLINE"
    RINGING = "RINGING"
    ON_CALL = "ON_CALL"
    OTHER_CALL = "OTHER_CALL"  # what the REST API of 22.3 calls ON_CALL


class Presence(OpenEnum):
    """Whether a user can be reached, as others see it."""

    DO_NOT_DISTURB = "DO_NOT_DISTURB"
    AVAILABLE = "AVAILABLE"
    AWAY = "AWAY"
    BUSINESS_TRIP = "BUSINESS_TRIP"
    LUNCH = "LUNCH"
    ON_CALL = "ON_CALL"
    OFFLINE = "OFFLINE"
    ONLINE = "ONLINE"  # this one and the next two: from 22.3 on
    RINGING = "RINGING"
    OTHER_CALL = "OTHER_CALL"


class ExtensionType(OpenEnum):
    """What a number belongs to."""

    EXTENSION = "EXTENSION"
    RING_GROUP = "RING_GROUP"
    CALL_QUEUE = "CALL_QUEUE"
    CONFERENCE_ROOM = "CONFERENCE_ROOM"
    VIRTUAL_RECEPTIONIST = "VIRTUAL_RECEPTIONIST"


class SMSMode(OpenEnum):
    """Whether a user may send text messages, and which sender they show."""

    DISABLE = "DISABLE"
    ALLOW = "ALLOW"  # with the user's outbound caller id
    ALLOW_WITH_SENDER_ID = "ALLOW_WITH_SENDER_ID"  # with the sender id of the trunk


class ForwardAction(OpenEnum):
    """What happens to a call. Some rules, such as those for do-not-disturb, lack RING_ANYWAY."""

    FORWARD_TO_NUMBER = "FORWARD_TO_NUMBER"
    FORWARD_TO_VOICEMAIL = "FORWARD_TO_VOICEMAIL"
    RING_ANYWAY = "RING_ANYWAY"
    HANGUP = "HANGUP"


class ForwardHours(OpenEnum):
    """When a custom forward rule applies."""

    ALL_HOURS = "ALL_HOURS"
    SPECIFIC_HOURS = "SPECIFIC_HOURS"
    OUTSIDE_SPECIFIC_HOURS = "OUTSIDE_SPECIFIC_HOURS"


class OfficeHoursMode(OpenEnum):
    """Whether a user has the office hours of the tenant or hours of their own."""

    GLOBAL = "GLOBAL"
    CUSTOM = "CUSTOM"


class VoicemailDatetime(OpenEnum):
    """Whether and how voicemail reads out the time of a message."""

    DISABLE = "DISABLE"
    TWELVE_HOURS = "12_HOUR_CLOCK"
    TWENTY_FOUR_HOURS = "24_HOUR_CLOCK"


class Interface(OpenEnum):
    """The address of the PBX that QR codes and provisioned telephones use."""

    WEB_DOMAIN = "WEB_DOMAIN"
    PUBLIC_IPV4 = "PUBLIC_IPV4"
    PUBLIC_IPV6 = "PUBLIC_IPV6"
    PRIVATE_IPV4 = "PRIVATE_IPV4"
    PRIVATE_IPV6 = "PRIVATE_IPV6"
    SBC_DOMAIN = "SBC_DOMAIN"


class Transport(OpenEnum):
    """A transport protocol for SIP."""

    UDP = "UDP"
    TCP = "TCP"
    TLS = "TLS"


class ClientCertificate(OpenEnum):
    """Whether a TLS client must present a certificate."""

    DISABLE = "DISABLE"
    OPTIONAL = "OPTIONAL"
    MANDATORY = "MANDATORY"


class SyncType(OpenEnum):
    """The directory that a user comes from."""

    MICROSOFT_365 = "Microsoft 365"


class AdditionalHeader(OpenEnum):
    """A header in the INVITE of a call that makes a telephone answer automatically."""

    ANSWER_MODE = "ANSWER_MODE"
    CALL_INFO = "CALL_INFO"
    ALERT_INFO_AUTO_ANSWER_DELAY0 = "ALERT_INFO_AUTO_ANSWER_DELAY0"
    ALERT_INFO_AUTO_ANSWER = "ALERT_INFO_AUTO_ANSWER"
    ALERT_INFO_INTERCOM = "ALERT_INFO_INTERCOM"


class HeaderDirection(OpenEnum):
    """Which party of a call gets the additional header."""

    CALLER = "CALLER"
    CALLEE = "CALLEE"
    ALL = "ALL"


# Type checkers accept any str for an open enum. At run time a reply decodes to the enum.
if TYPE_CHECKING:
    RoleValue: TypeAlias = Role | str
    StatusValue: TypeAlias = Status | str
    PresenceValue: TypeAlias = Presence | str
    ExtensionTypeValue: TypeAlias = ExtensionType | str
    SMSModeValue: TypeAlias = SMSMode | str
    ForwardActionValue: TypeAlias = ForwardAction | str
    ForwardHoursValue: TypeAlias = ForwardHours | str
    OfficeHoursModeValue: TypeAlias = OfficeHoursMode | str
    VoicemailDatetimeValue: TypeAlias = VoicemailDatetime | str
    InterfaceValue: TypeAlias = Interface | str
    TransportValue: TypeAlias = Transport | str
    ClientCertificateValue: TypeAlias = ClientCertificate | str
    SyncTypeValue: TypeAlias = SyncType | str
    AdditionalHeaderValue: TypeAlias = AdditionalHeader | str
    HeaderDirectionValue: TypeAlias = HeaderDirection | str
else:
    RoleValue = Role
    StatusValue = Status
    PresenceValue = Presence
    ExtensionTypeValue = ExtensionType
    SMSModeValue = SMSMode
    ForwardActionValue = ForwardAction
    ForwardHoursValue = ForwardHours
    OfficeHoursModeValue = OfficeHoursMode
    VoicemailDatetimeValue = VoicemailDatetime
    InterfaceValue = Interface
    TransportValue = Transport
    ClientCertificateValue = ClientCertificate
    SyncTypeValue = SyncType
    AdditionalHeaderValue = AdditionalHeader
    HeaderDirectionValue = HeaderDirection
