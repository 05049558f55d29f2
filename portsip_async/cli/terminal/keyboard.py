"""Read single keys from the terminal while a board is shown."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_KEY: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)
# What terminals send for the keys that turn pages.
_NAMES: Final = {
    "next": ("\x1b[6~", "\x1b[C", "\x1bOC", "\x1b[B", "\x1bOB", " "),
    "previous": ("\x1b[5~", "\x1b[D", "\x1bOD", "\x1b[A", "\x1bOA", "\x7f"),
    "first": ("\x1b[H", "\x1bOH", "\x1b[1~"),
    "last": ("\x1b[F", "\x1bOF", "\x1b[4~"),
}
_NAME_OF: Final = {text: name for name, texts in _NAMES.items() for text in texts}


class Keyboard:
    """The terminal's keyboard: keys arrive at once, and are not shown.

    Ctrl-C and Ctrl-Z keep their meaning.
    """

    def __init__(self) -> None:
        """Find the keyboard. There is none in a pipe, in the background, or on Windows."""
        self._termios: Any = None
        self._before: Any = None
        try:
            import termios
            import tty

            self._fd = sys.stdin.fileno()
            if sys.stdin.isatty() and not _in_background(self._fd):
                self._termios, self._tty = termios, tty
        except (ImportError, AttributeError, OSError, ValueError):
            pass

    @property
    def is_there(self) -> bool:
        """Whether there is a keyboard."""
        return self._termios is not None

    def begin(self) -> None:
        """Let keys arrive at once."""
        if self._termios is not None:
            self._before = self._termios.tcgetattr(self._fd)
            self._tty.setcbreak(self._fd, self._termios.TCSADRAIN)

    def end(self) -> None:
        """Restore the terminal's settings."""
        if self._before is not None:
            with suppress(self._termios.error):  # the terminal is gone
                self._termios.tcsetattr(self._fd, self._termios.TCSADRAIN, self._before)
            self._before = None

    @contextmanager
    def listening(self, on_key: Callable[[str], None]) -> Iterator[None]:
        """Pass each key to a function while the block runs, in the running event loop.

        Args:
            on_key: gets "next", "previous", "first", "last", or the character that was typed.
        """
        if not self.is_there:
            yield
            return
        loop = asyncio.get_running_loop()

        def read() -> None:
            typed = b""
            with suppress(OSError):
                typed = os.read(self._fd, 1024)
            if not typed:  # the terminal is gone, or else this would be called again and again
                loop.remove_reader(self._fd)
            for key in _KEY.findall(typed.decode(errors="replace")):
                on_key(_NAME_OF.get(key) or key)

        self.begin()
        try:
            loop.add_reader(self._fd, read)
            try:
                yield
            finally:
                loop.remove_reader(self._fd)
        finally:
            self.end()


def _in_background(terminal: int) -> bool:
    """Return whether the kernel would stop this process if it changed the terminal's settings."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # it is not the terminal of this session, so there is no job control
        return False
