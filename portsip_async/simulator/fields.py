"""The fields that each operation takes: which are required, which are optional, and their types.

`FIELDS` is the table; `read_fields` checks a request against it. Unknown fields are ignored. A
required field that is missing, or a field of another type, is an error.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ..models import ForwardRules, OfficeHours, Options, Profile, VoiceMail
from .errors import PBXError
from .state import Greeting

# Returns the value to work with, or raises ValueError with the rest of "NAME must be ...".
Reader = Callable[[Any], Any]
_Readers = dict[str, Reader]


class OperationFields(NamedTuple):
    """The fields of an operation, by name."""

    required: Mapping[str, Reader] = {}
    optional: Mapping[str, Reader] = {}


def any_text(value: Any) -> str:
    """Read a string, which may be empty."""
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def text(value: Any) -> str:
    """Read a string that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a non-empty string")
    return value


def count(value: Any) -> int:
    """Read a whole number from 1 on; in a query it is text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number from 1 on")
    return value


def flag(value: Any) -> bool:
    """Read a boolean; in a query it is text."""
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise ValueError("true or false")
    return value in (True, "true")


def texts(value: Any) -> list[str]:
    """Read an array of strings without repetitions; in a query, one of them is plain text."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError("an array")
    return list(dict.fromkeys(map(text, value)))


def file(value: Any) -> Greeting:
    """Read an uploaded file."""
    if not isinstance(value, Greeting):
        raise ValueError("a file")
    return value


def section(model: type[msgspec.Struct]) -> Reader:
    """Make the reader of a section of an extension's settings, as it was sent."""

    def read(value: Any) -> Any:
        try:
            msgspec.convert(value, model)
        except msgspec.ValidationError:
            # msgspec's own text would contain the value.
            raise ValueError("an object with fields of the documented types") from None
        return value

    return read


_LOGIN: _Readers = {"password": text}
_PAGE: _Readers = {"pagination": count}
_PAGE_OPTIONS: _Readers = {"pagesize": count, "sort_by": any_text}
_NUMBER: _Readers = {"extension_number": text}
_SECTIONS: _Readers = {
    "profile": section(Profile),
    "options": section(Options),
    "forward_rules": section(ForwardRules),
    "office_hours": section(OfficeHours),
    "voice_mail": section(VoiceMail),
}
_GROUP_ID: _Readers = {"group_id": text}
_GROUP: _Readers = {
    "group_name": text,
    "enable_intercom": flag,
    "enable_external_call": flag,
    "enable_management_console_access": flag,
}
_GROUP_OPTIONS: _Readers = {"group_description": any_text, "members": texts}
_FILENAME: _Readers = {"filename": text}

FIELDS: Mapping[str, OperationFields] = {
    "account.verify": OperationFields({"username": text} | _LOGIN),
    "account.verify_email": OperationFields({"email": text} | _LOGIN),
    "account.refresh": OperationFields(),
    "extensions.list": OperationFields(_PAGE, _PAGE_OPTIONS),
    "extensions.search": OperationFields({"condition": any_text} | _PAGE, {"pagesize": count}),
    "extensions.create": OperationFields(
        _NUMBER | {"password": text, "web_access_password": text}, _SECTIONS
    ),
    "extensions.show": OperationFields(_NUMBER),
    "extensions.status": OperationFields({"extensions": texts}),
    "extensions.call": OperationFields(
        dict.fromkeys(("extension", "auth", "to", "domain", "src"), text)
    ),
    "extensions.update": OperationFields(_NUMBER | _SECTIONS),
    "extensions.remove": OperationFields(_NUMBER),
    "groups.list": OperationFields(_PAGE, _PAGE_OPTIONS),
    "groups.show": OperationFields(_GROUP_ID),
    "groups.create": OperationFields(_GROUP, _GROUP_OPTIONS),
    "groups.update": OperationFields(_GROUP_ID | _GROUP, _GROUP_OPTIONS),
    "groups.remove": OperationFields(_GROUP_ID),
    "greetings.list": OperationFields(_NUMBER | _PAGE, _PAGE_OPTIONS),
    "greetings.add": OperationFields(_NUMBER, _FILENAME | {"url": text}),
    "greetings.upload": OperationFields(_NUMBER | {"file": file}, _FILENAME),
    "greetings.setup": OperationFields(_NUMBER | _FILENAME),
    "greetings.remove": OperationFields(_NUMBER | _FILENAME),
}


def read_fields(fields: OperationFields, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its operation takes; null counts as not sent.

    Raises:
        PBXError: a required field is missing, or a field has another type.
    """
    found: dict[str, Any] = {}
    for readers in fields:
        for name, read in readers.items():
            value = sent.get(name)
            if value is None:
                if readers is fields.required:
                    raise PBXError("format", f"{name} is required")
                continue
            try:
                found[name] = read(value)
            except ValueError as error:
                raise PBXError("format", f"{name} must be {error}") from None
    return found
