"""A page in headless Chromium of Debian, controlled with chromedriver.

`make test-browser` installs Chromium if it can.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

SECONDS = 60.0  # to wait for a change of the page
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
)
DESKTOP = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
TELEPHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


class Page:
    """A page in the browser. Waiting for the browser doesn't block the event loop."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    async def open(self, url: str, device: dict[str, Any] = DESKTOP) -> None:
        await self.tell("Emulation.setDeviceMetricsOverride", device)
        await self.tell("Emulation.setTouchEmulationEnabled", {"enabled": device["mobile"]})
        await self.scheme("light")
        await asyncio.to_thread(self.driver.get, url)
        await self.run("localStorage.clear()")

    async def tell(self, command: str, arguments: dict[str, Any]) -> None:
        await asyncio.to_thread(self.driver.execute_cdp_cmd, command, arguments)

    async def scheme(self, name: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.tell("Emulation.setEmulatedMedia", {"features": features})

    async def run(self, script: str, *arguments: object) -> Any:
        return await asyncio.to_thread(self.driver.execute_script, script, *arguments)

    async def get(self, expression: str) -> Any:
        return await self.run(f"return {expression}")

    async def until(self, expression: str, expected: object = True) -> None:
        """Wait until an expression of the page has a value."""
        found: object = None
        try:
            async with asyncio.timeout(SECONDS):
                while (found := await self.get(expression)) != expected:  # noqa: ASYNC110 - in the page
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{expression} is {found!r}, not {expected!r}")

    async def press(self, *keys: str) -> None:
        """Press keys, as a user does."""
        actions = ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        await asyncio.to_thread(actions.perform)

    async def tap(self, selector: str) -> None:
        node = await self.get(f"document.querySelector({selector!r})")
        await asyncio.to_thread(node.click)

    async def picture(self, path: Path) -> None:
        await asyncio.to_thread(self.driver.save_screenshot, str(path))


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start a browser with a new profile in a folder."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "chromium is not installed: see make test-browser"
    assert chromedriver, "chromedriver is not installed: see make test-browser"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()
