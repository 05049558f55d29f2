"""Live statuses of v22: everything true arrives once, whatever happens to the web socket."""

import asyncio
import logging
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final

import msgspec
import pytest
from aiohttp import web

from portsip_async import (
    AttemptStart,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    PermissionDenied,
    RetryPolicy,
)
from portsip_async.simulator import PBXSimulator
from portsip_async.simulator.v22.errors import V22Error
from portsip_async.simulator.v22.socket_messages import Command
from portsip_async.v22 import ExtensionState, PortSIPClient

from ..concurrency import in_background, until, yield_to_loop
from ..test_day import Resources
from ..test_poll import our_tasks
from ..virtual_time import (
    DAY,
    HOUR,
    MINUTE,
    in_virtual_time,
    sleep_until,
    the_loop,
    v22_client,
)
from .live import (
    FIND,
    LIST,
    LOGIN,
    SOCKET_ONLY,
    SOON,
    STATUS,
    Live,
    Viewer,
    live,
    new_user,
    pbx_of,
    true_state,
    true_states,
)

SEED: Final = 7


def commands_of(sim: PBXSimulator) -> list[Command]:
    """Return a list that every command to the simulator's socket is appended to."""
    socket, commands = sim.v22.socket, list[Command]()
    carry_out = socket._carry_out

    def note(connection: Any, command: Command) -> Any:
        commands.append(command)
        return carry_out(connection, command)

    socket._carry_out = note  # type: ignore[assignment, method-assign]  # nothing public has them
    return commands


def renumber(sim: PBXSimulator, old: str, new: str) -> None:
    """Give a created extension another number, which the API has no operation for."""
    numbers, settings = sim._pbx.numbers, sim._pbx._changed
    index = numbers._added.pop(old)
    numbers._added[new], numbers._added_at[index] = index, new
    settings[new] = settings.pop(old) | {"extension_number": new}
    sim._pbx.on_change("updated", index, new)


def first(number: str, status: str = "ONLINE") -> tuple[str, None, str]:
    """Return the first report of an extension, in short."""
    return number, None, status


