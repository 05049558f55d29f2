"""What the simulated PBX does for each operation of generation v22.

An action gets what the request sent, checked by `schemas`, and returns the content of the reply: a
dict for JSON, None for no body, or a whole `Reply`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from aiohttp import web

from ..face import Reply
from ..generated import opaque_id
from ..state import PBX, Call, Greeting
from .errors import DENIED, UNAUTHORIZED, V22Error, invalid, missing
from .logins import Logins, LoginSession
from .query import parse_filter, parse_orderby
from .requests import read_token
from .uploads import Upload, Uploads
from .users import USER_KIND, Users, timestamp

_CLIENT_ID = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"  # a constant of the vendor's page
_TOP = 100
_CHUNK = 64 * 1024  # bytes of an upload in memory at once
_ADMIN_ID = opaque_id(0, 9)
_GROUP_FIELDS = frozenset({"id", "name", "description"})
_TRANSPORTS = [{"protocol": "UDP", "port": 5060, "verification": "DISABLE"}]


@dataclass(slots=True)
class Administrator:
    """The presence of the administrator, who has no extension."""

    presence: str = "AVAILABLE"
    note: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that actions read and change.

    Attributes:
        pbx: the state that all generations share.
        users: its extensions, as users.
        logins: the logins and tokens.
        uploads: the uploads and files.
        admin: the administrator.
        email: the administrator's email address.
        domain: the SIP domain of the tenant.
        page_limit: the most items in a page; None sets no limit below 100.
        group_caller_ids: by group id, the outbound caller ids.
    """

    pbx: PBX
    users: Users
    logins: Logins
    uploads: Uploads
    admin: Administrator
    email: str
    domain: str
    page_limit: int | None
    group_caller_ids: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """What a request sent.

    Attributes:
        http: the request itself.
        path: the arguments in its path.
        query: the fields of its query.
        body: the fields of its body.
        session: its login; None if the operation needs no token.
        now: seconds since the simulator was created.
    """

    http: web.BaseRequest
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    session: LoginSession | None
    now: float


Content = dict[str, Any] | Reply | None
Action = Callable[[State, Request], Content | Awaitable[Content]]


# Logins.


def _info(state: State, _: Request) -> Content:
    return {
        "name": "Simulated tenant",
        "domain": state.domain,
        "web_domain": state.domain,
        "private_ipv4": "127.0.0.1",
        "public_ipv4": "127.0.0.1",
        "enable_ipv6": False,
        "private_ipv6": "",
        "public_ipv6": "",
        "primary_dns_server": "",
        "secondary_dns_server": "",
        "website": "",
        "avatar_url": "",
        "enable_ms365_integration": False,
        "ms365_authorization_endpoint": "",
    }


def _sign_in(state: State, request: Request) -> Content:
    body = request.body
    return state.logins.sign_in(body["username"], body["password"], body.get("domain"), request.now)


def _form_login(state: State, request: Request) -> Content:
    body = request.body
    if body.get("client_id") != _CLIENT_ID:
        raise invalid("client_id is not the constant of the vendor")
    if body["grant_type"] == "refresh_token":
        if "refresh_token" not in body:
            raise invalid("refresh_token is required")
        return state.logins.refresh(body["refresh_token"], request.now)
    if "username" not in body or "password" not in body:
        raise invalid("username and password are required")
    return state.logins.sign_in(body["username"], body["password"], body.get("domain"), request.now)


def _login(state: State, request: Request) -> Content:
    """Log in the old way, which keeps the token in a cookie."""
    reply = _sign_in(state, request)
    token = reply.get("access_token") if isinstance(reply, dict) else None
    if token is None:
        raise V22Error(403, "this login has no second factor", DENIED)
    return Reply(200, headers={"Set-Cookie": f"access_token={token}; Path=/; HttpOnly"})


def _old_session(state: State, request: Request) -> LoginSession | None:
    token = read_token(request.http) or request.http.cookies.get("access_token", "")
    return state.logins.session_of(token, request.now)


def _login_status(state: State, request: Request) -> Content:
    session = _old_session(state, request)
    if session is None:
        raise V22Error(401, "there is no session", UNAUTHORIZED)
    return {
        "access_token": session.access_token,
        "expires_at": timestamp(session.expires_at),
        "expires_in": int(session.expires_at - request.now),
        "role": _role(state, session),
    }


def _logout(state: State, request: Request) -> Content:
    session = _old_session(state, request)
    if session is not None:
        state.logins.sign_out(session)
    return None


def _sign_out(state: State, request: Request) -> Content:
    state.logins.sign_out(_session(request))
    return None


def _auth_user(state: State, request: Request) -> Content:
    role = _role(state, _session(request))
    return {"role": role, "password_verified": True, "password_force_reset": False}


