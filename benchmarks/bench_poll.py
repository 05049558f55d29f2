"""A poll of 100,000 numbers: wall time and CPU, compared with a poll written by hand.

The ideal wall time is the sum of the server's delays, divided by the requests in flight. A network
and a client that cost nothing would reach it.
"""

import asyncio
import time
from typing import Any

from portsip_async.core.tokens import TokenCache

from .clients import Client, Naive, Sdk
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

NUMBERS = 100_000
BATCH_SIZE = 100
CONCURRENCY = 16
DELAY = 0.02  # seconds
TOKEN_LIFE = 1.0  # seconds
ROUNDS, QUICK_ROUNDS = 7, 1

IDEAL = NUMBERS / BATCH_SIZE * DELAY / CONCURRENCY


async def _poll(client: Sdk, numbers: list[str]) -> int:
    known = 0
    poll = client.client.extensions.poll_status(
        numbers, batch_size=BATCH_SIZE, concurrency=CONCURRENCY
    )
    async for result in poll:
        known += result.status is not None
    return known


async def _gather(client: Naive, numbers: list[str]) -> int:
    semaphore = asyncio.Semaphore(CONCURRENCY)

    async def read_batch(batch: list[str]) -> Any:
        async with semaphore:
            return await client.status(batch)

    replies = await asyncio.gather(
        *(
            read_batch(numbers[start : start + BATCH_SIZE])
            for start in range(0, len(numbers), BATCH_SIZE)
        )
    )
    statuses = {status.extension_number: status for reply in replies for status in reply}
    known = 0
    for number in numbers:
        known += statuses.get(number) is not None
    return known


async def run(task: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Run one round: each client polls once."""
    limit_receive_buffers()
    numbers = [f"{number:06}" for number in range(NUMBERS)]
    # Count the calls that wait for a token.
    waits = 0
    wait = TokenCache.wait

    async def counted(cache: TokenCache) -> Any:
        nonlocal waits
        waits += 1
        return await wait(cache)

    TokenCache.wait = counted  # type: ignore[method-assign]
    rows: dict[str, dict[str, float]] = {}
    turns: list[tuple[str, type[Client], Any, str]] = [
        ("fixed", Sdk, _poll, task["fixed"]),
        ("gather", Naive, _gather, task["fixed"]),
        ("short", Sdk, _poll, task["short"]),
    ]
    for name, kind, poll, url in rotated(turns, task["round"]):
        async with kind(url) as client:
            # Connect outside of the measurement.
            await poll(client, numbers[: BATCH_SIZE * CONCURRENCY])
            waits = 0
            wall, cpu = time.perf_counter(), time.process_time()
            known = await poll(client, numbers)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if known != NUMBERS:
            raise RuntimeError(f"{name} lost {NUMBERS - known} numbers")
        rows[name] = {"wall": wall, "cpu": cpu, "waits": waits}
    return rows


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds, and return figures and a table."""
    rounds = []
    with Server(delay=DELAY) as fixed, Server(delay=DELAY, token_life=TOKEN_LIFE) as short:
        urls = {"fixed": fixed.urls["plain"], "short": short.urls["plain"]}
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"poll: round {number + 1} of {count}")
            rounds.append(run_in_process("bench_poll", {"round": number, **urls}))
        counts = short.counts()
    figures = {
        "poll.ideal": Figure.of(each["fixed"]["wall"] / IDEAL for each in rounds),
        "poll.gather": Figure.of(each["fixed"]["cpu"] / each["gather"]["cpu"] for each in rounds),
        "poll.tokens.wall": Figure.of(
            each["short"]["wall"] / each["fixed"]["wall"] for each in rounds
        ),
        "poll.tokens.cpu": Figure.of(
            each["short"]["cpu"] / each["fixed"]["cpu"] for each in rounds
        ),
        "poll.waits": Figure.of(each["short"]["waits"] for each in rounds),
    }
    rows = []
    for name, label in (
        ("fixed", "portsip_async, poll_status"),
        ("gather", "aiohttp + msgspec, gather + semaphore"),
        ("short", "portsip_async, tokens of 1 second"),
    ):
        wall = Figure.of(each[name]["wall"] for each in rounds)
        cpu = Figure.of(each[name]["cpu"] for each in rounds)
        rows.append([label, wall.text(3, " s"), f"{wall.value / IDEAL:.3f}", cpu.text(3, " s")])
    table = Table(
        "A poll of 100,000 numbers",
        ["client", "wall", "wall / ideal", "CPU"],
        rows,
        f"1,000 requests of {DELAY * 1000:.0f} ms, {CONCURRENCY} in flight: ideally {IDEAL:.2f} s. "
        f"With tokens of 1 second the server saw {counts['logins']:.0f} logins and renewals in "
        f"{counts['requests']:,.0f} requests, and refused {counts['refused']:.0f} tokens.",
    )
    return figures, [table]


if __name__ == "__main__":
    main(run)
