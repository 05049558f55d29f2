"""``--all-profiles``: one command for every PBX of the config file.

The PBXes work at the same time. A PBX that fails costs the others nothing: it is a line on stderr,
and the exit code.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, Final, TypeVar

import msgspec
import typer

from ... import PortSIPError, TwoFactorRequired
from ..connection.connection import Connection
from ..connection.connection_options import AllProfiles, ConnectionOptions
from ..failures import (
    FAILED,
    USAGE,
    Failure,
    answering_generation,
    error_text,
    exit_code,
    hint,
    print_error,
    shorten,
)
from ..fields import kinds_of, plain
from ..output import Output
from ..pbx.generation import PBX
from ..terminal.progress import Progress, progress, waiting
from ..usage_text import usage_text
from .current_pbx import SharedRows, names_in_hints, pbx_name, shared_rows
from .passwords import token_variable
from .profile_file import read_profiles

T = TypeVar("T")

_AT_ONCE: Final = 8  # PBXes
# Options that are about one PBX.
_ONE_PBX: Final = (
    "profile",
    "url",
    "username",
    "email",
    "domain",
    "password_stdin",
    "ca_file",
    "fingerprint",
)
Work = Callable[[PBX], Awaitable[Any]]
# What ends the work for one PBX only.
_FAILURES: Final = (PortSIPError, Failure, typer.BadParameter, ValueError)


@dataclass(frozen=True)
class Connections(Connection):
    """The PBX of a command that reads, or all PBXes of the config file."""

    all_profiles: AllProfiles = False

    def begin(self) -> None:
        """Check the options."""
        if not self.all_profiles:
            super().begin()
            return
        self.start_trace()
        _ = self.several

    @cached_property
    def several(self) -> "SeveralPBXes":
        """All PBXes of the config file.

        Raises:
            Failure: there is none.
            typer.BadParameter: an option is about one PBX.
        """
        profiles = read_profiles()
        if not profiles.by_name:
            raise Failure(
                f"{profiles.path} has no profiles",
                "add one: portsip-async profiles add NAME --url URL",
                USAGE,
            )
        return SeveralPBXes(self, profiles.by_name)

    @property
    def current(self) -> Connection:
        """The connection of the PBX that the task works for."""
        return self.several.current if self.all_profiles else self

    @property
    def kind(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The generation of the PBX, or what those of all PBXes have together."""
        return self.several.kind if self.all_profiles else super().kind

    def run(self, work: Callable[[PBX], Awaitable[Any]]) -> Any:
        """Run a coroutine function with the PBX, or with each PBX."""
        return self.several.run(work) if self.all_profiles else super().run(work)

    def show(
        self,
        output: Output,
        model: type[Any],
        fetch: Callable[[PBX], Awaitable[Any]],
        *,
        reveal: bool = False,
    ) -> None:
        """Show one record of the PBX, or a row of each PBX.

        Args:
            output: where to write.
            model: the type of the record.
            fetch: returns the record of a PBX.
            reveal: whether to show secrets.
        """
        output.check(model)
        if not self.all_profiles:
            output.show(self.run(fetch), reveal=reveal)
            return

        async def work(pbx: PBX) -> None:
            with output.rows(model) as rows:
                rows.write(plain(await fetch(pbx), reveal=reveal))

        self.run(work)

    def conclude(self) -> None:
        """End the command with an exit code, if a PBX failed.

        Raises:
            typer.Exit: one did.
        """
        if self.all_profiles:
            self.several.conclude()


