"""Runs one operation for many items, and reports the true outcome of each.

If the reply to a create or a remove is lost for good, the item is read back, which shows whether
the write was carried out. An update is repeated, since doing it twice changes nothing.
Items with an unknown outcome are listed in `in_doubt`.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..arguments import plain_text
from ..core.limits import Gate
from ..core.tasks import Run, TaskOwner
from ..core.tracebacks import strip_frames
from ..errors import PortSIPError, is_fatal
from ..redact import Record
from .workers import Batcher, JobStream, WorkerPool

X = TypeVar("X")
V = TypeVar("V")

WriteError = PortSIPError | ValueError | TypeError


class BulkResult(Record, Generic[V], frozen=True):
    """The outcome for one item of a bulk run.

    Attributes:
        index: the position of the item in the source, counted from 0.
        key: what identifies the item, such as its extension number, as it was passed.
        value: what the operation returned, such as the merged settings of a patch; else None.
        error: why it was not carried out, or why that is not known; None if it was.
        settled: whether the reply was lost, and the outcome was found out by reading back.
        skipped: whether there was nothing to do, and you asked to skip such items.
    """

    index: int
    key: str
    value: V | None = None
    error: WriteError | None = None
    settled: bool = False
    skipped: bool = False


class WriteGate:
    """A gate that records whether anything was sent, and admits no new item after the run.

    Attributes:
        sent: whether an attempt was admitted.
    """

    def __init__(self, is_left: Callable[[], bool]) -> None:
        """Store the settings.

        Args:
            is_left: returns whether the run was left.
        """
        self.sent: bool = False
        self._is_left = is_left

    def admit(self) -> bool:
        """Admit an attempt.

        Raises:
            CancelledError: it would be the item's first, and the run was left.
        """
        if self.is_shut:
            raise asyncio.CancelledError
        self.sent = True
        return True

    async def enter(self) -> None:
        """Return at once: `admit` never makes an attempt wait."""

    @property
    def is_shut(self) -> bool:
        """Whether nothing was sent, and nothing may be sent any more."""
        return self._is_left() and not self.sent

    def leave(self, ticket: object, error: Exception | None, *, repeated: bool) -> None:
        """Do nothing: the caller decides what an error means."""


@dataclass(frozen=True, slots=True)
class Done(Generic[V]):
    """An item turned out to be carried out, and this is what the operation would have returned."""

    value: V


class ItemOperation(Generic[X, V]):
    """How to carry out the operation for one item.

    Attributes:
        key: returns the item's key; raises TypeError or ValueError if it can't be sent.
        carry_out: sends the item.
        was_carried_out: finds out by a read whether it was carried out, after the reply was lost;
            None if it is safe to repeat. It returns False, True, or `Done` with a value.
        is_skipped: returns whether an error means that there was nothing to do.
        example: a correct call, for the message about items that can't be iterated over.
    """

    def __init__(
        self,
        key: Callable[[X], str],
        carry_out: Callable[[X, Gate], Awaitable[V]],
        *,
        was_carried_out: Callable[[X], Awaitable[bool | Done[V]]] | None = None,
        is_skipped: Callable[[PortSIPError], bool] = lambda _: False,
        example: str,
    ) -> None:
        self.key = key
        self.carry_out = carry_out
        self.was_carried_out = was_carried_out
        self.is_skipped = is_skipped
        self.example = example


class BulkRun(JobStream[BulkResult[V]], Generic[V]):
    """Yields the results of one operation for many items, as they finish.

    Leaving the loop stops new items and lets writes in flight finish for up to `grace` seconds;
    `late_results` has their results. If an error ends the loop, it yields those results before it
    raises.
    """

    def __init__(
        self,
        items: Iterable[X] | AsyncIterable[X],
        operation: ItemOperation[X, V],
        *,
        owner: TaskOwner,
        concurrency: int,
        grace: float = 0.0,
        ordered: bool = False,
    ) -> None:
        """Store the settings; nothing is sent before the loop.

        Args:
            items: read as jobs can start.
            operation: what to do with an item.
            owner: starts the tasks.
            concurrency: items in flight at most.
            grace: seconds that items in flight may take to finish after the loop was left.
            ordered: keep the order of the items.
        """
        super().__init__()
        self._items: Any = items
        self._operation: ItemOperation[Any, V] = operation
        self._owner = owner
        self._concurrency = concurrency
        self._grace = grace
        self._ordered = ordered
        # Of the latest loop: its pool, and what became known after it was left.
        self._pool: WorkerPool[Any, BulkResult[V]] | None = None
        self._in_doubt: list[str] = []
        self._late_results: list[BulkResult[V]] = []

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} concurrency={self._concurrency}, "
            f"in_doubt={len(self._in_doubt)}{self._state()}"
        )

    @property
    def late_results(self) -> list[BulkResult[V]]:
        """The results of items that finished after the latest loop was left."""
        if self._pool is not None and self._pool.ended.is_set():
            self._late_results += self._pool.late_results()
        return list(self._late_results)

    @property
    def in_doubt(self) -> list[str]:
        """The keys of the latest loop's items that may or may not have been carried out."""
        return list(self._in_doubt)

    def _start_run(self) -> tuple[AsyncGenerator[BulkResult[V], None], Run]:
        in_doubt: list[str] = []
        self._in_doubt = in_doubt
        self._late_results = []
        next_index = 0

        async def run_item(item: Any, index: int) -> BulkResult[V]:
            gate = WriteGate(lambda: pool.left)
            try:
                return await _carry_out(self._operation, index, item, gate, in_doubt)
            except BaseException as error:
                strip_frames(error)
                raise

        # The index is assigned here, since tasks may start in another order.
        def job(batch: list[Any]) -> Coroutine[Any, Any, BulkResult[V]]:
            nonlocal next_index
            next_index += 1
            return run_item(batch[0], next_index - 1)

        pool: WorkerPool[Any, BulkResult[V]] = WorkerPool(
            Batcher(self._items, lambda: 1, owner=self._owner),
            job,
            owner=self._owner,
            limit=lambda: self._concurrency,
            ordered=self._ordered,
            grace=self._grace,
        )
        self._pool = pool
        return pool.results(), pool


