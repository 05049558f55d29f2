"""The models of v22: the vendor's replies field by field, and how a model reads and is sent."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portsip_async import APIError, Endpoint, ReplyError
from portsip_async.core.message import Reply
from portsip_async.core.open_enum import OpenEnum
from portsip_async.core.reply import ReplyParser
from portsip_async.core.request import RequestTemplate
from portsip_async.redact import Record
from portsip_async.v22 import enums, models, parts, status_models, user_models
from portsip_async.v22.enums import (
    ClientCertificate,
    ExtensionType,
    ForwardAction,
    ForwardHours,
    Interface,
    OfficeHoursMode,
    Presence,
    Role,
    SMSMode,
    Status,
    SyncType,
    Transport,
    VoicemailDatetime,
)
from portsip_async.v22.error_codes import V22_ERRORS
from portsip_async.v22.models import (
    AuthUser,
    Call,
    CallSession,
    CallSessionPage,
    Created,
    Greeting,
    Greetings,
    Group,
    GroupPage,
    GroupSummary,
    Member,
    Members,
    ServerInfo,
    SignInReply,
    UploadProgress,
    UploadStarted,
)
from portsip_async.v22.operations import ENDPOINTS
from portsip_async.v22.status_models import (
    ExtensionNumber,
    ExtensionState,
    Registration,
    UserStatus,
)
from portsip_async.v22.user_models import (
    BLF,
    READ_ONLY,
    CustomForwardRule,
    DayHours,
    ForwardRule,
    NewUser,
    OfficeHours,
    OutboundCallerID,
    TimeRange,
    TransportPort,
    User,
    UserPage,
    UserSettings,
    UserSummary,
    WeekHours,
)

from ..properties.values import ANY_CHARACTER, UNICODE, json_of
from .replies import (
    ACCESS_TOKEN,
    BLOB_URL,
    ID,
    REFRESH_TOKEN,
    SAMPLES,
    SETTINGS,
    STATUS_22_3,
    UPLOAD_ID,
    USER,
    USER_22_3,
    Sample,
)

CREATED_AT = datetime(2017, 7, 21, 17, 32, 28, tzinfo=UTC)
DAY = DayHours(enabled=True, ranges=(TimeRange(from_="09:00", to="17:00"),))
WEEK = WeekHours(
    monday=DAY,
    tuesday=DAY,
    wednesday=DAY,
    thursday=DAY,
    friday=DAY,
    saturday=DAY,
    sunday=DAY,
)
FORWARD = ForwardRule(action=ForwardAction.FORWARD_TO_NUMBER, number="102")
AWAY = ForwardRule(action=ForwardAction.FORWARD_TO_VOICEMAIL, number="101")
UNANSWERED = ForwardRule(action=ForwardAction.HANGUP, number="", timeout=60)
SETTINGS_READ: dict[str, Any] = {
    "email": "example@example.com",
    "display_name": "Ann Example",
    "enabled": True,
    "mobile_phone": "+15550100",
    "work_phone": "+15550101",
    "home_phone": "+15550102",
    "address": "1 Example Street",
    "department": "Sales",
    "enable_audio_recording": False,
    "enable_video_recording": False,
    "enable_dnd": True,
    "enable_acb": False,
    "enable_hot_desking": False,
    "anonymous_outbound_calls": False,
    "delivery_outbound_cid": True,
    "sms": SMSMode.DISABLE,
    "outbound_caller_ids": (
        OutboundCallerID(provider_id=ID, caller_id="5550100", preferred=True, description="Office"),
    ),
    "custom_options": '{"a": 1}',
    "office_hours": OfficeHours(
        mode=OfficeHoursMode.CUSTOM,
        monday=DAY,
        tuesday=DAY,
        wednesday=DAY,
        thursday=DAY,
        friday=DAY,
        saturday=DAY,
        sunday=DAY,
    ),
    "available_office_hours_forward_rule": ForwardRule(action=ForwardAction.RING_ANYWAY, number=""),
    "available_non_office_hours_forward_rule": FORWARD,
    "available_no_answer_forward_rule": UNANSWERED,
    "busy_office_hours_forward_rule": FORWARD,
    "busy_non_office_hours_forward_rule": FORWARD,
    "busy_no_answer_forward_rule": UNANSWERED,
    "dnd_office_hours_forward_rule": AWAY,
    "dnd_non_office_hours_forward_rule": AWAY,
    "away_office_hours_forward_rule": AWAY,
    "away_non_office_hours_forward_rule": AWAY,
    "lunch_office_hours_forward_rule": AWAY,
    "lunch_non_office_hours_forward_rule": AWAY,
    "trip_office_hours_forward_rule": AWAY,
    "trip_non_office_hours_forward_rule": AWAY,
    "offline_office_hours_forward_rule": AWAY,
    "offline_non_office_hours_forward_rule": AWAY,
    "custom_forward_rules": (
        CustomForwardRule(
            action=ForwardAction.RING_ANYWAY,
            number="103",
            caller_id="555*",
            type=ForwardHours.SPECIFIC_HOURS,
            hours=WEEK,
        ),
    ),
    "voicemail_prompt": "en-US",
    "enable_voicemail_pin": True,
    "voicemail_pin": "135792",
    "enable_voicemail_notify": False,
    "voicemail_play_datetime": VoicemailDatetime.TWELVE_HOURS,
    "interface": Interface.WEB_DOMAIN,
    "preferred_transport": Transport.UDP,
    "blfs": (BLF(key="1", value="102", first_name="Bob", last_name="Example"),),
}
AVATAR: dict[str, Any] = {
    "avatar_file_name": "avatar.png",
    "avatar_file_size": 0,
    "avatar_file_url": BLOB_URL,
}
USER_READ = User(
    id=ID,
    name="ann",
    role=Role.STANDARD_USER,
    extension_number="101",
    profile=ID,
    created_at=CREATED_AT,
    sync_type=SyncType.MICROSOFT_365,
    **AVATAR,
    **SETTINGS_READ,
)
STATUS = UserStatus(
    status=Status.ON_CALL,
    presence=Presence.BUSINESS_TRIP,
    presence_note="back on Monday",
    registration=(
        Registration(
            instance_id="urn:uuid:0",
            user_agent="PortSIP ONE",
            application="ONE",
            ip="192.0.2.7",
            enable_push=True,
            contact_address="sip:101@192.0.2.7:5060",
        ),
    ),
    enable_dnd=False,
    enable_acb=True,
)
MEMBER = Member(id=ID, name="ann", display_name="Ann Example", extension_number="101")
SESSION = CallSession(
    id=ID,
    calls=(
        Call(
            caller="101",
            caller_display_name="Ann Example",
            callee="102",
            trunk="carrier",
            started_at=CREATED_AT,
            talking_time=65,
        ),
    ),
)
TOKENS = SignInReply(
    access_token=ACCESS_TOKEN, refresh_token=REFRESH_TOKEN, expires_in=1800.0, token_type="Bearer"
)
# What each sample reads as. Replies without a body read as None.
VALUES: Mapping[str, Any] = {
    "info": ServerInfo(
        web_domain="example.com",
        private_ipv4="127.0.0.1",
        public_ipv4="127.0.0.1",
        enable_ipv6=False,
        private_ipv6="::1",
        public_ipv6="::1",
        primary_dns_server="127.0.0.1",
        secondary_dns_server="127.0.0.1",
        name="example",
        domain="example.com",
        website="example.com",
        avatar_url="avatar.com/avatar",
        enable_ms365_integration=False,
        ms365_authorization_endpoint="/ms365",
    ),
    "sign in": TOKENS,
    "second factor": SignInReply(two_factor_enabled=True, token="c2Vzc2lvbg"),
    "refresh": TOKENS,
    "form login": TOKENS,
    "form refresh": TOKENS,
    "verified code": TOKENS,
    "account": AuthUser(role=Role.ADMIN, password_verified=True, password_force_reset=False),
    "users": UserPage(
        count=100,
        items=(
            UserSummary(
                id=ID,
                name="ann",
                enabled=True,
                email="example@example.com",
                display_name="Ann Example",
                role=Role.STANDARD_USER,
                mobile_phone="+15550100",
                work_phone="+15550101",
                home_phone="+15550102",
                address="1 Example Street",
                department="Sales",
                extension_number="101",
                created_at=CREATED_AT,
                sync_type=SyncType.MICROSOFT_365,
                **AVATAR,
            ),
        ),
    ),
    "no users": UserPage(count=0, items=()),
    "created user": Created(ID),
    "user": USER_READ,
    "own user": msgspec.structs.replace(
        USER_READ,
        transports=(
            TransportPort(protocol=Transport.TLS, port=80, verification=ClientCertificate.OPTIONAL),
        ),
    ),
    "status": STATUS,
    "own status": STATUS,
    "number": ExtensionNumber(ID, "101", "Ann Example", ExtensionType.EXTENSION),
    "groups": GroupPage(
        count=100, items=(GroupSummary(id=ID, name="Sales", description="They sell."),)
    ),
    "created group": Created(ID),
    "group": Group(
        id=ID,
        name="Sales",
        description="They sell.",
        outbound_caller_ids=(
            OutboundCallerID(provider_id=ID, caller_id="5550100", description="Office"),
        ),
    ),
    "members": Members((MEMBER,)),
    "member": MEMBER,
    "greetings": Greetings(
        (Greeting(id=ID, enabled=True, file_name="hello.wav", file_size=0, file_url=BLOB_URL),)
    ),
    "created greeting": Created(ID),
    "begun upload": UploadStarted(id=UPLOAD_ID, token="upload-token", range="0-1023"),
    "appended": UploadProgress(id=UPLOAD_ID, token="upload-token", range="0-1023"),
    "upload": UploadProgress(id=UPLOAD_ID, token="upload-token", range="0-1023"),
    "completed": Created(ID),
    "file": b"RIFF\x00\xff",
    "call": Created(ID),
    "direct call": Created(ID),
    "sessions": CallSessionPage(count=100, items=(SESSION,)),
    "session": SESSION,
}

MODULES = (parts, models, status_models, user_models)
MODELS: list[type[Record]] = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind.__module__ == module.__name__
]
ENUMS: list[type[OpenEnum]] = [
    kind
    for kind in vars(enums).values()
    if isinstance(kind, type) and issubclass(kind, OpenEnum) and kind is not OpenEnum
]


def parse(row: Endpoint[Any], body: bytes, sample: Sample | None = None) -> Any:
    """Parse a reply as a call does."""
    status, headers = (200, {}) if sample is None else (sample.status, sample.headers)
    return ReplyParser(row, V22_ERRORS).parse(Reply(status, headers, body), lambda: 1.8e9)


def read(model: type[Any], document: Any) -> Any:
    """Read a document as the reply of an operation that returns a model."""
    row = Endpoint("x.y", "GET", "/x/y", reply=model)
    return parse(row, json.dumps(document).encode())


def kind_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return the type of a field without None, and of a list that of its items."""
    parts = [part for part in get_args(field.type) if part is not type(None)]
    kind = parts[0] if len(parts) == 1 else field.type
    return get_args(kind)[0] if get_args(kind)[1:] == (...,) else kind


