"""The board of a watch: the statuses of the extensions on a terminal.

It shows the counts, whether changes arrive live or by polling, a cell for each extension, the
latest changes, and how long the PBX has not replied. A cell has the mark and the colour of the
status, the number, the name, and how long the status has lasted. Extensions that don't fit on the
screen are on further pages.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from .. import StatusChange, WatchStats
from .failures import is_outage, shorten
from .output import style_of
from .terminal.terminal_text import clusters, encodable, one_line, printable, short_time
from .terminal.terminal_text import width as width_of

_MAX_RECENT: Final = 8  # latest changes on the board
_MAX_NAME: Final = 24  # columns of a name in a cell
_TIME: Final = 4  # columns of a time such as "59m"
_GAP: Final = 3  # columns between two cells
_PAGE_SECONDS: Final = 10.0  # until the next page, without a keyboard
# A mark beside the colour, for people and terminals without colours.
_MARKS = {"ON_CALL": "●", "RINGING": "◐", "OFFLINE": "·"}
_OTHER_MARK = "○"
_PLAIN_MARKS = {"●": "*", "◐": "!", "·": ".", "○": "o"}  # for terminals that lack these
_STEPS: Final = {"next": 1, "previous": -1}


@dataclass(frozen=True)
class _Cells:
    """How the cells of a screen are laid out.

    Attributes:
        columns: cells in a line.
        lines: lines of cells on a page.
        number: terminal columns of a number.
        name: terminal columns of a name; 0 shows none.
    """

    columns: int
    lines: int
    number: int
    name: int

    @property
    def page_size(self) -> int:
        """Cells on a page."""
        return self.columns * self.lines


class Board:
    """The statuses of the extensions, and how they look on a terminal."""

    def __init__(
        self, encoding: str = "utf-8", *, detail: Callable[[Any], str], keyboard: bool = False
    ) -> None:
        """Begin without extensions.

        Args:
            encoding: the terminal's encoding.
            detail: returns what a status says besides its name.
            keyboard: whether keys turn the pages; else they turn by themselves.
        """
        self._names: dict[str, str] = {}  # as shown, by number
        self._widest_name = 0
        self._detail = detail
        self._keyboard = keyboard
        marks = "".join(_PLAIN_MARKS)
        self._marks = {} if encodable(marks, encoding) == marks else _PLAIN_MARKS
        self._encoding = encoding
        self._statuses: dict[str, Any] = {}
        self._since: dict[str, datetime] = {}  # the last change of a status, by number
        # In order, or None if extensions came or went: sorting 100,000 for each drawing is slow.
        self._numbers: list[str] | None = None
        self._widest_number = 1
        self._recent: deque[StatusChange[Any]] = deque(maxlen=_MAX_RECENT)
        self._page = 0
        self._pages = 1
        self._turned: datetime | None = None
        self._with_names = True
        self._live_at: datetime | None = None  # when the web socket was last open

    def apply(self, change: StatusChange[Any]) -> None:
        """Apply a change; the first status of an extension is not shown as a change."""
        number = change.extension_number
        if (change.after is None) == (number in self._statuses):
            self._numbers = None
        if change.after is None:
            self._statuses.pop(number, None)
            self._since.pop(number, None)
        else:
            self._statuses[number] = change.after
        if change.before is not None:
            self._recent.appendleft(change)
            if change.after is not None and _label(change.before) != _label(change.after):
                self._since[number] = change.at

    def name(self, number: str, name: str) -> None:
        """Set the name of an extension."""
        shown = encodable(one_line(name), self._encoding)
        self._names[number] = shown
        self._widest_name = max(self._widest_name, width_of(shown))

    @property
    def nameless(self) -> bool:
        """Whether an extension has no name yet."""
        return not self._statuses.keys() <= self._names.keys()

    def press(self, key: str) -> bool:
        """Handle a key, and return whether the board goes on.

        Args:
            key: "next", "previous", "first", "last", or a letter: n for names, q to quit.
        """
        if key in _STEPS:
            self._page = min(max(0, self._page + _STEPS[key]), self._pages - 1)
        elif key == "first":
            self._page = 0
        elif key == "last":
            self._page = self._pages - 1
        elif key == "n":
            self._with_names = not self._with_names
        return key != "q"

    def render(self, width: int, height: int, stats: WatchStats, now: datetime) -> RenderableType:
        """Draw the board for a terminal of this many columns and lines."""
        # Of the height, the changes get at most a third, and the cells get the rest.
        recent = [self._line(change) for change in self._recent][: max(0, (height - 6) // 3)]
        if stats.source == "socket":
            self._live_at = now
        head = [self._counts(), _health(stats, self._live_at, now), Text()]
        left = height - len(head) - len(recent) - 2
        cells = self._cells(width, max(1, left), now)
        return Group(*head, cells, *([Text(), *recent] if recent else []))

    def _counts(self) -> Text:
        line = Text(f"{len(self._statuses):,} extensions", style="bold", no_wrap=True)
        counts = Counter(map(_label, self._statuses.values()))
        for label, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            text = f"   {self._mark(label)} {count:,} {printable(label)}"
            line.append(text, style=style_of(label))
        return line

    def _cells(self, width: int, lines: int, now: datetime) -> Text:
        if self._numbers is None:
            self._numbers = sorted(self._statuses, key=lambda number: (len(number), number))
            self._widest_number = max(
                (width_of(printable(each)) for each in self._numbers), default=1
            )
        numbers = self._numbers
        layout = self._layout(width, lines)
        if len(numbers) > layout.page_size:
            # The last line counts the pages. The first pages show who is not offline.
            layout = self._layout(width, max(1, lines - 1))
            numbers = sorted(numbers, key=lambda each: _label(self._statuses[each]) == "OFFLINE")
        self._pages = max(1, -(-len(numbers) // layout.page_size))
        self._turn(now)
        begin = self._page * layout.page_size
        text = Text(no_wrap=True)
        for at, number in enumerate(numbers[begin : begin + layout.page_size], start=1):
            cell, style = self._cell(number, layout, now)
            last = at % layout.columns == 0
            text.append(f"{cell.rstrip()}\n" if last else cell + " " * _GAP, style=style)
        text.rstrip()
        if self._pages > 1:
            text.append(f"\npage {self._page + 1} of {self._pages}", style="dim")
            if self._keyboard:
                text.append("   PgDn, PgUp: turn pages   n: names   q: quit", style="dim")
        return text

    def _layout(self, width: int, lines: int) -> _Cells:
        number, name = self._widest_number, 0
        if self._with_names:
            # At least one cell fits in a line.
            name = max(0, min(self._widest_name, _MAX_NAME, width - number - _TIME - 4))
        size = 2 + number + (1 + name if name else 0) + 1 + _TIME
        return _Cells(max(1, (width + _GAP) // (size + _GAP)), lines, number, name)

    def _cell(self, number: str, layout: _Cells, now: datetime) -> tuple[str, str]:
        """Return the text and the style of an extension's cell."""
        label = _label(self._statuses[number])
        cell = f"{self._mark(label)} {_fitted(printable(number), layout.number)}"
        if layout.name:
            cell += f" {_fitted(self._names.get(number, ''), layout.name)}"
        since = self._since.get(number)
        lasted = "" if since is None else short_time(now - since)
        return f"{cell} {lasted:>{_TIME}}", style_of(label)

    def _turn(self, now: datetime) -> None:
        """Show the next page when it is due; keep the page within the pages that exist."""
        if not self._keyboard:
            self._turned = self._turned or now
            if (now - self._turned).total_seconds() >= _PAGE_SECONDS:
                self._page, self._turned = (self._page + 1) % self._pages, now
        self._page = min(self._page, self._pages - 1)

    def _line(self, change: StatusChange[Any]) -> Text:
        number = change.extension_number
        who = f"{printable(number)} {self._names.get(number, '')}".rstrip()
        return change_line(change, who, self._detail)

    def _mark(self, label: str) -> str:
        mark = _MARKS.get(label, _OTHER_MARK)
        return self._marks.get(mark, mark)


