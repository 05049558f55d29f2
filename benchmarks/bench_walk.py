"""Walks: what prefetching gains, what a million items cost in memory, what one item costs.

The item alone is timed from the first to the last of one long page, so that nothing but the
generator that yields it is measured.
"""

import gc
import os
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from pathlib import Path
from typing import Any

from portsip_async import PortSIPClient
from portsip_async.classic.models import ExtensionSummary
from portsip_async.core.page_sequence import Page
from portsip_async.core.pages import Paginator

from .clients import PASSWORD, USERNAME
from .harness import Figure, Server, Table, answer, fresh, rotated, settle_receiving

PAGES, PAGE_SIZE = 200, 100
DELAY = 0.02  # seconds
AHEAD = (0, 1, 3, 4, 7, 8, 15, 16)
ROUNDS, QUICK_ROUNDS = 7, 1
QUICK_AHEAD = (0, 3, 7, 15)

MILLION, QUICK_MILLION = 1_000_000, 200_000
MEMORY_ROUNDS, QUICK_MEMORY_ROUNDS = 3, 1
SAMPLES = 200  # readings of memory a walk

PAGE_ITEMS = 100_000
ITEM_ROUNDS, QUICK_ITEM_ROUNDS = 21, 7

_MIB = 1024 * 1024


def _client(url: str) -> PortSIPClient:
    return PortSIPClient(url, username=USERNAME, password=PASSWORD)


async def _prefetch(task: dict[str, Any]) -> dict[str, list[float]]:
    settle_receiving()
    rows: dict[str, list[float]] = {}
    async with _client(task["url"]) as client:
        await client.extensions.list(page_size=PAGE_SIZE, max_pages=40, prefetch=16).collect()
        for ahead in rotated(task["ahead"], task["round"]):
            items = 0
            wall, cpu = time.perf_counter(), time.process_time()
            async for _ in client.extensions.list(page_size=PAGE_SIZE, prefetch=ahead):
                items += 1
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            if items != PAGES * PAGE_SIZE:
                raise RuntimeError(f"a walk brought {items} items")
            rows[str(ahead)] = [wall, cpu]
    return rows


def _resident() -> float:
    """Read the memory that this process holds, in MiB."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


async def _memory(task: dict[str, Any]) -> dict[str, float]:
    count, size = task["items"], task["size"]
    step = count // SAMPLES
    readings: list[float] = []
    async with _client(task["url"]) as client:
        await client.extensions.list(page_size=size)
        gc.collect()
        start = _resident()
        items = 0
        async for _ in client.extensions.list(page_size=size):
            items += 1
            if items % step == 0:
                readings.append(_resident())
    if items != count:
        raise RuntimeError(f"a walk brought {items} items")
    tenth = SAMPLES // 10
    return {
        "start": start,
        "more": max(readings) - start,
        "later": statistics.mean(readings[-tenth:]) - statistics.mean(readings[tenth : 2 * tenth]),
    }


async def _bare(items: Sequence[Any]) -> AsyncGenerator[Any, None]:
    for item in items:
        yield item


async def _inner_seconds(walk: AsyncIterable[Any]) -> float:
    """Time a loop from its first item to its last, in CPU seconds an item."""
    count = 0
    start = 0.0
    async for _ in walk:
        if not count:
            start = time.process_time()
        count += 1
        if count == PAGE_ITEMS:
            return (time.process_time() - start) / count
    raise RuntimeError("a page was too short")


async def _item(task: dict[str, Any]) -> list[list[float]]:
    page = Page(
        items=tuple(ExtensionSummary(f"{number:06}") for number in range(PAGE_ITEMS)),
        page_count=1,
    )

    async def fetch(_: int) -> Page[Any]:
        return page

    def unused(*_: Any) -> Any:
        raise NotImplementedError

    rows = []
    for number in range(task["rounds"] + 1):
        ours, bare = 0.0, 0.0
        for first in (number % 2, 1 - number % 2):
            if first:
                walk = Paginator(
                    fetch, key="extension_number", prefetch=0, start=unused, check=lambda: None
                )
                ours = await _inner_seconds(walk)
            else:
                bare = await _inner_seconds(_bare(page.items))
        rows.append([ours, bare])
    return rows[1:]


async def work(task: dict[str, Any]) -> Any:
    """Be a round of one of the three."""
    return await {"prefetch": _prefetch, "memory": _memory, "item": _item}[task["part"]](task)


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Run the rounds of all three, and answer figures and tables."""
    figures: dict[str, Figure] = {}
    tables = [
        _measure_prefetch(figures, quick, progress),
        _measure_memory(figures, quick, progress),
        _measure_item(figures, quick, progress),
    ]
    return figures, tables


