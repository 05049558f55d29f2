"""Import time in fresh processes, compared with the libraries that the SDK is built on.

Bytecode comes from a folder that is filled before the measurement, even if the environment forbids
writing bytecode.
"""

import os
import subprocess
import sys
import tempfile

from .harness import ROOT, Figure, Findings, Progress, Table, rotated

ROUNDS, QUICK_ROUNDS = 15, 3

STATEMENTS = (
    # A name of the package, since the package loads a module when a name in it is first used.
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


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Import each in turn, and return a figure and a table."""
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        # The first run of each statement writes the bytecode.
        for statement in STATEMENTS:
            _seconds(statement, folder)
        progress("import")
        for number in range(QUICK_ROUNDS if quick else ROUNDS):
            turns = rotated(STATEMENTS, number)
            rounds.append({each: _seconds(each, folder) for each in turns})
    ours, plain, _ = STATEMENTS
    figures = {"import": Figure.of((each[ours] - each[plain]) * 1000 for each in rounds)}
    rows = [
        [f"`{each}`", Figure.of(seconds[each] * 1000 for seconds in rounds).text(0)]
        for each in STATEMENTS
    ]
    return figures, [Table("Import, CPU ms", ["statement", "ms"], rows)]
