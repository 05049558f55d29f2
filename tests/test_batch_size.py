"""Learned sizes: how many numbers a status request holds, how many items a page has."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs

import pytest

from portsip_async import (
    APIError,
    BadRequest,
    ExtensionStatus,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    StatusMissing,
    StatusResult,
    TransportError,
)
from portsip_async.bulk.batch_size import DEFAULT_SIZE, LARGEST_SIZE, BatchSizeLearner
from portsip_async.bulk.status_poll import StatusPoll
from portsip_async.core.limits import Gate
from portsip_async.simulator import PBXSimulator

from .concurrency import LoopOwner, until
from .conftest import ClientMaker
from .statuses import Statuses
from .wire_server import Arrival, Step, WireServer, reply

STATUS = "extensions.status"

TOO_LARGE: dict[str, Callable[[], PortSIPError]] = {
    "400": lambda: BadRequest("too many", status=400, operation=STATUS, attempts=1),
    "413": lambda: APIError("too large", status=413, operation=STATUS, attempts=1),
    "414": lambda: APIError("too long", status=414, operation=STATUS, attempts=1),
    "timeout": lambda: RequestTimeout("no reply", operation=STATUS, attempts=1),
}

# Failures that say nothing of a size. A batch of 100, as without learning, is not split for them.
UNCLEAR: dict[str, Callable[[], PortSIPError]] = {
    "502": lambda: ServerError("bad gateway", status=502, operation=STATUS, attempts=4),
    "431": lambda: APIError("headers too large", status=431, operation=STATUS, attempts=1),
    "429": lambda: RateLimited("slow down", status=429, operation=STATUS, attempts=4),
    "lost": lambda: TransportError("connection broke", operation=STATUS, attempts=4),
    "unreadable": lambda: ReplyError("over the limit", operation=STATUS, attempts=1),
}


class Limited(Statuses):
    """A PBX that takes a limited number of numbers per request, and refuses more.

    Attributes:
        maximum: the most numbers that it takes; it may change.
        refuse: makes the error of a request that is too large.
    """

    def __init__(self, maximum: int, how: str = "400", refused: Iterable[str] = ()) -> None:
        super().__init__(refused)
        self.maximum = maximum
        self.refuse = (TOO_LARGE | UNCLEAR)[how]

    async def ask(self, numbers: list[str], gate: Gate) -> Sequence[ExtensionStatus]:
        if len(numbers) > self.maximum:
            self.asked.append(list(numbers))
            await asyncio.sleep(0)
            raise self.refuse()
        return await super().ask(numbers, gate)

    @property
    def sizes(self) -> list[int]:
        """Return the sizes of all requests."""
        return [len(batch) for batch in self.asked]


class CutShort(Statuses):
    """A PBX that leaves out of a reply what goes beyond its maximum."""

    def __init__(self, maximum: int) -> None:
        super().__init__()
        self.maximum = maximum

    async def ask(self, numbers: list[str], gate: Gate) -> Sequence[ExtensionStatus]:
        return (await super().ask(numbers, gate))[: self.maximum]


def learning_poll(
    pbx: Statuses,
    numbers: Any,
    learner: BatchSizeLearner | None = None,
    *,
    concurrency: int = 4,
    ordered: bool = False,
) -> StatusPoll[ExtensionStatus]:
    return StatusPoll(
        pbx.source(learner),
        numbers,
        owner=LoopOwner(),
        batch_size=None,
        concurrency=concurrency,
        ordered=ordered,
    )


async def results_of(poll: StatusPoll[ExtensionStatus]) -> list[StatusResult[ExtensionStatus]]:
    return [result async for result in poll]


def numbers_up_to(count: int) -> list[str]:
    return [f"{number:05}" for number in range(count)]


class TestHiddenMaximum:
    @pytest.mark.parametrize("ordered", [False, True])
    @pytest.mark.parametrize("maximum", [1, 7, 30, 99, 100, 101, 150, 333, 999, 1000, 5000])
    @pytest.mark.parametrize("how", TOO_LARGE)
    async def test_every_number_gets_its_status(
        self, how: str, maximum: int, ordered: bool
    ) -> None:
        """No number is lost, whatever the maximum is and however the PBX refuses more."""
        pbx = Limited(maximum, how)
        numbers = numbers_up_to(3_000)
        results = await results_of(learning_poll(pbx, numbers, ordered=ordered))
        found = [result.extension_number for result in results]
        assert found == numbers if ordered else sorted(found) == numbers
        assert {result.error for result in results} == {None}
        # No number is requested again after it has a status.
        answered = [number for batch in pbx.asked if len(batch) <= maximum for number in batch]
        assert sorted(answered) == numbers
        assert max(pbx.sizes) <= LARGEST_SIZE

    @pytest.mark.parametrize("maximum", [1, 7, 30, 100, 150, 333, 1000, 5000])
    @pytest.mark.parametrize("how", TOO_LARGE)
    async def test_size_comes_close_to_the_maximum(self, how: str, maximum: int) -> None:
        """In the end the size is within an eighth of the maximum, and few requests were wasted.

        The first batch is split into parts that are small enough. That happens only once.
        """
        pbx = Limited(maximum, how)
        learner = BatchSizeLearner()
        numbers = numbers_up_to(min(20_000, 1_000 + 40 * maximum))
        poll = learning_poll(pbx, numbers, learner, concurrency=1)
        await results_of(poll)
        best = min(maximum, LARGEST_SIZE)
        assert best - max(1, best // 8) <= learner.size <= best
        assert poll.stats.batch_size == learner.size
        assert len([size for size in pbx.sizes if size > maximum]) <= 12 + DEFAULT_SIZE // maximum

    @pytest.mark.parametrize("how", TOO_LARGE)
    async def test_bad_numbers_while_the_size_is_learned(self, how: str) -> None:
        """Each bad number has an error, and no other number has."""
        bad = {f"{number:05}" for number in (*range(12), 500, 501, 777, 1999)}
        pbx = Limited(150, how, refused=bad)
        results = await results_of(learning_poll(pbx, numbers_up_to(2_000)))
        assert len(results) == 2_000
        for result in results:
            is_bad = result.extension_number in bad
            assert isinstance(result.error, NotFound) == is_bad
            assert (result.error is None) != is_bad

    @pytest.mark.parametrize("maximum", [100, 150, 333, 1000])
    @pytest.mark.parametrize("how", UNCLEAR)
    async def test_larger_batch_that_fails_in_another_way(self, how: str, maximum: int) -> None:
        """Learning loses nothing that batches of 100 would get, and remembers the size."""
        pbx = Limited(maximum, how)
        learner = BatchSizeLearner()
        results = await results_of(learning_poll(pbx, numbers_up_to(8_000), learner))
        assert len(results) == 8_000
        assert {result.error for result in results} == {None}
        assert maximum * 7 / 8 - 1 <= learner.size <= maximum
        assert len([size for size in pbx.sizes if size > maximum]) <= 16

    @pytest.mark.parametrize("maximum", [120, 500])
    @pytest.mark.parametrize("how", ["502", "lost", "unreadable"])
    async def test_maximum_that_shrinks(self, how: str, maximum: int) -> None:
        """A size that was learned is given up when only smaller batches get a reply."""
        pbx = Limited(5_000, how)
        learner = BatchSizeLearner()
        await results_of(learning_poll(pbx, numbers_up_to(8_000), learner, concurrency=1))
        assert learner.size == LARGEST_SIZE
        pbx.maximum = maximum
        results = await results_of(learning_poll(pbx, numbers_up_to(8_000), learner))
        assert {result.error for result in results} == {None}
        assert learner.size <= maximum

    @pytest.mark.parametrize("maximum", [100, 150, 400, 900])
    async def test_reply_with_only_some_of_the_numbers(self, maximum: int) -> None:
        """If larger batches get incomplete replies, the numbers are asked for in smaller ones."""
        pbx = CutShort(maximum)
        pbx.lacking = set(numbers_up_to(5_000)[::40])
        learner = BatchSizeLearner()
        results = await results_of(learning_poll(pbx, numbers_up_to(5_000), learner))
        assert len(results) == 5_000
        missing = {each.extension_number for each in results if each.error is not None}
        assert missing == pbx.lacking
        assert all(isinstance(each.error, StatusMissing | None) for each in results)
        assert learner.size <= maximum

    @pytest.mark.parametrize("concurrency", [4, 16, 64])
    @pytest.mark.parametrize("how", ["413", "502", "timeout"])
    async def test_one_trial_at_a_time(self, how: str, concurrency: int) -> None:
        """Of many batches in flight, one alone is larger than what is known to work."""
        pbx = Limited(100, how)
        poll = learning_poll(pbx, numbers_up_to(20_000), concurrency=concurrency)
        results = await results_of(poll)
        assert {result.error for result in results} == {None}
        assert len([size for size in pbx.sizes if size > 100]) <= 4

    async def test_endless_source(self) -> None:
        """The size is also learned from a source that never ends."""

        def endless() -> Iterator[str]:
            number = 0
            while True:
                yield f"{number:07}"
                number += 1

        pbx = Limited(300)
        poll = learning_poll(pbx, endless())
        count = 0
        async with poll:
            async for result in poll:
                assert result.error is None
                count += 1
                if count == 20_000:
                    break
        assert 260 <= poll.stats.batch_size <= 300

    async def test_async_source(self) -> None:
        async def source() -> AsyncIterator[str]:
            for number in numbers_up_to(5_000):
                yield number

        pbx = Limited(230)
        results = await results_of(learning_poll(pbx, source(), ordered=True))
        assert [result.extension_number for result in results] == numbers_up_to(5_000)
        assert {result.error for result in results} == {None}


class TestNumberOrSize:
    async def test_bad_number_does_not_shrink_the_size(self) -> None:
        """A batch is not too large because one of its numbers is unknown."""
        pbx = Limited(5_000, refused={"00050"})
        learner = BatchSizeLearner()
        await results_of(learning_poll(pbx, numbers_up_to(100), learner))
        assert learner.size == DEFAULT_SIZE

    async def test_bad_number_does_not_stop_growth(self) -> None:
        pbx = Limited(5_000, refused={"00050", "00450"})
        poll = learning_poll(pbx, numbers_up_to(8_000), concurrency=1)
        await results_of(poll)
        assert poll.stats.batch_size == LARGEST_SIZE

    async def test_missing_number_is_a_reply(self) -> None:
        """A number that the reply leaves out doesn't affect the size."""
        pbx = Limited(5_000)
        pbx.lacking = set(numbers_up_to(5_000)[::50])
        poll = learning_poll(pbx, numbers_up_to(5_000), concurrency=1)
        results = await results_of(poll)
        missing = [each for each in results if isinstance(each.error, StatusMissing)]
        assert len(missing) == 100
        assert poll.stats.batch_size == LARGEST_SIZE

    async def test_pbx_that_refuses_everything(self) -> None:
        """Every number gets its error, after few requests."""
        pbx = Limited(0)
        results = await results_of(learning_poll(pbx, numbers_up_to(100), concurrency=1))
        assert [type(result.error) for result in results] == [BadRequest] * 100
        assert len(pbx.asked) <= 40


