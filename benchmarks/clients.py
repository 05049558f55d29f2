"""The clients that are compared: three operations, written in different ways.

All of them decode the whole reply into typed objects. Those that use msgspec share the models of
the SDK, so decoding is the same work. For pydantic there are models with the same fields. Each
client keeps its token in a variable, except for the SDK, which renews its token.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import httptools
import httpx
import msgspec
import tenacity
from pydantic import BaseModel

from portsip_async import PortSIPClient
from portsip_async.classic.extension_models import Extension, ExtensionPage, ExtensionStatuses

USERNAME, PASSWORD = "admin", "x7cQp0aW"
PAGE_SIZE = 100
SECONDS = 15.0  # the SDK's default timeout of an attempt
CONNECTIONS = 64  # the SDK's default for max_connections
RECEIVE_BYTES = 65_536

_JSON = {"Content-Type": "application/json"}


class Client(ABC):
    """A client of the benchmarks.

    Attributes:
        name: its name in the report.
        every: the client takes part in every nth round; more than 1 for a slow client.
    """

    name: str
    every = 1

    def __init__(
        self, url: str, context: ssl.SSLContext | None = None, connections: int = CONNECTIONS
    ) -> None:
        self.url = url
        self.context = context
        self.connections = connections
        self.token = ""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abstractmethod
    async def open(self) -> None:
        """Open the session, and log in."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def list_page(self, page: int) -> Any:
        """Read a page of 100 extensions."""

    @abstractmethod
    async def show(self, number: str) -> Any:
        """Read one extension."""

    @abstractmethod
    async def status(self, numbers: Sequence[str]) -> Any:
        """Read the status of a batch."""


class Sdk(Client):
    """The SDK."""

    name = "portsip_async"

    async def open(self) -> None:
        self.client = PortSIPClient(
            self.url,
            username=USERNAME,
            password=PASSWORD,
            ssl=self.context,
            max_connections=self.connections,
        )
        await self.client.account.refresh()

    async def close(self) -> None:
        await self.client.close()

    async def list_page(self, page: int) -> Any:
        return await self.client.extensions.list(page=page, page_size=PAGE_SIZE)

    async def show(self, number: str) -> Any:
        return await self.client.extensions.show(number)

    async def status(self, numbers: Sequence[str]) -> Any:
        return await self.client.extensions.status(numbers)


class Naive(Client):
    """aiohttp and msgspec, written by hand, without retries or timeouts."""

    name = "aiohttp + msgspec"

    async def open(self) -> None:
        self.http = aiohttp.ClientSession(connector=self.connector())
        self.pages = msgspec.json.Decoder(ExtensionPage)
        self.extensions = msgspec.json.Decoder(Extension)
        self.statuses = msgspec.json.Decoder(ExtensionStatuses)
        self.encoder = msgspec.json.Encoder()
        login = {"username": USERNAME, "password": PASSWORD}
        address = f"{self.url}/api/account/credentials/verify"
        async with self.http.post(address, json=login) as response:
            self.token = (await response.json())["access_token"]

    def connector(self) -> aiohttp.TCPConnector:
        """Build the connection pool."""
        return aiohttp.TCPConnector(ssl=self.context or True, limit=max(100, self.connections))

    async def close(self) -> None:
        await self.http.close()

    async def list_page(self, page: int) -> Any:
        query = {"access_token": self.token, "pagination": page, "pagesize": PAGE_SIZE}
        address = f"{self.url}/api/extensions/list"
        async with self.http.request("GET", address, params=query) as response:
            body = await response.read()
            if response.status != 200:
                raise RuntimeError(response.status)
            return self.pages.decode(body)

    async def show(self, number: str) -> Any:
        query = {"access_token": self.token, "extension_number": number}
        address = f"{self.url}/api/extensions/show"
        async with self.http.request("GET", address, params=query) as response:
            body = await response.read()
            if response.status != 200:
                raise RuntimeError(response.status)
            return self.extensions.decode(body)

    async def status(self, numbers: Sequence[str]) -> Any:
        data = self.encoder.encode({"access_token": self.token, "extensions": numbers})
        address = f"{self.url}/api/extensions/status"
        async with self.http.request("POST", address, data=data, headers=_JSON) as response:
            body = await response.read()
            if response.status != 200:
                raise RuntimeError(response.status)
            return self.statuses.decode(body).extension_status


