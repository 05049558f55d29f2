"""The structures: every sample of the vendor field by field, and how a struct behaves."""

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from portsip_async import PortSIPClient
from portsip_async.classic import extension_models, models
from portsip_async.classic.enums import (
    ForwardAction,
    Gender,
    OfficeHoursMode,
    Presence,
    ReadOutDatetime,
    SortBy,
)
from portsip_async.classic.extension_models import (
    AvailableRule,
    AwayRule,
    Extension,
    ExtensionPage,
    ExtensionStatus,
    ExtensionStatuses,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    Profile,
    VoiceMail,
)
from portsip_async.classic.models import (
    CreatedGroup,
    GreetingFile,
    GreetingPage,
    Group,
    GroupPage,
    GroupSummary,
    RefreshReply,
)
from portsip_async.classic.operations import ENDPOINTS
from portsip_async.core.decode import Decoder, Unreadable
from portsip_async.core.open_enum import OpenEnum
from portsip_async.core.page_sequence import Page
from portsip_async.core.token_types import Token
from portsip_async.redact import Record
from portsip_async.simulator.generated import status_at

from .samples import SAMPLES, TOKEN, load

STRUCTS: list[type[Record]] = [
    *(
        value
        for module in (extension_models, models)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Record) and value not in (Record, Page)
    ),
    Token,
]
ENUMS: list[type[OpenEnum]] = [
    SortBy,
    Presence,
    Gender,
    ForwardAction,
    ReadOutDatetime,
    OfficeHoursMode,
]

PROFILE = Profile(
    first_name="first name",
    last_name="last name",
    gender=Gender.MALE,
    email="example@example.com",
    mobile_phone="123456",
    work_phone="123456",
    home_phone="123456",
    twitter="Placeholders",
    facebook="Placeholders",
    linkedin="Placeholders",
    instagram="Placeholders",
    description="Placeholders",
)
OPTIONS = Options(
    enable_audio_record_calls=False, enable_video_record_calls=False, enable_extension=True
)
VOICE_MAIL = VoiceMail(
    enable_voicemail=True,
    prompt_language="en-us",
    enable_vm_pin_auth=True,
    voicemail_pin="123456",
    enable_play_caller_id=False,
    msg_read_out_datetime=ReadOutDatetime.DO_NOT_READ,
)
AWAY = AwayRule(
    office_hours_action=ForwardAction.CONNECT_TO_VOICE,
    office_hours_action_value="",
    outside_office_hours_action=ForwardAction.CONNECT_TO_VOICE,
    outside_office_hours_action_value="",
)
FORWARD_RULES = ForwardRules(
    available=AvailableRule(
        no_answer_timeval=20,
        no_answer_action=ForwardAction.CONNECT_TO_VOICE_MAIL,
        no_answer_action_value="",
        busy_action=ForwardAction.CONNECT_TO_VOICE,
        busy_action_value="",
    ),
    offline=AWAY,
    dnd=AWAY,
    away=AWAY,
)
OFFICE_HOURS = OfficeHours(
    office_hours_mode=OfficeHoursMode.CUSTOM,
    monday_from="09:00",
    monday_to="17:00",
    tuesday_from="09:00",
    tuesday_to="17:00",
    wednesday_from="09:00",
    wednesday_to="17:00",
    thursday_from="09:00",
    thursday_to="17:00",
    friday_from="09:00",
    friday_to="17:00",
    saturday_from="09:00",
    saturday_to="17:00",
    sunday_from="09:00",
    sunday_to="17:00",
)
EXTENSION = Extension(
    extension_number="1000",
    password="123456",
    web_access_password="123456",
    profile=PROFILE,
    voice_mail=VOICE_MAIL,
    forward_rules=FORWARD_RULES,
    options=OPTIONS,
    office_hours=OFFICE_HOURS,
)
NEW_EXTENSION = NewExtension(
    extension_number="1000",
    password="123456",
    web_access_password="123456",
    profile=PROFILE,
    voice_mail=VOICE_MAIL,
    forward_rules=FORWARD_RULES,
    options=OPTIONS,
    office_hours=OFFICE_HOURS,
)
SUMMARY = ExtensionSummary(
    extension_number="1001",
    first_name="Sample name",
    last_name="Sample name",
    email="sample@sample.com",
    status=Presence.OFFLINE,
    user_agent="",
    phone_mac_address="",
    phone_model="",
)

