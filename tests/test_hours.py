"""What takes hours: slow PBXes, cool-downs, idle clients, patient policies, in virtual time."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from portsip_async import (
    AuthenticationError,
    ConnectError,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    StatusWatch,
    Timeout,
)
from portsip_async.simulator import Faults

from .concurrency import in_background
from .virtual_time import DAY, HOUR, MINUTE, client, in_virtual_time, simulator, the_loop

STATUS = "extensions.status"
SHOW = "extensions.show"
LIST = "extensions.list"
LOGIN = "account.verify"
REFRESH = "account.refresh"


class Stopwatch:
    """Tells the seconds since it was made."""

    def __init__(self) -> None:
        self._begun = the_loop().time()

    @property
    def seconds(self) -> float:
        return the_loop().time() - self._begun


async def follow(watch: StatusWatch) -> None:
    async for _ in watch:
        pass


class TestTokens:
    @pytest.mark.parametrize(
        ("interval", "logins", "refreshes", "refused"),
        [
            # A token is stale at 20 seconds, spent at 28, dead at 30.
            (5.0, 1, 179, 0),  # every fourth cycle finds it stale, from the fifth on
            (7.0, 1, 171, 0),  # every third: at 21 seconds
            (12.0, 1, 149, 0),
            (20.0, 1, 179, 0),  # each cycle
            (29.0, 1, 124, 0),  # each cycle waits for it
            (30.0, 120, 119, 119),  # a refresh comes too late, and is refused
            (60.0, 60, 59, 59),
        ],
    )
    @in_virtual_time
    async def test_renewals_of_an_hour(
        self, interval: float, logins: int, refreshes: int, refused: int
    ) -> None:
        """They follow from the rhythm alone."""
        async with simulator(extensions=10) as sim, client(sim) as pbx:
            watch = pbx.extensions.watch_status(sim.extension_numbers, interval=interval)
            async with in_background(follow(watch)):
                await asyncio.sleep(HOUR - 1.0)
                cycles = (HOUR - 1.0) // interval + 1
                assert watch.stats.cycles == cycles
                assert sim.served == {STATUS: cycles, LOGIN: logins, REFRESH: refreshes}
                assert sim.rejected.total() == refused
                assert watch.stats.failures == 0

    @pytest.mark.parametrize("life", [30.0, 2 * DAY])
    @in_virtual_time
    async def test_idle_for_a_day(self, life: float) -> None:
        """Nothing is sent, nothing is held; the next call comes through."""
        async with (
            simulator(extensions=10, token_lifetime=life) as sim,
            client(sim) as pbx,
        ):
            await pbx.extensions.show("101")
            await asyncio.sleep(DAY)
            assert sim.served == {LOGIN: 1, SHOW: 1}
            assert not the_loop().connections
            assert asyncio.all_tasks() == {asyncio.current_task()}
            await pbx.extensions.show("101")
            once_more = {REFRESH: 1, LOGIN: 2} if life < DAY else {LOGIN: 1}
            assert sim.served == {SHOW: 2, **once_more}

    @in_virtual_time
    async def test_cool_down(self) -> None:
        """A refused login is tried again after 60 seconds, twice as long each time, then 900."""
        async with (
            simulator(extensions=10) as sim,
            client(sim, username=sim.username, password="wrong") as pbx,
        ):
            tried: list[float] = []

            async def insist(hours: float) -> None:
                """Call each half minute; note when a call led to a login."""
                tried.clear()
                watch = Stopwatch()
                while watch.seconds < hours * HOUR:
                    before = sim.served[LOGIN]
                    with pytest.raises(AuthenticationError):
                        await pbx.extensions.show("101")
                    if sim.served[LOGIN] > before:
                        tried.append(watch.seconds)
                    await asyncio.sleep(30.0)

            await insist(3)
            assert tried == [0, 60, 180, 420, *range(900, 10_800, 900)]
            assert sim.served == {LOGIN: len(tried)}

            # A refresh insists at once, and lengthens nothing that is longest already.
            with pytest.raises(AuthenticationError):
                await pbx.account.refresh()
            assert sim.served == {LOGIN: len(tried) + 1}
            await insist(0.5)
            assert tried == [900]

            # Once it is let in all is forgotten.
            sim._issuer.password = "wrong"
            await asyncio.sleep(15 * MINUTE)
            await pbx.extensions.show("101")
            sim._issuer.password = "right"
            sim.revoke()
            await insist(0.25)
            assert tried == [0, 60, 180, 420]

    @in_virtual_time
    async def test_watch_ends_with_the_login(self) -> None:
        """A watch raises when its login is suddenly refused, and does not try again."""
        async with simulator(extensions=10) as sim, client(sim) as pbx:

            async def close_the_door() -> None:
                await asyncio.sleep(HOUR)
                sim._issuer.password = "changed"
                sim.revoke()

            async with in_background(close_the_door()):
                with pytest.raises(AuthenticationError):
                    async for _ in pbx.extensions.watch_status(["101"], interval=10.0):
                        pass
            assert the_loop().time() == HOUR
            assert sim.served[LOGIN] == 2


class TestSlowness:
    LATENCY = 13.0  # seconds of each reply

    @in_virtual_time
    async def test_walk(self) -> None:
        """Over two hours, 13 seconds a page: each item once, no page waits for a token."""
        async with (
            simulator(extensions=3000, faults=Faults(latency=self.LATENCY)) as sim,
            client(sim) as pbx,
        ):
            watch = Stopwatch()
            walk = pbx.extensions.list(page_size=5, prefetch=0)
            numbers = [extension.extension_number async for extension in walk]
            assert numbers == sim.extension_numbers
            assert sim.served[LIST] == 600
            assert watch.seconds == (1 + 600) * self.LATENCY
            assert sim.rejected.total() == 0
            assert sim.served[LOGIN] == 1

    @in_virtual_time
    async def test_poll(self) -> None:
        """Likewise a poll, two batches side by side."""
        async with (
            simulator(extensions=2400, faults=Faults(latency=self.LATENCY)) as sim,
            client(sim) as pbx,
        ):
            watch = Stopwatch()
            poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=2, concurrency=2)
            results = [result async for result in poll]
            found = Counter(result.extension_number for result in results)
            assert found == Counter(sim.extension_numbers)
            assert all(result.error is None for result in results)
            assert poll.stats.requests == sim.served[STATUS] == 1200
            # The login, the first batch alone, then two at a time.
            assert watch.seconds == (1 + 1 + 600) * self.LATENCY
            assert sim.served[LOGIN] == 1

    @in_virtual_time
    async def test_poll_at_a_rate(self) -> None:
        """Three attempts a minute, evenly, for three hours; waiting for its turn costs no call."""
        async with simulator(extensions=540) as sim, client(sim, requests_per_second=0.05) as pbx:
            watch = Stopwatch()
            poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=1)
            results = [result async for result in poll]
            assert sum(result.error is None for result in results) == 540
            assert watch.seconds == pytest.approx(20.0 * (540 - 1))
            assert sim.served[STATUS] == 540

    @in_virtual_time
    async def test_watch_with_cycles_that_overrun(self) -> None:
        """Cycles of over 20 seconds every 10: each starts in rhythm, and skips two."""
        async with simulator(extensions=10, faults=Faults(latency=4.2)) as sim, client(sim) as pbx:
            watch = pbx.extensions.watch_status(
                sim.extension_numbers, interval=10.0, batch_size=2, concurrency=1
            )
            async with in_background(follow(watch)):
                await asyncio.sleep(2 * HOUR - 0.5)
                assert watch.stats.cycles == 2 * HOUR / 30
                assert watch.stats.skipped == 2 * watch.stats.cycles
                assert watch.stats.failures == 0
                assert watch.stats.lag == 0.0


PATIENT = RetryPolicy(attempts=1000, initial=MINUTE, maximum=10 * MINUTE, deadline=6 * HOUR)
UNLIMITED = Timeout(total=None, connect=None, read=None)


class TestPatience:
    @in_virtual_time
    async def test_outage_within_the_deadline(self) -> None:
        """A call outlives an outage of five hours where its policy lets it."""
        async with simulator(extensions=10) as sim, client(sim, retry=PATIENT) as pbx:
            await pbx.extensions.show("101")
            await sim.stop()
            watch = Stopwatch()
            async with in_background(pbx.extensions.show("101")) as (call,):
                await asyncio.sleep(5 * HOUR)
                assert not call.done()
                await sim.start()
                await call
            assert watch.seconds < 5 * HOUR + PATIENT.maximum

    @pytest.mark.parametrize("token", ["fresh", "none"])
    @in_virtual_time
    async def test_outage_beyond_the_deadline(self, token: str) -> None:
        """It gives up before its deadline, once no further pause would end in time."""
        async with simulator(extensions=10) as sim, client(sim, retry=PATIENT) as pbx:
            if token == "fresh":
                await pbx.extensions.show("101")
            await sim.stop()
            watch = Stopwatch()
            with pytest.raises((ConnectError, RequestTimeout)):
                await pbx.extensions.show("101")
            assert 6 * HOUR - PATIENT.maximum <= watch.seconds <= 6 * HOUR

    @pytest.mark.parametrize("dated", [False, True])
    @pytest.mark.parametrize(
        ("asked", "deadline", "waited"),
        [
            (3 * HOUR, 6 * HOUR, 3 * HOUR),
            (23 * HOUR, None, 23 * HOUR),
            (3 * HOUR, 2 * HOUR, None),
            (25 * HOUR, None, 0.0),  # beyond a day: no word of a PBX's
        ],
    )
    @in_virtual_time
    async def test_retry_after(
        self, dated: bool, asked: float, deadline: float | None, waited: float | None
    ) -> None:
        """It is honoured within the deadline; if that is impossible, the call fails at once."""
        async with (
            simulator(extensions=10) as sim,
            client(sim, retry=RetryPolicy(deadline=deadline)) as pbx,
        ):
            then = datetime.fromtimestamp(the_loop().now() + asked, UTC)
            sim.fail(
                SHOW,
                status=503,
                retry_after=format_datetime(then, usegmt=True) if dated else int(asked),
            )
            watch = Stopwatch()
            error: ServerError | None = None
            try:
                await pbx.extensions.show("101")
            except ServerError as failed:
                error = failed
            assert (error is not None) == (waited is None)
            assert watch.seconds == pytest.approx(waited or 0.0, abs=RetryPolicy().initial)
            if error is not None:
                assert error.retry_after == asked

    @in_virtual_time
    async def test_reply_of_twenty_hours(self) -> None:
        """Without a limit a call waits for its reply as long as it takes."""
        async with (
            simulator(extensions=10, token_lifetime=2 * DAY) as sim,
            client(sim, timeout=UNLIMITED, retry=RetryPolicy(deadline=None)) as pbx,
        ):
            sim.fail(SHOW, latency=20 * HOUR)
            await pbx.extensions.show("101")
            assert the_loop().time() == 20 * HOUR
            assert sim.served[SHOW] == 1

    @pytest.mark.parametrize(
        ("timeout", "deadline"), [(3 * HOUR, 6 * HOUR), (6 * HOUR, 3 * HOUR), (3 * HOUR, None)]
    )
    @in_virtual_time
    async def test_long_timeout(self, timeout: float, deadline: float | None) -> None:
        """It strikes after hours, to the second."""
        policy = RetryPolicy(attempts=1, deadline=deadline)
        async with (
            simulator(extensions=10) as sim,
            client(sim, timeout=Timeout(timeout, read=None), retry=policy) as pbx,
        ):
            sim.fail(SHOW, latency=20 * HOUR)
            with pytest.raises(RequestTimeout):
                await pbx.extensions.show("101")
            assert the_loop().time() == 3 * HOUR


def test_stuck() -> None:
    """The loop itself says so where nothing would ever happen."""

    @in_virtual_time
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer"):
        wait()
