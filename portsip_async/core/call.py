"""One call, and what stands around it: its options, its course so far, and who looks on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..errors import PortSIPError
from ..record import Record
from .endpoint import Endpoint
from .interrupts import Scope, Timer
from .retry import Fault, RetryPolicy, may_have_acted, may_repeat
from .tokens import CachedToken
from .transport import HttpTimeouts, Route, Timeout
from .upload import Source
from .wire import Draft, Judge, Parameters, secrets_of

T = TypeVar("T")


class Attempt(Record, frozen=True):
    """One attempt that ended.

    Attributes:
        operation: the endpoint's name.
        number: 1 for a call's first attempt.
        status: the HTTP status; None where no reply arrived.
        error: why it failed; None where it succeeded.
        seconds: how long it took.
    """

    operation: str
    number: int
    status: int | None
    error: PortSIPError | None
    seconds: float


class Observer(ABC):
    """An `on_attempt` that also stands around whole calls and renewals, as telemetry does."""

    @abstractmethod
    def __call__(self, attempt: Attempt) -> object:
        """Take notice of an attempt that ended, in the task of its call."""

    @abstractmethod
    def call(
        self,
        endpoint: Endpoint[object],
        base_url: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
    ) -> Coroutine[Any, Any, T]:
        """Run a call and answer what it does; `begin` makes its coroutine."""

    @abstractmethod
    def renewal(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """Run a renewal of the token, which answers the exception that it failed with, if any."""


class CallOptions:
    """The timeout and the retry policy of a client or of a view of it, ready for use."""

    __slots__ = ("http", "patience", "retry", "timeout", "timer")

    def __init__(self, timeout: Timeout, retry: RetryPolicy) -> None:
        self.timeout: Timeout = timeout
        self.retry: RetryPolicy = retry
        limits = [limit for limit in (timeout.total, retry.deadline) if limit is not None]
        self.patience: float | None = min(limits) if limits else None
        self.http: HttpTimeouts = HttpTimeouts(replace(timeout, total=self.patience))
        self.timer: Timer | None = None


class Gate(Protocol):
    """What an attempt passes through, beside the client's own limits."""

    def admit(self) -> object | None:
        """Admit an attempt at once, with a ticket; None where it has to wait."""
        ...

    async def enter(self) -> object:
        """Wait for admission; answers a ticket."""
        ...

    def leave(self, ticket: object, error: PortSIPError | None, *, repeated: bool) -> None:
        """Take notice that an attempt ended, and how; `repeated` unless it was a call's first."""
        ...


class Plan:
    """What all calls of one endpoint share."""

    __slots__ = ("judge", "route")

    def __init__(self, base_url: str, endpoint: Endpoint[Any]) -> None:
        self.route: Route = Route(base_url, endpoint)
        self.judge: Judge[Any] = Judge(endpoint)


class Call(Scope):
    """One call under way; what most calls leave as it is stands in the class."""

    source: Source | None = None
    gate: Gate | None = None
    token: str | None = None  # set where the call does not use the client's own
    renews = False
    held: CachedToken | None = None
    former: tuple[str, ...] = ()  # tokens of earlier attempts
    number = 0
    deadline: float | None = None
    started: float = 0.0
    fault: Fault | None = None  # of the latest attempt; None where none was sent
    flying = False
    acted: bool = False

    def __init__(
        self,
        endpoint: Endpoint[Any],
        parameters: Parameters,
        options: CallOptions,
        plan: Plan,
    ) -> None:
        self.endpoint = endpoint
        self.parameters = parameters
        self.options = options
        self.plan = plan
        self.draft: Draft = Draft(endpoint, parameters)
        if endpoint.token == "none":
            self.token = ""

    def __repr__(self) -> str:
        return f"<call of {self.endpoint.name}, attempt {self.number}>"

    @property
    def repeatable(self) -> bool:
        """Whether the latest attempt failed in a way that allows another."""
        if self.fault is None or not may_repeat(self.fault, self.endpoint.safety):
            return False
        return self.source is None or self.source.replayable

    def failed(self, fault: Fault) -> None:
        """Note what became of the latest attempt."""
        self.fault = fault
        self.acted = self.acted or may_have_acted(fault, self.endpoint.safety)

    def secrets(self) -> list[str]:
        """List what must not be told of this call."""
        token = self.held.token.access_token if self.held is not None else self.token
        return [*self.former, *secrets_of(self.parameters, token)]
