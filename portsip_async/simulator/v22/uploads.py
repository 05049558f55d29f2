"""Uploads and files of generation v22. Pure: the content of a file is hashed and dropped.

Only the content of small files is kept, so that they can be downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .errors import V22Error, invalid, missing

_MAX_KEPT = 256 * 1024  # bytes of a file whose content is kept


@dataclass(slots=True)
class Upload:
    """An upload that was begun and neither completed nor destroyed.

    Attributes:
        filename: the name of the file; "" if none was given.
        token: the token that later requests must carry.
        size: the bytes that have arrived.
    """

    filename: str
    token: str = field(repr=False)
    size: int = 0
    _digest: Any = field(default_factory=sha256, repr=False)
    _content: bytearray | None = field(default_factory=bytearray, repr=False)

    def add(self, chunk: bytes) -> None:
        """Count and hash some bytes of the file."""
        self.size += len(chunk)
        self._digest.update(chunk)
        if self._content is not None and self.size <= _MAX_KEPT:
            self._content += chunk
        else:
            self._content = None

    def finish(self) -> "File":
        """Return the file."""
        content = None if self._content is None else bytes(self._content)
        return File(self.filename, self.size, self._digest.hexdigest(), content)


@dataclass(frozen=True, slots=True)
class File:
    """A file whose upload is complete.

    Attributes:
        filename: its name; "" if none was given.
        size: its size in bytes.
        sha256: the digest of its content in hex.
        content: its content; None if it is large.
    """

    filename: str
    size: int
    sha256: str
    content: bytes | None = field(repr=False)


class Uploads:
    """The uploads in progress and the files.

    Attributes:
        open: by id, the uploads in progress.
        files: by id, the files that were completed.
    """

    def __init__(self, make_id: Callable[[], str], make_token: Callable[[], str]) -> None:
        """Store how the ids and the tokens are made."""
        self.open: dict[str, Upload] = {}
        self.files: dict[str, File] = {}
        self._by_digest: dict[str, File] = {}
        self._make_id = make_id
        self._make_token = make_token

    def begin(self, filename: str) -> str:
        """Begin an upload, and return its id."""
        upload_id = self._make_id()
        self.open[upload_id] = Upload(filename, self._make_token())
        return upload_id

    def get(self, upload_id: str, token: str | None = None) -> Upload:
        """Return an upload in progress.

        Args:
            upload_id: its id.
            token: its token, where the operation requires one.

        Raises:
            V22Error: there is no such upload, or the token is another one.
        """
        upload = self.open.get(upload_id)
        if upload is None:
            raise missing("the upload")
        if token is not None and token != upload.token:
            raise V22Error(403, "the upload token is not valid")
        return upload

    def complete(self, upload_id: str, digest: str | None) -> str:
        """Turn an upload into a file, and return the id of the file.

        Raises:
            V22Error: the digest is not that of the content. The upload stays as it is.
        """
        file = self.get(upload_id).finish()
        if digest is not None and digest.removeprefix("sha256:").lower() != file.sha256:
            raise invalid("the digest is not that of the content")
        del self.open[upload_id]
        file_id = self._make_id()
        self.files[file_id] = self._by_digest[file.sha256] = file
        return file_id

    def destroy(self, upload_id: str) -> None:
        """Forget an upload.

        Raises:
            V22Error: there is no such upload.
        """
        self.get(upload_id)
        del self.open[upload_id]

    def download(self, digest: str) -> File:
        """Return a file by the digest of its content.

        Raises:
            V22Error: there is no such file, or it is too large to have been kept.
        """
        file = self._by_digest.get(digest.removeprefix("sha256:").lower())
        if file is None or file.content is None:
            raise missing("the file")
        return file
