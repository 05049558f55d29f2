"""Reads the messages of the web socket, and says what each of them means.

A message as documented is decoded by msgspec alone. If that fails, it is parsed leniently, and each
field of another form is converted or left out. One item that can't be read doesn't spoil the others
of its message.

Nothing in this module keeps a state: `protocol.WSIProtocol` does.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import msgspec

from ...core import decode
from ...redact import Record
from ..status_models import ExtensionState

EXTENSION_EVENTS: Final = "extension_events"
MANAGEMENT_EVENTS: Final = "extension_management_events"


class LoggedIn(Record, frozen=True, gc=False):
    """The PBX accepted the login."""


class LoginRefused(Record, frozen=True, gc=False):
    """The PBX refused the login.

    Attributes:
        error: what the PBX says about it, without secrets; empty if it says nothing.
    """

    error: str


class Acknowledged(Record, frozen=True, gc=False):
    """The PBX acknowledged a subscription.

    Attributes:
        topic: the topic that it is about.
    """

    topic: str


class SubscriptionRefused(Record, frozen=True, gc=False):
    """The PBX refused a subscription.

    Attributes:
        topic: the topic that it is about.
        error: what the PBX says about it, without secrets; empty if it says nothing.
    """

    topic: str
    error: str


class StateReported(Record, frozen=True, gc=False):
    """The PBX reported the state of an extension, or a part of it.

    Attributes:
        number: the extension.
        state: the state, merged with what the PBX reported before.
        is_complete: whether it comes from an `extension_status` event. Such an event reports
            everything, so no other event will bring what is still None.
    """

    number: str
    state: ExtensionState
    is_complete: bool


class ManagementEvent(Record, frozen=True, gc=False):
    """An extension came, changed or went.

    Attributes:
        number: the extension.
        user_id: the PBX's id of the user; None if the event lacks it.
    """

    number: str
    user_id: str | None


class ExtensionCreated(ManagementEvent, frozen=True, gc=False):
    """An extension was created."""


class ExtensionUpdated(ManagementEvent, frozen=True, gc=False):
    """The settings of an extension were changed."""


class ExtensionDestroyed(ManagementEvent, frozen=True, gc=False):
    """An extension was removed."""


class Unreadable(Record, frozen=True, gc=False):
    """A message is not one of the API, or is of an unknown kind.

    Attributes:
        reason: why it can't be used.
    """

    reason: str


Event: TypeAlias = (
    LoggedIn
    | LoginRefused
    | Acknowledged
    | SubscriptionRefused
    | StateReported
    | ManagementEvent
    | Unreadable
)


class NotAMessage(ValueError):
    """A text is not JSON, or not an object. The message quotes nothing from it."""


class Item(msgspec.Struct, gc=False):
    """What a message reports about one extension. A field is None if it is not reported."""

    extension: str | int | None = None
    extension_id: str | int | None = None
    call_status: str | None = None
    online: bool | None = None
    presence: str | None = None
    presence_note: str | None = None


class Message(Item, gc=False):
    """A message of the PBX. Events about one extension have the fields of an item."""

    event_type: str | None = None
    command: str | None = None
    status: int | str | list[Item] | Item | None = None
    error: str | None = None
    extension_number: str | int | None = None
    topics: list[str] | str | None = None


# What msgspec raises for a text that is no message as documented.
_REFUSALS: Final = (ValueError, TypeError, OverflowError, RecursionError)
_decode_message: Final = msgspec.json.Decoder(Message).decode

# A text in quotes, maybe cut off, or a comma before the end of an object or array.
_TRAILING_COMMA: Final = re.compile(
    r""" ( "(?:[^"\\]|\\.)*+ (?:"|\\?\Z) ) | ,(?=\s*[}\]]) """, re.VERBOSE | re.DOTALL
)
_BRACKETED: Final = re.compile("<((?:sips?|tel):[^<>]*)>", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[\s<]*(?:sips?|tel):", re.IGNORECASE)
_INTEGER: Final = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)
_NUMBER: Final = re.compile(r"[^\s<>\"@]{1,64}")  # the API allows 64 digits