def documents_in(document: Any, model: Any) -> Iterator[tuple[type[Record], dict[str, Any]]]:
    """Yield every object in a sample with its model."""
    for item in document if isinstance(document, list) else [document]:
        if isinstance(item, dict):
            yield model, item
            fields = {field.encode_name: field for field in msgspec.structs.fields(model)}
            for name, value in item.items():
                if isinstance(value, dict | list) and name in fields:
                    yield from documents_in(value, kind_of(fields[name]))


# A document of each model. Where samples differ, it has the fields of all.
DOCUMENTS: dict[type[Record], dict[str, Any]] = {}
for _sample in SAMPLES.values():
    _reply: Any = ENDPOINTS[_sample.operation].reply
    if _sample.document is not None:
        for _model, _document in documents_in(_sample.document, _reply):
            DOCUMENTS[_model] = {**DOCUMENTS.get(_model, {}), **_document}
    elif _sample.headers:
        DOCUMENTS[_reply] = {"id": UPLOAD_ID, "token": "upload-token", "range": "0-1023"}
DOCUMENTS[User] |= {"password": "secret", "extension_password": "secret"}

# Models that are not read, and the fields that our models have beyond the documents.
WRITTEN = {NewUser, UserSettings, ExtensionState}
OF_OTHER_PAGES = {"pagination", "pagesize", "page_count", "sort_by", "err_code"}
NOT_IN_SAMPLES = {
    UserPage: OF_OTHER_PAGES,
    GroupPage: OF_OTHER_PAGES,
    CallSessionPage: OF_OTHER_PAGES,
    Members: {"count"},
    Greetings: {"count"},
}
FIELDS = [
    pytest.param(model, field, id=f"{model.__name__}.{field.encode_name}")
    for model in DOCUMENTS
    for field in msgspec.structs.fields(model)
    if field.encode_name in DOCUMENTS[model]
]
each_field = pytest.mark.parametrize(("model", "field"), FIELDS)


