"""The generations: CPU of a v22 show compared with a classic one, with replies of the same size.

A round is a fresh process with a client of each generation. For each number of calls in flight the
clients run short blocks in turn. A ratio compares the medians of a round's blocks. CPU time is that
of the client's process, including system time. Successive calls are for different users, as in a
poll.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from portsip_async import classic, v22

from .clients import PASSWORD, USERNAME
from .harness import (
    Figure,
    Findings,
    Progress,
    Server,
    Table,
    cpu_of_calls,
    geometric_mean,
    main,
    run_in_process,
)
from .server import user

CONCURRENCIES = (1, 16, 64)
ROUNDS, QUICK_ROUNDS = 7, 3
TURNS, QUICK_TURNS = 8, 4
BLOCK = 256  # calls
USERS = 2_000

NUMBERS = [f"{1_000 + index}" for index in range(USERS)]
IDS = [f"NzAwMDAwNjc5NTM1NTU2{number}" for number in NUMBERS]


async def run(task: dict[str, Any]) -> list[dict[str, float]]:
    """Run one round, and return the CPU seconds of a call for each number of calls in flight."""
    async with (
        classic.PortSIPClient(task["url"], username=USERNAME, password=PASSWORD) as old,
        v22.PortSIPClient(task["url"], username=USERNAME, password=PASSWORD) as new,
    ):
        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            "classic": lambda index: old.extensions.show(NUMBERS[index % USERS]),
            "v22": lambda index: new.users.show(IDS[index % USERS]),
        }
        return await cpu_of_calls(
            calls, concurrencies=CONCURRENCIES, turns=task["turns"], block=BLOCK
        )


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds, and return a figure and a table."""
    rounds: list[list[dict[str, float]]] = []
    count = QUICK_ROUNDS if quick else ROUNDS
    with Server() as server:
        task = {"url": server.urls["plain"], "turns": QUICK_TURNS if quick else TURNS}
        for number in range(count):
            progress(f"generations: round {number + 1} of {count}")
            rounds.append(run_in_process("bench_generations", task))
    ratios = [[cell["v22"] / cell["classic"] for cell in cells] for cells in rounds]
    rows = [
        [
            str(concurrency),
            *(
                Figure.of(cells[at][name] * 1e6 for cells in rounds).text(0)
                for name in ("v22", "classic")
            ),
            Figure.of(each[at] for each in ratios).text(3),
        ]
        for at, concurrency in enumerate(CONCURRENCIES)
    ]
    head = ["in flight", "v22 users.show, µs", "classic extensions.show, µs", "ratio"]
    note = f"Both replies have {len(user()):,} bytes."
    table = Table("CPU of a show, v22 divided by classic, plain", head, rows, note)
    return {"generations": Figure.of(geometric_mean(each) for each in ratios)}, [table]


if __name__ == "__main__":
    main(run)
