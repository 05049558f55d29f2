"""A list that is read by skip and top, for tests of walks."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from portsip_async.core.endpoint import PageScheme
from portsip_async.core.page_requests import page_fetcher
from portsip_async.core.page_sequence import Page
from portsip_async.core.pages import Paginator

from .concurrency import LoopOwner

ENDLESS = 2000  # requests; more than any of these walks may send


class Row(NamedTuple):
    """An item of the list."""

    key: str


class SkipServer:
    """Sends a list in parts, each with the total of that moment.

    Attributes:
        rows: the list's keys. A test may change them between two requests.
        cap: the most items in a reply, whatever was asked for; None: no limit.
        asked: skip and top of each request, in order.
        before: called with the number of the request, counted from 1, before it is answered.
        count: returns the total to send, from the keys and the part that is sent.
        ticks: how many passes of the event loop the replies take, in turn.
    """

    def __init__(self, rows: list[str], cap: int | None = None) -> None:
        self.rows = rows
        self.cap = cap
        self.asked: list[tuple[int, int]] = []
        self.before: Callable[[int], object] = lambda _: None
        self.count: Callable[[list[str], list[str]], int | None] = lambda rows, _: len(rows)
        self.ticks: list[int] = [1]
        self.ignores_skip = False
        self.ignores_top = False

    async def send(self, query: Mapping[str, object]) -> Page[Row]:
        skip, top = query["skip"], query["top"]
        assert isinstance(skip, int)
        assert isinstance(top, int)
        assert skip >= 0
        assert top >= 1
        self.asked.append((skip, top))
        number = len(self.asked)
        assert number < ENDLESS
        for _ in range(self.ticks[number % len(self.ticks)]):
            await asyncio.sleep(0)
        self.before(number)
        part = self.rows if self.ignores_skip else self.rows[skip:]
        part = part if self.ignores_top else part[:top]
        part = part[: self.cap]
        return Page(items=tuple(map(Row, part)), count=self.count(self.rows, part))

    def walk(self, **options: Any) -> Paginator[Row]:
        fetch = page_fetcher(PageScheme("key", skip="skip", top="top"), self.send)
        return Paginator(fetch, key="key", owner=LoopOwner(), **{"page_size": 100} | options)


def keys(length: int) -> list[str]:
    return [f"{n:04}" for n in range(length)]


async def walk_keys(walk: Paginator[Row]) -> list[str]:
    return [row.key async for row in walk]
