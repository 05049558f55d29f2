"""Helpers for tests of concurrent calls: waiting, background tasks, credentials behind a gate."""

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

from portsip_async import Token
from portsip_async.core.limits import Interruptible, SharedTimer

X = TypeVar("X")

PASSES = 20  # of the event loop; whatever needs no time is done after so many


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until a condition is true; fail if that takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - not every condition has an event to wait for
            await asyncio.sleep(0.001)


async def yield_to_loop(passes: int = PASSES) -> None:
    """Let the event loop run so many passes, without waiting for time."""
    for _ in range(passes):
        await asyncio.sleep(0)


@asynccontextmanager
async def in_background(*calls: Awaitable[Any]) -> AsyncIterator[list["asyncio.Future[Any]"]]:
    """Run calls in background tasks of a test. Cancel those that are left at the end."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def collect_into(found: list[X], source: AsyncIterable[X]) -> None:
    """Append a source's items to a list, so that those before an error are kept."""
    async for item in source:
        found.append(item)  # noqa: PERF401 - a comprehension would lose them


async def hang(*_: object) -> None:
    """Wait forever."""
    await asyncio.Event().wait()


@contextmanager
def shared_timer_handles() -> Iterator[list[asyncio.TimerHandle]]:
    """Record the timers that the SDK's `SharedTimer`s set in the running loop."""
    handles: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def record(when: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        handle = call_at(when, callback, *args, **options)
        if isinstance(getattr(callback, "__self__", None), SharedTimer):
            handles.append(handle)
        return handle

    with patch.object(loop, "call_at", record):
        yield handles


class LoopOwner:
    """A `TaskOwner` that starts tasks on the running loop and is never closed."""

    def start(self, coroutine: Coroutine[Any, Any, X]) -> "asyncio.Task[X]":
        return asyncio.get_running_loop().create_task(coroutine)

    def check_open(self) -> None:
        """Do nothing: it is open."""


def interruptible(task: "asyncio.Task[Any]") -> Interruptible:
    """Make an `Interruptible` that has begun in a task."""
    made = Interruptible()
    made.enter(task)
    return made


class GatedCredentials:
    """An application's own credentials, behind a gate that is open at first.

    Attributes:
        life: the seconds that each token is valid for.
        fetched: how many tokens were asked for.
        error: raised instead of returning a token, if it is set.
        open: an event that each `fetch_token` waits for.
    """

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
