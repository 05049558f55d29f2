"""The books of the demo: what the SDK sent beside what the simulated PBX counted.

Both sides count on their own: the SDK's side is its public ``on_attempt`` hook, the PBX's side are
the simulator's counters. One attempt is one arrival, so the two agree to the last request, except
for attempts that made no connection and hence never arrived, and for those that broke because the
PBX was restarted: they may have arrived or not. Whether an operation was carried out is known to
the SDK where a reply said so; where the reply was lost, only the PBX knows. Hence

    sent - cut by the restart <= received <= sent
    answered <= carried out <= answered + lost replies, those cut by the restart among them

An attempt counts as cut by the restart if it broke, and the PBX went or was away meanwhile. One
whose reply a fault cut off at that very time counts as well, as nothing tells them apart.

Nothing here sends or prints.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic

from ... import (
    ENDPOINTS,
    Attempt,
    AuthenticationError,
    Conflict,
    ConnectError,
    NotFound,
    PortSIPError,
    RateLimited,
    ServerError,
    TransportError,
)
from ...simulator import PBXSimulator

# Faults that the simulator injects, by how the SDK meets them.
_LOST = ("dropped", "truncated", "scripted")  # the demo's scripts cut connections, nothing else
_LOGINS = ("account.verify", "account.verify_email")
_ACCOUNT = (*_LOGINS, "account.refresh")
# Whatever the faults let fail, and what is not found because it was removed, was not created, or is
# a number that nobody has.
_EXPLAINED = (RateLimited, ServerError, TransportError, AuthenticationError)
_MAY_BE_GONE = (
    "extensions.show",
    "extensions.status",
    "extensions.remove",
    "groups.show",
    "groups.remove",
    "greetings.remove",
)
_MAY_BE_THERE = ("extensions.create",)  # as it was in doubt, and is tried again


@dataclass(frozen=True, slots=True)
class Row:
    """One operation, counted on both sides.

    Attributes:
        operation: the row's name.
        sent: attempts that made a connection, as the SDK counted them.
        cut: those of them that the restart cut, so that they may not have arrived.
        received: arrivals, as the PBX counted them.
        carried_out: how often the PBX carried the operation out.
        answered: how often a whole reply told the SDK so.
        right: whether the counts agree.
    """

    operation: str
    sent: int
    cut: int
    received: int
    carried_out: int
    answered: int
    right: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of fault, counted on both sides.

    Attributes:
        name: what went wrong.
        caused: how often the PBX let it happen; None where only the SDK can tell.
        met: how often the SDK met it.
        remedy: what became of it.
        right: whether the counts agree.
    """

    name: str
    caused: int | None
    met: int
    remedy: str
    right: bool


