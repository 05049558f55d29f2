"""Walks over page-numbered lists, page by page or item by item.

`PageSequence` decides where a walk ends and which items are new. `_PageWalk` fetches the pages: it
starts, awaits and ends the tasks of the pages ahead. `Paginator` is what users iterate. One
generator runs for each item; everything else runs once per page.

The first page is fetched alone. After that, up to ``prefetch`` further pages are in flight or
ready. With ``prefetch=0`` no task is started.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from ..arguments import check_int
from ..errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    TransportError,
)
from .page_sequence import Drift, Fetch, Page, PageSequence
from .tasks import ClosableStream, TaskOwner

T = TypeVar("T")
P = TypeVar("P", bound=Page[Any])
Y = TypeVar("Y")

DEFAULT_PAGE_SIZE: Final = 100  # as in the vendor's samples
LARGEST_PAGE_SIZE: Final = 500


class PageSize:
    """The page size of walks with ``page_size=None``. All walks of a client share it.

    Attributes:
        size: 500, until a PBX sends pages of 100 but none of 500.
    """

    def __init__(self, operations: frozenset[str]) -> None:
        """Start with the largest size.

        Args:
            operations: the names of the lists. An error of another operation, such as a login, is
                not about the size.
        """
        self.size: int = LARGEST_PAGE_SIZE
        self._operations = operations
        self._has_worked = False  # whether the PBX ever sent a page

    def worked(self, size: int) -> None:
        """Record that the PBX sent a page."""
        self.size, self._has_worked = min(self.size, size), True

    def smaller_after(self, error: PortSIPError, size: int) -> int | None:
        """Return the size to try after a page failed; None if the size can't be the reason."""
        return DEFAULT_PAGE_SIZE if size > DEFAULT_PAGE_SIZE and self._is_reason(error) else None

    def _is_reason(self, error: PortSIPError) -> bool:
        if error.operation not in self._operations:
            return False
        if isinstance(error, BadRequest) and not error.is_page:
            return True
        # Large pages may also time out, be too long, or fail in a proxy. But if this size worked
        # before, it is an outage, and that must not cost more requests.
        if self._has_worked or not error.attempts:
            return False
        if isinstance(
            error, AuthenticationError | ConnectError | NotFound | PermissionDenied | RateLimited
        ):
            return False
        return isinstance(error, APIError | ReplyError | TransportError)


