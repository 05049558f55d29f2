"""What a PBX of v22 repeats of logins, refreshes, second factors and patches is hidden.

`tests/test_secrecy.py` and `tests/test_tracebacks.py` cover single operations of both generations.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from html import escape
from typing import Any
from urllib.parse import quote

import pytest

from portsip_async import APIError, PortSIPError, ReplyError, Token, TwoFactorRequired
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient, SignIn, Tokens, UserChanges

from ..internals import session_of
from ..operations import LOGIN_PASSWORD, PIN
from ..test_secrecy import NO_PAUSE, Recorder, forms, json_reply, send_and_record
from ..test_secrecy import recorder as recorder  # a fixture
from ..test_tracebacks import check
from ..wire_server import Arrival, Step, WireServer, reply
from .conftest import V22Maker
from .operations import (
    CALLS,
    CHALLENGE,
    CODE,
    ID,
    NEW_USER,
    OPERATIONS,
    SECRETS,
    first_error,
)

ACCESS_TOKEN = 'tok+Secret/5=&"x'
REFRESH_TOKEN = 'refresh+Secret/6=&"x'
LOGIN = {"username": "admin", "password": LOGIN_PASSWORD, "domain": "test.io"}
TOKENS = {"token": ACCESS_TOKEN, "refresh_token": REFRESH_TOKEN}


def echo(status: int, code: str, write: Callable[[str], str] = str) -> Step:
    """Make a step that repeats a request in the code, the message and the detail of an error."""

    async def step(arrival: Arrival, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = arrival.body.decode()
        text = write(f"{arrival.path}?{arrival.query} {arrival.headers} {body}")
        sent: Any = body
        with suppress(ValueError):
            sent = json.loads(body)
        detail = {"body": sent, "headers": arrival.headers, "texts": [text], text: {text: text}}
        error = {"code": code or text, "message": text, "detail": detail}
        writer.write(json_reply(status, {"errors": [error]}))
        await writer.drain()
        writer.close()

    return step


async def record(recorder: Recorder, call: Any, *secrets: str) -> Exception:
    """Await a call that fails, and look for secrets in all that shows the error."""
    with pytest.raises(PortSIPError) as caught:
        await call
    recorder.error(caught.value)
    recorder.note(getattr(caught.value, "detail", None))
    check(caught.value, *secrets)
    return caught.value


@pytest.mark.parametrize("write", [str, quote, escape, json.dumps, repr])
@pytest.mark.parametrize("code", ["UNAUTHORIZED", "UNKNOWN", ""])
@pytest.mark.parametrize("status", [200, 400, 500])
class TestRepeated:
    """A PBX that repeats the whole request."""

    @pytest.fixture
    def pbx(self, make_v22: V22Maker, wire: WireServer, recorder: Recorder) -> Callable[..., Any]:
        def make(**options: Any) -> PortSIPClient:
            return make_v22(wire.url, retry=NO_PAUSE, on_attempt=recorder.attempt, **options)

        return make

    async def test_login(
        self,
        status: int,
        code: str,
        write: Callable[[str], str],
        pbx: Callable[..., PortSIPClient],
        wire: WireServer,
        recorder: Recorder,
    ) -> None:
        """The password is hidden, in a login and in the form login."""
        for missing in (False, True):
            wire.script = [*([reply(status=404)] if missing else []), echo(status, code, write)]
            wire.arrivals.clear()
            client = pbx(**LOGIN)
            await record(recorder, client.users.show(ID), LOGIN_PASSWORD)
            assert wire.paths()[-1].endswith("token" if missing else "sign_in")
            recorder.note(session_of(client).tokens)
        recorder.check(LOGIN_PASSWORD)

    async def test_refresh(
        self,
        status: int,
        code: str,
        write: Callable[[str], str],
        pbx: Callable[..., PortSIPClient],
        wire: WireServer,
        recorder: Recorder,
    ) -> None:
        """Both tokens are hidden if the PBX repeats a rejected call, and then the refresh."""
        wire.script = [echo(401, "UNAUTHORIZED", write), echo(status, code, write)]
        client = pbx(**TOKENS)
        await record(recorder, client.users.show(ID), ACCESS_TOKEN, REFRESH_TOKEN)
        assert wire.paths()[1] == "/api/auth/refresh_token"
        recorder.note(session_of(client).tokens)
        recorder.check(ACCESS_TOKEN, REFRESH_TOKEN)

    async def test_second_factor(
        self,
        status: int,
        code: str,
        write: Callable[[str], str],
        pbx: Callable[..., PortSIPClient],
        wire: WireServer,
        recorder: Recorder,
    ) -> None:
        """The challenge and the one-time password are hidden."""
        wire.script = [echo(status, code, write)]
        client = pbx(**LOGIN)
        await record(recorder, client.auth.send_otp(CHALLENGE), CHALLENGE)
        await record(recorder, client.auth.verify_otp(CHALLENGE, CODE), CHALLENGE, CODE)
        recorder.check(CHALLENGE, CODE)

    async def test_patch(
        self,
        status: int,
        code: str,
        write: Callable[[str], str],
        pbx: Callable[..., PortSIPClient],
        wire: WireServer,
        recorder: Recorder,
    ) -> None:
        """What a patch writes is hidden, also what it only read."""
        shown = {"id": ID, "extension_number": "101", "voicemail_pin": PIN}
        wire.script = [reply(shown), echo(status, code, write)]
        changes: UserChanges = {"enable_voicemail_pin": True}
        await record(recorder, pbx(**TOKENS).users.patch(ID, changes), ACCESS_TOKEN, PIN)
        wire.arrivals.clear()
        many = pbx(**TOKENS).users.patch_many([(ID, changes)])
        await record(recorder, first_error(many), ACCESS_TOKEN, PIN)
        recorder.check(ACCESS_TOKEN, PIN)


async def test_patch_of_another_user(
    wire: WireServer, make_v22: V22Maker, recorder: Recorder
) -> None:
    """What a patch read is hidden, if it is another user's."""
    wire.script = [reply({"id": "other", "extension_number": "9", "voicemail_pin": PIN})]
    pbx = make_v22(wire.url, **TOKENS)
    changes: UserChanges = {"enable_voicemail_pin": True}
    await record(recorder, pbx.users.patch(ID, changes), PIN)
    await record(recorder, first_error(pbx.users.patch_many([(ID, changes)])), PIN)
    recorder.check(PIN)