# The sample replies of the vendor's page, written down by hand.
REPLIES: dict[str, Record] = {
    "account.verify": Token(TOKEN, 600.0, "tenant", "2.0.0"),
    "account.verify_email": Token(TOKEN, 600.0, "tenant", "2.0.0"),
    "account.refresh": RefreshReply(TOKEN, 600.0, "tenant", "2.0.0"),
    "extensions.list": ExtensionPage(
        items=(SUMMARY,),
        pagination=1,
        pagesize=100,
        page_count=100,
        count=100,
        sort_by="DEFAULT",
    ),
    "extensions.search": ExtensionPage(
        items=(SUMMARY,), pagination=1, pagesize=100, page_count=100, count=100
    ),
    "extensions.show": EXTENSION,
    "extensions.status": ExtensionStatuses((ExtensionStatus("101", Presence.ON_CALL, ""),)),
    "groups.list": GroupPage(
        items=(
            GroupSummary("5E7B5E37-4008-429C-85D3-183DD4D4A9D9", "Example extension group", 0),
            GroupSummary("__DEFAULT_EXTENSION_GROUP__", "__DEFAULT_EXTENSION_GROUP__", 0),
        ),
        pagination=1,
        pagesize=100,
        page_count=100,
        count=100,
        sort_by="DEFAULT",
    ),
    "groups.show": Group(
        group_name="Sample extension group",
        group_description="Sample extension group",
        enable_intercom=True,
        enable_external_call=True,
        enable_management_console_access=True,
        members=("105", "106", "107"),
    ),
    "groups.create": CreatedGroup("12", "test"),
    "greetings.list": GreetingPage(
        items=(GreetingFile("default.wav,", True), GreetingFile("qweqwrer.wav", False)),
        pagination=1,
        pagesize=100,
        page_count=100,
        count=100,
        sort_by="DEFAULT",
        default_file="abcdfeg.wav",
    ),
}

# Fields that are in the page's tables, but not in its samples.
ONLY_IN_TABLES: dict[type[Record], set[str]] = {
    Extension: {"belong_groups"},
    Group: {"group_id"},
}


def read(kind: Any, value: Any) -> Any:
    return Decoder(kind).decode(json.dumps(value).encode())


def test_id_of_a_group_may_be_under_id() -> None:
    """Version 12 has `id`, a number, in place of `group_id`."""
    page = read(GroupPage, {"count": 1, "groups": [{"id": 7, "group_name": "Sales"}]})
    assert page.items == (GroupSummary("7", "Sales"),)
    assert read(CreatedGroup, {"id": 7, "group_name": "Sales"}) == CreatedGroup("7", "Sales")


