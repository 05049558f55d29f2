"""The users of generation v22: the extensions of the shared state, with the fields of v22. Pure.

Fields that the classic generation has too are stored in its settings, so both see one value. The
others are the extras of an extension. Whatever is not stored is generated when it is read.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..generated import hash32, number_of_id, opaque_id, person, with_defaults
from ..numbers import ExtensionNumbers
from ..state import PBX
from .errors import V22Error, missing
from .query import parse_filter, parse_orderby
from .schemas import DAYS, FORWARD_RULES

USER_KIND = 0  # of the ids
_MAX_FOUND = 16  # lists with a filter or an order in memory
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_DEPARTMENTS = ("Sales", "Support", "Engineering", "Finance")

# By field of v22: the section of the classic settings, and the field there.
_CLASSIC: Mapping[str, tuple[str, str]] = {
    "email": ("profile", "email"),
    "mobile_phone": ("profile", "mobile_phone"),
    "work_phone": ("profile", "work_phone"),
    "home_phone": ("profile", "home_phone"),
    "enabled": ("options", "enable_extension"),
    "enable_audio_recording": ("options", "enable_audio_record_calls"),
    "enable_video_recording": ("options", "enable_video_record_calls"),
    "enable_voicemail_pin": ("voice_mail", "enable_vm_pin_auth"),
    "voicemail_pin": ("voice_mail", "voicemail_pin"),
}
_PASSWORDS: Mapping[str, str] = {
    "password": "web_access_password",
    "extension_password": "password",
}
# What an update does not take, although a user is shown with it.
_FIXED = frozenset(
    {"id", "name", "role", "extension_number", "profile", "created_at", "sync_type", "transports"}
    | {"avatar_file_name", "avatar_file_size", "avatar_file_url", *_PASSWORDS}
)
_AVATAR: Mapping[str, Any] = {
    "avatar_file_name": "",
    "avatar_file_size": 0,
    "avatar_file_url": "",
}
_SUMMARY = (
    "id", "name", "enabled", "email", "display_name", "role", "mobile_phone", "work_phone",
    "home_phone", "address", "department", "extension_number", "created_at", *_AVATAR,
)  # fmt: skip
FIELDS = frozenset(_SUMMARY)


class _Row(Mapping[str, Any]):
    """The summary of a user, made only if a field other than its number is read."""

    def __init__(self, users: "Users", index: int) -> None:
        self._users = users
        self._index = index
        self._summary: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        if name == "extension_number":
            return self._users.numbers.number_at(self._index)
        if self._summary is None:
            self._summary = self._users.summary(self._index)
        return self._summary[name]

    def __iter__(self) -> Any:
        return iter(_SUMMARY)

    def __len__(self) -> int:
        return len(_SUMMARY)


class Users:
    """The extensions of a PBX as users."""

    def __init__(self, pbx: PBX, quirks: frozenset[str] = frozenset()) -> None:
        """Store the shared state."""
        self.numbers: ExtensionNumbers = pbx.numbers
        self._pbx = pbx
        self._quirks = quirks
        self._names: dict[str, int] = {}  # by the name of a user who was created in v22: the index
        # By filter, search and order: the indexes found, while the state stays as it is.
        self._found: dict[tuple[str, str, str], Sequence[int]] = {}
        self._revision = pbx.revision

    def id_of(self, number: str) -> str:
        """Return the id of an extension.

        Raises:
            PBXError: it does not exist.
        """
        return opaque_id(self._pbx.index_of(number), USER_KIND)

    def number_of(self, user_id: str) -> str:
        """Return the extension number of a user.

        Raises:
            V22Error: the user does not exist.
        """
        index = number_of_id(user_id, USER_KIND)
        if index is None or index >= self.numbers.next_index or not self.numbers.exists(index):
            raise missing("the user")
        return self.numbers.number_at(index)

    def find(
        self, *, condition: str = "", search: str = "", orderby: str = ""
    ) -> Sequence[int] | ExtensionNumbers:
        """Return the indexes of the users that a list holds.

        Args:
            condition: the query option ``filter``.
            search: a text in their number, names or email.
            orderby: the query option.

        Raises:
            V22Error: the filter or the order can't be read.
        """
        if not (condition or search or orderby):
            return self.numbers
        if self._revision != self._pbx.revision or len(self._found) >= _MAX_FOUND:
            self._found.clear()
            self._revision = self._pbx.revision
        key = condition, search, orderby
        if key not in self._found:
            self._found[key] = self._find(*key)
        return self._found[key]

    def summary(self, index: int) -> dict[str, Any]:
        """Return a user as a list shows it."""
        number = self.numbers.number_at(index)
        extras = self._pbx.extras.get(index, {})
        changed = self._pbx.changed_settings(number)
        first, last, email = self._pbx.person(index, number)
        profile = changed["profile"] if changed else {}
        enabled = changed["options"].get("enable_extension") if changed else True
        bits = hash32(index, self._pbx.seed, 4)
        department = _DEPARTMENTS[bits & 3] if index < self.numbers.initial else ""
        return {
            "id": opaque_id(index, USER_KIND),
            "name": self._name_of(index),
            "enabled": enabled is not False,
            "email": email,
            "display_name": _display_name(first, last, extras),
            "role": extras.get("role", "StandardUser"),
            "mobile_phone": profile.get("mobile_phone") or "",
            "work_phone": profile.get("work_phone") or "",
            "home_phone": profile.get("home_phone") or "",
            "address": extras.get("address", ""),
            "department": extras.get("department", department),
            "extension_number": number,
            "created_at": timestamp(60.0 * index),
            **_AVATAR,
        }

    def show(self, user_id: str) -> dict[str, Any]:
        """Return everything about a user except passwords; the quirk ``v22_3`` shows them too.

        Raises:
            V22Error: the user does not exist.
        """
        number = self.number_of(user_id)
        index = self._pbx.index_of(number)
        settings = self._pbx.settings(number)
        shown = _defaults() | {"profile": ""} | self._pbx.extras.get(index, {})
        for name, (section, field) in _CLASSIC.items():
            value = settings[section].get(field)
            # Classic takes pins that v22 does not. An update with such a pin would be refused.
            if value is None or (name == "voicemail_pin" and not 6 <= len(str(value)) <= 10):
                continue
            shown[name] = value
        if "v22_3" in self._quirks:
            shown |= {name: settings.get(field) or "" for name, field in _PASSWORDS.items()}
        return shown | self.summary(index)

    def passwords(self, user_id: str) -> dict[str, str]:
        """Return the passwords of a user, for tests.

        Raises:
            V22Error: the user does not exist.
        """
        settings = self._pbx.settings(self.number_of(user_id))
        return {name: settings.get(field) or "" for name, field in _PASSWORDS.items()}

    def create(self, fields: Mapping[str, Any]) -> str:
        """Add a user, and return the id.

        Raises:
            V22Error: the number or the name is in use.
        """
        number, name = fields["extension_number"], fields["name"]
        if number in self.numbers:
            raise V22Error(409, "the extension number is in use")
        if self.index_of_name(name) is not None:
            raise V22Error(409, "the name is in use")
        settings, extras = _split(fields, with_defaults({}), {"name": name, "role": fields["role"]})
        self._names[name.casefold()] = self.numbers.next_index
        self._pbx.create_extension(settings | {"extension_number": number}, extras)
        return self.id_of(number)

    def update(self, user_id: str, fields: dict[str, Any]) -> None:
        """Change fields of a user; with the quirk ``update_replaces``, the others are reset.

        Raises:
            V22Error: the user does not exist.
        """
        number = self.number_of(user_id)
        if "update_replaces" in self._quirks:
            fields = _defaults() | {"display_name": "", "address": "", "department": ""} | fields
            defaults = with_defaults({})
            reset = {name: defaults[section][field] for name, (section, field) in _CLASSIC.items()}
            fields = reset | fields
        fields = {name: fields[name] for name in fields if name not in _FIXED}
        extras = self._pbx.extras.get(self._pbx.index_of(number), {})
        self._pbx.change(number, *_split(fields, self._pbx.settings(number), extras))

    def set_role(self, user_id: str, role: str) -> None:
        """Change the role of a user.

        Raises:
            V22Error: the user does not exist.
        """
        number = self.number_of(user_id)
        extras = self._pbx.extras.get(self._pbx.index_of(number), {}) | {"role": role}
        self._pbx.change(number, self._pbx.settings(number), extras)

    def set_password(self, user_id: str, name: str, password: str) -> None:
        """Change a password of a user; ``name`` is the field of a new user.

        Raises:
            V22Error: the user does not exist.
        """
        number = self.number_of(user_id)
        self._pbx.change(number, self._pbx.settings(number) | {_PASSWORDS[name]: password})

    def state(self, index: int, number: str, now: float) -> tuple[str, str, str]:
        """Return the status of a user, which may be RINGING, the presence and its note."""
        status = self._pbx.status(index, number, now)
        presence, note = self._pbx.presence(number)
        presence = presence or _PRESENCES.get(status, "AVAILABLE")
        if "v22_3" in self._quirks:
            presence = (
                "RINGING" if status == "RINGING" else _LATER_PRESENCES.get(presence, presence)
            )
        return status, presence, note

    def status(self, number: str, now: float) -> dict[str, Any]:
        """Return the status of a user; with the quirk ``v22_3``, as 22.3 names it.

        Raises:
            PBXError: the extension does not exist.
        """
        index = self._pbx.index_of(number)
        status, presence, note = self.state(index, number, now)
        _, agent = self._pbx.status_of(index, number, now)
        is_later = "v22_3" in self._quirks
        status = "ONLINE" if status == "RINGING" else status
        phone = {
            "instance_id": f"urn:uuid:{hash32(index, 5):08x}",
            "user_agent": agent,
            "application": "",
            "ip": f"192.0.2.{index % 254 + 1}",
            "enable_push": False,
            "contact_address": f"sip:{number}@192.0.2.{index % 254 + 1}:5060",
        }
        extras = self._pbx.extras.get(index, {})
        return {
            "status": "OTHER_CALL" if is_later and status == "ON_CALL" else status,
            "presence": presence,
            "presence_note": note,
            "registration": [] if status == "OFFLINE" else [phone],
            "enable_dnd": extras.get("enable_dnd", False),
            "enable_acb": extras.get("enable_acb", False),
        }

    def log_in(self, name: str, password: str) -> int | None:
        """Return the index of the user with a name and a password; None if there is none."""
        index = self.index_of_name(name)
        if index is None:
            return None
        settings = self._pbx.settings(self.numbers.number_at(index))
        return index if settings.get("web_access_password") == password else None

    def name_of(self, number: str) -> str:
        """Return the name of the user with a number; "" if there is none."""
        index = self.numbers.index_of(number)
        return "" if index is None else self._name_of(index)

    def index_of_name(self, name: str) -> int | None:
        """Return the index of the user with a name; None if there is none."""
        name = name.casefold()
        index = self._names.get(name)
        if index is None:
            # The names of all other users end in their numbers.
            index = self.numbers.index_of(name.rpartition(".")[2] or name)
        if index is None or not self.numbers.exists(index):
            return None
        return index if self._name_of(index).casefold() == name else None

    def _name_of(self, index: int) -> str:
        name: str | None = self._pbx.extras.get(index, {}).get("name")
        if name is not None:
            return name
        number = self.numbers.number_at(index)
        if index >= self.numbers.initial:  # the classic generation made it
            return number
        return person(index, self._pbx.seed, number)[2].partition("@")[0]

    def _find(self, condition: str, search: str, orderby: str) -> Sequence[int]:
        found: Sequence[int] = (
            self._pbx.search(search.casefold()) if search else self.numbers[0 : len(self.numbers)]
        )
        if condition:
            is_met = parse_filter(condition, FIELDS)
            found = [index for index in found if is_met(_Row(self, index))]
        # A stable sort by the last field first sorts by all of them.
        for name, descends in reversed(parse_orderby(orderby, FIELDS) if orderby else []):
            found = sorted(found, key=lambda at: _Row(self, at)[name], reverse=descends)
        return found


# By status: the presence of a user who set none.
_PRESENCES: Mapping[str, str] = {"ON_CALL": "ON_CALL", "OFFLINE": "OFFLINE"}
_LATER_PRESENCES: Mapping[str, str] = {"AVAILABLE": "ONLINE", "ON_CALL": "OTHER_CALL"}


def timestamp(seconds: float) -> str:
    """Return the time at some seconds after the first day of the simulated PBX."""
    return (_EPOCH + timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_time(seconds: float) -> int:
    """Return the same time in seconds since 1970."""
    return int(_EPOCH.timestamp() + seconds)


def _split(
    fields: Mapping[str, Any], settings: Mapping[str, Any], extras: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add fields where they belong: to the classic settings or to the extras."""
    settings, extras = dict(settings), dict(extras)
    for name, value in fields.items():
        if name in _CLASSIC:
            section, field = _CLASSIC[name]
            settings[section] = settings[section] | {field: value}
        elif name in _PASSWORDS:
            settings[_PASSWORDS[name]] = value
        elif name not in _FIXED:
            extras[name] = value
    if "display_name" in fields:
        first, _, last = fields["display_name"].partition(" ")
        settings["profile"] = settings["profile"] | {"first_name": first, "last_name": last}
    return settings, extras


