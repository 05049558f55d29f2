"""The status of many extensions, read once."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Generic

from ..arguments import check_type
from ..core.tasks import Run, TaskOwner
from .status_batches import BatchReader, BatchResult, PollStats, StatusResult, StatusSource
from .status_type import S
from .workers import Batcher, JobStream, WorkerPool


class StatusPoll(JobStream[StatusResult[S]], Generic[S]):
    """Yields one result for each number, as batches finish.

    Each loop over it reads the numbers again. An iterator continues where the last loop stopped.
    """

    def __init__(
        self,
        source: StatusSource[S],
        numbers: Iterable[str] | AsyncIterable[str],
        *,
        owner: TaskOwner,
        batch_size: int | None,
        concurrency: int,
        ordered: bool,
    ) -> None:
        """Store the settings; nothing is sent before the loop.

        Args:
            source: the PBX.
            numbers: what to ask for.
            owner: starts the tasks.
            batch_size: numbers per request; None: as many as the PBX takes.
            concurrency: requests in flight at most.
            ordered: keep the order of the numbers.
        """
        super().__init__()
        self._source = source
        self._numbers = numbers
        self._owner = owner
        self._batch_size = batch_size
        self._concurrency = concurrency
        check_type("ordered", ordered, bool)
        self._ordered = ordered
        self._reader: BatchReader[S] | None = None  # of the latest loop

    def __repr__(self) -> str:
        stats = self.stats
        return (
            f"<{type(self).__name__} requests={stats.requests}, retries={stats.retries}, "
            f"concurrency={stats.concurrency}, batch_size={stats.batch_size}{self._state()}"
        )

    @property
    def stats(self) -> PollStats:
        """The cost of the latest loop so far."""
        if self._reader is None:
            size = self._batch_size or self._source.batch_sizes.size
            return PollStats(concurrency=self._concurrency, batch_size=size)
        return self._reader.stats()

    def _start_run(self) -> tuple[AsyncGenerator[StatusResult[S], None], Run]:
        reader = BatchReader(
            self._source, concurrency=self._concurrency, batch_size=self._batch_size
        )
        self._reader = reader
        pool = WorkerPool(
            Batcher(self._numbers, reader.next_size, owner=self._owner),
            reader.read,
            owner=self._owner,
            limit=lambda: reader.gate.limit,
            ordered=self._ordered,
        )
        return _flatten(pool), pool


async def _flatten(
    pool: WorkerPool[str, BatchResult[S]],
) -> AsyncGenerator[StatusResult[S], None]:
    batches = pool.results()
    try:
        async for batch in batches:
            for result in batch.results:
                yield result
    finally:
        await batches.aclose()
