"""The fields of a record by dotted names, as CSV files, ``--set`` and ``--columns`` speak of them.

A field of a section is named as in ``profile.first_name``.
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
from .reading import is_name, read_json

# Every secret that a record may hold, by its field's name.
SECRETS: Final = frozenset({"password", "web_access_password", "voicemail_pin"})
HIDDEN: Final = "***"


def plain(record: msgspec.Struct, *, reveal: bool = False) -> dict[str, Any]:
    """Bring a record to plain values, its secrets hidden unless they are to be revealed."""
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


def section_of(kind: Any) -> type[msgspec.Struct] | None:
    """Answer the struct that a field may hold; None where it holds something simple."""
    for part in (kind, *get_args(kind)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


@cache
def kinds_of(model: type[msgspec.Struct]) -> dict[str, Any]:
    """Answer the type of each field of a model by its dotted name."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(model):
        below = section_of(field.type)
        if below is None:
            found[field.name] = field.type
        else:
            found |= {f"{field.name}.{deeper}": kind for deeper, kind in kinds_of(below).items()}
    return found


def is_text(model: type[msgspec.Struct], name: str) -> bool:
    """Return whether a field holds a text, which `read_value` leaves as it is."""
    kind = kinds_of(model)[name]
    return not {bool, int} & ({*get_args(kind)} or {kind})


def dotted(model: type[msgspec.Struct]) -> list[str]:
    """List the fields of a model by their dotted names."""
    return list(kinds_of(model))


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the sections of a row out under dotted names."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{deeper}": item for deeper, item in flat(value).items()}
        else:
            found[name] = value
    return found


def nested(flat_row: Mapping[str, Any]) -> dict[str, Any]:
    """Put fields with dotted names into sections.

    Raises:
        ValueError: a section is given as a whole and in parts, or a part has no name.
    """
    found: dict[str, Any] = {}
    made: set[str] = set()  # sections that were put together from parts
    for name, value in flat_row.items():
        *sections, last = name.split(".")
        if not all((*sections, last)):
            raise ValueError("has a field without a name")
        place = found
        for depth, section in enumerate(sections, 1):
            path = ".".join(sections[:depth])
            if section in place and path not in made:
                raise ValueError(f"has {_named(path)} twice, whole and in parts")
            made.add(path)
            place = place.setdefault(section, {})
        if last in place:
            raise ValueError(f"has {_named(name)} twice, whole and in parts")
        place[last] = value
    return found


def _named(name: str) -> str:
    return name if is_name(name) else "a section"


def like(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return the known names that a misspelt one may stand for, the nearest first.

    A field of a section is found without its section too.
    """
    whole = {}
    for each in known:
        whole[each] = each
        whole.setdefault(each.rpartition(".")[2], each)
    near = get_close_matches(name.lower().replace(" ", "_"), whole, n=count + 2, cutoff=0.6)
    return list(dict.fromkeys(whole[each] for each in near))[:count]


def read_value(model: type[msgspec.Struct], name: str, text: str) -> Any:
    """Read the text of a field as its type: true or false, a number, or the text itself.

    Raises:
        KeyError: the model has no such field.
        ValueError: the text is none of the field's type.
    """
    kind = kinds_of(model)[name]
    allowed = {*get_args(kind)} or {kind}
    for wanted, told in ((bool, "true or false"), (int, "a whole number")):
        if wanted in allowed:
            try:
                return msgspec.convert(text.strip(), wanted, strict=False)
            except msgspec.ValidationError:
                raise ValueError(f"{name} is {told}") from None
    return text


def shown_names(unknown: Iterable[str]) -> list[str]:
    """Return names for an error: what does not look like one may be a secret, and is not shown."""
    return list(dict.fromkeys(name if is_name(name) else "one that is no name" for name in unknown))


# What --set may name: all settings of an extension, and none of its secrets.
SETTABLE: Final = tuple(
    name for name in dotted(NewExtension) if "." in name and name.rpartition(".")[2] not in SECRETS
)


def completed(incomplete: str) -> list[str]:
    """Complete the name of a setting in the shell."""
    return [f"{name}=" for name in SETTABLE if name.startswith(incomplete)]


def read_settings(given: list[str] | None, document: str | None) -> dict[str, Any]:
    """Read the settings to change: a JSON object, and over it what ``--set`` says.

    Raises:
        typer.BadParameter: one of them can't be read.
    """
    found: dict[str, Any] = {}
    if document is not None:
        found = _object(document)
    for one in given or ():
        name, equals, text = one.partition("=")
        if name.rpartition(".")[2] in SECRETS:
            raise typer.BadParameter(
                f"{name} is a secret, which other users would see: put it into the JSON object"
                " of --settings",
                param_hint="'--set'",
            )
        if not equals or name not in SETTABLE:
            shown = repr(name) if is_name(name) and (equals or _alike(name)) else "what is given"
            alike = _alike(name)
            near = f"alike are {', '.join(alike)}" if alike else "'extensions show' shows them all"
            raise typer.BadParameter(
                f"{shown} is no setting, as in profile.first_name=Ann; {near}",
                param_hint="'--set'",
            )
        try:
            value = read_value(NewExtension, name, text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--set'") from None
        _merge(found, nested({name: value}))
    return found


def _alike(name: str) -> list[str]:
    return get_close_matches(name, SETTABLE, n=3, cutoff=0.5)


def _object(document: str) -> dict[str, Any]:
    hinted = "'--settings'"
    try:
        found = read_json(document)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"is no JSON in line {error.lineno}", param_hint=hinted) from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hinted) from None
    sections = list(dict.fromkeys(name.partition(".")[0] for name in SETTABLE))
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        raise typer.BadParameter(
            'an object of sections is due, as {"profile": {"first_name": "Ann"}}',
            param_hint=hinted,
        )
    unknown = [name for name in found if name not in sections]
    if unknown:
        raise typer.BadParameter(
            f"no such section: {', '.join(shown_names(unknown))}; there are {', '.join(sections)}",
            param_hint=hinted,
        )
    return found


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> None:
    for name, value in over.items():
        below = under.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _merge(below, value)
        else:
            under[name] = value
