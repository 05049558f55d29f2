"""The operations of v22, and how to call each of them, for the tests of both generations.

`ROWS` has a call for each row of the API that sends one request: the client's coroutine where there
is one, else `pbx.request`. `CALLS` has the coroutines that send several requests. The secrets in
them have shapes that no other text has, so tests can search for them.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portsip_async.v22 import ENDPOINTS, NewUser, PortSIPClient, UserSettings
from portsip_async.v22.models import SignInReply

from ..operations import LOGIN_PASSWORD, PASSWORD, PIN, TEXT, WEB_PASSWORD, Operation

CHALLENGE = 'chal+lenge/5=&"x'
CODE = "904115904115904115"  # so long that no time and no address has it by chance
REFRESH_TOKEN = 'refresh+Token/6=&"x'
UPLOAD_TOKEN = "upload+Token/7=&'x"  # goes into a header
SECRETS = (
    PASSWORD,
    WEB_PASSWORD,
    PIN,
    LOGIN_PASSWORD,
    CHALLENGE,
    CODE,
    REFRESH_TOKEN,
    UPLOAD_TOKEN,
)

# Like all values of a reply, it begins with a "1", which the faults change.
ID = "1NzAwNTUxOTA5"
OTHER_ID = "1OTkxMjM0NTY3"
NEW_USER = NewUser(
    name="ann",
    display_name="Ann",
    email="ann@test.io",
    role="StandardUser",
    extension_number="9001",
    password=PASSWORD,
    extension_password=WEB_PASSWORD,
    voicemail_pin=PIN,
)
SETTINGS = UserSettings(display_name="Ann", voicemail_pin=PIN)

_CREATED: Any = {
    "replies": {"id": ID, "count": 1},
    "reads": lambda value: (getattr(value, "id", value) == ID, None),
}
_TOKENS: Any = {
    "replies": {
        "access_token": "given/by+login&é",
        "refresh_token": "1-given",
        "expires_in": 600,
        "token_type": TEXT,
        "count": 1,
    },
    "reads": lambda token: (
        (token.access_token, token.refresh_token) == ("given/by+login&é", "1-given"),
        token.token_type if isinstance(token, SignInReply) else None,
    ),
}
_UPLOAD: Any = {
    "headers": {"PortSIP-Upload-ID": ID, "PortSIP-Upload-Token": "1-token", "Range": TEXT},
    "replies": {},
}
_USER: Any = {
    "replies": {"id": ID, "extension_number": "101", "display_name": TEXT, "count": 1},
    "reads": lambda user: ((user.id, user.extension_number) == (ID, "101"), user.display_name),
}
_STATUS: Any = {
    "replies": {"status": "ONLINE", "presence_note": TEXT, "count": 1},
    "reads": lambda status: (status.status == "ONLINE", status.presence_note),
}
_MEMBER = {"id": ID, "extension_number": "101", "display_name": TEXT}


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operation of v22.

    Attributes:
        name: its name.
        safety: what a repetition does.
        path: the path of the request.
        call: sends the request.
        replies: a reply; None if it has no body.
        headers: the headers of that reply that matter.
        reads: returns whether the reply was read, and the `TEXT` in it.
        secrets: the secrets in the call.
        options: how the client logs in; None: with a token and a refresh token.
    """

    name: str
    safety: str
    path: str
    call: Callable[[PortSIPClient], Awaitable[Any]]
    replies: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reads: Callable[[Any], tuple[bool, object]] = lambda value: (value is None, None)
    secrets: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


def _request(row: str, /, **parameters: Any) -> Callable[[PortSIPClient], Awaitable[Any]]:
    return lambda pbx: pbx.request(ENDPOINTS[row], **parameters)


def append(data: bytes) -> Callable[[PortSIPClient], Awaitable[Any]]:
    """Make a call that sends the bytes of an upload."""
    return _request("blobs.append", id=ID, upload_token=UPLOAD_TOKEN, file=data)


