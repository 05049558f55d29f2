"""The faults: what the server does to the connection or the reply, and the kind of each fault."""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, NamedTuple

from ..operations import TEXT
from ..proxy_server import Answer
from ..wire_server import hang_up, reply, reset
from .cases import CASES, CLASSIC, OF_EACH_KIND, V22, Case
from .server import KEEP, Exchange, Strike

EPOCH = 1_790_000_000.0  # the time of day at which every cell begins
DEADLINE = 12.0  # seconds; of a call
TOTAL = 5.0  # seconds; of an attempt
SILENCE = 2.0  # seconds; between bytes, and to connect
LIMIT = 2**20  # bytes of a reply


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes:
        name: the name on the page.
        kind: the kind of fault, a key of `RULES`.
        strike: the action of the server.
        stage: the stage of the fault: "nobody", "name", "proxy", "tls", "connection", "request" or
            "reply".
        acts: whether the server carries out the operation before the fault.
        times: the number of requests with the fault, or None for all.
        over_tls: whether the client asks for TLS.
        heavy: whether the replies are so large that only one may be sent at a time.
        connect: the reply of the proxy to CONNECT, if that is the stage.
        waits: the minimum and maximum duration in seconds of a call that is retried.
        where: whether an operation can have the fault.
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
    where: Callable[[Case], bool] = lambda _: True


def _classic(case: Case) -> bool:
    return case.generation == CLASSIC


def _v22(case: Case) -> bool:
    return case.generation == V22


def _v22_json(case: Case) -> bool:
    return case.generation == V22 and case.reads_json


def _json(case: Case) -> bool:
    return case.reads_json


async def _nothing(_: Exchange) -> None:
    """Do nothing, because there is no server for this fault."""


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
    """Write raw bytes, `every` seconds apart. Then close the connection or send nothing more."""

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


def _error_reply(
    status: int,
    err_code: object = None,
    headers: dict[str, str] | None = None,
    *,
    after: float | None = None,
    code: str = "UNKNOWN",
) -> Strike:
    """Reply with an error that repeats every secret of the request.

    Args:
        status: the HTTP status.
        err_code: the error code of the classic generation.
        headers: additional headers.
        after: seconds until the date in a Retry-After header.
        code: the error code of v22.
    """

    async def strike(exchange: Exchange) -> bool:
        text = " ".join(["No:", *exchange.secrets])
        body: dict[str, Any] = {"msg": text}
        if exchange.server.generation == V22:
            detail = {"texts": exchange.secrets, text: text}
            body = {"errors": [{"code": code, "message": text, "detail": detail}]}
        elif err_code is not None:
            body |= {"err_code": err_code}
        sent = {**KEEP, **(headers or {})}
        if after is not None:
            now = EPOCH + asyncio.get_running_loop().time()
            sent["Retry-After"] = formatdate(now + after, usegmt=True)
        await exchange.write(reply(json.dumps(body), status, sent))
        return True

    return strike


def _page(status: int) -> Strike:
    """Reply with the page of a proxy."""

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


def _changed_reply(spoil: Callable[[bytes], bytes]) -> Strike:
    """Reply with a changed body. Without a correct body, change a default one."""

    async def strike(exchange: Exchange) -> bool:
        good = exchange.good or json.dumps({"note": TEXT, "count": 1}).encode()
        await exchange.write(reply(spoil(good), headers=exchange.headers))
        return True

    return strike


async def _followed(exchange: Exchange) -> bool:
    """Send a correct reply and one more, which the next call must not accept as its reply."""
    more = exchange.good.replace(b'"1', b'"6').replace(b"given", b"stolen")
    good = reply(exchange.good, headers=exchange.headers)
    await exchange.write(good + reply(more, headers=KEEP))
    return True


