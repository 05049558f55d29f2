"""Write all extensions into a CSV file.

    python examples/export_csv.py [FILE.csv]

Without a file it goes to the standard output. The walk holds a few pages at a time, however many
extensions there are.
"""

import argparse
import asyncio
import csv
import os
import sys
from contextlib import nullcontext
from pathlib import Path

from stand_in import stand_in_pbx

from portsip_async import PortSIPClient, PortSIPError

COLUMNS = ("extension_number", "first_name", "last_name", "email", "status", "phone_model")


async def export(path: Path | None) -> None:
    """Write a line an extension, in the order of the PBX."""
    opened = path.open("w", newline="", encoding="utf-8") if path else nullcontext(sys.stdout)
    async with stand_in_pbx(), PortSIPClient.from_env() as pbx:
        extensions = pbx.extensions.list(page_size=200, prefetch=3)
        with opened as file:
            table = csv.writer(file, lineterminator="\n")
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
    except PortSIPError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except BrokenPipeError:  # as of `| head`: nobody reads on, which is nobody's mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
