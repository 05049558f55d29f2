"""Stand between a client and Prism, and record each request with what Prism says about it."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp import web
from yarl import URL

from .document import Document

# They belong to one connection, or the server of the tap sets them itself.
OF_A_CONNECTION = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Date")


class Exchange(NamedTuple):
    """A request and its reply.

    Attributes:
        operation: the operation of the document; None if it has none for this address.
        target: the path and query as sent.
        body: what was sent.
        status: the status of the reply.
        violations: what Prism objects to in the request or the reply; empty if nothing.
    """

    operation: str | None
    target: str
    body: bytes
    status: int
    violations: str


class Tap:
    """A server on loopback that hands everything to another, and records it.

    Attributes:
        url: its address.
        exchanges: everything so far.
    """

    def __init__(self, upstream: str, document: Document) -> None:
        self.url = ""
        self.exchanges: list[Exchange] = []
        self._upstream = upstream
        self._document = document
        self._runner = web.ServerRunner(web.Server(self._serve), handle_signals=False)

    @property
    def violations(self) -> list[Exchange]:
        """The exchanges that Prism objects to."""
        return [each for each in self.exchanges if each.violations or each.operation is None]

    @property
    def succeeded(self) -> set[str | None]:
        """The operations that had a reply without an error."""
        return {each.operation for each in self.exchanges if each.status < 300}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if not request.raw_path.startswith("/api/"):
            return web.Response(status=404)  # the document is about nothing else
        body = await request.read()
        headers = request.headers.copy()
        for name in ("Host", *OF_A_CONNECTION):
            headers.popall(name, None)
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=headers,
            data=_as_sent(request, body),
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        ) as response:
            reply = await response.read()
        violations = response.headers.get("sl-violations", "")
        if response.headers.get("Content-Type") == "application/problem+json":
            violations = violations or reply.decode()
        self.exchanges.append(
            Exchange(
                self._document.operation_of(request.method, request.raw_path),
                request.raw_path,
                body,
                response.status,
                violations,
            )
        )
        kept = response.headers.copy()
        for name in OF_A_CONNECTION:
            kept.popall(name, None)
        return web.Response(status=response.status, headers=kept, body=reply)


def _as_sent(request: web.BaseRequest, body: bytes) -> bytes | AsyncIterator[bytes] | None:
    """Return the body for the upstream: with its length, in chunks, or none, as it came."""
    if "Content-Length" in request.headers:
        return body
    return _chunks(body) if "Transfer-Encoding" in request.headers else None


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body
