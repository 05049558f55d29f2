"""The commands of ``portsip-async``, put together; each has a file of its own.

A command's file is loaded when the command is named, or when all are listed: most commands need
neither the simulator nor rich, whose loading would double the time to the first answer.

Here every command ends: by its exit code, which `failures` lists, and with one line and a hint on
stderr where it failed.
"""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from .. import PortSIPError, __version__
from .failures import EXIT_CODES, FAILED, INTERRUPTED, USAGE, Failure, tell, tell_error

# One line a command: the module that holds it under its own name, in the order of the help.
_COMMANDS = {
    "extensions": ".extensions",
    "groups": ".groups",
    "greetings": ".greetings",
    "check": ".check",
    "simulate": ".simulate",
    "demo": ".demo",
    "openapi": ".openapi",
}

# typer carries click's exceptions with it or takes click's own, by its version.
_ClickError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class Commands(TyperGroup):
    """The root of all commands, where each of them ends."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and exit with its code."""
        for stream in (sys.stdout, sys.stderr):
            # A letter that a terminal lacks is no reason to fail.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except _ClickError as error:
            code = _misused(error)
        except typer.Abort:
            code = INTERRUPTED  # Ctrl-C or the end of input, at a prompt
        sys.exit(code if isinstance(code, int) else 0)

    def list_commands(self, ctx: Any) -> list[str]:
        """List all commands, in the order of the table."""
        return [*_COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command, if there is one of that name."""
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        return _loaded(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it raises becomes an exit code."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Who reads has enough, as `head` does. Nothing more can be written, not even at exit.
            _discard_output()
            code = 0
        except (PortSIPError, Failure) as error:
            code = tell_error(error)
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            tell(f"{named}{error.strerror or error}")
            _discard_output()  # if it was standard output that failed, as on a full disk
            code = FAILED
        return code


# Tracebacks with local variables would show passwords and tokens.
app: typer.Typer = typer.Typer(
    cls=Commands,
    name="portsip-async",
    help="Work with a PortSIP PBX from the command line.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@cache
def _loaded(name: str) -> Any:
    found = getattr(import_module(_COMMANDS[name], __package__), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return get_command(alone)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"portsip-async {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    app(prog_name="portsip-async")


def _misused(error: Any) -> int:
    """Tell of wrong usage in one line, with a hint where to read on."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "portsip-async"
    tell(error.format_message(), f"{command} --help")
    return USAGE


def _discard_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
