"""The API as data: a row an operation, and nowhere else a path, a method or a safety.

Paths are those of the vendor's page where it shows one, else those that the vendor's own console
used against this generation of the API. Installations differ, so any row can be overridden per
client by its name.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar, cast, get_type_hints

from ..core.endpoint import Echo, Endpoint, PageScheme, ParameterPlace, TokenPlace
from ..core.safety import Safety
from ..core.tokens import Token
from ..errors import ConfigurationError
from .models import (
    CreatedGroup,
    Extension,
    ExtensionPage,
    ExtensionStatuses,
    GreetingPage,
    Group,
    GroupPage,
    RefreshReply,
)

T = TypeVar("T")

_BY_NUMBER = PageScheme(key="extension_number")
_BY_GROUP = PageScheme(key="group_id")
_BY_FILE = PageScheme(key="filename")

ACCOUNT_VERIFY = Endpoint(
    "account.verify",
    "POST",
    "/account/credentials/verify",
    reply=Token,
    safety="safe",
    token="none",
)
ACCOUNT_VERIFY_EMAIL = Endpoint(
    "account.verify_email",
    "POST",
    "/account/email/verify",
    reply=Token,
    safety="safe",
    token="none",
)
ACCOUNT_REFRESH = Endpoint(
    "account.refresh", "POST", "/account/token/refresh", reply=RefreshReply, safety="safe"
)

EXTENSIONS_LIST = Endpoint(
    "extensions.list", "GET", "/extensions/list", reply=ExtensionPage, pages=_BY_NUMBER
)
EXTENSIONS_SEARCH = Endpoint(
    "extensions.search", "GET", "/extensions/search", reply=ExtensionPage, pages=_BY_NUMBER
)
EXTENSIONS_CREATE = Endpoint("extensions.create", "POST", "/extensions/create")
EXTENSIONS_SHOW = Endpoint(
    "extensions.show",
    "GET",
    "/extensions/show",
    reply=Extension,
    echo=Echo("extension_number", "extension_number"),
)
EXTENSIONS_STATUS = Endpoint(
    "extensions.status",
    "POST",
    "/extensions/status",
    reply=ExtensionStatuses,
    safety="safe",
    echo=Echo("extensions", "extension_number", rows="extension_status"),
)
# A GET that rings a telephone.
EXTENSIONS_CALL = Endpoint("extensions.call", "GET", "/extensions/call", safety="unsafe")
EXTENSIONS_UPDATE = Endpoint("extensions.update", "POST", "/extensions/update", safety="idempotent")
EXTENSIONS_REMOVE = Endpoint(
    "extensions.remove", "POST", "/extensions/destroy", safety="idempotent", removes=True
)

GROUPS_LIST = Endpoint(
    "groups.list", "GET", "/extensions/group/list", reply=GroupPage, pages=_BY_GROUP
)
GROUPS_SHOW = Endpoint(
    "groups.show",
    "GET",
    "/extensions/group/show",
    reply=Group,
    echo=Echo("group_id", "group_id"),
)
GROUPS_CREATE = Endpoint("groups.create", "POST", "/extensions/group/create", reply=CreatedGroup)
GROUPS_UPDATE = Endpoint("groups.update", "POST", "/extensions/group/update", safety="idempotent")
GROUPS_REMOVE = Endpoint(
    "groups.remove", "POST", "/extensions/group/destroy", safety="idempotent", removes=True
)

GREETINGS_LIST = Endpoint(
    "greetings.list",
    "GET",
    "/extensions/greeting_file/list",
    reply=GreetingPage,
    pages=_BY_FILE,
)
GREETINGS_ADD = Endpoint("greetings.add", "POST", "/extensions/greeting_file/create")
GREETINGS_UPLOAD = Endpoint(
    "greetings.upload",
    "POST",
    "/extensions/greeting_file/create",
    token="query",
    parameters="multipart",
)
GREETINGS_SETUP = Endpoint(
    "greetings.setup", "POST", "/extensions/greeting_file/update", safety="idempotent"
)
GREETINGS_REMOVE = Endpoint(
    "greetings.remove",
    "POST",
    "/extensions/greeting_file/destroy",
    safety="idempotent",
    removes=True,
)

ENDPOINTS: Mapping[str, Endpoint[object]] = {
    row.name: row
    for row in (
        ACCOUNT_VERIFY,
        ACCOUNT_VERIFY_EMAIL,
        ACCOUNT_REFRESH,
        EXTENSIONS_LIST,
        EXTENSIONS_SEARCH,
        EXTENSIONS_CREATE,
        EXTENSIONS_SHOW,
        EXTENSIONS_STATUS,
        EXTENSIONS_CALL,
        EXTENSIONS_UPDATE,
        EXTENSIONS_REMOVE,
        GROUPS_LIST,
        GROUPS_SHOW,
        GROUPS_CREATE,
        GROUPS_UPDATE,
        GROUPS_REMOVE,
        GREETINGS_LIST,
        GREETINGS_ADD,
        GREETINGS_UPLOAD,
        GREETINGS_SETUP,
        GREETINGS_REMOVE,
    )
}


class EndpointOverride(TypedDict, total=False):
    """What of a row a client may override."""

    method: str
    path: str
    token: TokenPlace
    parameters: ParameterPlace
    safety: Safety


class EndpointTable:
    """The rows of one client: the API's, with that client's overrides."""

    def __init__(self, overrides: Mapping[str, EndpointOverride] | None = None) -> None:
        """Lay overrides over the API's rows.

        Raises:
            ConfigurationError: an unknown row or field, or a value that no endpoint can have.
        """
        if not isinstance(overrides or {}, Mapping):
            raise ConfigurationError("endpoints: a mapping of rows by name is due")
        self._changed = {
            name: _override(name, override) for name, override in (overrides or {}).items()
        }

        self._untyped: dict[str, Endpoint[dict[str, Any]]] = {}

    def __getitem__(self, row: Endpoint[T]) -> Endpoint[T]:
        return self._changed.get(row.name, row)

    def untyped(self, row: Endpoint[Any]) -> Endpoint[dict[str, Any]]:
        """Answer the client's version of a row, its reply read as a plain object."""
        if row.name not in self._untyped:
            untyped = self[row].replace(reply=dict[str, Any])
            self._untyped[row.name] = cast(Endpoint[dict[str, Any]], untyped)
        return self._untyped[row.name]


def _override(name: str, override: EndpointOverride) -> Endpoint[Any]:
    row = ENDPOINTS.get(name)
    if row is None:
        raise ConfigurationError(f"endpoints: there is no row {name!r}")
    if not isinstance(override, Mapping):
        raise ConfigurationError(f"endpoints: {name} takes a mapping of fields")
    unknown = set(override) - set(get_type_hints(EndpointOverride))
    if unknown:
        raise ConfigurationError(f"endpoints: {name} has no {', '.join(sorted(map(str, unknown)))}")
    method = override.get("method", row.method)
    # A new method moves token and parameters to its own places, unless they are overridden too.
    moved = str(method).upper() != row.method
    if row.parameters == "multipart" and method.upper() != "GET":
        moved = False  # what is uploaded stays a form
    token = row.token if not moved or row.token == "none" else None
    try:
        return row.replace(
            method=method,
            path=override.get("path", row.path),
            safety=override.get("safety", row.safety),
            token=override.get("token", token),
            parameters=override.get("parameters", None if moved else row.parameters),
        )
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"endpoints: {error}") from None
