"""A PBX reduced to its status request, for polls and watches: scripted, counted, held."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

from portsip_async import ExtensionStatus, NotFound
from portsip_async.bulk.batch_size import BatchSizeLearner
from portsip_async.bulk.status_batches import StatusSource
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.core.limits import Gate

X = TypeVar("X")


def status_of(number: str, presence: str = "ONLINE") -> ExtensionStatus:
    return ExtensionStatus(number, presence)


class Statuses:
    """Replies to batches, and counts them.

    Attributes:
        refused: a batch that holds one of these is refused.
        lacking: numbers that replies leave out.
        presence: the status of numbers that are not ONLINE.
        fail: given the number of a request, returns the error that it raises, or None.
        asked: the batches, in order of arrival.
        held: if set, every request waits for it.
        in_flight: requests in progress.
        most_in_flight: the most that were in progress at once.
    """

    def __init__(self, refused: Iterable[str] = (), lacking: Iterable[str] = ()) -> None:
        self.refused = set(refused)
        self.lacking = set(lacking)
        self.presence: dict[str, str] = {}
        self.fail: Callable[[int], Exception | None] = lambda _: None
        self.asked: list[list[str]] = []
        self.held: asyncio.Event | None = None
        self.in_flight = 0
        self.most_in_flight = 0

    async def ask(self, numbers: list[str], gate: Gate) -> Sequence[ExtensionStatus]:
        self.asked.append(list(numbers))
        count = len(self.asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await (asyncio.sleep(0) if self.held is None else self.held.wait())
        finally:
            self.in_flight -= 1
        error = self.fail(count)
        if error is not None:
            raise error
        if not self.refused.isdisjoint(numbers):
            raise NotFound("no such extension", status=404, err_code=404.1)
        return [
            status_of(number, self.presence.get(number, "ONLINE"))
            for number in numbers
            if number not in self.lacking
        ]

    def source(self, batch_sizes: BatchSizeLearner | None = None) -> StatusSource[ExtensionStatus]:
        """Return what a poll needs to know about a PBX, with this as the PBX."""

        async def ask(numbers: list[str], gate: Gate) -> dict[str, ExtensionStatus]:
            return {status.extension_number: status for status in await self.ask(numbers, gate)}

        return StatusSource(
            ask,
            frozenset({"extensions.status"}),
            CLASSIC_ERRORS,
            clock=asyncio.get_running_loop().time,
            batch_sizes=batch_sizes or BatchSizeLearner(),
        )


class Source(AsyncIterator[X]):
    """An async source that gives what it is handed, when it is handed it; counts its reads."""

    def __init__(self, items: Iterable[X] = ()) -> None:
        self.read = 0
        self._queue: asyncio.Queue[X | BaseException] = asyncio.Queue()
        self.give(*items)

    def give(self, *items: X) -> None:
        for item in items:
            self._queue.put_nowait(item)

    def end(self, error: BaseException | None = None) -> None:
        self._queue.put_nowait(StopAsyncIteration() if error is None else error)

    async def __anext__(self) -> X:
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        self.read += 1
        return item
