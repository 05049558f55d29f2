"""The simulator's web socket `/wsi`, without the SDK: literal commands and messages."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import PBXSimulator

from .concurrency import collect_into, in_background, until
from .simulated_v22 import NEW_USER, ProbeV22
from .test_simulator import UPDATE, Clock, Probe
from .virtual_time import DAY, in_virtual_time, simulator, the_loop

STATES = "extension_events"
MANAGEMENT = "extension_management_events"
SECRET = "simulated-Secret-1"
WRONG = "access_token , username , domain or password error"
ADMIN = {"username": "admin", "password": SECRET, "domain": "test.io"}
FIELDS = ("online", "call_status", "presence", "presence_note")
STATUSES = ("OFFLINE", "ONLINE", "RINGING", "ON_CALL", "HELD")


class Subscriber:
    """Sends commands, and remembers what was reported about each extension.

    Attributes:
        seen: by number, the online flag, the call status, the presence and the note.
    """

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.seen: dict[str, dict[str, Any]] = {}

    async def send(self, command: str, **fields: Any) -> None:
        await self.ws.send_str(json.dumps({"command": command, **fields}))

    async def read(self) -> dict[str, Any]:
        """Return the next message."""
        message = await self.ws.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        content: dict[str, Any] = json.loads(message.data)
        self._merge(content)
        return content

    async def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a command, and return the next message."""
        await self.send(command, **fields)
        return await self.read()

    async def catch_up(self) -> list[dict[str, Any]]:
        """Read until the reply to a command, and return what came before it."""
        await self.send("nothing", id="last")
        found: list[dict[str, Any]] = []
        while (message := await self.read()).get("id") != "last":
            found.append(message)
        return found

    async def subscribe(self, *numbers: str) -> list[dict[str, Any]]:
        """Subscribe to extensions, and return what was sent apart from the acknowledgement."""
        await self.send("subscribe", id="this", topics=[STATES], extensions=numbers)
        messages = await self.catch_up()
        reply = {"command": "subscribe", "id": "this", "topics": [STATES], "status": 0}
        messages.remove(reply)
        return messages

    def shows(self, status: dict[str, Any], number: str) -> bool:
        """Return whether what was reported is what REST shows."""
        seen = self.seen[number]
        shown = seen["call_status"] or ("ONLINE" if seen["online"] else "OFFLINE")
        in_rest = {"RINGING": "ONLINE"}.get(shown, shown)
        if status["status"] == "OTHER_CALL":
            in_rest = "OTHER_CALL" if in_rest == "ON_CALL" else in_rest
        fields = (in_rest, seen["presence"], seen["presence_note"])
        return fields == (status["status"], status["presence"], status["presence_note"])

    def _merge(self, content: dict[str, Any]) -> None:
        items = content.get("status")
        for item in items if isinstance(items, list) else [content]:
            if "extension" in item:
                number = item["extension"].removeprefix("sip:").removesuffix("@test.io")
                self.seen.setdefault(number, {}).update(item)


@pytest.fixture
async def sim() -> AsyncIterator[PBXSimulator]:
    async with PBXSimulator(extensions=450, groups=1, status_seconds=0) as sim:
        yield sim


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def wsi(sim: PBXSimulator) -> str:
    return f"{sim.url}/wsi"


@asynccontextmanager
async def opened(
    sim: PBXSimulator, session: aiohttp.ClientSession, **login: str
) -> AsyncIterator[Subscriber]:
    """Open a socket, and log in as the administrator or somebody else."""
    async with session.ws_connect(wsi(sim), autoping=False) as ws:
        subscriber = Subscriber(ws)
        reply = await subscriber.ask("auth", **login or ADMIN)
        assert reply["status"] == 0, reply
        yield subscriber


@pytest.fixture
async def subscriber(
    sim: PBXSimulator, session: aiohttp.ClientSession
) -> AsyncIterator[Subscriber]:
    async with opened(sim, session) as subscriber:
        yield subscriber


def user_login(sim: PBXSimulator, number: str) -> dict[str, str]:
    user = sim.v22.user(sim.v22.user_id(number))
    return {"username": user["name"], "password": user["password"], "domain": "test.io"}


