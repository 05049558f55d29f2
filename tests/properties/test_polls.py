"""A poll yields one result for each number, whatever the PBX, the source and the consumer do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import (
    BadRequest,
    ExtensionStatus,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    StatusMissing,
    StatusResult,
    TransportError,
)
from portsip_async.bulk.batch_size import LARGEST_SIZE, BatchSizeLearner
from portsip_async.bulk.status_poll import StatusPoll
from portsip_async.core.limits import Gate
from portsip_async.simulator import Faults, PBXSimulator

from ..concurrency import LoopOwner
from ..statuses import Statuses, status_of
from ..test_batch_size import TOO_LARGE, Limited, learning_poll
from .values import ANY_CHARACTER

LETTERS = "abcdefghijklmnop"
PLAIN = st.sampled_from(LETTERS)
ODD = st.sampled_from(["ü", "", "\ud800"]) | st.text(ANY_CHARACTER, max_size=2)
# Batches of plain strings take a shortcut. One other number in a batch prevents it.
NUMBERS = st.lists(PLAIN, max_size=60) | st.lists(PLAIN | ODD, max_size=60)
FAULTS: Sequence[Exception | None] = (
    None,
    RateLimited("slow", status=429),
    ServerError("down", status=503),
    RequestTimeout("late"),
    TransportError("gone"),
    ReplyError(expected="JSON"),
    BadRequest("no", status=400),
    NotFound("no", status=404, err_code=404.1),
)


class Shuffled(Statuses):
    """Replies in another order than requested, twice, and with unknown numbers among them."""

    def __init__(self, refused: set[str], lacking: set[str], ticks: list[int]) -> None:
        super().__init__(refused, lacking)
        self.ticks = ticks

    async def ask(self, numbers: list[str], gate: Gate) -> Sequence[ExtensionStatus]:
        for _ in range(self.ticks[len(self.asked) % len(self.ticks)]):
            await asyncio.sleep(0)
        found = await super().ask(numbers, gate)
        return [status_of("stranger", "ON_CALL"), *reversed(found), *found[:1]]


class SourceFailed(Exception):
    """The error of an application's source."""


async def drip(numbers: Iterable[str], fails: bool) -> AsyncIterator[str]:
    for number in numbers:
        await asyncio.sleep(0)
        yield number
    if fails:
        raise SourceFailed


def flow(numbers: Iterable[str], fails: bool) -> Iterable[str]:
    yield from numbers
    if fails:
        raise SourceFailed


def is_number(text: str) -> bool:
    return bool(text) and not any("\ud800" <= mark <= "\udfff" for mark in text)


