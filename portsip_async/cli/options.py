"""Options that several commands share: a dataclass a group, spread over the command's own.

typer reads a command's options off its signature. A parameter annotated with a dataclass stands
for all of the dataclass's fields, so that thirteen options of a connection are written once.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

import typer

from .failures import USAGE, Failure

__all__ = ["read_lines", "spread"]


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
        try:
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
    lines = [line.strip() for line in typer.get_text_stream("stdin")]
    found = [line for line in lines if line]
    if not found:
        raise typer.BadParameter("standard input holds none", param_hint="'-'")
    return found