async def ended(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Read until the socket ends."""
    async with asyncio.timeout(10):
        while not ws.closed:
            await ws.receive()


# Logins.


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({}, 0, id="administrator"),
        pytest.param({"username": "admin@pbx.example"}, 0, id="administrator's email"),
        pytest.param({"domain": None}, 0, id="system administrator"),
        pytest.param({"password": "wrong"}, -1, id="wrong password"),
        pytest.param({"password": None}, -1, id="no password"),
        pytest.param({"password": 5}, -1, id="password is a number"),
        pytest.param({"username": "nobody"}, -1, id="unknown user"),
        pytest.param({"username": None}, -1, id="no name"),
        pytest.param({"username": None, "extension_number": "admin"}, -1, id="name as a number"),
        pytest.param({"domain": "other.io"}, -1, id="wrong domain"),
        pytest.param({"domain": ["test.io"]}, -1, id="domain is a list"),
    ],
)
async def test_administrator_logs_in(
    sim: PBXSimulator, session: aiohttp.ClientSession, change: dict[str, Any], status: int
) -> None:
    async with session.ws_connect(wsi(sim)) as ws:
        reply = await Subscriber(ws).ask("auth", **ADMIN | change)
    expected = {"command": "auth", "id": "1", "status": status}
    assert reply == (expected if status == 0 else expected | {"error": WRONG})
    assert sim.v22.socket.logins == (status == 0)


async def test_user_logs_in_by_name_or_number(
    sim: PBXSimulator, session: aiohttp.ClientSession
) -> None:
    """A user needs the domain."""
    login = user_login(sim, "101")
    by_number = login | {"extension_number": "101"}
    del by_number["username"]
    for fields in (login, by_number):
        async with opened(sim, session, **fields) as subscriber:
            await subscriber.subscribe("100")
            assert subscriber.seen.keys() == {"100"}
    async with session.ws_connect(wsi(sim)) as ws:
        reply = await Subscriber(ws).ask("auth", **login | {"domain": ""})
    assert reply["status"] == -1


async def test_wrong_logins_are_blocked_together_with_those_of_rest(
    session: aiohttp.ClientSession,
) -> None:
    async with PBXSimulator(extensions=1, quirks=["login_block"]) as sim:
        probe = ProbeV22(sim, session)
        async with session.ws_connect(wsi(sim)) as ws:
            subscriber = Subscriber(ws)
            await subscriber.ask("auth", **ADMIN | {"password": "wrong"})
            for _ in range(2):
                assert (await probe.login(password="wrong")).status == 400
            reply = await subscriber.ask("auth", **ADMIN)
        assert reply["status"] == -1
        assert "blocked" in reply["error"]
        assert (await probe.login()).status == 403


async def test_commands_before_the_login_are_refused(
    sim: PBXSimulator, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(wsi(sim)) as ws:
        subscriber = Subscriber(ws)
        for command in ("subscribe", "unsubscribe"):
            reply = await subscriber.ask(command, topics=[STATES], extensions=["100"])
            assert (reply["command"], reply["status"]) == (command, -1)
        sim.set_status("100", "ON_CALL")
        sim.v22.socket.say("for others")
        assert await subscriber.catch_up() == []


@pytest.mark.parametrize(
    ("login", "topic", "quirks", "status"),
    [
        ("system", STATES, [], -1),
        ("system", MANAGEMENT, [], -1),
        ("system", f"global_{MANAGEMENT}", [], 0),
        ("admin", f"global_{STATES}", [], -1),
        ("admin", MANAGEMENT, [], 0),
        ("admin", "cdr_events", [], 0),
        ("user", STATES, [], 0),
        ("user", MANAGEMENT, [], -1),
        ("user", MANAGEMENT, ["v22_3"], 0),
    ],
)
async def test_account_decides_on_topics(
    session: aiohttp.ClientSession, login: str, topic: str, quirks: list[str], status: int
) -> None:
    async with PBXSimulator(extensions=1, status_seconds=0, quirks=quirks) as sim:
        logins = {
            "system": {"username": sim.username, "password": sim.password},
            "admin": ADMIN,
            "user": user_login(sim, "100"),
        }
        async with opened(sim, session, **logins[login]) as subscriber:
            reply = await subscriber.ask(
                "subscribe", id="7", topics=[topic], extensions=["100"], tenants=["1"]
            )
            assert (reply["id"], reply["topics"], reply["status"]) == ("7", [topic], status)
            assert ("error" in reply) == (status == -1)
            states = await subscriber.catch_up()
            assert bool(states) == (topic == STATES and status == 0)


# States and events.


async def test_states_after_subscribing(sim: PBXSimulator, subscriber: Subscriber) -> None:
    """They come in messages of 200 at most, and unknown numbers have none."""
    numbers = [*sim.extension_numbers, "7777", ""]
    messages = await subscriber.subscribe(*numbers)
    assert [len(message["status"]) for message in messages] == [200, 200, 50]
    assert {message["event_type"] for message in messages} == {"extension_status"}
    assert subscriber.seen.keys() == set(sim.extension_numbers)
    assert subscriber.seen["101"]["extension_id"] == sim.v22.user_id("101")
    assert sim.v22.socket.followed == len(numbers)
    assert sim.v22.socket.subscriptions == 1
    assert len(await subscriber.subscribe("101", "101")) == 1  # again, and once


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("OFFLINE", "ONLINE", ["extension_status"]),
        ("OFFLINE", "ON_CALL", ["extension_status"]),
        ("RINGING", "OFFLINE", ["extension_status"]),
        ("ONLINE", "RINGING", ["extension_call"]),
        ("RINGING", "ON_CALL", ["extension_call", "extension_presence"]),
        ("ON_CALL", "ONLINE", ["extension_call", "extension_presence"]),
        ("ONLINE", "HELD", ["extension_call"]),
        ("ONLINE", "ONLINE", []),
    ],
)
async def test_event_of_a_change(
    sim: PBXSimulator, subscriber: Subscriber, before: str, after: str, expected: list[str]
) -> None:
    sim.set_status("100", before)
    await subscriber.subscribe("100")
    sim.set_status("100", after)
    sim.set_status("101", "ON_CALL")  # nobody follows it
    events = await subscriber.catch_up()
    assert [event["event_type"] for event in events] == expected
    assert sim.v22.socket.events == len(expected)


async def test_events_have_the_fields_of_the_samples(
    sim: PBXSimulator, subscriber: Subscriber
) -> None:
    sim.set_status("100", "ONLINE")
    await subscriber.subscribe("100")
    sim.set_status("100", "RINGING", presence="BUSY", presence_note="Back at 3")
    call, presence = await subscriber.catch_up()
    user_id = sim.v22.user_id("100")
    common = {"extension": "sip:100@test.io", "extension_id": user_id}
    common |= {"tenant_id": call["tenant_id"], "time": call["time"]}
    assert call["time"].isdigit()
    assert call == {"event_type": "extension_call", "call_status": "RINGING", **common}
    assert presence == {
        "event_type": "extension_presence",
        "presence": "BUSY",
        "presence_note": "Back at 3",
        **common,
    }
    sim.set_status("100", "RINGING", presence_note="Lunch")  # the presence is derived again
    (presence,) = await subscriber.catch_up()
    assert (presence["presence"], presence["presence_note"]) == ("AVAILABLE", "Lunch")
    sim.set_status("100", "OFFLINE")
    (status,) = await subscriber.catch_up()
    del common["tenant_id"]
    assert status["status"] == [
        {
            "call_status": "",
            "online": False,
            "presence": "OFFLINE",
            "presence_note": "",
            "push_online": False,
            **common,
        }
    ]


async def test_changes_in_a_row_are_all_sent(sim: PBXSimulator, subscriber: Subscriber) -> None:
    sim.set_status("100", "ONLINE")
    await subscriber.subscribe("100")
    for status in ("RINGING", "ON_CALL", "ONLINE"):
        sim.set_status("100", status, presence="AWAY")
    events = await subscriber.catch_up()
    calls = [event["call_status"] for event in events if event["event_type"] == "extension_call"]
    assert calls == ["RINGING", "ON_CALL", ""]


@pytest.mark.parametrize("quirks", [[], ["v22_3"]], ids=["22.2", "22.3"])
async def test_subscriber_knows_what_rest_shows(
    session: aiohttp.ClientSession, quirks: list[str]
) -> None:
    """After any changes, of any kind, in any order."""
    chance = random.Random(1)
    async with PBXSimulator(extensions=4, status_seconds=0, quirks=quirks) as sim:
        probe = ProbeV22(sim, session)
        async with opened(sim, session) as subscriber:
            await subscriber.subscribe("100", "101", "102")
            for _ in range(60):
                for _ in range(chance.randint(1, 3)):
                    sim.set_status(
                        chance.choice(("100", "101", "102")),
                        chance.choice((*STATUSES, None)),
                        presence=chance.choice((None, "AWAY", "BUSY")),
                        presence_note=chance.choice((None, "Lunch", "")),
                    )
                await subscriber.catch_up()
                number = chance.choice(("100", "101", "102"))
                status = (await probe.get(f"/users/{sim.v22.user_id(number)}/status")).body
                assert subscriber.shows(status, number), status
        assert sim.v22.socket.events > 60


async def test_spellings_of_later_versions(session: aiohttp.ClientSession) -> None:
    async with (
        PBXSimulator(extensions=1, status_seconds=0, quirks=["v22_3"]) as sim,
        opened(sim, session) as subscriber,
    ):
        sim.set_status("100", "ONLINE")
        await subscriber.subscribe("100")
        assert subscriber.seen["100"]["presence"] == "ONLINE"
        sim.set_status("100", "RINGING")
        events = await subscriber.catch_up()
    names = [event["event_type"] for event in events]
    assert names == ["extension_call", "extension_presence"]


async def test_presence_that_a_user_sets(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    sim.set_status("101", "ONLINE")
    await subscriber.subscribe("101")
    probe = ProbeV22(sim, session)
    await probe.login(**user_login(sim, "101"))
    body = {"presence": "AWAY", "presence_note": "Lunch"}
    assert (await probe.post("/user/presence", body)).status < 300
    (event,) = await subscriber.catch_up()
    assert (event["event_type"], event["presence"]) == ("extension_presence", "AWAY")
    assert event["presence_note"] == "Lunch"


async def test_unsubscribing(sim: PBXSimulator, subscriber: Subscriber) -> None:
    sim.set_status("100", "ONLINE")
    sim.set_status("101", "ONLINE")
    await subscriber.subscribe("100", "101")
    reply = await subscriber.ask("unsubscribe", topics=[STATES], extensions=["100", "555"])
    assert (reply["command"], reply["status"]) == ("unsubscribe", 0)
    sim.set_status("100", "RINGING")
    sim.set_status("101", "RINGING")
    (event,) = await subscriber.catch_up()
    assert event["extension"] == "sip:101@test.io"
    assert sim.v22.socket.followed == 1


async def test_two_sockets_follow_on_their_own(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    sim.set_status("100", "ONLINE")
    await subscriber.subscribe("100")
    async with opened(sim, session) as other:
        await other.subscribe("100")
        sim.set_status("100", "RINGING")
        assert len(await other.catch_up()) == 1
        assert sim.v22.socket.open == 2
    await until(lambda: sim.v22.socket.open == 1)
    sim.set_status("100", "ON_CALL")
    assert len(await subscriber.catch_up()) == 3


# Extensions created, updated and destroyed.


async def test_management_events_of_both_generations(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    """Each operation sends one event."""
    await subscriber.ask("subscribe", topics=[MANAGEMENT])
    v22, classic = ProbeV22(sim, session), Probe(sim, session)
    user_id = (await v22.post("/users", NEW_USER)).body["id"]
    (event,) = await subscriber.catch_up()
    assert event == {
        "event_type": "extension_created",
        "extension_number": "9510",
        "disp_name": "Ann",
        "email": "ann@test.io",
        "extension_id": user_id,
        "tenant_id": event["tenant_id"],
        "username": "ann",
        "enabled": True,
    }

    async def event_of(change: Awaitable[Any]) -> tuple[str, str]:
        assert (await change).status < 300
        (event,) = await subscriber.catch_up()
        return event["event_type"], event["extension_number"]

    path = f"/users/{user_id}"
    assert await event_of(v22.post(path, {"enabled": False})) == ("extension_updated", "9510")
    assert await event_of(v22.post(f"{path}/destroy")) == ("extension_destroyed", "9510")
    new = {"extension_number": "9511", "password": "p", "web_access_password": "w"}
    for name, fields, expected in (
        ("create", new, "extension_created"),
        ("update", UPDATE, "extension_updated"),
        ("destroy", {}, "extension_destroyed"),
    ):
        sent = {"extension_number": "9511", **fields}
        got = await event_of(classic.post(f"/extensions/{name}", **sent))
        assert got == (expected, "9511")
    assert (await subscriber.ask("unsubscribe", topics=[MANAGEMENT]))["status"] == 0
    await v22.post("/users", NEW_USER)
    assert await subscriber.catch_up() == []


async def test_unknown_number_is_reported_once_it_exists(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    """Also if it is created a second time, with another id."""
    assert await subscriber.subscribe("9510") == []
    probe = ProbeV22(sim, session)
    for _ in range(2):
        user_id = (await probe.post("/users", NEW_USER)).body["id"]
        (event,) = await subscriber.catch_up()
        assert event["event_type"] == "extension_status"
        assert event["status"][0]["extension_id"] == user_id
        sim.set_status("9510", "HELD")
        assert await subscriber.catch_up()
        assert (await probe.post(f"/users/{user_id}/destroy")).status < 300
        assert await subscriber.catch_up() == []


# Statuses that change by themselves.


@in_virtual_time
async def test_statuses_that_change_by_themselves() -> None:
    """They are sent at once: a subscriber always knows what the PBX shows."""
    async with (
        simulator(extensions=40, status_seconds=30.0, token_lifetime=DAY) as sim,
        aiohttp.ClientSession() as session,
        opened(sim, session) as subscriber,
    ):
        probe = Probe(sim, session)
        numbers = sim.extension_numbers
        sim.set_status("100", "ON_CALL")
        await subscriber.subscribe(*numbers[:20], "9511")
        await asyncio.sleep(7.0)
        await subscriber.subscribe(*numbers[20:])
        new = {"extension_number": "9511", "password": "p", "web_access_password": "w"}
        await probe.post("/extensions/create", **new)
        numbers.append("9511")
        events = 0
        for _ in range(400):
            await asyncio.sleep(0.37)
            events += len(await subscriber.catch_up())
            reply = await probe.post("/extensions/status", extensions=numbers)
            shown = {
                row["extension_number"]: row["status"] for row in reply.body["extension_status"]
            }
            seen = {
                number: each["call_status"] or ("OFFLINE", "ONLINE")[each["online"]]
                for number, each in subscriber.seen.items()
            }
            assert seen == shown
        assert events > 40


@in_virtual_time
async def test_statuses_are_sent_at_the_moment_of_the_change() -> None:
    """Extensions change at times of their own, and the time of an event is exact."""
    times: dict[str, list[float]] = {}
    async with (
        simulator(extensions=20, status_seconds=7.0) as sim,
        aiohttp.ClientSession() as session,
        opened(sim, session) as subscriber,
    ):
        await subscriber.subscribe(*sim.extension_numbers)
        while the_loop().time() < 700.0:
            event = await subscriber.read()
            item = event["status"][0] if "status" in event else event
            times.setdefault(item["extension"], []).append(the_loop().time())
    assert len(times) == 20
    for each in times.values():
        phases = [time % 7.0 for time in each]
        assert max(phases) - min(phases) < 1e-5


class CountingClock:
    """Counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return the_loop().time()


async def test_clock_that_jumps(session: aiohttp.ClientSession) -> None:
    """No timer has fired, but all sockets learn what a new subscriber is sent."""
    clock = Clock()
    async with (
        PBXSimulator(extensions=50, clock=clock) as sim,
        opened(sim, session) as first,
        opened(sim, session) as second,
    ):
        await first.subscribe(*sim.extension_numbers)
        clock.now += 40.0
        await second.subscribe(*sim.extension_numbers)
        await first.catch_up()
        for number, seen in second.seen.items():
            known = first.seen[number]
            assert [known[name] for name in FIELDS] == [seen[name] for name in FIELDS]
        assert sim.v22.socket.events > 20


@in_virtual_time
async def test_nothing_runs_while_nobody_follows() -> None:
    clock = CountingClock()
    async with PBXSimulator(extensions=20, status_seconds=5.0, clock=clock) as sim:
        async with aiohttp.ClientSession() as session, opened(sim, session) as subscriber:
            await subscriber.subscribe("100", "101")
            reads = clock.reads
            await asyncio.sleep(100.0)
            assert clock.reads >= reads + 40
            topics = {"topics": [STATES], "extensions": ["100", "101"]}
            await subscriber.send("unsubscribe", **topics)
            await subscriber.catch_up()
            reads = clock.reads
            await asyncio.sleep(DAY)
            assert clock.reads == reads
            await subscriber.subscribe("102")
        await asyncio.sleep(1.0)
        reads = clock.reads
        await asyncio.sleep(DAY)
        assert clock.reads == reads  # the socket has ended


# Faults.


async def test_cut(sim: PBXSimulator, subscriber: Subscriber) -> None:
    await subscriber.subscribe("100")
    sim.v22.socket.cut()
    message = await subscriber.ws.receive(timeout=10)
    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await until(lambda: sim.v22.socket.open == 0)
    assert sim.v22.socket.followed == 0
    assert sim.v22.socket.injected["cut"] == 1


@pytest.mark.parametrize("pings", [False, True])
async def test_silence(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber, pings: bool
) -> None:
    """Only sockets that are open fall silent, and for good."""
    sim.set_status("100", "ONLINE")
    await subscriber.subscribe("100")
    sim.v22.socket.say("not sent yet")
    sim.v22.socket.silence(pings=pings)
    sim.v22.socket.clear()
    async with opened(sim, session) as other:
        sim.set_status("100", "RINGING")
        sim.v22.socket.say("{}")
        await subscriber.ws.ping()
        await subscriber.send("subscribe", topics=[STATES], extensions=["100"])
        assert await other.read() == {}
        await other.subscribe("100")
        sim.set_status("100", "ON_CALL")
        assert await other.catch_up()
    received = []
    with suppress(TimeoutError):
        while True:
            received.append((await subscriber.ws.receive(timeout=0.05)).type)
    assert received == ([aiohttp.WSMsgType.PONG] if pings else [])
    assert not subscriber.ws.closed
    assert sim.v22.socket.injected["silence"] == 1


async def test_say(sim: PBXSimulator, subscriber: Subscriber) -> None:
    sim.v22.socket.say("{not JSON")
    sim.v22.socket.say(b"\xff\x00")
    text, binary = [await subscriber.ws.receive(timeout=10) for _ in range(2)]
    assert (text.type, text.data) == (aiohttp.WSMsgType.TEXT, "{not JSON")
    assert (binary.type, binary.data) == (aiohttp.WSMsgType.BINARY, b"\xff\x00")


async def test_refuse(sim: PBXSimulator, session: aiohttp.ClientSession) -> None:
    async def status() -> int:
        try:
            async with opened(sim, session):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    sim.v22.socket.refuse(502, times=2)
    assert [await status() for _ in range(3)] == [502, 502, 101]
    sim.v22.socket.refuse()
    assert [await status() for _ in range(3)] == [503, 503, 503]
    sim.v22.socket.clear()
    assert await status() == 101
    assert sim.v22.socket.injected == {"refuse": 5}
    assert sim.v22.socket.connections == 2


@in_virtual_time
async def test_delay() -> None:
    async with simulator(extensions=1, status_seconds=0.0) as sim:
        sim.v22.socket.delay(40.0, times=1)
        async with aiohttp.ClientSession() as session:
            async with opened(sim, session):
                assert 40.0 <= the_loop().time() < 40.1
            async with opened(sim, session):
                assert the_loop().time() < 41.0
            sim.v22.socket.delay(40.0)
            opening = asyncio.ensure_future(session.ws_connect(wsi(sim)))
            await asyncio.sleep(1.0)
            await sim.stop()  # it does not wait for the rest
            assert the_loop().time() < 50.0
            with pytest.raises(aiohttp.ClientError):
                await opening


async def test_refused_login(sim: PBXSimulator, session: aiohttp.ClientSession) -> None:
    sim.v22.socket.refuse_login(times=1)
    async with session.ws_connect(wsi(sim)) as ws:
        subscriber = Subscriber(ws)
        replies = [await subscriber.ask("auth", **ADMIN) for _ in range(2)]
    assert [reply["status"] for reply in replies] == [-1, 0]
    assert sim.v22.socket.injected == {"login": 1}


async def test_refused_topic(sim: PBXSimulator, subscriber: Subscriber) -> None:
    sim.v22.socket.refuse_topic(MANAGEMENT, times=1)
    replies = [await subscriber.ask("subscribe", topics=[MANAGEMENT]) for _ in range(2)]
    assert [reply["status"] for reply in replies] == [-1, 0]
    sim.v22.socket.refuse_topic(STATES)
    reply = await subscriber.ask("subscribe", topics=[STATES], extensions=["100"])
    assert (reply["status"], reply["topics"]) == (-1, [STATES])
    assert sim.v22.socket.injected == {"topic": 2}


async def test_no_acknowledgements_and_no_states(sim: PBXSimulator, subscriber: Subscriber) -> None:
    """Refusals are still sent."""
    sim.set_status("100", "ONLINE")
    sim.v22.socket.acknowledges = sim.v22.socket.sends_states = False
    await subscriber.send("subscribe", topics=[STATES], extensions=["100"])
    sim.v22.socket.refuse_topic(MANAGEMENT)
    await subscriber.send("subscribe", topics=[MANAGEMENT])
    (refusal,) = await subscriber.catch_up()
    assert refusal["status"] == -1
    sim.set_status("100", "RINGING")
    (event,) = await subscriber.catch_up()
    assert event["event_type"] == "extension_call"
    sim.v22.socket.clear()
    assert await subscriber.subscribe("100")


async def test_events_in_another_order(sim: PBXSimulator, subscriber: Subscriber) -> None:
    """Those of one extension keep their order."""
    numbers = sim.extension_numbers[:20]
    for number in numbers:
        sim.set_status(number, "ONLINE")
    await subscriber.subscribe(*numbers)
    sim.v22.socket.reorders = True
    for status in ("RINGING", "HELD"):
        for number in numbers:
            sim.set_status(number, status)
    events = [await subscriber.read() for _ in range(40)]
    order = [event["extension"] for event in events]
    assert order != [f"sip:{number}@test.io" for number in numbers] * 2
    assert {subscriber.seen[number]["call_status"] for number in numbers} == {"HELD"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda socket: socket.refuse(101),
        lambda socket: socket.refuse(times=0),
        lambda socket: socket.delay(-1.0),
        lambda socket: socket.refuse_topic("weather"),
        lambda socket: socket.refuse_login(times=0),
    ],
    ids=["status", "no times", "negative delay", "unknown topic", "no logins"],
)
def test_wrong_script(wrong: Callable[[Any], None]) -> None:
    with pytest.raises(ValueError, match="must be"):
        wrong(PBXSimulator(extensions=1).v22.socket)


