"""Plain requests of generation v22 to a simulator, without the SDK."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp

from portsip_async.simulator import PBXSimulator

CLIENT_ID = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a"
NEW_USER: dict[str, Any] = {
    "name": "ann",
    "display_name": "Ann",
    "email": "ann@test.io",
    "role": "StandardUser",
    "extension_number": "9510",
    "password": "web-Secret-1",
    "extension_password": "sip-Secret-1",
    "voicemail_pin": "123456",
}


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        """The code of the only error."""
        (error,) = self.body["errors"]
        return str(error["code"])


class ProbeV22:
    """Sends plain requests, with a token once it has logged in."""

    def __init__(self, sim: PBXSimulator, session: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.session = session
        self.token = ""
        self.refresh_token = ""

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Reply:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.sim.url}/api{path}"
        async with self.session.request(
            method, url, headers=sent | dict(headers or {}), **options
        ) as reply:
            raw = await reply.read()
            try:
                body = json.loads(raw) if raw else None
            except ValueError:
                body = raw
            return Reply(reply.status, body, reply.headers)

    async def login(self, **changes: Any) -> Reply:
        body = {"username": self.sim.username, "password": self.sim.password, **changes}
        reply = await self.send("POST", "/auth/sign_in", json=body)
        self._keep(reply)
        return reply

    async def refresh(self, refresh_token: str | None = None) -> Reply:
        body = {"refresh_token": refresh_token or self.refresh_token}
        reply = await self.send("POST", "/auth/refresh_token", json=body)
        self._keep(reply)
        return reply

    async def form(self, **fields: str) -> Reply:
        reply = await self.send("POST", "/login/oauth/token", data=fields)
        self._keep(reply)
        return reply

    async def get(self, path: str, **query: Any) -> Reply:
        if not self.token:
            await self.login()
        return await self.send("GET", path, params=query)

    async def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        if not self.token:
            await self.login()
        if body is not None:
            options["json"] = body
        return await self.send("POST", path, **options)

    async def numbers(self, **query: Any) -> list[str]:
        """Return the numbers of a page of users."""
        reply = await self.get("/users", **query)
        assert reply.status == 200, reply
        return [row["extension_number"] for row in reply.body["items"]]

    def _keep(self, reply: Reply) -> None:
        if reply.status == 200 and "access_token" in reply.body:
            self.token = reply.body["access_token"]
            self.refresh_token = reply.body["refresh_token"]
