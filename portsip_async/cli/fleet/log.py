"""What the log says while a command of a fleet runs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from ..terminal.terminal_text import one_line

# The engine of the fleet, which reports each second that Redis is away, with tracebacks. And the
# outages of PBXes, which a worker shows by itself.
_LEFT_OUT: Final = ("docket", "portsip_async.fleet.outages")


class _Lines(logging.Handler):
    """Passes each warning on as a line."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on."""
        if not f"{record.name}.".startswith(tuple(f"{name}." for name in _LEFT_OUT)):
            self._write(one_line(record.getMessage()))


@contextmanager
def log_lines(write: Callable[[str], object]) -> Iterator[None]:
    """Pass warnings of the log to a function while the block runs.

    If the application's module has set up the log, the warnings go where it wants.
    """
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    handler = _Lines(write)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
