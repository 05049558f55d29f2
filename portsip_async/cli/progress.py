"""Show the progress of long work on stderr, if that is a terminal that can move its cursor."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .output import can_move_cursor, console
from .signals import suspendable
from .streams import unguarded
from .terminal_text import one_line


class Progress(Protocol):
    """A progress bar, shown or not."""

    def advance(self, by: int = 1) -> None:
        """Add to what is done."""

    def restart(self, at: int) -> None:
        """Set what is done, such as when an upload starts again."""


class _Silent:
    def advance(self, by: int = 1) -> None:
        pass

    def restart(self, at: int) -> None:
        pass


@contextmanager
def progress(
    title: str, total: int | None = None, *, unit: str = "", shown: bool = True
) -> Iterator[Progress]:
    """Show a progress bar, and remove it at the end.

    Args:
        title: the text beside the bar.
        total: how much there is to do; None if that is not known.
        unit: "bytes" for sizes; else the bar shows a count.
        shown: whether to show the bar; False if the output itself needs the terminal.
    """
    if not shown or not sys.stderr.isatty() or not can_move_cursor():
        yield _Silent()
        return
    from rich import progress as bars

    counts: list[bars.ProgressColumn]
    if unit == "bytes":
        counts = [bars.DownloadColumn(), bars.TransferSpeedColumn()]
    else:
        counts = [bars.MofNCompleteColumn()]
    live = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *counts,
        bars.TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    with suspendable(unguarded(sys.stderr)), live:
        task = live.add_task(one_line(title), total=total)

        class Bar:
            def advance(self, by: int = 1) -> None:
                live.advance(task, by)

            def restart(self, at: int) -> None:
                live.update(task, completed=at)

        yield Bar()
