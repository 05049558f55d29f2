"""A wallboard: the live status of every extension, in any number of browsers.

    python examples/wallboard.py [--host 127.0.0.1] [--port 8080] [--interval 2]

One watch of the PBX serves all browsers. A browser gets all extensions once. After that it gets the
changes, four times a second. A slow or sleeping browser delays no other browser: when it is back,
it gets the latest status of each extension. The wallboard has no login, so restrict access to it.
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
from aiohttp import web
from simulated import simulated_pbx

from portsip_async import (
    AuthenticationError,
    ExtensionStatus,
    ExtensionSummary,
    PortSIPClient,
    PortSIPError,
    RetryPolicy,
    StatusChange,
    StatusWatch,
)

PAGE = Path(__file__).with_suffix(".html")
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; connect-src 'self'; img-src data:;"
        " script-src 'unsafe-inline'; style-src 'unsafe-inline'"
    ),
    "Cache-Control": "no-cache",
}
STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # makes nginx pass on each event at once
}
FRAME = 0.25  # seconds between two batches of changes
BEAT = 5.0  # seconds between two health events; a browser that misses three reconnects
REFUSED_PAUSE = 60.0  # seconds to wait after a refused login
REDISCOVER = 30.0  # seconds between two searches for new and removed extensions
NAMES_PAUSE = 10.0  # minimum seconds between two walks for names
NAMES_AGE = 600.0  # maximum seconds between two walks for names

# A watch asks again in its next cycle, so it needs few retries.
RETRY = RetryPolicy(attempts=2, deadline=10)

log = logging.getLogger("wallboard")


class Row(NamedTuple):
    """The data of an extension in an event, as a JSON list in this order."""

    number: str
    name: str
    status: str | None
    telephone: str | None
    since: float | None  # seconds since 1970, or None if unchanged since the watch began


class Health(NamedTuple):
    """The state of the watch ("ok", "away" or "refused") and the time of the last reply."""

    state: str
    last_success: float | None


class Browser:
    """The changes that one browser has not received: rows by number, None if removed."""

    def __init__(self) -> None:
        self.pending: dict[str, Row | None] = {}


class Board:
    """The current state of the PBX. One watch updates it for all browsers."""

    def __init__(self, pbx: PortSIPClient, interval: float) -> None:
        """Store the settings. `run` does the work."""
        self.closing = False
        self.browsers: set[Browser] = set()
        self._pbx = pbx.with_options(retry=RETRY)
        self._interval = interval
        self._rows: dict[str, Row] = {}
        self._names: dict[str, str] = {}
        self._nameless = asyncio.Event()
        self._watch = self._new_watch(known={})
        self._last_success: datetime | None = None
        self._refused = False

    async def run(self) -> None:
        """Follow the PBX until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._learn_names())

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield all extensions once, then the changes, until the board closes."""
        clock = asyncio.get_running_loop().time
        state, due = "", 0.0
        browser = Browser()
        self.browsers.add(browser)
        try:
            yield _event("snapshot", [*self._rows.values()])
            while not self.closing:
                if browser.pending:
                    changes, browser.pending = browser.pending, {}
                    yield _event("changes", [*changes.items()])
                health = self._health()
                if health.state != state or clock() >= due:
                    state, due = health.state, clock() + BEAT
                    yield _event("health", health)
                await asyncio.sleep(FRAME)
        finally:
            self.browsers.discard(browser)

    async def _follow(self) -> None:
        while True:
            try:
                async for change in self._watch:
                    self._apply(change)
            except AuthenticationError as error:
                log.error("%s. Trying again in %g s.", error, REFUSED_PAUSE)
                self._refused = True
            self._watch = self._new_watch(known=self._watch.snapshot)
            await asyncio.sleep(REFUSED_PAUSE)

    def _new_watch(self, known: Mapping[str, ExtensionStatus]) -> StatusWatch:
        return self._pbx.extensions.watch_status(
            interval=self._interval, known=known, rediscover=REDISCOVER
        )

    async def _learn_names(self) -> None:
        """Read the names regularly, and soon after a number without a name appears."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(NAMES_AGE):
                    await self._nameless.wait()
            self._nameless.clear()
            try:
                async for extension in self._pbx.extensions.list(page_size=200, prefetch=2):
                    self._set_name(extension)
            except PortSIPError as error:
                log.warning("The names could not be read: %s", error)
                self._nameless.set()
            await asyncio.sleep(NAMES_PAUSE)

    def _apply(self, change: StatusChange) -> None:
        number, before, after = change.extension_number, change.before, change.after
        if after is None:
            self._names.pop(number, None)
            self._update(number, None)
            return
        row = self._rows.get(number)
        since = row.since if row is not None else None
        if before is not None and before.status != after.status:
            since = change.at.timestamp()
        if number not in self._names:
            self._nameless.set()
        name = self._names.get(number, "")
        self._update(number, Row(number, name, after.status, after.user_agent, since))

    def _set_name(self, extension: ExtensionSummary) -> None:
        number = extension.extension_number
        name = " ".join(filter(None, (extension.first_name, extension.last_name)))
        self._names[number] = name
        row = self._rows.get(number)
        if row is not None and row.name != name:
            self._update(number, row._replace(name=name))

    def _update(self, number: str, row: Row | None) -> None:
        if row is None:
            self._rows.pop(number, None)
        else:
            self._rows[number] = row
        for browser in self.browsers:
            browser.pending[number] = row

    def _health(self) -> Health:
        stats = self._watch.stats
        self._last_success = stats.last_success or self._last_success
        last = None if self._last_success is None else self._last_success.timestamp()
        patience = timedelta(seconds=1 + 3 * max(self._interval, stats.cycle_seconds))
        if (
            stats.last_success is not None
            and stats.consecutive_failures == 0
            and datetime.now(UTC) - stats.last_success < patience
        ):
            self._refused = False
            return Health("ok", last)
        refused = self._refused or isinstance(stats.last_error, AuthenticationError)
        return Health("refused" if refused else "away", last)


def _event(name: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


BOARD = web.AppKey("board", Board)


async def page(_: web.Request) -> web.FileResponse:
    """Serve the page. It loads no other files."""
    return web.FileResponse(PAGE, headers=PAGE_HEADERS)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream events to one browser until it disconnects."""
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the browser disconnected
        async with aclosing(request.app[BOARD].events()) as stream:
            async for event in stream:
                await response.write(event)
    return response


def make_app(interval: float = 2.0) -> web.Application:
    """Build the wallboard. It follows the PBX while it is being served.

    Args:
        interval: seconds between two cycles of the watch.
    """

    async def follow(app: web.Application) -> AsyncIterator[None]:
        async with simulated_pbx(extensions=2000), PortSIPClient.from_env() as pbx:
            app[BOARD] = Board(pbx, interval)
            task = asyncio.create_task(app[BOARD].run())
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def end_streams(app: web.Application) -> None:
        app[BOARD].closing = True

    app = web.Application()
    app.cleanup_ctx.append(follow)
    app.on_shutdown.append(end_streams)
    app.add_routes([web.get("/", page), web.get("/events", events)])
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="A wallboard with the live status of every extension."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between two cycles")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(options.interval), host=options.host, port=options.port, access_log=None)
