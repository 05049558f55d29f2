"""Sources of uploads: bytes, a path, a binary file, or an async iterator of bytes.

Only one chunk is in memory at a time. Files are read in threads of our own, from the position they
had when `upload` was called. A file that the caller opened stays open.

A repeat reads a source from the start again. That works for bytes, a path and a seekable file, but
not for an iterator after its first byte.

Opening and reading a FIFO or a file on a network drive may block for a long time. A cancelled
upload does not wait for that: its thread goes on, and closes what it opened itself.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable
from concurrent.futures import Future
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeAlias

from ..arguments import plain_text
from .threads import Threads

CHUNK = 256 * 1024  # bytes

UploadSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
)


class Source(ABC):
    """The bytes of one upload, which its attempts read.

    Attributes:
        name: the name of the file, if it has one.
        size: how many bytes `chunks` yields; None if that is not known before the end.
        error: what reading the caller's source raised. The call raises that, not the error of the
            connection that follows from it.
        trace: the traceback of `error`, without the frames that it passed through later.
    """

    name: str | None = None
    size: int | None = None
    error: Exception | None = None
    trace: TracebackType | None = None

    @property
    def replayable(self) -> bool:
        """Whether all bytes can be read from the start again."""
        return True

    async def open(self) -> None:  # noqa: B027 - most sources need no opening
        """Prepare to read from the start, and set `size`."""

    async def close(self) -> None:  # noqa: B027 - most sources need no closing
        """Close what `open` opened."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read all bytes from the start; keep an exception of the source in `error`.

        Raises:
            TypeError: the source did not yield bytes.
            ValueError: the source was longer or shorter than its size.
            Exception: what reading the source raised.
        """
        self.error = None
        read = 0
        try:
            async with aclosing(self._read()) as chunks:
                async for chunk in chunks:
                    if not isinstance(chunk, bytes | bytearray | memoryview):
                        raise TypeError(f"source must yield bytes, got {type(chunk).__name__}")
                    read += len(chunk)
                    if self.size is not None and read > self.size:
                        break
                    yield bytes(chunk)
            if self.size is not None and read != self.size:
                raise ValueError("the size of the file changed during the upload")
        except Exception as error:
            self.error, self.trace = error, error.__traceback__
            raise

    @abstractmethod
    def _read(self) -> AsyncGenerator[bytes, None]: ...


class _Memory(Source):
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def _read(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._data), CHUNK):
            yield self._data[start : start + CHUNK]


class _File(Source):
    """A binary file that the caller opened and will close."""

    def __init__(self, file: BinaryIO, threads: Threads) -> None:
        self._file = file
        self._threads = threads
        # The latest read in a thread, which may still be running.
        self._reading: Future[bytes] | None = None
        self._taken = False  # whether a read began
        self._seekable = hasattr(file, "seekable") and file.seekable()
        self._start = file.tell() if self._seekable else 0
        name = getattr(file, "name", None)
        self.name = Path(plain_text(name)).name if isinstance(name, str) else None

    @property
    def replayable(self) -> bool:
        return self._seekable or not self._taken

    async def open(self) -> None:
        if self._reading is not None:
            # A thread may still read for an attempt that was cancelled.
            await asyncio.wait((asyncio.wrap_future(self._reading),))
        await self._threads.run(self.measure)

    async def _read(self) -> AsyncGenerator[bytes, None]:
        while True:
            self._taken = True
            self._reading = self._threads.submit(lambda: self._file.read(CHUNK))
            chunk = await asyncio.wrap_future(self._reading)
            if not chunk:
                return
            yield chunk

    def release(self) -> None:
        """Close the file once no thread reads it any more; don't wait for that."""
        if self._reading is None:
            self.close_now()
        else:
            self._reading.add_done_callback(lambda _: self.close_now())  # at once if it is done

    def close_now(self) -> None:
        """Close the file; no thread may be reading it."""
        self._file.close()

    def measure(self) -> None:
        """Set `size`, and seek to where the upload starts; blocks."""
        if self._seekable:
            size = self._file.seek(0, os.SEEK_END) - self._start
            self._file.seek(self._start)
            self.size = max(0, size)


class _Path(Source):
    """A file that each attempt opens and closes."""

    def __init__(self, path: str | os.PathLike[str], threads: Threads) -> None:
        self._path = Path(plain_text(os.fsdecode(path)))
        self._threads = threads
        self._opened: _File | None = None
        self.name = self._path.name

    async def open(self) -> None:
        opening = self._threads.submit(self._open)
        try:
            # A cancellation does not stop the thread.
            opened = await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unused)
            raise
        self._opened, self.size = opened, opened.size

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.release()

    def _open(self) -> _File:
        opened = _File(self._path.open("rb"), self._threads)
        opened.measure()
        return opened

    def _read(self) -> AsyncGenerator[bytes, None]:
        assert self._opened is not None  # noqa: S101 - `open` was called before
        return self._opened._read()


def _close_unused(opening: "Future[_File]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close_now()


class _Stream(Source):
    """An async iterator, which can be read once."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._taken = False

    @property
    def replayable(self) -> bool:
        return not self._taken

    async def _read(self) -> AsyncGenerator[bytes, None]:
        async for chunk in self._chunks:
            self._taken = True
            yield chunk


def source_of(source: UploadSource, threads: Threads | None = None) -> Source:
    """Return the source of an upload.

    Args:
        source: a path, bytes, a binary file, or an async iterator of bytes.
        threads: where files are opened and read; None: in threads of its own.

    Raises:
        TypeError: it is something else, or a file that was opened as text.
    """
    threads = threads or Threads()
    if isinstance(source, str | os.PathLike):
        return _Path(source, threads)
    if isinstance(source, bytes | bytearray | memoryview):
        return _Memory(bytes(source))
    if isinstance(source, AsyncIterable):
        return _Stream(source)
    if not callable(getattr(source, "read", None)):
        raise TypeError(
            "source must be a path, bytes, a binary file or an async iterator of bytes, "
            f"got {type(source).__name__}"
        )
    if hasattr(source, "encoding"):
        raise TypeError("source must be open in binary mode, got text mode: use open(path, 'rb')")
    return _File(source, threads)
