"""The commands of ``portsip-async``, put together; each has a file of its own.

Exit codes: 0 done; 1 the command failed, with one line on stderr; 2 wrong usage, or the extra is
not installed; 130 interrupted.
"""

import typer

from .demo import demo
from .openapi import openapi
from .simulate import simulate

# Tracebacks with local variables would show passwords and tokens.
app: typer.Typer = typer.Typer(
    name="portsip-async",
    help="Work with a PortSIP PBX from the command line.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _root() -> None:
    # An app with a callback asks for a command's name even while it has one command only.
    pass


# One line a command.
app.command()(demo)
app.command()(openapi)
app.command()(simulate)


def run() -> None:
    """Run the command that the process's arguments name, and exit with its code."""
    app(prog_name="portsip-async")
