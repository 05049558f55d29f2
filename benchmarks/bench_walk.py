"""Walks: what prefetch gains, the memory of a million items, and the cost of one item.

The cost of an item is measured from the first to the last item of one long page, so it includes
only the generator.
"""

import gc
import os
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from pathlib import Path
from typing import Any

from portsip_async import PortSIPClient
from portsip_async.classic.extension_models import ExtensionSummary
from portsip_async.core.page_sequence import Page
from portsip_async.core.pages import Paginator

from .clients import PASSWORD, USERNAME
from .harness import (
    Figure,
    Findings,
    Progress,
    Server,
    Table,
    limit_receive_buffers,
    main,
    rotated,
    run_in_process,
)

PAGES, PAGE_SIZE = 200, 100
DELAY = 0.02  # seconds
PREFETCH = (0, 1, 3, 4, 7, 8, 15, 16)
ROUNDS, QUICK_ROUNDS = 7, 1
QUICK_PREFETCH = (0, 3, 7, 15)

MILLION, QUICK_MILLION = 1_000_000, 200_000
MEMORY_ROUNDS, QUICK_MEMORY_ROUNDS = 3, 1
SAMPLES = 200  # of the memory, in a walk

PAGE_ITEMS = 100_000
ITEM_ROUNDS, QUICK_ITEM_ROUNDS = 21, 7

_MIB = 1024 * 1024


def _client(url: str) -> PortSIPClient:
    return PortSIPClient(url, username=USERNAME, password=PASSWORD)


async def _run_prefetch(task: dict[str, Any]) -> dict[str, list[float]]:
    limit_receive_buffers()
    rows: dict[str, list[float]] = {}
    async with _client(task["url"]) as client:
        # Connect outside of the measurement.
        await client.extensions.list(page_size=PAGE_SIZE, max_pages=40, prefetch=16).collect()
        for prefetch in rotated(task["prefetch"], task["round"]):
            items = 0
            wall, cpu = time.perf_counter(), time.process_time()
            async for _ in client.extensions.list(page_size=PAGE_SIZE, prefetch=prefetch):
                items += 1
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if items != PAGES * PAGE_SIZE:
                raise RuntimeError(f"expected {PAGES * PAGE_SIZE} items, got {items}")
            rows[str(prefetch)] = [wall, cpu]
    return rows


def _resident() -> float:
    """Return the resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


async def _run_memory(task: dict[str, Any]) -> dict[str, float]:
    count, size = task["items"], task["size"]
    step = count // SAMPLES
    samples: list[float] = []
    async with _client(task["url"]) as client:
        await client.extensions.list(page_size=size)
        gc.collect()
        start = _resident()
        items = 0
        async for _ in client.extensions.list(page_size=size):
            items += 1
            if items % step == 0:
                samples.append(_resident())
    if items != count:
        raise RuntimeError(f"expected {count} items, got {items}")
    tenth = SAMPLES // 10
    return {
        "start": start,
        "more": max(samples) - start,
        "later": statistics.mean(samples[-tenth:]) - statistics.mean(samples[tenth : 2 * tenth]),
    }


async def _bare_generator(items: Sequence[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


async def _item_seconds(walk: AsyncIterable[Any]) -> float:
    """Iterate from the first item to the last, and return the CPU seconds of one."""
    count = 0
    start = 0.0
    async for _ in walk:
        if not count:
            start = time.process_time()
        count += 1
        if count == PAGE_ITEMS:
            return (time.process_time() - start) / count
    raise RuntimeError(f"expected {PAGE_ITEMS} items, got {count}")


class _NoTasks:
    """The owner of a walk without prefetch, which starts no tasks."""

    def start(self, coroutine: Any) -> Any:
        raise NotImplementedError

    def check_open(self) -> None:
        pass


async def _run_item(task: dict[str, Any]) -> list[list[float]]:
    page = Page(
        items=tuple(ExtensionSummary(f"{number:06}") for number in range(PAGE_ITEMS)),
        page_count=1,
    )

    async def fetch(number: int, size: int) -> Page[Any]:
        return page

    rows = []
    for number in range(task["rounds"] + 1):
        ours, bare = 0.0, 0.0
        for first in (number % 2, 1 - number % 2):
            if first:
                walk = Paginator(fetch, key="extension_number", prefetch=0, owner=_NoTasks())
                ours = await _item_seconds(walk)
            else:
                bare = await _item_seconds(_bare_generator(page.items))
        rows.append([ours, bare])
    return rows[1:]


async def run(task: dict[str, Any]) -> Any:
    """Run one round of one of the three parts."""
    parts = {"prefetch": _run_prefetch, "memory": _run_memory, "item": _run_item}
    return await parts[task["part"]](task)


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds of all three parts, and return figures and tables."""
    figures: dict[str, Figure] = {}
    tables = [
        _measure_prefetch(figures, quick, progress),
        _measure_memory(figures, quick, progress),
        _measure_item(figures, quick, progress),
    ]
    return figures, tables


