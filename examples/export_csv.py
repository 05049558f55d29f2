"""Export all extensions to a CSV file.

    python examples/export_csv.py [FILE.csv]

Without a file name, the rows go to standard output. The walk keeps only a few pages in memory, so
the number of extensions doesn't matter. An existing file is replaced only when the new one is
complete.
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

from simulated import simulated_pbx

from portsip_async import PortSIPClient, PortSIPError

COLUMNS = ("extension_number", "first_name", "last_name", "email", "status", "phone_model")


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Open the output. A regular file is replaced at the end, when the new one is complete."""
    if path is None:
        yield sys.stdout
        return
    if path.exists() and not path.is_file():  # such as a FIFO, which must not be replaced
        with path.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    target = path.resolve()  # replaces the target of a symbolic link, not the link
    descriptor, temporary = tempfile.mkstemp(".part", ".export-", target.parent)
    try:
        with open(descriptor, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


async def export(path: Path | None) -> None:
    """Write one row for each extension, in the order of the PBX."""
    async with simulated_pbx(), PortSIPClient.from_env() as pbx:
        extensions = pbx.extensions.list(page_size=200, prefetch=3)
        with opened(path) as file:
            table = csv.writer(file)  # the default line end makes it quote all line ends in cells
            table.writerow(COLUMNS)
            async for extension in extensions:
                table.writerow(getattr(extension, column) for column in COLUMNS)
    if extensions.drift.page_count_changed:
        print(
            "The list changed during the export. Some extensions may be missing.", file=sys.stderr
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Export all extensions to a CSV file.")
    parser.add_argument("file", nargs="?", type=Path)
    try:
        asyncio.run(export(parser.parse_args().file))
    except BrokenPipeError:  # the reader stopped early, as `| head` does: this is not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (PortSIPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