class TestReplies:
    def test_every_operation_has_a_sample(self) -> None:
        """No row goes untested, and each sample with a body has an expected value."""
        assert {sample.operation for sample in SAMPLES.values()} == set(ENDPOINTS)
        assert set(VALUES) == {
            name for name, sample in SAMPLES.items() if sample.body or sample.headers
        }

    @pytest.mark.parametrize("name", SAMPLES)
    def test_sample_reads_field_by_field(self, name: str) -> None:
        """What was read equals the structure that was written down by hand."""
        sample = SAMPLES[name]
        found = parse(ENDPOINTS[sample.operation], sample.body, sample)
        assert type(found) is type(VALUES.get(name))
        assert found == VALUES.get(name)

    @pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name].document])
    def test_sample_survives_a_round_trip(self, name: str) -> None:
        """No field of a sample is lost. Only "scope" is not read, which says nothing."""
        document = {key: value for key, value in SAMPLES[name].document.items() if key != "scope"}
        assert json.loads(msgspec.json.encode(VALUES[name])) == document

    def test_reply_of_22_3(self) -> None:
        """It has other values for a status, and shows passwords."""
        status = read(UserStatus, STATUS_22_3)
        assert (status.status, status.presence) == (Status.OTHER_CALL, Presence.OTHER_CALL)
        user = read(User, USER_22_3)
        assert (user.password, user.extension_password) == ("user-password", "extension-password")

    def test_every_model_has_a_document(self) -> None:
        """The tables below cover every model and every field that is read."""
        assert set(MODELS) - WRITTEN == set(DOCUMENTS)
        lacking = {
            model: fields
            for model, document in DOCUMENTS.items()
            if (fields := set(model.__struct_encode_fields__) - set(document))
        }
        assert lacking == NOT_IN_SAMPLES


