"""Generation v22, as the commands see it."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, BinaryIO, ClassVar, Final, Literal

import msgspec

from ... import (
    APIError,
    AuthenticationError,
    BadRequest,
    BulkResult,
    BulkRun,
    ClientClosed,
    ConfigurationError,
    NotFound,
    Paginator,
    PortSIPError,
    ReplyError,
    StatusPoll,
    StatusWatch,
    Token,
)
from ...v22 import (
    ENDPOINTS,
    ExtensionState,
    Greeting,
    GroupSummary,
    NewUser,
    PortSIPClient,
    Role,
    User,
    UserSettings,
    UserSummary,
)
from ..failures import USAGE, Failure
from .generation import FEW, OWN_ACCOUNT, PBX, Api, Record
from .runs import existing, note_results
from .settings import Settings
from .v22_models import GroupWithMembers, NewGroup, UserWithState, with_states

_SECRETS: Final = ("password", "extension_password", "voicemail_pin")
_EXAMPLE: Final = {"department": "Sales"}
# Options of the command line, and the arguments of lists that they set.
_LIST_OPTIONS: Final = {"filter": "filter", "order_by": "orderby"}
_FATAL: Final = (AuthenticationError, ConfigurationError, ClientClosed)  # they end a bulk run
_ADMINISTRATORS: Final = frozenset({Role.SYSTEM_ADMIN, Role.REPLICATOR, Role.DEALER, Role.ADMIN})


class V22PBX(PBX):
    """A PBX of generation v22."""

    api: ClassVar[Api] = Api.V22
    title: ClassVar[str] = "generation v22"
    summary: ClassVar[Record] = UserSummary
    narrow: ClassVar[tuple[str, ...]] = (
        "extension_number",
        "display_name",
        "email",
        "role",
    )
    wide: ClassVar[tuple[str, ...]] = (
        "name",
        "enabled",
        "department",
        "work_phone",
        "mobile_phone",
        "home_phone",
        "id",
        "created_at",
        "address",
        "sync_type",
    )
    summary_with_state: ClassVar[Record | None] = UserWithState
    state_fields: ClassVar[frozenset[str]] = frozenset({"status", "presence", "presence_note"})
    odata: ClassVar[bool] = True
    record: ClassVar[Record] = User
    new: ClassVar[Record] = NewUser
    new_secrets: ClassVar[tuple[str, ...]] = _SECRETS
    settings: ClassVar[Settings] = Settings(
        NewUser, _EXAMPLE, without=frozenset({"extension_number", *_SECRETS})
    )
    changes: ClassVar[Settings] = Settings(UserSettings, _EXAMPLE)
    changeable: ClassVar[frozenset[str]] = frozenset({*changes.names, "role"})
    in_lists: ClassVar[Mapping[str, str]] = {
        name: name for name in UserSummary.__struct_fields__ if name in NewUser.__struct_fields__
    }
    state: ClassVar[Record] = ExtensionState
    interval: ClassVar[float] = 30.0
    live: ClassVar[bool] = True
    calls_need_auth: ClassVar[bool] = False
    counts_all: ClassVar[bool] = True
    group_summary: ClassVar[Record] = GroupSummary
    group: ClassVar[Record] = GroupWithMembers
    group_options: ClassVar[tuple[str, ...]] = ()
    created_group: ClassVar[Record] = NewGroup
    greeting: ClassVar[Record] = Greeting

    @classmethod
    def client(
        cls, account: Mapping[str, str] | None, domain: str | None, **options: Any
    ) -> PortSIPClient:
        if account is None:
            # A token of a profile comes without a refresh token.
            for name in () if "token" in options else ("token", "refresh_token"):
                value = os.environ.get(f"PORTSIP_{name.upper()}")
                options |= {name: value} if value else {}
        elif "email" in account:
            raise Failure(
                "generation v22 has no login by email address",
                "pass --username and --domain",
                USAGE,
            )
        else:
            options |= {**account, "domain": domain}
        return PortSIPClient.from_env(**options)

    def __init__(self, client: PortSIPClient) -> None:
        self._pbx = client

    @property
    def auth(self) -> Any:
        return self._pbx.auth

    async def renew_token(self) -> Token:
        return await self._pbx.auth.refresh()

    async def token_and_role(self, *, renewable: bool) -> tuple[Token | None, str | None]:
        token = await self.renew_token() if renewable else None
        return token, (await self._pbx.auth.user()).role

    def extensions(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[UserSummary]:
        return self._pbx.users.list(**self._list_arguments(pages, options))

    def search(
        self, text: str, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[UserSummary]:
        return self._pbx.users.list(search=text, **self._list_arguments(pages, options))

    async def with_states(
        self, items: Sequence[UserSummary], advance: Callable[[], None]
    ) -> list[msgspec.Struct]:
        return [*await with_states(self._pbx, items, advance)]

    def _list_arguments(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments of a list, without a page size that is None."""
        given = {name: value for name, value in pages.items() if value is not None}
        chosen = self.known(options, *_LIST_OPTIONS)
        return given | {_LIST_OPTIONS[name]: value for name, value in chosen.items()}

    async def records(
        self, search: str | None, limit: int | None, concurrency: int
    ) -> AsyncGenerator[User, None]:
        async with aclosing(self._ids(search, limit)) as ids:
            run = self._pbx.users.show_many(ids, concurrency=concurrency, ordered=True)
            async with aclosing(existing(run, _is_removed)) as results:
                async for _, found in results:
                    yield found

    async def _ids(self, search: str | None, limit: int | None) -> AsyncGenerator[str, None]:
        count = 0
        async with self._pbx.users.list(search=search) as walk:
            async for user in walk:
                yield user.id
                count += 1
                if count == limit:
                    return

    async def show_listed(
        self, listed: Sequence[UserSummary], concurrency: int
    ) -> AsyncGenerator[tuple[UserSummary, User], None]:
        ids = [each.id for each in listed]
        run = self._pbx.users.show_many(ids, concurrency=concurrency)
        async with aclosing(existing(run, _is_removed)) as results:
            async for index, found in results:
                yield listed[index], found

    @staticmethod
    def person(listed: UserSummary | User) -> str:
        return listed.display_name or listed.name or ""

    async def show(self, number: str) -> User:
        return await self._pbx.extensions.show(number)

    async def create(self, new: NewUser) -> None:
        await self._pbx.users.create(new)

    def create_many(
        self,
        new: Iterator[NewUser],
        *,
        concurrency: int,
        if_exists: Literal["error", "skip"],
        grace: float,
    ) -> BulkRun[str]:
        return self._pbx.users.create_many(
            new, concurrency=concurrency, if_exists=if_exists, grace=grace
        )

    async def patch(self, number: str, changes: dict[str, Any]) -> None:
        await self._pbx.extensions.patch(number, changes)

    async def patch_many(
        self,
        changes: Iterable[tuple[UserSummary, Mapping[str, Any]]],
        note: Callable[[BulkResult[Any]], None],
        in_doubt: list[str],
        *,
        concurrency: int,
        grace: float,
    ) -> None:
        numbers: dict[str, str] = {}  # by the ids of their users

        async def patches() -> AsyncGenerator[tuple[str, Mapping[str, Any]], None]:
            for index, (listed, settings) in enumerate(changes):
                number = numbers[listed.id] = listed.extension_number or ""
                others = {name: value for name, value in settings.items() if name != "role"}
                if "role" in settings:
                    result = await self._set_role(index, listed, settings["role"], in_doubt)
                    if result.error is not None or not others:
                        note(msgspec.structs.replace(result, key=number))
                        continue
                yield listed.id, others

        async with aclosing(patches()) as source:
            run = self._pbx.users.patch_many(source, concurrency=concurrency, grace=grace)
            await note_results(run, note, in_doubt, numbers.__getitem__)

    async def _set_role(
        self, index: int, listed: UserSummary, role: str, in_doubt: list[str]
    ) -> BulkResult[None]:
        """Set a user's role, which a patch does not take."""
        number = listed.extension_number or ""
        try:
            await self._pbx.users.set_role(listed.id, role)
        except asyncio.CancelledError:
            in_doubt.append(number)
            raise
        except PortSIPError as error:
            if error.may_have_acted:
                in_doubt.append(number)
            if isinstance(error, _FATAL):
                raise
            return BulkResult(index, number, error=error)
        return BulkResult(index, number)

    async def remove_many(
        self,
        numbers: Iterable[str],
        note: Callable[[BulkResult[None]], None],
        in_doubt: list[str],
        *,
        if_missing: Literal["error", "skip"] = "error",
        concurrency: int = 8,
        grace: float = 5.0,
    ) -> None:
        found: dict[str, str] = {}  # the numbers by the ids of their users

        async def ids() -> AsyncGenerator[str, None]:
            for index, number in enumerate(numbers):
                try:
                    user_id = (await self._pbx.users.find(number)).id
                except _FATAL:
                    raise
                except PortSIPError as error:
                    if if_missing == "skip" and _has_no_user(error):
                        note(BulkResult(index, number, skipped=True))
                    else:
                        note(BulkResult(index, number, error=error))
                    continue
                found[user_id] = number
                yield user_id

        async with aclosing(ids()) as source:
            run = self._pbx.users.remove_many(
                source, concurrency=concurrency, if_missing=if_missing, grace=grace
            )
            await note_results(run, note, in_doubt, found.__getitem__)

    async def never_pruned(
        self, listed: Sequence[UserSummary], account: Mapping[str, str] | None
    ) -> dict[str, str]:
        try:
            own_id = getattr(await self._pbx.request(ENDPOINTS["users.own"]), "id", "")
        except _FATAL:
            raise
        except (APIError, ReplyError):
            own_id = ""  # an administrator need not be a user
        name = (account or {}).get("username", "").casefold()
        kept: dict[str, str] = {}
        for each in listed:
            number = each.extension_number or ""
            if each.id == own_id or (name and name == (each.name or "").casefold()):
                kept[number] = OWN_ACCOUNT
            elif each.role in _ADMINISTRATORS:
                kept[number] = f"its role is {each.role}"
        return kept

    def poll(self, numbers: Sequence[str]) -> StatusPoll[ExtensionState]:
        return self._pbx.extensions.poll_status(numbers, ordered=True)

    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[ExtensionState]:
        return self._pbx.extensions.watch_status(numbers, interval=interval)

    async def names(self, numbers: Sequence[str] | None) -> AsyncGenerator[tuple[str, str], None]:
        if numbers is None or len(numbers) > FEW:
            async with self._pbx.users.list() as walk:
                async for user in walk:
                    if user.extension_number is not None:
                        yield user.extension_number, self.person(user)
            return
        for number in numbers:
            with suppress(NotFound):
                yield number, self.person(await self._pbx.extensions.show(number))

    async def check_watch(self, numbers: Sequence[str] | None) -> None:
        if numbers is None:
            await self._pbx.users.list(page_size=1)
            return
        try:
            await self._pbx.extensions.status(numbers[:1])
        except (NotFound, BadRequest) as error:
            if error.operation not in ("users.find", "users.status"):
                raise  # it is about the login

    @staticmethod
    def detail(state: ExtensionState) -> str:
        note = f": {state.presence_note}" if state.presence_note else ""
        return f"{state.presence or 'presence unknown'}{note}"

    async def call(
        self, number: str, to: str, *, auth: str | None, domain: str | None, src: str
    ) -> str:
        if auth is None or domain is None:
            return await self._pbx.calls.create(src, to)
        return await self._pbx.extensions.call(number, to, auth=auth, domain=domain, src=src)

    def groups(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[GroupSummary]:
        return self._pbx.groups.list(**self._list_arguments(pages, options))

    @staticmethod
    def identity(group: GroupSummary) -> tuple[str, str | None]:
        return group.id, group.name

    async def show_group(self, group_id: str) -> GroupWithMembers:
        group = await self._pbx.groups.show(group_id)
        members = await self.members(group_id)
        return GroupWithMembers(
            group.id, group.name, group.description, group.outbound_caller_ids, (*members,)
        )

    async def members(self, group_id: str) -> list[str]:
        return [member.extension_number for member in await self._pbx.groups.members(group_id)]

    async def create_group(
        self,
        name: str,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> NewGroup:
        self.known(options)
        group_id = await self._pbx.groups.create(name, description=description)
        if members:
            try:
                await self._pbx.groups.add_members(group_id, members)
            except PortSIPError as error:
                raise error.with_remark(
                    f"the group was created and has the id {group_id}"
                ) from None
        return NewGroup(group_id)

    async def update_group(
        self,
        group_id: str,
        name: str | None,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        self.known(options)
        if name is not None or description is not None:
            await self._pbx.groups.update(group_id, name=name, description=description)
        if members is not None:
            present = await self.members(group_id)
            await self.add_members(group_id, [one for one in members if one not in present])
            await self.remove_members(group_id, [one for one in present if one not in members])

    async def add_members(self, group_id: str, numbers: Sequence[str]) -> None:
        await self._pbx.groups.add_members(group_id, numbers)

    async def remove_members(self, group_id: str, numbers: Sequence[str]) -> None:
        await self._pbx.groups.remove_members(group_id, numbers)

    async def remove_group(self, group_id: str) -> None:
        await self._pbx.groups.remove(group_id)

    async def greetings(
        self, number: str, pages: Mapping[str, Any]
    ) -> AsyncGenerator[Greeting, None]:
        if dict(pages) != {"page": 1, "page_size": None}:
            raise Failure(
                "generation v22 lists all greetings at once",
                "leave out --page and --page-size",
                USAGE,
            )
        for greeting in await self._pbx.greetings.list(await self._id_of(number)):
            yield greeting

    async def fetch_greeting(self, number: str, filename: str | None, url: str | None) -> None:
        raise Failure(
            "a PBX of generation v22 fetches no greetings", "use 'greetings upload'", USAGE
        )

    async def upload_greeting(self, number: str, source: BinaryIO, filename: str) -> None:
        await self._pbx.greetings.upload(await self._id_of(number), source, filename=filename)

    async def set_up_greeting(self, number: str, name: str) -> None:
        await self._pbx.greetings.enable(await self._id_of(number), name)

    async def remove_greeting(self, number: str, name: str) -> None:
        await self._pbx.greetings.remove(await self._id_of(number), name)

    async def _id_of(self, number: str) -> str:
        return (await self._pbx.users.find(number)).id


def _has_no_user(error: PortSIPError) -> bool:
    """Return whether nothing has a number, as the PBX itself says."""
    return isinstance(error, NotFound) and error.operation == "users.find" and not error.is_page


def _is_removed(error: Exception) -> bool:
    """Return whether a user was removed after being listed."""
    return isinstance(error, NotFound) and error.operation == "users.show"
