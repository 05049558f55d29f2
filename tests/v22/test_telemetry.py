"""Spans and metrics of the client of generation v22."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from portsip_async import PortSIPError, RetryPolicy, Token, TwoFactorRequired, telemetry
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import ENDPOINTS, NewUser, PortSIPClient, UserSettings

from ..clocks import use_jumping_clock
from ..concurrency import until
from ..test_secrecy import forms
from ..test_telemetry import Recorder, identity, parent
from ..test_tracebacks import frames_of
from ..wire_server import WireServer, hang_up, reply
from .conftest import V22Maker
from .login_server import CODE, PASSWORD, REFRESH, SIGN_IN, LoginServer, login_server
from .test_users import new

TOKEN = "tok+Secret/5=&\"é'"
# Everything that a call may send: ids and numbers, which go into paths, and secrets.
ID = "user/Id é-7731"
OTHER_ID = "other id?+4420"
NUMBER = "9031790317903179"
SECRET = 'pass wörd/+&"1'
OTP = "904115904115"
CHALLENGE = "challenge;Text<3>"
SENT = (ID, OTHER_ID, NUMBER, SECRET, OTP, CHALLENGE)
USER = NewUser(
    name="ann",
    display_name="Ann",
    email="ann@test.io",
    role="StandardUser",
    extension_number=NUMBER,
    password=SECRET,
    extension_password=SECRET,
    voicemail_pin=OTP,
)
CALLS: dict[str, Callable[[PortSIPClient], Awaitable[object]]] = {
    "users.list": lambda pbx: pbx.users.list(search=NUMBER, filter=ID),
    "users.create": lambda pbx: pbx.users.create(USER),
    "users.show": lambda pbx: pbx.users.show(ID),
    "users.update": lambda pbx: pbx.users.update(ID, UserSettings(voicemail_pin=OTP)),
    "users.remove": lambda pbx: pbx.users.remove(ID),
    "users.set_password": lambda pbx: pbx.users.set_password(ID, SECRET),
    "users.set_extension_password": lambda pbx: pbx.users.set_extension_password(ID, SECRET),
    "users.set_role": lambda pbx: pbx.users.set_role(ID, OTHER_ID),
    "users.status": lambda pbx: pbx.users.status(ID),
    "users.own_status": lambda pbx: pbx.users.own_status(),
    "users.own": lambda pbx: pbx.request(ENDPOINTS["users.own"]),
    "users.set_own_presence": lambda pbx: pbx.users.set_own_presence("AWAY", ID),
    "users.find": lambda pbx: pbx.users.find(NUMBER),
    "groups.list": lambda pbx: pbx.groups.list(search=ID),
    "groups.create": lambda pbx: pbx.groups.create(ID),
    "groups.show": lambda pbx: pbx.groups.show(ID),
    "groups.update": lambda pbx: pbx.request(ENDPOINTS["groups.update"], id=ID, name=OTHER_ID),
    "groups.remove": lambda pbx: pbx.groups.remove(ID),
    "groups.members": lambda pbx: pbx.groups.members(ID),
    "groups.member": lambda pbx: pbx.request(
        ENDPOINTS["groups.member"], id=ID, extension_number=NUMBER
    ),
    "groups.add_member": lambda pbx: pbx.groups.add_members(ID, [NUMBER]),
    "groups.remove_member": lambda pbx: pbx.groups.remove_members(ID, [NUMBER]),
    "greetings.list": lambda pbx: pbx.greetings.list(ID),
    "greetings.create": lambda pbx: pbx.greetings.create(ID, OTHER_ID),
    "greetings.enable": lambda pbx: pbx.greetings.enable(ID, OTHER_ID),
    "greetings.disable": lambda pbx: pbx.greetings.disable(ID, OTHER_ID),
    "greetings.remove": lambda pbx: pbx.greetings.remove(ID, OTHER_ID),
    "blobs.begin": lambda pbx: pbx.blobs.upload(b"RIFF", filename=OTHER_ID),
    "blobs.append": lambda pbx: pbx.request(
        ENDPOINTS["blobs.append"], id=ID, upload_token=SECRET, file=b"RIFF"
    ),
    "blobs.complete": lambda pbx: pbx.request(
        ENDPOINTS["blobs.complete"], id=ID, upload_token=SECRET, digest=NUMBER
    ),
    "blobs.status": lambda pbx: pbx.request(ENDPOINTS["blobs.status"], id=ID),
    "blobs.destroy": lambda pbx: pbx.request(ENDPOINTS["blobs.destroy"], id=ID),
    "blobs.download": lambda pbx: pbx.request(ENDPOINTS["blobs.download"], digest=ID),
    "calls.create": lambda pbx: pbx.calls.create(NUMBER, OTHER_ID),
    "calls.create_directly": lambda pbx: pbx.calls.create_directly(
        NUMBER, SECRET, domain="test.io", caller=NUMBER, callee=OTHER_ID
    ),
    "calls.list": lambda pbx: pbx.calls.list(),
    "calls.show": lambda pbx: pbx.calls.show(ID),
    "calls.hang_up": lambda pbx: pbx.calls.hang_up(ID),
    "auth.user": lambda pbx: pbx.auth.user(),
    "auth.sign_out": lambda pbx: pbx.auth.sign_out(),
    "auth.send_otp": lambda pbx: pbx.auth.send_otp(CHALLENGE),
    "auth.verify_otp": lambda pbx: pbx.auth.verify_otp(CHALLENGE, OTP),
    "pbx.info": lambda pbx: pbx.info(domain=ID),
}
# What the client sends by itself.
LOGINS = {"auth.sign_in", "auth.refresh", "auth.form_login", "auth.form_refresh"}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def pbx(make_v22: V22Maker, recorder: Recorder) -> PortSIPClient:
    return make_v22(on_attempt=recorder.telemetry)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_attempt_has_the_path_of_its_endpoint(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """The names of path arguments stand for their values, in the name, the URL and the template."""
    await pbx.users.show(sim.v22.user_id("101"))
    call, attempt = recorder.span("users.show"), recorder.span("GET /api/users/{id}")
    assert attributes(call) == {"portsip.operation": "users.show"}
    assert parent(attempt) == identity(call)
    assert attributes(attempt) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": sim.port,
        "url.full": f"{sim.url}/api/users/{{id}}",
        "url.template": "/api/users/{id}",
        "portsip.operation": "users.show",
    }
    templates = {
        point["url.template"] for point, _ in recorder.points("http.client.request.duration")
    }
    assert templates == {"/api/auth/sign_in", "/api/users/{id}"}


async def test_extensions_are_calls_of_users(pbx: PortSIPClient, recorder: Recorder) -> None:
    """Calls by number are spans of the operations that are sent."""
    await pbx.extensions.show("101")
    names = [span.name for span in recorder.spans() if span.name in ENDPOINTS]
    assert names == ["auth.sign_in", "users.find", "users.show"]


async def test_pages_and_polled_extensions_are_counted(
    pbx: PortSIPClient, recorder: Recorder
) -> None:
    """Each page is counted, and each status of an extension."""
    numbers = [str(each.extension_number) async for each in pbx.users.list(page_size=100)]
    await pbx.groups.list()
    assert sorted(recorder.points("portsip.client.pages"), key=str) == [
        ({"portsip.operation": "groups.list"}, 1),
        ({"portsip.operation": "users.list"}, 3),
    ]
    async for _ in pbx.extensions.poll_status([*numbers[:50], "999999"]):
        pass
    await pbx.extensions.status(numbers[:2])
    assert recorder.points("portsip.client.polled") == [({}, 52)]


async def test_concurrent_calls_have_their_own_attempts(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """The span of an attempt is below its own call, though all have the same name."""
    await asyncio.gather(
        *(pbx.users.show(sim.v22.user_id(str(number))) for number in range(100, 120))
    )
    calls = sorted(identity(span) for span in recorder.spans("users.show"))
    below = [parent(span) for span in recorder.spans("GET /api/users/{id}")]
    assert len(calls) == 20
    assert sorted(map(str, below)) == sorted(map(str, calls))


class TestRenewals:
    async def test_sign_in(self, pbx: PortSIPClient, recorder: Recorder) -> None:
        """The login of the first call is a span below the call."""
        await pbx.users.own_status()
        renewal, login = recorder.span("token renewal"), recorder.span("auth.sign_in")
        assert parent(renewal) == identity(recorder.span("users.own_status"))
        assert parent(login) == identity(renewal)
        assert parent(recorder.span("POST /api/auth/sign_in")) == identity(login)
        assert recorder.points("portsip.client.token.renewals") == [({}, 1)]

    async def test_refresh(self, pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder) -> None:
        """A rejected access token is renewed by a refresh, which is counted."""
        await pbx.users.own_status()
        sim.v22.revoke()
        await pbx.users.own_status()
        refresh = recorder.span("auth.refresh")
        assert parent(refresh) == identity(recorder.spans("token renewal")[1])
        assert parent(recorder.span("POST /api/auth/refresh_token")) == identity(refresh)
        assert recorder.points("portsip.client.token.renewals") == [({}, 2)]

    async def test_refresh_in_the_background(self, pbx: PortSIPClient, recorder: Recorder) -> None:
        """The renewal of a stale token is counted like any other."""
        clock = use_jumping_clock(pbx)
        await pbx.users.own_status()
        clock.jump(24)  # the simulator's tokens live for 30 seconds
        await pbx.users.own_status()
        await until(lambda: len(recorder.spans("token renewal")) == 2)
        assert recorder.points("portsip.client.token.renewals") == [({}, 2)]
        assert recorder.spans("auth.refresh")

    async def test_refresh_that_is_refused(
        self, pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
    ) -> None:
        """The refused refresh and the login after it are calls of one renewal."""
        await pbx.users.own_status()
        sim.v22.revoke(refresh_tokens=True)
        await pbx.users.own_status()
        first, second = recorder.spans("token renewal")
        (refresh,) = recorder.spans("auth.refresh")
        assert attributes(refresh)["error.type"] == "AuthenticationError"
        logins = recorder.spans("auth.sign_in")
        assert [parent(span) for span in logins] == [identity(first), identity(second)]
        assert parent(refresh) == identity(second)
        assert recorder.points("portsip.client.token.renewals") == [({}, 2)]

    async def test_form_login(self, recorder: Recorder) -> None:
        """A PBX without signing in shows the missing path, the form login and its refresh."""
        async with login_server() as server, logged(server, recorder) as pbx:
            server.missing |= {SIGN_IN, REFRESH}
            await pbx.auth.user()
            server.valid.clear()
            await pbx.auth.user()
        renewals = recorder.spans("token renewal")
        names = ("auth.sign_in", "auth.form_login", "auth.form_refresh")
        spans = [recorder.span(name) for name in names]
        assert [parent(span) for span in spans] == [
            identity(renewals[0]),
            identity(renewals[0]),
            identity(renewals[1]),
        ]
        assert attributes(spans[0])["error.type"] == "NotFound"
        attempts = recorder.spans("POST /api/login/oauth/token")
        assert [parent(span) for span in attempts] == [identity(spans[1]), identity(spans[2])]
        assert recorder.points("portsip.client.token.renewals") == [({}, 2)]
        assert_none_of(recorder.dump(), PASSWORD, *tokens_of(server))

    async def test_second_factor(self, recorder: Recorder) -> None:
        """A login that wants a code has failed; the code's check is a call of its own."""
        async with login_server() as server, logged(server, recorder) as pbx:
            server.second_factor = True
            with pytest.raises(TwoFactorRequired) as caught:
                await pbx.auth.user()
            await pbx.auth.send_otp(caught.value.challenge)
            await pbx.auth.verify_otp(caught.value.challenge, CODE)
            await pbx.auth.user()
        renewal = recorder.span("token renewal")
        assert attributes(renewal) == {"error.type": "TwoFactorRequired"}
        assert renewal.status.status_code is StatusCode.ERROR
        assert not renewal.events
        assert recorder.points("portsip.client.token.renewals") == [
            ({"error.type": "TwoFactorRequired"}, 1)
        ]
        for name in ("auth.send_otp", "auth.verify_otp"):
            assert parent(recorder.span(name)) is None
            assert parent(recorder.span(f"POST /api/{name.replace('.', '/')}")) == identity(
                recorder.span(name)
            )
        assert_none_of(recorder.dump(), PASSWORD, CODE, "challenge-text", *tokens_of(server))


