"""Read the vendor's document: its operations, and the fields that each of them knows."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

METHODS = frozenset({"get", "post"})

# What the document leaves open, by the coroutine that meets it. Nothing else is excluded.
HOLES = {"auth.verify_otp": "The reply is not described, so a mock sends none: no tokens."}


class Document:
    """The vendor's document.

    Attributes:
        path: the file.
        operations: what the document says about ``POST /api/users/{id}`` and the others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        paths: Mapping[str, Mapping[str, Any]] = json.loads(path.read_bytes())["paths"]
        self.operations = {
            f"{method.upper()} {template}": operation
            for template, methods in paths.items()
            for method, operation in methods.items()
            if method in METHODS
        }

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        # A path without arguments goes before one with: /sessions/directly, /sessions/{id}.
        return [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(name))), name)
            for name in sorted(self.operations, key=lambda name: name.count("{"))
        ]

    def operation_of(self, method: str, target: str) -> str | None:
        """Return the name of the operation that a request is sent to."""
        asked = f"{method} {urlsplit(target).path}"
        return next((name for pattern, name in self._patterns if pattern.fullmatch(asked)), None)

    def unknown_fields(self, name: str, target: str, body: bytes) -> list[str]:
        """Return what a request sends and the document does not know."""
        operation = self.operations[name]
        query = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        found = [key for key, _ in parse_qsl(urlsplit(target).query) if key not in query]
        described = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if described and body:
            found += _unknown(described["schema"], json.loads(body), "")
        return found


def _unknown(schema: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    """Yield the paths of the keys that a schema does not describe. It is read as a closed one."""
    if isinstance(value, list):
        for each in value:
            yield from _unknown(_merged(schema)["items"], each, f"{place}[]")
    elif isinstance(value, dict):
        known = _merged(schema).get("properties", {})
        for key, inner in value.items():
            if key in known:
                yield from _unknown(known[key], inner, f"{place}.{key}")
            else:
                yield f"{place}.{key}"


def _merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with those of its ``allOf`` taken in."""
    merged = {**schema, "properties": {**schema.get("properties", {})}}
    for part in map(_merged, schema.get("allOf", ())):
        merged = {**merged, **part, "properties": merged["properties"] | part["properties"]}
    return merged


TEXT = "a/b?c=d&e#f;g %2F+\"é'\\ß好\U0001f600" * 60
TURNS = 8  # as many as the longest enum has values


def samples(schema: Mapping[str, Any], **fixed: Any) -> Iterator[Any]:
    """Yield values that a schema allows, with all optional fields.

    Together they have each value of each enum, both values of each flag, defaults and others,
    numbers and texts at their limits.

    Args:
        schema: the schema of the document.
        fixed: values of fields whose rules are not in the schema, by name.
    """
    for turn in range(TURNS):
        yield _sample(schema, turn, fixed)


def _sample(schema: Mapping[str, Any], turn: int, fixed: Mapping[str, Any]) -> Any:
    schema = _merged(schema)
    match schema["type"]:
        case "object":
            return {
                name: fixed[name] if name in fixed else _sample(inner, turn, fixed)
                for name, inner in schema["properties"].items()
            }
        case "array":
            return [_sample(schema["items"], turn + more, fixed) for more in range(turn % 3)]
        case "boolean":
            return turn % 2 == 1
        case "integer":
            return schema.get("minimum", 0) if turn % 2 else schema.get("maximum", 2**31 - 1)
        case "string" if "enum" in schema:
            return schema["enum"][turn % len(schema["enum"])]
        case "string" if "pattern" in schema or turn % 4 == 0:
            return schema.get("example", "x" * schema.get("minLength", 1))
        case "string" if turn % 4 == 1:
            return TEXT[: schema.get("maxLength", len(TEXT))]
        case "string":
            return TEXT[turn : turn + max(schema.get("minLength", 0), 1)]
    raise NotImplementedError(schema["type"])
