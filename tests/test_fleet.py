"""A fleet in one process, on ``memory://``: the same code as with a Redis and several processes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ResponseError

from portsip_async import (
    Attempt,
    AttemptStart,
    ConfigurationError,
    ExtensionStatus,
    PortSIPClient,
    RetryPolicy,
    v22,
)
from portsip_async.fleet import (
    Fleet,
    FleetChange,
    FleetEvent,
    FleetOutage,
    FleetResync,
    GroupStatus,
)
from portsip_async.fleet.store import FleetStore, StreamEvent
from portsip_async.simulator import PBXSimulator

INTERVAL = 0.05
ONCE = RetryPolicy(attempts=1)
Client = PortSIPClient | v22.PortSIPClient


class Farm:
    """Simulated PBXes by name, and the function that connects to them."""

    def __init__(self) -> None:
        self.pbxes: dict[str, PBXSimulator] = {}
        self.shared: list[dict[str, Any]] = []

    async def add(self, name: str, extensions: int = 2, **options: Any) -> PBXSimulator:
        pbx = PBXSimulator(extensions, status_seconds=0, **options)
        await pbx.start()
        self.pbxes[name] = pbx
        return pbx

    async def connect(self, pbx: str, **shared: Any) -> Client:
        self.shared.append(shared)
        simulator = self.pbxes[pbx]
        return PortSIPClient(
            simulator.url,
            username=simulator.username,
            password=simulator.password,
            retry=ONCE,
            **shared,
        )


@pytest.fixture
async def farm() -> AsyncGenerator[Farm, None]:
    farm = Farm()
    yield farm
    for pbx in farm.pbxes.values():
        await pbx.stop()


def fleet_of(farm: Farm, *pbxes: str, **options: Any) -> Fleet:
    options = {"connect": farm.connect, "interval": INTERVAL, **options}
    return Fleet("memory://", pbxes=pbxes, **options)


async def take(stream: AsyncGenerator[FleetEvent, None], count: int) -> list[FleetEvent]:
    async with asyncio.timeout(20):
        return [await anext(stream) for _ in range(count)]


def text_of(status: ExtensionStatus | v22.ExtensionState | None) -> str | None:
    return None if status is None else getattr(status.status, "value", status.status)


def change_of(event: FleetEvent) -> tuple[str, str, str | None, str | None]:
    assert isinstance(event, FleetChange)
    change = event.change
    return event.pbx, change.extension_number, text_of(change.before), text_of(change.after)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await check():  # noqa: ASYNC110 - a fleet has no event for this
            await asyncio.sleep(INTERVAL / 2)


async def test_each_status_comes_once_and_then_its_changes(farm: Farm) -> None:
    for name in ("acme", "globex"):
        pbx = await farm.add(name)
        pbx.set_status("100", "ONLINE")
        pbx.set_status("101", "OFFLINE")
    async with fleet_of(farm, "acme", "globex") as fleet:
        stream = fleet.changes("board", from_start=True)
        first = sorted(map(change_of, await take(stream, 4)), key=str)
        assert first == [
            ("acme", "100", None, "ONLINE"),
            ("acme", "101", None, "OFFLINE"),
            ("globex", "100", None, "ONLINE"),
            ("globex", "101", None, "OFFLINE"),
        ]
        farm.pbxes["globex"].set_status("101", "ON_CALL")
        [event] = await take(stream, 1)
        assert change_of(event) == ("globex", "101", "OFFLINE", "ON_CALL")
        snapshot = await fleet.snapshot("globex")
        assert {number: text_of(status) for number, status in snapshot.items()} == {
            "100": "ONLINE",
            "101": "ON_CALL",
        }
        assert not event.resync
        await stream.aclose()
    assert farm.shared == [{}, {}]


async def test_a_pbx_of_v22_is_followed_too(farm: Farm) -> None:
    pbx = await farm.add("acme")
    pbx.set_status("100", "ON_CALL")
    pbx.set_status("101", "ONLINE")

    async def connect(name: str, **shared: Any) -> Client:
        return v22.PortSIPClient(pbx.url, username=pbx.username, password=pbx.password, **shared)

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        stream = fleet.changes("board", from_start=True)
        found = {change_of(event)[1:] for event in await take(stream, 2)}
        assert found == {("100", None, "ON_CALL"), ("101", None, "ONLINE")}
        [status] = {type(each) for each in (await fleet.snapshot("acme")).values()}
        assert status is v22.ExtensionState
        await stream.aclose()


async def test_an_outage_is_an_event_and_so_is_its_end(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        stream = fleet.changes("board", from_start=True)
        await take(stream, 1)
        pbx.fail("extensions.status", status=503, times=None)
        [began] = await take(stream, 1)
        assert isinstance(began, FleetOutage)
        assert began.pbx == "acme"
        assert began.error is not None
        assert began.error.startswith("ServerError")
        status = (await fleet.status()).pbxes["acme"]
        assert status.consecutive_failures >= 1
        assert status.last_error == began.error
        pbx.set_status("100", "ON_CALL")
        pbx.clear()
        [ended, change] = await take(stream, 2)
        assert isinstance(ended, FleetOutage)
        assert (ended.since, ended.error) == (began.since, None)
        assert change_of(change) == ("acme", "100", "ONLINE", "ON_CALL")
        status = (await fleet.status()).pbxes["acme"]
        assert status.consecutive_failures == 0
        assert status.last_success is not None
        assert status.worker is not None
        await stream.aclose()


@pytest.mark.parametrize("kind", [KeyError, asyncio.CancelledError])
async def test_connect_that_fails_is_an_outage_whose_text_stays_here(
    farm: Farm, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    pbx = await farm.add("acme", 1)
    failing = True

    async def connect(name: str, **shared: Any) -> Client:
        if failing:
            raise kind("hunter2")
        return await farm.connect(name, **shared)

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        stream = fleet.changes("board", from_start=True)
        [began] = await take(stream, 1)
        assert isinstance(began, FleetOutage)
        assert began.error == kind.__name__
        failing = False
        [ended, _] = await take(stream, 2)
        assert isinstance(ended, FleetOutage)
        assert ended.error is None
        await stream.aclose()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "acme: a cycle failed",
        f"acme: an outage began: {kind.__name__}",
        "acme: the outage is over",
    ]
    assert pbx.tokens_issued == 1


async def test_a_refused_login_is_an_outage_and_is_not_sent_again(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)

    async def connect(name: str, **shared: Any) -> Client:
        return PortSIPClient(pbx.url, username=pbx.username, password="wrong", **shared)

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        stream = fleet.changes("board", from_start=True)
        [began] = await take(stream, 1)
        assert isinstance(began, FleetOutage)
        assert (began.error or "").startswith("AuthenticationError")

        async def has_failed_often() -> bool:
            return (await fleet.status()).pbxes["acme"].consecutive_failures >= 4

        await until(has_failed_often)
        await stream.aclose()
    assert dict(pbx.served) == {"account.verify": 1}


async def test_pbxes_are_added_and_removed_while_it_runs(farm: Farm) -> None:
    for name in ("acme", "globex"):
        pbx = await farm.add(name)
        for number in ("100", "101"):
            pbx.set_status(number, "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        stream = fleet.changes("board", from_start=True)
        await take(stream, 2)
        await fleet.add("globex")
        assert {change_of(event)[0] for event in await take(stream, 2)} == {"globex"}
        await fleet.remove("acme")
        gone = [change_of(event) for event in await take(stream, 2)]
        assert sorted(gone, key=str) == [
            ("acme", "100", "ONLINE", None),
            ("acme", "101", "ONLINE", None),
        ]
        # It is in the constructor's list, but stays removed.
        farm.pbxes["globex"].set_status("100", "ON_CALL")
        await take(stream, 1)
        assert list((await fleet.status()).pbxes) == ["globex"]
        await fleet.add("acme", "acme")
        again = [change_of(event) for event in await take(stream, 2)]
        assert sorted(again, key=str) == [
            ("acme", "100", None, "ONLINE"),
            ("acme", "101", None, "ONLINE"),
        ]
        await stream.aclose()


async def test_a_removal_that_was_cut_off_is_finished_by_a_worker(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        stream = fleet.changes("board", from_start=True)
        await take(stream, 1)
        await fleet._store.remove("acme")  # the first half of `Fleet.remove`
        [gone] = await take(stream, 1)
        assert change_of(gone) == ("acme", "100", "ONLINE", None)
        await stream.aclose()


async def test_an_event_comes_again_until_the_next_one_is_asked_for(farm: Farm) -> None:
    pbx = await farm.add("acme", 3)
    for number in ("100", "101", "102"):
        pbx.set_status(number, "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        async with aclosing(fleet.changes("board", consumer="one", from_start=True)) as stream:
            first, second = await take(stream, 2)
        async with aclosing(fleet.changes("board", consumer="two")) as stream:
            again, third = await take(stream, 2)
        assert again == second
        async with aclosing(fleet.changes("other", from_start=True)) as stream:
            assert await take(stream, 3) == [first, second, third]
        assert (await fleet.status()).groups == {"board": GroupStatus(1), "other": GroupStatus(1)}


async def test_a_late_acknowledgement_does_not_set_a_group_back(farm: Farm) -> None:
    pbx = await farm.add("acme", 3)
    for number in ("100", "101", "102"):
        pbx.set_status(number, "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        async with aclosing(fleet.changes("board", from_start=True)) as stream:
            first, *_ = await take(stream, 3)
        # A consumer that was paused wakes up, after another one has read further.
        await fleet._store.acknowledge("board", StreamEvent(first.id, 1, "acme", first))
        assert (await fleet.status()).groups == {"board": GroupStatus(1)}


async def test_a_second_consumer_of_a_group_stands_by(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    async with fleet_of(farm, "acme") as fleet:
        active = fleet.changes("board", consumer="one", from_start=True)
        [event] = await take(active, 1)
        standing_by = fleet.changes("board", consumer="two")
        waiting = asyncio.create_task(take(standing_by, 1))
        pbx.set_status("100", "ON_CALL")
        [change] = await take(active, 1)
        assert not waiting.done()
        await active.aclose()
        assert await waiting == [change]
        assert event != change
        await standing_by.aclose()


async def test_a_group_that_fell_behind_gets_the_snapshots(farm: Farm) -> None:
    pbx = await farm.add("acme", 150)
    for number in pbx.extension_numbers:
        pbx.set_status(number, "ONLINE")
    await farm.add("globex", 1)
    async with fleet_of(farm, "acme", "globex", keep_changes=10) as fleet:
        async with aclosing(fleet.changes("slow", from_start=True)) as slow:
            await take(slow, 1)
        for state in ("ON_CALL", "OFFLINE"):  # trimming keeps more than it is asked to
            for number in pbx.extension_numbers:
                pbx.set_status(number, state)

            async def has_changed(state: str = state) -> bool:
                statuses = (await fleet.snapshot("acme")).values()
                return {text_of(status) for status in statuses} == {state}

            await until(has_changed)
        slow = fleet.changes("slow")
        events = await take(slow, 2)
        assert [type(event) for event in events] == [FleetResync, FleetResync]
        assert [event.pbx for event in events] == ["acme", "globex"]
        assert all(event.resync for event in events)
        assert isinstance(events[0], FleetResync)
        assert events[0].snapshot == await fleet.snapshot("acme")
        pbx.set_status("100", "ON_CALL")
        [change] = await take(slow, 1)
        assert change_of(change) == ("acme", "100", "OFFLINE", "ON_CALL")
        await slow.aclose()


async def test_a_pbx_that_moves_to_v22_begins_again(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    is_v22 = False

    async def connect(name: str, **shared: Any) -> Client:
        kind = v22.PortSIPClient if is_v22 else PortSIPClient
        return kind(pbx.url, username=pbx.username, password=pbx.password, retry=ONCE)

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        stream = fleet.changes("board", from_start=True)
        await take(stream, 1)
        await fleet.status()
        is_v22 = True
        work = asyncio.create_task(fleet.work())  # a new worker connects anew
        events = await take(stream, 2)
        assert [change_of(event) for event in events] == [
            ("acme", "100", "ONLINE", None),
            ("acme", "100", None, "ONLINE"),
        ]
        await stream.aclose()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_retry_after_postpones_the_next_cycle_of_its_pbx_only(farm: Farm) -> None:
    busy, other = await farm.add("busy", 1), await farm.add("other", 1)
    for pbx in (busy, other):
        pbx.set_status("100", "ONLINE")
    busy.fail("extensions.status", status=429, retry_after=60, times=None)
    async with fleet_of(farm, "busy", "other") as fleet:
        stream = fleet.changes("board", from_start=True)
        await take(stream, 2)
        for state in ("ON_CALL", "OFFLINE", "ONLINE"):
            other.set_status("100", state)
            await take(stream, 1)
        await stream.aclose()
    assert busy.served["extensions.status"] == 1


async def test_numbers_that_are_refused_are_asked_for_more_and_more_rarely(farm: Farm) -> None:
    pbx = await farm.add("acme", 3)
    statuses: list[int | None] = []

    async def connect(name: str, **shared: Any) -> Client:
        def note(attempt: Attempt) -> None:
            if attempt.operation == "extensions.status":
                statuses.append(attempt.status)

        return PortSIPClient(
            pbx.url, username=pbx.username, password=pbx.password, retry=ONCE, on_attempt=note
        )

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        async with aclosing(fleet.changes("board", from_start=True)) as stream:
            await take(stream, 3)
        async with PortSIPClient(pbx.url, username=pbx.username, password=pbx.password) as client:
            await client.extensions.remove("102")  # but it was listed

        async def has_polled_often() -> bool:
            return statuses.count(200) >= 25

        await until(has_polled_often)
    # Each cycle forgets what is not in the store. So without it the number is refused each time.
    assert 1 <= len(statuses) - statuses.count(200) <= 8


async def test_the_rate_of_requests_holds_when_another_worker_takes_over(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    sent: list[float] = []

    async def connect(name: str, **shared: Any) -> Client:
        def note(start: AttemptStart) -> None:
            if start.operation != "account.verify":  # logins are not limited
                sent.append(asyncio.get_running_loop().time())

        return PortSIPClient(
            pbx.url,
            username=pbx.username,
            password=pbx.password,
            requests_per_second=5,
            before_attempt=note,
        )

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        async with aclosing(fleet.changes("board", from_start=True)) as stream:
            await take(stream, 1)
        before = len(sent)
        work = asyncio.create_task(fleet.work())

        async def has_polled() -> bool:
            return len(sent) >= before + 3

        await until(has_polled)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert min(gaps) > 0.19


@pytest.mark.parametrize("made", [None, "client", PortSIPClient], ids=["none", "text", "class"])
async def test_connect_that_returns_no_client_is_an_outage_that_says_so(
    farm: Farm, made: object
) -> None:
    async def connect(name: str, **shared: Any) -> Any:
        return made

    async with (
        fleet_of(farm, "acme", connect=connect) as fleet,
        aclosing(fleet.changes("board", from_start=True)) as stream,
    ):
        [outage] = await take(stream, 1)
    assert isinstance(outage, FleetOutage)
    kind = type(made).__name__
    assert outage.error == (
        f"ConfigurationError: connect must be async and return a client, got {kind}"
    )


async def test_connect_that_hangs_is_an_outage(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portsip_async.fleet.cycle.CONNECT_SECONDS", 0.1)

    async def connect(name: str, **shared: Any) -> Client:
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        fleet_of(farm, "acme", connect=connect) as fleet,
        aclosing(fleet.changes("board", from_start=True)) as stream,
    ):
        [outage] = await take(stream, 1)
    assert isinstance(outage, FleetOutage)
    assert outage.error == "PortSIPError: connect did not return within 0.1 s"


async def test_a_client_that_the_application_closed_is_made_again(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    clients: list[Client] = []

    async def connect(name: str, **shared: Any) -> Client:
        clients.append(await farm.connect(name, **shared))
        return clients[-1]

    async with (
        fleet_of(farm, "acme", connect=connect) as fleet,
        aclosing(fleet.changes("board", from_start=True)) as stream,
    ):
        await take(stream, 1)
        await clients[0].close()
        pbx.set_status("100", "ON_CALL")
        [began, ended, change] = await take(stream, 3)
    assert isinstance(began, FleetOutage)
    assert isinstance(ended, FleetOutage)
    assert change_of(change) == ("acme", "100", "ONLINE", "ON_CALL")
    assert len(clients) == 2


async def test_two_pbxes_may_have_one_client(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    client = await farm.connect("acme")

    async def connect(name: str, **shared: Any) -> Client:
        return client

    async with (
        fleet_of(farm, "acme", "alias", connect=connect) as fleet,
        aclosing(fleet.changes("board", from_start=True)) as stream,
    ):
        await take(stream, 2)
        await fleet.remove("acme")
        await take(stream, 1)
        await until(lambda: has_polled(pbx, 5))
        pbx.set_status("100", "ON_CALL")
        [change] = await take(stream, 1)
    assert change_of(change) == ("alias", "100", "ONLINE", "ON_CALL")


async def has_polled(pbx: PBXSimulator, more: int) -> bool:
    """Wait until a PBX was polled some times more."""
    target = pbx.served["extensions.status"] + more
    while pbx.served["extensions.status"] < target:  # noqa: ASYNC110 - it has no event for this
        await asyncio.sleep(INTERVAL / 2)
    return True


async def test_an_interval_of_any_length_is_kept(farm: Farm) -> None:
    """A date can't hold the start of the next cycle, which does not come at once for that."""
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    async with fleet_of(farm, "acme", interval=1e12) as fleet:
        async with aclosing(fleet.changes("board", from_start=True)) as stream:
            await take(stream, 1)
        await asyncio.sleep(0.5)
    assert pbx.served["extensions.status"] == 1


