"""Send every operation that only reads, and compare its replies with the models."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ... import (
    APIError,
    Attempt,
    AuthenticationError,
    Endpoint,
    NotFound,
    PermissionDenied,
    PortSIPError,
    ReplyError,
)
from .compare import Comparison
from .report import Login, Operation, State, WebSocket

_NOTHING_THERE: Final = frozenset({405, 410, 501})
_CODE: Final = re.compile(r"[0-9.]{1,7}|[A-Z_]{1,30}")


@dataclass(frozen=True)
class Steps:
    """What a check asks of a PBX of one generation.

    Attributes:
        endpoints: the operations by name.
        reads: those that only read, and are checked after the login.
        item_missing: codes of a NotFound that is about an item, not about the address.
        log_in: logs in with an account and a SIP domain.
        read_all: checks every other operation that only reads, and the web socket; it gets the
            client, and how many items to read.
    """

    endpoints: Mapping[str, Endpoint[Any]]
    reads: Sequence[str]
    item_missing: frozenset[str]
    log_in: Callable[
        ["OperationChecks", Any, Mapping[str, str], str | None], Coroutine[Any, Any, Login]
    ]
    read_all: Callable[["OperationChecks", Any, int], Coroutine[Any, Any, None]]


@dataclass
class OperationChecks:
    """Checks operations one after another."""

    pbx: Any  # the client
    steps: Steps
    overrides: Mapping[str, Mapping[str, Any]]  # operations that this PBX has at another address
    attempts: Sequence[Attempt]  # the requests of the client, which it adds to
    operations: list[Operation] = field(default_factory=list)  # the outcome of each that was begun
    begin: Callable[[str], None] = lambda _: None  # called with the name of each operation
    advance: Callable[[], None] = lambda: None  # called after each operation
    web_socket: WebSocket | None = None  # what was found; None if the generation has none

    async def check(
        self,
        name: str,
        queries: Sequence[Mapping[str, object]],
        read: Callable[[], Awaitable[Any]] | None = None,
        *,
        missing: str = "extension",
        otherwise: str | None = None,
        required: bool = False,
    ) -> Any:
        """Let the SDK read an operation, then send each query and compare its raw reply.

        Args:
            name: the operation's row.
            queries: the parameters of the raw requests; none if the PBX has nothing to ask for.
            read: how the SDK reads the operation.
            missing: what the PBX lacks if there are no queries.
            otherwise: another method to try, which an older PBX takes.
            required: whether any error is raised.

        Returns:
            What the SDK read; None if that failed.

        Raises:
            AuthenticationError: no further operation would be accepted.
        """
        # Begin the outcome, so that it is reported even if an error ends the check.
        row = self.steps.endpoints[name]
        endpoint = _raw(row, self.overrides.get(name, {}))
        self.begin(name)
        operation = Operation(name=name, method=endpoint.method, path=endpoint.path)
        self.operations.append(operation)
        comparison = Comparison(row.reply or dict)

        async def attempt(call: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await call()
            except PortSIPError as error:
                operation.note(*_outcome(error, self.steps.item_missing))
                if required or isinstance(error, AuthenticationError):
                    raise
                return None

        result = None
        try:
            if not queries:
                operation.note("not asked", f"there is no {missing}")
            elif read is not None:
                result = await attempt(read)
            # The SDK repairs some replies, so the models are compared with raw ones.
            for query in queries:
                reply = await attempt(partial(self.pbx.request, endpoint, **query))
                if reply is not None:
                    comparison.add(reply)
                    operation.replies += 1
            if otherwise is not None and operation.state == "elsewhere":
                other = _raw(row, {"method": otherwise, "path": endpoint.path})
                if await attempt(partial(self.pbx.request, other, **queries[0])) is not None:
                    operation.detail = f"answers to {otherwise}: --endpoint {name}={otherwise}"
        finally:
            operation.differences = tuple(comparison.differences())
            if operation.differences:
                operation.note("differs", "")
        self.advance()
        return result


def matched(pattern: re.Pattern[str], value: str | None) -> str | None:
    """Return a value that has a form without anything private; None for others."""
    return value if value is not None and pattern.fullmatch(value) else None


def _raw(row: Endpoint[Any], override: Mapping[str, Any]) -> Endpoint[Any]:
    """Return an endpoint without parsing, under a name that the client does not override."""
    changes: dict[str, Any] = {"name": f"check {row.name}", "reply": dict, "pages": None}
    if override.get("method", row.method).upper() != row.method:
        changes |= {"token": "none" if row.token == "none" else None, "parameters": None}
    return row.replace(**changes, **override)


def _outcome(error: PortSIPError, item_missing: frozenset[str]) -> tuple[State, str]:
    """Return what an error means for an operation, without any text of the PBX's."""
    if isinstance(error, PermissionDenied):
        return "refused", "the account's role does not allow it"
    if isinstance(error, ReplyError):
        return "failed", f"can't be read: expected {error.expected or 'JSON'} at {error.where}"
    if not isinstance(error, APIError):
        return "failed", type(error).__name__
    detail = f"HTTP {error.status}"
    if error.err_code is not None:
        detail += f", err_code {matched(_CODE, str(error.err_code)) or 'of another form'}"
    absent = isinstance(error, NotFound) and str(error.err_code) not in item_missing
    if absent or error.status in _NOTHING_THERE:
        return "elsewhere", f"nothing there ({detail}): see --endpoint"
    return "refused" if error.status < 500 else "failed", detail
