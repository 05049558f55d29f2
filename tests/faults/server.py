"""A server for one cell of the matrix: it produces a fault in one operation and counts its actions.

It is based on the wire server of the other tests. It serves renewals of the token by itself, unless
the fault is in the renewal.
"""

import asyncio
import json
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl

import trustme

from ..wire_server import Arrival, WireServer, arriving, reply

KEEP = {"Connection": "keep-alive"}
SECRET_NAMES = {
    *("access_token", "password", "web_access_password", "voicemail_pin", "auth"),
    *("extension_password", "refresh_token", "token", "code"),
}


class Exchange(NamedTuple):
    """The arguments of a strike."""

    arrival: Arrival | None
    """The request, or None if it was not read."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    good: bytes
    """The correct body of the reply."""
    headers: dict[str, str]
    """The headers of the correct reply."""
    server: "FaultServer"

    @property
    def secrets(self) -> list[str]:
        """The secrets in the request, for a reply that repeats all of them."""
        assert self.arrival is not None
        headers = self.arrival.headers
        found = [value for name, value in parse_qsl(self.arrival.query) if name in SECRET_NAMES]
        found += [
            headers[name].removeprefix("Bearer ")
            for name in ("authorization", "portsip-upload-token")
            if name in headers
        ]
        if self.arrival.body.startswith(b"{"):
            found += _secrets(json.loads(self.arrival.body))
        elif headers.get("content-type") == "application/x-www-form-urlencoded":
            form = parse_qsl(self.arrival.body.decode())
            found += [value for name, value in form if name in SECRET_NAMES]
        return found

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.server.written += len(data)

    async def until_hung_up(self) -> None:
        """Wait until the client closes the connection."""
        while await self.reader.read(1024):
            pass

    async def hung_up_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for the client to close the connection. Return whether it did."""
        try:
            async with asyncio.timeout(seconds):
                await self.until_hung_up()
        except TimeoutError:
            return False
        return True


Strike = Callable[[Exchange], Awaitable[object]]
"""Produces the fault. Returns True if the connection may serve another request."""


class FaultServer(WireServer):
    """Produces a fault in one operation until it is mended.

    Attributes:
        acted: how often the operation was carried out.
        striking: the number of faults in progress.
        written: the number of bytes in replies.
        mended: whether the server works correctly now.
        generation: the generation whose errors it sends.
        renewed: the tokens that it issued.
        elsewhere: the URL of another host.
    """

    def __init__(
        self,
        *,
        path: str,
        good: Mapping[str, Any] | None,
        strike: Strike,
        generation: str = "classic",
        headers: Mapping[str, str] | None = None,
        stage: str = "reply",
        acts: bool = False,
        times: int | None = None,
        over_tls: bool = False,
    ) -> None:
        """Configure a fault.

        Args:
            path: the path of the operation.
            good: the correct reply, or None if it has no body.
            strike: the action that produces the fault.
            generation: the generation whose errors it sends.
            headers: the headers of the correct reply.
            stage: the stage of the fault: "nobody" (no server), "tls", "connection", "request" or
                "reply". With "proxy", another server produces it.
            acts: whether the server carries out the operation before the fault.
            times: the number of requests with the fault, or None for all until it is mended.
            over_tls: whether the server uses TLS.
        """
        certified = {"tls": True, "proxy": False}.get(stage)
        super().__init__(None if certified is None else _certified(stranger=certified))
        self._path = path
        self.generation = generation
        self._good = json.dumps(good).encode() if good else b""
        self._headers = {**KEEP, **(headers or {})}
        self._strike = strike
        self._stage = stage
        self._acts = acts
        self._times = times
        self._over_tls = over_tls
        self.acted = 0
        self.striking = 0
        self.written = 0
        self.mended = False
        self.renewed: list[str] = []
        self.elsewhere = ""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        if self._stage == "nobody":
            await self.leave()
        return self

    async def mend(self) -> None:
        """Work correctly from now on."""
        self.mended = True
        if self._stage == "nobody" or self._over_tls:
            await self.leave()
            self._ssl = _certified(stranger=False) if self._over_tls else None
            await super().__aenter__()

    async def _reply_to(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        exchange = Exchange(None, reader, writer, self._good, self._headers, self)
        if self._stage == "connection" and not self.mended:
            return await self._struck(exchange)
        if self._stage == "request" and not self.mended:
            await reader.readexactly(20)
            return await self._struck(exchange)
        arrival = await arriving(reader)
        exchange = exchange._replace(arrival=arrival)
        if arrival.path != self._path:
            self.renewed.append(f"next{len(self.renewed)}/of+{self.port}&é")
            renewal: dict[str, Any] = {"access_token": self.renewed[-1], "expires": 600}
            if self.generation != "classic":
                self.renewed.append(f"more{len(self.renewed)}/of+{self.port}&é")
                renewal = {**renewal, "expires_in": 600, "refresh_token": self.renewed[-1]}
            await exchange.write(reply(renewal, headers=KEEP))
            return True
        self.arrivals.append(arrival)
        spent = self._times is not None and len(self.arrivals) > self._times
        if self.mended or spent:
            self.acted += 1
            await exchange.write(reply(self._good, headers=self._headers))
            return True
        self.acted += self._acts
        return await self._struck(exchange)

    async def _struck(self, exchange: Exchange) -> bool:
        if exchange.arrival is None and not self._over_tls:
            self.arrivals.append(Arrival("", "", "", {}, b""))
        self.striking += 1
        try:
            return await self._strike(exchange) is True
        finally:
            self.striking -= 1


def _secrets(value: object) -> list[str]:
    found: list[str] = []
    for name, item in value.items() if isinstance(value, dict) else ():
        found += [str(item)] if name in SECRET_NAMES else _secrets(item)
    return found


@cache
def _authority(*, stranger: bool) -> trustme.CA:
    return trustme.CA(organization_name="Strangers" if stranger else "Friends")


@cache
def _certified(*, stranger: bool) -> tls.SSLContext:
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    _authority(stranger=stranger).issue_cert("127.0.0.1").configure_cert(context)
    return context


@cache
def trusting() -> tls.SSLContext:
    """Return a client context that trusts only a mended server."""
    context = tls.create_default_context()
    _authority(stranger=False).configure_trust(context)
    return context
