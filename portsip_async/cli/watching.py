"""``portsip-async extensions watch``: a live board on a terminal, or lines of changes in a pipe.

A terminal that can't move its cursor gets lines. In a pipe, outages and the lack of a web socket
are reported on stderr. The watch ends when the reading process has exited, even if there is nothing
to write.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import PortSIPError, StatusChange, StatusWatch, WatchStats
from .connection.connection import Connection
from .connection.tracing import lines_held
from .failures import USAGE, Failure, is_outage, print_error, shorten
from .fields import plain
from .options import read_lines, spread
from .output import Format, Output, can_move_cursor, console
from .pbx.generation import PBX, Record
from .reasons import plain_text
from .terminal.keyboard import Keyboard
from .terminal.progress import progress
from .terminal.repeating import repeating
from .terminal.signals import suspendable
from .terminal.streams import is_file, unguarded

if TYPE_CHECKING:
    from .board import Board

_REMINDER_INTERVAL = 60.0  # seconds between two lines about one outage
_SOCKET_GAP = 10.0  # seconds without a web socket that are not reported
_NAMES_PAUSE = 30  # minimum seconds between two readings of the names
_NAMES_AGE = 600  # maximum seconds between two readings of the names


@spread
def watch(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NUMBER",
            help="Extension numbers; - reads them from standard input; all by default.",
            show_default=False,
        ),
    ] = None,
    *,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Time between two polls; by default 5, or 30 where the API is v22. There, changes"
            " arrive live through a web socket, and it polls only while there is none.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many changes.", show_default=False)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Watch the members of this group, by its name or id.",
            show_default=False,
        ),
    ] = None,
    connection: Connection,
    output: Output,
) -> None:
    """Watch the status of extensions.

    A terminal shows a live board. A pipe, or a terminal that can't move its cursor, gets a line per
    change. Every extension is shown once, and then every change, until Ctrl-C. With v22, changes
    arrive live. Outages of the PBX don't end the watch. On the board, PgDn and PgUp turn the pages,
    n shows or hides the names, and q quits.

    Example: portsip-async extensions watch --interval 2 | jq .after.status
    """
    if output.format is Format.JSON:
        raise typer.BadParameter("must be jsonl or csv for a watch", param_hint="'--output'")
    on_board = output.format is Format.TABLE
    if on_board and not sys.stdout.isatty():
        raise Failure("the board needs a terminal", "use --output jsonl or csv", USAGE)
    if on_board and not can_move_cursor():
        on_board, output = False, replace(output, output=Format.JSONL)
    model = _change_of(connection.kind.state)
    output.check(model)
    if numbers and group is not None:
        raise typer.BadParameter("pass either numbers or a group", param_hint="'--group'")
    given = read_lines(numbers) if numbers else None

    async def work(pbx: PBX) -> None:
        wanted = given
        if group is not None:
            wanted = await pbx.members(await pbx.group_id(group))
            if not wanted:
                raise Failure(f"group {group} has no members")
        await pbx.check_watch(wanted)
        async with pbx.watch(wanted, interval or pbx.interval) as watch:
            if on_board:
                await _show_board(watch, limit, pbx, wanted)
            else:
                gaps = None
                if pbx.live:
                    by_token = connection.account is None
                    gaps = _SocketGaps(interval or pbx.interval, by_token=by_token)
                await _write_changes(watch, limit, output, model, gaps)

    connection.run(work)


def _change_of(state: Record) -> type[StatusChange[Any]]:
    """Return the model of a change between two states."""
    return StatusChange[state]  # type: ignore[valid-type]  # which states is known at run time


async def _write_changes(
    watch: StatusWatch[Any],
    limit: int | None,
    output: Output,
    model: type[StatusChange[Any]],
    gaps: "_SocketGaps | None",
) -> None:
    outage = _Outage()
    unknown = _Unknown()

    def report() -> bool:
        stats, now = watch.stats, monotonic()
        for line in (
            *outage.news(stats, now),
            *(gaps.news(stats, now) if gaps else ()),
            *unknown.news(stats),
        ):
            print_error(line)
        return True

    count = 0
    with output.rows(model) as rows, ExitStack() as first:
        # Until the first change, as the first states of many extensions take a while.
        first.enter_context(progress("Reading statuses", unit="seconds", shown=is_file(sys.stdout)))
        async with repeating(report):
            async for change in watch:
                first.close()
                rows.write(plain(change))
                count += 1
                if count == limit:
                    break
        report()  # for the cycle of the last change


class _Outage:
    """Reports when an outage begins, once a minute that it lasts, and when it ends."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._reported = 0.0

    def news(self, stats: WatchStats, now: float) -> Iterator[str]:
        """Yield new lines; `now` is in seconds of any monotonic clock."""
        if not is_outage(stats):
            if self._began is not None:
                yield f"the PBX answers again, after {_duration(now - self._began)}"
            self._began = None
        elif self._began is None:
            self._began = self._reported = now
            yield f"no answer: {_text(stats)}"
        elif now - self._reported >= _REMINDER_INTERVAL:
            self._reported = now
            yield f"still no answer after {_duration(now - self._began)}: {_text(stats)}"


