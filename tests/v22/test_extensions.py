"""Extensions of generation v22: people by number, their status, polls and watches."""

import asyncio
from typing import Any

import pytest

from portsip_async import (
    ConfigurationError,
    NotFound,
    ReplyError,
    RetryPolicy,
    ServerError,
    StatusChange,
)
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ExtensionState, PortSIPClient, Presence, Status

from ..concurrency import collect_into, in_background, until
from ..wire_server import WireServer, reply
from .conftest import V22Maker
from .test_users import USER, new


class TestNames:
    async def test_arguments_by_name(self, pbx22: PortSIPClient) -> None:
        """The contract calls the arguments ``number`` and ``numbers``."""
        shown = await pbx22.extensions.show(number="101")
        assert shown.extension_number == "101"
        patched = await pbx22.extensions.patch(number="101", changes={"department": "Sales"})
        assert patched.department == "Sales"
        [state] = await pbx22.extensions.status(numbers=["101"])
        assert state.extension_number == "101"
        await pbx22.extensions.remove(number="101")


class TestDirectory:
    async def test_poll_after_a_walk(self, make_v22: V22Maker) -> None:
        """After one walk, polling 2,000 numbers costs 2,000 requests: no number is looked up."""
        async with PBXSimulator(extensions=2000, status_seconds=0) as sim:
            pbx = make_v22(sim.url, username=sim.username, password=sim.password)
            numbers = [str(user.extension_number) async for user in pbx.users.list()]
            poll = pbx.extensions.poll_status(numbers, concurrency=32)
            results = [result async for result in poll]
            assert sorted(result.extension_number for result in results) == sorted(numbers)
            assert not any(result.error for result in results)
            assert sim.v22.served["users.status"] == 2000
            assert sim.v22.served["users.find"] == 0
            assert sim.v22.served["users.list"] == 20

    async def test_number_is_looked_up_once(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """Without a walk, each number is looked up once. Views share what the client knows."""
        for _ in range(3):
            await pbx22.extensions.status(["100", "101"])
        await pbx22.with_options(timeout=5).extensions.status(["101"])
        assert sim.v22.served["users.find"] == 2
        assert sim.v22.served["users.status"] == 7

    async def test_extension_that_was_created_anew(
        self, pbx22: PortSIPClient, sim: PBXSimulator, make_v22: V22Maker
    ) -> None:
        """If the number has another user by now, the new one is found."""
        first = (await pbx22.extensions.show("100")).id
        other = make_v22()
        await other.extensions.remove("100")
        second = await other.users.create(new("100"))
        assert second != first
        assert [each.user_id for each in await pbx22.extensions.status(["100"])] == [second]
        assert (await pbx22.extensions.show("100")).id == second
        assert (await pbx22.extensions.patch("100", {"department": "New"})).id == second

    async def test_number_that_moved_to_another_user(
        self, wire: WireServer, make_v22: V22Maker
    ) -> None:
        """A user who has another number by now is neither shown, changed nor removed by the old."""
        found = {"id": "u1", "extension_number": "951", "type": "EXTENSION"}
        moved = {**USER, "extension_number": "952"}
        pbx = make_v22(wire.url, token="token-1")
        # Shown: the number is looked up again.
        newer = {**USER, "id": "u2"}
        wire.script = [reply(found), reply(moved), reply({**found, "id": "u2"}), reply(newer)]
        assert (await pbx.extensions.show("951")).id == "u2"
        # Changed: nothing is written, and the next attempt looks the number up.
        wire.arrivals.clear()
        wire.script = [
            reply({**moved, "id": "u2"}),
            reply({**found, "id": "u3"}),
            reply({**USER, "id": "u3"}),
            reply(b""),
        ]
        with pytest.raises(ReplyError):
            await pbx.extensions.patch("951", {"department": "x"})
        assert [each.method for each in wire.arrivals] == ["GET"]
        assert (await pbx.extensions.patch("951", {"department": "x"})).id == "u3"
        # Removed: the number is always looked up first.
        wire.arrivals.clear()
        wire.script = [reply({**found, "id": "u4"}), reply(b"", 204)]
        await pbx.extensions.remove("951")
        assert wire.paths() == ["/api/extension_numbers/951", "/api/users/u4/destroy"]
        # Not removed, if the PBX tells about another number.
        wire.arrivals.clear()
        wire.script = [reply({**found, "extension_number": "952"}), reply(b"", 204)]
        with pytest.raises(ReplyError):
            await pbx.extensions.remove("951")
        assert wire.paths() == ["/api/extension_numbers/951"]

    async def test_unknown_number(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """A number that nothing has is NotFound, for every operation."""
        for call in (
            pbx22.extensions.show("999999"),
            pbx22.extensions.patch("999999", {"department": "x"}),
            pbx22.extensions.remove("999999"),
            pbx22.extensions.status(["100", "999999"]),
        ):
            with pytest.raises(NotFound):
                await call


class TestStatus:
    async def test_states_in_order(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """The states come in the order of the numbers, each with its number and id."""
        sim.set_status("101", "ON_CALL")
        sim.set_status("102", "OFFLINE")
        states = await pbx22.extensions.status(["102", "101"])
        assert [(each.extension_number, each.status) for each in states] == [
            ("102", Status.OFFLINE),
            ("101", Status.ON_CALL),
        ]
        assert all(each.user_id for each in states)
        assert await pbx22.extensions.status([]) == []

    @pytest.mark.parametrize(
        ("told", "status"),
        [
            ("OTHER_CALL", Status.ON_CALL),
            ("ON_CALL", Status.ON_CALL),
            ("ONLINE", Status.ONLINE),
            ("RINGING", Status.RINGING),
            ("NEW_IN_30", "NEW_IN_30"),
            (None, None),
        ],
    )
    async def test_vocabularies(
        self, wire: WireServer, make_v22: V22Maker, told: str | None, status: str | None
    ) -> None:
        """The words of all versions are read, and those of newer ones are kept."""
        wire.script = [
            reply({"id": "u1", "extension_number": "951"}),
            reply({"status": told, "presence": "BUSINESS_TRIP", "presence_note": "n"}),
        ]
        [state] = await make_v22(wire.url, token="token-1").extensions.status(["951"])
        assert state == ExtensionState("951", status, Presence.BUSINESS_TRIP, "n", "u1")

    async def test_unknown_number_in_a_poll(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """A number that nothing has fails alone, however many there are."""
        numbers = [*(f"99{at:04}" for at in range(50)), "100", *(f"98{at:04}" for at in range(50))]
        results = [each async for each in pbx22.extensions.poll_status(numbers, ordered=True)]
        assert [each.extension_number for each in results] == numbers

        assert sim.v22.served["users.find"] == 101

    async def test_number_that_is_no_part_of_a_path(
        self, pbx22: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """It is the result of its number in a poll, and refused before anything is sent here."""
        numbers = ["100", "..", ".", "101"]
        results = [each async for each in pbx22.extensions.poll_status(numbers, ordered=True)]
        assert [type(each.error) for each in results] == [
            type(None),
            ValueError,
            ValueError,
            type(None),
        ]
        sent = sim.v22.served["users.status"]
        with pytest.raises(ValueError, match=r"\.\."):
            await pbx22.extensions.status(["100", ".."])
        assert sim.v22.served["users.status"] == sent == 2

    async def test_failing_requests_of_a_poll(self, make_v22: V22Maker, sim: PBXSimulator) -> None:
        """A failure is the result of its number."""
        pbx = make_v22(retry=RetryPolicy(attempts=1))
        await pbx.users.list().collect()
        sim.v22.fail("users.status", status=500, times=3)
        results = [each async for each in pbx.extensions.poll_status(["100", "101", "102", "103"])]
        assert sum(isinstance(each.error, ServerError) for each in results) == 3


class TestWatch:
    async def test_first_states_and_changes(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """Each extension is told once, then every change."""
        for number in sim.extension_numbers:
            sim.set_status(number, "ONLINE")
        changes: list[StatusChange[ExtensionState]] = []

        async def consume() -> None:
            async for change in pbx22.extensions.watch_status(["100", "101"], interval=0.02):
                changes.append(change)  # noqa: PERF401 - seen as they arrive

        async with in_background(consume()):
            await until(lambda: len(changes) == 2)
            sim.set_status("101", "ON_CALL", presence="AWAY", presence_note="busy")
            await until(lambda: len(changes) == 3)
        last = changes[-1]
        assert last.before is not None
        assert last.after is not None
        assert (last.extension_number, last.before.status) == ("101", Status.ONLINE)
        assert (last.after.status, last.after.presence_note) == (Status.ON_CALL, "busy")

    async def test_discovery(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """Without numbers, a watch follows what the PBX lists, and tells who came and went."""
        changes: dict[str, Any] = {}

        async def consume() -> None:
            watch = pbx22.extensions.watch_status(interval=0.05, rediscover=0.05)
            async for change in watch:
                changes[change.extension_number] = change.after

        async with in_background(consume()):
            await until(lambda: len(changes) == 300)
            await pbx22.users.create(new("9510"))
            await pbx22.extensions.remove("100")
            await until(lambda: "9510" in changes and changes["100"] is None)

    async def test_unknown_numbers(
        self, pbx22: PortSIPClient, sim: PBXSimulator, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Numbers that nothing has are no outage, and the others are watched."""
        numbers = [*(f"99{at:04}" for at in range(20)), "100"]
        watch = pbx22.extensions.watch_status(numbers, interval=0.02)
        async with in_background(collect_into([], watch)):
            await until(lambda: watch.stats.unknown and watch.snapshot)
            assert watch.stats.unknown == tuple(numbers[:-1])
            assert watch.stats.consecutive_failures == 0
            assert [*watch.snapshot] == ["100"]
        assert "failing" not in caplog.text

    async def test_known_states(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """With the states of an earlier watch, only differences are told."""
        for number in sim.extension_numbers:
            sim.set_status(number, "ONLINE")
        known = {
            each.extension_number: each for each in await pbx22.extensions.status(["100", "101"])
        }
        sim.set_status("101", "OFFLINE")
        watch = pbx22.extensions.watch_status(["100", "101"], known=known, interval=0.02)
        async with watch:
            async for change in watch:
                assert change.extension_number == "101"
                break
        assert watch.snapshot["100"].status == Status.ONLINE

    async def test_arguments(self, pbx22: PortSIPClient) -> None:
        """Wrong arguments are refused at the call."""
        watch: Any = pbx22.extensions.watch_status
        for arguments, kind in (
            ({"source": "telepathy"}, ValueError),
            ({"interval": 0}, ValueError),
            ({"verify": 0}, ValueError),
            ({"rediscover": -1}, ValueError),
            ({"known": {"100": "ONLINE"}}, TypeError),
            ({"known": []}, TypeError),
            ({"numbers": "100"}, TypeError),
            ({"numbers": [""]}, ValueError),
            ({"numbers": ["100", ".."]}, ValueError),
        ):
            with pytest.raises(kind):
                watch(**arguments)

    async def test_the_socket_needs_a_password(self, make_v22: V22Maker, sim: PBXSimulator) -> None:
        """A token can't log in to the web socket."""
        pbx22 = make_v22(sim.url, token="T")
        with pytest.raises(ConfigurationError, match="username= and password="):
            pbx22.extensions.watch_status(source="socket")


class TestCalls:
    async def test_call(self, pbx22: PortSIPClient, sim: PBXSimulator) -> None:
        """A call by an extension's password rings, and returns the session's id."""
        password = sim.extension("100")["password"]
        session = await pbx22.extensions.call(
            "100", "101", auth=password, domain=sim.domain, src="100"
        )
        assert session in [each.id for each in await pbx22.calls.list()]
        assert len(sim.calls) == 1


async def test_leaving_ends_everything(make_v22: V22Maker) -> None:
    """Leaving polls and watches leaves no task behind."""
    # The simulator's own tasks last as long as its connections, so they are in another loop.
    with PBXSimulator.in_thread(extensions=300) as sim:
        pbx22 = make_v22(sim.url)
        await pbx22.users.list().collect()
        before = asyncio.all_tasks()
        async for _ in pbx22.extensions.poll_status(str(100 + at) for at in range(200)):
            break
        async for _ in pbx22.extensions.watch_status():
            break
        await until(lambda: asyncio.all_tasks() <= before)
        await pbx22.close()
