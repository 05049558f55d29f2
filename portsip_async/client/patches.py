"""Patches: which changes are allowed, and how they are merged into what the PBX holds.

A patch reads an item, merges the changes and writes the result. So all settings of the item are
written back, and a mistake could destroy them. All checks that need no reply happen before the
read. The others happen between the read and the write.

Pure functions: no I/O and no state.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, Never, TypeAlias, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from ..core.request import to_builtins
from ..errors import ReplyError

# Changes that were read from JSON. Type checkers take a mapping for it only if its values have type
# Any. So they accept such a mapping, and report a wrong field in a literal dictionary nevertheless.
UncheckedChanges: TypeAlias = Mapping[str, Never]


def merge(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into a document, key by key, at any depth where both are mappings."""
    merged = dict(old)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(before if isinstance(before, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def drop_none_deep(value: Any, *, in_lists: bool = False) -> Any:
    """Leave out None at any depth of nested mappings; of those in lists if `in_lists` is True."""
    if isinstance(value, Mapping):
        return {
            name: drop_none_deep(item, in_lists=in_lists)
            for name, item in value.items()
            if item is not None
        }
    if in_lists and isinstance(value, list):
        return [drop_none_deep(item, in_lists=True) for item in value]
    return value


def plain_fields(name: str, fields: object) -> dict[str, Any]:
    """Return fields, given as a struct or a mapping, as plain values.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(fields, Mapping | Struct):
        raise TypeError(f"{name} must be a struct or a mapping, got {type(fields).__name__}")
    plain: dict[str, Any] = _with_lists(to_builtins(fields))
    return plain


def _with_lists(value: Any) -> Any:
    """Turn tuples into lists, however deep. What is written is also decoded, like JSON."""
    if isinstance(value, dict):
        return {name: _with_lists(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_lists(item) for item in value]
    return value


def check_has_id(read: Mapping[str, Any], operation: str) -> None:
    """Check that the item that an operation read has an id.

    A reply without one shows no item. To write it back would empty the real one.

    Raises:
        ReplyError: it has none.
    """
    if not read.get("id"):
        raise ReplyError(expected="an id", where="$.id", operation=operation)


def check_shape(name: str, changes: Mapping[Any, Any], model: type[Struct] | None) -> None:
    """Check that field names are texts, and that no value replaces a part with fields.

    Raises:
        TypeError: a name or a value of another type.
    """
    parts = {} if model is None else fields_of(model)
    for field, value in changes.items():
        if not isinstance(field, str):
            raise TypeError(f"a field of {name} must be a str, got {type(field).__name__}")
        part = parts.get(field)
        if isinstance(value, Mapping):
            check_shape(f"{name}.{field}", value, part)
        elif part is not None and value is not None:
            raise TypeError(
                f"{name}.{field} must be a mapping or {part.__name__}, got {type(value).__name__}"
            )


def check_parts(item: Struct, model: type[Struct]) -> None:
    """Check that each part of an item that has fields is a mapping or a struct.

    Raises:
        TypeError: a part is something else.
    """
    for field, part in fields_of(model).items():
        value = getattr(item, field) if part is not None else None
        if part is not None and value is not None and not isinstance(value, Mapping | Struct):
            raise TypeError(
                f"{field} must be a mapping or {part.__name__}, got {type(value).__name__}"
            )


def check_fields(
    name: str,
    changes: Mapping[str, Any],
    read: object,
    model: type[Struct] | None,
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
        TypeError: neither has the field; the message suggests the nearest name.
        ReplyError: the PBX holds something other than an object, which the write would destroy.
    """
    fields = {} if model is None else fields_of(model)
    if model is not None and not isinstance(read, Mapping) and read not in (None, "", []):
        raise ReplyError(expected="an object", where=f"$.{name}", operation=operation)
    found: Mapping[str, object] = read if isinstance(read, Mapping) else {}
    for field, value in changes.items():
        if field not in fields and field not in found:
            raise unknown_field(name, field, [*fields, *found])
        if isinstance(value, Mapping):
            check_fields(f"{name}.{field}", value, found.get(field), fields.get(field), operation)


@cache
def fields_of(model: type[Struct]) -> dict[str, type[Struct] | None]:
    """Return a model's fields, each with its struct if it holds one."""
    hints = get_type_hints(model)
    found: dict[str, type[Struct] | None] = {}
    for field in model.__struct_fields__:
        hint = hints[field]
        # A list of structs is no part: a patch replaces it as a whole.
        types = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        parts = [each for each in types if isinstance(each, type) and issubclass(each, Struct)]
        found[field] = parts[0] if parts else None
    return found


def unknown_field(owner: str, field: object, known: Iterable[str]) -> TypeError:
    """Build the error for a field that does not exist, with the nearest name that does."""
    names = sorted(set(map(str, known)))
    nearest = get_close_matches(str(field).lower(), names, n=1)
    hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(names) or 'none'}"
    shown = str(field)
    if not shown.isprintable():
        shown = ascii(shown)[1:-1]  # half of a surrogate pair would break whatever prints it
    return TypeError(f'{owner} has no field "{shown}"; {hint}')
