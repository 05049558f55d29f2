"""The report of a run: tables on the terminal, RESULTS.md, and a picture."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from portsip_async import __version__

from .bench_calls import BLOCK, OPERATIONS, SWEEP, Results
from .bench_walk import PREFETCH
from .clients import CLIENTS, Naive, NaiveAgain, Sdk, SmallBuffers
from .goals import GOALS
from .harness import RECEIVE_BYTES, Figure, Table

FOLDER = Path(__file__).parent
RESULTS, PICTURE = FOLDER / "RESULTS.md", FOLDER / "results.png"
LIBRARIES = (
    "aiohttp",
    "yarl",
    "multidict",
    "msgspec",
    "tenacity",
    "aiolimiter",
    "httpx",
    "pydantic",
    "httptools",
)

_OURS, _OTHERS = "#0b6e99", ("#8a8a8a", "#b8b8b8", "#d9822b", "#5f5f5f")


def machine() -> str:
    """Describe the machine, without its host name."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def versions() -> str:
    """List the versions of Python, the SDK and the other libraries."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join(
        [python, f"portsip_async {__version__}", *(f"{name} {version(name)}" for name in LIBRARIES)]
    )


def goals_table(figures: Mapping[str, Figure]) -> Table:
    """Return a table of the goals with the measured figures."""
    rows = []
    for goal in GOALS:
        # A quick run lacks some figures.
        figure = figures.get(goal.key)
        if figure is None:
            continue
        limit = f"{goal.bound} {goal.limit:.{min(goal.digits, 2)}f}"
        met = "met" if goal.met(figure) else "missed"
        rows.append([goal.work, goal.compared_with, limit, figure.text(goal.digits), met])
    noise = figures["calls.noise"].text(3)
    server = figures["server"].text(1)
    return Table(
        "Goals",
        ["work", "compared with", "goal", "measured", ""],
        rows,
        f"The hand-written client divided by itself, which is the noise: {noise}. "
        f"The server can serve at least {server} times what the fastest client sends.",
    )


def as_text(table: Table) -> str:
    """Format a table for a terminal."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([table.title, "", *texts, *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    """Format a table in Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"## {table.title}", "", *texts, *(["", table.note] if table.note else [])])


def write(figures: Mapping[str, Figure], tables: Sequence[Table], calls: Results) -> None:
    """Write RESULTS.md and the picture."""
    _draw(figures, calls)
    RESULTS.write_text("\n\n".join(_document(figures, tables)) + "\n")


def _document(figures: Mapping[str, Figure], tables: Sequence[Table]) -> Iterator[str]:
    yield "# Benchmark results"
    yield "Written by `make bench`; don't edit it by hand."
    yield f"- Machine: {machine()}\n- Versions: {versions()}"
    yield (
        "Each figure is a median over rounds, with the quartiles in brackets. A round is a fresh "
        "process. Where clients are compared, each runs a block of at least "
        f"{BLOCK:,} calls in a round, in an order that rotates. A ratio compares two blocks of the "
        "same round. CPU time is that of the client's process, including system time. The server "
        "runs in a separate process. Replies are uncompressed. By default asyncio receives into "
        "buffers of 256 KiB, which costs an mmap per reply in some processes. The SDK uses buffers "
        f"of {RECEIVE_BYTES // 1024} KiB. For single calls the other clients are written as people "
        "write them, and one of them has the smaller buffers, too. In all other comparisons all "
        "clients have them."
    )
    yield f"![CPU of a call, list pages a second, walks with prefetch]({PICTURE.name})"
    yield as_markdown(goals_table(figures))
    for table in tables:
        yield as_markdown(table)


def _draw(figures: Mapping[str, Figure], calls: Results) -> None:
    picture = Picture(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(picture)
    bars, sweep, walk = picture.subplots(1, 3)

    clients = [client for client in CLIENTS if client not in (NaiveAgain, SmallBuffers)]
    height = 0.8 / len(clients)
    colours = (_OURS, *_OTHERS)
    for index, (client, colour) in enumerate(zip(clients, colours, strict=True)):
        values = [calls.cpu(client.__name__, (each, 16, "plain")).value for each in OPERATIONS]
        at = [row + index * height for row in range(len(OPERATIONS))]
        drawn = bars.barh(at, values, height=height * 0.9, color=colour, label=client.name)
        bars.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7)
    bars.set_yticks([row + 0.4 - height / 2 for row in range(len(OPERATIONS))], OPERATIONS)
    bars.invert_yaxis()
    bars.set_xscale("log")
    bars.margins(x=0.15)
    bars.set_title("CPU µs of a call, 16 in flight, plain", fontsize=10)
    bars.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))

    for client, colour in ((Sdk, _OURS), (Naive, _OTHERS[0])):
        rates = [1e6 / calls.wall(client.__name__, ("list", each, "plain")).value for each in SWEEP]
        sweep.plot(SWEEP, rates, marker="o", color=colour, label=client.name)
    sweep.set_xscale("log", base=2)
    sweep.set_xticks(SWEEP, [str(each) for each in SWEEP])
    sweep.set_ylim(bottom=0)
    sweep.set_xlabel("in flight", fontsize=8)
    sweep.set_title("list pages of 100 a second", fontsize=10)
    sweep.legend(fontsize=8, loc="lower right")

    prefetches = [each for each in PREFETCH if f"walk.{each}" in figures]
    ideal = [each + 1 for each in prefetches]
    walk.plot(prefetches, ideal, linestyle=":", color=_OTHERS[1], label="pages in flight")
    faster = [figures[f"walk.{each}"].value for each in prefetches]
    walk.plot(prefetches, faster, marker="o", color=_OURS, label="measured")
    walk.set_xlabel("prefetch", fontsize=8)
    walk.set_title("a walk of 200 pages of 20 ms: times as fast", fontsize=10)
    walk.legend(fontsize=8, loc="upper left")

    for axes in (bars, sweep, walk):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(PICTURE, dpi=90, metadata={"Software": None})