def _measure_prefetch(figures: dict[str, Figure], quick: bool, progress: Progress) -> Table:
    prefetches = QUICK_PREFETCH if quick else PREFETCH
    rounds = []
    with Server(delay=DELAY, items=PAGES * PAGE_SIZE) as server:
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"walk: round {number + 1} of {count}")
            task = {"part": "prefetch", "round": number, "prefetch": prefetches}
            rounds.append(run_in_process("bench_walk", {**task, "url": server.urls["plain"]}))
    rows = []
    for each in map(str, prefetches):
        faster = Figure.of(round_["0"][0] / round_[each][0] for round_ in rounds)
        figures[f"walk.{each}"] = faster
        wall = Figure.of(round_[each][0] for round_ in rounds)
        cpu = Figure.of(round_[each][1] / PAGES * 1e6 for round_ in rounds)
        rows.append([each, wall.text(2, " s"), faster.text(2), cpu.text(0, " µs")])
    return Table(
        "A walk over 200 pages of 100",
        ["prefetch", "wall", "times as fast", "CPU of a page"],
        rows,
        f"Each page takes the server {DELAY * 1000:.0f} ms.",
    )


def _measure_memory(figures: dict[str, Figure], quick: bool, progress: Progress) -> Table:
    count = QUICK_MILLION if quick else MILLION
    rows, later = [], []
    with Server(items=count) as server:
        for size in (100, 1_000):
            rounds = []
            for _ in range(QUICK_MEMORY_ROUNDS if quick else MEMORY_ROUNDS):
                progress(f"memory: {count:,} items, pages of {size:,}")
                task = {"part": "memory", "items": count, "size": size}
                rounds.append(run_in_process("bench_walk", {**task, "url": server.urls["plain"]}))
            more = Figure.of(each["more"] for each in rounds)
            flat = Figure.of(each["later"] for each in rounds)
            start = Figure.of(each["start"] for each in rounds)
            figures[f"memory.{size}"] = more
            later.append(flat)
            rows.append([f"{size:,}", start.text(1), more.text(2), flat.text(2)])
    figures["memory.flat"] = max(later, key=lambda figure: figure.value)
    return Table(
        f"Memory of a walk over {count:,} items, in MiB",
        ["page size", "at the first page", "most above it", "last tenth above the second"],
        rows,
        f"Resident memory, {SAMPLES} samples per walk.",
    )


def _measure_item(figures: dict[str, Figure], quick: bool, progress: Progress) -> Table:
    progress("walk: one item")
    rounds = QUICK_ITEM_ROUNDS if quick else ITEM_ROUNDS
    found = run_in_process("bench_walk", {"part": "item", "rounds": rounds})
    figures["walk.item"] = Figure.of(ours / bare for ours, bare in found)
    return Table(
        "An item of a walk",
        ["", "ns"],
        [
            ["a walk", Figure.of(ours * 1e9 for ours, _ in found).text(1)],
            ["a bare async generator", Figure.of(bare * 1e9 for _, bare in found).text(1)],
        ],
        "Within a page, including the step of the loop.",
    )


if __name__ == "__main__":
    main(run)
