"""The documentation in a browser, on a desktop and on a telephone.

`make test-browser` runs these tests. They build the site once and serve it on a local port.
"""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver

from portsip_async import __version__

from .browser import DESKTOP, TELEPHONE, Page, chromium
from .docs.site import build

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# The words in the cells of tables that begin on one line and end on another.
BROKEN_WORDS = r"""
const broken = [];
for (const cell of document.querySelectorAll(".md-content :is(td, th)")) {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  for (let text; text = texts.nextNode();) {
    for (const word of text.data.matchAll(/[\p{L}\p{N}_]+/gu)) {
      const range = document.createRange();
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
}
return broken;
"""

# What is wider than the window, unless it is inside something that scrolls.
TOO_WIDE = """
const width = document.documentElement.clientWidth;
const scrolls = (node) => node !== document.body
  && (["auto", "scroll", "hidden"].includes(getComputedStyle(node).overflowX)
    && node.getBoundingClientRect().right <= width + 1 || scrolls(node.parentElement));
const wide = [...document.querySelectorAll(".md-content *")]
  .filter((node) => node.getBoundingClientRect().right > width + 1 && !scrolls(node.parentElement))
  .map((node) => node.outerHTML.slice(0, 80));
if (document.documentElement.scrollWidth > width) wide.push("the page");
return wide;
"""

RESULTS = (
    "[...document.querySelectorAll('.md-search-result__item > a:first-child')]"
    ".map((link) => new URL(link.href).pathname)"
)
ASKED = "performance.getEntries().map((entry) => entry.name).filter((name) => name.includes('://'))"

# What people type, and the page that they should find near the top.
SEARCHES = {
    "delete extension": "/howto/create-change-delete/",
    "remove user": "/howto/create-change-delete/",
    "change password": "/howto/rotate-credentials/",
    "list users": "/howto/walk-many/",
    "pandas": "/howto/results/",
    "excel": "/howto/provision-from-csv/",
    "import csv": "/howto/provision-from-csv/",
    "group members": "/howto/groups/",
    "watch_status": "/howto/watch-for-weeks/",
    "webhook": "/howto/watch-for-weeks/",
    "click to call": "/howto/calls/",
    "2fa": "/howto/second-factor/",
    "self-signed": "/howto/certificates/",
    "rate limit": "/reference/errors/",
    "RetryPolicy": "/reference/client/",
    "profile": "/howto/profiles/",
    "several PBXes": "/howto/profiles/",
    "X-Request-Id": "/howto/raw-replies/",
    "pip install": "/installation/",
    "vulnerability": "/security/",
}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> list[str]:
    return [path.parent.relative_to(site).as_posix() for path in sorted(site.rglob("index.html"))]


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.mark.parametrize("device", [DESKTOP, TELEPHONE], ids=["1280", "390"])
async def test_pages_fit(
    driver: webdriver.Chrome, pages: list[str], url: str, device: dict[str, Any]
) -> None:
    """No table breaks a word, and no page is wider than the window."""
    page = Page(driver)
    found = {}
    for name in pages:
        await page.open(f"{url}/{name}/", device)
        found[name] = [*await page.run(BROKEN_WORDS), *await page.run(TOO_WIDE)]
    assert len(found) > 30
    assert {name: faults for name, faults in found.items() if faults} == {}


async def test_search_finds(driver: webdriver.Chrome, url: str) -> None:
    """The words that people type lead to the page that they look for."""
    page = Page(driver)
    found = {}
    for words, expected in SEARCHES.items():
        await page.open(f"{url}/?q={quote(words)}")
        await page.until(f"{RESULTS}.length > 0")
        results = await page.get(RESULTS)
        found[words] = expected in results[:3] or results
    assert found == dict.fromkeys(SEARCHES, True)


async def test_header_and_requests(driver: webdriver.Chrome, url: str) -> None:
    """The header shows the repository and the version. No page asks another server for anything."""
    page = Page(driver)
    await page.open(f"{url}/tutorial/")
    await page.until("document.readyState", "complete")
    header = "document.querySelector('.md-header .md-source')"
    assert (await page.get(f"{header}.innerText")).split() == ["portsip_async", __version__]
    assert await page.get(f"{header}.href") == "https://github.com/portsip-async/portsip_async"
    asked = await page.get(ASKED)
    assert f"{url}/stylesheets/site.css" in asked
    assert [each for each in asked if not each.startswith(url)] == []
