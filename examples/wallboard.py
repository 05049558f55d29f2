"""A wallboard: the live status of every extension, in any number of browsers.

    python examples/wallboard.py [--api classic|v22] [--host 127.0.0.1] [--port 8080] [--interval 2]

--api names the generation of the PBX's API; PORTSIP_API in the environment does the same. Changes
arrive live from a PBX of generation v22, through its web socket. While there is none, it is polled
like a classic PBX, but less often, because each extension needs a request.

One watch of the PBX serves all browsers. A browser gets all extensions once. After that it gets the
changes, four times a second. A slow or sleeping browser delays no other browser: when it is back,
it gets the latest status of each extension. The wallboard has no login, so restrict access to it.
"""

import argparse
import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
from aiohttp import web
from simulated import simulated_pbx

from portsip_async import (
    AuthenticationError,
    ExtensionStatus,
    PortSIPClient,
    PortSIPError,
    RetryPolicy,
    StatusChange,
    StatusWatch,
    v22,
)

APIS = ("classic", "v22")
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

# The presences that people choose. All others only repeat the status.
CHOSEN: Mapping[str | None, str] = {
    v22.Presence.DO_NOT_DISTURB: "Do not disturb",
    v22.Presence.AWAY: "Away",
    v22.Presence.BUSINESS_TRIP: "Business trip",
    v22.Presence.LUNCH: "Lunch",
}

# A watch asks again in its next cycle, so it needs few retries.
RETRY = RetryPolicy(attempts=2, deadline=10)

log = logging.getLogger("wallboard")


class Row(NamedTuple):
    """The data of an extension in an event, as a JSON list in this order."""

    number: str
    name: str
    status: str | None
    detail: str | None  # the telephone, or with generation v22 the presence
    since: float | None  # seconds since 1970, or None if unchanged since the watch began


class Health(NamedTuple):
    """How the watch is: "ok", "away" or "refused"; the time of the last reply; the source."""

    state: str
    last_success: float | None
    source: str  # "socket" or "poll"


class Browser:
    """The changes that one browser has not received: rows by number, None if removed."""

    def __init__(self) -> None:
        self.pending: dict[str, Row | None] = {}


