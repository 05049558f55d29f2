"""Which user has which extension number.

Operations take a user's id, people know the number. A client fills its directory from the lists
that it walks and the numbers that it looks up, so it asks the PBX about each number once at most.
If the PBX has no user under a known id, the number is looked up again: the extension may have been
removed and created anew.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from ..client.resource import Sender
from ..client.writes import is_from
from ..core.endpoint import Endpoint
from ..core.limits import Gate
from ..core.tasks import NotCopyable
from ..errors import NotFound
from .operations import USERS_FIND
from .status_models import ExtensionNumber
from .user_models import UserSummary

T = TypeVar("T")


class Directory(NotCopyable):
    """The ids of users by extension number, as far as the client has seen them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def learn(self, users: Iterable[UserSummary]) -> None:
        """Store the ids of listed users."""
        for user in users:
            if user.extension_number:
                self._ids[user.extension_number] = user.id

    def add(self, number: str, user_id: str) -> None:
        """Store the id of one user."""
        self._ids[number] = user_id

    def id_of(self, number: str) -> str | None:
        """Return the id of a number; None if the client has not seen it."""
        return self._ids.get(number)

    def forget(self, number: str) -> None:
        """Forget a number, so that it is looked up before its next use."""
        self._ids.pop(number, None)

    async def find(
        self, sender: Sender, number: str, *, gate: Gate | None = None
    ) -> ExtensionNumber:
        """Look a number up on the PBX, and store its id.

        Raises:
            NotFound: nothing has this number.
        """
        self.forget(number)
        found = await sender.send(USERS_FIND, {"extension_number": number}, gate=gate)
        self.add(number, found.id)
        return found

    async def with_id(
        self,
        sender: Sender,
        number: str,
        row: Endpoint[Any],
        use: Callable[[str], Awaitable[T]],
        *,
        gate: Gate | None = None,
    ) -> T:
        """Carry out an operation with the id of a number.

        Args:
            sender: sends the request that looks the number up, if it is needed.
            number: the extension number.
            row: the operation. If it finds no user under a known id, the number is looked up again.
            use: carries the operation out with an id.
            gate: an additional limit on attempts.

        Raises:
            NotFound: nothing has this number, or what has it is not a user.
        """
        known = self._ids.get(number)
        if known is not None:
            try:
                return await use(known)
            except NotFound as error:
                if not is_from(error, row):
                    raise
                missing = error
            found = await self.find(sender, number, gate=gate)
            if found.id == known:
                raise missing
            return await use(found.id)
        found = await self.find(sender, number, gate=gate)
        return await use(found.id)