def _display_name(first: str, last: str, extras: Mapping[str, Any]) -> str:
    stored: str = extras.get("display_name", "")
    # The classic generation may have changed the names since.
    if stored and (*stored.partition(" ")[::2],) == (first, last):
        return stored
    return f"{first} {last}" if last else first


def _defaults() -> dict[str, Any]:
    """Return the default values of the fields that the classic generation does not have."""
    day = {"enabled": True, "ranges": [{"from": "09:00", "to": "17:00"}]}
    rule = {"action": "FORWARD_TO_VOICEMAIL", "number": ""}
    return {
        "enable_dnd": False,
        "enable_acb": False,
        "enable_hot_desking": False,
        "anonymous_outbound_calls": False,
        "delivery_outbound_cid": True,
        "sms": "DISABLE",
        "outbound_caller_ids": [],
        "custom_options": "",
        "office_hours": dict.fromkeys(DAYS, day),
        **{
            name: {**rule, "timeout": 60} if "no_answer" in name else rule for name in FORWARD_RULES
        },
        "custom_forward_rules": [],
        "voicemail_prompt": "",
        "enable_voicemail_notify": False,
        "voicemail_play_datetime": "DISABLE",
        "interface": "WEB_DOMAIN",
        "preferred_transport": "UDP",
        "blfs": [],
    }
