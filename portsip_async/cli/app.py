"""The root of the commands of ``portsip-async``; each command has its own module.

A command's module is loaded when the command is named, or when the help lists all. Most commands
need neither the simulator nor rich, and loading these would double their start time.

Every command ends here, with an exit code that `failures` lists. A failure is one line and a hint
on stderr.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.main import get_command

from .. import PortSIPError, __version__
from .command_group import CommandGroup
from .connection.connection_options import EveryConnectionOption
from .failures import (
    EXIT_CODES,
    FAILED,
    INTERRUPTED,
    USAGE,
    Failure,
    print_error,
    report_error,
    running_command,
)
from .option_places import moved
from .options import options_of
from .output import Output
from .terminal.signals import orderly_end
from .terminal.streams import output_error, print_line, standard_streams
from .terminal.terminal_text import unwrap
from .usage_text import usage_text

# Each command's module, in the order of the help. Its attribute has the command's name.
_COMMANDS = {
    "extensions": ".extensions",
    "groups": ".groups",
    "greetings": ".greetings",
    "check": ".check",
    "whoami": ".whoami",
    "profiles": ".profiles.profiles",
    "fleet": ".fleet.fleet",
    "simulate": ".simulate",
    "demo": ".demo.demo",
    "openapi": ".openapi",
}

# Some versions of typer bundle click's exceptions, others use click's own.
_ClickError: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class Commands(CommandGroup):
    """The root command; turns what the others raise into exit codes."""

    # Generation v22 of the API calls them users.
    aliases: ClassVar[Mapping[str, str]] = {"users": "extensions"}

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
        with standard_streams(), orderly_end() as ending:
            code = self._code(args, prog_name, complete_var, windows_expand_args, extra)
        sys.exit(ending.code(code))

    def _code(self, args: Any, prog_name: Any, complete_var: Any, expand: bool, extra: Any) -> int:
        """Run a command and return its exit code."""
        running_command.set("")
        try:
            code = super().main(args, prog_name, complete_var, False, expand, **extra)
            sys.stdout.flush()
        except _ClickError as error:
            code = _report_usage(error)
        except typer.Abort:  # Ctrl-C or the end of input at a prompt
            code = INTERRUPTED
            if sys.stderr.isatty():
                sys.stderr.write("\n")  # what follows begins a line of its own
        except KeyboardInterrupt:
            code = INTERRUPTED
        except OSError as error:
            code = _report_os_error(error)
        except SystemExit as ended:
            # The help raises this if the reading process has exited.
            code = 0 if output_error() is not None else ended.code
        code = code if isinstance(code, int) else 0
        lost = output_error()
        if lost is not None and not isinstance(lost, BrokenPipeError):
            print_error(lost.strerror or str(lost))
            code = code or FAILED
        return code

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options and the name of the command; its options may stand before its name."""
        found: list[str] = super().parse_args(ctx, moved(self, ctx, args))
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        """List all commands but the aliases, in the order of the table."""
        return [*_COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; None if there is none of this name."""
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        return self.named(_load(name))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it raises becomes an exit code."""
        try:
            return super().invoke(ctx)
        except (PortSIPError, Failure) as error:
            return report_error(error)
        except OSError as error:
            return _report_os_error(error)


# Tracebacks with local variables would show passwords and tokens.
app: typer.Typer = typer.Typer(
    cls=Commands,
    name="portsip-async",
    help="Work with a PortSIP PBX of either generation: v22, which is sold today, or the classic"
    " one. --api names it; else the PBX is asked.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@cache
def _load(name: str) -> Any:
    found = getattr(import_module(_COMMANDS[name], __package__), name)
    if isinstance(found, typer.Typer):
        group: Any = get_command(found)
        for command in group.commands.values():
            _name_hidden_options(command)
        return group
    single = typer.Typer(add_completion=False)
    single.command(name, help=unwrap(found.__doc__))(found)
    return _name_hidden_options(get_command(single))


def _name_hidden_options(command: Any) -> Any:
    """Let the help of a command say where its other options are."""
    if any(getattr(parameter, "hidden", False) for parameter in command.params):
        command.epilog = "More connection options: portsip-async --help"
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"portsip-async {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    **_: Any,  # options for a command that is not there; others were moved behind its name
) -> None:
    pass


_SHARED = [
    parameter
    for kind in (EveryConnectionOption, Output)
    for parameter in options_of(kind, shown=True)
]
_own = list(inspect.signature(_root).parameters.values())[:-1]
vars(_root)["__signature__"] = inspect.Signature([*_own, *_SHARED])
_root.__annotations__ |= {parameter.name: parameter.annotation for parameter in _SHARED}
app.callback()(_root)


def run() -> None:
    """Run the command in the process's arguments, and exit with its code."""
    app(prog_name="portsip-async")


def _report_usage(error: Any) -> int:
    """Write a line about wrong usage and a hint to stderr; return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "portsip-async"
    print_error(usage_text(error), f"{command} --help")
    return USAGE


def _report_os_error(error: OSError) -> int:
    """Report an error of a file or of standard output; return the exit code."""
    lost = output_error()
    if error is lost or (isinstance(error, BrokenPipeError) and lost is not None):
        # A reader may leave early, as `head` does. The command's end reports other errors.
        return 0
    named = f"{error.filename}: " if error.filename else ""
    print_error(f"{named}{error.strerror or error}")
    return FAILED
