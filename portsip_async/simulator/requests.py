"""Reads a request for the simulated PBX: finds its row, its fields and its token.

Written from the vendor's documentation alone. It shares no code with the client's request building,
so a mistake there shows up here.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from ..classic.operations import ENDPOINTS
from ..core.endpoint import Endpoint, EndpointTable
from .errors import PBXError
from .http_server import send_continue
from .records import Greeting

_ROOT = "/api"
_CHUNK = 64 * 1024  # bytes of an upload in memory at once
_MAX_TEXT = 64 * 1024  # bytes of a form's part that is not a file

Routes = Mapping[tuple[str, str], list[Endpoint[Any]]]
_TokenReader = Callable[[web.BaseRequest, Mapping[str, Any], Mapping[str, Any]], Any]


def make_routes(table: EndpointTable) -> Routes:
    """Return the rows by method and path. Rows that share both differ in their type of body."""
    routes: dict[tuple[str, str], list[Endpoint[Any]]] = {}
    for row in map(table.__getitem__, ENDPOINTS.values()):
        routes.setdefault((row.method, _ROOT + row.path), []).append(row)
    return routes


def choose_row(rows: list[Endpoint[Any]], request: web.BaseRequest) -> Endpoint[Any]:
    """Choose among rows with the same method and path, by the type of the body."""
    multipart = request.content_type.startswith("multipart/")
    return next((row for row in rows if (row.parameters == "multipart") == multipart), rows[0])


def _read_bearer(request: web.BaseRequest, *_: Mapping[str, Any]) -> str:
    kind, _space, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


# By the row's `token`: reads the token from the request, its query and its JSON. A token that is
# sent anywhere else does not count.
_TOKEN_READERS: Mapping[str, _TokenReader] = {
    "none": lambda request, query, body: "",
    "query": lambda request, query, body: query.get("access_token"),
    "body": lambda request, query, body: body.get("access_token"),
    "header": lambda request, query, body: request.headers.get("access_token"),
    "bearer": _read_bearer,
}


async def read_request(
    row: Endpoint[Any], request: web.BaseRequest, query: str
) -> tuple[dict[str, Any], Any]:
    """Return the fields and the token of a request; see `read_form` for those of a form.

    Raises:
        PBXError: the body is not a JSON object.
    """
    if request.body_exists:
        await send_continue(request)
    in_query = _read_query(query)
    fields = in_query
    if row.parameters == "json":
        body = await request.read()
        fields = _read_json(body) if body else {}
    return fields, _TOKEN_READERS[row.token](request, in_query, fields)


def _read_query(query: str) -> dict[str, Any]:
    # A repeated name gets a list of its values, any other name a text.
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PBXError("syntax", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise PBXError("syntax", "the body is not a JSON object")
    return found


async def read_form(request: web.BaseRequest) -> dict[str, Any]:
    """Read a multipart form as it arrives: its texts, and the size and digest of its ``file``.

    Raises:
        PBXError: the body is not a multipart form, or the form is broken.
    """
    found: dict[str, Any] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise PBXError("syntax", "a part has no name")
            read = _read_file if part.name == "file" else _read_text
            found[part.name] = await read(part)
    except (ValueError, RuntimeError, AssertionError, HttpProcessingError):
        # aiohttp raises each of these for a broken form; their texts may quote it.
        raise PBXError("syntax", "the body is not a multipart form") from None
    return found


async def _read_file(part: BodyPartReader) -> Greeting:
    digest, size = sha256(), 0
    while chunk := await part.read_chunk(_CHUNK):
        data = part.decode(chunk)
        digest.update(data)
        size += len(data)
    return Greeting(part.filename or "", size, digest.hexdigest())


async def _read_text(part: BodyPartReader) -> str:
    data = bytearray()
    while chunk := await part.read_chunk(_CHUNK):
        data += part.decode(chunk)
        if len(data) > _MAX_TEXT:
            raise PBXError("format", "a field is too long")
    return data.decode()
