"""What the commands show of a PBX of generation v22, where the SDK has no such struct."""

from collections.abc import Callable, Sequence

import msgspec

from ... import NotFound, StatusMissing
from ...v22 import (
    ExtensionState,
    OutboundCallerID,
    PortSIPClient,
    Presence,
    Status,
    UserSummary,
)


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


async def with_states(
    pbx: PortSIPClient, users: Sequence[UserSummary], advance: Callable[[], None]
) -> list[UserWithState]:
    """Read the states of listed users, and return the users with them.

    Args:
        pbx: the client.
        users: the users.
        advance: called once for each.
    """
    numbers = [user.extension_number for user in users if user.extension_number]
    states: dict[str, ExtensionState] = {}
    async with pbx.extensions.poll_status(numbers) as poll:
        async for result in poll:
            advance()
            if result.status is not None:
                states[result.extension_number] = result.status
            elif not isinstance(result.error, NotFound | StatusMissing):  # removed since
                assert result.error is not None  # noqa: S101 - a result has one or the other
                raise result.error
    return [_with_state(user, states.get(user.extension_number or "")) for user in users]


def _with_state(user: UserSummary, state: ExtensionState | None) -> UserWithState:
    known = {name: getattr(user, name) for name in UserSummary.__struct_fields__}
    if state is not None:
        known |= {name: getattr(state, name) for name in ("status", "presence", "presence_note")}
    return UserWithState(**known)
