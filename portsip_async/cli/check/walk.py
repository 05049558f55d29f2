"""The walk of a check over the operations that only read, and what their replies show."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from ... import (
    ENDPOINTS,
    APIError,
    Attempt,
    AuthenticationError,
    Endpoint,
    NotFound,
    PermissionDenied,
    PortSIPClient,
    PortSIPError,
    ReplyError,
)
from .compare import Comparison
from .report import Latency, Operation, State

__all__ = ["READING", "WRITES", "Asked", "Stopwatch", "Walk"]

# The order that they are asked in. `account.verify` is asked before all of them.
READING: Final = (
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
    name for name in ENDPOINTS if name not in READING and not name.startswith("account.")
)
_NO_SUCH_PLACE: Final = frozenset({404, 405, 410, 501})
# A NotFound with one of these is about what was asked for, not about the address.
_OF_THE_THING: Final = frozenset({"404.1", "404.3"})
_OTHER_METHODS: Final = {"extensions.status": "GET"}  # as an older console asked


class Asked:
    """One operation while it is asked: where, its replies, and what went wrong."""

    def __init__(self, pbx: PortSIPClient, name: str, override: Mapping[str, Any]) -> None:
        """Take an operation, and where this PBX has it."""
        self._pbx = pbx
        self._row = ENDPOINTS[name]
        self.name = name
        self.endpoint: Endpoint[Any] = self._moved(override)
        self._comparison = Comparison(self._row.reply or dict)
        self._replies = 0
        self._state: State | None = None
        self._told = ""

    def _moved(self, override: Mapping[str, Any]) -> Endpoint[Any]:
        """Answer the row at its place, its reply unread, under a name that no override has."""
        row = self._row
        changes: dict[str, Any] = {"name": f"check {row.name}", "reply": dict, "pages": None}
        if override.get("method", row.method).upper() != row.method:
            token = row.token if row.token == "none" else None
            changes |= {"token": token, "parameters": None}
        return row.replace(**changes, **override)

    @property
    def elsewhere(self) -> bool:
        """Whether nothing was found where it was asked."""
        return self._state == "elsewhere"

    async def sent(self, **parameters: object) -> dict[str, Any]:
        """Ask once, and compare what comes."""
        try:
            found: dict[str, Any] = await self._pbx.request(self.endpoint, **parameters)
        except PortSIPError as error:
            await self._failed(error, parameters)
            raise
        self._comparison.add(found)
        self._replies += 1
        return found

    async def reply(self, **parameters: object) -> dict[str, Any] | None:
        """Ask once, and compare what comes; None where nothing useful does."""
        try:
            return await self.sent(**parameters)
        except AuthenticationError:
            raise
        except PortSIPError:
            return None

    async def read(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Let the SDK ask and read for itself; None where it can't."""
        if self._state is not None:
            return None
        try:
            return await call()
        except AuthenticationError:
            raise
        except PortSIPError as error:
            await self._failed(error, {})
            return None

    def remark(self, told: str) -> None:
        """Note what no field tells."""
        self._state, self._told = self._state or "differs", told

    def skip(self, why: str) -> None:
        """Note that there was nothing to ask for."""
        self._state, self._told = "not asked", why

    def told(self) -> Operation:
        """Tell how the operation fares."""
        differences = tuple(self._comparison.differences())
        state: State = self._state or ("differs" if differences else "fits")
        return Operation(
            name=self.name,
            method=self.endpoint.method,
            path=self.endpoint.path,
            state=state,
            told=self._told,
            replies=self._replies,
            differences=differences,
        )

    async def _failed(self, error: PortSIPError, parameters: Mapping[str, object]) -> None:
        if self._state is not None:
            return
        self._state, self._told = _judged(error)
        other = _OTHER_METHODS.get(self.name)
        if self._state != "elsewhere" or other is None or other == self.endpoint.method:
            return
        moved = self.endpoint.replace(method=other, token=None, parameters=None)
        try:
            await self._pbx.request(moved, **parameters)
        except PortSIPError:
            return
        self._told = f"answers to {other}: --endpoint {self.name}={other}"