class SeveralPBXes:
    """Runs the same work with several profiles at once."""

    def __init__(self, options: ConnectionOptions, names: Iterable[str]) -> None:
        """Make a connection for each profile.

        Args:
            options: the options for all of them.
            names: the profiles.

        Raises:
            typer.BadParameter: an option is about one PBX.
        """
        given = {each.name: getattr(options, each.name) for each in fields(ConnectionOptions)}
        for name in _ONE_PBX:
            if given.pop(name):
                raise typer.BadParameter(
                    f"--{name.replace('_', '-')} is about one PBX, and this command has several"
                )
        self._members = {name: Connection(profile=name, **given) for name in names}
        self._failures: dict[str, Exception] = {}

    @cached_property
    def kind(self) -> Any:
        """What the generations of the PBXes have together, like a subclass of `PBX`.

        Raises:
            typer.Exit: no PBX answered.
        """
        self._each(lambda member: member.check())
        with waiting(f"Connecting to {shorten(list(self._members))}"):
            asyncio.run(self._all_at_once(lambda member: member.find_generation()))
        kinds = self._each(lambda member: member.kind)
        if not kinds:
            self._report()
            self.conclude()
        return _Union(list(dict.fromkeys(kinds)))

    def run(self, work: Work) -> None:
        """Run a coroutine function with each PBX; write a line for each that fails."""
        _ = self.kind
        self._each(lambda member: member.account)  # prompts before anything is sent
        outer = copy_context()
        with ExitStack() as stack:
            bar = Progress()

            def show_progress(collects: bool) -> None:
                nonlocal bar
                shown = progress("Reading PBXes", len(self._members), shown=collects)
                bar = outer.run(stack.enter_context, shown)

            rows = SharedRows(list(self._members), show_progress)

            async def session(member: Connection) -> None:
                shared_rows.set(rows)
                client = member.client(member.account)
                async with client:
                    pbx = member.kind(client)
                    await member.confirm_generation(pbx)
                    await work(pbx)
                bar.advance()

            asyncio.run(self._all_at_once(session))
        rows.end()
        self._report()

    @property
    def current(self) -> Connection:
        """The connection of the PBX that the task works for."""
        return self._members[pbx_name.get()]

    def conclude(self) -> None:
        """End the command with an exit code, if a PBX failed.

        Raises:
            typer.Exit: one did.
        """
        codes = {_code(error) for error in self._failures.values()}
        if codes:
            raise typer.Exit(codes.pop() if len(codes) == 1 else FAILED)

    def _each(self, step: Callable[[Connection], T]) -> list[T]:
        """Call a function with each connection that has not failed yet; return the results."""
        found = []
        for name, member in self._left():
            try:
                found.append(step(member))
            except _FAILURES as error:
                self._failures[name] = error
        return found

    async def _all_at_once(self, step: Callable[[Connection], Awaitable[None]]) -> None:
        """Call a coroutine function with each connection that has not failed yet."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str, member: Connection) -> None:
            pbx_name.set(name)
            async with slots:
                try:
                    await step(member)
                except _FAILURES as error:
                    self._failures[name] = error

        await asyncio.gather(*(one(name, member) for name, member in self._left()))

    def _left(self) -> list[tuple[str, Connection]]:
        return [pair for pair in self._members.items() if pair[0] not in self._failures]

    def _report(self) -> None:
        """Write a line for each PBX that failed, and each hint once."""
        shown = set()
        for name, member in self._members.items():
            error = self._failures.get(name)
            if error is None:
                continue
            answering_generation.set(member.other_generation)
            names_in_hints.set(member.names_in_hints)
            text = _hint(error, name)
            is_usage = isinstance(error, typer.BadParameter)
            message = usage_text(error) if is_usage else error_text(error)
            print_error(f"{name}: {message}", "" if text in shown else text)
            shown.add(text)


class _Union:
    """Stands for the class of a PBX: its models and columns are those of several generations."""

    def __init__(self, kinds: list[type[PBX]]) -> None:
        self._kinds = kinds

    def __getattr__(self, name: str) -> Any:
        values: list[Any] = [getattr(kind, name) for kind in self._kinds]
        if name == "summary_with_state" and any(values):
            values = [kind.summary_with_state or kind.summary for kind in self._kinds]
        if isinstance(values[0], type):
            return _row_of(tuple(values))
        if isinstance(values[0], tuple):
            columns = dict.fromkeys(column for value in values for column in value)
            return (*(["pbx"] if name == "narrow" else []), *columns)
        if isinstance(values[0], frozenset):
            return frozenset[str]().union(*values)
        return any(values) if isinstance(values[0], bool) else values[0]


@cache
def _row_of(models: tuple[type[msgspec.Struct], ...]) -> type[msgspec.Struct]:
    """Return a model with the name of a PBX, and then the fields of all models."""
    columns: dict[str, Any] = {"pbx": str}
    for model in models:
        columns |= {name: kind for name, kind in kinds_of(model).items() if name not in columns}
    # The names of nested fields have dots, which no attribute has.
    names = {f"column_{at}": name for at, name in enumerate(columns)}
    pairs = zip(names, columns.values(), strict=True)
    return msgspec.defstruct("Row", list(pairs), rename=names)


def _code(error: Exception) -> int:
    return USAGE if isinstance(error, (typer.BadParameter, ValueError)) else exit_code(error)


def _hint(error: Exception, name: str) -> str:
    if isinstance(error, TwoFactorRequired):
        return (
            f"pass --profile {name} on a terminal to enter the one-time password, or set"
            f" {token_variable(name)}"
        )
    return hint(error)
