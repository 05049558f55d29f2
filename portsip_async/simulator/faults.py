"""Faults that a simulated PBX shows: by rate or by script. Pure: chance is passed in.

A fault says what a request meets; the server carries it out. Rates are drawn one after the other
in the order of their fields, each with its own chance, and the first that hits is the fault.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

_HTML = b"""<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"""

# The code that a scripted failure tells where the script names none.
_CODES: Mapping[int, float | int] = {
    400: 400.1,
    401: 403.4,
    403: 403.1,
    404: 404.1,
    409: 403.3,
    429: 403.5,
}


@dataclass(frozen=True)
class Faults:
    """How often requests meet which fault; none by default.

    Attributes:
        latency: seconds by which every reply is late.
        rate_limited: rate of requests answered 429, every second time with Retry-After.
        server_error: rate of requests answered 500 or 503, not carried out.
        html: rate of requests answered 502 with an HTML page, as by a proxy; not carried out.
        dropped: rate of requests whose connection is cut without a reply, every second time after
            the request was carried out.
        truncated: rate of requests that are carried out and whose reply is cut short.
        revoked: rate of requests whose token dies as they arrive.
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
        if not 0 <= self.latency < float("inf"):
            raise ValueError(f"latency is in seconds, from 0 on: {self.latency!r}")
        for kind in RATES:
            rate = getattr(self, kind)
            if not 0 <= rate <= 1:
                raise ValueError(f"{kind} is a rate from 0 to 1: {rate!r}")


RATES = tuple(field.name for field in fields(Faults) if field.name != "latency")


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request meets.

    Attributes:
        kind: the name it is counted under.
        status: the HTTP status of the reply; None leaves the PBX's own reply.
        err_code: the reply's err_code.
        msg: the reply's message.
        retry_after: the Retry-After header, in seconds or as a date; None: no header.
        body: the reply's body in place of a PBX's error.
        content_type: the body's type.
        latency: seconds by which the reply is late.
        drop: whether the connection is cut without a reply.
        truncate: whether the reply is cut in the middle of its body.
        act: whether the request is carried out all the same.
        revoke: whether the request's token dies as it arrives.
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
        """Whether the request is carried out: asked for, or needed to have a reply at all."""
        return self.act or (self.status is None and not self.drop)


def _rate_limited(chance: Callable[[], float]) -> Fault:
    return Fault("rate_limited", 429, 403.5, "Rate limit exceeded", 1 if chance() < 0.5 else None)


def _server_error(chance: Callable[[], float]) -> Fault:
    status = 500 if chance() < 0.5 else 503
    return Fault("server_error", status, status, "The service is not available")


def _html(_: Callable[[], float]) -> Fault:
    return Fault("html", 502, body=_HTML, content_type="text/html")


def _dropped(chance: Callable[[], float]) -> Fault:
    return Fault("dropped", drop=True, act=chance() < 0.5)


def _truncated(_: Callable[[], float]) -> Fault:
    return Fault("truncated", truncate=True)


def _revoked(_: Callable[[], float]) -> Fault:
    return Fault("revoked", revoke=True)


_MAKERS: Mapping[str, Callable[[Callable[[], float]], Fault]] = {
    "rate_limited": _rate_limited,
    "server_error": _server_error,
    "html": _html,
    "dropped": _dropped,
    "truncated": _truncated,
    "revoked": _revoked,
}


def draw(faults: Faults, chance: Callable[[], float]) -> Fault | None:
    """Draw the fault that a request meets; None for none.

    Args:
        faults: the rates.
        chance: gives a number from 0 to below 1, such as ``random.random``.
    """
    for kind in RATES:
        rate = getattr(faults, kind)
        if rate and chance() < rate:
            return _MAKERS[kind](chance)
    return None


def scripted(
    *,
    status: int | None = None,
    err_code: float | int | str | None = None,
    msg: str = "Simulated failure",
    retry_after: float | str | None = None,
    body: bytes | str | None = None,
    content_type: str | None = None,
    latency: float = 0.0,
    drop: bool = False,
    truncate: bool = False,
    act: bool = False,
) -> Fault:
    """Make the fault of a script, with what it leaves open filled in.

    Without a status, a body is sent with 200, an err_code with the status it begins with, and a
    script that says nothing at all with 503; latency alone only makes the reply late.

    Raises:
        ValueError: a status that HTTP lacks, or a latency below zero.
    """
    if status is not None and not 200 <= status <= 599:
        raise ValueError(f"status is from 200 to 599: {status!r}")
    if not 0 <= latency < float("inf"):
        raise ValueError(f"latency is in seconds, from 0 on: {latency!r}")
    if status is None and not (drop or truncate):
        if body is not None:
            status = 200
        elif err_code is not None:
            status = _status_of(err_code)
        elif not latency:
            status = 503
    if err_code is None and status is not None and status >= 400:
        err_code = _CODES.get(status, status)
    raw = body.encode() if isinstance(body, str) else body
    return Fault(
        "scripted",
        status=status,
        err_code=err_code,
        msg=msg,
        retry_after=retry_after,
        body=raw,
        content_type=content_type,
        latency=latency,
        drop=drop,
        truncate=truncate,
        act=act,
    )


def _status_of(err_code: float | int | str) -> int:
    whole = str(err_code).split(".")[0]
    return int(whole) if whole.isdigit() and 400 <= int(whole) <= 599 else 400


class Scripts:
    """The failures that were asked for, in order, by row."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[Fault, int | None]]] = {}

    def add(self, row: str, fault: Fault, times: int | None) -> None:
        """Let the next ``times`` requests of a row meet a fault; None: all, until cleared."""
        self._waiting.setdefault(row, deque()).append((fault, times))

    def clear(self, row: str | None = None) -> None:
        """Forget what was asked for a row; None: for all."""
        if row is None:
            self._waiting.clear()
        else:
            self._waiting.pop(row, None)

    def take(self, row: str) -> Fault | None:
        """Take the fault that the next request of a row meets; None for none."""
        waiting = self._waiting.get(row)
        if not waiting:
            return None
        fault, times = waiting[0]
        if times is not None:
            if times > 1:
                waiting[0] = (fault, times - 1)
            else:
                waiting.popleft()
        return fault
