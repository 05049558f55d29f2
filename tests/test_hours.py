"""Hours of operation in virtual time: slow PBXes, cool-downs, idle clients, long deadlines."""

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
    """Measures the seconds since it was created."""

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
            # A token is stale at 20 seconds, spent at 28, and invalid at 30.
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
        """The number of renewals depends only on the interval of the calls."""
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
    async def test_idle_client_for_a_day(self, life: float) -> None:
        """Nothing is sent and no memory grows. The next call succeeds."""
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
        """A refused login is repeated after 60 seconds, then after twice as long, up to 900."""
        async with (
            simulator(extensions=10) as sim,
            client(sim, username=sim.username, password="wrong") as pbx,
        ):
            tried: list[float] = []

            async def call_repeatedly(hours: float) -> None:
                """Call every half minute. Record when a call led to a login."""
                tried.clear()
                watch = Stopwatch()
                while watch.seconds < hours * HOUR:
                    before = sim.served[LOGIN]
                    with pytest.raises(AuthenticationError):
                        await pbx.extensions.show("101")
                    if sim.served[LOGIN] > before:
                        tried.append(watch.seconds)
                    await asyncio.sleep(30.0)

            await call_repeatedly(3)
            assert tried == [0, 60, 180, 420, *range(900, 10_800, 900)]
            assert sim.served == {LOGIN: len(tried)}

            # A refresh is sent at once. The pause is at its maximum, so it stays the same.
            with pytest.raises(AuthenticationError):
                await pbx.account.refresh()
            assert sim.served == {LOGIN: len(tried) + 1}
            await call_repeatedly(0.5)
            assert tried == [900]

            # A successful login resets the pause.
            sim._issuer.password = "wrong"
            await asyncio.sleep(15 * MINUTE)
            await pbx.extensions.show("101")
            sim._issuer.password = "right"
            sim.revoke()
            await call_repeatedly(0.25)
            assert tried == [0, 60, 180, 420]

    @in_virtual_time
    async def test_watch_ends_with_a_refused_login(self) -> None:
        """A watch raises when its login is refused, and doesn't try again."""
        async with simulator(extensions=10) as sim, client(sim) as pbx:

            async def refuse_logins() -> None:
                await asyncio.sleep(HOUR)
                sim._issuer.password = "changed"
                sim.revoke()

            async with in_background(refuse_logins()):
                with pytest.raises(AuthenticationError):
                    async for _ in pbx.extensions.watch_status(["101"], interval=10.0):
                        pass
            assert the_loop().time() == HOUR
            assert sim.served[LOGIN] == 2


class TestSlowness:
    LATENCY = 13.0  # seconds of each reply

    @in_virtual_time
    async def test_walk_of_two_hours(self) -> None:
        """With 13 seconds per page, each item is yielded once, and no page waits for a token."""
        async with (
            simulator(extensions=3000, faults=Faults(latency=self.LATENCY)) as sim,
            client(sim) as pbx,
        ):
            watch = Stopwatch()
            walk = pbx.extensions.list(page_size=5, prefetch=0)
            numbers = [extension.extension_number async for extension in walk]
            assert numbers == sim.extension_numbers
            assert sim.served[LIST] == 600
            assert watch.seconds == pytest.approx((1 + 600) * self.LATENCY)
            assert sim.rejected.total() == 0
            assert sim.served[LOGIN] == 1

    @in_virtual_time
    async def test_poll_of_hours(self) -> None:
        """The same holds for a poll with two batches in flight."""
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
            assert watch.seconds == pytest.approx((1 + 1 + 600) * self.LATENCY)
            assert sim.served[LOGIN] == 1

    @in_virtual_time
    async def test_poll_at_a_rate(self) -> None:
        """Three attempts a minute for three hours, evenly. No call fails because it waits."""
        async with simulator(extensions=540) as sim, client(sim, requests_per_second=0.05) as pbx:
            watch = Stopwatch()
            poll = pbx.extensions.poll_status(sim.extension_numbers, batch_size=1)
            results = [result async for result in poll]
            assert sum(result.error is None for result in results) == 540
            assert watch.seconds == pytest.approx(20.0 * (540 - 1))
            assert sim.served[STATUS] == 540

    @in_virtual_time
    async def test_watch_with_cycles_that_overrun(self) -> None:
        """Cycles of over 20 seconds every 10 seconds start in rhythm. Each skips two."""
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
        """A call survives an outage of five hours if its policy allows it."""
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
        """The call raises before its deadline, when a further pause would end too late."""
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
            (25 * HOUR, None, 0.0),  # more than a day: it is ignored
        ],
    )
    @in_virtual_time
    async def test_retry_after(
        self, dated: bool, asked: float, deadline: float | None, waited: float | None
    ) -> None:
        """The call waits as long as the deadline allows. Otherwise it fails at once."""
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
        """Without a timeout, a call waits for its reply indefinitely."""
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
        """A timeout of hours expires on the second."""
        policy = RetryPolicy(attempts=1, deadline=deadline)
        async with (
            simulator(extensions=10) as sim,
            client(sim, timeout=Timeout(timeout, read=None), retry=policy) as pbx,
        ):
            sim.fail(SHOW, latency=20 * HOUR)
            with pytest.raises(RequestTimeout):
                await pbx.extensions.show("101")
            assert the_loop().time() == 3 * HOUR


def test_stuck_test_fails() -> None:
    """If nothing would ever happen again, the virtual loop raises."""

    @in_virtual_time
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer"):
        wait()