# The server.


async def test_restart_cuts_sockets(sim: PBXSimulator, session: aiohttp.ClientSession) -> None:
    """At once, in whatever state they are; and nothing of them is left."""
    before = asyncio.all_tasks()
    async with opened(sim, session) as subscriber:
        await subscriber.subscribe(*sim.extension_numbers)
        async with session.ws_connect(wsi(sim)) as other:
            async with asyncio.timeout(5):
                await sim.restart()
            assert asyncio.all_tasks() <= before
            assert (sim.v22.socket.open, sim.v22.socket.followed) == (0, 0)
            await ended(subscriber.ws)
            await ended(other)
    async with opened(sim, session) as subscriber:
        assert len(await subscriber.subscribe("100")) == 1


async def test_sockets_are_no_requests(session: aiohttp.ClientSession) -> None:
    async with PBXSimulator(extensions=1, max_in_flight=1) as sim:
        async with opened(sim, session), opened(sim, session):
            assert sim.in_flight == 0
            assert (await ProbeV22(sim, session).get("/users")).status == 200
        assert sim.peak_in_flight == 1
        assert set(sim.v22.served) == {"auth.sign_in", "users.list"}


@pytest.mark.parametrize(
    ("generations", "status"), [(("classic",), 404), (("v22",), 400)], ids=["classic", "v22"]
)
async def test_plain_request(
    session: aiohttp.ClientSession, generations: tuple[str, ...], status: int
) -> None:
    async with PBXSimulator(extensions=1, generations=generations) as sim:
        async with session.get(wsi(sim)) as reply:
            assert reply.status == status
        assert sim.v22.socket.connections == 0


