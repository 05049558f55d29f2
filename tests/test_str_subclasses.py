"""Wherever the API takes a str, it takes any str subclass or str enum by its value."""

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from portsip_async import (
    APIError,
    ConfigurationError,
    EmailCredentials,
    Endpoint,
    ExtensionStatus,
    ExtensionUpdate,
    ForwardRules,
    NewExtension,
    OfficeHours,
    Options,
    PasswordCredentials,
    PortSIPClient,
    Profile,
    StaticToken,
    StatusMissing,
    Token,
    VoiceMail,
)
from portsip_async.simulator import PBXSimulator

from .conftest import QUICK, ClientMaker
from .operations import BY_NAME, BY_ROW, SECRETS, Row
from .wire_server import TOKEN, Arrival, WireServer, reply

Kind = Callable[[str], str]


class Plain(str):
    """A subclass that changes nothing."""

    __slots__ = ()


class WrongText(str):
    """A subclass with a str(), repr() and format() other than its value."""

    __slots__ = ()

    def __str__(self) -> str:
        return "WRONG"

    __repr__ = __str__

    def __format__(self, _: str) -> str:
        return "WRONG"


class ByIdentity(str):
    """A subclass that compares and hashes by identity."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Choice(str, Enum):  # noqa: UP042 - the older form is what is tested
    """The common form of an enum. Its str() is not its value."""


def member_of(base: Any) -> Kind:
    """Make a function that returns the member of an enum with a value."""
    return lambda text: base("Made", {"MEMBER": text}).MEMBER


KINDS: dict[str, Kind] = {
    "subclass": Plain,
    "subclass with another text": WrongText,
    "subclass by identity": ByIdentity,
    "(str, Enum)": member_of(Choice),
    "StrEnum": member_of(StrEnum),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


SECTIONS = ("profile", "options", "forward_rules", "office_hours", "voice_mail")
_FLAGS: Mapping[str, Any] = {
    "enable_intercom": True,
    "enable_external_call": False,
    "enable_management_console_access": False,
}


def sections(s: Kind) -> dict[str, Any]:
    return {
        "profile": Profile(first_name=s("Ann"), gender=s("MALE")),
        "options": {s("enable_extension"): True},
        "forward_rules": {s("available"): {s("busy_action"): s("CONNECT_TO_VOICE")}},
        "office_hours": OfficeHours(monday_from=s("08:00")),
        "voice_mail": VoiceMail(voicemail_pin=s("12345678")),
    }


def new_extension(s: Kind) -> NewExtension:
    return NewExtension(
        extension_number=s("9001"),
        password=s("p4ss"),
        web_access_password=s("w3b"),
        profile={s("first_name"): s("Ann")},  # type: ignore[arg-type]  # as a caller may well do
    )


def update(s: Kind) -> ExtensionUpdate:
    return ExtensionUpdate(
        extension_number=s("101"),
        profile=Profile(first_name=s("Ann")),
        options=Options(),
        forward_rules=ForwardRules(),
        office_hours=OfficeHours(),
        voice_mail=VoiceMail(),
    )


async def collect(stream: Any) -> list[Any]:
    return [each async for each in stream]


Send = Callable[[PortSIPClient, Kind], Awaitable[Any]]


def _call_of(row: Row) -> Send:
    return lambda pbx, s: row.send(pbx, **{name: s(row.sends[name]) for name in row.texts})


CALLS: dict[str, Send] = {name: _call_of(BY_ROW[name]) for name in BY_NAME} | {
    "extensions.status": lambda pbx, s: pbx.extensions.status([s("101"), "102", s("103")]),
    "extensions.create": lambda pbx, s: pbx.extensions.create(new_extension(s)),
    "extensions.update": lambda pbx, s: pbx.extensions.update(s("101"), **sections(s)),
    "groups.create": lambda pbx, s: pbx.groups.create(
        s("Sales"), group_description=s("d"), members=[s("101")], **_FLAGS
    ),
}
HELPERS: dict[str, Send] = {
    "extensions.patch": lambda pbx, s: pbx.extensions.patch(s("101"), **sections(s)),
    "groups.patch": lambda pbx, s: pbx.groups.patch(
        s("1"), group_name=s("S"), group_description=s("d"), members=[s("101")]
    ),
    "groups.add_members": lambda pbx, s: pbx.groups.add_members(s("1"), [s("102")]),
    "groups.remove_members": lambda pbx, s: pbx.groups.remove_members(s("1"), [s("101")]),
    "create_many": lambda pbx, s: collect(pbx.extensions.create_many([new_extension(s)])),
    "update_many": lambda pbx, s: collect(pbx.extensions.update_many([update(s)])),
    "patch_many": lambda pbx, s: collect(
        pbx.extensions.patch_many(
            [(s("101"), {s(name): part for name, part in sections(s).items()})]
        )
    ),
    "remove_many": lambda pbx, s: collect(pbx.extensions.remove_many([s("101")])),
    "poll_status": lambda pbx, s: collect(pbx.extensions.poll_status([s("101"), "102", s("101")])),
}
ALL = CALLS | HELPERS

REPLY = reply(
    {
        "access_token": TOKEN,
        "extension_number": "101",
        "extension_status": [{"extension_number": "101", "status": "ONLINE"}],
        "extensions": [],
        "files": [],
        "group_id": "1",
        "group_name": "Sales",
        "groups": [],
        "members": ["101"],
    }
)
SCRIPTED_LOGINS: Any = {
    "account.verify": {"path": "/verify"},
    "account.verify_email": {"path": "/verify_email"},
}
BOUNDARY = re.compile(rb"[0-9a-f]{32}")


def content_of(arrival: Arrival) -> tuple[str, ...]:
    """Return what a request holds, without the random boundary of a form."""
    kind = arrival.headers.get("content-type", "")
    body = arrival.body
    if kind.startswith("multipart/"):
        kind, body = "multipart", BOUNDARY.sub(b"", body)
    return arrival.method, arrival.path, arrival.query, kind, body.decode()


@pytest.mark.parametrize("name", ALL)
async def test_operation(name: str, kind: Kind, wire: WireServer, make_client: ClientMaker) -> None:
    """It sends the same request as for a plain str."""
    wire.script = [REPLY]
    pbx = make_client(wire.url, token=TOKEN, endpoints=SCRIPTED_LOGINS)
    await ALL[name](pbx, str)
    plain = [content_of(arrival) for arrival in wire.arrivals]
    wire.arrivals.clear()
    found = await ALL[name](pbx, kind)
    assert [content_of(arrival) for arrival in wire.arrivals] == plain != []
    for result in found if isinstance(found, list) else ():
        assert getattr(result, "error", None) is None or isinstance(result.error, StatusMissing)


@pytest.mark.parametrize("name", CALLS)
async def test_operation_that_fails(
    name: str, kind: Kind, wire: WireServer, make_client: ClientMaker
) -> None:
    """The error is the PBX's, with its secrets hidden."""
    wire.script = [
        reply(
            {"err_code": 400.1, "msg": " ".join(["no:", *SECRETS, "p4ss", "w3b", "12345678"])}, 400
        )
    ]
    pbx = make_client(wire.url, token=kind(TOKEN), endpoints=SCRIPTED_LOGINS)
    with pytest.raises(APIError) as caught:
        await CALLS[name](pbx, kind)
    with pytest.raises(APIError) as plain:
        await CALLS[name](pbx, str)
    assert str(caught.value) == str(plain.value)