class TestLeniency:
    @each_field
    @pytest.mark.parametrize("lost", ["missing", "null"])
    def test_lost_field(self, model: type[Any], field: Any, lost: str) -> None:
        """It reads as None. Only what identifies an item must be there."""
        document = {**DOCUMENTS[model], field.encode_name: None}
        if lost == "missing":
            del document[field.encode_name]
        if not field.required:
            assert getattr(read(model, document), field.name) is None
        elif field.name == "items" and (lost == "null" or "count" in document):
            assert read(model, document).items == ()
        else:
            with pytest.raises(ReplyError, match=f"[.]{field.encode_name}"):
                read(model, document)

    @each_field
    def test_wrong_type(self, model: type[Any], field: Any) -> None:
        """A value that can't be read counts as lost; the other fields are kept."""
        document = {**DOCUMENTS[model], field.encode_name: {"a": [1]}}
        if isinstance(kind_of(field), type) and issubclass(kind_of(field), Record):
            document[field.encode_name] = 5
        if field.required:
            with pytest.raises(ReplyError, match=f"[.]{field.encode_name}"):
                read(model, document)
        else:
            found = read(model, document)
            expected = read(model, {**document, field.encode_name: None})
            assert getattr(found, field.name) is None
            assert found == expected

    @each_field
    def test_other_spelling(self, model: type[Any], field: Any) -> None:
        """A number may come as a text, a text as a number, and a flag as either."""
        kind, document = kind_of(field), DOCUMENTS[model]
        value, name = document[field.encode_name], field.encode_name
        if kind is str or (isinstance(kind, type) and issubclass(kind, OpenEnum)):
            assert getattr(read(model, {**document, name: 7}), field.name) == "7"
        elif kind is bool:
            for flag in (str(value).lower(), int(value), str(int(value))):
                assert getattr(read(model, {**document, name: flag}), field.name) is value
        elif kind in (int, float):
            for spelling in (str(value), float(value)):
                assert getattr(read(model, {**document, name: spelling}), field.name) == value
        else:
            assert getattr(read(model, document), field.name) is not None

    @pytest.mark.parametrize("model", DOCUMENTS)
    def test_unknown_field(self, model: type[Any]) -> None:
        """A later version may add fields anywhere."""
        assert read(model, {**DOCUMENTS[model], "new": {"a": 1}}) == read(model, DOCUMENTS[model])

    @pytest.mark.parametrize(
        ("shown", "expected"),
        [
            ("2017-07-21T17:32:28Z", CREATED_AT),
            ("2017-07-21T19:32:28+02:00", CREATED_AT),
            ("2017-07-21 17:32:28Z", CREATED_AT),
            ("2017-07-21T17:32:28", CREATED_AT.replace(tzinfo=None)),
            ("2017-07-21T17:32:28.250Z", CREATED_AT.replace(microsecond=250_000)),
            ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
            (CREATED_AT.timestamp(), CREATED_AT),
            ("yesterday", None),
            ("", None),
            ("2017-13-45T17:32:28Z", None),
            (10**30, None),
        ],
    )
    def test_time(self, shown: Any, expected: datetime | None) -> None:
        """A time that can't be read is None, and fails neither its item nor the list."""
        page = {"count": 2, "items": [{"id": "1", "created_at": shown}, {"id": "2"}]}
        first, second = read(UserPage, page).items
        assert first == UserSummary(id="1", created_at=expected)
        assert second == UserSummary(id="2")


