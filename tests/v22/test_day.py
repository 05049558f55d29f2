"""A day of watching v22 by polling, with faults, restarts, revocations, and users who change."""

import asyncio
import logging
import random
from collections import Counter
from typing import Any, Final

import msgspec
import pytest

from portsip_async import StatusWatch
from portsip_async.simulator import Faults, PBXSimulator
from portsip_async.v22 import ExtensionState, UserStatus

from ..concurrency import in_background
from ..test_day import Attempts, Resources
from ..virtual_time import (
    DAY,
    HOUR,
    MINUTE,
    in_virtual_time,
    simulator,
    sleep_until,
    the_loop,
    v22_client,
)

LOGIN, REFRESH = "auth.sign_in", "auth.refresh"
STATUS, FIND, LIST = "users.status", "users.find", "users.list"
SEED: Final = 5
INTERVAL: Final = 120.0  # seconds
STATUS_SECONDS: Final = 900.0  # longer than any outage, so that each status can be seen
LIFETIME: Final = 600.0  # seconds of an access token
FAULTS: Final = Faults(
    latency=0.05,
    rate_limited=0.02,
    server_error=0.02,
    html=0.01,
    dropped=0.02,
    truncated=0.02,
)


def state_at(sim: PBXSimulator, number: str, time: float) -> ExtensionState:
    """Return the true state of an extension."""
    users = sim.v22._state.users
    status = msgspec.convert(users.status(number, time), UserStatus)
    return ExtensionState.of(number, users.id_of(number), status)


def states_until(sim: PBXSimulator, number: str, until: float) -> list[ExtensionState]:
    """Return the states that an extension had, from time 0 of the loop."""
    history: list[ExtensionState] = []
    step = STATUS_SECONDS / 4  # a status lasts longer, so none is missed
    for at in (*(step * count for count in range(int(until / step) + 1)), until):
        state = state_at(sim, number, at)
        if not history or history[-1] != state:
            history.append(state)
    return history


class Consumer:
    """Reads changes, and compares each with the previous one."""

    def __init__(self) -> None:
        self.held: dict[str, ExtensionState] = {}
        self.history: dict[str, list[ExtensionState | None]] = {}

    async def follow(self, watch: StatusWatch[ExtensionState]) -> None:
        async for change in watch:
            number, after = change.extension_number, change.after
            assert change.before == self.held.get(number)
            assert change.before != after
            if after is None:
                del self.held[number]
            else:
                self.held[number] = after
            self.history.setdefault(number, []).append(after)


async def restart_hourly(sim: PBXSimulator, chance: random.Random) -> None:
    """Restart the PBX once an hour, and revoke all access tokens in between."""
    for hour in range(24):
        await sleep_until(hour * HOUR + chance.uniform(5 * MINUTE, 25 * MINUTE))
        sim.v22.revoke()
        await sleep_until(hour * HOUR + chance.uniform(30 * MINUTE, 50 * MINUTE))
        await sim.restart(chance.uniform(1.0, 120.0))


@pytest.mark.no_cover  # coverage would more than double its time
@pytest.mark.timeout(300)
@in_virtual_time
async def test_watch_of_a_day(caplog: pytest.LogCaptureFixture) -> None:
    """24 hours with a restart and a revocation each hour, and a tenth of requests failing."""
    caplog.set_level(logging.CRITICAL, "portsip_async")  # else all records would be kept
    attempts, consumer, hours = Attempts(), Consumer(), list[Resources]()
    async with (
        simulator(
            extensions=8, status_seconds=STATUS_SECONDS, seed=SEED, token_lifetime=LIFETIME
        ) as sim,
        v22_client(sim, seed=SEED, on_attempt=attempts) as pbx,
    ):
        numbers = sim.extension_numbers
        watch = pbx.extensions.watch_status(numbers, source="poll", interval=INTERVAL)
        following = consumer.follow(watch)
        restarting = restart_hourly(sim, random.Random(SEED))
        async with in_background(following, restarting) as (followed, _):
            await asyncio.sleep(MINUTE)
            sim.faults = FAULTS
            for hour in range(1, 25):
                await sleep_until(hour * HOUR - 10.0)
                hours.append(Resources.now())
            sim.faults = Faults()
            await sleep_until(DAY + 2.5 * MINUTE)
            stats, until = watch.stats, the_loop().time() // INTERVAL * INTERVAL
            await watch.aclose()
            await followed
        # Every state that the extensions had was yielded once, in order.
        for number in numbers:
            assert consumer.history[number] == states_until(sim, number, until)
        assert consumer.held == {number: state_at(sim, number, until) for number in numbers}
        assert watch.snapshot == consumer.held

    # Each interval had a cycle, or was counted as skipped.
    assert stats.cycles + stats.skipped == until / INTERVAL + 1
    # Each number of each cycle got one reply, or counts as a failure. Numbers were looked up once.
    calls = stats.cycles * len(numbers)
    assert attempts.succeeded[STATUS] + stats.failures == calls
    assert attempts.succeeded[FIND] == len(numbers)
    assert attempts.made[STATUS] <= 1.25 * calls
    assert attempts.made[LIST] == 0
    # Each attempt is one arrival, unless the PBX was away.
    assert attempts.made - attempts.unsent == sim.v22.served
    # No refresh token was sent twice. A login at the start and after each restart, and one for
    # each refresh that failed.
    assert max(sim.v22.refresh_tokens.values()) == 1
    assert attempts.succeeded[LOGIN] >= 1 + 24
    assert attempts.succeeded[LOGIN] <= 1 + attempts.made[REFRESH] - attempts.succeeded[REFRESH]
    assert attempts.succeeded[REFRESH] >= DAY / LIFETIME / 2

    # Memory doesn't grow. There are 4 tasks at most, and one for each connection at the server.
    second, *later = hours[1:]
    assert max(held.objects for held in later) < second.objects + 1000
    assert max(held.blocks for held in later) < second.blocks + 3000
    for held in hours:
        assert held.connections <= 2 * (len(numbers) + 1)
        assert held.tasks <= 4 + held.connections / 2
        assert held.timers <= 3 + held.connections / 2