class Paginator(ClosableStream, Generic[T]):
    """An asynchronous iterable of a list's items, fetched page by page.

    Each ``async for`` starts a walk of its own. After ``break``, an exception or a cancellation, it
    ends within a few passes of the event loop, and leaves no task and no connection behind.
    ``async with`` and ``aclose()`` end it before they return. Awaiting a paginator returns its
    first page.

    If a page fails for good, its error is raised when the walk reaches it. To resume, pass
    ``error.page`` as ``page=``. Once the client is closed, a walk raises ClientClosed at its next
    page.
    """

    def __init__(
        self,
        fetch: Fetch[T],
        *,
        key: str,
        page: int = 1,
        prefetch: int = 1,
        max_pages: int | None = None,
        page_size: int | PageSize = DEFAULT_PAGE_SIZE,
        owner: TaskOwner,
    ) -> None:
        """Store the settings; nothing is sent before it is iterated or awaited.

        Args:
            fetch: fetches a page by number and size; raises if that fails for good.
            key: the attribute that identifies an item.
            page: the number of the first page, counted from 1.
            prefetch: how many further pages are in flight or ready; 0: none, and no task.
            max_pages: pages after which a walk ends; None: unlimited.
            page_size: how many items a page should hold; a `PageSize`: as many as the PBX takes.
            owner: starts the tasks of pages ahead.

        Raises:
            TypeError: a number is not an int.
            ValueError: ``page``, ``max_pages`` or ``page_size`` below 1, or ``prefetch`` below 0.
        """
        check_int("page", page, 1)
        check_int("prefetch", prefetch, 0)
        if max_pages is not None:
            check_int("max_pages", max_pages, 1)
        if not isinstance(page_size, PageSize):
            check_int("page_size", page_size, 1)
        self._fetch = fetch
        self._key = key
        self._page = page
        self._prefetch = prefetch
        self._max_pages = max_pages
        self._page_size = page_size
        self._owner = owner
        self._sequence: PageSequence[T] | None = None  # of the latest walk

    def __repr__(self) -> str:
        size = self._page_size.size if isinstance(self._page_size, PageSize) else self._page_size
        return f"<{type(self).__name__} page={self._page}, page_size={size}{self._state()}"

    @property
    def drift(self) -> Drift:
        """How the list changed during the latest walk."""
        return self._sequence.drift if self._sequence is not None else Drift()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return self._start_walk(_items)[1]

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._first().__await__()

    def pages(self) -> AsyncGenerator[Page[T], None]:
        """Walk the pages, each as the PBX sent it, or as its replies to several requests add up.

        It ends where a walk over items ends. Items that such a walk would drop stay on their pages,
        and are counted in ``drift``. The first page is always yielded, even if it is empty. A later
        page that ends the walk is yielded only if it has new items.
        """
        return self._start_walk(_pages)[1]

    async def collect(self, limit: int | None = None) -> list[T]:
        """Collect the items of a walk in a list.

        Args:
            limit: the most items to collect; 0 sends nothing; None collects all of them.

        Raises:
            TypeError: the limit is not an int.
            ValueError: the limit is below 0.
            PortSIPError: ``aclose()`` ended the walk, so the list would be incomplete.
        """
        if limit is not None:
            check_int("limit", limit, 0)
        self._owner.check_open()
        found: list[T] = []
        if limit == 0:
            return found
        walk, pages = self._start_walk(_pages)
        async with aclosing(pages):
            async for _ in pages:
                found += walk.new_items
                if limit is not None and len(found) >= limit:
                    return found[:limit]
        if not walk.sequence.is_over:
            raise PortSIPError("the paginator was closed before the end of the walk")
        return found

    async def _first(self) -> Page[T]:
        sizer = _WalkPageSize(self._page_size)
        try:
            self._owner.check_open()
            page = await sizer.fetch_first(self._fetch, self._page)
        except PortSIPError as error:
            error.page = self._page
            raise
        return _numbered(page, self._page)

    def _start_walk(
        self, shape: "Callable[[_PageWalk[T]], AsyncGenerator[Y, None]]"
    ) -> "tuple[_PageWalk[T], AsyncGenerator[Y, None]]":
        self._sequence = PageSequence(self._key, self._page, self._max_pages)
        size = _WalkPageSize(self._page_size)
        walk = _PageWalk(self._sequence, self._fetch, size, self._prefetch, self._owner)
        return walk, self._track(shape(walk), walk)


class TypedPaginator(Paginator[T], Generic[T, P]):
    """A Paginator with a page type of its own, which has more fields than Page."""

    if TYPE_CHECKING:

        def __init__(
            self,
            fetch: Callable[[int, int], Coroutine[Any, Any, P]],
            *,
            key: str,
            page: int = 1,
            prefetch: int = 1,
            max_pages: int | None = None,
            page_size: int | PageSize = DEFAULT_PAGE_SIZE,
            owner: TaskOwner,
        ) -> None: ...
        def __await__(self) -> Generator[Any, Any, P]: ...
        def pages(self) -> AsyncGenerator[P, None]: ...  # noqa: D102 - Paginator describes it


async def _items(walk: "_PageWalk[T]") -> AsyncGenerator[T, None]:
    try:
        while await walk.advance():
            for item in walk.new_items:
                yield item
    finally:
        await walk.close()


async def _pages(walk: "_PageWalk[T]") -> AsyncGenerator[Page[T], None]:
    try:
        while await walk.advance():
            yield cast("Page[T]", walk.page)
    finally:
        await walk.close()


class _WalkPageSize:
    """The page size of one walk. The first page fixes it, since page numbers depend on it.

    Attributes:
        size: how many items each page should hold.
    """

    def __init__(self, page_size: int | PageSize) -> None:
        self._shared = page_size if isinstance(page_size, PageSize) else None
        self.size: int = page_size.size if isinstance(page_size, PageSize) else page_size

    async def fetch_first(self, fetch: Fetch[T], number: int) -> Page[T]:
        """Fetch the first page of a walk; ask for fewer items if the PBX refuses the size."""
        shared = self._shared
        if shared is None:
            return await fetch(number, self.size)
        try:
            page = await fetch(number, self.size)
        except PortSIPError as error:
            smaller = shared.smaller_after(error, self.size)
            if smaller is None:
                raise
        else:
            shared.worked(self.size)
            return page
        # If this fails too, the size was not the reason.
        page = await fetch(number, smaller)
        self.size = smaller
        shared.worked(smaller)
        return page


