"""Say in plain words why a connection failed.

The SDK keeps what aiohttp and the system say, which a program can log, such as
"ClientConnectorError: Cannot connect to host 127.0.0.1:8900 ssl:default [Connect call failed]".
People get a few words. What is not in the table stays as it is.
"""

import re
from typing import Final

from .. import PortSIPError
from .profiles.current_pbx import hint_of_profile

_HOST: Final = re.compile(r"Cannot connect to host (\S+?):(\d+) ")
# At the end of the text of an error, what aiohttp or the system says.
_FOREIGN: Final = re.compile(r"\((\w+: .*?)\)(?= \(\d+ attempts\)$|$)", re.DOTALL)
# What the name or the text of an error has in it, and what we say.
_REASONS: Final = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"ConnectorDNSError|getaddrinfo failed|[Nn]ame or service", "the name {host} is unknown"),
        (r"Connect call failed|refused", "{host}:{port} refused it"),
        (r"certificate verify failed: ([^(\]]*?) *\(", "{0}"),
        (r"WRONG_VERSION_NUMBER|RECORD_LAYER", "there is no TLS: is it an http address?"),
        (r"ConnectionTimeoutError|timed? ?out", "no answer in time"),
        (r"unreachable|No route", "there is no way to {host}"),
        (r"Payload|payload|ContentLength", "the reply ended early"),
        (r"Disconnected|reset by peer|Broken pipe", "the other side closed it"),
        (r"Bad status line|Bad HTTP", "no web server is there"),
    )
)
# What the SDK advises programs to do, and what people do instead.
_ADVICE: Final = (
    ("; see the client's ssl= argument", ""),
    (", or ask portsip_async.detect()", ""),
    (", got an @; pass username= and password=", ": pass --username"),
    ("base_url must", "the address (--url or PORTSIP_URL) must"),
    (": use https, or pass allow_http=True", ""),
)


def plain_text(error: Exception) -> str:
    """Return the text of an error, with the reason for a failed connection in plain words."""
    text = str(error)
    if not isinstance(error, PortSIPError):
        return text
    for advice, other in _ADVICE:
        text = text.replace(advice, hint_of_profile(other))
    cause = error.__cause__
    if cause is None:
        return text
    foreign = f"{type(cause).__name__}: {cause}"
    return text.replace(f"({foreign})", f"({_reason(foreign)})")


def plain_record(text: str) -> str:
    """Return the recorded text of an error, with the reason in plain words."""
    return _FOREIGN.sub(lambda found: f"({_reason(found[1])})", text)


def _reason(foreign: str) -> str:
    where = _HOST.search(foreign)
    host, port = where.groups() if where else ("the host", "the port")
    for pattern, text in _REASONS:
        if found := pattern.search(foreign):
            return text.format(*found.groups(), host=host, port=port)
    return foreign
