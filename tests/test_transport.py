"""Broken replies, limits, proxies and TLS, and how the client uses aiohttp."""

import asyncio
import gc
import gzip
import json
import ssl as tls
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
import trustme

from portsip_async import (
    APIError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    Endpoint,
    Fingerprint,
    PortSIPClient,
    PortSIPError,
    ReplyError,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    TransportError,
)
from portsip_async.core.transport import HttpTimeouts

from .concurrency import in_background, until, yield_to_loop
from .operations import BY_NAME, OPERATIONS
from .wire_server import TOKEN, Arrival, WireServer, hang_up, reply, reset, silence

KEEP = {"Connection": "keep-alive"}
SHOWN = reply({"extension_number": "101"}, headers=KEEP)
ONCE = RetryPolicy(attempts=1)
NO_PAUSE = RetryPolicy(initial=0, maximum=0)
UNTIMED = Timeout(total=None, connect=None, read=None)


def client(wire: WireServer, **options: Any) -> PortSIPClient:
    return PortSIPClient(wire.url, **{"token": TOKEN, "retry": ONCE, **options})


async def failure(pbx: PortSIPClient) -> PortSIPError:
    """Return the error that a call of `show` raises."""
    with pytest.raises(PortSIPError) as caught:
        await pbx.extensions.show("101")
    return caught.value


class Stream:
    """A step that sends a head, then pieces for as long as the client reads them."""

    def __init__(self, head: bytes, piece: Callable[[], bytes], pieces: int) -> None:
        self.head, self.piece, self.pieces = head, piece, pieces
        self.sent = 0
        self.ended = asyncio.Event()

    async def __call__(
        self, _: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(self.head)
        try:
            for self.sent in range(self.pieces):  # noqa: B020 - the attribute is not the iterable
                writer.write(self.piece())
                await writer.drain()
            await reader.read()
        finally:
            self.ended.set()


def head(**headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{lines}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class TestLargeReplies:
    LIMIT = 100_000

    @pytest.mark.parametrize(
        "how", [head(Content_Length="50000000"), head(Transfer_Encoding="chunked"), head()]
    )
    async def test_large_reply_is_not_read_to_the_end(self, how: bytes, wire: WireServer) -> None:
        """A reply is not read past the limit, whether or not its length is known."""
        piece = b" " * 50_000
        if b"chunked" in how:
            piece = chunk(piece)
        stream = Stream(how, lambda: piece, 1000)
        wire.script = [stream]
        async with client(wire, max_reply_bytes=self.LIMIT) as pbx:
            error = await failure(pbx)
            await asyncio.wait_for(stream.ended.wait(), 5)
        assert isinstance(error, ReplyError)
        assert "at most 100000 bytes" in str(error)
        assert stream.sent < 500  # the rest is what sockets buffer
        assert len(wire.arrivals) == 1

    @pytest.mark.parametrize("how", ["announced", "chunked", "gzip"])
    @pytest.mark.parametrize(("over", "fits"), [(0, True), (1, False)])
    async def test_limit_is_exact(self, how: str, over: int, fits: bool, wire: WireServer) -> None:
        """The limit is exact to the byte."""
        body = json.dumps({"extension_number": "101"}).ljust(1000 + over).encode()
        if how == "announced":
            wire.script = [reply(body)]
        elif how == "chunked":
            coded = chunk(body[:500]) + chunk(body[500:]) + chunk(b"")
            wire.script = [reply(coded, headers={"Transfer-Encoding": "chunked"})]
        else:
            wire.script = [reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})]
        async with client(wire, max_reply_bytes=1000) as pbx:
            if fits:
                assert (await pbx.extensions.show("101")).extension_number == "101"
            else:
                assert isinstance(await failure(pbx), ReplyError)

    @pytest.mark.parametrize("status", [200, 500])
    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    async def test_decompression_bomb(self, encoding: str, status: int, wire: WireServer) -> None:
        """A small reply that decompresses to a large one takes no more memory than the limit."""
        packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
        packed = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
        assert len(packed) < 75_000
        wire.script = [reply(packed, status, headers={"Content-Encoding": encoding})]
        async with client(wire, max_reply_bytes=2**20) as pbx:
            tracemalloc.start()
            try:
                error = await failure(pbx)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert isinstance(error, ReplyError)
        assert peak < 16 * 2**20


