"""The voicemail greetings of an extension."""

from typing import Final

from ..arguments import check_str
from ..client.resource import Resource
from ..core.pages import DEFAULT_PAGE_SIZE, TypedPaginator
from ..core.upload import UploadSource, source_of
from .enums import SortByValue
from .models import GreetingFile, GreetingPage
from .operations import (
    GREETINGS_ADD,
    GREETINGS_LIST,
    GREETINGS_REMOVE,
    GREETINGS_SETUP,
    GREETINGS_UPLOAD,
)

# Typed here, because subscripting a class at each call takes 1 us.
_FILES: Final[type[TypedPaginator[GreetingFile, GreetingPage]]] = TypedPaginator


class Greetings(Resource):
    """The voicemail greetings of the PBX's extensions."""

    def list(
        self,
        extension_number: str,
        *,
        page: int = 1,
        page_size: int | None = DEFAULT_PAGE_SIZE,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> TypedPaginator[GreetingFile, GreetingPage]:
        """Walk an extension's greetings (``GET /extensions/greeting_file/list``).

        Args:
            extension_number: the extension's number.
            page: the number of the first page to read, counted from 1.
            page_size: the most greetings in a page. The PBX may have a lower limit. None
                asks for 500, or for 100 if the PBX refuses that.
            sort_by: "DEFAULT" or "Optional"; None leaves the order to the PBX.
            prefetch: how many further pages to request ahead; 0 requests none.
            max_pages: the most pages to read; None reads all.

        Raises:
            TypeError, ValueError: the number is empty, or an argument is out of bounds. Raised by
                this call itself.
        """
        number = check_str("extension_number", extension_number)
        return self._sender.paginate(
            _FILES,
            GREETINGS_LIST,
            {"extension_number": number, "sort_by": sort_by},
            page=page,
            page_size=page_size,
            prefetch=prefetch,
            max_pages=max_pages,
        )

    async def add(
        self, extension_number: str, *, filename: str | None = None, url: str | None = None
    ) -> None:
        """Add a greeting that the PBX downloads (``POST /extensions/greeting_file/create``).

        Args:
            extension_number: the extension's number.
            filename: the file's original name; None leaves it out.
            url: the address that the PBX downloads the file from; None leaves it out.

        Raises:
            NotFound: there is no such extension.
        """
        await self._sender.send(
            GREETINGS_ADD,
            {
                "extension_number": check_str("extension_number", extension_number),
                "filename": None if filename is None else check_str("filename", filename),
                "url": None if url is None else check_str("url", url),
            },
        )

    async def upload(
        self, extension_number: str, source: UploadSource, *, filename: str | None = None
    ) -> None:
        """Upload a greeting as a streamed form (``POST /extensions/greeting_file/create``).

        It is repeated only if the PBX cannot have acted, and only if the source can be read again:
        bytes, a path, or a seekable file, which is rewound to its first position. A file that you
        opened stays open. ``Timeout.connect`` and ``Timeout.read`` apply to an upload.
        ``Timeout.total`` and the deadline do not.

        Args:
            extension_number: the extension's number.
            source: a path, bytes, a binary file, or an async iterator of bytes.
            filename: the file's name; None uses the name of the path or file.

        Raises:
            NotFound: there is no such extension.
            ValueError: `filename` is None, and the source has no name.
            TypeError: the source does not yield bytes, or it is a file opened as text.
        """
        number = check_str("extension_number", extension_number)
        stream = source_of(source, self._sender.session.threads)
        name = stream.name if filename is None else check_str("filename", filename)
        if not name:
            raise ValueError("source must have a name, got none: pass filename=")
        await self._sender.send(
            GREETINGS_UPLOAD, {"extension_number": number, "filename": name}, source=stream
        )

    async def setup(self, extension_number: str, filename: str) -> None:
        """Choose the greeting that plays (``POST /extensions/greeting_file/update``).

        Raises:
            NotFound: there is no such extension or file.
        """
        await self._sender.send(GREETINGS_SETUP, _file(extension_number, filename))

    async def remove(self, extension_number: str, filename: str) -> None:
        """Remove a greeting (``POST /extensions/greeting_file/destroy``).

        Raises:
            NotFound: there is no such extension or file.
        """
        await self._sender.send(GREETINGS_REMOVE, _file(extension_number, filename))


def _file(extension_number: str, filename: str) -> dict[str, str]:
    return {
        "extension_number": check_str("extension_number", extension_number),
        "filename": check_str("filename", filename),
    }
