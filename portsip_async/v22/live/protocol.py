"""The protocol of the web socket (WSI), without I/O and without a clock.

Texts to send come out, texts received go in, and events come out. A login comes first, then the
subscriptions, in pieces. The PBX reports the states after subscribing, then the changes.

Three things are not documented: whether a subscription is acknowledged, how many extensions one may
have, and to which subscription a refusal belongs. So acknowledgements are optional, the pieces are
small, and a reply that names no topic belongs to the oldest subscription without a reply.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ...redact import scrub_text
from ..enums import Presence, PresenceValue, Status, StatusValue
from ..status_models import ExtensionState
from .messages import (
    EXTENSION_EVENTS,
    MANAGEMENT_EVENTS,
    Acknowledged,
    Event,
    ExtensionCreated,
    ExtensionDestroyed,
    ExtensionUpdated,
    Item,
    LoggedIn,
    LoginRefused,
    ManagementEvent,
    Message,
    NotAMessage,
    StateReported,
    SubscriptionRefused,
    Unreadable,
    code_of,
    items_of,
    number_of,
    read,
    topics_of,
    user_id_of,
)

_PIECE: Final = 500  # extensions in one subscription
_LONGEST_ERROR: Final = 500  # characters
# States that are kept although the extension is not subscribed to. Nothing is missing unless a PBX
# reports more; a hostile one must not be able to fill the memory.
_KEPT: Final = 100_000

_TOPICS: Final = (EXTENSION_EVENTS, MANAGEMENT_EVENTS)
_TOPIC: Final = re.compile(r"(?<![a-z_])extension_(?:management_)?events(?![a-z_])")
_PLAIN_NAME: Final = re.compile("[a-z][a-z0-9_]{0,63}")

# The events about states, and whether each reports calls, registrations and presence.
_REPORTS: Final = {
    "extension_status": (True, True, True),
    "extension_call": (True, False, False),
    "extension_presence": (False, False, True),
}
_MANAGEMENT: Final[dict[str, type[ManagementEvent]]] = {
    "extension_created": ExtensionCreated,
    "extension_updated": ExtensionUpdated,
    "extension_destroyed": ExtensionDestroyed,
}
# Texts of `call_status` and what they mean; "" means that there is no call.
_CALLS: Final[dict[str, StatusValue]] = {
    "": "",
    "RINGING": Status.RINGING,
    "ON_CALL": Status.ON_CALL,
    "ON_ACLL": Status.ON_CALL,  # a sample of the vendor spells it this way
    "OTHER_CALL": Status.ON_CALL,
}
_PRESENCES: Final[dict[str, PresenceValue]] = {presence.value: presence for presence in Presence}


class _Known(msgspec.Struct, gc=False):
    """What was reported about an extension; None for what was never reported.

    Attributes:
        state: the state, without `status` if neither of the next two was reported.
        call: what `call_status` means; "" without a call.
        online: whether a telephone or an app is registered.
    """

    state: ExtensionState
    call: StatusValue | None = None
    online: bool | None = None


class WSIProtocol:
    """Turns the texts of a web socket into events, and commands into texts.

    One object serves one connection after the other. `connect` begins a new one, and forgets what
    was reported about the extensions.

    Attributes:
        messages: how many messages were received.
        unreadable: how many of them gave `Unreadable`.
    """

    def __init__(self, username: str, password: str, domain: str | None) -> None:
        self._username = username
        self._password = password
        self._domain = domain
        self.messages: int = 0
        self.unreadable: int = 0
        self._known: dict[str, _Known] = {}
        # All of these belong to the current connection.
        self._is_logged_in = False
        self._has_states = False
        self._has_acknowledged = False
        self._pending: deque[str] = deque()  # topics of the subscriptions without a reply
        self._subscribed: set[str] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(username={self._username!r}, domain={self._domain!r})"

    @property
    def unacknowledged(self) -> int:
        """How many subscriptions of this connection the PBX neither acknowledged nor refused."""
        return len(self._pending)

    def connect(self) -> str:
        """Begin a new connection, and return the text that logs in."""
        self._is_logged_in = self._has_states = self._has_acknowledged = False
        self._pending.clear()
        self._subscribed.clear()
        self._known.clear()  # it may have changed since
        login = {"username": self._username, "password": self._password}
        # Without a domain, the account is that of a system administrator.
        return _command("auth", login | ({"domain": self._domain} if self._domain else {}))

    def subscribe(self, numbers: Iterable[str]) -> list[str]:
        """Return the texts that subscribe to the states of extensions.

        Numbers that are not valid Unicode are left out: a PBX may refuse all others with them.
        """
        wanted = [number for number in dict.fromkeys(numbers) if _is_unicode(number)]
        self._subscribed.update(wanted)
        texts = _extension_commands("subscribe", wanted)
        self._pending.extend(EXTENSION_EVENTS for _ in texts)
        return texts

    def unsubscribe(self, numbers: Iterable[str]) -> list[str]:
        """Return the texts that end such subscriptions, and forget the states."""
        unwanted = list(dict.fromkeys(numbers))
        self._subscribed.difference_update(unwanted)
        for number in unwanted:
            self._known.pop(number, None)
        return _extension_commands("unsubscribe", unwanted)

    def subscribe_management(self) -> str:
        """Return the text that subscribes to extensions created, updated and destroyed."""
        self._pending.append(MANAGEMENT_EVENTS)
        return _command("subscribe", {"topics": [MANAGEMENT_EVENTS]})

    def receive(self, message: str | bytes) -> list[Event]:
        """Read a message, and return what happened. It never raises."""
        self.messages += 1
        events: list[Event] = []
        reason = None
        if isinstance(message, str):
            try:
                for each in read(message):
                    reason = self._receive(each, events) or reason
            except NotAMessage as error:
                reason = str(error)
        else:
            reason = "a binary message"
        if reason is not None:
            self.unreadable += 1
            events.append(Unreadable(reason))
        return events

    def _receive(self, message: Message, events: list[Event]) -> str | None:
        """Append what a message means; return why it can't be used, or None if it can."""
        kind = message.event_type
        if kind is None:
            return self._on_reply(message, events)
        if kind in _REPORTS:
            return self._on_report(kind, message, events)
        if kind in _MANAGEMENT:
            return self._on_management(_MANAGEMENT[kind], message, events)
        return f"an event of an unknown kind{self._shown(kind)}"

    def _on_report(self, kind: str, message: Message, events: list[Event]) -> str | None:
        items = items_of(message)
        before = len(events)
        for item in items:
            number = number_of(item.extension)
            state = None if number is None else self._merge(number, item, *_REPORTS[kind])
            if number is not None and state is not None:
                events.append(StateReported(number, state, kind == "extension_status"))
        if len(events) > before:
            self._has_states = True
            return None
        return f"{kind} without a usable state" if items else None

    def _merge(
        self, number: str, item: Item, has_call: bool, has_online: bool, has_presence: bool
    ) -> ExtensionState | None:
        """Return the merged state of an extension; None if the item reports nothing."""
        call = item.call_status if has_call else None
        online = item.online if has_online else None
        presence = (item.presence or None) if has_presence else None
        note = item.presence_note if has_presence else None
        if call is None and online is None and presence is None and note is None:
            return None
        known = self._known.get(number)
        if known is None:
            known = _Known(ExtensionState(number))
            if number in self._subscribed or len(self._known) < _KEPT:
                self._known[number] = known
        if call is not None:
            known.call = _call(call)
        if online is not None:
            known.online = online
        old = known.state
        status = _status(known.call, known.online)
        value = old.presence if presence is None else _presence(presence)
        note = old.presence_note if note is None else note
        user_id = user_id_of(item) or old.user_id
        if (
            status != old.status
            or value != old.presence
            or note != old.presence_note
            or user_id != old.user_id
        ):
            known.state = ExtensionState(old.extension_number, status, value, note, user_id)
        return known.state

    def _on_management(
        self, event: type[ManagementEvent], message: Message, events: list[Event]
    ) -> str | None:
        number = number_of(message.extension_number) or number_of(message.extension)
        user_id = user_id_of(message)
        if number is None and user_id is not None:
            number = next((n for n, k in self._known.items() if k.state.user_id == user_id), None)
        if number is None:
            return f"{message.event_type} without a usable number"
        if event is ExtensionDestroyed:
            # The number may already belong to another user.
            known = self._known.get(number)
            if known is not None and user_id in (None, known.state.user_id):
                del self._known[number]
        events.append(event(number, user_id))
        return None

    def _on_reply(self, message: Message, events: list[Event]) -> str | None:
        code = code_of(message)
        if code is None and message.command is None:
            return "neither an event nor a reply"
        if code is None and not message.error:
            return "a command without a status"
        error = None if code == 0 else self._scrubbed(message.error or "")
        # Version 12 answers without a command.
        command = message.command or ("subscribe" if self._is_logged_in else "auth")
        if command == "auth":
            if error is not None:
                self._is_logged_in = False
                events.append(LoginRefused(error))
            elif not self._is_logged_in:
                self._is_logged_in = True
                events.append(LoggedIn())
            return None
        if command == "subscribe":
            return self._on_subscribed(message, error, events)
        if command == "unsubscribe":
            return None
        return f"a reply to an unknown command{self._shown(command)}"

    def _on_subscribed(
        self, message: Message, error: str | None, events: list[Event]
    ) -> str | None:
        topics = self._topics(message, error)
        if not topics and error is None and message.command is not None:
            return None  # another topic, or one acknowledgement more than subscriptions
        if not topics:
            return "a reply to no subscription of this connection"
        for topic in topics:
            if topic in self._pending:
                self._pending.remove(topic)
            if error is None:
                self._has_acknowledged = True
                events.append(Acknowledged(topic))
            else:
                events.append(SubscriptionRefused(topic, error))
        return None

    def _topics(self, message: Message, error: str | None) -> Sequence[str]:
        """Return the topics that a reply is about: those that it names, or the oldest one."""
        named = topics_of(message)
        if named:
            return [topic for topic in _TOPICS if topic in named]
        in_error = set(_TOPIC.findall(error or ""))
        if len(in_error) == 1:
            return [*in_error]
        if not self._pending:
            return ()
        # A PBX that reports states without an acknowledgement sends refusals only, and did not
        # refuse the states.
        is_granted = self._has_states and not self._has_acknowledged
        if error is not None and is_granted and MANAGEMENT_EVENTS in self._pending:
            return (MANAGEMENT_EVENTS,)
        return (self._pending[0],)

    def _scrubbed(self, error: str) -> str:
        return scrub_text(error, [self._password])[:_LONGEST_ERROR]

    def _shown(self, name: str) -> str:
        """Return the name of an event or a command in quotes, if it looks like one."""
        is_plain = _PLAIN_NAME.fullmatch(name) and self._password not in name
        return f' ("{name}")' if is_plain else ""


def _command(command: str, arguments: dict[str, str] | dict[str, list[str]]) -> str:
    # msgspec refuses half a surrogate pair, and its error would hold the password.
    return json.dumps({"command": command, **arguments})


def _extension_commands(command: str, numbers: Sequence[str]) -> list[str]:
    topics = [EXTENSION_EVENTS]
    return [
        _command(command, {"topics": topics, "extensions": [*numbers[start : start + _PIECE]]})
        for start in range(0, len(numbers), _PIECE)
    ]


def _is_unicode(number: str) -> bool:
    try:
        number.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _call(text: str) -> StatusValue:
    known = _CALLS.get(text)
    if known is None:
        known = _CALLS.get(text.strip().upper())
    return Status(text) if known is None else known


def _presence(text: str) -> PresenceValue:
    known = _PRESENCES.get(text)
    return Presence(text) if known is None else known


def _status(call: StatusValue | None, online: bool | None) -> StatusValue | None:
    if call:
        return call
    if online is not None:
        return Status.ONLINE if online else Status.OFFLINE
    # An extension that had a call is online.
    return None if call is None else Status.ONLINE
