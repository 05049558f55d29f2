"""Create the users in a CSV file on a PBX of generation v22, and show what they are doing.

    python examples/provision_users.py [FILE.csv] [--remove]

Users whose number is taken are skipped, so you can run an interrupted import again. The department
is set by a second request, which changes nothing else. With --remove, the users in the file are
removed instead.
"""

import argparse
import asyncio
import csv
import sys
from pathlib import Path

from simulated import simulated_pbx

from portsip_async import PortSIPError
from portsip_async.v22 import NewUser, PortSIPClient, Role, UserChanges

SAMPLE = Path(__file__).with_name("users.csv")
FIELDS = (
    "extension_number",
    "name",
    "display_name",
    "email",
    "password",
    "extension_password",
    "voicemail_pin",
)


def new_user(row: dict[str, str]) -> NewUser:
    """Convert a row. If a required value is missing, only this row fails, when it is sent."""
    return NewUser(
        extension_number=row["extension_number"],
        name=row["name"],
        display_name=row["display_name"],
        email=row["email"],
        role=Role.STANDARD_USER,
        password=row["password"],
        extension_password=row["extension_password"],
        voicemail_pin=row["voicemail_pin"],
    )


async def create(pbx: PortSIPClient, rows: list[dict[str, str]]) -> tuple[dict[str, str], int]:
    """Create a user for each row. Return the ids of the new ones by number, and the failures."""
    ids: dict[str, str] = {}
    failures = 0
    async with pbx.users.create_many(map(new_user, rows), if_exists="skip") as run:
        async for result in run:
            if result.error is not None:
                failures += 1
                print(f"{result.key} failed: {result.error}", file=sys.stderr)
            elif result.skipped:
                print(f"{result.key} skipped: the number is taken")
            elif result.value is not None:
                ids[result.key] = result.value  # the id
                print(f"{result.key} created")
    return ids, failures


async def set_departments(
    pbx: PortSIPClient, rows: list[dict[str, str]], ids: dict[str, str]
) -> int:
    """Set the department of new users. Return the number of failures."""
    patches: list[tuple[str, UserChanges]] = [
        (ids[row["extension_number"]], {"department": row["department"]})
        for row in rows
        if row["extension_number"] in ids and row.get("department")
    ]
    failures = 0
    async with pbx.users.patch_many(patches) as run:
        async for result in run:
            if result.error is not None:
                failures += 1
                print(f"no department: {result.error}", file=sys.stderr)
    return failures


async def show_states(pbx: PortSIPClient, numbers: list[str]) -> int:
    """Print what the users are doing. Return the number of failures."""
    failures = 0
    async for result in pbx.extensions.poll_status(numbers, ordered=True):
        if result.status is None:
            failures += 1
            print(f"{result.extension_number}: {result.error}", file=sys.stderr)
        else:
            print(f"{result.extension_number} is {result.status.status or 'in an unknown state'}")
    return failures


async def remove(pbx: PortSIPClient, numbers: list[str]) -> int:
    """Remove the users who have these numbers. Return the number of failures."""
    failures = 0
    for number in numbers:
        try:
            await pbx.extensions.remove(number)
            print(f"{number} removed")
        except PortSIPError as error:
            failures += 1
            print(f"{number} not removed: {error}", file=sys.stderr)
    return failures


async def provision(rows: list[dict[str, str]], removing: bool) -> int:
    """Create or remove the users in the rows. Return the number of failures."""
    numbers = [row["extension_number"] for row in rows]
    async with simulated_pbx(), PortSIPClient.from_env() as pbx:
        if removing:
            return await remove(pbx, numbers)
        ids, failures = await create(pbx, rows)
        failures += await set_departments(pbx, rows, ids)
        return failures + await show_states(pbx, [*ids])


def read(source: Path) -> list[dict[str, str]]:
    """Return the rows. No error shows a cell, since it may be a password."""
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restkey="", restval="", strict=True))
    except (UnicodeDecodeError, csv.Error):
        sys.exit(f"{source} must be CSV in UTF-8")
    if not rows or not {*FIELDS} <= {*rows[0]}:
        sys.exit(f"{source}: the first line must name the columns, as in {SAMPLE.name}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Create the users in a CSV file.")
    parser.add_argument("file", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--remove", action="store_true", help="remove the users in the file")
    options = parser.parse_args()
    try:
        sys.exit(1 if asyncio.run(provision(read(options.file), options.remove)) else 0)
    except (PortSIPError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
