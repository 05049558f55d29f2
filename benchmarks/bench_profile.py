"""Where a call's time goes: samples of the CPU time, by the library that was running.

A timer of the process's CPU time looks at the running function some hundred times a second, which
costs nothing between the looks; what C code does counts for the function that called it.
"""

import signal
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from .bench_calls import WORKS, block
from .clients import Contestant, Naive, Raw, Sdk
from .harness import Figure, Server, Table, answer, fresh, settle_receiving

SECONDS, QUICK_SECONDS = 3.0, 0.8  # of CPU, for each contestant
WIDTH = 16
BLOCK = 128
TICK = 0.001  # seconds; what the kernel makes of it is longer

_KINDS: dict[str, type[Contestant]] = {"Sdk": Sdk, "Naive": Naive, "Raw": Raw}

# The first part of a file's path that is found here says whose it is.
_OWNERS = {
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
    "portsip_async/core/wire.py": "portsip_async: wire",
    "portsip_async/core/": "portsip_async: the rest of the core",
    "portsip_async/": "portsip_async: resources",
    "clients.py": "the contestant's own code, and its decoding",
    "benchmarks/": "the benchmark",
}


def _owner(path: str) -> str:
    return next((owner for part, owner in _OWNERS.items() if part in path), "others")


async def work(task: dict[str, Any]) -> dict[str, float]:
    """Be a contestant under watch: answer CPU microseconds a call, by owner."""
    settle_receiving()
    seen: Counter[str] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            seen[frame.f_code.co_filename] += 1

    signal.signal(signal.SIGPROF, look)
    calls = 0
    async with _KINDS[task["who"]](task["url"]) as who:
        for what in WORKS:
            await block(who, what, WIDTH, BLOCK)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        start = time.process_time()
        while time.process_time() - start < task["seconds"]:
            for what in WORKS:
                await block(who, what, WIDTH, BLOCK)
                calls += BLOCK
        spent = time.process_time() - start
        signal.setitimer(signal.ITIMER_PROF, 0)
    owners: Counter[str] = Counter()
    for path, count in seen.items():
        owners[_owner(Path(path).as_posix())] += count
    return {owner: count / seen.total() * spent / calls * 1e6 for owner, count in owners.items()}


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Watch each, and answer a table."""
    found: dict[str, dict[str, float]] = {}
    with Server() as server:
        for name in _KINDS:
            progress(f"profile: {_KINDS[name].name}")
            seconds = QUICK_SECONDS if quick else SECONDS
            task = {"who": name, "url": server.urls["plain"], "seconds": seconds}
            found[name] = fresh("bench_profile", task)
    owners = [*dict.fromkeys(_OWNERS.values()), "others"]
    rows = [
        [owner, *(f"{found[name].get(owner, 0.0):.1f}" for name in _KINDS)]
        for owner in owners
        if any(owner in parts for parts in found.values())
    ]
    rows.append(["in all", *(f"{sum(found[name].values()):.1f}" for name in _KINDS)])
    return {}, [
        Table(
            "Where the CPU time of a call goes, in µs",
            ["", *(kind.name for kind in _KINDS.values())],
            rows,
            f"Mean of a list page, show and status, {WIDTH} in flight, plain; by samples.",
        )
    ]


if __name__ == "__main__":
    answer(work)
