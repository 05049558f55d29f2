"""Send every operation that only reads, and compare its replies with the models."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from ... import (
    ENDPOINTS,
    APIError,
    AuthenticationError,
    Endpoint,
    NotFound,
    PermissionDenied,
    PortSIPClient,
    PortSIPError,
    ReplyError,
)
from .compare import Comparison
from .report import Operation, State

READS: Final = tuple(name for name, row in ENDPOINTS.items() if row.safety == "safe")
WRITES: Final = tuple(name for name in ENDPOINTS if name not in READS)
_NOTHING_THERE: Final = frozenset({405, 410, 501})
# A NotFound with one of these codes is about an extension or a file, not about the address.
_ITEM_MISSING: Final = frozenset({"404.1", "404.3"})


@dataclass
class OperationChecks:
    """Checks operations one after another."""

    pbx: PortSIPClient
    overrides: Mapping[str, Mapping[str, Any]]  # operations that this PBX has at another address
    advance: Callable[[], None]  # called after each operation
    operations: list[Operation] = field(default_factory=list)  # the outcome of each that was begun

    async def check(
        self,
        name: str,
        queries: Sequence[Mapping[str, object]],
        read: Callable[[], Awaitable[Any]] | None = None,
        *,
        missing: str = "extension",
        required: bool = False,
    ) -> Any:
        """Let the SDK read an operation, then send each query and compare its raw reply.

        Args:
            name: the operation's row.
            queries: the parameters of the raw requests; none if the PBX has nothing to ask for.
            read: how the SDK reads the operation.
            missing: what the PBX lacks if there are no queries.
            required: whether any error is raised.

        Returns:
            What the SDK read; None if that failed.

        Raises:
            AuthenticationError: no further operation would be accepted.
        """
        # Begin the outcome, so that it is reported even if an error ends the check.
        endpoint = _raw(name, self.overrides.get(name, {}))
        operation = Operation(name=name, method=endpoint.method, path=endpoint.path)
        self.operations.append(operation)
        comparison = Comparison(ENDPOINTS[name].reply or dict)

        async def attempt(call: Callable[[], Awaitable[Any]]) -> Any:
            try:
                return await call()
            except PortSIPError as error:
                operation.note(*_outcome(error))
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
            # An older PBX takes the status request by GET.
            if name == "extensions.status" and operation.state == "elsewhere":
                by_get = _raw(name, {"method": "GET", "path": endpoint.path})
                if await attempt(partial(self.pbx.request, by_get, **queries[0])) is not None:
                    operation.detail = "answers to GET: --endpoint extensions.status=GET"
        finally:
            operation.differences = tuple(comparison.differences())
            if operation.differences:
                operation.note("differs", "")
        self.advance()
        return result


def _raw(name: str, override: Mapping[str, Any]) -> Endpoint[Any]:
    """Return an endpoint without parsing, under a name that the client does not override."""
    row = ENDPOINTS[name]
    changes: dict[str, Any] = {"name": f"check {name}", "reply": dict, "pages": None}
    if override.get("method", row.method).upper() != row.method:
        changes |= {"token": "none" if row.token == "none" else None, "parameters": None}
    return row.replace(**changes, **override)


def _outcome(error: PortSIPError) -> tuple[State, str]:
    """Return what an error means for an operation, without any text of the PBX's."""
    if isinstance(error, PermissionDenied):
        return "refused", "the account's role does not allow it"
    if isinstance(error, ReplyError):
        return "failed", f"can't be read: expected {error.expected or 'JSON'} at {error.where}"
    if not isinstance(error, APIError):
        return "failed", type(error).__name__
    detail = f"HTTP {error.status}"
    if error.err_code is not None:
        code = str(error.err_code)
        is_code = code.replace(".", "").isdigit() and len(code) < 8
        detail += f", err_code {code if is_code else 'of another form'}"
    absent = isinstance(error, NotFound) and str(error.err_code) not in _ITEM_MISSING
    if absent or error.status in _NOTHING_THERE:
        return "elsewhere", f"nothing there ({detail}): see --endpoint"
    return "refused" if error.status < 500 else "failed", detail
