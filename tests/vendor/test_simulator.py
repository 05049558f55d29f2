"""The simulator keeps to the vendor's document, in plain requests without the client.

Prism stands in front of it as a proxy, and checks the requests and the replies.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from portsip_async.simulator import PBXSimulator

from .conftest import Proxy
from .document import Document
from .plain_requests import RECORDING, Requests
from .tap import Tap

pytestmark = [pytest.mark.vendor, pytest.mark.timeout(120)]

DIGEST = hashlib.sha256(RECORDING).hexdigest()

MORNING, AFTERNOON = {"from": "09:00", "to": "12:30"}, {"from": "13:00", "to": "17:00"}
DAY = {"enabled": True, "ranges": [MORNING, AFTERNOON]}
ANN = {
    "name": "ann",
    "display_name": 'Änn "O\'Neil" 好 \U0001f600',
    "email": "ann@test.io",
    "role": "StandardUser",
    "extension_number": "951",
    "password": "Web+Secret/1&=",
    "extension_password": "Sip%Secret 2",
    "voicemail_pin": "135790",
}
STATUSES = {"ONLINE", "ON_CALL", "OFFLINE"}
SETTINGS = {
    "department": "Sales & Support",
    "enabled": True,
    "enable_dnd": True,
    "sms": "ALLOW",
    "office_hours": {"mode": "CUSTOM", "monday": DAY, "sunday": {"enabled": False, "ranges": []}},
    "blfs": [{"key": "BLF", "value": "100", "first_name": "Bo", "last_name": "Li"}],
    "voicemail_pin": "246802",
}


# Operations that other tests use, or that the simulator does not have, with the reason.
ELSEWHERE = {
    "POST /api/auth/send_otp": "test_second_factor",
    "POST /api/auth/verify_otp": "test_second_factor",
}


def client() -> aiohttp.ClientSession:
    """Return a session that keeps cookies of loopback."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


def codes(reply: Any) -> list[str]:
    """Return the codes of an error reply."""
    return [each["code"] for each in reply["errors"]]


class Setting:
    """A simulator, Prism in front of it, and requests to Prism."""

    def __init__(self, sim: PBXSimulator, tap: Tap, requests: Requests) -> None:
        self.sim = sim
        self.tap = tap
        self.requests = requests

    async def sign_in(self, **changes: str) -> Any:
        """Sign in, and use the token from here on."""
        self.requests.token = ""
        account = {
            "username": self.sim.username,
            "password": self.sim.password,
            "domain": self.sim.domain,
        }
        reply = await self.requests.post("/auth/sign_in", body=account | changes)
        self.requests.token = reply.get("access_token", "")
        return reply


@asynccontextmanager
async def behind_prism(proxy: Proxy, document: Document, **options: Any) -> AsyncIterator[Setting]:
    async with PBXSimulator(extensions=150, groups=3, **options) as sim:
        with proxy(sim.url) as url:
            async with Tap(url, document) as tap, client() as session:
                try:
                    yield Setting(sim, tap, Requests(session, tap.url))
                finally:
                    assert tap.violations == []


async def accounts(pbx: Setting) -> None:
    """Sign in, refresh and sign out, with right and wrong secrets."""
    send = pbx.requests
    await pbx.sign_in()
    first = send.token
    assert (await send.get("/auth/user"))["role"]
    second = await pbx.sign_in()
    pair = await send.post("/auth/refresh_token", body={"refresh_token": second["refresh_token"]})
    assert {"access_token", "refresh_token", "expires_in"} <= pair.keys()
    send.token = pair["access_token"]
    await send.post("/auth/sign_out")
    assert codes(await send.get("/auth/user", 401)) == ["UNAUTHORIZED"]
    send.token = ""
    wrong = {"username": pbx.sim.username, "password": "wrong", "domain": pbx.sim.domain}
    assert codes(await send.post("/auth/sign_in", 400, body=wrong)) == ["UNAUTHORIZED"]
    await send.post("/auth/refresh_token", 400, body={"refresh_token": "nothing like it"})
    send.token = first


async def old_login(pbx: Setting) -> None:
    """Log in with a cookie, as 22.0 did before it had tokens."""
    send = pbx.requests
    send.token = ""
    await send.get("/login", 401)
    account = {"username": pbx.sim.username, "password": pbx.sim.password}
    await send.post("/login", body=account)
    assert (await send.get("/login"))["role"]
    await send.post("/logout", 204)


async def users(pbx: Setting) -> None:
    """Create, find, show, change, list and remove users."""
    send = pbx.requests
    await pbx.sign_in()
    ann = (await send.post("/users", 201, body=ANN))["id"]
    full = {**ANN, **SETTINGS, "name": "bea", "extension_number": "952", "email": "bea@test.io"}
    bea = (await send.post("/users", 201, body=full))["id"]
    await send.post("/users", 409, body=ANN)
    found = await send.get("/extension_numbers/951")
    assert found["id"] == ann
    await send.get("/extension_numbers/99999", 404)

    await send.post(f"/users/{ann}", body=SETTINGS)
    shown = await send.get(f"/users/{ann}")
    assert {key: shown[key] for key in ("display_name", "role")} == {
        key: ANN[key] for key in ("display_name", "role")
    }
    assert shown["office_hours"]["monday"] == DAY
    assert (await send.get(f"/users/{bea}"))["blfs"] == SETTINGS["blfs"]
    await send.post(f"/users/{ann}/password", body={"password": "Another=1&2"})
    await send.post(f"/users/{ann}/extension_password", body={"password": "Third/3 %"})
    await send.post(f"/users/{ann}/role", body={"role": "StandardUser"})
    assert (await send.get(f"/users/{ann}/status"))["status"] in STATUSES

    page = await send.get("/users", top="100", skip="0")
    rest = await send.get("/users", top="100", skip="100")
    assert page["count"] == rest["count"] == len(page["items"]) + len(rest["items"])
    assert (await send.get("/users", search="951"))["count"] == 1
    only = await send.get("/users", filter="extension_number eq '952'", orderby="name desc")
    assert [each["id"] for each in only["items"]] == [bea]

    await pbx.sign_in(username="ann", password="Another=1&2")
    assert (await send.get("/user"))["id"] == ann
    await send.post("/user/presence", body={"presence": "AWAY", "presence_note": "à bientôt"})
    own = await send.get("/user/status")
    assert (own["presence"], own["presence_note"]) == ("AWAY", "à bientôt")

    await pbx.sign_in()
    await send.post(f"/users/{bea}/destroy", 204)
    for path in (f"/users/{bea}", f"/users/{bea}/status", "/users/a%2Fb", "/users/a%3Fb%2520"):
        await send.get(path, 404)
    await send.post(f"/users/{bea}/destroy", 404)


