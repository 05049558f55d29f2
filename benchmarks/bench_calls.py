"""One call: CPU and wall time, by operation, calls in flight, plain HTTP and TLS.

A round is a fresh process. For each cell (operation, calls in flight, scheme) every client runs one
block of calls, in an order that rotates. A ratio compares two blocks of the same round. CPU time is
that of the client's process, including system time.

A block has at least 1,024 calls, and at least 16 for each call in flight. Shorter blocks mostly
measure their own start: with 256 calls, all of them in flight at once, ratios went up to 1.75.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

from .clients import CLIENTS, Client, Naive, Sdk
from .harness import (
    Figure,
    Findings,
    Progress,
    Server,
    Table,
    geometric_mean,
    main,
    rotated,
    run_calls,
    run_in_process,
    ssl_context,
)

OPERATIONS = ("list", "show", "status")
CONCURRENCIES = (1, 16, 64)
SCHEMES = ("plain", "tls")
SWEEP = (1, 4, 16, 64, 256)
ROUNDS, QUICK_ROUNDS = 7, 1
BLOCK, QUICK_BLOCK = 1_024, 128  # calls
CALLS_EACH = 16  # at least, for each call in flight

# An operation, calls in flight, a scheme.
Cell: TypeAlias = tuple[str, int, str]
# The name of a client's class, a cell, CPU and wall seconds a call.
Row: TypeAlias = tuple[str, Cell, float, float]

CELLS: tuple[Cell, ...] = tuple(
    (operation, concurrency, scheme)
    for scheme, operation, concurrency in product(SCHEMES, OPERATIONS, CONCURRENCIES)
)
_CLASSES = {client.__name__: client for client in CLIENTS}

BATCH = [f"{number:06}" for number in range(100_000, 100_100)]


def _call_of(client: Client, operation: str) -> Callable[[int], Awaitable[object]]:
    if operation == "list":
        return lambda _: client.list_page(1)
    if operation == "show":
        return lambda _: client.show("1000")
    return lambda _: client.status(BATCH)


async def run_block(
    client: Client, operation: str, concurrency: int, count: int
) -> tuple[float, float]:
    """Make a block of calls, and return the CPU and wall seconds of one."""
    call = _call_of(client, operation)
    wall, cpu = time.perf_counter(), time.process_time()
    await run_calls(call, count, concurrency)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / count, wall / count


async def run(task: dict[str, Any]) -> list[Row]:
    """Run one round, and return a row for each block."""
    rows: list[Row] = []
    turn = task["round"]
    for part in task["parts"]:
        context = ssl_context(task["authority"]) if part["scheme"] == "tls" else None
        connections = max(64, *part["concurrencies"])
        clients = [
            _CLASSES[name](part["url"], context, connections)
            for name in part["clients"]
            if task["round"] % _CLASSES[name].every == 0
        ]
        for client in clients:
            await client.open()
        for operation, concurrency in product(part["operations"], part["concurrencies"]):
            # Connect, and let the first calls fill the caches, before the measured blocks.
            for client in clients:
                await run_block(client, operation, concurrency, concurrency)
            turn += 1
            count = max(task["block"], CALLS_EACH * concurrency)
            cell = (operation, concurrency, part["scheme"])
            for client in rotated(clients, turn):
                cpu, wall = await run_block(client, operation, concurrency, count)
                rows.append((type(client).__name__, cell, cpu, wall))
        for client in clients:
            await client.close()
    return rows


class Results:
    """The blocks of all rounds, by client and cell."""

    def __init__(self) -> None:
        self._cpu: dict[tuple[str, Cell], list[float]] = defaultdict(list)
        self._wall: dict[tuple[str, Cell], list[float]] = defaultdict(list)
        self._ratios: dict[tuple[str, str, Cell], list[float]] = defaultdict(list)

    def add(self, rows: list[Row]) -> None:
        """Add the blocks of a round."""
        cpus = {(name, cell): cpu for name, cell, cpu, _ in rows}
        for name, cell, cpu, wall in rows:
            self._cpu[name, cell].append(cpu)
            self._wall[name, cell].append(wall)
            for other in _CLASSES:
                if (other, cell) in cpus:
                    self._ratios[name, other, cell].append(cpu / cpus[other, cell])

    def cpu(self, name: str, cell: Cell) -> Figure:
        """Return the CPU microseconds of a call."""
        return Figure.of(seconds * 1e6 for seconds in self._cpu[name, cell])

    def wall(self, name: str, cell: Cell) -> Figure:
        """Return the wall microseconds of a call."""
        return Figure.of(seconds * 1e6 for seconds in self._wall[name, cell])

    def ratio(self, name: str, other: str, cell: Cell) -> Figure:
        """Return the CPU of one client divided by that of another."""
        return Figure.of(self._ratios[name, other, cell])

    def mean(self, name: str, other: str, cells: Sequence[Cell]) -> Figure:
        """Return the geometric mean of the cells' medians, with the quartiles over the rounds."""
        ratios = [self._ratios[name, other, cell] for cell in cells]
        by_round = Figure.of(geometric_mean(each) for each in zip(*ratios, strict=True))
        middle = geometric_mean(statistics.median(each) for each in ratios)
        return Figure(middle, min(by_round.low, middle), max(by_round.high, middle))

    def fastest(self, operation: str) -> tuple[str, float]:
        """Return the fastest client of an operation, and its calls in a CPU second."""
        seconds, name = min(
            (statistics.median(seconds), name)
            for (name, cell), seconds in self._cpu.items()
            if cell[0] == operation
        )
        return _CLASSES[name].name, 1 / seconds


