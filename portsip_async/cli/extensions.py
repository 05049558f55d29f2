"""``portsip-async extensions``: extensions one by one, and their lists.

`watch`, `import`, `export` and `apply` have their own modules.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import BulkResult, Paginator
from .apply.applying import apply
from .command_group import CommandGroup
from .completion import complete_setting
from .connection.connection import Connection, next_secret, prompt_secret
from .failures import USAGE, Failure, print_error, print_note, report_failures, shorten
from .fields import plain
from .files.exporting import export
from .files.importing import import_
from .filters import read_filters
from .listing import Filter, OrderBy, Paging, SortBy, write_list
from .options import Number, Yes, confirm, read_lines, spread
from .output import Output
from .pbx.generation import PBX
from .profiles.all_profiles import Connections
from .profiles.current_pbx import labelled
from .terminal.progress import progress
from .terminal.streams import print_line, reader_may_leave
from .watching import watch

extensions: typer.Typer = typer.Typer(
    cls=CommandGroup,
    name="extensions",
    add_completion=False,
    help="Work with extensions, the users of v22: list, provision, watch, call. 'users' is another"
    " name of this command.",
    no_args_is_help=True,
)

Numbers = Annotated[
    list[str],
    typer.Argument(metavar="NUMBER", help="Extension numbers; - reads them from standard input."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="FIELD=VALUE",
        help="A setting such as profile.first_name=Ann, or department=Sales in v22; repeatable.",
        autocompletion=complete_setting,
        show_default=False,
    ),
]
Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help='Settings as JSON, such as {"voice_mail": {"voicemail_pin": "..."}}, or in v22'
        ' {"voicemail_pin": "..."}; - reads standard input.',
        show_default=False,
    ),
]


@extensions.command("list")
@spread
def list_(
    *,
    paging: Paging,
    sort_by: SortBy = None,
    order_by: OrderBy = None,
    connection: Connections,
    output: Output,
) -> None:
    """List all extensions.

    Example: portsip-async extensions list --output csv --columns extension_number,email

    In v22, a list has no status. A filter or a column that needs one, such as --filter
    status=ON_CALL, takes a request for each extension. There, --filter also takes an expression of
    OData, such as "contains(name, 'ann')", which the PBX evaluates itself.
    """

    def walk(pbx: PBX, expression: str | None) -> Paginator[Any]:
        options = {"sort_by": sort_by, "filter": expression, "order_by": order_by}
        return pbx.extensions(paging.pages, options)

    _write_extensions(connection, output, paging, walk)


@extensions.command()
@spread
def search(
    condition: Annotated[
        str, typer.Argument(metavar="TEXT", help="A part of a number, a name or an email.")
    ],
    *,
    paging: Paging,
    connection: Connections,
    output: Output,
) -> None:
    """List the extensions that match a text."""

    def walk(pbx: PBX, expression: str | None) -> Paginator[Any]:
        return pbx.search(condition, paging.pages, {"filter": expression})

    _write_extensions(connection, output, paging, walk)


@extensions.command()
@spread
def show(
    number: Number,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show passwords and pins.")] = False,
    connection: Connections,
    output: Output,
) -> None:
    """Show an extension's settings.

    Its passwords and its pin are hidden unless --reveal is given.

    Example: portsip-async extensions show 101 --output json
    """
    connection.show(output, connection.kind.record, lambda pbx: pbx.show(number), reveal=reveal)


@extensions.command()
@spread
def create(
    number: Number,
    *,
    changes: Set = None,
    settings: Settings = None,
    new_passwords_stdin: Annotated[
        bool,
        typer.Option(
            "--new-passwords-stdin",
            help="Read the new extension's secrets from the next lines of standard input; else from"
            " variables, else prompts. They are PORTSIP_NEW_PASSWORD and"
            " PORTSIP_NEW_WEB_ACCESS_PASSWORD; in v22 PORTSIP_NEW_PASSWORD,"
            " PORTSIP_NEW_EXTENSION_PASSWORD and PORTSIP_NEW_VOICEMAIL_PIN.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Create an extension.

    Example: portsip-async extensions create 101 --set profile.first_name=Ann

    In v22, four settings are required. Example: portsip-async users create 101 --set name=ann --set
    display_name=Ann --set email=ann@example.com --set role=StandardUser
    """
    kind = connection.kind
    # The order of standard input: the login, these secrets, and then the settings.
    fields: dict[str, Any] = {}
    if new_passwords_stdin:
        fields = {name: next_secret(_words(name)) for name in kind.new_secrets}
    given = kind.settings.read(changes, settings)
    missing = [name for name in kind.settings.required if name not in given]
    if missing:
        raise Failure(f"missing settings: {', '.join(missing)}", "pass each with --set", USAGE)
    _ = connection.account  # prompts for the login first
    for name in kind.new_secrets[len(fields) :]:
        variable = f"PORTSIP_NEW_{name.upper()}"
        title = f"{_words(name).capitalize()} of the new extension"
        fields[name] = prompt_secret(title, variable, confirm=True)
    new = kind.new(extension_number=number, **fields, **given)
    connection.run(lambda pbx: pbx.create(new))
    print_note(f"Created extension {number}.")


@extensions.command()
@spread
def update(
    number: Number, *, changes: Set = None, settings: Settings = None, connection: Connection
) -> None:
    """Change some of an extension's settings.

    Other settings stay as they are.

    Example: portsip-async extensions update 101 --set options.enable_extension=false

    In v22, settings have other names. Example: portsip-async users update 101 --set enabled=false
    """
    given = connection.kind.changes.read(changes, settings)
    if not given:
        raise typer.BadParameter("pass --set or --settings")
    try:
        connection.run(lambda pbx: pbx.patch(number, given))
    except TypeError as error:  # from an unknown field
        raise typer.BadParameter(str(error), param_hint="'--settings'") from None
    print_note(f"Updated extension {number}.")


