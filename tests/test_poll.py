"""Polls: one result for each number, whatever the numbers, the PBX and the consumer do."""

import asyncio
import gc
import itertools
import math
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import portsip_async
from portsip_async import (
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConfigurationError,
    ExtensionStatus,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    StatusMissing,
    StatusResult,
    TransportError,
)
from portsip_async.bulk.status_poll import StatusPoll
from portsip_async.simulator import Faults, PBXSimulator

from .concurrency import LoopOwner, in_background, until, yield_to_loop
from .conftest import ClientMaker
from .statuses import Source, Statuses

STATUS = "extensions.status"
SDK = str(Path(portsip_async.__file__).parent)
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def statuses() -> Statuses:
    return Statuses()


def poll_of(
    statuses: Statuses,
    numbers: Any,
    *,
    batch_size: int = 10,
    concurrency: int = 4,
    ordered: bool = False,
) -> StatusPoll[ExtensionStatus]:
    """Poll the scripted PBX, with the full concurrency from the start."""
    poll = StatusPoll(
        statuses.source(),
        numbers,
        owner=LoopOwner(),
        batch_size=batch_size,
        concurrency=concurrency,
        ordered=ordered,
    )
    start_run = poll._start_run

    def start_open_run() -> Any:
        run = start_run()
        assert poll._reader is not None
        poll._reader.gate.limit = concurrency
        return run

    poll._start_run = start_open_run  # type: ignore[method-assign]  # skips the first climb
    return poll


async def all_of(poll: StatusPoll) -> list[StatusResult]:
    return [result async for result in poll]


def asked(results: list[StatusResult]) -> list[str]:
    return [result.extension_number for result in results]


def errors(results: list[StatusResult]) -> dict[object, type[Exception]]:
    return {
        result.extension_number: type(result.error)
        for result in results
        if result.error is not None
    }


def our_tasks() -> list[str]:
    """Return the names of the SDK's tasks, without those of the test and the simulator."""
    names = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    return [code.co_name for code in names if code and SDK in code.co_filename]


async def drip(numbers: list[str]) -> AsyncGenerator[str, None]:
    for number in numbers:
        await asyncio.sleep(0)
        yield number


