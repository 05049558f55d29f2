"""The fields that each operation takes, and the check of a request against them.

Unknown fields are ignored. A required field that is missing, or a field of another type, is an
error.
"""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import isclass
from typing import Any, get_args

import msgspec

from ..classic.enums import SortBy
from ..classic.operations import ENDPOINTS
from ..core.parameter_types import Count, File, Text
from .errors import PBXError
from .records import Greeting

# By operation: the types of its fields, from the endpoint table. A field that may be None is
# optional, and null is treated as not sent.
FIELDS: Mapping[str, Mapping[str, Any]] = {
    name: dict(row.takes or {}) for name, row in ENDPOINTS.items()
} | {
    # The name may also come with the part that has the file.
    "greetings.upload": {"extension_number": Text, "filename": Text | None, "file": File},
}


def is_required(kind: Any) -> bool:
    """Return whether a field of a type must be sent."""
    return type(None) not in get_args(kind)


# Each reader below checks and returns a value. Its ValueError holds the end of the message "NAME
# must be ...". They are plain Python, since msgspec.convert with a pattern takes 30 µs more for a
# status request of 100 numbers.


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a non-empty string")
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):  # in a query that names it once
        value = [value]
    if not isinstance(value, list):
        raise ValueError("an array of non-empty strings")
    return list(dict.fromkeys(map(_text, value)))


def _count(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)  # in a query
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise ValueError("a whole number of at least 1")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool) and value not in ("true", "false"):  # text in a query
        raise ValueError("true or false")
    return value in (True, "true")


def _file(value: Any) -> Greeting:
    if not isinstance(value, Greeting):
        raise ValueError("a file")
    return value


def _section(model: Any, value: Any) -> Any:
    try:
        msgspec.convert(value, model)
    except msgspec.ValidationError:
        # msgspec's own text may contain the value.
        raise ValueError("an object with fields of the documented types") from None
    return value  # as it was sent, with any fields that the model does not have


def _models() -> set[type[msgspec.Struct]]:
    kinds = [kind for fields in FIELDS.values() for kind in fields.values()]
    kinds += [part for kind in kinds for part in get_args(kind)]
    return {kind for kind in kinds if isclass(kind) and issubclass(kind, msgspec.Struct)}


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    str: _string,
    Text: _text,
    tuple[Text, ...]: _texts,
    Count: _count,
    bool: _flag,
    File: _file,
    SortBy: _string,
    **{model: partial(_section, model) for model in _models()},
}
# By operation: the name of each field, its reader, and whether it is required.
_CHECKS = {
    operation: [
        (name, _READERS[kind if is_required(kind) else get_args(kind)[0]], is_required(kind))
        for name, kind in fields.items()
    ]
    for operation, fields in FIELDS.items()
}


def read_fields(operation: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its operation takes, without those that are null.

    Raises:
        PBXError: a required field is missing, or a field has another type.
    """
    fields: dict[str, Any] = {}
    for name, read, required in _CHECKS[operation]:
        value = sent.get(name)
        if value is not None:
            try:
                fields[name] = read(value)
            except ValueError as error:
                raise PBXError("format", f"{name} must be {error}") from None
        elif required:
            raise PBXError("format", f"{name} is required")
    return fields
