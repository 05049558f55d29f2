"""The classic generation, as the commands see it."""

import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, ClassVar, Literal

from .. import (
    BadRequest,
    BulkResult,
    BulkRun,
    CreatedGroup,
    EmailCredentials,
    Extension,
    ExtensionStatus,
    ExtensionSummary,
    GreetingFile,
    Group,
    GroupSummary,
    NewExtension,
    NotFound,
    Paginator,
    PortSIPClient,
    StatusPoll,
    StatusWatch,
    Token,
)
from .generation import PBX, Api, Record
from .settings import Settings

_IDENTITY = frozenset({"extension_number", "password", "web_access_password"})
_SETTINGS = Settings(NewExtension, {"profile": {"first_name": "Ann"}}, without=_IDENTITY)
# Options of the command line, and the group's fields that they set.
_GROUP_OPTIONS = {
    "intercom": "enable_intercom",
    "external_calls": "enable_external_call",
    "console": "enable_management_console_access",
}
_GROUP_DEFAULTS = {"intercom": True, "external_calls": True, "console": False}


class ClassicPBX(PBX):
    """A PBX of the classic generation."""

    api: ClassVar[Api] = Api.CLASSIC
    title: ClassVar[str] = "the classic generation"
    summary: ClassVar[Record] = ExtensionSummary
    narrow: ClassVar[tuple[str, ...]] = (
        "extension_number",
        "first_name",
        "last_name",
        "email",
        "status",
    )
    record: ClassVar[Record] = Extension
    new: ClassVar[Record] = NewExtension
    new_secrets: ClassVar[tuple[str, ...]] = ("password", "web_access_password")
    settings: ClassVar[Settings] = _SETTINGS
    changes: ClassVar[Settings] = _SETTINGS
    state: ClassVar[Record] = ExtensionStatus
    interval: ClassVar[float] = 5.0
    counts_all: ClassVar[bool] = False
    group_summary: ClassVar[Record] = GroupSummary
    group: ClassVar[Record] = Group
    created_group: ClassVar[Record] = CreatedGroup
    greeting: ClassVar[Record] = GreetingFile

    @classmethod
    def client(
        cls, account: Mapping[str, str] | None, domain: str | None, **options: Any
    ) -> PortSIPClient:
        if account is None:
            token = options.get("token") or os.environ.get("PORTSIP_TOKEN")
            options |= {"token": token} if token else {}
        elif "email" in account:
            options["credentials"] = EmailCredentials(account["email"], account["password"])
        else:
            options |= account
        return PortSIPClient.from_env(**options)

    def __init__(self, client: PortSIPClient) -> None:
        self._pbx = client

    async def renew_token(self) -> Token:
        return await self._pbx.account.refresh()

    async def token_and_role(self, *, renewable: bool) -> tuple[Token | None, str | None]:
        if renewable:
            token = await self.renew_token()
            return token, token.role
        # Nothing in this generation tells about a token, so this only shows that it is valid.
        await self._pbx.extensions.list(page_size=1)
        return None, None

    def extensions(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[ExtensionSummary]:
        return self._pbx.extensions.list(**pages, **self.known(options, "sort_by"))

    def search(self, text: str, pages: Mapping[str, Any]) -> Paginator[ExtensionSummary]:
        return self._pbx.extensions.search(text, **pages)

    async def records(
        self, search: str | None, limit: int | None, concurrency: int
    ) -> AsyncGenerator[Extension, None]:
        async with (
            aclosing(self._numbers(search, limit)) as numbers,
            self._pbx.extensions.show_many(numbers, concurrency=concurrency, ordered=True) as run,
        ):
            async for result in run:
                if result.value is not None:
                    yield result.value
                elif result.error is not None and not _is_removed(result.error):
                    raise result.error

    async def _numbers(self, search: str | None, limit: int | None) -> AsyncGenerator[str, None]:
        pages: dict[str, Any] = {"page_size": None}
        count = 0
        walk = self.extensions(pages, {}) if search is None else self.search(search, pages)
        async with walk:
            async for extension in walk:
                yield extension.extension_number
                count += 1
                if count == limit:
                    return

    async def show(self, number: str) -> Extension:
        return await self._pbx.extensions.show(number)

    async def create(self, new: NewExtension) -> None:
        await self._pbx.extensions.create(new)

    def create_many(
        self,
        new: Iterator[NewExtension],
        *,
        concurrency: int,
        if_exists: Literal["error", "skip"],
        grace: float,
    ) -> BulkRun[None]:
        return self._pbx.extensions.create_many(
            new, concurrency=concurrency, if_exists=if_exists, grace=grace
        )

    async def patch(self, number: str, changes: dict[str, Any]) -> None:
        await self._pbx.extensions.patch(number, **changes)

    async def remove_many(
        self,
        numbers: Sequence[str],
        note: Callable[[BulkResult[None]], None],
        in_doubt: list[str],
    ) -> None:
        run = self._pbx.extensions.remove_many(numbers)
        try:
            async with run:
                async for result in run:
                    note(result)
        finally:
            for result in run.late_results:
                note(result)
            in_doubt.extend(run.in_doubt)

    def poll(self, numbers: Sequence[str]) -> StatusPoll[ExtensionStatus]:
        return self._pbx.extensions.poll_status(numbers, batch_size=None, ordered=True)

    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[ExtensionStatus]:
        return self._pbx.extensions.watch_status(numbers, interval=interval, batch_size=None)

    async def check_watch(self, numbers: Sequence[str] | None) -> None:
        if numbers is None:
            await self._pbx.extensions.list(page_size=1)
            return
        try:
            await self._pbx.extensions.status(numbers[:1])
        except (NotFound, BadRequest) as error:
            if error.operation != "extensions.status":
                raise  # it is about the login

    @staticmethod
    def detail(state: ExtensionStatus) -> str:
        return state.user_agent or "no telephone"

    async def call(self, number: str, to: str, *, auth: str, domain: str, src: str) -> None:
        await self._pbx.extensions.call(number, to, auth=auth, domain=domain, src=src)

    def groups(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[GroupSummary]:
        return self._pbx.groups.list(**pages, **self.known(options, "sort_by"))

    async def show_group(self, group_id: str) -> Group:
        return await self._pbx.groups.show(group_id)

    async def create_group(
        self,
        name: str,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> CreatedGroup:
        chosen = _GROUP_DEFAULTS | self.known(options, *_GROUP_OPTIONS)
        return await self._pbx.groups.create(
            name,
            group_description=description,
            members=members,
            **{_GROUP_OPTIONS[option]: value for option, value in chosen.items()},
        )

    async def update_group(
        self,
        group_id: str,
        name: str | None,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        chosen = self.known(options, *_GROUP_OPTIONS)
        changes: dict[str, Any] = {
            "group_name": name,
            "group_description": description,
            "members": members,
            **{_GROUP_OPTIONS[option]: value for option, value in chosen.items()},
        }
        given = {field: value for field, value in changes.items() if value is not None}
        await self._pbx.groups.patch(group_id, **given)

    async def add_members(self, group_id: str, numbers: Sequence[str]) -> None:
        await self._pbx.groups.add_members(group_id, numbers)

    async def remove_members(self, group_id: str, numbers: Sequence[str]) -> None:
        await self._pbx.groups.remove_members(group_id, numbers)

    async def remove_group(self, group_id: str) -> None:
        await self._pbx.groups.remove(group_id)

    def greetings(self, number: str, pages: Mapping[str, Any]) -> Paginator[GreetingFile]:
        return self._pbx.greetings.list(number, **pages)

    async def fetch_greeting(self, number: str, filename: str | None, url: str | None) -> None:
        await self._pbx.greetings.add(number, filename=filename, url=url)

    async def upload_greeting(self, number: str, source: BinaryIO, filename: str) -> None:
        await self._pbx.greetings.upload(number, source, filename=filename)

    async def set_up_greeting(self, number: str, name: str) -> None:
        await self._pbx.greetings.setup(number, name)

    async def remove_greeting(self, number: str, name: str) -> None:
        await self._pbx.greetings.remove(number, name)


def _is_removed(error: Exception) -> bool:
    """Return whether an extension was removed after it was listed."""
    return isinstance(error, NotFound) and error.operation == "extensions.show"
