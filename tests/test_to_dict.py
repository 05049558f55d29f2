"""Every public struct of both generations has `to_dict` and `replace`."""

import csv
import inspect
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin
from uuid import UUID

import msgspec
import pytest
from fastapi import FastAPI

from portsip_async import (
    BulkResult,
    Drift,
    Extension,
    ExtensionPage,
    ExtensionStatus,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardRules,
    NotFound,
    OfficeHours,
    Options,
    Page,
    PollStats,
    PortSIPClient,
    PortSIPError,
    Presence,
    Profile,
    StatusChange,
    StatusMissing,
    StatusResult,
    Token,
    VoiceMail,
    WatchStats,
    v22,
)
from portsip_async.core.open_enum import OpenEnum
from portsip_async.core.page_sequence import AssembledPage
from portsip_async.redact import Record
from portsip_async.simulator import PBXSimulator

from .test_public_types import PUBLIC

SECRET = "correct-horse-9"
# The fields that `to_dict` hides.
SECRET_FIELDS = {
    "password",
    "web_access_password",
    "extension_password",
    "voicemail_pin",
    "access_token",
    "refresh_token",
}
ERROR = NotFound("gone", status=404, operation="extensions.show")
AT = datetime(2026, 11, 29, 12, 30, 15, 250000, UTC)
STRUCTS: dict[str, type[Record]] = {
    name: kind
    for name, kind in PUBLIC.items()
    if inspect.isclass(kind) and issubclass(kind, Record)
} | {"AssembledPage": AssembledPage}


def value_of(name: str, hint: Any) -> Any:
    """Build a value of a type. Fields with a secret's name get SECRET."""
    if isinstance(hint, TypeVar):
        return ExtensionSummary("101", status=Presence.ONLINE)
    if get_origin(hint) in (Union, UnionType):
        return value_of(name, next(one for one in get_args(hint) if one is not NoneType))
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if get_origin(hint) is tuple:
        return (value_of(name, get_args(hint)[0]),) * 2
    if issubclass(hint, OpenEnum):
        return hint("a new value")
    if issubclass(hint, Record):
        return filled(hint)
    if issubclass(hint, PortSIPError):
        return ERROR
    if hint is str and name in SECRET_FIELDS:
        return SECRET
    return {bool: True, int: 7, float: 2.5, str: f"the {name}", datetime: AT}[hint]


def filled(kind: type[Record]) -> Record:
    """Build a struct with a value in every field."""
    return kind(
        **{
            field.name: value_of(field.name, field.type)
            for field in msgspec.structs.fields(kind)
            if not field.name.startswith("_")
        }
    )


def lowest(kind: type[Record]) -> Record:
    """Build a struct with its required fields only."""
    required = [field for field in msgspec.structs.fields(kind) if field.required]
    return kind(**{field.name: value_of(field.name, field.type) for field in required})


def has_error(kind: type[Record]) -> bool:
    return not {"error", "last_error", "refusal"}.isdisjoint(kind.__struct_fields__)


@pytest.mark.parametrize("build", [filled, lowest], ids=["filled", "lowest"])
@pytest.mark.parametrize("name", STRUCTS)
def test_struct_becomes_json(name: str, build: Any) -> None:
    """Any JSON encoder takes the dict. It has all fields, under the API's names, and no secret."""
    struct = build(STRUCTS[name])
    for reveal in (False, True):
        found = struct.to_dict(reveal=reveal)
        text = json.dumps(found, allow_nan=False)
        assert json.loads(text) == found
        assert msgspec.json.decode(msgspec.json.encode(found)) == found
        assert list(found) == [
            sent for sent in struct.__struct_encode_fields__ if sent != "err_code"
        ]
        encoded = msgspec.json.encode(struct, enc_hook=str).decode()
        assert (SECRET in text) is (reveal and SECRET in encoded)