def _session(request: Request) -> LoginSession:
    if request.session is None:
        raise V22Error(401, "the access token is not valid", UNAUTHORIZED)
    return request.session


def _role(state: State, session: LoginSession) -> str:
    return "Admin" if session.user is None else state.users.summary(session.user)["role"]


# The user who logged in.


def _own_number(state: State, request: Request) -> str | None:
    """Return the number of the user who logged in; None for the administrator."""
    index = _session(request).user
    if index is None:
        return None
    return state.users.number_of(opaque_id(index, USER_KIND))


def _own_user(state: State, request: Request) -> Content:
    number = _own_number(state, request)
    if number is not None:
        user = state.users.show(state.users.id_of(number))
        return user | {"transports": _TRANSPORTS}
    return {
        "id": _ADMIN_ID,
        "name": state.logins.username,
        "display_name": state.logins.username,
        "email": state.email,
        "role": "Admin",
        "enabled": True,
        "created_at": timestamp(0.0),
        "transports": _TRANSPORTS,
    }


def _own_status(state: State, request: Request) -> Content:
    number = _own_number(state, request)
    if number is not None:
        return state.users.status(number, request.now)
    return {
        "status": "ONLINE",
        "presence": state.admin.presence,
        "presence_note": state.admin.note,
        "registration": [],
        "enable_dnd": False,
        "enable_acb": False,
    }


def _set_own_presence(state: State, request: Request) -> Content:
    number = _own_number(state, request)
    before = (
        (state.admin.presence, state.admin.note) if number is None else state.pbx.presence(number)
    )
    presence = request.body.get("presence", before[0] or "AVAILABLE")
    note = request.body.get("presence_note", before[1])
    if number is None:
        state.admin.presence, state.admin.note = presence, note
    else:
        state.pbx.set_presence(number, presence, note)
    return None


# Users.


def _list_users(state: State, request: Request) -> Content:
    query = request.query
    found = state.users.find(
        condition=query.get("filter", ""),
        search=query.get("search", ""),
        orderby=query.get("orderby", ""),
    )
    indexes = found[_page(state, query)]
    return {"count": len(found), "items": [state.users.summary(index) for index in indexes]}


def _page(state: State, query: Mapping[str, Any]) -> slice:
    skip, top = query.get("skip", 0), query.get("top", _TOP)
    if state.page_limit is not None:
        top = min(top, state.page_limit)
    return slice(skip, skip + top)


def _remove_user(state: State, request: Request) -> Content:
    state.pbx.remove_extension(state.users.number_of(request.path["id"]))
    return None


def _find(state: State, request: Request) -> Content:
    number = _existing(state, request)
    user_id = state.users.id_of(number)
    name = state.users.summary(state.pbx.index_of(number))["display_name"]
    return {"id": user_id, "extension_number": number, "name": name, "type": "EXTENSION"}


def _existing(state: State, request: Request) -> str:
    """Return the extension number in the path, if there is such an extension."""
    number = request.path["extension_number"]
    if number not in state.users.numbers:
        raise missing("the extension number")
    return number


def _status(state: State, request: Request) -> Content:
    return state.users.status(state.users.number_of(request.path["id"]), request.now)


def _required(request: Request, name: str) -> Any:
    if name not in request.body:
        raise invalid(f"{name} is required")
    return request.body[name]


def _change_password(name: str) -> Action:
    def change(state: State, request: Request) -> Content:
        password = _required(request, "password")
        state.users.set_password(request.path["id"], name, password)
        return None

    return change


def _set_role(state: State, request: Request) -> Content:
    state.users.set_role(request.path["id"], _required(request, "role"))
    return None


# Greetings.


def _list_greetings(state: State, request: Request) -> Content:
    number = state.users.number_of(request.path["id"])
    default = state.pbx.default_file(number)
    return {
        "items": [
            {
                "id": _greeting_id(state, number, name),
                "enabled": name == default,
                "file_name": greeting.filename,
                "file_size": greeting.size,
                "file_url": f"/api/blobs/{greeting.sha256}" if greeting.sha256 else "",
            }
            for name, greeting in state.pbx.greetings(number).items()
        ]
    }


def _create_greeting(state: State, request: Request) -> Content:
    number = state.users.number_of(request.path["id"])
    file = state.uploads.files.get(_required(request, "file_id"))
    if file is None:
        raise invalid("there is no file with this file_id")
    filename = file.filename or "greeting.wav"
    # The classic generation knows greetings by their names, so each name must be another one.
    name, copies = filename, 1
    while name in state.pbx.greetings(number):
        copies += 1
        name = f"{copies}-{filename}"
    greeting = Greeting(filename, file.size, file.sha256)
    state.pbx.add_greeting(number, greeting, name)
    return {"id": _greeting_id(state, number, name)}


