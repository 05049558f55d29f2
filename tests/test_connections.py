"""Which connections are used again, and that all are closed, in own and given sessions."""

import asyncio
import gzip
import os
import socket
import ssl as tls
import stat
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from portsip_async import (
    APIError,
    ClientClosed,
    ConnectError,
    NewExtension,
    PortSIPClient,
    PortSIPError,
    ReplyError,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    TransportError,
)

from .concurrency import in_background, until, yield_to_loop
from .proxy_server import Answer, ProxyServer
from .wire_server import TOKEN, Arrival, WireServer, reply

KEEP = {"Connection": "keep-alive"}
ONCE = RetryPolicy(attempts=1)
NO_PAUSE = RetryPolicy(initial=0, maximum=0)
OTHER = reply({"extension_number": "666"}, headers=KEEP)
STALE_408 = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
SESSIONS = ("own", "given")
each_session = pytest.mark.parametrize("session", SESSIONS)


def number_of(arrival: Arrival) -> str:
    return parse_qs(arrival.query).get("extension_number", ["created"])[0]


def shown(arrival: Arrival) -> bytes:
    return reply({"extension_number": number_of(arrival)}, headers=KEEP)


async def echo(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
    """Reply with the number that was requested."""
    writer.write(shown(arrival))
    return True


def followed_by(more: bytes) -> Any:
    """Reply, and send more bytes in the same write."""

    async def step(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
        writer.write(shown(arrival) + more)
        return True

    return step


@asynccontextmanager
async def client(
    url: str, session: str = "own", *, connector: Any = None, **options: Any
) -> AsyncIterator[PortSIPClient]:
    """Make a client that attempts each call once, with its own session or the given one."""
    options = {"token": TOKEN, "retry": ONCE, **options}
    if session == "own":
        async with PortSIPClient(url, **options) as pbx:
            yield pbx
        return
    async with (
        aiohttp.ClientSession(connector=connector) as given,
        PortSIPClient(url, session=given, **options) as pbx,
    ):
        yield pbx


async def show(pbx: PortSIPClient) -> None:
    assert (await pbx.extensions.show("102")).extension_number == "102"


async def create(pbx: PortSIPClient) -> None:
    await pbx.extensions.create(
        NewExtension(extension_number="9001", password="p4ssw0rd", web_access_password="p4ssw0rd")
    )


async def upload(pbx: PortSIPClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"RIFF" * 1000

    await pbx.greetings.upload("101", pieces(), filename="a.wav")


CALLS = {"show": show, "create": create, "upload": upload}
each_call = pytest.mark.parametrize("call", CALLS)


def in_chunks(body: bytes, head: bytes = b"", trailer: bytes = b"") -> bytes:
    """Make a step that writes a reply in two chunks."""
    lines = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + head
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:]))
    return lines + b"\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


def packed(body: bytes, encoding: str) -> bytes:
    """Make a step that writes a reply with a compressed body and its length."""
    return reply(body, headers={"Content-Encoding": encoding, **KEEP})


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda body: reply(body, headers=KEEP),
    "chunks": in_chunks,
    "trailer": lambda body: in_chunks(body, trailer=b"X-Sum: 1\r\n"),
    "gzip": lambda body: packed(gzip.compress(body), "gzip"),
    "deflate": lambda body: packed(zlib.compress(body), "deflate"),
    "gzip in chunks": lambda body: in_chunks(gzip.compress(body), b"Content-Encoding: gzip\r\n"),
    "identity": lambda body: packed(body, "identity"),
    "after 100": lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + reply(body, headers=KEEP),
    "old": lambda body: reply(body, headers=KEEP).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