class TestOutage:
    async def test_outage_does_not_change_the_size(self) -> None:
        """While nothing gets a reply, only one batch at a time is split."""
        pbx = Limited(0, "timeout")
        learner = BatchSizeLearner()
        poll = learning_poll(pbx, numbers_up_to(10_000), learner, concurrency=1)
        results = await results_of(poll)
        assert {type(result.error) for result in results} == {RequestTimeout}
        assert len(results) == 10_000
        assert learner.size == DEFAULT_SIZE
        # A batch of 100, then parts of 25, 7, 2 and 1.
        assert len(pbx.asked) <= 100 * 5

    @pytest.mark.parametrize("how", ["502", "lost", "unreadable"])
    async def test_of_another_kind(self, how: str) -> None:
        """An outage without timeouts costs at most twice the requests of batches of 100."""
        pbx = Limited(5_000, how)
        learner = BatchSizeLearner()
        await results_of(learning_poll(pbx, numbers_up_to(8_000), learner, concurrency=1))
        pbx.maximum = 0
        pbx.asked.clear()
        results = await results_of(learning_poll(pbx, numbers_up_to(8_000), learner))
        assert len(results) == 8_000
        assert all(result.error is not None for result in results)
        assert (learner.size, len(pbx.asked) <= 2 * 80) == (LARGEST_SIZE, True)

    async def test_size_after_an_outage(self) -> None:
        """After the outage the size is the same as before."""
        pbx = Limited(5_000)
        learner = BatchSizeLearner()
        await results_of(learning_poll(pbx, numbers_up_to(8_000), learner, concurrency=1))
        assert learner.size == LARGEST_SIZE
        pbx.maximum, pbx.refuse = 0, TOO_LARGE["timeout"]
        await results_of(learning_poll(pbx, numbers_up_to(2_000), learner, concurrency=1))
        pbx.maximum = 5_000
        results = await results_of(learning_poll(pbx, numbers_up_to(8_000), learner))
        assert {result.error for result in results} == {None}
        assert learner.size == LARGEST_SIZE

    async def test_slow_pbx_gets_smaller_batches(self) -> None:
        """An established size is reduced only if smaller batches get a reply."""
        pbx = Limited(5_000, "timeout")
        learner = BatchSizeLearner()
        await results_of(learning_poll(pbx, numbers_up_to(8_000), learner, concurrency=1))
        pbx.maximum = 120
        results = await results_of(learning_poll(pbx, numbers_up_to(8_000), learner))
        assert {result.error for result in results} == {None}
        assert learner.size <= 120

    async def test_deadline_that_passed_before_the_request(self) -> None:
        """A deadline that ended while the request was queued doesn't affect the size."""
        pbx = Limited(5_000)
        pbx.fail = lambda count: RequestTimeout("in the queue") if count == 1 else None
        learner = BatchSizeLearner()
        results = await results_of(learning_poll(pbx, numbers_up_to(100), learner))
        assert {type(result.error) for result in results} == {RequestTimeout}
        assert (len(pbx.asked), learner.size) == (1, DEFAULT_SIZE)