class _PageWalk(Generic[T]):
    """One walk: its current page, and the tasks of the pages ahead.

    Attributes:
        page: the page that `advance` went to; None between pages.
        new_items: the items of that page that are to be yielded.
        sequence: where the list ends, and which items are new.
        ended: as in `Run`; cleared by the first `advance`, and set by `close`.
    """

    def __init__(
        self,
        sequence: "PageSequence[T]",
        fetch: Fetch[T],
        size: _WalkPageSize,
        prefetch: int,
        owner: TaskOwner,
    ) -> None:
        self.page: Page[T] | None = None
        self.new_items: tuple[T, ...] = ()
        self.sequence = sequence
        self.ended = asyncio.Event()
        self.ended.set()
        self._fetch = fetch
        self._size = size
        self._prefetch = prefetch
        self._owner = owner
        self._asked = sequence.number - 1  # the number of the last page that was asked for
        self._ahead: deque[asyncio.Task[Page[T]]] = deque()
        self._waiting: asyncio.Timeout | None = None  # set while a page is awaited
        self._interrupted = False

    async def advance(self) -> bool:
        """Go to the next page; return False if the walk is over."""
        self.ended.clear()
        # The old page must not stay in memory while the next one is awaited.
        self.page, self.new_items = None, ()
        sequence = self.sequence
        number = sequence.number
        if sequence.is_over or self._interrupted:
            self._owner.check_open()
            return False
        try:
            page = await self._wait_for_page(number)
            if page is None:
                return False
            self._owner.check_open()
        except PortSIPError as error:
            error.page = number
            raise
        is_first = sequence.taken == 0
        self.new_items = sequence.take(page, self._size.size)
        if sequence.is_over and not self.new_items and not is_first:
            return False
        # Fetch ahead while the consumer works on this page.
        self._fetch_ahead(sequence.number - 1 + self._prefetch)
        self.page = _numbered(page, number)
        return True

    def stop(self) -> None:
        """Ask the walk to end, even while a consumer in another task waits for a page."""
        self._interrupted = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
            self._waiting = None

    async def close(self) -> None:
        """End the tasks of the pages ahead, and wait until they have ended."""
        self.page, self.new_items = None, ()
        pending = [task for task in self._ahead if not task.done()]
        self._ahead.clear()
        try:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        finally:
            self.ended.set()

    async def _wait_for_page(self, number: int) -> Page[T] | None:
        """Wait for a page; return None if the walk was stopped meanwhile."""
        self._owner.check_open()
        page: Page[T] | None = None
        try:
            # Only `stop` sets this timeout, so it never hides a cancellation from elsewhere.
            async with asyncio.timeout(None) as self._waiting:
                if not self._ahead:
                    self._asked = number
                    if self.sequence.taken == 0:
                        page = await self._size.fetch_first(self._fetch, number)
                    else:
                        page = await self._fetch(number, self._size.size)
                elif not self._ahead[0].done():
                    self._fetch_ahead(number + self._prefetch)
                    # Not `await task`: if its owner cancels it, that is not the consumer's
                    # cancellation.
                    await asyncio.wait((self._ahead[0],))
        except TimeoutError:
            if not self._interrupted:
                raise
        finally:
            self._waiting = None
        if self._interrupted:
            return None
        return page if page is not None else self._pop_page()

    def _pop_page(self) -> Page[T]:
        task = self._ahead.popleft()
        if task.cancelled():
            self._owner.check_open()
        try:
            return task.result()
        finally:
            del task  # the traceback of its error holds this frame

    def _fetch_ahead(self, last: int) -> None:
        """Start fetching pages, up to the one with a number."""
        last = min(last, self.sequence.last_worth_fetching)
        while self._asked < last:
            self._asked += 1
            task = self._owner.start(self._fetch(self._asked, self._size.size))
            task.add_done_callback(_retrieve_error)
            self._ahead.append(task)


def _numbered(page: Page[T], number: int) -> Page[T]:
    """Add the number that was asked for, if the reply lacks it."""
    return page if page.pagination is not None else page.replace(pagination=number)


def _retrieve_error(task: "asyncio.Task[Any]") -> None:
    """Retrieve the error of a page that may never be reached, or asyncio would log it."""
    if not task.cancelled():
        task.exception()
