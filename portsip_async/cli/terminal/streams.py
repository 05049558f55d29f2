"""The standard streams of a command: how every command reads and writes them.

- A closed stream reads as empty, and drops what is written to it.
- In a pipe or a file, text is UTF-8, whatever the locale. A terminal has its own encoding; letters
  that it lacks are written as escapes.
- No text makes a terminal act on control characters. The command's own colours and cursor
  movements go through `unguarded`.
- Writing to standard error never fails. The first failed write to standard output raises; later
  ones do nothing.
- Secrets are read from standard input first, one line each; the rest is data.

Loaded before anything else, so it imports nothing of the SDK.
"""

import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO, cast

from .terminal_text import printable

UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")  # Windows writes one of them
_BOM: Final = "\ufeff"


def fill_descriptors() -> None:
    """Open the null device for each closed standard stream.

    Otherwise the next file or socket would get the number of standard output, and our text.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


class _Wrapper(io.TextIOBase):
    """Wraps a standard stream that is written to."""

    def __init__(self, inner: TextIO) -> None:
        self.inner: TextIO = inner

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        """The encoding of the stream."""
        return getattr(self.inner, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # an attribute there
        """How letters that the encoding lacks are handled."""
        return getattr(self.inner, "errors", None) or "strict"

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        with suppress(ValueError):
            return self.inner.isatty()
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.inner.fileno()

    def flush(self) -> None:
        """Write what is buffered."""
        self.inner.flush()

    def close(self) -> None:
        """Leave the stream open: it belongs to the process."""


class Sink(_Wrapper):
    """A standard stream that remembers why writing failed.

    Attributes:
        error: the error of the first failed write; None while there is none.
    """

    def __init__(self, inner: TextIO, *, silent: bool, closed: bool) -> None:
        """Wrap a stream.

        Args:
            inner: the stream.
            silent: whether a failed write raises nothing.
            closed: whether it replaces a closed stream.
        """
        super().__init__(inner)
        self.error: OSError | None = None
        self._silent = silent
        self._closed = closed

    @property
    def abandoned(self) -> bool:
        """Whether nobody reads what is written, as far as a write has shown."""
        return self._closed or self.error is not None

    def write(self, text: str, /) -> int:
        """Write a text."""
        self._try(lambda: self.inner.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        self._try(self.inner.flush)

    def _try(self, write: Callable[[], object]) -> None:
        if self.error is not None:
            return
        try:
            write()
        except OSError as error:
            self.error = error
            # What is still buffered would fail again when the process ends.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                try:
                    os.dup2(nowhere, self.inner.fileno())
                finally:
                    os.close(nowhere)
                self.inner.flush()
            if not self._silent:
                raise


class Screen(_Wrapper):
    """A terminal that is written to; control characters are written as escapes."""

    @property
    def rich_proxied_file(self) -> TextIO:
        """The terminal itself: rich writes colours to it, and typer's help is rich's."""
        return self.inner

    def write(self, text: str, /) -> int:
        """Write a text."""
        self.inner.write(printable(text, keep="\n"))
        return len(text)


class StandardInput:
    """The reader of standard input: first the secrets, a line each, then the data.

    It never reads ahead, so that others can read what it leaves, such as a file named /dev/stdin.
    """

    def __init__(self, stream: TextIO) -> None:
        """Store the stream."""
        self._stream: Any = stream
        self._began = False
        self._kept = b""
        self._unit = 1  # bytes of a line feed
        self._encoding = "utf-8"

    @property
    def began(self) -> bool:
        """Whether something was read, so that the command can't begin again."""
        return self._began

    @property
    def terminal(self) -> bool:
        """Whether it is a terminal."""
        with suppress(ValueError):
            return bool(self._stream.isatty())
        return False

    def line(self) -> str | None:
        """Return the next line without its end; None at the end.

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
        """Return the rest.

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
        """Read a byte order mark; keep other bytes for later."""
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
        """Read this many bytes, or fewer at the end."""
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
        if self._began or not text:
            return text
        self._began = True
        return text.removeprefix(_BOM)


_input: StandardInput | None = None


def standard_input() -> StandardInput:
    """Return the reader of standard input, the same one for the whole command."""
    global _input
    if _input is None or _input._stream is not sys.stdin:
        _input = StandardInput(sys.stdin)
    return _input


@contextmanager
def standard_streams() -> Iterator[None]:
    """Wrap the standard streams for one command, and restore them after it."""
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull, "r+", encoding="utf-8") as nowhere:  # replaces closed streams
        sys.stdin = sys.stdin or nowhere
        sys.stdout = _wrap(sys.stdout, nowhere, silent=False)
        sys.stderr = _wrap(sys.stderr, nowhere, silent=True)
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def unguarded(stream: TextIO) -> TextIO:
    """Return a stream that passes colours on; any other text written to it must be printable."""
    return getattr(stream, "rich_proxied_file", stream)


def is_file(stream: TextIO) -> bool:
    """Return whether a stream is a file or the null device, not a terminal or a pipe."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # closed, or not of the system
        return False
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not stream.isatty())


def print_line(text: str) -> None:
    """Write a line to standard output, and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def output_error() -> OSError | None:
    """Return why writing to standard output failed; None if it did not."""
    return getattr(unguarded(sys.stdout), "error", None)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Continue after a failed write to standard output, which the command's end reports.

    For output that does not decide the exit code, such as a command's last.
    """
    try:
        yield
    except OSError as error:
        if error is not output_error():
            raise


def _wrap(stream: TextIO | None, nowhere: TextIO, *, silent: bool) -> TextIO:
    if isinstance(stream, io.TextIOWrapper):
        with suppress(OSError, ValueError):
            if stream.isatty():
                stream.reconfigure(errors="backslashreplace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    sink = Sink(stream or nowhere, silent=silent, closed=stream is None)
    return cast(TextIO, Screen(cast(TextIO, sink)) if sink.isatty() else sink)