class TestLearner:
    def test_starts_at_the_default(self) -> None:
        learner = BatchSizeLearner()
        assert learner.size == learner.next_size() == DEFAULT_SIZE

    def test_doubles_up_to_the_largest(self) -> None:
        learner = BatchSizeLearner()
        sizes = []
        for _ in range(6):
            sizes.append(learner.next_size())
            learner.succeeded(sizes[-1])
        assert sizes == [100, 200, 400, 800, 1000, 1000]

    def test_one_trial_at_a_time(self) -> None:
        """While a larger batch is in flight, other batches have the size that is known to work."""
        learner = BatchSizeLearner()
        learner.succeeded(100)
        assert learner.start_trial(learner.next_size())
        assert learner.next_size() == 100
        learner.end_trial()
        assert learner.next_size() == 200

    def test_failed_size_is_tried_again_much_later(self) -> None:
        """The first time after 256 good batches, then after 512."""
        learner = BatchSizeLearner()
        learner.succeeded(100)
        learner.was_too_large(110, good=100)
        for pause in (256, 512):
            for _ in range(pause):
                assert learner.next_size() == 100
                learner.succeeded(100)
            assert learner.next_size() == 110
            learner.was_too_large(110, good=100)
        assert learner.next_size() == 100

    def test_size_that_works_after_all(self) -> None:
        learner = BatchSizeLearner()
        learner.succeeded(100)
        learner.was_too_large(110, good=100)
        learner.succeeded(110)
        assert (learner.size, learner.next_size()) == (110, 220)