class _SocketGaps:
    """Reports that a watch polls because there is no web socket, and that there is one again.

    Short gaps are not reported. Outages of the PBX are reported by `_Outage`.
    """

    def __init__(self, interval: float, *, by_token: bool = False) -> None:
        """Begin without a web socket.

        Args:
            interval: seconds between two polls.
            by_token: whether a token replaces the account, which the web socket needs.
        """
        self._polling = f"polling every {interval:g} s"
        self._by_token = by_token
        self._began: float | None = None
        self._is_reported = False
        self._was_live = False

    def news(self, stats: WatchStats, now: float) -> Iterator[str]:
        """Yield new lines; `now` is in seconds of any monotonic clock."""
        if stats.source == "socket":
            self._was_live = True
            if self._is_reported and self._began is not None:
                yield f"live again, after {_duration(now - self._began)}"
            self._began, self._is_reported = None, False
        elif self._is_reported:
            return
        elif self._began is None or is_outage(stats):
            self._began = now
        elif now - self._began >= _SOCKET_GAP:
            self._is_reported = True
            if self._by_token:
                yield f"a token can't log in to the web socket; {self._polling}"
            else:
                what = "the web socket is lost" if self._was_live else "there is no web socket"
                error = stats.last_error  # or one of the polls
                is_about_it = error is not None and error.operation == "web_socket"
                reason = f" ({_text(stats)})" if is_about_it else ""
                yield f"{what}; {self._polling} until there is one{reason}"


class _Unknown:
    """Reports once which of the watched numbers the PBX does not know."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def news(self, stats: WatchStats) -> Iterator[str]:
        """Yield new lines."""
        new = [number for number in stats.unknown if number not in self._reported]
        self._reported.update(new)
        if new:
            yield f"the PBX knows no extension {shorten(new)}; the watch continues"


def _text(stats: WatchStats) -> str:
    return "" if stats.last_error is None else plain_text(stats.last_error)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


async def _show_board(
    watch: StatusWatch[Any], limit: int | None, pbx: PBX, numbers: Sequence[str] | None
) -> None:
    # rich takes time to load, and lines don't need it.
    from rich.live import Live

    from .board import Board

    screen = console()
    keyboard = Keyboard()
    board = Board(encoding=screen.encoding, detail=pbx.detail, keyboard=keyboard.is_there)
    changed = asyncio.Event()
    quitting = False

    def press(key: str) -> None:
        nonlocal quitting
        quitting = not board.press(key) or quitting
        changed.set()

    count = 0
    with (
        lines_held(),
        suspendable(unguarded(sys.stdout), own_screen=True, keyboard=keyboard),
        keyboard.listening(press),
        Live(console=screen, screen=True, auto_refresh=False) as live,
    ):

        def refresh() -> bool:
            shown = board.render(screen.width, screen.height, watch.stats, datetime.now(UTC))
            live.update(shown, refresh=True)
            return not quitting

        async with _beside(_learn_names(board, pbx, numbers)), repeating(refresh, changed):
            async for change in watch:
                board.apply(change)
                count += 1
                if count == limit:
                    break


async def _learn_names(board: "Board", pbx: PBX, numbers: Sequence[str] | None) -> None:
    """Read the names of the extensions, again when an extension has none, and now and then."""
    while True:
        with suppress(PortSIPError):  # the board says that the PBX does not answer
            async with aclosing(pbx.names(numbers)) as names:
                async for number, name in names:
                    board.name(number, name)
        for _ in range(_NAMES_AGE // _NAMES_PAUSE):
            await asyncio.sleep(_NAMES_PAUSE)
            if board.nameless:
                break


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine while the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
