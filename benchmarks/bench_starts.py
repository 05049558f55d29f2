"""Fresh starts: whether a process's luck with its memory shows in its speed.

The SDK as it comes, with whatever it does about asyncio's receive buffers by itself; the hand-made
client beside it likewise, each in processes of its own. A block of calls is measured by the
decoding of the same reply right after it, so that a machine that has slowed down meanwhile, for
others' sake, does not count as a slow start.
"""

import resource
import statistics
import time
from typing import Any

import msgspec

from portsip_async.classic.models import ExtensionPage

from .bench_calls import block
from .clients import Contestant, Naive, Sdk
from .harness import Figure, Server, Table, answer, fresh
from .server import list_page

STARTS, QUICK_STARTS = 15, 5
BLOCKS, BLOCK, WIDTH = 20, 96, 16

_PAGE = list_page(1, 100, 100_000)
_decode = msgspec.json.Decoder(ExtensionPage).decode

_NOTE = (
    "Ratios are of the slowest start to the fastest; faults are pages mapped, a call. "
    "Receive buffers are left as each contestant has them."
)

_KINDS: dict[str, type[Contestant]] = {"Sdk": Sdk, "Naive": Naive}


async def work(task: dict[str, Any]) -> tuple[float, float, float]:
    """Be a start: answer CPU seconds a list page, the same by the yardstick, and page faults.

    What a process has drawn shows in all of its blocks; what others do to the machine meanwhile
    shows in some. So of each the fastest counts.
    """
    async with _KINDS[task["who"]](task["url"]) as who:
        await block(who, "list", WIDTH, 2 * WIDTH)
        times, yards, faults = [], [], []
        for _ in range(BLOCKS):
            before = _faults()
            times.append((await block(who, "list", WIDTH, BLOCK))[0])
            faults.append((_faults() - before) / BLOCK)
            yards.append(_decoding())
    return min(times), min(times) / min(yards), statistics.median(faults)


def _faults() -> int:
    """Count the pages that the kernel had to bring: mappings made and unmade show here."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _decoding() -> float:
    """Measure the yardstick: CPU seconds to decode a page."""
    start = time.process_time()
    for _ in range(BLOCK):
        _decode(_PAGE)
    return (time.process_time() - start) / BLOCK


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Start in turns, and answer a figure and a table."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _KINDS}
    with Server() as server:
        count = QUICK_STARTS if quick else STARTS
        for number in range(count):
            progress(f"starts: {number + 1} of {count}")
            for name in _KINDS:
                task = {"who": name, "url": server.urls["plain"]}
                found[name].append(fresh("bench_starts", task))
    rows = []
    for name, kind in _KINDS.items():
        times, units, faults = ([*each] for each in zip(*found[name], strict=True))
        shown = [f"{of(times) * 1e6:.0f}" for of in (min, statistics.median, max)]
        shown += [f"{max(each) / min(each):.2f}" for each in (times, units)]
        shown.append(f"{min(faults):.1f} to {max(faults):.1f}")
        rows.append([kind.name, *shown])
    ours = [units for _, units, _ in found["Sdk"]]
    figure = Figure.of([max(ours) / min(ours)])
    head = [
        "who",
        "fastest, µs",
        "median, µs",
        "slowest, µs",
        "ratio",
        "by the yardstick",
        "faults",
    ]
    title = f"{count} fresh starts: CPU a list page, plain HTTP, {WIDTH} in flight"
    return {"starts": figure}, [Table(title, head, rows, _NOTE)]


if __name__ == "__main__":
    answer(work)
