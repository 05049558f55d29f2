"""Logging in to generation v22: tokens, refreshes, second factors and signing out, over HTTP."""

import asyncio
import json
import logging
import traceback
from typing import Any

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
    StaticToken,
    Timeout,
    Token,
    TransportError,
    TwoFactorRequired,
)
from portsip_async.v22 import SignIn, Tokens
from portsip_async.v22.login import resolve_credentials

from ..clocks import JumpingClock
from ..concurrency import in_background, until
from .login_server import (
    CODE,
    FORM,
    PASSWORD,
    QUICK,
    REFRESH,
    SEND_OTP,
    SHOW,
    SIGN_IN,
    SIGN_OUT,
    USER,
    VERIFY_OTP,
    Fault,
    LoginClient,
    LoginServer,
    Vault,
    client_of,
    login_server,
    refusal,
)

# What may happen to a refresh. The token may be used up each time.
FAULTS = {
    "reply lost": Fault(acts=True),
    "request lost": Fault(),
    "silence": Fault(-1, acts=True),
    "429": Fault(429),
    "503": Fault(503),
    "503 for now": Fault(503, headers={"Retry-After": "0"}),
    "500": Fault(500, acts=True),
    "408": Fault(408),
    "404": Fault(404),
    "page": Fault(401, "<html>proxy</html>"),
    "rubbish": Fault(200, "<html>proxy</html>", acts=True),
    "empty": Fault(200, "", acts=True),
    "no token": Fault(200, '{"token_type": "Bearer"}', acts=True),
    "unusable": Fault(200, json.dumps({"access_token": "a\r\nb"}), acts=True),
    "refused": Fault(400, refusal("UNAUTHORIZED")),
    "denied": Fault(403, refusal("DENIED")),
    "second factor": Fault(200, json.dumps({"two_factor_enabled": True, "token": "x"})),
}
SHORT = Timeout(total=0.2)


def jump(client: LoginClient) -> JumpingClock:
    """Give a client a clock that can jump ahead."""
    clock = JumpingClock()
    client._session.clock.monotonic = clock
    return clock


def failures(outcomes: list[Any]) -> list[BaseException]:
    return [each for each in outcomes if isinstance(each, BaseException)]


async def shows(client: LoginClient, calls: int) -> list[Any]:
    return await asyncio.gather(*(client.show() for _ in range(calls)), return_exceptions=True)


