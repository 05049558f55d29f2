"""The table and the models, held against the vendor's own OpenAPI document of 22.2.

The document is not part of this repository. The variable PORTSIP_V22_OPENAPI has its path.
"""

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest

from portsip_async import Endpoint
from portsip_async.core.open_enum import OpenEnum
from portsip_async.core.parameter_types import File
from portsip_async.v22.models import (
    CallSessionPage,
    Greetings,
    GroupPage,
    Members,
    SignInReply,
)
from portsip_async.v22.operations import ENDPOINTS
from portsip_async.v22.user_models import ForwardRule, OutboundCallerID, User, UserPage

PATH = os.environ.get("PORTSIP_V22_OPENAPI", "")
pytestmark = pytest.mark.skipif(
    not PATH, reason="PORTSIP_V22_OPENAPI does not name the vendor's OpenAPI document"
)

# The older login has no row.
NO_ROW = {("GET", "/login"), ("POST", "/login"), ("POST", "/logout")}
# Rows that the document lacks.
NOT_DOCUMENTED = {"auth.form_login", "auth.form_refresh"}
# Parameters that no row sends: a login by QR code, and a last piece of an upload.
NOT_SENT = {("auth.sign_in", "qr"), ("blobs.complete", "file")}
# A reply that the document describes as empty.
NOT_DESCRIBED = {"auth.verify_otp"}
# What our rows require beyond the document: without it, the operation would do nothing.
REQUIRED_TOO = {
    ("users.set_password", "password"),
    ("users.set_extension_password", "password"),
    ("users.set_role", "role"),
    ("users.set_own_presence", "presence"),
    ("greetings.create", "file_id"),
    ("groups.create", "name"),
    ("blobs.append", "file"),
}
_OF_OTHER_PAGES = {"pagination", "pagesize", "page_count", "sort_by", "err_code"}
# Fields that some operations, versions or generations have and the others lack.
ALLOWED: dict[type[Any], set[str]] = {
    UserPage: _OF_OTHER_PAGES,
    GroupPage: _OF_OTHER_PAGES,
    CallSessionPage: _OF_OTHER_PAGES,
    Members: {"count"},
    Greetings: {"count"},
    User: {"transports", "password", "extension_password"},
    OutboundCallerID: {"preferred"},
    ForwardRule: {"timeout"},
    SignInReply: {"token", "two_factor_enabled"},
}


@cache
def document() -> Any:
    return json.loads(Path(PATH).read_text())


def operation(row: Endpoint[Any]) -> Any:
    return document()["paths"][f"/api{row.path}"][row.method.lower()]


def merged(schema: Any) -> dict[str, Any]:
    """Return a schema with the parts of its allOf and the properties of its alternatives."""
    parts = [*schema.get("allOf", []), *schema.get("oneOf", [])]
    found = {key: value for key, value in schema.items() if key not in ("allOf", "oneOf")}
    for part in map(merged, parts):
        properties = {**part.get("properties", {}), **found.get("properties", {})}
        found = {**part, **found}
        if properties:
            found["properties"] = properties
    if "oneOf" in schema:  # what one alternative requires, the other lacks
        found["required"] = []
    return found


def sent(row: Endpoint[Any]) -> dict[str, tuple[Any, bool]]:
    """Return the parameters of an operation: name in our row, schema, required."""
    headers = {header: name for name, header in row.headers.items()}
    found = {
        headers.get(each["name"], each["name"]): (
            merged(each["schema"]),
            bool(each.get("required")),
        )
        for each in operation(row).get("parameters", [])
    }
    for kind, content in operation(row).get("requestBody", {}).get("content", {}).items():
        schema = merged(content["schema"])
        if kind == "application/octet-stream":
            found["file"] = (schema, False)
        for name, value in schema.get("properties", {}).items():
            found[name] = (merged(value), name in schema.get("required", []))
    return found


def plain(kind: Any) -> Any:
    """Return a type without None and without annotations."""
    if get_origin(kind) is Annotated:
        return plain(get_args(kind)[0])
    parts = [part for part in get_args(kind) if part is not type(None)]
    return parts[0] if len(parts) == 1 and type(None) in get_args(kind) else kind


