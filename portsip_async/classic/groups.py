"""Extension groups."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import structs

from ..core.decode import Unreadable, repair
from ..core.pages import Paginator
from ..core.request import to_builtins
from ..core.tasks import NotCopyable
from ..errors import ReplyError
from .models import CreatedGroup, Group, GroupSummary, SortByValue
from .operations import GROUPS_CREATE, GROUPS_LIST, GROUPS_REMOVE, GROUPS_SHOW, GROUPS_UPDATE
from .resource import Caller, check_asked, merged, text, texts, unknown_field

_CHANGEABLE = (
    "group_name",
    "group_description",
    "enable_intercom",
    "enable_external_call",
    "enable_management_console_access",
    "members",
)


# What a reply says of itself, and is no setting to be written back.
_OF_THE_REPLY = frozenset({"err_code", "msg", "message", "access_token"})


class Groups(NotCopyable):
    """The extension groups of the PBX."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        *,
        page: int = 1,
        page_size: int | None = 100,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[GroupSummary]:
        """Walk all groups (``GET /extensions/group/list``).

        Args:
            page: the page to start from, counted from 1.
            page_size: groups a page; the PBX may cap it. None: 500, or 100 if that is refused.
            sort_by: "DEFAULT" or "Optional"; None leaves it to the PBX.
            prefetch: pages kept in flight ahead; 0: none.
            max_pages: pages at most; None: unlimited.

        Raises:
            TypeError, ValueError: at the call, for a number out of bounds.
        """
        return self._caller.walk(
            Paginator[GroupSummary],
            GROUPS_LIST,
            {"sort_by": sort_by},
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    async def show(self, group_id: str) -> Group:
        """Read a group's settings and members (``GET /extensions/group/show``).

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply shows no group.
        """
        group_id = text("group_id", group_id)
        group = await self._caller(GROUPS_SHOW, {"group_id": group_id})
        _check(group.group_id or group.group_name)
        return group if group.group_id else structs.replace(group, group_id=group_id)

    async def create(
        self,
        group_name: str,
        *,
        enable_intercom: bool,
        enable_external_call: bool,
        enable_management_console_access: bool,
        group_description: str | None = None,
        members: Iterable[str] | None = None,
    ) -> CreatedGroup:
        """Create a group (``POST /extensions/group/create``).

        Where the PBX may have acted it is not repeated: see ``error.may_have_acted``.

        Args:
            group_name: the group's name.
            enable_intercom: whether members may use the intercom.
            enable_external_call: whether members may call numbers outside.
            enable_management_console_access: whether members may use the management console.
            group_description: what the group is for; None leaves it out.
            members: the numbers of its extensions; None leaves them out.
        """
        return await self._caller(
            GROUPS_CREATE,
            {
                "group_name": text("group_name", group_name),
                "group_description": group_description,
                "enable_intercom": enable_intercom,
                "enable_external_call": enable_external_call,
                "enable_management_console_access": enable_management_console_access,
                "members": None if members is None else texts("members", members),
            },
        )

    async def update(
        self,
        group_id: str,
        *,
        group_name: str,
        enable_intercom: bool,
        enable_external_call: bool,
        enable_management_console_access: bool,
        group_description: str | None = None,
        members: Iterable[str] | None = None,
    ) -> None:
        """Replace a group's settings (``POST /extensions/group/update``).

        To change some and keep the rest, use `patch`, `add_members` or `remove_members`.

        Args:
            group_id: the group's id.
            group_name: the group's name.
            enable_intercom: whether members may use the intercom.
            enable_external_call: whether members may call numbers outside.
            enable_management_console_access: whether members may use the management console.
            group_description: what the group is for; None leaves it out.
            members: the numbers of its extensions; None leaves them out.

        Raises:
            NotFound: there is no such group.
        """
        await self._caller(
            GROUPS_UPDATE,
            {
                "group_id": text("group_id", group_id),
                "group_name": text("group_name", group_name),
                "group_description": group_description,
                "enable_intercom": enable_intercom,
                "enable_external_call": enable_external_call,
                "enable_management_console_access": enable_management_console_access,
                "members": None if members is None else texts("members", members),
            },
        )

    async def patch(self, group_id: str, **changes: object) -> Group:
        """Change some of a group's settings: read, merge, update.

        What is not named stays as it was read, fields that the SDK doesn't know included. Patches
        of one group through one client wait for each other.

        Args:
            group_id: the group's id.
            changes: any of the settings that `update` takes; None is sent as null.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply shows another group, so nothing was written.
            TypeError: a setting that a group doesn't have; says which is nearest.
        """
        for name, value in changes.items():
            if name not in _CHANGEABLE:
                raise unknown_field("a group", name, _CHANGEABLE)
            if isinstance(value, Mapping):
                raise TypeError(f"{name} must be a single value, got {type(value).__name__}")
        members = changes.get("members")
        if members is not None:
            changes["members"] = texts("members", members)  # type: ignore[arg-type]  # it checks
        plain: dict[str, Any] = to_builtins(changes)
        return await self._change(group_id, lambda read: merged(read, plain))

    async def add_members(self, group_id: str, numbers: Iterable[str]) -> Group:
        """Add extensions to a group: read, change, update; those that it has already stay once.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group, or no such extension.
        """
        added = texts("numbers", numbers)
        return await self._change(
            group_id, lambda read: {**read, "members": [*dict.fromkeys([*_members(read), *added])]}
        )

    async def remove_members(self, group_id: str, numbers: Iterable[str]) -> Group:
        """Take extensions out of a group: read, change, update; those that it lacks don't matter.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group.
        """
        removed = {*texts("numbers", numbers)}
        return await self._change(
            group_id,
            lambda read: {
                **read,
                "members": [number for number in _members(read) if number not in removed],
            },
        )

    async def remove(self, group_id: str) -> None:
        """Remove a group (``POST /extensions/group/destroy``); its extensions stay.

        Raises:
            NotFound: there is no such group.
        """
        await self._caller(GROUPS_REMOVE, {"group_id": text("group_id", group_id)})

    async def _change(
        self, group_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> Group:
        group_id = text("group_id", group_id)
        async with self._caller.locks.holding("groups", group_id):
            read = await self._caller.document(GROUPS_SHOW, {"group_id": group_id})
            _check(read.get("group_id") or read.get("group_name"))
            check_asked("group_id", read.get("group_id"), group_id, GROUPS_SHOW)
            kept = {name: value for name, value in read.items() if name not in _OF_THE_REPLY}
            whole = {**change(kept), "group_id": group_id}
            group = _group(whole)  # read before it is written, lest an error hide a write
            await self._caller.write(GROUPS_UPDATE, whole)
        return group


def _check(named: object) -> None:
    """Tell a group from an object that is none: its id may lack, but then it has a name.

    Raises:
        ReplyError: it has neither; taking it for a group would empty the real one when written.
    """
    if not named:
        raise ReplyError(expected="a group's id or name", operation=GROUPS_SHOW.name)


def _members(read: Mapping[str, Any]) -> tuple[str, ...]:
    if "members" not in read:
        # Taken for none, all who were left out would be taken out of the group.
        raise ReplyError(expected="members", where="$.members", operation=GROUPS_SHOW.name)
    return _group({"members": read["members"]}).members


def _group(document: dict[str, Any]) -> Group:
    unreadable: Unreadable
    try:
        return repair(document, Group)
    except Unreadable as error:
        unreadable = error
    raise ReplyError(
        expected=unreadable.expected, where=unreadable.where, operation=GROUPS_SHOW.name
    )
