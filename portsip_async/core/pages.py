"""Walks over page-numbered lists, over an injected fetch.

Rules. A walk asks for ``page``, ``page + 1``, ... and reads from every page anew where the list
ends. No server is believed blindly: `_Course` ends a walk at the ``page_count`` that the latest
page told; at an empty page; at a page that repeats the first one or one of the two before it; at
``max_pages``; and where a page tells no count, at one with nothing new or one shorter than the
longest seen. A server that goes round in circles wider than that is found by a checkpoint, as in
Brent's cycle detection. What is kept is a handful of key sets, however long the walk.

Strategy. `_Course` is pure: pages in, new items and the end out. `_Walk` does the waiting: it
holds the tasks of the pages ahead, in order, and ends them. `Paginator` hands out generators over
walks: one layer for each item, everything else once a page. The first page is fetched alone; then,
while a page is waited for, up to ``prefetch`` pages after it are in flight, and while its items are
read, as many are in flight or ready. Without prefetch there is no task but the consumer's.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from msgspec import field, structs

from ..arguments import check_int
from ..errors import PortSIPError
from ..record import Record
from .streams import Leavable

T = TypeVar("T")
P = TypeVar("P", bound="Page[Any]")
Y = TypeVar("Y")


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list, as the PBX numbered and counted it.

    Attributes:
        items: the page's items, in the PBX's order.
        pagination: the page's number, counted from 1.
        pagesize: how many items a page may hold, as the PBX tells it.
        page_count: how many pages there are; None where the reply lacks it.
        count: what the PBX calls its count; neither a length nor a total to rely on.
        sort_by: the order that the PBX says it used.
    """

    # A PBX may leave the array out of a page that has no items.
    reply_is_page: ClassVar[bool] = True
    # The vendor's sample of a search has no order in it.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"sort_by"})

    items: tuple[T, ...]
    pagination: int | None = None
    pagesize: int | None = None
    page_count: int | None = None
    count: int | None = None
    sort_by: str | None = None
    _err_code: int | float | str | None = field(default=None, name="err_code")


@dataclass(frozen=True, slots=True)
class Drift:
    """How a list changed underneath the latest walk, as far as its pages show it.

    Attributes:
        dropped: how many items were not yielded because their key had been on one of the two pages
            before. The items of a page that ends the walk by repeating another are among them only
            where a page count had promised a new one; else that is how the end shows.
        page_count_changed: True where two pages told different page counts.
        missing_pages: how many pages the latest page count promised that the walk never came to,
            since it ended early: at an empty page, at one that repeats another, or at a short one.
            What ``max_pages`` or a ``break`` leaves out is not among them.
        count_changed: True where two pages had a different ``count``. Some PBXes mean the length
            of the page by it, which changes on the last page.
    """

    dropped: int = 0
    page_count_changed: bool = False
    missing_pages: int = 0
    count_changed: bool = False


