"""Several `token_worker` processes of one account, and the logins that the PBX saw."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from portsip_async import PortSIPClient, TokenStore, v22
from portsip_async.simulator import PBXSimulator

from .processes import Process, Processes, wait_until

# By generation: the rows of a login and of a refresh.
LOGIN = {"classic": "account.verify", "v22": "auth.sign_in"}
REFRESH = {"classic": "account.refresh", "v22": "auth.refresh"}
GENERATIONS = ("classic", "v22")


def served(sim: PBXSimulator, generation: str) -> Counter[str]:
    """Return how many requests of each row arrived at the PBX."""
    return sim.served if generation == "classic" else sim.v22.served


def fail(sim: PBXSimulator, generation: str) -> Callable[..., None]:
    """Return the method that scripts faults of a generation."""
    return sim.fail if generation == "classic" else sim.v22.fail


def log_in(sim: PBXSimulator, generation: str, store: TokenStore | None = None) -> None:
    """Log in, in this process; without a store as somebody else does."""

    async def renew() -> None:
        options: Any = {"username": sim.username, "password": sim.password, "token_store": store}
        if generation == "classic":
            async with PortSIPClient(sim.url, **options) as client:
                await client.account.refresh()
        else:
            async with v22.PortSIPClient(sim.url, **options) as client_22:
                await client_22.auth.refresh()

    asyncio.run(renew())


def start_workers(
    processes: Processes, sim: PBXSimulator, *, classic: int = 0, v22: int = 0, **settings: Any
) -> list[Process]:
    """Start workers of the simulator's administrator, and wait until they are ready.

    Args:
        processes: starts them.
        sim: the PBX.
        classic: how many workers of the classic generation.
        v22: how many of v22; they come last.
        settings: others of `token_worker`.
    """
    settings.setdefault("password", sim.password)
    workers = [
        processes.start(
            "tests.fleet.token_worker",
            generation=generation,
            url=sim.url,
            username=sim.username,
            **settings,
        )
        for generation in ["classic"] * classic + ["v22"] * v22
    ]
    for worker in workers:
        worker.read_until("ready")
    return workers


class Result:
    """What some workers did.

    Attributes:
        calls: how many calls succeeded.
        rate: calls a second.
        errors: how often each class of error was raised.
        longest: seconds of the longest call.
    """

    def __init__(self, workers: Sequence[Process]) -> None:
        """Read the results of workers whose calls end."""
        results = [worker.read_until("calls") for worker in workers]
        self.calls: int = sum(result["calls"] for result in results)
        self.rate: float = sum(result["calls"] / result["seconds"] for result in results)
        self.errors = sum((Counter(result["errors"]) for result in results), Counter[str]())
        self.longest: float = max(result["longest"] for result in results)


def go(workers: Sequence[Process], seconds: float | None = None, *, loops: int = 4) -> None:
    """Make workers begin to call, in so many loops each."""
    for worker in workers:
        worker.order(go=seconds, loops=loops)


def run(workers: Sequence[Process], seconds: float, *, loops: int = 4) -> Result:
    """Make workers call for some seconds, and return what they did."""
    go(workers, seconds, loops=loops)
    return Result(workers)


def stop(workers: Sequence[Process]) -> Result:
    """End the calls of workers, and return what they did."""
    for worker in workers:
        worker.order(stop=True)
    return Result(workers)


def wait_for_calls(workers: Sequence[Process], number: int = 10) -> None:
    """Wait until each worker has made so many further calls that succeeded."""
    wanted = {worker.pid: _count(worker) + number for worker in workers}
    wait_until(lambda: all(_count(worker) >= wanted[worker.pid] for worker in workers))


def wait_for_warnings(workers: Sequence[Process], number: int) -> None:
    """Wait until each worker has logged so many warnings in all."""
    wait_until(lambda: all(len(worker.having("warning")) >= number for worker in workers))


class Turns:
    """The turns at the store that some workers begin from now on."""

    def __init__(self, workers: Sequence[Process]) -> None:
        """Remember the turns so far."""
        self._workers = workers
        self._seen = {worker.pid: len(worker.having("turn")) for worker in workers}

    def next(self) -> Process:
        """Wait for the next turn, and return its worker."""
        wait_until(lambda: self._newer() is not None)
        worker = self._newer()
        assert worker is not None
        self._seen[worker.pid] += 1
        return worker

    def _newer(self) -> Process | None:
        for worker in self._workers:
            if len(worker.having("turn")) > self._seen[worker.pid]:
                return worker
        return None


def _count(worker: Process) -> int:
    worker.order(count=True)
    counted: int = worker.read_until("counted")["counted"]
    return counted