async def test_a_cycle_that_redis_refuses_is_logged_and_not_run_again_at_once(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pbx = await farm.add("acme", 1)

    async def write(*args: object, **options: object) -> int:
        raise ResponseError("out of memory")

    monkeypatch.setattr(FleetStore, "write", write)
    async with fleet_of(farm, "acme", interval=0.3) as fleet:
        await fleet.status()
        await asyncio.sleep(1.0)
    assert 1 <= pbx.served["extensions.status"] <= 5
    assert [record.message for record in caplog.records if record.name == "portsip_async"] == [
        "acme: the fleet's Redis refused a cycle's command: ResponseError"
    ]


async def test_the_second_cancellation_of_a_worker_ends_its_cycles(farm: Farm) -> None:
    started = asyncio.Event()

    async def connect(name: str, **shared: Any) -> Client:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with fleet_of(farm, "acme", connect=connect) as fleet:
        work = asyncio.create_task(fleet.work())
        await started.wait()
        work.cancel()
        await asyncio.sleep(0.1)
        assert not work.done()
        work.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait((work,))
        assert not [task for task in asyncio.all_tasks() if "Fleet._work" in repr(task)]


async def test_closing_a_fleet_ends_the_loops_over_its_changes(farm: Farm) -> None:
    pbx = await farm.add("acme", 1)
    pbx.set_status("100", "ONLINE")
    fleet = fleet_of(farm, "acme")
    read = asyncio.Event()

    async def follow(consumer: str) -> None:
        async for _ in fleet.changes("board", consumer=consumer, from_start=True):
            read.set()

    loops = asyncio.gather(follow("one"), follow("two"))
    await read.wait()
    await fleet.close()
    async with asyncio.timeout(5):
        await loops


async def test_the_status_has_a_pbx_before_its_first_cycle(farm: Farm) -> None:
    async with fleet_of(farm, "acme", "globex") as fleet:
        await fleet.remove("globex")
        assert (await fleet.status()).pbxes.keys() == {"acme"}
        with pytest.raises(ValueError, match="pbx must be one of the fleet's, got 'globex'"):
            await fleet.snapshot("globex")


async def test_an_unknown_pbx_has_no_snapshot(farm: Farm) -> None:
    await farm.add("acme")
    async with fleet_of(farm, "acme") as fleet:
        with pytest.raises(ValueError, match="pbx must be one of the fleet's, got 'nope'"):
            await fleet.snapshot("nope")


def test_names_are_visible_text(farm: Farm) -> None:
    fleet = fleet_of(farm)
    for invalid in ("a\n", "\ud800"):
        with pytest.raises(ValueError, match=r"^name must be visible text"):
            fleet_of(farm, name=invalid)
        with pytest.raises(ValueError, match=r"^group must be visible text"):
            fleet.changes(invalid)
        with pytest.raises(ValueError, match=r"^consumer must be visible text"):
            fleet.changes("board", consumer=invalid)


async def test_a_status_beside_a_worker_starts_no_other_one(farm: Farm) -> None:
    """Not even if both begin on a new event loop, where nothing is open yet."""
    await farm.add("acme")
    fleet = fleet_of(farm, "acme")
    work = asyncio.create_task(fleet.work())
    await asyncio.sleep(0)

    async def was_read() -> bool:
        return (await fleet.status()).pbxes["acme"].extensions == 2 if farm.shared else False

    await fleet.status()
    await until(was_read)
    assert len(farm.shared) == 1
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await fleet.close()


async def test_one_process_has_one_worker_of_a_fleet(farm: Farm) -> None:
    async with fleet_of(farm) as fleet:
        work = asyncio.create_task(fleet.work())
        await asyncio.sleep(0)
        for _ in range(2):  # before it has connected, and after
            with pytest.raises(RuntimeError, match="already has a worker"):
                await fleet.work()
            await fleet.status()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis.example.com/0",
        "redis://user:hunter2@10.0.0.1:6379",
        "redis+sentinel://localhost:26379,:hunter2@sentinel-b:26379/mymaster/0",
        "redis://:hunter2@/0?host=redis.example.com",
        "redis://:hunter2@?host=redis.example.com",
    ],
)
def test_plain_redis_beyond_loopback_must_be_allowed(farm: Farm, url: str) -> None:
    with pytest.raises(ConfigurationError, match="rediss") as caught:
        Fleet(url, connect=farm.connect)
    assert "hunter2" not in str(caught.value)
    Fleet(url, connect=farm.connect, allow_plain=True)


@pytest.mark.parametrize(
    "url", ["", "hunter2", "http://:hunter2@localhost", "redis://:hunter2@[localhost/0"]
)
def test_a_url_of_no_redis_is_refused_without_showing_it(farm: Farm, url: str) -> None:
    with pytest.raises(ConfigurationError, match="url must be the URL of a Redis") as caught:
        Fleet(url, connect=farm.connect)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/0",
        "redis://127.0.0.1",
        "redis://[::1]:6379",
        "rediss://redis.example/0",
        "unix:///run/redis.sock",
        "memory://",
    ],
)
def test_the_url_of_a_redis_is_accepted(farm: Farm, url: str) -> None:
    fleet = Fleet(url, connect=farm.connect)
    assert repr(fleet) == "<Fleet 'fleet'>"
