"""What both generations of the simulated PBX have in common: counts, scripted faults, replies.

A `Face` is the API of one generation. The server asks each face for the row of a request, decides
on a fault, and lets the face act.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from ..arguments import check_int
from .faults import Fault, ScriptedFaults, complete_script
from .quirks import ReplyShaper
from .thread import SimulatorThread, in_its_thread


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply before it is sent.

    Attributes:
        status: the HTTP status.
        body: the body; empty for none.
        headers: further headers, and the type of the body.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MatchedRequest:
    """A request whose operation is known.

    Attributes:
        face: the generation that it belongs to.
        name: the name of its row.
        has_token: whether the operation needs a token.
        act: carries the request out. With True, its token is revoked first.
    """

    face: "Face"
    name: str
    has_token: bool
    act: Callable[[bool], Awaitable[Reply]]


class Face(ABC):
    """The API of one generation.

    Attributes:
        served: by row, how many requests arrived, including refused ones.
        acted: by row, how often the operation was carried out, even if its reply was lost.
        rejected: by row, how many requests had an invalid token or none.
        injected: by kind, how many faults happened.
    """

    def __init__(
        self,
        operations: Collection[str],
        shaper: ReplyShaper,
        thread: SimulatorThread,
        *,
        code_of: Callable[[int], float | int | str],
        status_of: Callable[[float | int | str], int],
    ) -> None:
        """Store the names of the rows, and how statuses and codes of scripts complete each other.

        Args:
            operations: the names of the rows.
            shaper: encodes the replies.
            thread: the thread of the simulator.
            code_of: returns the code that fits an HTTP status.
            status_of: returns the HTTP status that fits a code.
        """
        self.served: Counter[str] = Counter()
        self.acted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self._operations = operations
        self._shaper = shaper
        self._thread = thread
        self._code_of = code_of
        self._status_of = status_of
        self._scripts = ScriptedFaults()

    @abstractmethod
    async def find(self, request: web.BaseRequest, path: str, query: str) -> MatchedRequest | None:
        """Return a request with its row; None if this generation has nothing at its path.

        Args:
            request: the request.
            path: its path as it was sent, percent-encoded.
            query: its query as it was sent.
        """

    @abstractmethod
    def error(self, status: int, code: float | int | str, message: str) -> Reply:
        """Build an error."""

    @abstractmethod
    def refuse(self, reason: str) -> Reply:
        """Build the error for a reason in the table of `errors`."""

    @in_its_thread
    def fail(
        self,
        operation: str,
        *,
        status: int | None = None,
        times: int | None = 1,
        retry_after: float | str | None = None,
        err_code: float | int | str | None = None,
        msg: str = "Simulated failure",
        body: bytes | str | None = None,
        content_type: str | None = None,
        latency: float = 0.0,
        drop: bool = False,
        truncate: bool = False,
        act: bool = False,
    ) -> None:
        """Make the next requests of one operation fail, or just slow; see `PBXSimulator.fail`.

        Raises:
            ValueError: an unknown row, a status that HTTP does not have, or a number out of range.
        """
        self._check_operation(operation)
        if times is not None:
            check_int("times", times, 1)
        script = Fault(
            "scripted",
            status=status,
            err_code=err_code,
            msg=msg,
            retry_after=retry_after,
            body=body.encode() if isinstance(body, str) else body,
            content_type=content_type,
            latency=latency,
            drop=drop,
            truncate=truncate,
            act=act,
        )
        script = complete_script(script, code_of=self._code_of, status_of=self._status_of)
        self._scripts.add(operation, script, times)

    @in_its_thread
    def clear(self, operation: str | None = None) -> None:
        """Drop the remaining scripts of an operation; None drops those of all operations.

        Raises:
            ValueError: an unknown row.
        """
        if operation is not None:
            self._check_operation(operation)
        self._scripts.clear(operation)

    def take_fault(self, operation: str) -> Fault | None:
        """Remove and return the next scripted fault of an operation."""
        return self._scripts.take(operation)

    def failure(self, fault: Fault) -> Reply:
        """Build the reply that a fault describes."""
        reply = Reply(fault.status or 200, fault.body or b"")
        if fault.body is None and fault.err_code is not None:
            reply = self.error(reply.status, fault.err_code, fault.msg)
        headers = {"Content-Type": self._shaper.content_type, **reply.headers}
        if fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        if fault.content_type is not None:
            headers["Content-Type"] = fault.content_type
        return Reply(reply.status, reply.body, headers)

    def _check_operation(self, name: str) -> None:
        if name not in self._operations:
            raise ValueError(f"operation must be the name of a row, got {name!r}")