# One row for each type that is in a body.
ROWS: list[Endpoint[Any]] = [
    *{row.reply: row for row in ENDPOINTS.values() if not row.reply_headers}.values()
]
NAMES = sorted({name for model in MODELS for name in model.__struct_encode_fields__} | {"errors"})
PLAIN = st.text(ANY_CHARACTER, max_size=8) | st.sampled_from(
    ["nan", "", "1", "true", "1e999", "OFFLINE", "2017-07-21T17:32:28Z", "9" * 5000]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a sample with some bytes removed and others inserted."""
    body = json.dumps(draw(st.sampled_from([*SAMPLES.values()])).document or {}).encode()
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(start + 20, len(body))))
    return (
        body[:start] + draw(st.sampled_from([b"null", b'"', b"{}", b"[]", b"1e999"])) + body[end:]
    )


@given(
    row=st.sampled_from(ROWS),
    body=json_of(PLAIN, NAMES).map(lambda value: json.dumps(value).encode()) | damaged(),
)
@example(row=ENDPOINTS["users.list"], body=b'{"items": [{"id": "1", "created_at": 1e300}]}')
def test_any_reply(row: Endpoint[Any], body: bytes) -> None:
    """Any reply reads as the declared type in every field, or raises an error that says where."""
    found: Any = None
    error: Exception | None = None
    try:
        found = parse(row, body)
    except (ReplyError, APIError) as raised:
        error = raised
    if isinstance(error, ReplyError):
        assert error.where.startswith("$")
    elif error is not None:
        assert b"errors" in body
    elif row.reply is bytes:
        assert found == body
    elif row.reply is None:
        assert found is None
    else:
        assert type(found) is row.reply
        again = msgspec.json.decode(msgspec.json.encode(found), type=row.reply, strict=True)
        assert again == found


def values_of(kind: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    """Draw a value of a type with the JSON that should be sent. Empty ones are frequent."""
    if get_args(kind)[1:] == (...,):
        return st.lists(values_of(get_args(kind)[0]), max_size=2).map(
            lambda pairs: (tuple(value for value, _ in pairs), [plain for _, plain in pairs])
        )
    if isinstance(kind, type) and issubclass(kind, Record):
        return structs_of(kind)
    if isinstance(kind, type) and issubclass(kind, OpenEnum):
        # A member, its text, or any text.
        return st.sampled_from([*kind]).map(lambda each: (each, each.value)) | UNICODE.map(
            lambda text: (text, text)
        )
    plain = {bool: st.booleans(), int: st.sampled_from([0, 60]), str: st.just("") | UNICODE}[kind]
    return plain.map(lambda value: (value, value))


@st.composite
def structs_of(draw: st.DrawFn, model: type[Any]) -> tuple[Any, Any]:
    """Draw a struct, made from a few of its fields, with the JSON that should be sent."""
    fields = msgspec.structs.fields(model)
    chosen = draw(st.sets(st.sampled_from([field.name for field in fields]), max_size=5))
    values, plain = {}, {}
    for field in fields:
        if field.required or field.name in chosen:
            parts = [part for part in get_args(field.type) if part is not type(None)]
            is_optional = len(parts) == 1 and len(get_args(field.type)) == 2
            kind = parts[0] if is_optional and not field.required else field.type
            values[field.name], plain[field.encode_name] = draw(values_of(kind))
    return model(**values), plain


class TestSending:
    @pytest.mark.parametrize(
        ("row", "model"), [("users.create", NewUser), ("users.update", UserSettings)]
    )
    @given(data=st.data())
    def test_every_value_arrives(self, row: str, model: type[Any], data: st.DataObject) -> None:
        """What was given is sent: False, 0, "" and () as well, and nothing else."""
        given_struct, expected = data.draw(structs_of(model))
        parameters: Any = given_struct
        if row == "users.update":
            parameters = {"id": ID, **msgspec.to_builtins(given_struct)}
        body = RequestTemplate(ENDPOINTS[row], parameters).request("t").body
        assert body is not None
        assert json.loads(body) == expected

    @pytest.mark.parametrize("model", [NewUser, UserSettings])
    def test_only_none_is_a_default(self, model: type[Any]) -> None:
        """A field with another default would not be sent if a caller gave that value."""
        waiting = [model]
        for kind in waiting:
            for field in msgspec.structs.fields(kind):
                assert field.default in (None, msgspec.NODEFAULT)
                assert field.default_factory is msgspec.NODEFAULT
                inner = kind_of(field)
                if isinstance(inner, type) and issubclass(inner, Record) and inner not in waiting:
                    waiting.append(inner)
        assert len(waiting) == 9

    def test_settings_that_were_read_can_be_sent(self) -> None:
        """They are sent as they came."""
        settings = UserSettings(**SETTINGS_READ)
        assert json.loads(msgspec.json.encode(settings)) == SETTINGS

    def test_new_user_needs_what_the_api_requires(self) -> None:
        """A missing field is found before anything is sent."""
        required = [field.name for field in msgspec.structs.fields(NewUser) if field.required]
        assert required == [
            "name",
            "password",
            "email",
            "display_name",
            "role",
            "extension_number",
            "extension_password",
            "voicemail_pin",
        ]
        with pytest.raises(TypeError, match="password"):
            NewUser(name="ann")  # type: ignore[call-arg]  # what must not work

    def test_fields_that_only_a_read_tells(self) -> None:
        """An update takes all other fields of a user."""
        assert {
            "id",
            "name",
            "role",
            "extension_number",
            "profile",
            "created_at",
            "sync_type",
            "avatar_file_name",
            "avatar_file_size",
            "avatar_file_url",
            "transports",
            "password",
            "extension_password",
        } == READ_ONLY
        assert set(USER) - READ_ONLY == set(UserSettings.__struct_fields__)


class TestStates:
    @pytest.mark.parametrize(
        ("told", "status"),
        [
            ("OFFLINE", Status.OFFLINE),
            ("ONLINE", Status.ONLINE),
            ("ON_CALL", Status.ON_CALL),
            ("OTHER_CALL", Status.ON_CALL),
            ("RINGING", Status.RINGING),
            ("HOLDING", Status("HOLDING")),
            (None, None),
        ],
    )
    def test_state_of_a_status(self, told: str | None, status: Status | None) -> None:
        """All versions use the same words for a state."""
        shown = read(UserStatus, {"status": told, "presence": "AWAY", "presence_note": "soon"})
        state = ExtensionState.of("951", ID, shown)
        assert state == ExtensionState("951", status, Presence.AWAY, "soon", ID)
        assert status is None or type(state.status) is Status


class TestReprs:
    NEW = NewUser(
        name="ann",
        password="S3cr3t-1",
        email="ann@test.io",
        display_name="Ann",
        role="StandardUser",
        extension_number="951",
        extension_password="S3cr3t-2",
        voicemail_pin="S3cr3t-3",
        enable_voicemail_pin=True,
    )

    def test_repr_shows_no_secret(self) -> None:
        """Whether a pin is needed is not one."""
        assert repr(self.NEW) == (
            "NewUser(name='ann', password=***, email='ann@test.io', display_name='Ann', "
            "role='StandardUser', extension_number='951', extension_password=***, "
            "voicemail_pin=***, enable_voicemail_pin=True)"
        )

    @pytest.mark.parametrize(
        "model",
        [
            NEW,
            User(id=ID, password="S3cr3t-1", extension_password="S3cr3t-2"),
            User(id=ID, voicemail_pin="S3cr3t-3"),
            UserSettings(voicemail_pin="S3cr3t-3"),
            SignInReply(access_token="S3cr3t-1", refresh_token="S3cr3t-2"),
            SignInReply(two_factor_enabled=True, token="S3cr3t-1"),
            UploadStarted(id=UPLOAD_ID, token="S3cr3t-1"),
            UploadProgress(id=UPLOAD_ID, token="S3cr3t-1"),
        ],
        ids=lambda model: type(model).__name__,
    )
    def test_no_form_of_text_shows_a_secret(self, model: Record) -> None:
        """This holds for str, format and rich, too."""
        for text in (repr(model), str(model), f"{[model]}", repr(model.__rich_repr__())):
            assert "S3cr3t" not in text
            assert "***" in text


class TestEnums:
    @pytest.mark.parametrize("kind", ENUMS)
    def test_unknown_value_is_kept(self, kind: type[OpenEnum]) -> None:
        """It has the type of the enum."""
        value = msgspec.json.decode(b'"BRAND_NEW"', type=kind)
        assert value == "BRAND_NEW"
        assert type(value) is kind
        assert "BRAND_NEW" not in kind.__members__

    def test_documented_values(self) -> None:
        """The members are the values that the documents of 22.2 and 22.3 have."""
        assert {kind.__name__: [each.value for each in kind] for kind in ENUMS} == {
            "Role": [
                "SystemAdmin",
                "Replicator",
                "Dealer",
                "Admin",
                "StandardUser",
                "StandardInternationalUser",
                "QueueManager",
            ],
            "Status": ["OFFLINE", "ONLINE", "RINGING", "ON_CALL", "OTHER_CALL"],
            "Presence": [
                "DO_NOT_DISTURB",
                "AVAILABLE",
                "AWAY",
                "BUSINESS_TRIP",
                "LUNCH",
                "ON_CALL",
                "OFFLINE",
                "ONLINE",
                "RINGING",
                "OTHER_CALL",
            ],
            "ExtensionType": [
                "EXTENSION",
                "RING_GROUP",
                "CALL_QUEUE",
                "CONFERENCE_ROOM",
                "VIRTUAL_RECEPTIONIST",
            ],
            "SMSMode": ["DISABLE", "ALLOW", "ALLOW_WITH_SENDER_ID"],
            "ForwardAction": ["FORWARD_TO_NUMBER", "FORWARD_TO_VOICEMAIL", "RING_ANYWAY", "HANGUP"],
            "ForwardHours": ["ALL_HOURS", "SPECIFIC_HOURS", "OUTSIDE_SPECIFIC_HOURS"],
            "OfficeHoursMode": ["GLOBAL", "CUSTOM"],
            "VoicemailDatetime": ["DISABLE", "12_HOUR_CLOCK", "24_HOUR_CLOCK"],
            "Interface": [
                "WEB_DOMAIN",
                "PUBLIC_IPV4",
                "PUBLIC_IPV6",
                "PRIVATE_IPV4",
                "PRIVATE_IPV6",
                "SBC_DOMAIN",
            ],
            "Transport": ["UDP", "TCP", "TLS"],
            "ClientCertificate": ["DISABLE", "OPTIONAL", "MANDATORY"],
            "SyncType": ["Microsoft 365"],
            "AdditionalHeader": [
                "ANSWER_MODE",
                "CALL_INFO",
                "ALERT_INFO_AUTO_ANSWER_DELAY0",
                "ALERT_INFO_AUTO_ANSWER",
                "ALERT_INFO_INTERCOM",
            ],
            "HeaderDirection": ["CALLER", "CALLEE", "ALL"],
        }