def differences(schema: Any, kind: Any, path: str) -> Iterator[str]:
    """Yield where a schema and our type differ."""
    kind = plain(kind)
    if get_args(kind)[1:] == (...,):
        if schema.get("type") == "array":
            yield from differences(merged(schema["items"]), get_args(kind)[0], f"{path}[]")
        else:
            yield f"{path} is no array"
    elif issubclass(kind, msgspec.Struct):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        properties = schema.get("properties", {})
        for name in properties.keys() - fields.keys():
            yield f"{path}.{name} has no field"
        for name in fields.keys() - properties.keys() - ALLOWED.get(kind, set()):
            yield f"{path}.{name} is not documented"
        for name in fields.keys() & properties.keys():
            yield from differences(merged(properties[name]), fields[name], f"{path}.{name}")
    elif issubclass(kind, OpenEnum):
        # A role is an enum in the prose only.
        for value in set(schema.get("enum", [])) - {member.value for member in kind}:
            yield f"{path} lacks the value {value}"
    elif "enum" in schema:
        yield f"{path} is an enum"
    else:
        types = (schema.get("type"), schema.get("format"))
        if not any(issubclass(kind, known) and test(types) for known, test in TYPES.items()):
            yield f"{path} is {types}, not {kind.__name__}"


# The schemas that a type stands for: by the type and the format.
TYPES: dict[type[Any], Callable[[tuple[str | None, str | None]], bool]] = {
    str: lambda types: types in (("string", None), ("string", "email")),
    bool: lambda types: types[0] == "boolean",
    int: lambda types: types[0] == "integer",
    float: lambda types: types[0] == "integer",
    datetime: lambda types: types == ("string", "date-time"),
    File: lambda types: types == ("string", "binary"),
    bytes: lambda types: types == ("string", "binary"),
}


DOCUMENTED = [name for name in ENDPOINTS if name not in NOT_DOCUMENTED]
each_row = pytest.mark.parametrize("name", DOCUMENTED)


def test_paths_and_methods() -> None:
    """Each operation of the document has a row, and each row an operation."""
    documented = {
        (method.upper(), path.removeprefix("/api"))
        for path, methods in document()["paths"].items()
        for method in methods
    }
    ours = {(ENDPOINTS[name].method, ENDPOINTS[name].path) for name in DOCUMENTED}
    assert documented - ours == NO_ROW
    assert ours - documented == set()


@each_row
def test_parameters(name: str) -> None:
    """A row takes the documented parameters, with their types, and requires what is required."""
    row = ENDPOINTS[name]
    documented = {key: value for key, value in sent(row).items() if (name, key) not in NOT_SENT}
    assert row.takes is not None
    assert set(row.takes) == set(documented)
    required = {key for key, kind in row.takes.items() if type(None) not in get_args(kind)}
    beyond = {key for operation, key in REQUIRED_TOO if operation == name}
    assert required == {key for key, (_, is_required) in documented.items() if is_required} | beyond
    found = [
        difference
        for key, (schema, _) in documented.items()
        for difference in differences(schema, row.takes[key], key)
    ]
    assert found == []


@each_row
def test_bodies(name: str) -> None:
    """A row sends the documented type of body, and none where none is documented."""
    row = ENDPOINTS[name]
    content = [*operation(row).get("requestBody", {}).get("content", {})]
    kinds = {"json": ["application/json"], "binary": ["application/octet-stream"], "query": []}
    assert kinds[row.parameters] == (content if (name, "file") not in NOT_SENT else [])


@each_row
def test_token(name: str) -> None:
    """A row carries a token unless the document says that it needs none."""
    row = ENDPOINTS[name]
    assert row.token == ("none" if operation(row).get("security") == [] else "bearer")


@each_row
def test_replies(name: str) -> None:
    """A reply's type has every documented field, and no other."""
    row = ENDPOINTS[name]
    successes = {
        int(code): reply for code, reply in operation(row)["responses"].items() if code[0] == "2"
    }
    assert len(successes) == 1
    (reply,) = successes.values()
    if row.reply_headers:
        assert set(row.reply_headers.values()) <= set(reply["headers"])
        return
    content = reply.get("content", {})
    if name in NOT_DESCRIBED or row.reply is None:
        assert not content
    else:
        kind = "application/octet-stream" if row.reply is bytes else "application/json"
        assert [*differences(merged(content[kind]["schema"]), row.reply, "$")] == []
