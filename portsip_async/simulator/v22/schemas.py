"""What requests of generation v22 may hold: one type for each query and each body.

The rules are those of the vendor's document: types, lengths, patterns, closed enumerations and
required fields. A field that is not listed is accepted. Null is not.
"""

from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .errors import invalid

Name = Annotated[str, Meta(min_length=1, max_length=64)]
DomainName = Annotated[str, Meta(min_length=1, max_length=280)]
Number = Annotated[str, Meta(pattern=r"\A[0-9]{3,64}\Z")]
Pin = Annotated[str, Meta(min_length=6, max_length=10)]
Timeout = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Skip = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Top = Annotated[int, Meta(ge=1, le=100)]
Text16 = Annotated[str, Meta(min_length=1, max_length=16)]
Text32 = Annotated[str, Meta(max_length=32)]
Text128 = Annotated[str, Meta(max_length=128)]
Text256 = Annotated[str, Meta(max_length=256)]
Text1024 = Annotated[str, Meta(max_length=1024)]
Trunk = Annotated[str, Meta(min_length=1, max_length=64)]
Action = Literal["FORWARD_TO_NUMBER", "FORWARD_TO_VOICEMAIL", "HANGUP"]
RingAction = Literal["FORWARD_TO_NUMBER", "FORWARD_TO_VOICEMAIL", "RING_ANYWAY", "HANGUP"]
Header = Literal[
    "ANSWER_MODE",
    "CALL_INFO",
    "ALERT_INFO_AUTO_ANSWER_DELAY0",
    "ALERT_INFO_AUTO_ANSWER",
    "ALERT_INFO_INTERCOM",
]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


Schema = type[msgspec.Struct]


def _struct(name: str, required: dict[str, Any], optional: dict[str, Any]) -> Schema:
    fields: list[Any] = [*required.items()]
    fields += [(field, kind | UnsetType, UNSET) for field, kind in optional.items()]
    return msgspec.defstruct(name, fields)


def _list_of(kind: Any) -> Any:
    return GenericAlias(list, (kind,))


Rule: Schema = _struct("Rule", {}, {"action": Action, "number": str})
RingRule: Schema = _struct("RingRule", {}, {"action": RingAction, "number": str})
NoAnswerRule: Schema = _struct(
    "NoAnswerRule", {}, {"action": Action, "number": str, "timeout": Timeout}
)
Range: Schema = _struct("Range", {}, {"from": str, "to": str})
Day: Schema = _struct("Day", {}, {"enabled": bool, "ranges": _list_of(Range)})
Hours: Schema = _struct("Hours", {}, dict.fromkeys(DAYS, Day))
CustomRule: Schema = _struct(
    "CustomRule",
    {},
    {
        "action": RingAction,
        "number": str,
        "caller_id": str,
        "type": Literal["ALL_HOURS", "SPECIFIC_HOURS", "OUTSIDE_SPECIFIC_HOURS"],
        "hours": Hours,
    },
)
_CALLER_ID: dict[str, Any] = {"provider_id": str, "caller_id": Name, "description": Text1024}
GroupCallerId: Schema = _struct("GroupCallerId", {}, _CALLER_ID)
CallerId: Schema = _struct("CallerId", {}, _CALLER_ID | {"preferred": bool})
BLF: Schema = _struct("BLF", {}, dict.fromkeys(("key", "value", "first_name", "last_name"), str))

FORWARD_RULES: dict[str, Any] = {
    "available_office_hours": RingRule,
    "available_non_office_hours": RingRule,
    "available_no_answer": NoAnswerRule,
    "busy_office_hours": RingRule,
    "busy_non_office_hours": RingRule,
    "busy_no_answer": NoAnswerRule,
    **{
        f"{presence}_{hours}": Rule
        for presence in ("dnd", "away", "lunch", "trip", "offline")
        for hours in ("office_hours", "non_office_hours")
    },
}
FORWARD_RULES = {f"{name}_forward_rule": kind for name, kind in FORWARD_RULES.items()}

