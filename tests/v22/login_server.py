"""A small PBX of generation v22 with logins, refresh tokens that serve once, and one operation.

A script of faults says what happens to the next requests for a path. Each fault may come before or
after the PBX has acted, since a client can't tell these apart.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from portsip_async import Endpoint, RetryPolicy
from portsip_async.core.token_types import Token
from portsip_async.v22 import PortSIPClient

from ..wire_server import Arrival, arriving, reply

SIGN_IN: Final = "/api/auth/sign_in"
FORM: Final = "/api/login/oauth/token"
REFRESH: Final = "/api/auth/refresh_token"
SIGN_OUT: Final = "/api/auth/sign_out"
USER: Final = "/api/auth/user"
SEND_OTP: Final = "/api/auth/send_otp"
VERIFY_OTP: Final = "/api/auth/verify_otp"
SHOW: Final = "/api/shown"

PASSWORD: Final = "the+Password/5"
CODE: Final = "904115"
_REFRESH_TOKEN: Final = re.compile(rb"refresh-token-\d+")
QUICK: Final = RetryPolicy(attempts=3, initial=0, maximum=0)
SHOWN: Final = Endpoint("test.show", "GET", "/shown", reply=dict[str, Any], token="bearer")


class Fault(NamedTuple):
    """What happens to a request in place of a reply.

    Attributes:
        status: the status of the reply; 0 closes the connection, -1 never replies.
        body: the body of the reply.
        acts: whether the PBX does what the request asks for.
        headers: further headers of the reply.
    """

    status: int = 0
    body: str = ""
    acts: bool = False
    headers: Mapping[str, str] = MappingProxyType({})


def refusal(code: str, message: str = "no", **more: object) -> str:
    """Return the body of an error."""
    return json.dumps({"errors": [{"code": code, "message": message, **more}]})


class LoginServer:
    """The PBX.

    Attributes:
        faults: for each path, what happens to its next requests.
        missing: the paths that this version of the PBX does not have.
        second_factor: whether a login asks for a second factor.
        ends_old: whether a refresh ends the old access token at once.
        lifetime: what logins tell as expires_in; None: nothing.
        served: how many requests came for each path.
        used: how often each refresh token came.
        valid: the access tokens that are accepted.
        arrivals: the requests.
        gate: an event that lets requests for `held` go on.
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[Fault]] = {}
        self.missing: set[str] = set()
        self.second_factor = False
        self.ends_old = True
        self.lifetime: object = 1800
        self.served: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.valid: set[str] = set()
        self.sessions: dict[str, str] = {}  # refresh tokens that still serve -> access tokens
        self.challenges: set[str] = set()
        self.arrivals: list[Arrival] = []
        self.issued = 0
        self.held = ""
        self.gate = asyncio.Event()
        self.in_flight: Counter[str] = Counter()
        self.url = ""

    def issue(self) -> dict[str, object]:
        """Return a new pair of tokens."""
        self.issued += 1
        access, refresh = f"access-token-{self.issued}", f"refresh-token-{self.issued}"
        self.valid.add(access)
        self.sessions[refresh] = access
        told = {} if self.lifetime is None else {"expires_in": self.lifetime}
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", **told}

    def _login(self, fields: dict[str, Any]) -> tuple[int, object]:
        if fields.get("username") != "admin" or fields.get("password") != PASSWORD:
            return 400, json.loads(refusal("UNAUTHORIZED"))
        if self.second_factor:
            self.issued += 1
            challenge = f"challenge-text-{self.issued}"
            self.challenges.add(challenge)
            return 200, {"two_factor_enabled": True, "token": challenge}
        return 200, self.issue()

    def _refresh(self, token: str) -> tuple[int, object]:
        if token not in self.sessions:
            return 400, json.loads(refusal("UNAUTHORIZED"))
        access = self.sessions.pop(token)
        if self.ends_old:
            self.valid.discard(access)
        return 200, self.issue()

    def act(self, arrival: Arrival) -> tuple[int, object]:
        """Do what a request asks for; return the status and the body of the reply."""
        bearer = arrival.headers.get("authorization", "").removeprefix("Bearer ")
        if arrival.path in self.missing:
            return 404, ""
        if arrival.path == FORM:
            assert arrival.headers["content-type"] == "application/x-www-form-urlencoded"
            form = {name: value for name, [value] in parse_qs(arrival.body.decode()).items()}
            if form["grant_type"] == "refresh_token":
                return self._refresh(form["refresh_token"])
            assert form["scope"] == "all"
            assert form["client_id"] == "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"
            return self._login(form)
        body: Any = json.loads(arrival.body) if arrival.body else None
        if arrival.path == SIGN_IN:
            return self._login(body)
        if arrival.path == REFRESH:
            return self._refresh(body["refresh_token"])
        if arrival.path == SEND_OTP:
            return (200, "") if body["token"] in self.challenges else (400, refusal("UNAUTHORIZED"))
        if arrival.path == VERIFY_OTP:
            if body["token"] not in self.challenges or body["code"] != CODE:
                return 400, json.loads(refusal("UNAUTHORIZED"))
            self.challenges.discard(body["token"])
            return 200, self.issue()
        if bearer not in self.valid:
            return 401, json.loads(refusal("UNAUTHORIZED"))
        if arrival.path == SIGN_OUT:
            assert body is None
            self.valid.discard(bearer)
            return 200, ""
        if arrival.path == USER:
            return 200, {"role": "Admin", "password_verified": True, "new_field": 1}
        return 200, {"shown": bearer}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                arrival = await arriving(reader)
                self.arrivals.append(arrival)
                self.served[arrival.path] += 1
                if match := _REFRESH_TOKEN.search(arrival.body):
                    self.used[match[0].decode()] += 1
                script = self.faults.get(arrival.path)
                fault = script.pop(0) if script else None
                status, body = 200, object()
                if fault is None or fault.acts:
                    status, body = self.act(arrival)
                if arrival.path == self.held:
                    self.in_flight[arrival.path] += 1
                    await self.gate.wait()
                headers = {"Connection": "keep-alive"}
                if fault is not None:
                    if fault.status == -1:
                        await asyncio.Event().wait()
                    if fault.status == 0:
                        return
                    status, body = fault.status, fault.body
                    headers |= fault.headers
                text = body if isinstance(body, str) else json.dumps(body)
                writer.write(reply(text, status, headers))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


class LoginClient(PortSIPClient):
    """A client with one more operation."""

    async def show(self) -> str:
        """Make a call that needs a token, and return the token that the PBX accepted."""
        shown: str = (await self.request(SHOWN))["shown"]
        return shown


@asynccontextmanager
async def login_server() -> AsyncIterator[LoginServer]:
    """Run a PBX."""
    pbx = LoginServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await pbx._serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    pbx.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield pbx
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def client_of(pbx: LoginServer, **options: Any) -> LoginClient:
    """Return a client; it logs in with a password unless the options say otherwise."""
    if not options.keys() & {"username", "credentials", "token"}:
        options |= {"username": "admin", "password": PASSWORD}
    options.setdefault("retry", QUICK)
    return LoginClient(pbx.url, **options)


class Vault:
    """An application's own credentials."""

    def __init__(self, pbx: LoginServer) -> None:
        self.pbx = pbx
        self.fetched = 0

    async def fetch_token(self) -> Token:
        """Fetch a token without the client."""
        self.fetched += 1
        pair = self.pbx.issue()
        return Token(str(pair["access_token"]), 600, refresh_token=str(pair["refresh_token"]))
