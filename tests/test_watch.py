"""Watches: every extension once, then changes, in a steady rhythm, through whatever happens."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from portsip_async import (
    AuthenticationError,
    BadRequest,
    ClientClosed,
    ConfigurationError,
    ExtensionStatus,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RetryPolicy,
    ServerError,
    StatusChange,
    Token,
    TransportError,
)
from portsip_async.bulk.outages import OutageLog
from portsip_async.bulk.status_polling import StatusPolling
from portsip_async.bulk.status_watch import DiscoveredExtensions, StatusWatch
from portsip_async.core.credentials import fetch_token
from portsip_async.core.limits import Gate
from portsip_async.simulator import Faults, PBXSimulator

from .concurrency import LoopOwner, in_background, until, yield_to_loop
from .conftest import ClientMaker
from .statuses import Statuses, status_of
from .test_poll import our_tasks
from .wire_server import WireServer, reply

STATUS = "extensions.status"
BEGIN = 1000.0
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


class Ended(ConfigurationError):
    """The script of a clockwork is over."""


class Clockwork:
    """A watch on a simulated clock: sleeping takes no time, requests take what the script says.

    Attributes:
        statuses: the statuses at the PBX, by number.
        durations: seconds that the request of each cycle takes; 0 after the last one.
        cycles: the number of cycles, after which the script ends the watch.
        begun: when each cycle began, counted from the start.
        before: called with a cycle's count before the cycle begins.
        listings: what the PBX lists, one after the other; the last one is repeated.
    """

    def __init__(
        self,
        statuses: Statuses | None = None,
        *,
        cycles: int,
        durations: Iterable[float] = (),
        before: Callable[[int], None] = lambda _: None,
        listings: Sequence[DiscoveredExtensions | PortSIPError] = (),
    ) -> None:
        self.statuses = statuses or Statuses()
        self.durations = list(durations)
        self.cycles = cycles
        self.begun: list[float] = []
        self.listed: list[float] = []
        self.watch: StatusWatch[ExtensionStatus]
        self._now = BEGIN
        self._before = before
        self._listings = list(listings)
        self._asked_in = -1

    def start(self, numbers: Sequence[str] | None, **options: Any) -> StatusWatch:
        """Make the watch; with an interval of 10 seconds."""
        source = replace(
            self.statuses.source(),
            ask=self._ask,
            clock=lambda: self._now,
            sleep=self._sleep,
            now=lambda: EPOCH + timedelta(seconds=self._now - BEGIN),
        )
        usual: dict[str, Any] = {"interval": 10.0, "batch_size": 10, "concurrency": 1}
        usual |= {"known": None, "rediscover": 60.0}
        usual |= options
        owner, known = LoopOwner(), usual.pop("known")
        self._begin()
        self.watch = StatusWatch(
            lambda: StatusPolling(source, numbers, owner=owner, discover=self._discover, **usual),
            owner=owner,
            known=known,
            now=source.now,
        )
        return self.watch

    async def run(self, numbers: Sequence[str] | None, **options: Any) -> list[StatusChange]:
        """Watch until the script is over."""
        changes: list[StatusChange] = []
        try:
            async for change in self.start(numbers, **options):
                changes.append(change)  # noqa: PERF401 - what came before the end is to be seen
        except Ended:
            return changes
        raise AssertionError("a watch ended by itself")

    def _begin(self) -> None:
        self.begun.append(self._now - BEGIN)
        self._before(len(self.begun))

    async def _ask(self, numbers: list[str], gate: Gate) -> dict[str, ExtensionStatus]:
        if self._asked_in != len(self.begun):
            self._asked_in = len(self.begun)
            self._now += self.durations.pop(0) if self.durations else 0.0
        return await self.statuses.source().ask(numbers, gate)

    async def _discover(self) -> DiscoveredExtensions:
        self.listed.append(self._now - BEGIN)
        listing = self._listings.pop(0) if len(self._listings) > 1 else self._listings[0]
        if isinstance(listing, PortSIPError):
            raise listing
        return listing

    async def _sleep(self, seconds: float) -> None:
        await yield_to_loop(5)  # until the consumer has read all changes
        if len(self.begun) == self.cycles:
            raise Ended("the script is over")
        self._now += seconds
        self._begin()


async def fetch_error(error: Exception) -> Exception:
    """Return an exception as if the application's fetch_token had raised it."""

    class Vault:
        async def fetch_token(self) -> Token:
            raise error

    with pytest.raises(type(error)):
        await fetch_token(Vault())
    return error


def complete(*numbers: str) -> DiscoveredExtensions:
    """Return a listing that didn't change during the walk."""
    return DiscoveredExtensions([*numbers], is_complete=True)


def incomplete(*numbers: str) -> DiscoveredExtensions:
    """Return a listing that changed during the walk."""
    return DiscoveredExtensions([*numbers], is_complete=False)


def in_short(changes: Iterable[StatusChange]) -> list[tuple[str, str | None, str | None]]:
    """Return changes as tuples: number, status before, status after."""
    return [
        (
            change.extension_number,
            None if change.before is None else str(change.before.status),
            None if change.after is None else str(change.after.status),
        )
        for change in changes
    ]


