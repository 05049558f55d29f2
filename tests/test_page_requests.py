"""Pages by skip and top, from servers that send less, more or other items than asked for."""

from collections.abc import Callable

import pytest

from portsip_async.core.endpoint import PageScheme
from portsip_async.core.page_requests import page_fetcher
from portsip_async.core.page_sequence import Drift, Page
from portsip_async.errors import ServerError

from .concurrency import collect_into
from .skip_server import Row, SkipServer, keys, walk_keys

COUNTS: dict[str, Callable[[list[str], list[str]], int | None]] = {
    "right": lambda rows, _: len(rows),
    "missing": lambda _, __: None,
    "zero": lambda _, __: 0,
    "negative": lambda _, __: -1,
    "low": lambda _, part: len(part) // 2,
    "high": lambda rows, _: len(rows) + 1000,
}


async def test_numbered_pages_take_one_request_each() -> None:
    """With a numbered scheme the request holds number and size, and the reply is the page."""
    asked: list[object] = []
    page = Page(items=(Row("a"),), count=9)

    async def send(query: object) -> Page[Row]:
        asked.append(query)
        return page

    fetch = page_fetcher(PageScheme("key", "page", "size"), send)
    assert await fetch(3, 20) is page
    assert asked == [{"page": 3, "size": 20}]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("total", [0, 1, 99, 100, 101, 250, 400])
async def test_one_request_for_a_page(total: int, prefetch: int) -> None:
    """A server that sends what was asked for gets one request for each page, and no other."""
    server = SkipServer(keys(total))
    walk = server.walk(prefetch=prefetch)
    assert await walk_keys(walk) == keys(total)
    assert sorted(server.asked) == [(skip, 100) for skip in range(0, max(total, 1), 100)]
    assert walk.drift == Drift()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("cap", [1, 30, 100, None])
