"""The wallboard in a browser: headless Chromium of Debian, controlled with chromedriver.

`make test-browser` runs these tests, and installs Chromium if it can. Each test waits until the
expected state is reached. No test depends on the duration of anything.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from portsip_async import PortSIPClient
from portsip_async.simulator import PBXSimulator

from .browser import DESKTOP, TELEPHONE, Page, chromium
from .wallboards import point_at, served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

EXTENSIONS = 2000
MARKS = {"ON_CALL": "C", "RINGING": "R", "ONLINE": "A", "OFFLINE": "\N{EN DASH}", "OTHER": "?"}

# The contrast between the text of an element and its background, as WCAG defines it.
CONTRAST = """
const channels = (color) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const found = channels(getComputedStyle(node).backgroundColor);
    if (found[3]) return found;
  }
};
const light = (color) => color.slice(0, 3)
  .map((value) => value / 255)
  .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
return arguments[0].map((selector) => {
  const node = document.querySelector(selector);
  const pair = [light(channels(getComputedStyle(node).color)), light(behind(node))];
  return [selector, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
});
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
async def sim() -> AsyncIterator[PBXSimulator]:
    async with PBXSimulator(extensions=EXTENSIONS, status_seconds=0) as simulator:
        yield simulator


class Site:
    """The wallboard at one address. It can be stopped and started again."""

    def __init__(self) -> None:
        self.url = ""
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        port = int(self.url.rsplit(":", 1)[1].strip("/")) if self.url else 0
        self.url = await self._stack.enter_async_context(served(interval=0.2, port=port))

    async def stop(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def site(sim: PBXSimulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    point_at(sim, monkeypatch)
    site = Site()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
async def page(driver: webdriver.Chrome, site: Site) -> AsyncIterator[Page]:
    """Open the complete wallboard on a desktop. At the end, the console must have no errors."""
    page = Page(driver)
    await complaints(page)
    await page.open(site.url)
    await page.until("tiles.size", EXTENSIONS)
    await page.until("[...tiles.values()].every((tile) => tile.row[1])")
    await page.until("banner.hidden")
    yield page
    # While the server is away, the browser logs errors itself.
    assert [line for line in await complaints(page) if "ERR_" not in line] == []
    await asyncio.to_thread(driver.get, "about:blank")


async def complaints(page: Page) -> list[str]:
    """Return the new messages of the browser's console."""
    said = await asyncio.to_thread(page.driver.execute, "getLog", {"type": "browser"})
    return [line["message"] for line in said["value"]]


async def statuses(page: Page) -> dict[str, str]:
    """Return the status of each extension on the page, in the order of the page."""
    return dict(
        await page.get(
            "[...document.querySelectorAll('.tile')]"
            ".map((node) => [node.querySelector('b').textContent, node.className.split(' ')[1]])"
        )
    )


async def counted(page: Page) -> dict[str, int]:
    """Return the count of each status."""
    found = await page.get(
        "[...document.querySelectorAll('.count')]"
        ".map((node) => [node.className.split(' ')[1], node.querySelector('b').textContent])"
    )
    return {status: int(count.replace(",", "")) for status, count in found}


async def letters(page: Page, status: str) -> set[str]:
    """Return the letters that mark a status."""
    return set(
        await page.get(
            f"[...document.querySelectorAll('.{status} .mark')].map((mark) => mark.textContent)"
        )
    )


async def test_shows_all(sim: PBXSimulator, page: Page) -> None:
    """Each extension has a tile, in the order of numbers, with colour, letter, name and label."""
    for number, status in zip(sim.extension_numbers, ("AWAY", *MARKS), strict=False):
        sim.set_status(number, status)
    await page.until("tiles.get('105').kind", "OTHER")
    shown = await statuses(page)
    assert list(shown) == sim.extension_numbers
    assert [shown[str(number)] for number in range(100, 106)] == ["OTHER", *MARKS]
    assert await counted(page) == {**dict.fromkeys(MARKS, 0), **Counter(shown.values())}
    for kind, mark in MARKS.items():
        assert await letters(page, kind) == {mark}
    profile = sim.extension("101")["profile"]
    name = f"{profile['first_name']} {profile['last_name']}"
    assert await page.get("document.getElementById('x101').ariaLabel") == f"101 {name}, On call"
    assert await page.get("document.getElementById('x100').ariaLabel.split(', ')[1]") == "away"
    assert (await page.get("tiles.get('100').name.textContent")).startswith("away · ")


async def test_only_changed_tiles_are_updated(sim: PBXSimulator, page: Page) -> None:
    """A change updates only the tiles of the changed extensions."""
    await page.run(
        "window.touched = new Set();"
        "new MutationObserver((all) => { for (const { target } of all)"
        " touched.add((target.closest ? target : target.parentElement).closest('.tile')?.id); })"
        ".observe(board, { subtree: true, childList: true, attributes: true, characterData: true })"
    )
    changed = sim.extension_numbers[::100]
    for number in changed:
        sim.set_status(number, "AWAY")
    await page.until("counts.OTHER", len(changed))
    assert set(await page.get("[...touched]")) == {f"x{number}" for number in changed}


async def test_pbx_restarts(sim: PBXSimulator, page: Page) -> None:
    """A banner shows since when the PBX is away. Afterwards the board is up to date again."""
    await sim.stop()
    await page.until("banner.hidden", expected=False)
    assert "The PBX has not answered since" in await page.get("banner.textContent")
    assert await page.get("banner.getAttribute('role')") == "alert"
    assert len(await statuses(page)) == EXTENSIONS
    for number in sim.extension_numbers:
        sim.set_status(number, "RINGING")
    await sim.start()
    await page.until("counts.RINGING", EXTENSIONS)
    await page.until("banner.hidden")
    assert set((await statuses(page)).values()) == {"RINGING"}


async def test_source(sim: PBXSimulator, page: Page) -> None:
    """The page shows whether changes arrive live or by polling."""
    source = "document.getElementById('source').textContent"
    assert await page.get(source) == "polling"
    await sim.stop()
    await page.until(source, "")
    await sim.start()
    async with served(interval=5, api="v22") as url:
        await page.open(url)
        await page.until("tiles.size", EXTENSIONS)
        await page.until(source, "live")
        sim.set_status("101", "AWAY")
        await page.until("counts.OTHER", 1)
        assert not sim.v22.served["users.status"]
        sim.v22.socket.refuse(times=None)
        sim.v22.socket.cut()
        await page.until(source, "polling")
        assert await page.get("banner.hidden")
        sim.v22.socket.clear()
        await page.until(source, "live")


async def test_wallboard_restarts(
    sim: PBXSimulator, page: Page, site: Site, pbx: PortSIPClient
) -> None:
    """After a restart of the wallboard, the page reconnects and is up to date again."""
    await page.run("window.kept = document.getElementById('x101')")
    await site.stop()
    await page.until("banner.textContent.startsWith('Connection to the wallboard lost.')")
    await page.until("document.title", "⚠ Wallboard")
    for number in sim.extension_numbers[:1000]:
        sim.set_status(number, "AWAY")
    await pbx.extensions.remove("102")
    await site.start()
    await page.until("banner.hidden")
    await page.until("counts.OTHER", 999)
    assert list(await statuses(page)) == sim.extension_numbers
    assert await page.get("document.title") == "Wallboard"
    assert await page.get("kept === document.getElementById('x101')")


async def test_connection_dies_silently(page: Page) -> None:
    """The page replaces a connection that sends no more events."""
    await page.run("window.dead = source; heard = Date.now() - 60_000; connected = true; look()")
    await page.until("source !== dead && dead.readyState === EventSource.CLOSED")
    await page.until("connected && banner.hidden")


async def test_created_and_removed_extension(page: Page) -> None:
    """A new tile is inserted in the order of numbers, and the tile of a removed one disappears."""
    await page.run("take([['1004a', ['1004a', 'New', 'ONLINE', null, null]], ['102', null]])")
    await page.until("tiles.has('1004a') && !tiles.has('102')")
    shown = list(await statuses(page))
    assert shown[shown.index("1004") : shown.index("1004") + 3] == ["1004", "1004a", "1005"]
    assert "102" not in shown


async def test_search_and_filter(sim: PBXSimulator, page: Page) -> None:
    """The search finds parts of numbers and names without accents. A status can be filtered."""
    everyone = {number: sim.extension(number)["profile"] for number in sim.extension_numbers}
    visible = (
        "[...document.querySelectorAll('.tile')].filter((tile) => tile.checkVisibility())"
        ".map((tile) => tile.tile.number)"
    )
    await page.press("/")
    assert await page.get("document.activeElement === search")
    await page.press("bjorn 12")
    expected = [
        number
        for number, who in everyone.items()
        if who["first_name"] == "Björn" and "12" in number
    ]
    await page.until(visible, expected)
    assert (
        await page.get("document.getElementById('shown').textContent")
        == f"{len(expected)} of 2,000"
    )
    await page.press("zzz")
    await page.until(visible, [])
    assert await page.get("none.checkVisibility() && none.textContent") == "No extension matches."
    await page.press(Keys.ESCAPE)
    await page.until(f"{visible}.length", EXTENSIONS)
    assert await page.get("search.value") == ""

    await page.tap(".count.RINGING")
    ringing = [number for number, status in (await statuses(page)).items() if status == "RINGING"]
    await page.until(visible, ringing)
    assert await page.get("document.querySelector('.count.RINGING').ariaPressed") == "true"
    sim.set_status(ringing[0], "ON_CALL")
    await page.until(visible, ringing[1:])
    await page.press(Keys.ESCAPE)
    await page.until(f"{visible}.length", EXTENSIONS)


VISIBLE = (
    "[...document.querySelectorAll('.tile')].filter((tile) => tile.checkVisibility())"
    ".map((tile) => tile.tile.number)"
)


async def test_group(sim: PBXSimulator, page: Page) -> None:
    """A group can be chosen; the counts are those of the group. The address keeps the choice."""
    name = sim.group(sim.group_ids[1])["group_name"]
    members = sorted(sim.group(sim.group_ids[1])["members"], key=int)
    choose = (
        "document.getElementById('group').value = arguments[0];"
        "document.getElementById('group').dispatchEvent(new Event('change'))"
    )
    await page.until("groups.size", len(sim.group_ids))
    await page.run(choose, name)
    await page.until(VISIBLE, members)
    assert sum((await counted(page)).values()) == len(members)
    sim.set_status(members[0], "AWAY")
    outsider = next(number for number in sim.extension_numbers if number not in members)
    sim.set_status(outsider, "AWAY")
    await page.until(f"tiles.get('{outsider}').kind", "OTHER")
    await page.until("counts.OTHER", 1)

    await asyncio.to_thread(page.driver.refresh)
    await page.until(f"tiles.size === {EXTENSIONS} && groups.size > 0")
    await page.until(VISIBLE, members)
    await page.press(Keys.ESCAPE)
    await page.until(f"{VISIBLE}.length", EXTENSIONS)
    assert await page.get("location.hash") == ""


async def test_time_in_state(sim: PBXSimulator, page: Page) -> None:
    """A tile shows how long its status has lasted, once it has changed."""
    text = "tiles.get('101').since.textContent"
    assert await page.get(text) == ""
    sim.set_status("101", "AWAY")
    await page.until(f"/^[0-9]+ s$/.test({text})")
    for seconds, shown in ((65, "1 min"), (7300, "2 h"), (200_000, "2 d"), (-5, "0 s")):
        assert await page.get(f"lasted({seconds})") == shown


async def test_counters_scroll_visibly_on_a_telephone(page: Page, site: Site) -> None:
    """An arrow shows on which sides counters are hidden."""
    await page.open(site.url, TELEPHONE)
    await page.until("tiles.size", EXTENSIONS)
    sides = "document.getElementById('counts').className"
    arrow = "getComputedStyle(document.getElementById('counts'), '::{}').content"
    await page.until(sides, "after")
    assert (
        await page.get(arrow.format("after")) == '"\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"'
    )
    await page.run("document.getElementById('counts').scrollLeft = 40")
    await page.until(
        "[...document.getElementById('counts').classList].sort().join()", "after,before"
    )
    await page.run("document.getElementById('counts').scrollLeft = 10_000")
    await page.until(sides, "before")
    path = os.environ.get("TELEPHONE_PICTURE")
    if path:
        await page.run("document.getElementById('counts').scrollLeft = 0")
        await page.picture(Path(path))


async def test_keyboard(page: Page) -> None:
    """The arrow keys move between neighbouring tiles, and the footer describes the selected one."""
    here = "document.activeElement.tile?.number"
    columns = await page.get("getComputedStyle(board).gridTemplateColumns.split(' ').length")
    assert columns > 3
    for keys, expected in (
        ((Keys.ARROW_DOWN,), 100),
        ((Keys.ARROW_RIGHT, Keys.ARROW_RIGHT), 102),
        ((Keys.ARROW_LEFT,), 101),
        ((Keys.ARROW_DOWN,), 101 + columns),
        ((Keys.ARROW_UP,), 101),
        ((Keys.ARROW_UP,), 101),
        ((Keys.END,), 2099),
        ((Keys.ARROW_RIGHT,), 2099),
        ((Keys.HOME,), 100),
    ):
        await page.press(*keys)
        assert await page.get(here) == str(expected)
        assert await page.get("document.querySelectorAll('[aria-selected=true]').length") == 1
        assert await page.get("document.getElementById('detail').textContent.split(' ')[0]") == str(
            expected
        )
    assert await page.get("document.querySelectorAll('.tile[tabindex=\"0\"]').length") == 1
    await page.press(Keys.PAGE_DOWN)
    assert int(await page.get(here)) >= 100 + 2 * columns
    # The selected tile is never hidden behind the header or the footer.
    edges = (
        "[document.querySelector('header').getBoundingClientRect().bottom,"
        " document.activeElement.getBoundingClientRect().top,"
        " document.activeElement.getBoundingClientRect().bottom,"
        " document.querySelector('footer').getBoundingClientRect().top]"
    )
    await page.press(Keys.HOME)
    for key in [Keys.ARROW_DOWN] * 20 + [Keys.ARROW_UP] * 20:
        await page.press(key)
        found = await page.get(edges)
        assert found == sorted(found)

    await page.press("c")
    assert await page.get("getComputedStyle(board).gridTemplateColumns.split(' ').length") > columns
    assert await page.get("document.getElementById('dense').ariaPressed") == "true"
    await page.press("/", "101", Keys.ARROW_DOWN)
    assert await page.get(here) == "101"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_contrast(sim: PBXSimulator, page: Page, scheme: str) -> None:
    """Every text has a contrast of at least 4.5 to 1, in the light and the dark scheme."""
    for number, status in zip(sim.extension_numbers, MARKS, strict=False):
        sim.set_status(number, status)
    await page.until("tiles.get('104').kind", "OTHER")
    await sim.stop()
    await page.until("banner.hidden", expected=False)
    await page.run("document.body.classList.remove('stale')")
    await page.scheme(scheme)
    texts = [f".tile.{kind} {part}" for kind in MARKS for part in (".mark", "b", ".name")]
    texts += [f".count.{kind} .mark" for kind in MARKS]
    texts += [
        "h1",
        "#shown",
        "#source",
        "#search",
        "#dense",
        ".count",
        "#banner",
        "#detail",
        ".keys",
    ]
    found = await page.run(CONTRAST, texts)
    assert [(what, ratio) for what, ratio in found if ratio < 4.5] == []


async def test_telephone(page: Page, site: Site) -> None:
    """On a telephone nothing overflows, targets are large enough, and a tap selects a tile."""
    await page.open(site.url, TELEPHONE)
    await page.until("tiles.size", EXTENSIONS)
    await page.until("tiles.get('101').row[1].length > 0")
    assert await page.get("document.documentElement.scrollWidth") == TELEPHONE["width"]
    small = (
        "[...document.querySelectorAll('button, input, .tile')]"
        ".filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 40)"
    )
    assert await page.get(f"{small}.length") == 0
    columns = await page.get("getComputedStyle(board).gridTemplateColumns.split(' ').length")
    assert 2 <= columns <= 4
    await page.tap("#x103")
    assert (await page.get("document.getElementById('detail').textContent")).startswith("103 ")
    assert await page.get("document.getElementById('detail').checkVisibility()")


async def test_picture(sim: PBXSimulator, page: Page, tmp_path: Path) -> None:
    """`make picture` creates the picture of the documentation here. Every run checks its size."""
    path = os.environ.get("WALLBOARD_PICTURE")
    picture = Path(path) if path else tmp_path / "wallboard.png"
    async with served(api="v22") as url:
        await page.open(url, DESKTOP | {"width": 1120, "height": 640})
        await page.until("document.getElementById('source').textContent", "live")
        for number in ("104", "131", "146"):
            sim.set_status(number, "AWAY")
        await page.until("counts.OTHER", 3)
        await page.until("[...tiles.values()].every((tile) => tile.row[1])")
        await page.press(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        await page.picture(picture)
    assert 20_000 < (await asyncio.to_thread(picture.stat)).st_size < 200 * 1024
