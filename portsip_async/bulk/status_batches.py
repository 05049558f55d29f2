"""The status of a batch of extensions, in one request or in several.

A batch that the PBX refuses is split in halves until the numbers at fault are alone. If the first
eight numbers that were sent alone all fail, one larger part decides: if that is refused too, the
refusal is about the batch as a whole, and all its numbers share the error.

If the size of batches is learned, a batch may also fail because it is too large: refused, with
status 413 or 414, or by a timeout. It is then sent again in parts. If all parts of a refused batch
succeed, its size was the reason. If one of them fails, a number was the reason. A batch of more
than 100 may fail because of its size in any other way: a 502 of a proxy, a connection that breaks,
a reply with only some of the numbers. So it is sent again in parts as well.

This module does not depend on a generation of the API. The type of a status is a type parameter,
and everything about the request comes in a `StatusSource`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeGuard, cast

from ..arguments import digits_of, plain_text
from ..core.limits import Gate
from ..errors import (
    APIError,
    BadRequest,
    ConnectError,
    ErrorScheme,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    StatusMissing,
    is_fatal,
)
from ..redact import Record
from .batch_size import DEFAULT_SIZE, BatchSizeLearner
from .outages import OutageLog
from .status_type import S
from .workers import AdaptiveGate

# How many single numbers must fail before the refusal may be about the batch as a whole.
SINGLE_FAILURES: Final = 8
# Statuses that mean that a request's body (413) or URL (414) is too large.
_TOO_LARGE: Final = frozenset({413, 414})

StatusError: TypeAlias = PortSIPError | ValueError | TypeError


class StatusResult(Record, Generic[S], frozen=True):
    """The outcome for one number of a poll.

    Attributes:
        extension_number: the number as it was given.
        status: its status; None if there is an error.
        error: why there is no status; None if there is one. StatusMissing if the PBX left the
            number out.
    """

    extension_number: str
    status: S | None = None
    error: StatusError | None = None


class PollStats(Record, frozen=True):
    """The cost of a poll so far.

    Attributes:
        requests: attempts that ended, repeats included.
        splits: batches that were split, because the PBX refused them or they were too large.
        retries: how many of the requests were repeats.
        concurrency: how many requests may be in flight now.
        batch_size: how many numbers a request holds now; a learned size changes.
    """

    requests: int = 0
    splits: int = 0
    retries: int = 0
    concurrency: int = 0
    batch_size: int = 0


class BatchResult(NamedTuple, Generic[S]):
    """The outcome of a batch.

    Attributes:
        results: one for each number, in their order.
        refused: the numbers that the PBX refused when they were alone.
        doubted: the numbers of a batch that was refused as a whole with the code of an unknown
            extension, so that any of them may be at fault.
    """

    results: list[StatusResult[S]]
    refused: list[str]
    doubted: list[str]


@dataclass(frozen=True, slots=True)
class StatusSource(Generic[S]):
    """The PBX as polls and watches see it.

    Attributes:
        ask: reads the statuses of a batch through a gate, and returns them by number.
        operations: the names of the operations that `ask` calls for the numbers, as in their
            errors. A refusal of another operation, such as a login, is not about a number.
        errors: what the API's err_codes mean.
        clock: monotonic, in seconds.
        sleep: pauses for some seconds.
        now: the time of day, in UTC.
        outages: the log of the PBX's outages, which all watches of a client share.
        batch_sizes: learns how large batches may be; all polls and watches of a client share it.
        check: raises ValueError if a number can't be sent; None: all can that are valid Unicode.
    """

    ask: Callable[[list[str], Gate], Coroutine[Any, Any, dict[str, S]]]
    operations: frozenset[str]
    errors: ErrorScheme
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    outages: OutageLog = field(default_factory=OutageLog)
    batch_sizes: BatchSizeLearner = field(default_factory=BatchSizeLearner)
    check: Callable[[str], object] | None = None


class BatchReader(Generic[S]):
    """Reads batches through one gate, and splits batches that fail."""

    def __init__(
        self, source: StatusSource[S], *, concurrency: int, batch_size: int | None
    ) -> None:
        """Store the settings.

        Args:
            source: the PBX.
            concurrency: requests in flight at most.
            batch_size: numbers per request; None: as many as the PBX takes.
        """
        self.gate: AdaptiveGate = AdaptiveGate(concurrency)
        self.splits: int = 0
        self.source: StatusSource[S] = source
        self.learner: BatchSizeLearner | None = source.batch_sizes if batch_size is None else None
        self._batch_size = batch_size

    def stats(self) -> PollStats:
        """Return the cost so far."""
        gate = self.gate
        size = self._batch_size or self.source.batch_sizes.size
        return PollStats(gate.requests, self.splits, gate.retries, gate.limit, size)

    def next_size(self) -> int:
        """Return how many numbers the next batch should hold."""
        return self._batch_size or self.source.batch_sizes.next_size()

    async def read(self, numbers: Sequence[object]) -> BatchResult[S]:
        """Read a batch; return a result for each occurrence of each number, in their order."""
        check = self.source.check
        if check is None and _are_plain(numbers):
            return await self._read(numbers)
        # Bad items get their errors here, and only numbers are sent.
        plain = [plain_text(each) if isinstance(each, str) else each for each in numbers]
        errors = [_error_of(each, check) for each in plain]
        good = [each for each, error in zip(plain, errors, strict=True) if error is None]
        read = await self._read(cast("list[str]", good))
        results = iter(read.results)
        return read._replace(
            results=[
                # An item may be anything; its result shows it as it was given.
                next(results) if error is None else StatusResult(cast("str", each), None, error)
                for each, error in zip(plain, errors, strict=True)
            ]
        )

    async def _read(self, numbers: Sequence[str]) -> BatchResult[S]:
        unique = list(dict.fromkeys(numbers))
        split = _Split(self)
        if unique:
            await split.read(_separate_same_digits(unique))
        return BatchResult(split.results(numbers), split.refused, split.doubted)


class _Failure(Enum):
    """Why a request for a batch failed."""

    REFUSED = auto()  # because of one of its numbers, or its size
    TOO_LARGE = auto()
    UNCLEAR = auto()  # perhaps its size: a timeout, or any failure of a large batch
    OTHER = auto()


class _Split(Generic[S]):
    """One batch that is being read, in parts if needed.

    Attributes:
        errors: the errors by number.
        refused: as in `BatchResult`.
        doubted: as in `BatchResult`.
    """

    def __init__(self, reader: BatchReader[S]) -> None:
        self.errors: dict[str, PortSIPError] = {}
        self.refused: list[str] = []
        self.doubted: list[str] = []
        self._statuses: dict[str, S] = {}
        self._is_whole = True  # whether one request holds all numbers
        self._reader = reader
        self._source = reader.source
        self._learner = reader.learner
        self._largest_good = 0  # size of the largest part that the PBX replied to
        self._suspects: list[tuple[_Failure, list[str]]] = []  # parts that may have been too large
        self._incomplete: list[tuple[int, list[str]]] = []  # size and missing numbers of trials
        self._split_after_timeout = False

    async def read(self, parts: list[list[str]]) -> None:
        """Read the parts of a batch, and split them further if they fail."""
        learner = self._learner
        if learner is not None and max(map(len, parts)) > learner.next_size():
            # Several batches get the size of a trial before the first of them is sent. Or the size
            # was found to be too large meanwhile.
            parts = [piece for part in parts for piece in _cut(part, learner.size)]
        self._is_whole = len(parts) == 1
        if learner is None:
            await self._read(parts)
            return
        is_trial = learner.start_trial(max(map(len, parts)))
        try:
            await self._read(parts)
        finally:
            if is_trial:
                learner.end_trial()
            if self._split_after_timeout:
                learner.end_timeout_split(got_reply=self._largest_good > 0)
        self._learn_from_suspects(learner)

    async def _read(self, parts: list[list[str]]) -> None:
        # A stack: the next part is at the end, and the largest one at the beginning.
        while parts:
            # Once enough single numbers have failed, the largest part decides about the batch.
            deciding = len(self.refused) >= SINGLE_FAILURES and not self._largest_good
            part = parts.pop(0 if deciding else -1)
            try:
                parts += self._add(part, await self._source.ask(part, self._reader.gate))
            except PortSIPError as error:
                if is_fatal(error):
                    raise
                failure = self._classify(error, len(part))
                # While the size is learned, a batch is refused as a whole only if a single number
                # is refused too.
                if (
                    failure is _Failure.REFUSED
                    and deciding
                    and (self._learner is None or len(part) == 1)
                ):
                    self._refuse_batch([part, *parts], error)
                    return
                if len(part) > 1 and self._may_split(failure, len(part)):
                    pieces = self._split(part, failure)
                    parts[:] = [*pieces, *parts] if deciding else [*parts, *reversed(pieces)]
                    continue
                if self._is_hopeless(failure):
                    self._share(error, [part, *parts])
                    return
                self._share(error, [part])
                if failure is _Failure.REFUSED:
                    self.refused += part

    def results(self, numbers: Sequence[str]) -> list[StatusResult[S]]:
        """Return a result for each occurrence of each number."""
        if not self.errors:
            with suppress(KeyError):  # a number is missing from the replies
                return [StatusResult(number, self._statuses[number]) for number in numbers]
        results: dict[str, StatusResult[S]] = {}
        for number in dict.fromkeys(numbers):
            error = self.errors.get(number)
            status = None if error is not None else self._statuses.get(number)
            if error is None and status is None:
                error = StatusMissing(number)
            results[number] = StatusResult(number, status, error)
        return [results[number] for number in numbers]

    def _add(self, part: list[str], statuses: dict[str, S]) -> list[list[str]]:
        """Store the statuses of a part; return the parts to send again."""
        learner, missing = self._learner, list[str]()
        if learner is not None and len(part) > learner.size:
            missing = [number for number in part if number not in statuses]
        self._largest_good = max(self._largest_good, len(part) - len(missing))
        if missing:
            # A reply to a trial. Its PBX may leave out numbers beyond a maximum.
            self._is_whole = False
            self._incomplete.append((len(part), missing))
        elif learner is not None:
            learner.succeeded(len(part))
        if self._is_whole:
            self._statuses = statuses
        else:
            # A reply may have numbers that belong to another part. Only that part's reply counts.
            self._statuses |= {number: statuses[number] for number in part if number in statuses}
        if learner is None or not missing:
            return []
        self._reader.splits += 1
        return _cut(missing, learner.size)

    def _classify(self, error: PortSIPError, size: int) -> _Failure:
        """Return why a request for so many numbers failed."""
        if error.operation is not None and error.operation not in self._source.operations:
            return _Failure.OTHER  # it is about the login
        if self._learner is not None:
            if isinstance(error, APIError) and error.status in _TOO_LARGE:
                return _Failure.TOO_LARGE
            # Without an attempt, the time passed while the request waited for its turn.
            if isinstance(error, RequestTimeout):
                return _Failure.UNCLEAR if error.attempts else _Failure.OTHER
        is_page = isinstance(error, APIError) and error.is_page  # a proxy sent it
        if isinstance(error, NotFound) and not is_page:
            elsewhere = str(error.err_code) in self._source.errors.no_such_address
            return _Failure.OTHER if elsewhere else _Failure.REFUSED
        if isinstance(error, BadRequest) and not is_page:
            return _Failure.REFUSED
        return _Failure.UNCLEAR if self._may_be_size(error, size) else _Failure.OTHER

    def _may_be_size(self, error: PortSIPError, size: int) -> bool:
        """Check whether a smaller batch may succeed after a failure for an unclear reason."""
        if self._learner is None or isinstance(error, ConnectError):
            return False
        if isinstance(error, PermissionDenied) and not error.is_page:
            return False
        # Not below the size that is used without learning: an outage must not cost more requests.
        known = self._learner.size
        return size > (known if isinstance(error, RateLimited) else min(DEFAULT_SIZE, known))

    def _is_hopeless(self, failure: _Failure) -> bool:
        """Check whether even a small part failed like a large one, and no part worked."""
        if self._largest_good or failure is _Failure.REFUSED:
            return False
        if failure is _Failure.OTHER:
            return any(suspected is _Failure.UNCLEAR for suspected, _ in self._suspects)
        return bool(self._suspects)

    def _may_split(self, failure: _Failure, size: int) -> bool:
        """Check whether a part that failed should be sent again in smaller parts."""
        if failure is not _Failure.UNCLEAR:
            return failure is not _Failure.OTHER
        if size <= self._largest_good:
            return False  # a part of that size got a reply, so the size is not the reason
        if not self._split_after_timeout and self._learner is not None:
            self._split_after_timeout = self._learner.start_timeout_split()
        return self._split_after_timeout

    def _split(self, part: list[str], failure: _Failure) -> list[list[str]]:
        """Split a part that failed into smaller ones."""
        self._reader.splits += 1
        self._is_whole = False
        # Quarters after a timeout, since each further timeout takes as long.
        size = -(-len(part) // (4 if failure is _Failure.UNCLEAR else 2))
        if self._learner is not None:
            self._suspects.append((failure, part))
            if self._learner.size < len(part):
                size = self._learner.size  # it was a trial, and this size is known to work
        return _cut(part, size)

    def _refuse_batch(self, parts: list[list[str]], error: PortSIPError) -> None:
        """Give all numbers without a result the error of the whole batch."""
        numbers = self._share(error, parts)
        if isinstance(error, APIError) and str(error.err_code) == self._source.errors.no_such_item:
            self.doubted = [*self.refused, *numbers]
        self.refused.clear()

    def _share(self, error: PortSIPError, parts: list[list[str]]) -> list[str]:
        """Give all numbers of some parts the same error; return the numbers."""
        error.__traceback__ = None  # its frames hold the results of the batch
        numbers = [number for part in parts for number in part]
        for number in numbers:
            self.errors[number] = error
        return numbers

    def _learn_from_suspects(self, learner: BatchSizeLearner) -> None:
        """Find the parts that failed because of their size, and inform the learner."""
        for size, missing in self._incomplete:
            if any(number in self._statuses for number in missing):
                learner.was_too_large(size, good=self._largest_good)
            elif not any(number in self.errors for number in missing):
                learner.succeeded(size)  # the PBX does not know these numbers
        for failure, part in self._suspects:
            if len(part) <= self._largest_good:
                continue  # another part of that size succeeded
            good = [number not in self.errors for number in part]
            # If any number of a refused part got no status in the end, that number was the reason.
            if all(good) if failure is _Failure.REFUSED else any(good):
                learner.was_too_large(len(part), good=self._largest_good)


def _cut(numbers: list[str], size: int) -> list[list[str]]:
    """Cut numbers into parts of a size."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _separate_same_digits(numbers: list[str]) -> list[list[str]]:
    """Put numbers such as "0101" and "101" into different requests.

    Some PBXes send numbers as JSON numbers, in which the two are the same.
    """
    # The loop below takes 60 µs per batch of 100, a fifth of its CPU. Most PBXes have numbers of
    # one length, which never need separating.
    if len(numbers) == 1 or len(set(map(len, numbers))) == 1:
        return [numbers]
    if len({number.lstrip("0") for number in numbers}) == len(numbers):
        return [numbers]
    parts: list[list[str]] = []
    seen: Counter[str] = Counter()
    for number in numbers:
        digits = digits_of(number)
        if seen[digits] == len(parts):
            parts.append([])
        parts[seen[digits]].append(number)
        seen[digits] += 1
    return parts


def _are_plain(numbers: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Check that all items of a batch are plain ASCII texts, as they usually are.

    Without this shortcut a poll takes 7 % more CPU.
    """
    return all(type(number) is str and number and number.isascii() for number in numbers)


def _error_of(
    number: object, check: Callable[[str], object] | None
) -> TypeError | ValueError | None:
    """Return why an item can't be sent; None if it is a number that can."""
    if not isinstance(number, str):
        return TypeError(f"an extension number must be a str, got {type(number).__name__}")
    if not number:
        return ValueError("an extension number must not be empty")
    try:
        number.encode()
    except UnicodeEncodeError:
        return ValueError("an extension number must be valid Unicode, got half a surrogate pair")
    try:
        if check is not None:
            check(number)
    except ValueError as error:
        return error.with_traceback(None)
    return None