# A duplicate in a batch of plain strings, which is not always drawn.
@example(
    numbers=["a", "a"],
    refused=set(),
    lacking=set(),
    faults=[],
    batch_size=2,
    concurrency=1,
    ordered=False,
    asynchronous=False,
    fails=False,
    ticks=[0],
)
@given(
    numbers=NUMBERS,
    refused=st.sets(PLAIN),
    lacking=st.sets(PLAIN, max_size=4),
    faults=st.lists(st.sampled_from(FAULTS), max_size=20),
    batch_size=st.integers(1, 20),
    concurrency=st.integers(1, 5),
    ordered=st.booleans(),
    asynchronous=st.booleans(),
    fails=st.booleans(),
    ticks=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_exactly_once(
    numbers: list[str],
    refused: set[str],
    lacking: set[str],
    faults: list[Exception | None],
    batch_size: int,
    concurrency: int,
    ordered: bool,
    asynchronous: bool,
    fails: bool,
    ticks: list[int],
) -> None:
    """Each given number has one result, with its own status or its own error."""
    statuses = Shuffled(refused, lacking, ticks)
    script = dict(enumerate(faults, 1))
    statuses.fail = script.get
    results: list[StatusResult] = []

    async def run() -> None:
        poll = StatusPoll(
            statuses.source(),
            drip(numbers, fails) if asynchronous else flow(numbers, fails),
            owner=LoopOwner(),
            batch_size=batch_size,
            concurrency=concurrency,
            ordered=ordered,
        )
        async for result in poll:
            results.append(result)  # noqa: PERF401 - what came before an error counts

    if fails:
        with pytest.raises(SourceFailed):
            asyncio.run(run())
    else:
        asyncio.run(run())
    found = [result.extension_number for result in results]
    assert found == numbers if ordered else sorted(found) == sorted(numbers)
    assert statuses.most_in_flight <= concurrency
    assert all(len(batch) <= batch_size for batch in statuses.asked)
    assert all(is_number(number) for batch in statuses.asked for number in batch)
    for result in results:
        number, status, error = result.extension_number, result.status, result.error
        assert (status is None) != (error is None)
        if not is_number(number):
            assert isinstance(error, ValueError)
        elif number in refused | lacking:
            assert status is None
        if status is not None:
            assert status == status_of(number)
        if isinstance(error, StatusMissing):
            assert number in lacking
            assert error.extension_number == number
    if not any(faults) and not refused:
        for result in results:
            good = is_number(result.extension_number) and result.extension_number not in lacking
            assert (result.error is None) == good


MANY = [f"{number:04}" for number in range(400)]


@given(
    maximum=st.integers(1, 400),
    how=st.sampled_from([*TOO_LARGE]),
    changes=st.lists(st.integers(1, 400), max_size=3),
    refused=st.sets(st.sampled_from(MANY), max_size=8),
    lacking=st.sets(st.sampled_from(MANY), max_size=8),
    rounds=st.integers(1, 4),
    concurrency=st.integers(1, 5),
    ordered=st.booleans(),
    asynchronous=st.booleans(),
)
def test_hidden_maximum(
    maximum: int,
    how: str,
    changes: list[int],
    refused: set[str],
    lacking: set[str],
    rounds: int,
    concurrency: int,
    ordered: bool,
    asynchronous: bool,
) -> None:
    """With a learned size, too, each number has one result, though the maximum is unknown.

    Between two polls the maximum may change. Up to eight bad numbers are found in any batch.
    """
    numbers = MANY * rounds
    pbx = Limited(maximum, how, refused)
    pbx.lacking = lacking
    learner = BatchSizeLearner()
    for now in [maximum, *changes]:
        pbx.maximum = now
        pbx.asked.clear()

        async def run() -> list[StatusResult[ExtensionStatus]]:
            source: Iterable[str] | AsyncIterator[str] = numbers
            if asynchronous:
                source = drip(numbers, fails=False)
            poll = learning_poll(pbx, source, learner, concurrency=concurrency, ordered=ordered)
            return [result async for result in poll]

        results = asyncio.run(run())
        found = [result.extension_number for result in results]
        assert found == numbers if ordered else sorted(found) == sorted(numbers)
        for result in results:
            number, error = result.extension_number, result.error
            if number in refused:
                assert isinstance(error, NotFound)
            elif number in lacking:
                assert isinstance(error, StatusMissing)
            else:
                assert (error, result.status) == (None, status_of(number))
        # After a reply nothing is requested again: each occurrence of a number at most once. Only
        # numbers that the reply to a larger batch lacked are requested once more.
        answered = Counter(
            number
            for batch in pbx.asked
            if len(batch) <= now and refused.isdisjoint(batch)
            for number in batch
        )
        for number, count in answered.items():
            assert count <= (2 * rounds if number in lacking else rounds)
        assert max(map(len, pbx.asked)) <= LARGEST_SIZE
        assert 1 <= learner.size <= LARGEST_SIZE


@given(
    numbers=st.lists(st.sampled_from([*map(str, range(100, 120)), "999"]), max_size=40),
    scripted=st.lists(
        st.sampled_from(
            [
                {"status": 503},
                {"status": 429, "retry_after": 0},
                {"drop": True},
                {"truncate": True},
                {"status": 401},
                {"body": "<html>"},
                {"body": '{"extension_status": {}}'},
            ]
        ),
        max_size=8,
    ),
    rate=st.sampled_from([0.0, 0.3]),
    batch_size=st.integers(1, 15),
    ordered=st.booleans(),
    omits=st.booleans(),
    shuffles=st.booleans(),
)
async def test_poll_of_a_client(
    numbers: list[str],
    scripted: list[dict[str, object]],
    rate: float,
    batch_size: int,
    ordered: bool,
    omits: bool,
    shuffles: bool,
) -> None:
    """A client polls a PBX with broken connections, expiring tokens and unknown numbers."""
    quirks = ["status_shuffled", "status_stranger"] * shuffles + ["status_omits_unknown"] * omits
    faults = Faults(server_error=rate / 3, dropped=rate / 3, revoked=rate / 3)
    policy = RetryPolicy(attempts=3, initial=0, maximum=0)
    async with PBXSimulator(extensions=20, status_seconds=0, quirks=quirks, faults=faults) as sim:
        for fault in scripted:
            sim.fail("extensions.status", **fault)  # type: ignore[arg-type]  # of several types
        async with PortSIPClient(
            sim.url, username=sim.username, password=sim.password, retry=policy
        ) as pbx:
            failed: PortSIPError | None = None
            results = []
            poll = pbx.extensions.poll_status(numbers, batch_size=batch_size, ordered=ordered)
            try:
                async for result in poll:
                    results.append(result)  # noqa: PERF401 - what came before an error counts
            except PortSIPError as error:
                failed = error
    # Only a second rejection in a row ends a poll, and only two in a row were scripted or drawn.
    if failed is not None:
        assert rate or {"status": 401} in scripted
        return
    found = [result.extension_number for result in results]
    assert found == numbers if ordered else sorted(found) == sorted(numbers)
    for result in results:
        assert (result.status is None) != (result.error is None)
        if result.status is not None:
            assert result.status.extension_number == result.extension_number != "999"
        elif not scripted and not rate:
            assert result.extension_number == "999"
