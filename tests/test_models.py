"""The structures of the page: every sample field by field, and how a struct behaves."""

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from portsip_async import PortSIPClient
from portsip_async.classic import models
from portsip_async.classic.models import (
    AvailableRule,
    AwayRule,
    CreatedGroup,
    Extension,
    ExtensionPage,
    ExtensionStatus,
    ExtensionStatuses,
    ExtensionSummary,
    ExtensionUpdate,
    ForwardAction,
    ForwardRules,
    Gender,
    GreetingFile,
    GreetingPage,
    Group,
    GroupPage,
    GroupSummary,
    NewExtension,
    OfficeHours,
    OfficeHoursMode,
    OpenEnum,
    Options,
    Presence,
    Profile,
    ReadOutDatetime,
    RefreshReply,
    SortBy,
    VoiceMail,
)
from portsip_async.classic.operations import ENDPOINTS
from portsip_async.core.decode import Decoder, Unreadable
from portsip_async.core.page_sequence import Page
from portsip_async.core.tokens import Token
from portsip_async.redact import Record
from portsip_async.simulator.generated import status_at

from .samples import SAMPLES, TOKEN, load

STRUCTS: list[type[Record]] = [
    *(
        value
        for value in vars(models).values()
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

# What the page's sample replies say, read by a person.
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

# The fields of the page's tables that its samples leave out.
ONLY_IN_TABLES: dict[type[Record], set[str]] = {
    Extension: {"belong_groups"},
    Group: {"group_id"},
}


def read(kind: Any, value: Any) -> Any:
    return Decoder(kind).decode(json.dumps(value).encode())


def field_types(kind: type[Record]) -> dict[str, Any]:
    """The types of a struct's fields under the API's names, without null."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        others = [each for each in getattr(field.type, "__args__", ()) if each is not type(None)]
        found[field.encode_name] = others[0] if len(others) == 1 else field.type
    return found


def fields_said(value: Any, kind: Any) -> Iterator[tuple[type[Record], str]]:
    """Walk a sample along its model; every field that the sample shows."""
    if isinstance(value, list) or getattr(kind, "__origin__", None) is tuple:
        for item in value if isinstance(value, list) else [value]:
            yield from fields_said(item, kind.__args__[0])
    elif isinstance(value, dict):
        types = field_types(kind)
        for name, inner in value.items():
            yield kind, name
            yield from fields_said(inner, types[name])


class TestSamples:
    def test_every_reply_with_a_body_is_told(self) -> None:
        """No sample goes unread."""
        assert set(REPLIES) == {name for name in SAMPLES if load(name).reply}

    @pytest.mark.parametrize("name", REPLIES)
    def test_reply_decodes_field_by_field(self, name: str) -> None:
        """What the page's sample says is what the model holds."""
        kind = ENDPOINTS[name].reply
        assert kind is not None
        found = Decoder(kind).decode(load(name).reply)
        assert type(found) is type(REPLIES[name])
        assert msgspec.structs.asdict(found) == msgspec.structs.asdict(REPLIES[name])

    @pytest.mark.parametrize("name", REPLIES)
    def test_no_field_of_a_reply_is_lost(self, name: str) -> None:
        """Each field that the page shows stands in the model, and comes out as it went in."""
        kind: Any = ENDPOINTS[name].reply
        sample = load(name)
        assert all(field in field_types(kind) for kind, field in fields_said(sample.parsed, kind))
        again = json.loads(msgspec.json.encode(Decoder(kind).decode(sample.reply)))
        said = sample.parsed
        if name == "extensions.search":
            said["extensions"] = [said["extensions"]]
        assert again == said

    def test_no_field_of_a_request_is_lost(self) -> None:
        """Create and update send what the page shows, and nothing else."""
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

    def test_models_hold_no_field_of_their_own(self) -> None:
        """Every field of a model is one of the page's, apart from what only its tables name."""
        said: dict[type[Record], set[str]] = {}
        for name in REPLIES:
            sample = load(name)
            for kind, field in fields_said(sample.parsed, ENDPOINTS[name].reply):
                said.setdefault(kind, set()).add(field)
        for kind, fields in said.items():
            own = set(field_types(kind)) - {"err_code"}
            assert own == fields | ONLY_IN_TABLES.get(kind, set()), kind


class TestContradictions:
    """The reference's list of where the page contradicts itself, by its numbers."""

    def test_1_search_answers_an_array_or_an_object(self) -> None:
        bare = load("extensions.search").parsed
        listed = bare | {"extensions": [bare["extensions"]]}
        assert read(ExtensionPage, bare) == read(ExtensionPage, listed)

    def test_2_greetings_come_as_files_or_as_greetings(self) -> None:
        said = load("greetings.list").parsed
        renamed = {("greetings" if name == "files" else name): said[name] for name in said}
        assert read(GreetingPage, renamed) == REPLIES["greetings.list"]
        both = said | {"greetings": []}
        assert read(GreetingPage, both) == REPLIES["greetings.list"]

    def test_3_group_may_lack_its_id(self) -> None:
        said = load("groups.show").parsed
        assert read(Group, said).group_id == ""
        assert read(Group, said | {"group_id": 12}).group_id == "12"
        assert read(Group, said | {"group_id": None}).group_id == ""

    def test_4_count_is_no_length(self) -> None:
        page = REPLIES["groups.list"]
        assert isinstance(page, GroupPage)
        assert (page.count, page.page_count, len(page.items)) == (100, 100, 2)

    @pytest.mark.parametrize("said", ["DEFAULT", "Optional", "OPTIONAL", "by name", None, 5])
    def test_5_any_order_is_read_and_an_echo_may_lack(self, said: Any) -> None:
        page = load("extensions.list").parsed
        del page["sort_by"]
        assert read(ExtensionPage, page).sort_by is None
        found = read(ExtensionPage, page | {"sort_by": said})
        assert found.sort_by == (None if said is None else str(said))
        assert found.items == (SUMMARY,)

    def test_7_groups_of_an_extension_are_in_the_table_only(self) -> None:
        said = load("extensions.show").parsed
        assert read(Extension, said).belong_groups is None
        assert read(Extension, said | {"belong_groups": ["a", 12]}).belong_groups == ("a", "12")
        assert read(Extension, said | {"belong_groups": []}).belong_groups == ()

    def test_8_status_says_which_extension_it_is_of(self) -> None:
        assert (load("extensions.status").body or {})["extensions"] == ["102"]
        found = read(ExtensionStatuses, {"extension_status": []})
        assert found.extension_status == ()

    @pytest.mark.parametrize("action", ["CONNECT_TO_VOICE_MAIL", "CONNECT_TO_VOICE", "HANG_UP"])
    def test_9_both_actions_and_any_other_are_kept(self, action: str) -> None:
        rule = read(AvailableRule, {"busy_action": action})
        assert rule.busy_action == action
        assert isinstance(rule.busy_action, ForwardAction)
        assert json.loads(msgspec.json.encode(rule)) == {"busy_action": action}

    def test_10_stray_comma_is_the_servers(self) -> None:
        page = REPLIES["greetings.list"]
        assert isinstance(page, GreetingPage)
        assert page.items[0].filename == "default.wav,"

    def test_11_operations_without_a_reply_expect_none(self) -> None:
        silent = {name for name in SAMPLES if not load(name).reply}
        assert silent == {name for name, row in ENDPOINTS.items() if row.reply is None}

    def test_12_page_count_may_lack(self) -> None:
        found = read(ExtensionPage, {"extensions": [], "count": 12})
        assert (found.page_count, found.count, found.items) == (None, 12, ())

    def test_14_strings_nulls_absences_and_strangers(self) -> None:
        said = load("extensions.show").parsed
        said["voice_mail"] |= {"voicemail_pin": 123456, "enable_voicemail": "true", "new": {}}
        said["options"] = {"enable_extension": "1", "enable_audio_record_calls": None}
        said["forward_rules"]["available"]["no_answer_timeval"] = "20"
        said["extension_number"] = 1000
        del said["office_hours"]
        found = read(Extension, said | {"new": [1]})
        assert found == msgspec.structs.replace(
            EXTENSION, options=Options(enable_extension=True), office_hours=None
        )


# What is sent, and never read, asks for more.
SENT: dict[type[Record], set[str]] = {
    NewExtension: {"password", "web_access_password"},
    ExtensionUpdate: {"profile", "options", "forward_rules", "office_hours", "voice_mail"},
}


class TestStructs:
    @pytest.mark.parametrize("kind", STRUCTS)
    def test_only_a_key_is_required(self, kind: type[Record]) -> None:
        """Of a reply only what tells one row from others, or its list, is due."""
        required = {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
        keys = {"extension_number", "group_id", "filename", "access_token"}
        lists = {"extensions", "groups", "files", "extension_status"}
        sent = SENT.get(kind, set())
        assert required <= keys | lists | sent

    @pytest.mark.parametrize("model", [*REPLIES.values(), NEW_EXTENSION, PROFILE, FORWARD_RULES])
    def test_struct_is_immutable_and_hashable(self, model: Record) -> None:
        """It can be a key, and nobody changes another's copy."""
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
    def test_struct_travels(self, model: Record) -> None:
        """Through pickle, copy and JSON."""
        assert pickle.loads(pickle.dumps(model)) == model
        assert copy.copy(model) == model
        assert msgspec.json.decode(msgspec.json.encode(model), type=type(model)) == model

    @pytest.mark.parametrize("kind", STRUCTS)
    def test_sequences_are_tuples(self, kind: type[Record]) -> None:
        """No list inside a frozen struct."""
        for field in msgspec.structs.fields(kind):
            assert "list[" not in str(field.type)
            assert "dict[" not in str(field.type)

    def test_none_is_left_out_of_what_is_sent(self) -> None:
        """None means left out, at any depth; false, zero and "" are sent."""
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

    def test_settings_are_given_by_name(self) -> None:
        """What has many fields of one type takes none by position."""
        with pytest.raises(TypeError):
            Profile("Ann")  # type: ignore[call-arg]  # what must not work

    def test_plain_strings_stand_for_enums(self) -> None:
        """Also to type checkers."""
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
        """Neither its own nor that of what it holds."""
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
        """Nor do str, format, and what rich prints."""
        for text in (
            repr(model),
            str(model),
            f"{model}",
            f"{[model]}",
            repr(model.__rich_repr__()),
        ):
            assert "S3cr3t" not in text
            assert "***" in text

    def test_repr_leaves_out_what_is_none(self) -> None:
        """A repr is short where a reply is."""
        assert repr(ExtensionStatus("1")) == "ExtensionStatus(extension_number='1')"
        assert repr(Options(enable_extension=False)) == "Options(enable_extension=False)"

    def test_flag_about_a_pin_is_no_secret(self) -> None:
        """Whether a pin is asked for may be seen."""
        assert repr(VoiceMail(enable_vm_pin_auth=True)) == "VoiceMail(enable_vm_pin_auth=True)"


class TestEnums:
    @pytest.mark.parametrize("kind", ENUMS)
    def test_unknown_value_is_kept(self, kind: type[OpenEnum]) -> None:
        """As it came, of the enum's type, through JSON, pickle and copy."""
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
    def test_known_value_is_the_constant(self, kind: type[OpenEnum]) -> None:
        """A documented value can be compared by identity, and is its text."""
        for constant in kind:
            assert kind(constant.value) is constant
            assert {constant.value: 1}[constant] == 1

    @pytest.mark.parametrize("value", [5, None, b"x", 1.5])
    def test_what_is_no_text_is_no_value(self, value: Any) -> None:
        """An enum of text is open to text only."""
        with pytest.raises(ValueError, match="not a valid"):
            Presence(value)

    def test_documented_values(self) -> None:
        """Those that the documentation names, and those that the simulator shows."""
        assert {kind: [each.value for each in kind] for kind in ENUMS} == {
            SortBy: ["DEFAULT", "Optional", "OPTIONAL"],
            Presence: ["OFFLINE", "ONLINE", "RINGING", "ON_CALL"],
            Gender: ["MALE"],
            ForwardAction: ["CONNECT_TO_VOICE_MAIL", "CONNECT_TO_VOICE"],
            ReadOutDatetime: ["DO_NOT_READ"],
            OfficeHoursMode: ["CUSTOM"],
        }


def test_secret_in_an_unreadable_reply_is_not_told() -> None:
    """An error says where it stood, not what."""
    with pytest.raises(Unreadable) as caught:
        read(Extension, {"extension_number": {"password": "S3cr3t"}})
    assert "S3cr3t" not in f"{caught.value!r} {caught.value}"


def test_section_given_as_a_mapping_hides_its_pin() -> None:
    """Structs don't check types, and a mapping has no repr of ours."""
    new = NewExtension(
        extension_number="1",
        password="x",
        web_access_password="y",
        voice_mail={"voicemail_pin": "987654"},  # type: ignore[arg-type]  # what users do
    )
    assert "987654" not in repr(new)
    assert "987654" not in str(new.__rich_repr__())


def texts_of_enums(value: Any) -> Iterator[OpenEnum]:
    if isinstance(value, OpenEnum):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from texts_of_enums(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from texts_of_enums(item)


async def test_simulator_shows_no_value_without_a_member(pbx: PortSIPClient) -> None:
    """Neither in a status, nor in a list, nor in settings."""
    numbers = [each.extension_number for each in await pbx.extensions.list().collect()]
    found = [
        *await pbx.extensions.status(numbers),
        *await pbx.extensions.list().collect(),
        *await pbx.extensions.search("1").collect(),
        *[await pbx.extensions.show(number) for number in numbers[:20]],
    ]
    values = set(texts_of_enums(found))
    assert {"ONLINE", "OFFLINE", "RINGING", "ON_CALL", "MALE", "CUSTOM"} <= values
    assert [value for value in values if value not in list(type(value))] == []
    assert [value for value in values if value.name not in type(value).__members__] == []


def test_simulator_states_are_members() -> None:
    """Also those that no extension has at the moment."""
    shown = {status_at(place, 0, seconds, 1.0) for place in range(50) for seconds in range(50)}
    assert shown == {each.value for each in Presence}