class Walk:
    """Asks all operations that only read."""

    def __init__(
        self, pbx: PortSIPClient, overrides: Mapping[str, Mapping[str, Any]], sample: int
    ) -> None:
        """Take a client.

        Args:
            pbx: the client.
            overrides: where this PBX has an operation elsewhere.
            sample: how many extensions and groups to read.
        """
        self._pbx = pbx
        self._overrides = overrides
        self._sample = sample
        self._asked: list[Asked] = []

    def ask(self, name: str) -> Asked:
        """Begin with an operation."""
        asked = Asked(self._pbx, name, self._overrides.get(name, {}))
        self._asked.append(asked)
        return asked

    def operations(self) -> tuple[Operation, ...]:
        """Tell of all operations that were begun."""
        return tuple(asked.told() for asked in self._asked)

    async def steps(self, done: Callable[[], None]) -> None:
        """Ask all, one after another; calls back after each.

        Raises:
            AuthenticationError: the account is not let in.
        """
        pbx, sample = self._pbx, self._sample
        await self.ask("account.refresh").reply()
        done()
        numbers = await self._listed(
            "extensions.list", lambda: pbx.extensions.list(page_size=sample), "extension_number"
        )
        done()
        await self._search(numbers)
        done()
        await self._each(
            "extensions.show", "extension_number", numbers, pbx.extensions.show, "extension"
        )
        done()
        await self._status(numbers)
        done()
        groups = await self._listed(
            "groups.list", lambda: pbx.groups.list(page_size=sample), "group_id"
        )
        done()
        await self._each("groups.show", "group_id", groups, pbx.groups.show, "group")
        done()
        await self._greetings(numbers)
        done()

    async def _listed(self, name: str, walk: Callable[[], Any], key: str) -> list[str]:
        """Ask for two pages, raw, and for the first as the SDK reads it; answer its keys."""
        asked = self.ask(name)
        for page in (1, 2):
            if await asked.reply(pagination=page, pagesize=self._sample) is None:
                return []
        page = await asked.read(walk)
        return [] if page is None else [getattr(item, key) for item in page.items][: self._sample]

    async def _search(self, numbers: Sequence[str]) -> None:
        asked = self.ask("extensions.search")
        if not numbers:
            asked.skip("there is no extension")
            return
        condition = numbers[0]
        await asked.reply(condition=condition, pagination=1, pagesize=self._sample)
        await asked.read(lambda: self._pbx.extensions.search(condition, page_size=self._sample))

    async def _each(
        self,
        name: str,
        key: str,
        values: Sequence[str],
        read: Callable[[str], Awaitable[Any]],
        thing: str,
    ) -> None:
        asked = self.ask(name)
        if not values:
            asked.skip(f"there is no {thing}")
            return
        for value in values:
            await asked.reply(**{key: value})
        await asked.read(lambda: read(values[0]))

    async def _status(self, numbers: Sequence[str]) -> None:
        asked = self.ask("extensions.status")
        if not numbers:
            asked.skip("there is no extension")
            return
        await asked.reply(extensions=list(numbers))
        found = await asked.read(lambda: self._pbx.extensions.status(numbers))
        if found is None:
            return
        told = [status.extension_number for status in found]
        strangers, missing = set(told) - set(numbers), set(numbers) - set(told)
        parts = []
        if strangers:
            parts.append(f"{len(strangers)} not asked for")
        if missing:
            parts.append(f"{len(missing)} left out")
        if parts:
            asked.remark(f"of {len(numbers)} numbers {' and '.join(parts)}")

    async def _greetings(self, numbers: Sequence[str]) -> None:
        asked = self.ask("greetings.list")
        if not numbers:
            asked.skip("there is no extension")
            return
        for number in numbers:
            await asked.reply(extension_number=number, pagination=1, pagesize=self._sample)
        await asked.read(lambda: self._pbx.greetings.list(numbers[0]))


class Stopwatch:
    """Notes how long the requests of a client take."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seconds: list[float] = []

    def __call__(self, attempt: Attempt) -> None:
        """Take an attempt that ended."""
        if attempt.status is not None:
            self._seconds.append(attempt.seconds)

    def latency(self) -> Latency | None:
        """Tell how long they took; None where none was answered."""
        if not self._seconds:
            return None
        in_ms = [round(seconds * 1000, 1) for seconds in self._seconds]
        return Latency(len(in_ms), round(median(in_ms), 1), max(in_ms))


def _judged(error: PortSIPError) -> tuple[State, str]:
    """Say what an error means for an operation, without a word of the PBX's own."""
    if isinstance(error, PermissionDenied):
        return "refused", "the account's role does not allow it"
    if isinstance(error, ReplyError):
        return "failed", f"not to be read: {error.expected or 'JSON'} expected at {error.where}"
    if isinstance(error, APIError):
        code = "" if error.err_code is None else f", err_code {_code(error.err_code)}"
        told = f"HTTP {error.status}{code}"
        absent = isinstance(error, NotFound) and str(error.err_code) not in _OF_THE_THING
        if absent or error.status in _NO_SUCH_PLACE - {404}:
            return "elsewhere", f"nothing there ({told}): see --endpoint"
        return "refused" if error.status < 500 else "failed", told
    return "failed", type(error).__name__


def _code(err_code: object) -> str:
    text = str(err_code)
    return text if text.replace(".", "").isdigit() and len(text) < 8 else "of another form"