def field_types(kind: type[Record]) -> dict[str, Any]:
    """Return the types of a struct's fields under the API's names, without null."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        others = [each for each in getattr(field.type, "__args__", ()) if each is not type(None)]
        found[field.encode_name] = others[0] if len(others) == 1 else field.type
    return found


def fields_in(value: Any, kind: Any) -> Iterator[tuple[type[Record], str]]:
    """Yield every field in a sample, with the model that it belongs to."""
    if isinstance(value, list) or getattr(kind, "__origin__", None) is tuple:
        for item in value if isinstance(value, list) else [value]:
            yield from fields_in(item, kind.__args__[0])
    elif isinstance(value, dict):
        types = field_types(kind)
        for name, inner in value.items():
            yield kind, name
            yield from fields_in(inner, types[name])


class TestSamples:
    def test_every_sample_reply_has_an_expected_value(self) -> None:
        """No sample goes unread."""
        assert set(REPLIES) == {name for name in SAMPLES if load(name).reply}

    @pytest.mark.parametrize("name", REPLIES)
    def test_reply_decodes_field_by_field(self, name: str) -> None:
        """The decoded sample equals the structure that was written down by hand."""
        kind = ENDPOINTS[name].reply
        assert kind is not None
        found = Decoder(kind).decode(load(name).reply)
        assert type(found) is type(REPLIES[name])
        assert msgspec.structs.asdict(found) == msgspec.structs.asdict(REPLIES[name])

    @pytest.mark.parametrize("name", REPLIES)
    def test_no_field_of_a_reply_is_lost(self, name: str) -> None:
        """The models have every field of the samples. Encoding a decoded sample restores it."""
        kind: Any = ENDPOINTS[name].reply
        sample = load(name)
        assert all(field in field_types(kind) for kind, field in fields_in(sample.parsed, kind))
        again = json.loads(msgspec.json.encode(Decoder(kind).decode(sample.reply)))
        shown = sample.parsed
        if name == "extensions.search":
            shown["extensions"] = [shown["extensions"]]
        assert again == shown

    def test_no_field_of_a_request_is_lost(self) -> None:
        """Create and update send exactly the fields of the samples."""
        create = load("extensions.create").body
        assert create is not None
        assert create.pop("access_token") == TOKEN
        assert json.loads(msgspec.json.encode(NEW_EXTENSION)) == create
        assert msgspec.convert(create, NewExtension) == NEW_EXTENSION
        update = load("extensions.update").body
        assert update is not None
        for section, model in (
            ("profile", PROFILE),
            ("options", OPTIONS),
            ("forward_rules", FORWARD_RULES),
            ("office_hours", OFFICE_HOURS),
            ("voice_mail", VOICE_MAIL),
        ):
            assert json.loads(msgspec.json.encode(model)) == update[section]

    def test_models_have_only_documented_fields(self) -> None:
        """Every field of a model is in a sample, or only in a table of the reference."""
        shown: dict[type[Record], set[str]] = {}
        for name in REPLIES:
            sample = load(name)
            for kind, field in fields_in(sample.parsed, ENDPOINTS[name].reply):
                shown.setdefault(kind, set()).add(field)
        for kind, fields in shown.items():
            own = set(field_types(kind)) - {"err_code", "refresh_token"}  # that one is of v22
            assert own == fields | ONLY_IN_TABLES.get(kind, set()), kind


class TestContradictions:
    """The contradictions within the vendor's page, numbered as in our reference."""

    def test_1_search_returns_an_array_or_an_object(self) -> None:
        bare = load("extensions.search").parsed
        listed = bare | {"extensions": [bare["extensions"]]}
        assert read(ExtensionPage, bare) == read(ExtensionPage, listed)

    def test_2_greetings_are_under_files_or_greetings(self) -> None:
        shown = load("greetings.list").parsed
        renamed = {("greetings" if name == "files" else name): shown[name] for name in shown}
        assert read(GreetingPage, renamed) == REPLIES["greetings.list"]
        both = shown | {"greetings": []}
        assert read(GreetingPage, both) == REPLIES["greetings.list"]

    def test_3_group_id_may_be_missing(self) -> None:
        shown = load("groups.show").parsed
        assert read(Group, shown).group_id == ""
        assert read(Group, shown | {"group_id": 12}).group_id == "12"
        assert read(Group, shown | {"group_id": None}).group_id == ""

    def test_4_count_is_not_the_length(self) -> None:
        page = REPLIES["groups.list"]
        assert isinstance(page, GroupPage)
        assert (page.count, page.page_count, len(page.items)) == (100, 100, 2)

    @pytest.mark.parametrize("value", ["DEFAULT", "Optional", "OPTIONAL", "by name", None, 5])
    def test_5_sort_by_may_have_any_value_or_be_missing(self, value: Any) -> None:
        page = load("extensions.list").parsed
        del page["sort_by"]
        assert read(ExtensionPage, page).sort_by is None
        found = read(ExtensionPage, page | {"sort_by": value})
        assert found.sort_by == (None if value is None else str(value))
        assert found.items == (SUMMARY,)

    def test_7_groups_of_an_extension_may_be_missing(self) -> None:
        shown = load("extensions.show").parsed
        assert read(Extension, shown).belong_groups is None
        assert read(Extension, shown | {"belong_groups": ["a", 12]}).belong_groups == (
            "a",
            "12",
        )
        assert read(Extension, shown | {"belong_groups": []}).belong_groups == ()

    def test_8_list_of_statuses_may_be_empty(self) -> None:
        assert (load("extensions.status").body or {})["extensions"] == ["102"]
        found = read(ExtensionStatuses, {"extension_status": []})
        assert found.extension_status == ()

    @pytest.mark.parametrize("action", ["CONNECT_TO_VOICE_MAIL", "CONNECT_TO_VOICE", "HANG_UP"])
    def test_9_every_action_is_kept(self, action: str) -> None:
        rule = read(AvailableRule, {"busy_action": action})
        assert rule.busy_action == action
        assert isinstance(rule.busy_action, ForwardAction)
        assert json.loads(msgspec.json.encode(rule)) == {"busy_action": action}

    def test_10_stray_comma_is_kept(self) -> None:
        page = REPLIES["greetings.list"]
        assert isinstance(page, GreetingPage)
        assert page.items[0].filename == "default.wav,"

    def test_11_operations_without_a_sample_reply_return_none(self) -> None:
        silent = {name for name in SAMPLES if not load(name).reply}
        assert silent == {name for name, row in ENDPOINTS.items() if row.reply is None}

    def test_12_page_count_may_be_missing(self) -> None:
        found = read(ExtensionPage, {"extensions": [], "count": 12})
        assert (found.page_count, found.count, found.items) == (None, 12, ())

    def test_14_strings_nulls_missing_and_unknown_fields(self) -> None:
        shown = load("extensions.show").parsed
        shown["voice_mail"] |= {
            "voicemail_pin": 123456,
            "enable_voicemail": "true",
            "new": {},
        }
        shown["options"] = {"enable_extension": "1", "enable_audio_record_calls": None}
        shown["forward_rules"]["available"]["no_answer_timeval"] = "20"
        shown["extension_number"] = 1000
        del shown["office_hours"]
        found = read(Extension, shown | {"new": [1]})
        assert found == msgspec.structs.replace(
            EXTENSION, options=Options(enable_extension=True), office_hours=None
        )