def _greeting_id(state: State, number: str, name: str) -> str:
    data = f"{state.pbx.index_of(number)}/{name}".encode()
    return opaque_id(int.from_bytes(sha256(data).digest()[:4]), 3)


def _greeting(state: State, request: Request) -> tuple[str, str]:
    """Return the number and the name of the greeting in the path."""
    number = state.users.number_of(request.path["id"])
    for name in state.pbx.greetings(number):
        if _greeting_id(state, number, name) == request.path["greeting_id"]:
            return number, name
    raise missing("the greeting")


def _disable_greeting(state: State, request: Request) -> Content:
    number, name = _greeting(state, request)
    if state.pbx.default_file(number) == name:
        state.pbx.play_no_greeting(number)
    return None


# Groups.


def _group(state: State, group_id: str) -> dict[str, Any]:
    group = state.pbx.group(group_id)
    return {
        "id": group_id,
        "name": group["group_name"],
        "description": group.get("group_description") or "",
    }


def _list_groups(state: State, request: Request) -> Content:
    query = request.query
    found = [_group(state, group_id) for group_id in state.pbx.groups]
    search = query.get("search", "").casefold()
    if search:
        found = [
            row for row in found if search in f"{row['name']}\n{row['description']}".casefold()
        ]
    if query.get("filter"):
        condition = parse_filter(query["filter"], _GROUP_FIELDS)
        found = [row for row in found if condition(row)]
    orderby = query.get("orderby", "")
    for name, descends in reversed(parse_orderby(orderby, _GROUP_FIELDS) if orderby else []):
        found.sort(key=lambda row: row[name], reverse=descends)
    return {"count": len(found), "items": found[_page(state, query)]}


def _show_group(state: State, request: Request) -> Content:
    group_id = request.path["id"]
    caller_ids = state.group_caller_ids.get(group_id, [])
    return _group(state, group_id) | {"outbound_caller_ids": caller_ids}


def _group_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    names = {"name": "group_name", "description": "group_description"}
    return {names[name]: value for name, value in body.items() if name in names}


def _create_group(state: State, request: Request) -> Content:
    _required(request, "name")
    group_id = state.pbx.create_group(_group_fields(request.body))["group_id"]
    state.group_caller_ids[group_id] = request.body.get("outbound_caller_ids", [])
    return {"id": group_id}


def _update_group(state: State, request: Request) -> Content:
    group_id = request.path["id"]
    state.pbx.update_group(group_id, _group_fields(request.body))
    if "outbound_caller_ids" in request.body:
        state.group_caller_ids[group_id] = request.body["outbound_caller_ids"]
    return None


def _remove_group(state: State, request: Request) -> Content:
    state.pbx.remove_group(request.path["id"])
    state.group_caller_ids.pop(request.path["id"], None)
    return None


def _member(state: State, number: str) -> dict[str, Any]:
    user = state.users.summary(state.pbx.index_of(number))
    return {name: user[name] for name in ("id", "name", "display_name", "extension_number")}


def _members(state: State, request: Request) -> list[str]:
    return state.pbx.show_group(request.path["id"])["members"]


def _change_member(*, adds: bool) -> Action:
    def change(state: State, request: Request) -> Content:
        members = _members(state, request)
        number = _existing(state, request)
        if adds != (number in members):
            members = [*members, number] if adds else [one for one in members if one != number]
            state.pbx.update_group(request.path["id"], {"members": members})
        elif not adds:
            raise missing("the member")
        return None

    return change


def _show_member(state: State, request: Request) -> Content:
    number = request.path["extension_number"]
    if number not in _members(state, request):
        raise missing("the member")
    return _member(state, number)


# Calls.


def _create_call(state: State, request: Request) -> Content:
    caller, callee = request.body["caller"], request.body["callee"]
    call = Call(extension=caller, to=callee, domain=state.domain, src=caller, at=request.now)
    return {"id": state.pbx.place_call(call)}


def _create_call_directly(state: State, request: Request) -> Content:
    # The password is not checked, so that tests need not know the generated one.
    query = request.query
    call = Call(
        extension=query["extension_number"],
        to=query["callee"],
        domain=query["domain"],
        src=query["caller"],
        at=request.now,
    )
    return {"id": state.pbx.place_call(call)}


def _session_of_call(state: State, session_id: str, now: float) -> dict[str, Any]:
    call = state.pbx.sessions.get(session_id)
    if call is None:
        raise missing("the session")
    leg = {
        "caller": call.extension,
        "caller_display_name": "",
        "callee": call.to,
        "started_at": timestamp(call.at),
        "talking_time": int(now - call.at),
    }
    return {"id": session_id, "calls": [leg]}