@extensions.command()
@spread
def remove(
    numbers: Numbers,
    *,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Skip numbers that don't exist.")
    ] = False,
    yes: Yes = False,
    connection: Connection,
) -> None:
    """Remove extensions; asks first.

    Their settings and greetings are removed too. To repeat a removal that was interrupted, run it
    again with --skip-missing.

    Example: portsip-async extensions remove 101 102 --yes
    """
    wanted = read_lines(numbers)
    confirm(f"Remove {_count(wanted)}?", yes=yes)

    results: list[BulkResult[Any]] = []
    in_doubt: list[str] = []

    async def work(pbx: PBX) -> None:
        with progress("Removing", len(wanted), shown=len(wanted) > 1) as removed:

            def note(result: BulkResult[Any]) -> None:
                results.append(result)
                removed.advance()

            await pbx.remove_many(
                wanted, note, in_doubt, if_missing="skip" if skip_missing else "error"
            )

    code = 1
    try:
        connection.run(work)
        code = report_failures(
            ((one.key, one.error) for one in results if one.error is not None),
            {one.key for one in results if one.settled},
        )
    finally:
        # Whatever ended the run, write what it has removed.
        gone = [one.key for one in results if one.error is None and not one.skipped]
        if code and (gone or in_doubt):
            names = f": {shorten(gone)}" if gone else ""
            doubt = f"; perhaps removed: {shorten(in_doubt)}" if in_doubt else ""
            print_error(f"removed {len(gone):,} of {len(wanted):,} extensions{names}{doubt}")
    if code:
        raise typer.Exit(code)
    skipped = sum(one.skipped for one in results)
    if skipped:
        count = f"{len(gone):,} of {len(wanted):,} extensions"
        print_note(f"Removed {count}; {skipped:,} did not exist.")
    else:
        print_note(f"Removed {_count(wanted)}.")


@extensions.command()
@spread
def status(
    numbers: Numbers, *, filter_: Filter = None, connection: Connections, output: Output
) -> None:
    """Show the current status of extensions.

    Takes any number of them, and keeps their order.

    Example: cut -d, -f1 numbers.csv | portsip-async extensions status -
    """
    filters = read_filters(filter_, connection.kind.state, odata=False)
    wanted = read_lines(numbers)
    state = connection.kind.state
    output.check(state)

    failed: list[tuple[str, Exception]] = []

    async def work(pbx: PBX) -> None:
        with (
            output.rows(state) as rows,
            progress("Reading", len(wanted), shown=output.leaves_terminal) as read,
        ):
            async with pbx.poll(wanted) as poll:
                async for result in poll:
                    read.advance()
                    if result.status is not None:
                        row = plain(result.status)
                        # The exit code depends on all results, so a failed write does not end it.
                        with reader_may_leave():
                            if filters.match(row):
                                rows.write(row)
                    elif result.error is not None:
                        failed.append((labelled(result.extension_number), result.error))

    connection.run(work)
    code = report_failures(failed)
    if code:
        raise typer.Exit(code)


@extensions.command()
@spread
def call(
    number: Number,
    to: Annotated[str, typer.Argument(metavar="TO", help="The number to call.")],
    *,
    src: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="The source number of the call; by default the extension."
        ),
    ] = None,
    auth_stdin: Annotated[
        bool,
        typer.Option(
            "--auth-stdin",
            help="Read the password of the extension's telephones from the next line of standard"
            " input; else PORTSIP_AUTH, else a prompt. v22 needs none: there, the account that is"
            " logged in sets up the call, unless you give one.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Ring an extension, and connect it to a number; prints the session's id in v22.

    Example: portsip-async extensions call 101 00441234567 --domain pbx.example.com
    """
    domain = connection.sip_domain
    gives_auth = auth_stdin or bool(os.environ.get("PORTSIP_AUTH"))
    needs_auth = gives_auth or connection.kind.calls_need_auth
    if needs_auth and domain is None:
        raise Failure("a call needs the SIP domain", "pass --domain, or set PORTSIP_DOMAIN", USAGE)
    _ = connection.account  # prompts for the login first
    name = f"Password of extension {number}"
    auth = None
    if needs_auth:
        auth = next_secret("password") if auth_stdin else prompt_secret(name, "PORTSIP_AUTH")
    session = connection.run(
        lambda pbx: pbx.call(number, to, auth=auth, domain=domain, src=src or number)
    )
    if session is not None:
        with reader_may_leave():
            print_line(session)
    print_note(f"Extension {number} rings, and will be connected to {to}.")


def _write_extensions(
    connection: Connection,
    output: Output,
    paging: Paging,
    walk: Callable[[PBX, str | None], Paginator[Any]],
) -> None:
    kind = connection.kind
    write_list(
        connection,
        output,
        paging,
        kind.summary,
        walk,
        narrow=kind.narrow,
        wide=kind.wide,
        with_state=kind.summary_with_state,
    )


extensions.command("watch")(watch)
extensions.command("import")(import_)
extensions.command("export")(export)
extensions.command("apply")(apply)


def _count(numbers: Sequence[str]) -> str:
    return f"extension {numbers[0]}" if len(numbers) == 1 else f"{len(numbers):,} extensions"


def _words(field: str) -> str:
    """Return the name of a field as words."""
    return field.replace("_", " ")