ROWS = (
    Row(
        name="auth.sign_in",
        safety="safe",
        path="/auth/sign_in",
        call=lambda pbx: pbx.auth.refresh(),
        # Without a refresh token, the next renewal is a login again.
        replies={"access_token": "given/by+login&é", "expires_in": 600, "token_type": TEXT},
        reads=lambda token: (token.access_token == "given/by+login&é", None),
        secrets=(LOGIN_PASSWORD,),
        options={"username": "admin", "password": LOGIN_PASSWORD, "domain": "test.io"},
    ),
    Row(
        name="auth.send_otp",
        safety="unsafe",
        path="/auth/send_otp",
        call=lambda pbx: pbx.auth.send_otp(CHALLENGE),
        secrets=(CHALLENGE,),
    ),
    Row(
        name="auth.verify_otp",
        safety="unsafe",
        path="/auth/verify_otp",
        call=lambda pbx: pbx.auth.verify_otp(CHALLENGE, CODE),
        secrets=(CHALLENGE, CODE),
        **_TOKENS,
    ),
    Row(
        name="auth.refresh",
        safety="once",
        path="/auth/refresh_token",
        call=_request("auth.refresh", refresh_token=REFRESH_TOKEN),
        secrets=(REFRESH_TOKEN,),
        **_TOKENS,
    ),
    Row(
        name="auth.sign_out",
        safety="idempotent",
        path="/auth/sign_out",
        call=_request("auth.sign_out"),
    ),
    Row(
        name="auth.user",
        safety="safe",
        path="/auth/user",
        call=lambda pbx: pbx.auth.user(),
        replies={"role": TEXT, "password_verified": True, "count": 1},
        reads=lambda user: (user.password_verified, user.role),
    ),
    Row(
        name="auth.form_login",
        safety="safe",
        path="/login/oauth/token",
        call=_request(
            "auth.form_login",
            grant_type="password",
            username="admin",
            password=LOGIN_PASSWORD,
            scope="all",
            client_id="1",
        ),
        secrets=(LOGIN_PASSWORD,),
        **_TOKENS,
    ),
    Row(
        name="auth.form_refresh",
        safety="once",
        path="/login/oauth/token",
        call=_request("auth.form_refresh", grant_type="refresh_token", refresh_token=REFRESH_TOKEN),
        secrets=(REFRESH_TOKEN,),
        **_TOKENS,
    ),
    Row(
        name="users.list",
        safety="safe",
        path="/users",
        call=lambda pbx: pbx.users.list(search="10", prefetch=0),
        # The count stands first, where the faults leave it: without it, a walk asks for more.
        replies={
            "count": 1,
            "items": [{"id": ID, "extension_number": "101", "display_name": TEXT}],
        },
        reads=lambda page: (page.items[0].id == ID, page.items[0].display_name),
    ),
    Row(
        name="users.create",
        safety="unsafe",
        path="/users",
        call=lambda pbx: pbx.users.create(NEW_USER),
        secrets=(PASSWORD, WEB_PASSWORD, PIN),
        **_CREATED,
    ),
    Row(
        name="users.show",
        safety="safe",
        path=f"/users/{ID}",
        call=lambda pbx: pbx.users.show(ID),
        **_USER,
    ),
    Row(
        name="users.update",
        safety="idempotent",
        path=f"/users/{ID}",
        call=lambda pbx: pbx.users.update(ID, SETTINGS),
        secrets=(PIN,),
    ),
    Row(
        name="users.remove",
        safety="idempotent",
        path=f"/users/{ID}/destroy",
        call=lambda pbx: pbx.users.remove(ID),
    ),
    Row(
        name="users.set_password",
        safety="idempotent",
        path=f"/users/{ID}/password",
        call=lambda pbx: pbx.users.set_password(ID, PASSWORD),
        secrets=(PASSWORD,),
    ),
    Row(
        name="users.set_extension_password",
        safety="idempotent",
        path=f"/users/{ID}/extension_password",
        call=lambda pbx: pbx.users.set_extension_password(ID, WEB_PASSWORD),
        secrets=(WEB_PASSWORD,),
    ),
    Row(
        name="users.set_role",
        safety="idempotent",
        path=f"/users/{ID}/role",
        call=lambda pbx: pbx.users.set_role(ID, "StandardUser"),
    ),
    Row(
        name="users.status",
        safety="safe",
        path=f"/users/{ID}/status",
        call=lambda pbx: pbx.users.status(ID),
        **_STATUS,
    ),
    Row(name="users.own", safety="safe", path="/user", call=_request("users.own"), **_USER),
    Row(
        name="users.own_status",
        safety="safe",
        path="/user/status",
        call=lambda pbx: pbx.users.own_status(),
        **_STATUS,
    ),
    Row(
        name="users.set_own_presence",
        safety="idempotent",
        path="/user/presence",
        call=lambda pbx: pbx.users.set_own_presence("AWAY", "back soon"),
    ),
    Row(
        name="users.find",
        safety="safe",
        path="/extension_numbers/101",
        call=lambda pbx: pbx.users.find("101"),
        replies={"id": ID, "extension_number": "101", "name": TEXT, "count": 1},
        reads=lambda found: ((found.id, found.extension_number) == (ID, "101"), found.name),
    ),
    Row(
        name="groups.list",
        safety="safe",
        path="/groups",
        call=lambda pbx: pbx.groups.list(prefetch=0),
        replies={"count": 1, "items": [{"id": ID, "name": TEXT}]},
        reads=lambda page: (page.items[0].id == ID, page.items[0].name),
    ),
    Row(
        name="groups.create",
        safety="unsafe",
        path="/groups",
        call=lambda pbx: pbx.groups.create("Sales"),
        **_CREATED,
    ),
    Row(
        name="groups.show",
        safety="safe",
        path=f"/groups/{ID}",
        call=lambda pbx: pbx.groups.show(ID),
        replies={"id": ID, "name": TEXT, "count": 1},
        reads=lambda group: (group.id == ID, group.name),
    ),
    Row(
        name="groups.update",
        safety="idempotent",
        path=f"/groups/{ID}",
        call=_request("groups.update", id=ID, name="Sales"),
    ),
    Row(
        name="groups.remove",
        safety="idempotent",
        path=f"/groups/{ID}/destroy",
        call=lambda pbx: pbx.groups.remove(ID),
    ),
    Row(
        name="groups.members",
        safety="safe",
        path=f"/groups/{ID}/members",
        call=lambda pbx: pbx.groups.members(ID),
        replies={"items": [_MEMBER], "count": 1},
        reads=lambda members: (members[0].id == ID, members[0].display_name),
    ),
    Row(
        name="groups.member",
        safety="safe",
        path=f"/groups/{ID}/members/101",
        call=_request("groups.member", id=ID, extension_number="101"),
        replies={**_MEMBER, "count": 1},
        reads=lambda member: (member.id == ID, member.display_name),
    ),
    Row(
        name="groups.add_member",
        safety="idempotent",
        path=f"/groups/{ID}/members/101",
        call=lambda pbx: pbx.groups.add_members(ID, ["101"]),
    ),
    Row(
        name="groups.remove_member",
        safety="idempotent",
        path=f"/groups/{ID}/members/101/destroy",
        call=lambda pbx: pbx.groups.remove_members(ID, ["101"]),
    ),
    Row(
        name="greetings.list",
        safety="safe",
        path=f"/users/{ID}/greetings",
        call=lambda pbx: pbx.greetings.list(ID),
        replies={"items": [{"id": ID, "file_name": TEXT}], "count": 1},
        reads=lambda greetings: (greetings[0].id == ID, greetings[0].file_name),
    ),
    Row(
        name="greetings.create",
        safety="unsafe",
        path=f"/users/{ID}/greetings",
        call=lambda pbx: pbx.greetings.create(ID, OTHER_ID),
        **_CREATED,
    ),
    Row(
        name="greetings.enable",
        safety="idempotent",
        path=f"/users/{ID}/greetings/{OTHER_ID}/enable",
        call=lambda pbx: pbx.greetings.enable(ID, OTHER_ID),
    ),
    Row(
        name="greetings.disable",
        safety="idempotent",
        path=f"/users/{ID}/greetings/{OTHER_ID}/disable",
        call=lambda pbx: pbx.greetings.disable(ID, OTHER_ID),
    ),
    Row(
        name="greetings.remove",
        safety="idempotent",
        path=f"/users/{ID}/greetings/{OTHER_ID}/destroy",
        call=lambda pbx: pbx.greetings.remove(ID, OTHER_ID),
    ),
    Row(
        name="blobs.begin",
        safety="unsafe",
        path="/blobs/uploads",
        call=_request("blobs.begin", filename="a.wav"),
        reads=lambda begun: ((begun.id, begun.token) == (ID, "1-token"), begun.range),
        **_UPLOAD,
    ),
    Row(
        name="blobs.append",
        safety="unsafe",
        path=f"/blobs/uploads/{ID}/append",
        call=append(b"RIFF" * 9),
        reads=lambda progress: (progress.id in (ID, None), progress.range),
        secrets=(UPLOAD_TOKEN,),
        **_UPLOAD,
    ),
    Row(
        name="blobs.complete",
        safety="unsafe",
        path=f"/blobs/uploads/{ID}/complete",
        call=_request("blobs.complete", id=ID, upload_token=UPLOAD_TOKEN, digest="0" * 64),
        secrets=(UPLOAD_TOKEN,),
        **_CREATED,
    ),
    Row(
        name="blobs.status",
        safety="safe",
        path=f"/blobs/uploads/{ID}/status",
        call=_request("blobs.status", id=ID),
        reads=lambda progress: (progress.id in (ID, None), progress.range),
        **_UPLOAD,
    ),
    Row(
        name="blobs.destroy",
        safety="idempotent",
        path=f"/blobs/uploads/{ID}/destroy",
        call=_request("blobs.destroy", id=ID),
    ),
    Row(
        name="blobs.download",
        safety="safe",
        path="/blobs/digest-1",
        call=_request("blobs.download", digest="digest-1"),
        replies={"RIFF": "1", "count": 1},
        reads=lambda data: (isinstance(data, bytes), None),
    ),
    Row(
        name="calls.create",
        safety="unsafe",
        path="/sessions",
        call=lambda pbx: pbx.calls.create("101", "102"),
        **_CREATED,
    ),
    Row(
        name="calls.create_directly",
        safety="unsafe",
        path="/sessions/directly",
        call=lambda pbx: pbx.calls.create_directly(
            "101", WEB_PASSWORD, domain="test.io", caller="101", callee="102"
        ),
        secrets=(WEB_PASSWORD,),
        **_CREATED,
    ),
    Row(
        name="calls.list",
        safety="safe",
        path="/sessions",
        call=lambda pbx: pbx.calls.list(),
        replies={"items": [{"id": ID, "calls": [{"caller_display_name": TEXT}]}], "count": 1},
        reads=lambda sessions: (
            sessions[0].id == ID,
            sessions[0].calls[0].caller_display_name,
        ),
    ),
    Row(
        name="calls.show",
        safety="safe",
        path=f"/sessions/{ID}",
        call=lambda pbx: pbx.calls.show(ID),
        replies={"id": ID, "calls": [{"caller_display_name": TEXT}], "count": 1},
        reads=lambda session: (session.id == ID, session.calls[0].caller_display_name),
    ),
    Row(
        name="calls.hang_up",
        safety="idempotent",
        path=f"/sessions/{ID}/destroy",
        call=lambda pbx: pbx.calls.hang_up(ID),
    ),
    Row(
        name="pbx.info",
        safety="safe",
        path="/info",
        call=lambda pbx: pbx.info(),
        replies={"web_domain": "1.test", "public_ipv4": TEXT, "count": 1},
        reads=lambda info: (info.web_domain == "1.test", info.public_ipv4),
    ),
)
BY_ROW = {row.name: row for row in ROWS}