async def _carry_out(
    operation: ItemOperation[X, V], index: int, item: X, gate: WriteGate, in_doubt: list[str]
) -> BulkResult[V]:
    if gate.is_shut:
        raise asyncio.CancelledError  # the run was left before this task started
    failure: WriteError
    key = ""
    try:
        key = operation.key(item)
        return BulkResult(index, key, await operation.carry_out(item, gate))
    except asyncio.CancelledError:
        if gate.sent:
            in_doubt.append(key)
        raise
    except (PortSIPError, ValueError, TypeError) as error:
        if is_fatal(error):
            if isinstance(error, PortSIPError) and error.may_have_acted:
                in_doubt.append(key)
            raise
        failure = error.with_traceback(None)  # its frames hold the item
    # What the failure means for the item.
    if not isinstance(failure, PortSIPError):
        return BulkResult(index, key or _key_to_show(item), error=failure)
    if operation.is_skipped(failure):
        return BulkResult(index, key, skipped=True)
    if not failure.may_have_acted:
        return BulkResult(index, key, error=failure)
    return await _read_back(operation, index, item, key, failure, in_doubt)


async def _read_back(
    operation: ItemOperation[X, V],
    index: int,
    item: X,
    key: str,
    failure: PortSIPError,
    in_doubt: list[str],
) -> BulkResult[V]:
    """Find out whether an item was carried out after its reply was lost."""
    if operation.was_carried_out is not None:
        try:
            done = await operation.was_carried_out(item)
        except PortSIPError:
            pass
        except asyncio.CancelledError:
            in_doubt.append(key)
            raise
        else:
            value = done.value if isinstance(done, Done) else None
            return BulkResult(index, key, value, error=None if done else failure, settled=True)
    in_doubt.append(key)
    return BulkResult(index, key, error=failure)


def _key_to_show(item: object) -> str:
    """Return a key for an item that can't be sent: its number, or the name of its type."""
    key = item
    if isinstance(item, tuple | list) and item:
        key = item[0]
    elif isinstance(item, Mapping):
        key = item.get("extension_number")
    elif not isinstance(item, str | int):
        key = getattr(item, "extension_number", None)
    if isinstance(key, str):
        return plain_text(key) or ("" if key is item else type(item).__name__)
    return str(key) if type(key) is int else type(item).__name__