class Paginator(Leavable, Generic[T]):
    """An asynchronous iterable of a list's items, fetched page by page.

    Each ``async for`` starts a walk of its own, which ends by itself within a few loop ticks of
    ``break``, an exception or cancellation; no task and no connection stays behind. ``async with``
    and ``aclose()`` end it before returning. ``await`` it for its first page alone.

    A page that fails for good raises, when the walk reaches it, with ``error.page``, from which
    ``page=`` resumes. After the client was closed a walk raises ClientClosed at its next page.
    """

    def __init__(
        self,
        fetch: Callable[[int], Coroutine[Any, Any, Page[T]]],
        *,
        key: str,
        page: int = 1,
        prefetch: int = 1,
        max_pages: int | None = None,
        pagesize: int | None = None,
        start: Callable[[Coroutine[Any, Any, Page[T]]], asyncio.Task[Page[T]]],
        check: Callable[[], None],
    ) -> None:
        """Describe a walk; nothing is sent before it is iterated or awaited.

        Args:
            fetch: answers the page of a number, or raises what it failed with for good.
            key: the attribute of an item that tells it from others.
            page: the number of the first page to fetch, counted from 1.
            prefetch: how many further pages are kept in flight or ready; 0: none, and no task.
            max_pages: after how many pages a walk ends; None: unlimited.
            pagesize: how many items a page was asked to hold; None: not known.
            start: makes a task that its owner ends when it is closed.
            check: raises once the owner is closed.

        Raises:
            TypeError: a number that is no integer.
            ValueError: ``page``, ``max_pages`` or ``pagesize`` below 1, or ``prefetch`` below 0.
        """
        check_int("page", page, 1)
        check_int("prefetch", prefetch, 0)
        if max_pages is not None:
            check_int("max_pages", max_pages, 1)
        if pagesize is not None:
            check_int("page_size", pagesize, 1)
        self._fetch = fetch
        self._key = key
        self._page = page
        self._prefetch = prefetch
        self._max_pages = max_pages
        self._pagesize = pagesize
        self._start = start
        self._check = check
        self._latest: _Course[T] | None = None

    @property
    def drift(self) -> Drift:
        """How the list changed underneath the walk that was started last."""
        return self._latest.drift if self._latest is not None else Drift()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._open(_items)[1]

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._first().__await__()

    def pages(self) -> AsyncGenerator[Page[T], None]:
        """Walk the pages, each as the PBX gave it.

        The walk ends as one over items does. What that would drop is still on the pages here,
        though counted in ``drift``. The first page is always yielded, an empty one too; a later
        one that ends the walk and brings nothing new is not.
        """
        return self._open(_pages)[1]

    async def collect(self, limit: int | None = None) -> list[T]:
        """Walk the list into a list.

        Args:
            limit: how many items are enough; 0 sends nothing; None: all of them.

        Raises:
            TypeError: a limit that is no integer.
            ValueError: a limit below 0.
            PortSIPError: ``aclose()`` ended the walk, so that its items are not the whole list.
        """
        if limit is not None:
            check_int("limit", limit, 0)
        self._check()
        found: list[T] = []
        if limit == 0:
            return found
        walk, pages = self._open(_pages)
        async with aclosing(pages):
            async for _ in pages:
                found += walk.fresh
                if limit is not None and len(found) >= limit:
                    return found[:limit]
        if not walk.course.over:
            raise PortSIPError("the paginator was closed before the walk's end")
        return found

    async def _first(self) -> Page[T]:
        try:
            self._check()
            return _numbered(await self._fetch(self._page), self._page)
        except PortSIPError as error:
            error.page = self._page
            raise

    def _open(
        self, shape: "Callable[[_Walk[T]], AsyncGenerator[Y, None]]"
    ) -> "tuple[_Walk[T], AsyncGenerator[Y, None]]":
        self._latest = _Course(self._key, self._page, self._max_pages, self._pagesize)
        walk = _Walk(self._latest, self._fetch, self._prefetch, self._start, self._check)
        return walk, self._begun(shape(walk), walk)


class TypedPaginator(Paginator[T], Generic[T, P]):
    """A Paginator whose pages have a type of their own, with fields beyond those of Page."""

    if TYPE_CHECKING:

        def __init__(
            self,
            fetch: Callable[[int], Coroutine[Any, Any, P]],
            *,
            key: str,
            page: int = 1,
            prefetch: int = 1,
            max_pages: int | None = None,
            pagesize: int | None = None,
            start: Callable[[Coroutine[Any, Any, P]], asyncio.Task[P]],
            check: Callable[[], None],
        ) -> None: ...
        def __await__(self) -> Generator[Any, Any, P]: ...
        def pages(self) -> AsyncGenerator[P, None]: ...  # noqa: D102 - Paginator describes it


