"""Groups, greetings, calls, uploads and logins of generation v22, with the API's own field names.

The rules are those of ``user_models.py``: in a reply only the field that identifies an item is
required, and in a request a field that is None is left out.
"""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta

from ..core.page_sequence import Page
from ..redact import Record
from .enums import RoleValue
from .parts import UNNUMBERED, OutboundCallerID

__all__ = [
    # groups and greetings
    "GroupPage",
    "GroupSummary",
    "Group",
    "Member",
    "Greeting",
    # calls
    "CallSessionPage",
    "CallSession",
    "Call",
    # the PBX and the login
    "ServerInfo",
    "AuthUser",
]


class Created(Record, frozen=True, gc=False):
    """The reply to a creation. Without an id, nothing could be done with what was created."""

    id: Annotated[str, Meta(min_length=1)]


class GroupSummary(Record, frozen=True, kw_only=True, gc=False):
    """A group of users as a list shows it.

    Attributes:
        id: the PBX's id of the group.
        name: its name.
        description: any text about it.
    """

    id: str
    name: str | None = None
    description: str | None = None


class Group(Record, frozen=True, kw_only=True, gc=False):
    """A group of users.

    Attributes:
        id: the PBX's id of the group.
        name: its name.
        outbound_caller_ids: the caller ids that its members show to the outside.
        description: any text about it.
    """

    id: str
    name: str | None = None
    outbound_caller_ids: tuple[OutboundCallerID, ...] | None = None
    description: str | None = None


class GroupPage(Page[GroupSummary], frozen=True, kw_only=True):
    """A page of groups. `count` is the number of all groups that match.

    The other fields are those of `Page`.
    """

    reply_may_lack: ClassVar[frozenset[str]] = Page.reply_may_lack | UNNUMBERED


class Member(Record, frozen=True, kw_only=True, gc=False):
    """A member of a group.

    Attributes:
        extension_number: the number.
        id: the PBX's id of the user.
        name: the name to log in with.
        display_name: the name that people see.
    """

    extension_number: str
    id: str | None = None
    name: str | None = None
    display_name: str | None = None


class Members(Record, frozen=True):
    """The reply that lists the members of a group. All come at once, usually without a count."""

    reply_is_page: ClassVar[bool] = True
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"count"})

    items: tuple[Member, ...]
    count: int | None = None


class Greeting(Record, frozen=True, kw_only=True, gc=False):
    """A voicemail greeting of a user.

    Attributes:
        id: the PBX's id of the greeting.
        enabled: whether it plays.
        file_name: the name of its file.
        file_size: the size in bytes.
        file_url: the path to download it from.
    """

    id: str
    enabled: bool | None = None
    file_name: str | None = None
    file_size: int | None = None
    file_url: str | None = None


class Greetings(Record, frozen=True):
    """The reply that lists a user's greetings. All come at once, usually without a count."""

    reply_is_page: ClassVar[bool] = True
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"count"})

    items: tuple[Greeting, ...]
    count: int | None = None


class UploadStarted(Record, frozen=True, kw_only=True, gc=False):
    """An upload that was begun; from the headers of the reply. The repr hides the token.

    Attributes:
        id: the upload's id, which is not yet that of a file.
        token: what the further requests of the upload must carry.
        range: which bytes have arrived.
    """

    id: str
    token: str
    range: str | None = None


class UploadProgress(Record, frozen=True, kw_only=True, gc=False):
    """How far an upload is, with the fields of `UploadStarted`. The repr hides the token."""

    id: str | None = None
    token: str | None = None
    range: str | None = None


class Call(Record, frozen=True, kw_only=True, gc=False):
    """A call in a session.

    Attributes:
        caller: the number that calls.
        caller_display_name: the name that it shows.
        callee: the number that is called.
        trunk: the name of the trunk, if the call goes through one.
        started_at: when it began.
        talking_time: how long the parties have talked, in seconds.
    """

    caller: str | None = None
    caller_display_name: str | None = None
    callee: str | None = None
    trunk: str | None = None
    started_at: datetime | None = None
    talking_time: int | None = None


class CallSession(Record, frozen=True, kw_only=True, gc=False):
    """Calls that belong together, such as a call and what it was forwarded to.

    Attributes:
        id: the PBX's id of the session, which `calls.hang_up` needs.
        calls: the calls in it.
    """

    id: str
    calls: tuple[Call, ...] | None = None


class CallSessionPage(Page[CallSession], frozen=True, kw_only=True):
    """All current sessions. The fields are those of `Page`."""

    reply_may_lack: ClassVar[frozenset[str]] = Page.reply_may_lack | UNNUMBERED


class ServerInfo(Record, frozen=True, kw_only=True, gc=False):
    """What a PBX shows without a login.

    Attributes:
        web_domain: the domain of the PBX's own pages.
        private_ipv4: the address of the PBX inside its network.
        public_ipv4: its address on the internet.
        enable_ipv6: whether the PBX supports IPv6.
        private_ipv6: its IPv6 address inside its network.
        public_ipv6: its IPv6 address on the internet.
        primary_dns_server: the first DNS server that it uses.
        secondary_dns_server: the second one.
        name: the name of the tenant. This and all fields below are about the tenant: they are None
            unless the request had a domain.
        domain: the SIP domain.
        website: the tenant's own site.
        avatar_url: the path to download the tenant's picture from.
        enable_ms365_integration: whether users log in through Microsoft 365.
        ms365_authorization_endpoint: the URL where they do so.
    """

    web_domain: str | None = None
    private_ipv4: str | None = None
    public_ipv4: str | None = None
    enable_ipv6: bool | None = None
    private_ipv6: str | None = None
    public_ipv6: str | None = None
    primary_dns_server: str | None = None
    secondary_dns_server: str | None = None
    name: str | None = None
    domain: str | None = None
    website: str | None = None
    avatar_url: str | None = None
    enable_ms365_integration: bool | None = None
    ms365_authorization_endpoint: str | None = None

    # If the request had no domain, the reply is about the system only.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset(
        {
            "name",
            "domain",
            "website",
            "avatar_url",
            "enable_ms365_integration",
            "ms365_authorization_endpoint",
        }
    )


class AuthUser(Record, frozen=True, kw_only=True, gc=False):
    """The account that is logged in.

    Attributes:
        role: the role of the account.
        password_verified: whether the PBX has checked the password.
        password_force_reset: whether the first password must be changed.
    """

    role: RoleValue | None = None
    password_verified: bool | None = None
    password_force_reset: bool | None = None


class SignInReply(Record, frozen=True, kw_only=True):
    """The reply to a login or a refresh: tokens, or a demand for a second factor.

    Attributes:
        access_token: the access token.
        refresh_token: gets the next pair of tokens; it can be used once.
        expires_in: seconds until the access token expires.
        token_type: how the token is sent.
        two_factor_enabled: True if a second factor is wanted.
        token: the challenge, if a second factor is wanted.
    """

    # Only a demand for a second factor has these two.
    reply_may_lack: ClassVar[frozenset[str]] = frozenset({"two_factor_enabled", "token"})

    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None
    token_type: str | None = None
    two_factor_enabled: bool | None = None
    token: str | None = None
