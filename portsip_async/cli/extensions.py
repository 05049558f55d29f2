"""``portsip-async extensions``: the extensions one by one, and their lists.

Watching, importing and exporting have files of their own.
"""

import sys
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
    PortSIPError,
)
from .board import watch
from .connect import Connection, next_secret, prompt_secret
from .exporting import export
from .failures import USAGE, Failure, exit_code, note, shortened, tell, tell_many
from .fields import completed, plain, read_settings
from .importing import import_
from .letters import one_line
from .options import read_lines, spread
from .output import Output
from .progress import progress
from .reading import read_text

extensions: typer.Typer = typer.Typer(
    name="extensions",
    add_completion=False,
    help="Work with extensions: list, provision, watch, call.",
    no_args_is_help=True,
)

_LISTED = ("extension_number", "first_name", "last_name", "email", "status")

Number = Annotated[str, typer.Argument(metavar="NUMBER", help="The extension's number.")]
Numbers = Annotated[
    list[str],
    typer.Argument(metavar="NUMBER", help="Extension numbers; - reads them from stdin."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many.", show_default=False)]
Page = Annotated[int, typer.Option(min=1, help="Begin with this page.")]
PageSize = Annotated[int, typer.Option(min=1, help="Ask for so many at once.")]
SortBy = Annotated[str | None, typer.Option(help="DEFAULT or Optional.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="FIELD=VALUE",
        help="A setting, as profile.first_name=Ann; may be repeated.",
        autocompletion=completed,
        show_default=False,
    ),
]
Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help='Settings as JSON, as {"voice_mail": {"voicemail_pin": "..."}}; - is stdin.',
        show_default=False,
    ),
]


async def write_all(
    output: Output, walk: Paginator[Any], limit: int | None, narrow: tuple[str, ...], model: Any
) -> None:
    """Write the items of a walk as rows."""
    with (
        output.rows(model, narrow) as rows,
        progress("Reading", limit, shown=output.collects) as read,
    ):
        count = 0
        try:
            async with walk:
                async for item in walk:
                    rows.write(plain(item))
                    read.advance()
                    count += 1
                    if count == limit:
                        break
        except PortSIPError as error:
            if error.page is None or not count:
                raise
            again = f"go on from where it failed with --page {error.page}"
            raise Failure(str(error), again, exit_code(error)) from None
    if walk.drift.dropped:
        note(f"The list changed while it was read: {walk.drift.dropped} items came twice.")


@extensions.command("list")
@spread
def list_(
    *,
    limit: Limit = None,
    page: Page = 1,
    page_size: PageSize = 100,
    sort_by: SortBy = None,
    connection: Connection,
    output: Output,
) -> None:
    """List all extensions.

    Example: portsip-async extensions list --output csv --columns extension_number,email
    """

    async def work(pbx: PortSIPClient) -> None:
        walk = pbx.extensions.list(page=page, page_size=page_size, sort_by=sort_by)
        await write_all(output, walk, limit, _LISTED, ExtensionSummary)

    connection.run(work)


