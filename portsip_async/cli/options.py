"""Options that several commands share: a dataclass a group, spread over the command's own.

typer reads a command's options off its signature. A parameter annotated with a dataclass stands
for all of the dataclass's fields, so that thirteen options of a connection are written once.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import typer

from .failures import USAGE, Failure, running
from .streams import StandardInput, standard_input

__all__ = ["read_lines", "read_stdin", "read_text", "spread"]

T = TypeVar("T")
_STDIN = Path("-")


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
    lines = [line.strip() for line in read_stdin(StandardInput.rest).split("\n")]
    found = [line for line in lines if line]
    if not found:
        raise typer.BadParameter("standard input holds none", param_hint="'-'")
    return found


def read_text(path: Path, option: str) -> str:
    """Read the file that an option names; ``-`` stands for what is left of standard input."""
    if path == _STDIN:
        return read_stdin(StandardInput.rest)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{path} is not UTF-8 text", "save it as UTF-8", USAGE) from None
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None


def read_stdin(read: Callable[[StandardInput], T]) -> T:
    """Read from standard input.

    Raises:
        Failure: it holds no UTF-8 text.
    """
    try:
        return read(standard_input())
    except UnicodeDecodeError:
        raise Failure("standard input is not UTF-8 text", "send it as UTF-8", USAGE) from None