@pytest.mark.parametrize("name", [name for name, kind in STRUCTS.items() if not has_error(kind)])
def test_revealed_dict_becomes_the_struct_again(name: str) -> None:
    """With `reveal=True` no value is lost. Only an error becomes a text."""
    struct, kind = filled(STRUCTS[name]), STRUCTS[name]
    exact: Any = kind[ExtensionSummary] if getattr(kind, "__parameters__", ()) else kind  # type: ignore[index]
    assert msgspec.convert(struct.to_dict(reveal=True), exact) == struct


def test_hidden_fields_are_the_secrets() -> None:
    """What `to_dict` hides are the passwords, pins and tokens, and nothing else."""

    def hidden(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(hidden, value))
        found = {key for key, item in value.items() if item == "***"}
        return found.union(*(hidden(item) for item in value.values() if isinstance(item, dict)))

    found = set().union(*(hidden(filled(kind).to_dict()) for kind in STRUCTS.values()))
    assert found == SECRET_FIELDS | {"token"}  # a `Token`, as a whole


class Shouting(str):
    """A text that shows another one."""

    def __str__(self) -> str:
        return SECRET


class Colour(Enum):
    RED = "red"


UPDATE = ExtensionUpdate(
    extension_number=Shouting("101"),
    profile={Shouting("first_name"): Shouting("Ann"), "nick": Colour.RED, "at": AT, "n": {3}},  # type: ignore[arg-type]
    options=Options(),
    forward_rules=ForwardRules(),
    office_hours=OfficeHours(),
    voice_mail={"voicemail_pin": SECRET, "old": [{"pin": SECRET}], "asks_for_pin": True},  # type: ignore[arg-type]
)


@pytest.mark.parametrize(
    ("struct", "expected"),
    [
        pytest.param(
            VoiceMail(voicemail_pin="", enable_vm_pin_auth=True),
            {"voicemail_pin": "***", "enable_vm_pin_auth": True},
            id="empty-secret",
        ),
        pytest.param(VoiceMail(), {"voicemail_pin": None}, id="no-secret"),
        pytest.param(
            UPDATE,
            {
                "extension_number": "101",
                "profile": {
                    "first_name": "Ann",
                    "nick": "red",
                    "at": "2026-11-29T12:30:15.250000+00:00",
                    "n": [3],
                },
                "voice_mail": {
                    "voicemail_pin": "***",
                    "old": [{"pin": "***"}],
                    "asks_for_pin": True,
                },
            },
            id="sections-as-mappings",
        ),
        pytest.param(
            v22.TimeRange(from_="09:00", to="17:00"), {"from": "09:00", "to": "17:00"}, id="renamed"
        ),
        pytest.param(Token("t", float("inf")), {"access_token": "***", "expires": None}, id="inf"),
        pytest.param(Token("t", float("nan")), {"expires": None}, id="nan"),
        pytest.param(
            StatusResult[ExtensionStatus]("9", error=StatusMissing("9", operation="o")),
            {"status": None, "error": "StatusMissing: o: no status for extension 9"},
            id="error",
        ),
        pytest.param(BulkResult(0, "1", error=ValueError()), {"error": "ValueError: "}, id="empty"),
        pytest.param(
            StatusChange("9", ExtensionStatus("9", Presence.RINGING), None, AT),
            {
                "before": {"extension_number": "9", "status": "RINGING", "user_agent": None},
                "after": None,
                "at": "2026-11-29T12:30:15.250000+00:00",
            },
            id="change",
        ),
        pytest.param(
            v22.User(id="1", created_at=AT.astimezone(timezone(timedelta(hours=2)))),
            {"created_at": "2026-11-29T14:30:15.250000+02:00"},
            id="zone",
        ),
        pytest.param(BulkResult(0, "1", UUID(int=5)), {"value": str(UUID(int=5))}, id="any-value"),
        pytest.param(Drift(2), {"dropped": 2, "page_count_changed": False}, id="drift"),
        pytest.param(PollStats(3), {"requests": 3, "splits": 0}, id="poll-stats"),
        pytest.param(
            WatchStats(last_success=AT, unknown=("9",)),
            {"last_success": "2026-11-29T12:30:15.250000+00:00", "unknown": ["9"]},
            id="watch-stats",
        ),
        pytest.param(
            ExtensionPage(items=(ExtensionSummary("1"),), count=1),
            {"count": 1, "extensions": [ExtensionSummary("1").to_dict()]},
            id="page",
        ),
    ],
)
def test_values(struct: Record, expected: dict[str, Any]) -> None:
    """Each kind of value has one form in JSON."""
    found = struct.to_dict()
    assert {name: found[name] for name in expected} == expected
    json.dumps(found, allow_nan=False)