class Board(ABC):
    """The current state of the PBX. One watch updates it for all browsers.

    A subclass knows the client of one generation of the API.
    """

    default_interval: ClassVar[float]  # seconds between two cycles of the watch

    def __init__(self, interval: float | None) -> None:
        """Store the settings; None uses the generation's interval. `run` does the work."""
        self.closing = False
        self.browsers: set[Browser] = set()
        self._interval = self.default_interval if interval is None else interval
        self._rows: dict[str, Row] = {}
        self._names: dict[str, str] = {}
        self._groups: list[tuple[str, list[str]]] = []  # names, and the numbers of the members
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
        shown, due = None, 0.0
        groups: list[tuple[str, list[str]]] = []
        browser = Browser()
        self.browsers.add(browser)
        try:
            yield _event("snapshot", [*self._rows.values()])
            while not self.closing:
                if browser.pending:
                    changes, browser.pending = browser.pending, {}
                    yield _event("changes", [*changes.items()])
                if groups != self._groups:
                    groups = self._groups
                    yield _event("groups", groups)
                health = self._health()
                if (health.state, health.source) != shown or clock() >= due:
                    shown, due = (health.state, health.source), clock() + BEAT
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

    @abstractmethod
    def _new_watch(self, known: Mapping[str, Any]) -> StatusWatch[Any]:
        """Begin a watch of all extensions that continues from their last known states."""

    @abstractmethod
    def _list_names(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the number and the name of each extension."""

    @abstractmethod
    def _list_groups(self) -> AsyncIterator[tuple[str, list[str]]]:
        """Yield the name of each group and the numbers of its members."""

    @abstractmethod
    def _detail(self, state: Any) -> str | None:
        """Return what a state says besides its status."""

    async def _learn_names(self) -> None:
        """Read names and groups regularly, and soon after a number without a name appears."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(NAMES_AGE):
                    await self._nameless.wait()
            self._nameless.clear()
            try:
                async for number, name in self._list_names():
                    self._set_name(number, name)
            except PortSIPError as error:
                log.warning("The names could not be read: %s", error)
                self._nameless.set()
            try:
                self._groups = sorted([group async for group in self._list_groups()])
            except PortSIPError as error:  # some accounts may not list groups
                log.warning("The groups could not be read: %s", error)
            await asyncio.sleep(NAMES_PAUSE)

    def _apply(self, change: StatusChange[Any]) -> None:
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
        self._update(number, Row(number, name, after.status, self._detail(after), since))

    def _set_name(self, number: str, name: str) -> None:
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
        stats, now = self._watch.stats, datetime.now(UTC)
        is_live = stats.source == "socket"  # the socket is open, even if nothing changes
        if is_live:
            self._last_success = now
        elif stats.last_success is not None:
            self._last_success = max(stats.last_success, self._last_success or stats.last_success)
        last = None if self._last_success is None else self._last_success.timestamp()
        patience = timedelta(seconds=1 + 3 * max(self._interval, stats.cycle_seconds))
        if is_live or (
            self._last_success is not None
            and stats.last_success is not None
            and stats.consecutive_failures == 0
            and now - self._last_success < patience
        ):
            self._refused = False
            return Health("ok", last, stats.source)
        refused = self._refused or isinstance(stats.last_error, AuthenticationError)
        return Health("refused" if refused else "away", last, stats.source)


class ClassicBoard(Board):
    """The board of a PBX with the classic API."""

    default_interval = 2.0

    def __init__(self, pbx: PortSIPClient, interval: float | None = None) -> None:
        """Store the client and the settings."""
        self._pbx = pbx.with_options(retry=RETRY)
        super().__init__(interval)

    def _new_watch(self, known: Mapping[str, ExtensionStatus]) -> StatusWatch[ExtensionStatus]:
        return self._pbx.extensions.watch_status(
            interval=self._interval, known=known, rediscover=REDISCOVER
        )

    async def _list_names(self) -> AsyncIterator[tuple[str, str]]:
        async for extension in self._pbx.extensions.list(page_size=200, prefetch=2):
            names = (extension.first_name, extension.last_name)
            yield extension.extension_number, " ".join(filter(None, names))

    async def _list_groups(self) -> AsyncIterator[tuple[str, list[str]]]:
        async for summary in self._pbx.groups.list():
            group = await self._pbx.groups.show(summary.group_id)
            yield group.group_name or summary.group_id, [*(group.members or ())]

    def _detail(self, state: ExtensionStatus) -> str | None:
        return state.user_agent


class V22Board(Board):
    """The board of a PBX of generation v22, with changes from its web socket or by polling."""

    default_interval = 30.0

    def __init__(self, pbx: v22.PortSIPClient, interval: float | None = None) -> None:
        """Store the client and the settings."""
        self._pbx = pbx.with_options(retry=RETRY)
        super().__init__(interval)

    def _new_watch(
        self, known: Mapping[str, v22.ExtensionState]
    ) -> StatusWatch[v22.ExtensionState]:
        return self._pbx.extensions.watch_status(
            interval=self._interval, known=known, rediscover=REDISCOVER
        )

    async def _list_names(self) -> AsyncIterator[tuple[str, str]]:
        async for user in self._pbx.users.list(prefetch=2):
            if user.extension_number:
                yield user.extension_number, user.display_name or ""

    async def _list_groups(self) -> AsyncIterator[tuple[str, list[str]]]:
        async for group in self._pbx.groups.list():
            members = await self._pbx.groups.members(group.id)
            yield group.name or group.id, [member.extension_number for member in members]

    def _detail(self, state: v22.ExtensionState) -> str | None:
        return state.presence_note or CHOSEN.get(state.presence)


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


@asynccontextmanager
async def open_board(api: str, interval: float | None) -> AsyncIterator[Board]:
    """Create the board of a generation, with a client from the environment."""
    if api == "v22":
        async with v22.PortSIPClient.from_env() as pbx:
            yield V22Board(pbx, interval)
    else:
        async with PortSIPClient.from_env() as classic_pbx:
            yield ClassicBoard(classic_pbx, interval)


def make_app(interval: float | None = None, api: str = "classic") -> web.Application:
    """Build the wallboard. It follows the PBX while it is being served.

    Args:
        interval: seconds between two cycles of the watch; None uses the generation's own.
        api: the generation of the PBX's API, "classic" or "v22".
    """

    async def follow(app: web.Application) -> AsyncIterator[None]:
        async with simulated_pbx(extensions=2000), open_board(api, interval) as board:
            app[BOARD] = board
            task = asyncio.create_task(board.run())
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
    parser.add_argument("--interval", type=float, help="seconds between two cycles")
    parser.add_argument(
        "--api",
        choices=APIS,
        default=os.environ.get("PORTSIP_API") or APIS[0],
        help="the generation of the PBX's API (or PORTSIP_API)",
    )
    options = parser.parse_args()
    if options.api not in APIS:  # argparse does not check a default
        parser.error(f"PORTSIP_API must be one of {', '.join(APIS)}, got {options.api!r}")
    logging.basicConfig(level=logging.INFO)
    web.run_app(
        make_app(options.interval, options.api),
        host=options.host,
        port=options.port,
        access_log=None,
    )
