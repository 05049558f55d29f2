"""``--verbose`` and ``--debug``: what a command does, as lines on stderr.

The SDK's own log is the source of ``--debug``. It holds no secret, and it covers logins, token
renewals and the detection of the generation.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from time import monotonic
from typing import Final

from ... import Attempt
from ..profiles.current_pbx import labelled
from ..terminal.terminal_text import one_line, terminal_width, wrapped

_LOG: Final = logging.getLogger("portsip_async")
_INDENT: Final = 2  # spaces before the later lines of a broken one
_MAX_HELD: Final = 1_000  # lines kept while a board is shown; the oldest are dropped


class Trace(logging.Handler):
    """Shows lines about a command, and counts its requests."""

    def __init__(self, *, debug: bool) -> None:
        """Begin to show lines; with `debug` the lines of the SDK's log too."""
        super().__init__(logging.DEBUG)
        self._debug = debug
        self._began = monotonic()
        self._requests = 0
        self._repeats = 0
        self._level = _LOG.level
        self._held: deque[str] | None = None
        if debug:
            _LOG.addHandler(self)
            _LOG.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line of the SDK's log."""
        now = datetime.fromtimestamp(record.created).astimezone()
        time = now.isoformat(sep=" ", timespec="milliseconds")[11:23]
        self.show(f"{time} {labelled(record.getMessage())}")

    def show(self, text: str) -> None:
        """Write a line to stderr."""
        lines = [one_line(text)]
        if sys.stderr.isatty():
            lines = wrapped(lines[0], terminal_width(sys.stderr), _INDENT)
        line = "\n".join(lines) + "\n"
        if self._held is None:
            # The stream is looked up anew: a progress bar replaces it, to keep lines above itself.
            sys.stderr.write(line)
            sys.stderr.flush()
        else:
            self._held.append(line)

    def counting(
        self, hook: Callable[[Attempt], object] | None = None
    ) -> Callable[[Attempt], object]:
        """Return a client's ``on_attempt`` hook that counts, and calls another hook."""

        def count(attempt: Attempt) -> None:
            self._requests += 1
            self._repeats += attempt.number > 1
            if hook is not None:
                hook(attempt)

        return count

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep lines until the end of the block, because a board needs the terminal."""
        if not sys.stderr.isatty():
            yield
            return
        held: deque[str] = deque(maxlen=_MAX_HELD)
        self._held = held
        try:
            yield
        finally:
            self._held = None
            sys.stderr.write("".join(held))

    def stop(self) -> None:
        """Show the totals, and nothing more."""
        if self._debug:
            _LOG.removeHandler(self)
            _LOG.setLevel(self._level)
        if not self._requests:
            return
        requests = "1 request" if self._requests == 1 else f"{self._requests:,} requests"
        repeats = f", {self._repeats:,} of them repeats" if self._repeats else ""
        self.show(f"{requests}{repeats}, in {monotonic() - self._began:.1f} s")


# The trace of the command that runs; None without --verbose and --debug.
trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def lines_held() -> Iterator[None]:
    """Show no lines while the block shows a board."""
    running = trace.get()
    if running is None:
        yield
        return
    with running.hold():
        yield