def test_mapping_in_a_section_is_revealed() -> None:
    """`reveal=True` shows the secrets of mappings too."""
    assert UPDATE.to_dict(reveal=True)["voice_mail"] == {
        "voicemail_pin": SECRET,
        "old": [{"pin": SECRET}],
        "asks_for_pin": True,
    }


def test_items_of_a_list_have_the_same_columns() -> None:
    """A field that is None stays, so a CSV file needs no further care."""
    rows = [ExtensionSummary("1", "Ann").to_dict(), ExtensionSummary("2").to_dict()]
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0])
    writer.writerows(rows)
    assert written.getvalue().splitlines() == ["1,Ann,,,,,,", "2,,,,,,,"]


async def test_fastapi_returns_dicts(sim: PBXSimulator) -> None:
    """A handler may return `to_dict()`, and no secret leaves."""
    from .test_docs import asked

    app = FastAPI()

    @app.get("/extensions/101")
    async def show() -> dict[str, object]:
        async with PortSIPClient(sim.url, username=sim.username, password=sim.password) as pbx:
            return (await pbx.extensions.show("101")).to_dict()

    status, body = await asked(app, "/extensions/101")
    assert status == 200
    found = json.loads(body)
    assert found["extension_number"] == "101"
    assert found["password"] == found["voice_mail"]["voicemail_pin"] == "***"


@pytest.mark.parametrize("name", STRUCTS)
def test_replace_keeps_the_class_and_the_other_fields(name: str) -> None:
    """A copy with one field replaced differs in this field only, whichever it is."""
    kind = STRUCTS[name]
    struct = filled(kind)
    for field in kind.__struct_fields__:
        if field.startswith("_"):
            continue
        changed = struct.replace(**{field: None})
        assert type(changed) is type(struct)
        assert getattr(changed, field) is None
        assert changed.replace(**{field: getattr(struct, field)}) == struct
        assert struct == filled(kind)


@pytest.mark.parametrize(
    ("struct", "name", "hint"),
    [
        (Profile(), "first_nam", 'did you mean "first_name"?'),
        (v22.UserSettings(), "Department", 'did you mean "department"?'),
        (v22.TimeRange(), "from", 'did you mean "from_"?'),
        (Page(items=()), "_err_code", "it has items"),
        (Options(), "\ud800\n", "it has enable"),
        (Options(), "x", "it has enable_audio_record_calls, enable_video_record_calls"),
    ],
    ids=["misspelt", "case", "api-name", "private", "unprintable", "nothing-near"],
)
def test_replace_refuses_unknown_fields(struct: Record, name: str, hint: str) -> None:
    """The message names the struct and the nearest field."""
    with pytest.raises(TypeError) as caught:
        struct.replace(**{name: 1})
    shown = name.encode("unicode_escape").decode()
    assert str(caught.value).startswith(f'{type(struct).__name__} has no field "{shown}"; {hint}')


def test_copy_replace_is_replace() -> None:
    """`copy.replace` of Python 3.13 does the same. It calls this method."""
    extension: Any = Extension(extension_number="1", password=SECRET)
    assert extension.__replace__(password=None) == Extension(extension_number="1")
    with pytest.raises(TypeError, match="did you mean"):
        extension.__replace__(pasword=None)
