"""The status of many extensions, read once (`StatusPoll`), and what a watch shares with that.

A batch that the PBX refuses is split by halves until the offending numbers stand alone. Where none
of the first eight numbers asked alone succeeds, nor any part of the batch, nor the largest part
that is left, the refusal is the batch's own, and all its numbers share it.
"""

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard, cast

from ..arguments import plain_text
from ..classic.models import ExtensionStatus
from ..classic.operations import EXTENSIONS_STATUS
from ..core.echo import digits_of
from ..core.limits import Gate
from ..core.streams import Run
from ..errors import (
    APIError,
    BadRequest,
    NotFound,
    PortSIPError,
    StatusMissing,
    is_fatal,
)
from ..record import Record
from .outages import OutageLog
from .workers import AdaptiveGate, Crew, Feed, StartTask, Stream

# No such address, no such file: of a NotFound, what is not about an extension.
_ELSEWHERE: Final = frozenset({"404.2", "404.3"})
_NO_SUCH_EXTENSION: Final = "404.1"
ALONE: Final = 8  # numbers asked alone in vain, after which the refusal is the batch's

StatusError: TypeAlias = PortSIPError | ValueError | TypeError


class StatusResult(Record, frozen=True):
    """What became of one number of a poll.

    Attributes:
        extension_number: the number as it was given.
        status: its status; None where there is an error.
        error: why there is no status; None where there is one. StatusMissing where the PBX left
            the number out.
    """

    extension_number: str
    status: ExtensionStatus | None = None
    error: StatusError | None = None


@dataclass(frozen=True, slots=True)
class PollStats:
    """What a poll cost so far.

    Attributes:
        requests: attempts that ended, repeats included.
        splits: refused batches that were split.
        retries: how many of the requests were repeats.
        concurrency: how many requests may be in flight now.
    """

    requests: int = 0
    splits: int = 0
    retries: int = 0
    concurrency: int = 0


# Asks the PBX for the status of some numbers in one request.
Ask: TypeAlias = Callable[[list[str], Gate], Coroutine[Any, Any, Sequence[ExtensionStatus]]]


class Reading(NamedTuple):
    """What came of a batch.

    Attributes:
        results: one for each number, in their order.
        refused: the numbers that the PBX refused when they stood alone.
        doubted: the numbers of a batch that was refused as a whole with the code of an unknown
            extension, so that any number of them may be to blame.
    """

    results: list[StatusResult]
    refused: list[str]
    doubted: list[str]


@dataclass(frozen=True, slots=True)
class Owner:
    """What a poll or a watch needs of its client.

    Attributes:
        ask: reads the status of a batch.
        start: makes a task that ends with the client.
        check: raises once the client is closed.
        clock: monotonic, in seconds.
        sleep: pauses for so many seconds.
        now: the time, in UTC.
        outages: the log of the PBX's outages, which all watches of a client share.
    """

    ask: Ask
    start: StartTask
    check: Callable[[], None]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    outages: OutageLog = field(default_factory=OutageLog)


class Batches:
    """Reads batches through one gate, splitting those that the PBX refuses."""

    def __init__(self, ask: Ask, concurrency: int) -> None:
        self.gate: AdaptiveGate = AdaptiveGate(concurrency)
        self.splits = 0
        self._ask = ask

    def stats(self) -> PollStats:
        """Tell what reading cost so far."""
        gate = self.gate
        return PollStats(gate.requests, self.splits, gate.retries, gate.limit)

    async def read(self, numbers: Sequence[object]) -> Reading:
        """Answer a result for each number, each occurrence, in their order."""
        split = _Split(self)
        if _are_numbers(numbers):
            await split.ask(_apart(list(dict.fromkeys(numbers))))
            results = list(map(split.found.__getitem__, numbers))
            return Reading(results, split.refused, split.doubted)
        numbers = [plain_text(each) if isinstance(each, str) else each for each in numbers]
        unique = list(dict.fromkeys(number for number in numbers if _is_number(number)))
        if unique:
            await split.ask(_apart(unique))
        found = split.found
        return Reading(
            [found[number] if _is_number(number) else _wrong(number) for number in numbers],
            split.refused,
            split.doubted,
        )

    async def ask(self, numbers: list[str], found: dict[str, StatusResult]) -> None:
        """Ask once, and note each number's result."""
        statuses = {
            status.extension_number: status for status in await self._ask(numbers, self.gate)
        }
        try:
            found |= {number: StatusResult(number, statuses[number]) for number in numbers}
        except KeyError:
            for number in numbers:
                status = statuses.get(number)
                missing = StatusMissing(number) if status is None else None
                found[number] = StatusResult(number, status, missing)


