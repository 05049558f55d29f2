"""``portsip-async extensions watch``: a live board on a terminal, or lines of changes in a pipe.

The board shows the counts, a cell for each extension with the colour and the mark of its status,
the latest changes, and how long the PBX has not replied. A terminal that can't move its cursor gets
lines. In a pipe, outages are reported on stderr. The watch ends when its reader has left, even if
there is nothing to write.
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
from .connection import Connection
from .failures import USAGE, Failure, print_error, shorten
from .fields import plain
from .options import read_lines, spread
from .output import Format, Output, can_move_cursor, console, style_of
from .signals import suspendable
from .streams import Sink, unguarded
from .terminal_text import encodable, one_line, printable
from .terminal_text import width as width_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_REFRESH_INTERVAL = 0.25  # seconds between two updates of the board, or of the reports
_MAX_RECENT = 8  # latest changes on the board
# A mark beside the colour, for people and terminals without colours.
_MARKS = {"ON_CALL": "●", "RINGING": "◐", "OFFLINE": "·"}
_OTHER_MARK = "○"
_PLAIN_MARKS = {"●": "*", "◐": "!", "·": ".", "○": "o"}  # for terminals that lack these
_REMINDER_INTERVAL = 60.0  # seconds between two lines about one outage


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
        float, typer.Option(min=0.1, metavar="SECONDS", help="Time between two polls.")
    ] = 5.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many changes.", show_default=False)
    ] = None,
    connection: Connection,
    output: Output,
) -> None:
    """Watch the status of extensions.

    A terminal shows a live board. A pipe, or a terminal that can't move its cursor, gets a line per
    change. Every extension is shown once, and then every change, until Ctrl-C. Outages of the PBX
    don't end the watch.

    Example: portsip-async extensions watch --interval 2 | jq .after.status
    """
    if output.format is Format.JSON:
        raise typer.BadParameter("must be jsonl or csv for a watch", param_hint="'--output'")
    on_board = output.format is Format.TABLE
    if on_board and not sys.stdout.isatty():
        raise Failure("the board needs a terminal", "use --output jsonl or csv", USAGE)
    if on_board and not can_move_cursor():
        on_board, output = False, replace(output, output=Format.JSONL)
    output.check(StatusChange[ExtensionStatus])
    wanted = read_lines(numbers) if numbers else None

    async def work(pbx: PortSIPClient) -> None:
        await _check_once(pbx, wanted)
        watch = pbx.extensions.watch_status(wanted, interval=interval, batch_size=None)
        async with watch:
            if on_board:
                await _show_board(watch, limit)
            else:
                await _write_changes(watch, limit, output)

    connection.run(work)


async def _check_once(pbx: PortSIPClient, wanted: Sequence[str] | None) -> None:
    """Send one request, because a watch would wait forever for a PBX that was never reachable."""
    if wanted is None:
        await pbx.extensions.list(page_size=1)
        return
    try:
        await pbx.extensions.status(wanted[:1])
    except (NotFound, BadRequest) as error:
        if error.operation != "extensions.status":
            raise  # it is about the login


async def _write_changes(watch: StatusWatch, limit: int | None, output: Output) -> None:
    outage = _Outage()
    unknown = _Unknown()

    def report() -> None:
        for line in (*outage.news(watch.stats, monotonic()), *unknown.news(watch.stats)):
            print_error(line)

    count = 0
    with output.rows(StatusChange[ExtensionStatus]) as rows:
        async with _repeating(report):
            async for change in watch:
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
        if not stats.consecutive_failures:
            if self._began is not None:
                yield f"the PBX answers again, after {_duration(now - self._began)}"
            self._began = None
        elif self._began is None:
            self._began = self._reported = now
            yield f"no answer: {stats.last_error}"
        elif now - self._reported >= _REMINDER_INTERVAL:
            self._reported = now
            yield f"still no answer after {_duration(now - self._began)}: {stats.last_error}"


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


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _abandonment_check() -> Callable[[], bool]:
    """Return a check whether the reader of standard output has left, as far as that shows."""
    target = unguarded(sys.stdout)
    try:
        poll = select.poll()  # Windows lacks it
        poll.register(target.fileno(), 0)  # errors and hang-ups are always reported
    except (AttributeError, io.UnsupportedOperation):
        return lambda: _is_abandoned(target)
    return lambda: _is_abandoned(target) or bool(poll.poll(0))


def _is_abandoned(target: object) -> bool:
    return isinstance(target, Sink) and target.abandoned


async def _show_board(watch: StatusWatch, limit: int | None) -> None:
    from rich.live import Live

    screen = console()
    marks = _OTHER_MARK + "".join(_MARKS.values())
    board = Board(plain=encodable(marks, screen.encoding) != marks)
    count = 0
    with (
        suspendable(unguarded(sys.stdout), own_screen=True),
        Live(console=screen, screen=True, auto_refresh=False) as live,
    ):

        def refresh() -> None:
            shown = board.render(screen.width, screen.height, watch.stats, datetime.now(UTC))
            live.update(shown, refresh=True)

        async with _repeating(refresh):
            async for change in watch:
                board.apply(change)
                count += 1
                if count == limit:
                    break


@asynccontextmanager
async def _repeating(action: Callable[[], None]) -> AsyncIterator[None]:
    """Repeat an action while the block runs.

    The block ends when the action fails, or when nobody reads standard output any more: a closed
    terminal does not always send SIGHUP.
    """
    block = asyncio.current_task()
    abandoned = _abandonment_check()

    async def repeat() -> None:
        while not abandoned():
            action()
            await asyncio.sleep(_REFRESH_INTERVAL)

    def end_block(repeating: asyncio.Task[None]) -> None:
        if not repeating.cancelled() and block is not None:
            block.cancel()

    task = asyncio.create_task(repeat())
    task.add_done_callback(end_block)
    try:
        yield
    except asyncio.CancelledError:
        if not task.done() or task.cancelled():
            raise  # a cancellation from outside
        if block is not None:
            block.uncancel()
        task.result()  # raises the action's error
    finally:
        task.remove_done_callback(end_block)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Board:
    """The statuses of the extensions, and how they look on a terminal."""

    def __init__(self, *, plain: bool = False) -> None:
        """Begin without extensions.

        Args:
            plain: whether to use ASCII marks.
        """
        self._marks = _PLAIN_MARKS if plain else {}
        self._statuses: dict[str, ExtensionStatus] = {}
        self._recent: deque[StatusChange] = deque(maxlen=_MAX_RECENT)

    def apply(self, change: StatusChange) -> None:
        """Apply a change; the first status of an extension is not shown as a change."""
        if change.after is None:
            self._statuses.pop(change.extension_number, None)
        else:
            self._statuses[change.extension_number] = change.after
        if change.before is not None:
            self._recent.appendleft(change)

    def render(self, width: int, height: int, stats: WatchStats, now: datetime) -> "RenderableType":
        """Draw the board for a terminal of this many columns and lines."""
        from rich.console import Group
        from rich.text import Text

        # Of the height, the changes get at most a third, and the cells get the rest.
        recent = [_line(change) for change in self._recent][: max(0, (height - 6) // 3)]
        head = [self._counts(), _health(stats, now), Text()]
        left = height - len(head) - len(recent) - 2
        cells = self._cells(width, max(1, left))
        return Group(*head, cells, *([Text(), *recent] if recent else []))

    def _counts(self) -> "Text":
        from rich.text import Text

        line = Text(f"{len(self._statuses):,} extensions", style="bold", no_wrap=True)
        counts = Counter(map(_label, self._statuses.values()))
        for label, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            text = f"   {self._mark(label)} {count:,} {printable(label)}"
            line.append(text, style=style_of(label))
        return line

    def _cells(self, width: int, lines: int) -> "Text":
        from rich.text import Text

        numbers = sorted(self._statuses, key=lambda number: (len(number), number))
        size = max((width_of(printable(number)) for number in numbers), default=1) + 3
        columns = max(1, width // size)
        more = len(numbers) - columns * lines
        if more > 0:
            # Show offline extensions last; the last line counts those that don't fit.
            numbers.sort(key=lambda number: _label(self._statuses[number]) == "OFFLINE")
            shown = columns * max(1, lines - 1)
            more, numbers = len(numbers) - shown, numbers[:shown]
        text = Text()
        for at, number in enumerate(numbers):
            label = _label(self._statuses[number])
            cell = f"{self._mark(label)} {printable(number)}"
            cell += " " * (size - width_of(cell))
            text.append(cell if (at + 1) % columns else f"{cell.rstrip()}\n", style=style_of(label))
        text.rstrip()
        if more > 0:
            text.append(f"\n... and {more:,} more")
        return text

    def _mark(self, label: str) -> str:
        mark = _MARKS.get(label, _OTHER_MARK)
        return self._marks.get(mark, mark)


def _label(status: ExtensionStatus | None) -> str:
    return "gone" if status is None else str(status.status or "unknown")


def _line(change: StatusChange) -> "Text":
    from rich.text import Text

    before, after = _label(change.before), _label(change.after)
    at = change.at.astimezone().strftime("%H:%M:%S")
    line = Text(f"{at}  {printable(change.extension_number)}  ", no_wrap=True)
    if before == after and change.after is not None:
        line.append(f"{after}  {printable(change.after.user_agent or 'no telephone')}", "dim")
    else:
        line.append(printable(before), style_of(before)).append(" -> ")
        line.append(printable(after), style_of(after))
    return line


def _health(stats: WatchStats, now: datetime) -> "Text":
    from rich.text import Text

    if not stats.cycles:
        return Text("reading ...", style="dim")
    if stats.consecutive_failures:
        text = "no answer yet"
        if stats.last_success is not None:
            text = f"no answer for {(now - stats.last_success).total_seconds():.0f} s"
        error = one_line(str(stats.last_error or ""))
        return Text(f"{text}: {error}", style="bold red", no_wrap=True, overflow="ellipsis")
    seconds = f"a poll takes {stats.cycle_seconds:.2f} s"
    missing = f"   {stats.missing:,} missing" if stats.missing else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    if stats.unknown:
        unknown = printable(shorten(stats.unknown))
        line.append(f"the PBX knows no {unknown}   ", style="bold yellow")
    return line.append(f"up to date   {seconds}{missing}   Ctrl-C ends", style="dim")
