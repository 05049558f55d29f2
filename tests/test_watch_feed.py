"""The seam between a watch and its feed: any object that tells statuses can feed a watch."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from portsip_async.bulk.status_watch import StatusChange, StatusFeed, StatusSink, StatusWatch
from portsip_async.errors import ServerError

from .concurrency import LoopOwner, yield_to_loop

AT = datetime(2024, 1, 1, tzinfo=UTC)

Told = Callable[[StatusSink[str]], Awaitable[None]]


class ScriptedFeed(StatusFeed[str]):
    """Tells what a test says."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell

    async def run(self, sink: StatusSink[str]) -> None:
        await self._tell(sink)


def watch_of(tell: Told, known: dict[str, str] | None = None) -> StatusWatch[str]:
    return StatusWatch(lambda: ScriptedFeed(tell), owner=LoopOwner(), known=known, now=lambda: AT)


async def changes_of(watch: StatusWatch[str]) -> list[tuple[str, str | None, str | None]]:
    return [(each.extension_number, each.before, each.after) async for each in watch]


async def test_watch_yields_what_a_feed_tells() -> None:
    """A status that is the same again is no change, and the end of the feed ends the loop."""

    async def tell(sink: StatusSink[str]) -> None:
        sink.note("1", "ONLINE")
        sink.note("2", "OFFLINE")
        await yield_to_loop()
        sink.note("1", "ONLINE")
        sink.note("2", "RINGING")
        await yield_to_loop()
        sink.gone("1")
        sink.gone("9")
        assert sink.latest == {"2": "RINGING"}

    watch = watch_of(tell)
    assert await changes_of(watch) == [
        ("1", None, "ONLINE"),
        ("2", None, "OFFLINE"),
        ("2", "OFFLINE", "RINGING"),
        ("1", "ONLINE", None),
    ]
    assert watch.snapshot == {"2": "RINGING"}


async def test_known_statuses_are_the_latest() -> None:
    """A feed sees what the consumer knew, and may tell that it is gone."""

    async def tell(sink: StatusSink[str]) -> None:
        assert sink.latest == {"1": "ONLINE", "2": "OFFLINE"}
        sink.note("1", "ONLINE")
        sink.gone("2")

    watch = watch_of(tell, {"1": "ONLINE", "2": "OFFLINE"})
    assert await changes_of(watch) == [("2", "OFFLINE", None)]


async def test_changes_before_an_error_are_yielded() -> None:
    """An error of the feed ends the loop, after everything that it told before."""

    async def tell(sink: StatusSink[str]) -> None:
        sink.note("1", "ONLINE")
        sink.stats = sink.stats.replace(failures=1)
        raise ServerError("down", status=503)

    watch = watch_of(tell)
    changes = aiter(watch)
    assert await anext(changes) == StatusChange("1", None, "ONLINE", AT)
    with pytest.raises(ServerError):
        await anext(changes)
    assert watch.stats.failures == 1


async def test_slow_consumer_gets_the_latest() -> None:
    """A feed never waits for the consumer. What changed back meanwhile is not yielded."""
    told = asyncio.Event()

    async def tell(sink: StatusSink[str]) -> None:
        sink.note("1", "ONLINE")
        await yield_to_loop()
        for status in ("RINGING", "ON_CALL", "ONLINE"):
            sink.note("1", status)
            sink.note("2", status)
        sink.note("3", "OFFLINE")
        sink.gone("3")
        told.set()

    changes = aiter(watch_of(tell))
    assert (await anext(changes)).after == "ONLINE"
    await told.wait()
    assert [(each.extension_number, each.after) async for each in changes] == [("2", "ONLINE")]


async def test_leaving_ends_the_feed() -> None:
    """The feed is cancelled, and has ended when the watch is closed."""
    ended: list[str] = []

    async def tell(sink: StatusSink[str]) -> None:
        sink.note("1", "ONLINE")
        try:
            await asyncio.Event().wait()
        finally:
            await yield_to_loop()
            ended.append("feed")

    async with watch_of(tell) as watch:
        async for _ in watch:
            break
    assert ended == ["feed"]


async def test_each_loop_has_a_feed_of_its_own() -> None:
    async def tell(sink: StatusSink[str]) -> None:
        sink.note("1", f"{sink.stats.cycles} of {len(sink.latest)}")
        sink.stats = sink.stats.replace(cycles=1)

    watch = watch_of(tell)
    assert await changes_of(watch) == await changes_of(watch) == [("1", None, "0 of 0")]
