"""A day of watching, with faults and restarts: no change is lost, and no memory grows."""

import asyncio
import gc
import logging
import math
import random
import sys
from collections import Counter
from typing import Final, NamedTuple

import pytest

from portsip_async import (
    Attempt,
    AuthenticationError,
    ConnectError,
    ExtensionStatus,
    RateLimited,
    ServerError,
    StatusWatch,
    TransportError,
)
from portsip_async.simulator import Faults, PBXSimulator

from .concurrency import in_background
from .virtual_time import (
    DAY,
    HOUR,
    MINUTE,
    client,
    in_virtual_time,
    simulator,
    sleep_until,
    the_loop,
)

STATUS: Final = "extensions.status"
LOGIN: Final = "account.verify"
REFRESH: Final = "account.refresh"

EXTENSIONS: Final = 60
BATCH: Final = 30
SEED: Final = 3
INTERVAL: Final = 25.0  # seconds; each cycle finds the token of 30 seconds stale
STATUS_SECONDS: Final = 600.0  # longer than any outage, so that each status can be seen
OUTAGE_MOST: Final = 120.0
FAULTS: Final = Faults(
    latency=0.05,
    rate_limited=0.02,
    server_error=0.02,
    html=0.01,
    dropped=0.02,
    truncated=0.02,
    revoked=0.001,
)


class Attempts:
    """Counts attempts by their outcome."""

    def __init__(self) -> None:
        self.succeeded: Counter[str] = Counter()
        self.failed: Counter[type[Exception]] = Counter()
        self.unsent: Counter[str] = Counter()
        self.made: Counter[str] = Counter()

    def __call__(self, attempt: Attempt) -> None:
        self.made[attempt.operation] += 1
        if attempt.error is None:
            self.succeeded[attempt.operation] += 1
            return
        self.failed[type(attempt.error)] += 1
        if isinstance(attempt.error, ConnectError):
            self.unsent[attempt.operation] += 1


class Consumer:
    """Reads changes, and compares each with the previous one."""

    def __init__(self) -> None:
        self.held: dict[str, ExtensionStatus | None] = {}
        self.history: dict[str, list[str]] = {}

    async def follow(self, watch: StatusWatch) -> None:
        async for change in watch:
            number, after = change.extension_number, change.after
            assert after is not None
            assert change.before == self.held.get(number)
            assert change.before != after
            self.held[number] = after
            self.history.setdefault(number, []).append(sys.intern(str(after.status)))


class Resources(NamedTuple):
    """The resources of a process, counted while nothing is in flight."""

    blocks: int
    objects: int
    tasks: int
    timers: int
    connections: int

    @classmethod
    def now(cls) -> "Resources":
        gc.collect()
        loop = the_loop()
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        return cls(
            sys.getallocatedblocks(),
            len(gc.get_objects()),
            len(asyncio.all_tasks()),
            len(timers),
            len(loop.connections),
        )


def statuses_until(sim: PBXSimulator, until: float) -> dict[str, list[str]]:
    """Return the statuses that each extension had, from time 0 of the loop."""
    numbers = sim.extension_numbers
    history: dict[str, list[str]] = {number: [] for number in numbers}
    step = STATUS_SECONDS / 4  # a status lasts longer, so none is missed
    times = [at * step for at in range(int(until / step) + 1)]
    for at in (*times, until):
        for row in sim._pbx.statuses(numbers, at):
            seen = history[row["extension_number"]]
            if not seen or seen[-1] != row["status"]:
                seen.append(row["status"])
    return history


class Restarts:
    """Restarts the PBX once an hour, every second time within a cycle."""

    def __init__(self, sim: PBXSimulator, chance: random.Random) -> None:
        self.count = 0
        self.cut = 0  # requests that were being served
        self._sim = sim
        self._chance = chance

    async def run(self) -> None:
        while True:
            moment = self.count * HOUR + self._chance.uniform(10 * MINUTE, 50 * MINUTE)
            if self.count % 2:
                moment = moment // INTERVAL * INTERVAL + FAULTS.latency / 2
            await sleep_until(moment)
            self.cut += self._sim.in_flight
            self.count += 1
            await self._sim.restart(self._chance.uniform(1.0, OUTAGE_MOST))


