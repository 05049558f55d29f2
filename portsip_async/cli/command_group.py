"""A group of commands: aliases of its commands, and a suggestion for a misspelt one."""

from collections.abc import Iterable, Mapping
from copy import copy
from difflib import get_close_matches
from typing import Any, ClassVar

from typer.core import TyperGroup


class CommandGroup(TyperGroup):
    """A group of commands that knows other names of its commands.

    Attributes:
        aliases: the names of commands by their other names. An alias of a command that the group
            lacks means nothing.
    """

    aliases: ClassVar[Mapping[str, str]] = {"get": "show", "delete": "remove"}
    _in_help = False  # whether the help is being written

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by its name or an alias; None if there is none."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self.aliases:
            found = super().get_command(ctx, self.aliases[cmd_name])
        return self.named(found)

    def named(self, command: Any) -> Any:
        """Return a command as the help shows it while that is written: with its aliases."""
        others = [alias for alias, name in self.aliases.items() if command and name == command.name]
        if not self._in_help or not others:
            return command
        shown = copy(command)
        shown.name = f"{command.name} ({', '.join(others)})"
        return shown

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the words name; what runs has its own name, not the alias."""
        typed = args[0]
        if self.get_command(ctx, typed) is None and not typed.startswith("-"):
            if not ctx.resilient_parsing:  # a shell's completion
                ctx.fail(f"No such command {typed!r}.{did_you_mean(typed, self._all_names(ctx))}")
            return None, None, args[1:]
        name, command, rest = super().resolve_command(ctx, args)
        own = super().get_command(ctx, typed) is not None
        return name if own else self.aliases.get(typed, name), command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, which shows the aliases of a command behind its name."""
        self._in_help = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._in_help = False

    def _all_names(self, ctx: Any) -> list[str]:
        names = self.list_commands(ctx)
        return [*names, *(alias for alias, name in self.aliases.items() if name in names)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that names what a misspelt word may mean; "" if nothing is near."""
    near = get_close_matches(word.lower(), list(known), n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
