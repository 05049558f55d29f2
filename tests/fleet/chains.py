"""Check what a consumer of a fleet received against the truth: nothing lost, nothing stale.

A consumer writes a `Line` for each event. Each change must continue the earlier ones of its
extension: its ``before`` is the ``after`` of the last one. An event may come again, with the same
id. The farm numbers the statuses that it sets, so an older one after a newer one is found too.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

# Of a PBX, the status and the phone of each extension.
State = tuple[str | None, str | None]
View = dict[str, State]

_PHONE = "phone/"  # the phone of a status that the farm set, before its number


def phone_of(number: int) -> str:
    """Return the phone that shows the number of a status."""
    return f"{_PHONE}{number}"


def number_of(state: State | None) -> int:
    """Return the number of a status; 0 for one that the farm did not set, and for none."""
    agent = state[1] if state else None
    return int(agent.removeprefix(_PHONE)) if agent and agent.startswith(_PHONE) else 0


class Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An event as a consumer received it.

    Attributes:
        at: the time of the machine's monotonic clock, in seconds.
        kind: "change", "outage" (without an error: its end) or "resync".
        pbx: the PBX.
        id: the event's id.
        extension: the extension of a change.
        before: as in a change.
        after: as in a change.
        error: the error of an outage.
        snapshot: the snapshot of a resync.
    """

    at: float
    kind: str
    pbx: str
    id: str
    extension: str = ""
    before: State | None = None
    after: State | None = None
    error: str | None = None
    snapshot: View | None = None


class Seen(NamedTuple):
    """When a status that the farm set was received."""

    number: int
    at: float


class Chains:
    """What a group received, event by event.

    Attributes:
        views: by PBX, what the consumer knows of its extensions.
        down: by PBX, the error of an outage that has not ended.
        ids: the ids that were received, in order and each once.
        count: how many events of each kind came, and how many came again.
        seen: when each status that the farm set came for the first time.
        wrong: a sentence for each thing that must not be.
    """

    def __init__(self, known: Mapping[str, View] | None = None) -> None:
        """Start with what the consumer knows; None: with nothing."""
        self.views: dict[str, View] = {pbx: dict(view) for pbx, view in (known or {}).items()}
        self.down: dict[str, str] = {}
        self.ids: dict[str, Line] = {}
        self.count: Counter[str] = Counter()
        self.seen: list[Seen] = []
        self.wrong: list[str] = []

    def add(self, lines: Iterable[Line]) -> "Chains":
        """Check further events, in the order in which they came."""
        for line in lines:
            first = self.ids.setdefault(line.id, line)
            if first is not line:
                self.count["again"] += 1
                if msgspec.structs.replace(first, at=line.at) != line:
                    self.wrong.append(f"{line.pbx} {line.id}: the same id with another content")
                continue
            self.count[line.kind] += 1
            if line.kind == "change":
                self._change(line)
            elif line.kind == "outage":
                self._outage(line)
            else:
                self.views[line.pbx] = dict(line.snapshot or {})
                self.down.pop(line.pbx, None)  # an outage that goes on follows
        return self

    def compare(self, truth: Mapping[str, View], what: str = "the consumer's view") -> None:
        """Compare the views with the truth."""
        self.wrong += differences(self.views, truth, what)

    def _change(self, line: Line) -> None:
        view = self.views.setdefault(line.pbx, {})
        known, where = view.get(line.extension), f"{line.pbx} {line.extension}"
        if line.before != known:
            self.wrong.append(f"{where}: a gap, from {line.before} after {known}")
        if line.before == line.after:
            self.wrong.append(f"{where}: a change from {line.before} to the same")
        if line.after is None:
            view.pop(line.extension, None)
            return
        number = number_of(line.after)
        if number < number_of(known):
            self.wrong.append(f"{where}: stale, {line.after} after {known}")
        if number:
            self.seen.append(Seen(number, line.at))
        view[line.extension] = line.after

    def _outage(self, line: Line) -> None:
        if line.error is not None:
            self.down[line.pbx] = line.error
        elif self.down.pop(line.pbx, None) is None:
            self.wrong.append(f"{line.pbx}: the end of an outage that did not begin")


def differences(views: Mapping[str, View], truth: Mapping[str, View], what: str) -> list[str]:
    """Return a sentence for each status that is not the true one."""
    return [
        f"{what}: {pbx} {number} is {views.get(pbx, {}).get(number)}, not {state}"
        for pbx, extensions in truth.items()
        for number, state in ({**dict.fromkeys(views.get(pbx, {})), **extensions}).items()
        if views.get(pbx, {}).get(number) != state
    ] + [f"{what}: {pbx} does not exist" for pbx in views if views[pbx] and pbx not in truth]


def missed(one: Chains, other: Chains) -> list[str]:
    """Return a sentence for each event that only one of two groups received."""
    return [
        f"{first.pbx} {first.id}: only one group received this {first.kind}"
        for first in (one.ids | other.ids).values()
        if first.kind != "resync" and (first.id in one.ids) is not (first.id in other.ids)
    ]