class TestRhythm:
    @pytest.mark.parametrize(
        ("durations", "begun", "skipped"),
        [
            ([], [0, 10, 20, 30, 40], 0),
            ([1, 2, 9.9, 3], [0, 10, 20, 30, 40], 0),  # no drift
            ([10], [0, 10, 20, 30, 40], 0),  # done just in time
            ([10.1], [0, 20, 30, 40, 50], 1),
            ([35, 0, 12], [0, 40, 50, 70, 80], 4),
            ([20], [0, 20, 30, 40, 50], 1),
        ],
    )
    async def test_cycle_k_starts_at_start_plus_k_intervals(
        self, durations: list[float], begun: list[float], skipped: int
    ) -> None:
        """A cycle that takes too long skips the next ones, counts them, and keeps the rhythm."""
        clockwork = Clockwork(cycles=5, durations=durations)
        await clockwork.run(["1"])
        assert clockwork.begun == begun
        assert clockwork.watch.stats.skipped == skipped

    async def test_rhythm_of_weeks(self) -> None:
        """After 5,000 uneven cycles of 0.1 seconds, the watch is still on time."""
        cycles = 5_000
        clockwork = Clockwork(cycles=cycles, durations=[0.03, 0.07, 0.001] * 2000)
        await clockwork.run(["1"], interval=0.1)
        assert clockwork.begun[-1] == pytest.approx((cycles - 1) * 0.1, abs=1e-6)
        assert clockwork.watch.stats.skipped == 0

    async def test_late_wake_up(self) -> None:
        """After a suspension of the machine, the cycle runs at once, and its lag is counted."""

        def suspend(cycle: int) -> None:
            if cycle == 2:
                clockwork._now += 33.0

        clockwork = Clockwork(cycles=3, before=suspend)
        await clockwork.run(["1"])
        assert clockwork.begun == [0, 10, 50]
        assert clockwork.watch.stats.skipped == 3

    async def test_lag_and_duration(self) -> None:
        def oversleep(cycle: int) -> None:
            if cycle == 2:
                clockwork._now += 2.0

        clockwork = Clockwork(cycles=2, durations=[0, 4.0], before=oversleep)
        await clockwork.run(["1"])
        assert clockwork.watch.stats.lag == pytest.approx(2.0)
        assert clockwork.watch.stats.cycle_seconds == pytest.approx(4.0)

    @pytest.mark.parametrize(("retry_after", "following"), [(5, 10), (10, 10), (11, 20), (95, 100)])
    async def test_retry_after(self, retry_after: float, following: float) -> None:
        """A Retry-After postpones the next cycle, which still starts in the same rhythm."""
        statuses = Statuses()
        error = RateLimited(status=429, retry_after=retry_after)
        statuses.fail = lambda count: error if count == 1 else None
        clockwork = Clockwork(statuses, cycles=3)
        changes = await clockwork.run(["1"])
        assert clockwork.begun == [0, following, following + 10]
        assert clockwork.watch.stats.skipped == following / 10 - 1
        assert in_short(changes) == [("1", None, "ONLINE")]

    async def test_retry_after_of_a_listing(self) -> None:
        error = ServerError(status=503, retry_after=25)
        clockwork = Clockwork(cycles=2, listings=[error, complete("1")])
        assert in_short(await clockwork.run(None)) == [("1", None, "ONLINE")]
        assert clockwork.begun == [0, 30]