async def test_challenge_is_hidden(
    wire: WireServer, make_v22: V22Maker, recorder: Recorder
) -> None:
    """The error that asks for a second factor shows its challenge only as an attribute."""
    wire.script = [reply({"two_factor_enabled": True, "token": CHALLENGE})]
    pbx = make_v22(wire.url, on_attempt=recorder.attempt, **LOGIN)
    for _ in range(2):
        with pytest.raises(TwoFactorRequired) as caught:
            await pbx.users.show(ID)
        assert caught.value.challenge == CHALLENGE
        recorder.texts.append(repr(caught.value) + str(caught.value))
        check(caught.value, CHALLENGE, LOGIN_PASSWORD)
    recorder.check(CHALLENGE, LOGIN_PASSWORD)


async def test_reply_without_a_token(
    wire: WireServer, make_v22: V22Maker, recorder: Recorder
) -> None:
    """The error of a login whose reply can't be used shows nothing of the reply."""
    wire.script = [reply({"access_token": [ACCESS_TOKEN], "refresh_token": REFRESH_TOKEN})]
    pbx = make_v22(wire.url, **LOGIN)
    error = await record(recorder, pbx.users.show(ID), ACCESS_TOKEN, REFRESH_TOKEN)
    assert isinstance(error, ReplyError)
    recorder.check(ACCESS_TOKEN, REFRESH_TOKEN, LOGIN_PASSWORD)


async def test_reprs(recorder: Recorder) -> None:
    """Clients, credentials, tokens and new users don't show their secrets."""
    for options in (LOGIN, TOKENS):
        async with PortSIPClient("https://pbx.example:8887", **options) as pbx:  # type: ignore[arg-type]  # strings only
            for thing in (pbx, pbx.with_options(timeout=1), pbx.__dict__, session_of(pbx).tokens):
                recorder.note(thing)
    for secret in (
        SignIn("admin", LOGIN_PASSWORD),
        Tokens(ACCESS_TOKEN, REFRESH_TOKEN),
        Token(ACCESS_TOKEN, 30.0, refresh_token=REFRESH_TOKEN),
        NEW_USER,
    ):
        recorder.note([secret])
        recorder.note(secret)
    recorder.check(LOGIN_PASSWORD, ACCESS_TOKEN, REFRESH_TOKEN, *SECRETS)


class TestSimulator:
    """A simulator whose errors repeat the whole request."""

    @pytest.fixture
    async def sim(self) -> Any:
        async with PBXSimulator(extensions=20, groups=2, quirks={"echo"}) as simulator:
            yield simulator

    @pytest.fixture
    def issued(self, sim: PBXSimulator) -> Iterator[list[str]]:
        """All tokens that the simulator issues."""
        issued: list[str] = []
        logins = sim.v22._state.logins
        make = logins._make_token

        def make_and_record() -> str:
            issued.append(make())
            return issued[-1]

        logins._make_token = make_and_record
        yield issued
        logins._make_token = make

    async def test_every_operation(
        self, sim: PBXSimulator, make_v22: V22Maker, recorder: Recorder, issued: list[str]
    ) -> None:
        """Wrong ids make every call fail. Neither tokens nor arguments are shown."""
        pbx = make_v22(retry=NO_PAUSE, on_attempt=recorder.attempt)
        failed = 0
        for operation in (*OPERATIONS, *CALLS):
            if operation.name == "auth.sign_out":
                continue
            if failed % 7 == 0:
                sim.v22.revoke(refresh_tokens=failed % 2 == 0)
            error = await send_and_record(recorder, pbx, operation)
            if isinstance(error, APIError):
                failed += 1
                recorder.note(error.detail)
                # What the PBX repeats is shown, but for the secrets.
                assert error.is_page or "/api/" in error.message
        assert failed > 30
        assert len(issued) > 2
        recorder.check(sim.password, *issued, *SECRETS)

    async def test_second_factor(self, make_v22: V22Maker, recorder: Recorder) -> None:
        """A wrong code is hidden, with the challenge."""
        async with PBXSimulator(second_factor=True, quirks={"echo"}) as sim:
            pbx = make_v22(
                sim.url, username=sim.username, password=sim.password, on_attempt=recorder.attempt
            )
            with pytest.raises(TwoFactorRequired) as caught:
                await pbx.users.list()
            challenge = caught.value.challenge
            await pbx.auth.send_otp(challenge)
            error = await record(recorder, pbx.auth.verify_otp(challenge, CODE), challenge, CODE)
            assert "verify_otp" in str(error)
            assert sim.v22.otp
            await pbx.auth.verify_otp(challenge, sim.v22.otp)
            await pbx.users.list()
        text = recorder.text()
        for secret in (challenge, CODE, sim.password):
            assert not [form for form in forms(secret) if form in text]
