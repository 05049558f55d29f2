"""Many extensions read at a time: a result for each number, and nothing left behind."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from portsip_async import (
    AuthenticationError,
    BulkResult,
    ClientClosed,
    Extension,
    NotFound,
    PortSIPClient,
    RetryPolicy,
    ServerError,
)
from portsip_async.simulator import Faults, PBXSimulator

from .concurrency import collect_into, in_background, until, yield_to_loop
from .conftest import QUICK, ClientMaker
from .test_poll import our_tasks

SHOW = "extensions.show"


async def all_of(run: Any) -> list[BulkResult[Extension]]:
    return [result async for result in run]


class TestEachNumber:
    @pytest.mark.parametrize("ordered", [False, True])
    async def test_each_number_has_one_result(
        self, pbx: PortSIPClient, sim: PBXSimulator, ordered: bool
    ) -> None:
        """Each occurrence has one result, with its index, its number and its extension."""
        numbers = [*sim.extension_numbers[:60], *sim.extension_numbers[:5]]
        sim.faults = Faults(latency=0.001)
        results = await all_of(pbx.extensions.show_many(numbers, ordered=ordered))
        if ordered:
            assert [result.index for result in results] == list(range(65))
        assert sorted(result.index for result in results) == list(range(65))
        for result in results:
            assert result.key == numbers[result.index]
            assert result.value is not None
            assert result.value.extension_number == result.key
            assert (result.error, result.settled, result.skipped) == (None, False, False)
        assert sim.served[SHOW] == 65

    async def test_order_with_a_slow_first_number(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """Later numbers wait for the first one, and few are read meanwhile."""
        sim.fail(SHOW, latency=0.2)
        numbers = sim.extension_numbers[:100]
        run = pbx.extensions.show_many(numbers, concurrency=4, ordered=True)
        iterator = aiter(run)
        async with in_background(anext(iterator)) as (first,):
            await until(lambda: sim.served[SHOW] >= 8)
            await asyncio.sleep(0.03)
            assert sim.served[SHOW] == 8
            found = [await first, *[result async for result in iterator]]
        assert [result.key for result in found] == [*numbers]

    async def test_number_that_does_not_exist(self, pbx: PortSIPClient) -> None:
        """Its result has the error. So have the results of items that are not numbers."""
        numbers: list[Any] = ["101", "nobody", "", 7, None, "102"]
        results = await all_of(pbx.extensions.show_many(numbers, ordered=True))
        kinds = [type(result.error) for result in results]
        assert kinds == [type(None), NotFound, ValueError, TypeError, TypeError, type(None)]
        assert [result.key for result in results] == ["101", "nobody", "", "7", "NoneType", "102"]
        assert [result.value is None for result in results] == [False, *[True] * 4, False]

    async def test_failed_reads_are_retried_and_never_in_doubt(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A read is retried like any other. One that finally fails has changed nothing."""
        pbx = make_client(retry=QUICK)
        sim.fail(SHOW, status=503, times=3)
        run = pbx.extensions.show_many(sim.extension_numbers[:20])
        assert {result.error for result in await all_of(run)} == {None}
        pbx = make_client(retry=RetryPolicy(attempts=1))
        sim.fail(SHOW, drop=True, times=None)
        run = pbx.extensions.show_many(sim.extension_numbers[:20])
        results = await all_of(run)
        assert None not in {result.error for result in results}
        assert {result.settled for result in results} == {False}
        assert run.in_doubt == []

    async def test_endless_and_async_sources(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A source is read only as fast as requests can start."""
        read = 0

        async def numbers() -> AsyncIterator[str]:
            nonlocal read
            for number in itertools.cycle(sim.extension_numbers):
                read += 1
                yield number

        async with pbx.extensions.show_many(numbers(), concurrency=3) as run:
            count = 0
            async for _ in run:
                count += 1
                assert read - count <= 2 * 3 + 1
                if count == 50:
                    break

    async def test_concurrency_is_a_ceiling(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        sim.faults = Faults(latency=0.002)
        await all_of(pbx.extensions.show_many(sim.extension_numbers[:100], concurrency=5))
        assert sim.peak_in_flight == 5

    @pytest.mark.parametrize("numbers", ["101", b"101", 7, None])
    def test_wrong_numbers(self, pbx: PortSIPClient, numbers: Any) -> None:
        with pytest.raises(TypeError):
            pbx.extensions.show_many(numbers)

    @pytest.mark.parametrize("concurrency", [0, -1, True, 1.5])
    def test_wrong_concurrency(self, pbx: PortSIPClient, concurrency: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            pbx.extensions.show_many(["101"], concurrency=concurrency)


class TestLeaving:
    async def test_break_cancels_the_reads_at_once(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A read has nothing to finish, so there is no grace period."""
        sim.fail(SHOW, latency=0.001)
        sim.fail(SHOW, latency=20.0, times=None)
        run = pbx.extensions.show_many(sim.extension_numbers)
        async with asyncio.timeout(5), run:
            async for _ in run:
                break
        assert our_tasks() == []
        assert run.in_doubt == []
        assert run.late_results == []

    async def test_cancellation(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        sim.fail(SHOW, latency=20.0, times=None)
        run = pbx.extensions.show_many(sim.extension_numbers)
        reading = asyncio.ensure_future(all_of(run))
        await until(lambda: sim.served[SHOW] == 8)
        reading.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await reading
        await yield_to_loop()
        assert our_tasks() == []

    async def test_closed_client(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        run = aiter(pbx.extensions.show_many(sim.extension_numbers))
        await anext(run)
        await pbx.close()
        with pytest.raises(ClientClosed):
            await all_of(run)

    async def test_fatal_error(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Repeatedly rejected tokens end the run, because every further read would fail, too."""
        sim.fail(SHOW, status=401, err_code="403.4", times=None)
        with pytest.raises(AuthenticationError):
            await all_of(pbx.extensions.show_many(sim.extension_numbers))

    async def test_error_of_the_source(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """It is raised after the results of all numbers before it."""

        async def numbers() -> AsyncIterator[str]:
            for number in sim.extension_numbers[:10]:
                yield number
            raise KeyError("the source broke")

        found: list[BulkResult[Extension]] = []
        with pytest.raises(KeyError):
            await collect_into(found, pbx.extensions.show_many(numbers()))
        assert len(found) == 10


async def test_server_errors_stay_with_their_numbers(
    sim: PBXSimulator, make_client: ClientMaker
) -> None:
    pbx = make_client(retry=RetryPolicy(attempts=1))
    sim.fail(SHOW, status=500, times=2)
    results = await all_of(pbx.extensions.show_many(sim.extension_numbers[:10]))
    errors = [result.error for result in results if result.error is not None]
    assert [type(error) for error in errors] == [ServerError] * 2
