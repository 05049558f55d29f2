"""How the simulated PBX reads a request: queries, JSON, and the fields an operation takes.

Pure, and written against the vendor's page alone: the client's way of building a request has no
part in it, so that a mistake there is seen here. Unknown fields are passed over; a field that is
required and missing, or of another type, refuses the request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from .refusal import Refusal


def read_query(query: str) -> dict[str, Any]:
    """Read a query string: a text each, and a list where a name is repeated."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def read_json(body: bytes) -> dict[str, Any]:
    """Read the JSON object that a POST carries.

    Raises:
        Refusal: no JSON, or JSON of another kind.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal("syntax", "the body is no JSON") from None
    if not isinstance(found, dict):
        raise Refusal("syntax", "the body is no JSON object")
    return found


@dataclass(frozen=True, slots=True)
class Field:
    """A field that an operation takes: its name, how it is read, whether it must be there."""

    name: str
    read: Callable[[Any], Any]
    required: bool = True


def read_fields(fields: Iterable[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Read what an operation takes from what a request gives; null counts as not given.

    Raises:
        Refusal: a required field is missing, or a field is not what it should be.
    """
    found: dict[str, Any] = {}
    for field in fields:
        value = given.get(field.name)
        if value is None:
            if field.required:
                raise Refusal("format", f"{field.name} is required")
            continue
        try:
            found[field.name] = field.read(value)
        except ValueError as error:
            raise Refusal("format", f"{field.name} is {error}") from None
    return found


def any_text(value: Any) -> str:
    """Read a text, which may be empty."""
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def text(value: Any) -> str:
    """Read a text that says something."""
    if not any_text(value).strip():
        raise ValueError("empty")
    return str(value)


def number(value: Any) -> int:
    """Read a whole number from 1 on, also as the text that a query holds."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("no number")
    if value < 1:
        raise ValueError("less than 1")
    return value


def flag(value: Any) -> bool:
    """Read a boolean, also as the text that a query holds."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("no boolean")


def texts(value: Any) -> list[str]:
    """Read an array of texts; a query that names it once holds one text."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError("no array")
    return list(dict.fromkeys(text(item) for item in value))


def section(model: type[msgspec.Struct]) -> Callable[[Any], dict[str, Any]]:
    """Read a section of an extension's settings: an object whose known fields have their type."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("no object")
        try:
            msgspec.convert(value, model)
        except msgspec.ValidationError:
            # The error's own text would show the value.
            raise ValueError("an object with a field of another type") from None
        return value

    return read
