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
BUILTIN = ("str", "bytes")  # types without a section of their own
# Rows that are not named after their coroutine. None: the client sends them by itself, or nothing
# does.
COROUTINES = {
    "auth.sign_in": None,
    "auth.form_login": None,
    "auth.form_refresh": None,
    "users.own": None,
    "groups.member": None,
    "groups.add_member": "groups.add_members",
    "groups.remove_member": "groups.remove_members",
    "blobs.begin": "blobs.upload",
    "blobs.append": "blobs.upload",
    "blobs.complete": "blobs.upload",
    "blobs.destroy": "blobs.upload",
    "blobs.status": None,
    "blobs.download": None,
    "pbx.info": "info",
}

OPERATIONS = """\
# Operations

Each row is an operation of the API. Errors, logs and overrides use its name. Most operations are
also methods of the client with the same name. Await them, as in `await pbx.users.show(user_id)`.
Methods that return pages are used with `async for`. If your PBX has an operation at another path,
you can [override it](../howto/own-endpoint.md#one-of-ours-at-another-place).

The last column is the safety of the operation. If a reply is lost, the client sends a *safe* or an
*idempotent* request again, and no *unsafe* one. It sends a *once* request only one time, even if
the PBX refuses it. See [What is retried and what is not](../explanation/repeats.md).

## Generation v22

`portsip_async.v22.PortSIPClient`. [Resources of v22](v22-resources.md) lists the arguments. The
token is in the header `Authorization`.

| operation | returns | request | safety |
|---|---|---|---|
{v22}

The client sends `auth.sign_in`, `auth.form_login` and `auth.form_refresh` by itself. An operation
without a link has no method. Send it with
`await pbx.request(portsip_async.v22.ENDPOINTS["users.own"])`.

Other methods combine these. `users.patch`, `extensions.patch` and `groups.update` read, change and
write one item. The resource `extensions` first finds the user of a number, in a directory that [the
client remembers](../explanation/statuses.md#the-directory). These methods work on any number of
users: `poll_status` and `watch_status` of `extensions`, and `show_many`, `create_many`,
`patch_many` and `remove_many` of `users`. `watch_status` also uses the [web socket of the
PBX](../howto/live-status.md). `greetings.upload` uploads a file and creates a greeting from it.

## Classic generation

`portsip_async.PortSIPClient`. [Classic resources](resources.md) lists the arguments.

| operation | returns | request | token in | safety |
|---|---|---|---|---|
{classic}

Other methods combine these. `extensions.patch`, `groups.patch`, `groups.add_members` and
`groups.remove_members` read, change and update one item. `poll_status`, `watch_status`,
`show_many`, `create_many`, `update_many`, `patch_many` and `remove_many` of `extensions` work on
any number of extensions.
"""

CODES = """\
# Error codes

The code in the reply decides the class of an [APIError](errors.md). If the table doesn't have the
code, or if there is none, the HTTP status decides. Any status from 500 to 599 is a `ServerError`.
Any other status is an `APIError`. A reply of a proxy has no code, and `is_page` is True.

## Generation v22

A reply reports errors as `{{"errors": [{{"code": ..., "message": ..., "detail": ...}}]}}`, even if
its status is 200. `err_code` is the first code, `message` its message, and `detail` what the PBX
adds, without secrets.

{v22}

- If the request has a token, `UNAUTHORIZED` means that the PBX refused the token, with any status.
  Then the client gets a new token and sends the request again, once. In the reply to a login, the
  code means that the PBX refused the login.
- `DENIED` in the reply to a login means that, too. The PBX sends it to an address that has sent too
  many wrong passwords.

## Classic generation

A reply reports an error as `{{"err_code": ..., "msg": ...}}`, even if its status is 200. In a reply
with status 200, an unknown code such as 403.9 counts as the status that it begins with.

{classic}

- 403.4 means that the PBX refused the token, with any status.
- 404.1 is about an extension; 404.2 and 404.3 are about an address or a file.
"""

