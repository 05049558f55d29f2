"""Show the progress of long work on stderr, if that is a terminal that can move its cursor."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..output import can_move_cursor, console
from ..profiles.current_pbx import pbx_name
from .signals import suspendable
from .streams import unguarded
from .terminal_text import one_line, terminal_width, wrapped

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """A progress bar, shown or not."""

    def __init__(self, bar: "rich.progress.Progress | None" = None) -> None:
        """Store rich's bar, with one task; None shows nothing."""
        self._bar = bar

    def advance(self, by: int = 1) -> None:
        """Add to what is done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], by)

    def retitle(self, title: str) -> None:
        """Change the text beside the bar, such as to the step that begins."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=one_line(title))

    def restart(self, at: int) -> None:
        """Set what is done, such as when an upload starts again."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=at)


@contextmanager
def waiting(title: str, *, after: float = 1.0) -> Iterator[None]:
    """Show what a command waits for, if the block takes longer than some seconds.

    The block must write nothing to the terminal.
    """
    if not sys.stderr.isatty() or not can_move_cursor():
        yield
        return
    target = unguarded(sys.stderr)
    text = wrapped(f"{one_line(title)} ...", terminal_width(sys.stderr) - 1, 0)[0]
    shown = threading.Event()

    def show() -> None:
        shown.set()
        target.write(text)
        target.flush()

    timer = threading.Timer(after, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if shown.is_set():
            target.write("\r\x1b[K")
            target.flush()


@contextmanager
def progress(
    title: str, total: int | None = None, *, unit: str = "", shown: bool = True
) -> Iterator[Progress]:
    """Show a progress bar, and remove it at the end.

    Args:
        title: the text beside the bar.
        total: how much there is to do; None if that is not known.
        unit: "bytes" for sizes, and "seconds" for work that can only be waited for; else the bar
            shows a count.
        shown: whether to show the bar; False if the output itself needs the terminal.
    """
    # Several PBXes share one bar, see `all_profiles`.
    if not shown or pbx_name.get() or not sys.stderr.isatty() or not can_move_cursor():
        yield Progress()
        return
    from rich import progress as bars

    counts: tuple[bars.ProgressColumn, ...] = (
        bars.TextColumn("{task.completed:,.0f}"),
        bars.TimeElapsedColumn(),
    )
    if total is not None:
        text = "{task.completed:,.0f}/{task.total:,.0f}"
        counts = bars.TextColumn(text), bars.TimeRemainingColumn()
    if unit == "bytes":
        counts = bars.DownloadColumn(), bars.TransferSpeedColumn(), bars.TimeRemainingColumn()
    elif unit == "seconds":
        counts = (bars.TimeElapsedColumn(),)
    live = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *counts,
        redirect_stdout=False,  # rows go to a file meanwhile
        console=console(stderr=True),
        transient=True,
    )
    with suspendable(unguarded(sys.stderr)), live:
        live.add_task(one_line(title), total=total)
        yield Progress(live)
