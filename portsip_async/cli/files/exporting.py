"""``portsip-async extensions export``: write all extensions with their settings to a file.

Reads several extensions at once, and writes them in the order of the list. The file appears once it
is complete. A path that is not a regular file, such as a FIFO, is written into.
"""

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, TextIO

import msgspec
import typer

from ..connection.connection import Connection
from ..failures import print_note
from ..fields import SECRETS, dotted, flat, is_list, nested, plain, without_nulls
from ..options import Limit, spread
from ..output import csv_cell, shown_cells
from ..pbx.generation import PBX, Record
from ..terminal.progress import progress
from ..terminal.streams import is_file
from .atomic_file import new_file
from .csv_text import csv_line
from .import_file import FileFormat, form_of

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
            "--reveal",
            help="Write passwords and pins too. Guard the file. An import needs them; a PBX of v22"
            " tells passwords only from 22.3 on, so for an older one add them yourself.",
        ),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests in flight.")] = 8,
    connection: Connection,
) -> None:
    """Write extensions with their settings to a file.

    'import' can read the file once it has passwords. They and pins are left out unless you pass
    --reveal. Only the owner can read the file.

    Example: portsip-async extensions export people.csv --search sales
    """
    form = (form or FileFormat.CSV) if file == _STDOUT else form_of(file, form)

    async def work(pbx: PBX, target: TextIO) -> int:
        count = 0
        writer = _Writer(target, form, pbx.new, reveal=reveal)
        with progress("Exporting", limit, shown=is_file(target)) as done:
            async with aclosing(pbx.records(search, limit, concurrency)) as records:
                async for record in records:
                    writer.write(record)
                    done.advance()
                    count += 1
        return count

    if file == _STDOUT:
        count = connection.run(lambda pbx: work(pbx, sys.stdout))
    else:
        # Opening a FIFO blocks until it has a reader; Ctrl-C ends that.
        with new_file(file, replace=True) as new:
            count = connection.run(lambda pbx: work(pbx, new.text))
            new.publish()
    print_note(f"Exported {count:,} extensions.")


class _Writer:
    """Writes extensions in a format that `import` reads."""

    def __init__(self, target: TextIO, form: FileFormat, new: Record, *, reveal: bool) -> None:
        self._target = target
        self._form = form
        self._new = new
        self._columns = [
            name for name in dotted(new) if reveal or name.rpartition(".")[2] not in SECRETS
        ]
        if form is FileFormat.CSV:
            target.write(csv_line(self._columns))

    def write(self, record: msgspec.Struct) -> None:
        row = flat(plain(record, reveal=True))
        found = {name: row[name] for name in self._columns if row.get(name) is not None}
        found = without_nulls(found)
        if self._form is FileFormat.CSV:
            cells = (self._cell(name, found.get(name)) for name in self._columns)
            shown = shown_cells(cells) if self._target is sys.stdout else cells
            self._target.write(csv_line(shown))
        else:
            self._target.write(json.dumps(nested(found)) + "\n")
        self._target.flush()

    def _cell(self, name: str, value: Any) -> str | None:
        if value is None:
            return None
        return json.dumps(value) if is_list(self._new, name) else csv_cell(value)
