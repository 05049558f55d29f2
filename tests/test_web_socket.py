"""Web sockets of a client's core: opening, ending and closing, against servers of raw bytes."""

import asyncio
import base64
import socket
import ssl as tls
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.helpers import DEFAULT_CHUNK_SIZE

from portsip_async import (
    APIError,
    AttemptStart,
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    Fingerprint,
    NotFound,
    PermissionDenied,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    ServerError,
    Timeout,
    TransportError,
)
from portsip_async.core import web_socket as module
from portsip_async.core.web_socket import WebSocket

from .concurrency import in_background, until, yield_to_loop
from .internals import calls_of, session_of
from .proxy_server import ProxyServer
from .test_connections import client, deaf, each_session, sockets_to, then_deaf
from .test_tracebacks import check
from .test_tracing import by_middleware, by_trace, instrumented
from .virtual_time import DAY, in_virtual_time, the_loop
from .web_sockets import BINARY, CLOSE, PING, TEXT, accept, echo, frame, read_frame
from .wire_server import TOKEN, WireServer, arriving, hang_up, reply, reset, silence

PASSWORD = "s3cret&Password"
COMMAND = f'{{"command":"auth","password":"{PASSWORD}"}}'


def open_on(pbx: PortSIPClient, url: str) -> Any:
    """Return the context manager that opens a web socket."""
    return session_of(pbx).web_socket(f"{url.replace('http', 'ws', 1)}/wsi", pbx._options)


async def failure(pbx: PortSIPClient, url: str) -> PortSIPError:
    """Return the error that opening a web socket raises, which holds no secret."""
    with pytest.raises(PortSIPError) as caught:
        async with open_on(pbx, url):
            pass
    check(caught.value, PASSWORD, TOKEN)
    return caught.value


async def sockets_left(url: str) -> int:
    """Count the sockets to a server after a few passes of the event loop, which close them."""
    await yield_to_loop()
    return sockets_to(url)


async def endless(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call again and again."""
    while True:
        await call()
        await asyncio.sleep(0)


async def broken(web_socket: WebSocket) -> PortSIPError:
    """Receive until the web socket ends, and return the error."""
    with pytest.raises(PortSIPError) as caught:
        await endless(web_socket.receive)
    check(caught.value, PASSWORD, TOKEN)
    return caught.value


def timers() -> int:
    """Count the timers in the event loop, except for the client's own of calls in flight."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return sum(
        not timer.cancelled()
        and type(getattr(timer._callback, "__self__", None)).__name__
        not in ("StallWatch", "Timeout")
        for timer in scheduled
    )


