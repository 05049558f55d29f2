"""What an action of generation v22 gets and returns."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ..face import Reply
from ..state import PBX
from .errors import invalid, missing
from .logins import Logins, LoginSession
from .uploads import Uploads
from .users import Users

_TOP = 100  # items of a page if the request has no top


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


@dataclass(frozen=True, slots=True, repr=False)
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
    body: dict[str, Any]
    session: LoginSession | None
    now: float


Content = dict[str, Any] | Reply | None
Action = Callable[[State, Request], Content | Awaitable[Content]]


def required(request: Request, name: str) -> Any:
    """Return a field of the body that the operation needs; the document leaves it optional.

    Raises:
        V22Error: it is missing.
    """
    if name not in request.body:
        raise invalid(f"{name} is required")
    return request.body[name]


def existing_number(state: State, request: Request) -> str:
    """Return the extension number in the path.

    Raises:
        V22Error: there is no such extension.
    """
    number = request.path["extension_number"]
    if number not in state.users.numbers:
        raise missing("the extension number")
    return number


def page_of(state: State, request: Request) -> slice:
    """Return the part of a list that a request asks for."""
    skip, top = request.query.get("skip", 0), request.query.get("top", _TOP)
    if state.page_limit is not None:
        top = min(top, state.page_limit)
    return slice(skip, skip + top)
