"""Bulk writes: how an item is checked, and what happens after a lost reply.

If the reply to a create or a remove is lost for good, the item is read back. The functions that
read and write are passed in.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from ..arguments import check_int, check_iterable, check_number, check_str, check_type, plain_text
from ..bulk.writes import BulkRun, ItemOperation
from ..core.endpoint import Endpoint
from ..core.limits import Gate
from ..core.reply import check_identity
from ..core.tasks import TaskOwner
from ..errors import APIError, ErrorScheme, NotFound, PortSIPError

T = TypeVar("T")
X = TypeVar("X")
V = TypeVar("V")

DEFAULT_BULK_CONCURRENCY: Final = 8  # items in flight
DEFAULT_GRACE: Final = 5.0  # seconds

Patch: TypeAlias = tuple[str, Mapping[str, object]]
Send: TypeAlias = Callable[[X, Gate], Awaitable[V]]
# Reads what the PBX has under a key; None if there is nothing.
ReadBack: TypeAlias = Callable[[str], Awaitable[T | None]]


def run_many(
    name: str,
    items: Iterable[X] | AsyncIterable[X],
    operation: ItemOperation[X, V],
    *,
    owner: TaskOwner,
    concurrency: int,
    grace: float,
) -> BulkRun[V]:
    """Check the arguments of a bulk write, and build its run.

    Args:
        name: what the items are called in messages.
        items: what to write.
        operation: how to write an item.
        owner: starts the tasks.
        concurrency: items in flight at most.
        grace: seconds that items in flight may take to finish after the loop was left.

    Raises:
        TypeError, ValueError: an argument is out of bounds.
    """
    return BulkRun(
        check_iterable(name, items, operation.example),
        operation,
        owner=owner,
        concurrency=check_int("concurrency", concurrency, 1),
        grace=check_number("grace", grace),
    )


def read_many(
    name: str,
    keys: Iterable[str] | AsyncIterable[str],
    show: Callable[[str], Awaitable[V]],
    *,
    key: str,
    example: str,
    owner: TaskOwner,
    concurrency: int,
    ordered: bool,
) -> BulkRun[V]:
    """Check the arguments of a bulk read, and build its run.

    Args:
        name: what the keys are called in messages.
        keys: what identifies each item.
        show: reads an item.
        key: what one key is called in messages.
        example: how a key may look, for messages.
        owner: starts the tasks.
        concurrency: items in flight at most.
        ordered: whether results keep the order of the keys.

    Raises:
        TypeError, ValueError: an argument is out of bounds.
    """
    check_type("ordered", ordered, bool)

    # The gate is not used: it tracks writes.
    async def read(item: str, _: Gate) -> V:
        return await show(item)

    example = f"show_many([{example}])"
    return BulkRun(
        check_iterable(name, keys, example),
        ItemOperation(lambda item: check_str(key, item), read, example=example),
        owner=owner,
        concurrency=check_int("concurrency", concurrency, 1),
        ordered=ordered,
    )


def change(
    send: Send[Patch, V],
    check: Callable[[Mapping[str, object]], object],
    *,
    key: str,
    expected: str,
    example: str,
) -> ItemOperation[Patch, V]:
    """Build the write that patches an item.

    Args:
        send: patches it.
        check: checks the changes.
        key: what identifies the item, for messages.
        expected: what a patch must be, for messages.
        example: a correct patch, for messages.
    """

    def key_of(patch: Any) -> str:
        if not isinstance(patch, tuple | list) or len(patch) != 2:
            kind = ValueError if isinstance(patch, Iterable) else TypeError
            raise kind(f"a patch must be {expected}, as in {example}, got {type(patch).__name__}")
        identity, changes = patch
        check(changes)
        return check_str(key, identity)

    return ItemOperation(key_of, send, example=f"patch_many([{example}])")


def removal(
    send: Send[str, None],
    read_back: ReadBack[object],
    row: Endpoint[None],
    errors: ErrorScheme,
    *,
    key: str,
    example: str,
    skip_missing: bool,
) -> ItemOperation[str, None]:
    """Build the write that removes an item.

    Args:
        send: removes it.
        read_back: see `reader`.
        row: the operation that removes it.
        errors: what the API's codes mean.
        key: what identifies the item, for messages.
        example: how a key may look, for messages.
        skip_missing: whether an item that does not exist is skipped.
    """

    def is_skipped(error: PortSIPError) -> bool:
        if not skip_missing or not isinstance(error, NotFound) or not is_from(error, row):
            return False
        return str(error.err_code) not in errors.no_such_address  # the address is not wrong

    async def was_removed(identity: str) -> bool:
        return await read_back(identity) is None

    return ItemOperation(
        lambda identity: check_str(key, identity),
        send,
        was_carried_out=was_removed,
        is_skipped=is_skipped,
        example=f"remove_many([{example}])",
    )


def reader(row: Endpoint[Any], read: Callable[[str], Awaitable[T]], *, field: str) -> ReadBack[T]:
    """Build the function that reads back what the PBX has under a key.

    It raises ReplyError if the reply shows another item, since that proves nothing.

    Args:
        row: the operation that reads.
        read: sends it.
        field: the field of the reply that holds the key.
    """

    async def read_back(key: str) -> T | None:
        try:
            found = await read(key)
        except NotFound as error:
            if not is_from(error, row):
                raise
            return None
        check_identity(field, getattr(found, field), plain_text(key), row)
        return found

    return read_back


def is_from(error: APIError, row: Endpoint[Any]) -> bool:
    """Check that the PBX itself refused this operation: not a login, and not a web page."""
    return error.operation == row.name and not error.is_page
