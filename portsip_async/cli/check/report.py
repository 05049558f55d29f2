"""The report of a check: its fields, and its form as text.

A report can be attached to a bug report: it holds no address, account, number, name, or message
of the PBX.
"""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, Literal, Self

import msgspec

from ... import Attempt
from .compare import Difference
from .probe import Address

# The SDK can use an operation that "fits" or "differs". One that is "elsewhere", "refused" or
# "failed" can't be used. One that is "not asked" was not sent.
State = Literal["fits", "differs", "elsewhere", "refused", "failed", "not asked"]
# The web socket is silent if it is open, but reports nothing.
SocketState = Literal[
    "works",
    "nothing there",
    "refused",
    "login refused",
    "subscription refused",
    "silent",
    "failed",
    "not tried",
]

_ADVICE: Final = (
    "The SDK reads these replies nevertheless. To report them: portsip-async check --output json"
)


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """The generation of the API."""

    used: str
    detected: str | None  # None if neither generation replied
    reason: str  # how it was detected


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The login; None means unknown."""

    account: str = msgspec.field(name="means")  # "username", "email" or "token"
    accepted: bool | None = None  # None for a token, which needs no login
    problem: str | None = None
    seconds: float | None = None  # the token's lifetime
    role: str | None = None  # only if it is one word
    api_version: str | None = None  # only if it is a version


class WebSocket(msgspec.Struct, frozen=True, kw_only=True):
    """The web socket that reports statuses live. A watch polls where it does not work."""

    state: SocketState
    detail: str = ""  # more about the state
    hint: str = ""  # what to do
    seconds: float | None = None  # until the first state arrived
    acknowledged: bool | None = None  # whether the PBX acknowledged the subscription


class Latency(msgspec.Struct, frozen=True):
    """How long requests took, in milliseconds."""

    requests: int
    median: float
    slowest: float

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Self | None:
        """Summarize the attempts that got a reply; None if none did."""
        in_ms = [round(one.seconds * 1000, 1) for one in attempts if one.status is not None]
        return cls(len(in_ms), round(median(in_ms), 1), max(in_ms)) if in_ms else None


class Operation(msgspec.Struct, kw_only=True):
    """The outcome of one operation."""

    name: str
    method: str
    path: str
    state: State = "fits"
    detail: str = msgspec.field(default="", name="told")  # more about the state
    replies: int = 0  # how many replies were compared
    differences: tuple[Difference, ...] = ()

    def note(self, state: State, detail: str) -> None:
        """Set the state, unless an earlier one is set."""
        if self.state == "fits":
            self.state, self.detail = state, detail


class Report(msgspec.Struct, kw_only=True):
    """The result of a check, as its steps fill it in."""

    portsip_async: str
    python: str
    made_at: str  # in UTC
    generation: Generation | None = None  # None if there was no reply
    address: Address | None = None  # None behind a proxy
    login: Login | None = None  # None if the check ended before it
    web_socket: WebSocket | None = None  # None if the generation has none
    latency: Latency | None = None  # None if no request got a reply
    operations: list[Operation] = msgspec.field(default_factory=list)
    writes: tuple[str, ...] = ()  # operations that change something, which a check never sends

    def unusable(self) -> list[str]:
        """List the operations that can't be used."""
        states = ("elsewhere", "refused", "failed")
        return [row.name for row in self.operations if row.state in states]


def lines(report: Report) -> Iterator[str]:
    """Yield the lines of the report as text."""
    address, latency = report.address, report.latency
    yield f"portsip_async {report.portsip_async}, Python {report.python}, {report.made_at}"
    yield ""
    if report.generation is not None:
        yield f"API       {_generation(report.generation)}"
    yield f"address   {_address(address)}"
    if address is not None and address.certificate is not None:
        yield f"TLS       {_tls(address)}"
    if address is not None and address.reachable:
        yield f"clock     {_clock(address.clock_ahead)}"
    if report.login is not None:
        yield f"login     {_login(report.login)}"
    if report.web_socket is not None:
        yield f"live      {_web_socket(report.web_socket)}"
    if latency is not None:
        yield (
            f"latency   median {latency.median:g} ms, slowest {latency.slowest:g} ms,"
            f" of {latency.requests} requests"
        )
    if report.operations:
        yield ""
        yield from _operations(report)
        yield ""
        yield _verdict(report)


def _operations(report: Report) -> Iterator[str]:
    for row in report.operations:
        request = f"{row.method:<4} {row.path}"
        detail = f": {row.detail}" if row.detail else ""
        yield f"{row.name:<20} {request:<34} {row.state}{detail}"
        for one in row.differences:
            detail = f" ({one.detail})" if one.detail else ""
            yield f"    {one.kind:<14} {one.where}{detail}, in {one.times} of {one.of}"
    yield f"not asked, since they change something: {', '.join(report.writes)}"


def _generation(generation: Generation) -> str:
    chosen = "" if generation.used == generation.detected else " was chosen"
    return f"{generation.used}{chosen}: {generation.reason}"


def _address(address: Address | None) -> str:
    if address is None:
        return "behind a proxy, not looked at"
    if not address.reachable:
        return f"not reachable: {address.problem}"
    return f"reachable by {address.scheme} in {address.connect_ms:g} ms"


def _tls(address: Address) -> str:
    certificate = address.certificate
    assert certificate is not None  # noqa: S101 - this line is for https only
    parts = [f"{address.tls}, {address.cipher}"]
    parts.append(
        "certificate trusted" if certificate.trusted else f"NOT TRUSTED: {certificate.problem}"
    )
    if certificate.self_signed:
        parts.append("signed by itself")
    days = certificate.days_left
    if days is not None:
        parts.append(f"{days} days left" if days >= 0 else f"expired {-days} days ago")
    return ", ".join(parts)


def _clock(ahead: float | None) -> str:
    if ahead is None:
        return "unknown: the PBX sent no date"
    if abs(ahead) <= 1:
        return "the same as ours, to a second"
    return f"{abs(ahead):g} s {'ahead of' if ahead > 0 else 'behind'} ours"


def _login(login: Login) -> str:
    if login.accepted is None:
        return "not asked: a token was given"
    if not login.accepted:
        return f"by {login.account}: {login.problem}"
    life = "of unknown lifetime" if login.seconds is None else f"valid for {login.seconds:g} s"
    role = f", role {login.role}" if login.role else ""
    version = f", API {login.api_version}" if login.api_version else ""
    return f"by {login.account}; token {life}{role}{version}"


def _web_socket(found: WebSocket) -> str:
    if found.state == "works":
        acknowledged = "acknowledged" if found.acknowledged else "not acknowledged"
        return (
            f"the web socket works: the first status after {found.seconds:g} s,"
            f" subscription {acknowledged}"
        )
    if found.state == "not tried":
        return f"the web socket was not tried: {found.detail}"
    detail = f" ({found.detail})" if found.detail else ""
    hint = f"; {found.hint}" if found.hint else ""
    return f"the web socket is not used, watches poll: {found.state}{detail}{hint}"


def _verdict(report: Report) -> str:
    unusable = report.unusable()
    if unusable:
        return f"Can't be used here: {', '.join(unusable)}."
    different = sum(row.state == "differs" for row in report.operations)
    if different:
        return f"All can be used; {different} differ from the models. {_ADVICE}"
    return "All can be used, and all replies fit the models."
