"""The voicemail greetings of users."""

import builtins

from ..arguments import check_str
from ..client.resource import Resource, Sender
from ..core.request import RequestTemplate
from ..core.upload import UploadSource
from ..errors import PortSIPError
from .blobs import Blobs
from .models import Greeting
from .operations import (
    GREETINGS_CREATE,
    GREETINGS_DISABLE,
    GREETINGS_ENABLE,
    GREETINGS_LIST,
    GREETINGS_REMOVE,
)


class Greetings(Resource):
    """The voicemail greetings of the PBX's users."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(sender)
        self._blobs = Blobs(sender)

    async def list(self, user_id: str) -> builtins.list[Greeting]:
        """Read a user's greetings (``GET /users/{id}/greetings``). All come at once.

        Raises:
            NotFound: there is no such user.
        """
        reply = await self._sender.send(GREETINGS_LIST, {"id": check_str("user_id", user_id)})
        return [*reply.items]

    async def upload(
        self, user_id: str, source: UploadSource, *, filename: str | None = None
    ) -> str:
        """Upload a file, then create a greeting of it (``POST /users/{id}/greetings``).

        The PBX takes WAV files: PCM, 16 bit, mono. For the upload itself, see ``blobs.upload``. If
        the greeting can't be created, the file stays on the PBX, and the error's text shows the
        file's id. Pass that to `create` to try again.

        Args:
            user_id: the user's id.
            source: a path, bytes, a binary file, or an async iterator of bytes.
            filename: the file's name; None uses the name of the path or file, if there is one.

        Returns:
            The greeting's id. The greeting does not play before `enable`.

        Raises:
            NotFound: there is no such user.
            TypeError: the source does not yield bytes, or it is a file opened as text.
        """
        # Refuse a bad id before the upload, not after it.
        RequestTemplate(GREETINGS_LIST, {"id": check_str("user_id", user_id)})
        file_id = await self._blobs.upload(source, filename=filename)
        try:
            return await self.create(user_id, file_id)
        except PortSIPError as failed:
            error = failed.with_remark(f"the file was uploaded and has the id {file_id}")
        raise error

    async def create(self, user_id: str, file_id: str) -> str:
        """Create a greeting of an uploaded file (``POST /users/{id}/greetings``).

        It is not repeated if the PBX may have acted: see ``error.may_have_acted``.

        Args:
            user_id: the user's id.
            file_id: the file's id, from ``blobs.upload``.

        Returns:
            The greeting's id. The greeting does not play before `enable`.

        Raises:
            NotFound: there is no such user or file.
        """
        created = await self._sender.send(
            GREETINGS_CREATE,
            {"id": check_str("user_id", user_id), "file_id": check_str("file_id", file_id)},
        )
        return created.id

    async def enable(self, user_id: str, greeting_id: str) -> None:
        """Choose the greeting that plays (``POST /users/{id}/greetings/{greeting_id}/enable``).

        Raises:
            NotFound: there is no such user or greeting.
        """
        await self._sender.send(GREETINGS_ENABLE, _greeting(user_id, greeting_id))

    async def disable(self, user_id: str, greeting_id: str) -> None:
        """Stop playing a greeting (``POST /users/{id}/greetings/{greeting_id}/disable``).

        Raises:
            NotFound: there is no such user or greeting.
        """
        await self._sender.send(GREETINGS_DISABLE, _greeting(user_id, greeting_id))

    async def remove(self, user_id: str, greeting_id: str) -> None:
        """Remove a greeting (``POST /users/{id}/greetings/{greeting_id}/destroy``).

        Raises:
            NotFound: there is no such user or greeting.
        """
        await self._sender.send(GREETINGS_REMOVE, _greeting(user_id, greeting_id))


def _greeting(user_id: str, greeting_id: str) -> dict[str, str]:
    return {
        "id": check_str("user_id", user_id),
        "greeting_id": check_str("greeting_id", greeting_id),
    }