# Structs that are only sent have more required fields.
SENT: dict[type[Record], set[str]] = {
    NewExtension: {"password", "web_access_password"},
    ExtensionUpdate: {"profile", "options", "forward_rules", "office_hours", "voice_mail"},
}


class TestStructs:
    @pytest.mark.parametrize("kind", STRUCTS)
    def test_only_a_key_is_required(self, kind: type[Record]) -> None:
        """In a reply, only the field that identifies an item, or the list, is required."""
        required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
        keys = {"extension_number", "group_id", "filename", "access_token"}
        lists = {"extensions", "groups", "files", "extension_status"}
        sent = SENT.get(kind, set())
        assert required <= keys | lists | sent

    @pytest.mark.parametrize("model", [*REPLIES.values(), NEW_EXTENSION, PROFILE, FORWARD_RULES])
    def test_struct_is_immutable_and_hashable(self, model: Record) -> None:
        """It can be a key, and can be shared safely."""
        field = model.__struct_fields__[0]
        with pytest.raises(AttributeError):
            setattr(model, field, None)
        with pytest.raises(AttributeError):
            model.other = 1  # type: ignore[attr-defined]  # what must not work
        twin = copy.deepcopy(model)
        assert twin == model
        assert hash(twin) == hash(model)
        assert {model: 1}[twin] == 1

    @pytest.mark.parametrize("model", [*REPLIES.values(), NEW_EXTENSION])
    def test_struct_survives_pickle_copy_and_json(self, model: Record) -> None:
        """Through pickle, copy and JSON."""
        assert pickle.loads(pickle.dumps(model)) == model
        assert copy.copy(model) == model
        assert msgspec.json.decode(msgspec.json.encode(model), type=type(model)) == model

    @pytest.mark.parametrize("kind", STRUCTS)
    def test_sequences_are_tuples(self, kind: type[Record]) -> None:
        """A frozen struct contains no list."""
        for field in msgspec.structs.fields(kind):
            assert "list[" not in str(field.type)
            assert "dict[" not in str(field.type)

    def test_none_is_not_sent(self) -> None:
        """None is left out at any depth. False, zero and "" are sent."""
        new = NewExtension(
            extension_number="1",
            password="p",
            web_access_password="w",
            profile=Profile(first_name="", last_name=None),
            options=Options(enable_extension=False),
            forward_rules=ForwardRules(available=AvailableRule(no_answer_timeval=0)),
        )
        assert json.loads(msgspec.json.encode(new)) == {
            "extension_number": "1",
            "password": "p",
            "web_access_password": "w",
            "profile": {"first_name": ""},
            "options": {"enable_extension": False},
            "forward_rules": {"available": {"no_answer_timeval": 0}},
        }

    def test_settings_are_passed_by_name(self) -> None:
        """A struct with many fields of one type takes no positional arguments."""
        with pytest.raises(TypeError):
            Profile("Ann")  # type: ignore[call-arg]  # what must not work

    def test_plain_strings_replace_enum_members(self) -> None:
        """Type checkers accept them, too."""
        profile = Profile(gender="OTHER")
        assert json.loads(msgspec.json.encode(profile)) == {"gender": "OTHER"}
        assert Profile(gender="MALE") == PROFILE.__class__(gender=Gender.MALE)
        assert ExtensionStatus("1", "RINGING").status == "RINGING"