class TestOpening:
    @each_session
    async def test_messages(self, session: str, wire: WireServer) -> None:
        """Texts and bytes arrive in their order, over one connection, without a token."""
        wire.script = [accept(echo)]
        async with client(wire.url, session, user_agent="app/1") as pbx:
            async with open_on(pbx, wire.url) as web_socket:
                for text in ("one", "zwölf", "x" * 200_000):
                    await web_socket.send(text)
                    assert await web_socket.receive() == text
                wire.say(frame(BINARY, b"\xff"))
                assert await web_socket.receive() == b"\xff"
                assert repr(web_socket) == "<WebSocket, open>"
            assert repr(web_socket) == "<WebSocket, closed>"
            assert await sockets_left(wire.url) == 0
            with pytest.raises(TransportError, match="was closed"):
                await web_socket.send("more")
        [arrival] = wire.arrivals
        assert (arrival.method, arrival.path, arrival.query) == ("GET", "/wsi", "")
        assert arrival.headers["user-agent"] == "app/1"
        assert not {"authorization", "access_token"} & arrival.headers.keys()

    @each_session
    async def test_first_message_with_the_handshake(self, session: str, wire: WireServer) -> None:
        """Messages in the same piece as the reply to the handshake are not lost."""
        wire.script = [accept(frame(TEXT, b"1") + frame(TEXT, b"2"))]
        async with client(wire.url, session) as pbx, open_on(pbx, wire.url) as web_socket:
            assert [await web_socket.receive() for _ in range(2)] == ["1", "2"]

    @pytest.mark.filterwarnings("ignore:ssl=False")
    @each_session
    @pytest.mark.parametrize(
        ("trust", "is_trusted"),
        [
            ("file", True),
            ("context", True),
            ("fingerprint", True),
            ("unchecked", True),
            ("default", False),
            ("other file", False),
            ("other fingerprint", False),
        ],
    )
    async def test_certificate(
        self,
        trust: str,
        is_trusted: bool,
        session: str,
        authority: trustme.CA,
        certified: tls.SSLContext,
        tmp_path: Path,
    ) -> None:
        """The client's `ssl=` holds for web sockets."""
        ours, other = tmp_path / "ours.pem", tmp_path / "other.pem"
        authority.cert_pem.write_to_path(ours)
        trustme.CA().cert_pem.write_to_path(other)
        async with WireServer(certified) as wire:
            der = tls.PEM_cert_to_DER_cert(
                await asyncio.to_thread(tls.get_server_certificate, ("127.0.0.1", wire.port))
            )
            trusts: dict[str, Any] = {
                "file": ours,
                "context": tls.create_default_context(cafile=str(ours)),
                "fingerprint": Fingerprint(sha256(der).digest()),
                "unchecked": False,
                "default": None,
                "other file": other,
                "other fingerprint": Fingerprint(bytes(32)),
            }
            wire.script = [accept(echo)]
            async with client(wire.url, session, ssl=trusts[trust]) as pbx:
                if is_trusted:
                    async with open_on(pbx, wire.url) as web_socket:
                        await web_socket.send(COMMAND)
                        assert await web_socket.receive() == COMMAND
                else:
                    error = await failure(pbx, wire.url)
                    assert isinstance(error, ConnectError)
                    assert error.refused_certificate
                    assert wire.arrivals == []
                assert await sockets_left(wire.url) == 0

    @each_session
    async def test_proxy(
        self, session: str, trusting: tls.SSLContext, certified: tls.SSLContext
    ) -> None:
        """A web socket goes through the tunnel of the client's proxy, which gets its password."""
        async with WireServer(certified) as wire, ProxyServer() as proxy:
            wire.script = [accept(echo)]
            url = proxy.url.replace("//", f"//user:{PASSWORD}@")
            async with client(wire.url, session, ssl=trusting, proxy=url) as pbx:
                async with open_on(pbx, wire.url) as web_socket:
                    await web_socket.send("through")
                    assert await web_socket.receive() == "through"
                assert await sockets_left(proxy.url) == 0
                proxy.answers = [b"HTTP/1.1 407 Authenticate\r\nConnection: close\r\n\r\n"]
                error = await failure(pbx, wire.url)
        assert type(error) is ConnectError
        assert proxy.heads[0].startswith(b"CONNECT 127.0.0.1:")
        assert base64.b64encode(f"user:{PASSWORD}".encode()) in proxy.heads[0]

    @each_session
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (302, APIError),
            (401, AuthenticationError),
            (403, PermissionDenied),
            (404, NotFound),
            (429, RateLimited),
            (503, ServerError),
        ],
    )
    async def test_refusal(
        self, status: int, kind: type[APIError], session: str, wire: WireServer
    ) -> None:
        """An ordinary reply raises its status's error. It is not repeated, nor is one followed."""
        headers = {"X-Request-Id": "r7", "Retry-After": "9", "Location": f"{wire.url}/other"}
        wire.script = [reply({"err_code": "x", "msg": "no sockets"}, status, headers=headers)]
        async with client(
            wire.url, session, before_attempt=lambda _: {"X-Gateway-Key": PASSWORD}
        ) as pbx:
            error = await failure(pbx, wire.url)
            assert await sockets_left(wire.url) == 0
        assert type(error) is kind
        assert (error.status, error.message) == (status, "no sockets")
        assert (error.operation, error.attempts) == ("web_socket", 1)
        assert (error.request_id, error.retry_after) == ("r7", 9.0)
        assert len(wire.arrivals) == 1

    @each_session
    @pytest.mark.parametrize(
        "step",
        [
            pytest.param(reply({}), id="200"),
            pytest.param(accept(Upgrade="h2c"), id="other protocol"),
            pytest.param(accept(Connection="close"), id="no upgrade"),
            pytest.param(accept(Sec_WebSocket_Accept="AAAA"), id="wrong key"),
            pytest.param(then_deaf(b"SSH-2.0-OpenSSH_9.6\r\n"), id="no HTTP"),
            pytest.param(then_deaf(b"HTTP/1.1 101 Swi"), id="half a reply"),
            pytest.param(then_deaf(reply("", 404, headers={"Content-Length": "9"})), id="no body"),
            pytest.param(reply(b"x" * 2000, 503), id="too large"),
            pytest.param(silence, id="silence"),
            pytest.param(hang_up, id="end"),
            pytest.param(reset, id="reset"),
        ],
    )
    async def test_wrong_handshake(self, step: Any, session: str, wire: WireServer) -> None:
        """It raises a TransportError, and the connection is closed."""
        wire.script = [step]
        async with client(wire.url, session, timeout=0.2, max_reply_bytes=1000) as pbx:
            error = await failure(pbx, wire.url)
            assert isinstance(error, TransportError)
            assert not isinstance(error, ConnectError)
            assert await sockets_left(wire.url) == 0
        assert len(wire.arrivals) == 1

    @in_virtual_time
    async def test_late_handshake(self) -> None:
        """It is given up after the timeout's `total`."""
        async with virtual_server(silence) as url:
            for total in (7.0, 15.0):
                began = the_loop().time()
                async with PortSIPClient(
                    url, token=TOKEN, allow_http=True, timeout=Timeout(total=total)
                ) as pbx:
                    error = await failure(pbx, url)
                assert isinstance(error, RequestTimeout)
                assert f"within {total:g} s" in str(error)
                assert the_loop().time() - began == pytest.approx(total, abs=0.01)

    async def test_nothing_listens(self, unused_tcp_port: int) -> None:
        """It raises a ConnectError."""
        url = f"http://127.0.0.1:{unused_tcp_port}"
        async with client(url) as pbx:
            assert type(await failure(pbx, url)) is ConnectError

    async def test_other_event_loop(self, wire: WireServer) -> None:
        """A web socket belongs to the event loop of the client's first call."""
        wire.script = [accept(echo)]
        async with client(wire.url) as pbx:
            async with open_on(pbx, wire.url):
                pass
            error = await asyncio.to_thread(asyncio.run, failure(pbx, wire.url))
        assert isinstance(error, ConfigurationError)
        assert len(wire.arrivals) == 1

    @each_session
    async def test_closed_client(self, session: str, wire: WireServer) -> None:
        """A client that was closed opens none."""
        async with client(wire.url, session) as pbx:
            await pbx.close()
            assert isinstance(await failure(pbx, wire.url), ClientClosed)
        assert wire.connections == 0

    @each_session
    async def test_headers_of_before_attempt(self, session: str, wire: WireServer) -> None:
        """They are added to the handshake, except for those that make it one."""
        starts: list[AttemptStart] = []

        def add(start: AttemptStart) -> Mapping[str, str]:
            starts.append(start)
            return {"Traceparent": "00-1", "Upgrade": "h2c", "Sec-WebSocket-Protocol": "x"}

        wire.script = [accept(echo)]
        async with client(wire.url, session, before_attempt=add) as pbx, open_on(pbx, wire.url):
            pass
        assert starts == [AttemptStart("web_socket", 1)]
        headers = wire.arrivals[0].headers
        assert headers["traceparent"] == "00-1"
        assert headers["upgrade"] == "websocket"
        assert "sec-websocket-protocol" not in headers

    async def test_limits_of_calls_do_not_apply(self, wire: WireServer) -> None:
        """A call goes on while as many web sockets are open as calls may be in flight."""
        wire.script = [accept(echo), accept(echo), reply({"extension_number": "101"})]
        async with (
            client(wire.url, max_connections=1, requests_per_second=0.001) as pbx,
            open_on(pbx, wire.url),
            open_on(pbx, wire.url),
        ):
            await pbx.extensions.show("101")

    async def test_settings_of_the_given_session(self, wire: WireServer) -> None:
        """Its headers and cookies are sent; its middlewares, traces and timeout do not apply."""
        seen: list[str] = []
        options: dict[str, Any] = {}
        by_trace(seen, options)
        by_middleware(seen, options)
        async with aiohttp.ClientSession(
            headers={"X-Gateway": "7"},
            cookies={"place": "here"},
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=0.01),
            **options,
        ) as given:
            wire.script = [accept(echo, Set_Cookie="later=1")]
            async with PortSIPClient(wire.url, token=TOKEN, session=given) as pbx:
                for _ in range(2):
                    async with open_on(pbx, wire.url) as web_socket:
                        with pytest.raises(TimeoutError):
                            await asyncio.wait_for(web_socket.receive(), 0.05)
                        await web_socket.send(COMMAND)
                        assert await web_socket.receive() == COMMAND
            assert not given.closed
        assert seen == []
        first, second = wire.arrivals
        assert first.headers["x-gateway"] == "7"
        assert first.headers["cookie"] == "place=here"
        assert "later=1" in second.headers["cookie"]

    async def test_proxy_of_the_given_session(
        self, trusting: tls.SSLContext, certified: tls.SSLContext
    ) -> None:
        """A web socket goes through it, as calls do."""
        async with (
            WireServer(certified) as wire,
            ProxyServer() as proxy,
            aiohttp.ClientSession(proxy=proxy.url) as given,
            PortSIPClient(wire.url, token=TOKEN, session=given, ssl=trusting) as pbx,
        ):
            wire.script = [accept(echo)]
            async with open_on(pbx, wire.url):
                assert len(proxy.heads) == 1

    async def test_given_session_that_was_closed(self, wire: WireServer) -> None:
        """It raises ClientClosed."""
        async with aiohttp.ClientSession() as given:
            pbx = PortSIPClient(wire.url, token=TOKEN, session=given)
        assert isinstance(await failure(pbx, wire.url), ClientClosed)

    @pytest.mark.parametrize("how", [by_trace, by_middleware])
    async def test_tools_that_instrument_sessions(self, how: Any, wire: WireServer) -> None:
        """They see no web socket, as they see no call."""
        wire.script = [accept(echo)]
        with instrumented(how) as seen:
            async with client(wire.url) as pbx, open_on(pbx, wire.url) as web_socket:
                await web_socket.send(COMMAND)
                await web_socket.receive()
        assert seen == []