async def groups(pbx: Setting) -> None:
    """Create, show, change, list and remove groups, and their members."""
    send = pbx.requests
    await pbx.sign_in()
    sales = (await send.post("/groups", 201, body={"name": "Säles"}))["id"]
    changes = {"name": "Sales", "description": "We & they", "outbound_caller_ids": []}
    await send.post(f"/groups/{sales}", body=changes)
    assert (await send.get(f"/groups/{sales}"))["description"] == "We & they"
    assert (await send.get("/groups", search="Sales", top="1"))["count"] == 1
    number = pbx.sim.extension_numbers[0]
    await send.post(f"/groups/{sales}/members/{number}")
    members = (await send.get(f"/groups/{sales}/members"))["items"]
    assert [each["extension_number"] for each in members] == [number]
    assert await send.get(f"/groups/{sales}/members/{number}") == members[0]
    await send.post(f"/groups/{sales}/members/{number}/destroy", 204)
    await send.get(f"/groups/{sales}/members/{number}", 404)
    await send.post(f"/groups/{sales}/destroy", 204)
    await send.get(f"/groups/{sales}", 404)


async def greetings(pbx: Setting) -> None:
    """Upload a file, and use it as a greeting."""
    send = pbx.requests
    await pbx.sign_in()
    number = pbx.sim.extension_numbers[0]
    user = (await send.get(f"/extension_numbers/{number}"))["id"]
    file_id = await send.upload(RECORDING, "a b&c.wav")
    greeting = (await send.post(f"/users/{user}/greetings", 201, body={"file_id": file_id}))["id"]
    await send.post(f"/users/{user}/greetings/{greeting}/enable")
    (shown,) = (await send.get(f"/users/{user}/greetings"))["items"]
    assert (shown["id"], shown["enabled"], shown["file_name"]) == (greeting, True, "a b&c.wav")
    await send.post(f"/users/{user}/greetings/{greeting}/disable")
    assert await send.get(f"/blobs/{DIGEST}") == RECORDING
    await send.post(f"/users/{user}/greetings/{greeting}/destroy", 204)
    await send.post(f"/users/{user}/greetings/{greeting}/destroy", 404)
    begun, _ = await send.begin("unused.wav")
    await send.post(f"/blobs/uploads/{begun}/destroy", 204)
    await send.get(f"/blobs/uploads/{begun}/status", 404)


async def calls(pbx: Setting) -> None:
    """Start, show and end calls."""
    send = pbx.requests
    await pbx.sign_in()
    caller, callee = pbx.sim.extension_numbers[:2]
    call = {"caller": caller, "callee": callee, "send_sdp": False}
    session = (await send.post("/sessions", 201, body=call))["id"]
    assert session in [each["id"] for each in (await send.get("/sessions", 201))["items"]]
    (leg,) = (await send.get(f"/sessions/{session}"))["calls"]
    assert (leg["caller"], leg["callee"]) == (caller, callee)
    await send.post(f"/sessions/{session}/destroy", 204)
    await send.get(f"/sessions/{session}", 404)
    cid = {**ANN, "name": "cid", "extension_number": "953", "email": "c@test.io"}
    await send.post("/users", 201, body=cid)
    send.token = ""
    query = {"extension_number": "953", "domain": pbx.sim.domain, "caller": "953", "callee": callee}
    secret = {"password": ANN["extension_password"], "send_sdp": "true"}
    assert (await send.get("/sessions/directly", 201, **query, **secret))["id"]


async def about(pbx: Setting) -> None:
    """Read what the PBX tells without a token."""
    pbx.requests.token = ""
    assert await pbx.requests.get("/info")


async def test_everything(proxy: Proxy, document: Document) -> None:
    """Each operation succeeds, and neither a request nor a reply violates the document."""
    async with behind_prism(proxy, document) as pbx:
        for act in (about, accounts, old_login, users, groups, greetings, calls):
            await act(pbx)
        assert document.operations.keys() - pbx.tap.succeeded == ELSEWHERE.keys()


async def test_second_factor(proxy: Proxy, document: Document) -> None:
    """Signing in with a second factor keeps to the document."""
    async with behind_prism(proxy, document, second_factor=True) as pbx:
        challenge = (await pbx.sign_in())["token"]
        await pbx.requests.post("/auth/send_otp", body={"token": challenge})
        await pbx.requests.post("/auth/verify_otp", 400, body={"token": challenge, "code": "no"})
        code = pbx.sim.v22.otp
        reply = await pbx.requests.post("/auth/verify_otp", body={"token": challenge, "code": code})
        pbx.requests.token = reply["access_token"]
        await pbx.requests.get("/auth/user")