@pytest.mark.parametrize("form", ["query", "json", "multipart"])
@pytest.mark.parametrize("token", ["query", "body", "header", "bearer"])
async def test_endpoint_of_an_application(
    form: Any, token: Any, kind: Kind, wire: WireServer, make_client: ClientMaker
) -> None:
    """Its name, path and method, the token, and names and values at any depth may be such texts."""
    if token == "body" and form != "json":
        return
    wire.script = [REPLY]
    for s in (str, kind):
        options: Any = {"token": s(token), "parameters": s(form)}
        endpoint = Endpoint(s("own.call"), s("post"), s("/own/path"), **options)
        pbx = make_client(wire.url, token=s(TOKEN))
        nested = {s("deep"): [s("x"), {s("y"): s("z")}]} if form == "json" else [s("x"), s("y")]
        await pbx.request(
            endpoint, **{s("plain"): s("ä b"), s("nested"): nested, s("filename"): s("f")}
        )
    plain, found = map(content_of, wire.arrivals)
    assert plain == found
    assert [each.headers.get("authorization") for each in wire.arrivals] in (
        [None, None],
        [f"Bearer {TOKEN}"] * 2,
    )


class TestResults:
    async def test_poll_has_a_result_for_each_number(self, kind: Kind, pbx: PortSIPClient) -> None:
        """Each number has its own result, also next to plain and wrong ones."""
        numbers: Any = [kind("101"), "102", kind("99999"), 5, kind(""), kind("101")]
        results = await collect(pbx.extensions.poll_status(numbers, ordered=True))
        assert [str.__str__(result.extension_number) for result in results if result.status] == [
            "101",
            "102",
            "101",
        ]
        assert [type(result.error).__name__ for result in results] == [
            "NoneType",
            "NoneType",
            "NotFound",
            "TypeError",
            "ValueError",
            "NoneType",
        ]

    async def test_watch_knows_the_numbers(
        self, kind: Kind, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A number is the same as its plain str, in `known` and in the snapshot."""
        sim.set_status("101", "ONLINE", user_agent="x")
        known = {kind("101"): ExtensionStatus("101", "ONLINE", "x")}
        watch = pbx.extensions.watch_status([kind("101"), kind("102")], interval=0.01, known=known)
        async with watch:
            async for change in watch:
                assert change.extension_number == "102"
                break
        assert set(watch.snapshot) == {"101", "102"}

    async def test_bulk_results_have_plain_keys(self, kind: Kind, pbx: PortSIPClient) -> None:
        """The key of each result equals the plain number, also for items that failed."""
        unknown: dict[str, Any] = {"profile": {"nme": 1}}
        known: dict[str, Any] = {kind("profile"): {}}
        for run in (
            pbx.extensions.create_many([new_extension(kind), new_extension(kind)], concurrency=1),
            pbx.extensions.patch_many([(kind("101"), unknown), (kind("101"), known)]),
            pbx.extensions.update_many([update(kind)]),
            pbx.extensions.remove_many([kind("101"), kind("99999")]),
        ):
            assert {result.key for result in await collect(run)} <= {"9001", "101", "99999"}

    async def test_patched_group_holds_plain_texts(
        self, kind: Kind, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """The group that a patch returns has fields of type str."""
        listed = await pbx.groups.list()
        group = await pbx.groups.patch(
            kind(listed.items[0].group_id),
            group_name=kind("Sales"),
            group_description=kind("d"),
            members=[kind("101")],
        )
        texts = (group.group_id, group.group_name, group.group_description, *group.members)
        assert {type(each) for each in texts} == {str}
        assert group.group_name == "Sales"

    async def test_int_enum_is_sent_as_its_number(
        self, pbx: PortSIPClient, sim: PBXSimulator
    ) -> None:
        """A member of an IntEnum is sent as its value."""

        class Seconds(IntEnum):
            SHORT = 7

        await pbx.extensions.patch(
            "101", forward_rules={"available": {"no_answer_timeval": Seconds.SHORT}}
        )
        assert sim.extension("101")["forward_rules"]["available"]["no_answer_timeval"] == 7


class TestClient:
    @pytest.mark.parametrize("login", ["arguments", "credentials", "email", "token", "own"])
    async def test_login(self, login: str, kind: Kind, sim: PBXSimulator) -> None:
        """Every form of login takes such texts."""

        class OwnCredentials:
            async def fetch_token(self) -> Token:
                async with PortSIPClient(
                    sim.url, username=sim.username, password=sim.password
                ) as pbx:
                    token = await pbx.account.verify(sim.username, sim.password)
                return Token(kind(token.access_token), 30.0)

        token = await OwnCredentials().fetch_token()
        options: dict[str, dict[str, Any]] = {
            "arguments": {"username": kind(sim.username), "password": kind(sim.password)},
            "credentials": {
                "credentials": PasswordCredentials(kind(sim.username), kind(sim.password))
            },
            "email": {"credentials": EmailCredentials(kind(sim.email), kind(sim.password))},
            "token": {"token": token.access_token},
            "own": {"credentials": OwnCredentials()},
        }
        async with PortSIPClient(
            kind(sim.url), user_agent=kind("mine/1"), retry=QUICK, **options[login]
        ) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
            assert len(await pbx.extensions.status(["101"])) == 1

    async def test_user_agent_and_proxy(self, kind: Kind, wire: WireServer) -> None:
        """The test server is the proxy, so it gets the whole URL."""
        wire.script = [REPLY]
        async with PortSIPClient(
            "http://pbx.invalid",
            allow_http=True,
            credentials=StaticToken(kind(TOKEN)),
            user_agent=kind("mine/1"),
            proxy=kind(wire.url),
        ) as pbx:
            await pbx.extensions.show("101")
        [arrival] = wire.arrivals
        assert arrival.headers["user-agent"] == "mine/1"
        assert arrival.path == "http://pbx.invalid/api/extensions/show"

    async def test_overrides(self, kind: Kind, wire: WireServer, make_client: ClientMaker) -> None:
        """An override of an endpoint takes such texts."""
        wire.script = [REPLY]
        changed: Any = {"extensions.show": {"path": kind("/other"), "method": kind("post")}}
        await make_client(wire.url, endpoints=changed).extensions.show("101")
        assert content_of(wire.arrivals[0])[:2] == ("POST", "/api/other")

    async def test_path_of_an_upload(
        self, kind: Kind, pbx: PortSIPClient, sim: PBXSimulator, tmp_path: Path
    ) -> None:
        """A path may be such a text, or an object with an `__fspath__` that returns one."""
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        await pbx.greetings.upload("101", kind(str(tmp_path / "a.wav")))
        assert sim.greetings("101")["a.wav"].size == 4

        class PathObject:
            def __fspath__(self) -> str:
                return kind(str(tmp_path / "a.wav"))

        await pbx.greetings.upload("102", PathObject())
        assert sim.greetings("102")["a.wav"].size == 4

    async def test_path_of_a_ca_file(self, kind: Kind, make_client: ClientMaker) -> None:
        """The path of a CA file may be such a text; errors show its value."""
        with pytest.raises(ConfigurationError, match=r"none\.pem: No such file"):
            await make_client("https://127.0.0.1:1", ssl=kind("none.pem")).extensions.show("101")


async def test_numpy(pbx: PortSIPClient) -> None:
    """The str subclass of numpy works, if numpy is installed."""
    numpy = pytest.importorskip("numpy")
    numbers = list(numpy.array(["101", "102"]))
    results = await collect(pbx.extensions.poll_status(numbers))
    assert {result.extension_number for result in results if result.status} == {"101", "102"}
