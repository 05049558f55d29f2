"""Many jobs at once: the gate that adapts, the batcher, the worker pool, the stream."""

import asyncio
import contextlib
import gc
import itertools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import pytest

from portsip_async.bulk.workers import AdaptiveGate, Batcher, JobStream, WorkerPool
from portsip_async.core.tasks import Run
from portsip_async.errors import (
    BadRequest,
    ConnectError,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    ServerError,
    TransportError,
)

from .concurrency import LoopOwner, collect_into, in_background, until, yield_to_loop
from .statuses import Source

X = TypeVar("X")


def opened(ceiling: int, limit: int) -> AdaptiveGate:
    """Make a gate at a limit, after its first climb."""
    gate = AdaptiveGate(ceiling)
    gate._doubling = False
    gate.limit = limit
    return gate


async def pass_round(gate: AdaptiveGate, *errors: PortSIPError | None) -> None:
    """Let attempts be in flight together. End each with its error, or None for success."""
    tickets = [await gate.enter() for _ in errors]
    for ticket, error in zip(tickets, errors, strict=True):
        gate.leave(ticket, error, repeated=False)


class TestAdaptiveGate:
    @pytest.mark.parametrize(
        ("error", "limit"),
        [
            (RateLimited(status=429), 4),
            (ServerError(status=503), 4),
            (ServerError(status=500), 4),
            (RequestTimeout("late"), 4),
            (BadRequest(status=400), 8),
            (ConnectError("refused"), 8),
            (TransportError("cut"), 8),
            (None, 8),
        ],
    )
    async def test_push_back_halves_the_limit(self, error: PortSIPError | None, limit: int) -> None:
        """Other failures leave the limit unchanged."""
        gate = opened(16, 8)
        await pass_round(gate, error)
        assert gate.limit == limit

    async def test_limit_decreases_once_per_round_trip(self) -> None:
        """Eight refusals of requests that were in flight together count once."""
        gate = opened(16, 8)
        await pass_round(gate, *[RateLimited(status=429)] * 8)
        assert gate.limit == 4
        await pass_round(gate, *[RateLimited(status=429)] * 4)
        assert gate.limit == 2

    async def test_room_goes_to_the_admitted_attempt(self) -> None:
        """A later attempt can't take the room of one that was admitted but not yet resumed."""
        gate = opened(1, 1)
        ticket = await gate.enter()
        async with in_background(gate.enter()) as (waiting,):
            await yield_to_loop()
            gate.leave(ticket, None, repeated=False)
            assert gate.admit() is None
            gate.leave(await waiting, None, repeated=False)
        assert gate.admit() is not None

    async def test_old_success_does_not_raise_the_limit(self) -> None:
        """A request sent before a decrease shows nothing about the new limit."""
        gate = opened(16, 8)
        await pass_round(gate, RateLimited(status=429), *[None] * 7)
        assert gate.limit == 4
        await pass_round(gate, *[None] * 3)
        assert gate.limit == 4

    async def test_limit_grows_by_one_per_round(self) -> None:
        gate = opened(16, 4)
        for expected in (5, 6, 7):
            await pass_round(gate, *[None] * gate.limit)
            assert gate.limit == expected

    async def test_limit_stays_between_one_and_the_ceiling(self) -> None:
        gate = opened(3, 2)
        for _ in range(5):
            await pass_round(gate, RateLimited(status=429))
        assert gate.limit == 1
        for _ in range(9):
            await pass_round(gate, *[None] * gate.limit)
        assert gate.limit == 3

    async def test_limit_doubles_until_the_first_push_back(self) -> None:
        gate = AdaptiveGate(64)
        gate.limit = 4
        await pass_round(gate, *[None] * 4)
        assert gate.limit == 8
        await pass_round(gate, ServerError(status=503))
        await pass_round(gate, *[None] * 4)
        assert gate.limit == 5

    async def test_gate_counts_attempts(self) -> None:
        gate = AdaptiveGate(4)
        ticket = await gate.enter()
        gate.leave(ticket, RateLimited(status=429), repeated=False)
        ticket = await gate.enter()
        gate.leave(ticket, None, repeated=True)
        assert (gate.requests, gate.retries) == (2, 1)

    async def test_waiters_enter_in_order(self) -> None:
        gate = opened(1, 1)
        entered: list[int] = []

        async def enter(at: int) -> None:
            ticket = await gate.enter()
            entered.append(at)
            await asyncio.sleep(0)
            gate.leave(ticket, None, repeated=False)

        await asyncio.gather(*map(enter, range(5)))
        assert entered == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("woken", [False, True])
    async def test_cancelled_waiter_passes_its_turn_on(self, woken: bool) -> None:
        """The next one enters, whether the cancelled one was waiting or just admitted."""
        gate = opened(1, 1)
        ticket = await gate.enter()
        async with in_background(gate.enter(), gate.enter()) as (first, second):
            await yield_to_loop()
            if woken:
                gate.leave(ticket, None, repeated=False)
                first.cancel()
            else:
                first.cancel()
                await yield_to_loop()
                gate.leave(ticket, None, repeated=False)
            async with asyncio.timeout(5):
                await second
            assert first.cancelled()


