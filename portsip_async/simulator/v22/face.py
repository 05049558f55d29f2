"""Generation v22 of the simulated PBX: `V22Face`, which tests reach as ``sim.v22``.

It finds the operation of a request, checks the token and the fields, and calls the action. Each
step has a module of its own: ``routes``, ``logins``, ``requests`` with ``schemas``, ``actions``.
"""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from ..errors import PBXError
from ..face import Face, MatchedRequest, Reply
from ..quirks import V22_ESSENTIAL, ReplyShaper
from ..state import PBX
from ..thread import SimulatorThread, in_its_thread
from .actions import ACTIONS
from .context import Administrator, Request, State
from .errors import UNAUTHORIZED, V22Error, code_of, status_of
from .logins import Logins, LoginSession
from .requests import read_body, read_grant, read_query, read_token
from .routes import FORM_REFRESH, OPERATIONS, ROUTES, Route, Router
from .socket import LiveSocket
from .uploads import File, Upload, Uploads
from .users import Users

_log = logging.getLogger(__name__)


class V22Face(Face):
    """Serves the operations of generation v22.

    Attributes:
        socket: the web socket.
    """

    def __init__(
        self,
        pbx: PBX,
        thread: SimulatorThread,
        *,
        username: str,
        password: str,
        email: str,
        domain: str,
        token_lifetime: float,
        second_factor: bool,
        page_limit: int | None,
        quirks: frozenset[str],
        now: Callable[[], float],
    ) -> None:
        """Store the state and the logins; see `PBXSimulator` for the arguments."""
        # This quirk is about the classic reply of an operation with the same name.
        shaper = ReplyShaper(quirks - {"greetings_as_greetings"}, V22_ESSENTIAL)
        super().__init__(OPERATIONS, shaper, thread, code_of=code_of, status_of=status_of)
        users = Users(pbx, quirks)
        logins = Logins(
            username=username,
            password=password,
            email=email,
            domain=domain,
            lifetime=token_lifetime,
            second_factor=second_factor,
            make_token=lambda: secrets.token_urlsafe(32),
            make_code=lambda: f"{secrets.randbelow(1_000_000):06}",
            find_user=users.log_in,
            quirks=quirks,
        )
        uploads = Uploads(lambda: str(uuid4()), lambda: secrets.token_urlsafe(24))
        self._state = State(
            pbx, users, logins, uploads, Administrator(), email, domain, page_limit, {}
        )
        self.socket: LiveSocket = LiveSocket(
            pbx, users, logins, thread, domain=domain, quirks=quirks, now=now
        )
        self._now = now
        self._quirks = quirks
        routes = ROUTES
        if "v22_0" in quirks:
            routes = {
                name: row for name, row in ROUTES.items() if not row.path.startswith("/auth/")
            }
        self._router = Router(routes)

    def __repr__(self) -> str:
        return f"<V22Face served={self.served.total()} acted={self.acted.total()}>"

    # For tests: what happened, and what the PBX holds.

    @property
    def otp(self) -> str | None:
        """The code of a second factor that was sent last; None before the first one."""
        return self._state.logins.otp

    @property
    def tokens_issued(self) -> int:
        """How many access tokens were issued, by logins and refreshes."""
        return self._state.logins.issued

    @property
    def refresh_tokens(self) -> Counter[str]:
        """By refresh token, how often a request carried it."""
        return self._state.logins.presented

    @property
    def uploads(self) -> Mapping[str, Upload]:
        """By id, the uploads that were neither completed nor destroyed."""
        return self._state.uploads.open

    @property
    def files(self) -> Mapping[str, File]:
        """By id, the files whose upload is complete."""
        return self._state.uploads.files

    @in_its_thread
    def user_id(self, number: str) -> str:
        """Return the id of an extension.

        Raises:
            KeyError: it does not exist.
        """
        try:
            return self._state.users.id_of(number)
        except PBXError:
            raise KeyError(number) from None

    @in_its_thread
    def user(self, user_id: str) -> dict[str, Any]:
        """Return everything about a user, passwords included.

        Raises:
            KeyError: it does not exist.
        """
        try:
            return self._state.users.show(user_id) | self._state.users.passwords(user_id)
        except V22Error:
            raise KeyError(user_id) from None

    @in_its_thread
    def revoke(self, *, refresh_tokens: bool = False) -> None:
        """Revoke all access tokens at once.

        Args:
            refresh_tokens: whether to revoke the refresh tokens and the open challenges too.
        """
        if refresh_tokens:
            self._state.logins.revoke_all()
        else:
            self._state.logins.revoke()

    # Serving.

    async def find(self, request: web.BaseRequest, path: str, query: str) -> MatchedRequest | None:
        """Return a request with its row; None if there is none for its path."""
        routes, arguments = self._router.find(path)
        route = routes.get(request.method)
        if route is None:
            return None
        name = route.name
        if route.sent_as == "form" and await read_grant(request) == "refresh_token":
            name = FORM_REFRESH
        act = partial(self._act, route, name, request, arguments, query)
        return MatchedRequest(self, name, route.has_token, act)

    def error(self, status: int, code: float | int | str, message: str) -> Reply:
        """Build an error; a code that is a number is that of a random fault."""
        return self._error(
            V22Error(status, message, code if isinstance(code, str) else code_of(status))
        )

    def refuse(self, reason: str) -> Reply:
        """Build the error for a reason in the table of `errors`."""
        error = PBXError(reason)
        return self.error(error.status, error.err_code, error.msg)

    async def serve_socket(self, request: web.BaseRequest) -> Reply | web.StreamResponse:
        """Serve a web socket until it ends, or refuse it with a reply."""
        try:
            return await self.socket.serve(request)
        except V22Error as refused:
            return self._error(refused)

    async def _act(
        self,
        route: Route,
        name: str,
        request: web.BaseRequest,
        arguments: dict[str, str],
        query: str,
        revoke: bool,
    ) -> Reply:
        """Carry out a request."""
        try:
            now = self._now()
            session = self._authorize(route, name, request, now, revoke=revoke)
            sent = Request(
                request,
                arguments,
                read_query(route, query),
                await read_body(route, request),
                session,
                now,
            )
            content = ACTIONS[name](self._state, sent)
            if isawaitable(content):
                content = await content
            self.acted[name] += 1
            if isinstance(content, Reply):
                return content
            body = b"" if route.status == 204 else self._shaper.reply(name, content)
            return _reply(route.status, body, self._shaper.content_type)
        except V22Error as error:
            refused = error
        except PBXError as error:
            refused = V22Error(error.status, error.msg)
        except web.HTTPRequestEntityTooLarge:
            refused = V22Error(413, "the request is too large")
        except (ConnectionError, web.RequestPayloadError):
            raise
        except Exception as error:
            # Only the type is logged: the text may quote the request.
            _log.error("%s failed in the simulator: %s", name, type(error).__name__)
            refused = V22Error(500, "internal error")
        if route.refusals and refused.status < 500 and refused.status not in route.refusals:
            # The document lists no such status for this operation. The code still shows the reason.
            refused.status = route.refusals[0]
        if "echo" in self._quirks:
            await _echo(refused, request)
        return self._error(refused)

    def _authorize(
        self, route: Route, name: str, request: web.BaseRequest, now: float, *, revoke: bool
    ) -> LoginSession | None:
        """Return the session of a request; None if its operation needs none."""
        if not route.has_token:
            return None
        state = self._state
        token = read_token(request)
        if revoke and token:
            state.logins.revoke(token)
        session = state.logins.session_of(token, now)
        if session is None or (
            session.user is not None and not state.pbx.numbers.exists(session.user)
        ):
            self.rejected[name] += 1
            raise V22Error(401, "the access token is not valid", UNAUTHORIZED)
        return session

    def _error(self, error: V22Error) -> Reply:
        content: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.detail is not None:
            content["detail"] = error.detail
        status = 200 if "error_in_200" in self._quirks else error.status
        body = self._shaper.encode({"errors": [content]})
        return _reply(status, body, self._shaper.content_type)


def _reply(status: int, body: bytes, content_type: str) -> Reply:
    return Reply(status, body, {"Content-Type": content_type} if body else {})


async def _echo(error: V22Error, request: web.BaseRequest) -> None:
    """Repeat a whole request in the message and the detail of an error."""
    body = (await request.read()).decode(errors="replace") if request.body_exists else ""
    sent: Any = body
    with suppress(msgspec.DecodeError):
        sent = msgspec.json.decode(body)
    error.message += f": {request.method} {request.raw_path} {body}"
    error.detail = {
        "reason": error.detail,
        "query": dict(request.query),
        "body": sent,
        "headers": dict(request.headers),
    }
