"""How a signal ends a command, and how a command steps aside for Ctrl-Z.

SIGTERM and SIGHUP end a command the way Ctrl-C does: what is open is closed, what is in flight is
settled, and the terminal is left as it was found. Only the exit code differs: 128 and the signal's
number, as shells count.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, TextIO

__all__ = ["Ending", "orderly_end", "steps_aside"]

_NAMES: Final = ("SIGTERM", "SIGHUP")  # Windows lacks the second
_SHOWN: Final = "\x1b[?25h"  # the cursor
_HIDDEN: Final = "\x1b[?25l"
_BACK: Final = "\x1b[?1049l"  # from the screen of its own
_AWAY: Final = "\x1b[?1049h"


class Ending:
    """Which signal ended the command.

    Attributes:
        number: the signal; None where none did.
    """

    number: int | None = None

    def code(self, code: int) -> int:
        """Return the exit code of a command that would end with this one."""
        return code if self.number is None or not code else 128 + self.number

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, and pass it on as Ctrl-C."""
        self.number = number
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:
            # A shell lets its background jobs ignore Ctrl-C, but not these signals.
            raise KeyboardInterrupt


@contextmanager
def orderly_end() -> Iterator[Ending]:
    """End the block in good order on SIGTERM and SIGHUP, unless these are ignored, as by nohup."""
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
def steps_aside(terminal: TextIO, *, own_screen: bool = False) -> Iterator[None]:
    """Give the terminal back while Ctrl-Z holds the command, and take it again afterwards.

    Args:
        terminal: where the cursor is hidden.
        own_screen: whether a screen of its own is shown.
    """
    number = getattr(signal, "SIGTSTP", None)
    if number is None or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def write(text: str) -> None:
        # Past the stream: the signal may have come in the middle of a write to it, and Python's
        # streams refuse another one then.
        with suppress(OSError, ValueError):
            os.write(terminal.fileno(), text.encode())

    def stop(*_: object) -> None:
        write(_SHOWN + _BACK * own_screen)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # goes on here after `fg`
        signal.signal(number, stop)
        write(_AWAY * own_screen + _HIDDEN)

    try:
        signal.signal(number, stop)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)
