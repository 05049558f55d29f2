"""The states of a watch through the web socket, which come from the socket and from REST.

What the socket reported counts. REST is used for what the socket has not reported since it was
connected, and for everything while there is no connection. If both contradict each other, the watch
makes the connection again, and the states after its subscription decide.

The sources differ in what they report and how they spell it: only the socket reports RINGING, and
22.3 calls AVAILABLE ONLINE in some messages. So a difference between them need not be a change.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from msgspec import structs

from ...bulk.outages import OutageLog
from ...bulk.status_watch import StatusSink, WatchStats
from ...core.limits import Clock
from ..enums import Presence, Status
from ..status_models import ExtensionState

_RINGING: Final = 120.0  # seconds; no telephone rings longer

# Presences with the same meaning in different versions and messages.
_SAME: Final[dict[str, str]] = {
    Presence.ONLINE: Presence.AVAILABLE,
    Presence.OTHER_CALL: Presence.ON_CALL,
}
# Presences that only repeat the status of the telephones.
_OF_A_CALL: Final = frozenset(
    {
        Presence.AVAILABLE,
        Presence.ONLINE,
        Presence.RINGING,
        Presence.ON_CALL,
        Presence.OTHER_CALL,
    }
)

# What the socket reported, and what REST reports.
Doubt: TypeAlias = tuple[ExtensionState, ExtensionState]


def merge(latest: ExtensionState | None, reported: ExtensionState) -> ExtensionState:
    """Return the latest state with what was reported since.

    What was not reported, or only in another spelling, stays as it was.
    """
    if latest is None:
        return reported
    presence, note = reported.presence, reported.presence_note
    if presence is None or _spelling(presence) == _spelling(latest.presence):
        presence = latest.presence
    if note is None or not (note or latest.presence_note):
        note = latest.presence_note
    return ExtensionState(
        latest.extension_number,
        latest.status if reported.status is None else reported.status,
        presence,
        note,
        reported.user_id or latest.user_id,
    )


def agree(reported: ExtensionState, read: ExtensionState, *, may_ring: bool) -> bool:
    """Return whether a state of the socket and one of REST agree in all that both report.

    Args:
        reported: the state that the socket reported.
        read: the state that REST reports.
        may_ring: whether RINGING agrees with ONLINE, which REST reports instead.
    """
    status, read_status = reported.status, read.status
    if status == Status.RINGING and may_ring:
        status = Status.ONLINE
    if None not in (status, read_status) and status != read_status:
        return False
    presence, read_presence = reported.presence, read.presence
    if reported.status == Status.ONLINE and read_presence == Presence.RINGING:
        return False  # REST of 22.3 reports a telephone that rings as a presence
    if (
        presence is not None
        and read_presence is not None
        and _spelling(presence) != _spelling(read_presence)
        # The statuses agree, so these two do not contradict each other.
        and not {presence, read_presence} <= _OF_A_CALL
    ):
        return False
    note, read_note = reported.presence_note, read.presence_note
    return note is None or read_note is None or note == read_note


def _without(reported: ExtensionState, read: ExtensionState) -> ExtensionState:
    """Return a state of REST without what the socket reports too."""
    return ExtensionState(
        read.extension_number,
        read.status if reported.status is None else None,
        read.presence if reported.presence is None else None,
        read.presence_note if reported.presence_note is None else None,
        read.user_id,
    )


def _spelling(presence: str | None) -> str | None:
    return None if presence is None else _SAME.get(presence, presence)


class LiveStates:
    """Brings the states from both sources to the sink of a watch.

    Attributes:
        fresh: the extensions whose whole state the current connection has reported.
    """

    def __init__(
        self,
        sink: StatusSink[ExtensionState],
        id_of: Callable[[str], str | None],
        outages: OutageLog,
        *,
        clock: Clock,
    ) -> None:
        """Begin without a state.

        Args:
            sink: receives the states.
            id_of: returns the id of the user with a number, if REST has shown it.
            outages: logs extensions that the PBX does not know.
            clock: the time.
        """
        self.fresh: set[str] = set()
        self._sink = sink
        self._id_of = id_of
        self._outages = outages
        self._clock = clock
        # By number: what the socket reported last, and the times of that and of the last REST
        # request, on the monotonic clock.
        self._reported: dict[str, ExtensionState] = {}
        self._reported_at: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}
        # By number: doubts that a new connection did not end.
        self._accepted: dict[str, Doubt] = {}

    def connected(self) -> None:
        """Begin a connection."""
        self.fresh.clear()

    def report(self, number: str, reported: ExtensionState, *, is_complete: bool) -> None:
        """Record what the socket reports about an extension.

        Args:
            number: the extension.
            reported: what this connection has reported about it.
            is_complete: whether that is the whole state.
        """
        self._reported[number] = reported
        self._reported_at[number] = self._clock.monotonic()
        if is_complete:
            self.fresh.add(number)
        latest = self._sink.latest.get(number)
        # Not the socket's own id if another one is known: they need not be the same.
        user_id = self._id_of(number) or (latest and latest.user_id)
        if user_id is not None and user_id != reported.user_id:
            reported = structs.replace(reported, user_id=user_id)
        state = merge(latest, reported)
        if number in self._accepted and self._accepted[number][0] != state:
            del self._accepted[number]
        self._note(number, state)

    def asked(self, numbers: list[str]) -> None:
        """Note that REST is asked about extensions now."""
        now = self._clock.monotonic()
        self._asked_at.update((number, now) for number in numbers)

    def compare(self, number: str, read: ExtensionState) -> Doubt | None:
        """Compare a state of REST with what the socket reported, and use what only REST reports.

        Returns:
            Both states if they contradict each other, else None.
        """
        asked_at = self._asked_at.get(number, -math.inf)
        reported_at = self._reported_at.get(number, -math.inf)
        if reported_at >= asked_at:
            return None  # the reply may be older than the report
        latest = self._sink.latest.get(number)
        if latest is None or number not in self.fresh:
            self._accepted.pop(number, None)
            self._note_read(number, read)
            return None
        reported = self._reported[number]
        if agree(reported, read, may_ring=asked_at - reported_at < _RINGING):
            if reported.status != Status.RINGING:  # which agrees for a while only
                self._accepted.pop(number, None)
            # The id counts as well: the number may have been given to another user.
            self._note(number, merge(latest, _without(reported, read)))
            return None
        doubt = latest, read
        return None if self._accepted.get(number) == doubt else doubt

    def accept(self, doubts: Mapping[str, Doubt]) -> None:
        """Accept contradictions, unless the next connection ends them."""
        self._accepted |= doubts

    def note_unknown(self, numbers: list[str]) -> None:
        """Note extensions that the PBX does not know."""
        stats = self._sink.stats
        known = {*self._sink.latest, *stats.unknown}
        new = [each for each in numbers if each not in known]
        if new:
            self._outages.refused(new)
            self._sink.stats = stats.replace(unknown=(*stats.unknown, *new))

    def forget(self, number: str) -> None:
        """Remove an extension that no longer exists."""
        self._sink.gone(number)
        self.fresh.discard(number)
        for stored in (self._reported, self._reported_at, self._asked_at, self._accepted):
            stored.pop(number, None)
        self._end_unknown(number)

    def poll_sink(self) -> StatusSink[ExtensionState]:
        """Return the sink for a feed that polls while there is no connection."""
        return _PollSink(self._sink, self._note_read)

    def _note(self, number: str, state: ExtensionState) -> None:
        self._sink.note(number, state)
        self._end_unknown(number)

    def _end_unknown(self, number: str) -> None:
        """Remove a number from the unknown ones, which polling may have found as well."""
        stats = self._sink.stats
        if number in stats.unknown:
            left = tuple(each for each in stats.unknown if each != number)
            self._sink.stats = stats.replace(unknown=left)

    def _note_read(self, number: str, read: ExtensionState) -> None:
        """Record a state from REST, which lacks RINGING and so does not end it for a while."""
        latest = self._sink.latest.get(number)
        if (
            latest is not None
            and (latest.status, read.status) == (Status.RINGING, Status.ONLINE)
            and self._clock.monotonic() - self._reported_at.get(number, -math.inf) < _RINGING
        ):
            read = structs.replace(read, status=latest.status)
        self._note(number, merge(latest, read))


class _PollSink:
    """Passes on what a feed polls, so that it is merged with what the socket reported before."""

    def __init__(
        self,
        sink: StatusSink[ExtensionState],
        note: Callable[[str, ExtensionState], None],
    ) -> None:
        self._sink = sink
        self._note = note

    @property
    def stats(self) -> WatchStats:
        return self._sink.stats

    @stats.setter
    def stats(self, stats: WatchStats) -> None:
        self._sink.stats = stats

    @property
    def latest(self) -> Mapping[str, ExtensionState]:
        return self._sink.latest

    def note(self, number: str, status: ExtensionState) -> None:
        self._note(number, status)

    def gone(self, number: str) -> None:
        self._sink.gone(number)
