"""The base of all resources: sending the client's rows, walking lists, patching items."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..arguments import check_type
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..core.endpoint import Endpoint, EndpointTable
from ..core.limits import Clock, Gate
from ..core.message import Parameters
from ..core.page_requests import page_fetcher
from ..core.page_sequence import Page
from ..core.pages import PageSize, Paginator
from ..core.reply import check_identity, decode_item
from ..core.tasks import NotCopyable, TaskOwner
from ..core.threads import Threads
from ..core.token_types import Token
from ..core.tokens import TokenCache
from ..core.transport import CallOptions
from ..core.upload import Source
from ..core.web_socket import WebSocket
from ..errors import ReplyError

T = TypeVar("T")
W = TypeVar("W", bound=Paginator[Any])

Document = dict[str, Any]


class Core(TaskOwner, Protocol):
    """The core of a client, as its resources see it. `core.session.Session` implements it.

    Attributes:
        base_url: what the paths of endpoints are appended to.
        clock: the time, for everything that waits.
        threads: the threads in which uploads open and read their files.
        tokens: the client's token.
    """

    base_url: str
    clock: Clock
    threads: Threads
    tokens: TokenCache

    def start_clean_up(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a background task that the client waits for when it closes."""
        ...

    def call(
        self,
        endpoint: Endpoint[T],
        parameters: Parameters,
        options: CallOptions | None = None,
        *,
        source: Source | None = None,
        gate: Gate | None = None,
        token: Token | None = None,
        raw: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Return the coroutine of a call, which returns the value of the reply, or a RawReply."""
        ...

    async def send_login(
        self, endpoint: Endpoint[T], parameters: Parameters, *, token: Token | None = None
    ) -> tuple[T, float]:
        """Send a login or a refresh; return the reply, and when it was sent."""
        ...

    async def renew_token(self) -> Token:
        """Renew the client's token now, and return it."""
        ...

    def web_socket(
        self, url: str, options: CallOptions | None = None
    ) -> AbstractAsyncContextManager[WebSocket]:
        """Open a web socket, and close it at the end of the block or with the client."""
        ...


class KeyedLocks:
    """A lock for each key, kept only while a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, *key: str) -> AsyncIterator[None]:
        """Hold the key's lock; wait for it first if another task holds it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1


@dataclass(frozen=True, slots=True)
class ClientState:
    """The objects that a client and all its views share.

    Attributes:
        session: the connections, the token and the limits.
        table: the API's rows, with the client's overrides.
        locks: one for each item that is being patched.
        outages: the log of the PBX's outages.
        batch_sizes: learns how many numbers the PBX takes in a status request.
        page_size: learns how many items the PBX takes in a page.
    """

    session: Core
    table: EndpointTable
    locks: KeyedLocks
    outages: OutageLog
    batch_sizes: BatchSizeLearner
    page_size: PageSize


class Sender(NotCopyable):
    """Sends the requests of a client's resources, with the options of one view.

    Attributes:
        session: see `ClientState`.
        outages: see `ClientState`.
        batch_sizes: see `ClientState`.
    """

    def __init__(self, state: ClientState, options: CallOptions) -> None:
        self.session: Core = state.session
        self.outages: OutageLog = state.outages
        self.batch_sizes: BatchSizeLearner = state.batch_sizes
        self._page_size = state.page_size
        self._table = state.table
        self._locks = state.locks
        self._options = options

    def web_socket(self, url: str) -> AbstractAsyncContextManager[WebSocket]:
        """Open a web socket, and close it at the end of the block or with the client."""
        return self.session.web_socket(url, self._options)

    def send(
        self,
        row: Endpoint[T],
        parameters: Mapping[str, object],
        *,
        source: Source | None = None,
        gate: Gate | None = None,
        token: Token | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Send the client's version of a row, and return its reply.

        Args:
            row: an endpoint; one of the API's own rows may be overridden.
            parameters: the arguments, under the API's names; None is left out.
            source: the file that an upload streams.
            gate: an additional limit on attempts.
            token: the token to send; None: the client's own.
        """
        return self.session.call(
            self._table[row],
            drop_none(parameters),
            self._options,
            source=source,
            gate=gate,
            token=token,
        )

    def send_document(
        self, row: Endpoint[T], document: Parameters, *, gate: Gate | None = None
    ) -> Coroutine[Any, Any, T]:
        """Send the client's version of a row with a whole document; None is sent as null."""
        return self.session.call(self._table[row], document, self._options, gate=gate)

    def paginate(
        self,
        paginator: Callable[..., W],
        row: Endpoint[Any],
        parameters: Mapping[str, object],
        *,
        page: int,
        page_size: int | None,
        prefetch: int,
        max_pages: int | None,
        on_items: Callable[[Iterable[Any]], object] | None = None,
    ) -> W:
        """Build a paginator over a list.

        Args:
            paginator: its class.
            row: the operation that lists.
            parameters: further parameters of the list, such as a filter; all are texts or None.
            page: see `Paginator`, as for all others.
            page_size: None uses the size that was learned.
            prefetch: see page.
            max_pages: see page.
            on_items: called with the items of each reply.

        Raises:
            TypeError, ValueError: an argument is out of bounds.
        """
        for name, value in parameters.items():
            check_type(name, value, str, None)
        endpoint = self._table[row]
        scheme = endpoint.pages
        assert scheme is not None  # noqa: S101 - every list of the table has a scheme
        session, options, filters = self.session, self._options, drop_none(parameters)

        async def send(place: Mapping[str, object]) -> Page[Any]:
            reply: Page[Any] = await session.call(endpoint, {**place, **filters}, options)
            if on_items is not None:
                on_items(reply.items)
            return reply

        return paginator(
            page_fetcher(scheme, send),
            key=scheme.key,
            page=page,
            prefetch=prefetch,
            max_pages=max_pages,
            page_size=self._page_size if page_size is None else page_size,
            owner=session,
        )

    async def patch(
        self,
        show: Endpoint[T],
        update: Endpoint[None],
        key: Mapping[str, str],
        change: Callable[[Document], Document],
        *,
        to_write: Callable[[Document], Document] | None = None,
        gate: Gate | None = None,
    ) -> T:
        """Read an item, change it, and write it back. Patches of one item wait for each other.

        Args:
            show: the row that reads the item.
            update: the row that writes it.
            key: the parameter that identifies the item, with its value.
            change: returns the changed item. If it raises, nothing is written.
            to_write: returns what is written of the changed item, besides the key; None writes all
                of it.
            gate: an additional limit on the attempts of the write.

        Returns:
            The item as it should be now.

        Raises:
            ReplyError: the reply shows another item, or cannot be read. Nothing was written.
        """
        [(name, value)] = key.items()
        async with self._locks.holding(show.name, value):
            untyped = self._table.untyped(show)
            read = await self.session.call(untyped, key, self._options)
            check_identity(name, read.get(name), value, show)
            try:
                changed = change(read)
            except RecursionError:
                changed = None
            if changed is None:
                raise ReplyError(
                    "the reply is nested too deeply to be changed", operation=show.name
                )
            whole = {**changed, **key}
            # Decoded before the write: an error after it would hide that something was written.
            item = decode_item(whole, show)
            if to_write is not None:
                whole = {**key, **to_write(whole)}
            await self.send_document(update, whole, gate=gate)
        return item


class Resource(NotCopyable):
    """A part of a client, such as its extensions."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._sender.session.base_url}>"


def drop_none(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out the parameters that are None."""
    if isinstance(parameters, dict) and None not in parameters.values():
        return parameters
    return {name: value for name, value in parameters.items() if value is not None}
