"""A shared token: CPU of a call of a client with a token store, compared with one without.

A round is a fresh process with a client of each kind. For each number of calls in flight the
clients run short blocks in turn. A ratio compares the medians of a round's blocks. CPU time is that
of the client's process, including system time. The store is in the memory of the process, and
counts how often the client uses it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from portsip_async import PortSIPClient, SharedLogin, TokenTurn

from .bench_generations import NUMBERS, USERS
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

CONCURRENCIES = (1, 16, 64)
ROUNDS, QUICK_ROUNDS = 9, 3
TURNS, QUICK_TURNS = 48, 12
BLOCK = 64  # calls; short, because the ratio has to be exact to a hundredth


class MemoryStore:
    """A token store for the clients of one process.

    Attributes:
        uses: how often it was asked for something.
    """

    def __init__(self) -> None:
        self._logins: dict[str, SharedLogin] = {}
        self._lock = asyncio.Lock()
        self.uses = 0

    async def load(self, account: str) -> SharedLogin | None:
        self.uses += 1
        return self._logins.get(account)

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[TokenTurn]:
        self.uses += 1
        async with self._lock:
            yield _Turn(self._logins, account)


class _Turn:
    def __init__(self, logins: dict[str, SharedLogin], account: str) -> None:
        self._logins = logins
        self._account = account

    async def put(self, login: SharedLogin) -> bool:
        self._logins[self._account] = login
        return True


async def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run one round, and return the CPU seconds of a call and the uses of the store."""
    store = MemoryStore()
    url = task["url"]
    async with (
        PortSIPClient(url, username=USERNAME, password=PASSWORD) as alone,
        PortSIPClient(url, username=USERNAME, password=PASSWORD, token_store=store) as sharing,
    ):
        await sharing.extensions.show(NUMBERS[0])
        if not store.uses:
            raise RuntimeError("the client logged in without its store")
        store.uses = 0
        cells = await cpu_of_calls(
            {
                "alone": lambda index: alone.extensions.show(NUMBERS[index % USERS]),
                "sharing": lambda index: sharing.extensions.show(NUMBERS[index % USERS]),
            },
            concurrencies=CONCURRENCIES,
            turns=task["turns"],
            block=BLOCK,
        )
    return {"cells": cells, "uses": store.uses}


def measure(*, quick: bool, progress: Progress) -> Findings:
    """Run the rounds, and return figures and a table."""
    rounds: list[dict[str, Any]] = []
    count = QUICK_ROUNDS if quick else ROUNDS
    with Server() as server:
        task = {"url": server.urls["plain"], "turns": QUICK_TURNS if quick else TURNS}
        for number in range(count):
            progress(f"store: round {number + 1} of {count}")
            rounds.append(run_in_process("bench_store", task))
    ratios = [[cell["sharing"] / cell["alone"] for cell in each["cells"]] for each in rounds]
    figures = {
        "store": Figure.of(geometric_mean(each) for each in ratios),
        "store.uses": Figure.of(each["uses"] for each in rounds),
    }
    rows = [
        [
            str(concurrency),
            *(
                Figure.of(each["cells"][at][name] * 1e6 for each in rounds).text(0)
                for name in ("sharing", "alone")
            ),
            Figure.of(each[at] for each in ratios).text(3),
        ]
        for at, concurrency in enumerate(CONCURRENCIES)
    ]
    head = ["in flight", "with a token store, µs", "without, µs", "ratio"]
    note = "Only a renewal of the token uses the store, and none is due in this time."
    table = Table("CPU of a classic show, with a token store and without, plain", head, rows, note)
    return figures, [table]


if __name__ == "__main__":
    main(run)
