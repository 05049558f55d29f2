"""Run coroutine functions with one client and one login, one after the other.

Between them, a command can prompt. Prompting is not for the event loop, where Ctrl-C would wait for
the end of the line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from ..pbx.generation import PBX

T = TypeVar("T")


class Session(Protocol):
    """Runs a coroutine function with a PBX."""

    def __call__(self, work: Callable[[PBX], Awaitable[T]], /) -> T:
        """Run it, and return its result."""
        ...


@contextmanager
def open_session(
    client: Any, pbx: PBX, log_in: Callable[[asyncio.Runner], None]
) -> Iterator[Session]:
    """Log in and yield a session; always close the client.

    Args:
        client: the client, not used yet.
        pbx: the PBX over this client.
        log_in: logs in, if that needs prompts.
    """
    tasks: list[asyncio.Task[Any] | None] = []

    def run(work: Callable[[PBX], Awaitable[T]]) -> T:
        async def session() -> T:
            tasks.append(asyncio.current_task())
            return await work(pbx)

        return runner.run(session())

    async def end() -> None:
        # A signal may have left the loop in the middle of a task.
        left = [task for task in tasks if task is not None and not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await client.close()

    with asyncio.Runner() as runner:
        try:
            log_in(runner)
            yield run
        finally:
            runner.run(end())
