"""What an upload streams from: bytes, a path, a binary file, or an async iterator of bytes.

Nothing is held in memory but one chunk. Files are read in a thread of our own, from where they
stood when the upload was asked for; a file that the caller opened stays open. What was read once
can be read again from bytes, a path and a seekable file; an iterator of which a byte was taken is
gone.

Opening and reading may block for as long as a FIFO or a network drive likes. A cancelled upload
doesn't wait for that: its thread runs on, and closes what it opened itself.
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

CHUNK = 256 * 1024  # bytes read at once

UploadSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | AsyncIterable[bytes]
)


class Source(ABC):
    """One upload's bytes, for as many attempts as they can be read for.

    Attributes:
        name: the file's own name, where it has one.
        size: bytes that `chunks` yields; None where only the end will tell.
        error: what reading the caller's source raised, so that it can be told from the wire's.
        trace: where it was raised, without the frames that it came through afterwards.
    """

    name: str | None = None
    size: int | None = None
    error: Exception | None = None
    trace: TracebackType | None = None

    @property
    def replayable(self) -> bool:
        """Whether all bytes can be read from the start once more."""
        return True

    async def open(self) -> None:  # noqa: B027 - most sources need no opening
        """Get ready to be read from the start; sets `size`."""

    async def close(self) -> None:  # noqa: B027 - likewise
        """Let go of what `open` opened."""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Read all bytes from the start, noting what the source raises.

        Raises:
            TypeError: the source gave something else than bytes.
            ValueError: the source was longer or shorter than its size.
        """
        self.error = None
        read = 0
        try:
            async with aclosing(self._read()) as chunks:
                async for chunk in chunks:
                    if not isinstance(chunk, bytes | bytearray | memoryview):
                        raise TypeError(f"an upload is made of bytes, not {type(chunk).__name__}")
                    read += len(chunk)
                    if self.size is not None and read > self.size:
                        break
                    yield bytes(chunk)
            if self.size is not None and read != self.size:
                raise ValueError("the file changed its size while it was uploaded")
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
        self._reading: Future[bytes] | None = None  # what a thread does, or did last
        self._taken = False
        self._seekable = hasattr(file, "seekable") and file.seekable()
        self._start = file.tell() if self._seekable else 0
        name = getattr(file, "name", None)
        self.name = Path(plain_text(name)).name if isinstance(name, str) else None

    @property
    def replayable(self) -> bool:
        return self._seekable or not self._taken

    async def open(self) -> None:
        if self._reading is not None:
            # A thread of an attempt that was given up may still be reading.
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
        """Close the file as soon as no thread reads it any more, without waiting for that."""
        if self._reading is None:
            self.close_now()
        else:
            self._reading.add_done_callback(lambda _: self.close_now())  # at once if it is done

    def close_now(self) -> None:
        """Close the file that no thread has read yet."""
        self._file.close()

    def measure(self) -> None:
        """Set `size`, and go back to where the file stood; blocks."""
        if self._seekable:
            size = self._file.seek(0, os.SEEK_END) - self._start
            self._file.seek(self._start)
            self.size = max(0, size)


class _Path(Source):
    """A file that is opened for each attempt, and closed after it."""

    def __init__(self, path: str | os.PathLike[str], threads: Threads) -> None:
        self._path = Path(plain_text(os.fsdecode(path)))
        self._threads = threads
        self._opened: _File | None = None
        self.name = self._path.name

    async def open(self) -> None:
        opening = self._threads.submit(self._open)
        try:
            # A cancellation can't take back what the thread does.
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
        assert self._opened is not None  # noqa: S101 - chunks come after open
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
    """Take whatever can be uploaded.

    Args:
        source: a path, bytes, a binary file, or an async iterator of bytes.
        threads: where files are opened and read; None: in threads of its own.

    Raises:
        TypeError: a file opened as text, or nothing that holds bytes.
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
            "an upload comes from a path, bytes, a binary file or an async iterator of bytes, "
            f"not from {type(source).__name__}"
        )
    if hasattr(source, "encoding"):
        raise TypeError("open the file in binary mode: open(path, 'rb')")
    return _File(source, threads)
