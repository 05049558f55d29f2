"""What the commands need from a PBX, whichever generation of the API it speaks.

`classic.py` and `v22.py` implement it over the client of their generation. The commands use nothing
else, so none of them asks which generation a PBX has.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from typing import Any, BinaryIO, ClassVar, Final, Literal

import msgspec
import typer

from .. import BulkResult, BulkRun, Paginator, StatusPoll, StatusWatch, Token
from .settings import Settings

Record = type[msgspec.Struct]


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
        record: an extension with all its settings.
        new: an extension to create, which is also a row of an import.
        new_secrets: the fields of `new` that are read from prompts or the environment.
        settings: what ``create`` sets.
        changes: what ``update`` sets.
        state: the status of an extension.
        interval: seconds between two polls of a watch, unless another number is given.
        counts_all: whether the count of a page is always that of the whole list.
        group_summary: the row of a list of groups.
        group: a group with its members.
        created_group: the reply to a group's creation.
        greeting: the row of a list of greetings.
    """

    api: ClassVar[Api]
    title: ClassVar[str]
    summary: ClassVar[Record]
    narrow: ClassVar[tuple[str, ...]]
    record: ClassVar[Record]
    new: ClassVar[Record]
    new_secrets: ClassVar[tuple[str, ...]]
    settings: ClassVar[Settings]
    changes: ClassVar[Settings]
    state: ClassVar[Record]
    interval: ClassVar[float]
    counts_all: ClassVar[bool]
    group_summary: ClassVar[Record]
    group: ClassVar[Record]
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
                raise typer.BadParameter(f"{cls.title} has no --{name.replace('_', '-')}")
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
    def search(self, text: str, pages: Mapping[str, Any]) -> Paginator[Any]:
        """Return the list of extensions that match a text."""

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
    async def remove_many(
        self,
        numbers: Sequence[str],
        note: Callable[[BulkResult[Any]], None],
        in_doubt: list[str],
    ) -> None:
        """Remove extensions.

        Args:
            numbers: their numbers.
            note: called with each result, which has the number as its key.
            in_doubt: gets the numbers that were perhaps removed.
        """

    @abstractmethod
    def poll(self, numbers: Sequence[str]) -> StatusPoll[Any]:
        """Read the status of extensions, in their order."""

    @abstractmethod
    def watch(self, numbers: Sequence[str] | None, interval: float) -> StatusWatch[Any]:
        """Watch the status of extensions; None for all."""

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
    async def call(self, number: str, to: str, *, auth: str, domain: str, src: str) -> None:
        """Ring an extension, and connect it to a number."""

    # Groups.

    @abstractmethod
    def groups(self, pages: Mapping[str, Any], options: Mapping[str, Any]) -> Paginator[Any]:
        """Return the list of all groups."""

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


def completed(incomplete: str) -> list[str]:
    """Complete the name of a setting, of any generation, for the shell."""
    names = [name for api in _CLASSES for name in kind_of(api).settings.names]
    return [f"{name}=" for name in names if name.startswith(incomplete)]
