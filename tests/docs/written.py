"""Generate the reference pages of the operations, the error codes and the command line."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from typer.main import get_command

from portsip_async import ENDPOINTS, Endpoint, v22
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.cli.app import app
from portsip_async.errors import ErrorScheme
from portsip_async.v22.error_codes import V22_ERRORS

DOCS = Path(__file__).parent.parent.parent / "docs"

SAFETY = {
    "safe": "safe: yes",
    "idempotent": "idempotent: yes, with the same effect",
    "unsafe": "unsafe: no",
    "once": "once: never",
}
# What a reply becomes. Types that are not here are returned as they are.
RETURNS = {
    "ExtensionPage": "pages of `ExtensionSummary`",
    "GroupPage": "pages of `GroupSummary`",
    "GreetingPage": "pages of `GreetingFile`",
    "ExtensionStatuses": "a list of `ExtensionStatus`",
    "RefreshReply": "`Token`",
    "UserPage": "pages of `UserSummary`",
    "Created": "the id, a `str`",
    "Members": "a list of `Member`",
    "Greetings": "a list of `Greeting`",
    "CallSessionPage": "a list of `CallSession`",
    "SignInReply": "`Token`",
    "UploadStarted": "",
    "UploadProgress": "",
}
# Rows that are not named after their coroutine. None: there is no coroutine.
COROUTINES = {
    "auth.sign_in": "by itself",
    "auth.form_login": "by itself",
    "auth.form_refresh": "by itself",
    "users.own": None,
    "groups.member": None,
    "groups.add_member": "`groups.add_members`",
    "groups.remove_member": "`groups.remove_members`",
    "blobs.begin": "`blobs.upload`",
    "blobs.append": "`blobs.upload`",
    "blobs.complete": "`blobs.upload`",
    "blobs.destroy": "`blobs.upload`",
    "blobs.status": None,
    "blobs.download": None,
    "pbx.info": "`info`",
}

OPERATIONS = """\
# Operations

