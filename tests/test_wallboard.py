"""The server of the wallboard: one watch for all browsers, and the events that each of them gets.

test_wallboard_browser.py tests the page in a browser.
"""

import re
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta

import aiohttp
import pytest
import wallboard
from aiohttp import web

from portsip_async import NewExtension, PortSIPClient, Profile, RetryPolicy
from portsip_async.simulator import PBXSimulator

from .concurrency import in_background, until
from .wallboards import Listener, listening, point_at, served


@pytest.fixture(autouse=True)
def pointed(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at(sim, monkeypatch)
    for number in sim.extension_numbers:
        sim.set_status(number, "ONLINE", user_agent="Phone")


def complete(listener: Listener) -> bool:
    return len(listener.rows) == 300 and all(row[1] for row in listener.rows.values())


def healthy(state: str) -> Callable[[Listener], bool]:
    return lambda listener: listener.health[:1] == [state]


def follows(source: str) -> Callable[[Listener], bool]:
    return lambda listener: listener.health[::2] == ["ok", source]


def has(number: str, status: str) -> Callable[[Listener], bool]:
    return lambda listener: listener.rows.get(number, [None] * 5)[2] == status


def called(number: str, name: str) -> Callable[[Listener], bool]:
    return lambda listener: listener.rows.get(number, ["", ""])[1] == name


async def test_snapshot_then_changes(sim: PBXSimulator) -> None:
    """A browser gets all extensions once, with their names, and after that only changes."""
    async with served() as url, listening(url) as first:
        await first.until(complete)
        async with listening(url) as second:
            assert (await second.next_event())[0] == "snapshot"
            assert complete(second)
            assert second.rows["101"][2:] == ["ONLINE", "Phone", None]
            sim.set_status("101", "ON_CALL", user_agent="Phone")
            for browser in (first, second):
                await browser.until(has("101", "ON_CALL"))
                assert browser.rows["101"][4] > 0
            changes = [data for name, data in second.events if name == "changes"]
            assert [[number for number, _ in data] for data in changes] == [["101"]]
            await first.until(follows("poll"))


async def test_one_watch_for_all(sim: PBXSimulator) -> None:
    """The number of requests to the PBX doesn't depend on the number of browsers."""
    async with served(interval=3600) as url, listening(url) as first:
        await first.until(complete)
        for _ in range(5):
            async with listening(url) as another:
                await another.until(complete)
    assert sim.served["extensions.status"] == 3


async def test_slow_browser_gets_the_latest(sim: PBXSimulator, pbx: PortSIPClient) -> None:
    """If an extension changes twice before a browser reads, the browser gets the latest row."""
    board = wallboard.ClassicBoard(pbx, 0.02)
    async with (
        in_background(board.run()),
        aclosing(board.events()) as one,
        aclosing(board.events()) as other,
    ):
        slow, quick = Listener(one.__anext__), Listener(other.__anext__)
        await slow.until(complete)
        await quick.until(complete)
        for status in ("RINGING", "ON_CALL"):
            sim.set_status("101", status)
            await quick.until(has("101", status))
        del slow.events[:]
        await slow.until(has("101", "ON_CALL"))
        rows = [row for name, data in slow.events if name == "changes" for _, row in data]
        assert [row[:3] for row in rows if row[0] == "101"] == [slow.rows["101"][:3]]


async def test_created_and_removed_extensions(
    pbx: PortSIPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new extension appears with its name, and a removed one disappears."""
    monkeypatch.setattr(wallboard, "REDISCOVER", 0.1)
    new = NewExtension(
        extension_number="2001",
        password="Sip-1",
        web_access_password="Web-1",
        profile=Profile(first_name="Zoë", last_name="New"),
    )
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        await pbx.extensions.create(new)
        await browser.until(called("2001", "Zoë New"))
        await pbx.extensions.remove("2001")
        await browser.until(lambda listener: "2001" not in listener.rows)
        async with listening(url) as later:
            await later.until(complete)
            assert "2001" not in later.rows


async def test_groups(
    sim: PBXSimulator, pbx: PortSIPClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser gets the groups with their members, and again when they change."""
    monkeypatch.setattr(wallboard, "NAMES_AGE", 0.05)
    async with served() as url, listening(url) as browser:
        await browser.until(lambda listener: listener.groups)
        expected = {
            group["group_name"]: group["members"] for group in map(sim.group, sim.group_ids)
        }
        assert dict(browser.groups) == expected
        await pbx.groups.add_members(sim.group_ids[0], ["299"])
        await browser.until(lambda listener: any("299" in who for _, who in listener.groups))
        assert sum(name == "groups" for name, _ in browser.events) == 2


async def test_groups_that_may_not_be_listed(sim: PBXSimulator) -> None:
    sim.fail("groups.list", status=403, err_code="403.1", times=None)
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(healthy("ok"))
        assert browser.groups == []


async def test_renamed(pbx: PortSIPClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are read again regularly, and changed names are sent."""
    monkeypatch.setattr(wallboard, "NAMES_AGE", 0.05)
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        for name in ("Zoë New", "Zoë Newer"):
            first, last = name.split()
            await pbx.extensions.patch("101", profile={"first_name": first, "last_name": last})
            await browser.until(called("101", name))


async def test_pbx_restarts(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser gets the outage of the PBX, and afterwards the changes during it."""
    monkeypatch.setattr(
        wallboard, "NAMES_AGE", 0.05
    )  # so that a walk for names fails during the outage
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(healthy("ok"))
        await sim.stop()
        sim.set_status("101", "ON_CALL")
        await browser.until(healthy("away"))
        last_success = browser.health[1]
        assert last_success > 0
        await sim.start()
        await browser.until(healthy("ok"))
        await browser.until(has("101", "ON_CALL"))
        assert browser.health[1] > last_success


async def test_pbx_hangs(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PBX that doesn't respond counts as away before its requests fail."""
    monkeypatch.setattr(wallboard, "RETRY", RetryPolicy(attempts=2, deadline=None))
    async with served() as url, listening(url) as browser:
        await browser.until(healthy("ok"))
        sim.fail("extensions.status", latency=3600, times=None)
        await browser.until(healthy("away"))


async def test_pbx_slow(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed cycle is reported, regardless of the duration of cycles."""
    monkeypatch.setattr(wallboard, "timedelta", lambda **_: timedelta.max)
    async with served() as url, listening(url) as browser:
        await browser.until(healthy("ok"))
        await sim.stop()
        await browser.until(healthy("away"))


async def test_pbx_away_at_first(sim: PBXSimulator) -> None:
    """The wallboard can be started before its PBX."""
    await sim.stop()
    async with served() as url, listening(url) as browser:
        await browser.until(healthy("away"))
        assert browser.health[1] is None
        assert browser.rows == {}
        await sim.start()
        await browser.until(complete)


async def test_login_refused(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused login is reported, and the login is not repeated."""
    monkeypatch.setenv("PORTSIP_PASSWORD", "wrong")
    async with served() as url, listening(url) as browser:
        await browser.until(healthy("refused"))
    assert sim.served["account.verify"] == 1


async def test_refused_later(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login that is refused later is reported at once."""
    monkeypatch.setattr(wallboard, "REFUSED_PAUSE", 3600)
    monkeypatch.setattr(wallboard, "timedelta", lambda **_: timedelta.max)
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(healthy("ok"))
        sim.fail("extensions.status", status=401, err_code="403.4", times=None)
        await browser.until(lambda listener: listener.health[0] != "ok")
        assert browser.health[0] == "refused"
        assert browser.health[1] > 0


async def test_watch_continues_after_a_refusal(sim: PBXSimulator) -> None:
    """When the PBX accepts the login again, the wallboard continues from its last state."""
    async with served() as url, listening(url) as browser:
        await browser.until(complete)
        await browser.until(healthy("ok"))
        await browser.until(lambda listener: listener.groups)
        sim.fail("extensions.status", status=401, err_code="403.4", times=None)
        await browser.until(healthy("refused"))
        del browser.events[:]
        await browser.until(lambda listener: len(listener.events) == 3)
        assert all(data[0] == "refused" and data[1] for _, data in browser.events)
        del browser.events[:]
        sim.set_status("101", "ON_CALL")
        sim.clear()
        await browser.until(healthy("ok"))
        await browser.until(has("101", "ON_CALL"))
        changed = [
            number for name, data in browser.events if name == "changes" for number, _ in data
        ]
        assert changed == ["101"]
        await sim.stop()
        await browser.until(healthy("away"))


async def test_closed_browser_is_forgotten() -> None:
    """The board keeps nothing for a browser that has disconnected."""
    runner = web.AppRunner(wallboard.make_app(0.05), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    board = runner.app[wallboard.BOARD]
    async with listening(f"http://127.0.0.1:{runner.addresses[0][1]}/") as browser:
        await browser.until(complete)
        assert len(board.browsers) == 1
    await until(lambda: not board.browsers)
    await runner.cleanup()


async def test_ends_with_browsers_connected() -> None:
    """When the wallboard stops, it ends the streams and doesn't wait for browsers."""
    async with aiohttp.ClientSession() as session:
        async with served() as url:
            reply = await session.get(f"{url}events")
        body = await reply.read()
    assert body.startswith(b"event: snapshot\n")


async def test_page_is_self_contained() -> None:
    """The page is one file. It may load no other files, and connects only to its own server."""
    async with aiohttp.ClientSession() as session, served() as url:
        reply = await session.get(url)
        text = await reply.text()
    assert reply.content_type == "text/html"
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert set(re.findall(r"https?://[^'\"]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|img|iframe)[^>]* src=|@import", text)