def test_in_thread() -> None:
    """Every method works from another thread, during the block and after it."""
    with PBXSimulator.in_thread(extensions=5, status_seconds=0.0) as sim:

        async def follow() -> None:
            async with aiohttp.ClientSession() as session, opened(sim, session) as subscriber:
                sim.set_status("100", "ONLINE")
                await subscriber.subscribe("100")
                sim.set_status("100", "RINGING")
                assert (await subscriber.read())["call_status"] == "RINGING"
                sim.v22.socket.say("{}")
                assert await subscriber.read() == {}
                await sim.restart()
                await ended(subscriber.ws)
            async with aiohttp.ClientSession() as session, opened(sim, session) as subscriber:
                sim.v22.socket.cut()
                await ended(subscriber.ws)

        asyncio.run(follow())
        assert sim.v22.socket.connections == 2
    sim.set_status("100", "OFFLINE")
    sim.v22.socket.cut()
    assert (sim.v22.socket.open, sim.v22.socket.followed) == (0, 0)


async def test_client_that_does_not_read_is_cut(
    sim: PBXSimulator, session: aiohttp.ClientSession, subscriber: Subscriber
) -> None:
    """Its messages take bounded memory, and others get theirs."""
    async with opened(sim, session) as slow:
        received: list[Any] = []

        async def say(text: str) -> None:
            """Send a text, and wait until the other client has it."""
            expected = len(received) + 1
            sim.v22.socket.say(text)
            await until(lambda: len(received) == expected)

        async with in_background(collect_into(received, subscriber.ws)):
            for _ in range(90):
                await say("x" * 1_000_000)
        assert sim.v22.socket.open == 1
        await ended(slow.ws)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[]",
        '"auth"',
        "{",
        "[" * 100_000,
        '{"command": 5}',
        '{"command": "auth"}',
        '{"command": "auth", "username": {}, "password": []}',
        '{"command": "auth", "username": "\\ud800", "password": "\\ud800"}',
        '{"command": "subscribe", "topics": "extension_events", "extensions": ["100"]}',
        '{"command": "subscribe", "topics": [{"topic": "extension_events"}]}',
        '{"command": "subscribe", "topics": ["extension_events"]}',
        '{"command": "subscribe", "topics": ["extension_events"], "extensions": "100"}',
        '{"command": "subscribe", "topics": ["extension_events"], "extensions": [100, null]}',
        '{"command": "subscribe", "topics": ["weather"], "extensions": ["100"]}',
        '{"command": "destroy", "id": {"$ref": 1}}',
        b"\xff\xfe",
        b"",
    ],
    ids=[
        "empty", "null", "list", "text", "cut off", "deep", "number", "no fields", "odd login",
        "surrogates", "topics are a text", "version 12", "no extensions", "extensions are a text",
        "no texts", "unknown topic", "unknown command", "not UTF-8", "empty bytes",
    ],
)  # fmt: skip
async def test_rubbish_is_refused(
    sim: PBXSimulator,
    subscriber: Subscriber,
    caplog: pytest.LogCaptureFixture,
    message: str | bytes,
) -> None:
    """It is replied to, and the socket stays."""
    caplog.set_level(logging.DEBUG)
    if isinstance(message, bytes):
        await subscriber.ws.send_bytes(message)
    else:
        await subscriber.ws.send_str(message)
    assert (await subscriber.read())["status"] == -1
    await subscriber.subscribe("100")
    logged = [record for record in caplog.records if record.name.startswith("portsip_async")]
    assert not logged


