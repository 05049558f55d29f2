"""Write all extensions into a CSV file.

    python examples/export_csv.py [FILE.csv]

Without a file it goes to the standard output. The walk holds a few pages at a time, however many
extensions there are. A file appears under its name once it is whole.
"""

import argparse
import asyncio
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stand_in import stand_in_pbx

from portsip_async import PortSIPClient, PortSIPError

COLUMNS = ("extension_number", "first_name", "last_name", "email", "status", "phone_model")


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Open where the table goes; a file is replaced at the end, by one that is whole."""
    if path is None:
        yield sys.stdout
        return
    if path.exists() and not path.is_file():  # such as a FIFO, which must stay one
        with path.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    target = path.resolve()  # a link stays, and its target is replaced
    descriptor, temporary = tempfile.mkstemp(".part", ".export-", target.parent)
    try:
        with open(descriptor, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


async def export(path: Path | None) -> None:
    """Write a line an extension, in the order of the PBX."""
    async with stand_in_pbx(), PortSIPClient.from_env() as pbx:
        extensions = pbx.extensions.list(page_size=200, prefetch=3)
        with opened(path) as file:
            table = csv.writer(file)  # with its own line ends it quotes every line end in a cell
            table.writerow(COLUMNS)
            async for extension in extensions:
                table.writerow(getattr(extension, column) for column in COLUMNS)
    if extensions.drift.page_count_changed:
        print("The list changed meanwhile; some extensions may be missing.", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write all extensions into a CSV file.")
    parser.add_argument("file", nargs="?", type=Path)
    try:
        asyncio.run(export(parser.parse_args().file))
    except BrokenPipeError:  # as of `| head`: nobody reads on, which is nobody's mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (PortSIPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