@extensions.command()
@spread
def search(
    condition: Annotated[
        str, typer.Argument(metavar="TEXT", help="A part of a number, a name or an email.")
    ],
    *,
    limit: Limit = None,
    page: Page = 1,
    page_size: PageSize = 100,
    connection: Connection,
    output: Output,
) -> None:
    """List the extensions that a text finds."""

    async def work(pbx: PortSIPClient) -> None:
        walk = pbx.extensions.search(condition, page=page, page_size=page_size)
        await write_all(output, walk, limit, _LISTED, ExtensionSummary)

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
            help="Read the new extension's password and its web access password from the next two"
            " lines of standard input; else PORTSIP_NEW_PASSWORD and"
            " PORTSIP_NEW_WEB_ACCESS_PASSWORD, else you are asked.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Create an extension.

    Example: portsip-async extensions create 101 --set profile.first_name=Ann
    """
    secrets = []
    if new_passwords_stdin:  # before the settings, which are the rest of standard input
        secrets = [next_secret("password"), next_secret("web access password")]
    sections = _read(changes, settings)
    _ = connection.account  # is asked for first
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
    made = NewExtension(
        extension_number=number,
        password=password,
        web_access_password=web_access_password,
        **sections,
    )
    connection.run(lambda pbx: pbx.extensions.create(made))
    note(f"Created extension {number}.")


@extensions.command()
@spread
def update(
    number: Number, *, changes: Set = None, settings: Settings = None, connection: Connection
) -> None:
    """Change some of an extension's settings.

    What is not named stays as it is.

    Example: portsip-async extensions update 101 --set options.enable_extension=false
    """
    sections = _read(changes, settings)
    if not sections:
        raise typer.BadParameter("say what to change with --set or --settings")
    try:
        connection.run(lambda pbx: pbx.extensions.patch(number, **sections))
    except TypeError as error:  # a field that neither the SDK nor the PBX knows
        raise typer.BadParameter(str(error), param_hint="'--settings'") from None
    note(f"Updated extension {number}.")


@extensions.command()
@spread
def remove(numbers: Numbers, *, yes: Yes = False, connection: Connection) -> None:
    """Remove extensions; asks first.

    Their settings and greetings go with them.

    Example: portsip-async extensions remove 101 102 --yes
    """
    wanted = read_lines(numbers)
    confirm(f"Remove {_named(wanted)}?", yes=yes)

    removing = _Removing(wanted)
    try:
        code = connection.run(removing.run)
    except BaseException:
        removing.tell()
        raise
    if code:
        removing.tell()
        raise typer.Exit(code)
    note(f"Removed {_named(wanted)}.")


class _Removing:
    """One run that removes extensions, and what became of each."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted
        self._removed: list[str] = []
        self._failed: list[tuple[str, Exception]] = []
        self._in_doubt: list[str] = []

    async def run(self, pbx: PortSIPClient) -> int:
        """Remove all, report what failed, and return the exit code."""
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
        return tell_many(self._failed)

    def note(self, result: BulkResult[None]) -> None:
        """Note what became of an extension."""
        if result.error is None:
            self._removed.append(result.key)
        else:
            self._failed.append((result.key, result.error))

    def tell(self) -> None:
        """Report what was removed, unless all was."""
        if not self._removed and not self._in_doubt:
            return
        removed = f": {shortened(self._removed)}" if self._removed else ""
        doubt = ""
        if self._in_doubt:
            doubt = f"; perhaps removed: {shortened(self._in_doubt)}"
        tell(f"removed {len(self._removed):,} of {len(self._wanted):,} extensions{removed}{doubt}")


@extensions.command()
@spread
def status(numbers: Numbers, *, connection: Connection, output: Output) -> None:
    """Show what extensions are doing now.

    Any number of them, in the order given.

    Example: cut -d, -f1 numbers.csv | portsip-async extensions status -
    """
    wanted = read_lines(numbers)

    async def work(pbx: PortSIPClient) -> int:
        failed = []
        with (
            output.rows(ExtensionStatus, goes_on=True) as rows,
            progress("Reading", len(wanted), shown=output.collects) as read,
        ):
            async with pbx.extensions.poll_status(wanted, ordered=True) as poll:
                async for result in poll:
                    read.advance()
                    if result.status is not None:
                        rows.write(plain(result.status))
                    elif result.error is not None:
                        failed.append((result.extension_number, result.error))
        return tell_many(failed)

    code = connection.run(work)
    if code:
        raise typer.Exit(code)


@extensions.command()
@spread
def call(
    number: Number,
    to: Annotated[str, typer.Argument(metavar="TO", help="Whom to call.")],
    *,
    domain: Annotated[
        str,
        typer.Option(metavar="NAME", envvar="PORTSIP_DOMAIN", help="The SIP domain of the PBX."),
    ],
    src: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="What the call shows as its source; else the extension."
        ),
    ] = None,
    auth_stdin: Annotated[
        bool,
        typer.Option(
            "--auth-stdin",
            help="Read the extension's password from the next line of standard input; else"
            " PORTSIP_AUTH, else you are asked.",
        ),
    ] = False,
    connection: Connection,
) -> None:
    """Ring an extension, and connect it to somebody.

    Example: portsip-async extensions call 101 00441234567 --domain pbx.example.com
    """
    _ = connection.account  # is asked for first
    told = f"Password of extension {number}"
    auth = next_secret("password") if auth_stdin else prompt_secret(told, "PORTSIP_AUTH")
    connection.run(
        lambda pbx: pbx.extensions.call(number, to, auth=auth, domain=domain, src=src or number)
    )
    note(f"Extension {number} rings, to be connected to {to}.")


extensions.command("watch")(watch)
extensions.command("import")(import_)
extensions.command("export")(export)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost.

    Raises:
        Failure: nobody can answer, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody is there to be asked", "say --yes", USAGE)
    if not typer.confirm(one_line(question), err=True):
        raise Failure("nothing was done")


def _named(numbers: Sequence[str]) -> str:
    return f"extension {numbers[0]}" if len(numbers) == 1 else f"{len(numbers):,} extensions"


def _read(changes: list[str] | None, settings: Path | None) -> dict[str, Any]:
    try:
        document = None if settings is None else read_text(settings)
    except OSError as error:
        raise typer.BadParameter(
            f"{settings}: {error.strerror}", param_hint="'--settings'"
        ) from None
    return read_settings(changes, document)
