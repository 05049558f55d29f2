"""What a run writes: tables on the terminal, RESULTS.md, and a picture."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from portsip_async import __version__

from .bench_calls import SWEEP, WORKS, Rounds
from .bench_walk import AHEAD
from .clients import CONTESTANTS, Naive, NaiveAgain, Sdk
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
    """Describe the machine, without its name."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"


def versions() -> str:
    """List the versions of what was compared."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join(
        [python, f"portsip_async {__version__}", *(f"{name} {version(name)}" for name in LIBRARIES)]
    )


def goals_table(figures: Mapping[str, Figure]) -> Table:
    """Put goals and measured figures side by side."""
    rows = []
    for goal in GOALS:
        figure = figures.get(goal.key)
        if figure is None:
            continue
        limit = f"{goal.bound} {goal.limit:.{min(goal.digits, 2)}f}"
        met = "met" if goal.met(figure) else "missed"
        rows.append([goal.work, goal.beside, limit, figure.shown(goal.digits), met])
    noise = figures["calls.noise"].shown(3)
    ahead = figures["server"].shown(1)
    return Table(
        "Goals",
        ["work", "beside", "goal", "measured", ""],
        rows,
        f"The hand-made client beside itself, which is the noise: {noise}. "
        f"The server serves at least {ahead} times what the fastest client asks.",
    )


def as_text(table: Table) -> str:
    """Lay a table out for a terminal."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    shown = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([table.title, "", *shown, *([table.note] if table.note else [])])


def as_markdown(table: Table) -> str:
    """Lay a table out in Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    shown = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([f"## {table.title}", "", *shown, *(["", table.note] if table.note else [])])


def write(figures: Mapping[str, Figure], tables: Sequence[Table], rounds: Rounds) -> None:
    """Write RESULTS.md and the picture."""
    _draw(figures, rounds)
    RESULTS.write_text("\n\n".join(_document(figures, tables)) + "\n")


def _document(figures: Mapping[str, Figure], tables: Sequence[Table]) -> Iterator[str]:
    yield "# What it costs"
    yield "Written by `make bench`; nothing here was typed by hand."
    yield f"- Machine: {machine()}\n- Versions: {versions()}"
    yield (
        "Each figure is a median over rounds, with its quartiles in brackets. A round is a fresh "
        "process; where contestants are compared they take turns in short blocks within it, and "
        "ratios are of blocks that stand side by side. CPU is that of the client's process, "
        "system time included. The server is a process of its own. Where contestants are "
        "compared, asyncio's plain connections receive into buffers of "
        f"{RECEIVE_BYTES // 1024} KiB for all of them (`transport.max_size`; its own 256 KiB cost "
        "some process starts an mmap a reply), and replies are uncompressed."
    )
    yield f"![CPU a call, list pages a second, walks with prefetch]({PICTURE.name})"
    yield as_markdown(goals_table(figures))
    for table in tables:
        yield as_markdown(table)


def _draw(figures: Mapping[str, Figure], rounds: Rounds) -> None:
    picture = Picture(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(picture)
    calls, sweep, walk = picture.subplots(1, 3)

    kinds = [kind for kind in CONTESTANTS if kind is not NaiveAgain]
    height = 0.8 / len(kinds)
    colours = (_OURS, *_OTHERS)
    for place, (kind, colour) in enumerate(zip(kinds, colours, strict=True)):
        values = [rounds.cpu(kind.__name__, (what, 16, "plain")).value for what in WORKS]
        at = [row + place * height for row in range(len(WORKS))]
        bars = calls.barh(at, values, height=height * 0.9, color=colour, label=kind.name)
        calls.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    calls.set_yticks([row + 0.4 - height / 2 for row in range(len(WORKS))], WORKS)
    calls.invert_yaxis()
    calls.set_xscale("log")
    calls.margins(x=0.15)
    calls.set_title("CPU µs a call, 16 in flight, plain", fontsize=10)
    calls.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))

    for kind, colour in ((Sdk, _OURS), (Naive, _OTHERS[0])):
        rates = [1e6 / rounds.wall(kind.__name__, ("list", each, "plain")).value for each in SWEEP]
        sweep.plot(SWEEP, rates, marker="o", color=colour, label=kind.name)
    sweep.set_xscale("log", base=2)
    sweep.set_xticks(SWEEP, [str(each) for each in SWEEP])
    sweep.set_ylim(bottom=0)
    sweep.set_xlabel("in flight", fontsize=8)
    sweep.set_title("list pages of 100 a second", fontsize=10)
    sweep.legend(fontsize=8, loc="lower right")

    ahead = [each for each in AHEAD if f"walk.{each}" in figures]
    ideal = [each + 1 for each in ahead]
    walk.plot(ahead, ideal, linestyle=":", color=_OTHERS[1], label="as many at once")
    faster = [figures[f"walk.{each}"].value for each in ahead]
    walk.plot(ahead, faster, marker="o", color=_OURS, label="measured")
    walk.set_xlabel("pages ahead", fontsize=8)
    walk.set_title("a walk of 200 pages of 20 ms: times as fast", fontsize=10)
    walk.legend(fontsize=8, loc="upper left")

    for axes in (calls, sweep, walk):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(PICTURE, dpi=90, metadata={"Software": None})
