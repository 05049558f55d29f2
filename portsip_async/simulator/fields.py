"""The check of a request against the fields that its operation takes.

The endpoint table says which fields these are. Their values are checked here, on the PBX's side.

Unknown fields are ignored. A required field that is missing, or a field of another type, is an
error.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Union, get_args

import msgspec
from msgspec import Meta

from ..classic.operations import ENDPOINTS, Count, File, Text
from .errors import PBXError
from .state import Greeting

_Text = Annotated[str, Meta(pattern=r"\S")]  # not blank
_Texts = list[_Text]
_Count = Annotated[int, Meta(ge=1, le=2**63 - 1)]

# What this PBX accepts for the types of the table.
_TYPES: Final[Mapping[Any, Any]] = {
    Text: _Text,
    tuple[Text, ...]: _Texts,
    Count: _Count,
    File: Greeting,
}


def _accepted(kind: Any) -> Any:
    if is_required(kind):
        return _TYPES.get(kind, kind)
    parts = tuple(_TYPES.get(part, part) for part in get_args(kind))
    return Union[parts]  # noqa: UP007 - `|` takes no tuple


def is_required(kind: Any) -> bool:
    """Return whether a field of a type must be sent."""
    return type(None) not in get_args(kind)


def _struct(name: str, fields: Mapping[str, Any]) -> type[msgspec.Struct]:
    members = [(n, kind) if is_required(kind) else (n, kind, None) for n, kind in fields.items()]
    return msgspec.defstruct(name, members, kw_only=True)


def _from_text(kind: Any) -> Callable[[str], Any]:
    """Return the conversion of a query's text to a type; other text stays as it is."""
    kinds = (kind, *get_args(kind))
    if _Texts in kinds:  # a query that names it once
        return lambda text: [text]
    if bool in kinds:
        return lambda text: {"true": True, "false": False}.get(text, text)
    if _Count in kinds:
        return lambda text: int(text) if re.fullmatch("[0-9]{1,18}", text) else text
    return str


# By operation: the types of its fields. A field that may be None is optional, and null counts as
# not sent.
FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {field: _accepted(kind) for field, kind in (row.takes or {}).items()}
    for name, row in ENDPOINTS.items()
} | {
    # The part with the file may have the file's name instead.
    "greetings.upload": {"extension_number": _Text, "filename": _Text | None, "file": Greeting},
}
_STRUCTS = {name: _struct(name, fields) for name, fields in FIELDS.items()}
_FROM_TEXT = {
    name: {field: _from_text(kind) for field, kind in fields.items()}
    for name, fields in FIELDS.items()
}


def read_fields(operation: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its operation takes, without those that are null.

    Sections are returned as they were sent, with the fields that the models don't have.

    Raises:
        PBXError: a required field is missing, or a field has another type.
    """
    fields: dict[str, Any] = {}
    for name, from_text in _FROM_TEXT[operation].items():
        value = sent.get(name)
        if value is not None:
            fields[name] = from_text(value) if isinstance(value, str) else value
    try:
        msgspec.convert(fields, _STRUCTS[operation])
    except msgspec.ValidationError as error:
        raise PBXError("format", str(error)) from None  # names the field, not its value
    return fields
