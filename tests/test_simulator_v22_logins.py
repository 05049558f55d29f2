"""Logins and tokens of generation v22 in the simulator, by literal requests."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import PBXSimulator

from .simulated_v22 import CLIENT_ID, NEW_USER, ProbeV22
from .test_simulator import Clock

FORM = {"grant_type": "password", "scope": "all", "client_id": CLIENT_ID}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def probe(clock: Clock, session: aiohttp.ClientSession) -> AsyncIterator[ProbeV22]:
    async with PBXSimulator(extensions=20, groups=2, clock=clock) as sim:
        yield ProbeV22(sim, session)


class TestSignIn:
    @pytest.mark.parametrize("more", [{}, {"domain": "test.io"}, {"username": "admin@pbx.example"}])
    async def test_login(self, probe: ProbeV22, more: dict[str, str]) -> None:
        """A login names the domain or none, and gets a pair of tokens."""
        reply = await probe.login(**more)
        assert reply.status == 200
        assert reply.body.keys() == {"access_token", "refresh_token", "expires_in", "token_type"}
        assert (reply.body["expires_in"], reply.body["token_type"]) == (30, "Bearer")
        assert (await probe.get("/auth/user")).body == {
            "role": "Admin",
            "password_verified": True,
            "password_force_reset": False,
        }
        assert probe.sim.v22.tokens_issued == 1
        assert probe.sim.tokens_issued == 0

    @pytest.mark.parametrize(
        "change", [{"password": "wrong"}, {"username": "nobody"}, {"domain": "other.example"}]
    )
    async def test_refused(self, probe: ProbeV22, change: dict[str, str]) -> None:
        """A refused login is a 400 with the code UNAUTHORIZED."""
        reply = await probe.login(**change)
        assert (reply.status, reply.code) == (400, "UNAUTHORIZED")
        assert probe.sim.v22.served["auth.sign_in"] == 1
        assert probe.sim.v22.acted["auth.sign_in"] == 0

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"json": {"username": "admin"}}, 400),
            ({"json": {"username": "", "password": "x"}}, 400),
            ({"json": {"username": "admin", "password": 1}}, 400),
            ({"json": {"username": "admin", "password": "x", "domain": None}}, 400),
            ({"json": []}, 400),
            ({}, 400),
            ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
            ({"data": {"username": "admin", "password": "x"}}, 415),
        ],
    )
    async def test_invalid_body(self, probe: ProbeV22, body: dict[str, Any], status: int) -> None:
        """A body that breaks a rule is refused before the login is looked at."""
        reply = await probe.send("POST", "/auth/sign_in", **body)
        assert (reply.status, reply.code) == (
            status,
            "VALIDATE_FAILED" if status == 400 else "UNKNOWN",
        )

    async def test_user_logs_in(self, probe: ProbeV22) -> None:
        """A user logs in by name, and is the user that /user shows."""
        created = await probe.post("/users", NEW_USER)
        await probe.login(username="ann", password="web-Secret-1", domain="test.io")
        assert (await probe.get("/user")).body["id"] == created.body["id"]
        assert (await probe.get("/auth/user")).body["role"] == "StandardUser"
        body = {"presence": "LUNCH", "presence_note": "back at two"}
        assert (await probe.post("/user/presence", body))[:2] == (200, None)
        shown = (await probe.get(f"/users/{created.body['id']}/status")).body
        assert (shown["presence"], shown["presence_note"]) == ("LUNCH", "back at two")
        assert shown == (await probe.get("/user/status")).body
        probe.sim._pbx.remove_extension("9510")
        assert (await probe.get("/user")).status == 401

    async def test_blocked(self, session: aiohttp.ClientSession, clock: Clock) -> None:
        """With the quirk, too many wrong passwords block every login for a minute."""
        async with PBXSimulator(quirks=["login_block"], clock=clock) as sim:
            probe = ProbeV22(sim, session)
            for _ in range(3):
                assert (await probe.login(password="wrong")).code == "UNAUTHORIZED"
            reply = await probe.login()
            assert (reply.status, reply.code) == (403, "DENIED")
            clock.now += 61.0
            assert (await probe.login()).status == 200


class TestFormLogin:
    async def test_login_and_refresh(self, probe: ProbeV22) -> None:
        """The form login and its refresh are operations of their own at one path."""
        sim = probe.sim
        login = {"username": sim.username, "password": sim.password, "domain": sim.domain}
        assert (await probe.form(**FORM, **login)).status == 200
        first = probe.token
        refresh = {"grant_type": "refresh_token", "refresh_token": probe.refresh_token}
        assert (await probe.form(**refresh)).status == 200
        assert probe.token != first
        assert sim.v22.acted == {"auth.form_login": 1, "auth.form_refresh": 1}

    @pytest.mark.parametrize(
        "change",
        [{"client_id": "another"}, {"grant_type": "code"}, {"grant_type": ""}, {"password": ""}],
    )
    async def test_refused(self, probe: ProbeV22, change: dict[str, str]) -> None:
        """A form with another grant, client or password gets a 400."""
        login = {"username": probe.sim.username, "password": probe.sim.password}
        assert (await probe.form(**(FORM | login | change))).status == 400

    async def test_json_is_refused(self, probe: ProbeV22) -> None:
        """The form login takes no JSON."""
        assert (await probe.send("POST", "/login/oauth/token", json=FORM)).status == 415

    async def test_version_without_sign_in(self, session: aiohttp.ClientSession) -> None:
        """A 22.0 has no paths below /auth; the form login works."""
        async with PBXSimulator(quirks=["v22_0"]) as sim:
            probe = ProbeV22(sim, session)
            for path in ("/auth/sign_in", "/auth/refresh_token", "/auth/sign_out"):
                assert (await probe.send("POST", path, json={})).status == 404
            login = {"username": sim.username, "password": sim.password}
            assert (await probe.form(**FORM, **login)).status == 200
            assert len(await probe.numbers()) == 100


class TestTokens:
    async def test_expires(self, probe: ProbeV22, clock: Clock) -> None:
        """An access token serves for its lifetime; its refresh token outlives it."""
        await probe.login()
        clock.now += 29.9
        assert (await probe.get("/user")).status == 200
        clock.now += 0.2
        reply = await probe.get("/user")
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert probe.sim.v22.rejected == {"users.own": 1}
        assert (await probe.refresh()).status == 200
        assert (await probe.get("/user")).status == 200

    async def test_refresh_token_serves_once(self, probe: ProbeV22) -> None:
        """A refresh replaces both tokens and ends the old ones at once."""
        await probe.login()
        old, old_refresh = probe.token, probe.refresh_token
        await probe.refresh()
        bearer = {"Authorization": f"Bearer {old}"}
        assert (await probe.send("GET", "/user", headers=bearer)).status == 401
        reply = await probe.refresh(old_refresh)
        assert (reply.status, reply.code) == (400, "UNAUTHORIZED")
        assert (await probe.get("/user")).status == 200
        assert probe.sim.v22.refresh_tokens == {old_refresh: 2}
        assert probe.sim.v22.tokens_issued == 2

    async def test_sign_out(self, probe: ProbeV22) -> None:
        """Signing out ends both tokens."""
        await probe.login()
        assert (await probe.post("/auth/sign_out"))[:2] == (200, None)
        assert (await probe.get("/user")).status == 401
        assert (await probe.refresh()).status == 400

    async def test_revoke(self, probe: ProbeV22) -> None:
        """A test revokes the access tokens, or all tokens."""
        await probe.login()
        probe.sim.v22.revoke()
        assert (await probe.get("/user")).status == 401
        await probe.refresh()
        probe.sim.v22.revoke(refresh_tokens=True)
        assert (await probe.get("/user")).status == 401
        assert (await probe.refresh()).status == 400

    async def test_restart_loses_tokens(self, probe: ProbeV22) -> None:
        """A restart loses access and refresh tokens."""
        await probe.login()
        await probe.sim.restart()
        assert (await probe.get("/user")).status == 401
        assert (await probe.refresh()).status == 400

    async def test_one_token(self, session: aiohttp.ClientSession) -> None:
        """With the quirk, a later login of a user ends the earlier one."""
        async with PBXSimulator(quirks=["one_token"]) as sim:
            first, second = ProbeV22(sim, session), ProbeV22(sim, session)
            await first.login()
            await second.login()
            assert (await first.get("/user")).status == 401
            assert (await second.get("/user")).status == 200

    @pytest.mark.parametrize("header", ["", "Basic x", "Bearer", "Bearer x", "x"])
    async def test_other_headers(self, probe: ProbeV22, header: str) -> None:
        """Only a bearer token that was issued counts."""
        reply = await probe.send("GET", "/users", headers={"Authorization": header})
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")

    async def test_token_of_the_other_generation(self, probe: ProbeV22) -> None:
        """A classic token is no token of v22."""
        body = {"username": probe.sim.username, "password": probe.sim.password}
        reply = await probe.send("POST", "/account/credentials/verify", json=body)
        probe.token = reply.body["access_token"]
        assert (await probe.get("/users")).status == 401

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/extension_numbers/100", 404),
            ("POST", "/groups/x/destroy", 400),
            ("POST", "/sessions/x/destroy", 400),
        ],
    )
    async def test_rejected_where_no_401_is_documented(
        self, probe: ProbeV22, method: str, path: str, status: int
    ) -> None:
        """The code tells a rejected token where the document lists no status for it."""
        reply = await probe.send(method, path)
        assert (reply.status, reply.code) == (status, "UNAUTHORIZED")


class TestSecondFactor:
    async def test_login(self, session: aiohttp.ClientSession) -> None:
        """A login gets a challenge, which a code turns into tokens once."""
        async with PBXSimulator(second_factor=True) as sim:
            probe = ProbeV22(sim, session)
            reply = await probe.login()
            challenge = reply.body.pop("token")
            assert reply.body == {"two_factor_enabled": True}
            assert sim.v22.otp is None
            code = {"token": challenge, "code": "000000"}
            assert (await probe.send("POST", "/auth/verify_otp", json=code)).status == 400
            sent = await probe.send("POST", "/auth/send_otp", json={"token": challenge})
            assert sent[:2] == (200, None)
            assert sim.v22.otp is not None
            code["code"] = sim.v22.otp
            wrong = code | {"code": "x"}
            assert (await probe.send("POST", "/auth/verify_otp", json=wrong)).status == 400
            reply = await probe.send("POST", "/auth/verify_otp", json=code)
            probe.token = reply.body["access_token"]
            assert (await probe.get("/user")).status == 200
            again = await probe.send("POST", "/auth/verify_otp", json=code)
            assert (again.status, again.code) == (400, "UNAUTHORIZED")
            assert sim.v22.tokens_issued == 1

    async def test_challenge_ends(self, session: aiohttp.ClientSession, clock: Clock) -> None:
        """A challenge ends after five minutes, and after five wrong codes."""
        async with PBXSimulator(second_factor=True, clock=clock) as sim:
            probe = ProbeV22(sim, session)
            for attempts, seconds in ((5, 0.0), (0, 301.0)):
                token = (await probe.login()).body["token"]
                for _ in range(attempts):
                    await probe.send("POST", "/auth/verify_otp", json={"token": token, "code": "x"})
                clock.now += seconds
                reply = await probe.send("POST", "/auth/send_otp", json={"token": token})
                assert (reply.status, reply.code) == (400, "UNAUTHORIZED")


async def test_older_login(session: aiohttp.ClientSession) -> None:
    """The older login keeps its token in a cookie."""
    async with PBXSimulator() as sim:
        probe = ProbeV22(sim, session)
        assert (await probe.send("GET", "/login")).status == 401
        body = {"username": sim.username, "password": sim.password}
        reply = await probe.send("POST", "/login", json=body)
        assert reply[:2] == (200, None)
        cookie = {"Cookie": reply.headers["Set-Cookie"].partition(";")[0]}
        shown = await probe.send("GET", "/login", headers=cookie)
        assert cookie["Cookie"] == f"access_token={shown.body['access_token']}"
        assert shown.body["role"] == "Admin"
        assert (await probe.send("POST", "/logout", headers=cookie))[:2] == (204, None)
        assert (await probe.send("GET", "/login", headers=cookie)).status == 401


async def test_no_secret_in_reprs(probe: ProbeV22) -> None:
    """No repr shows a token."""
    await probe.login()
    await probe.send("POST", "/blobs/uploads")
    (upload,) = probe.sim.v22.uploads.values()
    session = probe.sim.v22._state.logins.session_of(probe.token, 0.0)
    shown = repr(probe.sim) + repr(probe.sim.v22) + repr(upload) + repr(session)
    for secret in (probe.token, probe.refresh_token, upload.token, probe.sim.password):
        assert secret not in shown
