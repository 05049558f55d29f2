"""The API as data: one row for each operation, with its path, method, parameters and safety.

Paths come from the vendor's page where it shows them, and otherwise from the requests of the
vendor's own console. Installations differ, so a client can override any row by name.
"""

from collections.abc import Mapping
from typing import Final

from ..core.endpoint import Echo, Endpoint, PageScheme
from ..core.parameter_types import Count, File, Text, fields_of
from ..core.token_types import Token
from .enums import SortBy
from .extension_models import (
    Extension,
    ExtensionPage,
    ExtensionStatuses,
    ExtensionUpdate,
    NewExtension,
)
from .models import CreatedGroup, GreetingPage, Group, GroupPage, RefreshReply

_NUMBER: Final = {"extension_number": Text}
_GROUP_ID: Final = {"group_id": Text}
_FILENAME: Final = {**_NUMBER, "filename": Text}
_PAGE: Final = {"pagination": Count, "pagesize": Count | None}
_SORTED_PAGE: Final = {**_PAGE, "sort_by": SortBy | None}
_GROUP: Final = {
    "group_name": Text,
    "enable_intercom": bool,
    "enable_external_call": bool,
    "enable_management_console_access": bool,
    "group_description": str | None,
    "members": tuple[Text, ...] | None,
}

_BY_NUMBER: Final = PageScheme(key="extension_number")
_BY_GROUP: Final = PageScheme(key="group_id")
_BY_FILE: Final = PageScheme(key="filename")

ACCOUNT_VERIFY = Endpoint(
    "account.verify",
    "POST",
    "/account/credentials/verify",
    takes={"username": Text, "password": Text},
    reply=Token,
    safety="safe",
    token="none",
)
ACCOUNT_VERIFY_EMAIL = Endpoint(
    "account.verify_email",
    "POST",
    "/account/email/verify",
    takes={"email": Text, "password": Text},
    reply=Token,
    safety="safe",
    token="none",
)
ACCOUNT_REFRESH = Endpoint(
    "account.refresh", "POST", "/account/token/refresh", takes={}, reply=RefreshReply, safety="safe"
)

EXTENSIONS_LIST = Endpoint(
    "extensions.list",
    "GET",
    "/extensions/list",
    takes=_SORTED_PAGE,
    reply=ExtensionPage,
    pages=_BY_NUMBER,
)
EXTENSIONS_SEARCH = Endpoint(
    "extensions.search",
    "GET",
    "/extensions/search",
    takes={"condition": str, **_PAGE},
    reply=ExtensionPage,
    pages=_BY_NUMBER,
)
EXTENSIONS_CREATE = Endpoint(
    "extensions.create", "POST", "/extensions/create", takes=fields_of(NewExtension)
)
EXTENSIONS_SHOW = Endpoint(
    "extensions.show",
    "GET",
    "/extensions/show",
    takes=_NUMBER,
    reply=Extension,
    echo=Echo("extension_number", "extension_number"),
)
EXTENSIONS_STATUS = Endpoint(
    "extensions.status",
    "POST",
    "/extensions/status",
    takes={"extensions": tuple[Text, ...]},
    reply=ExtensionStatuses,
    safety="safe",
    echo=Echo("extensions", "extension_number", rows="extension_status"),
)
# A GET, but each one rings a telephone.
EXTENSIONS_CALL = Endpoint(
    "extensions.call",
    "GET",
    "/extensions/call",
    takes=dict.fromkeys(("extension", "to", "auth", "domain", "src"), Text),
    safety="unsafe",
)
EXTENSIONS_UPDATE = Endpoint(
    "extensions.update",
    "POST",
    "/extensions/update",
    takes=fields_of(ExtensionUpdate),
    safety="idempotent",
)
EXTENSIONS_REMOVE = Endpoint(
    "extensions.remove",
    "POST",
    "/extensions/destroy",
    takes=_NUMBER,
    safety="idempotent",
    removes=True,
)

GROUPS_LIST = Endpoint(
    "groups.list",
    "GET",
    "/extensions/group/list",
    takes=_SORTED_PAGE,
    reply=GroupPage,
    pages=_BY_GROUP,
)
GROUPS_SHOW = Endpoint(
    "groups.show",
    "GET",
    "/extensions/group/show",
    takes=_GROUP_ID,
    reply=Group,
    echo=Echo("group_id", "group_id"),
)
GROUPS_CREATE = Endpoint(
    "groups.create", "POST", "/extensions/group/create", takes=_GROUP, reply=CreatedGroup
)
GROUPS_UPDATE = Endpoint(
    "groups.update",
    "POST",
    "/extensions/group/update",
    takes={**_GROUP_ID, **_GROUP},
    safety="idempotent",
)
GROUPS_REMOVE = Endpoint(
    "groups.remove",
    "POST",
    "/extensions/group/destroy",
    takes=_GROUP_ID,
    safety="idempotent",
    removes=True,
)

GREETINGS_LIST = Endpoint(
    "greetings.list",
    "GET",
    "/extensions/greeting_file/list",
    takes={**_NUMBER, **_SORTED_PAGE},
    reply=GreetingPage,
    pages=_BY_FILE,
)
GREETINGS_ADD = Endpoint(
    "greetings.add",
    "POST",
    "/extensions/greeting_file/create",
    takes={**_NUMBER, "filename": Text | None, "url": Text | None},
)
GREETINGS_UPLOAD = Endpoint(
    "greetings.upload",
    "POST",
    "/extensions/greeting_file/create",
    takes={**_FILENAME, "file": File},
    token="query",
    parameters="multipart",
)
GREETINGS_SETUP = Endpoint(
    "greetings.setup",
    "POST",
    "/extensions/greeting_file/update",
    takes=_FILENAME,
    safety="idempotent",
)
GREETINGS_REMOVE = Endpoint(
    "greetings.remove",
    "POST",
    "/extensions/greeting_file/destroy",
    takes=_FILENAME,
    safety="idempotent",
    removes=True,
)

# All rows above, by name and in the order of this file.
ENDPOINTS: Mapping[str, Endpoint[object]] = {
    row.name: row for row in [*globals().values()] if isinstance(row, Endpoint)
}
