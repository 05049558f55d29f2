"""What the commands show of a PBX of generation v22, where the SDK has no such struct."""

import msgspec

from ..v22 import ExtensionState, OutboundCallerID, Presence, Status, UserSummary


class GroupWithMembers(msgspec.Struct, frozen=True):
    """A group, with the numbers of its members."""

    id: str
    name: str | None
    description: str | None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None
    members: tuple[str, ...]


class NewGroup(msgspec.Struct, frozen=True):
    """The reply to a group's creation."""

    id: str


class UserWithState(UserSummary, frozen=True, kw_only=True, gc=False):
    """A user as a list shows it, with the state of the extension; None if that is unknown."""

    status: Status | None = None
    presence: Presence | None = None
    presence_note: str | None = None


def with_state(user: UserSummary, state: ExtensionState | None) -> UserWithState:
    """Add a state to a user of a list."""
    known = {name: getattr(user, name) for name in UserSummary.__struct_fields__}
    if state is not None:
        known |= {name: getattr(state, name) for name in ("status", "presence", "presence_note")}
    return UserWithState(**known)
