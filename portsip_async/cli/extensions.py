"""``portsip-async extensions``: extensions one by one, and their lists.

`watch`, `import` and `export` have their own modules.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import (
    BulkResult,
    Extension,
    ExtensionStatus,
    ExtensionSummary,
    NewExtension,
    Paginator,
    PortSIPClient,
)
from .connection import Connection, next_secret, prompt_secret
from .exporting import export
from .failures import print_error, print_note, report_failures, shorten
from .fields import completed, plain, read_settings
from .importing import import_
from .listing import Paging, SortBy, write_list
from .options import Number, Yes, confirm, read_lines, spread
from .output import Output
from .progress import progress
from .streams import reader_may_leave
from .text_input import read_text
from .watching import watch

extensions: typer.Typer = typer.Typer(
    name="extensions",
    add_completion=False,
    help="Work with extensions: list, provision, watch, call.",
    no_args_is_help=True,
)

# The columns of a list as a table, which would be too wide with all.
_NARROW = ("extension_number", "first_name", "last_name", "email", "status")

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
        help="A setting such as profile.first_name=Ann; repeatable.",
        autocompletion=completed,
        show_default=False,
    ),
]
Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help='Settings as JSON, such as {"voice_mail": {"voicemail_pin": "..."}}; - reads'
        " standard input.",
        show_default=False,
    ),
]


@extensions.command("list")
@spread
def list_(
    *, paging: Paging, sort_by: SortBy = None, connection: Connection, output: Output
) -> None:
    """List all extensions.

    Example: portsip-async extensions list --output csv --columns extension_number,email
    """

    def walk(pbx: PortSIPClient) -> Paginator[ExtensionSummary]:
        return pbx.extensions.list(sort_by=sort_by, **paging.pages)

    write_list(connection, output, paging, ExtensionSummary, walk, _NARROW)


@extensions.command()
@spread
def search(
    condition: Annotated[
        str, typer.Argument(metavar="TEXT", help="A part of a number, a name or an email.")
    ],
    *,
    paging: Paging,
    connection: Connection,
    output: Output,
) -> None:
    """List the extensions that match a text."""

    def walk(pbx: PortSIPClient) -> Paginator[ExtensionSummary]:
        return pbx.extensions.search(condition, **paging.pages)

    write_list(connection, output, paging, ExtensionSummary, walk, _NARROW)


@extensions.command()
@spread
def show(
    number: Number,
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show passwords and pins.")] = False,
    connection: Connection,
    output: Output,
) -> None:
    """Show an extension's settings.

    Its passwords and its pin are hidden unless --reveal is given.

    Example: portsip-async extensions show 101 --output json --columns profile
    """
    output.check(Extension)
    output.show(connection.run(lambda pbx: pbx.extensions.show(number)), reveal=reveal)


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
            help="Read the new extension's password and web access password from the next two"
            " lines of standard input; else PORTSIP_NEW_PASSWORD and"
            " PORTSIP_NEW_WEB_ACCESS_PASSWORD, else prompts.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Create an extension.

    Example: portsip-async extensions create 101 --set profile.first_name=Ann
    """
    # The order of standard input: the login, these secrets, and then the settings.
    names = ("password", "web access password")
    secrets = [next_secret(name) for name in names] if new_passwords_stdin else []
    sections = _read(changes, settings)
    _ = connection.account  # prompts for the login first
    for name in names[len(secrets) :]:
        variable = f"PORTSIP_NEW_{name.replace(' ', '_').upper()}"
        title = f"{name.capitalize()} of the new extension"
        secrets.append(prompt_secret(title, variable, confirm=True))
    extension = NewExtension(
        extension_number=number,
        password=secrets[0],
        web_access_password=secrets[1],
        **sections,
    )
    connection.run(lambda pbx: pbx.extensions.create(extension))
    print_note(f"Created extension {number}.")


@extensions.command()
@spread
def update(
    number: Number, *, changes: Set = None, settings: Settings = None, connection: Connection
) -> None:
    """Change some of an extension's settings.

    Other settings stay as they are.

    Example: portsip-async extensions update 101 --set options.enable_extension=false
    """
    sections = _read(changes, settings)
    if not sections:
        raise typer.BadParameter("pass --set or --settings")
    try:
        connection.run(lambda pbx: pbx.extensions.patch(number, **sections))
    except TypeError as error:  # from an unknown field
        raise typer.BadParameter(str(error), param_hint="'--settings'") from None
    print_note(f"Updated extension {number}.")


