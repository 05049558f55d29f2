"""The classic generation, as the commands see it."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, BinaryIO, ClassVar, Literal

from ... import (
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
    Profile,
    StatusPoll,
    StatusWatch,
    Token,
)
from .generation import FEW, OWN_ACCOUNT, PBX, Api, Record
from .runs import existing, note_results
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
    wide: ClassVar[tuple[str, ...]] = ("user_agent", "phone_model", "phone_mac_address")
    record: ClassVar[Record] = Extension
    new: ClassVar[Record] = NewExtension
    new_secrets: ClassVar[tuple[str, ...]] = ("password", "web_access_password")
    settings: ClassVar[Settings] = _SETTINGS
    changes: ClassVar[Settings] = _SETTINGS
    changeable: ClassVar[frozenset[str]] = frozenset(_SETTINGS.names)
    in_lists: ClassVar[Mapping[str, str]] = {
        f"profile.{name}": name for name in ("first_name", "last_name", "email")
    }
    state: ClassVar[Record] = ExtensionStatus
    interval: ClassVar[float] = 5.0
    calls_need_auth: ClassVar[bool] = True
    counts_all: ClassVar[bool] = False
    group_summary: ClassVar[Record] = GroupSummary
    group: ClassVar[Record] = Group
    group_options: ClassVar[tuple[str, ...]] = (*_GROUP_OPTIONS,)
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

    def search(
        self, text: str, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[ExtensionSummary]:
        return self._pbx.extensions.search(text, **pages, **self.known(options))

    async def records(
        self, search: str | None, limit: int | None, concurrency: int
    ) -> AsyncGenerator[Extension, None]:
        async with aclosing(self._numbers(search, limit)) as numbers:
            show_many = self._pbx.extensions.show_many
            run = show_many(numbers, concurrency=concurrency, ordered=True)
            async with aclosing(existing(run, _is_removed)) as results:
                async for _, found in results:
                    yield found

    async def _numbers(self, search: str | None, limit: int | None) -> AsyncGenerator[str, None]:
        pages: dict[str, Any] = {"page_size": None}
        count = 0
        walk = self.extensions(pages, {}) if search is None else self.search(search, pages, {})
        async with walk:
            async for extension in walk:
                yield extension.extension_number
                count += 1
                if count == limit:
                    return

    async def show_listed(
        self, listed: Sequence[ExtensionSummary], concurrency: int
    ) -> AsyncGenerator[tuple[ExtensionSummary, Extension], None]:
        numbers = [each.extension_number for each in listed]
        run = self._pbx.extensions.show_many(numbers, concurrency=concurrency)
        async with aclosing(existing(run, _is_removed)) as results:
            async for index, found in results:
                yield listed[index], found

    @staticmethod
    def person(listed: ExtensionSummary) -> str:
        return _full_name(listed)

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

    async def patch_many(
        self,
        changes: Iterable[tuple[ExtensionSummary, Mapping[str, Any]]],
        note: Callable[[BulkResult[Any]], None],
        in_doubt: list[str],
        *,
        concurrency: int,
        grace: float,
    ) -> None:
        patches = ((listed.extension_number, settings) for listed, settings in changes)
        run = self._pbx.extensions.patch_many(patches, concurrency=concurrency, grace=grace)
        await note_results(run, note, in_doubt)

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
        run = self._pbx.extensions.remove_many(
            numbers, concurrency=concurrency, if_missing=if_missing, grace=grace
        )
        await note_results(run, note, in_doubt)

    async def never_pruned(
        self, listed: Sequence[ExtensionSummary], account: Mapping[str, str] | None
    ) -> dict[str, str]:
        names = {(account or {}).get(name, "").casefold() for name in ("username", "email")} - {""}
        return {
            each.extension_number: OWN_ACCOUNT
            for each in listed
            if {each.extension_number.casefold(), (each.email or "").casefold()} & names
        }

    def poll(self, numbers: Sequence[str]) -> StatusPoll[ExtensionStatus]:
        return self._pbx.extensions.poll_status(numbers, batch_size=None, ordered=True)

    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[ExtensionStatus]:
        return self._pbx.extensions.watch_status(numbers, interval=interval, batch_size=None)

    async def names(self, numbers: Sequence[str] | None) -> AsyncGenerator[tuple[str, str], None]:
        if numbers is None or len(numbers) > FEW:
            async with self._pbx.extensions.list(page_size=None) as walk:
                async for extension in walk:
                    yield extension.extension_number, _full_name(extension)
            return
        async with self._pbx.extensions.show_many(numbers) as run:
            async for result in run:
                if result.value is not None and (profile := result.value.profile) is not None:
                    yield result.key, _full_name(profile)

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

    async def call(
        self, number: str, to: str, *, auth: str | None, domain: str | None, src: str
    ) -> None:
        assert auth is not None and domain is not None  # noqa: S101, PT018 - calls_need_auth
        await self._pbx.extensions.call(number, to, auth=auth, domain=domain, src=src)

    def groups(
        self, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[GroupSummary]:
        return self._pbx.groups.list(**pages, **self.known(options, "sort_by"))

    @staticmethod
    def identity(group: GroupSummary) -> tuple[str, str | None]:
        return group.group_id, group.group_name

    async def members(self, group_id: str) -> list[str]:
        return [*((await self._pbx.groups.show(group_id)).members or ())]

    async def show_group(self, group_id: str) -> Group:
        return await self._pbx.groups.show(group_id)

    async def create_group(
        self,
        name: str,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> CreatedGroup:
        chosen = _GROUP_DEFAULTS | self.known(options, *self.group_options)
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
        chosen = self.known(options, *self.group_options)
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


def _full_name(person: ExtensionSummary | Profile) -> str:
    return " ".join(filter(None, (person.first_name, person.last_name)))


def _is_removed(error: Exception) -> bool:
    """Return whether an extension was removed after it was listed."""
    return isinstance(error, NotFound) and error.operation == "extensions.show"
