"""What a fleet keeps in Redis: the snapshots, the status of each PBX, and the stream of changes.

Keys, all with the prefix of the fleet:

- ``pbxes``: a hash; the value of a PBX is 1, or 0 after it was removed
- ``pbx:NAME``: a hash with the status of a PBX, and with the ``version`` of its snapshot
- ``snapshot:NAME``: the statuses of its extensions, and what the next cycle needs, as JSON
- ``changes``: the stream of events
- ``meta``: a hash with ``n``, the number of the latest event, and ``last``, its id
- ``groups``: a hash with the number of the event that a group acknowledged last

Each event has a number, ``n``, that is one higher than that of the previous event. So a consumer
sees that events were trimmed, and the lag of a group is a difference.

A cycle writes by one script, which is refused if the version is no longer the one that the cycle
read.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from redis.exceptions import ResponseError

from ..bulk.status_polling import PollingState
from ..bulk.status_watch import StatusChange
from ..classic.extension_models import ExtensionStatus
from ..redact import Record
from ..v22.status_models import ExtensionState
from .events import (
    FleetChange,
    FleetEvent,
    FleetOutage,
    FleetResync,
    FleetStatus,
    GroupStatus,
    PBXStatus,
    Status,
)
from .scripts import ACKNOWLEDGE, SEED, WRITE

REMOVED: Final = "0"
MEMBER: Final = "1"

GONE: Final = -1  # the PBX is not in the fleet
REFUSED: Final = 0  # another cycle came first
WRITTEN: Final = 1


class ClassicSnapshot(Record, frozen=True, tag="classic", tag_field="generation"):
    """What a cycle leaves for the next one.

    Attributes:
        statuses: the statuses by extension number.
        polling: what the next cycle of polling needs.
    """

    statuses: dict[str, ExtensionStatus] = msgspec.field(default_factory=dict)
    polling: PollingState = PollingState()


class V22Snapshot(Record, frozen=True, tag="v22", tag_field="generation"):
    """What a cycle leaves for the next one, for v22. See `ClassicSnapshot`."""

    statuses: dict[str, ExtensionState] = msgspec.field(default_factory=dict)
    polling: PollingState = PollingState()


Snapshot = ClassicSnapshot | V22Snapshot


class OutageText(msgspec.Struct, frozen=True):
    """What the stream has of a `FleetOutage`."""

    since: datetime
    error: str | None


class PBXRecord(NamedTuple):
    """What Redis has of one PBX.

    Attributes:
        version: the number of the cycle that wrote last; 0 if there was none yet.
        next_version: the number of the next cycle. That of the first cycle is a time. So a PBX that
            was removed and added again, or that Redis has lost, never has the same number twice.
        n: the number of the latest event, of any PBX, when the latest cycle wrote.
        status: how the latest cycles went.
        outage_since: when the current outage began; None if there is none.
        snapshot: the statuses; None before the first cycle.
    """

    version: int
    next_version: int
    n: int
    status: PBXStatus
    outage_since: datetime | None
    snapshot: Snapshot | None

    @property
    def statuses(self) -> dict[str, Status]:
        """A copy of the statuses by extension number."""
        return {} if self.snapshot is None else {**self.snapshot.statuses}


class StreamEvent(NamedTuple):
    """An event as it is in the stream.

    Attributes:
        id: its id there.
        n: its number.
        pbx: the PBX.
        event: the event; None if it can't be read, such as one of a later version of this package.
    """

    id: str
    n: int
    pbx: str
    event: FleetEvent | None


class FleetStore:
    """Reads and writes what a fleet keeps in Redis."""

    # redis-py's client and docket's in-process store have no type in common.
    def __init__(self, redis: Any, prefix: str) -> None:
        """Store the client and the prefix of the keys."""
        self._redis = redis
        self._prefix = prefix
        self.stream: str = self.key("changes")
        self._meta = self.key("meta")
        self._pbxes = self.key("pbxes")
        self._groups = self.key("groups")

    def key(self, name: str) -> str:
        """Return the key of this name."""
        return f"{self._prefix}:{name}"

    # --- the PBXes ---

    async def seed(self, pbxes: Sequence[str]) -> None:
        """Add PBXes, except those that were removed."""
        if pbxes:
            await self._redis.eval(SEED, 1, self._pbxes, *pbxes)

    async def add(self, pbx: str) -> None:
        """Add a PBX, even if it was removed."""
        await self._redis.hset(self._pbxes, pbx, MEMBER)

    async def remove(self, pbx: str) -> None:
        """Remove a PBX. It stays known as removed, and from now on no cycle can write for it."""
        await self._redis.hset(self._pbxes, pbx, REMOVED)

    async def pbxes(self, expected: Sequence[str] = ()) -> list[str]:
        """Return the names of the PBXes, sorted.

        Args:
            expected: PBXes that a worker will add, except those that were removed.
        """
        found = dict.fromkeys(expected, MEMBER) | _fields(await self._redis.hgetall(self._pbxes))
        return sorted(name for name, value in found.items() if value == MEMBER)

    async def is_member(self, pbx: str) -> bool:
        """Return whether the PBX is in the fleet."""
        value = await self._redis.hget(self._pbxes, pbx)
        return value is not None and _text(value) == MEMBER

    async def read(self, pbx: str) -> PBXRecord:
        """Read what the previous cycle of a PBX left."""
        async with self._redis.pipeline() as pipeline:  # a transaction
            pipeline.hgetall(self.key(f"pbx:{pbx}"))
            pipeline.get(self.key(f"snapshot:{pbx}"))
            raw, text = await pipeline.execute()
        fields = _fields(raw)
        snapshot = None
        if text is not None:
            try:
                snapshot = msgspec.json.decode(text, type=Snapshot)
            except msgspec.DecodeError:
                snapshot = None  # of another version of this package: begin again
        version = _number(fields, "version")
        if str(version) != fields.get("version"):
            version = 0
        return PBXRecord(
            version=version,
            next_version=version + 1 if version else time.time_ns() // 1_000_000,
            n=_number(fields, "n"),
            status=_status(fields),
            outage_since=_time(fields, "outage_since"),
            snapshot=snapshot,
        )

    async def write(
        self,
        pbx: str,
        record: PBXRecord,
        *,
        status: PBXStatus,
        outage_since: datetime | None,
        snapshot: Snapshot | None,
        events: Sequence[tuple[str, bytes]],
        removed: bool = False,
    ) -> int:
        """Write the outcome of a cycle, if no other cycle came first.

        Args:
            pbx: the PBX.
            record: what the cycle read.
            status: how the latest cycles went.
            outage_since: when the current outage began; None if there is none.
            snapshot: the new snapshot; None if it is unchanged.
            events: the kind and the text of each new event.
            removed: True for a PBX that was removed: what Redis has of it is deleted.

        Returns:
            `WRITTEN`, `REFUSED` or `GONE`.
        """
        success = status.last_success
        fields = {
            "last_success": "" if success is None else success.isoformat(),
            "last_error": status.last_error or "",
            "consecutive_failures": str(status.consecutive_failures),
            "extensions": str(status.extensions),
            "worker": status.worker or "",
            "outage_since": "" if outage_since is None else outage_since.isoformat(),
        }
        flat = [text for pair in fields.items() for text in pair]
        own = self.key(f"pbx:{pbx}"), self.key(f"snapshot:{pbx}")
        keys = (*own, self.stream, self._meta, self._pbxes)
        text = b"" if snapshot is None else msgspec.json.encode(snapshot)
        member = REMOVED if removed else MEMBER
        versions = str(record.version), str(record.next_version)
        arguments: list[str | bytes] = [pbx, member, *versions, text, str(len(fields)), *flat]
        for kind, event in events:
            arguments += [kind, event]
        return int(await self._redis.eval(WRITE, len(keys), *keys, *arguments))

    async def trim(self, length: int) -> None:
        """Remove the oldest events; about this many stay."""
        await self._redis.xtrim(self.stream, maxlen=length, approximate=True)

    async def status(self, expected: Sequence[str]) -> FleetStatus:
        """Return the status of each PBX and each group. About `expected` see `pbxes`."""
        pbxes = await self.pbxes(expected)
        async with self._redis.pipeline() as pipeline:
            for pbx in pbxes:
                pipeline.hgetall(self.key(f"pbx:{pbx}"))
            found = await pipeline.execute() if pbxes else []
        latest, _ = await self.latest()
        groups = _fields(await self._redis.hgetall(self._groups))
        return FleetStatus(
            {pbx: _status(_fields(each)) for pbx, each in zip(pbxes, found, strict=True)},
            {
                group: GroupStatus(max(0, latest - _number(groups, group)))
                for group in sorted(groups)
            },
        )

    # --- the stream ---

    async def latest(self) -> tuple[int, str]:
        """Return the number and the id of the latest event; 0 and ``0-0`` if there is none."""
        meta = _fields(await self._redis.hgetall(self._meta))
        return _number(meta, "n"), meta.get("last", "0-0")

    async def acknowledged(self, group: str) -> int | None:
        """Return the number of the event that a group acknowledged last; None for a new group."""
        value = await self._redis.hget(self._groups, group)
        return None if value is None else _number({group: _text(value)}, group)

    async def ensure_group(self, group: str, last: str) -> bool:
        """Let a group begin after an event, if the stream has no such group. Return whether."""
        try:
            await self._redis.xgroup_create(self.stream, group, id=last, mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            return False
        return True

    async def move_group(self, group: str, n: int, last: str) -> None:
        """Let a group go on after an event, and forget what it has not acknowledged.

        If this is cut off, the group still has its earlier number. So whoever reads it next finds
        events missing.
        """
        await self._redis.xgroup_destroy(self.stream, group)
        await self._redis.xgroup_create(self.stream, group, id=last, mkstream=True)
        await self._redis.hset(self._groups, group, str(n))

    async def claim(self, group: str, consumer: str) -> tuple[list[StreamEvent], bool]:
        """Claim what earlier consumers of a group left unacknowledged.

        Returns:
            The events, and whether some of them were trimmed.
        """
        events: list[StreamEvent] = []
        trimmed, start = False, "0-0"
        while True:
            cursor, found, *gone = await self._redis.xautoclaim(
                self.stream, group, consumer, 0, start_id=start, count=1000
            )
            events += [_event(*each) for each in found if each[1] is not None]
            trimmed = trimmed or bool(gone and gone[0])
            start = _text(cursor)
            if start == "0-0":
                return events, trimmed

    async def next(self, group: str, consumer: str, block: float) -> list[StreamEvent]:
        """Read the next events of a group, and wait for them at most `block` seconds."""
        found = await self._redis.xreadgroup(
            group, consumer, {self.stream: ">"}, count=100, block=int(block * 1000)
        )
        if not found:
            return []
        # A list of pairs, or a dictionary with lists, depending on the protocol.
        [entries] = found.values() if isinstance(found, dict) else [found[0][1]]
        if entries and isinstance(entries[0], list) and isinstance(entries[0][0], list | tuple):
            [entries] = entries
        return [_event(*each) for each in entries]

    async def acknowledge(self, group: str, event: StreamEvent) -> None:
        """Record that a group has handled an event."""
        keys = (self._groups, self.stream)
        await self._redis.eval(ACKNOWLEDGE, len(keys), *keys, group, str(event.n), event.id)

    async def resync(self, pbx: str, last: str) -> tuple[int, list[FleetEvent]]:
        """Return the snapshot of a PBX, with its outage if there is one.

        Returns:
            The number of the latest event that they cover, and the events.
        """
        record = await self.read(pbx)
        events: list[FleetEvent] = [FleetResync(pbx, record.statuses, f"{last}/{pbx}")]
        if record.outage_since is not None:
            error, event_id = record.status.last_error or "", f"{last}/{pbx}/outage"
            events.append(FleetOutage(pbx, record.outage_since, error, event_id))
        return record.n, events


def change_event(change: "StatusChange[Any]") -> tuple[str, bytes]:
    """Return the kind and the text of a change."""
    status = change.before if change.after is None else change.after
    kind = "v22" if isinstance(status, ExtensionState) else "classic"
    return kind, msgspec.json.encode(change)


def outage_event(since: datetime, error: str | None) -> tuple[str, bytes]:
    """Return the kind and the text of an outage, or of its end."""
    return "outage", msgspec.json.encode(OutageText(since, error))


def _event(raw_id: str | bytes, raw: dict[bytes, bytes]) -> StreamEvent:
    """Read an event. One that can't be read has no `event`, and without a number its `n` is 0."""
    fields, event_id = _fields(raw), _text(raw_id)
    pbx, kind, text = fields.get("pbx", ""), fields.get("kind"), fields.get("event", "")
    event: FleetEvent | None = None
    with suppress(msgspec.DecodeError):
        if kind == "classic":
            classic = msgspec.json.decode(text, type=StatusChange[ExtensionStatus])
            event = FleetChange(pbx, classic, event_id)
        elif kind == "v22":
            v22 = msgspec.json.decode(text, type=StatusChange[ExtensionState])
            event = FleetChange(pbx, v22, event_id)
        elif kind == "outage":
            outage = msgspec.json.decode(text, type=OutageText)
            event = FleetOutage(pbx, outage.since, outage.error, event_id)
    return StreamEvent(event_id, _number(fields, "n"), pbx, event)


def _status(fields: dict[str, str]) -> PBXStatus:
    return PBXStatus(
        last_success=_time(fields, "last_success"),
        last_error=fields.get("last_error") or None,
        consecutive_failures=_number(fields, "consecutive_failures"),
        extensions=_number(fields, "extensions"),
        worker=fields.get("worker") or None,
    )


# Whoever may write to that Redis may also write something else. That counts as nothing.


def _number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else 0


def _time(fields: dict[str, str], name: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(fields.get(name, ""))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _fields(raw: dict[bytes, bytes]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in raw.items()}


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
