"""Create the extensions that a CSV file lists.

    python examples/provision_csv.py [FILE.csv]

Numbers that exist already are passed over, so a run that was cut short is simply run again. What
failed goes into FILE.failed.csv with the reason, or the next name that is free, so that no earlier
report is lost; mend it there, and give that file to the next run.
"""

import argparse
import asyncio
import csv
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

from stand_in import stand_in_pbx

from portsip_async import NewExtension, PortSIPClient, PortSIPError, Profile

SAMPLE = Path(__file__).with_name("extensions.csv")


def new_extension(row: dict[str, str]) -> NewExtension:
    """Read a row; a value that is missing is refused when its turn comes, and costs no other."""
    return NewExtension(
        extension_number=row.get("extension_number") or "",
        password=row.get("password") or "",
        web_access_password=row.get("web_access_password") or "",
        profile=Profile(
            first_name=row.get("first_name") or None,
            last_name=row.get("last_name") or None,
            email=row.get("email") or None,
        ),
    )


async def provision(
    rows: list[dict[str, str]], report: "csv.DictWriter[str]", tally: Counter[str]
) -> None:
    """Create an extension a row; write what failed into a report, and count the outcomes."""
    async with (
        stand_in_pbx(),
        PortSIPClient.from_env() as pbx,
        pbx.extensions.create_many(map(new_extension, rows), if_exists="skip") as run,
    ):
        async for result in run:
            outcome = "failed" if result.error else "skipped" if result.skipped else "created"
            tally[outcome] += 1
            if result.error is not None:
                report.writerow({**rows[result.index], "error": str(result.error)})
            if sys.stderr.isatty():
                end = "" if tally.total() < len(rows) else "\n"
                print(f"\r{tally.total()} of {len(rows)}", end=end, file=sys.stderr)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner may read."""
    return os.open(path, flags, 0o600)


def new_file(path: Path) -> TextIO:
    """Make a private file of that name, or of the next that is free."""
    tried, at = path, 1
    while True:
        try:
            return open(tried, "x", newline="", encoding="utf-8", opener=private)
        except FileExistsError:
            at += 1
            tried = path.with_stem(f"{path.stem}-{at}")


def read(source: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Read rows and the names of columns. No error shows a cell, which may be a password."""
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            columns = list(reader.fieldnames or ())
            if not {"extension_number", "password", "web_access_password"} <= {*columns}:
                sys.exit(f"{source}: the first line must name the columns, as {SAMPLE.name} does")
            if len({*columns}) < len(columns):
                sys.exit(f"{source}: each column must have a name of its own")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error):
        sys.exit(f"{source} must be CSV in UTF-8")
    if any(any(row.get("", ())) for row in rows):
        sys.exit(f"{source}: a row has more cells than the first line")
    return rows, columns


def main(source: Path) -> int:
    """Provision from a file; answer the exit code."""
    rows, columns = read(source)
    tally = Counter(created=0, skipped=0, failed=0)
    # It holds passwords, so it is nobody else's to read.
    failed = new_file(source.with_suffix(".failed.csv"))
    try:
        with failed:
            names = dict.fromkeys([*columns, "error"])
            report = csv.DictWriter(failed, names, extrasaction="ignore")
            report.writeheader()
            asyncio.run(provision(rows, report, tally))
    finally:
        if tally["failed"]:
            print(f"What failed is in {failed.name}", file=sys.stderr)
        else:
            os.unlink(failed.name)
        if tally.total():  # also where the report could not be written to its end
            print(", ".join(f"{count} {outcome}" for outcome, count in tally.items()))
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Create the extensions that a CSV file lists.")
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE)
    try:
        sys.exit(main(parser.parse_args().file))
    except (PortSIPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