async def test_broken_frames_and_long_messages_end_a_socket(
    sim: PBXSimulator, subscriber: Subscriber, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is raised, and no secret is logged."""
    caplog.set_level(logging.DEBUG)
    with suppress(ConnectionError):
        await subscriber.send("auth", **ADMIN | {"padding": "x" * 5_000_000})
    await ended(subscriber.ws)
    await until(lambda: sim.v22.socket.open == 0)
    reader, writer = await asyncio.open_connection(sim.host, sim.port)
    writer.write(
        b"GET /wsi HTTP/1.1\r\nHost: pbx\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\xff" * 100 + SECRET.encode())
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()
    await until(lambda: sim.v22.socket.open == 0)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "quirk", ["nulls", "absent_fields", "unknown_enums", "numbers_as_strings", "unknown_fields"]
)
async def test_quirk_changes_events(session: aiohttp.ClientSession, quirk: str) -> None:
    async with PBXSimulator(extensions=1, status_seconds=0, quirks=[quirk]) as sim:
        sim.set_status("100", "ON_CALL")
        async with session.ws_connect(wsi(sim)) as ws:
            subscriber = Subscriber(ws)
            assert int((await subscriber.ask("auth", **ADMIN))["status"]) == 0
            await subscriber.send("subscribe", topics=[STATES], extensions=["100"])
            await subscriber.catch_up()
            seen = subscriber.seen["100"]
    expected: dict[str, Any] = {
        "nulls": {"call_status": None, "online": None},
        "unknown_enums": {"call_status": "NEW_VALUE", "presence": "NEW_VALUE", "online": True},
        "numbers_as_strings": {"call_status": "ON_CALL", "online": "true"},
        "unknown_fields": {"call_status": "ON_CALL", "online": True},
        "absent_fields": {"extension": "sip:100@test.io"},
    }
    assert expected[quirk].items() <= seen.items()
    if quirk == "absent_fields":
        assert seen.keys() == {"extension", "extension_id"}
