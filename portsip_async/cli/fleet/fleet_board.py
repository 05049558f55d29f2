"""The board of a worker: the PBXes of its fleet on a terminal, those that fail first."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from ..output import console
from ..reasons import plain_record
from ..terminal.keyboard import Keyboard
from ..terminal.repeating import abandonment_check
from ..terminal.signals import graceful_end, suspendable
from ..terminal.streams import unguarded
from ..terminal.terminal_text import encodable, one_line, width
from .fleet_view import FleetView
from .log import log_lines
from .rows import PBXRow, age_of

_BAR: Final = 40  # columns of the progress bar
_COLUMNS: Final = ("pbx", "last success", "failures", "extensions", "worker", "last error")
_NUMBERS: Final = frozenset({"failures", "extensions"})


class FleetBoard:
    """Draws the state of a fleet on a terminal."""

    def __init__(self, screen: Console, live: Live, stop: Callable[[], None]) -> None:
        """Store where to draw, and what to call if the terminal is gone."""
        self._screen = screen
        self._live = live
        self._stop = stop
        self._is_abandoned = abandonment_check()

    def show(self, view: FleetView) -> None:
        """Draw the state as it is now."""
        if self._is_abandoned():  # a closed terminal does not always send SIGHUP
            self._stop()
            return
        drawn = board_of(view, self._screen.height, datetime.now(UTC), self._screen.encoding)
        self._live.update(drawn, refresh=True)


@contextmanager
def board_shown(view: FleetView, stop: Callable[[], None]) -> Iterator[FleetBoard]:
    """Show a board while the block runs; the key q and signals call a function."""
    screen, keyboard, terminal = console(), Keyboard(), unguarded(sys.stdout)

    def press(key: str) -> None:
        if key == "q":
            stop()

    with (
        graceful_end(stop, terminal=terminal, keyboard=keyboard),
        log_lines(view.messages.append),
        suspendable(terminal, own_screen=True, keyboard=keyboard),
        keyboard.listening(press),
        Live(console=screen, screen=True, auto_refresh=False) as live,
    ):
        yield FleetBoard(screen, live, stop)


def board_of(view: FleetView, height: int, now: datetime, encoding: str) -> RenderableType:
    """Draw a state for a terminal of this many lines."""
    rows = view.rows or []
    head: list[RenderableType] = [_counts(rows), _health(view)]
    if view.tried < len(rows):
        head += [ProgressBar(total=len(rows), completed=view.tried, width=_BAR), Text()]
    head.append(Text())
    foot = [_line(encodable(one_line(text), encoding), "dim") for text in view.messages]
    room = max(1, height - len(head) - len(foot) - 1)  # without the line of the columns' names
    shown = sorted(rows, key=lambda row: not row.is_failing)
    if len(shown) > room:
        shown = shown[: room - 1]
        foot.insert(0, _line(f"and {len(rows) - len(shown):,} more", "dim"))
    return Group(*head, *_table(shown, now, encoding), *foot)


def _counts(rows: list[PBXRow]) -> Text:
    failing = sum(row.is_failing for row in rows)
    extensions = sum(row.extensions for row in rows)
    line = _line(f"{len(rows):,} PBXes   {extensions:,} extensions", "bold")
    if failing:
        line.append(f"   {failing:,} without an answer", "bold red")
    return line


def _health(view: FleetView) -> Text:
    """Draw what the worker does, or what is wrong with the fleet itself."""
    if view.is_ending:
        return _line(view.ending_text, "bold yellow")
    if view.problem is not None:
        return _line(one_line(view.problem), "bold red")
    if view.rows is None:
        return _line("connecting ...", "dim")
    if view.tried < len(view.rows):
        return _line(f"reading: {view.tried:,} of {len(view.rows):,}   Ctrl-C ends", "dim")
    lags = "".join(f"   {one_line(name)} {lag:,} behind" for name, lag in view.lags.items())
    return _line(f"working{lags}   Ctrl-C ends", "dim")


def _table(rows: list[PBXRow], now: datetime, encoding: str) -> Iterator[Text]:
    """Draw a line of names, and a line for each PBX; the error, at the end, may be cut off."""
    cells = [
        (
            row.pbx,
            age_of(row, now) if row.was_tried else "",
            f"{row.consecutive_failures:,}" if row.is_failing else "",
            f"{row.extensions:,}",
            row.worker or "",
            plain_record(row.last_error or "") if row.is_failing else "",
        )
        for row in rows
    ]
    shown = [[encodable(one_line(each), encoding) for each in texts] for texts in cells]
    widths = [max(map(width, column)) for column in zip(_COLUMNS, *shown, strict=True)]
    styles = ["dim", *("red" if row.is_failing else "" for row in rows)]
    for texts, style in zip([_COLUMNS, *shown], styles, strict=True):
        padded = (
            " " * (size - width(text)) + text
            if name in _NUMBERS
            else text + " " * (size - width(text))
            for name, text, size in zip(_COLUMNS, texts, widths, strict=True)
        )
        yield _line("  ".join(padded).rstrip(), style)


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