class _Split:
    """One batch on its way to being read, in parts if need be."""

    def __init__(self, batches: Batches) -> None:
        self.found: dict[str, StatusResult] = {}
        self.refused: list[str] = []
        self.doubted: list[str] = []
        self._batches = batches

    async def ask(self, parts: list[list[str]]) -> None:
        answered = False
        while parts:
            # The largest part that is left tells whether the batch itself is refused.
            doubted = len(self.refused) >= ALONE and not answered
            part = parts.pop(0 if doubted else -1)
            try:
                await self._batches.ask(part, self.found)
                answered = True
            except PortSIPError as error:
                if is_fatal(error):
                    raise
                refused = _is_refusal(error)
                if refused and doubted:
                    left = [number for each in (part, *parts) for number in each]
                    self._share(left, error)
                    if isinstance(error, APIError) and str(error.err_code) == _NO_SUCH_EXTENSION:
                        self.doubted = [*self.refused, *left]
                    self.refused.clear()
                    return
                if refused and len(part) > 1:
                    middle = (len(part) + 1) // 2
                    parts += [part[middle:], part[:middle]]
                    self._batches.splits += 1
                    continue
                self._share(part, error)
                if refused:
                    self.refused += part

    def _share(self, numbers: list[str], error: PortSIPError) -> None:
        error.__traceback__ = None  # whose frames hold the results of the batch
        for number in numbers:
            self.found[number] = StatusResult(number, None, error)


def _is_refusal(error: PortSIPError) -> bool:
    """Tell whether the PBX refused a batch for one of its numbers."""
    if error.operation not in (None, EXTENSIONS_STATUS.name):
        return False  # it is about the login
    if isinstance(error, APIError) and error.is_page:
        return False  # something in between sent it
    if isinstance(error, NotFound):
        return str(error.err_code) not in _ELSEWHERE
    return isinstance(error, BadRequest)


def _apart(numbers: list[str]) -> list[list[str]]:
    """Part numbers such as "0101" and "101", so that no request holds two of the same digits.

    Some PBXes send numbers as JSON numbers, in which the two are the same.
    """
    if ",0" not in "," + ",".join(numbers):
        return [numbers]
    batches: list[list[str]] = []
    seen: Counter[str] = Counter()
    for number in numbers:
        digits = digits_of(number)
        if seen[digits] == len(batches):
            batches.append([])
        batches[seen[digits]].append(number)
        seen[digits] += 1
    return batches


def _are_numbers(numbers: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Tell of a whole batch, in 3 µs, what else takes 14, number by number: all are good."""
    if set(map(type, numbers)) != {str} or "" in numbers:
        return False
    return "".join(cast(Sequence[str], numbers)).isascii()


def _is_number(number: object) -> TypeGuard[str]:
    if not isinstance(number, str) or not number:
        return False
    try:
        number.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(number: object) -> StatusResult:
    error: StatusError
    if isinstance(number, str):
        error = ValueError(
            "an extension number holds half of a surrogate pair"
            if number
            else "an extension number is empty"
        )
    else:
        error = TypeError(f"an extension number is a str, not {type(number).__name__}")
    return StatusResult(number, None, error)  # type: ignore[arg-type]  # the item as it was given


class StatusPoll(Stream[StatusResult]):
    """One result for each number given, as batches end.

    Each loop over it reads the numbers anew; of an iterator, what is left.
    """

    def __init__(
        self,
        owner: Owner,
        numbers: Iterable[str] | AsyncIterable[str],
        *,
        batch_size: int,
        concurrency: int,
        ordered: bool,
    ) -> None:
        super().__init__()
        self._owner = owner
        self._numbers = numbers
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._ordered = ordered
        self._latest: Batches | None = None

    @property
    def stats(self) -> PollStats:
        """What the latest loop cost so far."""
        if self._latest is None:
            return PollStats(concurrency=self._concurrency)
        return self._latest.stats()

    def _begin(self) -> tuple[AsyncGenerator[StatusResult, None], Run]:
        self._latest = batches = Batches(self._owner.ask, self._concurrency)
        crew = Crew(
            Feed(self._numbers, self._batch_size, self._owner.start),
            batches.read,
            start=self._owner.start,
            check=self._owner.check,
            limit=lambda: batches.gate.limit,
            ordered=self._ordered,
            ahead=True,
        )
        return _results(crew), crew


async def _results(
    crew: Crew[str, Reading],
) -> AsyncGenerator[StatusResult, None]:
    outcomes = crew.outcomes()
    try:
        async for reading in outcomes:
            for result in reading.results:
                yield result
    finally:
        await outcomes.aclose()
