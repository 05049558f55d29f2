"""The standard streams of a command, as every command reads and writes them.

- A closed stream reads as empty, and what is written to it is dropped.
- In a pipe or a file text is UTF-8, whatever the locale. A terminal has its own encoding; letters
  that it lacks are shown as escapes.
- Nothing that a terminal would obey reaches a terminal. What the command itself has to say to it,
  colours and the cursor, goes through `unguarded`.
- Writing to standard error never fails. The first failed write to standard output raises; later
  ones do nothing.
- Secrets are read from standard input first, one line each; the rest is data.

Loaded before anything else, so it imports nothing of the SDK.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO, cast

from .letters import printable

__all__ = [
    "UTF16_MARKS",
    "Sink",
    "StandardInput",
    "fill_descriptors",
    "output_error",
    "print_line",
    "reader_may_leave",
    "standard_input",
    "standard_streams",
    "unguarded",
]

UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")  # Windows writes one of them
_BOM: Final = "\ufeff"


def fill_descriptors() -> None:
    """Open the null device in the place of closed standard streams.

    Otherwise the next file or socket would get the number of standard output, and our text.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


class Nowhere(io.TextIOBase):
    """Stands for a closed stream: it drops what is written, and reads as empty."""

    encoding = "utf-8"

    def write(self, text: str, /) -> int:
        """Drop a text."""
        return len(text)

    def read(self, size: int | None = -1, /) -> str:
        """Return nothing."""
        return ""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # of TextIOBase
        """Return nothing."""
        return ""