class TestStart:
    @in_virtual_time
    async def test_every_state_once_and_only_the_listing_by_rest(self) -> None:
        """All states arrive at once. REST serves a login and the pages of the listing."""
        async with live(extensions=250) as it:
            assert await it.settle() == [first(number) for number in it.sim.extension_numbers]
            it.check_view()
            assert it.sim.v22.served == {LOGIN: 1, LIST: 3}
            stats = it.watch.stats
            assert (stats.source, stats.connections) == ("socket", 1)
            assert stats.messages > 0
            assert (stats.unreadable, stats.failures, stats.last_error) == (0, 0, None)

    @in_virtual_time
    async def test_given_numbers(self) -> None:
        """Only those are followed, each one once, and nothing is listed."""
        async with live(numbers=["101", "103", "101"]) as it:
            assert sorted(await it.settle()) == [first("101"), first("103")]
            for number in ("101", "102", "103"):
                it.sim.set_status(number, "ON_CALL")
            changes = await it.settle()
            assert sorted(changes) == [
                ("101", "ONLINE", "ON_CALL"),
                ("103", "ONLINE", "ON_CALL"),
            ]
            assert not it.sim.v22.served.keys() & {LIST, STATUS, FIND}

    @pytest.mark.parametrize(
        "number", ["9999", "9 9", "9/9", "\ud800"], ids=["none", "space", "slash", "surrogate"]
    )
    @pytest.mark.parametrize("source", ["auto", "socket"])
    @in_virtual_time
    async def test_unknown_number(self, source: Any, number: str) -> None:
        """A number that the PBX doesn't know brings no change, and spoils no other."""
        async with live(numbers=[number, "101"], source=source, verify=MINUTE) as it:
            assert await it.settle() == [first("101")]
            assert await it.settle(5 * MINUTE) == []
            assert it.watch.stats.unknown == (number,)
            assert it.source() == "socket"
            it.sim.set_status("101", "RINGING")
            assert await it.settle() == [("101", "ONLINE", "RINGING")]

    @in_virtual_time
    async def test_no_extensions(self) -> None:
        """A watch of nothing does not poll, and sees the first extension that is made."""
        async with live(extensions=0, rediscover=HOUR) as it:
            assert await it.settle(5.0) == []
            assert it.source() == "socket"
            await it.pbx.users.create(new_user("951"))
            assert [change[0] for change in await it.settle()] == ["951"]
            it.check_view()

    @in_virtual_time
    async def test_no_numbers(self) -> None:
        async with live(numbers=[]) as it:
            assert await it.settle(HOUR) == []
            assert it.source() == "socket"
            assert it.sim.v22.served[STATUS] == 0

    @in_virtual_time
    async def test_known_states(self) -> None:
        """With `known=`, only differences arrive; what is gone meanwhile is reported gone."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            known = true_states(sim)
            gone = known["101"].replace(extension_number="999", user_id="1")
            sim.set_status("103", "ON_CALL")
            watch = pbx.extensions.watch_status(known=known | {"999": gone})
            viewer = Viewer(watch)
            assert watch.snapshot == known | {"999": gone}
            async with in_background(viewer.follow()):
                await asyncio.sleep(1.0)
                assert sorted(viewer.take()) == [
                    ("103", "ONLINE", "ON_CALL"),
                    ("999", "ONLINE", None),
                ]
                assert watch.stats.source == "socket"
                assert watch.snapshot == true_states(sim)
            await watch.aclose()

    @in_virtual_time
    async def test_known_states_without_a_note(self) -> None:
        """No note and an empty one are the same."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            states = true_states(sim)
            known = {number: state.replace(presence_note=None) for number, state in states.items()}
            watch = pbx.extensions.watch_status(known=known, verify=10.0)
            viewer = Viewer(watch)
            async with in_background(viewer.follow()):
                await asyncio.sleep(MINUTE)
                assert viewer.take() == []
                assert watch.stats.connections == 1
                await watch.aclose()

    @in_virtual_time
    async def test_two_loops(self) -> None:
        """Each loop over a watch has its own connection, and gets every state."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            watch = pbx.extensions.watch_status()
            viewers = Viewer(watch), Viewer(watch)
            async with in_background(*(viewer.follow() for viewer in viewers)):
                await asyncio.sleep(1.0)
                sim.set_status("101", "RINGING")
                await asyncio.sleep(1.0)
                for viewer in viewers:
                    assert len(viewer.changes) == 6
                    assert viewer.view == true_states(sim)
                await watch.aclose()


class TestChanges:
    @in_virtual_time
    async def test_each_change_once(self) -> None:
        """Each change arrives at once and alone."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            before = "ONLINE"
            for status in ("RINGING", "ON_CALL", "ONLINE", "OFFLINE", "ONLINE"):
                it.sim.set_status("102", status)
                assert await it.settle(0.1) == [("102", before, status)]
                it.check_view()
                before = status
            it.sim.set_status("102", "ONLINE", presence="LUNCH", presence_note="back at 2")
            assert await it.settle(0.1) == [("102", "ONLINE", "ONLINE")]
            it.check_view()
            it.sim.set_status("102", "ONLINE", presence="LUNCH", presence_note="back at 2")
            assert await it.settle(HOUR / 2) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send packets together")
    async def test_each_change_once_from_another_thread(self) -> None:
        """A call changes the status and the presence: two messages, and one change."""
        with PBXSimulator.in_thread(extensions=1, groups=0, status_seconds=0) as sim:
            sim.set_status("100", "RINGING")
            async with (
                PortSIPClient(
                    sim.url, username=sim.username, password=sim.password, domain=sim.domain
                ) as pbx,
                pbx.extensions.watch_status(["100"], source="socket") as watch,
            ):
                statuses: list[str] = []
                async for change in watch:
                    assert change.after is not None
                    statuses.append(str(change.after.status))
                    if len(statuses) == 100:
                        break
                    await asyncio.sleep(0.001)  # it must be waiting
                    sim.set_status("100", "ON_CALL" if statuses[-1] == "RINGING" else "RINGING")
                assert statuses == ["RINGING", "ON_CALL"] * 50

    @pytest.mark.parametrize("source", ["auto", "socket"])
    @pytest.mark.parametrize("quirk", ["", "v22_3"], ids=["22.2", "22.3"])
    @in_virtual_time
    async def test_no_phantom_change(self, quirk: str, source: str) -> None:
        """Where REST and the socket differ, the checks by REST change nothing and cut nothing."""

        def prepare(sim: PBXSimulator) -> None:
            sim.set_status("100", "RINGING")
            sim.set_status("101", "ON_CALL")
            sim.set_status("102", "ONLINE", presence="AWAY", presence_note="at lunch")
            sim.set_status("103", "OFFLINE")
            sim.set_status("104", "RINGING", presence="BUSINESS_TRIP", presence_note="")

        quirks = (quirk,) if quirk else ()
        async with live(quirks=quirks, before=prepare, verify=MINUTE, source=source) as it:
            assert len(await it.settle()) == 5
            it.check_view()
            for number, status in (("100", "ON_CALL"), ("103", "RINGING"), ("101", "ONLINE")):
                it.sim.set_status(number, status)
                assert [change[0] for change in await it.settle()] == [number]
                it.check_view()
            assert await it.settle(20 * MINUTE) == []
            assert it.sim.v22.served[STATUS] >= 5 * 18  # it was checked all the time
            assert it.source() == "socket"
            # No telephone rings so long, so each of the two was worth one new connection.
            assert it.watch.stats.connections <= 3

    @in_virtual_time
    async def test_no_doubt_while_it_rings(self) -> None:
        """For two minutes, ONLINE by REST is no reason to doubt that a telephone rings."""
        async with live(verify=20.0) as it:
            await it.settle()
            it.sim.set_status("101", "RINGING")
            assert await it.settle(110.0) == [("101", "ONLINE", "RINGING")]
            it.sim.set_status("101", "ONLINE")
            assert await it.settle(110.0) == [("101", "RINGING", "ONLINE")]
            assert it.watch.stats.connections == 1
            assert it.sim.v22.served[STATUS] >= 5 * 9

    @in_virtual_time
    async def test_other_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another spelling of REST, or a field that it leaves out, is no change either."""
        words = {"AVAILABLE": "ONLINE", "ON_CALL": "OTHER_CALL"}

        def prepare(sim: PBXSimulator) -> None:
            users, status = sim.v22._state.users, sim.v22._state.users.status

            def reword(number: str, now: float) -> dict[str, Any]:
                read = status(number, now)
                presence = words.get(read["presence"], read["presence"])
                if number == "104":
                    presence = "AVAILABLE"  # in spite of the call
                return read | {"presence": presence, "presence_note": None}

            monkeypatch.setattr(users, "status", reword)
            sim.set_status("101", "ON_CALL")
            sim.set_status("102", "ONLINE", presence="AWAY", presence_note="at lunch")
            sim.set_status("104", "ON_CALL")

        async with live(before=prepare, verify=MINUTE, interval=10.0) as it:
            assert len(await it.settle()) == 5
            assert await it.settle(HOUR) == []
            assert it.watch.stats.connections == 1

    @in_virtual_time
    async def test_other_words_of_a_poll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In an outage neither."""
        async with live(interval=10.0) as it:
            await it.settle()
            users, status = it.sim.v22._state.users, it.sim.v22._state.users.status
            other = {"presence": "ONLINE", "presence_note": None}
            monkeypatch.setattr(users, "status", lambda *args: status(*args) | other)
            it.sim.v22.socket.refuse()
            it.sim.v22.socket.cut()
            assert await it.settle(5 * MINUTE) == []
            assert it.source() == "poll"

    @in_virtual_time
    async def test_pace_of_a_check(self) -> None:
        """A check sends at most 50 requests a second, and asks for each extension once."""
        async with live(extensions=120, verify=MINUTE, rediscover=HOUR) as it:
            await it.settle(MINUTE - 1.0)
            counts = [it.sim.v22.served[STATUS]]
            for _ in range(20):
                await it.settle()
                counts.append(it.sim.v22.served[STATUS])
            assert max(late - early for early, late in pairwise(counts)) <= 50
            assert (counts[0], counts[-1]) == (0, 120)

    @in_virtual_time
    async def test_changes_of_an_hour_without_checks(self) -> None:
        """Between two checks REST serves nothing."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            served = it.sim.v22.served.copy()
            await it.settle(0.9 * HOUR)
            assert it.sim.v22.served == served


class TestFaults:
    @in_virtual_time
    async def test_cut(self) -> None:
        """A connection that is cut is made again. What changed meanwhile arrives, and only that."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            it.sim.v22.socket.cut()
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(SOON) == [("103", "ONLINE", "ON_CALL")]
            assert it.watch.stats.connections == 2
            assert it.source() == "socket"
            it.sim.set_status("103", "ONLINE")
            assert await it.settle() == [("103", "ON_CALL", "ONLINE")]
            assert it.sim.v22.served[STATUS] == 0

    @in_virtual_time
    async def test_silence_without_pings(self) -> None:
        """A ping finds a connection that died without a word."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            it.sim.v22.socket.silence()
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(SOON + 30.0) == [("103", "ONLINE", "ON_CALL")]
            it.check_view()

    @pytest.mark.parametrize("source", ["auto", "socket"])
    @in_virtual_time
    async def test_silence_with_pings(self, source: str) -> None:
        """The check by REST finds a PBX that answers pings and sends no events."""
        async with live(verify=5 * MINUTE, interval=HOUR, source=source) as it:
            await it.settle()
            it.sim.v22.socket.silence(pings=True)
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(4 * MINUTE) == []
            assert await it.settle(MINUTE + SOON) == [("103", "ONLINE", "ON_CALL")]
            it.check_view()
            it.sim.set_status("103", "ONLINE")  # the new connection is no longer silent
            assert await it.settle() == [("103", "ON_CALL", "ONLINE")]
            it.sim.v22.socket.silence(pings=True)  # and the same again
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(5 * MINUTE + SOON) == [("103", "ONLINE", "ON_CALL")]

    @pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
    @in_virtual_time
    async def test_refused_handshakes(self, status: int) -> None:
        """It polls while handshakes are refused, by whomever, then follows the socket again."""
        async with live(interval=10.0, verify=HOUR, rediscover=HOUR) as it:
            await it.settle()
            it.sim.v22.socket.refuse(status=status, times=None)
            it.sim.v22.socket.cut()
            await it.settle(SOON)
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(15.0) == [("103", "ONLINE", "ON_CALL")]
            assert it.source() == "poll"
            it.sim.v22.socket.clear()
            await it.settle(10 * MINUTE)
            assert it.source() == "socket"
            polled = it.sim.v22.served[STATUS]
            it.sim.set_status("103", "RINGING")
            assert await it.settle(5 * MINUTE) == [("103", "ON_CALL", "RINGING")]
            assert it.sim.v22.served[STATUS] == polled

    @in_virtual_time
    async def test_refused_handshakes_of_a_socket_watch(self) -> None:
        """With source="socket" nothing is polled. The state arrives with the next connection."""
        async with live(interval=10.0, verify=DAY, source="socket") as it:
            await it.settle()
            it.sim.v22.socket.refuse(status=503, times=None)
            it.sim.v22.socket.cut()
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(10 * MINUTE) == []
            assert it.sim.v22.served[STATUS] == 0
            it.sim.v22.socket.clear()
            assert await it.settle(10 * MINUTE) == [("103", "ONLINE", "ON_CALL")]
            assert it.sim.v22.served[STATUS] == 0

    @pytest.mark.parametrize("source", ["auto", "socket"])
    @in_virtual_time
    async def test_restart_of_the_pbx(self, source: str) -> None:
        """After a restart of minutes every final state arrives, whoever came and went."""
        async with live(extensions=30, source=source, rediscover=HOUR) as it:
            await it.settle()
            await it.sim.stop()
            await it.settle(MINUTE)
            for number in it.sim.extension_numbers[:10]:
                it.sim.set_status(number, "RINGING")
            it.sim.set_status("120", "OFFLINE")
            it.sim.set_status("120", "ONLINE")
            it.sim._pbx.remove_extension("121")
            await it.settle(MINUTE)
            await it.sim.start()
            changes = await it.settle(15 * MINUTE)
            assert ("121", "ONLINE", None) in changes
            it.check_view()
            assert it.source() == "socket"
            assert "120" not in {number for number, _ in it.viewer.received[30:]}

    @in_virtual_time
    async def test_ringing_through_an_outage(self) -> None:
        """REST can't tell RINGING, so polling in an outage doesn't end it."""
        async with live(interval=10.0) as it:
            await it.settle()
            it.sim.set_status("101", "RINGING")
            await it.settle()
            it.sim.v22.socket.refuse(status=503, times=None)
            it.sim.v22.socket.cut()
            assert await it.settle(MINUTE) == []
            assert it.source() == "poll"
            it.sim.v22.socket.clear()
            assert await it.settle(2 * MINUTE) == []
            assert it.source() == "socket"
            it.sim.set_status("101", "ONLINE")
            assert await it.settle() == [("101", "RINGING", "ONLINE")]

    @in_virtual_time
    async def test_ringing_ends_in_an_outage(self) -> None:
        """What REST can tell arrives by polling. No ringing outlives a long outage."""
        async with live(interval=10.0) as it:
            await it.settle()
            for number in ("101", "102", "103"):
                it.sim.set_status(number, "RINGING")
            assert len(await it.settle()) == 3
            it.sim.v22.socket.refuse(status=503, times=None)
            it.sim.v22.socket.cut()
            for number, status in (("101", "ONLINE"), ("102", "ON_CALL"), ("103", "OFFLINE")):
                it.sim.set_status(number, status)
            assert sorted(await it.settle(MINUTE)) == [
                ("102", "RINGING", "ON_CALL"),
                ("103", "RINGING", "OFFLINE"),
            ]
            assert await it.settle(5 * MINUTE) == [("101", "RINGING", "ONLINE")]
            it.check_view()

    @in_virtual_time
    async def test_a_lost_event_is_found(self) -> None:
        """A state that no event reported is found by the check, and arrives once."""
        async with live(verify=5 * MINUTE, interval=HOUR) as it:
            await it.settle()
            # No public script loses a single event, so the PBX's memory is changed past it.
            it.sim._pbx._pinned["104"] = "OFFLINE", None
            assert await it.settle(4 * MINUTE) == []
            assert await it.settle(MINUTE + SOON) == [("104", "ONLINE", "OFFLINE")]
            it.check_view()
            connections = it.watch.stats.connections
            assert await it.settle(HOUR) == []
            assert it.watch.stats.connections == connections

    @in_virtual_time
    async def test_a_lost_ringing_is_found_by_its_presence(self) -> None:
        """REST of 22.3 reports a telephone that rings as a presence, so a check finds it."""
        async with live(quirks=("v22_3",), verify=MINUTE, interval=HOUR) as it:
            await it.settle()
            it.sim.v22.socket.silence(pings=True)
            it.sim.set_status("101", "RINGING")
            assert await it.settle(2 * MINUTE) == [("101", "ONLINE", "RINGING")]
            it.check_view()

    @in_virtual_time
    async def test_the_same_change_is_lost_twice(self) -> None:
        """A contradiction that ended is no lasting one: the check finds it the next time."""
        async with live(verify=MINUTE, interval=HOUR) as it:
            await it.settle()
            it.sim.v22.socket.silence(pings=True)
            it.sim.set_status("101", "ON_CALL")
            await until(lambda: it.watch.stats.failures, MINUTE * 2)
            it.sim.set_status("101", "ONLINE")  # before the connection is made again
            assert await it.settle(90.0) == []
            assert it.watch.stats.connections == 2
            it.sim.v22.socket.silence(pings=True)
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle(3 * MINUTE) == [("101", "ONLINE", "ON_CALL")]

    @in_virtual_time
    async def test_some_extensions_that_rest_fails_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The check goes on with the others, and finds what the socket did not report."""
        async with live(extensions=40, verify=MINUTE, client={"retry": RetryPolicy(1)}) as it:
            await it.settle()
            users = it.sim.v22._state.users
            status = users.status
            failing = it.sim.extension_numbers[::8]  # five, but not in a row

            def fail(number: str, now: float) -> dict[str, Any]:
                if number in failing:
                    raise V22Error(500, "internal error")
                return status(number, now)

            monkeypatch.setattr(users, "status", fail)
            it.sim.v22.socket.silence(pings=True)
            it.sim.set_status("139", "ON_CALL")
            assert await it.settle(2 * MINUTE) == [("139", "ONLINE", "ON_CALL")]

    @in_virtual_time
    async def test_lasting_contradiction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If both sources keep their word, the socket counts, and it is not cut again and again."""
        async with live(verify=5 * MINUTE) as it:
            await it.settle()
            users = it.sim.v22._state.users
            status = users.status
            monkeypatch.setattr(
                users, "status", lambda *args: status(*args) | {"presence": "BUSINESS_TRIP"}
            )
            assert await it.settle(2 * HOUR) == []
            assert it.source() == "socket"
            assert it.watch.stats.connections == 2
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle(2 * HOUR) == [("101", "ONLINE", "ON_CALL")]
            assert it.watch.stats.connections <= 3

    @in_virtual_time
    async def test_no_initial_states(self) -> None:
        """If the PBX reports no state after a subscription, REST does. It ends no ringing."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.sends_states = False

        async with live(before=prepare, verify=30.0) as it:
            assert len(await it.settle(10.0)) == 5
            it.check_view()
            assert it.source() == "socket"
            it.sim.set_status("101", "RINGING")
            assert await it.settle(100.0) == [("101", "ONLINE", "RINGING")]
            it.sim.set_status("101", "ONLINE")
            assert await it.settle(10 * MINUTE) == [("101", "RINGING", "ONLINE")]
            it.check_view()
            assert it.watch.stats.connections == 1

    @in_virtual_time
    async def test_no_states_after_a_cut(self) -> None:
        """What the lost connection reported does not count any more: REST is asked."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            it.sim.v22.socket.sends_states = False
            it.sim.v22.socket.cut()
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(SOON) == [("103", "ONLINE", "ON_CALL")]
            assert it.watch.stats.connections == 2
            it.check_view()

    @in_virtual_time
    async def test_what_only_rest_reports(self) -> None:
        """A check brings it, without a new connection."""

        def prepare(sim: PBXSimulator) -> None:
            events = sim.v22.socket._events

            def encode(event: Any) -> bytes:
                fields = msgspec.to_builtins(event)
                for item in fields.get("status", [fields]):
                    del item["presence_note"]
                return msgspec.json.encode(fields)

            events._event = encode  # type: ignore[method-assign]  # no quirk leaves out one field

        async with live(before=prepare, verify=5 * MINUTE) as it:
            await it.settle()
            for note in ("back at 2", "back at 3", ""):
                it.sim.set_status("101", "ONLINE", presence_note=note)
                assert await it.settle() == []
                assert await it.settle(6 * MINUTE) == [("101", "ONLINE", "ONLINE")]
                assert it.viewer.view["101"].presence_note == note
            assert it.watch.stats.connections == 1

    @in_virtual_time
    async def test_unknown_to_polling(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged once, and known once the socket reports it."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.refuse(status=503, times=4)

        async with live(numbers=["101", "951"], before=prepare, interval=1.0) as it:
            await it.settle(2.0)
            assert (it.source(), it.watch.stats.unknown) == ("poll", ("951",))
            await it.settle(MINUTE)
            assert (it.source(), it.watch.stats.unknown) == ("socket", ("951",))
            await it.pbx.users.create(new_user("951"))
            assert [number for number, _, _ in await it.settle()] == ["951"]
            assert it.watch.stats.unknown == ()
        assert caplog.text.count("the PBX gives no status for 951") == 1

    @in_virtual_time
    async def test_silence_after_subscribing(self) -> None:
        """A PBX that neither acknowledges nor reports anything is polled, and only polled."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.sends_states = sim.v22.socket.acknowledges = False

        async with live(before=prepare, interval=10.0, verify=15.0) as it:
            assert len(await it.settle(5.0)) == 5
            assert it.sim.v22.served[STATUS] == 5
            await it.settle(50.0)
            assert it.sim.v22.served[STATUS] == 6 * 5
            assert it.source() == "poll"
            it.sim.set_status("101", "ON_CALL")  # an event reports this at once
            assert await it.settle() == [("101", "ONLINE", "ON_CALL")]
            assert it.source() == "socket"
            it.check_view()

    @in_virtual_time
    async def test_quiet_socket(self) -> None:
        """It polls until a socket that neither acknowledges nor reports anything shows life."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.sends_states = sim.v22.socket.acknowledges = False

        async with live(before=prepare, interval=10.0, verify=HOUR) as it:
            assert len(await it.settle(8.0)) == 5
            assert it.source() == "poll"
            # The event is lost, as if the PBX took the subscription for another one.
            it.sim._pbx._pinned["101"] = "OFFLINE", None
            assert await it.settle(12.0) == [("101", "ONLINE", "OFFLINE")]
            it.sim.set_status("102", "RINGING")
            assert await it.settle() == [("102", "ONLINE", "RINGING")]
            assert it.source() == "socket"

    @in_virtual_time
    async def test_event_overtakes_a_reply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reply of REST that is older than an event does not undo it."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.sends_states = False
            sim.v22.fail(STATUS, latency=5.0, times=None)
            users, status, old = sim.v22._state.users, sim.v22._state.users.status, {}
            for number in sim.extension_numbers:
                old[number] = status(number, 0.0)
            monkeypatch.setattr(users, "status", lambda number, _: old[number])

        async with live(before=prepare, verify=HOUR) as it:
            await it.settle(4.0)
            it.sim.set_status("101", "ON_CALL")
            await it.settle(MINUTE)
            assert len(it.viewer.view) == 5
            assert it.viewer.view["101"].status == "ON_CALL"

    @in_virtual_time
    async def test_no_reply_to_the_login(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A socket that opens and then says nothing is given up, and polling takes its place."""
        async with live(interval=10.0) as it:
            await it.settle()
            with monkeypatch.context() as patched:
                patched.setattr(it.sim.v22.socket, "_receive", lambda *_: None)
                it.sim.v22.socket.cut()
                await it.settle(MINUTE)
                assert it.source() == "poll"
            assert await it.settle(2 * MINUTE) == []
            assert it.source() == "socket"

    @in_virtual_time
    async def test_lost_end_of_ringing(self) -> None:
        """No telephone rings for minutes, so one that seems to is asked about anew."""
        async with live(verify=MINUTE) as it:
            await it.settle()
            it.sim.set_status("101", "RINGING")
            assert await it.settle() == [("101", "ONLINE", "RINGING")]
            it.sim._pbx._pinned["101"] = "ONLINE", None
            assert await it.settle(100.0) == []
            assert await it.settle(100.0) == [("101", "RINGING", "ONLINE")]

    @in_virtual_time
    async def test_checks_survive_failures_of_rest(self) -> None:
        """A check that fails ends soon, and is no reason to end the watch or the connection."""
        async with live(extensions=50, verify=MINUTE, client={"retry": RetryPolicy(1)}) as it:
            await it.settle()
            it.sim.v22.fail(STATUS, status=503, times=None)
            assert await it.settle(10 * MINUTE) == []
            assert it.sim.v22.served[STATUS] <= 10 * 10
            assert it.source() == "socket"
            assert it.watch.stats.connections == 1
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle() == [("101", "ONLINE", "ON_CALL")]

    @in_virtual_time
    async def test_reply_overtakes_an_event(self) -> None:
        """A check that is faster than an event does not doubt the socket."""
        changed: list[PBXSimulator] = []

        def change(attempt: AttemptStart) -> None:
            if attempt.operation == STATUS and changed:
                changed.pop().set_status("104", "ON_CALL")

        async with live(verify=MINUTE, client={"before_attempt": change}) as it:
            await it.settle()
            it.sim.v22.socket.reorders = True  # holds events for 10 ms
            changed.append(it.sim)
            assert await it.settle(5 * MINUTE) == [("104", "ONLINE", "ON_CALL")]
            assert it.watch.stats.connections == 1


