"""Measure what one token for all processes gains: ``python -m tests.fleet.token_trial --write``.

Processes call a PBX that ends an account's token on its next login, with and without a token store.
`PAGE` has the figures, and the documentation includes it.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from portsip_async.simulator import Faults, PBXSimulator

from .processes import ROOT, Processes
from .redis_server import RedisServer
from .service_load import ServiceLoad
from .token_workers import run, start_workers

PAGE = ROOT / "docs/explanation/token-trial.md"
_PROCESSES = 4
_IN_FLIGHT = 16  # calls at once, of all processes together
_LATENCY = 0.02  # seconds that the PBX takes for a reply


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        name: what was measured.
        calls: calls that succeeded.
        failed: calls that failed.
        logins: logins that arrived at the PBX.
        seconds: how long it took.
    """

    name: str
    calls: int
    failed: int
    logins: int
    seconds: float

    def __str__(self) -> str:
        share = self.failed / (self.calls + self.failed)
        failed = f"{share:.0%}" if self.failed else "none"
        return f"| {self.name} | {self.calls / self.seconds:,.0f} | {failed} | {self.logins:,} |"


def main() -> int:
    """Run the trial. Exit code 1: calls failed though the token was shared."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.token_trial", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="the length of each measurement")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="token-trial-") as folder:
        rows = _measure(Path(folder), arguments.seconds)
    page = _page(rows, arguments.seconds)
    sys.stdout.write(page)
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")
    return int(any(row.failed or row.logins != 1 for row in rows if "shared" in row.name))


def _measure(folder: Path, seconds: float) -> list[Row]:
    rows: list[Row] = []
    with RedisServer(folder / "redis") as server:
        for name, number, store in (
            ("one process", 1, None),
            ("four processes, each with its own token", _PROCESSES, None),
            ("four processes with a shared token", _PROCESSES, server.url),
        ):
            with _pbx() as sim, Processes(folder) as processes:
                workers = start_workers(processes, sim, classic=number, store=store)
                result = run(workers, seconds, loops=_IN_FLIGHT // number)
                failed = result.errors.total()
                logins = sim.served["account.verify"]
                rows.append(Row(name, result.calls, failed, logins, seconds))
            with server.client() as client:
                client.flushall()
        for name, store in (
            ("`uvicorn --workers 4`, each worker with its own token", None),
            ("`uvicorn --workers 4` with a shared token", server.url),
        ):
            with _pbx() as sim, Processes(folder) as processes:
                load = ServiceLoad(processes, sim, store)
                asyncio.run(load.run(seconds, in_flight=_IN_FLIGHT))
                calls = load.statuses[200]
                failed = load.statuses.total() - calls
                rows.append(Row(name, calls, failed, sim.served["account.verify"], seconds))
    return rows


def _pbx() -> AbstractContextManager[PBXSimulator]:
    faults = Faults(latency=_LATENCY)
    return PBXSimulator.in_thread(extensions=5, quirks=["one_token"], faults=faults)


def _page(rows: list[Row], seconds: float) -> str:
    return "\n".join(
        [
            "| | calls a second | calls that failed | logins |",
            "|---|---|---|---|",
            *map(str, rows),
            "",
            "Written by `python -m tests.fleet.token_trial --write`:"
            f" {seconds:.0f} seconds each, {_IN_FLIGHT} calls in flight,",
            f"CPython {platform.python_version()}, {os.cpu_count()} cores."
            f" The simulated PBX takes {_LATENCY * 1000:.0f} ms for a reply, and a login",
            "ends the account's earlier token (`one_token`).",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