class TestEachNumber:
    @pytest.mark.parametrize("ordered", [False, True])
    @pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
    async def test_once(
        self, pbx: PortSIPClient, sim: PBXSimulator, batch_size: int, ordered: bool
    ) -> None:
        """Each occurrence of a number gets one result, also if it is a duplicate."""
        some = sim.extension_numbers
        numbers = some[:50] + some[:3] + some[40:120] + [some[0]] * 30
        poll = pbx.extensions.poll_status(numbers, batch_size=batch_size, ordered=ordered)
        results = await all_of(poll)
        assert sorted(asked(results)) == sorted(numbers)
        if ordered:
            assert asked(results) == numbers
        for result in results:
            assert result.error is None
            assert result.status is not None
            assert result.status.extension_number == result.extension_number
        assert sim.served[STATUS] == math.ceil(len(numbers) / batch_size) == poll.stats.requests

    async def test_duplicates_of_a_batch_are_requested_once(self, statuses: Statuses) -> None:
        results = await all_of(poll_of(statuses, ["1", "2", "1", "1", "3", "2"]))
        assert statuses.asked == [["1", "2", "3"]]
        assert asked(results) == ["1", "2", "1", "1", "3", "2"]

    @pytest.mark.parametrize(
        "make",
        [
            list,
            tuple,
            iter,
            dict.fromkeys,
            lambda numbers: (number for number in numbers),
            drip,
            Source,
        ],
    )
    async def test_any_iterable(self, pbx: PortSIPClient, sim: PBXSimulator, make: Any) -> None:
        numbers = sim.extension_numbers[:25]
        source = make(numbers)
        if isinstance(source, Source):
            source.end()
        results = await all_of(pbx.extensions.poll_status(source, batch_size=10))
        assert sorted(asked(results)) == numbers

    async def test_no_numbers(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """Without numbers nothing is sent, not even a login."""
        assert await all_of(pbx.extensions.poll_status([])) == []
        assert sim.served == {}

    @pytest.mark.parametrize("quirk", ["status_omits_unknown", "status_shuffled"])
    async def test_reply_in_another_shape(self, quirk: str) -> None:
        """Replies are matched by number. Only numbers that a reply lacks are missing."""
        async with (
            PBXSimulator(extensions=20, quirks=[quirk, "status_stranger"]) as sim,
            PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx,
        ):
            numbers = [*sim.extension_numbers, "9999"]
            results = await all_of(pbx.extensions.poll_status(numbers, batch_size=7))
        assert sorted(asked(results)) == numbers
        missing = results[asked(results).index("9999")].error
        if quirk == "status_omits_unknown":
            assert isinstance(missing, StatusMissing)
            assert missing.extension_number == "9999"
        assert errors(results).keys() == {"9999"}

    @pytest.mark.parametrize(
        ("item", "kind"),
        [
            ("", ValueError),
            ("\ud800", ValueError),  # can't be encoded
            (101, TypeError),
            (None, TypeError),
            (b"101", TypeError),
            (["101"], TypeError),  # not hashable
        ],
    )
    async def test_bad_item(
        self, pbx: PortSIPClient, sim: PBXSimulator, item: Any, kind: type[Exception]
    ) -> None:
        """A bad item gets a result with an error. It is not sent, and doesn't affect the others."""
        results = await all_of(pbx.extensions.poll_status(["101", item, "102"]))
        assert [result.extension_number for result in results] == ["101", item, "102"]
        assert [type(result.error) for result in results] == [type(None), kind, type(None)]
        assert sim.served[STATUS] == 1

    async def test_only_bad_items(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        results = await all_of(pbx.extensions.poll_status(["", ""]))
        assert [type(result.error) for result in results] == [ValueError, ValueError]
        assert sim.served == {}

    @pytest.mark.parametrize(
        ("numbers", "options", "kind"),
        [
            ("101", {}, TypeError),
            (b"101", {}, TypeError),
            (101, {}, TypeError),
            (None, {}, TypeError),
            (["101"], {"batch_size": 0}, ValueError),
            (["101"], {"batch_size": 1.5}, TypeError),
            (["101"], {"batch_size": True}, TypeError),
            (["101"], {"concurrency": 0}, ValueError),
            (["101"], {"concurrency": None}, TypeError),
        ],
    )
    async def test_bad_arguments(
        self,
        pbx: PortSIPClient,
        numbers: Any,
        options: dict[str, Any],
        kind: type[Exception],
    ) -> None:
        """The call raises, before anything is iterated."""
        with pytest.raises(kind):
            pbx.extensions.poll_status(numbers, **options)


class TestSplitting:
    @pytest.mark.parametrize(
        ("bad", "most"),
        [
            ([0], 15),
            ([50], 15),
            ([99], 15),
            ([0, 1], 28),
            ([0, 99], 28),
            ([10, 40, 80], 42),
            (list(range(0, 100, 10)), 133),
            (list(range(20)), 133),  # the start of a range that was removed
            (list(range(80, 100)), 133),
        ],
    )
    async def test_bad_numbers_affect_no_others(
        self, statuses: Statuses, bad: list[int], most: int
    ) -> None:
        """A bad number affects no other number, and costs about 2·log2(batch) requests."""
        numbers = [str(number) for number in range(100)]
        statuses.refused = {str(number) for number in bad}
        poll = poll_of(statuses, numbers, batch_size=100, ordered=True)
        results = await all_of(poll)
        assert asked(results) == numbers
        assert errors(results) == {str(number): NotFound for number in bad}
        assert len(statuses.asked) <= most
        # Each split turns one batch into two.
        assert len(statuses.asked) == 1 + 2 * poll.stats.splits

    async def test_bad_numbers_at_a_simulator(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        numbers = [*sim.extension_numbers[:99], "9999"]
        poll = pbx.extensions.poll_status(numbers)
        results = await all_of(poll)
        assert errors(results) == {"9999": NotFound}
        assert sim.served[STATUS] == poll.stats.requests == 1 + 2 * poll.stats.splits
        assert poll.stats.splits <= 7

    @pytest.mark.parametrize("error", [{"status": 400}, {"status": 404, "err_code": 404.1}])
    async def test_batch_that_is_refused_as_a_whole(
        self, pbx: PortSIPClient, sim: PBXSimulator, error: dict[str, Any]
    ) -> None:
        """If the first eight single numbers are refused, too, all numbers share the error."""
        sim.fail(STATUS, times=None, **error)
        results = await all_of(pbx.extensions.poll_status(sim.extension_numbers[:100]))
        assert len(results) == 100
        assert {type(result.error) for result in results} <= {BadRequest, NotFound}
        assert sim.served[STATUS] == 22

    @pytest.mark.parametrize("count", [1, 2, 7, 8, 9])
    async def test_few_numbers_all_refused(self, statuses: Statuses, count: int) -> None:
        numbers = [str(number) for number in range(count)]
        statuses.refused = set(numbers)
        results = await all_of(poll_of(statuses, numbers, batch_size=100))
        assert len(errors(results)) == count
        assert len(statuses.asked) == 2 * count - 1

    @pytest.mark.parametrize("err_code", [404.2, "404.2"])
    async def test_wrong_address_splits_no_batch(
        self, pbx: PortSIPClient, sim: PBXSimulator, err_code: object
    ) -> None:
        """A NotFound of the address itself is not blamed on a number."""
        sim.fail(STATUS, status=404, err_code=err_code, times=None)  # type: ignore[arg-type]  # of two types
        results = await all_of(pbx.extensions.poll_status(sim.extension_numbers[:100]))
        assert set(errors(results).values()) == {NotFound}
        assert sim.served[STATUS] == 1

    async def test_duplicates_of_a_bad_number(self, statuses: Statuses) -> None:
        statuses.refused = {"bad"}
        results = await all_of(poll_of(statuses, ["bad", "1", "bad", "2"]))
        assert [(asked, result.error is None) for asked, result in zip("x1x2", results)] == [  # noqa: B905 - names only
            ("x", False),
            ("1", True),
            ("x", False),
            ("2", True),
        ]

    async def test_failure_of_a_part(self, statuses: Statuses) -> None:
        """If a part fails, its numbers have the error, and the other parts are still requested."""
        statuses.refused = {"3"}
        statuses.fail = lambda count: TransportError("cut") if count == 2 else None
        results = await all_of(poll_of(statuses, list("01234567"), ordered=True))
        assert errors(results) == {**dict.fromkeys("0123", TransportError)}
        assert statuses.asked == [list("01234567"), list("0123"), list("4567")]


class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"drop": True}, TransportError),
            ({"truncate": True}, TransportError),
            ({"status": 503}, ServerError),
            ({"status": 429}, RateLimited),
            ({"body": b"<html>"}, PortSIPError),
        ],
    )
    async def test_failed_batch(
        self, sim: PBXSimulator, make_client: ClientMaker, fault: dict[str, Any], kind: type
    ) -> None:
        """Each number of the batch has the error, and the poll goes on."""
        sim.fail(STATUS, **fault)
        pbx = make_client(retry=ONCE)
        poll = pbx.extensions.poll_status(sim.extension_numbers[:40], batch_size=10, ordered=True)
        results = await all_of(poll)
        assert [isinstance(result.error, kind) for result in results] == [True] * 10 + [False] * 30
        assert [result.status is None for result in results] == [True] * 10 + [False] * 30

    async def test_deadline_of_each_batch(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Each batch has its own deadline."""
        sim.fail(STATUS, latency=5.0)
        pbx = make_client(retry=RetryPolicy(deadline=0.2))
        poll = pbx.extensions.poll_status(sim.extension_numbers[:30], batch_size=10, ordered=True)
        results = await all_of(poll)
        assert set(errors(results)) == set(sim.extension_numbers[:10])
        assert set(errors(results).values()) == {RequestTimeout}

    async def test_errors_of_batches_are_not_kept(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """An error is freed with its results, so batches that fail for weeks take no memory."""
        sim.fail(STATUS, times=None)
        pbx = make_client(retry=ONCE)
        results = await all_of(pbx.extensions.poll_status(sim.extension_numbers, batch_size=100))
        kept = [weakref.ref(error) for error in {result.error for result in results} if error]
        assert [getattr(error(), "__traceback__", ...) for error in kept] == [None] * 3
        assert len(kept) == 3
        del results
        await yield_to_loop()  # the loop still refers to the last wake-up
        gc.collect()
        assert [error() for error in kept] == [None] * 3

    async def test_repeats_are_counted(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        sim.fail(STATUS, status=503, times=2)
        poll = pbx.extensions.poll_status(sim.extension_numbers[:100], batch_size=10)
        assert errors(await all_of(poll)) == {}
        assert (poll.stats.requests, poll.stats.retries, poll.stats.splits) == (12, 2, 0)
        assert poll.stats.requests == sim.served[STATUS]

    async def test_faults_of_all_kinds(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Whatever happens to the requests, each number gets exactly one result."""
        sim.faults = Faults(server_error=0.1, html=0.05, dropped=0.1, truncated=0.05)
        pbx = make_client()
        numbers = sim.extension_numbers * 4
        results = []
        async for result in pbx.extensions.poll_status(numbers, batch_size=10, ordered=True):
            results.append(result)
            if len(results) % 400 == 0:
                sim.revoke()
        assert asked(results) == numbers
        assert all((result.status is None) != (result.error is None) for result in results)

    async def test_wrong_credentials_end_the_poll(
        self, sim: PBXSimulator, make_client: ClientMaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is one login and one error, and no log of the batches that failed with it."""
        pbx = make_client(username=sim.username, password="wrong")
        with pytest.raises(AuthenticationError):
            await all_of(pbx.extensions.poll_status(sim.extension_numbers, batch_size=5))
        await yield_to_loop()
        assert sim.served == {"account.verify": 1}
        assert [record for record in caplog.records if record.name == "asyncio"] == []

    @pytest.mark.parametrize(
        "error", [AuthenticationError(status=401), ConfigurationError("x"), ClientClosed("x")]
    )
    async def test_fatal_errors_end_the_poll(self, statuses: Statuses, error: PortSIPError) -> None:
        statuses.fail = lambda count: error if count == 3 else None
        found: list[StatusResult] = []
        poll = poll_of(statuses, map(str, itertools.count()), concurrency=1)

        async def loop() -> None:
            async for result in poll:
                found.append(result)  # noqa: PERF401 - what came before the error is to be seen

        with pytest.raises(type(error)):
            await loop()
        assert len(found) == 20

    async def test_client_closed_meanwhile(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        sim.fail(STATUS, latency=30.0, times=None)
        async with in_background(all_of(pbx.extensions.poll_status(["101"]))) as (polling,):
            await until(lambda: sim.in_flight)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await polling

    @pytest.mark.parametrize("silent", [False, True])
    async def test_client_closed_while_the_source_is_silent(
        self, pbx: PortSIPClient, silent: bool
    ) -> None:
        source: Source[str] = Source([] if silent else ["101"])
        async with in_background(all_of(pbx.extensions.poll_status(source))) as (polling,):
            await asyncio.sleep(0.1)
            await pbx.close()
            with pytest.raises(ClientClosed):
                await polling

    async def test_client_closed_before(self, pbx: PortSIPClient) -> None:
        await pbx.close()
        with pytest.raises(ClientClosed):
            await all_of(pbx.extensions.poll_status(["101"]))


class TestSources:
    @pytest.mark.parametrize("asynchronous", [False, True])
    @pytest.mark.parametrize("ordered", [False, True])
    async def test_error_of_the_source(
        self, pbx: PortSIPClient, sim: PBXSimulator, asynchronous: bool, ordered: bool
    ) -> None:
        """It is raised after the results of all numbers that the source gave before it."""
        numbers = sim.extension_numbers[:25]

        def broken() -> Iterator[str]:
            yield from numbers
            raise KeyError("the source broke")

        async def later() -> AsyncIterator[str]:
            for number in broken():
                yield number

        found: list[StatusResult] = []
        poll = pbx.extensions.poll_status(
            later() if asynchronous else broken(), batch_size=10, ordered=ordered
        )

        async def loop() -> None:
            async for result in poll:
                found.append(result)  # noqa: PERF401 - what came before the error is to be seen

        with pytest.raises(KeyError, match="the source broke"):
            await loop()
        assert sorted(asked(found)) == numbers

    async def test_trickling_source(self, pbx: PortSIPClient) -> None:
        """Numbers get their results as they arrive, without waiting for a full batch."""
        source: Source[str] = Source()
        numbers = ["101", "102", "103"]
        found: list[str] = []
        source.give(numbers[0])
        async with asyncio.timeout(5):
            async for result in pbx.extensions.poll_status(source, batch_size=100):
                found.append(result.extension_number)
                if len(found) == len(numbers):
                    source.end()
                else:
                    source.give(numbers[len(found)])
        assert found == numbers

    @pytest.mark.parametrize("ordered", [False, True])
    async def test_endless_source_is_read_a_little_ahead(
        self, statuses: Statuses, ordered: bool
    ) -> None:
        """Only a few more numbers are read than have results, however long the poll runs."""
        read = 0

        def endless() -> Iterator[str]:
            nonlocal read
            for read in itertools.count(1):
                yield str(read)

        answered = 0
        poll = poll_of(statuses, endless(), batch_size=10, concurrency=4, ordered=ordered)
        async with aclosing(aiter(poll)) as results:
            async for _ in results:
                answered += 1
                assert read - answered <= 10 * 4 * 4
                if answered == 5000:
                    break
        assert read >= answered

    async def test_source_is_not_read_while_the_poll_is_busy(self, statuses: Statuses) -> None:
        """While the maximum of requests is in flight, the source is not read."""
        statuses.held = asyncio.Event()
        numbers = iter(map(str, range(1000)))
        async with in_background(all_of(poll_of(statuses, numbers))) as (polling,):
            await until(lambda: statuses.in_flight == 4)
            await yield_to_loop(50)
            assert next(numbers) == "40"
            statuses.held.set()
            assert len(await polling) == 999

    async def test_second_loop(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A second loop over an iterator gets the remaining numbers; over a list, all of them."""
        numbers = sim.extension_numbers[:10]
        of_list = pbx.extensions.poll_status(numbers)
        of_iterator = pbx.extensions.poll_status(iter(numbers))
        assert asked(await all_of(of_list)) == asked(await all_of(of_list)) == numbers
        assert asked(await all_of(of_iterator)) == numbers
        assert asked(await all_of(of_iterator)) == []


class TestOrder:
    async def test_ordered_results_wait_for_the_first_batch(self, statuses: Statuses) -> None:
        """Results wait for those before them, and few requests are sent meanwhile."""
        first = asyncio.Event()
        plain = statuses.ask

        async def ask(numbers: list[str], gate: Any) -> Any:
            reply = await plain(numbers, gate)
            if numbers[0] == "0":
                await first.wait()
            return reply

        statuses.ask = ask  # type: ignore[method-assign]  # one request is held
        numbers = [str(number) for number in range(1000)]
        async with in_background(all_of(poll_of(statuses, numbers, ordered=True))) as (polling,):
            await yield_to_loop(500)
            assert len(statuses.asked) <= 2 * 4
            first.set()
            assert asked(await polling) == numbers


class TestBackpressure:
    @pytest.mark.parametrize("ordered", [False, True])
    async def test_pausing_consumer_stops_the_requests(
        self, sim: PBXSimulator, pbx: PortSIPClient, ordered: bool
    ) -> None:
        """At most two rounds of requests are sent during the pause."""
        poll = pbx.extensions.poll_status(
            sim.extension_numbers, batch_size=5, concurrency=4, ordered=ordered
        )
        results = aiter(poll)
        await anext(results)
        await until(lambda: sim.in_flight == 0)
        await asyncio.sleep(0.05)
        served = sim.served[STATUS]
        assert served <= 8
        await asyncio.sleep(0.05)
        assert sim.served[STATUS] == served
        assert len([result async for result in results]) == 299

    async def test_concurrency_is_never_exceeded(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        sim.faults = Faults(latency=0.002)
        poll = pbx.extensions.poll_status(
            itertools.cycle(sim.extension_numbers), batch_size=3, concurrency=6
        )
        async with in_background(all_of(poll)):
            await until(lambda: sim.peak_in_flight >= 6)
            served = sim.served[STATUS]
            await until(lambda: sim.served[STATUS] >= served + 60)
        assert sim.peak_in_flight == 6


class TestConcurrency:
    async def test_concurrency_settles_near_the_limit_of_the_pbx(self) -> None:
        """Above 5 in flight the PBX replies 429. Under 10 % of requests are wasted."""
        numbers = [str(number) for number in range(100, 20_100)]
        limits: list[int] = []
        async with (
            PBXSimulator(extensions=20_000, max_in_flight=5, faults=Faults(latency=0.02)) as sim,
            PortSIPClient(
                sim.url, username=sim.username, password=sim.password, retry=RetryPolicy(attempts=9)
            ) as pbx,
        ):
            poll = pbx.extensions.poll_status(numbers, batch_size=100, concurrency=16)
            found = 0
            async for result in poll:
                assert result.error is None
                found += 1
                if found % 100 == 0 and found > 5000:
                    limits.append(poll.stats.concurrency)
            assert found == 20_000
            assert poll.stats.requests == sim.served[STATUS]
            assert sim.injected["overload"] < 0.1 * sim.served[STATUS]
            assert 3 <= sum(limits) / len(limits) <= 6
            assert max(limits) <= 7

            # Without push-back, the limit grows back to the ceiling.
            sim.max_in_flight = None
            sim.faults = Faults()
            climbing = pbx.extensions.poll_status(numbers[:10_000], batch_size=10)
            sim.fail(STATUS, status=429, times=3)
            lowest = 16
            async for _ in climbing:
                lowest = min(lowest, climbing.stats.concurrency)
            assert lowest < 8
            assert climbing.stats.concurrency == 16

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_refused_attempts_lower_the_concurrency(
        self, sim: PBXSimulator, make_client: ClientMaker, status: int
    ) -> None:
        """Every refused attempt counts, even if a retry succeeds."""
        pbx = make_client(retry=RetryPolicy(attempts=9, initial=0, maximum=0))
        sim.fail(STATUS, status=status, times=3)
        poll = pbx.extensions.poll_status(["101"], concurrency=64)
        assert errors(await all_of(poll)) == {}
        assert poll.stats.concurrency < 32

    async def test_batches_begin_only_if_the_limit_allows(self, statuses: Statuses) -> None:
        """A batch is not read before it can be sent, because its deadline would run meanwhile."""
        poll = StatusPoll(
            statuses.source(),
            map(str, range(100)),
            owner=LoopOwner(),
            batch_size=10,
            concurrency=8,
            ordered=False,
        )
        assert len(await all_of(poll)) == 100
        assert statuses.most_in_flight == 4

    def test_stats_before_the_first_loop(self, pbx: PortSIPClient) -> None:
        stats = pbx.extensions.poll_status(["101"], concurrency=7).stats
        assert (stats.requests, stats.splits, stats.retries, stats.concurrency) == (0, 0, 0, 7)


class TestLeaving:
    @pytest.fixture(autouse=True)
    def slow(self, sim: PBXSimulator) -> None:
        """Slow down the simulator, so that requests are in flight when a loop is left."""
        for latency in (0.0, 20.0):
            sim.fail(STATUS, latency=latency or 0.001, times=2 if not latency else None)

    async def test_break_ends_the_poll(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        async for _ in pbx.extensions.poll_status(sim.extension_numbers, batch_size=5):
            break
        await self.check_that_the_poll_ended(sim)

    async def test_exception_ends_the_poll(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:

        async def loop() -> None:
            async for _ in pbx.extensions.poll_status(sim.extension_numbers, batch_size=5):
                raise KeyError("the consumer's own")

        with pytest.raises(KeyError):
            await loop()
        await self.check_that_the_poll_ended(sim)

    async def test_cancellation_ends_the_poll(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """The cancellation takes effect at once and is not swallowed."""
        numbers = [*sim.extension_numbers]
        polling = asyncio.ensure_future(all_of(pbx.extensions.poll_status(numbers, batch_size=5)))
        await until(lambda: sim.served[STATUS] > 4)
        polling.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(asyncio.CancelledError):
                await polling
        await self.check_that_the_poll_ended(sim)

    @pytest.mark.parametrize("how", ["aclose", "async with"])
    async def test_aclose_waits_for_the_tasks(
        self, sim: PBXSimulator, pbx: PortSIPClient, how: str
    ) -> None:
        """When `aclose` returns, all tasks of the poll have ended."""
        poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=5)
        if how == "aclose":
            async for _ in poll:
                await poll.aclose()
                assert our_tasks() == []
        else:
            async with poll:
                async for _ in poll:
                    break
            assert our_tasks() == []
        await self.check_that_the_poll_ended(sim)

    async def test_aclose_from_another_task(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """The loop ends as after a `break`, even while it waits."""
        poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=5)
        async with in_background(all_of(poll)) as (polling,):
            await until(lambda: sim.served[STATUS] > 4)
            async with asyncio.timeout(5):
                await poll.aclose()
                results = await polling
        assert len(results) < 300
        await self.check_that_the_poll_ended(sim)

    async def test_waiting_source_is_closed(self, pbx: PortSIPClient) -> None:
        """A source that waits is closed when the loop is left."""
        ended = asyncio.Event()

        async def source() -> AsyncGenerator[str, None]:
            try:
                yield "101"
                await asyncio.Event().wait()
            finally:
                ended.set()

        async with pbx.extensions.poll_status(source()) as poll:
            async for _ in poll:
                break
        assert ended.is_set()

    async def check_that_the_poll_ended(self, sim: PBXSimulator) -> None:
        """Check that no task is left, and that nothing more is sent."""
        await yield_to_loop()
        assert our_tasks() == []
        served = sim.served[STATUS]
        await asyncio.sleep(0.03)
        assert sim.served[STATUS] <= served + 16  # sent before they were cancelled
        served = sim.served[STATUS]
        await asyncio.sleep(0.03)
        assert sim.served[STATUS] == served

    async def test_loops_over_one_poll_are_independent(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """Leaving one of two loops doesn't affect the other."""
        sim.clear()
        poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=5)
        one, other = aiter(poll), aiter(poll)
        await anext(one)
        first = await anext(other)
        await one.aclose()
        rest = [result async for result in other]
        assert sorted(asked([first, *rest])) == sorted(sim.extension_numbers)
