"""Options that several commands share: a dataclass a group, spread over the command's own.

typer reads a command's options off its signature. A parameter annotated with a dataclass stands
for all of the dataclass's fields, so that thirteen options of a connection are written once.
"""

import functools
import inspect
import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer

from .failures import USAGE, Failure, running
from .reading import read_text

__all__ = ["read_lines", "shell_words", "spread", "words_of"]


def spread(function: Callable[..., None]) -> Callable[..., None]:
    """Let a command take the fields of its dataclass parameters as options of its own.

    What the SDK refuses at the call, as an empty number, is wrong usage of that command.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind))
            continue
        assert isinstance(kind, type)  # noqa: S101 - no command has an instance for a type
        groups[parameter.name] = kind
        told = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=told[field.name],
            )
            for field in fields(kind)
        ]

    parameters.append(
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    )

    @functools.wraps(function)
    def command(*, context: typer.Context, **given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        running.set(context.info_name or "")
        try:
            # A group may have something to check, or a secret to read before any data.
            for name in groups:
                getattr(given[name], "begin", lambda: None)()
            function(**given)
        except ValueError as error:
            raise Failure(str(error), f"{context.command_path} --help", USAGE) from error

    vars(command).pop("__wrapped__")
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    vars(command)["__signature__"] = inspect.Signature(parameters)
    return command


def read_lines(given: list[str]) -> list[str]:
    """Take numbers as they were given; ``-`` alone stands for the lines of standard input."""
    if given != ["-"]:
        return given
    lines = [line.strip() for line in read_text(Path("-")).split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise typer.BadParameter("standard input holds none", param_hint="'-'")
    return found


def words_of(group: Any) -> list[str]:
    """Return the words of a command line that give a group of options its values again."""
    words: list[str] = []
    for name, hint in get_type_hints(type(group), include_extras=True).items():
        value = getattr(group, name)
        (option,) = hint.__metadata__
        # typer has the first name of an option as its default, until it makes a command.
        names = [name for name in (option.default, *option.param_decls) if isinstance(name, str)]
        flag = next(name for name in names if name.startswith("--"))
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for each in value if isinstance(value, list) else [value]:
                words += [flag, str(each)]
    return words


def shell_words(words: Iterable[str | Path]) -> str:
    """Write words as a shell takes them, for a command that is to be pasted."""
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # which is no option
    if text.isprintable() and "  " not in text:
        return shlex.quote(text)
    # Escaped, so that no mark is lost where it is shown, and none commands the terminal.
    shown = []
    for mark in text:
        if mark in "'\\":
            shown.append(f"\\{mark}")
        elif mark == " " or not mark.isprintable():
            shown += [f"\\x{byte:02x}" for byte in os.fsencode(mark)]
        else:
            shown.append(mark)
    return f"$'{''.join(shown)}'"
