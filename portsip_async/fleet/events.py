"""What a fleet reports: the events of its stream, and its status."""

from datetime import datetime
from typing import ClassVar, TypeAlias

from ..bulk.status_watch import StatusChange
from ..classic.extension_models import ExtensionStatus
from ..redact import Record
from ..v22.status_models import ExtensionState

Status: TypeAlias = ExtensionStatus | ExtensionState
Change: TypeAlias = StatusChange[ExtensionStatus] | StatusChange[ExtensionState]


class FleetChange(Record, frozen=True):
    """A change of an extension's status.

    Attributes:
        pbx: the PBX, by its name in the fleet.
        change: the extension, and its status before and after.
        id: where the event is in the stream of changes.
    """

    resync: ClassVar[bool] = False

    pbx: str
    change: Change
    id: str


class FleetOutage(Record, frozen=True):
    """A PBX can't be reached, or it can be reached again.

    Attributes:
        pbx: the PBX, by its name in the fleet.
        since: when the outage began, in UTC.
        error: what failed; None if the PBX is back.
        id: where the event is in the stream of changes; "" if it is not from there.
    """

    resync: ClassVar[bool] = False

    pbx: str
    since: datetime
    error: str | None
    id: str = ""


class FleetResync(Record, frozen=True):
    """All statuses of a PBX, because changes were trimmed before the group read them.

    There is one for each PBX of the fleet. Replace all that is known of the PBX by the snapshot.
    The changes after it go on from there. A `FleetOutage` follows if the PBX can't be reached now.

    Attributes:
        pbx: the PBX, by its name in the fleet.
        snapshot: its statuses by extension number.
        id: an id that no other event has.
    """

    resync: ClassVar[bool] = True

    pbx: str
    snapshot: dict[str, Status]
    id: str


FleetEvent: TypeAlias = FleetChange | FleetOutage | FleetResync


class PBXStatus(Record, frozen=True):
    """How the latest cycles of one PBX went.

    Attributes:
        last_success: when statuses last came, in UTC; None if none came yet.
        last_error: the latest failure; None if there was none yet.
        consecutive_failures: cycles in a row that brought no status at all.
        extensions: the extensions that have a status.
        worker: the worker that ran the latest cycle; None if none ran yet.
    """

    last_success: datetime | None = None
    last_error: str | None = None
    consecutive_failures: int = 0
    extensions: int = 0
    worker: str | None = None


class GroupStatus(Record, frozen=True):
    """How far a group of consumers has read.

    Attributes:
        lag: events that the group has not acknowledged yet.
    """

    lag: int = 0


class FleetStatus(Record, frozen=True):
    """The state of a fleet.

    Attributes:
        pbxes: the PBXes by name.
        groups: the groups of consumers by name.
    """

    pbxes: dict[str, PBXStatus]
    groups: dict[str, GroupStatus]
