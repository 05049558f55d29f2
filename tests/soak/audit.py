"""Compare what the SDK reported for each write with what the PBX did."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from portsip_async import ENDPOINTS, Attempt, ConnectError

from .journal import WRITES, Entry, Journal, Outcome, Write

# The SDK may repeat these after a lost reply: twice has the same effect as once.
_REPEATABLE = ("extensions.update", "groups.update", "greetings.setup")
# A removal acts only if the thing was created.
_CREATES = {
    "extensions.remove": ("extensions.create",),
    "greetings.remove": ("greetings.add", "greetings.upload"),
}


class Reported:
    """What the SDK reported: attempts, by the client's ``on_attempt`` hook, and writes.

    Attributes:
        sent: attempts by row, without those that found no connection.
        outcomes: how many writes had which outcome.
        writes: each write.
    """

    def __init__(self, path: Path) -> None:
        self.writes = Journal(path, Write)
        self.outcomes: Counter[Outcome] = Counter()
        self.sent: Counter[str] = Counter()

    def on_attempt(self, attempt: Attempt) -> None:
        """Count an attempt."""
        self.sent[attempt.operation] += not isinstance(attempt.error, ConnectError)

    def write(self, row: str, key: str, error: Exception | None, *, in_doubt: bool) -> Outcome:
        """Record a write, and return its outcome."""
        outcome: Outcome = "done" if error is None else "in doubt" if in_doubt else "refused"
        name = "" if error is None else type(error).__name__
        self.outcomes[outcome] += 1
        self.writes.append(Write(row, key, outcome, name))
        return outcome

    def close(self) -> None:
        """Close the file of writes."""
        self.writes.close()


class Audit:
    """The comparison.

    Attributes:
        counts: by row, how many writes were asked, done, refused, in doubt, acted and sent.
        repeats: how often the PBX carried out a repeatable write again.
        wrong: a sentence for each disagreement.
        created: the numbers of the extensions that were created and not removed.
        markers: by number, the descriptions that an extension may have now.
    """

    def __init__(self, reported: Reported, acted: Iterable[Entry], arrivals: Counter[str]) -> None:
        self.counts: dict[str, Counter[str]] = {row: Counter() for row in WRITES}
        self.repeats = 0
        self.wrong: list[str] = []
        self.created: set[str] = set()
        self.markers: defaultdict[str, set[str]] = defaultdict(lambda: {""})
        self._acts: Counter[tuple[str, str]] = Counter()
        for entry in acted:
            self._add_act(entry)
        asked: set[tuple[str, str]] = set()
        for write in reported.writes:
            asked.add((write.row, write.key))
            self._add_write(write)
        for row, key in self._acts.keys() - asked:
            self.wrong.append(f"{row} {key}: the PBX acted, and nobody asked for it")
        self._check_arrivals(reported, arrivals)

    def _add_act(self, entry: Entry) -> None:
        if entry.row in WRITES:
            self._acts[entry.row, entry.key] += 1
            self.counts[entry.row]["acted"] += 1
        if entry.row == "extensions.create":
            self.created.add(entry.key)
        elif entry.row == "extensions.remove":
            self.created.discard(entry.key)

    def _add_write(self, write: Write) -> None:
        acts = self._acts[write.row, write.key]
        self.counts[write.row].update(("asked", write.outcome))
        if not self._allows(write, acts):
            error = write.error or "no error"
            self.wrong.append(
                f"{write.row} {write.key}: reported {write.outcome} ({error}), acted {acts} times"
            )
        if write.row in _REPEATABLE:
            self.repeats += max(0, acts - 1)
        if write.row == "extensions.update":
            number, marker = write.key.split()
            if write.outcome == "done":
                self.markers[number] = {marker}
            elif write.outcome == "in doubt":
                self.markers[number].add(marker)

    def _allows(self, write: Write, acts: int) -> bool:
        """Return whether the PBX may have acted so many times, given the outcome."""
        if write.outcome == "refused":
            return acts == 0
        if write.row in _REPEATABLE:
            return acts > 0 or write.outcome == "in doubt"
        if write.outcome == "in doubt":
            return acts <= 1
        creates = _CREATES.get(write.row)
        return acts == (sum(self._acts[row, write.key] for row in creates) if creates else 1)

    def _check_arrivals(self, reported: Reported, arrivals: Counter[str]) -> None:
        """Check that no path has more arrivals at nginx, or acts, than attempts were sent."""
        rows: defaultdict[str, list[str]] = defaultdict(list)
        for row in WRITES:
            rows[f"{ENDPOINTS[row].method} /api{ENDPOINTS[row].path}"].append(row)
            self.counts[row]["sent"] = reported.sent[row]
        for request, names in rows.items():
            sent, acted = (
                sum(self.counts[row][what] for row in names) for what in ("sent", "acted")
            )
            arrived = arrivals[request]  # a worker that is killed may not log its last requests
            if max(arrived, acted) > sent:
                self.wrong.append(f"{request}: {sent} sent, {arrived} arrived, {acted} acted")
