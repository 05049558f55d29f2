"""The API of generation v22 as data: one row for each operation.

Paths, methods and parameters are those of the vendor's document of 22.2. It lacks the form login,
which all versions of v22 have. Installations differ, so a client can override any row by name.

Most rows are named after a coroutine of the client.
"""

from collections.abc import Mapping
from typing import Final

from ..core.endpoint import Echo, Endpoint, PageScheme
from ..core.parameter_types import Count, File, Text, fields_of
from .enums import AdditionalHeader, HeaderDirection, Presence
from .models import (
    AuthUser,
    CallSession,
    CallSessionPage,
    Created,
    Greetings,
    Group,
    GroupPage,
    Member,
    Members,
    ServerInfo,
    SignInReply,
    UploadProgress,
    UploadStarted,
)
from .parts import OutboundCallerID
from .status_models import ExtensionNumber, UserStatus
from .user_models import NewUser, User, UserPage, UserSettings

_ID: Final = {"id": Text}
_NUMBER: Final = {"extension_number": Text}
_MEMBER: Final = {**_ID, **_NUMBER}
_GREETING: Final = {**_ID, "greeting_id": Text}
_LIST: Final = {
    "filter": str | None,
    "search": str | None,
    "orderby": str | None,
    "skip": int | None,
    "top": Count | None,
}
_GROUP: Final = {
    "description": str | None,
    "outbound_caller_ids": tuple[OutboundCallerID, ...] | None,
}
_CALL: Final = {
    "caller": Text,
    "callee": Text,
    "send_sdp": bool,
    **dict.fromkeys(
        (
            "caller_display_name",
            "trunk",
            "rewrite_from",
            "rewrite_pai",
            "rewrite_rpi",
            "user_data",
            "target",
            "target_instance_id",
            "target_extension_number",
        ),
        str | None,
    ),
    "additional_header": AdditionalHeader | None,
    "header_direction": HeaderDirection | None,
}

_PAGES: Final = PageScheme(key="id", skip="skip", top="top")
LARGEST_PAGE_SIZE: Final = 100  # a PBX refuses a larger `top`
_ECHO_ID: Final = Echo("id", "id")
_ECHO_NUMBER: Final = Echo("extension_number", "extension_number")

_UPLOAD_TOKEN: Final = {"upload_token": "PortSIP-Upload-Token"}
_UPLOAD_REPLY: Final = {
    "id": "PortSIP-Upload-ID",
    "token": "PortSIP-Upload-Token",
    "range": "Range",
}

AUTH_SIGN_IN = Endpoint(
    "auth.sign_in",
    "POST",
    "/auth/sign_in",
    takes={"username": Text, "password": Text, "domain": Text | None},
    reply=SignInReply,
    safety="safe",
    token="none",
)
# Each request sends a message with a new code.
AUTH_SEND_OTP = Endpoint(
    "auth.send_otp", "POST", "/auth/send_otp", takes={"token": Text}, token="none"
)
# A code can be used once.
AUTH_VERIFY_OTP = Endpoint(
    "auth.verify_otp",
    "POST",
    "/auth/verify_otp",
    takes={"token": Text, "code": Text},
    reply=SignInReply,
    token="none",
    secrets={"code"},
)
# A refresh token can be used once.
AUTH_REFRESH = Endpoint(
    "auth.refresh",
    "POST",
    "/auth/refresh_token",
    takes={"refresh_token": Text},
    reply=SignInReply,
    safety="once",
    token="none",
)
AUTH_SIGN_OUT = Endpoint(
    "auth.sign_out",
    "POST",
    "/auth/sign_out",
    takes={},
    safety="idempotent",
    token="bearer",
    parameters="query",
)
AUTH_USER = Endpoint("auth.user", "GET", "/auth/user", takes={}, reply=AuthUser, token="bearer")
AUTH_FORM_LOGIN = Endpoint(
    "auth.form_login",
    "POST",
    "/login/oauth/token",
    takes={
        "grant_type": Text,
        "username": Text,
        "password": Text,
        "domain": Text | None,
        "scope": Text,
        "client_id": Text,
    },
    reply=SignInReply,
    safety="safe",
    token="none",
    parameters="form",
)
AUTH_FORM_REFRESH = Endpoint(
    "auth.form_refresh",
    "POST",
    "/login/oauth/token",
    takes={"grant_type": Text, "refresh_token": Text},
    reply=SignInReply,
    safety="once",
    token="none",
    parameters="form",
)

