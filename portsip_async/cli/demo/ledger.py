"""The books of the demo: what the SDK sent beside what the simulated PBX counted.

Both sides count on their own: the SDK's side is its public ``on_attempt`` hook, the PBX's side are
the simulator's counters. One attempt is one arrival, so the two agree to the last request, except
for attempts that made no connection and hence never arrived. Whether an operation was carried out
is known to the SDK where a reply said so; where the reply was lost, only the PBX knows. Hence

    sent = received
    answered <= carried out <= answered + lost replies

Pure but for counting: nothing here sends or prints.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ... import (
    ENDPOINTS,
    Attempt,
    AuthenticationError,
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
# Whatever the faults let fail, and what is not found because it was removed, or was not created.
_EXPLAINED = (RateLimited, ServerError, TransportError, AuthenticationError)
_MAY_BE_GONE = (
    "extensions.show",
    "extensions.remove",
    "groups.show",
    "groups.remove",
    "greetings.remove",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One operation, counted on both sides.

    Attributes:
        operation: the row's name.
        sent: attempts that reached the PBX, as the SDK counted them.
        received: arrivals, as the PBX counted them.
        carried_out: how often the PBX carried the operation out.
        answered: how often a whole reply told the SDK so.
        right: whether the counts agree.
    """

    operation: str
    sent: int
    received: int
    carried_out: int
    answered: int
    right: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of fault, counted on both sides.

    Attributes:
        name: what went wrong.
        caused: how often the PBX let it happen.
        met: how often the SDK met it.
        remedy: what became of it.
        right: whether the counts agree.
    """

    name: str
    caused: int
    met: int
    remedy: str
    right: bool


class Ledger:
    """Takes down every attempt; itself the ``on_attempt`` hook of a client.

    Attributes:
        once: by operation, how often it may have been carried out in the end; what is missing here
            may be repeated without harm.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.once: dict[str, tuple[int, ...]] = {}
        self._sent: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._met: Counter[tuple[str, type[PortSIPError]]] = Counter()

    def __call__(self, attempt: Attempt) -> None:
        """Take an attempt down."""
        name, error = attempt.operation, attempt.error
        if isinstance(error, ConnectError):
            self._unsent[name] += 1
            return
        self._sent[name] += 1
        if error is None:
            self._answered[name] += 1
        else:
            self._met[name, type(error)] += 1

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return self._sent.total()

    @property
    def unsent(self) -> int:
        """How many attempts made no connection."""
        return self._unsent.total()

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
        return self._count(AuthenticationError) - self._count(AuthenticationError, _ACCOUNT)

    def rows(self, sim: PBXSimulator) -> Iterator[Row]:
        """List the operations that either side knows of, in the order of the API's table."""
        for name in ENDPOINTS:
            sent, received = self._sent[name], sim.served[name]
            if not sent and not received:
                continue
            answered, done = self._answered[name], sim.acted[name]
            right = (
                sent == received
                and answered <= done <= answered + self._count(TransportError, (name,))
                and done in self.once.get(name, (done,))
            )
            yield Row(name, sent, received, done, answered, right)

    def troubles(self, sim: PBXSimulator) -> Iterator[Trouble]:
        """List what went wrong on purpose."""
        injected = sim.injected
        cut, met_cut = sum(injected[kind] for kind in _LOST), self._count(TransportError)
        again = "sent again, or looked up"
        yield _trouble(
            "429, too many requests",
            injected["rate_limited"],
            self._count(RateLimited),
            "waited, sent again",
        )
        yield _trouble(
            "500, 503, a proxy's 502",
            injected["server_error"] + injected["html"],
            self._count(ServerError),
            again,
        )
        yield _trouble("reply cut off", cut, met_cut, again)
        # The reply that rejects a token may be cut off too, and is then met as such.
        dead, met_dead = sim.rejected.total(), self._count(AuthenticationError)
        remedy = "renewed, sent again"
        if dead > met_dead:
            remedy += f" ({dead - met_dead} cut off)"
        yield Trouble("dead token", dead, met_dead, remedy, met_dead <= dead <= met_dead + met_cut)

    def strange(self) -> dict[str, int]:
        """Count the errors that nothing in the demo explains, by operation and kind."""
        return {
            f"{name}: {kind.__name__}": count
            for (name, kind), count in self._met.items()
            if not issubclass(kind, _EXPLAINED) and not (kind is NotFound and name in _MAY_BE_GONE)
        }

    def _count(self, kind: type[PortSIPError], names: tuple[str, ...] | None = None) -> int:
        return sum(
            count
            for (name, met), count in self._met.items()
            if issubclass(met, kind) and (names is None or name in names)
        )


def _trouble(name: str, caused: int, met: int, remedy: str) -> Trouble:
    return Trouble(name, caused, met, remedy, caused == met)


def wrong(ledger: Ledger, sim: PBXSimulator) -> list[str]:
    """Say in a sentence each what does not agree; nothing where everything is accounted for."""
    found = [
        f"{row.operation}: {row.sent} sent, {row.received} received,"
        f" {row.carried_out} carried out, {row.answered} answered"
        for row in ledger.rows(sim)
        if not row.right
    ]
    found += [
        f"{trouble.name}: {trouble.caused} caused, {trouble.met} met"
        for trouble in ledger.troubles(sim)
        if not trouble.right
    ]
    found += [f"{what}, {count} times" for what, count in ledger.strange().items()]
    issued = sum(sim.acted[name] for name in _ACCOUNT)
    if sim.tokens_issued != issued:
        found.append(f"{sim.tokens_issued} tokens issued by {issued} logins and renewals")
    return found
