"""Fresh starts: whether the memory layout of a process affects its speed.

Each client uses asyncio's receive buffers as it normally does. Each start is a separate process.
Right after each block of calls, the process decodes the same reply as many times as the block had
calls. The ratio of the two times doesn't change if other programs slow the machine down.
"""

import resource
import statistics
import time
from typing import Any

import msgspec

from portsip_async.classic.extension_models import ExtensionPage

from .bench_calls import run_block
from .clients import Client, Naive, Sdk
from .harness import Figure, Findings, Progress, Server, Table, main, run_in_process
from .server import list_page

STARTS, QUICK_STARTS = 15, 5
BLOCKS, QUICK_BLOCKS = 6, 2
BLOCK = 1_024  # calls
CONCURRENCY = 16

_PAGE = list_page(1, 100, 100_000)
_decode = msgspec.json.Decoder(ExtensionPage).decode

_NOTE = (
    "Ratios compare the slowest start with the fastest. Faults are page faults per call. "
    "Each client uses its own setting for receive buffers."
)

_CLASSES: dict[str, type[Client]] = {"Sdk": Sdk, "Naive": Naive}


async def run(task: dict[str, Any]) -> tuple[float, float, float]:
    """Run one start.

    The layout of a process affects all of its blocks. The load of the machine affects only some. So
    the fastest block counts.

    Returns:
        The CPU seconds of a list page, these divided by the CPU seconds of decoding the page, and
        the page faults per call.
    """
    async with _CLASSES[task["client"]](task["url"]) as client:
        await run_block(client, "list", CONCURRENCY, 2 * CONCURRENCY)
        calls, decodings, faults = [], [], []
        for _ in range(task["blocks"]):
            before = _faults()
            calls.append((await run_block(client, "list", CONCURRENCY, BLOCK))[0])
            faults.append((_faults() - before) / BLOCK)
            decodings.append(_decoding_seconds())
    return min(calls), min(calls) / min(decodings), statistics.median(faults)


def _faults() -> int:
    """Return the page faults of this process; each new mapping of memory causes some."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _decoding_seconds() -> float:
    """Return the CPU seconds to decode a page."""
    start = time.process_time()
    for _ in range(BLOCK):
        _decode(_PAGE)
    return (time.process_time() - start) / BLOCK


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Start the clients in turns, and return a figure and a table."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in _CLASSES}
    with Server() as server:
        count = QUICK_STARTS if quick else STARTS
        for number in range(count):
            progress(f"starts: {number + 1} of {count}")
            for name in _CLASSES:
                task = {
                    "client": name,
                    "url": server.urls["plain"],
                    "blocks": QUICK_BLOCKS if quick else BLOCKS,
                }
                found[name].append(run_in_process("bench_starts", task))
    rows = []
    for name, client in _CLASSES.items():
        calls, ratios, faults = ([*each] for each in zip(*found[name], strict=True))
        cells = [f"{pick(calls) * 1e6:.0f}" for pick in (min, statistics.median, max)]
        cells += [f"{max(each) / min(each):.2f}" for each in (calls, ratios)]
        cells.append(f"{min(faults):.1f} to {max(faults):.1f}")
        rows.append([client.name, *cells])
    ratios = [ratio for _, ratio, _ in found["Sdk"]]
    figure = Figure.of([max(ratios) / min(ratios)])
    head = [
        "client",
        "fastest, µs",
        "median, µs",
        "slowest, µs",
        "ratio",
        "ratio, in decodings",
        "faults",
    ]
    title = f"{count} fresh starts: CPU of a list page, plain HTTP, {CONCURRENCY} in flight"
    return {"starts": figure}, [Table(title, head, rows, _NOTE)]


if __name__ == "__main__":
    main(run)
