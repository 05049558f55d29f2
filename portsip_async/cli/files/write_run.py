"""A run of many writes that stops cleanly: on Ctrl-C, on a signal, or if the PBX is unreachable.

The first Ctrl-C, SIGTERM or SIGHUP stops new writes, and lets those in flight finish, so that the
outcome of each is known. A second one ends the run at once.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, Final

import typer

from ... import TransportError
from ..failures import INTERRUPTED, print_error

GRACE: Final = 1.0  # seconds for writes in flight to finish once a run ends early
# Consecutive writes that could not reach the PBX, after which a run stops.
MAX_UNREACHABLE: Final = 24


class WriteRun:
    """The state of a run.

    Attributes:
        unit: what a write is called in messages.
        began: whether the first request succeeded, so that something may have been written.
        interrupted: whether Ctrl-C ended the run.
        stopped: whether no further write is sent.
        fatal: the error that ended the run.
    """

    unit: ClassVar[str] = "row"

    began: bool = False
    interrupted: bool = False
    stopped: bool = False
    fatal: Exception | None = None
    _unreachable: int = 0  # consecutive writes that could not reach the PBX

    @property
    def ended_early(self) -> bool:
        """Whether writes may be unsent for a reason that is not theirs."""
        return self.stopped or self.interrupted or self.fatal is not None

    def carry_out(self, run: Callable[[], None]) -> None:
        """Run to the end, whatever ends it, so that the outcome can be reported.

        Raises:
            Exception: nothing was sent before it.
        """
        try:
            run()
        except (KeyboardInterrupt, asyncio.CancelledError):
            if not self.began:
                raise typer.Exit(INTERRUPTED) from None
            self.interrupted = True
        except Exception as error:
            # After any error, what was written must be reported.
            if not self.began:
                raise
            self.fatal = error

    def note_reply(self, error: Exception | None) -> None:
        """Count replies that did not come, and stop the run after too many of them."""
        unreachable = isinstance(error, TransportError)
        self._unreachable = self._unreachable + 1 if unreachable else 0
        if self._unreachable >= MAX_UNREACHABLE and not self.stopped:
            self.stopped = True
            print_error(f"the PBX can't be reached any more; no further {self.unit} is sent")

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C stop new writes, and the second one end the command."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def stop() -> None:
            if self.interrupted and task is not None:
                task.cancel()
                return
            self.interrupted = self.stopped = True
            print_error(
                f"stopping; {self.unit}s in flight finish. Press Ctrl-C again to end at once"
            )

        # An ignored signal stays ignored. On Windows, and outside the main thread, a loop has no
        # handlers, and the first Ctrl-C ends the command.
        before = signal.getsignal(signal.SIGINT)
        handled = False
        if before not in (None, signal.SIG_IGN):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal.SIGINT, stop)
                handled = True
        try:
            yield
        finally:
            if handled:
                loop.remove_signal_handler(signal.SIGINT)
                signal.signal(signal.SIGINT, before)
