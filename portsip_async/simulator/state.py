"""The state of a simulated PBX: extensions, groups, greeting files, statuses, calls.

Pure: no I/O, no clock; a time is passed in, in seconds since the simulator was made. Extensions
are made up from their place and the seed whenever they are asked for, and only what was changed is
stored, so 100,000 of them cost next to nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .directory import Directory, entry
from .refusal import Refusal
from .roster import Roster
from .settings import created, mix, person, phone, presence, settings

DEFAULT_GROUP = "__DEFAULT_EXTENSION_GROUP__"
SECTIONS = ("profile", "options", "forward_rules", "office_hours", "voice_mail")

_PAGE_SIZE = 100  # of a list whose pagesize is not asked for; that of the vendor's samples
_FAR = 2**61  # items; beyond every list, and with a page still a number that islice takes
_GROUP_SIZE = 5  # members of each group that a simulator starts with
_KEPT_SEARCHES = 16


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was placed; the password that came with it is not kept.

    Attributes:
        extension: the extension that rang.
        to: whom it calls.
        domain: the SIP domain.
        src: the source.
        at: seconds since the simulator was made.
    """

    extension: str
    to: str
    domain: str
    src: str
    at: float


@dataclass(frozen=True, slots=True)
class Greeting:
    """A greeting file of an extension.

    Attributes:
        filename: its name.
        size: its length in bytes; 0 where only a name or an address was given.
        sha256: the digest of its content, in hex; "" where none was uploaded.
        url: the address to fetch it from, where it was added by one.
    """

    filename: str
    size: int = 0
    sha256: str = ""
    url: str | None = None


@dataclass(slots=True)
class _Group:
    group_id: str
    group_name: str
    group_description: str = ""
    enable_intercom: bool = True
    enable_external_call: bool = True
    enable_management_console_access: bool = False
    members: dict[str, None] = field(default_factory=dict)