Each row is an operation of the API. Its name is what errors, logs and overrides call it, and mostly
also the method of the client: await it, as in `await pbx.users.show(user_id)`, or use `async for`
with the methods that return pages. If your PBX has an operation at another path, you can [override
it](../howto/own-endpoint.md#one-of-ours-at-another-place).

The last column is the operation's safety, and says whether the client sends the request again if
the reply is lost. See [What is retried and what is not](../explanation/repeats.md).

## Generation v22

`portsip_async.v22.PortSIPClient`. All tokens are in the header `Authorization`. [Resources of
v22](v22-resources.md) lists the arguments.

| operation | method of the client | returns | request | token | safety: retried |
|---|---|---|---|---|---|
{v22}

An operation with a dash has no method. Send it with
`await pbx.request(portsip_async.v22.ENDPOINTS["users.own"])`.

Other methods combine these. `users.patch`, `extensions.patch` and `groups.update` read, change and
write one item. The resource `extensions` finds the user of a number first, through a directory that
[the client remembers](../explanation/statuses.md#the-directory). `poll_status` and `watch_status`
of `extensions`, and `show_many`, `create_many`, `patch_many` and `remove_many` of `users` work on
any number of users. `greetings.upload` uploads a file, and creates a greeting of it.

## Classic generation

`portsip_async.PortSIPClient`. [Resources](resources.md) lists the arguments.

| method | returns | request | token in | safety: retried |
|---|---|---|---|---|
{classic}

Other methods combine these. `extensions.patch`, `groups.patch`, `groups.add_members` and
`groups.remove_members` read, change and update one item. `poll_status`, `watch_status`,
`show_many`, `create_many`, `update_many`, `patch_many` and `remove_many` of `extensions` work on
any number of extensions.
"""

CODES = """\
# Error codes

The class of an [APIError](errors.md) follows from the code in the reply. If the code is not in the
table, or if there is none, it follows from the HTTP status. Any status from 500 to 599 is a
`ServerError`, and any other status an `APIError`. A reply of a proxy has no code, and `is_page` is
True.

## Generation v22

A reply reports errors as `{{"errors": [{{"code": ..., "message": ..., "detail": ...}}]}}`, even if
its status is 200. `err_code` is the first code, `message` its message, and `detail` what the PBX
adds, without secrets.

{v22}

- `UNAUTHORIZED` means that the PBX refused the token if the operation carries one, whatever the
  status. Then the client gets a new token and sends the request again, once. In the reply to a
  login, the code refuses the login.
- `DENIED` in the reply to a login refuses the login, too. The PBX sends it to an address that has
  sent too many wrong passwords.

## Classic generation

A reply reports an error as `{{"err_code": ..., "msg": ...}}`, even if its status is 200. In a reply
with status 200, an unknown code such as 403.9 counts as the status that it begins with.

{classic}

- 403.4 means that the PBX refused the token, whatever the status.
- 404.1 is about an extension; 404.2 and 404.3 are about an address or a file.
"""

COMMANDS = """\
# Command line

The extra `cli` installs the command `portsip-async`. `--help` prints the contents of this page.

## Generation

Every command works with both generations of the API. By default the command asks the PBX which one
it speaks, once in a run. `--api v22` or `--api classic`, or the variable `PORTSIP_API`, saves that
request. The columns of lists, and the fields that an import, `create` and `update` take, are those
of the generation. `users` is another name for `extensions`. [Tell generations
apart](../howto/generations.md) has more.

## Login

Set the account in the environment: `PORTSIP_URL`, `PORTSIP_USERNAME` and `PORTSIP_PASSWORD`, or
`PORTSIP_TOKEN`. A PBX of v22 also needs the SIP domain of the tenant in `PORTSIP_DOMAIN`, unless a
system administrator logs in, and takes `PORTSIP_REFRESH_TOKEN` with a token. A classic PBX takes
`PORTSIP_EMAIL` in place of a user name. There is no option for a password, because others on the
machine could read it. It comes from the environment, from the keyring, from a prompt, or from
standard input with `--password-stdin`.

A profile is a PBX with a name: `--profile acme`, or `PORTSIP_PROFILE`. [Work with several
PBXes](../howto/profiles.md) says how to add one, and where its password comes from.

## Options

Options stand before or after the command, or between its words. These lines do the same:

```console
$ portsip-async extensions list --profile acme --output csv
$ portsip-async --profile acme --output csv extensions list
```

The help of a command lists its own options and a few others. `portsip-async --help` lists all
[connection options](#connection-options).

`--verbose` shows on standard error which PBX, account and generation a command uses, and how many
requests it sent. `--debug` also shows each attempt of a request: the operation, the number of the
attempt, the status, the error and the milliseconds. Neither shows a secret.

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
    return OPERATIONS.format(
        v22="\n".join(_row(row, _coroutine(row)) for row in v22.ENDPOINTS.values()),
        classic="\n".join(map(_row, ENDPOINTS.values())),
    )


def error_codes() -> str:
    """Return the page of error codes."""
    return CODES.format(v22=_codes(V22_ERRORS), classic=_codes(CLASSIC_ERRORS))


def command_line() -> str:
    """Return the page of commands."""
    commands = dict(leaves())
    shared: dict[str, list[Any]] = {}
    for parameter in get_command(app).params:  # the help of the program shows all of them
        panel = getattr(parameter, "rich_help_panel", None)
        if panel:
            shared.setdefault(panel, []).append(parameter)
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
    "reference/error-codes.md": error_codes,
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


def _row(row: Endpoint[Any], *more: str) -> str:
    reply = "None" if row.reply is None else row.reply.__name__
    returns = RETURNS.get(reply, "" if reply == "None" else f"`{reply}`")
    request = f"`{row.method} {row.path}`"
    token = "" if row.token == "none" else row.token
    return (
        "| "
        + " | ".join((f"`{row.name}`", *more, returns, request, token, SAFETY[row.safety]))
        + " |"
    )


def _coroutine(row: Endpoint[Any]) -> str:
    return COROUTINES.get(row.name, f"`{row.name}`") or "-"


def _codes(scheme: ErrorScheme) -> str:
    rows = [(f"code `{code}`", kind) for code, kind in scheme.codes.items()]
    rows += [(f"status {status}", kind) for status, kind in scheme.statuses.items()]
    lines = [f"| {what} | `{kind.__name__}` |" for what, kind in rows]
    return "\n".join(["| reply | error |", "|---|---|", *lines])


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
    if any("--all-profiles" in each.opts for each in command.params):
        parts[-1] += " `--all-profiles` is one of them."
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
