"""The rows that the commands of a fleet write: its PBXes, its groups of consumers, its events."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ... import ExtensionStatus
from ...v22 import ExtensionState
from ..fields import plain
from ..terminal.terminal_text import short_time

if TYPE_CHECKING:
    from ...fleet import FleetEvent, FleetStatus


class PBXRow(msgspec.Struct, frozen=True):
    """What is known of a PBX."""

    pbx: str
    last_success: datetime | None
    consecutive_failures: int
    extensions: int
    worker: str | None
    last_error: str | None

    @property
    def is_failing(self) -> bool:
        """Whether the latest cycle brought no status."""
        return self.consecutive_failures > 0

    @property
    def was_tried(self) -> bool:
        """Whether there was a cycle."""
        return self.last_success is not None or self.is_failing


class GroupRow(msgspec.Struct, frozen=True):
    """How far a group of consumers is behind."""

    group: str
    lag: int


def _optional_fields(*models: type[msgspec.Struct]) -> list[tuple[str, Any, None]]:
    kinds = {field.name: field.type for model in models for field in msgspec.structs.fields(model)}
    return [(name, kind | None, None) for name, kind in kinds.items()]


# One model for the events of both generations.
_STATE: Final[Any] = msgspec.defstruct("State", _optional_fields(ExtensionStatus, ExtensionState))
EVENT_ROW: Final[Any] = msgspec.defstruct(
    "EventRow",
    [
        ("event", str),
        ("pbx", str),
        ("id", str),
        ("extension_number", str | None, None),
        ("before", _STATE | None, None),
        ("after", _STATE | None, None),
        ("at", datetime | None, None),
        ("since", datetime | None, None),
        ("error", str | None, None),
        ("snapshot", dict[str, object] | None, None),
    ],
)


def pbx_rows(status: "FleetStatus") -> list[PBXRow]:
    """Return a row for each PBX, in the order of the names."""
    return [
        PBXRow(
            name,
            last_success=each.last_success,
            consecutive_failures=each.consecutive_failures,
            extensions=each.extensions,
            worker=each.worker,
            last_error=each.last_error,
        )
        for name, each in sorted(status.pbxes.items())
    ]


def group_rows(status: "FleetStatus") -> list[GroupRow]:
    """Return a row for each group, in the order of the names."""
    return [GroupRow(name, each.lag) for name, each in sorted(status.groups.items())]


def event_row(event: "FleetEvent") -> Mapping[str, Any]:
    """Return an event as plain values, with the fields that events of its kind have.

    The field ``event`` is "change" for a status, "outage" for a PBX that can't be reached, "back"
    for the end of that, and "resync" for all statuses of a PBX, after older events were lost.
    """
    from ...fleet import FleetChange, FleetOutage

    row: dict[str, Any] = {"event": "change", "pbx": event.pbx, "id": event.id}
    if isinstance(event, FleetChange):
        return row | plain(event.change)
    if isinstance(event, FleetOutage):
        row["event"] = "back" if event.error is None else "outage"
        return row | {
            "since": event.since.isoformat(timespec="milliseconds"),
            "error": event.error,
        }
    snapshot = {number: plain(state) for number, state in event.snapshot.items()}
    return row | {"event": "resync", "snapshot": snapshot}


def age_of(row: PBXRow, now: datetime) -> str:
    """Return how long ago the latest success was, for people."""
    return "never" if row.last_success is None else f"{short_time(now - row.last_success)} ago"
