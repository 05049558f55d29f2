"""Run a worker of a fleet, and show how the fleet is doing: a board on a terminal, else lines.

What is shown is the state of the whole fleet, as all workers together leave it in Redis. The first
signal cancels the worker, which then finishes its cycles. The display goes on meanwhile.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from ... import PortSIPError
from ..failures import print_error
from ..output import can_move_cursor
from ..terminal.signals import graceful_end
from .fleet_view import FleetView
from .log import log_lines
from .worker_lines import WorkerLines

if TYPE_CHECKING:
    from ...fleet import Fleet

_READ_EVERY: Final = 2.0  # seconds
_SHOW_EVERY: Final = 0.25  # seconds


class Display(Protocol):
    """Shows a view."""

    def show(self, view: FleetView) -> None:
        """Show it as it is now."""


async def run_worker(fleet: "Fleet", *, concurrency: int, grace: float) -> None:
    """Run a worker until a signal comes, and then until its cycles are finished."""
    view = FleetView(grace)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    with _display(view, stop) as display:
        async with fleet:
            work = asyncio.create_task(fleet.work(concurrency=concurrency, grace=grace))
            tasks = [
                work,
                asyncio.create_task(_read(fleet, view)),
                asyncio.create_task(_show(display, view)),
                asyncio.create_task(stopped.wait()),
            ]
            try:
                # A worker that ends by itself has failed. Without a display, nobody watches it.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                view.is_ending = True
                work.cancel()
                await asyncio.wait([work])
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()  # raises its error


async def _read(fleet: "Fleet", view: FleetView) -> None:
    """Read the state of the fleet again and again."""
    while True:
        try:
            view.update(await fleet.status())
        except PortSIPError as error:
            view.problem = str(error)
        await asyncio.sleep(_READ_EVERY)


async def _show(display: Display, view: FleetView) -> None:
    while True:
        display.show(view)
        await asyncio.sleep(_SHOW_EVERY)


@contextmanager
def _display(view: FleetView, stop: Callable[[], None]) -> Iterator[Display]:
    """Open the display, and handle signals until the block ends."""
    if sys.stdout.isatty() and can_move_cursor():
        from .fleet_board import board_shown  # with rich, which lines don't need

        with board_shown(view, stop) as board:
            yield board
        return
    lines = WorkerLines()
    with graceful_end(stop), log_lines(print_error):
        yield lines
        lines.show(view)
        lines.write("Ended.")
