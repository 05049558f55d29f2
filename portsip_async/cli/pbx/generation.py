"""What the commands need from a PBX, whichever generation of the API it speaks.

`classic.py` and `v22.py` implement it over the client of their generation. The commands use nothing
else, so none of them asks which generation a PBX has.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Any, BinaryIO, ClassVar, Final, Literal

import msgspec
import typer

from ... import BulkResult, BulkRun, Paginator, StatusPoll, StatusWatch, Token
from ..command_group import did_you_mean
from ..failures import NOT_FOUND, USAGE, Failure, shorten
from .settings import Settings

Record = type[msgspec.Struct]

FEW: Final = 20  # extensions whose names are read one by one, not from the list
# The options of the other generation that serve the same purpose.
_INSTEAD: Final = {"sort_by": "--order-by", "order_by": "--sort-by"}

OWN_ACCOUNT: Final = "the account that is logged in"


class Api(StrEnum):
    """A generation of the API, or "auto": the one that the PBX is found to speak."""

    AUTO = "auto"
    CLASSIC = "classic"
    V22 = "v22"


class PBX(ABC):
    """A PBX, over an open client of its generation.

    Attributes:
        api: the generation.
        title: its name in messages.
        summary: the row of a list of extensions.
        narrow: the columns of that list as a table, which would be too wide with all.
        wide: further columns, as far as a terminal has room for them.
        summary_with_state: the same row with the fields of the extension's state, if a list has
            none; a state takes a request.
        state_fields: what `summary_with_state` adds.
        odata: whether the PBX filters lists by expressions of OData.
        record: an extension with all its settings.
        new: an extension to create, which is also a row of an import.
        new_secrets: the fields of `new` that are read from prompts or the environment.
        settings: what ``create`` sets.
        changes: what ``update`` sets.
        changeable: the fields of `new` that `patch_many` can change, by their dotted names.
        in_lists: the fields of `new` that `summary` has too: its field by their dotted names.
        state: the status of an extension.
        interval: seconds between two polls of a watch, unless another number is given.
        live: whether a watch follows a web socket, and polls only while there is none.
        calls_need_auth: whether a call needs the password of the extension's telephones.
        counts_all: whether the count of a page is always that of the whole list.
        group_summary: the row of a list of groups.
        group: a group with its members.
        group_options: the options of the command line that set a group's settings.
        created_group: the reply to a group's creation.
        greeting: the row of a list of greetings.
    """

    api: ClassVar[Api]
    title: ClassVar[str]
    summary: ClassVar[Record]
    narrow: ClassVar[tuple[str, ...]]
    wide: ClassVar[tuple[str, ...]]
    summary_with_state: ClassVar[Record | None] = None
    state_fields: ClassVar[frozenset[str]] = frozenset()
    odata: ClassVar[bool] = False
    record: ClassVar[Record]
    new: ClassVar[Record]
    new_secrets: ClassVar[tuple[str, ...]]
    settings: ClassVar[Settings]
    changes: ClassVar[Settings]
    changeable: ClassVar[frozenset[str]]
    in_lists: ClassVar[Mapping[str, str]]
    state: ClassVar[Record]
    interval: ClassVar[float]
    live: ClassVar[bool] = False
    calls_need_auth: ClassVar[bool]
    counts_all: ClassVar[bool]
    group_summary: ClassVar[Record]
    group: ClassVar[Record]
    group_options: ClassVar[tuple[str, ...]]
    created_group: ClassVar[Record]
    greeting: ClassVar[Record]

    @classmethod
    @abstractmethod
    def client(cls, account: Mapping[str, str] | None, domain: str | None, **options: Any) -> Any:
        """Build the client of this generation.

        Args:
            account: the user name or the email address, and the password; None for the token of
                the environment.
            domain: the SIP domain of the tenant; None if there is none.
            options: the other arguments of the client; the rest comes from the environment.

        Raises:
            ConfigurationError: the URL or the account is missing or wrong.
            Failure: this generation has no such account.
        """

    @abstractmethod
    def __init__(self, client: Any) -> None: ...

    @property
    def auth(self) -> Any:
        """The client's logins with a second factor; None if this generation has none."""
        return None

    @classmethod
    def known(cls, options: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Return the options that were given.

        Args:
            options: by name, the values of options that only one generation has; None if not given.
            names: the options that this generation has.

        Raises:
            typer.BadParameter: an option of another generation was given.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in names:
                other = _INSTEAD.get(name)
                advice = f"; use {other}" if other else ""
                raise typer.BadParameter(f"{cls.title} has no --{name.replace('_', '-')}{advice}")
        return given

    # The account.

    @abstractmethod
    async def renew_token(self) -> Token:
        """Log in, or renew the token."""

    @abstractmethod
    async def token_and_role(self, *, renewable: bool) -> tuple[Token | None, str | None]:
        """Log in; return the token and the role of the account, where the PBX tells them.

        Args:
            renewable: whether there is an account; a given token is used, but not renewed.
        """

    # Extensions. `pages` are the arguments of the client's lists.

    @abstractmethod
    def extensions(self, pages: Mapping[str, Any], options: Mapping[str, Any]) -> Paginator[Any]:
        """Return the list of all extensions."""

    @abstractmethod
    def search(
        self, text: str, pages: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Paginator[Any]:
        """Return the list of extensions that match a text."""

    async def with_states(
        self, items: Sequence[Any], advance: Callable[[], None]
    ) -> list[msgspec.Struct]:
        """Return rows of a list with their states, as `summary_with_state`.

        Args:
            items: rows of that list.
            advance: called once for each.
        """
        raise NotImplementedError  # for a generation with `state_fields`

    @abstractmethod
    def records(
        self, search: str | None, limit: int | None, concurrency: int
    ) -> AsyncGenerator[msgspec.Struct, None]:
        """Yield extensions with all their settings, in the order of the list.

        Args:
            search: a text that they match; None for all.
            limit: how many to yield, at most.
            concurrency: requests in flight.
        """

    @abstractmethod
    def show_listed(
        self, listed: Sequence[Any], concurrency: int
    ) -> AsyncGenerator[tuple[Any, msgspec.Struct], None]:
        """Yield listed extensions, each with all its settings; leave out those removed since.

        Args:
            listed: rows of a list.
            concurrency: requests in flight.
        """

    @staticmethod
    @abstractmethod
    def person(listed: Any) -> str:
        """Return the name of who has a listed extension; "" if the list does not show it."""

    @abstractmethod
    async def show(self, number: str) -> msgspec.Struct:
        """Return an extension with all its settings."""

    @abstractmethod
    async def create(self, new: Any) -> None:
        """Create an extension."""

    @abstractmethod
    def create_many(
        self,
        new: Iterator[Any],
        *,
        concurrency: int,
        if_exists: Literal["error", "skip"],
        grace: float,
    ) -> BulkRun[Any]:
        """Create many extensions; the results have the numbers as their keys."""

    @abstractmethod
    async def patch(self, number: str, changes: dict[str, Any]) -> None:
        """Change some of an extension's settings.

        Raises:
            TypeError: there is no such setting.
        """

    @abstractmethod
    async def patch_many(
        self,
        changes: Iterable[tuple[Any, Mapping[str, Any]]],
        note: Callable[[BulkResult[Any]], None],
        in_doubt: list[str],
        *,
        concurrency: int,
        grace: float,
    ) -> None:
        """Change some settings of many extensions.

        Args:
            changes: rows of a list, each with the settings to change, read lazily.
            note: called with each result, which has the number as its key.
            in_doubt: gets the numbers that were perhaps changed.
            concurrency: writes in flight.
            grace: seconds for writes in flight to finish once the run ends early.
        """

    @abstractmethod
    async def remove_many(
        self,
        numbers: Iterable[str],
        note: Callable[[BulkResult[Any]], None],
        in_doubt: list[str],
        *,
        if_missing: Literal["error", "skip"] = "error",
        concurrency: int = 8,
        grace: float = 5.0,
    ) -> None:
        """Remove extensions.

        Args:
            numbers: their numbers, read lazily.
            note: called with each result, which has the number as its key.
            in_doubt: gets the numbers that were perhaps removed.
            if_missing: "skip" skips a number that does not exist.
            concurrency: writes in flight.
            grace: seconds for writes in flight to finish once the run ends early.
        """

    @abstractmethod
    async def never_pruned(
        self, listed: Sequence[Any], account: Mapping[str, str] | None
    ) -> dict[str, str]:
        """Return the numbers that a file must not remove by leaving them out, and why.

        Args:
            listed: rows of a list.
            account: the account that is logged in; None for a token.
        """

    @abstractmethod
    def poll(self, numbers: Sequence[str]) -> StatusPoll[Any]:
        """Read the status of extensions, in their order."""

    @abstractmethod
    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[Any]:
        """Watch the status of extensions; None for all."""

    @abstractmethod
    def names(self, numbers: Sequence[str] | None) -> AsyncGenerator[tuple[str, str], None]:
        """Yield the numbers and names of these extensions, and maybe of others; None for all."""

    @abstractmethod
    async def check_watch(self, numbers: Sequence[str] | None) -> None:
        """Send one request, because a watch would wait forever for a PBX that is never there.

        Raises:
            PortSIPError: it failed. An extension that does not exist is no failure.
        """

    @staticmethod
    @abstractmethod
    def detail(state: Any) -> str:
        """Return what a status says besides its name."""

    @abstractmethod
    async def call(
        self, number: str, to: str, *, auth: str | None, domain: str | None, src: str
    ) -> str | None:
        """Ring an extension, and connect it to a number.

        Args:
            number: the extension that sets up the call.
            to: the number to call.
            auth: the password of the extension's telephones; None if the account sets up the call,
                unless `calls_need_auth`.
            domain: the SIP domain of the tenant, which a call with `auth` needs.
            src: the number that rings first.

        Returns:
            The id of the session; None if this generation has none.
        """

    # Groups.

    @abstractmethod
    def groups(self, pages: Mapping[str, Any], options: Mapping[str, Any]) -> Paginator[Any]:
        """Return the list of all groups."""

    @staticmethod
    @abstractmethod
    def identity(group: Any) -> tuple[str, str | None]:
        """Return the id and the name of a group in a list."""

    async def group_id(self, group: str) -> str:
        """Return the id of the group that has this name or this id.

        Raises:
            Failure: there is none, or there are several.
            ValueError: the text is empty.
        """
        if not group:
            raise ValueError("the name of a group must not be empty")
        found: list[str] = []
        names: list[str] = []
        async with self.groups({"page_size": None}, {}) as walk:
            async for each in walk:
                group_id, name = self.identity(each)
                names.append(name or "")
                if group in (group_id, name):
                    found.append(group_id)
        if not found:
            near = did_you_mean(group, names)
            text = f"no group has the name or the id {group}{near and '.'}{near}"
            raise Failure(text, "portsip-async groups list", NOT_FOUND)
        if len(found) > 1:
            # One group's name may be the id of another.
            raise Failure(
                f"{len(found)} groups have the name or the id {group}; their ids are"
                f" {shorten(found)}",
                "pass the id of one of them",
                USAGE,
            )
        return found[0]

    @abstractmethod
    async def members(self, group_id: str) -> list[str]:
        """Return the numbers of a group's members."""

    @abstractmethod
    async def show_group(self, group_id: str) -> msgspec.Struct:
        """Return a group with its members."""

    @abstractmethod
    async def create_group(
        self,
        name: str,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> msgspec.Struct:
        """Create a group, and return its id."""

    @abstractmethod
    async def update_group(
        self,
        group_id: str,
        name: str | None,
        description: str | None,
        members: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> None:
        """Change some of a group's settings, or replace its members; None keeps them."""

    @abstractmethod
    async def add_members(self, group_id: str, numbers: Sequence[str]) -> None:
        """Add members to a group."""

    @abstractmethod
    async def remove_members(self, group_id: str, numbers: Sequence[str]) -> None:
        """Remove members from a group."""

    @abstractmethod
    async def remove_group(self, group_id: str) -> None:
        """Remove a group."""

    # Greetings. Their `name` is what the list shows first.

    @abstractmethod
    def greetings(
        self, number: str, pages: Mapping[str, Any]
    ) -> Paginator[Any] | AsyncGenerator[Any, None]:
        """Return the list of an extension's greetings."""

    @abstractmethod
    async def fetch_greeting(self, number: str, filename: str | None, url: str | None) -> None:
        """Let the PBX fetch a greeting from a URL."""

    @abstractmethod
    async def upload_greeting(self, number: str, source: BinaryIO, filename: str) -> None:
        """Upload a greeting."""

    @abstractmethod
    async def set_up_greeting(self, number: str, name: str) -> None:
        """Set the greeting that callers hear."""

    @abstractmethod
    async def remove_greeting(self, number: str, name: str) -> None:
        """Remove a greeting."""


# The class of each generation. Its module is loaded when the generation is used.
_CLASSES: Final = {Api.CLASSIC: (".classic", "ClassicPBX"), Api.V22: (".v22", "V22PBX")}


def kind_of(api: Api | str) -> type[PBX]:
    """Return the class for a generation."""
    module, name = _CLASSES[Api(api)]
    found: type[PBX] = getattr(import_module(module, __package__), name)
    return found


def other_kinds(kind: type[PBX]) -> list[type[PBX]]:
    """Return the classes of the other generations."""
    return [kind_of(api) for api in _CLASSES if api is not kind.api]
