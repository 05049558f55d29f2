"""The operations of the API, written down a second time, and how to call each of them.

A row is the vendor's reference read by hand, so a mistake in the endpoint table does not pass
unnoticed. Its call is one that the simulator accepts. The secrets in it have shapes that no other
text has, so tests can search for them.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from portsip_async import (
    CreatedGroup,
    Extension,
    ExtensionPage,
    GreetingPage,
    Group,
    GroupPage,
    NewExtension,
    PortSIPClient,
    Token,
)
from portsip_async.classic.extension_models import ExtensionStatuses
from portsip_async.classic.models import RefreshReply

PASSWORD = 'pass wörd/+&"1'
WEB_PASSWORD = "web%Secret=2"
# So long that no time and no address has it by chance.
PIN = "9031790317903179"
AUTH = "auth;Secret<3>"
LOGIN_PASSWORD = "login'Secret\\4"
SECRETS = (PASSWORD, WEB_PASSWORD, PIN, AUTH, LOGIN_PASSWORD)
# A text in the replies below. Faults replace it with something else.
TEXT = "Ann"

SECTIONS: Mapping[str, Mapping[str, object]] = {
    "profile": {"first_name": "Ann"},
    "options": {"enable_extension": True},
    "forward_rules": {},
    "office_hours": {},
    "voice_mail": {"enable_voicemail": True, "voicemail_pin": PIN},
}

# The arguments that have another name than the parameter they are sent as.
_ARGUMENTS = {
    "extensions": "extension_numbers",
    "pagination": "page",
    "pagesize": "page_size",
    "file": "source",
}


class Operation(NamedTuple):
    """A call, the name that its errors have, its safety, and the class of the client that has it.

    `v22/operations.py` has those of generation v22.
    """

    name: str
    safety: str
    send: Callable[[Any], Awaitable[Any]]
    client: Callable[..., Any] = PortSIPClient


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operation as the reference describes it.

    Attributes:
        name: its name; the rest up to `key` are the attributes of its endpoint.
        key: the field that identifies the items of a list; None for other operations.
        sends: the parameters of the call, under the API's names and without the token.
        optional: those that may be left out.
        replies: a reply; None if the body is empty.
        reads: returns whether the reply was read, and the `TEXT` in it.
    """

    name: str
    method: str
    path: str
    reply: type[Any] | None = None
    safety: str
    token: str
    parameters: str
    key: str | None = None
    sends: Mapping[str, Any]
    optional: frozenset[str] = frozenset()
    replies: dict[str, Any] | None = None
    reads: Callable[[Any], tuple[bool, object]] = lambda value: (value is None, None)

    @property
    def texts(self) -> list[str]:
        """The parameters that are any text."""
        return [name for name, value in self.sends.items() if isinstance(value, str)]

    @property
    def secrets(self) -> list[str]:
        """The secrets in the call."""
        return [secret for secret in SECRETS if secret in leaves(self.sends)]

    def send(self, pbx: PortSIPClient, **changes: Any) -> Any:
        """Call the coroutine that the row is named after, with some parameters changed."""
        resource, _, name = self.name.partition(".")
        given = {**self.sends, **changes}
        if self.name == "extensions.create":
            given = {"extension": NewExtension(**given)}
        arguments = {_ARGUMENTS.get(name, name): value for name, value in given.items()}
        if self.key is not None:
            arguments["prefetch"] = 0
        return getattr(getattr(pbx, resource), name)(**arguments)


def leaves(value: Any) -> Iterator[Any]:
    """Walk the values in nested mappings and lists."""
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    else:
        yield value


_TOKEN: Any = {
    "replies": {"access_token": "given/by+login&é", "expires": 600, "role": TEXT},
    "reads": lambda token: (token.access_token == "given/by+login&é", token.role),
}
_EXTENSIONS: Any = {
    "reply": ExtensionPage,
    "key": "extension_number",
    "replies": {
        "extensions": [{"extension_number": "101", "first_name": TEXT}],
        "page_count": 1,
        "count": 1,
    },
    "reads": lambda page: (
        page.items[0].extension_number == "101",
        page.items[0].first_name,
    ),
}
_IN_QUERY: Any = {"method": "GET", "token": "query", "parameters": "query"}
_IN_JSON: Any = {"method": "POST", "token": "body", "parameters": "json"}
_LOGIN: Any = {"method": "POST", "token": "none", "parameters": "json"}
_PAGE = {"pagination": 1, "pagesize": 100}
_SORTED_PAGE = {**_PAGE, "sort_by": "DEFAULT"}
_OF_PAGE = frozenset({"pagesize", "sort_by"})
_GROUP: Mapping[str, Any] = {
    "group_name": "Sales",
    "group_description": "All of them",
    "enable_intercom": True,
    "enable_external_call": False,
    "enable_management_console_access": False,
    "members": ["101"],
}
_OF_GROUP = frozenset({"group_description", "members"})
_FILE = {"extension_number": "101", "filename": "a.wav"}

