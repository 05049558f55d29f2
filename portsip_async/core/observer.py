"""A hook that observes whole calls, as telemetry does."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .endpoint import Endpoint
from .hooks import Attempt

T = TypeVar("T")


class Observer(ABC):
    """An `on_attempt` hook that also observes calls, token renewals and web sockets."""

    @abstractmethod
    def __call__(self, attempt: Attempt) -> object:
        """Record an attempt that ended. Called in the task of its call."""

    @abstractmethod
    def call(
        self,
        endpoint: Endpoint[object],
        base_url: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
    ) -> Coroutine[Any, Any, T]:
        """Run a call and return its result; `begin` makes the coroutine of the call."""

    @abstractmethod
    def renewal(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """Run a token renewal. A renewal that fails returns its exception."""

    # Not abstract: an observer need not count web sockets.

    def connection(self, error: Exception | None) -> None:  # noqa: B027 - see above
        """Record a web socket that was opened, or the error that opening it raised."""

    def message(self) -> None:  # noqa: B027 - see above
        """Record a message that arrived through a web socket."""
