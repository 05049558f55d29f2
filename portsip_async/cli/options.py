"""Options that several commands share: dataclasses that become options of a command.

typer reads a command's options from its signature. `spread` replaces a parameter that is annotated
with a dataclass by the dataclass's fields, so that the connection options exist once.
"""

import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from .connection.known_generations import GenerationChanged
from .failures import USAGE, Failure, running_command
from .files.text_input import read_text
from .terminal.streams import standard_input
from .terminal.terminal_text import one_line, unwrap

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The extension's number.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after this many.", show_default=False)]


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Turn the fields of a command's dataclass parameters into options of the command.

    A ValueError of the SDK, such as for an empty number, becomes wrong usage of the command.
    """
    # Build the signature that typer reads.
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind))
            continue
        assert isinstance(kind, type)  # noqa: S101 - an annotation is never an instance
        groups[parameter.name] = kind
        parameters += options_of(kind)
    parameters.append(
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    )

    @functools.wraps(function)
    def command(*, context: typer.Context, **arguments: Any) -> None:
        for name, kind in groups.items():
            values = {field.name: arguments.pop(field.name) for field in fields(kind)}
            arguments[name] = kind(**values)
        running_command.set(context.info_name or "")
        try:
            # A group may check its options, or read a secret that comes before any data.
            for name in groups:
                getattr(arguments[name], "begin", lambda: None)()
            try:
                function(**arguments)
            except GenerationChanged:
                if standard_input().began:
                    raise
                connection = arguments["connection"].renewed()
                function(**arguments | {"connection": connection})
            for name in groups:
                getattr(arguments[name], "conclude", lambda: None)()
        except ValueError as error:
            raise Failure(str(error), f"{context.command_path} --help", USAGE) from error
        finally:
            for name in groups:
                getattr(arguments[name], "end", lambda: None)()

    vars(command).pop("__wrapped__")
    command.__doc__ = unwrap(function.__doc__)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    return command


def options_of(kind: type[Any], *, shown: bool = False) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters, which typer reads as options.

    Args:
        kind: the dataclass.
        shown: whether the help shows all, also those that the dataclass hides from it.
    """
    hints = get_type_hints(kind, include_extras=True)
    visible = None if shown else getattr(kind, "visible", None)
    found = []
    for field in fields(kind):
        hint = hints[field.name]
        if visible is not None and field.name not in visible:
            option = copy(hint.__metadata__[0])
            option.hidden = True
            hint = Annotated[hint.__origin__, option]
        found.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hint,
            )
        )
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is removed.

    Raises:
        Failure: stdin is not a terminal, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("stdin is not a terminal, so nobody can confirm", "pass --yes", USAGE)
    if not typer.confirm(one_line(question), err=True):
        raise Failure("not confirmed; nothing was done")


def read_lines(arguments: list[str]) -> list[str]:
    """Return the arguments, or for a single ``-`` the lines of standard input."""
    if arguments != ["-"]:
        return arguments
    lines = [line.strip() for line in read_text(Path("-")).split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise typer.BadParameter("standard input is empty", param_hint="'-'")
    return found


def option_words(group: Any) -> list[str]:
    """Return the words of a command line that give a group of options the same values again."""
    words: list[str] = []
    for field in fields(group):
        flag = f"--{field.name.replace('_', '-')}"
        value = getattr(group, field.name)
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for each in value if isinstance(value, list) else [value]:
                words += [flag, str(each)]
    return words


def shell_words(words: Iterable[str | Path]) -> str:
    """Quote words for a shell, as a command to paste."""
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # or it would be read as an option
    if text.isprintable() and "  " not in text:
        return shlex.quote(text)
    # Escape what is not printable, so that it is neither lost nor acted on by the terminal.
    shown = []
    for char in text:
        if char in "'\\":
            shown.append(f"\\{char}")
        elif char == " " or not char.isprintable():
            shown += [f"\\x{byte:02x}" for byte in os.fsencode(char)]
        else:
            shown.append(char)
    return f"$'{''.join(shown)}'"