def create(sim: PBXSimulator, number: str) -> None:
    users = sim.v22._state.users
    fields: dict[str, Any] = {"name": f"u{number}-{the_loop().time()}", "role": "StandardUser"}
    users.create({**fields, "extension_number": number, "display_name": "Ann"})


@in_virtual_time
async def test_watch_of_changing_users(caplog: pytest.LogCaptureFixture) -> None:
    """For six hours users come, go, and come again under a new id: each change is yielded."""
    caplog.set_level(logging.CRITICAL, "portsip_async")
    attempts, consumer, chance = Attempts(), Consumer(), random.Random(SEED)
    ids: dict[str, list[str]] = {}

    async with (
        simulator(
            extensions=12,
            status_seconds=STATUS_SECONDS,
            faults=FAULTS,
            seed=SEED,
            token_lifetime=LIFETIME,
        ) as sim,
        v22_client(sim, seed=SEED, on_attempt=attempts) as pbx,
    ):

        def note(number: str) -> None:
            ids.setdefault(number, []).append(sim.v22.user_id(number))

        for number in sim.extension_numbers:
            note(number)
        watch = pbx.extensions.watch_status(source="poll", interval=INTERVAL, rediscover=5 * MINUTE)
        async with in_background(consumer.follow(watch)) as (followed,):
            gone: list[str] = []
            for count in range(12):
                await asyncio.sleep(chance.uniform(15 * MINUTE, 40 * MINUTE))
                leaving = chance.choice(sim.extension_numbers)
                sim._pbx.remove_extension(leaving)
                if count % 3 == 0:
                    create(sim, leaving)  # the same number, for another user, within a cycle
                    note(leaving)
                    continue
                coming = gone.pop(0) if gone and count % 3 == 1 else str(9000 + count)
                gone.append(leaving)
                create(sim, coming)
                note(coming)
                sim.v22.revoke()
                if count % 4 == 0:
                    await sim.restart(MINUTE)
            sim.faults = Faults()
            await asyncio.sleep(15 * MINUTE)
            until = the_loop().time() // INTERVAL * INTERVAL
            await watch.aclose()
            await followed
        numbers = sim.extension_numbers
        assert consumer.held == {number: state_at(sim, number, until) for number in numbers}
        assert watch.snapshot == consumer.held

    # Each user was yielded under each id, in order, and its end where the number was gone.
    for number, history in consumer.history.items():
        seen: list[str] = []
        for state in history:
            if state is not None and (not seen or seen[-1] != state.user_id):
                assert state.user_id
                seen.append(state.user_id)
        assert seen == ids[number]
    ends = Counter(number for number, states in consumer.history.items() for s in states if not s)
    assert ends.total() == 8
    assert consumer.history.keys() == ids.keys()
    # A status request for each number and cycle. Lookups only where a number or an id is new, or
    # the PBX says that there is no such user.
    calls = watch.stats.cycles * 12
    assert attempts.made[STATUS] <= 1.25 * calls
    assert attempts.made[FIND] <= 8 * len(ids)
    assert max(sim.v22.refresh_tokens.values()) == 1
