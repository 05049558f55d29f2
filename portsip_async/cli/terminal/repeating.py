"""Repeat an action beside long work, such as drawing a board, until the reader leaves."""

import asyncio
import io
import select
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from .streams import Sink, unguarded

_INTERVAL: Final = 0.25  # seconds between two repetitions


@asynccontextmanager
async def repeating(
    action: Callable[[], bool], changed: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Repeat an action while the block runs.

    The block ends when the action returns False or fails, or when nobody reads standard output any
    more: a closed terminal does not always send SIGHUP.

    Args:
        action: returns whether to go on.
        changed: is set for a repetition at once.
    """
    block = asyncio.current_task()
    abandoned = abandonment_check()
    changed = changed or asyncio.Event()

    async def repeat() -> None:
        while not abandoned() and action():
            with suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL):
                    await changed.wait()
            changed.clear()

    def end_block(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and block is not None:
            block.cancel()

    task = asyncio.create_task(repeat())
    task.add_done_callback(end_block)
    try:
        yield
    except asyncio.CancelledError:
        if not task.done() or task.cancelled():
            raise  # a cancellation from outside
        if block is not None:
            block.uncancel()
        task.result()  # raises the action's error
    finally:
        task.remove_done_callback(end_block)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def abandonment_check() -> Callable[[], bool]:
    """Return a check whether the reader of standard output has left, as far as that shows."""
    target = unguarded(sys.stdout)
    try:
        poll = select.poll()  # Windows lacks it
        poll.register(target.fileno(), 0)  # errors and hang-ups are always reported
    except (AttributeError, io.UnsupportedOperation):
        return lambda: _is_abandoned(target)
    return lambda: _is_abandoned(target) or bool(poll.poll(0))


def _is_abandoned(target: object) -> bool:
    return isinstance(target, Sink) and target.abandoned