def _measure_prefetch(figures: dict[str, Figure], quick: bool, progress: Any) -> Table:
    ahead = QUICK_AHEAD if quick else AHEAD
    rounds = []
    with Server(delay=DELAY, items=PAGES * PAGE_SIZE) as server:
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"walk: round {number + 1} of {count}")
            task = {"part": "prefetch", "round": number, "ahead": ahead}
            rounds.append(fresh("bench_walk", {**task, "url": server.urls["plain"]}))
    rows = []
    for each in map(str, ahead):
        faster = Figure.of(found["0"][0] / found[each][0] for found in rounds)
        figures[f"walk.{each}"] = faster
        wall = Figure.of(found[each][0] for found in rounds)
        cpu = Figure.of(found[each][1] / PAGES * 1e6 for found in rounds)
        rows.append([each, wall.shown(2, " s"), faster.shown(2), cpu.shown(0, " µs")])
    return Table(
        "A walk over 200 pages of 100",
        ["pages ahead", "wall", "times as fast", "CPU a page"],
        rows,
        f"Each page takes the server {DELAY * 1000:.0f} ms.",
    )


def _measure_memory(figures: dict[str, Figure], quick: bool, progress: Any) -> Table:
    count = QUICK_MILLION if quick else MILLION
    rows, later = [], []
    with Server(items=count) as server:
        for size in (100, 1_000):
            rounds = []
            for _ in range(QUICK_MEMORY_ROUNDS if quick else MEMORY_ROUNDS):
                progress(f"memory: {count:,} items, pages of {size:,}")
                task = {"part": "memory", "items": count, "size": size}
                rounds.append(fresh("bench_walk", {**task, "url": server.urls["plain"]}))
            more = Figure.of(each["more"] for each in rounds)
            flat = Figure.of(each["later"] for each in rounds)
            start = Figure.of(each["start"] for each in rounds)
            figures[f"memory.{size}"] = more
            later.append(flat)
            rows.append([f"{size:,}", start.shown(1), more.shown(2), flat.shown(2)])
    figures["memory.flat"] = max(later, key=lambda figure: figure.value)
    return Table(
        f"Memory while {count:,} items are walked, in MiB",
        ["page of", "at the first page", "most above it", "the last tenth above the second"],
        rows,
        f"Resident memory, read {SAMPLES} times a walk.",
    )


def _measure_item(figures: dict[str, Figure], quick: bool, progress: Any) -> Table:
    progress("walk: one item")
    rounds = QUICK_ITEM_ROUNDS if quick else ITEM_ROUNDS
    found = fresh("bench_walk", {"part": "item", "rounds": rounds})
    figures["walk.item"] = Figure.of(ours / bare for ours, bare in found)
    return Table(
        "An item of a walk",
        ["", "ns"],
        [
            ["a walk", Figure.of(ours * 1e9 for ours, _ in found).shown(1)],
            ["a bare async generator", Figure.of(bare * 1e9 for _, bare in found).shown(1)],
        ],
        "Within a page, the loop's own step counted in.",
    )


if __name__ == "__main__":
    answer(work)
