"""Fields by dotted names, as in CSV files, ``--set`` and ``--columns``.

``profile.first_name`` is a field of a section. A field that holds a list of objects has no fields
of its own: in one cell, it is JSON.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_args, get_origin

import msgspec

from .text_input import is_name, read_json

# The names of all fields that hold secrets.
SECRETS: Final = frozenset(
    {"password", "web_access_password", "extension_password", "voicemail_pin"}
)
HIDDEN: Final = "***"


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


def shown_names(unknown: Iterable[str]) -> list[str]:
    """Return names for an error; what does not look like a name may be a secret, and is hidden."""
    return list(dict.fromkeys(name if is_name(name) else "(hidden)" for name in unknown))
