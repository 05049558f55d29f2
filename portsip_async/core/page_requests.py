"""Turns a page of a walk into requests: one for a numbered page, as many as needed by skip and top.

With skip and top, page n of size s is always the items from ``(n - 1) * s`` on, so a walk can be
resumed at a page. A server that limits ``top`` sends fewer items than were asked for. Then the rest
of the page is requested from where the reply ended, until

- the page is full,
- or the ``count`` of the latest reply is reached, unless it is lower than what was sent already,
- or a reply is empty,
- or two replies in a row have nothing new for the page, as from a server that ignores ``skip``.
  One such reply may be due to items that were inserted meanwhile.
"""

import math
from collections.abc import Callable, Coroutine, Mapping
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from .endpoint import PageScheme
from .page_sequence import AssembledPage, Fetch, Page

T = TypeVar("T")

# Sends the request for a page, or for a part of it, with these parameters.
Send: TypeAlias = Callable[[Mapping[str, object]], Coroutine[Any, Any, Page[T]]]


def page_fetcher(scheme: PageScheme, send: Send[T]) -> Fetch[T]:
    """Build the function that fetches a page by its number and size."""
    if scheme.skip is not None and scheme.top is not None:
        return _fetcher_by_skip(scheme.key, scheme.skip, scheme.top, send)

    def fetch(number: int, size: int) -> Coroutine[Any, Any, Page[T]]:
        return send({scheme.number: number, scheme.size: size})

    return fetch


def _fetcher_by_skip(key: str, skip: str, top: str, send: Send[T]) -> Fetch[T]:
    key_of = attrgetter(key)

    async def fetch(number: int, size: int) -> Page[T]:
        start = (number - 1) * size
        items: dict[object, T] = {}  # by key
        received = dropped = 0
        without_news = 0  # replies in a row that had nothing new
        counts: list[int] = []
        while True:
            reply = await send({skip: start + received, top: size - received})
            known = len(items)
            for item in reply.items:
                items.setdefault(key_of(item), item)
            received += len(reply.items)
            without_news = without_news + 1 if len(items) == known else 0
            # A total that is less than what was sent can't be right.
            total, seen = None, start + received if received else 0
            if reply.count is not None:
                counts.append(reply.count)
                total = reply.count if reply.count >= seen else None
            # Without a total, a reply that repeats others is the normal end of some lists.
            if not without_news or total is not None:
                dropped += known + len(reply.items) - len(items)
            has_ended = not reply.items or without_news > 1
            if has_ended or received >= size or (total is not None and seen >= total):
                break
        page_count = None if total is None else math.ceil(total / size)
        if page_count is None and has_ended and items:
            page_count = number
        return AssembledPage(
            items=tuple(items.values()),
            pagination=number,
            pagesize=size,
            page_count=page_count,
            count=counts[-1] if counts else None,
            sort_by=reply.sort_by,
            dropped=dropped,
            count_changed=len(set(counts)) > 1,
        )

    return fetch
