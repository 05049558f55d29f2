"""Handle the signals that end a command, and Ctrl-Z.

SIGTERM and SIGHUP end a command as Ctrl-C does: it closes what is open, finishes what is in flight,
and leaves the terminal as it found it. Only the exit code differs: 128 plus the signal's number, as
in shells. A worker of a fleet ends with 0.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TextIO

from .keyboard import Keyboard

_NAMES: Final = ("SIGTERM", "SIGHUP")  # Windows lacks the second
_SHOW_CURSOR: Final = "\x1b[?25h"
_HIDE_CURSOR: Final = "\x1b[?25l"
_LEAVE_SCREEN: Final = "\x1b[?1049l"  # the alternate screen
_ENTER_SCREEN: Final = "\x1b[?1049h"


class Ending:
    """The signal that ended the command.

    Attributes:
        number: the signal; None if no signal came.
    """

    number: int | None = None

    def code(self, code: int) -> int:
        """Return the exit code of a command that ended with this code."""
        return code if self.number is None or not code else 128 + self.number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Record a signal, and pass it on as Ctrl-C."""
        self.number = number
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:
            # A shell makes its background jobs ignore Ctrl-C, but not these signals.
            raise KeyboardInterrupt


@contextmanager
def orderly_end() -> Iterator[Ending]:
    """End the block on SIGTERM and SIGHUP as on Ctrl-C, unless they are ignored, as by nohup."""
    ending = Ending()
    before: dict[int, Any] = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with suppress(ValueError):  # not in the main thread, where no signal arrives
                before[number] = signal.signal(number, ending)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def graceful_end(
    stop: Callable[[], None], *, terminal: TextIO | None = None, keyboard: Keyboard | None = None
) -> Iterator[None]:
    """Call a function on Ctrl-C, SIGTERM or SIGHUP; a second one of them ends the process at once.

    Ignored signals stay ignored.

    Args:
        stop: called in the middle of whatever runs, so it must only schedule.
        terminal: a terminal whose alternate screen is shown.
        keyboard: a keyboard that is being listened to.
    """
    came = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            stop()
            return
        if keyboard is not None:
            keyboard.end()
        if terminal is not None:
            _write(terminal, _SHOW_CURSOR + _LEAVE_SCREEN)
        os._exit(128 + number)

    before: dict[int, Any] = {}
    for name in ("SIGINT", *_NAMES):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # not in the main thread, where no signal arrives
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def suspendable(
    terminal: TextIO, *, own_screen: bool = False, keyboard: Keyboard | None = None
) -> Iterator[None]:
    """Restore the terminal while Ctrl-Z suspends the command, and set it up again afterwards.

    Args:
        terminal: the terminal, with its cursor hidden.
        own_screen: whether the alternate screen is shown.
        keyboard: a keyboard that is being listened to.
    """
    number = getattr(signal, "SIGTSTP", None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        if keyboard is not None:
            keyboard.end()
        _write(terminal, _SHOW_CURSOR + _LEAVE_SCREEN * own_screen)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # continues here after `fg`
        signal.signal(number, stop)
        if keyboard is not None:
            keyboard.begin()
        _write(terminal, _ENTER_SCREEN * own_screen + _HIDE_CURSOR)

    try:
        signal.signal(number, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _write(terminal: TextIO, text: str) -> None:
    # Not through the stream: the signal may interrupt a write to it, and Python's streams refuse
    # another write then.
    with suppress(OSError, ValueError):
        os.write(terminal.fileno(), text.encode())
