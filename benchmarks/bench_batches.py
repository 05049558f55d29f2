"""Learned sizes: the cost of 100,000 numbers or rows, with 100 per request and with None.

With `batch_size=None` a poll learns the largest batch that the PBX takes. With `page_size=None` a
walk requests large pages and accepts smaller ones. The server has a maximum that the client doesn't
know: it refuses larger batches with status 400 or 413, and sends shorter pages than requested. Each
measurement uses a fresh process with a new client, so it includes the cost of learning.
"""

import time
from collections import Counter
from typing import Any

from .clients import Sdk
from .harness import (
    Figure,
    Findings,
    Progress,
    Server,
    Table,
    limit_receive_buffers,
    main,
    run_in_process,
)

COUNT = 100_000  # numbers, or rows
DELAY = 0.005  # seconds
CONCURRENCY = 16
LARGEST_BATCH = 700  # numbers
LARGEST_PAGE = 200  # rows
ROUNDS, QUICK_ROUNDS = 3, 1

# A label, the work, the batch or page size, and the server.
_CASES: tuple[tuple[str, str, int | None, str], ...] = (
    ("poll, batch_size=100", "poll", 100, "refuses with 400"),
    ("poll, batch_size=None, larger batches refused with 400", "poll", None, "refuses with 400"),
    ("poll, batch_size=None, larger batches refused with 413", "poll", None, "refuses with 413"),
    ("walk, page_size=100", "walk", 100, "refuses with 400"),
    ("walk, page_size=None", "walk", None, "refuses with 400"),
    (f"walk, page_size=None, pages of {LARGEST_PAGE} at most", "walk", None, "refuses with 413"),
)


async def _poll(client: Sdk, size: int | None) -> Counter[str]:
    numbers = [f"{number:06}" for number in range(COUNT)]
    poll = client.client.extensions.poll_status(numbers, batch_size=size, concurrency=CONCURRENCY)
    return Counter([result.extension_number async for result in poll if result.status is not None])


async def _walk(client: Sdk, size: int | None) -> Counter[str]:
    walk = client.client.extensions.list(page_size=size)
    return Counter([extension.extension_number async for extension in walk])


async def run(task: dict[str, Any]) -> tuple[float, float]:
    """Poll or walk once, and return the wall and CPU seconds."""
    limit_receive_buffers()
    read = _poll if task["what"] == "poll" else _walk
    async with Sdk(task["url"]) as client:
        wall, cpu = time.perf_counter(), time.process_time()
        found = await read(client, task["size"])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if len(found) != COUNT or found.total() != COUNT:
        raise RuntimeError(f"expected {COUNT} numbers once each, got {found.total()}")
    return wall, cpu


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds, and return a table."""
    # Wall seconds, CPU seconds and requests of each round, by label.
    found: dict[str, list[tuple[float, float, float]]] = {label: [] for label, *_ in _CASES}
    with (
        Server(delay=DELAY, largest_batch=LARGEST_BATCH, refusal=400) as bad_request,
        Server(
            delay=DELAY, largest_batch=LARGEST_BATCH, refusal=413, largest_page=LARGEST_PAGE
        ) as too_large,
    ):
        servers = {"refuses with 400": bad_request, "refuses with 413": too_large}
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"batches: round {number + 1} of {count}")
            for label, what, size, server_name in _CASES:
                server = servers[server_name]
                before = _requests(server)
                task = {"what": what, "size": size, "url": server.urls["plain"]}
                wall, cpu = run_in_process("bench_batches", task)
                found[label].append((wall, cpu, _requests(server) - before))
    rows = []
    for label, rounds in found.items():
        walls, cpus, requests = (Figure.of(each) for each in zip(*rounds, strict=True))
        rows.append([label, f"{requests.value:,.0f}", walls.text(3, " s"), cpus.text(3, " s")])
    table = Table(
        "100,000 numbers polled and 100,000 rows walked, with fixed and learned sizes",
        ["", "requests", "wall", "CPU"],
        rows,
        f"The server takes {DELAY * 1000:.0f} ms for each request, whatever its size. It accepts "
        f"at most {LARGEST_BATCH} numbers per batch, which the client has to find out. Polls have "
        f"{CONCURRENCY} requests in flight. Walks fetch one page ahead.",
    )
    return {}, [table]


def _requests(server: Server) -> float:
    """Return the requests so far, without logins."""
    counts = server.counts()
    return counts["requests"] - counts["logins"]


if __name__ == "__main__":
    main(run)
