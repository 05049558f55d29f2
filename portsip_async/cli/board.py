"""``portsip-async extensions watch``: a live board on a terminal, a line a change in a pipe.

The board shows each extension in a cell, coloured and marked by its status, the counts, the latest
changes, and since when the PBX gives no answer. A terminal that can't move its cursor gets lines.
In a pipe, outages are reported on stderr. The watch ends once its reader has gone, even if there is
nothing to write.
"""

import asyncio
import io
import select
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from .. import (
    BadRequest,
    ExtensionStatus,
    NotFound,
    PortSIPClient,
    StatusChange,
    StatusWatch,
    WatchStats,
)
from .connect import Connection
from .failures import USAGE, Failure, shortened, tell
from .fields import plain
from .letters import encodable, one_line, printable
from .letters import width as width_of
from .options import read_lines, spread
from .output import Format, Output, can_move_cursor, console, styled
from .signals import steps_aside
from .streams import Sink, unguarded

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_BEAT = 0.25  # seconds between two looks at what has to be shown
_RECENT = 8  # changes that are shown, at most
# A mark beside the colour, for those who see none.
_MARKS = {"ON_CALL": "●", "RINGING": "◐", "OFFLINE": "·"}
_OTHER_MARK = "○"
_PLAIN_MARKS = {"●": "*", "◐": "!", "·": ".", "○": "o"}  # where the terminal lacks these
_REMINDER = 60.0  # seconds between two lines about one outage, at least


@spread
def watch(
    numbers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NUMBER",
            help="Extension numbers; - reads them from stdin; none: all that there are.",
            show_default=False,
        ),
    ] = None,
    *,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="From one look to the next.")
    ] = 5.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many changes.", show_default=False)
    ] = None,
    connection: Connection,
    output: Output,
) -> None:
    """Watch what extensions are doing.

    A terminal shows a live board, a pipe gets a line a change; so does a terminal that can't move
    its cursor. Every extension is shown once, then every change, through outages of the PBX, until
    Ctrl-C.

    Example: portsip-async extensions watch --interval 2 | jq .after.status
    """
    if output.format is Format.JSON:
        raise typer.BadParameter("a watch has no end: use jsonl", param_hint="'--output'")
    on_board = output.format is Format.TABLE
    if on_board and not sys.stdout.isatty():
        raise Failure("the board needs a terminal", "use --output jsonl or csv", USAGE)
    if on_board and not can_move_cursor():
        on_board, output = False, replace(output, output=Format.JSONL)
    output.check(StatusChange[ExtensionStatus])
    wanted = read_lines(numbers) if numbers else None

    async def work(pbx: PortSIPClient) -> None:
        await _prove(pbx, wanted)
        watching = pbx.extensions.watch_status(wanted, interval=interval)
        async with watching:
            if on_board:
                await _show_board(watching, limit)
            else:
                await _write_changes(watching, limit, output)

    connection.run(work)


async def _prove(pbx: PortSIPClient, wanted: Sequence[str] | None) -> None:
    """Ask for something once: a watch itself would wait for a PBX that was never there."""
    if wanted is None:
        await pbx.extensions.list(page_size=1)
        return
    try:
        await pbx.extensions.status(wanted[:1])
    except (NotFound, BadRequest) as error:
        if error.operation != "extensions.status":
            raise  # it is about the login


async def _write_changes(watching: StatusWatch, limit: int | None, output: Output) -> None:
    outage = _Outage()
    unknown = _Unknown()

    def report() -> None:
        stats = watching.stats
        for line in (*outage.news(stats, monotonic()), *unknown.news(stats)):
            tell(line)

    count = 0
    with output.rows(StatusChange[ExtensionStatus]) as rows:
        async with _beating(report):
            async for change in watching:
                rows.write(plain(change))
                count += 1
                if count == limit:
                    break
        report()  # what there is to say of the last change's cycle


class _Outage:
    """Says when an outage begins, that it lasts (once a minute), and when it ends."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._told = 0.0

    def news(self, stats: WatchStats, now: float) -> Iterator[str]:
        """Yield what there is to say at a time, in seconds of any steady clock."""
        if not stats.consecutive_failures:
            if self._began is not None:
                yield f"the PBX answers again, after {_lasted(now - self._began)}"
            self._began = None
        elif self._began is None:
            self._began = self._told = now
            yield f"no answer: {stats.last_error}"
        elif now - self._told >= _REMINDER:
            self._told = now
            yield f"still no answer after {_lasted(now - self._began)}: {stats.last_error}"


class _Unknown:
    """Says once which of the watched numbers the PBX does not know."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def news(self, stats: WatchStats) -> Iterator[str]:
        """Yield what there is to say now."""
        new = [number for number in stats.unknown if number not in self._told]
        self._told.update(new)
        if new:
            yield f"the PBX knows no extension {shortened(new)}; watching goes on"


