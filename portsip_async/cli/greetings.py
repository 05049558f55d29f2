"""``portsip-async greetings``: work with the voicemail greetings of an extension."""

import io
from pathlib import Path
from typing import Annotated

import typer

from .command_group import CommandGroup
from .connection.connection import Connection
from .failures import print_note
from .listing import Paging, write_list
from .options import Number, Yes, confirm, spread
from .output import Output
from .pbx.generation import PBX
from .profiles.all_profiles import Connections
from .terminal.progress import Progress, progress

greetings: typer.Typer = typer.Typer(
    cls=CommandGroup,
    name="greetings",
    add_completion=False,
    help="Work with voicemail greetings.",
    no_args_is_help=True,
)

Filename = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_ID",
        help="The greeting's name, or in v22 its id, as 'list' shows it.",
    ),
]


@greetings.command("list")
@spread
def list_(number: Number, *, paging: Paging, connection: Connections, output: Output) -> None:
    """List an extension's greetings."""
    write_list(
        connection,
        output,
        paging,
        connection.kind.greeting,
        lambda pbx, _: pbx.greetings(number, paging.pages),
        odata=False,
    )


@greetings.command()
@spread
def add(
    number: Number,
    *,
    source: Annotated[
        str | None, typer.Option("--from-url", metavar="URL", help="The URL to fetch it from.")
    ] = None,
    filename: Annotated[
        str | None, typer.Option(metavar="NAME", help="The greeting's name on the PBX.")
    ] = None,
    connection: Connection,
) -> None:
    """Let the PBX fetch a greeting from a URL; classic only.

    Example: portsip-async greetings add 101 --from-url https://files.example.com/hello.wav
    """
    if not (source or filename):
        raise typer.BadParameter("pass --from-url or --filename")
    connection.run(lambda pbx: pbx.fetch_greeting(number, filename, source))
    print_note(f"Added a greeting to extension {number}.")


@greetings.command()
@spread
def upload(
    number: Number,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="The sound file."
        ),
    ],
    *,
    filename: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name on the PBX; else the file's name.")
    ] = None,
    connection: Connection,
) -> None:
    """Upload a greeting from a file.

    Example: portsip-async greetings upload 101 hello.wav
    """

    async def work(pbx: PBX) -> None:
        size = file.stat().st_size
        with (
            progress(f"Uploading {file.name}", size, unit="bytes") as sent,
            _ProgressFile(file, sent) as source,
        ):
            await pbx.upload_greeting(number, source, filename or file.name)

    connection.run(work)
    print_note(f"Uploaded {file.name} to extension {number}.")


@greetings.command()
@spread
def setup(number: Number, filename: Filename, *, connection: Connection) -> None:
    """Set the greeting that callers hear."""
    connection.run(lambda pbx: pbx.set_up_greeting(number, filename))
    print_note(f"Extension {number} plays {filename}.")


@greetings.command()
@spread
def remove(number: Number, filename: Filename, *, yes: Yes = False, connection: Connection) -> None:
    """Remove a greeting; asks first."""
    confirm(f"Remove greeting {filename} of extension {number}?", yes=yes)
    connection.run(lambda pbx: pbx.remove_greeting(number, filename))
    print_note(f"Removed greeting {filename} of extension {number}.")


class _ProgressFile(io.FileIO):
    """A file that reports how far it was read to a progress bar."""

    def __init__(self, path: Path, sent: Progress) -> None:
        super().__init__(path)
        self._sent = sent

    def read(self, size: int | None = -1) -> bytes:
        """Read a part, and report its length."""
        part = super().read(-1 if size is None else size) or b""
        self._sent.advance(len(part))
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek; going back, as for a repeated upload, moves the progress bar back."""
        before, after = self.tell(), super().seek(offset, whence)
        if whence == io.SEEK_SET and after < before:
            self._sent.restart(after)
        return after