class TestClient:
    async def test_learned_size_takes_fewer_requests(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The client remembers the size for the next poll."""
        numbers = sim.extension_numbers
        first = pbx.extensions.poll_status([*numbers] * 5, batch_size=None, concurrency=1)
        assert first.stats.batch_size == DEFAULT_SIZE
        assert len([result async for result in first]) == 1500
        size = first.stats.batch_size
        assert size > DEFAULT_SIZE
        served = sim.served[STATUS]
        view = pbx.with_options(timeout=5.0)
        second = view.extensions.poll_status(numbers, batch_size=None)
        assert second.stats.batch_size == size
        assert len([result async for result in second]) == 300
        assert sim.served[STATUS] - served <= math.ceil(300 / size)

    async def test_default_is_100(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        async for _ in pbx.extensions.poll_status(sim.extension_numbers):
            pass
        assert sim.served[STATUS] == 3

    async def test_watch_learns_the_size(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """After some cycles a watch requests all extensions in fewer requests."""
        watch = pbx.extensions.watch_status(interval=0.01, batch_size=None)
        async with watch:
            async for _ in watch:
                if len(watch.snapshot) == 300:
                    break
            changes = aiter(watch)
            await anext(changes)
            await until(lambda: watch.stats.cycles >= 5)
            served, cycles = sim.served[STATUS], watch.stats.cycles
            await until(lambda: watch.stats.cycles >= cycles + 5)
            assert sim.served[STATUS] - served <= watch.stats.cycles - cycles + 2

    @pytest.mark.parametrize("bad", [0, -1, True, "100", 1.5])
    async def test_wrong_batch_size(self, pbx: PortSIPClient, bad: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            pbx.extensions.poll_status(["101"], batch_size=bad)
        with pytest.raises((TypeError, ValueError)):
            pbx.extensions.watch_status(["101"], batch_size=bad)

    @pytest.mark.parametrize("status", [400, 413, 414])
    async def test_page_of_a_proxy_limits_the_size(
        self, wire: WireServer, make_client: ClientMaker, status: int
    ) -> None:
        """The size is also learned from a proxy that refuses large requests with a page."""
        wire.script = [limited_status(130, status)]
        poll = make_client(wire.url).extensions.poll_status(
            numbers_up_to(1_500), batch_size=None, ordered=True
        )
        results = [result async for result in poll]
        assert [result.extension_number for result in results] == numbers_up_to(1_500)
        assert {result.error for result in results} == {None}
        assert 100 <= poll.stats.batch_size <= 130


def limited_status(maximum: int, status: int) -> Step:
    """Make a step that replies to status requests, and refuses larger ones than this."""

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        numbers = json.loads(arrival.body)["extensions"]
        if len(numbers) <= maximum:
            rows = [{"extension_number": number, "status": "ONLINE"} for number in numbers]
            writer.write(reply({"extension_status": rows}))
        elif status == 400:
            writer.write(reply({"err_code": 400.1, "msg": "too many"}, 400))
        else:
            page = {"Content-Type": "text/html"}
            writer.write(reply("<html>Request Too Large</html>", status, page))
        await writer.drain()

    return step


class TestPageSize:
    async def test_walk_requests_500(self, wire: WireServer, make_client: ClientMaker) -> None:
        pages = ListOfPages(1_200)
        wire.script = [pages.step]
        found = await make_client(wire.url).extensions.list(page_size=None).collect()
        assert [each.extension_number for each in found] == numbers_up_to(1_200)
        assert pages.asked == [(1, 500), (2, 500), (3, 500)]

    async def test_smaller_pages_than_requested(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """A PBX that limits its pages is walked to the end. The walk can resume at any page."""
        pages = ListOfPages(450, cap=100)
        wire.script = [pages.step]
        pbx = make_client(wire.url)
        walk = pbx.extensions.list(page_size=None)
        assert len(await walk.collect()) == 450
        assert (walk.drift.missing_pages, walk.drift.dropped) == (0, 0)
        rest = await pbx.extensions.list(page=4, page_size=None).collect()
        assert [each.extension_number for each in rest] == numbers_up_to(450)[300:]

    async def test_refused_size_falls_back_once(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """The walk goes on with pages of 100, and so do all later walks of the client."""
        pages = ListOfPages(250, most=100)
        wire.script = [pages.step]
        pbx = make_client(wire.url)
        walk = pbx.extensions.list(page_size=None, prefetch=2)
        assert [each.extension_number for each in await walk.collect()] == numbers_up_to(250)
        assert walk.drift.missing_pages == 0
        assert pages.asked == [(1, 500), (1, 100), (2, 100), (3, 100)]
        pages.asked.clear()
        first = await pbx.with_options(timeout=5.0).extensions.list(page_size=None)
        assert (len(first.items), pages.asked) == (100, [(1, 100)])

    async def test_first_page_alone_falls_back(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        pages = ListOfPages(250, most=100)
        wire.script = [pages.step]
        assert len((await make_client(wire.url).extensions.list(page_size=None)).items) == 100

    async def test_refusal_for_another_reason(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """If 100 items are refused, too, later walks still request 500."""
        pages = ListOfPages(250, most=0)
        wire.script = [pages.step]
        pbx = make_client(wire.url)
        with pytest.raises(BadRequest) as caught:
            await pbx.extensions.list(page_size=None).collect()
        assert caught.value.page == 1
        assert pages.asked == [(1, 500), (1, 100)]
        pages.most = 500
        assert len(await pbx.extensions.list(page_size=None).collect()) == 250
        assert pages.asked[2:] == [(1, 500)]

    async def test_explicit_size_does_not_fall_back(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        pages = ListOfPages(250, most=100)
        wire.script = [pages.step]
        with pytest.raises(BadRequest):
            await make_client(wire.url).extensions.list(page_size=500).collect()
        assert pages.asked == [(1, 500)]

    @pytest.mark.parametrize("failure", ["502 page", "413 page", "silence", "too long", "cut off"])
    async def test_large_page_that_fails_in_another_way(
        self, wire: WireServer, make_client: ClientMaker, failure: str
    ) -> None:
        """A PBX that can't give 500 items is walked with pages of 100, now and later."""
        pages = ListOfPages(250, most=100, failure=failure)
        wire.script = [pages.step]
        pbx = make_client(
            wire.url,
            timeout=0.3,
            retry=RetryPolicy(attempts=2, initial=0.0),
            max_reply_bytes=20_000,
        )
        for _ in range(2):
            found = await pbx.extensions.list(page_size=None).collect()
            assert [each.extension_number for each in found] == numbers_up_to(250)
        assert [size for _, size in pages.asked if size > 100] in ([500], [500, 500])

    async def test_outage_after_a_page(self, wire: WireServer, make_client: ClientMaker) -> None:
        """Once pages of 500 have worked, a failure costs no further requests."""
        pages = ListOfPages(250, failure="502 page")
        wire.script = [pages.step]
        pbx = make_client(wire.url, retry=RetryPolicy(attempts=1))
        await pbx.extensions.list(page_size=None)
        pages.most = 0
        pages.asked.clear()
        with pytest.raises(ServerError):
            await pbx.extensions.list(page_size=None)
        assert pages.asked == [(1, 500)]

    async def test_every_list_accepts_none(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        assert len(await pbx.extensions.list(page_size=None).collect()) == 300
        assert len(await pbx.extensions.search("1", page_size=None).collect()) > 100
        assert len(await pbx.groups.list(page_size=None).collect()) == 5
        number = sim.extension_numbers[0]
        assert isinstance(await pbx.greetings.list(number, page_size=None).collect(), list)
        assert sim.served["extensions.list"] == 1


class ListOfPages:
    """A list of extensions on a raw server.

    Attributes:
        most: a larger page size is refused.
        cap: a page never has more items, whatever size is requested.
        failure: how a larger page fails.
        asked: the number and the size of each requested page.
    """

    def __init__(
        self, count: int, *, most: int = 1_000, cap: int = 1_000, failure: str = "refused"
    ) -> None:
        self.numbers = numbers_up_to(count)
        self.failure = failure
        self.most = most
        self.cap = cap
        self.asked: list[tuple[int, int]] = []

    async def step(
        self, arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        query = parse_qs(arrival.query)
        page, size = int(query["pagination"][0]), int(query["pagesize"][0])
        self.asked.append((page, size))
        if size > self.most and self.failure == "silence":
            await asyncio.sleep(10)
        elif size > self.most:
            html = {"Content-Type": "text/html"}
            failures = {
                "refused": reply({"err_code": 400.1, "msg": "pagesize"}, 400),
                "502 page": reply("<html>Bad Gateway</html>", 502, html),
                "413 page": reply("<html>Too Large</html>", 413, html),
                "too long": reply({"extensions": [], "padding": "x" * 30_000}),
                "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            }
            writer.write(failures[self.failure])
            if self.failure == "cut off":
                writer.close()
        else:
            size = min(size, self.cap)
            rows = self.numbers[(page - 1) * size : page * size]
            writer.write(
                reply(
                    {
                        "extensions": [{"extension_number": number} for number in rows],
                        "pagination": page,
                        "pagesize": size,
                        "page_count": math.ceil(len(self.numbers) / size),
                    }
                )
            )
        await writer.drain()
