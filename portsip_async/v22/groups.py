"""Groups of users, and their members."""

import asyncio
import builtins
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypedDict, Unpack

from ..arguments import check_int, check_str, check_strs, optional_texts, plain_text
from ..client.patches import (
    check_has_id,
    drop_none_deep,
    merge,
    plain_fields,
    unknown_field,
)
from ..client.resource import Document, Resource
from ..core.endpoint import Endpoint
from ..core.pages import DEFAULT_PAGE_SIZE, Paginator
from ..core.request import RequestTemplate
from ..errors import APIError, Conflict, NotFound, PortSIPError
from .models import Group, GroupSummary, Member
from .operations import (
    GROUPS_ADD_MEMBER,
    GROUPS_CREATE,
    GROUPS_LIST,
    GROUPS_MEMBERS,
    GROUPS_REMOVE,
    GROUPS_REMOVE_MEMBER,
    GROUPS_SHOW,
    GROUPS_UPDATE,
    LARGEST_PAGE_SIZE,
)
from .parts import OutboundCallerID

__all__ = ["GroupSettings", "MembersError"]

# The settings: every field of a group except its id.
_SETTINGS: Final = Group.__struct_fields__[1:]
# How many numbers the text of an error shows.
_SHOWN: Final = 5

# Typed here, because subscripting a class at each call takes 1 us.
_SUMMARIES: Final[type[Paginator[GroupSummary]]] = Paginator


class GroupSettings(TypedDict, total=False):
    """The settings of a group to change; None leaves one as it is.

    Attributes:
        name: the group's name.
        description: any text about it.
        outbound_caller_ids: the caller ids that its members show to the outside. They replace all
            that the group has.
    """

    name: str | None
    description: str | None
    outbound_caller_ids: Iterable[OutboundCallerID | Mapping[str, object]] | None


class MembersError(PortSIPError):
    """Some numbers were not added to a group, or not removed from it.

    Attributes:
        done: the numbers that were, in the order in which they were passed.
        failed: the other numbers, each with the error of its request.
    """

    def __init__(
        self, done: list[str], failed: Mapping[str, Exception], *, operation: str | None = None
    ) -> None:
        shown = [f"{number} ({_text(error)})" for number, error in [*failed.items()][:_SHOWN]]
        more = f" and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        super().__init__(
            f"{len(failed)} of {len(done) + len(failed)} numbers failed: {', '.join(shown)}{more}",
            operation=operation,
            attempts=sum(getattr(error, "attempts", 0) for error in failed.values()),
            may_have_acted=any(
                getattr(error, "may_have_acted", False) for error in failed.values()
            ),
        )
        self.done: list[str] = done
        self.failed: dict[str, Exception] = dict(failed)

    def _facts(self) -> list[str]:
        return []  # the error of each number has its own


def _text(error: Exception) -> str:
    """Return the text of an error without its operation, which is the same for all."""
    operation = getattr(error, "operation", None)
    return str(error).removeprefix(f"{operation}: ")


