"""The board of a watch: the statuses of the extensions on a terminal.

It shows the counts, a cell for each extension with the colour and the mark of its status, the
latest changes, and how long the PBX has not replied.
"""

from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .. import StatusChange, WatchStats
from .failures import shorten
from .output import style_of
from .terminal_text import encodable, one_line, printable
from .terminal_text import width as width_of

_MAX_RECENT = 8  # latest changes on the board
# A mark beside the colour, for people and terminals without colours.
_MARKS = {"ON_CALL": "●", "RINGING": "◐", "OFFLINE": "·"}
_OTHER_MARK = "○"
_PLAIN_MARKS = {"●": "*", "◐": "!", "·": ".", "○": "o"}  # for terminals that lack these


class Board:
    """The statuses of the extensions, and how they look on a terminal."""

    def __init__(self, encoding: str = "utf-8", *, detail: Callable[[Any], str]) -> None:
        """Begin without extensions.

        Args:
            encoding: the terminal's encoding.
            detail: returns what a status says besides its name.
        """
        self._detail = detail
        marks = "".join(_PLAIN_MARKS)
        self._marks = {} if encodable(marks, encoding) == marks else _PLAIN_MARKS
        self._statuses: dict[str, Any] = {}
        self._recent: deque[StatusChange[Any]] = deque(maxlen=_MAX_RECENT)

    def apply(self, change: StatusChange[Any]) -> None:
        """Apply a change; the first status of an extension is not shown as a change."""
        if change.after is None:
            self._statuses.pop(change.extension_number, None)
        else:
            self._statuses[change.extension_number] = change.after
        if change.before is not None:
            self._recent.appendleft(change)

    def render(self, width: int, height: int, stats: WatchStats, now: datetime) -> RenderableType:
        """Draw the board for a terminal of this many columns and lines."""
        # Of the height, the changes get at most a third, and the cells get the rest.
        recent = [self._line(change) for change in self._recent][: max(0, (height - 6) // 3)]
        head = [self._counts(), _health(stats, now), Text()]
        left = height - len(head) - len(recent) - 2
        cells = self._cells(width, max(1, left))
        return Group(*head, cells, *([Text(), *recent] if recent else []))

    def _counts(self) -> Text:
        line = Text(f"{len(self._statuses):,} extensions", style="bold", no_wrap=True)
        counts = Counter(map(_label, self._statuses.values()))
        for label, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            text = f"   {self._mark(label)} {count:,} {printable(label)}"
            line.append(text, style=style_of(label))
        return line

    def _cells(self, width: int, lines: int) -> Text:
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

    def _line(self, change: StatusChange[Any]) -> Text:
        before, after = _label(change.before), _label(change.after)
        at = change.at.astimezone().strftime("%H:%M:%S")
        line = Text(f"{at}  {printable(change.extension_number)}  ", no_wrap=True)
        if before == after and change.after is not None:
            line.append(f"{after}  {printable(self._detail(change.after))}", "dim")
        else:
            line.append(printable(before), style_of(before)).append(" -> ")
            line.append(printable(after), style_of(after))
        return line

    def _mark(self, label: str) -> str:
        mark = _MARKS.get(label, _OTHER_MARK)
        return self._marks.get(mark, mark)


def _label(status: Any) -> str:
    return "gone" if status is None else str(status.status or "unknown")


def _health(stats: WatchStats, now: datetime) -> Text:
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