def _lasted(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _abandonment() -> Callable[[], bool]:
    """Answer what tells whether the reader of standard output has gone, where that can be told."""
    target = unguarded(sys.stdout)
    try:
        poll = select.poll()  # which Windows lacks
        poll.register(target.fileno(), 0)  # reports errors and hang-ups without being asked to
    except (AttributeError, io.UnsupportedOperation):
        return lambda: isinstance(target, Sink) and target.abandoned
    return lambda: bool(poll.poll(0))


async def _show_board(watching: StatusWatch, limit: int | None) -> None:
    from rich.live import Live

    screen = console()
    marks = _OTHER_MARK + "".join(_MARKS.values())
    board = Board(plain=encodable(marks, screen.encoding) != marks)
    count = 0
    with (
        steps_aside(unguarded(sys.stdout), own_screen=True),
        Live(console=screen, screen=True, auto_refresh=False) as live,
    ):

        def look() -> None:
            shown = board.picture(screen.width, screen.height, watching.stats, datetime.now(UTC))
            live.update(shown, refresh=True)

        async with _beating(look):
            async for change in watching:
                board.take(change)
                count += 1
                if count == limit:
                    break


@asynccontextmanager
async def _beating(look: Callable[[], None]) -> AsyncIterator[None]:
    """Look at something again and again while the block lasts.

    The block ends when a look fails, or when nobody reads standard output any more: a terminal that
    has gone is not always followed by a SIGHUP.
    """
    around = asyncio.current_task()
    abandoned = _abandonment()

    async def beat() -> None:
        while not abandoned():
            look()
            await asyncio.sleep(_BEAT)

    def ended(beating: asyncio.Task[None]) -> None:
        if not beating.cancelled() and around is not None:
            around.cancel()

    task = asyncio.create_task(beat())
    task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if not task.done() or task.cancelled():
            raise
        if around is not None:
            around.uncancel()
        task.result()  # raises why a look failed
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Board:
    """What is known of the extensions, and its picture."""

    def __init__(self, *, plain: bool = False) -> None:
        """Begin with nothing known.

        Args:
            plain: whether the marks are ASCII.
        """
        self._marks = _PLAIN_MARKS if plain else {}
        self._statuses: dict[str, ExtensionStatus] = {}
        self._recent: deque[StatusChange] = deque(maxlen=_RECENT)

    def take(self, change: StatusChange) -> None:
        """Note a change; that an extension was first seen is no news."""
        if change.after is None:
            self._statuses.pop(change.extension_number, None)
        else:
            self._statuses[change.extension_number] = change.after
        if change.before is not None:
            self._recent.appendleft(change)

    def picture(
        self, width: int, height: int, stats: WatchStats, now: datetime
    ) -> "RenderableType":
        """Draw the board for a terminal of so many columns and lines."""
        from rich.console import Group
        from rich.text import Text

        recent = [_line(change) for change in self._recent][: max(0, (height - 6) // 3)]
        head = [self._counts(), _health(stats, now), Text()]
        left = height - len(head) - len(recent) - 2
        cells = self._cells(width, max(1, left))
        news = [Text(), *recent] if recent else []
        return Group(*head, cells, *news)

    def _counts(self) -> "Text":
        from rich.text import Text

        line = Text(f"{len(self._statuses):,} extensions", style="bold", no_wrap=True)
        counts = Counter(_told(status) for status in self._statuses.values())
        for told, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            line.append(f"   {self._mark(told)} {count:,} {printable(told)}", style=styled(told))
        return line

    def _cells(self, width: int, lines: int) -> "Text":
        from rich.text import Text

        numbers = sorted(self._statuses, key=lambda number: (len(number), number))
        size = max((width_of(printable(number)) for number in numbers), default=1) + 3
        columns = max(1, width // size)
        more = len(numbers) - columns * lines
        if more > 0:
            # Who does something is shown before who doesn't, and the last line tells of the rest.
            numbers.sort(key=lambda number: _told(self._statuses[number]) == "OFFLINE")
            shown = columns * max(1, lines - 1)
            more, numbers = len(numbers) - shown, numbers[:shown]
        text = Text()
        for at, number in enumerate(numbers):
            told = _told(self._statuses[number])
            cell = f"{self._mark(told)} {printable(number)}"
            cell += " " * (size - width_of(cell))
            text.append(cell if (at + 1) % columns else f"{cell.rstrip()}\n", style=styled(told))
        text.rstrip()
        if more > 0:
            text.append(f"\n... and {more:,} more")
        return text

    def _mark(self, told: str) -> str:
        mark = _MARKS.get(told, _OTHER_MARK)
        return self._marks.get(mark, mark)


def _told(status: ExtensionStatus | None) -> str:
    return "gone" if status is None else str(status.status or "unknown")


def _line(change: StatusChange) -> "Text":
    from rich.text import Text

    before, after = _told(change.before), _told(change.after)
    at = change.at.astimezone().strftime("%H:%M:%S")
    line = Text(f"{at}  {printable(change.extension_number)}  ", no_wrap=True)
    if before == after and change.after is not None:
        line.append(f"{after}  {printable(change.after.user_agent or 'no telephone')}", "dim")
    else:
        line.append(printable(before), styled(before)).append(" -> ")
        line.append(printable(after), styled(after))
    return line


def _health(stats: WatchStats, now: datetime) -> "Text":
    from rich.text import Text

    if not stats.cycles:
        return Text("reading ...", style="dim")
    if stats.consecutive_failures:
        told = "no answer yet"
        if stats.last_success is not None:
            told = f"no answer for {(now - stats.last_success).total_seconds():.0f} s"
        why = one_line(str(stats.last_error or ""))
        return Text(f"{told}: {why}", style="bold red", no_wrap=True, overflow="ellipsis")
    seconds = f"a look takes {stats.cycle_seconds:.2f} s"
    missing = f"   {stats.missing:,} not told" if stats.missing else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    if stats.unknown:
        unknown = printable(shortened(stats.unknown))
        line.append(f"the PBX knows no {unknown}   ", style="bold yellow")
    return line.append(f"up to date   {seconds}{missing}   Ctrl-C ends", style="dim")