Job = Callable[[list[Any]], Awaitable[Any]]


async def answer(batch: list[Any]) -> list[Any]:
    await asyncio.sleep(0)
    return batch


def make_pool(source: Any, size: int = 3, limit: int = 2, **options: Any) -> WorkerPool[Any, Any]:
    owner = options.pop("owner", LoopOwner())
    return WorkerPool(
        Batcher(source, lambda: size, owner=owner),
        options.pop("job", answer),
        owner=owner,
        limit=lambda: limit,
        **options,
    )


async def all_results(pool: WorkerPool[Any, Any]) -> list[Any]:
    return [outcome async for outcome in pool.results()]


class Restless(Iterator[int]):
    """An iterator that breaks the rules: it continues after its end and after its error."""

    def __init__(self, script: Iterable[int | Exception]) -> None:
        self.script = iter(script)

    def __next__(self) -> int:
        item = next(self.script)
        if isinstance(item, Exception):
            raise item
        return item


class TestBatcher:
    async def test_batches_have_the_given_size(self) -> None:
        assert await all_results(make_pool(range(7))) == [[0, 1, 2], [3, 4, 5], [6]]

    async def test_empty_source(self) -> None:
        source: Source[int] = Source()
        source.end()
        assert await all_results(make_pool([])) == await all_results(make_pool(source)) == []

    async def test_source_is_not_read_after_its_end(self) -> None:
        """An iterator that ended is not asked for more."""
        source = Restless([1, 2, StopIteration(), 3])
        assert await all_results(make_pool(source)) == [[1, 2]]

    async def test_source_is_not_read_after_its_error(self) -> None:
        """The error comes after the items before it."""
        pool = make_pool(Restless([1, 2, 3, 4, KeyError("first"), 5, KeyError("second")]))
        run = pool.results()
        assert [await anext(run), await anext(run)] == [[1, 2, 3], [4]]
        with pytest.raises(KeyError, match="first"):
            await anext(run)

    async def test_trickling_source(self) -> None:
        """If an async source pauses, its items so far form a batch. Nothing is lost."""
        source = Source([1, 2])
        found: list[Any] = []
        async with asyncio.timeout(5):
            async for batch in make_pool(source).results():
                found.append(batch)
                if len(found) == 1:
                    source.give(3)
                elif len(found) == 2:
                    source.give(4, 5, 6, 7)
                    source.end()
        assert found == [[1, 2], [3], [4, 5, 6], [7]]

    async def test_async_source_is_read_at_most_one_batch_ahead(self) -> None:
        source = Source(range(100))
        pool = make_pool(source, size=3, limit=2)
        run = pool.results()
        await anext(run)
        await yield_to_loop(100)
        # Two finished batches, two running ones, and one that is being read.
        assert source.read <= 3 * (2 + 2 + 1)
        await run.aclose()

    async def test_cancelled_error_of_the_source(self) -> None:
        """A CancelledError of an async source is an error, not its end."""
        source = Source([1, 2])
        source.end(asyncio.CancelledError())
        pool = make_pool(source)
        run = pool.results()
        assert await anext(run) == [1, 2]
        with pytest.raises(asyncio.CancelledError):
            await anext(run)

    async def test_source_that_raises_when_closed(self) -> None:
        """An exception that a source raises while it is closed is ignored."""

        async def noisy() -> AsyncGenerator[int, None]:
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                raise KeyError("on the way out")

        run = make_pool(noisy()).results()
        assert await anext(run) == [1]
        await yield_to_loop()
        await run.aclose()

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    async def test_source_is_read_by_eager_tasks(self) -> None:
        """Tasks of an eager task factory may end as they are created, and lose no item."""

        async def source() -> AsyncGenerator[int, None]:
            for number in range(8):
                yield number

        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]  # from 3.12 on
        async with asyncio.timeout(5):
            assert await all_results(make_pool(source())) == [[0, 1, 2], [3, 4, 5], [6, 7]]


