"""The API as an OpenAPI 3.1 document, built from the endpoint table and the models.

Parameters and replies come from the rows. A row is named after a coroutine, and the coroutine's
docstring gives the summary.

Rows with the same address, such as adding and uploading a greeting, become one operation with
several types of body. OpenAPI has no security scheme for a token in a body, so such a token is a
property of the body.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from types import NoneType
from typing import Any, Final, Union, get_args

import msgspec
from msgspec import json

from ._version import __version__
from .classic.account import Account
from .classic.extensions import Extensions
from .classic.greetings import Greetings
from .classic.groups import Groups
from .classic.operations import ENDPOINTS
from .core.endpoint import Endpoint
from .core.open_enum import OpenEnum
from .core.parameter_types import Count, File, Text
from .core.request import TOKEN_NAME

__all__ = ["document"]

_Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"


class Refusal(msgspec.Struct):
    """The body of a reply that refuses a request."""

    err_code: int | float | str | None = None
    msg: str | None = None
    message: str | None = None


_RESOURCES: Final = {
    "account": Account,
    "extensions": Extensions,
    "groups": Groups,
    "greetings": Greetings,
}
# The schemas of the types that exist only for the table.
_SCHEMAS: Final[Mapping[type, _Schema]] = {
    Text: {"type": "string", "minLength": 1},
    Count: {"type": "integer", "minimum": 1},
    File: {"type": "string", "contentMediaType": "application/octet-stream"},
}
_BODIES: Final = {"json": "application/json", "multipart": "multipart/form-data"}
# The security schemes, by where the token goes. OpenAPI has none for a token in a body.
_SECURITY: Final[Mapping[str, _Schema]] = {
    "query": {"type": "apiKey", "in": "query", "name": TOKEN_NAME},
    "header": {"type": "apiKey", "in": "header", "name": TOKEN_NAME},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_SAFETY: Final = {
    "safe": "Only reads. It may be repeated.",
    "idempotent": "It may be repeated: the result is the same.",
    "unsafe": "Each request has an effect of its own. Do not repeat it after a lost reply.",
    "once": "Do not repeat it if it may have been sent.",
}


def document() -> dict[str, object]:
    """Return the document, ready to be written as JSON."""
    rows = sorted(ENDPOINTS.values(), key=_address)
    schemas = _Schemas(rows)
    paths: dict[str, _Schema] = {}
    # `sorted` is stable, so rows with the same address keep the table's order.
    for (path, method), shared in groupby(rows, key=_address):
        paths.setdefault(path, {})[method] = _operation([*shared], schemas)
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
                    "port": {"default": "8900"},
                },
            }
        ],
        "tags": [
            {"name": name, "description": _summary(kind)} for name, kind in _RESOURCES.items()
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {name: _SECURITY[name] for name in used},
        },
    }


def _address(row: Endpoint[Any]) -> tuple[str, str]:
    return row.path, row.method.lower()


def _operation(rows: list[Endpoint[Any]], schemas: "_Schemas") -> _Schema:
    """Describe the operation at one address, from the rows that have it."""
    first = rows[0]
    bodies = {
        _BODIES[row.parameters]: {"schema": schemas.body(row)}
        for row in rows
        if row.parameters in _BODIES
    }
    tokens: list[_Schema] = [{row.token: []} for row in rows if row.token in _SECURITY]
    if tokens and len(tokens) < len(rows):
        tokens.append({})  # the other rows have the token as a property of the body
    return {
        "operationId": first.name,
        "tags": [first.name.partition(".")[0]],
        "summary": " / ".join(_summary(_coroutine(row)) for row in rows),
        "description": _SAFETY[first.safety],
        "security": tokens,
        **({"parameters": schemas.query(first)} if first.parameters == "query" else {}),
        **({"requestBody": {"required": True, "content": bodies}} if bodies else {}),
        "responses": {
            "200": schemas.reply(first),
            "default": {
                "description": "The PBX refused the request, or failed.",
                "content": {"application/json": {"schema": schemas.of(Refusal)}},
            },
        },
    }


def _coroutine(row: Endpoint[Any]) -> object:
    resource, _, name = row.name.partition(".")
    return getattr(_RESOURCES[resource], name)


def _summary(documented: object) -> str:
    """Return the first line of a docstring, without the HTTP request in it."""
    line = (documented.__doc__ or "").strip().partition("\n")[0]
    return re.sub(r" \(``.*\)", "", line).replace("``", "`")


class _Schemas:
    """The schemas of all types in requests and replies.

    Attributes:
        components: the schemas that have a name, by name.
    """

    def __init__(self, rows: Iterable[Endpoint[Any]]) -> None:
        types: list[Any] = [row.reply for row in rows if row.reply is not None]
        types += [_required(kind) for row in rows for kind in _takes(row).values()]
        types = [*dict.fromkeys([*types, Refusal])]
        found, components = json.schema_components(
            types, schema_hook=_SCHEMAS.__getitem__, ref_template=_REFERENCE
        )
        self.components = {name: _plain(schema) for name, schema in components.items()}
        # Two generations may have enums of the same name.
        open_names = {known.__name__ for known in OpenEnum.__subclasses__()}
        for name in open_names & set(self.components):
            self.components[name] = _open(self.components[name])
        self._of: dict[Any, _Schema] = dict(zip(types, map(_plain, found), strict=True))

    def of(self, kind: Any) -> _Schema:
        """Return a type's schema, or a reference to it."""
        return self._of[kind]

    def query(self, row: Endpoint[Any]) -> list[_Schema]:
        """Describe the parameters of a query."""
        return [
            {
                "name": name,
                "in": "query",
                "required": not _is_optional(kind),
                "schema": self.of(_required(kind)),
            }
            for name, kind in _takes(row).items()
        ]

    def body(self, row: Endpoint[Any]) -> _Schema:
        """Describe a body, with the token if the row sends it there."""
        takes = _takes(row)
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
        return {
            "description": "Done.",
            "content": {"application/json": {"schema": self.of(row.reply)}},
        }


def _takes(row: Endpoint[Any]) -> dict[str, Any]:
    return dict(row.takes or {})


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
