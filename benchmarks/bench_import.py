"""Importing: in fresh processes, beside the two libraries that the SDK stands on.

Compiled code is read from a folder of its own, filled beforehand, whatever the environment says
about writing it.
"""

import os
import subprocess
import sys
import tempfile
from typing import Any

from .harness import ROOT, Figure, Table, rotated

ROUNDS, QUICK_ROUNDS = 15, 3

STATEMENTS = (
    # A name, since the package loads what it names at the first use of one.
    "from portsip_async import PortSIPClient",
    "import aiohttp, msgspec",
    "import httpx, pydantic",
)
_CODE = """
import time
start = time.process_time()
{statement}
print(time.process_time() - start)
"""


def _seconds(statement: str, folder: str) -> float:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(statement=statement)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Import in turns, and answer a figure and a table."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for statement in STATEMENTS:  # compiles
            _seconds(statement, folder)
        progress("import")
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            turns = rotated(STATEMENTS, number)
            rounds.append({each: _seconds(each, folder) for each in turns})
    ours, plain, _ = STATEMENTS
    figures = {"import": Figure.of((each[ours] - each[plain]) * 1000 for each in rounds)}
    rows = [
        [f"`{each}`", Figure.of(found[each] * 1000 for found in rounds).shown(0)]
        for each in STATEMENTS
    ]
    return figures, [Table("Import, CPU ms", ["statement", "ms"], rows)]
