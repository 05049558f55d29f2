"""Look at the PBX's address with plain aiohttp: the connection, its certificate, and the clock.

Sends only HEAD requests for the server's root, and no secret. The SDK can't do this part: it shows
neither certificates nor response headers.
"""

import hashlib
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

__all__ = ["Address", "Certificate", "Probe", "probe"]

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


@dataclass(slots=True)
class Probe:
    """The result of a probe.

    Attributes:
        address: what the report may show.
        encoded: the certificate in DER form; empty for http.
        fields: the certificate's fields; empty if nothing verified it.
    """

    address: Address
    encoded: bytes = b""
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The certificate's SHA-256 in hex, for the person at the terminal; "" for http."""
        return hashlib.sha256(self.encoded).hexdigest() if self.encoded else ""


async def probe(url: str, *, ca_file: str | None, timeout: float) -> Probe:
    """Connect to an address and describe it.

    Args:
        url: the PBX's URL.
        ca_file: the path of a trusted CA; None trusts the system's CAs.
        timeout: seconds to connect, and seconds to wait for a reply.
    """
    root = URL(url.strip()).origin()
    problem = None
    try:
        try:
            found = await _visit(root, ssl.create_default_context(cafile=ca_file), timeout)
        except aiohttp.ClientConnectorCertificateError as error:
            message = getattr(error.certificate_error, "verify_message", "") or "not trusted"
            problem = message.partition(" for '")[0]  # a name mismatch quotes the PBX's name
            found = await _visit_untrusted(root, timeout)
    except (aiohttp.ClientError, TimeoutError) as error:
        return Probe(Address(scheme=root.scheme, reachable=False, problem=_reason(error)))
    if root.scheme == "https":
        certificate = _described(found.fields, problem)
        found.address = msgspec.structs.replace(found.address, certificate=certificate)
    return found


async def _visit(root: URL, context: ssl.SSLContext, timeout: float) -> Probe:
    """Send one HEAD request; once connected, a missing reply is not an error.

    Raises:
        aiohttp.ClientError, TimeoutError: no connection was made.
    """
    times: list[float] = []  # when connecting began and ended
    handshakes: list[ssl.SSLObject] = []
    clock_ahead = None

    async def note_time(*_: object) -> None:
        times.append(time.perf_counter())

    # aiohttp releases a connection before its caller can ask for the certificate, and its traces
    # don't hold it. The context's own class of TLS objects sees each handshake.
    class RecordedTLS(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            handshakes.append(self)

    context.sslobject_class = RecordedTLS
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(note_time)
    trace.on_connection_create_end.append(note_time)
    limits = aiohttp.ClientTimeout(connect=timeout, sock_read=timeout)
    async with aiohttp.ClientSession(timeout=limits, trace_configs=[trace]) as session:
        try:
            async with session.head(root, ssl=context, allow_redirects=False) as response:
                # The PBX read its clock about halfway between the connection and the reply.
                middle = time.time() - (time.perf_counter() - times[-1]) / 2
                clock_ahead = _clock_ahead(response.headers.get("Date", ""), middle)
        except (aiohttp.ClientError, TimeoutError):
            if len(times) < 2:
                raise

    address = Address(
        scheme=root.scheme,
        reachable=True,
        connect_ms=round((times[-1] - times[0]) * 1000, 1),
        clock_ahead=clock_ahead,
    )
    if not handshakes:
        return Probe(address)
    tls = handshakes[-1]
    cipher, *_ = tls.cipher() or ("",)
    address = msgspec.structs.replace(address, tls=tls.version(), cipher=cipher)
    return Probe(address, tls.getpeercert(binary_form=True) or b"", tls.getpeercert() or {})


async def _visit_untrusted(root: URL, timeout: float) -> Probe:
    """Visit a server with a refused certificate."""
    found = await _visit(root, _context(ssl.CERT_NONE), timeout)

    # ssl parses a certificate only if it verified it. So let the certificate be its own CA, and
    # ignore its dates.
    pinned = _context(ssl.CERT_REQUIRED)
    pinned.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    with suppress(aiohttp.ClientError, TimeoutError, ssl.SSLError):
        pinned.load_verify_locations(cadata=found.encoded)
        found.fields = (await _visit(root, pinned, timeout)).fields
    return found


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


def _clock_ahead(date: str, now: float) -> float | None:
    """Return the seconds that a Date header is ahead of a time."""
    with suppress(ValueError):
        at = parsedate_to_datetime(date)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        # A Date has whole seconds only: on average it is half a second late.
        return round(at.timestamp() + 0.5 - now, 1)
    return None


def _reason(error: Exception) -> str:
    """Say why no connection was made, without the address."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {cause.reason or type(cause).__name__}"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    return type(cause).__name__