def read(text: str) -> list[Message]:
    """Read a text as a message, or as several in an array.

    Raises:
        NotAMessage: it is not JSON, or there is no object in it.
    """
    try:
        return [_decode_message(text)]
    except _REFUSALS:
        pass
    document = _parse(text)
    rows = document if isinstance(document, list) else [document]
    messages = [_message(row) for row in rows if isinstance(row, dict)]
    if not messages:
        raise NotAMessage("JSON without an object")
    return messages


def items_of(message: Message) -> Sequence[Item]:
    """Return the items of an event: those of its array, or the event itself."""
    if isinstance(message.status, list):
        return message.status
    return (message.status if isinstance(message.status, Item) else message,)


def code_of(message: Message) -> int | None:
    """Return the status of a reply, 0 for success; None if it has no usable one."""
    status = message.status
    if isinstance(status, str):
        return int(status) if _INTEGER.fullmatch(status) else None
    return status if isinstance(status, int) else None


def topics_of(message: Message) -> Sequence[str]:
    """Return the topics that a reply names."""
    topics = message.topics
    return (topics,) if isinstance(topics, str) else topics or ()


def user_id_of(item: Item) -> str | None:
    """Return the PBX's id of the user; None if it is not reported."""
    user_id = item.extension_id
    return None if user_id is None or user_id == "" else str(user_id)


def number_of(extension: str | int | None) -> str | None:
    """Return the number in a SIP URI, or the bare number; None if there is none.

    Args:
        extension: such as ``sip:101@test.io``, ``"Ann" <sips:101@test.io;transport=tls>`` or
            ``101``.
    """
    if not isinstance(extension, str):
        return _checked(str(extension)) if extension is not None else None
    # This is how the vendor's PBX writes it.
    user, at, _ = extension.partition("@")
    if at and user.startswith("sip:") and user[4:].isdigit() and user.isascii():
        return _checked(user[4:])
    bracketed = _BRACKETED.search(extension)
    address = bracketed[1] if bracketed else extension
    scheme = _SCHEME.match(address)
    address = address[scheme.end() :] if scheme else address
    user, at, _ = address.partition("@")
    user = re.split("[;:?]", user, maxsplit=1)[0]
    if scheme and not at and "." in user:
        return None  # the URI of a host
    return _checked(unquote(user.strip(" <>")))


def _checked(number: str) -> str | None:
    return number if _NUMBER.fullmatch(number) and number.isprintable() else None


def _parse(text: str) -> Any:
    body = text.encode(errors="replace")  # half a surrogate pair can't be encoded
    for mend in (False, True):
        if mend:
            mended = _TRAILING_COMMA.sub(lambda found: found[1] or "", text)
            body = mended.encode(errors="replace")
        try:
            return decode.parse(body)
        except decode.Unreadable:
            pass
    raise NotAMessage("no JSON")


def _message(row: dict[str, Any]) -> Message:
    status = row.get("status")
    items: Any
    if isinstance(status, list):
        items = [Item(**_fields(each)) if isinstance(each, dict) else Item() for each in status]
    else:
        items = Item(**_fields(status)) if isinstance(status, dict) else _code(status)
    return Message(
        **_fields(row),
        event_type=_text(row.get("event_type")),
        command=_text(row.get("command")),
        status=items,
        error=_error(row.get("error")),
        extension_number=_identifier(row.get("extension_number")),
        topics=_topics(row.get("topics")),
    )


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "extension": _identifier(row.get("extension")),
        "extension_id": _identifier(row.get("extension_id")),
        "call_status": _text(row.get("call_status")),
        "online": _boolean(row.get("online")),
        "presence": _text(row.get("presence")),
        "presence_note": _text(row.get("presence_note")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _code(value: object) -> int | str | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _identifier(value: object) -> str | None:
    """Return a text, or a number as text; None for anything else."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value if isinstance(value, str) else None
    try:
        return decode.repair(value, str)
    except decode.Unreadable:
        return None


def _boolean(value: object) -> bool | None:
    """Return a boolean, or one that is written as text or as a number."""
    if isinstance(value, bool) or value is None:
        return value
    try:
        return decode.repair(value, bool)
    except decode.Unreadable:
        return None


def _error(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return None


def _topics(value: object) -> list[str]:
    """Return the names of topics. Version 12 has objects with the name in ``topic``."""
    topics = value if isinstance(value, list) else [value]
    names = (topic.get("topic") if isinstance(topic, dict) else topic for topic in topics)
    return [name for name in names if isinstance(name, str)]
