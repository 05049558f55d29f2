"""The operations of generation v22, as the vendor's document lists them.

This table is the simulator's own, written from the document. The client has another one, so a
mistake in either shows up when they meet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from . import schemas as s

_ROOT = "/api"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation.

    Attributes:
        name: the name of its row.
        method: GET or POST.
        path: its path below the root; ``{id}`` is an argument.
        status: the HTTP status of its reply.
        query: what its query may hold.
        body: what its body may hold; None means that there must be no body.
        sent_as: how the body is sent.
        needs_body: whether the body may not be missing.
        has_token: whether it needs a token.
        refusals: the statuses of errors that the document lists; empty for all of 4XX.
    """

    name: str
    method: str
    path: str
    status: int = 200
    query: s.Schema = s.NoQuery
    body: s.Schema | None = None
    sent_as: Literal["none", "json", "form", "binary"] = "none"
    needs_body: bool = True
    has_token: bool = True
    refusals: tuple[int, ...] = ()


def _json(name: str, path: str, body: s.Schema, status: int = 200, **more: Any) -> Route:
    return Route(name, "POST", path, status, body=body, sent_as="json", **more)


_NOT_FOUND = (404,)
_EITHER = (400, 404)
_REJECTED = (401,)

ROUTES: Mapping[str, Route] = {
    route.name: route
    for route in (
        Route("pbx.info", "GET", "/info", query=s.InfoQuery, has_token=False),
        _json("auth.sign_in", "/auth/sign_in", s.SignIn, query=s.SignInQuery, has_token=False),
        Route("auth.sign_out", "POST", "/auth/sign_out"),
        _json("auth.send_otp", "/auth/send_otp", s.Challenge, has_token=False),
        _json("auth.verify_otp", "/auth/verify_otp", s.Code, has_token=False),
        _json("auth.refresh", "/auth/refresh_token", s.Refresh, has_token=False),
        Route("auth.user", "GET", "/auth/user", refusals=_REJECTED),
        Route(
            "auth.form_login",
            "POST",
            "/login/oauth/token",
            body=s.FormLogin,
            sent_as="form",
            has_token=False,
        ),
        Route("auth.login_status", "GET", "/login", has_token=False, refusals=_REJECTED),
        _json("auth.login", "/login", s.SignIn, has_token=False),
        Route("auth.logout", "POST", "/logout", 204, has_token=False),
        Route("users.own", "GET", "/user"),
        Route("users.own_status", "GET", "/user/status"),
        _json("users.set_own_presence", "/user/presence", s.Presence, needs_body=False),
        Route("users.list", "GET", "/users", query=s.ListQuery),
        _json("users.create", "/users", s.NewUser, 201),
        Route("users.show", "GET", "/users/{id}"),
        _json("users.update", "/users/{id}", s.UserSettings),
        _json("users.set_password", "/users/{id}/password", s.Password),
        _json("users.set_extension_password", "/users/{id}/extension_password", s.Password),
        _json("users.set_role", "/users/{id}/role", s.Role),
        Route("users.remove", "POST", "/users/{id}/destroy", 204),
        Route("users.status", "GET", "/users/{id}/status"),
        Route("users.find", "GET", "/extension_numbers/{extension_number}", refusals=_NOT_FOUND),
        _json("greetings.create", "/users/{id}/greetings", s.NewGreeting, 201, needs_body=False),
        Route("greetings.list", "GET", "/users/{id}/greetings"),
        *(
            Route(
                f"greetings.{verb}",
                "POST",
                f"/users/{{id}}/greetings/{{greeting_id}}/{verb}",
                refusals=_EITHER,
            )
            for verb in ("enable", "disable")
        ),
        Route("greetings.remove", "POST", "/users/{id}/greetings/{greeting_id}/destroy", 204),
        _json("groups.create", "/groups", s.Group, 201, needs_body=False),
        Route("groups.list", "GET", "/groups", query=s.ListQuery),
        Route("groups.show", "GET", "/groups/{id}"),
        _json("groups.update", "/groups/{id}", s.Group, needs_body=False),
        Route("groups.remove", "POST", "/groups/{id}/destroy", 204, refusals=_EITHER),
        Route("groups.members", "GET", "/groups/{id}/members"),
        Route("groups.add_member", "POST", "/groups/{id}/members/{extension_number}"),
        Route(
            "groups.member",
            "GET",
            "/groups/{id}/members/{extension_number}",
            refusals=_NOT_FOUND,
        ),
        Route(
            "groups.remove_member",
            "POST",
            "/groups/{id}/members/{extension_number}/destroy",
            204,
        ),
        _json("calls.create", "/sessions", s.NewCall, 201),
        Route("calls.list", "GET", "/sessions", 201),
        Route(
            "calls.create_directly",
            "GET",
            "/sessions/directly",
            201,
            query=s.DirectCall,
            has_token=False,
        ),
        Route("calls.show", "GET", "/sessions/{id}"),
        Route("calls.hang_up", "POST", "/sessions/{id}/destroy", 204, refusals=_EITHER),
        Route("blobs.begin", "POST", "/blobs/uploads", 202, query=s.UploadQuery),
        Route(
            "blobs.append",
            "POST",
            "/blobs/uploads/{id}/append",
            203,
            sent_as="binary",
            needs_body=False,
        ),
        Route(
            "blobs.complete",
            "POST",
            "/blobs/uploads/{id}/complete",
            201,
            query=s.CompleteQuery,
            sent_as="binary",
            needs_body=False,
        ),
        Route("blobs.status", "GET", "/blobs/uploads/{id}/status", 204),
        Route("blobs.destroy", "POST", "/blobs/uploads/{id}/destroy", 204),
        Route("blobs.download", "GET", "/blobs/{digest}", has_token=False),
    )
}
# A form that refreshes is an operation of its own, at the same path.
FORM_REFRESH = "auth.form_refresh"
OPERATIONS = frozenset({*ROUTES, FORM_REFRESH})


class Router:
    """Finds the operation of a request.

    Paths are split at "/" before they are decoded. So an encoded slash is part of an id.
    """

    def __init__(self, routes: Mapping[str, Route]) -> None:
        """Index the routes by their paths."""
        self._fixed: dict[str, dict[str, Route]] = {}  # by path, then method
        # By the number of segments: the segments of a path with arguments, and its routes.
        self._patterns: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        for route in routes.values():
            path = _ROOT + route.path
            if "{" not in path:
                self._fixed.setdefault(path, {})[route.method] = route
                continue
            segments = path.split("/")
            known = self._patterns.setdefault(len(segments), [])
            for pattern, methods in known:
                if [*map(_shape, pattern)] == [*map(_shape, segments)]:
                    methods[route.method] = route
                    break
            else:
                known.append((segments, {route.method: route}))

    def find(self, path: str) -> tuple[Mapping[str, Route], dict[str, str]]:
        """Return the operations at a path by method, and the arguments in the path.

        Args:
            path: the path as it was sent, percent-encoded.
        """
        found = self._fixed.get(path)
        if found:
            return found, {}
        sent = path.split("/")
        for pattern, methods in self._patterns.get(len(sent), ()):
            if all(
                part == segment or part[:1] == "{"
                for part, segment in zip(pattern, sent, strict=True)
            ):
                arguments = {
                    part[1:-1]: unquote(segment)
                    for part, segment in zip(pattern, sent, strict=True)
                    if part[:1] == "{"
                }
                return methods, arguments
        return {}, {}


def _shape(segment: str) -> str:
    return "{" if segment.startswith("{") else segment
