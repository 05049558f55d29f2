"""``portsip-async extensions``: extensions one by one, and their lists.

`watch`, `import` and `export` have their own modules.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import BulkResult, Extension, ExtensionStatus, ExtensionSummary, NewExtension, PortSIPClient
from .board import watch
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

    async def work(pbx: PortSIPClient) -> None:
        walk = pbx.extensions.list(page=paging.page, page_size=paging.page_size, sort_by=sort_by)
        await write_list(output, walk, ExtensionSummary, paging.limit, _NARROW)

    connection.run(work)


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

    async def work(pbx: PortSIPClient) -> None:
        walk = pbx.extensions.search(condition, page=paging.page, page_size=paging.page_size)
        await write_list(output, walk, ExtensionSummary, paging.limit, _NARROW)

    connection.run(work)


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

    async def work(pbx: PortSIPClient) -> None:
        output.show(await pbx.extensions.show(number), reveal=reveal)

    connection.run(work)


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
    secrets = []
    if new_passwords_stdin:
        secrets = [next_secret("password"), next_secret("web access password")]
    sections = _read(changes, settings)
    _ = connection.account  # prompts for the login first
    if not secrets:
        secrets = [
            prompt_secret("Password of the new extension", "PORTSIP_NEW_PASSWORD", confirm=True),
            prompt_secret(
                "Web access password of the new extension",
                "PORTSIP_NEW_WEB_ACCESS_PASSWORD",
                confirm=True,
            ),
        ]
    password, web_access_password = secrets
    extension = NewExtension(
        extension_number=number,
        password=password,
        web_access_password=web_access_password,
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

    removing = _Removing(wanted)
    try:
        code = connection.run(removing.run)
    except BaseException:
        removing.report()
        raise
    if code:
        removing.report()
        raise typer.Exit(code)
    print_note(f"Removed {_count(wanted)}.")


class _Removing:
    """One run that removes extensions, and its outcome."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted
        self._removed: list[str] = []
        self._failed: list[tuple[str, Exception]] = []
        self._in_doubt: list[str] = []

    async def run(self, pbx: PortSIPClient) -> int:
        """Remove all, report the failures, and return the exit code."""
        with progress("Removing", len(self._wanted), shown=len(self._wanted) > 1) as removed:
            run = pbx.extensions.remove_many(self._wanted)
            try:
                async with run:
                    async for result in run:
                        self.note(result)
                        removed.advance()
            finally:
                for result in run.late_results:
                    self.note(result)
                self._in_doubt = list(run.in_doubt)
        return report_failures(self._failed)

    def note(self, result: BulkResult[None]) -> None:
        """Record the outcome of one extension."""
        if result.error is None:
            self._removed.append(result.key)
        else:
            self._failed.append((result.key, result.error))

    def report(self) -> None:
        """Write to stderr what was removed by a run that was not completed."""
        if not self._removed and not self._in_doubt:
            return
        removed = f": {shorten(self._removed)}" if self._removed else ""
        doubt = f"; perhaps removed: {shorten(self._in_doubt)}" if self._in_doubt else ""
        count = f"{len(self._removed):,} of {len(self._wanted):,}"
        print_error(f"removed {count} extensions{removed}{doubt}")


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
            async with pbx.extensions.poll_status(wanted, ordered=True) as poll:
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