def change_line(change: StatusChange[Any], who: str, detail: Callable[[Any], str]) -> Text:
    """Draw a change as a line: its time, whose status it is, and what changed.

    Args:
        change: the change.
        who: a printable text that names the extension.
        detail: returns what a status says besides its name.
    """
    after = _label(change.after)
    before = "new" if change.before is None else _label(change.before)
    at = change.at.astimezone().strftime("%H:%M:%S")
    line = Text(f"{at}  {who}  ", no_wrap=True)
    if before == after and change.after is not None:
        line.append(f"{after}  {printable(detail(change.after))}", "dim")
    else:
        line.append(printable(before), style_of(before)).append(" -> ")
        line.append(printable(after), style_of(after))
    return line


def _fitted(text: str, room: int) -> str:
    """Cut a printable text to so many columns of a terminal, or fill it up with spaces."""
    if width_of(text) > room:
        kept, used = "", 0
        for cluster, columns in clusters(text):
            if used + columns > room:
                break
            kept += cluster
            used += columns
        text = kept
    return text + " " * (room - width_of(text))


def _label(status: Any) -> str:
    return "gone" if status is None else str(status.status or "unknown")


def _health(stats: WatchStats, live_at: datetime | None, now: datetime) -> Text:
    if is_outage(stats):
        text = "no answer yet"
        # The web socket may have been open for long without a message.
        answered = [at for at in (stats.last_success, live_at) if at is not None]
        if answered:
            text = f"no answer for {(now - max(answered)).total_seconds():.0f} s"
        error = one_line(str(stats.last_error or ""))
        return Text(f"{text}: {error}", style="bold red", no_wrap=True, overflow="ellipsis")
    source = "live"
    if stats.source == "poll":
        if stats.last_success is None and not stats.cycles:
            return Text("reading ...", style="dim")
        source = "polling"
        if stats.cycles:
            source += f"   a poll takes {stats.cycle_seconds:.2f} s"
    missing = f"   {stats.missing:,} missing" if stats.missing else ""
    line = Text(no_wrap=True, overflow="ellipsis")
    if stats.unknown:
        unknown = printable(shorten(stats.unknown))
        line.append(f"the PBX knows no {unknown}   ", style="bold yellow")
    return line.append(f"{source}{missing}   Ctrl-C ends", style="dim")
