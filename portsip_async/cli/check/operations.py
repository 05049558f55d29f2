"""Send every operation that only reads, and compare its replies with the models."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
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

__all__ = ["READS", "WRITES", "OperationCheck", "ReadCheck"]

# In the order they are sent. A login is sent before them.
READS: Final = (
    "account.refresh",
    "extensions.list",
    "extensions.search",
    "extensions.show",
    "extensions.status",
    "groups.list",
    "groups.show",
    "greetings.list",
)
WRITES: Final = tuple(
    name for name in ENDPOINTS if name not in READS and not name.startswith("account.")
)
_NOTHING_THERE: Final = frozenset({405, 410, 501})
# A NotFound with one of these codes is about an extension or a file, not about the address.
_ITEM_MISSING: Final = frozenset({"404.1", "404.3"})


class OperationCheck:
    """The check of one operation: its address, its replies, and what went wrong.

    Attributes:
        name: the row's name, such as ``extensions.list``.
        state: the outcome; None while nothing but good replies were seen.
        detail: more about the state.
    """

    def __init__(self, pbx: PortSIPClient, name: str, override: Mapping[str, Any]) -> None:
        """Prepare the check of an operation, at the address that an override may give it."""
        row = ENDPOINTS[name]
        self.name = name
        self.state: State | None = None
        self.detail = ""
        # Under a name of its own, the client neither overrides nor parses it.
        changes: dict[str, Any] = {"name": f"check {name}", "reply": dict, "pages": None}
        if override.get("method", row.method).upper() != row.method:
            token = row.token if row.token == "none" else None
            changes |= {"token": token, "parameters": None}
        self.endpoint: Endpoint[Any] = row.replace(**changes, **override)
        self._pbx = pbx
        self._comparison = Comparison(row.reply or dict)
        self._replies = 0

    async def send(self, **parameters: object) -> dict[str, Any]:
        """Send one request, compare its reply, and return it."""
        try:
            reply: dict[str, Any] = await self._pbx.request(self.endpoint, **parameters)
        except PortSIPError as error:
            self.note(*_outcome(error))
            raise
        self._comparison.add(reply)
        self._replies += 1
        return reply

    async def attempt(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Await a call; note an error and return None.

        Raises:
            AuthenticationError: no further call would be accepted.
        """
        try:
            return await call()
        except PortSIPError as error:
            self.note(*_outcome(error))
            if isinstance(error, AuthenticationError):
                raise
            return None

    def note(self, state: State, detail: str) -> None:
        """Set the state, unless an earlier one is set."""
        if self.state is None:
            self.state, self.detail = state, detail

    def result(self) -> Operation:
        """Return the outcome."""
        differences = tuple(self._comparison.differences())
        return Operation(
            name=self.name,
            method=self.endpoint.method,
            path=self.endpoint.path,
            state=self.state or ("differs" if differences else "fits"),
            detail=self.detail,
            replies=self._replies,
            differences=differences,
        )


class ReadCheck:
    """The check of all operations that only read."""

    def __init__(
        self,
        pbx: PortSIPClient,
        overrides: Mapping[str, Mapping[str, Any]],
        sample: int,
        advance: Callable[[], None],
    ) -> None:
        """Store the settings; nothing is sent yet.

        Args:
            pbx: the client.
            overrides: operations that this PBX has at another address.
            sample: how many extensions and groups to read.
            advance: called after each operation.
        """
        self._pbx = pbx
        self._overrides = overrides
        self._sample = sample
        self._advance = advance
        self._checks: list[OperationCheck] = []

    def begin(self, name: str) -> OperationCheck:
        """Begin the check of an operation."""
        check = OperationCheck(self._pbx, name, self._overrides.get(name, {}))
        self._checks.append(check)
        return check

    def results(self) -> tuple[Operation, ...]:
        """Return the outcomes of all operations that were begun."""
        return tuple(check.result() for check in self._checks)

    async def run(self) -> None:
        """Check all operations, one after another.

        Raises:
            AuthenticationError: the account or its token is refused.
        """
        pbx, size = self._pbx, self._sample
        pages = [{"pagination": page, "pagesize": size} for page in (1, 2)]
        await self._check("account.refresh", [{}])

        page = await self._check(
            "extensions.list", pages, lambda: pbx.extensions.list(page_size=size)
        )
        numbers = [one.extension_number for one in page.items[:size]] if page else []
        one_page = [{"extension_number": number, **pages[0]} for number in numbers]
        await self._check(
            "extensions.search",
            [{"condition": number, **pages[0]} for number in numbers[:1]],
            lambda: pbx.extensions.search(numbers[0], page_size=size),
        )
        await self._check(
            "extensions.show",
            [{"extension_number": number} for number in numbers],
            lambda: pbx.extensions.show(numbers[0]),
        )
        await self._check_status(numbers)

        page = await self._check("groups.list", pages, lambda: pbx.groups.list(page_size=size))
        groups = [one.group_id for one in page.items[:size]] if page else []
        await self._check(
            "groups.show",
            [{"group_id": group} for group in groups],
            lambda: pbx.groups.show(groups[0]),
            missing="group",
        )
        await self._check("greetings.list", one_page, lambda: pbx.greetings.list(numbers[0]))

    async def _check(
        self,
        name: str,
        queries: Sequence[Mapping[str, object]],
        read: Callable[[], Awaitable[Any]] | None = None,
        *,
        missing: str = "extension",
    ) -> Any:
        """Send each query and compare its reply, then let the SDK read the operation itself.

        Returns:
            What the SDK read; None if anything failed.
        """
        check = self.begin(name)
        if not queries:
            check.note("not asked", f"there is no {missing}")
        for query in queries:
            await check.attempt(partial(check.send, **query))
        result = None
        if read is not None and check.state is None:
            result = await check.attempt(read)
        self._advance()
        return result

    async def _check_status(self, numbers: Sequence[str]) -> None:
        queries = [{"extensions": list(numbers)}] if numbers else []
        statuses = await self._check(
            "extensions.status", queries, lambda: self._pbx.extensions.status(numbers)
        )
        check = self._checks[-1]

        # An older console takes this request by GET.
        if check.state == "elsewhere" and check.endpoint.method != "GET":
            by_get = check.endpoint.replace(method="GET", token=None, parameters=None)
            if await check.attempt(lambda: self._pbx.request(by_get, **queries[0])) is not None:
                check.detail = "answers to GET: --endpoint extensions.status=GET"

        # A reply may leave numbers out, or have others.
        if statuses is not None:
            found = {status.extension_number for status in statuses}
            counts = {"not asked for": found - {*numbers}, "left out": {*numbers} - found}
            parts = [f"{len(those)} {what}" for what, those in counts.items() if those]
            if parts:
                check.note("differs", f"of {len(numbers)} numbers {' and '.join(parts)}")


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
