"""Bulk runs that are killed twice and run again carry out each item once.

The programs of v22 are those of ``docs/howto/survive-a-kill.md``.
"""

import asyncio
import csv
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from portsip_async.simulator import PBXSimulator

from ..docs.blocks import ROOT, write_files
from .processes import PATIENCE, end_with_parent

pytestmark = pytest.mark.fleet

PAGE = "docs/howto/survive-a-kill.md"
NUMBERS = [str(number) for number in range(2000, 2400)]
KILLED_AT = (100, 250)  # items that are carried out by then

# The page shows the classic calls without a program around them.
CLASSIC = """\
import asyncio, sys
from portsip_async import NewExtension, PortSIPClient

async def main() -> None:
    numbers = sys.argv[2:]
    async with PortSIPClient.from_env() as pbx:
        if sys.argv[1] == "create":
            new = [
                NewExtension(
                    extension_number=number,
                    password=f"Sip-{number}-secret",
                    web_access_password=f"Web-{number}-secret",
                )
                for number in numbers
            ]
            created = [one async for one in pbx.extensions.create_many(new, if_exists="skip")]
            print([one.key for one in created if one.error], sum(one.skipped for one in created))
        else:
            run = pbx.extensions.remove_many(numbers, if_missing="skip")
            removed = [one async for one in run]
            print([one.key for one in removed if one.error], sum(one.skipped for one in removed))

asyncio.run(main())
"""


@pytest.fixture
async def slow_sim() -> AsyncIterator[PBXSimulator]:
    """A PBX that needs some time for each write, so that a kill meets several of them."""
    async with PBXSimulator(extensions=20) as sim:
        for operation in ("create", "remove"):
            sim.fail(f"extensions.{operation}", latency=0.02, times=None)
            sim.v22.fail(f"users.{operation}", latency=0.02, times=None)
        yield sim


async def killed_twice(
    sim: PBXSimulator, acted: Mapping[str, int], operation: str, folder: Path, *command: str
) -> list[str]:
    """Run a program, kill it in the middle, twice; return the lines of all three runs."""
    lines: list[str] = []
    for at in (*KILLED_AT, None):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=folder,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "PORTSIP_URL": sim.url,
                "PORTSIP_USERNAME": sim.username,
                "PORTSIP_PASSWORD": sim.password,
                "PORTSIP_DOMAIN": sim.domain,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=end_with_parent,
        )
        if at is not None:
            async with asyncio.timeout(PATIENCE):
                while acted[operation] < at:  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        out, err = await process.communicate()
        assert process.returncode == (0 if at is None else -signal.SIGKILL), err.decode()
        assert at is None or acted[operation] < len(NUMBERS)
        lines += out.decode().splitlines()
    return lines


async def test_shown_programs(slow_sim: PBXSimulator, tmp_path: Path) -> None:
    """Each user is created once, with the password of the plan, and removed once."""
    sim, acted = slow_sim, slow_sim.v22.acted
    before = sorted(sim.extension_numbers)
    write_files(PAGE, tmp_path)
    program = tmp_path / "create_users.py"
    code = program.read_text()
    program.write_text(code.replace("range(2000, 4000)", "range(2000, 2400)"))
    assert "range(2000, 4000)" in code

    said = await killed_twice(sim, acted, "users.create", tmp_path, "create_users.py")
    assert acted["users.create"] == len(NUMBERS)
    assert sorted(sim.extension_numbers) == [*before, *NUMBERS]
    assert [line.partition(" ")[2] for line in said] == ["of 400 users to create"] * 3
    left = [int(line.partition(" ")[0]) for line in said]
    assert left[0] == len(NUMBERS)
    assert all(most >= some for most, some in zip((300, 150), left[1:], strict=True))
    plan = tmp_path / "new-users.csv"
    assert plan.stat().st_mode & 0o777 == 0o600
    with plan.open(newline="") as file:
        planned = {row["extension_number"]: row for row in csv.DictReader(file)}
    for number in NUMBERS:
        user = sim.v22.user(sim.v22.user_id(number))
        assert user["extension_password"] == planned[number]["extension_password"]
    assert len({row["extension_password"] for row in planned.values()}) == len(NUMBERS)

    (tmp_path / "leaving.txt").write_text("\n".join(NUMBERS))
    said = await killed_twice(sim, acted, "users.remove", tmp_path, "remove_users.py")
    assert acted["users.remove"] == len(NUMBERS)
    assert sorted(sim.extension_numbers) == before
    assert [line.partition(" ")[2] for line in said] == ["of 400 users to remove"] * 3


async def test_classic(slow_sim: PBXSimulator, tmp_path: Path) -> None:
    """Without a list, the PBX is asked about each number again, and nothing is done twice."""
    sim = slow_sim
    before = sorted(sim.extension_numbers)
    done: Counter[str] = sim.acted
    for verb, after in (("create", [*before, *NUMBERS]), ("remove", before)):
        operation = f"extensions.{verb}"
        (said,) = await killed_twice(sim, done, operation, tmp_path, "-c", CLASSIC, verb, *NUMBERS)
        assert done[operation] == len(NUMBERS)
        assert sorted(sim.extension_numbers) == after
        failed, skipped = said.rsplit(" ", 1)
        assert failed == "[]"
        assert int(skipped) >= KILLED_AT[-1]
