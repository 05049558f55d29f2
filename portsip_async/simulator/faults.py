"""The faults of the simulated PBX, at random or by script. Pure: random numbers are passed in.

- To slow all operations down: ``sim.faults = Faults(latency=0.2)``.
- To slow one operation down: ``sim.fail("extensions.status", latency=2.0, times=None)``. Its
  replies are late, but normal. See `complete_script` and `ScriptedFaults`.
- To make a share of all requests fail: `Faults` has the rates, and `draw` chooses.

A `Fault` describes what happens to one request; the server carries it out.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat

from ..arguments import check_int, check_number
from .errors import code_of, status_of

_HTML = b"""<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request; see `PBXSimulator.fail` for the other attributes.

    Attributes:
        kind: the name that it is counted under.
        status: the HTTP status of the reply; None sends the operation's own reply.
        revoke: whether the token of the request is revoked as the request arrives.
    """

    kind: str
    status: int | None = None
    err_code: float | int | str | None = None
    msg: str = "Simulated failure"
    retry_after: float | str | None = None
    body: bytes | None = None
    content_type: str | None = None
    latency: float = 0.0
    drop: bool = False
    truncate: bool = False
    act: bool = False
    revoke: bool = False

    @property
    def acts(self) -> bool:
        """Whether the operation is carried out: on request, or because its reply is sent."""
        return self.act or (self.status is None and not self.drop)


Chance = Callable[[], float]

# By the name of a rate: builds the fault. Some kinds have two variants, each half of the time.
_BY_RATE: Mapping[str, Callable[[Chance], Fault]] = {
    "rate_limited": lambda chance: Fault(
        "rate_limited", 429, 403.5, "Rate limit exceeded", 1 if chance() < 0.5 else None
    ),
    "server_error": lambda chance: _server_error(500 if chance() < 0.5 else 503),
    "html": lambda _: Fault("html", 502, body=_HTML, content_type="text/html"),
    "dropped": lambda chance: Fault("dropped", drop=True, act=chance() < 0.5),
    "truncated": lambda _: Fault("truncated", truncate=True),
    "revoked": lambda _: Fault("revoked", revoke=True),
}
RATES = tuple(_BY_RATE)


def _server_error(status: int) -> Fault:
    return Fault("server_error", status, status, "The service is not available")


@dataclass(frozen=True)
class Faults:
    """How often requests of any operation fail, as rates from 0 to 1; never by default.

    Attributes:
        latency: seconds by which every reply is late. To delay one operation, see
            `PBXSimulator.fail`.
        rate_limited: requests that get a 429, half of them with Retry-After.
        server_error: requests that get a 500 or 503; they are not carried out.
        html: requests that get a 502 with a proxy's HTML page; they are not carried out.
        dropped: requests that lose their connection and get no reply, half of them after the
            operation was carried out.
        truncated: requests that are carried out, with a reply that is cut short.
        revoked: requests with a token that is revoked when they arrive.
    """

    latency: float = 0.0
    rate_limited: float = 0.0
    server_error: float = 0.0
    html: float = 0.0
    dropped: float = 0.0
    truncated: float = 0.0
    revoked: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a latency below zero, or a rate outside 0 to 1.
        """
        check_number("latency", self.latency)
        for kind in RATES:
            rate = getattr(self, kind)
            if check_number(kind, rate) > 1:
                raise ValueError(f"{kind} must be at most 1, got {rate}")


def draw(faults: Faults, chance: Chance) -> Fault | None:
    """Choose the fault of a request at random; None if there is none.

    The rates are tried in the order of their fields, and the first hit counts.

    Args:
        faults: the rates.
        chance: returns a number from 0 to 1, such as ``random.random``.
    """
    for kind in RATES:
        rate = getattr(faults, kind)
        if rate and chance() < rate:
            return _BY_RATE[kind](chance)
    return None


def complete_script(
    fault: Fault,
    *,
    code_of: Callable[[int], float | int | str] = code_of,
    status_of: Callable[[float | int | str], int] = status_of,
) -> Fault:
    """Check a scripted fault, and fill in the status and the err_code that it leaves out.

    Without a status, a body is sent with 200, and an err_code with the status that fits it.
    With only a latency, the reply stays normal. An empty script means 503.

    Args:
        fault: the script.
        code_of: returns the err_code that fits an HTTP status.
        status_of: returns the HTTP status that fits an err_code.

    Raises:
        ValueError: a status that HTTP does not have, or a latency below zero.
    """
    status, err_code = fault.status, fault.err_code
    if status is not None:
        check_int("status", status, 200, 599)
    check_number("latency", fault.latency)
    if status is None and not (fault.drop or fault.truncate):
        if fault.body is not None:
            status = 200
        elif err_code is not None:
            status = status_of(err_code)
        elif not fault.latency:
            status = 503
    if err_code is None and status is not None and status >= 400:
        err_code = code_of(status)
    return replace(fault, status=status, err_code=err_code)


class ScriptedFaults:
    """The queue of scripted faults of each operation."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Iterator[Fault]]] = {}

    def add(self, operation: str, fault: Fault, times: int | None) -> None:
        """Queue a fault for ``times`` requests of an operation; None means until it is cleared."""
        faults = repeat(fault) if times is None else repeat(fault, times)
        self._queues.setdefault(operation, deque()).append(faults)

    def clear(self, operation: str | None = None) -> None:
        """Drop the queue of an operation; None drops all queues."""
        for name in [operation] if operation else [*self._queues]:
            self._queues.pop(name, None)

    def take(self, operation: str) -> Fault | None:
        """Remove and return the next fault of an operation; None if there is none."""
        queue = self._queues.get(operation)
        while queue:
            for fault in queue[0]:
                return fault
            queue.popleft()
        return None
