"""What all resources stand on: the core, the client's rows, and the checking of arguments."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from ..arguments import plain_text
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..core.context import CallOptions
from ..core.endpoint import Endpoint
from ..core.limits import Gate
from ..core.message import Parameters
from ..core.page_sequence import Page
from ..core.pages import PageSize, Paginator
from ..core.session import Session
from ..core.tasks import NotCopyable
from ..core.upload import Source
from ..errors import ReplyError
from .operations import EXTENSIONS_SHOW, EndpointTable

T = TypeVar("T")
W = TypeVar("W", bound=Paginator[Any])


class KeyedLocks:
    """A lock for each key, kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, *key: str) -> AsyncIterator[None]:
        """Wait until nobody else holds the key."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1


class Caller(NotCopyable):
    """How the resources of one client, or of one view of it, reach the core."""

    def __init__(
        self,
        session: Session,
        table: EndpointTable,
        options: CallOptions,
        locks: KeyedLocks,
        outages: OutageLog,
        batch_sizes: BatchSizeLearner,
        page_size: PageSize,
    ) -> None:
        self.session = session
        self.table = table
        self.options = options
        self.locks = locks
        self.outages = outages
        self.batch_sizes = batch_sizes
        self._page_size = page_size

    def __call__(
        self,
        row: Endpoint[T],
        parameters: Mapping[str, object],
        *,
        source: Source | None = None,
        gate: Gate | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Send the client's version of a row.

        Args:
            row: the row of the API's own table.
            parameters: the arguments, under the API's names; None is left out.
            source: what an upload streams from.
            gate: what each attempt passes through.
        """
        return self.session.call(
            self.table[row], given(parameters), self.options, source=source, gate=gate
        )

    def write(
        self, row: Endpoint[T], document: Parameters, *, gate: Gate | None = None
    ) -> Coroutine[Any, Any, T]:
        """Send the client's version of a row with a document as it is; None in it is sent."""
        return self.session.call(self.table[row], document, self.options, gate=gate)

    def document(
        self, row: Endpoint[Any], parameters: Parameters
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Send the client's version of a row, and answer the reply with its unknown fields."""
        return self.session.call(self.table.untyped(row), parameters, self.options)

    def walk(
        self,
        make: Callable[..., W],
        row: Endpoint[Any],
        parameters: Mapping[str, object],
        *,
        page: int,
        page_size: int | None,
        prefetch: int,
        max_pages: int | None,
    ) -> W:
        """Make a paginator over a list."""
        endpoint = self.table[row]
        scheme = endpoint.pages
        assert scheme is not None  # noqa: S101 - every list of the table has a scheme
        session, options, named = self.session, self.options, given(parameters)

        def fetch(number: int, size: int) -> Coroutine[Any, Any, Page[Any]]:
            asked = {scheme.number: number, scheme.size: size, **named}
            return session.call(endpoint, asked, options)

        return make(
            fetch,
            key=scheme.key,
            page=page,
            prefetch=prefetch,
            max_pages=max_pages,
            page_size=self._page_size if page_size is None else page_size,
            owner=session,
        )


def given(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out what is None."""
    if isinstance(parameters, dict) and None not in parameters.values():
        return parameters
    return {name: value for name, value in parameters.items() if value is not None}


def text(name: str, value: object) -> str:
    """Check an argument that must be a text with something in it.

    Raises:
        TypeError: no text.
        ValueError: an empty one.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} is empty")
    return plain_text(value)


def texts(name: str, values: Iterable[str]) -> list[str]:
    """Check an argument that must be a collection of texts; one text is none.

    Raises:
        TypeError: no collection, a str or bytes in its place, or an item that is no text.
        ValueError: an empty item.
    """
    if isinstance(values, str | bytes | bytearray) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is a collection of str, not {type(values).__name__}")
    found = [*values]
    # A batch of 100 is checked in 2 µs this way.
    if set(map(type, found)) == {str} and "" not in found:
        return found
    return [text(f"each of {name}", value) for value in found]


def check_asked(field: str, shown: object, asked: str, row: Endpoint[Any]) -> None:
    """Check that a reply shows what was asked for, before something is written by it.

    Raises:
        ReplyError: it names another; where it names none, it is taken for the right one.
    """
    if shown not in (None, "", asked):
        raise ReplyError(
            expected=f"the {field} that was asked for", where=f"$.{field}", operation=row.name
        )


def without_none(value: Any) -> Any:
    """Leave out what is None, however deep it stands in mappings."""
    if isinstance(value, Mapping):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    return value


def merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into what was read, key by key and as deep as both are mappings."""
    result = dict(old)
    for key, value in changes.items():
        before = result.get(key)
        if isinstance(value, Mapping):
            result[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def check_known(
    name: str, changes: Mapping[str, Any], read: object, model: type[msgspec.Struct] | None
) -> None:
    """Check that a patch names only fields that the model or the reply knows.

    Args:
        name: what is patched, as in ``forward_rules.available``.
        changes: the fields to change, plain.
        read: what the PBX holds there; anything but a mapping has no fields.
        model: the struct that describes it; None where the SDK knows none.

    Raises:
        TypeError: a field is unknown to both; says which is nearest.
        ReplyError: what the PBX holds there is no object, and would be lost when written.
    """
    fields = {} if model is None else fields_of(model)
    if model is not None and not isinstance(read, Mapping) and read not in (None, "", []):
        raise ReplyError(expected="an object", where=f"$.{name}", operation=EXTENSIONS_SHOW.name)
    found: Mapping[str, object] = read if isinstance(read, Mapping) else {}
    for field, value in changes.items():
        if field not in fields and field not in found:
            raise unknown_field(name, field, [*fields, *found])
        if isinstance(value, Mapping):
            check_known(f"{name}.{field}", value, found.get(field), fields.get(field))


@cache
def fields_of(model: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """Return a model's fields, each with the struct that it may hold, if it may hold one."""
    hints = get_type_hints(model)
    return {
        field: next(
            (
                part
                for part in (hints[field], *get_args(hints[field]))
                if isinstance(part, type) and issubclass(part, msgspec.Struct)
            ),
            None,
        )
        for field in model.__struct_fields__
    }


def unknown_field(owner: str, field: object, known: Iterable[str]) -> TypeError:
    """Make the error for a field that does not exist, with the nearest name that does."""
    names = sorted(set(map(str, known)))
    nearest = get_close_matches(str(field).lower(), names, n=1)
    hint = f'did you mean "{nearest[0]}"?' if nearest else f"it has {', '.join(names) or 'none'}"
    return TypeError(f'{owner} has no field "{field}"; {hint}')
