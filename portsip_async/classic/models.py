"""Groups, greetings and token renewals of the classic generation, with the API's own field names.

The rules are those of ``extension_models.py``: in a reply only the field that identifies an item is
required, and in a request a field that is None is left out.
"""

from collections.abc import Mapping
from typing import ClassVar

from msgspec import field

from ..core.page_sequence import Page
from ..redact import Record

__all__ = [
    "GroupPage",
    "GroupSummary",
    "Group",
    "CreatedGroup",
    "GreetingPage",
    "GreetingFile",
]


class GroupSummary(Record, frozen=True, gc=False):
    """An extension group as a list shows it.

    Attributes:
        group_id: the PBX's id of the group.
        group_name: its name.
        members_count: how many extensions are in it.
    """

    # Version 12 calls it `id`.
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"group_id": ("id",)}

    group_id: str
    group_name: str | None = None
    members_count: int | None = None


class Group(Record, frozen=True, kw_only=True, gc=False):
    """An extension group with its settings.

    Attributes:
        group_id: the PBX's id of the group; from the request if the reply lacks it.
        group_name: its name.
        group_description: a note about it.
        enable_intercom: whether its members may use the intercom.
        enable_external_call: whether its members may call external numbers.
        enable_management_console_access: whether its members may log in to the PBX's management
            console. Then their web access passwords should be strong.
        members: the numbers of its extensions.
    """

    group_id: str = ""
    group_name: str | None = None
    group_description: str | None = None
    enable_intercom: bool | None = None
    enable_external_call: bool | None = None
    enable_management_console_access: bool | None = None
    members: tuple[str, ...] = ()


class CreatedGroup(Record, frozen=True, gc=False):
    """The reply to the creation of a group.

    Attributes:
        group_id: the PBX's id of the new group.
        group_name: its name.
    """

    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"group_id": ("id",)}

    group_id: str
    group_name: str | None = None


class GreetingFile(Record, frozen=True, gc=False):
    """A voicemail greeting of an extension.

    Attributes:
        filename: its name as the PBX sent it, stray characters included.
        enabled: whether it is the greeting that plays.
    """

    filename: str
    enabled: bool | None = None


class GroupPage(Page[GroupSummary], frozen=True, kw_only=True):
    """A page of extension groups. The other fields are those of `Page`.

    Attributes:
        items: the groups. The API calls the field ``groups``, and so does `to_dict`.
    """

    items: tuple[GroupSummary, ...] = field(name="groups")


class GreetingPage(Page[GreetingFile], frozen=True, kw_only=True):
    """A page of voicemail greetings. The other fields are those of `Page`.

    Attributes:
        items: the greetings. The API calls the field ``files``, and so does `to_dict`.
        default_file: the name of the greeting that plays if none was set up.
    """

    # The array is `greetings` in the vendor's table and `files` in the sample.
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"files": ("greetings",)}

    items: tuple[GreetingFile, ...] = field(name="files")
    default_file: str | None = None


class RefreshReply(Record, frozen=True):
    """The reply to a refresh. Without an `access_token`, the old token was prolonged."""

    access_token: str | None = None
    expires: float = 30.0  # seconds
    role: str | None = None
    api_version: str | None = None