def _kind(name: str) -> tuple[object, ...]:
    """Return what the requests and replies of some operations have in common."""
    row = ENDPOINTS[name]
    return (
        *(row.token, row.parameters, row.safety, row.reply is None, row.pages is None),
        *(bool(row.reply_headers), row.reply is bytes),
    )


# The names of the first operation of each kind.
OF_EACH_KIND = frozenset({_kind(row.name): row.name for row in reversed(ROWS)}.values())

# Logins and refreshes: a client sends them by itself.
LOGINS = frozenset({"auth.sign_in", "auth.form_login", "auth.refresh", "auth.form_refresh"})
OPERATIONS = tuple(
    Operation(row.name, row.safety, row.call, PortSIPClient)
    for row in ROWS
    if row.name not in LOGINS
)


async def first_error(results: Any) -> None:
    """Raise the first error of a stream's results, if iterating does not raise one."""
    async with results:
        async for result in results:
            if result.error is not None:
                raise result.error


def _call(name: str, send: Callable[[PortSIPClient], Awaitable[Any]]) -> Operation:
    return Operation(name, "unsafe", send, PortSIPClient)


# The coroutines and streams that are built on the operations.
CALLS = (
    _call("users: walk", lambda pbx: pbx.users.list(prefetch=2).collect()),
    _call("users.patch", lambda pbx: pbx.users.patch(ID, {"voicemail_pin": PIN})),
    _call("groups: walk", lambda pbx: pbx.groups.list(prefetch=2).collect()),
    _call("groups.update", lambda pbx: pbx.groups.update(ID, name="Sales")),
    _call("groups.add_members", lambda pbx: pbx.groups.add_members(ID, ["101", "102"])),
    _call("extensions.show", lambda pbx: pbx.extensions.show("101")),
    _call("extensions.search", lambda pbx: pbx.extensions.search("10").collect()),
    _call("extensions.patch", lambda pbx: pbx.extensions.patch("101", {"voicemail_pin": PIN})),
    _call("extensions.remove", lambda pbx: pbx.extensions.remove("101")),
    _call("extensions.status", lambda pbx: pbx.extensions.status(["101"])),
    _call(
        "extensions.call",
        lambda pbx: pbx.extensions.call(
            "101", "102", auth=WEB_PASSWORD, domain="test.io", src="101"
        ),
    ),
    _call("poll_status", lambda pbx: first_error(pbx.extensions.poll_status(["101"]))),
    _call("blobs.upload", lambda pbx: pbx.blobs.upload(b"RIFF", filename="a.wav")),
    _call("greetings.upload", lambda pbx: pbx.greetings.upload(ID, b"RIFF", filename="a.wav")),
    _call("show_many", lambda pbx: first_error(pbx.users.show_many([ID]))),
    _call("create_many", lambda pbx: first_error(pbx.users.create_many([NEW_USER], grace=0))),
    _call(
        "patch_many",
        lambda pbx: first_error(pbx.users.patch_many([(ID, {"voicemail_pin": PIN})], grace=0)),
    ),
    _call("remove_many", lambda pbx: first_error(pbx.users.remove_many([ID], grace=0))),
)

# They read nothing that has to be in a body, so they accept any body of a 2xx.
READ_NO_BODY = frozenset({"blobs.append", "blobs.status", "blobs.download"})


def secrets_of(operation: Operation, token: str) -> list[str]:
    """Return the secrets that the first request of a call has: also the client's token, if any."""
    if operation.name == "extensions.call":
        return [WEB_PASSWORD]
    if operation in CALLS:
        return [token]
    row = BY_ROW[operation.name]
    return [*row.secrets] if ENDPOINTS[row.name].token == "none" else [token, *row.secrets]
