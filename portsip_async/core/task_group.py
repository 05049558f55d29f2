"""A task group that raises errors as they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import raise_without_context


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a task group that raises the first error itself, not a group with one error.

    The block must wait until an error or a cancellation ends it. If it is cancelled while a task
    fails, it raises CancelledError. A TaskGroup would raise the error, so that the cancellation got
    lost where the error is handled.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks
    cancellations = task.cancelling()
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        error: BaseException = errors.exceptions[0]
        if task.cancelling() > cancellations:
            error = asyncio.CancelledError()
    else:
        return
    raise_without_context(error)