async def _items(walk: "_Walk[T]") -> AsyncGenerator[T, None]:
    try:
        while await walk.advance():
            for item in walk.fresh:
                yield item
    finally:
        await walk.close()


async def _pages(walk: "_Walk[T]") -> AsyncGenerator[Page[T], None]:
    try:
        while await walk.advance():
            yield cast("Page[T]", walk.page)
    finally:
        await walk.close()


class _Walk(Generic[T]):
    """One walk: the page it stands on, and the tasks of those ahead.

    Attributes:
        page: the page that `advance` came to; None between pages.
        fresh: the items of that page which are to be yielded.
        course: what the pages so far tell.
        ended: set but between the first `advance` and the end of `close`.
    """

    def __init__(
        self,
        course: "_Course[T]",
        fetch: Callable[[int], Coroutine[Any, Any, Page[T]]],
        prefetch: int,
        start: Callable[[Coroutine[Any, Any, Page[T]]], asyncio.Task[Page[T]]],
        check: Callable[[], None],
    ) -> None:
        self.page: Page[T] | None = None
        self.fresh: tuple[T, ...] = ()
        self.course = course
        self.ended = asyncio.Event()
        self.ended.set()
        self._fetch = fetch
        self._prefetch = prefetch
        self._start = start
        self._check = check
        self._asked = course.number - 1
        self._ahead: deque[asyncio.Task[Page[T]]] = deque()
        self._waiting: asyncio.Timeout | None = None
        self._interrupted = False

    async def advance(self) -> bool:
        """Go to the next page; False where the walk is over."""
        self.ended.clear()
        # The old page must not live on beside the one that is waited for.
        self.page, self.fresh = None, ()
        course = self.course
        number = course.number
        if course.over or self._interrupted:
            self._check()
            return False
        try:
            page = await self._arrival(number)
            if page is None:
                return False
            self._check()
        except PortSIPError as error:
            error.page = number
            raise
        first = course.taken == 0
        self.fresh = course.take(page)
        if course.over and not self.fresh and not first:
            return False
        self._fill(course.number - 1 + self._prefetch)
        self.page = _numbered(page, number)
        return True

    def stop(self) -> None:
        """Ask the walk to end, even while a consumer in another task waits for a page."""
        self._interrupted = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
            self._waiting = None

    async def close(self) -> None:
        """End the tasks of the pages ahead and wait until they are gone."""
        self.page, self.fresh = None, ()
        pending = [task for task in self._ahead if not task.done()]
        self._ahead.clear()
        try:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        finally:
            self.ended.set()

    async def _arrival(self, number: int) -> Page[T] | None:
        """Wait for a page; None where the walk was interrupted meanwhile."""
        self._check()
        page: Page[T] | None = None
        try:
            # A timeout that only `stop` sets: it cancels the wait and leaves a cancellation
            # that comes from elsewhere alone.
            async with asyncio.timeout(None) as self._waiting:
                if not self._ahead:
                    self._asked = number
                    page = await self._fetch(number)
                elif not self._ahead[0].done():
                    self._fill(number + self._prefetch)
                    # Not `await task`: the task's cancellation by its owner is not the consumer's.
                    await asyncio.wait((self._ahead[0],))
        except TimeoutError:
            if not self._interrupted:
                raise
        finally:
            self._waiting = None
        if self._interrupted:
            return None
        return page if page is not None else self._collected()

    def _collected(self) -> Page[T]:
        task = self._ahead.popleft()
        if task.cancelled():
            self._check()
        try:
            return task.result()
        finally:
            del task  # its error's traceback holds this frame

    def _fill(self, last: int) -> None:
        last = min(last, self.course.reach)
        while self._asked < last:
            self._asked += 1
            task = self._start(self._fetch(self._asked))
            task.add_done_callback(_hear)
            self._ahead.append(task)


def _numbered(page: Page[T], number: int) -> Page[T]:
    """Fill in the number that was asked for, where the reply lacks it."""
    return page if page.pagination is not None else structs.replace(page, pagination=number)


