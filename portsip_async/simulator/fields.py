"""The fields that each operation takes, and the check of a request against them.

Unknown fields are ignored. A required field that is missing, or a field of another type, is an
error.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypeAlias, get_args

import msgspec
from msgspec import Meta

from ..classic.models import ForwardRules, OfficeHours, Options, Profile, VoiceMail
from .errors import PBXError
from .state import Greeting

Text: TypeAlias = Annotated[str, Meta(min_length=1)]  # and not blank
Texts: TypeAlias = list[Text]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
OptionalText: TypeAlias = Text | None
OptionalCount: TypeAlias = Count | None

_PAGE = {"pagination": Count, "pagesize": OptionalCount}
_SORTED_PAGE = {**_PAGE, "sort_by": str | None}
_NUMBER = {"extension_number": Text}
_SECTIONS: Mapping[str, Any] = {
    "profile": Profile,
    "options": Options,
    "forward_rules": ForwardRules,
    "office_hours": OfficeHours,
    "voice_mail": VoiceMail,
}
_GROUP_ID = {"group_id": Text}
_GROUP = {
    "group_name": Text,
    "group_description": str | None,
    "enable_intercom": bool,
    "enable_external_call": bool,
    "enable_management_console_access": bool,
    "members": Texts | None,
}

# By operation: the types of its fields. A field that may be None is optional, and null counts as
# not sent.
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "account.verify": {"username": Text, "password": Text},
    "account.verify_email": {"email": Text, "password": Text},
    "account.refresh": {},
    "extensions.list": _SORTED_PAGE,
    "extensions.search": {"condition": str, **_PAGE},
    "extensions.create": {
        **_NUMBER,
        "password": Text,
        "web_access_password": Text,
        **{name: model | None for name, model in _SECTIONS.items()},
    },
    "extensions.show": _NUMBER,
    "extensions.status": {"extensions": Texts},
    "extensions.call": dict.fromkeys(("extension", "auth", "to", "domain", "src"), Text),
    "extensions.update": {**_NUMBER, **_SECTIONS},
    "extensions.remove": _NUMBER,
    "groups.list": _SORTED_PAGE,
    "groups.show": _GROUP_ID,
    "groups.create": _GROUP,
    "groups.update": {**_GROUP_ID, **_GROUP},
    "groups.remove": _GROUP_ID,
    "greetings.list": {**_NUMBER, **_SORTED_PAGE},
    "greetings.add": {**_NUMBER, "filename": OptionalText, "url": OptionalText},
    "greetings.upload": {**_NUMBER, "filename": OptionalText, "file": Greeting},
    "greetings.setup": {**_NUMBER, "filename": Text},
    "greetings.remove": {**_NUMBER, "filename": Text},
}


def is_required(kind: Any) -> bool:
    """Return whether a field of a type must be sent."""
    return type(None) not in get_args(kind)


# The readers below return the value to work with, or raise ValueError with the rest of "NAME must
# be ...". They are plain Python, since msgspec.convert with a pattern takes 30 µs more for a status
# request of 100 numbers.


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
        raise ValueError("a whole number from 1 on")
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
    return value  # as it was sent, with the fields that the model doesn't have


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    str: _string,
    Text: _text,
    Texts: _texts,
    Count: _count,
    bool: _flag,
    Greeting: _file,
    **{model: partial(_section, model) for model in _SECTIONS.values()},
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
