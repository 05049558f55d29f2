"""Helpers of tests that hold calls at a point: until, under_way, credentials behind a gate."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from portsip_async import Token
from portsip_async.core.interrupts import Scope

X = TypeVar("X")

TICKS = 20  # of the loop; what is prompt needs no more


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until something is so, and fail where it does not come about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


async def ticks(count: int = TICKS) -> None:
    """Let the loop go round, without any time to pass."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def under_way(*calls: Awaitable[Any]) -> AsyncIterator[list["asyncio.Future[Any]"]]:
    """Let calls run beside a test, and end them with it."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def collect_into(source: AsyncIterable[X], found: list[X]) -> None:
    """Collect items in a list that holds them even if an error ends the loop."""
    async for item in source:
        found.append(item)  # noqa: PERF401 - see above


async def hang(*_: object) -> None:
    """Never come to an end."""
    await asyncio.Event().wait()


def entered(task: "asyncio.Task[Any]") -> Scope:
    """Make a scope of a task."""
    scope = Scope()
    scope.enter(task)
    return scope


class LoopOwner:
    """A `TaskOwner` that starts tasks on the running loop; it is never closed.

    Attributes:
        check_open: what to do when asked whether the owner is open.
    """

    def __init__(self, check_open: Callable[[], None] = lambda: None) -> None:
        self.check_open = check_open

    def start(self, coroutine: Coroutine[Any, Any, X]) -> "asyncio.Task[X]":
        return asyncio.get_running_loop().create_task(coroutine)


class Vault:
    """Credentials of an application's own, behind a gate that stands open at first."""

    def __init__(self, life: float = 30.0) -> None:
        self.life = life
        self.fetched = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()

    async def fetch_token(self) -> Token:
        self.fetched += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return Token(f"vault-{self.fetched}", self.life)