_SETTINGS: dict[str, Any] = {
    "email": Text128,
    "display_name": Text1024,
    "enabled": bool,
    **dict.fromkeys(("mobile_phone", "work_phone", "home_phone"), Text32),
    **dict.fromkeys(("address", "department"), Text128),
    **dict.fromkeys(
        (
            "enable_audio_recording",
            "enable_video_recording",
            "enable_dnd",
            "enable_acb",
            "enable_hot_desking",
            "anonymous_outbound_calls",
            "delivery_outbound_cid",
        ),
        bool,
    ),
    "sms": Literal["DISABLE", "ALLOW", "ALLOW_WITH_SENDER_ID"],
    "outbound_caller_ids": _list_of(CallerId),
    "custom_options": str,
    "office_hours": Hours,
    **FORWARD_RULES,
    "custom_forward_rules": _list_of(CustomRule),
    "voicemail_prompt": str,
    "enable_voicemail_pin": bool,
    "voicemail_pin": Pin,
    "enable_voicemail_notify": bool,
    "voicemail_play_datetime": Literal["DISABLE", "12_HOUR_CLOCK", "24_HOUR_CLOCK"],
    "interface": Literal[
        "WEB_DOMAIN", "PUBLIC_IPV4", "PUBLIC_IPV6", "PRIVATE_IPV4", "PRIVATE_IPV6", "SBC_DOMAIN"
    ],
    "preferred_transport": Literal["UDP", "TCP", "TLS"],
    "blfs": _list_of(BLF),
}
_REQUIRED_OF_USER: dict[str, Any] = {
    "name": Name,
    "password": str,
    "email": Text128,
    "display_name": Text1024,
    "role": Name,
    "extension_number": Number,
    "extension_password": str,
    "voicemail_pin": Pin,
}
UserSettings: Schema = _struct("UserSettings", {}, _SETTINGS)
NewUser: Schema = _struct(
    "NewUser",
    _REQUIRED_OF_USER,
    {name: kind for name, kind in _SETTINGS.items() if name not in _REQUIRED_OF_USER},
)
Password: Schema = _struct("Password", {}, {"password": str})
Role: Schema = _struct("Role", {}, {"role": Name})
Presence: Schema = _struct(
    "Presence",
    {},
    {
        "presence": Literal["DO_NOT_DISTURB", "AVAILABLE", "AWAY", "BUSINESS_TRIP", "LUNCH"],
        "presence_note": Text128,
    },
)
Group: Schema = _struct(
    "Group",
    {},
    {"name": Name, "outbound_caller_ids": _list_of(GroupCallerId), "description": Text1024},
)
NewGreeting: Schema = _struct("NewGreeting", {}, {"file_id": str})

SignIn: Schema = _struct("SignIn", {"username": Name, "password": str}, {"domain": DomainName})
Refresh: Schema = _struct("Refresh", {"refresh_token": str}, {})
Challenge: Schema = _struct("Challenge", {"token": str}, {})
Code: Schema = _struct("Code", {"token": str, "code": str}, {})
FormLogin: Schema = _struct(
    "FormLogin",
    {"grant_type": Literal["password", "refresh_token"]},
    dict.fromkeys(("username", "password", "domain", "scope", "client_id", "refresh_token"), str),
)

_CALL_OPTIONS: dict[str, Any] = {
    "caller_display_name": Text1024,
    "trunk": Trunk,
    **dict.fromkeys(("rewrite_from", "rewrite_pai", "rewrite_rpi"), Text16),
    **dict.fromkeys(
        ("user_data", "target", "target_instance_id", "target_extension_number"), Text128
    ),
    "additional_header": Header,
    "header_direction": Literal["CALLER", "CALLEE", "ALL"],
}
_PARTIES: dict[str, Any] = {"caller": Text256, "callee": Text256, "send_sdp": bool}
NewCall: Schema = _struct("NewCall", _PARTIES, _CALL_OPTIONS)
DirectCall: Schema = _struct(
    "DirectCall",
    {"extension_number": Number, "password": str, "domain": DomainName, **_PARTIES},
    _CALL_OPTIONS,
)

NoQuery: Schema = _struct("NoQuery", {}, {})
ListQuery: Schema = _struct(
    "ListQuery", {}, {"filter": str, "search": str, "orderby": str, "skip": Skip, "top": Top}
)
InfoQuery: Schema = _struct("InfoQuery", {}, {"domain": str})
SignInQuery: Schema = _struct("SignInQuery", {}, {"qr": bool})
UploadQuery: Schema = _struct("UploadQuery", {}, {"filename": str, "temporary": bool})
CompleteQuery: Schema = _struct("CompleteQuery", {}, {"digest": str})


def check(kind: Schema, sent: dict[str, Any], *, as_text: bool = False) -> dict[str, Any]:
    """Check the fields of a query or a body.

    Args:
        kind: one of the types above.
        sent: the fields.
        as_text: whether all values are texts, as in a query; they are turned into the field's type.

    Returns:
        The fields of the type that were sent, turned; and all others as they were sent.

    Raises:
        V22Error: a rule is broken.
    """
    try:
        checked = msgspec.convert(sent, kind, strict=not as_text)
    except msgspec.ValidationError as error:
        raise invalid("field validation failed", _where(str(error))) from None
    if not as_text:
        return sent
    turned = ((name, getattr(checked, name)) for name in kind.__struct_fields__)
    return sent | {name: value for name, value in turned if value is not UNSET}


def _where(text: str) -> str:
    # msgspec quotes an invalid value of an enumeration. Only what comes without quotes is kept.
    if text.startswith("Invalid enum value"):
        return (
            "invalid value" + text[text.rindex(" - at") :] if " - at" in text else "invalid value"
        )
    return text
