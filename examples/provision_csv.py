"""Create the extensions in a CSV file.

    python examples/provision_csv.py [FILE.csv]

Existing numbers are skipped, so you can run an interrupted import again. Failed rows go to
FILE.failed.csv, each with the reason. If that file exists, the report gets the next free name.
Correct the rows there and run the script on that file.
"""

import argparse
import asyncio
import csv
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

from simulated import simulated_pbx

from portsip_async import NewExtension, PortSIPClient, PortSIPError, Profile

SAMPLE = Path(__file__).with_name("extensions.csv")


def new_extension(row: dict[str, str]) -> NewExtension:
    """Convert a row. If a required value is missing, only this row fails, when it is sent."""
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
    """Create one extension for each row. Write failed rows to the report and count the outcomes."""
    async with (
        simulated_pbx(),
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
    """Open a file with access for its owner only."""
    return os.open(path, flags, 0o600)


def new_file(path: Path) -> TextIO:
    """Create a private file with this name or the next free one."""
    candidate, number = path, 1
    while True:
        try:
            return open(candidate, "x", newline="", encoding="utf-8", opener=private)
        except FileExistsError:
            number += 1
            candidate = path.with_stem(f"{path.stem}-{number}")


def read(source: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows and the column names. No error shows a cell, since it may be a password."""
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", strict=True)
            columns = list(reader.fieldnames or ())
            if not {"extension_number", "password", "web_access_password"} <= {*columns}:
                sys.exit(f"{source}: the first line must name the columns, as in {SAMPLE.name}")
            if len({*columns}) < len(columns):
                sys.exit(f"{source}: each column needs a unique name")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error):
        sys.exit(f"{source} must be CSV in UTF-8")
    if any(any(row.get("", ())) for row in rows):
        sys.exit(f"{source}: a row has more cells than the first line")
    return rows, columns


def main(source: Path) -> int:
    """Create the extensions in a file and return the exit code."""
    rows, columns = read(source)
    tally = Counter(created=0, skipped=0, failed=0)
    # The report contains passwords, so only its owner may read it.
    failed = new_file(source.with_suffix(".failed.csv"))
    try:
        with failed:
            names = dict.fromkeys([*columns, "error"])
            report = csv.DictWriter(failed, names, extrasaction="ignore")
            report.writeheader()
            asyncio.run(provision(rows, report, tally))
    finally:
        if tally["failed"]:
            print(f"The failed rows are in {failed.name}", file=sys.stderr)
        else:
            os.unlink(failed.name)
        if tally.total():  # even if writing the report failed
            print(", ".join(f"{count} {outcome}" for outcome, count in tally.items()))
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Create the extensions in a CSV file.")
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE)
    try:
        sys.exit(main(parser.parse_args().file))
    except (PortSIPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
