"""Combines what the web socket and the REST API report about an extension.

They differ in what they report and how they spell it: only the socket reports RINGING, and 22.3
calls AVAILABLE ONLINE in some messages. So a difference between them need not be a change.
"""

from typing import Final

from .enums import Presence, Status
from .status_models import ExtensionState

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


def _spelling(presence: str | None) -> str | None:
    return None if presence is None else _SAME.get(presence, presence)
