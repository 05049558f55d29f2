"""The voicemail greetings of an extension."""

from ..core.pages import TypedPaginator
from ..core.tasks import NotCopyable
from ..core.upload import UploadSource, source_of
from .models import GreetingFile, GreetingPage, SortByValue
from .operations import (
    GREETINGS_ADD,
    GREETINGS_LIST,
    GREETINGS_REMOVE,
    GREETINGS_SETUP,
    GREETINGS_UPLOAD,
)
from .resource import Caller, text


class Greetings(NotCopyable):
    """The greeting files of the PBX's voicemail."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(
        self,
        extension_number: str,
        *,
        page: int = 1,
        page_size: int | None = 100,
        sort_by: SortByValue | None = None,
        prefetch: int = 1,
        max_pages: int | None = None,
    ) -> TypedPaginator[GreetingFile, GreetingPage]:
        """Walk an extension's greetings (``GET /extensions/greeting_file/list``).

        Args:
            extension_number: the extension's number.
            page: the page to start from, counted from 1.
            page_size: greetings a page; the PBX may cap it. None: 500, or 100 if that is refused.
            sort_by: "DEFAULT" or "Optional"; None leaves it to the PBX.
            prefetch: pages kept in flight ahead; 0: none.
            max_pages: pages at most; None: unlimited.

        Raises:
            TypeError, ValueError: at the call, for an empty number or one out of bounds.
        """
        number = text("extension_number", extension_number)
        return self._caller.walk(
            TypedPaginator[GreetingFile, GreetingPage],
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
        """Have the PBX fetch a greeting by itself (``POST /extensions/greeting_file/create``).

        Args:
            extension_number: the extension's number.
            filename: the file's original name; None leaves it out.
            url: where the PBX downloads it from; None leaves it out.

        Raises:
            NotFound: there is no such extension.
        """
        await self._caller(
            GREETINGS_ADD,
            {
                "extension_number": text("extension_number", extension_number),
                "filename": None if filename is None else text("filename", filename),
                "url": None if url is None else text("url", url),
            },
        )

    async def upload(
        self, extension_number: str, source: UploadSource, *, filename: str | None = None
    ) -> None:
        """Upload a greeting, streamed (``POST /extensions/greeting_file/create``, as a form).

        It is sent again only where the PBX can't have acted, and only from what can be read again:
        bytes, a path, or a seekable file, which goes back to where it stood. A file that you opened
        stays open. ``Timeout.total`` and the deadline don't bound an upload; ``connect`` and
        ``read`` do.

        Args:
            extension_number: the extension's number.
            source: a path, bytes, a binary file, or an async iterator of bytes.
            filename: the file's name; None takes the path's or the file's own.

        Raises:
            NotFound: there is no such extension.
            ValueError: no filename was given, and the source has none.
            TypeError: a source that gives no bytes, or a file opened as text.
        """
        number = text("extension_number", extension_number)
        stream = source_of(source, self._caller.session.threads)
        name = stream.name if filename is None else text("filename", filename)
        if not name:
            raise ValueError("the source has no name: pass filename=")
        await self._caller(
            GREETINGS_UPLOAD, {"extension_number": number, "filename": name}, source=stream
        )

    async def setup(self, extension_number: str, filename: str) -> None:
        """Make a greeting the one that plays (``POST /extensions/greeting_file/update``).

        Raises:
            NotFound: there is no such extension or file.
        """
        await self._caller(GREETINGS_SETUP, _file(extension_number, filename))

    async def remove(self, extension_number: str, filename: str) -> None:
        """Remove a greeting (``POST /extensions/greeting_file/destroy``).

        Raises:
            NotFound: there is no such extension or file.
        """
        await self._caller(GREETINGS_REMOVE, _file(extension_number, filename))


def _file(extension_number: str, filename: str) -> dict[str, str]:
    return {
        "extension_number": text("extension_number", extension_number),
        "filename": text("filename", filename),
    }
