"""The messages of the web socket `/wsi`: how commands are read and events are written. Pure."""

from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from ..generated import opaque_id
from ..quirks import ReplyShaper
from .users import USER_KIND, Users, unix_time

STATES = "extension_events"
MANAGEMENT = "extension_management_events"
WRONG_LOGIN = "access_token , username , domain or password error"

_TENANT_ID = "883634229655633920"
_OWN_TOPICS = frozenset(
    {STATES, MANAGEMENT, "cdr_events", "queue_events", "queue_management_events"}
)
_GLOBAL_TOPICS = frozenset(f"global_{topic}" for topic in _OWN_TOPICS)
TOPICS = _OWN_TOPICS | _GLOBAL_TOPICS

# Quirks that apply to replies, and to events. Some would make a message no message at all.
_REPLY_QUIRKS = frozenset({"numbers_as_strings", "unknown_fields"})
_EVENT_QUIRKS = _REPLY_QUIRKS | {"nulls", "absent_fields", "unknown_enums"}
_ESSENTIAL = frozenset({"event_type", "extension", "extension_id", "extension_number"})


class Command(NamedTuple):
    """A command of a client. What is missing or has another type than it should is empty.

    Attributes:
        name: auth, subscribe, unsubscribe, or anything else.
        id: its id, which replies repeat.
        topics: the topics.
        extensions: the extension numbers; None if there is no such field.
        fields: all fields.
    """

    name: str
    id: str | None
    topics: list[str]
    extensions: list[str] | None
    fields: dict[str, Any]


def read_command(message: str | bytes) -> Command | None:
    """Read a message of a client; None if it is not an object in JSON."""
    try:
        fields = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    name, sent_id, extensions = (fields.get(key) for key in ("command", "id", "extensions"))
    return Command(
        name if isinstance(name, str) else "",
        str(sent_id) if isinstance(sent_id, str | int) else None,
        _texts(fields.get("topics")) or [],
        _texts(extensions),
        fields,
    )


class Login(msgspec.Struct):
    """The fields of the command auth."""

    password: str
    username: str | None = None
    extension_number: str | None = None
    domain: str | None = None


def read_login(command: Command) -> Login | None:
    """Read the fields of a login; None if one has the wrong type, or the password is missing."""
    try:
        return msgspec.convert(command.fields, Login)
    except msgspec.ValidationError:
        return None


def _texts(value: Any) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [item for item in value if isinstance(item, str)]


class State(NamedTuple):
    """What is reported about an extension.

    Attributes:
        online: whether a phone is registered.
        call_status: "" without a call.
        presence: the presence, as REST shows it.
        note: the note beside it.
    """

    online: bool
    call_status: str
    presence: str
    note: str


class _Status(msgspec.Struct):
    extension: str
    extension_id: str
    call_status: str
    online: bool
    presence: str
    presence_note: str
    push_online: bool
    time: str


class _Statuses(msgspec.Struct):
    event_type: str
    status: list[_Status]
    tenant_id: str


class _Call(msgspec.Struct):
    event_type: str
    extension: str
    call_status: str
    tenant_id: str
    extension_id: str
    time: str


class _Presence(msgspec.Struct):
    event_type: str
    extension: str
    presence: str
    presence_note: str
    tenant_id: str
    extension_id: str
    time: str


class Events:
    """Reads the states of extensions, and writes events about them."""

    def __init__(self, users: Users, domain: str, quirks: frozenset[str]) -> None:
        """Store where states are read, and how messages are encoded."""
        self._users = users
        self._domain = domain
        self._replies = ReplyShaper(quirks & _REPLY_QUIRKS)
        self._events = ReplyShaper(quirks & _EVENT_QUIRKS, _ESSENTIAL)
        self._has_plain_events = not quirks & _EVENT_QUIRKS

    def state(self, index: int, number: str, now: float) -> State:
        """Read the state of an extension."""
        status, presence, note = self._users.state(index, number, now)
        call_status = "" if status in ("OFFLINE", "ONLINE") else status
        return State(status != "OFFLINE", call_status, presence, note)

    def statuses(self, states: list[tuple[int, str, State]], now: float) -> bytes:
        """Write everything about some extensions: of each its index, its number and its state."""
        time = _time(now)
        return self._event(
            _Statuses(
                "extension_status",
                [
                    _Status(
                        self._uri(number),
                        opaque_id(index, USER_KIND),
                        state.call_status,
                        state.online,
                        state.presence,
                        state.note,
                        False,
                        time,
                    )
                    for index, number, state in states
                ],
                _TENANT_ID,
            )
        )

    def call(self, index: int, number: str, state: State, now: float) -> bytes:
        """Write that a call began, was answered or ended."""
        return self._event(
            _Call(
                "extension_call",
                self._uri(number),
                state.call_status,
                _TENANT_ID,
                opaque_id(index, USER_KIND),
                _time(now),
            )
        )

    def presence(self, index: int, number: str, state: State, now: float) -> bytes:
        """Write that the presence or its note changed."""
        return self._event(
            _Presence(
                "extension_presence",
                self._uri(number),
                state.presence,
                state.note,
                _TENANT_ID,
                opaque_id(index, USER_KIND),
                _time(now),
            )
        )

    def management(self, change: str, index: int) -> bytes:
        """Write that an extension was created, updated or destroyed."""
        user = self._users.summary(index)
        return self._event(
            {
                "event_type": f"extension_{change}",
                "extension_number": user["extension_number"],
                "disp_name": user["display_name"],
                "email": user["email"],
                "extension_id": user["id"],
                "tenant_id": _TENANT_ID,
                "username": user["name"],
                "enabled": user["enabled"],
            }
        )

    def reply(
        self, command: str, message_id: str, *, topics: list[str] | None = None, error: str = ""
    ) -> bytes:
        """Write the reply to a command; with an error, a refusal."""
        content: dict[str, Any] = {"command": command} if command else {}
        if error:
            content["error"] = error
        content["id"] = message_id
        if topics is not None:
            content["topics"] = topics
        content["status"] = -1 if error else 0
        return self._replies.reply(command, content)

    def _event(self, event: Any) -> bytes:
        if self._has_plain_events:
            return msgspec.json.encode(event)
        return self._events.reply("", msgspec.to_builtins(event))

    def _uri(self, number: str) -> str:
        return f"sip:{number if number.isalnum() else quote(number)}@{self._domain}"


def _time(now: float) -> str:
    return str(unix_time(now))