def logged(server: LoginServer, recorder: Recorder) -> PortSIPClient:
    """Return a client of a PBX that only has logins and ``auth.user``."""
    return PortSIPClient(
        server.url, username="admin", password=PASSWORD, on_attempt=recorder.telemetry
    )


def tokens_of(server: LoginServer) -> tuple[str, ...]:
    return tuple(
        f"{kind}-token-{n + 1}" for kind in ("access", "refresh") for n in range(server.issued)
    )


def assert_none_of(text: str, *secrets: str) -> None:
    for secret in secrets:
        for form in forms(secret):
            assert form not in text


def test_every_row_is_called() -> None:
    assert set(CALLS) == set(ENDPOINTS) - LOGINS


@pytest.mark.parametrize("name", CALLS)
async def test_telemetry_holds_no_value(
    name: str, wire: WireServer, recorder: Recorder, make_v22: V22Maker
) -> None:
    """No span, no metric and no local variable of telemetry's frames holds a value of a call."""
    frames: list[traceback.FrameSummary] = []
    pbx = make_v22(
        wire.url,
        credentials=_Vault(),
        on_attempt=recorder.telemetry,
        retry=RetryPolicy(2, initial=0.001, maximum=0.002),
    )
    if name == "auth.sign_out":
        wire.script = [reply({"role": "Admin"})]
        await pbx.auth.user()  # there must be a token
    wire.arrivals.clear()
    told = "".join([TOKEN, *SENT])
    refused = {"errors": [{"code": "VALIDATE_FAILED", "message": told, "detail": {"all": told}}]}
    wire.script = [hang_up, reply(refused, status=400)]
    for _ in range(2):
        try:
            await CALLS[name](pbx)
        except PortSIPError as error:
            frames += frames_of(error)
    assert frames
    assert wire.arrivals
    variables = [frame.locals for frame in frames if frame.filename == telemetry.__file__]
    text = recorder.dump() + str(variables)
    assert name in text
    assert ENDPOINTS[name].path in text
    assert_none_of(text, TOKEN, *SENT)


class _Vault:
    async def fetch_token(self) -> Token:
        return Token(TOKEN, 600)


async def test_values_in_paths_are_sent(
    wire: WireServer, make_v22: V22Maker, recorder: Recorder
) -> None:
    """The calls above have their values in the paths of their requests."""
    pbx = make_v22(wire.url, token="t", on_attempt=recorder.telemetry)
    wire.script = [reply({"id": ID})]
    assert (await pbx.users.show(ID)).id == ID
    assert "7731" in wire.paths()[0]
    assert "7731" not in recorder.dump()


async def test_created_user_leaves_no_value(pbx: PortSIPClient, recorder: Recorder) -> None:
    """The id in a reply is in no attribute."""
    user = new("951")
    user_id = await pbx.users.create(user)
    await pbx.users.patch(user_id, {"department": "Sales"})
    await pbx.extensions.remove("951")
    assert_none_of(recorder.dump(), user_id, user.password, user.extension_password)
