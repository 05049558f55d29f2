"""Decoding: the tolerant decoder on correct replies, beside msgspec's alone."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from portsip_async.classic.models import Extension, ExtensionPage, ExtensionStatuses
from portsip_async.core.decode import Decoder

from .harness import Figure, Table, answer, fresh, geometric_mean
from .server import extension, list_page, statuses

ROUNDS, QUICK_ROUNDS = 41, 15
BLOCK_SECONDS = 0.004

REPLIES: dict[str, tuple[type[Any], bytes]] = {
    "list page of 100": (ExtensionPage, list_page(1, 100, 100_000)),
    "show": (Extension, extension()),
    "status of 100": (
        ExtensionStatuses,
        statuses([f"{number:06}" for number in range(100)]),
    ),
}


def _seconds(decode: Callable[[bytes], object], body: bytes, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        decode(body)
    return (time.process_time() - start) / count


async def work(task: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Be the process that decodes, in blocks that take turns."""
    rows: dict[str, list[list[float]]] = {}
    for name, (kind, body) in REPLIES.items():
        ours, bare = Decoder(kind).decode, msgspec.json.Decoder(kind).decode
        count = max(1, int(BLOCK_SECONDS / _seconds(bare, body, 200)))
        rows[name] = []
        for number in range(task["rounds"]):
            first, second = (ours, bare) if number % 2 else (bare, ours)
            pair = [_seconds(first, body, count), _seconds(second, body, count)]
            rows[name].append(pair if number % 2 else pair[::-1])
    return rows


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Run it, and answer a figure and a table."""
    progress("decode")
    found = fresh("bench_decode", {"rounds": QUICK_ROUNDS if quick else ROUNDS})
    ratios = {name: Figure.of(ours / bare for ours, bare in pairs) for name, pairs in found.items()}
    means = Figure(
        geometric_mean(ratio.value for ratio in ratios.values()),
        geometric_mean(ratio.low for ratio in ratios.values()),
        geometric_mean(ratio.high for ratio in ratios.values()),
    )
    rows = [
        [
            name,
            f"{len(REPLIES[name][1]):,}",
            Figure.of(ours * 1e6 for ours, _ in pairs).shown(2),
            Figure.of(bare * 1e6 for _, bare in pairs).shown(2),
            ratios[name].shown(3),
        ]
        for name, pairs in found.items()
    ]
    head = ["reply", "bytes", "portsip_async, µs", "msgspec, µs", "ratio"]
    return {"decode": means}, [Table("Decoding", head, rows)]


if __name__ == "__main__":
    answer(work)
