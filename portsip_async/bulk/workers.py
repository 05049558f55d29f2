"""Many operations, bounded: a lazy feed, jobs that run side by side, and a gate that adapts.

A `Feed` cuts any iterable or async iterable into chunks, read only when a job can start. A `Crew`
runs a job a chunk, so many at once, and answers as they end, or in the order of the feed; while its
consumer does not ask for more, it starts nothing. A `Stream` is what users iterate: each loop runs
afresh, and leaving it ends its tasks.

`AdaptiveGate` bounds the attempts in flight by what the PBX bears: it halves where the PBX pushes
back, at most once a round trip, and climbs by one after each round of successes. Until it is first
pushed back it begins at half its ceiling and doubles, so that a PBX that bears less is not hit by
the whole ceiling at once.
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
from typing import Any, Final, Generic, TypeVar, cast

from ..core.streams import Leavable, Run
from ..errors import PortSIPError, RateLimited, RequestTimeout, ServerError

X = TypeVar("X")
R = TypeVar("R")

PUSHED_BACK: Final = (RateLimited, ServerError, RequestTimeout)
# Seconds that an async source may fall silent before what it gave is sent as a shorter chunk.
LINGER: Final = 0.05

StartTask = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class AdaptiveGate:
    """Bounds the attempts in flight, by additive increase and multiplicative decrease.

    Attributes:
        ceiling: the most that are ever in flight.
        limit: how many may be in flight now.
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
        self._epoch = 0  # counts the decreases; what was sent before one says nothing new
        self._round = 0
        self._doubling = True

    def admit(self) -> int | None:
        """Enter at once if there is room; answers the time of entry, in decreases."""
        if self._in_flight >= self.limit:
            return None
        self._in_flight += 1
        return self._epoch

    async def enter(self) -> int:
        """Wait for one's turn; answers the time of entry, in decreases."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._in_flight -= 1  # the room was given to one who is gone
                self._wake()
            raise
        return self._epoch

    def leave(self, ticket: object, error: PortSIPError | None, *, repeated: bool) -> None:
        """Learn from how an attempt ended."""
        self._in_flight -= 1
        self.requests += 1
        self.retries += repeated
        if ticket == self._epoch:
            if isinstance(error, PUSHED_BACK):
                self._epoch += 1
                self._round = 0
                self._doubling = False
                self.limit = max(1, self.limit // 2)
            elif error is None:
                self._round += 1
                if self._round >= self.limit:
                    self._round = 0
                    more = self.limit * 2 if self._doubling else self.limit + 1
                    self.limit = min(self.ceiling, more)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1  # on his behalf, so that no newcomer takes it
                turn.set_result(None)


class Feed(Generic[X]):
    """Chunks of a source, read when they are asked for.

    Attributes:
        error: what the source raised; it has ended then.
        ended: whether nothing more will come.
    """

    def __init__(self, source: Iterable[X] | AsyncIterable[X], size: int, start: StartTask) -> None:
        """Read nothing yet.

        Raises:
            TypeError: no iterable, or a text or bytes in the place of one.
        """
        self.error: BaseException | None = None
        self.ended: bool = False
        self._reading: asyncio.Task[None] | None = None
        self._size = size
        self._start = start
        self._kept: list[X] = []
        self._items: Iterator[X] | None = None
        self._later: AsyncIterator[X] | None = None
        if isinstance(source, AsyncIterable):
            self._later = aiter(source)
        else:
            self._items = iter(source)

    def take(self, *, partial: bool = False) -> list[X]:
        """Answer the next chunk; an empty one where none is there now, or ever.

        Args:
            partial: take what an async source gave so far, however little.
        """
        if self._items is not None:
            return [] if self.ended else self._next(self._items)
        self._read_on()
        if not (len(self._kept) >= self._size or self.ended or partial):
            return []
        chunk, self._kept = self._kept, []
        self._read_on()
        return chunk

    @property
    def holds(self) -> bool:
        """Whether an async source gave less than a chunk so far."""
        return bool(self._kept)

    @property
    def reading(self) -> asyncio.Task[None] | None:
        """The task that waits for an async source, where one does."""
        return None if self._reading is None or self._reading.done() else self._reading

    async def close(self) -> None:
        """Stop reading."""
        self.ended = True
        reading = self.reading
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))

    def _next(self, items: Iterator[X]) -> list[X]:
        chunk: list[X] = []
        try:
            chunk.extend(islice(items, self._size))
        except (Exception, asyncio.CancelledError) as error:  # what came before is in the chunk
            self.error = error
        self.ended = len(chunk) < self._size
        return chunk

    def _read_on(self) -> None:
        # A loop, since an eager task may be through at once.
        while not self.ended and len(self._kept) < self._size and self.reading is None:
            self._reading = self._start(self._read())

    async def _read(self) -> None:
        """Read up to a chunk; return at the first item too, from which on the crew lingers."""
        assert self._later is not None  # noqa: S101 - only an async source is waited for
        task = asyncio.current_task()
        try:
            while len(self._kept) < self._size and not self.ended:
                item = await anext(self._later)
                self._kept.append(item)  # the list may have been taken meanwhile
                if len(self._kept) == 1 < self._size:
                    return
        except StopAsyncIteration:
            self.ended = True
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            self.error = error  # the source's own, of something that it waited for
            self.ended = True
        except Exception as error:
            self.error = error
            self.ended = True


class _Job(Generic[X, R]):
    """A chunk, and what came of it."""

    __slots__ = ("chunk", "done", "error", "value")

    def __init__(self, chunk: list[X]) -> None:
        self.chunk = chunk
        self.done = False
        self.value: R | None = None
        self.error: BaseException | None = None

    def outcome(self) -> R:
        if self.error is not None:
            raise self.error
        return cast(R, self.value)


class Crew(Generic[X, R]):
    """Runs a job for each chunk of a feed, and answers what they bring.

    Attributes:
        left: whether the run is over or was left, so that a job in grace begins nothing new.
        ended: set before it begins, and once all its tasks are through.
    """

    def __init__(
        self,
        feed: Feed[X],
        job: Callable[[list[X]], Coroutine[Any, Any, R]],
        *,
        start: StartTask,
        check: Callable[[], None],
        limit: Callable[[], int],
        ordered: bool = False,
        ahead: bool = False,
        grace: float = 0.0,
    ) -> None:
        """Start nothing yet.

        Args:
            feed: where chunks come from.
            job: what to do with one; what it raises ends the run.
            start: makes a task that its owner ends at closing.
            check: raises once the owner is closed.
            limit: how many jobs may run at once now.
            ordered: answer in the order of the feed, with twice the limit held back at most.
            ahead: begin a job where another ended before its outcome is told, so that no task and
                no turn of the loop lie between two requests; not for what its outcome may stop.
            grace: seconds that jobs may take to end once the run was left.
        """
        self._feed = feed
        self._job = job
        self._start = start
        self._check = check
        self._limit = limit
        self._ordered = ordered
        self._ahead = ahead
        self._grace = grace
        self._workers: dict[asyncio.Task[None], _Job[X, R]] = {}  # with the first job of each
        self._queue: deque[_Job[X, R]] = deque()  # of an ordered run
        self._done: deque[_Job[X, R]] = deque()  # whose outcome is told next
        self._asked = True  # whether the consumer waits for an outcome
        self._nudge: asyncio.Future[None] | None = None
        self.left: bool = False
        self.ended: asyncio.Event = asyncio.Event()
        self.ended.set()

    def stop(self) -> None:
        """Ask the run to end, even while its consumer waits in another task."""
        self.left = True
        self._awaken()

    async def outcomes(self) -> AsyncGenerator[R, None]:
        """Run all jobs; answer each as it ends, or in order.

        Raises:
            Exception: what a job raised, after what ends in grace; what the source raised, after
                all outcomes.
        """
        self.ended.clear()
        failure: BaseException | None = None
        try:
            while not self.left:
                self._check()
                lingering = self._fill()
                if not self._told():
                    if not self._workers and self._feed.ended:
                        break
                    await self._wait(LINGER if lingering else None)
                    if self.left:
                        break
                    if self._told() or lingering:
                        self._fill(partial=not self._done)
                while self._told():
                    job = self._done.popleft()
                    if job.error is not None:
                        failure = job.error
                        break
                    self._asked = False
                    yield job.outcome()
                    self._asked = True
                if failure is not None:
                    break
            if failure is not None:
                if isinstance(failure, asyncio.CancelledError):
                    self._check()
                await self._wind_up()
                for outcome in self.untold():
                    yield outcome
                raise failure
            if self._feed.error is not None and not self.left:
                raise self._feed.error
        finally:
            await self._end()

    def _fill(self, *, partial: bool = False) -> bool:
        """Start workers while there is room; tells whether the source holds part of a chunk."""
        while len(self._workers) < self._limit() and not self._full():
            chunk = self._feed.take(partial=partial)
            if not chunk:
                return self._feed.holds
            job = self._begun(chunk)
            worker = self._start(self._work(job))
            self._workers[worker] = job
            worker.add_done_callback(self._end_worker)
        return False

    async def _work(self, job: _Job[X, R] | None) -> None:
        """Do a job, and the next as long as the consumer waits and there is one."""
        while job is not None:
            try:
                job.value = await self._job(job.chunk)
            except Exception as error:
                self._end_job(job, error)
            except asyncio.CancelledError as error:
                self._end_job(job, error)
                raise
            else:
                self._end_job(job)
            # A job that failed must not hang on its error's traceback, which holds this frame.
            job = self._next() if job.error is None else None
            if job is not None:  # else the end of the worker awakens
                self._awaken()

    def _end_job(self, job: _Job[X, R], error: BaseException | None = None) -> None:
        job.done, job.error = True, error
        if not self._ordered:
            self._done.append(job)

    def _end_worker(self, worker: asyncio.Task[None]) -> None:
        first = self._workers.pop(worker)
        if not first.done:  # cancelled before its first step
            self._end_job(first, asyncio.CancelledError())
        self._awaken()

    def _next(self) -> _Job[X, R] | None:
        if not self._ahead or self.left or not self._asked:
            return None
        if self._full() or len(self._workers) > self._limit():
            return None
        chunk = self._feed.take()
        return self._begun(chunk) if chunk else None

    def _begun(self, chunk: list[X]) -> _Job[X, R]:
        job: _Job[X, R] = _Job(chunk)
        if self._ordered:
            self._queue.append(job)
        return job

    def _full(self) -> bool:
        """Tell whether enough outcomes wait to be told."""
        if self._ordered:
            return len(self._queue) >= 2 * self._limit()
        return len(self._done) >= self._limit()

    def _told(self) -> bool:
        """Tell whether an outcome can be told now."""
        while self._queue and self._queue[0].done:
            self._done.append(self._queue.popleft())
        return bool(self._done)

    async def _wait(self, seconds: float | None) -> None:
        """Wait for a job to end, for the source, for `stop`, or for so many seconds.

        Callbacks that stay with their tasks: `asyncio.wait` puts one on each task and takes it off
        again, each time, which comes to 20 µs a batch with 16 in flight.
        """
        loop = asyncio.get_running_loop()
        self._nudge = loop.create_future()
        reading = self._feed.reading if len(self._workers) < self._limit() else None
        if reading is not None:
            reading.add_done_callback(self._awaken)
        timer = None if seconds is None else loop.call_later(seconds, self._awaken)
        try:
            await self._nudge
        finally:
            if reading is not None:
                reading.remove_done_callback(self._awaken)
            if timer is not None:
                timer.cancel()

    def _awaken(self, _: object = None) -> None:
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def untold(self) -> list[R]:
        """Take the outcomes of jobs that ended without their consumer being told."""
        ended = [*self._done, *(job for job in self._queue if job.done)]
        self._done.clear()
        self._queue.clear()
        return [job.outcome() for job in ended if job.error is None]

    async def _wind_up(self) -> None:
        """Begin nothing more, and give what is under way its grace."""
        self.left = True
        await self._feed.close()
        if self._workers and self._grace:
            await asyncio.wait(self._workers, timeout=self._grace)

    async def _end(self) -> None:
        try:
            await self._wind_up()
        finally:
            for worker in self._workers:
                worker.cancel()
            try:
                if self._workers:
                    await asyncio.wait(self._workers)
            finally:  # cancelled again meanwhile, it has ended all the same
                self.ended.set()


class Stream(Leavable, ABC, Generic[R]):
    """An async iterable whose every loop runs afresh, and ends when it is left."""

    def __aiter__(self) -> AsyncGenerator[R, None]:
        return self._begun(*self._begin())

    @abstractmethod
    def _begin(self) -> tuple[AsyncGenerator[R, None], Run]:
        """Make a run's generator, and what stops and awaits that run."""
