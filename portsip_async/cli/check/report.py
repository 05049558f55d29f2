"""The report of a check: what it holds, and how it reads as text.

It is made to be attached to a bug report: it holds no address, no account, no number, no name, and
no message of the PBX.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from .compare import Difference
from .probe import Address

__all__ = ["Latency", "Login", "Operation", "Report", "lines"]

# "fits" and "differs" can be read by the SDK; the others can't be used, or were not tried.
State = Literal["fits", "differs", "elsewhere", "refused", "failed", "not asked"]

_ADVICE = "Differences are read all the same. A report: portsip-async check --output json"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """How the PBX lets in.

    Attributes:
        means: "username", "email" or "token".
        accepted: whether it did; None where it wasn't asked.
        problem: why not; None where it did.
        seconds: the token's life as the PBX tells it; None where it doesn't.
        role: the account's role, as far as it is one word.
        api_version: the API's version, as far as it is one.
    """

    means: str
    accepted: bool | None = None
    problem: str | None = None
    seconds: float | None = None
    role: str | None = None
    api_version: str | None = None


class Latency(msgspec.Struct, frozen=True):
    """How long requests took, in milliseconds."""

    requests: int
    median: float
    slowest: float


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation fares.

    Attributes:
        name: the row's name, as ``extensions.list``.
        method: the HTTP method that it was asked by.
        path: the path that it was asked at.
        state: how its replies compare with the model.
        told: what there is to say about the state.
        replies: how many replies were compared.
        differences: where they differ from the model.
    """

    name: str
    method: str
    path: str
    state: State
    told: str = ""
    replies: int = 0
    differences: tuple[Difference, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    Attributes:
        portsip_async: the SDK's version.
        python: Python's version.
        made_at: when, in UTC.
        address: the PBX's address; None behind a proxy.
        login: how the PBX lets in; None where it was not reached.
        latency: how long requests took; None where none was answered.
        operations: the operations that were asked.
        writes: the operations that change something, which no check asks.
    """

    portsip_async: str
    python: str
    made_at: str
    address: Address | None = None
    login: Login | None = None
    latency: Latency | None = None
    operations: tuple[Operation, ...] = ()
    writes: tuple[str, ...] = ()


def lines(report: Report) -> Iterator[str]:
    """Tell a report line by line."""
    yield f"portsip_async {report.portsip_async}, Python {report.python}, {report.made_at}"
    yield ""
    yield f"address   {_address(report.address)}"
    if report.address is not None and report.address.certificate is not None:
        yield f"TLS       {_tls(report.address)}"
    if report.address is not None and report.address.reachable:
        yield f"clock     {_clock(report.address.clock_ahead)}"
    if report.login is not None:
        yield f"login     {_login(report.login)}"
    if report.latency is not None:
        slow = report.latency
        yield (
            f"latency   median {slow.median:g} ms, slowest {slow.slowest:g} ms,"
            f" of {slow.requests} requests"
        )
    if report.operations:
        yield ""
        yield from _operations(report)
        yield ""
        yield _verdict(report)


def _operations(report: Report) -> Iterator[str]:
    for row in report.operations:
        place = f"{row.method:<4} {row.path}"
        told = f": {row.told}" if row.told else ""
        yield f"{row.name:<20} {place:<34} {row.state}{told}"
        for one in row.differences:
            said = f" ({one.told})" if one.told else ""
            yield f"    {one.kind:<14} {one.where}{said}, in {one.times} of {one.of}"
    yield f"not asked, since they change something: {', '.join(report.writes)}"


def _address(address: Address | None) -> str:
    if address is None:
        return "behind a proxy, not looked at"
    if not address.reachable:
        return f"not reachable: {address.problem}"
    return f"reachable by {address.scheme} in {address.connect_ms:g} ms"


def _tls(address: Address) -> str:
    certificate = address.certificate
    assert certificate is not None  # noqa: S101 - the line is there for https only
    trust = "certificate trusted" if certificate.trusted else f"NOT TRUSTED: {certificate.problem}"
    own = ", signed by itself" if certificate.self_signed else ""
    days = ""
    if certificate.days_left is not None:
        left = certificate.days_left
        days = f", {left} days left" if left >= 0 else f", expired {-left} days ago"
    return f"{address.tls}, {address.cipher}, {trust}{own}{days}"


def _clock(ahead: float | None) -> str:
    if ahead is None:
        return "not told by the PBX"
    if abs(ahead) <= 1:
        return "the same as ours, to a second"
    return f"{abs(ahead):g} s {'ahead of' if ahead > 0 else 'behind'} ours"


def _login(login: Login) -> str:
    if login.accepted is None:
        return "not asked: a token was given"
    if not login.accepted:
        return f"by {login.means}: {login.problem}"
    life = "its life is not told" if login.seconds is None else f"it lives {login.seconds:g} s"
    role = f", role {login.role}" if login.role else ""
    version = f", API {login.api_version}" if login.api_version else ""
    return f"by {login.means}; a token: {life}{role}{version}"


def _verdict(report: Report) -> str:
    states = [row.state for row in report.operations]
    broken = [
        row.name for row in report.operations if row.state in ("elsewhere", "refused", "failed")
    ]
    if broken:
        return f"Not to be used here: {', '.join(broken)}."
    if "differs" in states:
        return f"All can be used; {states.count('differs')} differ from the models. {_ADVICE}"
    return "All can be used, and all replies fit the models."