class Sink(io.TextIOBase):
    """A standard stream that is written to, and remembers why it failed.

    Attributes:
        error: why it takes no more; None while it does.
    """

    def __init__(self, inner: TextIO, *, silent: bool) -> None:
        """Wrap a stream.

        Args:
            inner: the stream.
            silent: whether a failed write is passed over.
        """
        self.error: OSError | None = None
        self._inner = inner
        self._silent = silent

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        """The encoding of the stream."""
        return getattr(self._inner, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # an attribute there
        """What becomes of letters that the encoding lacks."""
        return getattr(self._inner, "errors", None) or "strict"

    @property
    def abandoned(self) -> bool:
        """Whether nobody reads what is written, as far as that was noticed."""
        return isinstance(self._inner, Nowhere) or self.error is not None

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        with suppress(ValueError):
            return self._inner.isatty()
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._inner.fileno()

    def write(self, text: str, /) -> int:
        """Write a text."""
        if self.error is None:
            try:
                self._inner.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write what was held back."""
        if self.error is None:
            try:
                self._inner.flush()
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Leave the stream open: it is the process's own."""

    def _give_up(self, error: OSError) -> None:
        self.error = error
        # What the stream still holds would fail again when the process ends.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._inner.fileno())
            finally:
                os.close(nowhere)
            self._inner.flush()
        if not self._silent:
            raise error


class Screen(io.TextIOBase):
    """A terminal that is written to; what it would obey is shown as escapes."""

    def __init__(self, sink: Sink) -> None:
        """Wrap a terminal."""
        self.sink: Sink = sink

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        """The encoding of the terminal."""
        return self.sink.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]  # an attribute there
        """What becomes of letters that the encoding lacks."""
        return self.sink.errors

    @property
    def rich_proxied_file(self) -> TextIO:
        """The terminal itself: rich writes colours to it, and typer's help is rich's."""
        return cast(TextIO, self.sink)

    def isatty(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sink.fileno()

    def write(self, text: str, /) -> int:
        """Write a text."""
        self.sink.write(printable(text, keep="\n"))
        return len(text)

    def flush(self) -> None:
        """Write what was held back."""
        self.sink.flush()

    def close(self) -> None:
        """Leave the terminal open: it is the process's own."""


class StandardInput:
    """Standard input, read by one reader: first the secrets, a line each, then the data.

    It reads no further than it is asked to: what it leaves is there for others, as for a file
    named /dev/stdin.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """Take the stream, or None where it is closed."""
        self._stream: Any = Nowhere() if stream is None else stream
        self._began = False
        self._kept = b""
        self._unit = 1  # bytes that a line feed takes
        self._encoding = "utf-8"

    @property
    def terminal(self) -> bool:
        """Whether somebody may type."""
        with suppress(ValueError):
            return bool(self._stream.isatty())
        return False

    def line(self) -> str | None:
        """Return the next line without its end; None where there is none.

        Raises:
            UnicodeDecodeError: it is neither UTF-8 nor marked as UTF-16.
        """
        descriptor = self._descriptor()
        if descriptor is None:
            found = self._without_mark(self._stream.readline())
            return found.rstrip("\r\n") if found else None
        self._begin(descriptor)
        parts = []
        while unit := self._read(descriptor, self._unit):
            parts.append(unit)
            if unit.strip(b"\0") == b"\n":
                break
        return self._decoded(parts).rstrip("\r\n") if parts else None

    def rest(self) -> str:
        """Return all that is left.

        Raises:
            UnicodeDecodeError: it is neither UTF-8 nor marked as UTF-16.
        """
        descriptor = self._descriptor()
        if descriptor is None:
            return self._without_mark(self._stream.read())
        self._begin(descriptor)
        parts = []
        while part := self._read(descriptor, 65536):
            parts.append(part)
        return self._decoded(parts)

    def _begin(self, descriptor: int) -> None:
        """Look for a byte order mark; keep other bytes for later."""
        if self._began:
            return
        self._began = True
        head = self._read(descriptor, 2)
        if head in UTF16_MARKS:
            self._unit, self._encoding = 2, ("utf-16-le", "utf-16-be")[UTF16_MARKS.index(head)]
            return
        if head == _BOM.encode()[:2]:
            head += self._read(descriptor, 1)
        self._kept = b"" if head == _BOM.encode() else head

    def _read(self, descriptor: int, size: int) -> bytes:
        """Read so many bytes, or fewer at the end."""
        parts, self._kept = self._kept[:size], self._kept[size:]
        while len(parts) < size and (part := os.read(descriptor, size - len(parts))):
            parts += part
        return parts

    def _descriptor(self) -> int | None:
        """Return the descriptor, unless the stream has none or is a terminal's."""
        if self.terminal:
            return None
        try:
            return int(self._stream.fileno())
        except (AttributeError, OSError, ValueError):
            return None

    def _decoded(self, parts: list[bytes]) -> str:
        return b"".join(parts).decode(self._encoding)

    def _without_mark(self, text: str) -> str:
        if not self._began and text:
            self._began = True
            return text.removeprefix(_BOM)
        return text


_input: StandardInput | None = None


def standard_input() -> StandardInput:
    """Return the reader of standard input; one for the whole command."""
    global _input
    if _input is None or _input._stream is not sys.stdin:
        _input = StandardInput(sys.stdin)
    return _input


@contextmanager
def standard_streams() -> Iterator[None]:
    """Wrap the standard streams for one command, and put them back after it."""
    before = sys.stdin, sys.stdout, sys.stderr
    if sys.stdin is None:
        sys.stdin = cast(TextIO, Nowhere())
    sys.stdout = _wrapped(sys.stdout, silent=False)
    sys.stderr = _wrapped(sys.stderr, silent=True)
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def unguarded(stream: TextIO) -> TextIO:
    """Return a stream to which colours can be written; what else is written must be printable."""
    return getattr(stream, "rich_proxied_file", stream)


def print_line(text: str) -> None:
    """Write a line to standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def output_error() -> OSError | None:
    """Return why standard output takes no more; None while it does."""
    return getattr(unguarded(sys.stdout), "error", None)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Go on after a write to standard output failed; the command's end reports it.

    For what comes last: the work is done, so its outcome and exit code count.
    """
    try:
        yield
    except OSError as error:
        if error is not output_error():
            raise


def _wrapped(stream: TextIO | None, *, silent: bool) -> TextIO:
    if stream is None:
        return cast(TextIO, Sink(cast(TextIO, Nowhere()), silent=silent))
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError, ValueError):
            if stream.isatty():
                stream.reconfigure(errors="backslashreplace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    sink = Sink(stream, silent=silent)
    return cast(TextIO, Screen(sink) if sink.isatty() else sink)