def _behind(more: Callable[[bytes], bytes] | None, *, later: bool = True) -> Strike:
    """Send a correct reply and then more bytes, at once or later. With None, close instead."""

    async def strike(exchange: Exchange) -> bool:
        good = reply(exchange.good, headers=exchange.headers)
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
    """Send another value in place of the texts, and of the count if it stands at the end."""
    marked, count = json.dumps(TEXT).encode(), b'"count": %b}'
    return _changed_reply(
        lambda good: good.replace(marked, value).replace(count % b"1", count % value)
    )


def _twice(good: bytes) -> bytes:
    """Give each key two values. The last one is correct."""
    nulls = json.dumps(dict.fromkeys(json.loads(good))).encode()
    return nulls[:-1] + b", " + good[1:]


def _streamed(headers: bytes, pieces: Callable[[], Iterator[bytes]]) -> Strike:
    """Send far more bytes than the limit, as long as the client reads them."""

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
    """Yield 200 MB of spaces in 200 kB: the same compressed block many times."""
    packer = zlib.compressobj(9, wbits=31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    yield start + block
    for _ in range(199):
        yield block


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_GZIP = _HEAD + b"Content-Encoding: gzip\r\nContent-Length: 14\r\n\r\n"
_DRIPS = 8  # one per second: never silent for long, but never complete in time
_STALLED = (SILENCE, 3 * SILENCE + 0.5)
_TIMED = (TOTAL, DEADLINE)
_ASKED = 2.0
_WAITED = (2 * _ASKED, 2 * _ASKED + 0.5)
_WAITED_ABOUT = (2 * _ASKED - 0.5, 2 * _ASKED + 2)
_DEEP = 100_000
_MOMENT = 0.0005  # seconds; by then the call has ended, and the next one has not started


def _drip(head: bytes, drip: bytes, tail: bytes) -> Strike:
    return _raw(head, *[drip] * _DRIPS, tail, every=1.0)


FAULTS: dict[str, tuple[Fault, ...]] = {
    "No connection": (
        Fault("connection refused", "unconnected", _nothing, "nobody"),
        Fault("unknown host name", "unconnected", _nothing, "name"),
        Fault("untrusted certificate", "distrusted", _nothing, "tls", over_tls=True),
        Fault(
            "server without TLS",
            "unconnected",
            _raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "connection",
            over_tls=True,
        ),
        Fault(
            "connection reset during the TLS handshake",
            "unconnected",
            _reset,
            "connection",
            over_tls=True,
        ),
        Fault(
            "connection closed during the TLS handshake",
            "unconnected",
            _hang_up,
            "connection",
            over_tls=True,
        ),
        Fault(
            "no response during the TLS handshake",
            "unconnected",
            _silence,
            "connection",
            over_tls=True,
            waits=_STALLED,
        ),
        _at_connect("proxy closes the connection at CONNECT", _no_connect),
        _at_connect("proxy resets the connection at CONNECT", _reset_connect),
        _at_connect("proxy doesn't respond to CONNECT", _silent_connect, waits=_STALLED),
        _at_connect("proxy sends half a response to CONNECT", b"HTTP/1.1 200 Connection"),
        _at_connect("proxy sends garbage in response to CONNECT", b"SSH-2.0-OpenSSH_9.6\r\n"),
        _at_connect("407 at CONNECT", reply("", 407)),
        _at_connect("502 at CONNECT", reply("", 502)),
        _at_connect("proxy closes the tunnel", reply("", 200, content_length=False)),
    ),
    "The connection breaks": (
        Fault("connection reset before the request", "lost", _reset, "connection"),
        Fault("connection reset during the request", "lost", _reset, "request"),
        Fault("connection reset after the request", "lost", _reset, acts=True),
        Fault("connection closed after the request", "lost", _hang_up, acts=True),
        Fault("connection half-closed after the request", "lost", _half_close, acts=True),
        Fault("connection closed within the reply's headers", "lost", _raw(_HEAD[:-9]), acts=True),
        Fault(
            "reply shorter than its Content-Length",
            "lost",
            _raw(_HEAD + b'Content-Length: 900\r\n\r\n{"extension_number": "101"}'),
            acts=True,
        ),
        Fault("chunked reply without an end", "lost", _raw(_CHUNKED, _chunk(b"{}")), acts=True),
    ),
    "Timeouts": (
        Fault("no reply", "silent", _silence, acts=True, waits=_STALLED),
        Fault(
            "reply stops within its headers",
            "silent",
            _raw(_HEAD, stays=True),
            acts=True,
            waits=_STALLED,
        ),
        Fault(
            "reply stops within its body",
            "silent",
            _raw(_HEAD + b"Content-Length: 90\r\n\r\n{", stays=True),
            acts=True,
            waits=_STALLED,
        ),
        Fault(
            "slow headers",
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
    "Unreadable replies": (
        Fault(
            "reply longer than its Content-Length",
            "unreadable",
            _raw(_HEAD + b'Content-Length: 9\r\n\r\n{"extension_number": "101"}'),
            acts=True,
        ),
        Fault(
            "Content-Length that is not a number",
            "unreadable",
            _raw(_HEAD + b"Content-Length: ten\r\n\r\n{}"),
            acts=True,
        ),
        Fault(
            "two different Content-Lengths",
            "unreadable",
            _raw(_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
            acts=True,
        ),
        Fault(
            "garbage instead of chunks", "unreadable", _raw(_CHUNKED, b"zz\r\n{}\r\n"), acts=True
        ),
        Fault(
            "garbage after the first chunk",
            "unreadable",
            _raw(_CHUNKED + _chunk(b"{"), b"zz\r\n{}\r\n", every=0.1, stays=True),
            acts=True,
        ),
        Fault("garbage instead of gzip", "unreadable", _raw(_GZIP, b"no gzip at all"), acts=True),
        Fault(
            "gzip bomb",
            "unreadable",
            _streamed(b"Content-Encoding: gzip\r\n", _bomb),
            acts=True,
            heavy=True,
        ),
        Fault(
            "Content-Length of 200 MB",
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
            _changed_reply(
                lambda good: good[:-1] + b', "deep": ' + b"[" * _DEEP + b"]" * _DEEP + b"}"
            ),
            acts=True,
            where=_json,
        ),
        Fault(
            "100,000 open brackets",
            "unreadable",
            _changed_reply(lambda _: b"[" * _DEEP),
            acts=True,
            where=_json,
        ),
        Fault("HTML page with status 200", "unreadable", _page(200), acts=True, where=_json),
        Fault("empty body with status 200", "empty", _changed_reply(lambda _: b""), acts=True),
    ),
    "The token": (
        Fault("401 once", "rejected once", _error_reply(401), times=1),
        Fault("401 always", "rejected", _error_reply(401)),
        *(
            Fault(f"{name} {often}", kind, strike, times=times, where=where)
            for name, strike, where in (
                ("403 with err_code 403.4", _error_reply(403, "403.4"), _classic),
                ("400 with code UNAUTHORIZED", _error_reply(400, code="UNAUTHORIZED"), _v22),
            )
            for often, kind, times in (("once", "rejected once", 1), ("always", "rejected", None))
        ),
        Fault("200 with err_code 403.4", "rejected", _error_reply(200, 403.4), where=_classic),
        Fault(
            "200 with code UNAUTHORIZED",
            "rejected",
            _error_reply(200, code="UNAUTHORIZED"),
            where=_v22_json,
        ),
    ),
    "The PBX refuses": (
        Fault("403 with err_code 403.1", "refused", _error_reply(403, "403.1"), where=_classic),
        Fault("200 with err_code 403.1", "refused", _error_reply(200, 403.1), where=_classic),
        Fault("403 with code DENIED", "refused", _error_reply(403, code="DENIED"), where=_v22),
        Fault("400 with code DENIED", "refused", _error_reply(400, code="DENIED"), where=_v22),
        Fault("200 with code DENIED", "refused", _error_reply(200, code="DENIED"), where=_v22_json),
        Fault("redirect to another host", "redirected", _redirect),
    ),
    "Overload": (
        Fault("429", "limited", _error_reply(429)),
        Fault(
            "429, Retry-After in seconds",
            "limited",
            _error_reply(429, None, {"Retry-After": "2"}),
            waits=_WAITED,
        ),
        Fault(
            "429, Retry-After as a date",
            "limited",
            _error_reply(429, after=2.9),
            waits=_WAITED_ABOUT,
        ),
        Fault("429, Retry-After in the past", "limited", _error_reply(429, after=-3600)),
        Fault(
            "429, unreadable Retry-After",
            "limited",
            _error_reply(429, None, {"Retry-After": "soon"}),
        ),
        Fault(
            "429, Retry-After of a week",
            "limited",
            _error_reply(429, None, {"Retry-After": "604800"}),
        ),
        Fault(
            "429, Retry-After of 10^400 s",
            "limited",
            _error_reply(429, None, {"Retry-After": "1" + "0" * 400}),
        ),
        Fault(
            "429, Retry-After after the deadline",
            "limited for long",
            _error_reply(429, None, {"Retry-After": "60"}),
        ),
        Fault("200 with err_code 403.5", "limited", _error_reply(200, "403.5"), where=_classic),
        Fault("503 with err_code 403.5", "limited", _error_reply(503, 403.5), where=_classic),
        Fault(
            "503, Retry-After in seconds",
            "busy",
            _error_reply(503, 503, {"Retry-After": "2"}),
            waits=_WAITED,
        ),
        Fault(
            "503, Retry-After as a date",
            "busy",
            _error_reply(503, None, after=2.9),
            waits=_WAITED_ABOUT,
        ),
    ),
    "Server errors": (
        Fault("408", "gave up", _error_reply(408), acts=True),
        Fault("500", "failed", _error_reply(500, 500), acts=True),
        Fault(
            "500, Retry-After",
            "failed",
            _error_reply(500, None, {"Retry-After": "2"}),
            acts=True,
            waits=_WAITED,
        ),
        Fault("200 with err_code 500", "failed", _error_reply(200, 500), acts=True, where=_classic),
        Fault("502 with an HTML page", "failed", _page(502), acts=True),
        Fault("503", "failed", _error_reply(503), acts=True),
        Fault(
            "503, unreadable Retry-After",
            "failed",
            _error_reply(503, None, {"Retry-After": "soon"}),
            acts=True,
        ),
        Fault("504 with an HTML page", "failed", _page(504), acts=True),
    ),
    "Unusual replies": (
        Fault("a second reply right after the reply", "odd", _followed, acts=True),
        Fault("the same reply again, later", "odd", _behind(lambda good: good), acts=True),
        Fault("half a reply right after the reply", "odd", _behind(_half, later=False), acts=True),
        Fault("half a reply, later", "odd", _behind(_half), acts=True),
        Fault("408 on an idle connection", "odd", _behind(lambda _: reply("", 408)), acts=True),
        Fault("idle connection closed", "odd", _behind(None), acts=True),
        Fault("every key twice", "odd", _changed_reply(_twice), acts=True),
        Fault("invalid UTF-8", "odd", _in_place_of_text(b'"\xff\xfeAnn"'), acts=True),
        Fault("NaN", "odd", _in_place_of_text(b"NaN"), acts=True),
        Fault("integers beyond 64 bits", "odd", _in_place_of_text(b"1" + b"0" * 30), acts=True),
        Fault("half of a surrogate pair", "odd", _in_place_of_text(b'"\\ud800"'), acts=True),
    ),
}
BY_NAME = {fault.name: fault for group in FAULTS.values() for fault in group}
# One of each kind, for all operations of v22. The other faults are for one operation of each kind.
REPRESENTATIVES = frozenset(
    {
        fault.kind: fault.name for fault in reversed(BY_NAME.values()) if fault.where(CASES[-1])
    }.values()
)


def cases_of(fault: Fault) -> tuple[Case, ...]:
    """Return the operations that a fault is injected into."""
    return tuple(
        case
        for case in CASES
        if fault.where(case)
        and (case.generation == CLASSIC or case.id in OF_EACH_KIND or fault.name in REPRESENTATIVES)
    )
