"""One call: what it costs, by work, by calls in flight, over plain HTTP and TLS.

A round is a fresh process in which all contestants take turns, block by block, in an order that
changes; a ratio is that of two contestants' blocks of the same pass. The measure is the CPU time
of the client's process, system time included; wall time stands beside it.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import product
from typing import Any, TypeAlias

from .clients import CONTESTANTS, Contestant, Naive, Sdk
from .harness import (
    Figure,
    Server,
    Table,
    answer,
    context_for,
    fresh,
    geometric_mean,
    in_flight,
    rotated,
    settle_receiving,
)

WORKS = ("list", "show", "status")
WIDTHS = (1, 16, 64)
SCHEMES = ("plain", "tls")
SWEEP = (1, 4, 16, 64, 256)
ROUNDS, QUICK_ROUNDS = 7, 1
PASSES, QUICK_PASSES = 2, 1
BLOCK = 128  # calls

# A work, how many in flight, over what.
Cell: TypeAlias = tuple[str, int, str]
# A contestant, a cell, the number of the pass, CPU and wall seconds a call.
Row: TypeAlias = tuple[str, Cell, int, float, float]

CELLS: tuple[Cell, ...] = tuple(
    (what, width, scheme) for scheme, what, width in product(SCHEMES, WORKS, WIDTHS)
)
_KINDS = {kind.__name__: kind for kind in CONTESTANTS}

BATCH = [f"{number:06}" for number in range(100_000, 100_100)]


def call_of(who: Contestant, work: str) -> Callable[[int], Awaitable[object]]:
    """Tie a contestant to a question."""
    if work == "list":
        return lambda _: who.list_page(1)
    if work == "show":
        return lambda _: who.show("1000")
    return lambda _: who.status(BATCH)


async def block(who: Contestant, work: str, width: int, count: int) -> tuple[float, float]:
    """Make a block of calls, and answer CPU and wall seconds a call."""
    call = call_of(who, work)
    wall, cpu = time.perf_counter(), time.process_time()
    await in_flight(call, count, width)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / count, wall / count


async def work(task: dict[str, Any]) -> list[Row]:
    """Be a round: answer a row for each block."""
    settle_receiving()
    rows: list[Row] = []
    turn = task["round"]
    for part in task["parts"]:
        context = context_for(task["authority"]) if part["scheme"] == "tls" else None
        places = max(64, *part["widths"])
        chosen = [_KINDS[name](part["url"], context, places) for name in part["who"]]
        for who in chosen:
            await who.open()
        for what in part["works"]:
            for width in part["widths"]:
                for who in chosen:  # connections are made and types are read here
                    await block(who, what, width, width)
                for number in range(task["passes"]):
                    turn += 1
                    # Of the slow one a pass is enough, for a ratio that is far off.
                    there = [who for who in chosen if number == 0 or who.share == 1]
                    for who in rotated(there, turn):
                        count = _length(who, width)
                        cpu, wall = await block(who, what, width, count)
                        name, cell = type(who).__name__, (what, width, part["scheme"])
                        rows.append((name, cell, number, cpu, wall))
        for who in chosen:
            await who.close()
    return rows


def _length(who: Contestant, width: int) -> int:
    """Say how many calls a block of a contestant holds: as many for each place."""
    return max(1, int(BLOCK * who.share) // width) * width


class Rounds:
    """All blocks of a run, by contestant and cell."""

    def __init__(self) -> None:
        # A value for each round: the median over its passes.
        self._cpu: dict[tuple[str, Cell], list[float]] = defaultdict(list)
        self._wall: dict[tuple[str, Cell], list[float]] = defaultdict(list)
        self._ratio: dict[tuple[str, str, Cell], list[float]] = defaultdict(list)

    def add(self, rows: list[Row]) -> None:
        """Take in a round."""
        cpu: dict[tuple[str, Cell], dict[int, float]] = defaultdict(dict)
        wall: dict[tuple[str, Cell], list[float]] = defaultdict(list)
        for name, (what, width, scheme), number, seconds, passed in rows:
            cpu[name, (what, width, scheme)][number] = seconds
            wall[name, (what, width, scheme)].append(passed)
        for (name, cell), passes in cpu.items():
            self._cpu[name, cell].append(statistics.median(passes.values()))
            self._wall[name, cell].append(statistics.median(wall[name, cell]))
            for other in _KINDS:
                beside = cpu.get((other, cell))
                if beside:
                    ratio = statistics.median(
                        passes[each] / beside[each] for each in passes.keys() & beside.keys()
                    )
                    self._ratio[name, other, cell].append(ratio)

    def cpu(self, name: str, cell: Cell) -> Figure:
        """Answer CPU microseconds a call."""
        return Figure.of(seconds * 1e6 for seconds in self._cpu[name, cell])

    def wall(self, name: str, cell: Cell) -> Figure:
        """Answer wall microseconds a call."""
        return Figure.of(seconds * 1e6 for seconds in self._wall[name, cell])

    def ratio(self, name: str, other: str, cell: Cell) -> Figure:
        """Answer the CPU of one beside another's."""
        return Figure.of(self._ratio[name, other, cell])

    def mean(self, name: str, other: str, cells: Sequence[Cell]) -> Figure:
        """Answer the geometric mean over cells: of their medians, with the rounds' spread."""
        each = [self._ratio[name, other, cell] for cell in cells]
        spread = Figure.of(geometric_mean(round_) for round_ in zip(*each, strict=True))
        middle = geometric_mean(statistics.median(ratios) for ratios in each)
        return Figure(middle, min(spread.low, middle), max(spread.high, middle))

    def fastest(self, what: str) -> tuple[str, float]:
        """Answer who was the fastest at a work, and with how many calls a CPU second."""
        times = [
            (statistics.median(seconds), name)
            for (name, cell), seconds in self._cpu.items()
            if cell[0] == what
        ]
        seconds, name = min(times)
        return _KINDS[name].name, 1 / seconds


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table], Rounds]:
    """Run the rounds, and answer figures, tables, and the rounds for a picture."""
    rounds = Rounds()
    with Server(tls=True) as server, Server(compressed=True) as compressing:
        parts = [
            {
                "scheme": scheme,
                "url": server.urls[scheme],
                "who": list(_KINDS),
                "works": WORKS,
                "widths": WIDTHS,
            }
            for scheme in SCHEMES
        ]
        parts.append(
            {
                "scheme": "plain",
                "url": server.urls["plain"],
                "who": ["Sdk", "Naive"],
                "works": ["list"],
                "widths": [width for width in SWEEP if width not in WIDTHS],
            }
        )
        parts.append(
            {
                "scheme": "gzip",
                "url": compressing.urls["plain"],
                "who": ["Sdk", "Naive"],
                "works": ["list"],
                "widths": [16],
            }
        )
        task = {
            "passes": QUICK_PASSES if quick else PASSES,
            "parts": parts,
            "authority": server.authority,
        }
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"calls: round {number + 1} of {count}")
            rows = fresh("bench_calls", {"round": number, **task})
            rounds.add([(name, tuple(cell), *rest) for name, cell, *rest in rows])
    return _figures(rounds), [*_tables(rounds)], rounds