def _hear(task: "asyncio.Task[Any]") -> None:
    """Take note of an error, since that of a page never reached is nobody's loss."""
    if not task.cancelled():
        task.exception()


class _Course(Generic[T]):
    """What the pages so far tell: where the list ends, and which items are new.

    Attributes:
        number: the number of the page to take next.
        taken: how many pages were taken.
        over: True where no further page is to be asked for.
        reach: the number of the last page that is worth asking for by now.
        drift: how the list changed underneath.
    """

    def __init__(self, key: str, page: int, max_pages: int | None, pagesize: int | None) -> None:
        self.number = self.reach = page
        self.taken = 0
        self.over = False
        self.drift = Drift()
        self._key: Callable[[T], Any] = attrgetter(key)
        # The number of the last page that the caller wants.
        self._bound = sys.maxsize if max_pages is None else page + max_pages - 1
        self._pagesize = pagesize or 0
        self._page_count: int | None = None
        self._total: int | None = None  # what the latest page calls its count
        self._longest = 0
        self._first = self._before = self._last = self._mark = frozenset[Any]()
        self._rounds = 0

    def take(self, page: Page[T]) -> tuple[T, ...]:
        """Take the next page; answer which of its items to yield."""
        items = page.items
        keys = frozenset(map(self._key, items))
        self._count(page)
        if not keys or self._repeats(keys):
            if page.page_count is not None:
                # The page that the count promised is missing: that must not pass for consistency.
                self._drop(len(items))
            self._end(self.number)
            return ()
        if not (keys.isdisjoint(self._last) and keys.isdisjoint(self._before)):
            known = self._last | self._before
            items = tuple(item for item in items if self._key(item) not in known)
            self._drop(len(page.items) - len(items))
        self._remember(keys)
        self._foresee(page, new=bool(items))
        return items

    def _repeats(self, keys: frozenset[Any]) -> bool:
        if keys == self._last or keys == self._before or keys == self._first:
            return True
        # In a circle of pages the checkpoint comes round again and again; once may be an item
        # that moved, in a list of very short pages.
        self._rounds += keys == self._mark
        return self._rounds > 1

    def _remember(self, keys: frozenset[Any]) -> None:
        self.taken += 1
        self.number += 1
        if self.taken == 1:
            self._first = keys
        self._before, self._last = self._last, keys
        if self.taken & (self.taken - 1) == 0:  # a power of two: in time beyond any circle's length
            self._mark, self._rounds = keys, 0

    def _foresee(self, page: Page[T], *, new: bool) -> None:
        """Tell whether the walk is over, and else how far ahead pages may be asked for."""
        length = len(page.items)
        if page.page_count is not None:
            self.reach = page.page_count
        elif not new or length < self._longest:
            self.reach = 0
        elif self.taken == 1 and length < self._pagesize:
            self.reach = self.number  # likely the only page, or a server with a smaller maximum
        else:
            self.reach = sys.maxsize
        self._longest = max(self._longest, length)
        self.reach = min(self.reach, self._bound)
        if self.reach < self.number:
            self._end(self.number - 1)

    def _end(self, last: int) -> None:
        """End the walk at a page, and note how many further ones were promised."""
        self.over = True
        promised = min(self._page_count or 0, self._bound)
        if promised > last:
            self.drift = replace(self.drift, missing_pages=promised - last)

    def _count(self, page: Page[T]) -> None:
        page_count, count = page.page_count, page.count
        if page_count is not None:
            if self._page_count not in (None, page_count):
                self.drift = replace(self.drift, page_count_changed=True)
            self._page_count = page_count
        if count is not None:
            if self._total not in (None, count):
                self.drift = replace(self.drift, count_changed=True)
            self._total = count

    def _drop(self, items: int) -> None:
        if items:
            self.drift = replace(self.drift, dropped=self.drift.dropped + items)
