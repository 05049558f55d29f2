"""The hooks that observe calls: a client's `on_attempt`, and telemetry."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ..errors import PortSIPError
from ..redact import Record
from .endpoint import Endpoint

T = TypeVar("T")


class AttemptStart(Record, frozen=True):
    """One attempt that is about to be sent.

    Attributes:
        operation: the endpoint's name.
        number: 1 for the first attempt of a call.
    """

    operation: str
    number: int


class Attempt(Record, frozen=True):
    """One attempt that ended.

    Attributes:
        operation: the endpoint's name.
        number: 1 for the first attempt of a call.
        status: the HTTP status; None if no reply arrived.
        error: why it failed; None if it succeeded.
        seconds: how long it took.
    """

    operation: str
    number: int
    status: int | None
    error: PortSIPError | None
    seconds: float


class Observer(ABC):
    """An `on_attempt` hook that also wraps whole calls and token renewals, as telemetry does."""

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
