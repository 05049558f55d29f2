"""Walks over pages, against scripted servers that number them correctly or wrongly."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

import pytest
from msgspec import structs

from portsip_async.classic.models import GreetingFile, GreetingPage
from portsip_async.core.page_sequence import Drift, Page
from portsip_async.core.pages import Paginator, TypedPaginator
from portsip_async.core.tasks import TaskOwner
from portsip_async.errors import ClientClosed, PortSIPError, RequestTimeout, ServerError

X = TypeVar("X")


@dataclass(frozen=True)
class Row:
    """An item. It is a plain class, so a weak reference can show whether it is in memory."""

    key: str


def page_of(keys: str, page_count: int | None = None) -> Page[Row]:
    return Page(items=tuple(Row(key) for key in keys), page_count=page_count)


class Server:
    """Sends pages from a script, and counts the requests.

    With ``held`` each request waits until the test releases it.
    """

    def __init__(
        self, serve: Callable[[int], Page[Row] | BaseException], *, held: bool = False
    ) -> None:
        self.serve = serve
        self.requests: list[int] = []
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.held = held
        self.most_in_flight = 0

    async def fetch(self, number: int, size: int = 1) -> Page[Row]:
        self.requests.append(number)
        gate = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.most_in_flight = max(self.most_in_flight, len(self.waiting))
        try:
            await (gate if self.held else asyncio.sleep(0))
        finally:
            del self.waiting[number]
        reply = self.serve(number)
        try:
            if isinstance(reply, BaseException):
                raise reply
            return reply
        finally:
            del reply  # else the error and this frame would refer to each other

    def release(self, *numbers: int) -> None:
        for number in numbers or tuple(self.waiting):
            self.waiting[number].set_result(None)


class Owner(TaskOwner):
    """What a paginator sees of a client: it owns tasks, and can be closed."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.started = 0
        self.closed = False

    def start(self, work: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        task = asyncio.create_task(work)
        self.started += 1
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def check_open(self) -> None:
        if self.closed:
            raise ClientClosed("the client is closed")

    def close(self) -> None:
        self.closed = True
        for task in self.tasks:
            task.cancel()


def paginate(
    server: Server,
    owner: Owner | None = None,
    *,
    page: int = 1,
    prefetch: int = 0,
    max_pages: int | None = None,
    page_size: int = 1,
) -> Paginator[Row]:
    owner = owner or Owner()
    return Paginator(
        server.fetch,
        key="key",
        page=page,
        prefetch=prefetch,
        max_pages=max_pages,
        page_size=page_size,
        owner=owner,
    )


def honest(*pages: str, counted: bool = True) -> Callable[[int], Page[Row]]:
    def serve(number: int) -> Page[Row]:
        keys = pages[number - 1] if number <= len(pages) else ""
        return page_of(keys, len(pages) if counted else None)

    return serve


def scripted(*pages: tuple[str, int | None]) -> Callable[[int], Page[Row]]:
    """Serve the given pages, then repeat the last one."""
    return lambda number: page_of(*pages[min(number, len(pages)) - 1])


def circling(
    *pages: str, back_to: int = 1, page_count: int | None = None
) -> Callable[[int], Page[Row]]:
    """Serve the given pages, then start again from one of them."""

    def serve(number: int) -> Page[Row]:
        if number > len(pages):
            number = back_to + (number - back_to) % (len(pages) - back_to + 1)
        return page_of(pages[number - 1], page_count)

    return serve


async def settle() -> None:
    """Run the loop for a few ticks, until only external events are missing."""
    for _ in range(12):
        await asyncio.sleep(0)


def tasks_left() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def keys_of(items: AsyncIterator[Row]) -> str:
    return "".join([item.key async for item in items])


@pytest.fixture(autouse=True)
async def _nothing_left() -> AsyncIterator[None]:
    """Check after each test that no task is left and no error was unhandled."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    await settle()
    gc.collect(1)
    assert complaints == []
    assert tasks_left() == set()


# Where a walk ends

CASES = [
    pytest.param(honest("ab", "cd", "e"), {}, 3, "abcde", id="honest"),
    pytest.param(honest("ab", "cd", counted=False), {}, 3, "abcd", id="uncounted-multiple"),
    pytest.param(honest("ab", "cd", "e", counted=False), {}, 3, "abcde", id="uncounted"),
    pytest.param(
        honest("ab", "cd", "e", counted=False), {"page_size": 9}, 3, "abcde", id="uncounted-capped"
    ),
    pytest.param(
        scripted(("ab", None), ("cd", None), ("bc", None)), {}, 3, "abcd", id="nothing-new"
    ),
    pytest.param(
        scripted(("ab", 9), ("cd", 9), ("bc", 9), ("ef", 4)),
        {},
        4,
        "abcdef",
        id="nothing-new-counted",
    ),
    pytest.param(scripted(("ab", None), ("cd", None)), {}, 3, "abcd", id="repeats-last-uncounted"),
    pytest.param(scripted(("ab", 100), ("cd", 100)), {}, 3, "abcd", id="repeats-last"),
    pytest.param(circling("ab", "cd", "ef", "gh"), {}, 5, "abcdefgh", id="starts-again-uncounted"),
    pytest.param(
        circling("ab", "cd", "ef", "gh", page_count=99), {}, 5, "abcdefgh", id="starts-again"
    ),
    pytest.param(
        circling("ab", "cd", "ef", "gh", page_count=99),
        {"page": 2},
        5,
        "cdefghab",
        id="starts-again-resumed",
    ),
    pytest.param(
        circling("ab", "cd", "ef", back_to=2, page_count=99), {}, 4, "abcdef", id="cycle-of-two"
    ),
    pytest.param(scripted(("ab", 9), ("cd", 9), ("", 9)), {}, 3, "abcd", id="empty-page"),
    pytest.param(scripted(("a", 100)), {}, 2, "a", id="count-too-large"),
    pytest.param(scripted(("ab", 100), ("", 100)), {}, 2, "ab", id="count-too-large-then-empty"),
    pytest.param(scripted(("ab", 1), ("cd", 1)), {}, 1, "ab", id="count-too-small"),
    pytest.param(scripted(("ab", 2), ("cd", 3), ("e", 3)), {}, 3, "abcde", id="count-grows"),
    pytest.param(scripted(("ab", 4), ("cd", 2), ("ef", 2)), {}, 2, "abcd", id="count-shrinks"),
    pytest.param(
        scripted(("ab", 9), ("cd", None), ("e", None)), {}, 3, "abcde", id="count-vanishes"
    ),
    pytest.param(lambda n: page_of(chr(n) * 3, n + 1), {"max_pages": 5}, 5, None, id="invents"),
    pytest.param(lambda n: page_of(chr(n), None), {"max_pages": 5}, 5, None, id="invents-more"),
    pytest.param(honest("ab", "cd", "e"), {"max_pages": 1}, 1, "ab", id="max-pages-1"),
    pytest.param(honest("ab", "cd", "e"), {"max_pages": 9}, 3, "abcde", id="max-pages-unneeded"),
    pytest.param(honest("ab"), {}, 1, "ab", id="single-page"),
    pytest.param(honest(), {}, 1, "", id="empty-list"),
    pytest.param(honest(counted=False), {}, 1, "", id="empty-list-uncounted"),
    pytest.param(honest("ab", "cd", "e"), {"page": 2}, 2, "cde", id="resumed"),
    pytest.param(honest("ab", "cd", "e"), {"page": 9}, 1, "", id="resumed-past-the-end"),
    pytest.param(
        honest("ab", "cd", "ef", "g"), {"page": 2, "max_pages": 2}, 2, "cdef", id="resumed-bounded"
    ),
]


@pytest.mark.parametrize("prefetch", [0, 1, 4])
@pytest.mark.parametrize(("serve", "options", "requests", "expected"), CASES)
async def test_walk_ends(
    serve: Callable[[int], Page[Row]],
    options: dict[str, Any],
    requests: int,
    expected: str | None,
    prefetch: int,
) -> None:
    """A walk ends by itself and yields each item once, however the server numbers its pages."""
    server = Server(serve)
    walk = paginate(server, prefetch=prefetch, **options)
    found = await keys_of(aiter(walk))
    if expected is not None:
        assert found == expected
    first = options.get("page", 1)
    assert server.requests[:requests] == list(range(first, first + requests))
    assert len(server.requests) <= requests + prefetch
    assert "".join(item.key for item in await walk.collect()) == found


@pytest.mark.parametrize("length", range(3, 12))
@pytest.mark.parametrize("back_to", [2, 3, 5])
async def test_walk_ends_at_a_long_cycle(length: int, back_to: int) -> None:
    """A repeated series of pages is detected even if it is long and skips the first page."""
    letters = [chr(ord("A") + n) for n in range(back_to + length - 1)]
    server = Server(circling(*letters, back_to=back_to, page_count=10**6))
    found = await keys_of(aiter(paginate(server)))
    assert found.startswith("".join(letters))
    assert len(server.requests) <= 6 * len(letters)


async def test_single_repeated_page_does_not_end_the_walk() -> None:
    """One page that repeats an earlier one is not a cycle, so the walk goes on."""
    server = Server(honest("a", "b", "c", "d", "e", "f", "d", "g"))
    assert await keys_of(aiter(paginate(server))) == "abcdefdg"


async def test_each_loop_starts_a_new_walk() -> None:
    server = Server(honest("ab", "c"))
    walk = paginate(server)
    assert await keys_of(aiter(walk)) == await keys_of(aiter(walk)) == "abc"
    assert server.requests == [1, 2, 1, 2]


# Drift


async def test_drift_of_an_honest_list() -> None:
    walk = paginate(Server(honest("ab", "cd", "e")), prefetch=2)
    assert walk.drift == Drift()
    await walk.collect()
    assert walk.drift == Drift(dropped=0, page_count_changed=False)


@pytest.mark.parametrize(
    ("pages", "expected", "drift"),
    [
        pytest.param(
            [("abc", 2), ("cde", 2)], "abcde", Drift(1, False), id="inserted-in-front-by-one"
        ),
        pytest.param(
            [("abc", 3), ("bcd", 3), ("cde", 3)], "abcde", Drift(4, False), id="two-pages-back"
        ),
        pytest.param(
            [("abc", 3), ("def", 3), ("agh", 3)], "abcdefgh", Drift(1, False), id="back-in-place"
        ),
        pytest.param([("abc", 3), ("efg", 2)], "abcefg", Drift(0, True), id="deleted-in-front"),
        pytest.param(
            [("abc", 2), ("def", 3), ("fgh", 3)], "abcdefgh", Drift(1, True), id="inserted-between"
        ),
        pytest.param(
            [("ab", 4), ("cd", 4), ("ef", 4), ("ag", 4)], "abcdefag", Drift(), id="too-far-back"
        ),
        pytest.param(
            [("ab", 9), ("cd", None), ("ef", 4), ("gh", 4)],
            "abcdefgh",
            Drift(0, True),
            id="count-missing-between",
        ),
        pytest.param([("ab", 3), ("ab", 3)], "ab", Drift(2, False, 1), id="promised-page-missing"),
        pytest.param([("ab", None), ("ab", None)], "ab", Drift(), id="end-shown-by-repetition"),
        pytest.param([("ab", 3), ("", 3)], "ab", Drift(missing_pages=1), id="empty"),
        pytest.param([("aa", 2), ("b", 2)], "aab", Drift(), id="twice-on-one-page"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
async def test_drift_is_counted(
    pages: list[tuple[str, int | None]], expected: str, drift: Drift, prefetch: int
) -> None:
    """An item is dropped and counted if its key was on one of the two pages before."""
    walk = paginate(Server(scripted(*pages)), prefetch=prefetch)
    assert await keys_of(aiter(walk)) == expected
    assert walk.drift == drift


async def test_drift_is_that_of_the_latest_walk() -> None:
    pages = [("ab", 2), ("bc", 2)]
    server = Server(lambda number: scripted(*pages)(number))
    walk = paginate(server)
    await walk.collect()
    assert walk.drift == Drift(dropped=1)
    pages[1] = ("cd", 2)
    await walk.collect()
    assert walk.drift == Drift()


# Pages, the first page, lists


async def test_pages_are_unchanged() -> None:
    """Pages keep items that a walk over items drops. `drift` counts them anyway."""
    walk = paginate(Server(honest("ab", "bc", "d")))
    assert ["".join(row.key for row in page.items) async for page in walk.pages()] == [
        "ab",
        "bc",
        "d",
    ]
    assert walk.drift == Drift(dropped=1)


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        pytest.param(honest(), [""], id="empty-first"),
        pytest.param(honest("ab", counted=False), ["ab"], id="empty-last"),
        pytest.param(scripted(("ab", 9)), ["ab"], id="repeated"),
    ],
)
async def test_pages_at_the_end(serve: Callable[[int], Page[Row]], expected: list[str]) -> None:
    """The first page is always yielded. A page that only marks the end is not."""
    pages = [page async for page in paginate(Server(serve)).pages()]
    assert ["".join(row.key for row in page.items) for page in pages] == expected


async def test_awaiting_returns_the_first_page() -> None:
    """If the reply lacks its page number, the page has the requested one."""
    server = Server(honest("ab", "cd"))
    page = await paginate(server, page=2, prefetch=3)
    assert page == structs.replace(page_of("cd", 2), pagination=2)
    assert server.requests == [2]


async def test_awaiting_a_page_that_fails() -> None:
    with pytest.raises(ServerError) as caught:
        await paginate(Server(lambda number: ServerError(status=500)), page=7)
    assert caught.value.page == 7


async def test_typed_pages() -> None:
    """The additional fields of a page are visible to users and type checkers."""

    async def fetch(number: int, _: int) -> GreetingPage:
        return GreetingPage(
            items=(GreetingFile(f"{number}.wav"),), page_count=2, default_file="1.wav"
        )

    owner = Owner()
    walk = TypedPaginator[GreetingFile, GreetingPage](fetch, key="filename", owner=owner)
    assert isinstance(walk, Paginator)
    assert assert_type(await walk, GreetingPage).default_file == "1.wav"
    assert [assert_type(page, GreetingPage).default_file async for page in walk.pages()] == [
        "1.wav",
        "1.wav",
    ]
    assert [assert_type(item, GreetingFile).filename async for item in walk] == ["1.wav", "2.wav"]
    assert len(assert_type(await walk.collect(), list[GreetingFile])) == 2


@pytest.mark.parametrize("prefetch", [0, 1])
@pytest.mark.parametrize(
    ("limit", "expected", "requests"),
    [
        (None, "abcde", [1, 2, 3]),
        (0, "", []),
        (1, "a", [1]),
        (2, "ab", [1]),
        (3, "abc", [1, 2]),
        (5, "abcde", [1, 2, 3]),
        (99, "abcde", [1, 2, 3]),
    ],
)
async def test_collect(
    limit: int | None, expected: str, requests: list[int], prefetch: int
) -> None:
    """A limit ends the walk at once, and pages beyond it are not requested."""
    server = Server(honest("ab", "cd", "e"))
    items = await paginate(server, prefetch=prefetch).collect(limit)
    assert tasks_left() == set()
    assert "".join(item.key for item in items) == expected
    assert server.requests[: len(requests)] == requests
    # Page 3 is already requested while the walk waits for page 2.
    assert len(server.requests) <= len(requests) + (prefetch if limit == 3 else 0)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"page": 0}, ValueError),
        ({"page": -1}, ValueError),
        ({"page": True}, TypeError),
        ({"page": 1.0}, TypeError),
        ({"page": "1"}, TypeError),
        ({"page": None}, TypeError),
        ({"prefetch": -1}, ValueError),
        ({"prefetch": False}, TypeError),
        ({"prefetch": None}, TypeError),
        ({"max_pages": 0}, ValueError),
        ({"max_pages": True}, TypeError),
        ({"max_pages": 2.5}, TypeError),
        ({"page_size": 0}, ValueError),
        ({"page_size": "100"}, TypeError),
    ],
)
async def test_bad_numbers(options: dict[str, Any], error: type[Exception]) -> None:
    """An invalid number raises when the walk is created."""
    with pytest.raises(error):
        paginate(Server(honest()), **options)


@pytest.mark.parametrize(
    ("limit", "error"), [(-1, ValueError), (True, TypeError), ("1", TypeError)]
)
async def test_collect_with_a_bad_limit(limit: Any, error: type[Exception]) -> None:
    server = Server(honest("ab"))
    with pytest.raises(error):
        await paginate(server).collect(limit)
    assert server.requests == []


# Prefetch

LONG = honest(*(chr(ord("a") + n) for n in range(20)))


async def test_prefetch_starts_before_the_items_are_read() -> None:
    """The first page is fetched alone; its page count starts the next ones."""
    server = Server(LONG, held=True)
    async with aclosing(aiter(paginate(server, prefetch=3))) as walk:
        first = asyncio.create_task(anext(walk))
        await settle()
        assert server.requests == [1]
        server.release(1)
        assert (await first).key == "a"
        await settle()
        assert server.requests == [1, 2, 3, 4]


async def test_prefetch_is_bounded() -> None:
    """At most N further pages are in flight or ready, however slow the consumer."""
    server = Server(LONG)
    async for item in paginate(server, prefetch=3):
        await settle()
        assert max(server.requests) <= ord(item.key) - ord("a") + 1 + 3
    assert server.requests == list(range(1, 21))


@pytest.mark.parametrize(("prefetch", "rounds"), [(0, 41), (1, 21), (3, 11), (7, 6)])
async def test_prefetch_overlaps(prefetch: int, rounds: int) -> None:
    """A prefetch of N has N + 1 in flight: 41 pages take 1 + 40 / (N + 1) round trips."""
    server = Server(honest(*(chr(ord("a") + n) for n in range(41))), held=True)
    walk = asyncio.create_task(paginate(server, prefetch=prefetch).collect())
    await settle()
    needed = 0
    while not walk.done():
        server.release()
        needed += 1
        await settle()
    assert len(await walk) == 41
    assert needed == rounds
    assert server.most_in_flight == prefetch + 1


async def test_prefetch_keeps_the_order() -> None:
    """Pages are yielded in order, in whatever order they arrive."""
    server = Server(honest("a", "b", "c", "d", "e"), held=True)
    walk = asyncio.create_task(paginate(server, prefetch=4).collect())
    await settle()
    server.release(1)
    await settle()
    for number in (5, 4, 3, 2):
        assert not walk.done()
        server.release(number)
        await settle()
    assert "".join(item.key for item in await walk) == "abcde"


@pytest.mark.parametrize(
    ("serve", "options", "requests"),
    [
        pytest.param(honest("ab", "cd", "e"), {}, 3, id="count"),
        pytest.param(LONG, {"max_pages": 4}, 4, id="max-pages"),
        pytest.param(LONG, {"page": 18}, 3, id="resumed"),
        pytest.param(honest("ab", "c", counted=False), {}, 8, id="uncounted-at-once"),
        pytest.param(honest("a", counted=False), {"page_size": 5}, 2, id="short-first-page"),
        pytest.param(scripted(("ab", 2), ("cd", 4), ("ef", 4)), {}, 4, id="grows"),
        pytest.param(honest(), {}, 1, id="empty"),
    ],
)
async def test_prefetch_not_past_the_end(
    serve: Callable[[int], Page[Row]], options: dict[str, Any], requests: int
) -> None:
    """No page behind the known end is requested."""
    server = Server(serve)
    async for _ in paginate(server, prefetch=7, **options):
        await settle()
    first = options.get("page", 1)
    assert server.requests == list(range(first, first + requests))


async def test_no_prefetch_needs_no_task() -> None:
    """Without prefetch each page is fetched by the consumer's own task, when it is needed."""
    owner = Owner()
    tasks: set[asyncio.Task[Any] | None] = set()

    def serve(number: int) -> Page[Row]:
        tasks.add(asyncio.current_task())
        return LONG(number)

    server = Server(serve)
    async for item in paginate(server, owner):
        await settle()
        assert len(server.requests) == ord(item.key) - ord("a") + 1
    assert owner.started == 0
    assert tasks == {asyncio.current_task()}


# Failures


def failing(*numbers: int) -> Callable[[int], Page[Row] | BaseException]:
    return lambda number: ServerError("down", status=503) if number in numbers else LONG(number)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
async def test_page_that_fails(prefetch: int) -> None:
    """The error is raised after all items before its page, and has the page's number."""
    server = Server(failing(4, 5))
    found = ""

    async def consume() -> None:
        nonlocal found
        async for item in paginate(server, prefetch=prefetch):
            found += item.key
            await settle()

    with pytest.raises(ServerError) as caught:
        await consume()
    assert found == "abc"
    assert caught.value.page == 4
    assert max(server.requests) <= 3 + max(prefetch, 1)
    assert tasks_left() == set()
    resumed = paginate(Server(LONG), page=caught.value.page, prefetch=prefetch)
    assert found + await keys_of(aiter(resumed)) == "abcdefghijklmnopqrst"


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_failure_is_never_raised_twice(prefetch: int) -> None:
    """Each walk requests the page again. A walk that has ended stays ended."""
    paginator = paginate(Server(failing(2)), prefetch=prefetch)
    walk = aiter(paginator)
    assert (await anext(walk)).key == "a"
    with pytest.raises(ServerError) as first:
        await anext(walk)
    with pytest.raises(StopAsyncIteration):
        await anext(walk)
    with pytest.raises(ServerError) as second:
        await paginator.collect()
    assert first.value is not second.value


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_timeout_of_a_page_is_raised(prefetch: int) -> None:
    """A TimeoutError of a page is raised unchanged."""
    server = Server(lambda number: RequestTimeout("slow") if number == 2 else LONG(number))
    with pytest.raises(RequestTimeout) as caught:
        await paginate(server, prefetch=prefetch).collect()
    assert caught.value.page == 2


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_foreign_failure(prefetch: int) -> None:
    """An error that is not a PortSIPError is raised unchanged."""
    server = Server(lambda number: KeyError("x") if number == 2 else LONG(number))
    with pytest.raises(KeyError):
        await paginate(server, prefetch=prefetch).collect()


async def test_failure_of_a_page_never_reached() -> None:
    """If the walk ends before the page, its error is dropped without a warning."""
    server = Server(failing(2, 3))
    async for item in paginate(server, prefetch=2):
        await settle()
        assert server.requests == [1, 2, 3]
        assert item.key == "a"
        break


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_error_is_freed_without_the_collector(prefetch: int) -> None:
    """An error is freed with its last reference, and with it all that its traceback holds."""
    dropped: list[weakref.ref[ServerError]] = []
    gc.disable()
    try:
        try:
            await paginate(Server(failing(2)), prefetch=prefetch).collect()
        except ServerError as error:
            dropped.append(weakref.ref(error))
        await settle()
        assert [ref() for ref in dropped] == [None]
    finally:
        gc.enable()


# Life cycle


@pytest.mark.parametrize("prefetch", [0, 1, 5])
async def test_break_ends_the_walk(prefetch: int) -> None:
    """A `break` ends the walk, including the pages in flight."""
    server = Server(LONG)
    paginator = paginate(server, prefetch=prefetch)
    async for _ in paginator:
        server.held = True
        await settle()
        assert len(server.waiting) == prefetch
        break
    await settle()
    assert tasks_left() == set()
    assert server.waiting == {}


@pytest.mark.parametrize("prefetch", [0, 1, 5])
async def test_exception_ends_the_walk(prefetch: int) -> None:
    server = Server(LONG)
    paginator = paginate(server, prefetch=prefetch)

    async def consume() -> None:
        async for _ in paginator:
            server.held = True
            await settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await consume()
    await settle()
    assert tasks_left() == set()
    assert server.waiting == {}


@pytest.mark.parametrize("reached", [0, 1, 2], ids=["first-page", "second-page", "third-page"])
@pytest.mark.parametrize("prefetch", [0, 1, 5])
async def test_cancellation_ends_the_walk(prefetch: int, reached: int) -> None:
    """If the consumer is cancelled while it waits for a page, the whole walk ends."""
    server = Server(LONG, held=True)
    consumer = asyncio.create_task(paginate(server, prefetch=prefetch).collect())
    await settle()
    for number in range(1, reached + 1):
        server.release(number)
        await settle()
    assert len(server.waiting) == (prefetch + 1 if reached else 1)
    consumer.cancel()
    await settle()
    assert consumer.cancelled()
    assert tasks_left() == set()
    assert server.waiting == {}


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_cancellation_between_items(prefetch: int) -> None:
    server = Server(LONG)

    async def consume() -> None:
        async for _ in paginate(server, prefetch=prefetch):
            server.held = True
            await asyncio.Event().wait()

    consumer = asyncio.create_task(consume())
    await settle()
    consumer.cancel()
    await settle()
    assert consumer.cancelled()
    assert tasks_left() == set()
    assert server.waiting == {}


@pytest.mark.parametrize("prefetch", [0, 3])
async def test_aclose_ends_a_walk_that_is_referenced(prefetch: int) -> None:
    """The generator and its tasks have ended when ``aclose`` returns."""
    server = Server(LONG)
    paginator = paginate(server, prefetch=prefetch)
    walks = [aiter(paginator), aiter(paginator)]
    unused = aiter(paginator)
    pages = paginator.pages()
    for walk in walks:
        await anext(walk)
    await anext(pages)
    server.held = True
    await paginator.aclose()
    assert tasks_left() == set()
    assert server.waiting == {}
    for walk in [*walks, unused]:
        with pytest.raises(StopAsyncIteration):
            await anext(walk)
    with pytest.raises(StopAsyncIteration):
        await anext(pages)
    await paginator.aclose()
    server.held = False
    assert len(await paginator.collect()) == 20


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_async_with_ends_the_walk(error: type[Exception] | None) -> None:
    server = Server(LONG)
    try:
        async with paginate(server, prefetch=3) as paginator:
            walk = aiter(paginator)
            await anext(walk)
            await asyncio.sleep(0)
            assert tasks_left() != set()
            if error is not None:
                raise error
    except ZeroDivisionError:
        assert error is ZeroDivisionError
    assert tasks_left() == set()
    assert server.waiting == {}


@pytest.mark.parametrize("reached", [0, 2], ids=["first-page", "third-page"])
@pytest.mark.parametrize("prefetch", [0, 3])
async def test_aclose_while_another_task_waits(prefetch: int, reached: int) -> None:
    """The loop of a task that waits for a page ends without an error."""
    server = Server(LONG, held=True)
    paginator = paginate(server, prefetch=prefetch)
    consumer = asyncio.create_task(keys_of(aiter(paginator)))
    await settle()
    for number in range(1, reached + 1):
        server.release(number)
        await settle()
    await paginator.aclose()
    assert server.waiting == {}
    assert await consumer == "ab"[:reached]
    assert not consumer.cancelling()
    assert tasks_left() == set()


async def test_aclose_while_another_task_collects() -> None:
    """An incomplete list is never returned as if it were complete."""
    server = Server(LONG, held=True)
    paginator = paginate(server, prefetch=1)
    consumer = asyncio.create_task(paginator.collect())
    await settle()
    await asyncio.gather(paginator.aclose(), paginator.aclose())
    with pytest.raises(PortSIPError, match="closed"):
        await consumer


async def test_aclose_as_a_page_arrives() -> None:
    """A page that arrives at the moment of closing doesn't restart the walk."""
    server = Server(LONG, held=True)
    paginator = paginate(server, prefetch=1)
    consumer = asyncio.create_task(keys_of(aiter(paginator)))
    await settle()
    server.release(1)
    await paginator.aclose()
    assert await consumer == ""
    assert server.requests == [1]


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_aclose_and_cancellation_at_once(prefetch: int) -> None:
    """The consumer is cancelled. Closing swallows no cancellation."""
    server = Server(LONG, held=True)
    paginator = paginate(server, prefetch=prefetch)
    consumer = asyncio.create_task(keys_of(aiter(paginator)))
    await settle()
    closing = asyncio.create_task(paginator.aclose())
    await asyncio.sleep(0)
    consumer.cancel()
    await closing
    await settle()
    assert consumer.cancelled()


async def test_aclose_of_several_walks_at_once() -> None:
    """A walk that is being stopped fetches no page while another one still ends."""
    server = Server(honest("a", "b", "c"))
    paginator = paginate(server)
    first, second = aiter(paginator), aiter(paginator)
    await anext(first)
    await anext(second)
    server.held = True
    consumer = asyncio.create_task(anext(first, None))
    await settle()
    closing = asyncio.create_task(paginator.aclose())
    await asyncio.sleep(0)
    assert await anext(second, None) is None
    assert await consumer is None
    await closing
    assert server.requests == [1, 1, 2]


async def test_close_waits_for_its_tasks() -> None:
    """Closing waits for a fetch that ends slowly, but a second cancellation ends the wait."""
    server = Server(LONG)
    tidy = asyncio.Event()

    async def fetch(number: int, _: int) -> Page[Row]:
        if number == 1:
            return await server.fetch(number)
        try:
            await asyncio.Event().wait()
        finally:
            await tidy.wait()
        raise AssertionError

    owner = Owner()
    paginator = Paginator(fetch, key="key", prefetch=2, owner=owner)
    walk = aiter(paginator)
    await anext(walk)
    await settle()
    closing = asyncio.create_task(paginator.aclose())
    also_closing = asyncio.create_task(paginator.aclose())
    await settle()
    assert not closing.done()
    closing.cancel()
    await settle()
    assert closing.cancelled()
    assert also_closing.done()
    assert len(owner.tasks) == 2
    tidy.set()
    await settle()
    assert owner.tasks == set()


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_closed_owner_raises_at_the_next_page(prefetch: int) -> None:
    """After the client was closed, the walk raises at the next page, and names the page."""
    owner = Owner()
    server = Server(honest("ab", "cd"))
    walk = aiter(paginate(server, owner, prefetch=prefetch))
    assert (await anext(walk)).key == "a"
    owner.close()
    assert (await anext(walk)).key == "b"
    with pytest.raises(ClientClosed) as caught:
        await anext(walk)
    assert caught.value.page == 2
    assert tasks_left() == set()


@pytest.mark.parametrize("last", ["cd", "", "ab"], ids=["full", "empty", "repeated"])
async def test_closed_owner_raises_at_the_end(last: str) -> None:
    """A walk that has yielded all its pages raises, too."""
    owner = Owner()
    walk = aiter(paginate(Server(scripted(("ab", 2), (last, 2))), owner, prefetch=1))
    for _ in range(4 if last == "cd" else 2):
        await anext(walk)
    owner.close()
    with pytest.raises(ClientClosed):
        await anext(walk)


async def test_closed_owner_raises_to_a_waiting_consumer() -> None:
    """If closing the client ends the task of a page, the consumer gets ClientClosed."""
    owner = Owner()
    server = Server(LONG, held=True)
    consumer = asyncio.create_task(paginate(server, owner, prefetch=2).collect())
    await settle()
    server.release(1)
    await settle()
    owner.close()
    with pytest.raises(ClientClosed) as caught:
        await consumer
    assert caught.value.page == 2


async def test_closed_owner_raises_before_anything_is_sent() -> None:
    owner = Owner()
    owner.close()
    server = Server(LONG)
    paginator = paginate(server, owner)
    with pytest.raises(ClientClosed):
        await paginator
    with pytest.raises(ClientClosed):
        await paginator.collect()
    assert server.requests == []


async def test_closed_owner_as_a_page_arrives() -> None:
    """A page that arrives after the client was closed starts no further page."""
    owner = Owner()

    def serve(number: int) -> Page[Row]:
        owner.close()
        return LONG(number)

    with pytest.raises(ClientClosed):
        await paginate(Server(serve), owner, prefetch=2).collect()
    assert owner.started == 0


# Memory


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_page_is_freed_before_the_next_one_arrives(prefetch: int) -> None:
    server = Server(honest("abcdef", "ghijkl"))
    seen: list[weakref.ref[Row]] = []

    async def consume(walk: AsyncIterator[Row]) -> None:
        async for item in walk:
            seen.append(weakref.ref(item))
            server.held = True

    consumer = asyncio.create_task(consume(aiter(paginate(server, prefetch=prefetch))))
    await settle()
    assert len(server.waiting) == 1
    gc.collect()
    # The loop still holds the last item.
    assert [ref() is None for ref in seen] == [True] * 5 + [False]
    server.release()
    await consumer


class Key(str):
    """A key that supports weak references."""


@pytest.mark.parametrize("prefetch", [0, 2])
async def test_kept_keys_do_not_grow(prefetch: int) -> None:
    """However long the walk, only the keys of a few pages are kept."""
    seen: weakref.WeakSet[Key] = weakref.WeakSet()

    async def fetch(number: int, _: int) -> Page[Row]:
        keys = [Key(f"{number}-{n}") for n in range(10)]
        seen.update(keys)
        return Page(items=tuple(map(Row, keys)), page_count=200)

    owner = Owner()
    paginator = Paginator(fetch, key="key", prefetch=prefetch, owner=owner)
    count = most = 0
    async for _ in paginator:
        count += 1
        most = max(most, len(seen))
    assert count == 2000
    assert most <= 10 * (5 + prefetch)


@pytest.mark.parametrize("shape", ["items", "pages"])
async def test_async_with_after_a_break_leaves_no_task(shape: str) -> None:
    """After a `break` Python closes the generator some ticks later. `async with` waits for it."""
    gate = asyncio.Event()
    before = asyncio.all_tasks()

    async def fetch(number: int, _: int) -> Page[Row]:
        if number > 1:
            await gate.wait()
        return Page(items=(Row(str(number)),), page_count=9)

    walk = Paginator(
        fetch,
        key="key",
        prefetch=4,
        owner=Owner(),
    )
    async with walk:
        async for _ in walk if shape == "items" else walk.pages():
            break
    assert asyncio.all_tasks() == before


class TestMissingPages:
    """Pages that the latest count promised, and that the walk never reached."""

    @pytest.mark.parametrize(
        ("pages", "options", "missing"),
        [
            pytest.param([("ab", 4), ("", 4), ("cd", 4), ("ef", 4)], {}, 2, id="empty-in-between"),
            pytest.param([("", 4), ("ab", 4)], {}, 3, id="empty-at-first"),
            pytest.param([("ab", 2), ("", 2)], {}, 0, id="empty-at-last"),
            pytest.param([("ab", 4), ("", 1)], {}, 0, id="empty-as-it-shrank"),
            pytest.param([("ab", 2), ("", 4)], {}, 2, id="empty-as-it-grew"),
            pytest.param([("ab", 4), ("", None)], {}, 2, id="empty-without-a-count"),
            pytest.param([("ab", 5), ("ab", 5)], {}, 3, id="repeated"),
            pytest.param([("ab", 4), ("cd", 4), ("ab", 4)], {}, 1, id="from-the-first-again"),
            pytest.param([("abc", 4), ("de", None)], {}, 2, id="short-without-a-count"),
            pytest.param([("ab", 2), ("cd", 2)], {}, 0, id="whole"),
            pytest.param([("ab", 3), ("cd", 2)], {}, 0, id="shrunk"),
            pytest.param([("ab", None), ("", None)], {}, 0, id="never-counted"),
            pytest.param([("ab", 0)], {}, 0, id="none-promised"),
            pytest.param([("ab", 10**9), ("", 10**9)], {}, 10**9 - 2, id="endless"),
            pytest.param([("ab", 4), ("", 4), ("cd", 4)], {"page": 2}, 2, id="resumed"),
            pytest.param([("ab", 9), ("cd", 9)], {"max_pages": 2}, 0, id="bounded"),
            pytest.param([("ab", 9), ("", 9)], {"max_pages": 5}, 3, id="within-its-bounds"),
            pytest.param([("ab", 9), ("", 9)], {"max_pages": 2}, 0, id="empty-at-its-bounds"),
        ],
    )
    @pytest.mark.parametrize("prefetch", [0, 3])
    @pytest.mark.parametrize("shape", ["items", "pages", "collect"])
    async def test_missing_pages_are_counted(
        self,
        pages: list[tuple[str, int | None]],
        options: dict[str, Any],
        missing: int,
        prefetch: int,
        shape: str,
    ) -> None:
        walk = paginate(Server(scripted(*pages)), prefetch=prefetch, **options)
        if shape == "collect":
            await walk.collect()
        else:
            async for _ in walk if shape == "items" else walk.pages():
                pass
        assert walk.drift.missing_pages == missing

    async def test_no_missing_pages_after_a_break(self) -> None:
        walk = paginate(Server(scripted(*[("ab", 9), ("cd", 9), ("ef", 9)])))
        async with walk:
            async for _ in walk:
                break
        assert walk.drift == Drift()
        assert await walk.collect(3) == [Row("a"), Row("b"), Row("c")]
        assert walk.drift == Drift()

    async def test_no_missing_pages_after_a_failed_page(self) -> None:
        def serve(number: int) -> Page[Row] | BaseException:
            return page_of("ab", 9) if number == 1 else ServerError(status=500)

        walk = paginate(Server(serve))
        with pytest.raises(ServerError):
            await walk.collect()
        assert walk.drift == Drift()

    @pytest.mark.parametrize(
        ("counts", "changed"),
        [
            ((6, 6, 6), False),
            ((6, 6, 5), True),
            ((6, None, 6), False),
            ((6, None, 7), True),
            ((None, None, None), False),
            ((None, 6, 6), False),
        ],
    )
    async def test_count_changed(self, counts: tuple[int | None, ...], changed: bool) -> None:
        def serve(number: int) -> Page[Row]:
            return Page(
                items=page_of("abcdef"[2 * number - 2 : 2 * number]).items,
                page_count=3,
                count=counts[number - 1],
            )

        walk = paginate(Server(serve))
        assert len(await walk.collect()) == 6
        assert walk.drift == Drift(count_changed=changed)
        assert not changed or "count_changed=True" in repr(walk.drift)