class TestReprs:
    SECRETS = Extension(
        extension_number="1000",
        password="S3cr3t-1",
        web_access_password="S3cr3t-2",
        voice_mail=VoiceMail(voicemail_pin="S3cr3t-3", prompt_language="en-us"),
    )

    def test_repr_shows_no_secret(self) -> None:
        """Nor does it show the secrets of nested structs."""
        assert repr(self.SECRETS) == (
            "Extension(extension_number='1000', password=***, web_access_password=***, "
            "voice_mail=VoiceMail(prompt_language='en-us', voicemail_pin=***))"
        )

    @pytest.mark.parametrize(
        "model",
        [
            SECRETS,
            msgspec.convert(msgspec.to_builtins(SECRETS), NewExtension),
            Token("S3cr3t"),
            RefreshReply("S3cr3t"),
        ],
    )
    def test_no_form_of_text_shows_a_secret(self, model: Record) -> None:
        """This holds for str, format and rich, too."""
        for text in (
            repr(model),
            str(model),
            f"{model}",
            f"{[model]}",
            repr(model.__rich_repr__()),
        ):
            assert "S3cr3t" not in text
            assert "***" in text

    def test_repr_leaves_out_none(self) -> None:
        """A repr is short where a reply is."""
        assert repr(ExtensionStatus("1")) == "ExtensionStatus(extension_number='1')"
        assert repr(Options(enable_extension=False)) == "Options(enable_extension=False)"

    def test_flag_about_a_pin_is_shown(self) -> None:
        """Whether a pin is required is not a secret."""
        assert repr(VoiceMail(enable_vm_pin_auth=True)) == "VoiceMail(enable_vm_pin_auth=True)"


