"""The API as an OpenAPI 3.1 document, made of the endpoint table and the models.

What an operation takes stands in `_TAKES`, since a row tells only what it answers; all else is read
from the rows, the models, and the docstrings of the coroutines that the rows are named after.

Rows that share an address, such as adding and uploading a greeting, become one operation with a
kind of body each. OpenAPI has no name for a token in a body: there it is a property of the body.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from types import NoneType
from typing import Annotated, Any, Final, TypeAlias, Union, get_args

import msgspec
from msgspec import Meta, json, structs

from ._version import __version__
from .classic.account import Account
from .classic.extensions import Extensions
from .classic.greetings import Greetings
from .classic.groups import Groups
from .classic.models import ExtensionUpdate, NewExtension, OpenEnum, SortBy
from .classic.operations import ENDPOINTS
from .core.endpoint import Endpoint
from .core.request import TOKEN_NAME

__all__ = ["document"]

_Schema = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"

_Text: TypeAlias = Annotated[str, Meta(min_length=1)]
_Texts: TypeAlias = tuple[_Text, ...]
_Count: TypeAlias = Annotated[int, Meta(ge=1)]
_SomeText: TypeAlias = _Text | None
_SomeTexts: TypeAlias = _Texts | None
_SomeCount: TypeAlias = _Count | None


class _File:
    """What is uploaded."""


class Refusal(msgspec.Struct):
    """How the PBX tells what it refused."""

    err_code: int | float | str | None = None
    msg: str | None = None
    message: str | None = None


def _fields(model: type[msgspec.Struct]) -> dict[str, Any]:
    return {known.encode_name: known.type for known in structs.fields(model)}


_NUMBER: Final = {"extension_number": _Text}
_GROUP_ID: Final = {"group_id": _Text}
_FILE: Final = {**_NUMBER, "filename": _Text}
_PAGE: Final = {"pagination": _Count, "pagesize": _SomeCount}
_SORTED: Final = {**_PAGE, "sort_by": SortBy | None}
_GROUP: Final = {
    "group_name": _Text,
    "enable_intercom": bool,
    "enable_external_call": bool,
    "enable_management_console_access": bool,
    "group_description": str | None,
    "members": _SomeTexts,
}

# By row: the parameters with their types, None among them where one may be left out.
_TAKES: Final[Mapping[str, Mapping[str, Any]]] = {
    "account.verify": {"username": _Text, "password": _Text},
    "account.verify_email": {"email": _Text, "password": _Text},
    "account.refresh": {},
    "extensions.list": _SORTED,
    "extensions.search": {"condition": str, **_PAGE},
    "extensions.create": _fields(NewExtension),
    "extensions.show": _NUMBER,
    "extensions.status": {"extensions": _Texts},
    "extensions.call": dict.fromkeys(("extension", "to", "auth", "domain", "src"), _Text),
    "extensions.update": _fields(ExtensionUpdate),
    "extensions.remove": _NUMBER,
    "groups.list": _SORTED,
    "groups.show": _GROUP_ID,
    "groups.create": _GROUP,
    "groups.update": {**_GROUP_ID, **_GROUP},
    "groups.remove": _GROUP_ID,
    "greetings.list": {**_NUMBER, **_SORTED},
    "greetings.add": {**_NUMBER, "filename": _SomeText, "url": _SomeText},
    "greetings.upload": {**_FILE, "file": _File},
    "greetings.setup": _FILE,
    "greetings.remove": _FILE,
}

_RESOURCES: Final = {
    "account": Account,
    "extensions": Extensions,
    "groups": Groups,
    "greetings": Greetings,
}
_BODIES: Final = {"json": "application/json", "multipart": "multipart/form-data"}
# OpenAPI's words for the places of a token that it has words for.
_SECURITY: Final[Mapping[str, _Schema]] = {
    "query": {"type": "apiKey", "in": "query", "name": TOKEN_NAME},
    "header": {"type": "apiKey", "in": "header", "name": TOKEN_NAME},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_SAFETY: Final = {
    "safe": "Only reads; it may be repeated.",
    "idempotent": "May be repeated: it comes to the same.",
    "unsafe": "Acts each time; it is not to be repeated after a lost reply.",
}


def document() -> dict[str, object]:
    """Make the document, ready to be written as JSON."""
    rows = sorted(ENDPOINTS.values(), key=_address)
    schemas = _Schemas(rows)
    paths: dict[str, _Schema] = {}
    # In the order of the table, since `sorted` keeps it among equals.
    for (path, method), shared in groupby(rows, key=_address):
        paths.setdefault(path, {})[method] = _operation([*shared], schemas)
    places = sorted({row.token for row in rows} & _SECURITY.keys())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PortSIP PBX REST API",
            "summary": "The operations that portsip_async sends, as it sends them.",
            "description": (
                "Replies are read liberally: besides what stands here, a PBX may leave out or add"
                " fields, and send numbers and booleans as text."
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
        "tags": [{"name": name, "description": _told(kind)} for name, kind in _RESOURCES.items()],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {place: _SECURITY[place] for place in places},
        },
    }


def _address(row: Endpoint[Any]) -> tuple[str, str]:
    return row.path, row.method.lower()


def _operation(rows: list[Endpoint[Any]], schemas: "_Schemas") -> _Schema:
    """Describe what is at one address, by the rows that are sent there."""
    first = rows[0]
    bodies = {
        _BODIES[row.parameters]: {"schema": schemas.body(row)}
        for row in rows
        if row.parameters in _BODIES
    }
    tokens: list[_Schema] = [{row.token: []} for row in rows if row.token in _SECURITY]
    if tokens and len(tokens) < len(rows):
        tokens.append({})  # some of them have it elsewhere
    return {
        "operationId": first.name,
        "tags": [first.name.partition(".")[0]],
        "summary": " / ".join(_told(_coroutine(row)) for row in rows),
        "description": _SAFETY[first.safety],
        "security": tokens,
        **({"parameters": schemas.query(first)} if first.parameters == "query" else {}),
        **({"requestBody": {"required": True, "content": bodies}} if bodies else {}),
        "responses": {
            "200": schemas.reply(first),
            "default": {
                "description": "The PBX refused, or failed.",
                "content": {"application/json": {"schema": schemas.of(Refusal)}},
            },
        },
    }


def _coroutine(row: Endpoint[Any]) -> object:
    resource, _, name = row.name.partition(".")
    return getattr(_RESOURCES[resource], name)


def _told(documented: object) -> str:
    """Take the first line of a docstring, without the request that it names."""
    line = (documented.__doc__ or "").strip().partition("\n")[0]
    return re.sub(r" \(``.*\)", "", line).replace("``", "`")


class _Schemas:
    """The schemas of all types that the rows take or answer.

    Attributes:
        components: those that have a name, under it.
    """

    def __init__(self, rows: Iterable[Endpoint[Any]]) -> None:
        types: list[Any] = [row.reply for row in rows if row.reply is not None]
        types += [_sent(kind) for taken in _TAKES.values() for kind in taken.values()]
        types = [kind for kind in dict.fromkeys([*types, Refusal]) if kind is not _File]
        found, components = json.schema_components(types, schema_hook=None, ref_template=_REFERENCE)
        self.components = {name: _plain(schema) for name, schema in components.items()}
        for known in OpenEnum.__subclasses__():
            if known.__name__ in self.components:
                self.components[known.__name__] = _open(self.components[known.__name__])
        self._of: dict[Any, _Schema] = dict(zip(types, map(_plain, found), strict=True))

    def of(self, kind: Any) -> _Schema:
        """Answer a type's schema, or a reference to it."""
        if kind is _File:
            return {"type": "string", "contentMediaType": "application/octet-stream"}
        return self._of[kind]

    def query(self, row: Endpoint[Any]) -> list[_Schema]:
        """Describe the parameters of a query."""
        return [
            {
                "name": name,
                "in": "query",
                "required": not _optional(kind),
                "schema": self.of(_sent(kind)),
            }
            for name, kind in _TAKES[row.name].items()
        ]

    def body(self, row: Endpoint[Any]) -> _Schema:
        """Describe a body; the token is part of it where that is its place."""
        taken = dict(_TAKES[row.name])
        if row.token == "body":
            taken[TOKEN_NAME] = _Text
        return {
            "type": "object",
            "properties": {name: self.of(_sent(kind)) for name, kind in taken.items()},
            "required": [name for name, kind in taken.items() if not _optional(kind)],
        }

    def reply(self, row: Endpoint[Any]) -> _Schema:
        """Describe what a row answers where all went well."""
        if row.reply is None:
            return {"description": "Done; the body is empty, or says nothing."}
        return {
            "description": "Done.",
            "content": {"application/json": {"schema": self.of(row.reply)}},
        }


def _optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _sent(kind: Any) -> Any:
    """Answer the type of what is sent, where it is not left out."""
    if not _optional(kind):
        return kind
    parts = tuple(part for part in get_args(kind) if part is not NoneType)
    return Union[parts]  # noqa: UP007 - `|` takes no tuple


def _open(schema: _Schema) -> _Schema:
    """Turn a closed enum into any text, the documented values being examples."""
    return {
        "title": schema["title"],
        "description": f"{schema['description']} Other values may come.",
        "type": "string",
        "examples": schema["enum"],
    }


def _plain(schema: Any) -> Any:
    """Leave out defaults, which only say that a field may be missing."""
    if isinstance(schema, dict):
        return {
            name: _plain(value)
            for name, value in schema.items()
            if name != "default" or isinstance(value, dict)
        }
    return [_plain(value) for value in schema] if isinstance(schema, list) else schema
