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
from typing import Any, Final, Generic, TypeVar

from ..errors import PortSIPError, RateLimited, RequestTimeout, ServerError
from .runs import Leavable, Run

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
        self.limit = max(1, ceiling // 2)
        self.requests = 0
        self.retries = 0
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
        """Wait until there is room; answers the time of entry, in decreases."""
        while self._in_flight >= self.limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # the turn was given to one who is gone
                raise
        self._in_flight += 1
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
        room = self.limit - self._in_flight
        while room > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1


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
        self.ended = False
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
            for item in items:
                chunk.append(item)
                if len(chunk) == self._size:
                    return chunk
        except Exception as error:
            self.error = error
        self.ended = True
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
            grace: seconds that jobs may take to end once the run was left.
        """
        self._feed = feed
        self._job = job
        self._start = start
        self._check = check
        self._limit = limit
        self._ordered = ordered
        self._grace = grace
        self._running: dict[asyncio.Task[R], None] = {}
        self._queue: deque[asyncio.Task[R]] = deque()  # of an ordered run
        self._done: deque[asyncio.Task[R]] = deque()  # whose outcome is told next
        self._nudge: asyncio.Future[None] | None = None
        self.left = False
        self.ended = asyncio.Event()
        self.ended.set()

    def stop(self) -> None:
        """Ask the run to end, even while its consumer waits in another task."""
        self.left = True
        self._awaken()

    async def outcomes(self) -> AsyncGenerator[R, None]:
        """Run all jobs; answer each as it ends, or in order.

        Raises:
            Exception: what a job raised, at once; what the source raised, after all outcomes.
        """
        self.ended.clear()
        try:
            while not self.left:
                self._check()
                lingering = self._fill()
                self._collect()
                if not self._done:
                    if not self._running and self._feed.ended:
                        break
                    await self._wait(LINGER if lingering else None)
                    if self.left:
                        break
                    self._collect()
                    if self._done or lingering:
                        self._fill(partial=not self._done)
                while self._done:
                    task = self._done.popleft()
                    if task.cancelled():
                        self._check()
                    yield task.result()
            if self._feed.error is not None and not self.left:
                raise self._feed.error
        finally:
            await self._end()

    def _fill(self, *, partial: bool = False) -> bool:
        """Start jobs while there is room; tells whether an async source holds part of a chunk."""
        while not self._full():
            chunk = self._feed.take(partial=partial)
            if not chunk:
                return self._feed.holds
            task: asyncio.Task[R] = self._start(self._job(chunk))
            task.add_done_callback(self._awaken)
            self._running[task] = None
            if self._ordered:
                self._queue.append(task)
        return False

    def _full(self) -> bool:
        limit = self._limit()
        if len(self._running) >= limit:
            return True
        return self._ordered and len(self._queue) >= 2 * limit

    def _collect(self) -> None:
        """Set apart the tasks whose outcome can be told."""
        done = [task for task in self._running if task.done()]
        for task in done:
            del self._running[task]
        if not self._ordered:
            self._done += done
        while self._queue and self._queue[0].done():
            self._done.append(self._queue.popleft())

    async def _wait(self, seconds: float | None) -> None:
        """Wait for a job to end, for the source, for `stop`, or for so many seconds.

        Callbacks that stay with their tasks: `asyncio.wait` puts one on each task and takes it off
        again, each time, which comes to 20 µs a batch with 16 in flight.
        """
        loop = asyncio.get_running_loop()
        self._nudge = loop.create_future()
        reading = None if self._full() else self._feed.reading
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

    async def _end(self) -> None:
        self.left = True
        try:
            await self._feed.close()
            if self._running and self._grace:
                await asyncio.wait(self._running, timeout=self._grace)
        finally:
            for task in self._running:
                task.cancel()
            left = [*self._running, *self._queue, *self._done]
            if left:
                # Their errors are nobody's any more, and must not be reported as forgotten.
                await asyncio.gather(*left, return_exceptions=True)
            self.ended.set()


class Stream(Leavable, ABC, Generic[R]):
    """An async iterable whose every loop runs afresh, and ends when it is left."""

    def __aiter__(self) -> AsyncGenerator[R, None]:
        return self._begun(*self._begin())

    @abstractmethod
    def _begin(self) -> tuple[AsyncGenerator[R, None], Run]:
        """Make a run's generator, and what stops and awaits that run."""
