"""A poll of 100,000 numbers: wall time beside the ideal, CPU beside what one writes by hand.

The ideal is as many of the server's delays as there are requests, shared by the places: a network
and a client that cost nothing.
"""

import asyncio
import time
from typing import Any

from portsip_async.core.tokens import TokenCache

from .clients import Contestant, Naive, Sdk
from .harness import Figure, Server, Table, answer, fresh, rotated, settle_receiving

NUMBERS = 100_000
BATCH_SIZE = 100
CONCURRENCY = 16
DELAY = 0.02  # seconds
TOKEN_LIFE = 1.0  # seconds
ROUNDS, QUICK_ROUNDS = 7, 1

IDEAL = NUMBERS / BATCH_SIZE * DELAY / CONCURRENCY


async def _poll(who: Sdk, numbers: list[str]) -> int:
    known = 0
    poll = who.client.extensions.poll_status(
        numbers, batch_size=BATCH_SIZE, concurrency=CONCURRENCY
    )
    async for result in poll:
        known += result.status is not None
    return known


async def _gather(who: Naive, numbers: list[str]) -> int:
    semaphore = asyncio.Semaphore(CONCURRENCY)

    async def ask(batch: list[str]) -> Any:
        async with semaphore:
            return await who.status(batch)

    replies = await asyncio.gather(
        *(ask(numbers[start : start + BATCH_SIZE]) for start in range(0, len(numbers), BATCH_SIZE))
    )
    found = {status.extension_number: status for reply in replies for status in reply}
    known = 0
    for number in numbers:
        known += found.get(number) is not None
    return known


async def work(task: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Be a round: each contestant polls once."""
    settle_receiving()
    numbers = [f"{number:06}" for number in range(NUMBERS)]
    waits = 0
    wait = TokenCache.wait

    async def counted(cache: TokenCache) -> Any:
        nonlocal waits
        waits += 1
        return await wait(cache)

    TokenCache.wait = counted  # type: ignore[method-assign]
    rows: dict[str, dict[str, float]] = {}
    turns: list[tuple[str, type[Contestant], Any, str]] = [
        ("fixed", Sdk, _poll, task["fixed"]),
        ("gather", Naive, _gather, task["fixed"]),
        ("short", Sdk, _poll, task["short"]),
    ]
    for name, kind, poll, url in rotated(turns, task["round"]):
        async with kind(url) as who:
            await poll(who, numbers[: BATCH_SIZE * CONCURRENCY])
            waits = 0
            wall, cpu = time.perf_counter(), time.process_time()
            known = await poll(who, numbers)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if known != NUMBERS:
            raise RuntimeError(f"{name} lost {NUMBERS - known} numbers")
        rows[name] = {"wall": wall, "cpu": cpu, "waits": waits}
    return rows


def measure(*, quick: bool, progress: Any) -> tuple[dict[str, Figure], list[Table]]:
    """Run the rounds, and answer figures and a table."""
    rounds = []
    with Server(delay=DELAY) as fixed, Server(delay=DELAY, token_life=TOKEN_LIFE) as short:
        urls = {"fixed": fixed.urls["plain"], "short": short.urls["plain"]}
        count = QUICK_ROUNDS if quick else ROUNDS
        for number in range(count):
            progress(f"poll: round {number + 1} of {count}")
            rounds.append(fresh("bench_poll", {"round": number, **urls}))
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
    for name, told in (
        ("fixed", "portsip_async, poll_status"),
        ("gather", "aiohttp + msgspec, gather + semaphore"),
        ("short", "portsip_async, tokens of 1 second"),
    ):
        wall = Figure.of(each[name]["wall"] for each in rounds)
        cpu = Figure.of(each[name]["cpu"] for each in rounds)
        rows.append([told, wall.shown(3, " s"), f"{wall.value / IDEAL:.3f}", cpu.shown(3, " s")])
    table = Table(
        "A poll of 100,000 numbers",
        ["who", "wall", "wall / ideal", "CPU"],
        rows,
        f"1,000 requests of {DELAY * 1000:.0f} ms, {CONCURRENCY} in flight: ideally {IDEAL:.2f} s. "
        f"With tokens of 1 second there were {counts['logins']:.0f} logins and renewals in "
        f"{counts['requests']:.0f} requests, and {counts.get('refused', 0):.0f} tokens refused.",
    )
    return figures, [table]


if __name__ == "__main__":
    answer(work)
