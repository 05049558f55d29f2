"""The actions of logins and tokens, and of the user who logged in."""

from collections.abc import Mapping

from ..face import Reply
from ..generated import opaque_id
from .context import Action, Content, Request, State, required
from .errors import DENIED, UNAUTHORIZED, V22Error, invalid
from .logins import LoginSession
from .requests import read_token
from .users import USER_KIND, timestamp

_CLIENT_ID = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"  # a constant of the vendor's page
_ADMIN_ID = opaque_id(0, 9)
_TRANSPORTS = [{"protocol": "UDP", "port": 5060, "verification": "DISABLE"}]


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
    if body["grant_type"] == "refresh_token":
        return state.logins.refresh(required(request, "refresh_token"), request.now)
    if body.get("client_id") != _CLIENT_ID:
        raise invalid("client_id is not the constant of the vendor")
    username, password = required(request, "username"), required(request, "password")
    return state.logins.sign_in(username, password, body.get("domain"), request.now)


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


ACCOUNT_ACTIONS: Mapping[str, Action] = {
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
}
