"""Many jobs at once: batches of a source, workers side by side, and a limit that adapts.

A `Batcher` cuts any iterable or async iterable into batches, and reads only when a job can start.
A `WorkerPool` runs one job per batch, in a task each, and yields the results as they finish, or in
the order of the source. While its consumer asks for nothing, it starts nothing.
A `JobStream` is what users iterate: each loop is a new run, and leaving it ends its tasks.

`AdaptiveGate` limits the attempts in flight to what the PBX can handle. It halves the limit when
the PBX pushes back, at most once per round trip, and adds one after each round of successes. It
starts at half of its ceiling and doubles until the first push back, so that a weak PBX does not get
the full ceiling at once.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from ..core.tasks import ClosableStream, Run, TaskOwner
from ..errors import RateLimited, RequestTimeout, ServerError

X = TypeVar("X")
R = TypeVar("R")

PUSHED_BACK: Final = (RateLimited, ServerError, RequestTimeout)
# Seconds that an async source may pause before the items so far are sent as a short batch.
LINGER: Final = 0.05


class AdaptiveGate:
    """Limits the attempts in flight: additive increase, multiplicative decrease.

    Attributes:
        ceiling: the highest limit.
        limit: how many attempts may be in flight now.
        requests: attempts that ended.
        retries: how many of those repeated an earlier one.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit: int = max(1, ceiling // 2)
        self.requests: int = 0
        self.retries: int = 0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        # Counts the decreases. An attempt that started before the latest one teaches nothing new.
        self._epoch = 0
        self._successes = 0  # since the limit last changed
        self._doubling = True

    def admit(self) -> int | None:
        """Enter at once if there is room; return the epoch as a ticket, or None."""
        if self._in_flight >= self.limit:
            return None
        self._in_flight += 1
        return self._epoch

    async def enter(self) -> int:
        """Wait for room; return the epoch as a ticket."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit_waiting()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Room was reserved for this attempt, which will not use it.
                self._in_flight -= 1
                self._admit_waiting()
            raise
        return self._epoch

    def leave(self, ticket: object, error: Exception | None, *, repeated: bool) -> None:
        """Adapt the limit to how an attempt ended."""
        self._in_flight -= 1
        self.requests += 1
        self.retries += repeated
        if ticket == self._epoch:
            if isinstance(error, PUSHED_BACK):
                self._epoch += 1
                self._successes = 0
                self._doubling = False
                self.limit = max(1, self.limit // 2)
            elif error is None:
                self._successes += 1
                if self._successes >= self.limit:
                    self._successes = 0
                    more = self.limit * 2 if self._doubling else self.limit + 1
                    self.limit = min(self.ceiling, more)
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1  # reserved here, so that no later attempt takes the room
                turn.set_result(None)


class Batcher(Generic[X]):
    """Cuts a source into batches, and reads it only when a batch is asked for.

    Attributes:
        error: what the source raised, which ended it; None if it raised nothing.
        ended: whether the source has no more items.
    """

    def __init__(
        self,
        source: Iterable[X] | AsyncIterable[X],
        size: Callable[[], int],
        *,
        owner: TaskOwner,
    ) -> None:
        """Store the source; nothing is read yet.

        Args:
            source: the items.
            size: returns how many items the next batch should hold.
            owner: starts the task that reads an async source.

        Raises:
            TypeError: the source is not iterable.
        """
        self.error: BaseException | None = None
        self.ended: bool = False
        self._size = size
        self._owner = owner
        self._iterator: Iterator[X] | None = None
        self._async_iterator: AsyncIterator[X] | None = None
        # For an async source: the items read so far, and the task that reads on.
        self._buffer: list[X] = []
        self._reading: asyncio.Task[None] | None = None
        if isinstance(source, AsyncIterable):
            self._async_iterator = aiter(source)
        else:
            self._iterator = iter(source)

    def take(self, *, partial: bool = False) -> list[X]:
        """Return the next batch; an empty one if none is ready.

        Args:
            partial: take what an async source gave so far, even if it is less than a batch.
        """
        size = self._size()
        if self._iterator is not None:
            return [] if self.ended else self._next(self._iterator, size)
        self._read_on()
        if not (len(self._buffer) >= size or self.ended or partial):
            return []
        batch, self._buffer = self._buffer[:size], self._buffer[size:]
        self._read_on()
        return batch

    @property
    def has_partial(self) -> bool:
        """Whether items of an async source wait for their batch to fill up."""
        return bool(self._buffer)

    @property
    def reading(self) -> asyncio.Task[None] | None:
        """The task that waits for an async source, if there is one."""
        return None if self._reading is None or self._reading.done() else self._reading

    async def close(self) -> None:
        """Stop reading."""
        self.ended = True
        reading = self.reading
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))

    def _next(self, iterator: Iterator[X], size: int) -> list[X]:
        batch: list[X] = []
        try:
            batch.extend(islice(iterator, size))
        except (Exception, asyncio.CancelledError) as error:  # the items before it are in the batch
            self.error = error
        self.ended = len(batch) < size
        return batch

    def _read_on(self) -> None:
        # A loop, since an eager task may have ended when `start` returns.
        while not self.ended and len(self._buffer) < self._size() and self.reading is None:
            self._reading = self._owner.start(self._read())

    async def _read(self) -> None:
        """Read up to a batch. Return at its first item too: from then on the pool lingers."""
        assert self._async_iterator is not None  # noqa: S101 - only an async source has this task
        task = asyncio.current_task()
        try:
            while len(self._buffer) < self._size() and not self.ended:
                item = await anext(self._async_iterator)
                self._buffer.append(item)  # `take` may have replaced the list during the wait
                if len(self._buffer) == 1 < self._size():
                    return
        except StopAsyncIteration:
            self.ended = True
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            self.error = error  # nobody cancelled this task, so the source raised it
            self.ended = True
        except Exception as error:
            self.error = error
            self.ended = True


class WorkerPool(Generic[X, R]):
    """Runs a job for each batch of a source, and yields the results.

    Attributes:
        left: whether the run is over or was left. A job in its grace period checks it before it
            sends something new.
        ended: set before the run starts, and after its last task ended.
    """

    def __init__(
        self,
        batches: Batcher[X],
        job: Callable[[list[X]], Coroutine[Any, Any, R]],
        *,
        owner: TaskOwner,
        limit: Callable[[], int],
        ordered: bool = False,
        grace: float = 0.0,
    ) -> None:
        """Store the settings; nothing starts yet.

        Args:
            batches: the source.
            job: what to do with a batch. An exception of it ends the run.
            owner: starts the tasks.
            limit: returns how many jobs may run at once now.
            ordered: yield in the order of the source; at most twice the limit is held back.
            grace: seconds that running jobs may take to finish after the run was left.
        """
        self.left: bool = False
        self.ended: asyncio.Event = asyncio.Event()
        self.ended.set()
        self._batches = batches
        self._job = job
        self._owner = owner
        self._limit = limit
        self._ordered = ordered
        self._grace = grace
        self._running: set[asyncio.Task[R]] = set()
        self._in_order: deque[asyncio.Task[R]] = deque()  # of an ordered run: all not yet yielded
        self._finished: deque[asyncio.Task[R]] = deque()  # to be yielded next
        self._changed = asyncio.Event()  # set when a job or the source's task ends, and by `stop`

    def stop(self) -> None:
        """Ask the run to end, even while its consumer waits in another task."""
        self.left = True
        self._changed.set()

    async def results(self) -> AsyncGenerator[R, None]:
        """Run all jobs, and yield what they return.

        Raises:
            Exception: what a job raised, after the jobs that finish in the grace period; or what
                the source raised, after all results.
        """
        self.ended.clear()
        failure: BaseException | None = None
        try:
            while not self.left and failure is None:
                self._owner.check_open()
                self._changed.clear()
                lingering = self._start_jobs()
                if not self._has_result():
                    if not self._running and self._batches.ended:
                        break
                    await self._wait(LINGER if lingering else None)
                    if self.left:
                        break
                    # Start the next jobs before the consumer works on the results of these.
                    if self._has_result() or lingering:
                        self._start_jobs(partial=not self._finished)
                while failure is None and self._has_result():
                    task = self._finished.popleft()
                    failure = _failure_of(task)
                    if failure is None:
                        yield task.result()
                    # A failed task would be in a reference cycle with its error's traceback.
                    del task
            if failure is not None:
                if isinstance(failure, asyncio.CancelledError):
                    self._owner.check_open()
                await self._wind_up()
                for result in self.late_results():
                    yield result
                raise failure
            if self._batches.error is not None and not self.left:
                raise self._batches.error
        finally:
            await self._end()

    def late_results(self) -> list[R]:
        """Return the results that were not yielded, each once."""
        finished = [*self._finished, *(task for task in self._in_order if task.done())]
        self._finished.clear()
        self._in_order.clear()
        return [task.result() for task in finished if _failure_of(task) is None]

    def _start_jobs(self, *, partial: bool = False) -> bool:
        """Start jobs while there is room; return whether the source gave part of a batch."""
        while len(self._running) < self._limit() and not self._is_full():
            batch = self._batches.take(partial=partial)
            if not batch:
                return self._batches.has_partial
            task = self._owner.start(self._job(batch))
            self._running.add(task)
            if self._ordered:
                self._in_order.append(task)
            task.add_done_callback(self._on_done)
        return False

    def _on_done(self, task: asyncio.Task[R]) -> None:
        _failure_of(task)  # asyncio warns of an exception that nobody looked at
        self._running.discard(task)
        if not self._ordered:
            self._finished.append(task)
        self._changed.set()

    def _is_full(self) -> bool:
        """Check whether enough results wait for the consumer."""
        if self._ordered:
            return len(self._in_order) >= 2 * self._limit()
        return len(self._finished) >= self._limit()

    def _has_result(self) -> bool:
        """Check whether a result can be yielded now."""
        while self._in_order and self._in_order[0].done():
            self._finished.append(self._in_order.popleft())
        return bool(self._finished)

    async def _wait(self, seconds: float | None) -> None:
        """Wait for a job, for the source, for `stop`, or for some seconds.

        This is not `asyncio.wait`, which adds a callback to each running job and removes it again
        every time. With 16 jobs in flight the event saves 5 % of a poll's CPU.
        """
        loop = asyncio.get_running_loop()
        reading = self._batches.reading if len(self._running) < self._limit() else None
        if reading is not None:
            reading.add_done_callback(self._on_source)
        timer = None if seconds is None else loop.call_later(seconds, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if reading is not None:
                reading.remove_done_callback(self._on_source)
            if timer is not None:
                timer.cancel()

    def _on_source(self, _: asyncio.Task[None]) -> None:
        self._changed.set()

    async def _wind_up(self) -> None:
        """Start nothing more, and give running jobs their grace period."""
        self.left = True
        await self._batches.close()
        if self._running and self._grace:
            await asyncio.wait(self._running, timeout=self._grace)

    async def _end(self) -> None:
        try:
            await self._wind_up()
        finally:
            for task in self._running:
                task.cancel()
            try:
                if self._running:
                    await asyncio.wait(self._running)
            finally:  # even if this wait was cancelled too
                self.ended.set()


def _failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Return why a finished task has no result; None if it has one."""
    return asyncio.CancelledError() if task.cancelled() else task.exception()


class JobStream(ClosableStream, ABC, Generic[R]):
    """An async iterable that starts a new run for each loop, and ends it when the loop is left."""

    def __aiter__(self) -> AsyncGenerator[R, None]:
        return self._track(*self._start_run())

    @abstractmethod
    def _start_run(self) -> tuple[AsyncGenerator[R, None], Run]:
        """Return the generator of a new run, and the run."""