@pytest.mark.no_cover  # coverage would more than double its time
@pytest.mark.timeout(300)
@in_virtual_time
async def test_watch_of_a_day(caplog: pytest.LogCaptureFixture) -> None:
    """24 hours with tokens of 30 seconds, a restart each hour, and a tenth of requests failing."""
    caplog.set_level(logging.CRITICAL, "portsip_async")  # else all records would be kept
    attempts, consumer, hours = Attempts(), Consumer(), list[Resources]()
    async with (
        simulator(extensions=EXTENSIONS, status_seconds=STATUS_SECONDS, seed=SEED) as sim,
        client(sim, seed=SEED, on_attempt=attempts) as pbx,
    ):
        numbers = sim.extension_numbers
        watch = pbx.extensions.watch_status(numbers, interval=INTERVAL, batch_size=BATCH)
        restarts = Restarts(sim, random.Random(SEED))
        async with in_background(consumer.follow(watch), restarts.run()) as (following, _):
            await asyncio.sleep(MINUTE)
            sim.faults = FAULTS
            for hour in range(1, 25):
                await sleep_until(hour * HOUR - 10.0)
                hours.append(Resources.now())
            sim.faults = Faults()
            await sleep_until(DAY + MINUTE)
            stats, until = watch.stats, the_loop().time() // INTERVAL * INTERVAL
            await watch.aclose()
            await following
        at_last = sim._pbx.statuses(numbers, until)

    # Every status that the extensions had was yielded, in order.
    assert consumer.history == statuses_until(sim, until)
    assert consumer.held == {row["extension_number"]: ExtensionStatus(**row) for row in at_last}
    assert watch.snapshot == consumer.held

    # Each interval had a cycle, or was counted as skipped.
    assert stats.cycles + stats.skipped == until / INTERVAL + 1
    assert stats.lag == 0.0

    # Each batch of each cycle got one reply, or counts as a failure.
    calls = stats.cycles * math.ceil(EXTENSIONS / BATCH)
    assert attempts.succeeded[STATUS] + stats.failures == calls
    # Each attempt is one arrival, unless the PBX was away.
    assert attempts.made - attempts.unsent == sim.served
    # Each failure has a cause, and each cause a failure.
    injected, rejected = sim.injected, sim.rejected.total()
    broken = injected["dropped"] + injected["truncated"]
    assert restarts.count == 24
    assert restarts.cut > 0
    assert attempts.failed[RateLimited] == injected["rate_limited"]
    assert attempts.failed[ServerError] == injected["server_error"] + injected["html"]
    assert attempts.failed[TransportError] == broken + restarts.cut
    assert rejected - broken <= attempts.failed[AuthenticationError] <= rejected
    assert attempts.failed.keys() <= {
        RateLimited, ServerError, TransportError, AuthenticationError, ConnectError
    }  # fmt: skip
    assert attempts.made[STATUS] <= 2 * calls

    # One renewal in each cycle, and one more after each rejected token. A login at the start, and
    # after each restart of the PBX.
    renewed = attempts.succeeded[LOGIN] + attempts.succeeded[REFRESH]
    assert stats.cycles - stats.failures <= renewed <= stats.cycles + rejected
    assert renewed <= sim.tokens_issued <= renewed + broken
    logins = attempts.succeeded[LOGIN]
    assert 1 + restarts.count <= logins <= 1 + sim.rejected[REFRESH]

    # Memory doesn't grow. There are 4 tasks, and one for each connection at the server.
    second, *later = hours[1:]
    assert max(held.objects for held in later) < second.objects + 1000
    assert max(held.blocks for held in later) < second.blocks + 3000
    for held in hours:
        assert held.connections <= 2 * (math.ceil(EXTENSIONS / BATCH) + 1)
        assert held.tasks == 4 + held.connections / 2
        assert held.timers <= 3 + held.connections / 2


@in_virtual_time
async def test_watch_of_changing_extensions(caplog: pytest.LogCaptureFixture) -> None:
    """For six hours extensions are created and removed, and each change is yielded."""
    caplog.set_level(logging.CRITICAL, "portsip_async")
    chance, held = random.Random(SEED), dict[str, ExtensionStatus]()
    came, went = Counter[str](), Counter[str]()
    async with (
        simulator(extensions=50, status_seconds=STATUS_SECONDS, faults=FAULTS, seed=SEED) as sim,
        client(sim, seed=SEED) as pbx,
    ):
        created, removed = Counter(sim.extension_numbers), Counter[str]()
        watch = pbx.extensions.watch_status(interval=INTERVAL, rediscover=10 * MINUTE)

        async def follow() -> None:
            async for change in watch:
                number = change.extension_number
                assert change.before == held.get(number)
                if change.after is None:
                    went[number] += 1
                    del held[number]
                else:
                    came[number] += change.before is None
                    held[number] = change.after

        async with in_background(follow()) as (following,):
            for count in range(12):
                await asyncio.sleep(chance.uniform(15 * MINUTE, 45 * MINUTE))
                # Two times out of three, an extension is created again an hour after its removal.
                back = [number for number in removed if number not in sim.extension_numbers]
                coming = chance.choice(back) if count % 3 and back else str(9000 + count)
                leaving = chance.choice(sim.extension_numbers)
                sim._pbx.create_extension({"extension_number": coming, "password": "x"})
                sim._pbx.remove_extension(leaving)
                created[coming] += 1
                removed[leaving] += 1
                if count % 4 == 0:
                    await sim.restart(MINUTE)
            sim.faults = Faults()
            await asyncio.sleep(15 * MINUTE)
            cycle_start = the_loop().time() // INTERVAL * INTERVAL
            await watch.aclose()
            await following
        now = sim._pbx.statuses(sim.extension_numbers, cycle_start)
        assert held == {row["extension_number"]: ExtensionStatus(**row) for row in now}
        assert watch.snapshot == held
        assert (came, went) == (created, removed)
