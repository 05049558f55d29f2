"""Where the CPU time of a call goes: samples of the running function, by library.

A timer on the process's CPU time interrupts it a few hundred times a second and records the running
function. Time in C code counts towards the Python function that called it.
"""

import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from .bench_calls import OPERATIONS, run_block
from .clients import Client, Naive, Raw, Sdk
from .harness import (
    Findings,
    Progress,
    Server,
    Table,
    limit_receive_buffers,
    main,
    run_in_process,
)

SECONDS, QUICK_SECONDS = 3.0, 0.8  # of CPU, for each client
CONCURRENCY = 16
BLOCK, QUICK_BLOCK = 1_024, 128  # calls
TICK = 0.001  # seconds; the kernel rounds it up

_CLASSES: dict[str, type[Client]] = {"Sdk": Sdk, "Naive": Naive, "Raw": Raw}

# Labels by a part of a file's path. The first part that occurs in the path decides.
_LABELS = {
    "core/decode.py": "decoding",
    "models.py": "decoding",
    "selector_events.py": "sockets",
    "selectors.py": "sockets",
    "sslproto.py": "sockets",
    "site-packages/aiohttp": "aiohttp",
    "site-packages/yarl": "aiohttp: URLs and headers",
    "site-packages/multidict": "aiohttp: URLs and headers",
    "asyncio/": "asyncio",
    "portsip_async/core/connections.py": "portsip_async: connections",
    "portsip_async/core/transport.py": "portsip_async: transport",
    "portsip_async/core/call.py": "portsip_async: call",
    "portsip_async/core/": "portsip_async: the rest of the core",
    "portsip_async/": "portsip_async: resources",
    "clients.py": "the client's own code, and its decoding",
    "benchmarks/": "the benchmark",
}


def _label(path: str) -> str:
    return next((label for part, label in _LABELS.items() if part in path), "others")


async def run(task: dict[str, Any]) -> dict[str, float]:
    """Run one client, and return the CPU microseconds of a call by label."""
    limit_receive_buffers()
    samples: Counter[str] = Counter()

    def take_sample(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            samples[frame.f_code.co_filename] += 1

    signal.signal(signal.SIGPROF, take_sample)
    calls, block = 0, task["block"]
    async with _CLASSES[task["client"]](task["url"]) as client:
        # Connect outside of the measurement.
        for operation in OPERATIONS:
            await run_block(client, operation, CONCURRENCY, CONCURRENCY)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        start = time.process_time()
        while time.process_time() - start < task["seconds"]:
            for operation in OPERATIONS:
                await run_block(client, operation, CONCURRENCY, block)
                calls += block
        seconds = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
    by_label: Counter[str] = Counter()
    for path, count in samples.items():
        by_label[_label(Path(path).as_posix())] += count
    each = seconds / samples.total() / calls * 1e6
    return {label: count * each for label, count in by_label.items()}


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Sample each client, and return a table."""
    found: dict[str, dict[str, float]] = {}
    with Server() as server:
        for name in _CLASSES:
            progress(f"profile: {_CLASSES[name].name}")
            task = {
                "client": name,
                "url": server.urls["plain"],
                "seconds": QUICK_SECONDS if quick else SECONDS,
                "block": QUICK_BLOCK if quick else BLOCK,
            }
            found[name] = run_in_process("bench_profile", task)
    rows = [
        [label, *(f"{found[name].get(label, 0.0):.1f}" for name in _CLASSES)]
        for label in [*dict.fromkeys(_LABELS.values()), "others"]
        if any(label in parts for parts in found.values())
    ]
    rows.append(["total", *(f"{sum(found[name].values()):.1f}" for name in _CLASSES)])
    return {}, [
        Table(
            "Where the CPU time of a call goes, in µs",
            ["", *(client.name for client in _CLASSES.values())],
            rows,
            f"Mean of list page, show and status, {CONCURRENCY} in flight, plain; by samples.",
        )
    ]


if __name__ == "__main__":
    main(run)
