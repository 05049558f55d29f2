"""Decides from the pages of a walk where the list ends, and which items are new.

A walk asks for ``page``, ``page + 1`` and so on. The page count in a reply may change or be wrong,
so a walk does not rely on it alone. `PageSequence` ends a walk

- at the ``page_count`` of the latest page, or at ``max_pages``;
- at an empty page, or one that repeats the first page or one of the two before it;
- without a page count, at a page with nothing new, or one shorter than the longest so far.

Longer cycles of pages are detected by Brent's algorithm: one earlier page is kept as a checkpoint.
Only a few sets of keys are in memory, however long the walk.

Pure: takes pages, and returns the new items.
"""

import sys
from collections.abc import Callable, Coroutine
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from msgspec import field

from ..redact import Record

T = TypeVar("T")


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list, as the PBX numbered and counted it.

    Attributes:
        items: the page's items, in the PBX's order.
        pagination: the page's number, counted from 1.
        pagesize: how many items a page may hold, according to the PBX.
        page_count: how many pages there are; None if the reply lacks it.
        count: the PBX's own count; don't rely on it as a length or a total.
        sort_by: the order that the PBX says it used.
    """

    # A PBX may leave the array out of a page that has no items.
    reply_is_page: ClassVar[bool] = True
    # The vendor's sample of a search lacks it.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"sort_by"})

    items: tuple[T, ...]
    pagination: int | None = None
    pagesize: int | None = None
    page_count: int | None = None
    count: int | None = None
    sort_by: str | None = None
    _err_code: int | float | str | None = field(default=None, name="err_code")


class AssembledPage(Page[T], Generic[T], frozen=True, kw_only=True):
    """A page that was put together from the replies to one or several requests.

    All other fields are those of `Page`.

    Attributes:
        dropped: items that are not on the page, because their key was on it already.
        count_changed: True if two replies had a different ``count``.
    """

    dropped: int = 0
    count_changed: bool = False


# Fetches a page: its number, counted from 1, and how many items it should hold.
Fetch: TypeAlias = Callable[[int, int], Coroutine[Any, Any, Page[T]]]


class Drift(Record, frozen=True):
    """How a list changed during the latest walk, as far as the pages show.

    Attributes:
        dropped: items that were not yielded because their key was on one of the two previous pages,
            or came before in another reply for the same page. If the walk ends at a page that
            repeats another, the page's items count only if a page count had promised a new page.
            Without a page count, such a page is the normal end.
        page_count_changed: True if two pages had different page counts.
        missing_pages: pages that the latest page count promised and the walk did not reach, because
            it ended early: at an empty page, at one that repeats another, or at a short one.
            Pages left out by ``max_pages`` or a ``break`` don't count.
        count_changed: True if two replies had a different ``count``. Some PBXes send the length of
            the page there, which changes on the last page.
    """

    dropped: int = 0
    page_count_changed: bool = False
    missing_pages: int = 0
    count_changed: bool = False


class PageSequence(Generic[T]):
    """Follows the pages of a walk: where the list ends, and which items are new.

    Attributes:
        number: the number of the next page.
        taken: how many pages were taken.
        is_over: True if there is no further page to ask for.
        last_worth_fetching: the number of the last page that may be fetched ahead now.
        drift: how the list changed during the walk.
    """

    def __init__(self, key: str, page: int, max_pages: int | None) -> None:
        self.number: int = page
        self.last_worth_fetching: int = page
        self.taken: int = 0
        self.is_over: bool = False
        self.drift: Drift = Drift()
        self._key: Callable[[T], Any] = attrgetter(key)
        # The number of the last page that the caller wants.
        self._last_wanted = sys.maxsize if max_pages is None else page + max_pages - 1
        self._page_count: int | None = None  # of the latest page that has one
        self._total: int | None = None  # the PBX's own `count`, likewise
        self._longest = 0  # items on the longest page
        # The keys of the first page, of the two latest ones, and of the checkpoint.
        self._first = self._before = self._last = self._checkpoint = frozenset[Any]()
        self._checkpoint_hits = 0

    def take(self, page: Page[T], page_size: int) -> tuple[T, ...]:
        """Process the next page, requested with this page size; return its new items."""
        items = page.items
        keys = frozenset(map(self._key, items))
        self._compare_counts(page)
        if not keys or self._repeats(keys):
            if page.page_count is not None:
                # The page count promised other items here, so this is drift.
                self._drop(len(items))
            self._end(self.number)
            return ()
        if not (keys.isdisjoint(self._last) and keys.isdisjoint(self._before)):
            known = self._last | self._before
            items = tuple(item for item in items if self._key(item) not in known)
            self._drop(len(page.items) - len(items))
        self._remember(keys)
        self._look_ahead(page, page_size, has_new=bool(items))
        return items

    def _repeats(self, keys: frozenset[Any]) -> bool:
        if keys == self._last or keys == self._before or keys == self._first:
            return True
        # A server that repeats its pages returns the checkpoint again and again. A single hit may
        # be an item that moved, in a list of very short pages.
        self._checkpoint_hits += keys == self._checkpoint
        return self._checkpoint_hits > 1

    def _remember(self, keys: frozenset[Any]) -> None:
        self.taken += 1
        self.number += 1
        if self.taken == 1:
            self._first = keys
        self._before, self._last = self._last, keys
        # At powers of two, so that the checkpoint stays long enough for a cycle of any length.
        if self.taken & (self.taken - 1) == 0:
            self._checkpoint, self._checkpoint_hits = keys, 0

    def _look_ahead(self, page: Page[T], page_size: int, *, has_new: bool) -> None:
        """Find out whether the walk is over, and if not, how far pages may be fetched ahead."""
        length = len(page.items)
        last: int
        if page.page_count is not None:
            last = page.page_count
        elif not has_new or length < self._longest:
            last = 0
        elif self.taken == 1 and length < page_size:
            # Probably the only page, or the server has a smaller maximum: ask for one more.
            last = self.number
        else:
            last = sys.maxsize
        self._longest = max(self._longest, length)
        self.last_worth_fetching = min(last, self._last_wanted)
        if self.last_worth_fetching < self.number:
            self._end(self.number - 1)

    def _end(self, last: int) -> None:
        """End the walk after a page, and record how many further pages were promised."""
        self.is_over = True
        promised = min(self._page_count or 0, self._last_wanted)
        if promised > last:
            self.drift = self.drift.replace(missing_pages=promised - last)

    def _compare_counts(self, page: Page[T]) -> None:
        page_count, count = page.page_count, page.count
        if page_count is not None:
            if self._page_count not in (None, page_count):
                self.drift = self.drift.replace(page_count_changed=True)
            self._page_count = page_count
        if count is not None:
            if self._total not in (None, count):
                self.drift = self.drift.replace(count_changed=True)
            self._total = count
        if isinstance(page, AssembledPage):
            self._drop(page.dropped)
            if page.count_changed:
                self.drift = self.drift.replace(count_changed=True)

    def _drop(self, items: int) -> None:
        if items:
            self.drift = self.drift.replace(dropped=self.drift.dropped + items)