USERS_LIST = Endpoint(
    "users.list", "GET", "/users", takes=_LIST, reply=UserPage, token="bearer", pages=_PAGES
)
USERS_CREATE = Endpoint(
    "users.create", "POST", "/users", takes=fields_of(NewUser), reply=Created, token="bearer"
)
USERS_SHOW = Endpoint(
    "users.show", "GET", "/users/{id}", takes=_ID, reply=User, token="bearer", echo=_ECHO_ID
)
USERS_UPDATE = Endpoint(
    "users.update",
    "POST",
    "/users/{id}",
    takes={**_ID, **fields_of(UserSettings)},
    safety="idempotent",
    token="bearer",
)
USERS_REMOVE = Endpoint(
    "users.remove",
    "POST",
    "/users/{id}/destroy",
    takes=_ID,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)
USERS_SET_PASSWORD = Endpoint(
    "users.set_password",
    "POST",
    "/users/{id}/password",
    takes={**_ID, "password": Text},
    safety="idempotent",
    token="bearer",
)
USERS_SET_EXTENSION_PASSWORD = Endpoint(
    "users.set_extension_password",
    "POST",
    "/users/{id}/extension_password",
    takes={**_ID, "password": Text},
    safety="idempotent",
    token="bearer",
)
USERS_SET_ROLE = Endpoint(
    "users.set_role",
    "POST",
    "/users/{id}/role",
    takes={**_ID, "role": Text},
    safety="idempotent",
    token="bearer",
)
USERS_STATUS = Endpoint(
    "users.status", "GET", "/users/{id}/status", takes=_ID, reply=UserStatus, token="bearer"
)
USERS_OWN = Endpoint("users.own", "GET", "/user", takes={}, reply=User, token="bearer")
USERS_OWN_STATUS = Endpoint(
    "users.own_status", "GET", "/user/status", takes={}, reply=UserStatus, token="bearer"
)
USERS_SET_OWN_PRESENCE = Endpoint(
    "users.set_own_presence",
    "POST",
    "/user/presence",
    takes={"presence": Presence, "presence_note": str | None},
    safety="idempotent",
    token="bearer",
)
USERS_FIND = Endpoint(
    "users.find",
    "GET",
    "/extension_numbers/{extension_number}",
    takes=_NUMBER,
    reply=ExtensionNumber,
    token="bearer",
    echo=_ECHO_NUMBER,
)

GROUPS_LIST = Endpoint(
    "groups.list", "GET", "/groups", takes=_LIST, reply=GroupPage, token="bearer", pages=_PAGES
)
GROUPS_CREATE = Endpoint(
    "groups.create",
    "POST",
    "/groups",
    takes={"name": Text, **_GROUP},
    reply=Created,
    token="bearer",
)
GROUPS_SHOW = Endpoint(
    "groups.show", "GET", "/groups/{id}", takes=_ID, reply=Group, token="bearer", echo=_ECHO_ID
)
GROUPS_UPDATE = Endpoint(
    "groups.update",
    "POST",
    "/groups/{id}",
    takes={**_ID, "name": Text | None, **_GROUP},
    safety="idempotent",
    token="bearer",
)
GROUPS_REMOVE = Endpoint(
    "groups.remove",
    "POST",
    "/groups/{id}/destroy",
    takes=_ID,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)
GROUPS_MEMBERS = Endpoint(
    "groups.members", "GET", "/groups/{id}/members", takes=_ID, reply=Members, token="bearer"
)
GROUPS_MEMBER = Endpoint(
    "groups.member",
    "GET",
    "/groups/{id}/members/{extension_number}",
    takes=_MEMBER,
    reply=Member,
    token="bearer",
    echo=_ECHO_NUMBER,
)
GROUPS_ADD_MEMBER = Endpoint(
    "groups.add_member",
    "POST",
    "/groups/{id}/members/{extension_number}",
    takes=_MEMBER,
    safety="idempotent",
    token="bearer",
    parameters="query",
)
GROUPS_REMOVE_MEMBER = Endpoint(
    "groups.remove_member",
    "POST",
    "/groups/{id}/members/{extension_number}/destroy",
    takes=_MEMBER,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)

