"""Patches of extensions: the changes to their sections. The rules are in `client/patches.py`."""

from collections.abc import Mapping
from typing import Any

from ..arguments import plain_text
from ..client.patches import (
    check_fields,
    check_shape,
    fields_of,
    merge,
    plain_fields,
    unknown_field,
)
from .extension_models import SECTIONS, Extension


def section_changes(changes: object) -> dict[str, dict[str, Any]]:
    """Check the changes to an extension's sections, and return them as plain values.

    A section of None is left out: it changes nothing.

    Raises:
        TypeError: not a mapping of sections, an unknown section, or a section without fields.
    """
    if not isinstance(changes, Mapping):
        raise TypeError(f"changes must be a mapping of sections, got {type(changes).__name__}")
    plain: dict[str, dict[str, Any]] = {}
    for key, section in changes.items():
        name = plain_text(key) if isinstance(key, str) else key
        if name not in SECTIONS:
            raise unknown_field("an extension", name, SECTIONS)
        if section is not None:
            plain[name] = plain_fields(name, section)
            check_shape(name, plain[name], fields_of(Extension)[name])
    return plain


def merge_sections(
    read: dict[str, Any], changes: Mapping[str, dict[str, Any]], operation: str
) -> dict[str, Any]:
    """Merge changed sections into the extension that an operation read.

    Raises:
        TypeError: neither the models nor the reply have a field; the message suggests a name.
        ReplyError: a section in the reply is not an object.
    """
    models = fields_of(Extension)
    for name, section in changes.items():
        check_fields(name, section, read.get(name), models[name], operation)
    return merge(read, changes)