class _SmallBufferConnector(aiohttp.TCPConnector):
    """Makes asyncio receive into buffers of 64 KiB instead of 256, as the SDK does."""

    async def connect(self, *arguments: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*arguments, **options)
        connection.transport.max_size = RECEIVE_BYTES  # type: ignore[union-attr]  # asyncio's own
        return connection


class SmallBuffers(Naive):
    """The same with the receive buffers of the SDK, which hand-written clients rarely set."""

    name = "the same, 64 KiB buffers"

    def connector(self) -> aiohttp.TCPConnector:
        limit = max(100, self.connections)
        return _SmallBufferConnector(ssl=self.context or True, limit=limit)


class NaiveAgain(Naive):
    """The same client again: its ratio to itself is the noise."""

    name = "aiohttp + msgspec, again"


_again = tenacity.retry(
    stop=tenacity.stop_after_attempt(4),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=5.0),
    retry=tenacity.retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
    reraise=True,
)


class Careful(Naive):
    """The same with retries by tenacity, a semaphore, and a timeout for each call."""

    name = "the same, careful"

    async def open(self) -> None:
        await super().open()
        self.semaphore = asyncio.Semaphore(self.connections)

    @_again
    async def list_page(self, page: int) -> Any:
        async with self.semaphore, asyncio.timeout(SECONDS):
            return await super().list_page(page)

    @_again
    async def show(self, number: str) -> Any:
        async with self.semaphore, asyncio.timeout(SECONDS):
            return await super().show(number)

    @_again
    async def status(self, numbers: Sequence[str]) -> Any:
        async with self.semaphore, asyncio.timeout(SECONDS):
            return await super().status(numbers)


class _Summary(BaseModel):
    extension_number: str
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    status: str | None = None
    user_agent: str | None = None
    phone_mac_address: str | None = None
    phone_model: str | None = None


class _Page(BaseModel):
    pagination: int | None = None
    pagesize: int | None = None
    page_count: int | None = None
    count: int | None = None
    sort_by: str | None = None
    extensions: list[_Summary]


class _Profile(BaseModel):
    first_name: str | None = None
    last_name: str | None = None
    gender: str | None = None
    email: str | None = None
    mobile_phone: str | None = None
    work_phone: str | None = None
    home_phone: str | None = None
    twitter: str | None = None
    facebook: str | None = None
    linkedin: str | None = None
    instagram: str | None = None
    description: str | None = None


class _VoiceMail(BaseModel):
    enable_voicemail: bool | None = None
    prompt_language: str | None = None
    enable_vm_pin_auth: bool | None = None
    voicemail_pin: str | None = None
    enable_play_caller_id: bool | None = None
    msg_read_out_datetime: str | None = None


class _Options(BaseModel):
    enable_audio_record_calls: bool | None = None
    enable_video_record_calls: bool | None = None
    enable_extension: bool | None = None


class _Available(BaseModel):
    no_answer_timeval: int | None = None
    no_answer_action: str | None = None
    no_answer_action_value: str | None = None
    busy_action: str | None = None
    busy_action_value: str | None = None


class _Away(BaseModel):
    office_hours_action: str | None = None
    office_hours_action_value: str | None = None
    outside_office_hours_action: str | None = None
    outside_office_hours_action_value: str | None = None


class _ForwardRules(BaseModel):
    available: _Available | None = None
    offline: _Away | None = None
    dnd: _Away | None = None
    away: _Away | None = None


class _OfficeHours(BaseModel):
    office_hours_mode: str | None = None
    monday_from: str | None = None
    monday_to: str | None = None
    tuesday_from: str | None = None
    tuesday_to: str | None = None
    wednesday_from: str | None = None
    wednesday_to: str | None = None
    thursday_from: str | None = None
    thursday_to: str | None = None
    friday_from: str | None = None
    friday_to: str | None = None
    saturday_from: str | None = None
    saturday_to: str | None = None
    sunday_from: str | None = None
    sunday_to: str | None = None


class _Extension(BaseModel):
    extension_number: str
    password: str | None = None
    web_access_password: str | None = None
    profile: _Profile | None = None
    voice_mail: _VoiceMail | None = None
    forward_rules: _ForwardRules | None = None
    options: _Options | None = None
    office_hours: _OfficeHours | None = None
    belong_groups: list[str] | None = None


class _Status(BaseModel):
    extension_number: str
    status: str | None = None
    user_agent: str | None = None


class _Statuses(BaseModel):
    extension_status: list[_Status]


