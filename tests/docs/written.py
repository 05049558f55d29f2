"""Generate the reference pages of the operations and of the command line."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from typer.main import get_command

from portsip_async import ENDPOINTS, Endpoint
from portsip_async.cli.app import app

DOCS = Path(__file__).parent.parent.parent / "docs"

RETRIED = {"safe": "yes", "idempotent": "yes, with the same effect", "unsafe": "no", "once": "no"}
RETURNS = {
    "ExtensionPage": "pages of `ExtensionSummary`",
    "GroupPage": "pages of `GroupSummary`",
    "GreetingPage": "pages of `GreetingFile`",
    "ExtensionStatuses": "a list of `ExtensionStatus`",
    "RefreshReply": "`Token`",
}

OPERATIONS = """\
# Operations

Each row is a method of the client. Await it, as in `await pbx.extensions.show("101")`; use
`async for` with the methods that return pages. [Resources](resources.md) lists the arguments. If
your PBX has an operation at another path, you can
[override it](../howto/own-endpoint.md#one-of-ours-at-another-place).

The last column shows whether the client sends the request again if the reply is lost. See
[What is retried and what is not](../explanation/repeats.md).

| method | returns | request | token in | retried |
|---|---|---|---|---|
{rows}

Other methods combine these. `extensions.patch`, `groups.patch`, `groups.add_members` and
`groups.remove_members` read, change and update one item. `poll_status`, `watch_status`,
`show_many`, `create_many`, `update_many`, `patch_many` and `remove_many` of `extensions` work on
any number of extensions.
"""

COMMANDS = """\
# Command line

The extra `cli` installs the command `portsip-async`. `--help` prints the contents of this page.

## Login

Set the account in the environment: `PORTSIP_URL`, `PORTSIP_USERNAME` (or `PORTSIP_EMAIL`) and
`PORTSIP_PASSWORD`, or `PORTSIP_TOKEN`. There is no option for a password, because others on the
machine could read it. It comes from the environment, from a prompt, or from standard input with
`--password-stdin`.

## Exit codes

{codes}

Ctrl-C stops a command cleanly: it waits for requests in flight, and restores the terminal. SIGTERM
and SIGHUP do the same, with their own exit codes.

## Input

Standard input is read in this order: the password of the login (one line), other secrets (one line
each), then the data: numbers, settings or rows. All of it must be UTF-8, or UTF-16 with a byte
order mark.

## Output

Data in a pipe or a file is exact, and always UTF-8. On a terminal, control characters,
bidirectional characters and letters that its encoding lacks are escaped. In JSON output the escapes
are those of JSON. A terminal that can't move its cursor (`TERM=dumb`, or no `TERM`) gets lines
instead of the board, and no progress bars. `NO_COLOR` turns colours off.

A standard stream may be closed, and a reader such as `head` may stop early. Neither is an error,
and the exit code stays the same. If output can't be written, as on a full disk, the command prints
the reason to standard error and exits with 1.

`portsip-async --install-completion` installs completion for your shell.

{shared}

{commands}
"""


def operations() -> str:
    """Return the page of operations."""
    return OPERATIONS.format(rows="\n".join(map(_row, ENDPOINTS.values())))


def command_line() -> str:
    """Return the page of commands."""
    commands = dict(leaves())
    shared: dict[str, list[Any]] = {}
    for command in commands.values():
        for parameter in command.params:
            panel = getattr(parameter, "rich_help_panel", None)
            known = shared.setdefault(panel, []) if panel else []
            if panel and parameter.opts not in [each.opts for each in known]:
                known.append(parameter)
    return COMMANDS.format(
        codes=app.info.epilog,
        shared="\n\n".join(
            f"## {panel} options\n\n{_table(parameters)}" for panel, parameters in shared.items()
        ),
        commands="\n\n".join(
            f"## {name}\n\n{_command(name, command, shared)}" for name, command in commands.items()
        ),
    )


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/operations.md": operations,
    "reference/command-line.md": command_line,
}


def leaves(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the commands without subcommands, with their names, in the order of the help."""
    command = get_command(app) if command is None else command
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = command.make_context(name, ["x"], resilient_parsing=True)
    for inner in command.list_commands(context):
        yield from leaves(command.get_command(context, inner), f"{name} {inner}".strip())


def _row(row: Endpoint[Any]) -> str:
    reply = "None" if row.reply is None else row.reply.__name__
    returns = RETURNS.get(reply, "" if reply == "None" else f"`{reply}`")
    request = f"`{row.method} {row.path}`"
    token = "" if row.token == "none" else row.token
    return f"| `{row.name}` | {returns} | {request} | {token} | {RETRIED[row.safety]} |"


def _command(name: str, command: Any, shared: Mapping[str, list[Any]]) -> str:
    description = "\n\n".join(_paragraph(text) for text in (command.help or "").split("\n\n"))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    own = [
        each
        for each in command.params
        if each.param_type_name == "option" and getattr(each, "rich_help_panel", None) is None
    ]
    panels = [
        panel.lower()
        for panel in shared
        if any(getattr(each, "rich_help_panel", None) == panel for each in command.params)
    ]
    usage = " ".join(["portsip-async", name, *map(_argument, arguments), "[OPTIONS]"])
    parts = [f"`{usage}`", description, _table([*arguments, *own])]
    if panels:
        links = (f"[{panel} options](#{panel}-options)" for panel in panels)
        parts.append(f"See also the {' and the '.join(links)}.")
    return "\n\n".join(part for part in parts if part)


def _paragraph(text: str) -> str:
    text = " ".join(text.split())
    before, example, command = text.partition("Example: ")
    return f"{before}For example: `{command}`" if example else text


def _argument(parameter: Any) -> str:
    name = parameter.metavar or (parameter.name or "").upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _table(parameters: Iterable[Any]) -> str:
    rows = [
        f"| {_names(each)} | {_cell(each.help or '')}{_default(each)} |"
        for each in parameters
        if "--help" not in each.opts and not getattr(each, "hidden", False)
    ]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    kind = parameter.metavar or "|".join(_choices(parameter))
    return f"{names} `{_cell(kind or parameter.opts[0].lstrip('-').upper())}`"


def _choices(parameter: Any) -> list[str]:
    """Return the values of an option that takes certain words only."""
    kind = getattr(parameter, "type", None)
    if kind is not None:  # the versions of typer keep the values in different places
        return [getattr(each, "value", each) for each in getattr(kind, "choices", ())]
    annotation = parameter.type_descriptor.annotation
    is_enum = isinstance(annotation, type) and issubclass(annotation, Enum)
    return [each.value for each in annotation] if is_enum else []


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.param_type_name == "argument" or not parameter.show_default or callable(value):
        return ""
    value = getattr(value, "value", value)
    return "" if value is None or value is False or value in ((), []) else f" [{value}]"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
