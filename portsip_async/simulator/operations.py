"""What a simulated PBX does for each row of the endpoint table: the fields it takes, its action.

An action answers the reply's content, or None where no body is due.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ..classic.models import ForwardRules, OfficeHours, Options, Profile, VoiceMail
from .accounts import Accounts
from .reading import Field, any_text, flag, number, section, text, texts
from .refusal import Refusal
from .state import PBX, SECTIONS, Call, Greeting

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """What an action works on.

    Attributes:
        pbx: the state.
        accounts: the account and its tokens.
        token: the token that the request carried; "" where it needs none.
        now: seconds since the simulator was made.
    """

    pbx: PBX
    accounts: Accounts
    token: str
    now: float


Action = Callable[[Visit, Given], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """The fields that an operation takes, and its action."""

    fields: tuple[Field, ...]
    act: Action


def _verify(visit: Visit, given: Given) -> dict[str, Any]:
    name = given.get("username") or given["email"]
    return visit.accounts.verify(name, given["password"], visit.now)


def _refresh(visit: Visit, _: Given) -> dict[str, Any]:
    return visit.accounts.refresh(visit.token, visit.now)


def _list_extensions(visit: Visit, given: Given) -> dict[str, Any]:
    page = visit.pbx.list_extensions(given["pagination"], given.get("pagesize"), visit.now)
    return page | {"sort_by": given.get("sort_by", "DEFAULT")}


def _search_extensions(visit: Visit, given: Given) -> dict[str, Any]:
    page = visit.pbx.search_extensions(
        given["condition"], given["pagination"], given.get("pagesize"), visit.now
    )
    del page["sort_by"]  # as in the vendor's sample
    return page


def _create_extension(visit: Visit, given: Given) -> None:
    visit.pbx.create_extension(given)


def _show_extension(visit: Visit, given: Given) -> dict[str, Any]:
    return visit.pbx.show_extension(given["extension_number"])


def _statuses(visit: Visit, given: Given) -> dict[str, Any]:
    return {"extension_status": visit.pbx.statuses(given["extensions"], visit.now)}


def _call(visit: Visit, given: Given) -> None:
    # Extensions don't check the password: a test need not know one that was made up.
    visit.pbx.place_call(
        Call(given["extension"], given["to"], given["domain"], given["src"], visit.now)
    )


def _update_extension(visit: Visit, given: Given) -> None:
    sections = {name: given[name] for name in SECTIONS}
    visit.pbx.update_extension(given["extension_number"], sections)


def _remove_extension(visit: Visit, given: Given) -> None:
    visit.pbx.remove_extension(given["extension_number"])


def _list_groups(visit: Visit, given: Given) -> dict[str, Any]:
    page = visit.pbx.list_groups(given["pagination"], given.get("pagesize"))
    return page | {"sort_by": given.get("sort_by", "DEFAULT")}


def _show_group(visit: Visit, given: Given) -> dict[str, Any]:
    return visit.pbx.show_group(given["group_id"])


def _create_group(visit: Visit, given: Given) -> dict[str, Any]:
    return visit.pbx.create_group(given)


def _update_group(visit: Visit, given: Given) -> None:
    visit.pbx.update_group(given["group_id"], given)


def _remove_group(visit: Visit, given: Given) -> None:
    visit.pbx.remove_group(given["group_id"])


def _list_greetings(visit: Visit, given: Given) -> dict[str, Any]:
    page = visit.pbx.list_greetings(
        given["extension_number"], given["pagination"], given.get("pagesize")
    )
    return page | {"sort_by": given.get("sort_by", "DEFAULT")}


def _add_greeting(visit: Visit, given: Given) -> None:
    url = given.get("url")
    filename = given.get("filename") or unquote(urlsplit(url or "").path.rsplit("/", 1)[-1])
    if not filename:
        raise Refusal("format", "filename or url is required")
    visit.pbx.add_greeting(given["extension_number"], Greeting(filename, url=url))


def _upload_greeting(visit: Visit, given: Given) -> None:
    file: Greeting = given["file"]
    filename = given.get("filename") or file.filename
    if not filename:
        raise Refusal("format", "filename is required")
    greeting = Greeting(filename, file.size, file.sha256)
    visit.pbx.add_greeting(given["extension_number"], greeting)


def _setup_greeting(visit: Visit, given: Given) -> None:
    visit.pbx.setup_greeting(given["extension_number"], given["filename"])


def _remove_greeting(visit: Visit, given: Given) -> None:
    visit.pbx.remove_greeting(given["extension_number"], given["filename"])


def _uploaded(value: Any) -> Greeting:
    if not isinstance(value, Greeting):
        raise ValueError("no file")
    return value


_NUMBER = Field("extension_number", text)
_GROUP_ID = Field("group_id", text)
_FILENAME = Field("filename", text)
_SOME_FILENAME = Field("filename", text, required=False)
_PAGE = (
    Field("pagination", number),
    Field("pagesize", number, required=False),
    Field("sort_by", any_text, required=False),
)
_MODELS: Mapping[str, type[Any]] = {
    "profile": Profile,
    "options": Options,
    "forward_rules": ForwardRules,
    "office_hours": OfficeHours,
    "voice_mail": VoiceMail,
}
_GROUP = (
    Field("group_name", text),
    Field("group_description", any_text, required=False),
    Field("enable_intercom", flag),
    Field("enable_external_call", flag),
    Field("enable_management_console_access", flag),
    Field("members", texts, required=False),
)

OPERATIONS: Mapping[str, Operation] = {
    "account.verify": Operation((Field("username", text), Field("password", text)), _verify),
    "account.verify_email": Operation((Field("email", text), Field("password", text)), _verify),
    "account.refresh": Operation((), _refresh),
    "extensions.list": Operation(_PAGE, _list_extensions),
    "extensions.search": Operation((Field("condition", any_text), *_PAGE), _search_extensions),
    "extensions.create": Operation(
        (
            _NUMBER,
            Field("password", text),
            Field("web_access_password", text),
            *(Field(name, section(model), required=False) for name, model in _MODELS.items()),
        ),
        _create_extension,
    ),
    "extensions.show": Operation((_NUMBER,), _show_extension),
    "extensions.status": Operation((Field("extensions", texts),), _statuses),
    "extensions.call": Operation(
        tuple(Field(name, text) for name in ("extension", "auth", "to", "domain", "src")), _call
    ),
    "extensions.update": Operation(
        (_NUMBER, *(Field(name, section(model)) for name, model in _MODELS.items())),
        _update_extension,
    ),
    "extensions.remove": Operation((_NUMBER,), _remove_extension),
    "groups.list": Operation(_PAGE, _list_groups),
    "groups.show": Operation((_GROUP_ID,), _show_group),
    "groups.create": Operation(_GROUP, _create_group),
    "groups.update": Operation((_GROUP_ID, *_GROUP), _update_group),
    "groups.remove": Operation((_GROUP_ID,), _remove_group),
    "greetings.list": Operation((_NUMBER, *_PAGE), _list_greetings),
    "greetings.add": Operation(
        (_NUMBER, _SOME_FILENAME, Field("url", text, required=False)), _add_greeting
    ),
    "greetings.upload": Operation(
        (_NUMBER, _SOME_FILENAME, Field("file", _uploaded)), _upload_greeting
    ),
    "greetings.setup": Operation((_NUMBER, _FILENAME), _setup_greeting),
    "greetings.remove": Operation((_NUMBER, _FILENAME), _remove_greeting),
}
