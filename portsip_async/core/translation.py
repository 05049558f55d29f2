"""Translates errors of aiohttp and of the system to errors of our own.

Several exceptions of aiohttp hold the URL, which may contain the token. So each is translated here.
The cause of the new error is a `ForeignError`, which has the name and the scrubbed text of the
exception.
"""

from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from ..errors import ConnectError, PortSIPError, ReplyError, RequestTimeout, TransportError
from ..redact import scrub_text
from .monitor import HungUp, MalformedReply, Unconnected
from .safety import Failure


class ForeignError(Exception):
    """Replaces an exception of another library: the same class name and text, without secrets."""


@dataclass(frozen=True, slots=True)
class _Translation:
    """A row of the table that translates errors; the first row that matches is used.

    Attributes:
        foreign: the classes that the row is for.
        ours: the class of the translated error.
        failure: decides about repeats; see `safety.py`.
        text: the beginning of its message.
    """

    foreign: tuple[type[Exception], ...]
    ours: type[PortSIPError]
    failure: Failure
    text: str


_UNSENT = _Translation(
    (
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
    ),
    ConnectError,
    Failure.NOT_SENT,
    "no connection was made",
)
_TRANSLATIONS = (
    _Translation(
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ConnectError,
        Failure.DISTRUSTED,
        "the PBX's certificate was refused; see the client's ssl= argument",
    ),
    _UNSENT,
    _Translation((aiohttp.InvalidURL,), ConnectError, Failure.NOT_SENT, "the URL can't be used"),
    _Translation((TimeoutError,), RequestTimeout, Failure.LOST, "no bytes came for too long"),
    _Translation(
        (aiohttp.WSServerHandshakeError,),
        TransportError,
        Failure.UNREADABLE,
        "the handshake of the web socket is invalid",
    ),
    _Translation(
        (aiohttp.ClientResponseError, MalformedReply),
        ReplyError,
        Failure.UNREADABLE,
        "the reply is not valid HTTP",
    ),
    _Translation(
        (ContentEncodingError,), ReplyError, Failure.UNREADABLE, "the reply can't be decompressed"
    ),
    _Translation((Exception,), TransportError, Failure.LOST, "the connection broke"),
)


def translate(error: Exception, secrets: list[str]) -> tuple[PortSIPError, Failure]:
    """Translate an error of aiohttp or of the system.

    Returns:
        The error to raise, and the failure for the safety table. Its cause is a `ForeignError`.
    """
    unsent = isinstance(error, Unconnected)
    if isinstance(error, HungUp | Unconnected):
        error = error.error
    if isinstance(error.__cause__, ContentEncodingError):
        error = error.__cause__  # otherwise it would look like a broken connection
    row = next(row for row in _TRANSLATIONS if isinstance(error, row.foreign))
    if unsent and row.ours is not ConnectError:
        row = _UNSENT
    # A bad URL may be that of the proxy, with its password, so it is not shown.
    text = "" if isinstance(error, aiohttp.InvalidURL) else scrub_text(str(error), secrets)
    translated = row.ours(f"{row.text} ({type(error).__name__}{': ' if text else ''}{text})")
    if isinstance(translated, ConnectError):
        translated.refused_certificate = row.failure is Failure.DISTRUSTED
    translated.__cause__ = _foreign_class(type(error).__name__)(text)
    return translated, row.failure


@lru_cache(maxsize=64)
def _foreign_class(name: str) -> type[ForeignError]:
    return type(name, (ForeignError,), {"__module__": ForeignError.__module__})