ROWS = (
    Row(
        name="account.verify",
        path="/account/credentials/verify",
        reply=Token,
        safety="safe",
        sends={"username": "admin", "password": LOGIN_PASSWORD},
        **_LOGIN,
        **_TOKEN,
    ),
    Row(
        name="account.verify_email",
        path="/account/email/verify",
        reply=Token,
        safety="safe",
        sends={"email": "a@b", "password": PASSWORD},
        **_LOGIN,
        **_TOKEN,
    ),
    Row(
        name="account.refresh",
        path="/account/token/refresh",
        reply=RefreshReply,
        safety="safe",
        sends={},
        **_IN_JSON,
        **_TOKEN,
    ),
    Row(
        name="extensions.list",
        path="/extensions/list",
        safety="safe",
        sends=_SORTED_PAGE,
        optional=_OF_PAGE,
        **_IN_QUERY,
        **_EXTENSIONS,
    ),
    Row(
        name="extensions.search",
        path="/extensions/search",
        safety="safe",
        sends={"condition": "10", **_PAGE},
        optional=frozenset({"pagesize"}),
        **_IN_QUERY,
        **_EXTENSIONS,
    ),
    Row(
        name="extensions.create",
        path="/extensions/create",
        safety="unsafe",
        sends={
            "extension_number": "9001",
            "password": PASSWORD,
            "web_access_password": WEB_PASSWORD,
            **SECTIONS,
        },
        optional=frozenset(SECTIONS),
        **_IN_JSON,
    ),
    Row(
        name="extensions.show",
        path="/extensions/show",
        reply=Extension,
        safety="safe",
        sends={"extension_number": "101"},
        replies={"extension_number": "101", "profile": {"first_name": TEXT}, "count": 1},
        reads=lambda extension: (
            extension.extension_number == "101",
            extension.profile.first_name,
        ),
        **_IN_QUERY,
    ),
    Row(
        name="extensions.status",
        path="/extensions/status",
        reply=ExtensionStatuses,
        safety="safe",
        sends={"extensions": ["101", "102"]},
        replies={
            "extension_status": [{"extension_number": "101", "user_agent": TEXT}],
            "count": 1,
        },
        reads=lambda statuses: (
            statuses[0].extension_number == "101",
            statuses[0].user_agent,
        ),
        **_IN_JSON,
    ),
    Row(
        name="extensions.call",
        path="/extensions/call",
        safety="unsafe",
        sends={
            "extension": "101",
            "to": "102",
            "auth": AUTH,
            "domain": "d.example",
            "src": "101",
        },
        **_IN_QUERY,
    ),
    Row(
        name="extensions.update",
        path="/extensions/update",
        safety="idempotent",
        sends={"extension_number": "101", **SECTIONS},
        **_IN_JSON,
    ),
    Row(
        name="extensions.remove",
        path="/extensions/destroy",
        safety="idempotent",
        sends={"extension_number": "101"},
        **_IN_JSON,
    ),
    Row(
        name="groups.list",
        path="/extensions/group/list",
        reply=GroupPage,
        safety="safe",
        key="group_id",
        sends=_SORTED_PAGE,
        optional=_OF_PAGE,
        replies={
            "groups": [{"group_id": "1", "group_name": TEXT}],
            "page_count": 1,
            "count": 1,
        },
        reads=lambda page: (page.items[0].group_id == "1", page.items[0].group_name),
        **_IN_QUERY,
    ),
    Row(
        name="groups.show",
        path="/extensions/group/show",
        reply=Group,
        safety="safe",
        sends={"group_id": "1"},
        replies={"group_id": "1", "group_name": TEXT, "members": ["101"], "count": 1},
        reads=lambda group: (group.members == ("101",), group.group_name),
        **_IN_QUERY,
    ),
    Row(
        name="groups.create",
        path="/extensions/group/create",
        reply=CreatedGroup,
        safety="unsafe",
        sends=_GROUP,
        optional=_OF_GROUP,
        replies={"group_id": "7", "group_name": TEXT, "count": 1},
        reads=lambda group: (group.group_id == "7", group.group_name),
        **_IN_JSON,
    ),
    Row(
        name="groups.update",
        path="/extensions/group/update",
        safety="idempotent",
        sends={"group_id": "1", **_GROUP},
        optional=_OF_GROUP,
        **_IN_JSON,
    ),
    Row(
        name="groups.remove",
        path="/extensions/group/destroy",
        safety="idempotent",
        sends={"group_id": "1"},
        **_IN_JSON,
    ),
    Row(
        name="greetings.list",
        path="/extensions/greeting_file/list",
        reply=GreetingPage,
        safety="safe",
        key="filename",
        sends={"extension_number": "101", **_SORTED_PAGE},
        optional=_OF_PAGE,
        replies={
            "files": [{"filename": "a.wav"}],
            "default_file": TEXT,
            "page_count": 1,
            "count": 1,
        },
        reads=lambda page: (page.items[0].filename == "a.wav", page.default_file),
        **_IN_QUERY,
    ),
    Row(
        name="greetings.add",
        path="/extensions/greeting_file/create",
        safety="unsafe",
        sends={**_FILE, "url": "https://files.example/a.wav"},
        optional=frozenset({"filename", "url"}),
        **_IN_JSON,
    ),
    Row(
        name="greetings.upload",
        method="POST",
        path="/extensions/greeting_file/create",
        safety="unsafe",
        token="query",
        parameters="multipart",
        sends={**_FILE, "file": b"RIFF" * 9},
    ),
    Row(
        name="greetings.setup",
        path="/extensions/greeting_file/update",
        safety="idempotent",
        sends=_FILE,
        **_IN_JSON,
    ),
    Row(
        name="greetings.remove",
        path="/extensions/greeting_file/destroy",
        safety="idempotent",
        sends=_FILE,
        **_IN_JSON,
    ),
)
BY_ROW = {row.name: row for row in ROWS}

# The calls that send one request each: a refresh comes with a login.
OPERATIONS = tuple(
    Operation(row.name, row.safety, row.send) for row in ROWS if row.name != "account.refresh"
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