class TestChanges:
    async def test_each_number_is_yielded_once_then_changes(self) -> None:
        statuses = Statuses()

        def change(cycle: int) -> None:
            if cycle == 3:
                statuses.presence["2"] = "ON_CALL"

        clockwork = Clockwork(statuses, cycles=5, before=change)
        changes = await clockwork.run(["1", "2", "3", "2"])
        assert in_short(changes) == [
            ("1", None, "ONLINE"),
            ("2", None, "ONLINE"),
            ("3", None, "ONLINE"),
            ("2", "ONLINE", "ON_CALL"),
        ]
        assert [(change.at - EPOCH).total_seconds() for change in changes] == [0, 0, 0, 20]
        assert statuses.asked == [["1", "2", "3"]] * 5

    async def test_change_of_any_field(self, pbx: PortSIPClient, sim: PBXSimulator) -> None:
        """A different telephone is a change, too. `at` is an aware time close to now."""
        sim.set_status("101", "ONLINE", user_agent="one")
        async with pbx.extensions.watch_status(["101"], interval=0.01) as watch:
            changes = aiter(watch)
            first = await anext(changes)
            sim.set_status("101", "ONLINE", user_agent="two")
            second = await anext(changes)
        assert first.before is None
        assert first.after == second.before == ExtensionStatus("101", "ONLINE", "one")
        assert second.after == ExtensionStatus("101", "ONLINE", "two")
        assert second.at.tzinfo is UTC
        assert abs(second.at - datetime.now(UTC)) < timedelta(seconds=30)

    async def test_known_statuses_are_not_yielded(self) -> None:
        """With `known=`, a watch yields only what differs from it."""
        statuses = Statuses()
        statuses.presence = {"2": "AWAY"}
        known = {number: status_of(number) for number in "123"}
        clockwork = Clockwork(statuses, cycles=2)
        changes = await clockwork.run(["1", "2", "3", "4"], known=known)
        assert in_short(changes) == [("2", "ONLINE", "AWAY"), ("4", None, "ONLINE")]
        assert known == {number: status_of(number) for number in "123"}

    async def test_snapshot_survives_a_restart(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """A snapshot can be saved as JSON, and a new watch resumes from it."""
        numbers = sim.extension_numbers[:30]
        for number in numbers:
            sim.set_status(number, "ONLINE")
        watch = pbx.extensions.watch_status(numbers, interval=0.01)
        assert watch.snapshot == {}
        async with watch:
            changes = aiter(watch)
            for _ in numbers:
                await anext(changes)
        assert type(watch.snapshot) is dict
        saved = msgspec.json.encode(watch.snapshot)
        known = msgspec.json.decode(saved, type=dict[str, ExtensionStatus])
        assert known == watch.snapshot
        assert sorted(known) == numbers

        sim.set_status(numbers[7], "AWAY")
        async with pbx.extensions.watch_status(numbers, interval=0.01, known=known) as resumed:
            assert resumed.snapshot == known
            change = await anext(aiter(resumed))
        assert in_short([change]) == [(numbers[7], "ONLINE", "AWAY")]
        assert resumed.snapshot == known | {numbers[7]: change.after}

    async def test_snapshot_has_the_delivered_changes(self) -> None:
        """A snapshot is a copy without the changes that the consumer has not received."""
        clockwork = Clockwork(cycles=9)
        watch = clockwork.start(["1", "2", "3"])
        changes = aiter(watch)
        await anext(changes)
        await anext(changes)
        assert watch.snapshot == {"1": status_of("1"), "2": status_of("2")}
        watch.snapshot.clear()
        assert len(watch.snapshot) == 2
        await watch.aclose()
        assert len(watch.snapshot) == 2

    async def test_missing_number_keeps_its_last_status(self) -> None:
        statuses = Statuses()

        def lack(cycle: int) -> None:
            statuses.lacking = {"2"} if cycle in (2, 3) else set()

        clockwork = Clockwork(statuses, cycles=3, before=lack)
        changes = await clockwork.run(["1", "2"])
        assert in_short(changes) == [("1", None, "ONLINE"), ("2", None, "ONLINE")]
        assert clockwork.watch.stats.missing == 1
        assert clockwork.watch.stats.failures == 0
        assert clockwork.watch.snapshot.keys() == {"1", "2"}

    async def test_no_numbers(self) -> None:
        """A watch of no numbers sends nothing, which is not a failure."""
        clockwork = Clockwork(cycles=3)
        assert await clockwork.run([]) == []
        assert clockwork.statuses.asked == []
        assert clockwork.watch.stats.consecutive_failures == 0

    @pytest.mark.parametrize(
        ("numbers", "options", "kind"),
        [
            ("101", {}, TypeError),
            (b"101", {}, TypeError),
            ([""], {}, ValueError),
            ([101], {}, TypeError),
            (["101"], {"interval": 0}, ValueError),
            (["101"], {"interval": -1}, ValueError),
            (["101"], {"interval": "5"}, TypeError),
            (["101"], {"interval": float("nan")}, ValueError),
            (["101"], {"batch_size": 0}, ValueError),
            (["101"], {"concurrency": 0}, ValueError),
            (["101"], {"rediscover": 0}, ValueError),
            (["101"], {"known": ["101"]}, TypeError),
            (["101"], {"known": {"101": {"status": "ONLINE"}}}, TypeError),
        ],
    )
    async def test_bad_arguments(
        self, pbx: PortSIPClient, numbers: Any, options: dict[str, Any], kind: type[Exception]
    ) -> None:
        with pytest.raises(kind):
            pbx.extensions.watch_status(numbers, **options)


class TestSlowConsumer:
    async def changed_while_away(
        self, *presences: str, numbers: Sequence[str] = ("1",)
    ) -> tuple[list[StatusChange], StatusWatch]:
        """Read the first status of each number, pause while number 1 changes, then read on."""
        statuses = Statuses()

        def change(cycle: int) -> None:
            if 2 <= cycle < 2 + len(presences):
                statuses.presence["1"] = presences[cycle - 2]

        clockwork = Clockwork(statuses, cycles=3 + len(presences), before=change)
        watch = clockwork.start(numbers)
        changes = aiter(watch)
        found = [await anext(changes) for _ in numbers]
        await until(lambda: len(clockwork.begun) == clockwork.cycles)
        await yield_to_loop(50)
        try:
            async for later in changes:
                found.append(later)  # noqa: PERF401 - what came before the end is to be seen
        except Ended:
            pass
        return found[len(numbers) :], watch

    async def test_slow_consumer_gets_the_latest_status(self) -> None:
        """`before` is what it received last. `at` is when the latest status was seen."""
        (change,), watch = await self.changed_while_away("AWAY", "BUSY", "ON_CALL")
        assert in_short([change]) == [("1", "ONLINE", "ON_CALL")]
        assert (change.at - EPOCH).total_seconds() == 30
        assert watch.snapshot == {"1": change.after}

    async def test_change_that_was_undone_is_not_yielded(self) -> None:
        changes, watch = await self.changed_while_away("AWAY", "ONLINE")
        assert changes == []
        assert watch.snapshot == {"1": status_of("1")}

    async def test_memory_is_bounded_by_the_extensions(self) -> None:
        """There is at most one pending change for each number, however often it changed."""
        changes, _ = await self.changed_while_away(*["AWAY", "BUSY"] * 200, numbers=["1", "2"])
        assert in_short(changes) == [("1", "ONLINE", "BUSY")]

    async def test_cycles_do_not_wait_for_the_consumer(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        async with pbx.extensions.watch_status(["101", "102"], interval=0.005) as watch:
            changes = aiter(watch)
            await anext(changes)
            await until(lambda: watch.stats.cycles >= 5)


class TestFailures:
    async def test_failed_batch(self, caplog: pytest.LogCaptureFixture) -> None:
        """A failed batch is counted and logged, and its numbers keep their statuses."""
        statuses = Statuses()
        # Two batches a cycle: the first of the second cycle fails.
        statuses.fail = lambda count: ServerError(status=500) if count == 3 else None

        def change(cycle: int) -> None:
            if cycle >= 2:
                statuses.presence = dict.fromkeys("1234", "AWAY")

        clockwork = Clockwork(statuses, cycles=2, before=change)
        with caplog.at_level(logging.WARNING, "portsip_async"):
            changes = await clockwork.run(["1", "2", "3", "4"], batch_size=2)
        assert in_short(changes)[4:] == [("3", "ONLINE", "AWAY"), ("4", "ONLINE", "AWAY")]
        assert clockwork.watch.snapshot["1"] == status_of("1")
        stats = clockwork.watch.stats
        assert (stats.cycles, stats.failures, stats.consecutive_failures) == (2, 1, 0)
        assert isinstance(stats.last_error, ServerError)
        assert stats.last_success == EPOCH + timedelta(seconds=10)
        assert len(caplog.records) == 1
        assert "ServerError" in caplog.messages[0]

    async def test_failed_cycles(self) -> None:
        """Failures in a row are counted until a cycle succeeds. The stats keep the last error."""
        statuses = Statuses()
        error = TransportError("the connection broke")
        seen: list[tuple[int, int, int, datetime | None]] = []

        def look(cycle: int) -> None:
            if cycle > 1:
                stats = clockwork.watch.stats
                seen.append(
                    (
                        stats.cycles,
                        stats.failures,
                        stats.consecutive_failures,
                        stats.last_success,
                    )
                )

        statuses.fail = lambda count: error if count in (2, 3) else None
        clockwork = Clockwork(statuses, cycles=5, before=look)
        changes = await clockwork.run(["1"])
        later = EPOCH + timedelta(seconds=30)
        assert seen == [(1, 0, 0, EPOCH), (2, 1, 1, EPOCH), (3, 2, 2, EPOCH), (4, 2, 0, later)]
        assert clockwork.watch.stats.last_error is error
        assert in_short(changes) == [("1", None, "ONLINE")]

    @pytest.mark.parametrize(
        "error", [AuthenticationError(status=401), ConfigurationError("x"), ClientClosed("x")]
    )
    async def test_fatal_errors_end_the_watch(self, error: PortSIPError) -> None:
        """The loop raises a fatal error after the changes that were seen before it."""
        statuses = Statuses()
        statuses.fail = lambda count: error if count == 2 else None
        clockwork = Clockwork(statuses, cycles=9)
        changes = aiter(clockwork.start(["1", "2"]))
        assert [(await anext(changes)).extension_number for _ in "12"] == ["1", "2"]
        with pytest.raises(type(error)) as caught:
            await anext(changes)
        assert caught.value is error
        stats = clockwork.watch.stats
        assert (stats.failures, stats.consecutive_failures, stats.last_error) == (1, 1, error)

    async def test_wrong_credentials_end_the_watch(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(username=sim.username, password="wrong")
        with pytest.raises(AuthenticationError):
            await anext(aiter(pbx.extensions.watch_status(None, interval=0.01)))

    async def test_unexpected_exception_ends_the_watch(self) -> None:
        """It is raised unchanged, and not attributed to the application's fetch_token."""
        statuses = Statuses()
        statuses.fail = lambda count: KeyError("a fault of the SDK") if count == 2 else None
        with pytest.raises(KeyError, match="a fault of the SDK"):
            await Clockwork(statuses, cycles=3).run(["1"])

    async def test_exception_of_fetch_token_is_a_failure(self) -> None:
        """It is counted as a failure, without its text, and the watch goes on."""
        error = await fetch_error(KeyError("secret"))
        statuses = Statuses()
        statuses.fail = lambda count: error if count == 2 else None
        clockwork = Clockwork(statuses, cycles=3)
        await clockwork.run(["1"])
        stats = clockwork.watch.stats
        assert (stats.cycles, stats.failures) == (3, 1)
        assert str(stats.last_error) == "fetching a token raised KeyError"

    async def test_cancelled_rounds_raise(self) -> None:
        """If something cancels the task of the watch, the loop raises instead of just ending."""
        clockwork = Clockwork(cycles=10**9)
        changes = aiter(clockwork.start(["1"]))
        await anext(changes)
        tasks = asyncio.all_tasks()
        (rounds,) = [task for task in tasks if "StatusPolling.run" in str(task.get_coro())]
        async with in_background(anext(changes)) as (waiting,):
            await yield_to_loop()
            rounds.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async def test_closed_client_ends_the_watch(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        changes = aiter(pbx.extensions.watch_status(["101"], interval=60.0))
        await anext(changes)
        async with in_background(anext(changes)) as (waiting,):
            await yield_to_loop()
            await pbx.close()
            with pytest.raises(ClientClosed):
                await waiting


class TestRefused:
    async def test_refused_number_is_requested_less_and_less_often(self) -> None:
        """It costs the other numbers nothing after the first time."""
        statuses = Statuses(refused={"bad"})
        clockwork = Clockwork(statuses, cycles=40)
        changes = await clockwork.run(["1", "bad", "2", "3"])
        assert in_short(changes) == [(number, None, "ONLINE") for number in "123"]
        alone = [at for at, numbers in enumerate(statuses.asked) if numbers == ["bad"]]
        others = [numbers for numbers in statuses.asked[5:] if numbers != ["bad"]]
        assert others == [["1", "2", "3"]] * 39
        assert len(alone) == 1 + 4  # in the cycles 0, 2, 6, 14 and 30

    async def test_refused_number_that_is_accepted_again(self) -> None:
        """It is requested with the others again."""
        statuses = Statuses(refused={"bad"})

        def mend(cycle: int) -> None:
            if cycle == 3:
                statuses.refused = set()

        clockwork = Clockwork(statuses, cycles=5, before=mend)
        changes = await clockwork.run(["1", "bad"])
        assert in_short(changes) == [("1", None, "ONLINE"), ("bad", None, "ONLINE")]
        assert [sorted(numbers) for numbers in statuses.asked[-2:]] == [["1", "bad"]] * 2

    async def test_refused_number_that_is_left_out(self) -> None:
        """A number that is missing instead of refused is requested with the others again."""
        statuses = Statuses(refused={"bad"}, lacking={"bad"})

        def mend(cycle: int) -> None:
            if cycle == 3:
                statuses.refused = set()

        clockwork = Clockwork(statuses, cycles=5, before=mend)
        await clockwork.run(["1", "bad"])
        assert [sorted(numbers) for numbers in statuses.asked[-2:]] == [["1", "bad"]] * 2
        assert clockwork.watch.stats.missing == 1

    async def test_many_refused_numbers(self) -> None:
        """Twenty of them are requested less and less often. An accepted one is found again."""
        bad = [f"bad{at}" for at in range(20)]
        statuses = Statuses(refused=bad)
        counts: list[int] = []

        def look(cycle: int) -> None:
            counts.append(len(statuses.asked))
            if cycle == 4:
                statuses.refused.remove("bad15")

        clockwork = Clockwork(statuses, cycles=14, before=look)
        changes = await clockwork.run([*"123456", *bad], batch_size=100)
        assert [change.extension_number for change in changes] == [*"123456", "bad15"]
        each = [later - earlier for earlier, later in pairwise(counts)]
        # The refused numbers are requested again only in the cycles 2 and 6.
        assert [at for at, requests in enumerate(each) if requests > 1] == [0, 2, 6]
        assert clockwork.watch.stats.consecutive_failures == 0

    async def test_removed_range_of_numbers(self) -> None:
        """If the first dozen numbers are refused, the good ones are still watched."""
        bad = [f"bad{at}" for at in range(12)]
        statuses = Statuses(refused=bad)
        clockwork = Clockwork(statuses, cycles=2)
        changes = await clockwork.run([*bad, *map(str, range(50))], batch_size=100)
        assert [change.extension_number for change in changes] == [*map(str, range(50))]

    async def test_only_refused_numbers(self) -> None:
        """While they wait, nothing is sent. That is neither a failure nor a success."""
        clockwork = Clockwork(Statuses(refused={"bad"}), cycles=6)
        assert await clockwork.run(["bad"]) == []
        stats = clockwork.watch.stats
        assert stats.last_success is None
        assert stats.consecutive_failures == stats.failures == 2  # of the cycles 0 and 2
        assert isinstance(stats.last_error, NotFound)

    async def test_batch_that_is_refused_as_a_whole(self) -> None:
        """It is requested again in the next cycle, without a pause."""
        statuses = Statuses()
        statuses.fail = lambda _: BadRequest(status=400) if len(clockwork.begun) == 2 else None
        clockwork = Clockwork(statuses, cycles=3)
        numbers = [*map(str, range(40))]
        changes = await clockwork.run(numbers, batch_size=40)
        assert len(changes) == 40
        assert statuses.asked[-1] == numbers
        assert clockwork.watch.stats.last_success == EPOCH + timedelta(seconds=20)

    @pytest.mark.parametrize("status", [400, 404])
    async def test_page_of_a_proxy(self, status: int) -> None:
        """It marks no number as refused: each is requested again in the next cycle."""
        page = (BadRequest if status == 400 else NotFound)(status=status)
        page.is_page = True
        statuses = Statuses()
        statuses.fail = lambda _: page if 2 <= len(clockwork.begun) <= 40 else None
        clockwork = Clockwork(statuses, cycles=41)
        await clockwork.run(["1", "2"])
        assert statuses.asked == [["1", "2"]] * 41
        stats = clockwork.watch.stats
        assert (stats.failures, stats.consecutive_failures, stats.unknown) == (39, 0, ())


class TestDiscovery:
    async def test_list_is_read_again(self) -> None:
        """The list is read first, and again when it is `rediscover` seconds old."""
        clockwork = Clockwork(cycles=9, listings=[complete("1", "2")])
        changes = await clockwork.run(None, rediscover=25.0)
        assert in_short(changes) == [("1", None, "ONLINE"), ("2", None, "ONLINE")]
        assert clockwork.listed == [0, 30, 60]

    async def test_extension_that_comes_and_goes(self) -> None:
        """A removed extension is yielded once, without `after`, and again when it is back."""
        listings = [
            complete("1", "2"),
            complete("1", "3"),
            complete("1", "2", "3"),
        ]
        clockwork = Clockwork(cycles=4, listings=listings)
        changes = await clockwork.run(None, rediscover=10.0)
        assert in_short(changes) == [
            ("1", None, "ONLINE"),
            ("2", None, "ONLINE"),
            ("2", "ONLINE", None),
            ("3", None, "ONLINE"),
            ("2", None, "ONLINE"),
        ]
        assert clockwork.watch.snapshot.keys() == {"1", "2", "3"}
        assert clockwork.statuses.asked == [["1", "2"], ["1", "3"], *[["1", "2", "3"]] * 2]

    async def test_list_that_changed_removes_no_number(self) -> None:
        """The walk may have missed a number, so none counts as removed. New ones are watched."""
        listings = [
            complete("1", "2"),
            incomplete("1", "3"),
        ]
        clockwork = Clockwork(cycles=3, listings=listings)
        changes = await clockwork.run(None, rediscover=10.0)
        assert [change.after is None for change in changes] == [False] * 3
        assert clockwork.watch.snapshot.keys() == {"1", "2", "3"}

    async def test_known_numbers_that_are_not_listed(self) -> None:
        clockwork = Clockwork(cycles=2, listings=[complete("1")])
        known = {number: status_of(number) for number in "12"}
        changes = await clockwork.run(None, known=known)
        assert in_short(changes) == [("2", "ONLINE", None)]

    async def test_failed_listing(self) -> None:
        """It is a failure, and is repeated in the next cycle. Known numbers are still requested."""
        error = ServerError(status=503)
        listings: list[DiscoveredExtensions | PortSIPError]
        listings = [
            complete("1"),
            error,
            error,
            complete("1", "2"),
        ]
        clockwork = Clockwork(cycles=5, listings=listings)
        changes = await clockwork.run(None, rediscover=10.0)
        assert in_short(changes) == [("1", None, "ONLINE"), ("2", None, "ONLINE")]
        assert clockwork.listed == [0, 10, 20, 30, 40]
        assert clockwork.statuses.asked[:3] == [["1"]] * 3
        assert (clockwork.watch.stats.failures, clockwork.watch.stats.last_error) == (2, error)

    async def test_first_listing_fails(self) -> None:
        """A watch that knows no extension yet has had no success."""
        clockwork = Clockwork(cycles=4, listings=[TransportError("cut")])
        assert await clockwork.run(None) == []
        stats = clockwork.watch.stats
        assert (stats.cycles, stats.failures, stats.consecutive_failures) == (4, 4, 4)
        assert stats.last_success is None

    async def test_refused_number_that_is_removed(self) -> None:
        """Nothing is stored about a refused number that is no longer listed."""
        listings = [
            complete("1", "bad"),
            complete("1"),
        ]
        clockwork = Clockwork(Statuses(refused={"bad"}), cycles=3, listings=listings)
        await clockwork.run(None, rediscover=10.0)
        assert clockwork.watch._latest is not None
        polling = clockwork.watch._latest._feed
        assert isinstance(polling, StatusPolling)
        assert "bad" not in polling._refused

    async def test_discovery_from_a_simulator(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Extensions that are created and removed meanwhile are yielded."""
        for number in sim.extension_numbers:
            sim.set_status(number, "ONLINE")
        async with pbx.extensions.watch_status(interval=0.02, rediscover=0.05) as watch:
            changes = aiter(watch)
            found = [(await anext(changes)).extension_number for _ in range(300)]
            assert sorted(found) == sorted(sim.extension_numbers)
            await pbx.extensions.remove("150")
            went = await anext(changes)
            assert in_short([went]) == [("150", "ONLINE", None)]
            sim._pbx.create_extension({"extension_number": "9000", "password": "x"})
            came = await anext(changes)
        assert came.extension_number == "9000"
        assert came.before is None
        assert watch.snapshot.keys() == set(sim.extension_numbers)


class TestListingsWithGaps:
    """A page that is empty where more were promised, as the discovery of a watch sees it."""

    @staticmethod
    def listed(numbers: str, page_count: int) -> bytes:
        return reply(
            {
                "extensions": [{"extension_number": number} for number in numbers],
                "page_count": page_count,
            }
        )

    async def test_gap_removes_no_number(self, wire: WireServer, make_client: ClientMaker) -> None:
        """The last promised page arrived, so the items behind the gap don't count as removed."""
        pages = [self.listed(numbers, 4) for numbers in ("12", "", "34", "56")]
        wire.script = [lambda arrival, _, writer: self.answer(pages, arrival, writer)]
        listing = await make_client(wire.url).extensions._discover()
        assert listing == incomplete("1", "2")

    async def test_page_count_that_is_always_100(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """As in the vendor's samples. A number that is not listed counts as removed."""
        pages = [self.listed("12", 100)]
        wire.script = [lambda arrival, _, writer: self.answer(pages, arrival, writer)]
        listing = await make_client(wire.url).extensions._discover()
        assert listing == complete("1", "2")

    async def answer(self, pages: list[bytes], arrival: Any, writer: Any) -> None:
        number = int(re.findall(r"pagination=(\d+)", arrival.query)[0])
        writer.write(pages[number - 1] if number <= len(pages) else self.listed("", 100))
        await writer.drain()


class TestOutage:
    async def test_restart_revocation_and_failing_batches(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A watch survives all of these, and yields each change as soon as it can read it."""
        pbx = make_client(retry=RetryPolicy(attempts=2, initial=0.001, maximum=0.002))
        numbers = sim.extension_numbers
        for number in numbers:
            sim.set_status(number, "ONLINE")
        watch = pbx.extensions.watch_status(numbers, interval=0.02, batch_size=20)
        seen: dict[str, str | None] = {}

        async def follow() -> None:
            async for change in watch:
                assert change.after is not None
                before = None if change.before is None else str(change.before.status)
                assert seen.get(change.extension_number) == before
                seen[change.extension_number] = str(change.after.status)

        def everybody(status: str) -> Callable[[], bool]:
            for number in numbers:
                sim.set_status(number, status)
            return lambda: seen == dict.fromkeys(numbers, status)

        async with in_background(follow()) as (following,):
            await until(everybody("ONLINE"))

            await sim.stop()
            away = everybody("AWAY")
            await until(lambda: watch.stats.consecutive_failures >= 3)
            assert watch.stats.last_error is not None
            assert len(watch.snapshot) == 300
            assert seen == dict.fromkeys(numbers, "ONLINE")
            await sim.start()
            await until(away)
            assert watch.stats.consecutive_failures == 0

            sim.revoke()
            await until(everybody("BUSY"))

            sim.faults = Faults(server_error=0.2, dropped=0.1, truncated=0.05)
            failures = watch.stats.failures
            await until(everybody("ON_CALL"))
            await until(lambda: watch.stats.failures > failures)
            sim.faults = Faults()
            await until(everybody("ONLINE"))
            assert not following.done()
            assert watch.stats.last_success is not None
            await watch.aclose()
            await following


class TestOutageLog:
    """The lines that an outage writes into the log. The interval is 10 seconds."""

    @staticmethod
    def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= 30]

    async def watched(
        self,
        failing: Callable[[int], PortSIPError | None],
        *,
        cycles: int,
        batches: int = 20,
        **options: Any,
    ) -> Clockwork:
        """Watch with 20 batches a cycle. `failing` returns a cycle's error by its number."""
        statuses = Statuses()
        clockwork = Clockwork(statuses, cycles=cycles)
        statuses.fail = lambda _: failing(len(clockwork.begun))
        numbers = [str(number) for number in range(batches)]
        await clockwork.run(numbers, batch_size=1, **options)
        return clockwork

    async def test_lines_of_a_short_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """20 batches a cycle fail for half a minute: two lines, with the error and the duration."""
        clockwork = await self.watched(
            lambda cycle: ServerError(status=500) if 2 <= cycle <= 4 else None, cycles=8
        )
        begins, ends = self.lines(caplog)
        assert "ServerError: HTTP 500" in begins
        assert "30.0 s" in ends
        assert clockwork.watch.stats.failures == 60

    async def test_lines_of_a_long_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """An outage of an hour is logged when it begins, and at most once a minute."""
        await self.watched(
            lambda cycle: TransportError("the connection broke") if cycle > 1 else None, cycles=362
        )
        lines = self.lines(caplog)
        assert len(lines) == 1 + 60
        assert "after 60 s" in lines[1]
        assert "after 3600 s" in lines[-1]

    async def test_each_outage_has_its_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        await self.watched(
            lambda cycle: ServerError(status=500) if cycle in (2, 3, 6) else None, cycles=9
        )
        assert ["works again" in line for line in self.lines(caplog)] == [False, True, False, True]

    async def test_batch_that_keeps_failing_is_one_outage(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The outage ends with the first cycle without failures, not with a batch that succeeds."""
        statuses = Statuses()
        statuses.fail = lambda count: ServerError(status=500) if count % 4 == 0 else None
        clockwork = Clockwork(statuses, cycles=6)
        await clockwork.run([*"1234"], batch_size=1)
        assert len(self.lines(caplog)) == 1

    async def test_failed_listing_is_an_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        error = ServerError(status=503)
        clockwork = Clockwork(cycles=6, listings=[error, error, error, complete("1")])
        await clockwork.run(None)
        begins, ends = self.lines(caplog)
        assert "ServerError" in begins
        assert "30.0 s" in ends

    async def test_refused_number_is_not_an_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged once, however often it is requested."""
        clockwork = Clockwork(Statuses(refused={"bad", "worse"}), cycles=40)
        await clockwork.run(["1", "bad", "2", "worse"])
        (line,) = self.lines(caplog)
        assert "bad, worse" in line
        assert clockwork.watch.stats.failures > 2

    async def test_many_refused_numbers_fit_in_a_line(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        lacking = [f"9{number:03}" for number in range(500)]
        await Clockwork(Statuses(lacking=lacking), cycles=3).run(["1", *lacking])
        (line,) = self.lines(caplog)
        assert "9000, 9001" in line
        assert "490 more" in line

    async def test_message_of_the_pbx_stays_in_its_line(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A message with line ends and escapes can't forge another line."""
        error = ServerError("down\nERROR root: all is lost\x1b[2J", status=500)
        await self.watched(lambda cycle: error if cycle == 2 else None, cycles=3, batches=1)
        assert all(line.isprintable() for line in self.lines(caplog))

    async def test_watches_of_a_client_share_the_lines(
        self,
        sim: PBXSimulator,
        make_client: ClientMaker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Three watches, one of them of a view, write one line at each end of an outage."""
        pbx = make_client(retry=RetryPolicy(attempts=1))
        view = pbx.with_options(timeout=3.0)
        watches = [
            each.extensions.watch_status(sim.extension_numbers, interval=0.02, batch_size=20)
            for each in (pbx, pbx, view)
        ]

        async def follow(watch: StatusWatch) -> None:
            async for _ in watch:
                pass

        async with in_background(*map(follow, watches)):
            await until(lambda: all(watch.stats.cycles for watch in watches))
            await sim.stop()
            await until(lambda: all(watch.stats.consecutive_failures > 3 for watch in watches))
            await sim.start()
            await until(lambda: all(not watch.stats.consecutive_failures for watch in watches))
            await until(lambda: len(self.lines(caplog)) >= 2)
            for watch in watches:
                await watch.aclose()
        begins, ends = self.lines(caplog)
        host = sim.url.removeprefix("http://")
        assert begins.startswith(f"{host}: ")
        assert ends.startswith(f"{host}: ")
        assert "works again" in ends

    async def test_watch_that_was_left_ends_its_outage(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once a watch succeeds, or a minute after the last line, a failure is a new outage."""
        log = OutageLog("pbx")
        one, other = object(), object()
        log.failed(one, ServerError(status=500), 0.0)
        log.failed(other, ServerError(status=500), 1.0)
        log.left(one)
        log.recovered(one, 2.0)
        log.recovered(other, 5.0)
        log.recovered(other, 6.0)
        log.failed(one, ServerError(status=500), 7.0)
        log.left(one)
        log.recovered(other, 8.0)
        log.failed(one, ServerError(status=500), 9.0)
        log.left(one)
        log.failed(other, ServerError(status=500), 69.0)
        assert [line.split(": ")[1] for line in self.lines(caplog)] == [
            "a status watch is failing and will keep trying",
            "the status watch works again after 5.0 s",
            "a status watch is failing and will keep trying",
            "a status watch is failing and will keep trying",
            "a status watch is failing and will keep trying",
        ]

    async def test_new_watches_share_the_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """A watch that is replaced every ten seconds logs no more than one that stays."""
        log = OutageLog("pbx")
        for second in range(0, 130, 10):
            watch = object()
            log.failed(watch, ServerError(status=500), float(second))
            log.left(watch)
        last = object()
        log.failed(last, ServerError(status=500), 130.0)
        log.recovered(last, 135.0)
        *begins, ends = [line.split(": ")[1] for line in self.lines(caplog)]
        assert len(begins) == 3
        assert "works again" in ends


class TestUnknown:
    """`stats.unknown`: the numbers that never had a status."""

    @pytest.mark.parametrize("how", ["refused", "lacking"])
    async def test_unknown_numbers_keep_their_order(self, how: str) -> None:
        """They have the order of the watched numbers, whether refused or left out."""
        unknown = ["99", "nobody", "17"]
        statuses = Statuses(**{how: set(unknown)})
        clockwork = Clockwork(statuses, cycles=3)
        await clockwork.run(["nobody", "1", "99", "2", "17", "99"])
        assert clockwork.watch.stats.unknown == ("nobody", "99", "17")
        assert clockwork.watch.stats.missing == (3 if how == "lacking" else 0)

    async def test_one_unknown_number_alone(self) -> None:
        clockwork = Clockwork(Statuses(refused={"99999"}), cycles=4)
        await clockwork.run(["99999"])
        assert clockwork.watch.stats.unknown == ("99999",)

    @pytest.mark.parametrize("how", ["refused", "lacking"])
    @pytest.mark.parametrize("count", [1, 5, 8, 9, 20, 150])
    @pytest.mark.parametrize("good", [[], ["1", "2"]], ids=["alone", "with good ones"])
    async def test_many_unknown_numbers(
        self, count: int, how: str, good: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """All are unknown after the first cycle, and the good ones are watched."""
        unknown = [f"9{number:03}" for number in range(count)]
        clockwork = Clockwork(Statuses(**{how: set(unknown)}), cycles=1)
        changes = await clockwork.run([*unknown, *good], batch_size=100)
        assert [change.extension_number for change in changes] == good
        assert clockwork.watch.stats.unknown == tuple(unknown)
        (line,) = TestOutageLog.lines(caplog)
        assert "the PBX gives no status for 9000" in line

    async def test_many_unknown_numbers_are_requested_less_and_less_often(self) -> None:
        statuses = Statuses(refused={str(number) for number in range(150)})
        counts: list[int] = []
        clockwork = Clockwork(
            statuses, cycles=30, before=lambda _: counts.append(len(statuses.asked))
        )
        await clockwork.run(sorted(statuses.refused), batch_size=100)
        each = [later - earlier for earlier, later in pairwise(counts)]
        assert [at for at, requests in enumerate(each) if requests] == [0, 2, 6, 14]

    async def test_pbx_that_lost_all_extensions(self) -> None:
        """Numbers with a status are not unknown. The next cycle requests them again, together."""
        statuses = Statuses()
        numbers = [str(number) for number in range(40)]

        def forget(cycle: int) -> None:
            if cycle in (2, 5):
                statuses.refused = set(numbers) if cycle == 2 else set()

        clockwork = Clockwork(statuses, cycles=5, before=forget)
        await clockwork.run(numbers, batch_size=40)
        assert clockwork.watch.stats.unknown == ()
        assert statuses.asked[-1] == numbers
        assert len(statuses.asked) < 1 + 3 * 20 + 2

    @pytest.mark.parametrize("how", ["refused", "lacking"])
    async def test_number_with_a_first_status_is_not_unknown(self, how: str) -> None:
        statuses = Statuses(**{how: {"9"}})
        seen: list[tuple[str, ...]] = []

        def appear(cycle: int) -> None:
            seen.append(clockwork.watch.stats.unknown if cycle > 1 else ())
            if cycle == 3:
                getattr(statuses, how).clear()

        clockwork = Clockwork(statuses, cycles=6, before=appear)
        await clockwork.run(["1", "9"])
        assert seen[:3] == [(), ("9",), ("9",)]
        assert clockwork.watch.stats.unknown == ()

    @pytest.mark.parametrize("how", ["refused", "lacking"])
    async def test_known_number_that_is_removed_is_not_unknown(self, how: str) -> None:
        """A number that had a status before, or is in `known=`, is never unknown."""
        statuses = Statuses()

        def vanish(cycle: int) -> None:
            if cycle == 2:
                getattr(statuses, how).update({"2", "3"})

        statuses = Statuses(**{how: {"3"}})
        clockwork = Clockwork(statuses, cycles=4, before=vanish)
        await clockwork.run(["1", "2", "3"], known={"3": status_of("3")})
        assert clockwork.watch.stats.unknown == ()

    async def test_failure_makes_no_number_unknown(self) -> None:
        """A batch that failed, or was refused as a whole, doesn't affect its numbers."""
        statuses = Statuses()
        errors = [ServerError(status=500), BadRequest(status=400), TransportError("cut")]
        statuses.fail = lambda _: errors[len(clockwork.begun) % 3]
        clockwork = Clockwork(statuses, cycles=6)
        await clockwork.run([str(number) for number in range(40)], batch_size=40)
        assert clockwork.watch.stats.unknown == ()

    async def test_discovered_number_that_is_removed(self) -> None:
        """A number that was listed without a status is unknown until it is no longer listed."""
        listings = [complete("1", "9")] * 2 + [complete("1")]
        seen: list[tuple[str, ...]] = []
        clockwork = Clockwork(
            Statuses(lacking={"9"}),
            cycles=4,
            before=lambda cycle: seen.append(clockwork.watch.stats.unknown if cycle > 1 else ()),
            listings=listings,
        )
        await clockwork.run(None, rediscover=10.0)
        assert seen[1] == ("9",)
        assert clockwork.watch.stats.unknown == ()

    async def test_unknown_numbers_at_a_simulator(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        watch = pbx.extensions.watch_status(["101", "99999"], interval=0.01)
        async with watch:
            async for change in watch:
                assert change.extension_number == "101"
                await until(lambda: watch.stats.unknown == ("99999",))
                break
        assert watch.stats.unknown == ("99999",)


class TestLeaving:
    async def left(self, sim: PBXSimulator, *, at_once: bool = False) -> None:
        """Check that a watch left no task, and sends nothing more."""
        if not at_once:
            await yield_to_loop()
        assert our_tasks() == []
        await asyncio.sleep(0.02)
        served = sim.served[STATUS]
        await asyncio.sleep(0.03)
        assert sim.served[STATUS] == served

    async def test_break_ends_the_watch(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        async for _ in pbx.extensions.watch_status(["101", "102"], interval=0.005):
            break
        await self.left(sim)

    @pytest.mark.parametrize("broken", [False, True])
    async def test_async_with_ends_the_watch(
        self, sim: PBXSimulator, pbx: PortSIPClient, broken: bool
    ) -> None:
        async with pbx.extensions.watch_status(["101", "102"], interval=0.005) as watch:
            if broken:
                async for _ in watch:
                    break
            else:
                changes = aiter(watch)
                await anext(changes)
        await self.left(sim, at_once=True)

    async def test_aclose_from_another_task(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        watch = pbx.extensions.watch_status(["101", "102"], interval=0.005)

        async def loop() -> int:
            return len([change async for change in watch])

        async with in_background(loop()) as (looping,), asyncio.timeout(5):
            await until(lambda: watch.stats.cycles)
            await watch.aclose()
            assert await looping <= 2
        await self.left(sim)

    async def test_cancellation_ends_the_watch(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        sim.fail(STATUS, latency=30.0, times=None)
        changes = aiter(pbx.extensions.watch_status(["101"], interval=0.005))
        async with in_background(anext(changes)) as (waiting,):
            await until(lambda: sim.in_flight)
            waiting.cancel()
            async with asyncio.timeout(5):
                with pytest.raises(asyncio.CancelledError):
                    await waiting
        await self.left(sim)

    async def test_two_loops(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Each loop gets every extension. Leaving one doesn't end the other."""
        sim.set_status("101", "ONLINE")
        watch = pbx.extensions.watch_status(["101"], interval=0.005)
        one, other = aiter(watch), aiter(watch)
        assert in_short([await anext(one), await anext(other)]) == [("101", None, "ONLINE")] * 2
        await one.aclose()
        sim.set_status("101", "AWAY")
        assert in_short([await anext(other)]) == [("101", "ONLINE", "AWAY")]
        await watch.aclose()
        await self.left(sim, at_once=True)
