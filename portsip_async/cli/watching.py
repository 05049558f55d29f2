"""``portsip-async extensions watch``: a live board on a terminal, or lines of changes in a pipe.

A terminal that can't move its cursor gets lines. In a pipe, outages are reported on stderr. The
watch ends when the reading process has exited, even if there is nothing to write.
"""

import asyncio
import io
import select
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any

import typer

from .. import StatusChange, StatusWatch, WatchStats
from .connection import Connection
from .failures import USAGE, Failure, print_error, shorten
from .fields import plain
from .generation import PBX, Record
from .options import read_lines, spread
from .output import Format, Output, can_move_cursor, console
from .signals import suspendable
from .streams import Sink, unguarded
from .tracing import lines_held

_REFRESH_INTERVAL = 0.25  # seconds between two updates of the board, or of the reports
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
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Time between two polls; by default 5, or 30 where the API is v22, which takes a"
            " request for each extension.",
        ),
    ] = None,
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
    model = _change_of(connection.kind.state)
    output.check(model)
    wanted = read_lines(numbers) if numbers else None

    async def work(pbx: PBX) -> None:
        await pbx.check_watch(wanted)
        async with pbx.watch(wanted, interval or pbx.interval) as watch:
            if on_board:
                await _show_board(watch, limit, pbx.detail)
            else:
                await _write_changes(watch, limit, output, model)

    connection.run(work)


def _change_of(state: Record) -> type[StatusChange[Any]]:
    """Return the model of a change between two states."""
    return StatusChange[state]  # type: ignore[valid-type]  # which states is known at run time


async def _write_changes(
    watch: StatusWatch[Any], limit: int | None, output: Output, model: type[StatusChange[Any]]
) -> None:
    outage = _Outage()
    unknown = _Unknown()

    def report() -> None:
        for line in (*outage.news(watch.stats, monotonic()), *unknown.news(watch.stats)):
            print_error(line)

    count = 0
    with output.rows(model) as rows:
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


async def _show_board(
    watch: StatusWatch[Any], limit: int | None, detail: Callable[[Any], str]
) -> None:
    # rich takes time to load, and lines don't need it.
    from rich.live import Live

    from .board import Board

    screen = console()
    board = Board(encoding=screen.encoding, detail=detail)
    count = 0
    with (
        lines_held(),
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
