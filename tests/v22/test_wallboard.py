"""The server of the wallboard with a PBX of generation v22: live, with names and presences."""

import pytest
import wallboard

from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient

from ..concurrency import in_background, until
from ..test_wallboard import called, complete, follows, has, healthy
from ..wallboards import listening, point_at, served
from .conftest import V22Maker
from .test_users import new


@pytest.fixture(autouse=True)
def pointed(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(sim, monkeypatch)
    for number in sim.extension_numbers:
        sim.set_status(number, "ONLINE")


async def test_snapshot_then_changes(sim: PBXSimulator) -> None:
    """A browser gets all extensions once, with their names, and after that only changes."""
    async with served(api="v22") as url, listening(url) as first:
        await first.until(complete)
        async with listening(url) as second:
            assert (await second.next_event())[0] == "snapshot"
            assert complete(second)
            assert second.rows["101"][2] == "ONLINE"
            assert second.rows["101"][4] is None
            sim.set_status("101", "ON_CALL")
            for browser in (first, second):
                await browser.until(has("101", "ON_CALL"))
                assert browser.rows["101"][4] > 0
            changes = [data for name, data in second.events if name == "changes"]
            assert [[number for number, _ in data] for data in changes] == [["101"]]
    assert not sim.served


async def test_one_watch_for_all(sim: PBXSimulator) -> None:
    """The number of requests to the PBX doesn't depend on the number of browsers."""
    async with served(interval=3600, api="v22") as url, listening(url) as first:
        await first.until(complete)
        for _ in range(5):
            async with listening(url) as another:
                await another.until(complete)
    assert sim.v22.socket.connections == 1
    assert sim.v22.served["users.status"] == sim.v22.served["users.find"] == 0


async def test_live_and_polling(sim: PBXSimulator) -> None:
    """A browser gets the source of the changes, and changes come from either."""
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(follows("socket"))
        del browser.events[:]
        sim.v22.socket.refuse(times=None)
        sim.v22.socket.cut()
        await browser.until(follows("poll"))
        assert {data[0] for name, data in browser.events if name == "health"} == {"ok"}
        sim.set_status("101", "ON_CALL")
        await browser.until(has("101", "ON_CALL"))
        sim.v22.socket.clear()
        await browser.until(follows("socket"))
        sim.set_status("101", "OFFLINE")
        await browser.until(has("101", "OFFLINE"))


@pytest.mark.parametrize(
    ("presence", "note", "detail"),
    [
        ("BUSINESS_TRIP", None, "Business trip"),
        ("AWAY", "back at noon", "back at noon"),
        ("AVAILABLE", None, None),
    ],
)
async def test_presence_is_the_detail(
    presence: str, note: str | None, detail: str | None, sim: PBXSimulator
) -> None:
    """A row shows what users say about themselves, unless that repeats the status."""
    sim.set_status("101", "ONLINE", presence=presence, presence_note=note)
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(complete)
        assert browser.rows["101"][2:4] == ["ONLINE", detail]


async def test_created_renamed_and_removed_users(
    pbx22: PortSIPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new user appears with the name, a changed name is sent, and a removed user disappears."""
    monkeypatch.setattr(wallboard, "REDISCOVER", 0.1)
    monkeypatch.setattr(wallboard, "NAMES_AGE", 0.05)
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(complete)
        user_id = await pbx22.users.create(new("2001"))
        await browser.until(called("2001", "User 2001"))
        await pbx22.users.patch(user_id, {"display_name": "Zoë New"})
        await browser.until(called("2001", "Zoë New"))
        await pbx22.users.remove(user_id)
        await browser.until(lambda listener: "2001" not in listener.rows)


async def test_groups(sim: PBXSimulator) -> None:
    """A browser gets the groups with their members."""
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(lambda listener: listener.groups)
        expected = {
            group["group_name"]: group["members"] for group in map(sim.group, sim.group_ids)
        }
        assert dict(browser.groups) == expected


async def test_pbx_restarts(sim: PBXSimulator) -> None:
    """The browser gets the outage of the PBX, and afterwards the changes during it."""
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(healthy("ok"))
        await sim.stop()
        sim.set_status("101", "ON_CALL")
        await browser.until(healthy("away"))
        await sim.start()
        await browser.until(healthy("ok"))
        await browser.until(has("101", "ON_CALL"))


async def test_login_refused(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused login is reported, and the login is not repeated."""
    monkeypatch.setenv("PORTSIP_PASSWORD", "wrong")
    async with served(api="v22") as url, listening(url) as browser:
        await browser.until(healthy("refused"))
    assert sim.v22.served["auth.sign_in"] == 1


async def test_interval_of_a_generation(make_v22: V22Maker, sim: PBXSimulator) -> None:
    """Without an interval, users are polled less often, as each needs a request."""
    sim.v22.socket.refuse(times=None)
    assert wallboard.V22Board.default_interval > wallboard.ClassicBoard.default_interval
    board = wallboard.V22Board(make_v22())
    async with in_background(board.run()):
        await until(lambda: len(board._rows) == 300)
        assert sim.v22.served["users.status"] == 300
