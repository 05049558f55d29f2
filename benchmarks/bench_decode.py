"""Decoding: the tolerant decoder compared with a bare msgspec Decoder, on documented replies."""

import time
from collections.abc import Callable
from typing import Any

import msgspec

from portsip_async.classic.extension_models import Extension, ExtensionPage, ExtensionStatuses
from portsip_async.core.decode import Decoder

from .harness import Figure, Findings, Progress, Table, geometric_mean, main, run_in_process
from .server import extension, list_page, statuses

ROUNDS, QUICK_ROUNDS = 41, 15
BLOCK_SECONDS = 0.01

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


async def run(task: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Decode in blocks that alternate, and return the seconds of each pair of blocks."""
    pairs: dict[str, list[list[float]]] = {}
    for name, (kind, body) in REPLIES.items():
        ours, bare = Decoder(kind).decode, msgspec.json.Decoder(kind).decode
        count = max(1, int(BLOCK_SECONDS / _seconds(bare, body, 200)))
        pairs[name] = []
        for number in range(task["rounds"]):
            first, second = (ours, bare) if number % 2 else (bare, ours)
            pair = [_seconds(first, body, count), _seconds(second, body, count)]
            pairs[name].append(pair if number % 2 else pair[::-1])
    return pairs


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Measure in one fresh process, and return a figure and a table."""
    progress("decode")
    pairs_of = run_in_process("bench_decode", {"rounds": QUICK_ROUNDS if quick else ROUNDS})
    ratios = {
        name: Figure.of(ours / bare for ours, bare in pairs) for name, pairs in pairs_of.items()
    }
    mean = Figure(
        geometric_mean(ratio.value for ratio in ratios.values()),
        geometric_mean(ratio.low for ratio in ratios.values()),
        geometric_mean(ratio.high for ratio in ratios.values()),
    )
    rows = [
        [
            name,
            f"{len(REPLIES[name][1]):,}",
            Figure.of(ours * 1e6 for ours, _ in pairs).text(2),
            Figure.of(bare * 1e6 for _, bare in pairs).text(2),
            ratios[name].text(3),
        ]
        for name, pairs in pairs_of.items()
    ]
    head = ["reply", "bytes", "portsip_async, µs", "msgspec, µs", "ratio"]
    return {"decode": mean}, [Table("Decoding", head, rows)]


if __name__ == "__main__":
    main(run)