class TestPauses:
    async def tries(
        self, monkeypatch: pytest.MonkeyPatch, seed: int, seconds: float
    ) -> tuple[list[float], list[float]]:
        """Return the pauses between handshakes: while all are refused, and after a success."""
        async with pbx_of() as sim, v22_client(sim, seed=seed) as pbx:
            socket = sim.v22.socket
            times: list[float] = []
            serve = socket.serve

            async def note(request: web.BaseRequest) -> web.StreamResponse:
                times.append(the_loop().time())
                return await serve(request)

            monkeypatch.setattr(socket, "serve", note)  # nothing public has the times
            watch = pbx.extensions.watch_status(interval=HOUR, source="socket")
            async with in_background(Viewer(watch).follow()):
                await asyncio.sleep(1.0)
                socket.refuse(status=503, times=None)
                socket.cut()
                await asyncio.sleep(seconds)
                refused = [late - early for early, late in pairwise(times[1:])]
                socket.clear()
                await asyncio.sleep(15 * MINUTE)
                assert watch.stats.connections == 2
                times.clear()
                cut_at = the_loop().time()
                socket.cut()
                await asyncio.sleep(2 * MINUTE)
                await watch.aclose()
            return refused, [time - cut_at for time in times]

    @in_virtual_time
    async def test_pauses_grow_with_jitter_and_start_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pauses grow to some minutes at most, differ by chance, and begin anew after a success."""
        one, again = await self.tries(monkeypatch, 1, HOUR)
        other, _ = await self.tries(monkeypatch, 2, HOUR)
        assert one[0] < 10.0
        assert max(one) <= 10 * MINUTE
        assert sum(one[-5:]) > 5 * sum(one[:5])
        assert HOUR / MINUTE / 10 <= len(one) <= HOUR / MINUTE * 4
        assert one != other  # two clients don't come back together
        assert len(set(one)) > len(one) / 2
        assert len(again) == 1
        assert again[0] < 10.0

    @in_virtual_time
    async def test_connection_that_ends_at_once(self) -> None:
        """A PBX that accepts connections and drops them is not asked again and again."""
        async with live(source="socket") as it:
            await it.settle()
            for _ in range(60 * 10):
                await asyncio.sleep(1.0)
                it.sim.v22.socket.cut()
            assert it.watch.stats.connections < 150

    @in_virtual_time
    async def test_polls_in_a_long_pause(self) -> None:
        """Pauses are long after connections that soon ended. A change in one arrives by polling."""
        async with live(interval=5.0) as it:
            await it.settle()
            while it.watch.stats.connections < 8:
                await asyncio.sleep(1.0)
                it.sim.v22.socket.cut()
            it.sim.v22.socket.refuse()
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle(10.0) == [("101", "ONLINE", "ON_CALL")]
            assert it.source() == "poll"

    @in_virtual_time
    async def test_polls_after_a_late_refusal(self) -> None:
        """If the PBX refuses a subscription after it has reported states, the watch polls."""
        async with live(interval=5.0) as it:
            await it.settle()
            it.sim.v22.socket.say(
                '{"command":"subscribe","status":-1,"topics":["extension_events"],"error":"no"}'
            )
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle() == [("101", "ONLINE", "ON_CALL")]
            assert it.source() == "poll"
            assert isinstance(it.watch.stats.last_error, PermissionDenied)


class TestLogin:
    @pytest.mark.parametrize("numbers", [None, ["101"]], ids=["all", "given"])
    @pytest.mark.parametrize("source", ["auto", "socket"])
    @in_virtual_time
    async def test_wrong_password(self, source: Any, numbers: list[str] | None) -> None:
        """A refused login ends the watch. The password was sent once, and is in no error."""
        async with (
            pbx_of() as sim,
            v22_client(
                sim, username=sim.username, password="wrong-Secret", domain=sim.domain
            ) as pbx,
        ):
            commands = commands_of(sim)
            watch = pbx.extensions.watch_status(numbers, source=source)
            with pytest.raises(AuthenticationError) as caught:
                async for _ in watch:
                    pass
            assert "wrong-Secret" not in repr(caught.value) + str(caught.value)
            assert isinstance(watch.stats.last_error, AuthenticationError)
            assert sim.v22.served[LOGIN] + len(commands) == 1
            assert our_tasks() == []

    @in_virtual_time
    async def test_password_that_rest_refused(self) -> None:
        """It is not sent to the socket as well: the PBX may lock the account."""
        async with (
            pbx_of() as sim,
            v22_client(sim, username=sim.username, password="wrong", domain=sim.domain) as pbx,
        ):
            with pytest.raises(AuthenticationError):
                await pbx.users.find("101")
            commands = commands_of(sim)
            with pytest.raises(AuthenticationError):
                await anext(aiter(pbx.extensions.watch_status(["101"])))
            assert (sim.v22.served[LOGIN], commands) == (1, [])

    @in_virtual_time
    async def test_password_changed_meanwhile(self) -> None:
        """A login that is refused after a cut ends the watch, after the last change."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            viewer = Viewer(pbx.extensions.watch_status(**SOCKET_ONLY))
            async with in_background(viewer.follow()) as (following,):
                await asyncio.sleep(1.0)
                viewer.take()
                sim.set_status("101", "OFFLINE")
                await yield_to_loop()
                sim.v22._state.logins.password = "another-Secret"
                sim.v22.socket.cut()
                with pytest.raises(AuthenticationError):
                    await asyncio.wait_for(following, SOON)
            assert viewer.take() == [("101", "ONLINE", "OFFLINE")]

    @in_virtual_time
    async def test_password_is_in_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nor in what the watch shows, whatever becomes of the socket."""
        caplog.set_level(logging.DEBUG)
        async with live(interval=10.0, verify=MINUTE) as it:
            await it.settle()
            for fault in (it.sim.v22.socket.cut, it.sim.v22.socket.silence):
                fault()
                await it.settle(2 * MINUTE)
            it.sim.v22.socket.say(it.sim.password)
            it.sim.v22.socket.refuse(status=403, times=3)
            it.sim.v22.socket.cut()
            await it.settle(MINUTE)
            shown = f"{it.watch!r} {it.watch.stats!r} {it.watch.stats.last_error!r}"
            assert it.sim.password not in caplog.text + shown

    @in_virtual_time
    async def test_token_only_client(self, caplog: pytest.LogCaptureFixture) -> None:
        """A client without a password polls, and logs once why."""
        async with pbx_of(token_lifetime=DAY) as sim, v22_client(sim) as other:
            token = (await other.auth.refresh()).access_token
            async with v22_client(sim, token=token) as pbx:
                watch = pbx.extensions.watch_status(interval=10.0)
                viewer = Viewer(watch)
                async with in_background(viewer.follow()) as (following,):
                    await asyncio.sleep(1.0)
                    assert viewer.view == true_states(sim)
                    sim.set_status("103", "ON_CALL")
                    await asyncio.sleep(5 * MINUTE)
                    assert viewer.view == true_states(sim)
                    assert watch.stats.source == "poll"
                    await watch.aclose()
                    await following
                async for _ in pbx.extensions.watch_status():
                    break
                assert sim.v22.socket.connections == 0
        logged = [record for record in caplog.records if record.name.startswith("portsip_async")]
        assert len(logged) == 1
        assert "password" in logged[0].getMessage()
        assert token not in caplog.text

    @in_virtual_time
    async def test_socket_without_a_password(self) -> None:
        async with pbx_of() as sim, v22_client(sim, token="made-up-Secret") as pbx:
            with pytest.raises(ConfigurationError, match="password"):
                async for _ in pbx.extensions.watch_status(["101"], source="socket"):
                    pass
            assert sim.v22.served.total() == 0

    @in_virtual_time
    async def test_system_administrator(self) -> None:
        """An account that may not subscribe polls; in 20 minutes it has not tried often."""
        async with pbx_of() as sim:
            options: dict[str, Any] = {"username": sim.username, "password": sim.password}
            async with v22_client(sim, **options) as pbx:
                watch = pbx.extensions.watch_status(interval=10.0)
                viewer = Viewer(watch)
                async with in_background(viewer.follow()) as (following,):
                    await asyncio.sleep(5.0)
                    assert viewer.view == true_states(sim)
                    sim.set_status("103", "ON_CALL")
                    await asyncio.sleep(15.0)
                    assert viewer.view == true_states(sim)
                    assert watch.stats.source == "poll"
                    await asyncio.sleep(20 * MINUTE)
                    assert len(viewer.received) == 6
                    assert sim.v22.socket.connections <= 5
                    await watch.aclose()
                    await following

    @in_virtual_time
    async def test_socket_of_a_system_administrator(self) -> None:
        async with pbx_of() as sim:
            options: dict[str, Any] = {"username": sim.username, "password": sim.password}
            async with v22_client(sim, **options) as pbx:
                watch = pbx.extensions.watch_status(["101"], source="socket")
                with pytest.raises(PermissionDenied, match="user of the tenant"):
                    await asyncio.wait_for(anext(aiter(watch)), SOON)
                assert our_tasks() == []


class TestNoSocket:
    @in_virtual_time
    async def test_auto_polls(self) -> None:
        """A PBX without /wsi is polled."""

        def prepare(sim: PBXSimulator) -> None:
            sim.v22.socket.refuse(status=404, times=None)

        async with live(before=prepare, interval=10.0) as it:
            assert len(await it.settle(5.0)) == 5
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(10.0) == [("103", "ONLINE", "ON_CALL")]
            assert it.source() == "poll"
            assert it.watch.stats.connections == 0
            it.check_view()

    @in_virtual_time
    async def test_watch_after_one_that_was_left(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each one logs that it polls: the one that was left polls no longer."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            sim.v22.socket.refuse()
            for _ in range(2):
                async for _ in pbx.extensions.watch_status():
                    break
                await asyncio.sleep(2 * MINUTE)
        assert caplog.text.count("has no web socket, and polls") == 2

    @in_virtual_time
    async def test_poll_uses_no_socket(self) -> None:
        """With source="poll" no handshake is sent."""
        async with live(source="poll", interval=10.0) as it:
            assert len(await it.settle(5.0)) == 5
            it.sim.set_status("103", "ON_CALL")
            assert await it.settle(10.0) == [("103", "ONLINE", "ON_CALL")]
            assert it.source() == "poll"
            assert it.sim.v22.socket.connections == 0


class TestComingAndGoing:
    @pytest.mark.parametrize("topic", ["managed", "refused"])
    @in_virtual_time
    async def test_extensions_come_and_go(self, topic: str) -> None:
        """By events at once, or by the listing where the PBX refuses their topic."""

        def prepare(sim: PBXSimulator) -> None:
            if topic == "refused":
                sim.v22.socket.refuse_topic("extension_management_events")

        late = 1.0 if topic == "managed" else 1.5 * MINUTE
        async with live(before=prepare, verify=HOUR, rediscover=MINUTE) as it:
            await it.settle(5.0)
            await it.pbx.users.create(new_user("951"))
            (change,) = await it.settle(late)
            assert change[0] == "951"
            it.check_view()
            it.sim.set_status("951", "RINGING")
            assert [number for number, _, _ in await it.settle()] == ["951"]

            await it.pbx.extensions.remove("951")
            assert await it.settle(late) == [("951", "RINGING", None)]
            it.check_view()
            assert it.watch.stats.connections == 1

    @in_virtual_time
    async def test_extension_gets_another_number(self) -> None:
        """The old number is gone and the new one is followed, at once."""
        async with live(verify=HOUR) as it:
            await it.settle()
            await it.pbx.users.create(new_user("951"))
            await it.settle()
            renumber(it.sim, "951", "952")
            assert sorted(change[::2] for change in await it.settle()) == [
                ("951", None),
                ("952", str(it.viewer.view["952"].status)),
            ]
            it.check_view()
            it.sim.set_status("952", "ON_CALL")
            assert len(await it.settle()) == 1
            it.check_view()

    @in_virtual_time
    async def test_extension_removed_during_a_listing(self) -> None:
        """A listing that has shown an extension before it was removed does not bring it back."""
        async with live(extensions=250, verify=5 * MINUTE, rediscover=5 * MINUTE) as it:
            await it.settle(5 * MINUTE)
            it.sim.v22.fail(LIST, latency=0.001, times=2)
            it.sim.v22.fail(LIST, latency=20.0)
            commands = commands_of(it.sim)
            await it.settle(10.0)
            await it.pbx.extensions.remove("100")
            assert await it.settle() == [("100", "ONLINE", None)]
            assert await it.settle(10 * MINUTE) == []
            assert [(command.name, command.extensions) for command in commands] == [
                ("unsubscribe", ["100"])
            ]
            assert it.watch.stats.unknown == ()

    @in_virtual_time
    async def test_created_extension_goes_during_a_cut(self) -> None:
        """A listing counts more than an earlier event."""
        async with live(verify=HOUR) as it:
            await it.settle()
            await it.pbx.users.create(new_user("951"))
            ((number, _, status),) = await it.settle()
            assert number == "951"
            it.sim.v22.socket.cut()
            it.sim._pbx.remove_extension("951")
            assert await it.settle(10.0) == [("951", status, None)]
            it.check_view()

    @in_virtual_time
    async def test_management_is_refused_after_a_cut(self) -> None:
        """Extensions are listed as often as without it, even if an earlier connection had it."""
        async with live(verify=HOUR, rediscover=MINUTE) as it:
            await it.settle()
            it.sim.v22.socket.refuse_topic("extension_management_events")
            it.sim.v22.socket.cut()
            await it.settle(10.0)
            await it.pbx.users.create(new_user("951"))
            assert [number for number, _, _ in await it.settle(2 * MINUTE)] == ["951"]

    @in_virtual_time
    async def test_listing_that_fails_after_a_cut(self) -> None:
        """The next one follows soon, although later ones are `verify` apart."""
        async with live(verify=HOUR, rediscover=MINUTE) as it:
            await it.settle(2 * MINUTE)
            it.sim.v22.socket.cut()
            it.sim._pbx.remove_extension("101")
            it.sim.v22.fail(LIST, status=503, times=None)
            assert await it.settle(MINUTE) == []
            it.sim.v22.clear()
            assert await it.settle(2 * MINUTE) == [("101", "ONLINE", None)]

    @in_virtual_time
    async def test_number_given_to_someone_else(self) -> None:
        """The same number under another id is a change, and is followed."""
        async with (
            live(verify=HOUR, rediscover=MINUTE) as it,
            v22_client(it.sim) as other,
        ):
            await it.settle()
            await other.extensions.remove("103")
            await other.users.create(new_user("103"))
            assert (await it.settle())[-1][::2] == ("103", str(true_state(it.sim, "103").status))
            it.check_view()
            it.sim.set_status("103", "ON_CALL")
            await it.settle()
            it.check_view()

    @in_virtual_time
    async def test_given_numbers_stay_the_same(self) -> None:
        """A watch of given numbers reports no other, and one that is made again is followed."""
        async with (
            live(numbers=["101", "951"], verify=5 * MINUTE) as it,
            v22_client(it.sim) as other,
        ):
            assert await it.settle() == [first("101")]
            for _ in range(2):
                user_id = await other.users.create(new_user("951"))
                it.sim.set_status("951", "ON_CALL")
                changes = await it.settle(10 * MINUTE)
                assert {number for number, _, _ in changes} == {"951"}
                assert it.viewer.view["951"] == true_state(it.sim, "951")
                assert it.viewer.view["951"].user_id == user_id
                await other.extensions.remove("951")
            await other.users.create(new_user("952"))
            assert {number for number, _, _ in await it.settle(10 * MINUTE)} <= {"951"}

    @pytest.mark.parametrize("topic", ["managed", "refused"])
    @in_virtual_time
    async def test_only_the_difference_is_subscribed(self, topic: str) -> None:
        """A number that is added or removed costs one command with that number."""

        def prepare(sim: PBXSimulator) -> None:
            if topic == "refused":
                sim.v22.socket.refuse_topic("extension_management_events")

        async with live(extensions=1200, before=prepare, rediscover=MINUTE, verify=DAY) as it:
            commands = commands_of(it.sim)
            await it.settle(5.0)
            wanted = [command for command in commands if command.extensions]
            assert [number for command in wanted for number in command.extensions or ()] == (
                it.sim.extension_numbers
            )
            assert all(len(command.extensions or ()) <= 500 for command in wanted)
            commands.clear()
            await it.pbx.users.create(new_user("9510"))
            await it.pbx.extensions.remove("103")
            await it.settle(2 * MINUTE)
            it.check_view()
            assert sorted((command.name, command.extensions) for command in commands) == [
                ("subscribe", ["9510"]),
                ("unsubscribe", ["103"]),
            ]


RUBBISH: Final = (
    "",
    "rubbish",
    "null",
    "[]",
    "{}",
    "17",
    '{"event_type": "cdr_events"}',
    '{"event_type": null}',
    '{"event_type": "extension_status", "status": {"extension": "sip:101@test.io"}}',
    '{"event_type": "extension_status", "status": [null, 3, {"extension": 4}]}',
    '{"event_type": "extension_call", "call_status": "ON_CALL"}',
    '{"event_type": "extension_presence", "extension": "sip:@", "presence": []}',
    '{"command": "subscribe", "status": []}',
    '{"command": "dance", "status": 0}',
    "[" * 10_000,
    '{"event_type": "\\ud800"}',
)


class TestRubbish:
    @in_virtual_time
    async def test_rubbish_is_counted(self) -> None:
        """Rubbish and unknown events change nothing, cut nothing, and are counted."""
        async with live(**SOCKET_ONLY) as it:
            await it.settle()
            before = it.watch.stats
            for text in RUBBISH:
                it.sim.v22.socket.say(text)
                assert await it.settle() == []
            stats = it.watch.stats
            assert stats.messages == before.messages + len(RUBBISH)
            assert 10 <= stats.unreadable <= len(RUBBISH)
            assert stats.connections == 1
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle() == [("101", "ONLINE", "ON_CALL")]

    @in_virtual_time
    async def test_state_of_a_stranger(self) -> None:
        """A state of an extension that is not watched is not reported."""
        async with live(numbers=["101"], **SOCKET_ONLY) as it:
            await it.settle()
            it.sim.v22.socket.say(
                '{"event_type": "extension_status", "status": [{"extension": "sip:104@test.io", '
                '"call_status": "RINGING", "online": true}]}'
            )
            assert await it.settle() == []

    @in_virtual_time
    async def test_partial_states(self) -> None:
        """A call leaves the presence, a presence the call, and both the id that REST has shown."""
        async with live(**SOCKET_ONLY) as it:
            it.sim.set_status("101", "ONLINE", presence="AWAY", presence_note="out")
            await it.settle()
            start = it.viewer.view["101"]
            say = it.sim.v22.socket.say
            who = '"extension": "sip:101@test.io", "extension_id": 9'
            call = '{"event_type": "extension_call", ' + who + "%s}"
            presence = '{"event_type": "extension_presence", ' + who + "%s}"
            expected: list[ExtensionState] = []
            for text, changes in (
                (call % ', "call_status": "RINGING"', {"status": "RINGING"}),
                (call % ', "call_status": "ON_ACLL"', {"status": "ON_CALL"}),
                (presence % ', "presence": "LUNCH", "presence_note": ""', {}),
                (call % ', "call_status": ""', {"status": "ONLINE"}),
            ):
                say(text)
                assert len(await it.settle()) == 1
                if not changes:
                    changes = {"presence": "LUNCH", "presence_note": ""}
                expected.append((expected or [start])[-1].replace(**changes))
                assert it.viewer.view["101"] == expected[-1]

    @in_virtual_time
    async def test_no_acknowledgement(self) -> None:
        """A PBX that acknowledges no subscription is followed all the same."""
        async with live(before=lambda sim: setattr(sim.v22.socket, "acknowledges", False)) as it:
            assert len(await it.settle()) == 5
            await it.settle(2 * MINUTE)
            it.sim.set_status("101", "ON_CALL")
            assert await it.settle() == [("101", "ONLINE", "ON_CALL")]
            stats = it.watch.stats
            assert (stats.source, stats.connections) == ("socket", 1)
            assert stats.unacknowledged > 0

    @in_virtual_time
    async def test_acknowledgements_are_counted(self) -> None:
        async with live() as it:
            await it.settle()
            assert it.watch.stats.unacknowledged == 0


class TestSlowConsumer:
    @in_virtual_time
    async def test_memory_is_bounded(self) -> None:
        """20,000 events while the consumer pauses cost no memory. It gets the latest states."""
        view, held = dict[str, ExtensionState | None](), list[Resources]()
        async with (
            pbx_of(20) as sim,
            v22_client(sim) as pbx,
            pbx.extensions.watch_status(**SOCKET_ONLY) as watch,
        ):
            changes = aiter(watch)
            for _ in range(20):
                change = await anext(changes)
                view[change.extension_number] = change.after
            for turn in range(1000):
                for number in sim.extension_numbers:
                    sim.set_status(number, ("RINGING", "ON_CALL", "ONLINE")[turn % 3])
                await asyncio.sleep(0.1)
                if turn in (100, 999):
                    held.append(Resources.now())
            assert watch.stats.messages > 20_000
            assert held[1].blocks < held[0].blocks + 2000
            sim.set_status("100", "OFFLINE")
            await asyncio.sleep(0.1)
            for _ in range(20):  # one change each, whatever happened
                change = await anext(changes)
                view[change.extension_number] = change.after
            assert view == true_states(sim)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(changes), HOUR / 2)


async def at_rest(it: Live) -> None:
    await it.settle()


async def connecting(it: Live) -> None:
    it.sim.v22.socket.delay(DAY)
    it.sim.v22.socket.cut()
    await it.settle(15.0)


async def pausing(it: Live) -> None:
    await it.settle()
    it.sim.v22.socket.refuse(status=503, times=None)
    it.sim.v22.socket.cut()
    await it.settle(3 * MINUTE)


async def polling(it: Live) -> None:
    it.sim.v22.fail(STATUS, latency=HOUR, times=None)
    await pausing(it)


async def verifying(it: Live) -> None:
    it.sim.v22.fail(STATUS, latency=HOUR, times=None)
    await it.settle(MINUTE + 5.0)


async def listing(it: Live) -> None:
    it.sim.v22.fail(LIST, latency=HOUR, times=None)
    await it.settle(10.0)


async def silent(it: Live) -> None:
    await it.settle()
    it.sim.v22.socket.silence()
    await it.settle(25.0)  # a ping is unanswered


async def beginning(it: Live) -> None:
    await yield_to_loop(30)


MOMENTS = [at_rest, beginning, connecting, pausing, polling, verifying, listing, silent]


class TestLeaving:
    async def check_left(self, sim: PBXSimulator, *, passes: int = 0) -> None:
        await yield_to_loop(passes)
        assert our_tasks() == []
        await asyncio.sleep(1.0)
        assert sim.v22.socket.open == 0
        served = sim.v22.served.total()
        connections = sim.v22.socket.connections
        await asyncio.sleep(HOUR)
        assert sim.v22.served.total() == served
        assert sim.v22.socket.connections == connections

    @pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
    @in_virtual_time
    async def test_aclose(self, moment: Callable[[Live], Awaitable[None]]) -> None:
        async with live(verify=MINUTE) as it:
            await moment(it)
            before = the_loop().time()
            await it.watch.aclose()
            assert the_loop().time() < before + 1.0
            await it.following
            await self.check_left(it.sim)

    @pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
    @in_virtual_time
    async def test_cancelling(self, moment: Callable[[Live], Awaitable[None]]) -> None:
        async with live(verify=MINUTE) as it:
            await moment(it)
            it.following.cancel()
            before = the_loop().time()
            with suppress(asyncio.CancelledError):
                await it.following
            assert it.following.cancelled()
            assert the_loop().time() < before + 1.0
            await self.check_left(it.sim, passes=20)

    @pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__)
    @in_virtual_time
    async def test_closing_the_client(self, moment: Callable[[Live], Awaitable[None]]) -> None:
        async with pbx_of() as sim, v22_client(sim) as pbx:
            watch = pbx.extensions.watch_status(verify=MINUTE)
            viewer = Viewer(watch)
            async with in_background(viewer.follow()) as (following,):
                await moment(Live(sim, pbx, watch, viewer, following))
                before = the_loop().time()
                await pbx.close()
                with pytest.raises(ClientClosed):
                    await following
                assert the_loop().time() < before + 1.0
                await self.check_left(sim)

    @in_virtual_time
    async def test_while_the_connection_breaks(self) -> None:
        """The loss of the connection does not swallow the cancellation, in whatever order."""
        async with pbx_of() as sim, v22_client(sim) as pbx:
            for passes in range(30):
                watch = pbx.extensions.watch_status(["101"])
                changes = aiter(watch)
                await anext(changes)
                sim.v22.socket.cut()
                await yield_to_loop(passes)
                async with asyncio.timeout(10.0):
                    await watch.aclose()
            await self.check_left(sim)

    @in_virtual_time
    async def test_break_at_the_first_change(self) -> None:
        async with pbx_of(300) as sim, v22_client(sim) as pbx:
            async for _ in pbx.extensions.watch_status():
                break
            await self.check_left(sim, passes=20)
            assert await pbx.extensions.status(["101"]) == [true_state(sim, "101")]


@pytest.mark.no_cover  # coverage would more than double its time
@in_virtual_time
async def test_a_day_with_50_cuts(caplog: pytest.LogCaptureFixture) -> None:
    """Every change arrives: at once, or after a cut with the next connection; none is made up."""
    caplog.set_level(logging.CRITICAL, "portsip_async")  # else all records would be kept
    chance, hours = random.Random(SEED), list[Resources]()
    cuts = sorted(chance.uniform(MINUTE, DAY - 15 * MINUTE) for _ in range(50))
    async with live(extensions=6, verify=HOUR, interval=5 * MINUTE) as it:
        history = {number: [status] for number, _, status in await it.settle()}
        cut_at = -HOUR
        for minute in range(1, 24 * 60):
            now = minute * MINUTE
            while cuts and cuts[0] < now:
                cut_at = cuts.pop(0)
                await sleep_until(cut_at)
                it.sim.v22.socket.cut()
            await sleep_until(now)
            number = chance.choice(it.sim.extension_numbers)
            status = chance.choice(["OFFLINE", "ONLINE", "RINGING", "ON_CALL"])
            it.sim.set_status(number, status)
            if history[number][-1] != status:
                history[number].append(status)
            if now > cut_at + 2 * MINUTE:
                await asyncio.sleep(0.1)
                it.check_view()
            if minute % 60 == 59:
                hours.append(Resources.now())
        await it.settle(15 * MINUTE)
        it.check_view()
        stats = it.watch.stats
        assert stats.source == "socket"
        assert 51 <= stats.connections <= 51 + 24  # some for telephones that rang for minutes
        # What was received is what was true, in that order, with some of it skipped.
        for number, statuses in history.items():
            truth = iter(statuses)
            seen = [
                str(state and state.status) for name, state in it.viewer.received if name == number
            ]
            assert all(status in truth for status in seen), (number, seen)
        assert it.sim.v22.served[STATUS] <= 2 * 24 * 6
    second, *later = hours[1:]
    assert max(held.objects for held in later) < second.objects + 3000
    assert max(held.tasks for held in hours) <= 12
