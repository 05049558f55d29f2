"""What an extension number belongs to and what its user is doing, in generation v22."""

from ..redact import Record
from .enums import ExtensionTypeValue, PresenceValue, Status, StatusValue

__all__ = ["ExtensionNumber", "ExtensionState", "UserStatus", "Registration"]


class Registration(Record, frozen=True, kw_only=True, gc=False):
    """A telephone or an app that is logged in as a user.

    Attributes:
        instance_id: the id of the registration.
        user_agent: what the device calls itself.
        application: the name of the app.
        ip: the device's address.
        enable_push: whether it is woken by push messages.
        contact_address: where SIP messages to it go.
    """

    instance_id: str | None = None
    user_agent: str | None = None
    application: str | None = None
    ip: str | None = None
    enable_push: bool | None = None
    contact_address: str | None = None


class UserStatus(Record, frozen=True, kw_only=True, gc=False):
    """What a user is doing, as the REST API reports it.

    Attributes:
        status: the state of the telephones. 22.3 calls ON_CALL OTHER_CALL.
        presence: what others see; set by the user, or by the PBX for them.
        presence_note: the user's note about it.
        registration: the devices that are logged in.
        enable_dnd: whether do-not-disturb is on.
        enable_acb: whether automatic callback is on.
    """

    status: StatusValue | None = None
    presence: PresenceValue | None = None
    presence_note: str | None = None
    registration: tuple[Registration, ...] | None = None
    enable_dnd: bool | None = None
    enable_acb: bool | None = None


class ExtensionNumber(Record, frozen=True, gc=False):
    """What an extension number belongs to.

    Attributes:
        id: the PBX's id of it: for an extension, the user's id.
        extension_number: the number.
        name: its name.
        type: what it is; not every number belongs to a user.
    """

    id: str
    extension_number: str | None = None
    name: str | None = None
    type: ExtensionTypeValue | None = None


class ExtensionState(Record, frozen=True, gc=False):
    """The state of an extension, with the same values for every source.

    A field is None if the source does not report it.

    Attributes:
        extension_number: the number.
        status: OFFLINE, ONLINE, RINGING or ON_CALL, or a value that is new.
        presence: what others see; set by the user, or by the PBX for them.
        presence_note: the user's note about it.
        user_id: the PBX's id of the user.
    """

    extension_number: str
    status: StatusValue | None = None
    presence: PresenceValue | None = None
    presence_note: str | None = None
    user_id: str | None = None

    @classmethod
    def of(cls, extension_number: str, user_id: str | None, status: UserStatus) -> "ExtensionState":
        """Build the state from a user's status."""
        is_on_call = status.status == Status.OTHER_CALL
        return cls(
            extension_number,
            Status.ON_CALL if is_on_call else status.status,
            status.presence,
            status.presence_note,
            user_id,
        )
