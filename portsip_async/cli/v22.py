"""Generation v22, as the commands see it."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, ClassVar, Final, Literal

import msgspec

from .. import (
    AuthenticationError,
    BadRequest,
    BulkResult,
    BulkRun,
    ClientClosed,
    ConfigurationError,
    NotFound,
    Paginator,
    PortSIPError,
    StatusPoll,
    StatusWatch,
    Token,
)
from ..v22 import (
    ExtensionState,
    Greeting,
    GroupSummary,
    NewUser,
    OutboundCallerID,
    PortSIPClient,
    User,
    UserSettings,
    UserSummary,
)
from .failures import USAGE, Failure
from .generation import PBX, Api, Record
from .settings import Settings

_SECRETS: Final = ("password", "extension_password", "voicemail_pin")
_EXAMPLE: Final = {"department": "Sales"}
# Options of the command line, and the arguments of lists that they set.
_LIST_OPTIONS: Final = {"filter": "filter", "order_by": "orderby"}


class GroupWithMembers(msgspec.Struct, frozen=True):
    """A group, with the numbers of its members."""

    id: str
    name: str | None
    description: str | None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None
    members: tuple[str, ...]


class NewGroup(msgspec.Struct, frozen=True):
    """The reply to a group's creation."""

    id: str


class V22PBX(PBX):
    """A PBX of generation v22."""

    api: ClassVar[Api] = Api.V22
    title: ClassVar[str] = "generation v22"
    summary: ClassVar[Record] = UserSummary
    narrow: ClassVar[tuple[str, ...]] = (
        "extension_number",
        "name",
        "display_name",
        "email",
        "role",
        "enabled",
    )
    record: ClassVar[Record] = User
    new: ClassVar[Record] = NewUser
    new_secrets: ClassVar[tuple[str, ...]] = _SECRETS
    settings: ClassVar[Settings] = Settings(
        NewUser, _EXAMPLE, without=frozenset({"extension_number", *_SECRETS})
    )
    changes: ClassVar[Settings] = Settings(UserSettings, _EXAMPLE)
    state: ClassVar[Record] = ExtensionState
    interval: ClassVar[float] = 30.0
    counts_all: ClassVar[bool] = True
    group_summary: ClassVar[Record] = GroupSummary
    group: ClassVar[Record] = GroupWithMembers
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

    def search(self, text: str, pages: Mapping[str, Any]) -> Paginator[UserSummary]:
        return self._pbx.extensions.search(text, **self._list_arguments(pages, {}))

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
        async with (
            aclosing(self._ids(search, limit)) as ids,
            self._pbx.users.show_many(ids, concurrency=concurrency, ordered=True) as run,
        ):
            async for result in run:
                if result.value is not None:
                    yield result.value
                elif result.error is not None and not _is_removed(result.error):
                    raise result.error

    async def _ids(self, search: str | None, limit: int | None) -> AsyncGenerator[str, None]:
        count = 0
        async with self._pbx.users.list(search=search) as walk:
            async for user in walk:
                yield user.id
                count += 1
                if count == limit:
                    return

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

    async def remove_many(
        self,
        numbers: Sequence[str],
        note: Callable[[BulkResult[None]], None],
        in_doubt: list[str],
    ) -> None:
        found: dict[str, str] = {}  # the numbers by the ids of their users

        async def ids() -> AsyncGenerator[str, None]:
            for index, number in enumerate(numbers):
                try:
                    user_id = (await self._pbx.users.find(number)).id
                except (AuthenticationError, ConfigurationError, ClientClosed):
                    raise
                except PortSIPError as error:
                    note(BulkResult(index, number, error=error))
                    continue
                found[user_id] = number
                yield user_id

        def note_number(result: BulkResult[None]) -> None:
            note(msgspec.structs.replace(result, key=found[result.key]))

        async with aclosing(ids()) as source:
            run = self._pbx.users.remove_many(source)
            try:
                async with run:
                    async for result in run:
                        note_number(result)
            finally:
                for result in run.late_results:
                    note_number(result)
                in_doubt.extend(found[user_id] for user_id in run.in_doubt)

    def poll(self, numbers: Sequence[str]) -> StatusPoll[ExtensionState]:
        return self._pbx.extensions.poll_status(numbers, ordered=True)

    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[ExtensionState]:
        return self._pbx.extensions.watch_status(numbers, interval=interval)

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

    async def call(self, number: str, to: str, *, auth: str, domain: str, src: str) -> None:
        await self._pbx.extensions.call(number, to, auth=auth, domain=domain, src=src)

    def groups(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[GroupSummary]:
        return self._pbx.groups.list(**self._list_arguments(pages, options))

    async def show_group(self, group_id: str) -> GroupWithMembers:
        group = await self._pbx.groups.show(group_id)
        members = await self._members(group_id)
        return GroupWithMembers(
            group.id, group.name, group.description, group.outbound_caller_ids, (*members,)
        )

    async def _members(self, group_id: str) -> list[str]:
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
            present = await self._members(group_id)
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


def _is_removed(error: Exception) -> bool:
    """Return whether a user was removed after being listed."""
    return isinstance(error, NotFound) and error.operation == "users.show"
