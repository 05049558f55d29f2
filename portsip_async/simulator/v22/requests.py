"""Reads a request of generation v22: its query, its body and its token."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from ..http_server import send_continue
from .errors import V22Error, invalid
from .routes import Route
from .schemas import check

_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "binary": "application/octet-stream",
}


def read_query(route: Route, query: str) -> dict[str, Any]:
    """Return the fields of a query, turned into their types.

    Raises:
        V22Error: a rule is broken, or a field comes twice.
    """
    return check(route.query, _read_pairs(query), as_text=True)


async def read_body(route: Route, request: web.BaseRequest) -> dict[str, Any]:
    """Return the fields of a body; a binary body is left to the action.

    Raises:
        V22Error: a body of the wrong type, one that breaks a rule, or one where none may be.
    """
    if not request.body_exists:
        if route.body is not None and route.needs_body:
            raise invalid("the request has no body")
        return {}
    await send_continue(request)
    if route.sent_as == "binary":
        _check_type(request, route)
        return {}
    body = await request.read()
    if not body:
        if route.body is not None and route.needs_body:
            raise invalid("the request has no body")
        return {}
    if route.body is None:
        raise invalid("the request may not have a body")
    _check_type(request, route)
    if route.sent_as == "form":
        return check(route.body, _read_pairs(body.decode(errors="replace")), as_text=True)
    return check(route.body, _read_json(body))


async def read_grant(request: web.BaseRequest) -> str:
    """Return the ``grant_type`` of a form; "" if there is none."""
    await send_continue(request)
    pairs = parse_qsl((await request.read()).decode(errors="replace"))
    return dict(pairs).get("grant_type", "")


def read_token(request: web.BaseRequest) -> str:
    """Return the bearer token of a request; "" if there is none."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _check_type(request: web.BaseRequest, route: Route) -> None:
    expected = _TYPES[route.sent_as]
    # Without the header, aiohttp says application/octet-stream.
    if "Content-Type" not in request.headers or request.content_type != expected:
        raise V22Error(415, f"the type of the body must be {expected}")


def _read_pairs(text: str) -> dict[str, Any]:
    pairs = parse_qsl(text, keep_blank_values=True, errors="replace")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise invalid("a parameter is given twice")
    return found


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid("the body is not JSON") from None
    if not isinstance(found, dict):
        raise invalid("the body must be a JSON object")
    return found
