"""Who owns background tasks, and what must not be copied because it has some."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, Protocol, SupportsIndex, TypeVar

T = TypeVar("T")


class TaskOwner(Protocol):
    """Starts background tasks, and ends them when it closes. A client's session is one."""

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that is cancelled when the owner closes."""
        ...

    def check_open(self) -> None:
        """Check that the owner was not closed.

        Raises:
            ClientClosed: it was.
        """
        ...


class NotCopyable:
    """Refuse copies of what holds connections, tasks and a token.

    A shallow copy would work through the original, and a deep one would be half of it.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse copy, deepcopy and pickle, all of which ask here.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"{type(self).__name__} can't be copied or pickled: it holds connections and a token. "
            "Make another PortSIPClient, or use with_options() for other options"
        )
