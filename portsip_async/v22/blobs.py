"""Uploads of files: begin, append the bytes, complete with their digest.

A file is sent in one piece, as it is read. Its SHA-256 is computed on the way, anew for each
attempt. The PBX compares that digest with what it received.

An upload that fails or is cancelled is destroyed on the PBX. That request is sent in a background
task, for which the client waits when it closes. To know the id of an upload that is cancelled while
it begins, that request runs in a task of its own too.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from ..arguments import check_str
from ..client.resource import Resource
from ..core.endpoint import Endpoint
from ..core.upload import Source, UploadSource, source_of
from ..errors import ClientClosed, NotFound, PortSIPError, ReplyError, raise_without_context
from .models import UploadStarted
from .operations import BLOBS_APPEND, BLOBS_BEGIN, BLOBS_COMPLETE, BLOBS_DESTROY

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("portsip_async")

# How long a failed upload may take to be destroyed, in seconds.
_CLEAN_UP_SECONDS: Final = 5.0


class Blobs(Resource):
    """The files of the PBX."""

    async def upload(self, source: UploadSource, *, filename: str | None = None) -> str:
        """Upload a file (``POST /blobs/uploads``, ``.../append``, ``.../complete``).

        Only a chunk of the file is in memory at a time. The bytes are sent again only if the PBX
        can't have taken them, and only if the source can be read again: bytes, a path, or a
        seekable file, which is rewound to its first position. A file that you opened stays open.
        ``Timeout.connect`` and ``Timeout.read`` apply while the bytes are sent. ``Timeout.total``
        and the deadline do not.

        If the upload fails or is cancelled, the PBX is asked to drop what it has of it. That takes
        at most 5 seconds. A cancellation does not wait for it.

        Args:
            source: a path, bytes, a binary file, or an async iterator of bytes.
            filename: the file's name; None uses the name of the path or file, if there is one.

        Returns:
            The file's id.

        Raises:
            BadRequest: the PBX refused the file, or its digest.
            ReplyError: a reply came before the whole file was sent.
            TypeError: the source does not yield bytes, or it is a file opened as text.
        """
        session = self._sender.session
        hashed = _HashedSource(source_of(source, session.threads))
        name = hashed.name if filename is None else check_str("filename", filename)
        beginning = session.start(self._sender.send(BLOBS_BEGIN, {"filename": name}))
        upload: UploadStarted | None = None
        try:
            # 1. Begin. A cancellation does not end that task.
            await asyncio.wait((beginning,))
            upload = beginning.result()
            # 2. Send the bytes. The reply may bring another id or token.
            progress = await self._send(BLOBS_APPEND, upload, source=hashed)
            upload = UploadStarted(
                id=progress.id or upload.id, token=progress.token or upload.token
            )
            # 3. Complete.
            completed = await self._send(BLOBS_COMPLETE, upload, digest=hashed.digest())
        except ClientClosed:
            raise  # nothing can be sent any more
        except asyncio.CancelledError:
            session.start_clean_up(self._destroy(beginning, upload))
            raise
        except Exception:
            await asyncio.wait((session.start_clean_up(self._destroy(beginning, upload)),))
            raise
        return completed.id

    def _send(
        self,
        row: Endpoint[T],
        upload: UploadStarted,
        *,
        digest: str | None = None,
        source: Source | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Send a request of an upload.

        Raises:
            ReplyError: the upload's id or token can't be sent, although it came from the PBX.
        """
        parameters = {"id": upload.id, "upload_token": upload.token, "digest": digest}
        try:
            return self._sender.send(row, parameters, source=source)
        except ValueError:
            unusable = ReplyError(
                "the PBX sent an upload id or token that can't be sent back", operation=row.name
            )
            raise_without_context(unusable)

    async def _destroy(
        self, beginning: "asyncio.Task[UploadStarted]", upload: UploadStarted | None
    ) -> None:
        """Ask the PBX to drop an unfinished upload. What goes wrong is only logged.

        Args:
            beginning: the task that began the upload.
            upload: the upload; None if `beginning` has not ended yet, or failed.
        """
        try:
            async with asyncio.timeout(_CLEAN_UP_SECONDS):
                if upload is None:
                    await asyncio.wait((beginning,))
                    if beginning.cancelled() or beginning.exception() is not None:
                        return  # nothing was begun, as far as is known
                    upload = beginning.result()
                await self._sender.send(BLOBS_DESTROY, {"id": upload.id})
        except NotFound:
            pass  # the PBX dropped it by itself
        except (PortSIPError, ValueError) as error:
            logger.warning("an unfinished upload could not be destroyed: %s", error)
        except TimeoutError:
            logger.warning("an unfinished upload could not be destroyed in time")
        except Exception as error:
            # The application's fetch_token raised it. Its text may hold secrets.
            logger.warning("an unfinished upload could not be destroyed: %s", type(error).__name__)
        finally:
            beginning.cancel()


class _Reading:
    """One reading of a source.

    Attributes:
        sha256: the digest of the bytes so far.
        size: how many bytes they are.
        is_done: whether they are all.
    """

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.is_done = False


class _HashedSource(Source):
    """Reads another source, and computes the SHA-256 of the bytes of each attempt."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._latest = _Reading()
        self.name = source.name

    @property
    def replayable(self) -> bool:
        return self._source.replayable

    async def open(self) -> None:
        await self._source.open()
        self.size = self._source.size

    async def close(self) -> None:
        await self._source.close()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        # Kept in a local variable: the reading of an earlier attempt may not have ended yet.
        reading = self._latest = _Reading()
        async with aclosing(self._source.chunks()) as chunks:
            async for chunk in chunks:
                reading.sha256.update(chunk)
                reading.size += len(chunk)
                yield chunk
        reading.is_done = True

    def digest(self) -> str:
        """Return the digest of all bytes, in hex.

        Raises:
            ReplyError: the PBX replied before all bytes were read. With the digest of those that
                were, it would store a part of the file.
        """
        # The reply may arrive before the end is noticed. Then the size shows that all were read.
        if not self._latest.is_done and self._latest.size != self.size:
            raise ReplyError(
                "a reply came before the whole file was sent", operation=BLOBS_APPEND.name
            )
        return self._latest.sha256.hexdigest()
