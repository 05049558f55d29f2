"""Extension groups."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Unpack

from ..arguments import check_str, check_strs, check_type, optional_texts
from ..client.patches import merge, unknown_field
from ..client.resource import Document, Resource
from ..core.pages import DEFAULT_PAGE_SIZE, Paginator
from ..core.reply import decode_item
from ..core.request import to_builtins
from ..errors import ReplyError
from .changes import GroupChanges
from .enums import SortByValue
from .models import CreatedGroup, Group, GroupSummary
from .operations import (
    GROUPS_CREATE,
    GROUPS_LIST,
    GROUPS_REMOVE,
    GROUPS_SHOW,
    GROUPS_UPDATE,
)

# The settings: every field of a group except its id.
_SETTINGS: Final = Group.__struct_fields__[1:]
# Fields of the reply itself, which must not be written back as settings.
_REPLY_FIELDS: Final = frozenset({"err_code", "msg", "message", "access_token"})

# Typed here, because subscripting a class at each call takes 1 us.
_SUMMARIES: Final[type[Paginator[GroupSummary]]] = Paginator


class Groups(Resource):
    """The extension groups of the PBX."""

    def list(
        self,
        *,
        page: int = 1,
        page_size: int | None = DEFAULT_PAGE_SIZE,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[GroupSummary]:
        """Walk all groups (``GET /extensions/group/list``).

        Args:
            page: the number of the first page to read, counted from 1.
            page_size: the most groups in a page. The PBX may have a lower limit. None
                asks for 500, or for 100 if the PBX refuses that.
            sort_by: "DEFAULT" or "Optional"; None leaves the order to the PBX.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
        """
        return self._sender.paginate(
            _SUMMARIES,
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
            ReplyError: the reply does not show a group.
        """
        group_id = check_str("group_id", group_id)
        group = await self._sender.send(GROUPS_SHOW, {"group_id": group_id})
        _check_is_group(group.group_id or group.group_name)
        return group if group.group_id else group.replace(group_id=group_id)

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

        It is not repeated if the PBX may have acted: see ``error.may_have_acted``.

        Args:
            group_name: the group's name.
            enable_intercom: whether members may use the intercom.
            enable_external_call: whether members may call external numbers.
            enable_management_console_access: whether members may use the management console.
            group_description: a description; None leaves it out.
            members: the extension numbers of its members; None leaves them out.
        """
        settings = _check_settings(
            group_name=group_name,
            group_description=group_description,
            enable_intercom=enable_intercom,
            enable_external_call=enable_external_call,
            enable_management_console_access=enable_management_console_access,
            members=members,
        )
        return await self._sender.send(GROUPS_CREATE, settings)

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
            enable_external_call: whether members may call external numbers.
            enable_management_console_access: whether members may use the management console.
            group_description: a description; None leaves it out.
            members: the extension numbers of its members; None leaves them out.

        Raises:
            NotFound: there is no such group.
        """
        settings = _check_settings(
            group_name=group_name,
            group_description=group_description,
            enable_intercom=enable_intercom,
            enable_external_call=enable_external_call,
            enable_management_console_access=enable_management_console_access,
            members=members,
        )
        key = {"group_id": check_str("group_id", group_id)}
        await self._sender.send(GROUPS_UPDATE, {**key, **settings})

    async def patch(self, group_id: str, **changes: Unpack[GroupChanges]) -> Group:
        """Change some of a group's settings: read, merge, update.

        All other fields stay as they were read, even fields that the SDK does not know. Patches of
        one group through one client wait for each other.

        Args:
            group_id: the group's id.
            changes: any of the settings of `update`; None is sent as null.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply shows another group. Nothing was written.
            TypeError: a setting that a group does not have; the message suggests the nearest name.
        """
        for name, value in changes.items():
            if name not in _SETTINGS:
                raise unknown_field("a group", name, _SETTINGS)
            if isinstance(value, Mapping):
                raise TypeError(f"{name} must be a single value, got {type(value).__name__}")
        members = changes.get("members")
        if members is not None:
            changes["members"] = check_strs("members", members)
        plain: dict[str, Any] = to_builtins(changes)
        return await self._change(group_id, lambda group: merge(group, plain))

    async def add_members(self, group_id: str, numbers: Iterable[str]) -> Group:
        """Add extensions to a group: read, change, update.

        Numbers that are already members are not added again.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group, or no such extension.
            ReplyError: the reply has no list of members. Nothing was written.
        """
        added = check_strs("numbers", numbers, 'add_members(group_id, ["101"])')

        def add(group: Document) -> Document:
            return {**group, "members": [*dict.fromkeys([*_members(group), *added])]}

        return await self._change(group_id, add)

    async def remove_members(self, group_id: str, numbers: Iterable[str]) -> Group:
        """Remove extensions from a group: read, change, update.

        Numbers that are not members are ignored.

        Returns:
            The group as it should be now.

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply has no list of members. Nothing was written.
        """
        removed = {*check_strs("numbers", numbers, 'remove_members(group_id, ["101"])')}

        def remove(group: Document) -> Document:
            kept = [number for number in _members(group) if number not in removed]
            return {**group, "members": kept}

        return await self._change(group_id, remove)

    async def remove(self, group_id: str) -> None:
        """Remove a group (``POST /extensions/group/destroy``). Its extensions stay.

        Raises:
            NotFound: there is no such group.
        """
        await self._sender.send(GROUPS_REMOVE, {"group_id": check_str("group_id", group_id)})

    async def _change(self, group_id: str, change: Callable[[Document], Document]) -> Group:
        def changed(read: Document) -> Document:
            _check_is_group(read.get("group_id") or read.get("group_name"))
            group = {name: value for name, value in read.items() if name not in _REPLY_FIELDS}
            return change(group)

        key = {"group_id": check_str("group_id", group_id)}
        return await self._sender.patch(GROUPS_SHOW, GROUPS_UPDATE, key, changed)


def _check_settings(
    *, group_name: str, group_description: str | None, members: Iterable[str] | None, **flags: bool
) -> dict[str, object]:
    """Check the settings of a group, and return them by name.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: the name, or a member, is empty.
    """
    for name, flag in flags.items():
        check_type(name, flag, bool)
    return {
        "group_name": check_str("group_name", group_name),
        **optional_texts(group_description=group_description),
        **flags,
        "members": None if members is None else check_strs("members", members),
    }


def _check_is_group(identity: object) -> None:
    """Check that a reply shows a group: it has an id or a name.

    Raises:
        ReplyError: it has neither. Writing it back would empty the real group.
    """
    if not identity:
        raise ReplyError(expected="a group's id or name", operation=GROUPS_SHOW.name)


def _members(group: Mapping[str, Any]) -> tuple[str, ...]:
    if "members" not in group:
        # If it were read as an empty list, the update would remove all members.
        raise ReplyError(expected="members", where="$.members", operation=GROUPS_SHOW.name)
    return decode_item({"members": group["members"]}, GROUPS_SHOW).members