class TestEnums:
    @pytest.mark.parametrize("kind", ENUMS)
    def test_unknown_value_is_kept(self, kind: type[OpenEnum]) -> None:
        """It has the type of the enum, also after JSON, pickle and copy."""
        value = kind("BRAND_NEW")
        assert value == "BRAND_NEW"
        assert (value.name, value.value, str(value), f"{value}") == ("BRAND_NEW",) * 4
        assert type(value) is kind
        assert "BRAND_NEW" not in kind.__members__
        for twin in (
            pickle.loads(pickle.dumps(value)),
            copy.deepcopy(value),
            msgspec.json.decode(msgspec.json.encode(value), type=kind),
        ):
            assert twin == value
            assert hash(twin) == hash(value) == hash("BRAND_NEW")
            assert type(twin) is kind

    @pytest.mark.parametrize("kind", ENUMS)
    def test_known_value_is_the_member(self, kind: type[OpenEnum]) -> None:
        """A documented value can be compared by identity, and equals its text."""
        for constant in kind:
            assert kind(constant.value) is constant
            assert {constant.value: 1}[constant] == 1

    @pytest.mark.parametrize("value", [5, None, b"x", 1.5])
    def test_value_that_is_not_a_str_is_refused(self, value: Any) -> None:
        """An enum of text is open to text only."""
        with pytest.raises(ValueError, match="not a valid"):
            Presence(value)

    def test_documented_values(self) -> None:
        """The members are the values in the documentation and those that the simulator sends."""
        assert {kind: [each.value for each in kind] for kind in ENUMS} == {
            SortBy: ["DEFAULT", "Optional", "OPTIONAL"],
            Presence: ["OFFLINE", "ONLINE", "RINGING", "ON_CALL"],
            Gender: ["MALE"],
            ForwardAction: ["CONNECT_TO_VOICE_MAIL", "CONNECT_TO_VOICE"],
            ReadOutDatetime: ["DO_NOT_READ"],
            OfficeHoursMode: ["CUSTOM"],
        }


def test_error_of_an_unreadable_reply_shows_no_secret() -> None:
    """The error shows the location in the reply, but not the value."""
    with pytest.raises(Unreadable) as caught:
        read(Extension, {"extension_number": {"password": "S3cr3t"}})
    assert "S3cr3t" not in f"{caught.value!r} {caught.value}"


def test_section_passed_as_a_mapping_hides_its_pin() -> None:
    """Structs don't check types, so a mapping can be there, which has its own repr."""
    new = NewExtension(
        extension_number="1",
        password="x",
        web_access_password="y",
        voice_mail={"voicemail_pin": "987654"},  # type: ignore[arg-type]  # what users do
    )
    assert "987654" not in repr(new)
    assert "987654" not in str(new.__rich_repr__())


def enum_values(value: Any) -> Iterator[OpenEnum]:
    if isinstance(value, OpenEnum):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from enum_values(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from enum_values(item)


async def test_simulator_sends_only_members_of_enums(pbx: PortSIPClient) -> None:
    """This holds for statuses, lists and settings."""
    numbers = [each.extension_number for each in await pbx.extensions.list().collect()]
    found = [
        *await pbx.extensions.status(numbers),
        *await pbx.extensions.list().collect(),
        *await pbx.extensions.search("1").collect(),
        *[await pbx.extensions.show(number) for number in numbers[:20]],
    ]
    values = set(enum_values(found))
    assert {"ONLINE", "OFFLINE", "RINGING", "ON_CALL", "MALE", "CUSTOM"} <= values
    assert [value for value in values if value not in list(type(value))] == []
    assert [value for value in values if value.name not in type(value).__members__] == []


def test_statuses_of_the_simulator_are_members() -> None:
    """This includes those that no extension has at the moment."""
    shown = {status_at(index, 0, seconds, 1.0) for index in range(50) for seconds in range(50)}
    assert shown == {each.value for each in Presence}
