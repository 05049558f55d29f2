"""The API as an OpenAPI 3.1 document, built from the endpoint table and the models.

Parameters and replies come from the rows. A row is named after a coroutine, and the coroutine's
docstring gives the summary. Rows do not say with which status an operation succeeds.

Rows with the same address, such as adding and uploading a greeting, become one operation with
several bodies. OpenAPI has no security scheme for a token in a body, so such a token is a property
of the body.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import NoneType
from typing import Any, Final, Literal, Union, get_args, get_type_hints

import msgspec
from msgspec import json

from ._version import __version__
from .arguments import check_choice
from .classic.account import Account
from .classic.extensions import Extensions
from .classic.greetings import Greetings
from .classic.groups import Groups
from .classic.operations import ENDPOINTS
from .core.endpoint import Endpoint
from .core.open_enum import OpenEnum
from .core.page_sequence import Page
from .core.parameter_types import Count, File, Text
from .core.request import TOKEN_NAME
from .v22.auth import Auth
from .v22.blobs import Blobs
from .v22.calls import Calls
from .v22.greetings import Greetings as V22Greetings
from .v22.groups import Groups as V22Groups
from .v22.models import ServerInfo
from .v22.operations import ENDPOINTS as V22_ENDPOINTS
from .v22.parts import UNNUMBERED
from .v22.users import Users

__all__ = ["document"]

_Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"


class Refusal(msgspec.Struct):
    """The body of a reply that refuses a request."""

    err_code: int | float | str | None = None
    msg: str | None = None
    message: str | None = None


class ErrorEntry(msgspec.Struct):
    """Why a request was refused."""

    code: str
    message: str | None = None
    detail: Any = None


class Errors(msgspec.Struct):
    """The body of a reply that refuses a request. It may be empty, too."""

    errors: list[ErrorEntry]


@dataclass(frozen=True, slots=True)
class _Generation:
    """What differs between the documents of the generations.

    Attributes:
        rows: the operations.
        resources: what describes the operations of each tag.
        port: the port of the PBX.
        success: the status of a success, or the range of it.
        refusal: the body of a reply that refuses a request.
        summaries: the summaries of operations that no coroutine is named after.
        unknown: the fields of a page that this generation does not have.
    """

    rows: Mapping[str, Endpoint[object]]
    resources: Mapping[str, type]
    port: str
    success: str
    refusal: type[msgspec.Struct]
    summaries: Mapping[str, str]
    unknown: frozenset[str]


_GENERATIONS: Final[Mapping[str, _Generation]] = {
    "classic": _Generation(
        rows=ENDPOINTS,
        resources={
            "account": Account,
            "extensions": Extensions,
            "groups": Groups,
            "greetings": Greetings,
        },
        port="8900",
        success="200",
        refusal=Refusal,
        summaries={},
        unknown=frozenset(),
    ),
    "v22": _Generation(
        rows=V22_ENDPOINTS,
        resources={
            "auth": Auth,
            "users": Users,
            "groups": V22Groups,
            "greetings": V22Greetings,
            "blobs": Blobs,
            "calls": Calls,
            "pbx": ServerInfo,
        },
        port="8887",
        # Different operations succeed with 200 to 204. The client accepts any of these.
        success="2XX",
        refusal=Errors,
        summaries={
            "auth.sign_in": "Log in with a user name and a password.",
            "auth.refresh": "Get a new pair of tokens for a refresh token, which can be used once.",
            "auth.form_login": "Log in to a version without `/auth/sign_in`.",
            "auth.form_refresh": "Refresh a token of a version without `/auth/refresh_token`.",
            "users.own": "Read the settings of the user who is logged in.",
            "groups.member": "Read a member of a group.",
            "groups.add_member": "Add an extension to a group.",
            "groups.remove_member": "Remove an extension from a group.",
            "blobs.begin": "Begin the upload of a file.",
            "blobs.append": "Append bytes to an upload.",
            "blobs.complete": "Complete an upload, and check the SHA-256 digest of its bytes.",
            "blobs.status": "Read how many bytes of an upload have arrived.",
            "blobs.destroy": "Drop an upload that is not complete.",
            "blobs.download": "Download a file.",
            "pbx.info": "Read what the PBX shows without a login.",
        },
        unknown=UNNUMBERED | {"sort_by", "err_code"},
    ),
}
# The schemas of the types that exist only for the table.
_SCHEMAS: Final[Mapping[type, _Schema]] = {
    Text: {"type": "string", "minLength": 1},
    Count: {"type": "integer", "minimum": 1},
    File: {"type": "string", "contentMediaType": "application/octet-stream"},
}
_BODIES: Final = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data",
    "binary": "application/octet-stream",
}
# The security schemes, by where the token goes. OpenAPI has none for a token in a body.
_SECURITY: Final[Mapping[str, _Schema]] = {
    "query": {"type": "apiKey", "in": "query", "name": TOKEN_NAME},
    "header": {"type": "apiKey", "in": "header", "name": TOKEN_NAME},
    "bearer": {"type": "http", "scheme": "bearer"},
}
# From the one that may be repeated most freely to the strictest.
_SAFETY: Final = {
    "safe": "Only reads. It may be repeated.",
    "idempotent": "It may be repeated: the result is the same.",
    "unsafe": "Each request has an effect of its own. Do not repeat it after a lost reply.",
    "once": "Do not repeat it if it may have been sent.",
}


def document(api: Literal["classic", "v22"] = "classic") -> dict[str, object]:
    """Return the document of a generation, ready to be written as JSON.

    Args:
        api: the generation of the API.

    Raises:
        ValueError: there is no such generation.
    """
    check_choice("api", api, *_GENERATIONS)
    generation = _GENERATIONS[api]
    rows = sorted(generation.rows.values(), key=_address)
    schemas = _Schemas(rows, generation)
    paths: dict[str, _Schema] = {}
    # `sorted` is stable, so rows with the same address keep the table's order.
    for (path, method), shared in groupby(rows, key=_address):
        paths.setdefault(path, {})[method] = _operation([*shared], schemas, generation)
    used = sorted({row.token for row in rows} & _SECURITY.keys())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PortSIP PBX REST API",
            "summary": "The operations that portsip_async sends, as it sends them.",
            "description": (
                "A PBX may leave out or add fields, and may send numbers and booleans as text."
                " portsip_async reads such replies too."
            ),
            "version": __version__,
        },
        "servers": [
            {
                "url": "https://{host}:{port}/api",
                "variables": {
                    "host": {"default": "pbx.example.com"},
                    "port": {"default": generation.port},
                },
            }
        ],
        "tags": [
            {"name": name, "description": _first_line(kind)}
            for name, kind in generation.resources.items()
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {name: _SECURITY[name] for name in used},
        },
    }


def _address(row: Endpoint[Any]) -> tuple[str, str]:
    return row.path, row.method.lower()


def _operation(rows: list[Endpoint[Any]], schemas: "_Schemas", generation: _Generation) -> _Schema:
    """Describe the operation at one address, from the rows that have it."""
    first = rows[0]
    bodies: defaultdict[str, list[_Schema]] = defaultdict(list)
    for row in rows:
        if row.parameters in _BODIES:
            bodies[_BODIES[row.parameters]].append(schemas.body(row))
    content = {
        kind: {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
        for kind, found in bodies.items()
    }
    tokens: list[_Schema] = [{row.token: []} for row in rows if row.token in _SECURITY]
    if tokens and len(tokens) < len(rows):
        tokens.append({})  # the other rows have the token as a property of the body
    parameters = schemas.parameters(first)
    strictest = max((row.safety for row in rows), key=[*_SAFETY].index)
    return {
        "operationId": first.name,
        "tags": [first.name.partition(".")[0]],
        "summary": " / ".join(_summary(row, generation) for row in rows),
        "description": _SAFETY[strictest],
        "security": tokens,
        **({"parameters": parameters} if parameters or first.parameters == "query" else {}),
        **({"requestBody": {"required": True, "content": content}} if content else {}),
        "responses": {
            generation.success: schemas.reply(first),
            "default": {
                "description": "The PBX refused the request, or failed.",
                "content": {"application/json": {"schema": schemas.of(generation.refusal)}},
            },
        },
    }


def _summary(row: Endpoint[Any], generation: _Generation) -> str:
    if row.name in generation.summaries:
        return generation.summaries[row.name]
    resource, _, name = row.name.partition(".")
    return _first_line(getattr(generation.resources[resource], name))


def _first_line(documented: object) -> str:
    """Return the first line of a docstring, without the HTTP request in it."""
    line = (documented.__doc__ or "").strip().partition("\n")[0]
    return re.sub(r" \(``.*\)", "", line).replace("``", "`")


class _Schemas:
    """The schemas of all types in requests and replies.

    Attributes:
        components: the schemas that have a name, by name.
    """

    def __init__(self, rows: Iterable[Endpoint[Any]], generation: _Generation) -> None:
        types: list[Any] = [row.reply for row in rows if row.reply not in (None, bytes)]
        types += [kind for row in rows for kind in _reply_headers(row).values()]
        types += [_required(kind) for row in rows for kind in _takes(row).values()]
        types = [*dict.fromkeys([*types, generation.refusal])]
        found, components = json.schema_components(
            types, schema_hook=_SCHEMAS.__getitem__, ref_template=_REFERENCE
        )
        self.components = {name: _plain(schema) for name, schema in components.items()}
        # Two generations may have enums of the same name.
        open_names = {known.__name__ for known in OpenEnum.__subclasses__()}
        for name in open_names & set(self.components):
            self.components[name] = _open(self.components[name])
        for kind in types:
            if isinstance(kind, type) and issubclass(kind, Page):
                properties = self.components[kind.__name__]["properties"]
                for name in generation.unknown & properties.keys():
                    del properties[name]
        self._of: dict[Any, _Schema] = dict(zip(types, map(_plain, found), strict=True))

    def of(self, kind: Any) -> _Schema:
        """Return a type's schema, or a reference to it."""
        return self._of[kind]

    def parameters(self, row: Endpoint[Any]) -> list[_Schema]:
        """Describe the parameters in the path, in the query and in headers."""
        places = ((name, _place(row, name), kind) for name, kind in _takes(row).items())
        return [
            {
                "name": row.headers.get(name, name),
                "in": place,
                "required": not _is_optional(kind),
                "schema": self.of(_required(kind)),
            }
            for name, place, kind in places
            if place != "body"
        ]

    def body(self, row: Endpoint[Any]) -> _Schema:
        """Describe a body, with the token if the row sends it there."""
        takes = {name: kind for name, kind in _takes(row).items() if _place(row, name) == "body"}
        if row.parameters == "binary":
            return self.of(takes["file"])
        if row.token == "body":
            takes[TOKEN_NAME] = Text
        return {
            "type": "object",
            "properties": {name: self.of(_required(kind)) for name, kind in takes.items()},
            "required": [name for name, kind in takes.items() if not _is_optional(kind)],
        }

    def reply(self, row: Endpoint[Any]) -> _Schema:
        """Describe the reply of a request that succeeded."""
        if row.reply is None:
            return {"description": "Done. The body is empty or carries no data."}
        if row.reply is bytes:
            content = {"application/octet-stream": {"schema": _SCHEMAS[File]}}
            return {"description": "Done.", "content": content}
        if row.reply_headers:
            headers = {
                row.reply_headers[name]: {
                    "required": not _is_optional(kind),
                    "schema": self.of(_required(kind)),
                }
                for name, kind in _reply_headers(row).items()
            }
            return {"description": "Done. The result is in the headers.", "headers": headers}
        return {
            "description": "Done.",
            "content": {"application/json": {"schema": self.of(row.reply)}},
        }


