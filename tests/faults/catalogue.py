"""The faults: what is done to the wire or to a reply, and which kind of fault that is."""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, NamedTuple

from ..operations import TEXT
from ..proxy_server import Answer
from ..wire_server import hang_up, reply, reset
from .server import KEEP, Exchange, Strike

EPOCH = 1_790_000_000.0  # the time of day at which every cell begins
DEADLINE = 12.0  # seconds; of a call
TOTAL = 5.0  # seconds; of an attempt
SILENCE = 2.0  # seconds; between bytes, and to connect
LIMIT = 2**20  # bytes of a reply

# Where a text stands in every reply that is due, for faults to put something else in its place.


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes:
        name: as the page tells it.
        kind: its row in the rules.
        strike: what the server does.
        stage: where it strikes: "nobody", "name", "proxy", "tls", "connection", "request" or
            "reply".
        acts: whether the server carries the operation out before it strikes.
        times: how often it strikes; None: always.
        over_tls: whether the client asks for TLS.
        heavy: whether one reply at a time is enough for the machine.
        connect: what the proxy does at CONNECT, where that is the stage.
        waits: seconds that the call takes at least and at most, where its attempts are repeated.
    """

    name: str
    kind: str
    strike: Strike
    stage: str = "reply"
    acts: bool = False
    times: int | None = None
    over_tls: bool = False
    heavy: bool = False
    connect: Answer | None = None
    waits: tuple[float, float] = (0.0, 0.5)


async def _nothing(_: Exchange) -> None:
    """Strike where nobody is there to do it."""


async def _reset(exchange: Exchange) -> None:
    await reset(_ANY, exchange.reader, exchange.writer)


async def _hang_up(exchange: Exchange) -> None:
    await hang_up(_ANY, exchange.reader, exchange.writer)


async def _half_close(exchange: Exchange) -> None:
    exchange.writer.write_eof()
    await exchange.until_hung_up()


async def _silence(exchange: Exchange) -> None:
    await exchange.until_hung_up()


_ANY: Any = None


def _raw(*pieces: bytes, every: float = 0.0, stays: bool = False) -> Strike:
    """Write bytes as they are, so many seconds apart; then hang up, or say no more."""

    async def strike(exchange: Exchange) -> None:
        for number, piece in enumerate(pieces):
            if number and every and await exchange.hung_up_within(every):
                return
            await exchange.write(piece)
        if stays:
            await exchange.until_hung_up()
        else:
            exchange.writer.close()

    return strike


def _told(
    status: int,
    err_code: object = None,
    headers: dict[str, str] | None = None,
    *,
    after: float | None = None,
) -> Strike:
    """Answer with an error that repeats every secret of the request.

    Args:
        status: the HTTP status.
        err_code: the PBX's own code.
        headers: further headers.
        after: seconds until the date that a Retry-After names.
    """

    async def strike(exchange: Exchange) -> bool:
        body = {"msg": " ".join(["No:", *exchange.secrets])}
        if err_code is not None:
            body |= {"err_code": err_code}  # type: ignore[dict-item]  # in whatever form it comes
        sent = {**KEEP, **(headers or {})}
        if after is not None:
            now = EPOCH + asyncio.get_running_loop().time()
            sent["Retry-After"] = formatdate(now + after, usegmt=True)
        await exchange.write(reply(json.dumps(body), status, sent))
        return True

    return strike


def _page(status: int) -> Strike:
    """Answer as a proxy does."""

    async def strike(exchange: Exchange) -> bool:
        page = f"<html><h1>{status}</h1><p>{' '.join(exchange.secrets)}</p></html>"
        await exchange.write(reply(page, status, {**KEEP, "Content-Type": "text/html"}))
        return True

    return strike


async def _redirect(exchange: Exchange) -> bool:
    assert exchange.arrival is not None
    target = f"{exchange.server.elsewhere}{exchange.arrival.path}?{exchange.arrival.query}"
    await exchange.write(reply("", 307, {**KEEP, "Location": target}))
    return True


def _spoilt(spoil: Callable[[bytes], bytes]) -> Strike:
    """Answer with the body that is due, or where none is with any, after it was spoilt."""

    async def strike(exchange: Exchange) -> bool:
        good = exchange.good or json.dumps({"note": TEXT, "count": 1}).encode()
        await exchange.write(reply(spoil(good), headers=KEEP))
        return True

    return strike


async def _followed(exchange: Exchange) -> bool:
    """Answer well, and say more than was asked: it must not pass for the next call's reply."""
    more = exchange.good.replace(b'"1', b'"6').replace(b"given", b"stolen")
    await exchange.write(reply(exchange.good, headers=KEEP) + reply(more, headers=KEEP))
    return True