class Groups(Resource):
    """The groups of users of the PBX."""

    def list(
        self,
        *,
        search: str | None = None,
        filter: str | None = None,  # noqa: A002 - the API's name
        orderby: str | None = None,
        page: int = 1,
        page_size: int = DEFAULT_PAGE_SIZE,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> Paginator[GroupSummary]:
        """Walk all groups (``GET /groups``).

        Args:
            search: a text to search for; None lists all groups.
            filter: an OData condition, such as ``name eq 'Sales'``; None sets none.
            orderby: the field to sort by, such as ``name desc``; None leaves the order to the PBX.
            page: the number of the first page to read, counted from 1.
            page_size: the most groups in a page, from 1 to 100.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
        """
        return self._sender.paginate(
            _SUMMARIES,
            GROUPS_LIST,
            optional_texts(search=search, filter=filter, orderby=orderby),
            page=page,
            page_size=check_int("page_size", page_size, 1, LARGEST_PAGE_SIZE),
            prefetch=prefetch,
            max_pages=max_pages,
        )

    async def show(self, group_id: str) -> Group:
        """Read a group's settings (``GET /groups/{id}``).

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply does not show a group.
        """
        return await self._sender.send(GROUPS_SHOW, _key(group_id))

    async def create(
        self,
        name: str,
        *,
        description: str | None = None,
        outbound_caller_ids: Iterable[OutboundCallerID | Mapping[str, object]] | None = None,
    ) -> str:
        """Create a group without members (``POST /groups``).

        It is not repeated if the PBX may have acted: see ``error.may_have_acted``.

        Args:
            name: the group's name.
            description: any text about it; None leaves it out.
            outbound_caller_ids: the caller ids that its members show to the outside; None leaves
                them out.

        Returns:
            The group's id.
        """
        settings = {
            "name": check_str("name", name),
            "description": description,
            "outbound_caller_ids": outbound_caller_ids,
        }
        created = await self._sender.send(GROUPS_CREATE, _settings(settings))
        return created.id

    async def update(self, group_id: str, **changes: Unpack[GroupSettings]) -> None:
        """Change some of a group's settings (``GET``, then ``POST /groups/{id}``).

        The vendor's document leaves open whether an update keeps the settings that it does not
        mention. So the group is read, changed and written as a whole. All other fields stay as they
        were read, even fields that the SDK does not know. Updates of one group through one client
        wait for each other.

        Args:
            group_id: the group's id.
            changes: the settings to change, see `GroupSettings`.

        Raises:
            NotFound: there is no such group.
            ReplyError: the reply shows no group or another one. Nothing was written.
            TypeError: a setting that a group does not have; the message suggests the nearest name.
        """
        plain = _settings(changes)

        def changed(group: Document) -> Document:
            check_has_id(group, GROUPS_SHOW.name)
            return merge(group, plain)

        await self._sender.patch(GROUPS_SHOW, GROUPS_UPDATE, _key(group_id), changed)

    async def remove(self, group_id: str) -> None:
        """Remove a group (``POST /groups/{id}/destroy``). Its members stay.

        Raises:
            NotFound: there is no such group.
        """
        await self._sender.send(GROUPS_REMOVE, _key(group_id))

    async def members(self, group_id: str) -> builtins.list[Member]:
        """Read the members of a group (``GET /groups/{id}/members``).

        Raises:
            NotFound: there is no such group.
        """
        reply = await self._sender.send(GROUPS_MEMBERS, _key(group_id))
        return [*reply.items]

    async def add_members(self, group_id: str, numbers: Iterable[str]) -> None:
        """Add extensions to a group (``POST /groups/{id}/members/{extension_number}`` for each).

        The requests are sent concurrently, within the client's limits. Numbers that are already
        members stay members: if the PBX reports one as a conflict, the members are read to see
        whether it is one.

        Args:
            group_id: the group's id.
            numbers: extension numbers.

        Raises:
            MembersError: some numbers were not added; see its `done` and `failed`.
            PortSIPError: all numbers failed in the same way, such as NotFound because there is no
                such group. A single number raises its own error too.
            ValueError: a number is empty, "." or "..". Nothing was sent.
        """
        await self._change_members(
            GROUPS_ADD_MEMBER,
            'add_members(group_id, ["101"])',
            group_id,
            numbers,
            Conflict,
            lambda number, found: number in found,
        )

    async def remove_members(self, group_id: str, numbers: Iterable[str]) -> None:
        """Remove extensions from a group (``.../members/{extension_number}/destroy`` for each).

        The requests are sent concurrently, within the client's limits. Numbers that are not members
        are ignored: if the PBX does not find one, the members are read to see whether it is one.

        Args:
            group_id: the group's id.
            numbers: extension numbers.

        Raises:
            MembersError: some numbers were not removed; see its `done` and `failed`.
            PortSIPError: all numbers failed in the same way, such as NotFound because there is no
                such group. A single number raises its own error too.
            ValueError: a number is empty, "." or "..". Nothing was sent.
        """
        await self._change_members(
            GROUPS_REMOVE_MEMBER,
            'remove_members(group_id, ["101"])',
            group_id,
            numbers,
            NotFound,
            lambda number, found: number not in found,
        )

    async def _change_members(
        self,
        row: Endpoint[None],
        example: str,
        group_id: str,
        numbers: Iterable[str],
        doubtful: type[APIError],
        is_done: Callable[[str, builtins.list[str]], bool],
    ) -> None:
        """Send a request for each number, and raise the errors of those that failed.

        Args:
            row: the operation.
            example: a correct call, for messages.
            group_id: the group's id.
            numbers: extension numbers.
            doubtful: the error that the PBX also sends if there is nothing to do.
            is_done: whether nothing is left to do for a number, by the numbers of the members.
        """
        parameters = {
            number: {**_key(group_id), "extension_number": number}
            for number in check_strs("numbers", numbers, example)
        }
        RequestTemplate(GROUPS_MEMBERS, _key(group_id))
        for each in parameters.values():
            RequestTemplate(row, each)  # refuses a bad number before any request is sent
        failed = await _failures(
            {number: self._sender.send(row, each) for number, each in parameters.items()}
        )
        if any(isinstance(error, doubtful) for error in failed.values()):
            try:
                found = [member.extension_number for member in await self.members(group_id)]
            except PortSIPError:
                pass  # the errors of the numbers stand
            else:
                failed = {
                    number: error
                    for number, error in failed.items()
                    if not isinstance(error, doubtful) or not is_done(number, found)
                }
        if not failed:
            return
        first, *others = failed.values()
        done = [number for number in parameters if number not in failed]
        if not done and all(_are_alike(first, each) for each in others):
            raise first
        raise MembersError(done, failed, operation=row.name)


async def _failures(calls: Mapping[str, Coroutine[Any, Any, None]]) -> dict[str, Exception]:
    """Make calls concurrently, and return the errors of those that failed.

    A cancellation ends all of them.
    """
    outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
    failed: dict[str, Exception] = {}
    for key, outcome in zip(calls, outcomes, strict=True):
        if isinstance(outcome, Exception):
            failed[key] = outcome
        elif outcome is not None:
            raise outcome  # something else cancelled a call
    return failed


def _are_alike(error: Exception, other: Exception) -> bool:
    """Check that two errors have the same class and the same code."""
    code = getattr(error, "err_code", None)
    return type(error) is type(other) and code == getattr(other, "err_code", None)


def _key(group_id: str) -> dict[str, str]:
    return {"id": check_str("group_id", group_id)}


def _settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of a group, and return those that are not None as plain values.

    Raises:
        TypeError: an unknown setting, or a value of the wrong type.
        ValueError: the name is empty.
    """
    plain: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in _SETTINGS:
            raise unknown_field("a group", name, _SETTINGS)
        if value is None:
            continue
        if name == "outbound_caller_ids":
            plain[name] = _caller_ids(value)
        elif name == "description" and isinstance(value, str):
            plain[name] = plain_text(value)  # it may be empty
        else:
            plain[name] = check_str(name, value)
    return plain


def _caller_ids(ids: object) -> list[dict[str, Any]]:
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise TypeError(
            f"outbound_caller_ids must be a list, got {type(ids).__name__}; "
            'pass a list, e.g. outbound_caller_ids=[{"caller_id": "101"}]'
        )
    return [drop_none_deep(plain_fields("each of outbound_caller_ids", each)) for each in ids]