def _takes(row: Endpoint[Any]) -> dict[str, Any]:
    return dict(row.takes or {})


def _place(row: Endpoint[Any], name: str) -> str:
    """Return where a parameter is sent: "path", "header", "query" or "body"."""
    if name in row.path_arguments:
        return "path"
    if name in row.headers:
        return "header"
    if row.parameters == "query" or (row.parameters == "binary" and name != "file"):
        return "query"
    return "body"


def _reply_headers(row: Endpoint[Any]) -> dict[str, Any]:
    """Return the fields of a reply that come from headers, with their types."""
    hints = get_type_hints(row.reply) if row.reply_headers else {}
    return {name: hints[name] for name in row.reply_headers}


def _is_optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _required(kind: Any) -> Any:
    """Return a parameter's type without None."""
    if not _is_optional(kind):
        return kind
    parts = tuple(part for part in get_args(kind) if part is not NoneType)
    return Union[parts]  # noqa: UP007 - `|` takes no tuple


def _open(schema: _Schema) -> _Schema:
    """Describe an open enum: any text, with the documented values as examples."""
    return {
        "title": schema["title"],
        "description": f"{schema['description']} A PBX may send other values.",
        "type": "string",
        "examples": schema["enum"],
    }


def _plain(schema: Any) -> Any:
    """Leave out defaults: they only say that a field may be missing."""
    if isinstance(schema, dict):
        return {
            name: _plain(value)
            for name, value in schema.items()
            if name != "default" or isinstance(value, dict)
        }
    return [_plain(value) for value in schema] if isinstance(schema, list) else schema