class TestSigningIn:
    async def test_300_calls_sign_in_once(self) -> None:
        async with login_server() as pbx, client_of(pbx, domain="test.io", **login()) as client:
            assert failures(await shows(client, 300)) == []
            assert pbx.served == {SIGN_IN: 1, SHOW: 300}
            assert json.loads(pbx.arrivals[0].body) == {**login(), "domain": "test.io"}
            assert "authorization" not in pbx.arrivals[0].headers

    async def test_system_administrator(self) -> None:
        """Without a domain there is no such key."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            assert json.loads(pbx.arrivals[0].body) == login()

    @pytest.mark.parametrize("told", [None, "1800", "soon", 0, -1, True, [], 1e400])
    async def test_expires_in_that_is_missing_or_odd(self, told: object) -> None:
        """Then a token lives for half an hour."""
        async with login_server() as pbx, client_of(pbx) as client:
            clock = jump(client)
            pbx.lifetime = told
            assert await client.show() == "access-token-1"
            if told is not True:
                clock.jump(1190)
                assert await client.show() == "access-token-1"
                assert pbx.served[REFRESH] == 0
            clock.jump(700)
            assert await client.show() == "access-token-2"
            assert pbx.served[SIGN_IN] == pbx.served[REFRESH] == 1

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, refusal("UNAUTHORIZED")),
            (400, refusal("VALIDATE_FAILED")),
            (400, ""),
            (401, "{}"),
            (403, refusal("DENIED", "the client IP address has been blocked")),
            (400, refusal("DENIED")),
            (429, refusal("DENIED")),
            (200, refusal("UNAUTHORIZED")),
        ],
    )
    async def test_refused(self, status: int, body: str) -> None:
        """It is remembered, so that nothing more is sent."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SIGN_IN] = [Fault(status, body)]
            for _ in range(3):
                with pytest.raises(AuthenticationError) as caught:
                    await client.show()
                assert caught.value.operation == "auth.sign_in"
                assert not caught.value.token_rejected
            assert pbx.served == {SIGN_IN: 1}

    @pytest.mark.parametrize("status", [400, 401, 403])
    async def test_page_of_a_proxy(self, status: int) -> None:
        """It is no refusal, so the next call logs in again."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SIGN_IN] = [Fault(status, "<html>Forbidden</html>")]
            with pytest.raises(APIError, match="web page") as caught:
                await client.show()
            assert not isinstance(caught.value, AuthenticationError)
            assert await client.show()

    async def test_reply_without_a_token(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SIGN_IN] = [Fault(200, '{"token_type": "Bearer"}')]
            with pytest.raises(ReplyError, match="access token"):
                await client.show()
            assert await client.show()

    async def test_denied_elsewhere(self) -> None:
        """On an operation with a token it means that the role does not allow it."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SHOW] = [Fault(403, refusal("DENIED"))]
            with pytest.raises(PermissionDenied):
                await client.show()
            assert pbx.served == {SIGN_IN: 1, SHOW: 1}

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
    async def test_unauthorized_elsewhere(self, status: int) -> None:
        """On an operation with a token it means that the token was rejected."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SHOW] = [Fault(status, refusal("UNAUTHORIZED"))]
            assert await client.show() == "access-token-2"
            assert pbx.served == {SIGN_IN: 1, REFRESH: 1, SHOW: 2}

    async def test_own_credentials(self) -> None:
        """Their token is refreshed if it has a refresh token. Else a new one is fetched."""
        async with login_server() as pbx:
            vault = Vault(pbx)
            async with client_of(pbx, credentials=vault) as client:
                assert await client.show() == "access-token-1"
                pbx.valid.clear()
                assert await client.show() == "access-token-2"
                pbx.faults[REFRESH] = [Fault(acts=True)]
                pbx.valid.clear()
                assert await client.show() == "access-token-4"
            assert vault.fetched == 2
            assert pbx.served == {SHOW: 5, REFRESH: 2}


def login() -> dict[str, str]:
    return {"username": "admin", "password": PASSWORD}


class TestFormLogin:
    async def test_where_signing_in_is_missing(self) -> None:
        """It is remembered for the client's life, refreshes included."""
        async with login_server() as pbx, client_of(pbx, domain="test.io", **login()) as client:
            pbx.missing = {SIGN_IN, REFRESH}
            assert failures(await shows(client, 20)) == []
            assert pbx.served == {SIGN_IN: 1, FORM: 1, SHOW: 20}
            assert b"domain=test.io" in pbx.arrivals[1].body
            pbx.valid.clear()
            assert failures(await shows(client, 1)) == []
            assert pbx.served[FORM] == 2
            assert b"grant_type=refresh_token" in pbx.arrivals[-2].body
            pbx.faults[FORM] = [Fault(acts=True)]
            pbx.valid.clear()
            assert failures(await shows(client, 1)) == []
            assert (pbx.served[SIGN_IN], pbx.served[FORM], pbx.served[REFRESH]) == (1, 4, 0)
            assert set(pbx.used.values()) == {1}

    @pytest.mark.parametrize("status", [404, 405, 410])
    @pytest.mark.parametrize("body", ["", "{}", "<html>Not Found</html>"])
    async def test_statuses_of_a_missing_path(self, status: int, body: str) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[SIGN_IN] = [Fault(status, body)]
            await client.show()
            assert pbx.served == {SIGN_IN: 1, FORM: 1, SHOW: 1}

    async def test_system_administrator(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.missing = {SIGN_IN}
            await client.show()
            assert b"domain" not in pbx.arrivals[1].body

    async def test_refused(self) -> None:
        """It is remembered like any refused login, and so is the path."""
        async with login_server() as pbx, client_of(pbx, username="x", password="y") as client:
            pbx.missing = {SIGN_IN}
            for _ in range(2):
                with pytest.raises(AuthenticationError):
                    await client.show()
            with pytest.raises(AuthenticationError):
                await client.auth.refresh()
            assert pbx.served == {SIGN_IN: 1, FORM: 2}

    async def test_no_api_of_this_generation(self) -> None:
        """If both paths are missing, nothing is remembered."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.missing = {SIGN_IN, FORM}
            for _ in range(2):
                with pytest.raises(NotFound, match="no PortSIP API of this generation"):
                    await client.show()
            assert pbx.served == {SIGN_IN: 2, FORM: 2}
            pbx.missing = set()
            await client.show()
            assert pbx.served == {SIGN_IN: 3, FORM: 2, SHOW: 1}

    async def test_second_factor(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.missing, pbx.second_factor = {SIGN_IN}, True
            for _ in range(2):
                with pytest.raises(TwoFactorRequired):
                    await client.show()
            assert pbx.served == {SIGN_IN: 1, FORM: 1}


class TestRefreshing:
    async def test_all_tokens_revoked_under_load(self) -> None:
        """One refresh, and no failed call."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            pbx.held = SHOW
            async with in_background(*(client.show() for _ in range(40))) as tasks:
                await until(lambda: pbx.in_flight[SHOW] == 40)
                pbx.valid.clear()
                pbx.held = ""
                async with in_background(*(client.show() for _ in range(40))) as more:
                    assert failures(await asyncio.gather(*more, return_exceptions=True)) == []
                pbx.gate.set()
                assert failures(await asyncio.gather(*tasks, return_exceptions=True)) == []
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (1, 1)

    async def test_old_token_ends_with_a_refresh_in_the_background(self) -> None:
        """Calls that were sent with the old token are sent again."""
        async with login_server() as pbx, client_of(pbx) as client:
            clock = jump(client)
            await client.show()
            clock.jump(1300)
            pbx.held = REFRESH
            await client.show()
            await until(lambda: pbx.in_flight[REFRESH])
            async with in_background(*(client.show() for _ in range(20))) as tasks:
                await until(lambda: pbx.served[SHOW] >= 22)
                pbx.gate.set()
                assert {await task for task in tasks} == {"access-token-2"}
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (1, 1)

    async def test_sends_no_access_token(self) -> None:
        """The old one may have expired, and a PBX could refuse it."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            await client.auth.refresh()
            (arrival,) = (each for each in pbx.arrivals if each.path == REFRESH)
            assert "authorization" not in arrival.headers
            assert json.loads(arrival.body) == {"refresh_token": "refresh-token-1"}

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    async def test_fault(self, fault: Fault) -> None:
        """One login follows at once, and no refresh token is sent twice."""
        async with login_server() as pbx, client_of(pbx, timeout=SHORT) as client:
            await client.show()
            pbx.valid.clear()
            pbx.faults[REFRESH] = [fault]
            assert failures(await shows(client, 30)) == []
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (2, 1)
            pbx.valid.clear()
            assert failures(await shows(client, 30)) == []
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (2, 2)
            assert set(pbx.used.values()) == {1}

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    async def test_fault_with_tokens_only(self, fault: Fault) -> None:
        """The error says that the tokens are lost. Nothing more is sent."""
        async with login_server() as pbx:
            pair = pbx.issue()
            pbx.valid.clear()
            async with client_of(
                pbx, token=pair["access_token"], refresh_token=pair["refresh_token"], timeout=SHORT
            ) as client:
                pbx.faults[REFRESH] = [fault]
                for outcome in [*await shows(client, 3), *await shows(client, 1)]:
                    assert isinstance(outcome, AuthenticationError)
                    assert "pass new tokens" in str(outcome)
                assert pbx.served == {SHOW: 3, REFRESH: 1}

    async def test_tokens_only(self) -> None:
        """They are refreshed when the PBX rejects them."""
        async with login_server() as pbx:
            pair = pbx.issue()
            pbx.valid.clear()
            async with client_of(
                pbx, token=pair["access_token"], refresh_token=pair["refresh_token"]
            ) as client:
                assert await client.show() == "access-token-2"
            assert pbx.served == {SHOW: 2, REFRESH: 1}

    async def test_nothing_was_sent(self) -> None:
        """Without a connection the refresh token stays usable."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            url, port = pbx.url, int(pbx.url.rpartition(":")[2])
            assert url
        # The server is gone. Another one takes its port.
        other = LoginServer()
        other.sessions, other.issued = dict(pbx.sessions), pbx.issued
        async with LoginClient(url, username="admin", password=PASSWORD, retry=QUICK) as client:
            client._session.tokens.use(
                Token("access-token-1", refresh_token="refresh-token-1"),
                client._session.clock.monotonic() - 100,
            )
            for _ in range(2):
                with pytest.raises(ConnectError):
                    await client.show()
            server = await asyncio.start_server(other._serve, "127.0.0.1", port)
            async with server:
                assert await client.show() == "access-token-2"
                assert other.served == {REFRESH: 1, SHOW: 1}
                await client.close()

    async def test_closed_during_a_refresh(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            pbx.valid.clear()
            pbx.held = REFRESH
            async with in_background(client.show(), client.auth.refresh()) as tasks:
                await until(lambda: pbx.in_flight[REFRESH])
                await client.close()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(outcome, ClientClosed)
            pbx.gate.set()
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (1, 1)

    async def test_cancelled_call(self) -> None:
        """The refresh goes on for later calls."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            pbx.valid.clear()
            pbx.held = REFRESH
            async with in_background(client.show()):
                await until(lambda: pbx.in_flight[REFRESH])
            pbx.gate.set()
            assert await client.show() == "access-token-2"
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (1, 1)


class TestSecondFactor:
    async def test_one_login_for_three_calls(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.second_factor = True
            outcomes = [*await shows(client, 3), *await shows(client, 3)]
            assert {type(each) for each in outcomes} == {TwoFactorRequired}
            assert {each.challenge for each in outcomes} == {"challenge-text-1"}
            assert pbx.served == {SIGN_IN: 1}

    async def test_verified(self) -> None:
        """The client uses the new token, and refreshes it like any other."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.second_factor = True
            with pytest.raises(TwoFactorRequired) as caught:
                await client.show()
            challenge = caught.value.challenge
            await client.auth.send_otp(challenge)
            token = await client.auth.verify_otp(challenge, CODE)
            assert token.access_token == await client.show() == "access-token-2"
            assert token.expires == 1800
            pbx.valid.clear()
            assert await client.show() == "access-token-3"
            assert pbx.served == {SIGN_IN: 1, SEND_OTP: 1, VERIFY_OTP: 1, SHOW: 3, REFRESH: 1}
            for arrival in pbx.arrivals[:3]:
                assert "authorization" not in arrival.headers

    async def test_wrong_code(self) -> None:
        """The challenge stays open, and no further login is sent."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.second_factor = True
            with pytest.raises(TwoFactorRequired) as caught:
                await client.show()
            with pytest.raises(AuthenticationError) as wrong:
                await client.auth.verify_otp(caught.value.challenge, "000000")
            assert not isinstance(wrong.value, TwoFactorRequired)
            with pytest.raises(TwoFactorRequired):
                await client.show()
            await client.auth.verify_otp(caught.value.challenge, CODE)
            await client.show()
            assert pbx.served == {SIGN_IN: 1, VERIFY_OTP: 2, SHOW: 1}

    @pytest.mark.parametrize("refused", [(400, "{}"), (403, ""), (400, refusal("DENIED"))])
    async def test_refused_challenge(self, refused: tuple[int, str]) -> None:
        """Both requests are part of a login, so a refusal means the same as there."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults |= {VERIFY_OTP: [Fault(*refused)], SEND_OTP: [Fault(*refused)]}
            with pytest.raises(AuthenticationError):
                await client.auth.send_otp("challenge")
            with pytest.raises(AuthenticationError):
                await client.auth.verify_otp("challenge", CODE)

    @pytest.mark.parametrize("body", ["", "{}", '{"verified": true}', '{"access_token": ""}', "[]"])
    async def test_reply_without_tokens(self, body: str) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults[VERIFY_OTP] = [Fault(200, body)]
            with pytest.raises(ReplyError) as caught:
                await client.auth.verify_otp("challenge", CODE)
            assert caught.value.operation == "auth.verify_otp"
            assert caught.value.may_have_acted

    async def test_new_challenge(self) -> None:
        """`refresh` asks for another login."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.second_factor = True
            with pytest.raises(TwoFactorRequired):
                await client.show()
            with pytest.raises(TwoFactorRequired) as caught:
                await client.auth.refresh()
            assert caught.value.challenge == "challenge-text-2"
            assert pbx.served == {SIGN_IN: 2}

    async def test_lost_verification_is_not_repeated(self) -> None:
        """A code may serve only once."""
        async with login_server() as pbx, client_of(pbx) as client:
            pbx.faults |= {VERIFY_OTP: [Fault(acts=False)], SEND_OTP: [Fault(acts=False)]}
            for call in (
                client.auth.send_otp("challenge"),
                client.auth.verify_otp("challenge", CODE),
            ):
                with pytest.raises(TransportError) as caught:
                    await call
                assert caught.value.may_have_acted
            assert pbx.served == {VERIFY_OTP: 1, SEND_OTP: 1}

    @pytest.mark.parametrize(("challenge", "code"), [("", "1"), ("1", ""), (None, "1"), ("1", 5)])
    async def test_arguments(self, challenge: Any, code: Any) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            with pytest.raises((TypeError, ValueError), match=r"challenge|code"):
                await client.auth.verify_otp(challenge, code)
            assert pbx.served == {}


class TestSigningOut:
    async def test_ends_the_session(self) -> None:
        """The next call logs in."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            await client.auth.sign_out()
            assert pbx.valid == set()
            await client.auth.sign_out()
            assert pbx.served == {SIGN_IN: 1, SHOW: 1, SIGN_OUT: 1}
            assert await client.show() == "access-token-2"
            assert pbx.served == {SIGN_IN: 2, SHOW: 2, SIGN_OUT: 1}

    async def test_without_a_token(self) -> None:
        async with login_server() as pbx, client_of(pbx) as client:
            await client.auth.sign_out()
            assert pbx.served == {}

    async def test_tokens_from_elsewhere(self) -> None:
        async with login_server() as pbx:
            pair = pbx.issue()
            async with client_of(pbx, token=pair["access_token"]) as client:
                await client.auth.sign_out()
                with pytest.raises(AuthenticationError, match="signed out"):
                    await client.show()
            assert pbx.served == {SIGN_OUT: 1}

    @pytest.mark.parametrize("status", [400, 401])
    async def test_token_that_the_pbx_rejects(self, status: int) -> None:
        """It counts as signed out, and nothing logs in for it."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            pbx.faults[SIGN_OUT] = [Fault(status, refusal("UNAUTHORIZED"))]
            await client.auth.sign_out()
            assert pbx.served == {SIGN_IN: 1, SHOW: 1, SIGN_OUT: 1}

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Fault(), TransportError),
            (Fault(500), ServerError),
            (Fault(429), RateLimited),
            (Fault(404), NotFound),
            (Fault(403, refusal("DENIED")), PermissionDenied),
        ],
    )
    async def test_failure(self, fault: Fault, kind: type[PortSIPError]) -> None:
        """It forgets the tokens, and raises."""
        async with login_server() as pbx, client_of(pbx) as client:
            await client.show()
            pbx.faults[SIGN_OUT] = [fault] * 9
            with pytest.raises(kind):
                await client.auth.sign_out()
            await client.auth.sign_out()
            await client.show()
            assert (pbx.served[SIGN_IN], pbx.served[REFRESH]) == (2, 0)

    async def test_close_does_not_sign_out(self) -> None:
        async with login_server() as pbx:
            async with client_of(pbx) as client:
                await client.show()
            with pytest.raises(ClientClosed):
                await client.auth.sign_out()
            assert pbx.served == {SIGN_IN: 1, SHOW: 1}


async def test_user() -> None:
    async with login_server() as pbx, client_of(pbx) as client:
        user = await client.auth.user()
        assert (user.role, user.password_verified, user.password_force_reset) == (
            "Admin",
            True,
            None,
        )
        assert pbx.served == {SIGN_IN: 1, USER: 1}


class TestSecrets:
    SECRETS = ("access-token-", "refresh-token-", "challenge-text-", CODE, PASSWORD)

    @pytest.mark.parametrize("path", [SIGN_IN, FORM, REFRESH, SIGN_OUT, SEND_OTP, VERIFY_OTP, SHOW])
    async def test_pbx_that_echoes_everything(
        self, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No text shows a token, a challenge, a code or a password. Nor do local variables."""
        caplog.set_level(logging.DEBUG)
        attempts: list[object] = []
        async with login_server() as pbx, client_of(pbx, on_attempt=attempts.append) as client:
            if path == FORM:
                pbx.missing = {SIGN_IN}
            pbx.second_factor = path in (SEND_OTP, VERIFY_OTP)
            if path not in (SIGN_IN, FORM, SEND_OTP, VERIFY_OTP):
                await client.show()
            everything = f"access-token-1 refresh-token-1 challenge-text-1 {CODE} {PASSWORD}"
            known = {
                SIGN_IN: PASSWORD,
                FORM: PASSWORD,
                SEND_OTP: "challenge-text-1",
                VERIFY_OTP: f"challenge-text-1 {CODE}",
            }.get(path, "access-token-1 refresh-token-1")
            assert known in everything
            body = refusal("VALIDATE_FAILED", f"got {known}", detail={"got": known.split()})
            pbx.faults[path] = [Fault(422, body)] * 3
            call = {
                SEND_OTP: lambda: client.auth.send_otp("challenge-text-1"),
                VERIFY_OTP: lambda: client.auth.verify_otp("challenge-text-1", CODE),
                SIGN_OUT: client.auth.sign_out,
                REFRESH: client.auth.refresh,
            }.get(path, client.show)
            try:
                await call()
            except PortSIPError as error:
                captured = traceback.TracebackException.from_exception(error, capture_locals=True)
                texts = [str(error), repr(error), repr(vars(error))]
                texts += [
                    f"{frame.name} {name}={value}"
                    for frame in captured.stack
                    if "portsip_async" in frame.filename and "/tests/" not in frame.filename
                    for name, value in (frame.locals or {}).items()
                ]
            else:
                assert path == REFRESH
                texts = []
            assert pbx.served[path] >= 1
        texts += [caplog.text, *map(repr, attempts), *map(str, attempts)]
        for secret in self.SECRETS:
            for text in texts:
                assert secret not in text

    def test_credentials(self) -> None:
        sign_in = SignIn("admin", PASSWORD, "test.io")
        for each in (sign_in, Tokens("access-token-1", "refresh-token-1")):
            assert not [secret for secret in self.SECRETS if secret in repr(each)]
        assert "test.io" in repr(SignIn("admin", PASSWORD, "test.io"))


def resolve(**arguments: Any) -> Any:
    names = ("username", "password", "domain", "credentials", "token", "refresh_token")
    return resolve_credentials(**(dict.fromkeys(names) | arguments))


class TestResolving:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({"username": "a", "password": "b"}, SignIn("a", "b")),
            ({"username": "a", "password": "b", "domain": "c"}, SignIn("a", "b", "c")),
            ({"token": "t"}, Tokens("t")),
            ({"token": "t", "refresh_token": "r"}, Tokens("t", "r")),
            ({"credentials": SignIn("a", "b")}, SignIn("a", "b")),
            ({"credentials": Tokens("t", "r")}, Tokens("t", "r")),
        ],
    )
    def test_one_way(self, arguments: dict[str, Any], expected: object) -> None:
        assert resolve(**arguments) == expected

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"username": "a"},
            {"password": "b"},
            {"domain": "c"},
            {"refresh_token": "r"},
            {"username": "", "password": "b"},
            {"username": "a", "password": ""},
            {"username": "a", "password": "b", "domain": ""},
            {"username": "a", "password": "secret-1", "token": "t"},
            {"token": "t", "domain": "c"},
            {"token": "", "refresh_token": "r"},
            {"token": "t", "refresh_token": ""},
            {"token": "secret-1", "credentials": Tokens("t")},
            {"credentials": Tokens("t"), "domain": "c"},
            {"credentials": Tokens("t"), "refresh_token": "r"},
            {"credentials": StaticToken("secret-1")},
            {"credentials": object()},
            {"credentials": SignIn("a", "")},
            {"credentials": SignIn("a", 5)},  # type: ignore[arg-type]  # no text
            {"credentials": Tokens("secret-1\n")},
            {"credentials": Tokens("t", "")},
            {"username": "a", "password": "secret-1\udcff"},
            {"token": "t", "refresh_token": "secret-1\udcff"},
            {"username": "a", "password": "b", "domain": "c\udcff"},
        ],
    )
    def test_refused(self, arguments: dict[str, Any]) -> None:
        """No message shows a value."""
        with pytest.raises(ConfigurationError) as caught:
            resolve(**arguments)
        assert "secret-1" not in str(caught.value)

    def test_own_credentials(self) -> None:
        vault = Vault(LoginServer())
        assert resolve(credentials=vault) is vault