class Ledger:
    """Takes down every attempt; itself the ``on_attempt`` hook of a client.

    Attributes:
        once: by operation, how often it may have been carried out in the end; what is missing here
            may be repeated without harm.
        away: from when to when, on the monotonic clock, the PBX was away last.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.once: dict[str, tuple[int, ...]] = {}
        self.away: tuple[float, float] = (inf, -inf)
        self._sent: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        self._astray = 0  # attempts that made no connection although the PBX was there
        self._answered: Counter[str] = Counter()
        self._met: Counter[tuple[str, type[PortSIPError]]] = Counter()

    def __call__(self, attempt: Attempt) -> None:
        """Take an attempt down."""
        name, error = attempt.operation, attempt.error
        now = monotonic()
        gone, back = self.away
        while_away = now - attempt.seconds <= back and now >= gone
        if isinstance(error, ConnectError):
            self._unsent[name] += 1
            self._astray += not while_away
            return
        self._sent[name] += 1
        if isinstance(error, TransportError):
            self._cut[name] += while_away
        if error is None:
            self._answered[name] += 1
        else:
            self._met[name, type(error)] += 1

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Be told that the PBX is away meanwhile."""
        self.away = monotonic(), inf
        try:
            yield
        finally:
            self.away = self.away[0], monotonic()

    def attempts(self, name: str) -> int:
        """Count the attempts of an operation, those that made no connection included."""
        return self._sent[name] + self._unsent[name]

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return self._sent.total()

    @property
    def unsent(self) -> int:
        """How many attempts made no connection."""
        return self._unsent.total()

    @property
    def cut(self) -> int:
        """How many requests the restart cut."""
        return self._cut.total()

    @property
    def logins(self) -> int:
        """How many logins succeeded."""
        return sum(self._answered[name] for name in _LOGINS)

    @property
    def renewals(self) -> int:
        """How many renewals of a token succeeded."""
        return self._answered["account.refresh"]

    @property
    def replayed(self) -> int:
        """How many requests were rejected for their token; each was sent again with a new one."""
        return self.count(AuthenticationError) - self.count(AuthenticationError, _ACCOUNT)

    def rows(self, sim: PBXSimulator) -> Iterator[Row]:
        """List the operations that either side knows of, in the order of the API's table."""
        for name in ENDPOINTS:
            sent, cut, received = self._sent[name], self._cut[name], sim.served[name]
            if not sent and not received:
                continue
            answered, done = self._answered[name], sim.acted[name]
            right = (
                sent - cut <= received <= sent
                and answered <= done <= answered + self.count(TransportError, (name,))
                and done in self.once.get(name, (done,))
            )
            yield Row(name, sent, cut, received, done, answered, right)

    def troubles(self, sim: PBXSimulator) -> Iterator[Trouble]:
        """List what went wrong on purpose."""
        injected = sim.injected
        lost, met_lost = sum(injected[kind] for kind in _LOST), self.count(TransportError)
        again = "sent again, or looked up"
        yield _refused(
            "429, too many requests",
            injected["rate_limited"] + injected["overload"],
            self.count(RateLimited),
            "waited, sent again",
            self.cut,
        )
        yield _refused(
            "500, 503, a proxy's 502",
            injected["server_error"] + injected["html"],
            self.count(ServerError),
            again,
            self.cut,
        )
        by_restart = f" ({met_lost - lost} cut by the restart)" if met_lost > lost else ""
        right = met_lost - self.cut <= lost <= met_lost
        yield Trouble("reply cut off", lost, met_lost, again + by_restart, right)
        yield _refused(
            "dead token",
            sim.rejected.total(),
            self.count(AuthenticationError),
            "renewed, sent again",
            met_lost,
        )
        if self.unsent:
            remedy = "tried again until it was back"
            yield Trouble("PBX away", None, self.unsent, remedy, not self._astray)

    def strange(self) -> dict[str, int]:
        """Count the errors that nothing in the demo explains, by operation and kind."""
        return {
            f"{name}: {kind.__name__}": count
            for (name, kind), count in self._met.items()
            if not issubclass(kind, _EXPLAINED)
            and not (kind is NotFound and name in _MAY_BE_GONE)
            and not (kind is Conflict and name in _MAY_BE_THERE)
        }

    def count(self, kind: type[PortSIPError], names: tuple[str, ...] | None = None) -> int:
        """Count the requests that failed in a way, of some operations or of all."""
        return sum(
            count
            for (name, met), count in self._met.items()
            if issubclass(met, kind) and (names is None or name in names)
        )


def _refused(name: str, caused: int, met: int, remedy: str, cut: int) -> Trouble:
    """Compare a kind of refusal, some of which may have been cut off and met as such."""
    if caused > met:
        remedy += f" ({caused - met} cut off)"
    return Trouble(name, caused, met, remedy, met <= caused <= met + cut)


def wrong(ledger: Ledger, sim: PBXSimulator) -> list[str]:
    """Say in a sentence each what does not agree; nothing where everything is accounted for."""
    found = [
        f"{row.operation}: {row.sent} sent, {row.cut} of them cut by the restart,"
        f" {row.received} received, {row.carried_out} carried out, {row.answered} answered"
        for row in ledger.rows(sim)
        if not row.right
    ]
    found += [
        f"{trouble.name}: {trouble.caused or 0} caused, {trouble.met} met"
        for trouble in ledger.troubles(sim)
        if not trouble.right
    ]
    found += [f"{what}, {count} times" for what, count in ledger.strange().items()]
    issued = sum(sim.acted[name] for name in _ACCOUNT)
    if sim.tokens_issued != issued:
        found.append(f"{sim.tokens_issued} tokens issued by {issued} logins and renewals")
    return found