class TestWorkerPool:
    async def test_ordered_results_are_bounded(self) -> None:
        """While the first job runs, the results of the others wait, and few others begin."""
        first = asyncio.Event()
        begun: list[int] = []

        async def job(batch: list[int]) -> int:
            begun.append(batch[0])
            if batch[0] == 0:
                await first.wait()
            return batch[0]

        pool = make_pool(range(100), size=1, limit=4, job=job, ordered=True)
        found: list[int] = []
        run = pool.results()
        async with in_background(anext(run)) as (waiting,):
            await until(lambda: len(begun) >= 8)
            await yield_to_loop(50)
            assert begun == [0, 1, 2, 3, 4, 5, 6, 7]
            first.set()
            found = [await waiting] + [outcome async for outcome in run]
        assert found == list(range(100))

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_pausing_consumer_bounds_the_jobs(self, ordered: bool) -> None:
        """Jobs that finish at once don't run far ahead of a slow consumer."""
        begun: list[int] = []

        async def job(batch: list[int]) -> int:
            begun.append(batch[0])
            return batch[0]

        source = itertools.count()
        pool = make_pool(source, size=1, limit=3, job=job, ordered=ordered)
        run = pool.results()
        async with aclosing(run):
            for count in range(1, 21):
                await anext(run)
                await yield_to_loop()
                assert len(begun) <= count + 2 * 3

    async def test_no_job_begins_while_the_consumer_pauses(self) -> None:
        """After the jobs in flight have ended, the next ones wait for the consumer."""
        ends = [asyncio.Event() for _ in range(9)]
        begun: list[int] = []

        async def job(batch: list[int]) -> int:
            begun.append(batch[0])
            await ends[batch[0]].wait()
            return batch[0]

        run = make_pool(range(9), size=1, limit=4, job=job).results()
        async with aclosing(run):
            ends[0].set()
            assert await anext(run) == 0
            await yield_to_loop()
            assert sorted(begun) == [0, 1, 2, 3, 4]
            ends[1].set()
            await yield_to_loop()
            assert sorted(begun) == [0, 1, 2, 3, 4]
            assert await anext(run) == 1
            await yield_to_loop()
            assert sorted(begun) == [0, 1, 2, 3, 4]
            ends[2].set()
            assert await anext(run) == 2
            await yield_to_loop()
            assert sorted(begun) == [0, 1, 2, 3, 4, 5, 6]

    async def test_worker_cancelled_before_it_began(self) -> None:
        """The loop raises, instead of silently skipping the worker's jobs."""

        class Canceller(LoopOwner):
            def start(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
                task = super().start(coroutine)
                task.cancel()
                return task

        run = make_pool([1], owner=Canceller()).results()
        with pytest.raises(asyncio.CancelledError):
            await anext(run)

    async def test_errors_of_several_jobs(self, caplog: pytest.LogCaptureFixture) -> None:
        """The first error is raised. asyncio doesn't report the others as never retrieved."""

        async def job(batch: list[int]) -> None:
            raise ServerError(status=500)

        with contextlib.suppress(ServerError):
            await all_results(make_pool(range(40), limit=8, job=job))
        await yield_to_loop()
        gc.collect()  # asyncio reports an error that was never retrieved when its task is collected
        assert caplog.messages == []

    async def test_results_are_yielded_before_an_error(self) -> None:
        """So are results of jobs that end in the grace period. No other job begins."""
        begun: list[int] = []

        async def job(batch: list[int]) -> int:
            begun.append(batch[0])
            if batch[0] == 1:
                raise ServerError(status=500)
            await yield_to_loop(batch[0])
            return batch[0]

        run = make_pool(range(9), size=1, limit=4, job=job, grace=5.0).results()
        found: list[int] = []
        with pytest.raises(ServerError):
            await collect_into(found, run)
        assert sorted([*found, 1]) == sorted(begun)

    async def test_source_that_raises_cancelled_error(self) -> None:
        """A CancelledError of the source is raised like any other error."""

        def source() -> Iterator[int]:
            yield 1
            raise asyncio.CancelledError

        found: list[list[int]] = []
        with pytest.raises(asyncio.CancelledError):
            await collect_into(found, make_pool(source()).results())
        assert found == [[1]]

    async def test_cancelled_job_ends_the_run(self) -> None:
        """If something cancels a job, the loop raises instead of silently dropping its batch."""
        started: list[asyncio.Task[Any]] = []

        async def job(batch: list[int]) -> list[int]:
            task = asyncio.current_task()
            assert task is not None
            started.append(task)
            await asyncio.Event().wait()
            return batch

        run = make_pool(range(9), job=job).results()
        async with in_background(anext(run)) as (waiting,):
            await until(lambda: started)
            started[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert all(task.done() for task in started)

    async def test_grace(self) -> None:
        """Jobs in flight may finish after the consumer left the run, and can see that it left."""
        ended: list[bool] = []
        go_on = asyncio.Event()

        async def job(batch: list[int]) -> int:
            if batch[0]:
                await go_on.wait()
            ended.append(pool.left)
            return batch[0]

        pool = make_pool(range(100), size=1, limit=4, job=job, grace=5.0)
        run = pool.results()
        assert await anext(run) == 0
        async with in_background(run.aclose()) as (leaving,):
            await yield_to_loop()
            go_on.set()
            await leaving
        assert ended == [False, True, True, True, True]

    async def test_no_job_begins_after_a_stop(self) -> None:
        """Not even if a job ends at the moment of the stop."""
        begun: list[int] = []
        go_on = asyncio.Event()

        async def job(batch: list[int]) -> int:
            begun.append(batch[0])
            await go_on.wait()
            return batch[0]

        pool = make_pool(range(100), size=1, limit=2, job=job, grace=5.0)
        run = pool.results()
        async with in_background(anext(run)) as (waiting,):
            await until(lambda: len(begun) == 2)
            go_on.set()
            pool.stop()
            with pytest.raises(StopAsyncIteration):
                await waiting
        assert begun == [0, 1]


class Numbers(JobStream[int]):
    """A stream over a pool, without a PBX."""

    def __init__(self, source: Any, job: Any = answer, **options: Any) -> None:
        super().__init__()
        self.options = {"source": source, "size": 1, "job": job, **options}

    def _start_run(self) -> tuple[AsyncGenerator[Any, None], Run]:
        pool = make_pool(**self.options)
        return pool.results(), pool


class TestJobStream:
    async def test_loop_ends_without_a_task(self) -> None:
        """Right after a loop has ended by itself, none of its tasks is left."""
        before = asyncio.all_tasks()
        async for _ in Numbers(range(7)):
            pass
        assert asyncio.all_tasks() == before

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_aclose_leaves_no_task(self, ordered: bool) -> None:
        before = asyncio.all_tasks()
        stream = Numbers(range(100), ordered=ordered)
        async for _ in stream:
            await stream.aclose()
            assert asyncio.all_tasks() == before

    async def test_async_with_after_a_break(self) -> None:
        """`async with` also waits for a loop that was left and has already dropped its run."""
        ended: list[int] = []

        async def job(batch: list[int]) -> int:
            try:
                await asyncio.sleep(0 if batch[0] == 0 else 60)
            finally:
                await yield_to_loop()
                ended.append(batch[0])
            return batch[0]

        async with Numbers(range(100), job) as stream:
            async for _ in stream:
                break
        assert sorted(ended) == [0, 1, 2]

    async def test_aclose_after_another_loop_began(self) -> None:
        """`aclose` also waits for an earlier loop that was left and has not yet ended."""
        ended: list[int] = []

        async def job(batch: list[int]) -> int:
            try:
                await asyncio.sleep(0 if batch[0] == 0 else 60)
            finally:
                await yield_to_loop()
                ended.append(batch[0])
            return batch[0]

        stream = Numbers(range(100), job)
        async for _ in stream:
            break
        aiter(stream)
        await stream.aclose()
        assert sorted(ended) == [0, 1, 2]

    async def test_aclose_before_the_first_result(self) -> None:
        """A loop that never began has nothing to end."""
        stream = Numbers(range(100))
        run = aiter(stream)
        dropped = aiter(stream)
        del dropped
        async with asyncio.timeout(5):
            await stream.aclose()
        assert [number async for number in run] == []

    async def test_ended_runs_are_not_kept(self) -> None:
        """A stream that is used for weeks keeps none of the loops that ended."""
        stream = Numbers(range(3))
        for _ in range(50):
            assert len(await outcome_list(stream)) == 3
        assert len(stream._runs) == 1

    async def test_aclose_ends_a_loop_that_waits(self) -> None:
        async def job(batch: list[int]) -> None:
            await asyncio.Event().wait()

        async def loop() -> str:
            async for _ in stream:
                pass
            return "ended"

        stream = Numbers(range(100), job)
        async with in_background(loop()) as (looping,), asyncio.timeout(5):
            await yield_to_loop()
            await stream.aclose()
            assert await looping == "ended"

    async def test_aclose_does_not_wait_for_a_consumer(self) -> None:
        """A result that arrives during `aclose` must not make it wait for the consumer."""
        go_on = asyncio.Event()

        async def job(batch: list[int]) -> int:
            await go_on.wait()
            return batch[0]

        stream = Numbers(range(100), job)
        run = aiter(stream)
        async with in_background(anext(run)) as (waiting,), asyncio.timeout(5):
            await yield_to_loop()
            go_on.set()
            await stream.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting

    async def test_concurrent_aclose(self) -> None:
        stream = Numbers(range(100))
        run = aiter(stream)
        await anext(run)
        await asyncio.gather(stream.aclose(), stream.aclose())
        assert [number async for number in run] == []

    async def test_two_loops(self) -> None:
        stream = Numbers(range(5))
        both = await asyncio.gather(*(outcome_list(stream) for _ in range(2)))
        assert both == [[[0], [1], [2], [3], [4]]] * 2


async def outcome_list(stream: JobStream[int]) -> list[Any]:
    return [outcome async for outcome in stream]