class Httpx(Client):
    """httpx and pydantic, as most people would write it."""

    name = "httpx + pydantic"
    every = 4  # its calls take ten times as long

    async def open(self) -> None:
        self.http = httpx.AsyncClient(
            base_url=f"{self.url}/api",
            verify=self.context or True,
            timeout=SECONDS,
            # By default httpx keeps 20 idle connections, so that each block with 64 calls in
            # flight would start with 44 handshakes.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )
        login = {"username": USERNAME, "password": PASSWORD}
        response = await self.http.post("/account/credentials/verify", json=login)
        self.token = response.json()["access_token"]

    async def close(self) -> None:
        await self.http.aclose()

    async def list_page(self, page: int) -> Any:
        query = {"access_token": self.token, "pagination": page, "pagesize": PAGE_SIZE}
        response = await self.http.get("/extensions/list", params=query)
        response.raise_for_status()
        return _Page.model_validate(response.json())

    async def show(self, number: str) -> Any:
        query = {"access_token": self.token, "extension_number": number}
        response = await self.http.get("/extensions/show", params=query)
        response.raise_for_status()
        return _Extension.model_validate(response.json())

    async def status(self, numbers: Sequence[str]) -> Any:
        data = {"access_token": self.token, "extensions": numbers}
        response = await self.http.post("/extensions/status", json=data)
        response.raise_for_status()
        return _Statuses.model_validate(response.json()).extension_status


class _Connection(asyncio.Protocol):
    """A connection of the hand-written client, with one request at a time."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._reply: asyncio.Future[bytes] | None = None
        self._kept_alive = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    @property
    def reusable(self) -> bool:
        return self._kept_alive and not self.transport.is_closing()

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._kept_alive = self._parser.should_keep_alive()
        reply, self._reply = self._reply, None
        if reply is None or reply.done():
            return
        if self._parser.get_status_code() == 200:
            reply.set_result(body)
        else:
            reply.set_exception(RuntimeError(self._parser.get_status_code()))

    def send(self, request: bytes) -> asyncio.Future[bytes]:
        reply = self._reply = self._loop.create_future()
        self.transport.write(request)
        return reply


class Raw(Client):
    """A protocol for only these three operations, written for speed."""

    name = "hand-written protocol"

    async def open(self) -> None:
        parts = urlsplit(self.url)
        self._host, self._port = parts.hostname, parts.port
        self._idle: list[_Connection] = []
        self._all: list[_Connection] = []
        self._headers = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\n".encode()
        self.pages = msgspec.json.Decoder(ExtensionPage)
        self.extensions = msgspec.json.Decoder(Extension)
        self.statuses = msgspec.json.Decoder(ExtensionStatuses)
        self.encoder = msgspec.json.Encoder()
        login = self.encoder.encode({"username": USERNAME, "password": PASSWORD})
        reply = await self._post(b"/api/account/credentials/verify", login)
        self.token = msgspec.json.decode(reply)["access_token"]
        self._quoted = quote(self.token, safe="")

    async def close(self) -> None:
        for connection in self._all:
            connection.transport.close()

    async def list_page(self, page: int) -> Any:
        return self.pages.decode(
            await self._get(
                f"/api/extensions/list?access_token={self._quoted}"
                f"&pagination={page}&pagesize={PAGE_SIZE}"
            )
        )

    async def show(self, number: str) -> Any:
        return self.extensions.decode(
            await self._get(
                f"/api/extensions/show?access_token={self._quoted}"
                f"&extension_number={quote(number, safe='')}"
            )
        )

    async def status(self, numbers: Sequence[str]) -> Any:
        data = self.encoder.encode({"access_token": self.token, "extensions": numbers})
        reply = await self._post(b"/api/extensions/status", data)
        return self.statuses.decode(reply).extension_status

    async def _get(self, target: str) -> bytes:
        return await self._send(b"GET %s%s\r\n" % (target.encode(), self._headers))

    async def _post(self, target: bytes, data: bytes) -> bytes:
        return await self._send(
            b"POST %s%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (target, self._headers, len(data), data)
        )

    async def _send(self, request: bytes) -> bytes:
        connection = self._idle.pop() if self._idle else await self._connect()
        reply = await connection.send(request)
        if connection.reusable:
            self._idle.append(connection)
        return reply

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            _Connection, self._host, self._port, ssl=self.context
        )
        self._all.append(connection)
        return connection


CLIENTS: tuple[type[Client], ...] = (Sdk, Naive, NaiveAgain, SmallBuffers, Careful, Httpx, Raw)