CUT_SHORT = gzip.compress(b"{}" * 99)[:20]


class TestBrokenReplies:
    @pytest.mark.parametrize(
        ("sent", "kind"),
        [
            (reply(b'{"extension_number": "101"}', headers={"Content-Length": "900"}), "lost"),
            (head(Transfer_Encoding="chunked") + b"5\r\n{", "lost"),
            (head(Transfer_Encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n", "unreadable"),
            (head(Content_Length="40", Content_Encoding="gzip") + b"no gzip", "unreadable"),
            (reply(b"no gzip at all", headers={"Content-Encoding": "gzip"}), "unreadable"),
            (
                reply(gzip.compress(b"{}" * 99)[:20], headers={"Content-Encoding": "gzip"}),
                "unreadable",
            ),
            (reply(b"\x8b\x00\x80{}\x03", headers={"Content-Encoding": "br"}), "unreadable"),
            (b"HTTP/1.1 200 OK\r\nContent-Len", "lost"),
            (b"HTTP/1.1 twohundred OK\r\n\r\n", "unreadable"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n{}", "unreadable"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "unreadable"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "unreadable"),
            (head(X_Long="a" * 70_000, Content_Length="2") + b"{}", "unreadable"),
        ],
    )
    async def test_broken_reply_raises_an_error_of_the_sdk(
        self, sent: bytes, kind: str, wire: WireServer
    ) -> None:
        """The error shows no secret."""

        async def send(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            await writer.drain()
            writer.close()

        wire.script = [send]
        async with client(wire) as pbx:
            error = await failure(pbx)
        assert type(error) is {"lost": TransportError, "unreadable": ReplyError}[kind]
        assert len(wire.arrivals) == 1
        assert TOKEN not in repr((error, error.__cause__)) + str(error) + str(error.__cause__)
        assert error.__context__ is None

    @pytest.mark.parametrize("before", [b"", chunk(b"{"), b"2\r\n{}"])
    @pytest.mark.parametrize("name", ["extensions.show", "greetings.upload"])
    async def test_garbage_within_a_reply(self, name: str, before: bytes, wire: WireServer) -> None:
        """Garbage after the head ends a call at once, without a timeout."""

        async def send(
            _: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(head(Transfer_Encoding="chunked") + before)
            await yield_to_loop(50)  # until the client has read that
            writer.write(b"zz\r\n{}\r\n")
            await reader.read()

        wire.script = [send]
        async with client(wire, timeout=UNTIMED) as pbx:
            async with asyncio.timeout(5):
                with pytest.raises(ReplyError):
                    await BY_NAME[name].send(pbx)
            await until(lambda: not wire.open)

    async def test_idle_connection_breaks(
        self, wire: WireServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """If a connection breaks between two calls, no call fails."""
        coded = head(Transfer_Encoding="chunked") + chunk(b'{"extension_number": "101"}')

        async def send(
            arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            writer.write(coded)
            await yield_to_loop(50)
            writer.write(chunk(b""))
            await yield_to_loop(50)
            await reset(arrival, reader, writer)

        wire.script = [send, SHOWN]
        async with client(wire, retry=NO_PAUSE) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
            await until(lambda: not wire.open)
            assert (await pbx.extensions.show("101")).extension_number == "101"
            gc.collect()
        assert "never retrieved" not in caplog.text

    @pytest.mark.parametrize("kind", ["text/html", "text/plain; charset=latin-1", "x", ""])
    async def test_content_type_is_ignored(self, kind: str, wire: WireServer) -> None:
        """JSON is read whatever its content type."""
        wire.script = [reply({"extension_number": "101"}, headers={"Content-Type": kind})]
        async with client(wire) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"

    async def test_reply_without_a_length(self, wire: WireServer) -> None:
        """A reply without a length ends with its connection."""
        wire.script = [reply({"extension_number": "101"}, content_length=False)]
        async with client(wire) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"

    async def test_silence_within_a_reply(self, wire: WireServer) -> None:
        """The read timeout also limits the time between bytes."""

        async def half(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(SHOWN[:-5])
            await asyncio.Event().wait()

        wire.script = [half]
        async with client(wire, timeout=Timeout(total=None, read=0.05)) as pbx:
            assert isinstance(await failure(pbx), RequestTimeout)

    async def test_slow_reply(self, wire: WireServer) -> None:
        """The total timeout limits a reply that arrives byte by byte."""

        async def drip(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head(Content_Length="1000"))
            while not writer.is_closing():
                writer.write(b" ")
                await asyncio.sleep(0.01)

        wire.script = [drip]
        async with client(wire, timeout=Timeout(total=0.15, read=0.1)) as pbx:
            assert isinstance(await failure(pbx), RequestTimeout)


class TestOneAttemptOneArrival:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST"])
    @pytest.mark.parametrize("kept", [False, True])
    @pytest.mark.parametrize("how", ["hang up", "reset"])
    async def test_each_method_is_sent_once(
        self, method: str, kept: bool, how: str, wire: WireServer
    ) -> None:
        """The transport never repeats a request by itself, on a new or a kept connection."""
        row = Endpoint("a.b", method, "/x", safety="unsafe", token="query", parameters="query")

        async def drop(_: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if how == "reset":
                writer.transport.abort()
            else:
                writer.close()

        wire.script = [SHOWN, drop] if kept else [drop]
        async with client(wire) as pbx:
            if kept:
                await pbx.extensions.show("101")
            with pytest.raises(TransportError) as caught:
                await pbx.request(row)
        assert caught.value.attempts == 1
        assert caught.value.may_have_acted
        assert len(wire.arrivals) == 1 + kept

    async def test_session_of_the_application_sends_once(self, wire: WireServer) -> None:
        """The same holds for the session of an application."""
        wire.script = [hang_up]
        async with aiohttp.ClientSession() as session, client(wire, session=session) as pbx:
            assert isinstance(await failure(pbx), TransportError)
        assert len(wire.arrivals) == 1


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("name", ["extensions.show", "extensions.create", "greetings.upload"])
    async def test_redirect_is_not_followed(self, status: int, name: str, wire: WireServer) -> None:
        """A redirect is an error. Following it would send the token to another address."""
        operation = next(row for row in OPERATIONS if row.name == name)
        async with WireServer() as target:
            wire.script = [reply("", status, {"Location": f"{target.url}/api/extensions/show"})]
            async with client(wire, retry=NO_PAUSE) as pbx:
                with pytest.raises(APIError, match="redirects are not followed") as caught:
                    await operation.send(pbx)
            assert target.connections == 0
        assert type(caught.value) is APIError
        assert caught.value.status == status
        assert len(wire.arrivals) == 1


class TestCookies:
    async def test_cookies_are_neither_stored_nor_sent(self, wire: WireServer) -> None:
        wire.script = [
            reply({"extension_number": "101"}, headers={"Set-Cookie": "a=b; Path=/", **KEEP})
        ]
        async with client(wire) as pbx:
            for _ in range(3):
                await pbx.extensions.show("101")
        assert len(wire.arrivals) == 3
        assert all("cookie" not in arrival.headers for arrival in wire.arrivals)


class TestConnections:
    async def test_connection_is_reused(self, wire: WireServer) -> None:
        """Sequential calls use one connection, after any readable reply."""
        wire.script = [
            SHOWN,
            reply({"err_code": 404.1}, 404, KEEP),
            reply("<html>", 502, KEEP),
            reply(gzip.compress(b"{}"), 500, {"Content-Encoding": "gzip", **KEEP}),
        ] * 5
        async with client(wire) as pbx:
            for number in range(20):
                if number % 4:
                    await failure(pbx)
                else:
                    await pbx.extensions.show("101")
        assert len(wire.arrivals) == 20
        assert wire.connections == 1

    async def test_one_connection_per_call_in_flight(self, wire: WireServer) -> None:
        """There are at most as many connections as calls. Closing the client closes them."""
        wire.script = [SHOWN]
        async with client(wire) as pbx:
            for _ in range(2):
                await asyncio.gather(*(pbx.extensions.show("101") for _ in range(50)))
            assert wire.connections == wire.open <= 50
        async with asyncio.timeout(5):
            while wire.open:  # noqa: ASYNC110 - the server sets no event for this
                await asyncio.sleep(0)

    async def test_text_in_a_query(self, wire: WireServer) -> None:
        """Text of any kind arrives unchanged."""
        given = "a+b &c=d;e%41/é\u2028?#"
        wire.script = [reply()]
        async with client(wire) as pbx:
            await pbx.extensions.call(given, "102", auth=given, domain="d", src="101")
        query = parse_qs(wire.arrivals[0].query, strict_parsing=True)
        assert query["extension"] == query["auth"] == [given]

    async def test_other_loop(self, wire: WireServer) -> None:
        """A client belongs to the loop of its first call."""
        pbx = client(wire)

        async def call() -> None:
            with pytest.raises(ConfigurationError, match="event loop"):
                await pbx.extensions.show("101")

        async with pbx:
            await pbx.extensions.show("101")
            await asyncio.to_thread(asyncio.run, call())


class TestUserAgent:
    @pytest.mark.parametrize(("given", "sent"), [(None, "Python/"), ("acme/1", "acme/1")])
    async def test_own_session(self, given: str | None, sent: str, wire: WireServer) -> None:
        async with client(wire, user_agent=given) as pbx:
            await pbx.extensions.show("101")
        assert wire.arrivals[0].headers["user-agent"].startswith(sent)

    @pytest.mark.parametrize(("given", "sent"), [(None, "app"), ("acme/1", "acme/1")])
    async def test_session_of_the_application(
        self, given: str | None, sent: str, wire: WireServer
    ) -> None:
        """The session's own header is sent unless the client has a `user_agent`."""
        async with aiohttp.ClientSession(headers={"User-Agent": "app", "X-App": "1"}) as session:
            async with client(wire, session=session, user_agent=given) as pbx:
                await pbx.extensions.show("101")
            assert session.headers["User-Agent"] == "app"
        assert wire.arrivals[0].headers["user-agent"] == sent
        assert wire.arrivals[0].headers["x-app"] == "1"


class TestAppSession:
    @pytest.mark.parametrize(
        "options",
        [
            {"raise_for_status": True},
            {"auto_decompress": False},
            {"base_url": "http://elsewhere.example/a/"},
            {"timeout": aiohttp.ClientTimeout(total=0.0001)},
            {"cookies": {"a": "b"}},
            {"read_bufsize": 1},
        ],
    )
    async def test_settings_of_the_session_do_not_matter(
        self, options: dict[str, Any], wire: WireServer
    ) -> None:
        """Replies and errors are the same, whatever the settings of the application's session."""
        body = gzip.compress(b'{"extension_number": "101"}')
        wire.script = [
            reply(body, headers={"Content-Encoding": "gzip", **KEEP}),
            reply({"err_code": 404.1, "msg": "No"}, 404, KEEP),
        ]
        async with aiohttp.ClientSession(**options) as session:
            async with client(wire, session=session) as pbx:
                assert (await pbx.extensions.show("101")).extension_number == "101"
                error = await failure(pbx)
                assert isinstance(error, APIError)
                assert (error.status, error.message) == (404, "No")
            assert not session.closed

    async def test_session_closed_by_the_application(self, wire: WireServer) -> None:
        async with aiohttp.ClientSession() as session:
            pbx = client(wire, session=session)
        assert isinstance(await failure(pbx), ClientClosed)
        await pbx.close()

    async def test_session_keeps_its_cookies(self, wire: WireServer) -> None:
        wire.script = [reply({"extension_number": "1"}, headers={"Set-Cookie": "a=b", **KEEP})]
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            aiohttp.ClientSession(cookie_jar=jar) as session,
            client(wire, session=session) as pbx,
        ):
            await pbx.extensions.show("1")
            await pbx.extensions.show("1")
        assert wire.arrivals[1].headers["cookie"] == "a=b"


class TestProxies:
    @pytest.fixture
    def environment_proxy(self, monkeypatch: pytest.MonkeyPatch, wire: WireServer) -> WireServer:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, wire.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return wire

    async def test_environment_is_ignored(self, environment_proxy: WireServer) -> None:
        async with WireServer() as wire, client(wire) as pbx:
            await pbx.extensions.show("101")
        assert environment_proxy.connections == 0

    async def test_proxy_of_the_client(self, wire: WireServer) -> None:
        """All requests go to the client's proxy."""
        wire.script = [SHOWN]
        async with PortSIPClient(
            "http://pbx.example:8899", token=TOKEN, allow_http=True, proxy=wire.url
        ) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
        assert wire.paths() == ["http://pbx.example:8899/api/extensions/show"]

    async def test_unreachable_proxy(self, wire: WireServer) -> None:
        """The error says that no connection was made, and shows no password."""
        await wire.leave()
        proxy = wire.url.replace("//", "//user:hidden@")
        async with PortSIPClient(
            "https://pbx.example:8900", token=TOKEN, proxy=proxy, retry=NO_PAUSE
        ) as pbx:
            error = await failure(pbx)
        assert isinstance(error, ConnectError)
        assert error.attempts == 4
        assert "hidden" not in repr((error, str(error), error.__cause__, str(error.__cause__)))

    async def test_proxy_that_refuses_the_tunnel(self, wire: WireServer) -> None:
        """The error says that no connection was made, so even a write is retried."""
        wire.script = [reply("", 502)]
        operation = next(row for row in OPERATIONS if row.name == "extensions.create")
        async with PortSIPClient(
            "https://pbx.example:8900", token=TOKEN, proxy=wire.url, retry=NO_PAUSE
        ) as pbx:
            with pytest.raises(ConnectError) as caught:
                await operation.send(pbx)
        assert [arrival.method for arrival in wire.arrivals] == ["CONNECT"] * 4
        assert not caught.value.may_have_acted


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def encrypted(authority: trustme.CA, host: str = "127.0.0.1") -> AsyncIterator[WireServer]:
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    async with WireServer(context) as wire:
        wire.script = [SHOWN]
        yield wire


def fingerprint_of(wire: WireServer) -> bytes:
    port = int(wire.url.rpartition(":")[2])
    return sha256(
        tls.PEM_cert_to_DER_cert(tls.get_server_certificate(("127.0.0.1", port)))
    ).digest()


class TestTLS:
    async def refused(self, wire: WireServer, **options: Any) -> ConnectError:
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE, **options) as pbx:
            error = await failure(pbx)
        assert isinstance(error, ConnectError)
        assert error.refused_certificate
        assert error.attempts == 1
        assert not error.may_have_acted
        assert "certificate was refused; see the client's ssl= argument" in str(error)
        assert wire.arrivals == []
        return error

    async def test_unknown_authority(self, authority: trustme.CA) -> None:
        """A certificate of an unknown authority is refused after one attempt, with the reason."""
        async with encrypted(authority) as wire:
            await self.refused(wire)

    async def test_certificate_for_another_host(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        """It is refused."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        async with encrypted(authority, "pbx.example") as wire:
            await self.refused(wire, ssl=tmp_path / "ca.pem")

    async def test_wrong_fingerprint(self, authority: trustme.CA) -> None:
        async with encrypted(authority) as wire:
            await self.refused(wire, ssl=Fingerprint(bytes(32)))

    @pytest.mark.parametrize("how", ["path", "str", "context", "fingerprint", "app context"])
    async def test_trusted_server(self, how: str, authority: trustme.CA, tmp_path: Path) -> None:
        """With each form of `ssl=` that trusts the server, the call succeeds."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        async with encrypted(authority) as wire:
            ssl: Any = path
            if how == "str":
                ssl = str(path)
            elif how.endswith("context"):
                ssl = tls.create_default_context(cafile=path)
            elif how == "fingerprint":
                ssl = Fingerprint(await asyncio.to_thread(fingerprint_of, wire))
            async with (
                aiohttp.ClientSession() as session,
                client(wire, ssl=ssl, session=session if how == "app context" else None) as pbx,
            ):
                assert (await pbx.extensions.show("101")).extension_number == "101"

    async def test_no_verification(self, authority: trustme.CA) -> None:
        """Any certificate is accepted, with one warning."""
        async with encrypted(authority) as wire:
            with pytest.warns(UserWarning, match="ssl=False accepts any certificate") as warned:
                pbx = PortSIPClient(wire.url, token=TOKEN, ssl=False)
            assert [warning.filename for warning in warned] == [__file__]
            async with pbx:  # any further warning is an error here
                await pbx.extensions.show("101")
                await pbx.with_options(timeout=5).extensions.show("101")

    @pytest.mark.parametrize("content", [None, "no certificate"])
    async def test_unusable_ca_file(self, content: str | None, tmp_path: Path) -> None:
        """The error names the file, and nothing is sent."""
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_text(content)
        async with PortSIPClient("https://127.0.0.1:9", token=TOKEN, ssl=path) as pbx:
            error = await failure(pbx)
        assert isinstance(error, ConfigurationError)
        assert str(path) in str(error)

    async def test_server_without_tls(self, wire: WireServer) -> None:
        """The error says that no connection was made."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with PortSIPClient(f"https://127.0.0.1:{port}", token="1", retry=ONCE) as pbx:
                error = await failure(pbx)
        assert isinstance(error, ConnectError)
        assert not error.refused_certificate


class TestTimeouts:
    @pytest.mark.parametrize(
        ("timeout", "connect", "read"),
        [
            (Timeout(), 5.0, None),
            (Timeout(total=10, connect=2, read=3), 2.0, 3.0),
            (Timeout(total=2), 1.9, None),
            (Timeout(total=2, connect=None, read=None), 1.9, None),
            (Timeout(total=None, connect=None, read=None), None, None),
            (Timeout(total=None), 5.0, 15.0),
        ],
    )
    def test_timeouts_for_aiohttp(
        self, timeout: Timeout, connect: float | None, read: float | None
    ) -> None:
        """Connecting gets less time than the whole attempt, so its timeout comes first."""
        http = HttpTimeouts(timeout)
        assert http.exchange.total is None
        assert http.exchange.connect == (None if connect is None else pytest.approx(connect))
        assert http.exchange.sock_read == read
        assert (http.upload.total, http.upload.connect, http.upload.sock_read) == (
            None,
            timeout.connect,
            timeout.read,
        )

    @pytest.mark.parametrize("timeout", [Timeout(total=0.5), Timeout(connect=0.1), 0.5])
    async def test_connect_timeout(self, timeout: Any, wire: WireServer) -> None:
        """A TLS handshake that hangs raises ConnectError, even if `total` ends it."""
        url = wire.url.replace("http:", "https:")
        async with PortSIPClient(url, token="1", timeout=timeout, retry=ONCE) as pbx:
            error = await failure(pbx)
        assert isinstance(error, ConnectError)
        assert not isinstance(error, RequestTimeout)

    async def test_connect_timeout_in_a_blocked_loop(self, wire: WireServer) -> None:
        """If both timeouts have expired when the loop runs again, the error is a ConnectError."""
        url = wire.url.replace("http:", "https:")
        async with (
            PortSIPClient(url, token="1", timeout=Timeout(total=0.5), retry=ONCE) as pbx,
            in_background(failure(pbx)) as (failing,),
        ):
            await until(lambda: wire.connections)
            time.sleep(0.6)  # noqa: ASYNC251 - blocks the loop on purpose
            error = await failing
        assert isinstance(error, ConnectError)

    async def test_total_is_not_rounded(self, wire: WireServer) -> None:
        """A timeout above 5 s is not rounded up. By default, aiohttp would do that."""
        wire.script = [silence]
        async with client(wire, timeout=Timeout(total=0.1)) as pbx:
            error = await failure(pbx)
        assert isinstance(error, RequestTimeout)
        assert isinstance(error, TimeoutError)
        assert HttpTimeouts(Timeout(read=8.3)).upload.ceil_threshold == float("inf")


async def test_upgraded_connection_is_closed(wire: WireServer, make_client: Any) -> None:
    """After a 101 no response is left open. aiohttp's warning about it would show the URL."""
    wire.script = [reply({}, 101, {"Upgrade": "x", "Connection": "upgrade"})]
    asyncio.get_running_loop().set_debug(True)  # only then does aiohttp warn
    with pytest.raises(APIError):
        await make_client(wire.url).extensions.show("101")
    gc.collect()  # a warning is an error here