@extensions.command()
@spread
def remove(numbers: Numbers, *, yes: Yes = False, connection: Connection) -> None:
    """Remove extensions; asks first.

    Their settings and greetings are removed too.

    Example: portsip-async extensions remove 101 102 --yes
    """
    wanted = read_lines(numbers)
    confirm(f"Remove {_count(wanted)}?", yes=yes)

    results: list[BulkResult[None]] = []
    in_doubt: list[str] = []

    async def work(pbx: PortSIPClient) -> int:
        with progress("Removing", len(wanted), shown=len(wanted) > 1) as removed:
            run = pbx.extensions.remove_many(wanted)
            try:
                async with run:
                    async for result in run:
                        results.append(result)
                        removed.advance()
            finally:
                results.extend(run.late_results)
                in_doubt.extend(run.in_doubt)
        return report_failures((one.key, one.error) for one in results if one.error is not None)

    code = 1
    try:
        code = connection.run(work)
    finally:
        # Whatever ended the run, write what it has removed.
        gone = [one.key for one in results if one.error is None]
        if code and (gone or in_doubt):
            names = f": {shorten(gone)}" if gone else ""
            doubt = f"; perhaps removed: {shorten(in_doubt)}" if in_doubt else ""
            print_error(f"removed {len(gone):,} of {len(wanted):,} extensions{names}{doubt}")
    if code:
        raise typer.Exit(code)
    print_note(f"Removed {_count(wanted)}.")


@extensions.command()
@spread
def status(numbers: Numbers, *, connection: Connection, output: Output) -> None:
    """Show the current status of extensions.

    Takes any number of them, and keeps their order.

    Example: cut -d, -f1 numbers.csv | portsip-async extensions status -
    """
    wanted = read_lines(numbers)

    async def work(pbx: PortSIPClient) -> int:
        failed = []
        with (
            output.rows(ExtensionStatus) as rows,
            progress("Reading", len(wanted), shown=output.collects) as read,
        ):
            async with pbx.extensions.poll_status(wanted, batch_size=None, ordered=True) as poll:
                async for result in poll:
                    read.advance()
                    if result.status is not None:
                        # The exit code depends on all results, so a failed write does not end it.
                        with reader_may_leave():
                            rows.write(plain(result.status))
                    elif result.error is not None:
                        failed.append((result.extension_number, result.error))
        return report_failures(failed)

    code = connection.run(work)
    if code:
        raise typer.Exit(code)


@extensions.command()
@spread
def call(
    number: Number,
    to: Annotated[str, typer.Argument(metavar="TO", help="The number to call.")],
    *,
    domain: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="PORTSIP_DOMAIN", help="The SIP domain of the PBX."),
    ],
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
            help="Read the extension's password from the next line of standard input; else"
            " PORTSIP_AUTH, else a prompt.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Ring an extension, and connect it to a number.

    Example: portsip-async extensions call 101 00441234567 --domain pbx.example.com
    """
    _ = connection.account  # prompts for the login first
    name = f"Password of extension {number}"
    auth = next_secret("password") if auth_stdin else prompt_secret(name, "PORTSIP_AUTH")
    connection.run(
        lambda pbx: pbx.extensions.call(number, to, auth=auth, domain=domain, src=src or number)
    )
    print_note(f"Extension {number} rings, and will be connected to {to}.")


extensions.command("watch")(watch)
extensions.command("import")(import_)
extensions.command("export")(export)


def _count(numbers: Sequence[str]) -> str:
    return f"extension {numbers[0]}" if len(numbers) == 1 else f"{len(numbers):,} extensions"


def _read(changes: list[str] | None, settings: Path | None) -> dict[str, Any]:
    try:
        document = None if settings is None else read_text(settings)
    except OSError as error:
        raise typer.BadParameter(
            f"{settings}: {error.strerror}", param_hint="'--settings'"
        ) from None
    return read_settings(changes, document)
