"""The status of extensions: read once, polled in batches, or watched."""

from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

from ..arguments import (
    check_int,
    check_iterable,
    check_number,
    check_strs,
)
from ..bulk.status_batches import StatusSource
from ..bulk.status_poll import StatusPoll
from ..bulk.status_polling import StatusPolling
from ..bulk.status_watch import DiscoveredExtensions, StatusWatch
from ..client.resource import Resource
from ..client.statuses import check_known, status_source
from ..core.limits import Gate
from ..core.pages import Paginator
from .error_codes import CLASSIC_ERRORS
from .extension_models import ExtensionStatus, ExtensionSummary
from .operations import EXTENSIONS_LIST, EXTENSIONS_STATUS

DEFAULT_BATCH_SIZE: Final = 100  # numbers in a request
DEFAULT_CONCURRENCY: Final = 16  # requests in flight
# Typed here, because subscripting a class at each call takes 1 us.
SUMMARIES: Final[type[Paginator[ExtensionSummary]]] = Paginator


class StatusCalls(Resource):
    """The calls of `pbx.extensions` that read the status of extensions."""

    async def status(self, extension_numbers: Iterable[str]) -> list[ExtensionStatus]:
        """Read the status of some extensions in one request (``POST /extensions/status``).

        The PBX may leave numbers out and choose the order, so match by ``extension_number``. If
        it sends numbers as JSON numbers, a row that fits both "0101" and "101" is left out.

        Args:
            extension_numbers: the numbers to ask for; no request is sent if there are none.

        Raises:
            NotFound, BadRequest: the PBX refused the request because of one of the numbers.
            TypeError, ValueError: a str instead of a list, or a number that is empty or not a str.
        """
        numbers = check_strs("extension_numbers", extension_numbers, 'status(["101"])')
        if not numbers:
            self._sender.session.check_open()
            return []
        reply = await self._sender.send(EXTENSIONS_STATUS, {"extensions": numbers})
        return [*reply.extension_status]

    def poll_status(
        self,
        numbers: Iterable[str] | AsyncIterable[str],
        *,
        batch_size: int | None = DEFAULT_BATCH_SIZE,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
    ) -> StatusPoll[ExtensionStatus]:
        """Read the status of any number of extensions, in concurrent batches.

        Each occurrence of a number yields one `StatusResult`, with a status or an error. A batch
        that the PBX refuses is split until the offending numbers are alone. If the PBX is
        overloaded, fewer requests are in flight. No requests are sent while the consumer pauses.

        Args:
            numbers: extension numbers, read lazily; the source may be endless.
            batch_size: numbers in a request. None sends as many as the PBX takes, at most 1,000.
                That is learned from its replies, and remembered for the client's life.
            concurrency: the most requests in flight.
            ordered: whether results keep the order of the numbers.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        if batch_size is not None:
            check_int("batch_size", batch_size, 1)
        check_int("concurrency", concurrency, 1)
        return StatusPoll(
            self._status_source(),
            check_iterable("numbers", numbers, 'poll_status(["101"])'),
            owner=self._sender.session,
            batch_size=batch_size,
            concurrency=concurrency,
            ordered=ordered,
        )

    def watch_status(
        self,
        numbers: Iterable[str] | None = None,
        *,
        interval: float = 5.0,
        batch_size: int | None = DEFAULT_BATCH_SIZE,
        concurrency: int = DEFAULT_CONCURRENCY,
        known: Mapping[str, ExtensionStatus] | None = None,
        rediscover: float = 60.0,
    ) -> StatusWatch[ExtensionStatus]:
        """Watch the status of extensions: yield each one once, then every change.

        Polling keeps its interval whatever the consumer does. A slow consumer gets the latest
        status of each extension. Failures are logged and counted in ``stats``; they do not end the
        watch.

        Args:
            numbers: extension numbers; None watches all that the PBX lists.
            interval: seconds between the starts of two cycles.
            batch_size: numbers in a request. None sends as many as the PBX takes, at most 1,000.
                That is learned from its replies, and remembered for the client's life.
            concurrency: the most requests in flight.
            known: the last known statuses, such as the ``snapshot`` of an earlier watch. Only
                differences from it are yielded.
            rediscover: seconds between two listings, if `numbers` is None.

        Raises:
            TypeError, ValueError: an argument is out of bounds. Raised by this call itself.
            AuthenticationError, ConfigurationError, ClientClosed: raised by the loop.
        """
        if batch_size is not None:
            check_int("batch_size", batch_size, 1)
        check_int("concurrency", concurrency, 1)
        source, session = self._status_source(), self._sender.session
        new_polling = partial(
            StatusPolling[ExtensionStatus],
            source,
            None if numbers is None else check_strs("numbers", numbers, 'watch_status(["101"])'),
            owner=session,
            discover=self._discover,
            interval=check_number("interval", interval, above=0),
            batch_size=batch_size,
            concurrency=concurrency,
            rediscover=check_number("rediscover", rediscover, above=0),
        )
        return StatusWatch(
            new_polling, owner=session, known=check_known(known, ExtensionStatus), now=source.now
        )

    def _status_source(self) -> StatusSource[ExtensionStatus]:
        async def ask(numbers: list[str], gate: Gate) -> dict[str, ExtensionStatus]:
            reply = await self._sender.send(EXTENSIONS_STATUS, {"extensions": numbers}, gate=gate)
            return {status.extension_number: status for status in reply.extension_status}

        return status_source(
            ask,
            frozenset({EXTENSIONS_STATUS.name}),
            CLASSIC_ERRORS,
            clock=self._sender.session.clock,
            outages=self._sender.outages,
            batch_sizes=self._sender.batch_sizes,
        )

    async def _discover(self) -> DiscoveredExtensions:
        walk = self._list(prefetch=2)
        numbers: list[str] = []
        page_count = 0
        async with aclosing(walk.pages()) as pages:
            async for page in pages:
                numbers += [extension.extension_number for extension in page.items]
                page_count = page.page_count or 0
        drift = walk.drift
        is_complete = not drift.dropped and not drift.page_count_changed
        if is_complete and drift.missing_pages:
            # Some PBXes always send the same page_count, so the missing pages don't exist. Another
            # PBX may leave out a page once. Then the last page has items, and none were removed.
            is_complete = not (await self._list(page=page_count)).items
        return DiscoveredExtensions(numbers, is_complete)

    def _list(self, *, page: int = 1, prefetch: int = 0) -> Paginator[ExtensionSummary]:
        return self._sender.paginate(
            SUMMARIES,
            EXTENSIONS_LIST,
            {},
            page=page,
            page_size=None,
            prefetch=prefetch,
            max_pages=None,
        )
