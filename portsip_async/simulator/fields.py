"""The fields that each operation takes, and the check of a request against them.

Unknown fields are ignored. A required field that is missing, or a field of another type, is an
error.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from ..models import ForwardRules, OfficeHours, Options, Profile, VoiceMail
from .errors import PBXError
from .state import Greeting

Text = Annotated[str, Meta(pattern=r"\S")]  # not blank
Texts = list[Text]
Count = Annotated[int, Meta(ge=1, le=2**63 - 1)]

_PAGE = {"pagination": Count, "pagesize": Count | None}
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
    "greetings.add": {**_NUMBER, "filename": Text | None, "url": Text | None},
    "greetings.upload": {**_NUMBER, "filename": Text | None, "file": Greeting},
    "greetings.setup": {**_NUMBER, "filename": Text},
    "greetings.remove": {**_NUMBER, "filename": Text},
}


def is_required(kind: Any) -> bool:
    """Return whether a field of a type must be sent."""
    return type(None) not in get_args(kind)


def _struct(name: str, fields: Mapping[str, Any]) -> type[msgspec.Struct]:
    members = [(n, kind) if is_required(kind) else (n, kind, None) for n, kind in fields.items()]
    return msgspec.defstruct(name, members, kw_only=True)


def _from_text(kind: Any) -> Callable[[str], Any]:
    """Return the conversion of a query's text to a type; other text stays as it is."""
    kinds = (kind, *get_args(kind))
    if Texts in kinds:  # a query that names it once
        return lambda text: [text]
    if bool in kinds:
        return lambda text: {"true": True, "false": False}.get(text, text)
    if Count in kinds:
        return lambda text: int(text) if re.fullmatch("[0-9]{1,18}", text) else text
    return str


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
