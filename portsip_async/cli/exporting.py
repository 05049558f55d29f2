"""``portsip-async extensions export``: write all extensions with their settings to a file.

Reads several extensions at once, and writes them in the order of the list. The file appears once it
is complete. A path that is not a regular file, such as a FIFO, is written into.
"""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, TextIO

import typer

from .. import Extension, NewExtension, NotFound, PortSIPClient
from .atomic_file import new_file
from .connection import Connection
from .csv_text import csv_line
from .failures import print_note
from .fields import SECRETS, dotted, flat, nested, plain
from .import_file import FileFormat, form_of
from .options import Limit, spread
from .output import csv_cell, shown_cells
from .progress import progress

_STDOUT = Path("-")


@spread
def export(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .csv or .jsonl file; standard output by default."),
    ] = _STDOUT,
    *,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--output",
            "-o",
            "--format",
            help="The format, if the file's suffix does not show it; csv on standard output.",
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only extensions that match this text.")
    ] = None,
    limit: Limit = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Write passwords and pins, which an import needs. Guard the file."
        ),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests in flight.")] = 8,
    connection: Connection,
) -> None:
    """Write extensions with their settings to a file.

    'import' can read the file. Passwords and pins are left out unless you pass --reveal. Only the
    owner can read the file.

    Example: portsip-async extensions export people.csv --search sales
    """
    form = (form or FileFormat.CSV) if file == _STDOUT else form_of(file, form)

    async def work(pbx: PortSIPClient, target: TextIO) -> int:
        count = 0
        writer = _Writer(target, form, reveal=reveal)
        with progress("Exporting", limit, shown=not target.isatty()) as done:
            async with (
                aclosing(_numbers(pbx, search, limit)) as numbers,
                pbx.extensions.show_many(numbers, concurrency=concurrency, ordered=True) as run,
            ):
                async for result in run:
                    if result.value is not None:
                        writer.write(result.value)
                        done.advance()
                        count += 1
                    elif result.error is not None and not _is_removed(result.error):
                        raise result.error
        return count

    if file == _STDOUT:
        count = connection.run(lambda pbx: work(pbx, sys.stdout))
    else:
        # Opening a FIFO blocks until it has a reader; Ctrl-C ends that.
        with new_file(file, replace=True) as new:
            count = connection.run(lambda pbx: work(pbx, new.text))
            new.publish()
    print_note(f"Exported {count:,} extensions.")


async def _numbers(
    pbx: PortSIPClient, search: str | None, limit: int | None
) -> AsyncGenerator[str, None]:
    if search is None:
        walk = pbx.extensions.list(page_size=None)
    else:
        walk = pbx.extensions.search(search, page_size=None)
    count = 0
    async with walk:
        async for extension in walk:
            yield extension.extension_number
            count += 1
            if count == limit:
                return


def _is_removed(error: Exception) -> bool:
    """Return whether an extension was removed after it was listed."""
    return isinstance(error, NotFound) and error.operation == "extensions.show"


class _Writer:
    """Writes extensions in a format that `import` reads."""

    def __init__(self, target: TextIO, form: FileFormat, *, reveal: bool) -> None:
        self._target = target
        self._form = form
        self._columns = [
            name
            for name in dotted(NewExtension)
            if reveal or name.rpartition(".")[2] not in SECRETS
        ]
        if form is FileFormat.CSV:
            target.write(csv_line(self._columns))

    def write(self, extension: Extension) -> None:
        row = flat(plain(extension, reveal=True))
        found = {name: row[name] for name in self._columns if row.get(name) is not None}
        if self._form is FileFormat.CSV:
            cells = (csv_cell(found[name]) if name in found else None for name in self._columns)
            shown = shown_cells(cells) if self._target is sys.stdout else cells
            self._target.write(csv_line(shown))
        else:
            self._target.write(json.dumps(nested(found)) + "\n")
        self._target.flush()