def _list_calls(state: State, request: Request) -> Content:
    items = [_session_of_call(state, one, request.now) for one in state.pbx.sessions]
    return {"count": len(items), "items": items}


def _hang_up(state: State, request: Request) -> Content:
    if state.pbx.sessions.pop(request.path["id"], None) is None:
        raise missing("the session")
    return None


# Blobs.


def _upload_reply(status: int, upload_id: str, upload: Upload) -> Reply:
    headers = {
        "PortSIP-Upload-ID": upload_id,
        "PortSIP-Upload-Token": upload.token,
        "Range": f"0-{max(upload.size - 1, 0)}",
    }
    return Reply(status, headers=headers)


def _begin(state: State, request: Request) -> Content:
    upload_id = state.uploads.begin(request.query.get("filename", ""))
    return _upload_reply(202, upload_id, state.uploads.get(upload_id))


async def _receive(state: State, request: Request) -> Upload:
    """Check the token of an upload, and read a part of its content."""
    token = request.http.headers.get("PortSIP-Upload-Token", "")
    upload = state.uploads.get(request.path["id"], token)
    async for chunk in request.http.content.iter_chunked(_CHUNK):
        upload.add(chunk)
    return upload


async def _append(state: State, request: Request) -> Content:
    return _upload_reply(203, request.path["id"], await _receive(state, request))


async def _complete(state: State, request: Request) -> Content:
    await _receive(state, request)
    file_id = state.uploads.complete(request.path["id"], request.query.get("digest"))
    return {"id": file_id}


def _upload_status(state: State, request: Request) -> Content:
    upload_id = request.path["id"]
    return _upload_reply(204, upload_id, state.uploads.get(upload_id))


def _download(state: State, request: Request) -> Content:
    file = state.uploads.download(request.path["digest"])
    filename = re.sub(r"[^ !#-\[\]-~]", "_", file.filename or "file")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{filename}"',
    }
    return Reply(200, file.content or b"", headers)


ACTIONS: Mapping[str, Action] = {
    "pbx.info": _info,
    "auth.sign_in": _sign_in,
    "auth.sign_out": _sign_out,
    "auth.send_otp": (
        lambda state, request: state.logins.send_otp(request.body["token"], request.now)
    ),
    "auth.verify_otp": (
        lambda state, request: state.logins.verify_otp(
            request.body["token"], request.body["code"], request.now
        )
    ),
    "auth.refresh": (
        lambda state, request: state.logins.refresh(request.body["refresh_token"], request.now)
    ),
    "auth.user": _auth_user,
    "auth.form_login": _form_login,
    "auth.form_refresh": _form_login,
    "auth.login_status": _login_status,
    "auth.login": _login,
    "auth.logout": _logout,
    "users.own": _own_user,
    "users.own_status": _own_status,
    "users.set_own_presence": _set_own_presence,
    "users.list": _list_users,
    "users.create": lambda state, request: {"id": state.users.create(request.body)},
    "users.show": lambda state, request: state.users.show(request.path["id"]),
    "users.update": lambda state, request: state.users.update(request.path["id"], request.body),
    "users.set_password": _change_password("password"),
    "users.set_extension_password": _change_password("extension_password"),
    "users.set_role": _set_role,
    "users.remove": _remove_user,
    "users.status": _status,
    "users.find": _find,
    "greetings.create": _create_greeting,
    "greetings.list": _list_greetings,
    "greetings.enable": (
        lambda state, request: state.pbx.setup_greeting(*_greeting(state, request))
    ),
    "greetings.disable": _disable_greeting,
    "greetings.remove": (
        lambda state, request: state.pbx.remove_greeting(*_greeting(state, request))
    ),
    "groups.create": _create_group,
    "groups.list": _list_groups,
    "groups.show": _show_group,
    "groups.update": _update_group,
    "groups.remove": _remove_group,
    "groups.members": (
        lambda state, request: {
            "items": [_member(state, number) for number in _members(state, request)]
        }
    ),
    "groups.add_member": _change_member(adds=True),
    "groups.member": _show_member,
    "groups.remove_member": _change_member(adds=False),
    "calls.create": _create_call,
    "calls.create_directly": _create_call_directly,
    "calls.list": _list_calls,
    "calls.show": (lambda state, request: _session_of_call(state, request.path["id"], request.now)),
    "calls.hang_up": _hang_up,
    "blobs.begin": _begin,
    "blobs.append": _append,
    "blobs.complete": _complete,
    "blobs.status": _upload_status,
    "blobs.destroy": lambda state, request: state.uploads.destroy(request.path["id"]),
    "blobs.download": _download,
}