COMMANDS = """\
# Command line

The extra `cli` installs the command `portsip-async`. `--help` prints the contents of this page.

## Generation

Every command works with both generations of the API. By default the command asks the PBX which one
it speaks, once in a run. To skip that request, pass `--api v22` or `--api classic`, or set
`PORTSIP_API`. Each generation has its own columns of lists, and its own fields for imports,
`create` and `update`. [Find out which
API your PBX has](../howto/generations.md) has more.

## Other names

`users` is another name for `extensions`, `get` for `show`, and `delete` for `remove`.

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
and SIGHUP do the same, with their own exit codes. A worker of a fleet finishes its cycles first,
and exits with 0; a second signal ends it at once.

## Input

Standard input is read in this order: the password of the login (one line), other secrets (one line
each), then the data: numbers, settings or rows. All of it must be UTF-8, or UTF-16 with a byte
order mark.

## Output

Data in a pipe or a file is exact, and always UTF-8. On a terminal, the command escapes control
characters, bidirectional characters and letters that the encoding of the terminal lacks. JSON
output uses the escapes of JSON. A terminal that can't move its cursor (`TERM=dumb`, or no `TERM`)
gets lines instead of the board, and no progress bars. `NO_COLOR` turns colours off.

A table has the most important columns, and more of them on a wider terminal. On a narrow one it has
fewer, so that cells don't wrap. `--columns` chooses them. Messages on a terminal are broken between
words. In a pipe or a log, each is one line.

A progress bar is on standard error, if that is a terminal. While rows go to the terminal or to
another program, there is none, because it would be mixed with them.

A standard stream may be closed, and a reader such as `head` may stop early. Neither is an error,
and the exit code stays the same. If output can't be written, as on a full disk, the command prints
the reason to standard error and exits with 1.

`portsip-async --install-completion` installs completion for your shell. It knows commands,
options, columns, the fields of filters and settings, and the names of operations.

## Filters

`--filter` of the commands that list rows keeps those that match. It can be given several times, and
all conditions must hold:

| | |
|---|---|
| `--filter status=ON_CALL` | The field has this value; `email=` finds rows without one. |
| `--filter 'status!=OFFLINE'` | The field has another value, or none. |
| `--filter email~@sales.example` | The value contains this text. |

The fields are the columns of the list. Capitals don't matter in values. The command compares the
rows itself, so it reads the whole list. `--limit` counts the rows that match.

A list of v22 has no statuses. If a filter or `--columns` names `status`, `presence` or
`presence_note`, the command reads them with one request for each extension, after it has compared
the other fields. REST does not report RINGING, which only `watch` shows.

On v22, `extensions list`, `extensions search` and `groups list` also take one OData expression,
such as `--filter "contains(name, 'ann')"`. The PBX evaluates it, so that less is read. Anything
that does not begin with a field and `=`, `!=` or `~` is such an expression.

{shared}

{commands}
"""


def operations() -> str:
    """Return the page of operations."""
    return OPERATIONS.format(
        v22="\n".join(map(_v22_row, v22.ENDPOINTS.values())),
        classic="\n".join(map(_classic_row, ENDPOINTS.values())),
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


def _v22_row(row: Endpoint[Any]) -> str:
    method = COROUTINES.get(row.name, row.name)
    operation = f"`{row.name}`"
    if method is not None:
        client = "v22-client.md#portsip_async.v22.PortSIPClient.info"
        target = client if method == "info" else f"v22-resources.md#{_anchor('v22', method)}"
        link = _link(f"`{method}`", target)
        operation = link if method == row.name else f"{operation}, by {link}"
    request = f"`{row.method} {row.path}`" + (", no token" if row.token == "none" else "")
    returns = _returns(row, "v22-structures.md#portsip_async.v22.")
    return f"| {operation} | {returns} | {request} | {row.safety} |"


def _classic_row(row: Endpoint[Any]) -> str:
    operation = _link(f"`{row.name}`", f"resources.md#{_anchor('classic', row.name)}")
    token = "" if row.token == "none" else row.token
    returns = _returns(row, "structures.md#portsip_async.")
    request = f"`{row.method} {row.path}`"
    return f"| {operation} | {returns} | {request} | {token} | {row.safety} |"


def _anchor(generation: str, method: str) -> str:
    resource, _, name = method.partition(".")
    return f"portsip_async.{generation}.{resource}.{resource.title()}.{name}"


def _link(text: str, target: str) -> str:
    return f"[{text}]({target})"


def _returns(row: Endpoint[Any], structures: str) -> str:
    """Return the type of an operation, with a link if it is a structure."""
    if row.reply is None:
        return ""
    text = RETURNS.get(row.reply.__name__, f"`{row.reply.__name__}`")
    before, mark, name = text.rstrip("`").rpartition("`")
    if not mark or name in BUILTIN:
        return text
    target = "client.md#portsip_async.Token" if name == "Token" else f"{structures}{name}"
    return before + _link(f"`{name}`", target)


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
    return "\n".join(["| name | meaning |", "|---|---|", *rows]) if rows else ""


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    kind = parameter.metavar or "|".join(_choices(parameter))
    kind = kind or parameter.opts[0].lstrip("-").upper()
    return f"{names} <code>{kind.replace('|', '&#124;')}</code>"


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
