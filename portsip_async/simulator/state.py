"""The state of the simulated PBX: extensions, groups, greeting files, statuses, calls.

Pure: no I/O and no clock. The current time is an argument, in seconds since the simulator was
created. The settings of an extension are generated whenever they are read, and only settings that a
request changed are stored. So 100,000 extensions take almost no memory.

The methods that operations call use the PBX's own names for fields.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal
from uuid import UUID

from .errors import PBXError
from .generated import hash32, opaque_id, person, phone, settings, status_at, with_defaults
from .numbers import ExtensionNumbers
from .records import Call, Greeting

DEFAULT_GROUP = "__DEFAULT_EXTENSION_GROUP__"

_PAGE_SIZE = 100  # items of a page if the request has no pagesize, as in the vendor's samples
_GROUP_SIZE = 5  # members of each generated group
_MAX_FOUND = 16  # searches with results in memory

Change = Literal["created", "updated", "destroyed", "status"]


class PBX:
    """Everything that the PBX stores. Its methods raise `PBXError` where it refuses a request.

    Attributes:
        calls: the calls that were placed, the oldest first.
        sessions: by id, the calls that have not been hung up.
        extras: by an extension's index, the fields that only v22 knows.
        revision: a number that changes whenever an extension does.
        numbers: the extension numbers that exist.
        groups: the groups by id, without their members.
        seed: determines the generated data.
        on_change: called with a change, and the index and the number of its extension. It is called
            after the change, but before an extension is destroyed.
    """

    def __init__(
        self,
        *,
        extensions: int,
        groups: int,
        seed: int,
        status_seconds: float,
        page_limit: int | None = None,
        quirks: frozenset[str] = frozenset(),
    ) -> None:
        """Create the extensions and the groups; ``groups`` includes the default one."""
        self.calls: list[Call] = []
        self.sessions: dict[str, Call] = {}
        # By index, what only v22 knows about an extension.
        self.extras: dict[int, dict[str, Any]] = {}
        self.revision: int = 0
        self.numbers: ExtensionNumbers = ExtensionNumbers(extensions)
        self.groups: dict[str, dict[str, Any]] = {}
        self.seed = seed
        self.on_change: Callable[[Change, int, str], None] = lambda *_: None
        self.status_seconds = status_seconds
        self._page_limit = page_limit
        self._quirks = quirks
        # By index: the text that is searched; "" for removed extensions. The first search builds
        # it: 100,000 texts take a second to build, and a few milliseconds to search.
        self._texts: list[str] = []
        self._found: dict[str, list[int]] = {}  # recent searches, for the pages of their results
        # By extension number. A dict with None as its values is used as an ordered set.
        self._changed: dict[str, dict[str, Any]] = {}  # settings in place of the generated ones
        self._pinned: dict[str, tuple[str, str | None]] = {}  # statuses that were set
        self._presences: dict[str, tuple[str, str]] = {}
        self._greetings: dict[str, dict[str, Greeting]] = {}
        self._default_files: dict[str, str] = {}
        self._groups_of: dict[str, dict[str, None]] = {}
        self._members: dict[str, dict[str, None]] = {}  # by group id
        self._groups_created = 0
        for at in range(groups - 1):
            indexes = self.numbers[at * _GROUP_SIZE : (at + 1) * _GROUP_SIZE]
            members = [self.numbers.number_at(index) for index in indexes]
            self.create_group({"group_name": f"Group {at + 1}", "members": members})
        if groups:
            self._add_group(DEFAULT_GROUP, DEFAULT_GROUP)

    # Extensions.

    def list_extensions(self, now: float, **page: Any) -> dict[str, Any]:
        """Return a page of all extensions; see `_page` for ``page``."""
        return self._page("extensions", self.numbers, partial(self._summary, now), **page)

    def search_extensions(self, now: float, condition: str, **page: Any) -> dict[str, Any]:
        """Return a page of the extensions with a text in their number, name or email."""
        found = self.search(condition.casefold()) if condition else self.numbers
        reply = self._page("extensions", found, partial(self._summary, now), **page)
        del reply["sort_by"]  # as in the vendor's sample
        return reply

    def show_extension(self, extension_number: str) -> dict[str, Any]:
        """Return the settings of an extension and the groups that it belongs to."""
        shown = self.settings(extension_number)
        return shown | {"belong_groups": list(self._groups_of.get(extension_number, ()))}

    def create_extension(
        self, fields: Mapping[str, Any], extras: dict[str, Any] | None = None
    ) -> None:
        """Add an extension; the PBX's defaults fill the missing fields."""
        number = fields["extension_number"]
        if number in self.numbers:
            raise PBXError("extension exists", number)
        index = self.numbers.add(number)
        self._store(index, number, with_defaults(fields), extras)
        self.on_change("created", index, number)

    def update_extension(self, number: str, fields: Mapping[str, Any]) -> None:
        """Replace whole sections of the settings of an extension."""
        self.change(number, self.settings(number) | dict(fields))

    def remove_extension(self, extension_number: str) -> None:
        """Remove an extension with its settings, greetings and memberships."""
        index = self.index_of(extension_number)
        self.on_change("destroyed", index, extension_number)
        self.numbers.remove(extension_number)
        self._index_text(index, "")
        self.extras.pop(index, None)
        for group_id in self._groups_of.pop(extension_number, ()):
            del self._members[group_id][extension_number]
        for stored in (
            self._changed,
            self._greetings,
            self._default_files,
            self._pinned,
            self._presences,
        ):
            stored.pop(extension_number, None)

    def statuses(self, numbers: Iterable[str], now: float) -> list[dict[str, Any]]:
        """Return the status of each extension."""
        found = []
        for number in numbers:
            index = self.numbers.index_of(number)
            if index is not None:
                status, agent = self.status_of(index, number, now)
                found.append({"extension_number": number, "status": status, "user_agent": agent})
            elif "status_omits_unknown" not in self._quirks:
                raise PBXError("no extension", number)
        return found

    def pin_status(
        self,
        number: str,
        status: str | None,
        user_agent: str | None,
        presence: str | None,
        note: str,
    ) -> None:
        """Pin the status and the presence of an extension; None derives either again."""
        self.index_of(number)
        if status is None:
            self._pinned.pop(number, None)
        else:
            self._pinned[number] = status, user_agent
        self.set_presence(number, presence, note)

    def set_presence(self, number: str, presence: str | None, note: str) -> None:
        """Store the presence of an extension; None derives it from the status again."""
        if presence is None and not note:
            self._presences.pop(number, None)
        else:
            self._presences[number] = presence or "", note
        self.on_change("status", self.index_of(number), number)

    def presence(self, number: str) -> tuple[str, str]:
        """Return the presence that was set for an extension and its note; "" if there is none."""
        return self._presences.get(number, ("", ""))

    def place_call(self, call: Call) -> str:
        """Store a call from an extension, and return the id of its session."""
        self.index_of(call.extension)
        self.calls.append(call)
        session_id = opaque_id(len(self.calls), 4)
        self.sessions[session_id] = call
        return session_id

    def index_of(self, number: str) -> int:
        """Return the index of an extension.

        Raises:
            PBXError: it does not exist.
        """
        index = self.numbers.index_of(number)
        if index is None:
            raise PBXError("no extension", number)
        return index

    def settings(self, number: str) -> dict[str, Any]:
        """Return the settings of an extension, without its groups."""
        index = self.index_of(number)
        return self._changed.get(number) or settings(index, self.seed, number)

    def changed_settings(self, number: str) -> dict[str, Any] | None:
        """Return the settings of an extension if a request changed them; None otherwise."""
        return self._changed.get(number)

    def change(
        self, number: str, changed: dict[str, Any], extras: dict[str, Any] | None = None
    ) -> None:
        """Replace the settings of an extension, and the fields that only v22 knows."""
        index = self.index_of(number)
        self._store(index, number, changed, extras)
        self.on_change("updated", index, number)

    def _store(
        self, index: int, number: str, changed: dict[str, Any], extras: dict[str, Any] | None
    ) -> None:
        self._changed[number] = changed
        if extras is not None:
            self.extras[index] = extras
        self._index_text(index, self._text(index))

    def _summary(self, now: float, index: int) -> dict[str, Any]:
        number = self.numbers.number_at(index)
        first, last, email = self.person(index, number)
        status, agent = self.status_of(index, number, now)
        _, mac, model = phone(index, self.seed)
        return {
            "extension_number": number,
            "first_name": first,
            "last_name": last,
            "email": email,
            "status": status,
            "user_agent": agent,
            "phone_mac_address": mac,
            "phone_model": model,
        }

    def person(self, index: int, number: str) -> tuple[str, str, str]:
        """Return the first name, the last name and the email address of an extension."""
        changed = self._changed.get(number)
        if changed is None:
            return person(index, self.seed, number)
        profile = changed["profile"]
        first, last, email = (
            profile.get(name) or "" for name in ("first_name", "last_name", "email")
        )
        return first, last, email

    def search(self, condition: str) -> list[int]:
        """Return the indexes of the extensions with a casefolded text in their data."""
        if not self._texts:
            every = range(self.numbers.next_index)
            self._texts = [self._text(i) if self.numbers.exists(i) else "" for i in every]
        if condition not in self._found:
            if len(self._found) >= _MAX_FOUND:
                self._found.clear()
            texts = enumerate(self._texts)
            self._found[condition] = [index for index, text in texts if condition in text]
        return self._found[condition]

    def _text(self, index: int) -> str:
        number = self.numbers.number_at(index)
        first, last, email = self.person(index, number)
        name = self.extras.get(index, {}).get("name", "")
        return f"{number}\n{first} {last}\n{email}\n{name}".casefold()

    def _index_text(self, index: int, text: str) -> None:
        self._found.clear()
        self.revision += 1
        if self._texts:
            self._texts[index : index + 1] = [text]  # an index past the end appends

    def status_of(self, index: int, number: str, now: float) -> tuple[str, str]:
        """Return the status of an extension and its phone."""
        status = self.status(index, number, now)
        _, agent = self._pinned.get(number, ("", None))
        if agent is None:
            agent = "" if status == "OFFLINE" else phone(index, self.seed)[0]
        return status, agent

    def status(self, index: int, number: str, now: float) -> str:
        """Return the status of an extension."""
        status, _ = self._pinned.get(number, ("", None))
        return status or status_at(index, self.seed, now, self.status_seconds)

    # Groups.

    def list_groups(self, **page: Any) -> dict[str, Any]:
        """Return a page of the groups; see `_page` for ``page``."""
        return self._page("groups", list(self.groups), self._group_summary, **page)

    def show_group(self, group_id: str) -> dict[str, Any]:
        """Return a group with its members."""
        return self.group(group_id) | {"members": list(self._members[group_id])}

    def create_group(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Add a group and return its id and name; several may have the same name."""
        self._check_members(fields)
        self._groups_created += 1
        parts = (hash32(self._groups_created, self.seed, part) for part in range(4))
        group_id = str(UUID("".join(f"{part:08x}" for part in parts))).upper()
        name = fields["group_name"]
        self._add_group(group_id, name)
        self.update_group(group_id, fields)
        return {"group_id": group_id, "group_name": name}

    def update_group(self, group_id: str, fields: Mapping[str, Any]) -> None:
        """Change the given fields of a group."""
        group = self.group(group_id)
        self._check_members(fields)
        group.update((name, value) for name, value in fields.items() if name != "members")
        if "members" in fields:
            self._set_members(group_id, fields["members"])

    def remove_group(self, group_id: str) -> None:
        """Remove a group; the default one can't be removed."""
        self.group(group_id)
        if group_id == DEFAULT_GROUP:
            raise PBXError("permission", "the default group can't be removed")
        self._set_members(group_id, [])
        del self.groups[group_id], self._members[group_id]

    def _group_summary(self, group_id: str) -> dict[str, Any]:
        return {
            "group_id": group_id,
            "group_name": self.groups[group_id]["group_name"],
            "members_count": len(self._members[group_id]),
        }

    def group(self, group_id: str) -> dict[str, Any]:
        """Return a group without its members.

        Raises:
            PBXError: it does not exist.
        """
        if group_id not in self.groups:
            raise PBXError("no group")
        return self.groups[group_id]

    def _add_group(self, group_id: str, name: str) -> None:
        self._members[group_id] = {}
        self.groups[group_id] = {
            "group_id": group_id,
            "group_name": name,
            "group_description": "",
            "enable_intercom": True,
            "enable_external_call": True,
            "enable_management_console_access": False,
        }

    def _check_members(self, fields: Mapping[str, Any]) -> None:
        for number in fields.get("members", ()):
            self.index_of(number)

    def _set_members(self, group_id: str, members: Iterable[str]) -> None:
        for number in self._members[group_id]:
            del self._groups_of[number][group_id]
        self._members[group_id] = dict.fromkeys(members)
        for number in self._members[group_id]:
            self._groups_of.setdefault(number, {})[group_id] = None

    # Greeting files.

    def greetings(self, number: str) -> dict[str, Greeting]:
        """Return the greeting files of an extension by name."""
        self.index_of(number)
        return dict(self._greetings.get(number, {}))

    def list_greetings(self, extension_number: str, **page: Any) -> dict[str, Any]:
        """Return a page of the greeting files of an extension; see `_page` for ``page``."""
        files = list(self.greetings(extension_number))
        default = self.default_file(extension_number)

        def row(name: str) -> dict[str, Any]:
            return {"filename": name, "enabled": name == default}

        return self._page("files", files, row, **page) | {"default_file": default}

    def default_file(self, number: str) -> str:
        """Return the name of the greeting that is played; "" for none."""
        return self._default_files.get(number, "")

    def play_no_greeting(self, number: str) -> None:
        """Let no greeting be played."""
        self._default_files.pop(number, None)

    def add_greeting(self, number: str, greeting: Greeting, name: str | None = None) -> None:
        """Add a greeting file, or replace one with the same name.

        Args:
            number: the extension.
            greeting: the file.
            name: the name that it gets; None means its file's name.
        """
        self.index_of(number)
        if name is None:
            name = greeting.filename + ("," if "stray_comma" in self._quirks else "")
        self._greetings.setdefault(number, {})[name] = greeting

    def setup_greeting(self, extension_number: str, filename: str) -> None:
        """Make a greeting file the one that is played."""
        self._check_greeting(extension_number, filename)
        self._default_files[extension_number] = filename

    def remove_greeting(self, extension_number: str, filename: str) -> None:
        """Remove a greeting file; if it was the one that is played, none is played."""
        self._check_greeting(extension_number, filename)
        del self._greetings[extension_number][filename]
        if self._default_files.get(extension_number) == filename:
            del self._default_files[extension_number]

    def _check_greeting(self, number: str, filename: str) -> None:
        if filename not in self.greetings(number):
            raise PBXError("no file", filename)

    def _page(
        self,
        name: str,
        items: Sequence[Any] | ExtensionNumbers,
        row: Callable[[Any], dict[str, Any]],
        *,
        pagination: int,
        pagesize: int | None = None,
        sort_by: str = "DEFAULT",
    ) -> dict[str, Any]:
        """Build a page: ``row`` turns each of the items into a row, and ``name`` holds the rows."""
        size = pagesize or _PAGE_SIZE
        if self._page_limit is not None:
            size = min(size, self._page_limit)
        start = (pagination - 1) * size
        rows = [row(item) for item in items[start : start + size]]
        page = {"pagination": pagination, "pagesize": size, "sort_by": sort_by, name: rows}
        if "no_page_count" in self._quirks:
            return page | {"count": len(items)}
        # The vendor describes count as the size of the current page.
        return page | {"page_count": -(-len(items) // size), "count": len(rows)}
