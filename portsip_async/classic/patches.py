"""Patches: which changes are allowed, and how they are merged into what the PBX holds.

A patch reads an item, merges the changes and writes the result. So everything the PBX knows is
written back, and a mistake could destroy settings. All checks that need no reply happen before the
read. The others happen between the read and the write.

Pure: values go in and come out.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from ..arguments import plain_text
from ..core.request import to_builtins
from ..errors import ReplyError
from .models import SECTIONS, Extension


def merge(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into a document, key by key, as deep as both are mappings."""
    merged = dict(old)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def drop_none_deep(value: Any) -> Any:
    """Leave out None at any depth of nested mappings."""
    if isinstance(value, Mapping):
        return {name: drop_none_deep(item) for name, item in value.items() if item is not None}
    return value


def section_changes(changes: object) -> dict[str, dict[str, Any]]:
    """Check the changes to an extension's sections, and return them as plain values.

    A section of None is left out: it changes nothing.

    Raises:
        TypeError: not a mapping of sections, an unknown section, or a section without fields.
    """
    if not isinstance(changes, Mapping):
        raise TypeError(f"a patch must be a mapping of sections, got {type(changes).__name__}")
    plain: dict[str, dict[str, Any]] = {}
    for key, section in changes.items():
        name = plain_text(key) if isinstance(key, str) else key
        if name not in SECTIONS:
            raise unknown_field("an extension", name, SECTIONS)
        if section is not None:
            plain[name] = plain_section(name, section)
            _check_shape(name, plain[name], _fields_of(Extension)[name])
    return plain


def plain_section(name: str, section: object) -> dict[str, Any]:
    """Return a section, given as a struct or a mapping, as plain values.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(section, Mapping | msgspec.Struct):
        raise TypeError(f"{name} must be a struct or a mapping, got {type(section).__name__}")
    plain: dict[str, Any] = to_builtins(section)
    return plain


def _check_shape(name: str, changes: Mapping[Any, Any], model: type[msgspec.Struct] | None) -> None:
    """Check that field names are texts, and that a part with fields is not replaced by a value.

    Raises:
        TypeError: a name or a value of another type.
    """
    parts = {} if model is None else _fields_of(model)
    for field, value in changes.items():
        if not isinstance(field, str):
            raise TypeError(f"a field of {name} must be a str, got {type(field).__name__}")
        part = parts.get(field)
        if isinstance(value, Mapping):
            _check_shape(f"{name}.{field}", value, part)
        elif part is not None and value is not None:
            raise TypeError(
                f"{name}.{field} must be a mapping or {part.__name__}, got {type(value).__name__}"
            )


def merge_sections(
    read: dict[str, Any], changes: Mapping[str, dict[str, Any]], operation: str
) -> dict[str, Any]:
    """Merge changed sections into the extension that an operation read.

    Raises:
        TypeError: a field that neither the models nor the reply have, with the nearest name.
        ReplyError: the PBX holds something that is not an object in place of a section.
    """
    models = _fields_of(Extension)
    for name, section in changes.items():
        _check_fields(name, section, read.get(name), models[name], operation)
    return merge(read, changes)


def _check_fields(
    name: str,
    changes: Mapping[str, Any],
    read: object,
    model: type[msgspec.Struct] | None,
    operation: str,
) -> None:
    """Check that a patch names only fields that the model or the reply has.

    Args:
        name: the section or part that is patched, such as ``forward_rules.available``.
        changes: the fields to change, plain.
        read: what the PBX holds there.
        model: the struct that describes it; None if the SDK has none.
        operation: the name of the operation that read it.

    Raises:
        TypeError: neither has the field; the message has the nearest name.
        ReplyError: the PBX holds something else than an object, which the write would destroy.
    """
    fields = {} if model is None else _fields_of(model)
    if model is not None and not isinstance(read, Mapping) and read not in (None, "", []):
        raise ReplyError(expected="an object", where=f"$.{name}", operation=operation)
    found: Mapping[str, object] = read if isinstance(read, Mapping) else {}
    for field, value in changes.items():
        if field not in fields and field not in found:
            raise unknown_field(name, field, [*fields, *found])
        if isinstance(value, Mapping):
            _check_fields(f"{name}.{field}", value, found.get(field), fields.get(field), operation)


@cache
def _fields_of(model: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """Return a model's fields, each with its struct if it holds one."""
    hints = get_type_hints(model)
    return {
        field: next(
            (
                part
                for part in (hints[field], *get_args(hints[field]))
                if isinstance(part, type) and issubclass(part, msgspec.Struct)
            ),
            None,
        )
        for field in model.__struct_fields__
    }


def unknown_field(owner: str, field: object, known: Iterable[str]) -> TypeError:
    """Build the error for a field that does not exist, with the nearest name that does."""
    names = sorted(set(map(str, known)))
    nearest = get_close_matches(str(field).lower(), names, n=1)
    hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(names) or 'none'}"
    return TypeError(f'{owner} has no field "{field}"; {hint}')