class TestLeftovers:
    """Bytes left over from one exchange never become part of the next one."""

    @each_session
    @each_call
    @pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
    @pytest.mark.parametrize(
        "left",
        [
            OTHER,
            OTHER + OTHER,
            OTHER[:30],
            OTHER[:-5],
            b"H",
            b"\r\n",
            STALE_408,
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"rubbish",
        ],
        ids=["reply", "replies", "half", "most", "byte", "blank", "408", "100", "rubbish"],
    )
    async def test_bytes_between_calls(
        self, left: bytes, read: bool, call: str, session: str, wire: WireServer
    ) -> None:
        """An idle connection with unread bytes is not used, whether or not the loop saw them."""
        wire.script = [echo]
        async with client(wire.url, session) as pbx:
            await pbx.extensions.show("101")
            wire.say(left)
            if read:
                await yield_to_loop(50)
            await CALLS[call](pbx)
            assert wire.connections == 2
            assert len(wire.arrivals) == 2
            await show(pbx)
            assert wire.connections == 2

    @each_session
    @each_call
    @pytest.mark.parametrize(
        "left", [OTHER, OTHER[:30], OTHER[:-5], b"H", b"HTTP/1.1 1"], ids=range(5)
    )
    async def test_bytes_after_the_reply(
        self, left: bytes, call: str, session: str, wire: WireServer
    ) -> None:
        """A connection is not used again if more bytes arrived together with the reply."""
        wire.script = [followed_by(left), echo]
        async with client(wire.url, session) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
            await CALLS[call](pbx)
            assert wire.connections == 2

    @each_session
    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("left", [b"", b"H", OTHER[:30]], ids=["none", "byte", "half"])
    async def test_bytes_after_the_reply_with_each_framing(
        self, left: bytes, framing: str, session: str, wire: WireServer
    ) -> None:
        """This holds for each framing of a reply. Without more bytes, the connection is kept."""
        body = b'{"extension_number": "101", "display_name": "%b"}' % (b"y" * 40)
        wire.script = [FRAMINGS[framing](body) + left, echo]
        async with client(wire.url, session) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
            await create(pbx)
            assert wire.connections == (2 if left else 1)

    @each_session
    async def test_bytes_after_the_end_of_a_long_reply(
        self, session: str, wire: WireServer
    ) -> None:
        """This also holds if the reply arrived in pieces."""
        body = b'{"extension_number": "101", "x": "%s"}' % (b"y" * 300_000)

        async def long(_: Arrival, __: object, writer: asyncio.StreamWriter) -> bool:
            whole = reply(body, headers=KEEP)
            writer.write(whole[:1000])
            await yield_to_loop(50)
            writer.write(whole[1000:] + OTHER[:20])
            return True

        wire.script = [long, echo]
        async with client(wire.url, session) as pbx:
            assert (await pbx.extensions.show("101")).extension_number == "101"
            await show(pbx)
            assert wire.connections == 2

    @each_session
    @each_call
    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    async def test_close_that_the_loop_has_not_seen(
        self,
        secure: bool,
        call: str,
        session: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """The client detects that the PBX closed a connection while the loop was busy."""
        async with WireServer(certified if secure else None) as wire:
            wire.script = [echo]
            async with client(wire.url, session, ssl=trusting) as pbx:
                await pbx.extensions.show("101")
                wire.end()  # and the loop gets no chance to read it
                await CALLS[call](pbx)
                assert len(wire.arrivals) == 2

    @each_session
    async def test_all_connections_of_a_pool_closed(self, session: str, wire: WireServer) -> None:
        """One call skips all connections that the PBX closed, however many there are."""
        wire.script = [echo]
        async with client(wire.url, session) as pbx:
            await asyncio.gather(*(show(pbx) for _ in range(20)))
            made = wire.connections
            assert made > 5
            wire.end()
            await create(pbx)
            assert wire.connections == made + 1

    @each_session
    @pytest.mark.parametrize("prefetch", [0, 1, 3])
    async def test_reply_sent_twice_on_a_walk(
        self, prefetch: int, session: str, wire: WireServer
    ) -> None:
        """If a PBX sends each page twice, the second time later, each is read once."""

        def page_of(number: int) -> bytes:
            rows = [{"extension_number": str(100 * number + row)} for row in range(3)]
            return reply({"extensions": rows, "page_count": 6, "pagination": number}, headers=KEEP)

        async def step(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
            writer.write(page_of(int(parse_qs(arrival.query)["pagination"][0])))
            return True

        def asked_for(pages: int) -> bool:
            return len(wire.arrivals) >= pages

        wire.script = [step]
        found = []
        async with client(wire.url, session) as pbx:
            async for page in pbx.extensions.list(page_size=3, prefetch=prefetch).pages():
                found += [row.extension_number for row in page.items]
                number = page.pagination or 0
                await until(partial(asked_for, min(number + prefetch, 6)))
                await yield_to_loop()  # reads the last reply; no page is in flight
                wire.say(page_of(number))
        assert found == [str(100 * page + row) for page in range(1, 7) for row in range(3)]

    async def test_session_that_the_application_uses_too(self, wire: WireServer) -> None:
        """Requests of the application leave the connection usable."""
        wire.script = [echo]
        async with aiohttp.ClientSession() as given:
            async with PortSIPClient(wire.url, token=TOKEN, session=given, retry=ONCE) as pbx:
                await show(pbx)
                for _ in range(3):
                    async with given.get(wire.url + "/x?extension_number=7") as response:
                        assert await response.json() == {"extension_number": "7"}
                await show(pbx)
            assert len(wire.arrivals) == 5

    @each_call
    async def test_pool_that_only_the_application_used(self, call: str, wire: WireServer) -> None:
        """Connections that the application opened are checked like those of calls."""
        wire.script = [echo]
        async with aiohttp.ClientSession() as given:

            async def get() -> None:
                async with given.get(wire.url + "/x") as response:
                    await response.read()

            await asyncio.gather(*(get() for _ in range(8)))
            made = wire.connections
            assert made > 5
            wire.end()
            async with PortSIPClient(wire.url, token=TOKEN, session=given, retry=ONCE) as pbx:
                await CALLS[call](pbx)
            assert wire.connections == made + 1

    @each_session
    @each_call
    async def test_peer_that_sends_first(
        self, call: str, session: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is sent on a new connection if the peer writes first."""
        met = 0

        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal met
            met += 1
            writer.write(OTHER)
            with suppress(OSError):
                await reader.read()
            writer.close()

        connect = aiohttp.TCPConnector.connect

        async def slowly(*args: Any, **options: Any) -> Any:
            connection = await connect(*args, **options)
            await yield_to_loop(50)
            return connection

        monkeypatch.setattr(aiohttp.TCPConnector, "connect", slowly)
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with client(f"http://127.0.0.1:{port}", session, retry=NO_PAUSE) as pbx:
                with pytest.raises(ConnectError) as caught:
                    await CALLS[call](pbx)
        assert not caught.value.may_have_acted
        # The pieces of an upload can be read only once, but none was.
        assert caught.value.attempts == met == 4


UNREADABLE = {
    "no JSON": reply("<html>", headers=KEEP),
    "no object": reply("[1]", headers=KEEP),
    "empty": reply("", headers=KEEP),
    "too large": reply({"extension_number": "1" * 2000}, headers=KEEP),
    "too large, in chunks": reply(
        b"7d0\r\n%b\r\n0\r\n\r\n" % (b" " * 2000), headers={"Transfer-Encoding": "chunked", **KEEP}
    ),
    "bomb": reply(gzip.compress(b" " * 100_000), headers={"Content-Encoding": "gzip", **KEEP}),
    "no gzip": reply("no gzip at all", headers={"Content-Encoding": "gzip", **KEEP}),
    "gzip cut short": reply(
        gzip.compress(b"{}" * 99)[:20], headers={"Content-Encoding": "gzip", **KEEP}
    ),
    "longer than it says": reply(b"{}  ", headers={"Content-Length": "2", **KEEP}),
    "rubbish for chunks": reply(b"zz\r\n{}", headers={"Transfer-Encoding": "chunked", **KEEP}),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "long head": b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 2\r\n\r\n{}" % (b"a" * 70_000),
}


class TestUnreadable:
    @each_session
    @pytest.mark.parametrize("what", UNREADABLE)
    async def test_connection_is_not_used_again(
        self, what: str, session: str, wire: WireServer
    ) -> None:
        """More bytes may follow an unreadable reply, so its connection is not used again."""
        wire.script = [UNREADABLE[what], echo]
        async with client(wire.url, session, max_reply_bytes=1000) as pbx:
            with pytest.raises(ReplyError):
                await pbx.extensions.show("101")
            if session == "own":
                await until(lambda: not wire.open)
            await create(pbx)
            assert wire.connections == 2

    @each_session
    async def test_connection_is_kept_after_an_error_reply(
        self, session: str, wire: WireServer
    ) -> None:
        """A reply with an error of the PBX is readable, so the connection is used again."""
        wire.script = [reply({"err_code": 404.1}, 404, KEEP), echo]
        async with client(wire.url, session) as pbx:
            with pytest.raises(APIError):
                await pbx.extensions.show("101")
            await show(pbx)
            assert wire.connections == 1


class TestSilentPool:
    @each_session
    async def test_one_timeout_discards_the_idle_connections(
        self, session: str, wire: WireServer
    ) -> None:
        """If a firewall dropped all connections, only one attempt of one call uses a dead one."""
        dead: set[asyncio.StreamWriter] = set()

        async def step(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
            if writer in dead:
                await asyncio.Event().wait()
            writer.write(shown(arrival))
            return True

        wire.script = [step]
        async with client(wire.url, session, retry=NO_PAUSE) as pbx:
            await asyncio.gather(*(show(pbx) for _ in range(8)))
            assert wire.connections == 8
            dead |= wire.writers
            arrivals = len(wire.arrivals)
            await show(pbx.with_options(timeout=1.0))
            assert len(wire.arrivals) == arrivals + 2
            once = pbx.with_options(retry=ONCE)
            await asyncio.gather(*(create(once) for _ in range(8)))
            assert len(wire.arrivals) == arrivals + 10

    async def test_pool_that_only_the_application_used(self, wire: WireServer) -> None:
        """Retries use no dead connection of a given session either."""
        dead: set[asyncio.StreamWriter] = set()

        async def step(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
            if writer in dead:
                await asyncio.Event().wait()
            writer.write(shown(arrival))
            return True

        wire.script = [step]
        async with aiohttp.ClientSession() as given:

            async def get() -> None:
                async with given.get(wire.url + "/x") as response:
                    await response.read()

            await asyncio.gather(*(get() for _ in range(8)))
            dead |= wire.writers
            arrivals = len(wire.arrivals)
            async with PortSIPClient(
                wire.url, token=TOKEN, session=given, timeout=1.0, retry=NO_PAUSE
            ) as pbx:
                await show(pbx)
        assert len(wire.arrivals) == arrivals + 2

    @each_session
    async def test_connections_in_use_are_kept(self, session: str, wire: WireServer) -> None:
        """A connection that has received bytes since the timeout is used again."""
        held = asyncio.Event()

        async def step(arrival: Arrival, _: object, writer: asyncio.StreamWriter) -> bool:
            if number_of(arrival) == "7":
                await asyncio.Event().wait()
            if number_of(arrival) == "8":
                await held.wait()
            writer.write(shown(arrival))
            return True

        wire.script = [step]
        async with client(wire.url, session) as pbx:
            async with in_background(pbx.extensions.show("8")) as (waiting,):
                await until(lambda: wire.arrivals)
                with pytest.raises(RequestTimeout):
                    await pbx.with_options(timeout=0.05).extensions.show("7")
                held.set()
                await waiting
            await show(pbx)
            assert wire.connections == 2


async def deaf(_: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send nothing and read nothing, not even the end of the stream."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


def then_deaf(sent: bytes) -> Any:
    async def step(
        arrival: Arrival, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(sent)
        await deaf(arrival, reader, writer)

    return step


def sockets_to(url: str) -> int:
    """Count this process's sockets that are connected to a server, on the client's side."""
    port, count = int(url.rpartition(":")[2]), 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                with socket.socket(fileno=os.dup(int(name))) as found:
                    if found.family == socket.AF_INET:
                        count += found.getpeername()[1] == port
    return count


GIVEN_UP = {
    "silence": (deaf, RequestTimeout),
    "half a head": (then_deaf(OTHER[:20]), RequestTimeout),
    "half a body": (then_deaf(OTHER[:-5]), RequestTimeout),
    "too large": (then_deaf(reply("", headers={"Content-Length": "99999", **KEEP})), ReplyError),
    "no JSON": (then_deaf(reply("<html>", headers=KEEP)), ReplyError),
    "no HTTP": (then_deaf(b"SSH-2.0-OpenSSH_9.6\r\n"), ReplyError),
    "the last reply": (then_deaf(reply({}, 404)), APIError),
}


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="counts sockets in /dev/fd")
class TestNoSocketIsLeftOpen:
    @each_session
    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("how", GIVEN_UP)
    async def test_timeout_closes_the_connection(
        self,
        how: str,
        secure: bool,
        session: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """The connection is closed at once, whether or not the peer takes part."""
        step, error = GIVEN_UP[how]
        timeout = Timeout(total=0.2) if error is RequestTimeout else Timeout()
        async with WireServer(certified if secure else None) as wire:
            wire.script = [step]
            async with client(
                wire.url, session, ssl=trusting, timeout=timeout, max_reply_bytes=9999
            ) as pbx:
                for _ in range(3):
                    with pytest.raises(error):
                        await pbx.extensions.show("101")
                if how == "no JSON" and session == "given":
                    return  # it stays in the application's pool for a while
                await yield_to_loop()
                assert sockets_to(wire.url) == 0

    @each_session
    @pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
    @pytest.mark.parametrize("call", CALLS)
    async def test_cancellation_closes_the_connection(
        self,
        call: str,
        secure: bool,
        session: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """A cancelled call closes its connection as well."""
        async with WireServer(certified if secure else None) as wire:
            wire.script = [deaf]
            async with client(wire.url, session, ssl=trusting) as pbx:
                async with in_background(CALLS[call](pbx)):
                    await until(lambda: wire.arrivals)
                await yield_to_loop()
                assert sockets_to(wire.url) == 0

    @pytest.mark.parametrize("proxied", ["direct", "http proxy", "https proxy"])
    @pytest.mark.parametrize("when", ["handshake", "request", "idle", "closing"])
    @pytest.mark.parametrize("how", ["close", "cancelled close", "with a view"])
    async def test_close_leaves_no_socket(
        self,
        how: str,
        when: str,
        proxied: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """After `close` no socket is open, whatever was in progress, even if the peer is silent."""
        async with (
            WireServer(None if when == "handshake" else certified) as wire,
            ProxyServer(ssl=certified if proxied == "https proxy" else None) as proxy,
        ):
            if when == "handshake":
                wire.script = [deaf]
            elif when == "idle":
                wire.script = [echo]
            else:
                wire.script = [then_deaf(OTHER.replace(b"keep-alive", b"close"))]
                if when == "request":
                    wire.script = [deaf]
            pbx = PortSIPClient(
                wire.url.replace("http:", "https:"),
                token=TOKEN,
                ssl=trusting,
                retry=ONCE,
                proxy=None if proxied == "direct" else proxy.url,
            )
            target = wire.url if proxied == "direct" else proxy.url
            caller = pbx.with_options(timeout=14) if how == "with a view" else pbx
            async with in_background(caller.extensions.show("101")) as (call,):
                if when == "handshake":
                    await until(lambda: wire.connections)
                elif when == "request":
                    await until(lambda: wire.arrivals)
                else:
                    await call
                    for writer in wire.writers:
                        writer.transport.pause_reading()  # type: ignore[attr-defined]
                if how == "cancelled close":
                    async with in_background(pbx.close()):
                        await asyncio.sleep(0)
                    await yield_to_loop(30)
                else:
                    await pbx.close()
                assert sockets_to(target) == 0
                if when in {"handshake", "request"}:
                    with pytest.raises(ClientClosed):
                        await call

    async def test_timeout_at_connect_closes_the_connection(
        self, certified: tls.SSLContext, trusting: tls.SSLContext
    ) -> None:
        """If a call gives up while a tunnel is set up, the connection to the proxy is closed."""

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()

        async with (
            ProxyServer(hold, ssl=certified) as proxy,
            client(
                "https://pbx.example:8900",
                ssl=trusting,
                proxy=proxy.url,
                timeout=Timeout(connect=0.2),
            ) as pbx,
        ):
            for _ in range(3):
                with pytest.raises(ConnectError):
                    await pbx.extensions.show("101")
            await yield_to_loop()
            assert sockets_to(proxy.url) == 0


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


FAILING_PROXIES: dict[str, Answer] = {
    "hangs up": hang_up,
    "resets": reset,
    "says nothing": say_nothing,
    "cut head": b"HTTP/1.1 200 Conn",
    "cut line": b"HTTP/1.1 200 Connection established\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "rubbish": b"\x16\x03\x01\x02\x00\r\n\r\n",
    "no status": b"HTTP/1.1 fine\r\n\r\n",
    "long head": b"HTTP/1.1 200 OK\r\nX-Long: %b\r\n\r\n" % (b"a" * 70_000),
    "no more after 200": b"HTTP/1.1 200 OK\r\n\r\n",
    "no TLS after 200": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
    **{
        str(status): b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno" % status
        for status in (204, 302, 400, 403, 404, 407, 408, 429, 500, 502, 503, 504)
    },
}


class TestFailingProxy:
    """If a proxy fails before the tunnel is set up, nothing was sent."""

    @each_session
    @each_call
    @pytest.mark.parametrize("how", FAILING_PROXIES)
    async def test_failure_at_connect(self, how: str, call: str, session: str) -> None:
        async with (
            ProxyServer(FAILING_PROXIES[how]) as proxy,
            client(
                "https://pbx.example:8900",
                session,
                proxy=proxy.url.replace("//", "//user:hid%2Fden@"),
                timeout=Timeout(connect=0.2),
                retry=NO_PAUSE,
            ) as pbx,
        ):
            with pytest.raises(ConnectError) as caught:
                await CALLS[call](pbx)
        error = caught.value
        assert not error.may_have_acted
        assert not error.refused_certificate
        assert error.attempts == 4
        assert [head.split()[0] for head in proxy.heads] == [b"CONNECT"] * 4
        shown = repr((error, str(error), error.__cause__, str(error.__cause__)))
        for secret in (TOKEN, "hid/den", "hid%2Fden", "p4ssw0rd"):
            assert secret not in shown

    @each_session
    @each_call
    @pytest.mark.parametrize("how", ["hangs up", "resets", "no HTTP", "502", "407"])
    async def test_create_is_retried_until_the_tunnel_works(
        self,
        how: str,
        call: str,
        session: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """The create arrives once."""
        async with (
            WireServer(certified) as wire,
            ProxyServer(FAILING_PROXIES[how], FAILING_PROXIES[how], None) as proxy,
        ):
            wire.script = [echo]
            async with client(
                wire.url, session, proxy=proxy.url, ssl=trusting, retry=NO_PAUSE
            ) as pbx:
                await CALLS[call](pbx)
                await show(pbx)
        assert len(proxy.heads) == 3
        assert len(wire.arrivals) == 2

    @each_session
    @each_call
    async def test_certificate_behind_the_tunnel(
        self, call: str, session: str, certified: tls.SSLContext
    ) -> None:
        """A bad certificate behind a tunnel is refused, too, after one attempt."""
        async with (
            WireServer(certified) as wire,
            ProxyServer() as proxy,
            client(wire.url, session, proxy=proxy.url, retry=NO_PAUSE) as pbx,
        ):
            with pytest.raises(ConnectError) as caught:
                await CALLS[call](pbx)
        assert caught.value.refused_certificate
        assert caught.value.attempts == len(proxy.heads) == 1

    @each_session
    @each_call
    async def test_lost_reply_behind_the_tunnel(
        self,
        call: str,
        session: str,
        certified: tls.SSLContext,
        trusting: tls.SSLContext,
    ) -> None:
        """A write that is lost inside the tunnel is in doubt, as without a proxy."""

        async def drop(_: Arrival, __: object, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with WireServer(certified) as wire, ProxyServer() as proxy:
            wire.script = [drop]
            async with client(wire.url, session, proxy=proxy.url, ssl=trusting) as pbx:
                with pytest.raises(PortSIPError) as caught:
                    await CALLS[call](pbx)
        assert type(caught.value) is TransportError
        assert caught.value.may_have_acted is (call != "show")
        assert len(wire.arrivals) == 1

    @each_session
    async def test_error_of_a_proxy_without_a_tunnel(self, session: str) -> None:
        """Over plain HTTP the proxy's reply counts as the PBX's reply."""
        async with (
            ProxyServer(FAILING_PROXIES["502"]) as proxy,
            client("http://pbx.example:8899", session, proxy=proxy.url, allow_http=True) as pbx,
        ):
            with pytest.raises(APIError) as caught:
                await create(pbx)
        assert caught.value.status == 502
        assert caught.value.may_have_acted