def ending(sent: bytes, *, with_reset: bool = False) -> Any:
    """Make a step that accepts, sends a message and more bytes, and ends the connection."""

    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(TEXT, b"first") + sent)
        await writer.drain()
        if with_reset:
            await asyncio.sleep(0.02)  # a reset discards what was not read yet
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    return accept(end)


class TestEnding:
    @each_session
    @pytest.mark.parametrize(
        ("step", "text"),
        [
            pytest.param(accept(frame(CLOSE, b"\x03\xf0" + PASSWORD.encode())), "1008", id="code"),
            pytest.param(accept(frame(CLOSE)), "closed the web socket", id="no code"),
            pytest.param(accept(frame(TEXT, b"x" * 2000)), "exceeds limit 1000", id="too large"),
            pytest.param(accept(b"\x81\x7f" + b"\x7f" * 8), "exceeds limit", id="huge"),
            pytest.param(accept(frame(TEXT, b"\xff")), "UTF-8", id="no UTF-8"),
            pytest.param(accept(b"\xf1\x00"), "reserved", id="reserved bits"),
            pytest.param(accept(b"HTTP/1.1 200 OK\r\n\r\n"), "", id="HTTP"),
            pytest.param(ending(b""), "lost", id="end"),
            pytest.param(ending(frame(TEXT, b"abc")[:-1]), "lost", id="half a message"),
            pytest.param(ending(b"", with_reset=True), "", id="reset"),
        ],
    )
    async def test_peer_ends_it(self, step: Any, text: str, session: str, wire: WireServer) -> None:
        """Messages from before are received; then all raises the same TransportError."""
        wire.script = [step]
        async with (
            client(wire.url, session, max_reply_bytes=1000) as pbx,
            open_on(pbx, wire.url) as web_socket,
        ):
            error = await broken(web_socket)
            assert isinstance(error, TransportError)
            assert text in str(error)
            assert PASSWORD not in str(error)
            assert await sockets_left(wire.url) == 0
            for call in (web_socket.receive, lambda: web_socket.send(COMMAND)):
                with pytest.raises(TransportError) as caught:
                    await call()
                assert str(caught.value) == str(error)
                assert caught.value is not error
                check(caught.value, PASSWORD)

    async def test_sending_after_the_peer_ended_it(self, wire: WireServer) -> None:
        """It raises an error without the text."""
        wire.script = [accept(lambda _, writer: yield_to_loop(1))]
        async with client(wire.url) as pbx, open_on(pbx, wire.url) as web_socket:
            await until(lambda: not wire.open)
            await yield_to_loop()
            with pytest.raises(TransportError) as caught:
                await endless(lambda: web_socket.send(COMMAND))
            check(caught.value, PASSWORD)

    @each_session
    async def test_peer_that_reads_nothing(
        self, session: str, wire: WireServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sending gives up, and so does whoever receives."""
        monkeypatch.setattr(module, "_SEND_WITHIN", 0.05)
        wire.script = [accept(lambda reader, writer: deaf(None, reader, writer))]
        async with (
            client(wire.url, session) as pbx,
            open_on(pbx, wire.url) as web_socket,
            in_background(broken(web_socket)) as [receiving],
        ):
            with pytest.raises(TransportError, match="read nothing") as caught:
                await sending(web_socket)
            check(caught.value, PASSWORD)
            assert "read nothing" in str(await receiving)
            assert await sockets_left(wire.url) == 0

    async def test_cancelled_receiving_loses_no_message(self, wire: WireServer) -> None:
        """A message that arrives later is received then."""
        wire.script = [accept(echo)]
        async with client(wire.url) as pbx, open_on(pbx, wire.url) as web_socket:
            for number in range(50):
                async with in_background(web_socket.receive()) as [receiving]:
                    await web_socket.send(str(number))
                    await yield_to_loop(number)
                    receiving.cancel()
                    await asyncio.wait([receiving])
                    if not receiving.cancelled():
                        assert await receiving == str(number)
                        continue
                assert await web_socket.receive() == str(number)

    @in_virtual_time
    async def test_peer_that_answers_no_ping(self) -> None:
        """The web socket ends 30 s after the last byte of the peer."""

        async def talk(_: object, writer: asyncio.StreamWriter) -> None:
            for _ in range(100):
                writer.write(frame(TEXT, b"hello"))
                await asyncio.sleep(15)
            await asyncio.Event().wait()

        async with (
            virtual_server(accept(talk)) as url,
            PortSIPClient(url, token=TOKEN, allow_http=True) as pbx,
            open_on(pbx, url) as web_socket,
        ):
            error = await broken(web_socket)
            assert "did not answer a ping" in str(error)
            assert the_loop().time() == pytest.approx(99 * 15 + 30, abs=2)
            assert type(error) is TransportError

    @in_virtual_time
    async def test_silent_peer_that_answers_pings(self) -> None:
        """The web socket stays open, whatever the timeouts of calls are."""

        async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pings = 0
            while True:
                opcode, payload = await read_frame(reader)
                assert opcode == PING
                pings += 1
                writer.write(frame(10, payload))
                if pings == DAY // 20:
                    writer.write(frame(TEXT, b"good morning"))

        async with (
            virtual_server(accept(pong)) as url,
            PortSIPClient(
                url, token=TOKEN, allow_http=True, timeout=Timeout(total=15, read=5)
            ) as pbx,
            open_on(pbx, url) as web_socket,
        ):
            assert await web_socket.receive() == "good morning"
            assert the_loop().time() >= DAY


@asynccontextmanager
async def virtual_server(step: Any) -> AsyncIterator[str]:
    """Start a server in the loop of virtual time, and yield its URL."""
    loop = the_loop()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError):
            await step(await arriving(reader), reader, writer)
        writer.close()

    def protocol() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(loop=loop)
        return asyncio.StreamReaderProtocol(reader, serve, loop=loop)

    listener = await loop.create_server(protocol, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].port}"
    listener.close()
    for task in tasks:
        task.cancel()


async def receiving(web_socket: WebSocket) -> None:
    await web_socket.receive()


async def flooded(web_socket: WebSocket) -> None:
    await endless(web_socket.receive)


async def sending(web_socket: WebSocket) -> None:
    await endless(lambda: web_socket.send(PASSWORD * 100_000))


async def both(web_socket: WebSocket) -> None:
    async with in_background(sending(web_socket)):
        await web_socket.receive()


async def idle(web_socket: WebSocket) -> None:
    await until(lambda: web_socket.error is not None)
    await web_socket.receive()


OPEN = accept(lambda reader, writer: deaf(None, reader, writer))


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send messages without a pause."""
    while True:
        writer.write(frame(TEXT, b"x" * 100) * 10)
        await writer.drain()
        await asyncio.sleep(0)  # `drain` may not wait


# The server's step, and what the client does with an open web socket.
PHASES: dict[str, tuple[Any, Any]] = {
    "connecting": (None, None),
    "handshake": (deaf, None),
    "refusal": (then_deaf(reply("", 404, headers={"Content-Length": "9"})), None),
    "receiving": (OPEN, receiving),
    "flooded": (accept(flood), flooded),
    "sending": (OPEN, sending),
    "both": (OPEN, both),
    "idle": (OPEN, idle),
}


class TestClosing:
    @each_session
    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("how", ["closed", "cancelled"])
    @pytest.mark.parametrize("phase", PHASES)
    async def test_ends_at_once(
        self,
        phase: str,
        how: str,
        secure: bool,
        session: str,
        trusting: tls.SSLContext,
        certified: tls.SSLContext,
    ) -> None:
        """Closing the client, or cancelling, leaves no socket and no timer, whatever the peer does.

        The peer neither reads nor closes its side.
        """
        step, use = PHASES[phase]
        async with (
            WireServer(certified if secure else None) as wire,
            ProxyServer(deaf_proxy) as proxy,
        ):
            wire.script = [step]
            options: dict[str, Any] = {"proxy": proxy.url} if step is None else {}
            url = proxy.url if step is None else wire.url

            async def run() -> None:
                async with open_on(pbx, wire.url) as web_socket:
                    await use(web_socket)

            async with client(wire.url, session, ssl=trusting, timeout=60, **options) as pbx:
                before = timers()
                async with in_background(run()) as [task]:
                    await until(lambda: wire.arrivals or proxy.heads)
                    if step is not None:
                        await until(lambda: use is None or not calls_of(pbx))
                    await asyncio.sleep(0.02)
                    assert sockets_to(url) == 1
                    began = time.monotonic()
                    if how == "closed":
                        await pbx.close()
                    else:
                        task.cancel()
                    kind = ClientClosed if how == "closed" else asyncio.CancelledError
                    with pytest.raises(kind) as caught:
                        await task
                    check(caught.value, PASSWORD)
                    await yield_to_loop()
                    assert time.monotonic() - began < 0.5
                    assert await sockets_left(url) == 0
                    assert timers() <= before
                    assert not calls_of(pbx)

    @each_session
    async def test_closing_is_cancelled(self, session: str, wire: WireServer) -> None:
        """Cancelling `close` closes all web sockets nevertheless."""
        wire.script = [OPEN]
        async with (
            client(wire.url, session) as pbx,
            in_background(*(idle_on(pbx, wire.url) for _ in range(3))) as tasks,
        ):
            await until(lambda: len(wire.arrivals) == 3 and not calls_of(pbx))
            async with in_background(pbx.close()) as [closing]:
                await yield_to_loop(1)
                closing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await closing
            assert await sockets_left(wire.url) == 0
            for task in tasks:
                with pytest.raises(ClientClosed):
                    await task

    async def test_closing_frame_that_would_wait(self, wire: WireServer) -> None:
        """It is not sent if the peer would have to read first."""
        wire.script = [OPEN]
        async with client(wire.url) as pbx, asyncio.timeout(5):
            async with open_on(pbx, wire.url) as web_socket:
                async with in_background(sending(web_socket)):
                    await asyncio.sleep(0.02)
                # With the closing frame there are just enough bytes to make aiohttp wait.
                await web_socket.send("x" * (DEFAULT_CHUNK_SIZE - 16))
            assert await sockets_left(wire.url) == 0

    @each_session
    async def test_closing_frame(self, session: str, wire: WireServer) -> None:
        """Leaving the block and closing the client send the closing frame."""
        frames: list[tuple[int, bytes]] = []

        async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while True:
                frames.append(await read_frame(reader))

        wire.script = [accept(note)]
        async with client(wire.url, session) as pbx:
            async with open_on(pbx, wire.url):
                pass
            async with in_background(idle_on(pbx, wire.url)) as [task]:
                await until(lambda: len(wire.arrivals) == 2 and not calls_of(pbx))
                await pbx.close()
                with pytest.raises(ClientClosed):
                    await task
            await until(lambda: not wire.open)
        assert frames == [(CLOSE, b"\x03\xe8")] * 2


async def deaf_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await deaf(None, reader, writer)


async def idle_on(pbx: PortSIPClient, url: str) -> None:
    async with open_on(pbx, url) as web_socket:
        await idle(web_socket)
