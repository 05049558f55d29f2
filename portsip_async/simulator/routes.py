"""Which row of the endpoint table a request is for, and where that row wants its token."""

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from ..classic.operations import ENDPOINTS, EndpointTable
from ..core.endpoint import Endpoint

_ROOT = "/api"

Routes = Mapping[tuple[str, str], list[Endpoint[Any]]]


def routes_of(table: EndpointTable) -> Routes:
    """Lay the rows out by method and path; some share a place and differ in the kind of body."""
    routes: dict[tuple[str, str], list[Endpoint[Any]]] = {}
    for row in map(table.__getitem__, ENDPOINTS.values()):
        routes.setdefault((row.method, _ROOT + row.path), []).append(row)
    return routes


def chosen(rows: list[Endpoint[Any]], request: web.BaseRequest) -> Endpoint[Any]:
    """Choose among rows of one address by the kind of body that came."""
    multipart = request.content_type.startswith("multipart/")
    return next((row for row in rows if (row.parameters == "multipart") == multipart), rows[0])


def _bearer(request: web.BaseRequest, *_: Mapping[str, Any]) -> str:
    kind, _space, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


# Where a row wants its token is the only place where it is looked for.
TOKEN_PLACES: Mapping[
    str, Callable[[web.BaseRequest, Mapping[str, Any], Mapping[str, Any]], Any]
] = {
    "none": lambda request, query, body: "",
    "query": lambda request, query, body: query.get("access_token"),
    "body": lambda request, query, body: body.get("access_token"),
    "header": lambda request, query, body: request.headers.get("access_token"),
    "bearer": _bearer,
}