def measure(*, quick: bool, progress: Progress) -> tuple[Findings, Results]:
    """Run the rounds, and return figures and tables, and the results of all blocks."""
    results = Results()
    with Server(tls=True) as server, Server(compressed=True) as compressing:
        parts = [
            {
                "scheme": scheme,
                "url": server.urls[scheme],
                "clients": list(_CLASSES),
                "operations": OPERATIONS,
                "concurrencies": CONCURRENCIES,
            }
            for scheme in SCHEMES
        ]
        parts.append(
            {
                "scheme": "plain",
                "url": server.urls["plain"],
                "clients": ["Sdk", "Naive"],
                "operations": ["list"],
                "concurrencies": [each for each in SWEEP if each not in CONCURRENCIES],
            }
        )
        parts.append(
            {
                "scheme": "gzip",
                "url": compressing.urls["plain"],
                "clients": ["Sdk", "Naive"],
                "operations": ["list"],
                "concurrencies": [16],
            }
        )
        task = {
            "block": QUICK_BLOCK if quick else BLOCK,
            "parts": parts,
            "authority": server.authority,
        }
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"calls: round {number + 1} of {count}")
            rows = run_in_process("bench_calls", {"round": number, **task})
            results.add([(name, tuple(cell), cpu, wall) for name, cell, cpu, wall in rows])
    return (_figures(results), [*_tables(results)]), results


def _figures(results: Results) -> dict[str, Figure]:
    figures = {
        "calls.naive": results.mean("Sdk", "Naive", CELLS),
        "calls.naive.worst": max(
            (results.ratio("Sdk", "Naive", cell) for cell in CELLS), key=lambda ratio: ratio.value
        ),
        "calls.buffers": results.mean("Sdk", "SmallBuffers", CELLS),
        "calls.noise": results.mean("NaiveAgain", "Naive", CELLS),
        "calls.careful": results.mean("Sdk", "Careful", CELLS),
        "calls.raw": results.mean("Sdk", "Raw", CELLS),
    }
    for concurrency in CONCURRENCIES:
        cells = [cell for cell in CELLS if cell[1] == concurrency]
        figures[f"calls.httpx.{concurrency}"] = results.mean("Sdk", "Httpx", cells)
    return figures


def _tables(results: Results) -> Iterator[Table]:
    others = [client for client in CLIENTS if client is not Sdk]
    yield Table(
        "CPU of a call, portsip_async divided by each other client",
        ["operation", "in flight", "over", *(client.name for client in others)],
        [
            [
                operation,
                str(concurrency),
                scheme,
                *(
                    results.ratio("Sdk", client.__name__, (operation, concurrency, scheme)).text(2)
                    for client in others
                ),
            ]
            for operation, concurrency, scheme in CELLS
        ],
        "Medians over the rounds, quartiles in brackets. Below 1 the SDK uses less.",
    )
    for title, figure_of in (("CPU", results.cpu), ("Wall", results.wall)):
        yield Table(
            f"{title} of a call, in µs",
            ["operation", "in flight", "over", *(client.name for client in CLIENTS)],
            [
                [
                    operation,
                    str(concurrency),
                    scheme,
                    *(
                        f"{figure_of(client.__name__, (operation, concurrency, scheme)).value:,.0f}"
                        for client in CLIENTS
                    ),
                ]
                for operation, concurrency, scheme in CELLS
            ],
        )
    yield Table(
        f"List pages over plain HTTP, {SWEEP[0]} to {SWEEP[-1]} in flight",
        ["in flight", "CPU µs", "pages a second", f"{Naive.name}: CPU µs", "pages a second", "CPU"],
        [_compared(results, ("list", each, "plain"), str(each)) for each in SWEEP],
    )
    yield Table(
        "List pages in gzip",
        ["", "CPU µs", "pages a second", f"{Naive.name}: CPU µs", "pages a second", "CPU"],
        [_compared(results, ("list", 16, "gzip"), "16 in flight")],
        "All other benchmarks have uncompressed replies.",
    )


def _compared(results: Results, cell: Cell, label: str) -> list[str]:
    row = [label]
    for name in ("Sdk", "Naive"):
        row.append(f"{results.cpu(name, cell).value:,.0f}")
        row.append(f"{1e6 / results.wall(name, cell).value:,.0f}")
    return [*row, results.ratio("Sdk", "Naive", cell).text(2)]


if __name__ == "__main__":
    main(run)
