"""Progress of long work: on stderr, only where that is a terminal that can move its cursor."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .letters import one_line
from .output import can_move_cursor, console
from .signals import steps_aside
from .streams import unguarded


class Progress(Protocol):
    """Something that can be moved on."""

    def advance(self, by: int = 1) -> None:
        """Tell that so much more is done."""

    def restart(self, at: int) -> None:
        """Tell that only so much is done, as when an upload begins again."""


class _Silent:
    def advance(self, by: int = 1) -> None:
        pass

    def restart(self, at: int) -> None:
        pass


@contextmanager
def progress(
    title: str, total: int | None = None, *, unit: str = "", shown: bool = True
) -> Iterator[Progress]:
    """Show how far some work is, and take it away at the end.

    Args:
        title: what is done.
        total: how much there is to do; None: not known.
        unit: "bytes" for sizes; else a count is shown.
        shown: False where the terminal is needed for the output itself.
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
    with steps_aside(unguarded(sys.stderr)), live:
        task = live.add_task(one_line(title), total=total)

        class Bar:
            def advance(self, by: int = 1) -> None:
                live.advance(task, by)

            def restart(self, at: int) -> None:
                live.update(task, completed=at)

        yield Bar()
