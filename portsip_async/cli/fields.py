"""Fields by dotted names, as in CSV files, ``--set`` and ``--columns``.

``profile.first_name`` is a field of a section. A field that holds a list of objects has no fields
of its own: in one cell, it is JSON.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Any, Final, get_args, get_origin

import msgspec

from .files.text_input import is_name, read_json

# The names of all fields that hold secrets.
SECRETS: Final = frozenset(
    {"password", "web_access_password", "extension_password", "voicemail_pin"}
)
HIDDEN: Final = "***"
# A spreadsheet in many languages writes 1000 as "1.000", which would be read as 1.
_THOUSANDS: Final = re.compile(r"-?\d{1,3}(\.\d{3})+", re.ASCII)
# What msgspec says, such as "Expected `str | null`, got `int` - at `$.profile.first_name`".
_WRONG_TYPE: Final = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?(?: - at `\$\.?([^`]*)`)?")
_TYPES: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}


def plain(record: msgspec.Struct, *, reveal: bool = False) -> dict[str, Any]:
    """Return a record as plain values, with its secrets hidden unless `reveal` is True."""
    names = zip(record.__struct_encode_fields__, record.__struct_fields__, strict=True)
    return {name: _plain(name, getattr(record, field), reveal) for name, field in names}


def _plain(name: str, value: Any, reveal: bool) -> Any:
    if isinstance(value, msgspec.Struct):
        return plain(value, reveal=reveal)
    if isinstance(value, tuple):
        return [_plain(name, item, reveal) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if name in SECRETS and value is not None and not reveal:
        return HIDDEN
    return value


@cache
def kinds_of(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the type of each field of a model by its dotted name."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(model):
        kinds = (field.type, *get_args(field.type))
        sections = [
            one for one in kinds if isinstance(one, type) and issubclass(one, msgspec.Struct)
        ]
        name = field.encode_name
        if not sections:
            found[name] = field.type
        for section in sections:
            found |= {f"{name}.{deeper}": kind for deeper, kind in kinds_of(section).items()}
    return found


def is_text(model: type[msgspec.Struct], name: str) -> bool:
    """Return whether a field holds text, which `read_value` does not change."""
    return not {bool, int} & _alternatives(model, name) and not is_list(model, name)


@cache
def is_list(model: type[msgspec.Struct], name: str) -> bool:
    """Return whether a field holds a list, which is JSON in one cell."""
    return any(get_origin(kind) is tuple for kind in _alternatives(model, name))


def choices_of(model: type[msgspec.Struct], name: str) -> list[str]:
    """List the documented values of a field; none if it is not one of a few."""
    kinds = _alternatives(model, name)
    return [
        str(choice.value)
        for kind in kinds
        if isinstance(kind, type) and issubclass(kind, Enum)
        for choice in kind
    ]


@cache
def _alternatives(model: type[msgspec.Struct], name: str) -> frozenset[Any]:
    kind = kinds_of(model)[name]
    return frozenset([kind] if get_origin(kind) is tuple else get_args(kind) or [kind])


def dotted(model: type[msgspec.Struct]) -> list[str]:
    """List the fields of a model by their dotted names."""
    return list(kinds_of(model))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the sections of a row to dotted names."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{deeper}": item for deeper, item in flat(value).items()}
        else:
            found[name] = value
    return found


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """Return the value at a dotted name of nested mappings; None if there is none."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def without_nulls(value: Any) -> Any:
    """Return a value without the fields that are None, however deep, as a request needs it."""
    if isinstance(value, Mapping):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def nested(flat_row: Mapping[str, Any]) -> dict[str, Any]:
    """Nest fields with dotted names into sections.

    Raises:
        ValueError: a section is given whole and in parts, or a part has no name.
    """
    found: dict[str, Any] = {}
    from_parts: set[str] = set()  # the sections that were built from parts
    for name, value in flat_row.items():
        *sections, last = name.split(".")
        if not all((*sections, last)):
            raise ValueError("has a field without a name")
        target = found
        for depth, section in enumerate(sections, 1):
            path = ".".join(sections[:depth])
            if section in target and path not in from_parts:
                raise ValueError(f"has {_named(path)} twice, whole and in parts")
            from_parts.add(path)
            target = target.setdefault(section, {})
        if last in target:
            raise ValueError(f"has {_named(name)} twice, whole and in parts")
        target[last] = value
    return found


def _named(name: str) -> str:
    return name if is_name(name) else "a section"


def near_names(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return the known names that a misspelt name may mean, the nearest first.

    A field of a section is found without its section too.
    """
    full_names = {}
    for each in known:
        full_names[each] = each
        full_names.setdefault(each.rpartition(".")[2], each)
    near = get_close_matches(name.lower().replace(" ", "_"), full_names, n=count + 2, cutoff=0.6)
    return list(dict.fromkeys(full_names[each] for each in near))[:count]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return which known names a misspelt one may mean; if none is near, all of them."""
    near = near_names(name, known, 3)
    return f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"


def read_value(model: type[msgspec.Struct], name: str, text: str) -> Any:
    """Convert the text of a field to its type: a boolean, a number, a list, or the text itself.

    Raises:
        KeyError: the model has no such field.
        ValueError: the text can't be converted.
    """
    if is_list(model, name):
        return _read_list(name, text)
    allowed = _alternatives(model, name)
    for wanted, name_of_type in ((bool, "true or false"), (int, "a whole number")):
        if wanted in allowed:
            if _THOUSANDS.fullmatch(text.strip()):
                raise ValueError(f"{name} must be a whole number, without points")
            try:
                return msgspec.convert(text.strip(), wanted, strict=False)
            except msgspec.ValidationError:
                raise ValueError(f"{name} must be {name_of_type}") from None
    return text


def _read_list(name: str, text: str) -> list[Any]:
    try:
        found = read_json(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list):
        raise ValueError(f"{name} must be a list in JSON")
    return found


def type_problem(error: msgspec.ValidationError) -> str:
    """Return what is wrong with a value's type, in our words and without the value."""
    found = _WRONG_TYPE.match(str(error))
    if found is None:
        return "has a value that can't be used"
    wanted = [_TYPES.get(kind, kind) for kind in found[1].split(" | ") if kind != "null"]
    got = f", got {_TYPES.get(found[2], found[2])}" if found[2] else ""
    return f"{found[3] or 'it'} must be {' or '.join(wanted)}{got}"


def shown_names(unknown: Iterable[str]) -> list[str]:
    """Return names for an error; what does not look like a name may be a secret, and is hidden."""
    return list(dict.fromkeys(name if is_name(name) else "(hidden)" for name in unknown))
