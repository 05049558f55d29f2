"""Fields by dotted names, as in CSV files, ``--set`` and ``--columns``.

``profile.first_name`` is a field of a section.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_args

import msgspec
import typer

from .. import NewExtension
from .text_input import is_name, read_json

# The names of all fields that hold secrets.
SECRETS: Final = frozenset({"password", "web_access_password", "voicemail_pin"})
HIDDEN: Final = "***"


def plain(record: msgspec.Struct, *, reveal: bool = False) -> dict[str, Any]:
    """Return a record as plain values, with its secrets hidden unless `reveal` is True."""
    return {name: _plain(name, getattr(record, name), reveal) for name in record.__struct_fields__}


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
        if not sections:
            found[field.name] = field.type
        for section in sections:
            found |= {f"{field.name}.{deeper}": kind for deeper, kind in kinds_of(section).items()}
    return found


def is_text(model: type[msgspec.Struct], name: str) -> bool:
    """Return whether a field holds text, which `read_value` does not change."""
    kind = kinds_of(model)[name]
    return not {bool, int} & ({*get_args(kind)} or {kind})


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
    """Convert the text of a field to its type: a boolean, a number, or the text itself.

    Raises:
        KeyError: the model has no such field.
        ValueError: the text can't be converted.
    """
    kind = kinds_of(model)[name]
    allowed = {*get_args(kind)} or {kind}
    for wanted, name_of_type in ((bool, "true or false"), (int, "a whole number")):
        if wanted in allowed:
            try:
                return msgspec.convert(text.strip(), wanted, strict=False)
            except msgspec.ValidationError:
                raise ValueError(f"{name} must be {name_of_type}") from None
    return text


def shown_names(unknown: Iterable[str]) -> list[str]:
    """Return names for an error; what does not look like a name may be a secret, and is hidden."""
    return list(dict.fromkeys(name if is_name(name) else "(hidden)" for name in unknown))


# The settings for --set: all of an extension's but its secrets.
SETTABLE: Final = tuple(
    name for name in dotted(NewExtension) if "." in name and name.rpartition(".")[2] not in SECRETS
)


def completed(incomplete: str) -> list[str]:
    """Complete the name of a setting for the shell."""
    return [f"{name}=" for name in SETTABLE if name.startswith(incomplete)]


def read_settings(options: list[str] | None, document: str | None) -> dict[str, Any]:
    """Return the settings to change: a JSON object, changed by the values of ``--set``.

    Raises:
        typer.BadParameter: a setting is unknown, or its value can't be read.
    """
    found = {} if document is None else _object(document)
    for option in options or ():
        try:
            name, value = _setting(option)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--set'") from None
        *sections, last = name.split(".")
        target = found
        for section in sections:
            if not isinstance(target.get(section), dict):
                target[section] = {}
            target = target[section]
        target[last] = value
    return found


def _setting(option: str) -> tuple[str, Any]:
    """Return the name and the value of an option of ``--set``."""
    name, equals, text = option.partition("=")
    if name.rpartition(".")[2] in SECRETS:
        raise ValueError(
            f"{name} is a secret that other users could see: put it into the JSON object of"
            " --settings"
        )
    if not equals or name not in SETTABLE:
        near = get_close_matches(name, SETTABLE, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else "see 'extensions show'"
        # A text that is not a name may be a secret.
        shown = f", got {name!r}" if is_name(name) and (equals or near) else ""
        raise ValueError(f"must be a setting such as profile.first_name=Ann{shown}; {advice}")
    return name, read_value(NewExtension, name, text)


def _object(document: str) -> dict[str, Any]:
    sections = list(dict.fromkeys(name.partition(".")[0] for name in SETTABLE))
    try:
        found = read_json(document)
        if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
            raise ValueError(
                'must be an object of sections, such as {"profile": {"first_name": "Ann"}}'
            )
        unknown = shown_names(name for name in found if name not in sections)
        if unknown:
            known = ", ".join(sections)
            raise ValueError(f"no such section: {', '.join(unknown)}; choose from {known}")
    except ValueError as error:
        problem = str(error)
        if isinstance(error, json.JSONDecodeError):
            problem = f"is not JSON, see line {error.lineno}"
        raise typer.BadParameter(problem, param_hint="'--settings'") from None
    return found