GREETINGS_LIST = Endpoint(
    "greetings.list", "GET", "/users/{id}/greetings", takes=_ID, reply=Greetings, token="bearer"
)
GREETINGS_CREATE = Endpoint(
    "greetings.create",
    "POST",
    "/users/{id}/greetings",
    takes={**_ID, "file_id": Text},
    reply=Created,
    token="bearer",
)
GREETINGS_ENABLE = Endpoint(
    "greetings.enable",
    "POST",
    "/users/{id}/greetings/{greeting_id}/enable",
    takes=_GREETING,
    safety="idempotent",
    token="bearer",
    parameters="query",
)
GREETINGS_DISABLE = Endpoint(
    "greetings.disable",
    "POST",
    "/users/{id}/greetings/{greeting_id}/disable",
    takes=_GREETING,
    safety="idempotent",
    token="bearer",
    parameters="query",
)
GREETINGS_REMOVE = Endpoint(
    "greetings.remove",
    "POST",
    "/users/{id}/greetings/{greeting_id}/destroy",
    takes=_GREETING,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)

BLOBS_BEGIN = Endpoint(
    "blobs.begin",
    "POST",
    "/blobs/uploads",
    takes={"filename": str | None, "temporary": bool | None},
    reply=UploadStarted,
    token="bearer",
    parameters="query",
    reply_headers=_UPLOAD_REPLY,
)
BLOBS_APPEND = Endpoint(
    "blobs.append",
    "POST",
    "/blobs/uploads/{id}/append",
    takes={**_ID, "upload_token": Text, "file": File},
    reply=UploadProgress,
    token="bearer",
    parameters="binary",
    headers=_UPLOAD_TOKEN,
    reply_headers=_UPLOAD_REPLY,
)
# The request may hold the last piece of the file. This row sends none.
BLOBS_COMPLETE = Endpoint(
    "blobs.complete",
    "POST",
    "/blobs/uploads/{id}/complete",
    takes={**_ID, "upload_token": Text, "digest": Text | None},
    reply=Created,
    token="bearer",
    parameters="query",
    headers=_UPLOAD_TOKEN,
)
BLOBS_STATUS = Endpoint(
    "blobs.status",
    "GET",
    "/blobs/uploads/{id}/status",
    takes=_ID,
    reply=UploadProgress,
    token="bearer",
    reply_headers=_UPLOAD_REPLY,
)
BLOBS_DESTROY = Endpoint(
    "blobs.destroy",
    "POST",
    "/blobs/uploads/{id}/destroy",
    takes=_ID,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)
# The last part of a file's URL is the digest of the file.
BLOBS_DOWNLOAD = Endpoint(
    "blobs.download", "GET", "/blobs/{digest}", takes={"digest": Text}, reply=bytes, token="none"
)

CALLS_CREATE = Endpoint(
    "calls.create", "POST", "/sessions", takes=_CALL, reply=Created, token="bearer"
)
# A GET, but each one rings a telephone. The password is in its query.
CALLS_CREATE_DIRECTLY = Endpoint(
    "calls.create_directly",
    "GET",
    "/sessions/directly",
    takes={**_NUMBER, "password": Text, "domain": Text, **_CALL},
    reply=Created,
    safety="unsafe",
    token="none",
)
CALLS_LIST = Endpoint(
    "calls.list", "GET", "/sessions", takes={}, reply=CallSessionPage, token="bearer"
)
CALLS_SHOW = Endpoint(
    "calls.show",
    "GET",
    "/sessions/{id}",
    takes=_ID,
    reply=CallSession,
    token="bearer",
    echo=_ECHO_ID,
)
CALLS_HANG_UP = Endpoint(
    "calls.hang_up",
    "POST",
    "/sessions/{id}/destroy",
    takes=_ID,
    safety="idempotent",
    token="bearer",
    parameters="query",
    removes=True,
)

PBX_INFO = Endpoint(
    "pbx.info", "GET", "/info", takes={"domain": Text | None}, reply=ServerInfo, token="none"
)

# All rows above, by name and in the order of this file.
ENDPOINTS: Mapping[str, Endpoint[object]] = {
    row.name: row for row in [*globals().values()] if isinstance(row, Endpoint)
}