def _figures(rounds: Rounds) -> dict[str, Figure]:
    figures = {
        "calls.naive": rounds.mean("Sdk", "Naive", CELLS),
        "calls.naive.worst": max(
            (rounds.ratio("Sdk", "Naive", cell) for cell in CELLS), key=lambda ratio: ratio.value
        ),
        "calls.noise": rounds.mean("NaiveAgain", "Naive", CELLS),
        "calls.careful": rounds.mean("Sdk", "Careful", CELLS),
        "calls.raw": rounds.mean("Sdk", "Raw", CELLS),
    }
    for width in WIDTHS:
        cells = [cell for cell in CELLS if cell[1] == width]
        figures[f"calls.httpx.{width}"] = rounds.mean("Sdk", "Httpx", cells)
    return figures


def _tables(rounds: Rounds) -> Iterator[Table]:
    others = [kind for kind in CONTESTANTS if kind is not Sdk]
    yield Table(
        "CPU a call, portsip_async beside each",
        ["work", "in flight", "over", *(kind.name for kind in others)],
        [
            [
                what,
                str(width),
                scheme,
                *(
                    rounds.ratio("Sdk", kind.__name__, (what, width, scheme)).shown(2)
                    for kind in others
                ),
            ]
            for what, width, scheme in CELLS
        ],
        "Medians over the rounds, quartiles in brackets; below 1 the SDK uses less.",
    )
    for title, of in (("CPU", rounds.cpu), ("Wall", rounds.wall)):
        yield Table(
            f"{title} µs a call",
            ["work", "in flight", "over", *(kind.name for kind in CONTESTANTS)],
            [
                [
                    what,
                    str(width),
                    scheme,
                    *(
                        f"{of(kind.__name__, (what, width, scheme)).value:,.0f}"
                        for kind in CONTESTANTS
                    ),
                ]
                for what, width, scheme in CELLS
            ],
        )
    yield Table(
        f"List pages, plain, {SWEEP[0]} to {SWEEP[-1]} in flight",
        ["in flight", "CPU µs", "pages a second", f"{Naive.name}: CPU µs", "pages a second", "CPU"],
        [_beside(rounds, ("list", width, "plain"), str(width)) for width in SWEEP],
    )
    yield Table(
        "List pages in gzip",
        ["", "CPU µs", "pages a second", f"{Naive.name}: CPU µs", "pages a second", "CPU"],
        [_beside(rounds, ("list", 16, "gzip"), "16 in flight")],
        "Everywhere else replies come uncompressed.",
    )


def _beside(rounds: Rounds, cell: Cell, name: str) -> list[str]:
    row = [name]
    for who in ("Sdk", "Naive"):
        row.append(f"{rounds.cpu(who, cell).value:,.0f}")
        row.append(f"{1e6 / rounds.wall(who, cell).value:,.0f}")
    return [*row, rounds.ratio("Sdk", "Naive", cell).shown(2)]


if __name__ == "__main__":
    answer(work)
