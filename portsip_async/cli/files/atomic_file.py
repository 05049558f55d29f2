"""Write files that appear under their name complete, or not at all.

A file is written under a temporary name in its folder, and gets its name once it is complete. Two
commands that write the same file at once do not interfere: each publishes a complete file. Only a
regular file is replaced. A FIFO, a device or a descriptor such as /dev/stdout is written into. A
symbolic link stays, and the file that it points to is replaced.

Only the owner can read the files, because they hold passwords.
"""

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from ..terminal.terminal_text import printable

_PREFIX: Final = ".portsip-async-"
_SUFFIX: Final = ".part"


class NewFile:
    """A text file that is being written.

    Attributes:
        text: the stream to write to.
    """

    def __init__(self, path: Path, descriptor: int, temporary: str | None, *, replace: bool):
        kind = _Screen if temporary is None and os.isatty(descriptor) else io.TextIOWrapper
        self.text: TextIO = kind(
            io.BufferedWriter(_RawFile(descriptor, path)),
            encoding="utf-8",
            errors="backslashreplace",
            newline="",
        )
        self._path = path
        self._temporary = temporary
        self._replace = replace

    def publish(self) -> Path:
        """Complete the file and give it its name.

        Returns:
            Its path: the requested one, or the next free one if that must not be replaced.
        """
        self.text.flush()
        if self._temporary is None:
            self.text.close()
            return self._path
        # Without it, a crash of the machine could leave an empty file under the name.
        os.fsync(self.text.fileno())
        self.text.close()
        path = self._path if self._replace else _reserve(self._path)
        os.replace(self._temporary, path)
        return path


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[NewFile]:
    """Open a text file that appears once it is published; otherwise nothing stays behind.

    Args:
        path: the file's path.
        replace: whether to replace an existing file; else the next free name is used, such as
            ``left-2.csv`` for ``left.csv``.

    Raises:
        OSError: nothing can be written there. The error names the path.
    """
    descriptor = _special(path)
    if descriptor is not None:
        file = NewFile(path, descriptor, None, replace=False)
        try:
            yield file
        finally:
            _close(file.text)
        return

    target = Path(os.path.realpath(path)) if replace else path
    if replace and target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    try:
        descriptor, name = tempfile.mkstemp(_SUFFIX, _PREFIX, target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    file = NewFile(target, descriptor, name, replace=replace)
    try:
        yield file
    finally:
        _close(file.text)
        with suppress(OSError):
            os.unlink(name)


class _RawFile(io.FileIO):
    """A file that adds its name to errors: the system's error for a full disk has none."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w")
        self._path = path

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None


class _Screen(io.TextIOWrapper):
    """A terminal; control characters are written as escapes."""

    def write(self, text: str, /) -> int:
        super().write(printable(text, keep="\n"))
        return len(text)


def _special(path: Path) -> int | None:
    """Open a path for writing unless it is a regular file, or nothing yet; then return None."""
    own = _own_descriptor(path)
    if own is not None:
        try:
            return os.dup(own)  # opening it by name would overwrite it from the start
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    return os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))


def _own_descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that a path such as /dev/stdout names."""
    folder = os.path.realpath("/dev/fd")
    for _ in range(40):  # as many links as Linux follows
        if path.name.isdecimal() and os.path.realpath(path.parent) == folder:
            return int(path.name)
        try:
            path = path.parent / os.readlink(path)
        except (OSError, ValueError):  # not a link, or nothing there
            return None
    return None


def _reserve(path: Path) -> Path:
    """Create an empty file under this name, or the next free one."""
    tried = path
    at = 1
    while True:
        try:
            os.close(os.open(tried, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            at += 1
            tried = path.with_name(f"{path.stem}-{at}{path.suffix}")
        else:
            return tried


def _close(text: TextIO) -> None:
    # An unpublished file is discarded, so a failed write no longer matters.
    with suppress(OSError, ValueError):
        text.close()