class PBX:
    """What a PBX knows. Whatever is not there, or there already, raises a Refusal.

    Attributes:
        calls: the calls that were placed, the oldest first.
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
        """Make up ``extensions`` extensions and ``groups`` groups, the default one among them."""
        self.calls: list[Call] = []
        self._roster = Roster(extensions)
        self._seed = seed
        self._status_seconds = status_seconds
        self._page_limit = page_limit
        self._quirks = quirks
        self._changed: dict[str, dict[str, Any]] = {}
        self._directory = Directory(iter(Roster(extensions)), seed)
        self._version = 0  # of what a search reads
        self._searches: dict[str, tuple[int, list[int]]] = {}
        self._pinned: dict[str, tuple[str, str | None]] = {}
        self._greetings: dict[str, dict[str, Greeting]] = {}
        self._default_files: dict[str, str] = {}
        self._groups: dict[str, _Group] = {}
        self._belongs: dict[str, dict[str, None]] = {}
        self._made_groups = 0
        for at in range(groups - 1):
            made = self._make_group(f"Group {at + 1}")
            members = self._roster.places(at * _GROUP_SIZE, _GROUP_SIZE)
            self._join(made, [self._roster.number(place) for place in members])
        if groups:
            self._groups[DEFAULT_GROUP] = _Group(DEFAULT_GROUP, DEFAULT_GROUP)

    # Extensions.

    @property
    def extension_numbers(self) -> list[str]:
        """The numbers that exist, in the order of lists."""
        return list(self._roster)

    @property
    def extension_count(self) -> int:
        """How many extensions there are."""
        return len(self._roster)

    def list_extensions(self, pagination: int, pagesize: int | None, now: float) -> dict[str, Any]:
        """Answer a page of all extensions."""
        start, size = self._window(pagination, pagesize)
        rows = [self._summary(place, now) for place in self._roster.places(start, size)]
        return self._page(pagination, size, len(self._roster), {"extensions": rows})

    def search_extensions(
        self, condition: str, pagination: int, pagesize: int | None, now: float
    ) -> dict[str, Any]:
        """Answer a page of the extensions whose number, name or email holds a text."""
        if not condition:
            return self.list_extensions(pagination, pagesize, now)
        start, size = self._window(pagination, pagesize)
        found = self._search(condition.casefold())
        rows = [self._summary(place, now) for place in found[start : start + size]]
        return self._page(pagination, size, len(found), {"extensions": rows})

    def show_extension(self, number: str) -> dict[str, Any]:
        """Answer an extension's settings and the groups it belongs to."""
        place = self._place(number)
        made = self._changed.get(number) or settings(place, self._seed, number)
        return made | {"belong_groups": list(self._belongs.get(number, ()))}

    def create_extension(self, given: Mapping[str, Any]) -> None:
        """Add an extension, what it was not given being the PBX's default."""
        number = given["extension_number"]
        if number in self._roster:
            raise Refusal("extension exists", number)
        self._roster.add(number)
        self._changed[number] = created(given)
        self._version += 1

    def update_extension(self, number: str, sections: Mapping[str, Any]) -> None:
        """Put the given sections in the place of an extension's own."""
        made = self.show_extension(number)
        del made["belong_groups"]
        self._changed[number] = made | dict(sections)
        self._version += 1

    def remove_extension(self, number: str) -> None:
        """Remove an extension with its settings, greetings and memberships."""
        self._place(number)
        self._roster.remove(number)
        for group_id in self._belongs.pop(number, ()):
            del self._groups[group_id].members[number]
        for kept in (self._changed, self._greetings, self._default_files, self._pinned):
            kept.pop(number, None)
        self._version += 1

    def statuses(self, numbers: Iterable[str], now: float) -> list[dict[str, Any]]:
        """Tell what extensions are doing."""
        found = []
        for number in numbers:
            place = self._roster.place(number)
            if place is not None:
                status, agent = self._status(place, number, now)
                found.append({"extension_number": number, "status": status, "user_agent": agent})
            elif "status_omits_unknown" not in self._quirks:
                raise Refusal("no extension", number)
        return found

    def pin_status(self, number: str, status: str | None, user_agent: str | None) -> None:
        """Hold an extension at a status; None lets it change again."""
        self._place(number)
        if status is None:
            self._pinned.pop(number, None)
        else:
            self._pinned[number] = status, user_agent

    def place_call(self, call: Call) -> None:
        """Let an extension ring."""
        self._place(call.extension)
        self.calls.append(call)

    def _place(self, number: str) -> int:
        place = self._roster.place(number)
        if place is None:
            raise Refusal("no extension", number)
        return place

    def _summary(self, place: int, now: float) -> dict[str, Any]:
        number = self._roster.number(place)
        first, last, email = self._person(place, number)
        status, agent = self._status(place, number, now)
        _, mac, model = phone(place, self._seed)
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

    def _person(self, place: int, number: str) -> tuple[str, str, str]:
        changed = self._changed.get(number)
        if changed is None:
            return person(place, self._seed, number)
        profile = changed["profile"]
        first, last, email = (
            profile.get(name) or "" for name in ("first_name", "last_name", "email")
        )
        return first, last, email

    def _status(self, place: int, number: str, now: float) -> tuple[str, str]:
        status, agent = self._pinned.get(number, ("", None))
        if not status:
            status = presence(place, self._seed, now, self._status_seconds)
        if agent is None:
            agent = "" if status == "OFFLINE" else phone(place, self._seed)[0]
        return status, agent

    def _search(self, wanted: str) -> list[int]:
        version, found = self._searches.get(wanted, (-1, []))
        if version == self._version:
            return found
        numbers, changed = self._roster, self._changed
        found = [
            place
            for place in self._directory.search(wanted)
            if numbers.is_taken(place) and numbers.number(place) not in changed
        ]
        for number in changed:
            place = self._place(number)
            if wanted in entry(number, *self._person(place, number)):
                found.append(place)
        found.sort()
        if len(self._searches) >= _KEPT_SEARCHES:
            self._searches.clear()
        self._searches[wanted] = self._version, found
        return found

    # Groups.

    @property
    def group_ids(self) -> list[str]:
        """The groups that exist, in the order of lists."""
        return list(self._groups)

    def list_groups(self, pagination: int, pagesize: int | None) -> dict[str, Any]:
        """Answer a page of the groups."""
        start, size = self._window(pagination, pagesize)
        rows = [
            {
                "group_id": group.group_id,
                "group_name": group.group_name,
                "members_count": len(group.members),
            }
            for group in islice(self._groups.values(), start, start + size)
        ]
        return self._page(pagination, size, len(self._groups), {"groups": rows})

    def show_group(self, group_id: str) -> dict[str, Any]:
        """Answer a group with its members."""
        group = self._group(group_id)
        return {
            "group_id": group.group_id,
            "group_name": group.group_name,
            "group_description": group.group_description,
            "enable_intercom": group.enable_intercom,
            "enable_external_call": group.enable_external_call,
            "enable_management_console_access": group.enable_management_console_access,
            "members": list(group.members),
        }

    def create_group(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Add a group and answer its id and name; names need not differ."""
        self._check_members(given)
        group = self._make_group(given["group_name"])
        self._change_group(group, given)
        return {"group_id": group.group_id, "group_name": group.group_name}

    def update_group(self, group_id: str, given: Mapping[str, Any]) -> None:
        """Change a group; members and description stay as they are where they are not given."""
        group = self._group(group_id)
        self._check_members(given)
        self._change_group(group, given)

    def remove_group(self, group_id: str) -> None:
        """Remove a group, which is not the default one."""
        group = self._group(group_id)
        if group_id == DEFAULT_GROUP:
            raise Refusal("permission", "the default group stays")
        self._join(group, [])
        del self._groups[group_id]

    def _group(self, group_id: str) -> _Group:
        group = self._groups.get(group_id)
        if group is None:
            raise Refusal("no group")
        return group

    def _make_group(self, name: str) -> _Group:
        self._made_groups += 1
        digits = "".join(f"{mix(self._made_groups, self._seed, part):08X}" for part in range(4))
        cuts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        group = _Group("-".join(cuts), name)
        self._groups[group.group_id] = group
        return group

    def _check_members(self, given: Mapping[str, Any]) -> None:
        for number in given.get("members", ()):
            self._place(number)

    def _change_group(self, group: _Group, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name not in ("members", "group_id"):
                setattr(group, name, value)
        if "members" in given:
            self._join(group, given["members"])

    def _join(self, group: _Group, members: Iterable[str]) -> None:
        for number in group.members:
            self._belongs[number].pop(group.group_id)
        group.members = dict.fromkeys(members)
        for number in group.members:
            self._belongs.setdefault(number, {})[group.group_id] = None

    # Greeting files.

    def greetings(self, number: str) -> dict[str, Greeting]:
        """Tell the greeting files of an extension by their names."""
        self._place(number)
        return dict(self._greetings.get(number, {}))

    def list_greetings(self, number: str, pagination: int, pagesize: int | None) -> dict[str, Any]:
        """Answer a page of the greeting files of an extension."""
        files = self.greetings(number)
        default = self._default_files.get(number, "")
        start, size = self._window(pagination, pagesize)
        rows = [
            {"filename": name, "enabled": name == default}
            for name in islice(files, start, start + size)
        ]
        told = {"default_file": default, "files": rows}
        return self._page(pagination, size, len(files), told)

    def add_greeting(self, number: str, greeting: Greeting) -> None:
        """Add a greeting file, in the place of one of the same name."""
        self._place(number)
        name = greeting.filename + ("," if "stray_comma" in self._quirks else "")
        self._greetings.setdefault(number, {})[name] = greeting

    def setup_greeting(self, number: str, filename: str) -> None:
        """Let a greeting file be the one that is played."""
        self._check_greeting(number, filename)
        self._default_files[number] = filename

    def remove_greeting(self, number: str, filename: str) -> None:
        """Remove a greeting file; none is played if it was the one."""
        self._check_greeting(number, filename)
        del self._greetings[number][filename]
        if self._default_files.get(number) == filename:
            del self._default_files[number]

    def _check_greeting(self, number: str, filename: str) -> None:
        if filename not in self.greetings(number):
            raise Refusal("no file", filename)

    # Pages.

    def _window(self, pagination: int, pagesize: int | None) -> tuple[int, int]:
        size = min(pagesize or _PAGE_SIZE, self._page_limit or _FAR)
        return min((pagination - 1) * size, _FAR), size

    def _page(
        self, pagination: int, size: int, total: int, rows: Mapping[str, Any]
    ) -> dict[str, Any]:
        head: dict[str, Any] = {"pagination": pagination, "pagesize": size, "sort_by": "DEFAULT"}
        if "no_page_count" in self._quirks:
            head["count"] = total
        else:
            # The page calls it the current page's size.
            shown = max(0, min(size, total - (pagination - 1) * size))
            head |= {"page_count": -(-total // size), "count": shown}
        return head | dict(rows)