@pytest.mark.parametrize("total", [0, 29, 30, 31, 100, 130, 250])
async def test_every_item_once(total: int, cap: int | None, prefetch: int, count: str) -> None:
    """A server may limit top, and send no total or a wrong one."""
    server = SkipServer(keys(total), cap)
    server.count = COUNTS[count]
    walk = server.walk(prefetch=prefetch)
    assert await walk_keys(walk) == keys(total)
    assert walk.drift.dropped == 0
    assert not walk.drift.count_changed or count == "low"
    # A page takes as many requests as the cap needs. Without a total, it takes one more to find the
    # end, and pages were fetched ahead.
    needed = -(-total // (cap or 100)) + total // 100
    assert len(server.asked) <= needed + 2 + prefetch


async def test_capped_page_is_asked_for_in_parts() -> None:
    """Page numbers mean multiples of the page size, although the server sends less at once."""
    server = SkipServer(keys(250), cap=30)
    page = await server.walk(page=2)
    assert server.asked == [(100, 100), (130, 70), (160, 40), (190, 10)]
    assert [row.key for row in page.items] == keys(250)[100:200]
    assert (page.pagination, page.pagesize, page.page_count, page.count) == (2, 100, 3, 250)


async def test_total_saves_the_last_request() -> None:
    server = SkipServer(keys(45), cap=30)
    assert await walk_keys(server.walk()) == keys(45)
    assert server.asked == [(0, 100), (30, 70)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [("right", 3), ("missing", None), ("zero", None), ("low", None), ("high", 13)],
)
async def test_page_count_needs_a_believable_total(count: str, expected: int | None) -> None:
    """A total that is less than what the server sent is no reason to end the walk."""
    server = SkipServer(keys(250))
    server.count = COUNTS[count]
    page = await server.walk(page=1)
    assert page.page_count == expected


async def test_page_beyond_the_end() -> None:
    server = SkipServer(keys(250))
    walk = server.walk(page=9)
    page = await walk
    assert page.items == ()
    assert page.page_count == 3
    assert await walk_keys(walk) == []
    assert server.asked == [(800, 100)] * 2


async def test_total_that_promises_too_much() -> None:
    """The pages that never came are counted."""
    server = SkipServer(keys(40), cap=30)
    server.count = COUNTS["high"]
    walk = server.walk(prefetch=0)
    assert await walk_keys(walk) == keys(40)
    assert server.asked == [(0, 100), (30, 70), (40, 60), (100, 100)]
    assert walk.drift == Drift(missing_pages=9)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("cap", [1, 30, None])
async def test_resume_at_the_page_of_an_error(cap: int | None, prefetch: int) -> None:
    """A page of which a part failed is fetched as a whole again."""
    server = SkipServer(keys(450), cap)
    outages = iter([True])

    def fail_once(_: int) -> None:
        if server.asked[-1][0] > 250 and next(outages, False):
            raise ServerError("down", status=503)

    server.before = fail_once
    found: list[Row] = []
    with pytest.raises(ServerError) as caught:
        await collect_into(found, server.walk(prefetch=prefetch))
    assert caught.value.page is not None
    assert len(found) == (caught.value.page - 1) * 100
    found += await server.walk(page=caught.value.page, prefetch=prefetch).collect()
    assert [row.key for row in found] == keys(450)


@pytest.mark.parametrize("prefetch", [0, 3])
async def test_max_pages_of_an_endless_list(prefetch: int) -> None:
    server = SkipServer(keys(10_000), cap=30)
    server.count = COUNTS["missing"]
    walk = server.walk(prefetch=prefetch, max_pages=3)
    assert await walk_keys(walk) == keys(300)
    assert len(server.asked) == 12
    assert walk.drift == Drift()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("cap", [1, 30, None])
@pytest.mark.parametrize("prefetch", [0, 3])
async def test_server_that_ignores_skip(cap: int | None, prefetch: int, count: str) -> None:
    """The walk ends with what it got, after a few requests."""
    server = SkipServer(keys(250), cap)
    server.count = COUNTS[count]
    server.ignores_skip = True
    assert await walk_keys(server.walk(prefetch=prefetch)) == keys(250)[: cap or 100]
    assert len(server.asked) <= 3 * (2 + prefetch)


@pytest.mark.parametrize("count", ["right", "missing"])
async def test_server_that_ignores_top(count: str) -> None:
    """Items beyond the page are yielded once."""
    server = SkipServer(keys(250))
    server.count = COUNTS[count]
    server.ignores_top = True
    assert await walk_keys(server.walk()) == keys(250)


class TestDrift:
    """Changes of the list between two requests of a walk, which may be of one page."""

    @pytest.mark.parametrize("at", [2, 4, 5, 6])
    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    async def test_removal_hides_an_item(self, prefetch: int, at: int) -> None:
        """The item after the border is missed, and the drift shows it."""
        server = SkipServer(keys(190), cap=30)
        server.before = lambda number: number == at and server.rows.pop(0)
        walk = server.walk(prefetch=prefetch)
        found = await walk_keys(walk)
        assert len(found) == len(set(found)) == 189
        assert walk.drift.count_changed

    async def test_removal_inside_the_last_page(self) -> None:
        """The total changed between the two requests of the only page."""
        server = SkipServer(keys(50), cap=30)
        server.before = lambda number: number == 2 and server.rows.pop(0)
        walk = server.walk()
        assert len(await walk_keys(walk)) == 49
        assert walk.drift == Drift(count_changed=True)

    @pytest.mark.parametrize("cap", [1, 30])
    async def test_insertion_repeats_an_item(self, cap: int) -> None:
        """An item that came twice for one page is yielded once and counted."""
        server = SkipServer(keys(50), cap)
        server.before = lambda number: server.rows.insert(0, "new") if number == 2 else None
        walk = server.walk()
        assert await walk_keys(walk) == keys(50)
        assert walk.drift == Drift(dropped=1, count_changed=True)
        page = await SkipServer(keys(50), cap).walk()
        assert len(page.items) == 50

    async def test_total_that_is_missing_once(self) -> None:
        server = SkipServer(keys(50), cap=30)
        server.count = lambda rows, _: len(rows) if len(server.asked) != 1 else None
        walk = server.walk()
        assert await walk_keys(walk) == keys(50)
        assert walk.drift == Drift()
