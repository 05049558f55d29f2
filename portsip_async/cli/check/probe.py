"""Look at the PBX's address: the connection, its certificate, and the clock.

Sends only a HEAD request for the server's root, and no secret. The SDK can't do this part: it shows
neither certificates nor response headers.
"""

import asyncio
import hashlib
import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from errno import ECONNREFUSED
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

_NO_CHECK_TIME: Final = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which ssl does not name


class Certificate(msgspec.Struct, frozen=True):
    """The PBX's certificate; None means unknown."""

    trusted: bool  # whether a trusted CA signed it, for this name, and it is valid today
    problem: str | None = None
    self_signed: bool | None = None
    days_left: int | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """The PBX's address, without its name and its number; None means unknown."""

    scheme: str
    reachable: bool
    problem: str | None = None
    connect_ms: float | None = None  # milliseconds, including the name lookup and TLS
    tls: str | None = None  # the TLS version
    cipher: str | None = None
    certificate: Certificate | None = None  # None for http
    clock_ahead: float | None = None  # seconds that the PBX's clock is ahead, to a second


async def probe(url: str, *, ca_file: str | None, timeout: float) -> tuple[Address, str]:
    """Connect to an address and describe it.

    Args:
        url: the PBX's URL.
        ca_file: the path of a trusted CA; None trusts the system's CAs.
        timeout: seconds to connect, and seconds to wait for a reply.

    Returns:
        What the report may show, and the certificate's SHA-256 in hex, which names the PBX; "" for
        http.
    """
    root = URL(url.strip()).origin()
    unverified = _context(ssl.CERT_NONE)
    began = time.perf_counter()
    try:
        # No secret is sent, so this works with any certificate. Then look at the certificate.
        tls = await _connect(root, unverified, timeout)
        seconds = time.perf_counter() - began
        encoded = b"" if tls is None else tls.getpeercert(binary_form=True) or b""
        certificate = await _certificate(root, encoded, ca_file, timeout) if encoded else None
    except OSError as error:  # a TimeoutError and an SSLError, too
        return Address(scheme=root.scheme, reachable=False, problem=_reason(error)), ""
    cipher, *_ = (tls and tls.cipher()) or (None,)
    address = Address(
        scheme=root.scheme,
        reachable=True,
        connect_ms=round(seconds * 1000, 1),
        tls=tls and tls.version(),
        cipher=cipher,
        certificate=certificate,
        clock_ahead=await _clock_ahead(root, unverified, timeout, seconds),
    )
    return address, hashlib.sha256(encoded).hexdigest() if encoded else ""


async def _connect(root: URL, context: ssl.SSLContext, timeout: float) -> Any:
    """Connect once, and return the TLS object; None for http.

    Raises:
        OSError: no connection was made.
    """
    context_or_none = context if root.scheme == "https" else None
    async with asyncio.timeout(timeout):
        _, writer = await asyncio.open_connection(root.host, root.port, ssl=context_or_none)
    writer.transport.abort()
    return writer.get_extra_info("ssl_object")


async def _certificate(
    root: URL, encoded: bytes, ca_file: str | None, timeout: float
) -> Certificate:
    """Describe a server's certificate, and whether it is trusted."""
    problem = None
    fields: dict[str, Any] = {}
    try:
        tls = await _connect(root, ssl.create_default_context(cafile=ca_file), timeout)
        fields = tls.getpeercert()
    except ssl.SSLCertVerificationError as error:
        # A name mismatch quotes the name, which the report must not hold.
        problem = (error.verify_message or "not trusted").partition(" for '")[0]
        # ssl parses a certificate only if it verified it. So let the certificate be its own CA, and
        # ignore its dates.
        pinned = _context(ssl.CERT_REQUIRED)
        pinned.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        with suppress(OSError):
            pinned.load_verify_locations(cadata=encoded)
            fields = (await _connect(root, pinned, timeout)).getpeercert()
    return _described(fields, problem)


def _context(mode: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = mode
    return context


def _described(fields: dict[str, Any], problem: str | None) -> Certificate:
    """Describe a certificate by its fields; without a problem it is trusted."""
    now = datetime.now(UTC)
    since, until = _date(fields, "notBefore"), _date(fields, "notAfter")
    # OpenSSL reports an unknown issuer first, and then does not check the dates.
    if problem and until is not None and until < now and "expired" not in problem:
        problem += ", and the certificate has expired"
    elif problem and since is not None and since > now and "not yet" not in problem:
        problem += ", and the certificate is not yet valid"
    return Certificate(
        trusted=problem is None,
        problem=problem,
        self_signed=fields["subject"] == fields["issuer"] if fields else None,
        days_left=None if until is None else (until - now).days,
    )


def _date(fields: dict[str, Any], name: str) -> datetime | None:
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(fields[name]), UTC)
    return None


async def _clock_ahead(
    root: URL, context: ssl.SSLContext, timeout: float, connecting: float
) -> float | None:
    """Return the seconds that the PBX's clock is ahead, by the Date of a reply to a HEAD request.

    Args:
        root: the server's root.
        context: how TLS is verified.
        timeout: seconds to connect, and seconds to wait for the reply.
        connecting: seconds that connecting takes.
    """
    limits = aiohttp.ClientTimeout(connect=timeout, sock_read=timeout)
    began = time.time()
    with suppress(aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.head(root, ssl=context, allow_redirects=False) as response,
        ):
            ended = time.time()
            at = parsedate_to_datetime(response.headers["Date"])
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        # The PBX read its clock about halfway between the connection and the reply. A Date has
        # whole seconds only: on average it is half a second late.
        read = ended - max(0.0, ended - began - connecting) / 2
        return round(at.timestamp() + 0.5 - read, 1)
    return None


def _reason(error: OSError) -> str:
    """Say why no connection was made, without the address."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the name is not known"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    # If a name has several addresses, only the text of the error holds the number.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {ECONNREFUSED}]" in str(error):
        return "connection refused"
    return type(error).__name__
