"""Walks end with any server, in as many requests as promised, and miss nothing of a correct list.

A server here is a function from a page's number to a page. Pages arrive after any number of ticks
of the loop, so with prefetch in any order.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import PortSIPClient, ServerError
from portsip_async.core.page_sequence import Drift, Page
from portsip_async.core.pages import Paginator
from portsip_async.simulator import PBXSimulator

from ..concurrency import LoopOwner
from ..skip_server import SkipServer, keys


class Row(NamedTuple):
    """An item, and the number of the page that it was on."""

    key: str
    page: int


Serve = Callable[[int], tuple[str, int | None]]
PREFETCH = st.integers(0, 5)
ENDLESS = 1000  # requests; more than any of these walks may send
TICKS = st.lists(st.integers(0, 6), min_size=1, max_size=7)


class Server:
    """Returns pages, and counts the requests.

    Attributes:
        serve: the keys on a page, one letter each, and the page count that it sends.
        asked: the requested numbers, in order.
        failing: pages that fail.
        most_in_flight: the most requests that were in flight at once.
    """

    def __init__(self, serve: Serve, ticks: list[int]) -> None:
        self.serve = serve
        self.asked: list[int] = []
        self.failing: set[int] = set()
        self.most_in_flight = 0
        self._in_flight = 0
        self._ticks = ticks

    async def fetch(self, number: int, _: int) -> Page[Row]:
        self.asked.append(number)
        assert len(self.asked) < ENDLESS
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            for _ in range(self._ticks[number % len(self._ticks)]):
                await asyncio.sleep(0)
        finally:
            self._in_flight -= 1
        if number in self.failing:
            raise ServerError("down", status=503)
        keys, page_count = self.serve(number)
        return Page(items=tuple(Row(key, number) for key in keys), page_count=page_count)

    def walk(self, **options: Any) -> Paginator[Row]:
        return Paginator(self.fetch, key="key", owner=LoopOwner(), **{"page_size": 1} | options)


def run(walking: Coroutine[Any, Any, None]) -> None:
    """Run a walk, and check that it leaves no task."""

    async def alone() -> None:
        await walking
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(alone())


@given(
    total=st.integers(0, 60),
    size=st.integers(1, 9),
    asked=st.integers(0, 9),
    counted=st.booleans(),
    page=st.integers(1, 9),
    prefetch=PREFETCH,
    ticks=TICKS,
    failing=st.sets(st.integers(1, 12), max_size=3),
)
@example(total=10, size=5, asked=0, counted=True, page=1, prefetch=2, ticks=[0], failing={1, 2})
def test_correct_list(
    total: int,
    size: int,
    asked: int,
    counted: bool,
    page: int,
    prefetch: int,
    ticks: list[int],
    failing: set[int],
) -> None:
    """Each item is yielded once and in order, for any page size, also after a resumption."""
    keys = "".join(chr(0x100 + n) for n in range(total))
    count = math.ceil(total / size)
    server = Server(
        lambda number: (keys[(number - 1) * size :][:size], count if counted else None), ticks
    )
    server.failing = {*failing}

    async def walk() -> None:
        found: list[Row] = []
        at: int | None = page
        while at is not None:
            server.asked.clear()
            paginator = server.walk(page=at, prefetch=prefetch, page_size=size + asked)
            resumed, at = at, None
            failure: ServerError | None = None
            try:
                async for item in paginator:
                    found.append(item)  # noqa: PERF401 - what came before a failure counts
            except ServerError as error:
                failure = error
            if failure is not None:
                assert failure.page in server.failing
                assert all(item.page < failure.page for item in found)
                at = failure.page
                server.failing.discard(at)
            assert paginator.drift == Drift()
            # No page is requested twice, and past the end only as far as the prefetch reaches.
            assert server.asked == [*range(resumed, resumed + len(server.asked))]
            # Without a count, a list ends with a page that is shorter than an earlier one.
            unsure = total % size == 0 or resumed >= count
            beyond = 0 if counted else prefetch + unsure
            assert server.asked[-1] <= max(resumed, count + beyond)
        assert "".join(item.key for item in found) == keys[(page - 1) * size :]
        assert server.most_in_flight <= 1 + prefetch

    run(walk())


PAGE_COUNTS = st.none() | st.integers(-2, 60)


@given(
    pages=st.lists(
        st.tuples(st.text("abcdefgh", max_size=4), PAGE_COUNTS, st.booleans()),
        min_size=1,
        max_size=12,
    ),
    back_to=st.integers(1, 12),
    page=st.integers(1, 5),
    prefetch=PREFETCH,
    ticks=TICKS,
)
@example(
    pages=[(key, 5, True) for key in "abcdef"], back_to=2, page=1, prefetch=1, ticks=[0]
)  # a cycle that is too long for the check of the last pages
def test_walk_ends_if_pages_repeat(
    pages: list[tuple[str, int | None, bool]],
    back_to: int,
    page: int,
    prefetch: int,
    ticks: list[int],
) -> None:
    """Whatever pages and counts arrive, and however they repeat, the walk ends by itself."""
    back_to = min(back_to, len(pages))

    def serve(number: int) -> tuple[str, int | None]:
        turn = number
        if number > len(pages):
            turn = back_to + (number - back_to) % (len(pages) - back_to + 1)
        keys, page_count, runs_ahead = pages[turn - 1]
        return keys, number + page_count if runs_ahead and page_count else page_count

    server = Server(serve, ticks)

    async def walk() -> None:
        found = [item async for item in server.walk(page=page, prefetch=prefetch)]
        assert len(server.asked) <= 6 * len(pages) + 2 + prefetch
        assert server.asked == [*range(page, page + len(server.asked))]
        assert [item for item in found if item.page == page] == [
            Row(key, page) for key in serve(page)[0]
        ]
        for item in found:
            # No item of the last two pages is yielded again.
            for before in (item.page - 1, item.page - 2):
                assert before < page or item.key not in serve(before)[0]

    run(walk())


@given(
    seeds=st.lists(st.tuples(st.integers(1, 3), PAGE_COUNTS), min_size=1, max_size=5),
    page=st.integers(1, 1000),
    max_pages=st.integers(1, 12),
    prefetch=PREFETCH,
    ticks=TICKS,
)
def test_max_pages_limits_an_endless_list(
    seeds: list[tuple[int, int | None]],
    page: int,
    max_pages: int,
    prefetch: int,
    ticks: list[int],
) -> None:
    """If new items never end, `max_pages` does, and nothing is requested beyond it."""

    def serve(number: int) -> tuple[str, int | None]:
        length, page_count = seeds[number % len(seeds)]
        keys = "".join(chr(0x1000 + 3 * number + n) for n in range(length))
        return keys, None if page_count is None else number + page_count

    server = Server(serve, ticks)

    async def walk() -> None:
        paginator = server.walk(page=page, max_pages=max_pages, prefetch=prefetch)
        pages = [found.items[0].page async for found in paginator.pages()]
        assert pages == [*range(page, page + len(pages))]
        assert 1 <= len(pages) <= max_pages
        assert len(server.asked) <= max_pages
        assert server.asked == [*range(page, page + len(server.asked))]

    run(walk())


@given(
    extensions=st.integers(0, 40),
    page_size=st.integers(1, 50),
    page_limit=st.none() | st.integers(1, 20),
    quirks=st.sets(
        st.sampled_from(
            ["no_page_count", "count_lies", "absent_fields", "numbers_as_strings", "unknown_fields"]
        )
    ),
    prefetch=st.integers(0, 3),
    page=st.integers(1, 3),
)
async def test_walk_of_a_client(
    extensions: int,
    page_size: int,
    page_limit: int | None,
    quirks: set[str],
    prefetch: int,
    page: int,
) -> None:
    """A client walks a PBX that counts its pages correctly, wrongly, or not at all."""
    async with PBXSimulator(extensions=extensions, page_limit=page_limit, quirks=quirks) as sim:
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            everyone = [f"{100 + n}" for n in range(extensions)]
            walk = pbx.extensions.list(page=page, page_size=page_size, prefetch=prefetch)
            found = [extension.extension_number for extension in await walk.collect()]
        size = min(page_size, page_limit or page_size)
        assert found == everyone[(page - 1) * size :]
        needed = max(1, math.ceil(extensions / size) - page + 1)
        assert sim.served["extensions.list"] <= needed + 1 + prefetch


@given(
    total=st.integers(0, 60),
    size=st.integers(1, 12),
    cap=st.none() | st.integers(1, 12),
    count=st.sampled_from(["right", "missing", "zero", "high"]),
    prefetch=PREFETCH,
    ticks=TICKS,
    failing=st.sets(st.integers(1, 20), max_size=3),
)
def test_list_by_skip_and_top(
    total: int,
    size: int,
    cap: int | None,
    count: str,
    prefetch: int,
    ticks: list[int],
    failing: set[int],
) -> None:
    """Each item is yielded once and in order, whatever the cap, also if it is resumed."""
    server = SkipServer(keys(total), cap)
    server.count = {
        "right": lambda rows, _: len(rows),
        "missing": lambda _, __: None,
        "zero": lambda _, __: 0,
        "high": lambda rows, _: len(rows) + 17,
    }[count]
    server.ticks = ticks

    def fail(number: int) -> None:
        if number in failing:
            raise ServerError("down", status=503)

    server.before = fail

    async def walk() -> None:
        found: list[str] = []
        page: int | None = 1
        while page is not None:
            paginator = server.walk(page=page, page_size=size, prefetch=prefetch)
            page = None
            try:
                async for row in paginator:
                    found.append(row.key)  # noqa: PERF401 - what came before a failure counts
            except ServerError as error:
                page = error.page
                assert page is not None
                assert found == keys(total)[: (page - 1) * size]
            assert paginator.drift.dropped == 0
            assert not paginator.drift.count_changed
        assert found == keys(total)

    run(walk())


@given(
    total=st.integers(0, 60),
    size=st.integers(1, 12),
    cap=st.none() | st.integers(1, 12),
    changes=st.dictionaries(
        st.integers(1, 30), st.tuples(st.booleans(), st.integers(0, 60)), max_size=4
    ),
    prefetch=PREFETCH,
    ticks=TICKS,
)
@example(total=20, size=10, cap=1, changes={2: (True, 0)}, prefetch=0, ticks=[0])
@example(total=20, size=10, cap=5, changes={4: (False, 0)}, prefetch=0, ticks=[0])
def test_drift_by_skip_and_top(
    total: int,
    size: int,
    cap: int | None,
    changes: dict[int, tuple[bool, int]],
    prefetch: int,
    ticks: list[int],
) -> None:
    """If an item that was there all the time is missed or came twice, the drift shows it.

    Each change inserts a row or removes one, before the request with its number.
    """
    server = SkipServer(keys(total), cap)
    server.ticks = ticks
    stayed = set(keys(total))

    def change(number: int) -> None:
        inserts, index = changes.get(number, (False, len(server.rows)))
        if inserts:
            server.rows.insert(index, f"new{number}")
        elif index < len(server.rows):
            stayed.discard(server.rows.pop(index))

    server.before = change

    async def walk() -> None:
        paginator = server.walk(page_size=size, prefetch=prefetch)
        found = [row.key async for row in paginator]
        if not paginator.drift.count_changed:
            assert len(found) == len(set(found))
            assert stayed <= {*found}
        # One page after the other misses nothing because of insertions, unless they are so many
        # that a page repeats the one before.
        only_inserts = all(inserts for inserts, _ in changes.values())
        if only_inserts and len(changes) < size and prefetch == 0:
            assert stayed <= {*found}

    run(walk())
