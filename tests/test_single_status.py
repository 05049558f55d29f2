"""A PBX that tells the status of one number per request, after it looked the number up."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from portsip_async.bulk.status_batches import StatusSource
from portsip_async.bulk.status_poll import StatusPoll
from portsip_async.bulk.status_polling import StatusPolling
from portsip_async.bulk.status_watch import DiscoveredExtensions, StatusChange, StatusWatch
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.core.limits import Gate
from portsip_async.errors import (
    BadRequest,
    ConfigurationError,
    NotFound,
    PortSIPError,
    ServerError,
    StatusMissing,
    TransportError,
)

from .concurrency import LoopOwner, yield_to_loop

REFUSALS: dict[str, Callable[[str], PortSIPError]] = {
    "status": lambda _: NotFound("no user", status=404, operation="things.status", attempts=1),
    "lookup": lambda _: NotFound("no number", status=404, operation="things.find", attempts=1),
    "bad": lambda _: BadRequest("bad number", status=400, operation="things.find", attempts=1),
    "missing": lambda number: StatusMissing(number, operation="things.find"),
    "untold": lambda number: StatusMissing(number),
}


class Ended(ConfigurationError):
    """The cycles of a watch are over."""


class SingleStatuses:
    """Tells each number's status as "ONLINE", unless it has an error.

    Attributes:
        asked: the numbers of each request.
        errors: by number, what a request raises.
    """

    def __init__(self, errors: dict[str, PortSIPError] | None = None) -> None:
        self.asked: list[str] = []
        self.errors: dict[str, PortSIPError] = errors or {}

    def source(self) -> StatusSource[str]:
        return StatusSource(
            self._ask,
            frozenset({"things.status", "things.find"}),
            CLASSIC_ERRORS,
            clock=asyncio.get_running_loop().time,
        )

    def poll(self, numbers: list[str], **options: bool) -> StatusPoll[str]:
        usual = {"ordered": True} | options
        return StatusPoll(
            self.source(), numbers, owner=LoopOwner(), batch_size=1, concurrency=16, **usual
        )

    async def watch(
        self, numbers: list[str], cycles: int
    ) -> tuple[StatusWatch[str], list[StatusChange[str]]]:
        """Watch for some cycles; return the watch and its changes."""
        left = iter(range(cycles - 1))

        async def sleep(_: float) -> None:
            await yield_to_loop()
            if next(left, None) is None:
                raise Ended("the script is over")

        async def discover() -> DiscoveredExtensions:
            return DiscoveredExtensions([], is_complete=True)

        source = replace(self.source(), sleep=sleep)
        watch = StatusWatch(
            lambda: StatusPolling(
                source,
                numbers,
                owner=LoopOwner(),
                discover=discover,
                interval=10.0,
                batch_size=1,
                concurrency=16,
                rediscover=60.0,
            ),
            owner=LoopOwner(),
            known=None,
            now=source.now,
        )
        changes: list[StatusChange[str]] = []
        with pytest.raises(Ended):
            await _collect(watch, changes)
        return watch, changes

    async def _ask(self, numbers: list[str], gate: Gate) -> dict[str, str]:
        ticket = gate.admit()
        ticket = await gate.enter() if ticket is None else ticket
        (number,) = numbers
        self.asked.append(number)
        await asyncio.sleep(0)
        error = self.errors.get(number)
        gate.leave(ticket, error, repeated=False)
        if error is not None:
            raise error
        return {number: "ONLINE"}


async def _collect(watch: StatusWatch[str], changes: list[StatusChange[str]]) -> None:
    async for change in watch:
        changes.append(change)  # noqa: PERF401 - what came before the end is to be seen


def numbers_of(count: int) -> list[str]:
    return [f"{number}" for number in range(1000, 1000 + count)]


@pytest.mark.parametrize("ordered", [True, False])
async def test_one_request_for_each_number(ordered: bool) -> None:
    statuses = SingleStatuses()
    poll = statuses.poll(numbers_of(2000), ordered=ordered)
    results = [result async for result in poll]
    assert {result.extension_number: result.status for result in results} == dict.fromkeys(
        numbers_of(2000), "ONLINE"
    )
    assert sorted(statuses.asked) == numbers_of(2000)
    assert (poll.stats.requests, poll.stats.splits, poll.stats.batch_size) == (2000, 0, 1)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("bad", [1, 20, 40], ids=["one", "half", "all"])
async def test_refusal_is_the_result_of_its_number(refusal: str, bad: int) -> None:
    """However many numbers are refused, each is asked for once and has an error of its own."""
    errors = {number: REFUSALS[refusal](number) for number in numbers_of(bad)}
    statuses = SingleStatuses(errors)
    results = [result async for result in statuses.poll(numbers_of(40))]
    assert [result.extension_number for result in results] == numbers_of(40)
    assert [result.error for result in results] == [errors.get(each) for each in numbers_of(40)]
    assert sorted(statuses.asked) == numbers_of(40)


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("bad", [1, 20, 40], ids=["one", "half", "all"])
async def test_refused_numbers_are_unknown_to_a_watch(
    refusal: str, bad: int, caplog: pytest.LogCaptureFixture
) -> None:
    """They are no outage, and the other numbers are watched."""
    caplog.set_level(logging.WARNING, "portsip_async")
    errors = {number: REFUSALS[refusal](number) for number in numbers_of(bad)}
    statuses = SingleStatuses(errors)
    watch, changes = await statuses.watch(numbers_of(40), cycles=3)
    assert watch.stats.unknown == tuple(errors)
    assert sorted(change.extension_number for change in changes) == numbers_of(40)[bad:]
    assert [record.getMessage() for record in caplog.records if "failing" in record.message] == []


async def test_refusals_are_asked_for_more_and_more_rarely() -> None:
    """Numbers that the PBX refuses don't cost a request in each cycle."""
    statuses = SingleStatuses({"1000": REFUSALS["lookup"]("1000")})
    await statuses.watch(numbers_of(2), cycles=20)
    assert statuses.asked.count("1001") == 20
    assert statuses.asked.count("1000") <= 5


@pytest.mark.parametrize(
    "error",
    [
        ServerError("down", status=503, operation="things.status", attempts=1),
        TransportError("cut", operation="things.find", attempts=1),
        NotFound("no such login", status=404, operation="login", attempts=1),
    ],
    ids=["status", "lookup", "login"],
)
async def test_failures_of_the_pbx_are_an_outage(
    error: PortSIPError, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a refusal that is about the login, and not about a number."""
    caplog.set_level(logging.WARNING, "portsip_async")
    statuses = SingleStatuses(dict.fromkeys(numbers_of(3), error))
    watch, changes = await statuses.watch(numbers_of(3), cycles=2)
    assert changes == []
    assert watch.stats.unknown == ()
    assert watch.stats.consecutive_failures == 2
    assert "failing" in caplog.text


async def test_number_that_cannot_be_sent() -> None:
    """The check of a source decides; the other numbers are asked for."""

    def check(number: str) -> None:
        if number == "..":
            raise ValueError("a number must not be two dots")

    statuses = SingleStatuses()
    source = replace(statuses.source(), check=check)
    poll = StatusPoll(
        source, ["1", "..", ""], owner=LoopOwner(), batch_size=1, concurrency=1, ordered=True
    )
    first, dots, empty = [result async for result in poll]
    assert (first.status, first.error) == ("ONLINE", None)
    assert isinstance(dots.error, ValueError)
    assert "two dots" in str(dots.error)
    assert isinstance(empty.error, ValueError)
    assert statuses.asked == ["1"]
