"""Replies of a PBX of generation v22, written down from the vendor's document of 22.2.

Where the document has the sample of a whole reply, it is that one, word by word. Otherwise each
field has its own sample from the document, or one of its documented values.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ID = "NzAwNTUxOTA5NzczMTQ4MTYw"
BLOB_URL = "/api/blobs/WexWdABcd5D4PDgzTKV3gAAAEu00WcK"
UPLOAD_ID = "52e51422-573d-4fc9-b5c6-4a30058f5d71"
CREATED_AT = "2017-07-21T17:32:28Z"
ACCESS_TOKEN = "NGFHYTBINGMTN2Y5NY0ZZJK2LWJJM2QTMMM0YTFIYJC0NDAZ"
REFRESH_TOKEN = "MTQ0NGE5M2UTMWE1MY01ZGJKLWIZY2QTMJJMZJU5MJVLNTDI"


@dataclass(frozen=True)
class Sample:
    """A reply.

    Attributes:
        operation: the row that it replies to.
        document: its JSON body; None if it has none.
        status: its HTTP status.
        headers: the headers that matter.
        content: its body if that is not JSON.
    """

    operation: str
    document: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def body(self) -> bytes:
        """The body as it is sent."""
        return self.content if self.document is None else json.dumps(self.document).encode()


_DAY = {"enabled": True, "ranges": [{"from": "09:00", "to": "17:00"}]}
_WEEK = dict.fromkeys(
    ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), _DAY
)
_FORWARD = {"action": "FORWARD_TO_NUMBER", "number": "102"}
_AWAY = {"action": "FORWARD_TO_VOICEMAIL", "number": "101"}
_UNANSWERED = {"action": "HANGUP", "number": "", "timeout": 60}

SETTINGS: Mapping[str, Any] = {
    "email": "example@example.com",
    "display_name": "Ann Example",
    "enabled": True,
    "mobile_phone": "+15550100",
    "work_phone": "+15550101",
    "home_phone": "+15550102",
    "address": "1 Example Street",
    "department": "Sales",
    "enable_audio_recording": False,
    "enable_video_recording": False,
    "enable_dnd": True,
    "enable_acb": False,
    "enable_hot_desking": False,
    "anonymous_outbound_calls": False,
    "delivery_outbound_cid": True,
    "sms": "DISABLE",
    "outbound_caller_ids": [
        {"provider_id": ID, "caller_id": "5550100", "preferred": True, "description": "Office"}
    ],
    "custom_options": '{"a": 1}',
    "office_hours": {"mode": "CUSTOM", **_WEEK},
    "available_office_hours_forward_rule": {"action": "RING_ANYWAY", "number": ""},
    "available_non_office_hours_forward_rule": _FORWARD,
    "available_no_answer_forward_rule": _UNANSWERED,
    "busy_office_hours_forward_rule": _FORWARD,
    "busy_non_office_hours_forward_rule": _FORWARD,
    "busy_no_answer_forward_rule": _UNANSWERED,
    "dnd_office_hours_forward_rule": _AWAY,
    "dnd_non_office_hours_forward_rule": _AWAY,
    "away_office_hours_forward_rule": _AWAY,
    "away_non_office_hours_forward_rule": _AWAY,
    "lunch_office_hours_forward_rule": _AWAY,
    "lunch_non_office_hours_forward_rule": _AWAY,
    "trip_office_hours_forward_rule": _AWAY,
    "trip_non_office_hours_forward_rule": _AWAY,
    "offline_office_hours_forward_rule": _AWAY,
    "offline_non_office_hours_forward_rule": _AWAY,
    "custom_forward_rules": [
        {
            "action": "RING_ANYWAY",
            "number": "103",
            "caller_id": "555*",
            "type": "SPECIFIC_HOURS",
            "hours": _WEEK,
        }
    ],
    "voicemail_prompt": "en-US",
    "enable_voicemail_pin": True,
    "voicemail_pin": "135792",
    "enable_voicemail_notify": False,
    "voicemail_play_datetime": "12_HOUR_CLOCK",
    "interface": "WEB_DOMAIN",
    "preferred_transport": "UDP",
    "blfs": [{"key": "1", "value": "102", "first_name": "Bob", "last_name": "Example"}],
}
_AVATAR = {
    "avatar_file_name": "avatar.png",
    "avatar_file_size": 0,
    "avatar_file_url": BLOB_URL,
}
_IDENTITY = {"id": ID, "name": "ann", "role": "StandardUser", "extension_number": "101"}
USER: Mapping[str, Any] = {
    **_IDENTITY,
    **SETTINGS,
    "profile": ID,
    "created_at": CREATED_AT,
    **_AVATAR,
    "sync_type": "Microsoft 365",
}
SUMMARY: Mapping[str, Any] = {
    **_IDENTITY,
    "enabled": True,
    "email": "example@example.com",
    "display_name": "Ann Example",
    "mobile_phone": "+15550100",
    "work_phone": "+15550101",
    "home_phone": "+15550102",
    "address": "1 Example Street",
    "department": "Sales",
    "created_at": CREATED_AT,
    **_AVATAR,
    "sync_type": "Microsoft 365",
}
_STATUS = {
    "status": "ON_CALL",
    "presence": "BUSINESS_TRIP",
    "presence_note": "back on Monday",
    "registration": [
        {
            "instance_id": "urn:uuid:0",
            "user_agent": "PortSIP ONE",
            "application": "ONE",
            "ip": "192.0.2.7",
            "enable_push": True,
            "contact_address": "sip:101@192.0.2.7:5060",
        }
    ],
    "enable_dnd": False,
    "enable_acb": True,
}
_GROUP = {"id": ID, "name": "Sales", "description": "They sell."}
_MEMBER = {"id": ID, "name": "ann", "display_name": "Ann Example", "extension_number": "101"}
_SESSION = {
    "id": ID,
    "calls": [
        {
            "caller": "101",
            "caller_display_name": "Ann Example",
            "callee": "102",
            "trunk": "carrier",
            "started_at": CREATED_AT,
            "talking_time": 65,
        }
    ],
}
_TOKENS = {
    "access_token": ACCESS_TOKEN,
    "expires_in": 1800,
    "refresh_token": REFRESH_TOKEN,
    "token_type": "Bearer",
}
_UPLOAD = {
    "PortSIP-Upload-ID": UPLOAD_ID,
    "PortSIP-Upload-Token": "upload-token",
    "Range": "0-1023",
}

SAMPLES: Mapping[str, Sample] = {
    # The first three are samples of whole replies.
    "info": Sample(
        "pbx.info",
        {
            "web_domain": "example.com",
            "private_ipv4": "127.0.0.1",
            "public_ipv4": "127.0.0.1",
            "enable_ipv6": False,
            "private_ipv6": "::1",
            "public_ipv6": "::1",
            "primary_dns_server": "127.0.0.1",
            "secondary_dns_server": "127.0.0.1",
            "name": "example",
            "domain": "example.com",
            "website": "example.com",
            "avatar_url": "avatar.com/avatar",
            "enable_ms365_integration": False,
            "ms365_authorization_endpoint": "/ms365",
        },
    ),
    "sign in": Sample("auth.sign_in", _TOKENS),
    "second factor": Sample("auth.sign_in", {"two_factor_enabled": True, "token": "c2Vzc2lvbg"}),
    "refresh": Sample("auth.refresh", _TOKENS),
    "form login": Sample("auth.form_login", {**_TOKENS, "scope": "all"}),
    "form refresh": Sample("auth.form_refresh", _TOKENS),
    "verified code": Sample("auth.verify_otp", _TOKENS),
    "sent code": Sample("auth.send_otp"),
    "sign out": Sample("auth.sign_out"),
    "account": Sample(
        "auth.user",
        {"role": "Admin", "password_verified": True, "password_force_reset": False},
    ),
    "users": Sample("users.list", {"count": 100, "items": [SUMMARY]}),
    "no users": Sample("users.list", {"count": 0, "items": []}),
    "created user": Sample("users.create", {"id": ID}, status=201),
    "user": Sample("users.show", USER),
    "own user": Sample(
        "users.own",
        {
            **USER,
            "transports": [
                {"protocol": "TLS", "port": 80, "verification": "OPTIONAL"},
            ],
        },
    ),
    "updated user": Sample("users.update"),
    "removed user": Sample("users.remove", status=204),
    "new password": Sample("users.set_password"),
    "new extension password": Sample("users.set_extension_password"),
    "new role": Sample("users.set_role"),
    "status": Sample("users.status", _STATUS),
    "own status": Sample("users.own_status", _STATUS),
    "new presence": Sample("users.set_own_presence"),
    "number": Sample(
        "users.find",
        {"id": ID, "extension_number": "101", "name": "Ann Example", "type": "EXTENSION"},
    ),
    "groups": Sample("groups.list", {"count": 100, "items": [_GROUP]}),
    "created group": Sample("groups.create", {"id": ID}, status=201),
    "group": Sample(
        "groups.show",
        {
            **_GROUP,
            "outbound_caller_ids": [
                {"provider_id": ID, "caller_id": "5550100", "description": "Office"}
            ],
        },
    ),
    "updated group": Sample("groups.update"),
    "removed group": Sample("groups.remove", status=204),
    "members": Sample("groups.members", {"items": [_MEMBER]}),
    "member": Sample("groups.member", _MEMBER),
    "added member": Sample("groups.add_member"),
    "removed member": Sample("groups.remove_member", status=204),
    "greetings": Sample(
        "greetings.list",
        {
            "items": [
                {
                    "id": ID,
                    "enabled": True,
                    "file_name": "hello.wav",
                    "file_size": 0,
                    "file_url": BLOB_URL,
                }
            ]
        },
    ),
    "created greeting": Sample("greetings.create", {"id": ID}, status=201),
    "enabled greeting": Sample("greetings.enable"),
    "disabled greeting": Sample("greetings.disable"),
    "removed greeting": Sample("greetings.remove", status=204),
    "begun upload": Sample("blobs.begin", status=202, headers=_UPLOAD),
    "appended": Sample("blobs.append", status=203, headers=_UPLOAD),
    "completed": Sample("blobs.complete", {"id": ID}, status=201),
    "upload": Sample("blobs.status", status=204, headers=_UPLOAD),
    "destroyed": Sample("blobs.destroy", status=204),
    "file": Sample("blobs.download", content=b"RIFF\x00\xff"),
    "call": Sample("calls.create", {"id": ID}, status=201),
    "direct call": Sample("calls.create_directly", {"id": ID}, status=201),
    "sessions": Sample("calls.list", {"count": 100, "items": [_SESSION]}, status=201),
    "session": Sample("calls.show", _SESSION),
    "ended": Sample("calls.hang_up", status=204),
}

# What version 22.3 tells otherwise.
STATUS_22_3: Mapping[str, Any] = {**_STATUS, "status": "OTHER_CALL", "presence": "OTHER_CALL"}
USER_22_3: Mapping[str, Any] = {
    **USER,
    "password": "user-password",
    "extension_password": "extension-password",
}


def refusal(code: str, message: str = "", **more: Any) -> dict[str, Any]:
    """Return the body of an error."""
    return {"errors": [{"code": code, "message": message, **more}]}
