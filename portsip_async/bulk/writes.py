"""Many writes in one go: bounded, with a result for each item, and no outcome guessed.

Where the reply to a create or a remove was lost for good, the extension is read back and tells
whether the write was carried out. What an update lost is simply repeated, since it comes to the
same. What is known of no item is listed in `in_doubt`.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from typing import Any, Generic, TypeVar

from ..arguments import plain_text
from ..core.limits import Gate
from ..core.session import Session
from ..core.streams import Run
from ..core.tracebacks import strip_frames
from ..errors import PortSIPError, is_fatal
from ..record import Record
from .workers import Crew, Feed, Stream

X = TypeVar("X")
V = TypeVar("V")

WriteError = PortSIPError | ValueError | TypeError


class BulkResult(Record, Generic[V], frozen=True):
    """What became of one item of a bulk run.

    Attributes:
        index: the item's place in the source, counted from 0.
        key: the extension number, as given.
        value: what the write answers; the merged Extension of a patch, else None.
        error: why it was not carried out, or why that is not known; None where it was.
        settled: whether a lost reply was made good by reading back what the PBX holds.
        skipped: whether it existed already, and that was asked to be passed over.
    """

    index: int
    key: str
    value: V | None = None
    error: WriteError | None = None
    settled: bool = False
    skipped: bool = False


class Sent:
    """A gate that notes that something went, and is shut to what is new once the run was left."""

    def __init__(self, left: Callable[[], bool]) -> None:
        self.sent: bool = False
        self._left = left

    def admit(self) -> bool:
        """Note that an attempt begins.

        Raises:
            CancelledError: it would be the write's first, and the run was left meanwhile.
        """
        if self.shut:
            raise asyncio.CancelledError
        self.sent = True
        return True

    async def enter(self) -> None:
        """Nobody has to wait here."""

    @property
    def shut(self) -> bool:
        """Whether nothing went, and nothing may go any more."""
        return self._left() and not self.sent

    def leave(self, ticket: object, error: PortSIPError | None, *, repeated: bool) -> None:
        """Take no notice: what an error means is the caller's to say."""


class Write(Generic[X, V]):
    """How one item is written.

    Attributes:
        key: finds the item's key; raises TypeError or ValueError where it has none.
        carry_out: writes it.
        was_carried_out: reads back whether it was, where the reply was lost; None where repeating
            does instead.
        passes_over: whether an error means that there was nothing to do.
    """

    def __init__(
        self,
        key: Callable[[X], str],
        carry_out: Callable[[X, Gate], Awaitable[V]],
        *,
        was_carried_out: Callable[[X], Awaitable[bool]] | None = None,
        passes_over: Callable[[PortSIPError], bool] = lambda _: False,
    ) -> None:
        self.key = key
        self.carry_out = carry_out
        self.was_carried_out = was_carried_out
        self.passes_over = passes_over


class BulkRun(Stream[BulkResult[V]], Generic[V]):
    """Results of many writes, as they finish.

    Leaving the loop stops new items and lets writes in flight finish for up to `grace` seconds;
    `untold` has what came of them. What ends the loop by an error ends it likewise, but for those
    results, which the loop yields before it raises.
    """

    def __init__(
        self,
        items: Iterable[X] | AsyncIterable[X],
        write: Write[X, V],
        *,
        session: Session,
        concurrency: int,
        grace: float,
    ) -> None:
        super().__init__()
        self._items: Any = items
        self._write: Write[Any, V] = write
        self._session = session
        self._concurrency = concurrency
        self._grace = grace
        self._in_doubt: list[str] = []
        self._untold: list[BulkResult[V]] = []
        self._crew: Crew[Any, BulkResult[V]] | None = None

    @property
    def untold(self) -> list[BulkResult[V]]:
        """The results of writes that ended after the latest loop was left."""
        if self._crew is not None and self._crew.ended.is_set():
            self._untold += self._crew.untold()
        return list(self._untold)

    @property
    def in_doubt(self) -> list[str]:
        """The keys of the latest loop whose outcome stayed unknown."""
        return list(self._in_doubt)

    def _begin(self) -> tuple[AsyncGenerator[BulkResult[V], None], Run]:
        in_doubt: list[str] = []
        self._in_doubt = in_doubt
        self._untold = []
        session = self._session
        index = -1

        async def job(chunk: list[Any], place: int) -> BulkResult[V]:
            sent = Sent(lambda: crew.left)
            try:
                return await _written(self._write, place, chunk[0], sent, in_doubt)
            except BaseException as error:
                strip_frames(error)
                raise

        def numbered(chunk: list[Any]) -> Any:
            nonlocal index
            index += 1
            return job(chunk, index)

        crew: Crew[Any, BulkResult[V]] = Crew(
            Feed(self._items, 1, session.start),
            numbered,
            start=session.start,
            check=session.check_open,
            limit=lambda: self._concurrency,
            grace=self._grace,
        )
        self._crew = crew
        return crew.outcomes(), crew


async def _written(
    write: Write[X, V], index: int, item: X, sent: Sent, in_doubt: list[str]
) -> BulkResult[V]:
    wrong: WriteError | None = None
    key = ""
    if sent.shut:
        raise asyncio.CancelledError  # the run was left before this task had its first turn
    try:
        key = write.key(item)
        return BulkResult(index, key, await write.carry_out(item, sent))
    except asyncio.CancelledError:
        if sent.sent:
            in_doubt.append(key)
        raise
    except (PortSIPError, ValueError, TypeError) as error:
        if is_fatal(error):
            if isinstance(error, PortSIPError) and error.may_have_acted:
                in_doubt.append(key)
            raise
        wrong = error.with_traceback(None)  # whose frames hold the item
    if not isinstance(wrong, PortSIPError):
        return BulkResult(index, key or _shown(item), error=wrong)
    if write.passes_over(wrong):
        return BulkResult(index, key, skipped=True)
    if not wrong.may_have_acted:
        return BulkResult(index, key, error=wrong)
    return await _settled(write, index, item, key, wrong, in_doubt)


async def _settled(
    write: Write[X, V], index: int, item: X, key: str, lost: PortSIPError, in_doubt: list[str]
) -> BulkResult[V]:
    """Read back what the PBX holds after a reply was lost."""
    if write.was_carried_out is not None:
        try:
            done = await write.was_carried_out(item)
        except PortSIPError:
            pass
        except asyncio.CancelledError:
            in_doubt.append(key)
            raise
        else:
            return BulkResult(index, key, error=None if done else lost, settled=True)
    in_doubt.append(key)
    return BulkResult(index, key, error=lost)


def _shown(item: object) -> str:
    """Return the key of an item that can't be written; its type's name where it has none."""
    key = item
    if isinstance(item, tuple | list) and item:
        key = item[0]
    elif isinstance(item, Mapping):
        key = item.get("extension_number")
    elif not isinstance(item, str | int):
        key = getattr(item, "extension_number", None)
    if isinstance(key, str):
        return plain_text(key) or ("" if key is item else type(item).__name__)
    return str(key) if type(key) is int else type(item).__name__
