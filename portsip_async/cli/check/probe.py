"""The address of a PBX, looked at without the SDK: the connection, its certificate, the clock.

Nothing is asked for but the head of the server's root, and no secret is sent.
"""

import asyncio
import hashlib
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

__all__ = ["Address", "Certificate", "Probe", "probe"]

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which ssl does not name
_LINE_MOST: Final = 64 * 1024  # bytes of a reply's head


class Certificate(msgspec.Struct, frozen=True):
    """What is known of the PBX's certificate.

    Attributes:
        trusted: whether it is signed by a CA that is trusted, for this name, and in time.
        problem: why not; None where it is.
        self_signed: whether it signed itself; None where that is not known.
        days_left: days until it expires; None where that is not known.
    """

    trusted: bool
    problem: str | None = None
    self_signed: bool | None = None
    days_left: int | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the PBX's address; neither its name nor its number is.

    Attributes:
        scheme: "https" or "http".
        reachable: whether a connection was made.
        problem: why not; None where one was.
        connect_ms: milliseconds that it took.
        tls: the version of TLS.
        cipher: the cipher suite.
        certificate: None for http.
        clock_ahead: seconds by which the PBX's clock is ahead of ours, to a second; None where it
            tells no time.
    """

    scheme: str
    reachable: bool
    problem: str | None = None
    connect_ms: float | None = None
    tls: str | None = None
    cipher: str | None = None
    certificate: Certificate | None = None
    clock_ahead: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found, and what is for the person at the terminal alone.

    Attributes:
        address: for the report.
        digest: the certificate's SHA-256 in hex, to pin it by; "" for http.
    """

    address: Address
    digest: str = ""


async def probe(url: str, *, ca_file: str | None, timeout: float) -> Probe:
    """Look at an address.

    Args:
        url: the PBX's URL.
        ca_file: the path of a CA that is trusted; None: the system's are.
        timeout: seconds for each step.
    """
    parts = urlsplit(url.strip())
    secure = parts.scheme == "https"
    context = ssl.create_default_context(cafile=ca_file) if secure else None
    certificate: Certificate | None = None
    try:
        try:
            opened = await _open(parts, context, timeout)
        except ssl.SSLCertVerificationError as error:
            # A mismatch of names quotes ours, which the report must not hold.
            problem = (error.verify_message or "not trusted").partition(" for '")[0]
            opened = await _open(parts, _trusting(), timeout)
            certificate = await _untrusted(parts, opened, problem, timeout)
        else:
            certificate = _described(opened.told) if secure else None
    except (OSError, TimeoutError, ssl.SSLError) as error:
        return Probe(Address(scheme=parts.scheme, reachable=False, problem=_reason(error)))
    ahead = await opened.clock(parts, timeout)
    return Probe(
        Address(
            scheme=parts.scheme,
            reachable=True,
            connect_ms=round(opened.seconds * 1000, 1),
            tls=opened.tls,
            cipher=opened.cipher,
            certificate=certificate,
            clock_ahead=ahead,
        ),
        opened.digest,
    )


@dataclass(slots=True)
class _Opened:
    """A connection, and what its handshake told."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seconds: float
    tls: str | None
    cipher: str | None
    told: dict[str, Any]
    encoded: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.encoded).hexdigest() if self.encoded else ""

    async def clock(self, parts: SplitResult, timeout: float) -> float | None:
        """Ask for the head of the root, and compare the Date of the reply with our clock."""
        try:
            async with asyncio.timeout(timeout):
                began = time.time()
                self.writer.write(
                    f"HEAD / HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
                )
                await self.writer.drain()
                head = await self.reader.readuntil(b"\r\n\r\n")
                ended = time.time()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return None
        finally:
            self.close()
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "date":
                with suppress(ValueError):
                    at = parsedate_to_datetime(value.strip())
                    at = at if at.tzinfo else at.replace(tzinfo=UTC)
                    # A Date is cut to its second: in the middle it is half a second late.
                    return round(at.timestamp() + 0.5 - (began + ended) / 2, 1)
        return None

    def close(self) -> None:
        self.writer.close()


async def _open(parts: SplitResult, context: ssl.SSLContext | None, timeout: float) -> _Opened:
    began = time.perf_counter()
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if context else 80),
            ssl=context,
            server_hostname=parts.hostname if context else None,
            limit=_LINE_MOST,
        )
    seconds = time.perf_counter() - began
    layer = writer.get_extra_info("ssl_object")
    if layer is None:
        return _Opened(reader, writer, seconds, None, None, {}, b"")
    return _Opened(
        reader,
        writer,
        seconds,
        layer.version(),
        (layer.cipher() or ("",))[0],
        layer.getpeercert() or {},
        layer.getpeercert(binary_form=True) or b"",
    )


def _trusting(encoded: bytes | None = None) -> ssl.SSLContext:
    """Make a context that takes any certificate, or one of its own making whatever its dates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if encoded is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=encoded)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags |= _NO_CHECK_TIME
    return context


async def _untrusted(
    parts: SplitResult, opened: _Opened, problem: str, timeout: float
) -> Certificate:
    """Describe a certificate that isn't trusted: read as its own CA, it tells its dates."""
    try:
        again = await _open(parts, _trusting(opened.encoded), timeout)
    except (OSError, TimeoutError, ssl.SSLError):
        return Certificate(trusted=False, problem=problem)
    again.close()
    described = _described(again.told)
    # OpenSSL reports an unknown issuer first, and then does not check the dates.
    if described.days_left is not None and described.days_left < 0 and "expired" not in problem:
        problem = f"{problem}, and the certificate has expired"
    elif _begins_later(again.told) and "not yet" not in problem:
        problem = f"{problem}, and the certificate is not yet valid"
    return msgspec.structs.replace(described, trusted=False, problem=problem)


def _described(told: dict[str, Any]) -> Certificate:
    until = _date(told, "notAfter")
    days = None if until is None else (until - datetime.now(UTC)).days
    return Certificate(
        trusted=True, self_signed=told.get("subject") == told.get("issuer"), days_left=days
    )


def _begins_later(told: dict[str, Any]) -> bool:
    since = _date(told, "notBefore")
    return since is not None and since > datetime.now(UTC)


def _date(told: dict[str, Any], name: str) -> datetime | None:
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(told[name]), UTC)
    return None


def _reason(error: Exception) -> str:
    """Say why no connection was made, without the address."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if type(error).__name__ == "gaierror":
        return "the name is not known"
    return type(error).__name__