def _behind(more: Callable[[bytes], bytes] | None, *, later: bool = True) -> Strike:
    """Answer well, and then say more, in one breath or later; None: hang up instead."""

    async def strike(exchange: Exchange) -> bool:
        good = reply(exchange.good, headers=KEEP)
        if more is None or later:
            await exchange.write(good)
            await asyncio.sleep(_MOMENT)
        if more is not None:
            await exchange.write(more(good) if later else good + more(good))
        return more is not None

    return strike


def _half(good: bytes) -> bytes:
    return good[:30]


async def _no_connect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reset(_ANY, reader, writer)


async def _silent_connect(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def _at_connect(name: str, connect: Answer, *, waits: tuple[float, float] = (0.0, 0.5)) -> "Fault":
    return Fault(
        name, "unconnected", _nothing, "proxy", over_tls=True, connect=connect, waits=waits
    )


def _in_place_of_text(value: bytes) -> Strike:
    marked = json.dumps(TEXT).encode()
    return _spoilt(
        lambda good: good.replace(marked, value).replace(b'"count": 1', b'"count": ' + value)
    )


def _twice(good: bytes) -> bytes:
    """Give each key two values, of which the last is the right one."""
    nulls = json.dumps(dict.fromkeys(json.loads(good))).encode()
    return nulls[:-1] + b", " + good[1:]


def _streamed(headers: bytes, pieces: Callable[[], Iterator[bytes]]) -> Strike:
    """Answer with far more than anyone should read, for as long as the client takes it."""

    async def strike(exchange: Exchange) -> None:
        await exchange.write(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n")
        for piece in pieces():
            await exchange.write(piece)
        await exchange.until_hung_up()

    return strike


_PIECE = b" " * 65_536
_PIECES = 200 * 2**20 // len(_PIECE)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _bomb() -> Iterator[bytes]:
    """200 MB of blanks in 200 kB: one packed block, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    yield start + block
    for _ in range(199):
        yield block


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_GZIP = _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 14\r\n\r\n"
_DRIPS = 8  # a second apart: never silent for long, never done in time
_STALLED = (SILENCE, 3 * SILENCE + 0.5)
_TIMED = (TOTAL, DEADLINE)
_ASKED = 2.0
_WAITED = (2 * _ASKED, 2 * _ASKED + 0.5)
_WAITED_ABOUT = (2 * _ASKED - 0.5, 2 * _ASKED + 2)
_DEEP = 100_000
_MOMENT = 0.0005  # seconds; the call has ended by then, and the next has not begun


def _drip(head: bytes, drip: bytes, tail: bytes) -> Strike:
    return _raw(head, *[drip] * _DRIPS, tail, every=1.0)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "No connection": (
        Fault("connection refused", "unconnected", _nothing, "nobody"),
        Fault("host name unknown", "unconnected", _nothing, "name"),
        Fault("certificate of a stranger", "distrusted", _nothing, "tls", over_tls=True),
        Fault(
            "no TLS where it is asked for",
            "unconnected",
            _raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "connection",
            over_tls=True,
        ),
        Fault("reset within the TLS handshake", "unconnected", _reset, "connection", over_tls=True),
        Fault(
            "hung up within the TLS handshake", "unconnected", _hang_up, "connection", over_tls=True
        ),
        Fault(
            "silence within the TLS handshake",
            "unconnected",
            _silence,
            "connection",
            over_tls=True,
            waits=_STALLED,
        ),
        _at_connect("proxy hangs up at CONNECT", _no_connect),
        _at_connect("proxy resets at CONNECT", _reset_connect),
        _at_connect("proxy says nothing at CONNECT", _silent_connect, waits=_STALLED),
        _at_connect("proxy answers CONNECT by half", b"HTTP/1.1 200 Connection"),
        _at_connect("proxy answers CONNECT with rubbish", b"SSH-2.0-OpenSSH_9.6\r\n"),
        _at_connect("407 at CONNECT", reply("", 407)),
        _at_connect("502 at CONNECT", reply("", 502)),
        _at_connect("proxy hangs up within the tunnel", reply("", 200, content_length=False)),
    ),
    "The connection breaks": (
        Fault("reset before the request", "lost", _reset, "connection"),
        Fault("reset within the request", "lost", _reset, "request"),
        Fault("reset after the request", "lost", _reset, acts=True),
        Fault("hung up after the request", "lost", _hang_up, acts=True),
        Fault("half-closed after the request", "lost", _half_close, acts=True),
        Fault("reply cut within its head", "lost", _raw(_HEAD[:-9]), acts=True),
        Fault(
            "reply shorter than its Content-Length",
            "lost",
            _raw(_HEAD + b'Content-Length: 900\r\n\r\n{"extension_number": "101"}'),
            acts=True,
        ),
        Fault("chunked reply without its end", "lost", _raw(_CHUNKED, _chunk(b"{}")), acts=True),
    ),
    "Slowness": (
        Fault("silence instead of a reply", "silent", _silence, acts=True, waits=_STALLED),
        Fault(
            "silence within the head", "silent", _raw(_HEAD, stays=True), acts=True, waits=_STALLED
        ),
        Fault(
            "silence within the body",
            "silent",
            _raw(_HEAD + b"Content-Length: 90\r\n\r\n{", stays=True),
            acts=True,
            waits=_STALLED,
        ),
        Fault(
            "slow head",
            "dripping",
            _drip(_HEAD, b"X-More: 1\r\n", b"\r\n"),
            acts=True,
            waits=_TIMED,
        ),
        Fault(
            "slow body",
            "dripping",
            _drip(_CHUNKED, _chunk(b" "), _chunk(b"{}") + _chunk(b"")),
            acts=True,
            waits=_TIMED,
        ),
    ),
    "Replies that can't be read": (
        Fault(
            "reply longer than its Content-Length",
            "unreadable",
            _raw(_HEAD + b'Content-Length: 9\r\n\r\n{"extension_number": "101"}'),
            acts=True,
        ),
        Fault(
            "Content-Length that is no number",
            "unreadable",
            _raw(_HEAD + b"Content-Length: ten\r\n\r\n{}"),
            acts=True,
        ),
        Fault(
            "two Content-Lengths",
            "unreadable",
            _raw(_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
            acts=True,
        ),
        Fault(
            "rubbish instead of chunks", "unreadable", _raw(_CHUNKED, b"zz\r\n{}\r\n"), acts=True
        ),
        Fault(
            "rubbish after the first chunk",
            "unreadable",
            _raw(_CHUNKED + _chunk(b"{"), b"zz\r\n{}\r\n", every=0.1, stays=True),
            acts=True,
        ),
        Fault("rubbish instead of gzip", "unreadable", _raw(_GZIP, b"no gzip at all"), acts=True),
        Fault(
            "gzip bomb",
            "unreadable",
            _streamed(b"Content-Encoding: gzip\r\n", _bomb),
            acts=True,
            heavy=True,
        ),
        Fault(
            "200 MB announced",
            "unreadable",
            _streamed(
                b"Content-Length: %d\r\n" % (len(_PIECE) * _PIECES),
                lambda: iter([_PIECE] * _PIECES),
            ),
            acts=True,
            heavy=True,
        ),
        Fault(
            "200 MB in chunks",
            "unreadable",
            _streamed(b"Transfer-Encoding: chunked\r\n", lambda: iter([_chunk(_PIECE)] * _PIECES)),
            acts=True,
            heavy=True,
        ),
        Fault(
            "100,000 levels of nesting",
            "unreadable",
            _spoilt(lambda good: good[:-1] + b', "deep": ' + b"[" * _DEEP + b"]" * _DEEP + b"}"),
            acts=True,
        ),
        Fault("100,000 open brackets", "unreadable", _spoilt(lambda _: b"[" * _DEEP), acts=True),
        Fault("HTML with 200", "unreadable", _page(200), acts=True),
        Fault("empty body with 200", "empty", _spoilt(lambda _: b""), acts=True),
    ),
    "The token": (
        Fault("401 once", "rejected once", _told(401), times=1),
        Fault("401 always", "rejected", _told(401)),
        Fault("403 with err_code 403.4 once", "rejected once", _told(403, 403.4), times=1),
        Fault("403 with err_code 403.4 always", "rejected", _told(403, "403.4")),
        Fault("200 with err_code 403.4", "rejected", _told(200, 403.4)),
    ),
    "The PBX says no": (
        Fault("403 with err_code 403.1", "refused", _told(403, "403.1")),
        Fault("200 with err_code 403.1", "refused", _told(200, 403.1)),
        Fault("redirect to another host", "redirected", _redirect),
    ),
    "Overload": (
        Fault("429", "limited", _told(429)),
        Fault(
            "429, Retry-After in seconds",
            "limited",
            _told(429, None, {"Retry-After": "2"}),
            waits=_WAITED,
        ),
        Fault("429, Retry-After as a date", "limited", _told(429, after=2.9), waits=_WAITED_ABOUT),
        Fault("429, Retry-After in the past", "limited", _told(429, after=-3600)),
        Fault("429, Retry-After of no sense", "limited", _told(429, None, {"Retry-After": "soon"})),
        Fault("429, Retry-After of a week", "limited", _told(429, None, {"Retry-After": "604800"})),
        Fault(
            "429, Retry-After of 10^400 s",
            "limited",
            _told(429, None, {"Retry-After": "1" + "0" * 400}),
        ),
        Fault(
            "429, Retry-After beyond the deadline",
            "limited for long",
            _told(429, None, {"Retry-After": "60"}),
        ),
        Fault("200 with err_code 403.5", "limited", _told(200, "403.5")),
        Fault("503 with err_code 403.5", "limited", _told(503, 403.5)),
        Fault(
            "503, Retry-After in seconds",
            "busy",
            _told(503, 503, {"Retry-After": "2"}),
            waits=_WAITED,
        ),
        Fault(
            "503, Retry-After as a date", "busy", _told(503, None, after=2.9), waits=_WAITED_ABOUT
        ),
    ),
    "Failures": (
        Fault("408", "gave up", _told(408), acts=True),
        Fault("500", "failed", _told(500, 500), acts=True),
        Fault(
            "500, Retry-After",
            "failed",
            _told(500, None, {"Retry-After": "2"}),
            acts=True,
            waits=_WAITED,
        ),
        Fault("200 with err_code 500", "failed", _told(200, 500), acts=True),
        Fault("502 with HTML", "failed", _page(502), acts=True),
        Fault("503", "failed", _told(503), acts=True),
        Fault(
            "503, Retry-After of no sense",
            "failed",
            _told(503, None, {"Retry-After": "soon"}),
            acts=True,
        ),
        Fault("504 with HTML", "failed", _page(504), acts=True),
    ),
    "Replies that are odd": (
        Fault("another reply behind the reply", "odd", _followed, acts=True),
        Fault("the reply again, later", "odd", _behind(lambda good: good), acts=True),
        Fault("half a reply behind the reply", "odd", _behind(_half, later=False), acts=True),
        Fault("half a reply, later", "odd", _behind(_half), acts=True),
        Fault("408 on an idle connection", "odd", _behind(lambda _: reply("", 408)), acts=True),
        Fault("hung up on an idle connection", "odd", _behind(None), acts=True),
        Fault("each key twice", "odd", _spoilt(_twice), acts=True),
        Fault("invalid UTF-8", "odd", _in_place_of_text(b'"\xff\xfeAnn"'), acts=True),
        Fault("NaN", "odd", _in_place_of_text(b"NaN"), acts=True),
        Fault("integers beyond 64 bits", "odd", _in_place_of_text(b"1" + b"0" * 30), acts=True),
        Fault("half of a surrogate pair", "odd", _in_place_of_text(b'"\\ud800"'), acts=True),
    ),
}
BY_NAME = {fault.name: fault for group in FAULTS.values() for fault in group}
