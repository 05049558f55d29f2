"""``portsip-async extensions export``: all extensions with their settings, as `import` reads them.

Each extension is read by itself, several at once, and written in the order of the list. A file is
put in its place only once it is whole. What is no regular file, as a FIFO, is written into.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from .. import Extension, NewExtension, NotFound, PortSIPClient
from .connect import Connection
from .csv_text import csv_line
from .failures import note
from .fields import SECRETS, dotted, plain
from .files import new_file
from .options import spread
from .output import at, csv_cell, shown_cells
from .progress import progress
from .rows import FileFormat, form_of

_STDOUT = Path("-")


@spread
def export(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .csv or .jsonl; none: standard output."),
    ] = _STDOUT,
    *,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--output",
            "-o",
            "--format",
            help="The form, where the name does not tell it; csv on standard output.",
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those that a text finds only.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many.", show_default=False)
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Passwords and pins too, which an import needs. Guard the file."
        ),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests in flight.")] = 8,
    connection: Connection,
) -> None:
    """Write extensions with their settings to a file.

    'import' reads it. Passwords and pins are left out unless --reveal is given; the file is its
    owner's only.

    Example: portsip-async extensions export people.csv --search sales
    """
    form = (form or FileFormat.CSV) if file == _STDOUT else form_of(file, form)

    async def work(pbx: PortSIPClient, target: TextIO) -> int:
        count = 0
        with progress("Exporting", limit, shown=not target.isatty()) as done:
            writer = _Writer(target, form, reveal=reveal)
            shown = _shown(pbx, _numbers(pbx, search, limit), concurrency)
            async with aclosing(shown):
                async for extension in shown:
                    writer.write(extension)
                    done.advance()
                    count += 1
        return count

    if file == _STDOUT:
        count = connection.run(lambda pbx: work(pbx, sys.stdout))
    else:
        # A FIFO waits here for somebody who reads, where Ctrl-C ends it as any other wait.
        with new_file(file, replace=True) as new:
            count = connection.run(lambda pbx: work(pbx, new.text))
            new.publish()
    note(f"Exported {count:,} extensions.")


async def _numbers(
    pbx: PortSIPClient, search: str | None, limit: int | None
) -> AsyncGenerator[str, None]:
    walk = pbx.extensions.list() if search is None else pbx.extensions.search(search)
    count = 0
    async with walk:
        async for extension in walk:
            yield extension.extension_number
            count += 1
            if count == limit:
                return


async def _shown(
    pbx: PortSIPClient, numbers: AsyncGenerator[str, None], concurrency: int
) -> AsyncGenerator[Extension, None]:
    """Read extensions side by side, and yield them in order; those gone meanwhile are left out."""
    reading: deque[asyncio.Task[Extension]] = deque()
    try:
        more = True
        while more or reading:
            while more and len(reading) < concurrency:
                try:
                    number = await anext(numbers)
                except StopAsyncIteration:
                    more = False
                else:
                    reading.append(asyncio.create_task(pbx.extensions.show(number)))
            if reading:
                try:
                    extension = await reading.popleft()
                except NotFound as error:
                    if error.operation != "extensions.show":
                        raise  # it is about the login
                    continue
                yield extension
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await numbers.aclose()


class _Writer:
    """Writes extensions in a form that is read back."""

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
        row = plain(extension, reveal=True)
        if self._form is FileFormat.CSV:
            values = [at(row, name) for name in self._columns]
            cells = (None if value is None else csv_cell(value) for value in values)
            shown = shown_cells(cells) if self._target is sys.stdout else cells
            self._target.write(csv_line(shown))
        else:
            self._target.write(json.dumps(self._told(row)) + "\n")
        self._target.flush()

    def _told(self, row: dict[str, Any], above: str = "") -> dict[str, Any]:
        """Leave out what is not told, and what is not to be."""
        told: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, dict):
                told[name] = self._told(value, f"{above}{name}.")
            elif value is not None and f"{above}{name}" in self._columns:
                told[name] = value
        return told
