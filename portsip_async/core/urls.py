"""Checks of the URLs of a PBX and of a proxy, before any request is built from them."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from ..arguments import check_type, is_visible
from ..errors import ConfigurationError
from ..redact import scrub_url
from .endpoint import Endpoint
from .transport import Route

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DOT: Final = re.compile("[.\u3002\uff0e\uff61]")  # the characters that IDNA reads as dots
_ANY_ROW: Final = Endpoint("any", "GET", "/")


def api_url(base_url: str, *, allow_http: bool, suffix: str) -> str:
    """Check a base URL, and return it with the API's path, as ``https://host:port/api``.

    Args:
        base_url: the URL, with or without the suffix and a trailing slash.
        allow_http: whether plain http is allowed for a host that is not loopback.
        suffix: the API's path, with a leading slash.

    Raises:
        TypeError: it is not a str.
        ConfigurationError: no request can or should be sent to it.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url must be a str, got {type(base_url).__name__}")
    check_type("allow_http", allow_http, bool)
    if "@" in base_url:
        raise ConfigurationError(
            "base_url must have no user name or password, got an @; pass username= and password="
        )
    # Messages show the URL from here on: it has no password, and its query is removed.
    base_url = base_url.strip(" \t\r\n")
    shown = scrub_url(base_url)
    if not is_visible(base_url) or " " in base_url:
        raise ConfigurationError(
            f"base_url must have no space and no invisible character, got {shown!a}"
        )
    try:
        parts = urlsplit(base_url)
        host = parts.hostname
        if parts.port == 0 or not _is_host(host or "", parts.netloc):
            host = None
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"base_url must be a URL such as https://pbx.example.com:8887, got {shown!r}"
        )
    if parts.query or parts.fragment:
        raise ConfigurationError(f"base_url must have no query and no fragment, got {shown!r}")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"base_url must be https, got http to {host}, which would send the password "
            "unencrypted: use https, or pass allow_http=True"
        )
    # The URL may end with the API's path already.
    path = parts.path.rstrip("/").removesuffix(suffix)
    url = f"{parts.scheme}://{parts.netloc}{path}{suffix}"
    if not _is_sendable(url):
        raise ConfigurationError(f"base_url must be a URL that can be requested, got {shown!a}")
    return url


def check_proxy(proxy: str) -> None:
    """Check the URL of a proxy. The error does not show it, since it may hold a password.

    Raises:
        ConfigurationError: it is not an ``http`` or ``https`` URL with a host and nothing after
            the port.
    """
    try:
        parts = urlsplit(proxy)
        is_valid = (
            parts.scheme in ("http", "https")
            and parts.port != 0
            and _is_host(parts.hostname or "", parts.netloc)
            and _is_sendable(proxy)
            and not (parts.path.strip("/") or parts.query or parts.fragment)
        )
    except ValueError:
        is_valid = False
    if not is_valid or not is_visible(proxy) or " " in proxy:
        raise ConfigurationError(
            "proxy must be an http:// or https:// URL with a host and no path; "
            "percent-encode reserved characters in its user name and password"
        )


def _is_sendable(url: str) -> bool:
    """Check that a request can be built for a base URL."""
    try:
        route = Route(url, _ANY_ROW)
    except ValueError:
        return False
    # Some characters, such as U+2488 (a digit with its dot), turn into a dot when the name is
    # encoded. The request would go to another host than the one that was checked.
    host = urlsplit(url).hostname or ""
    encoded = route.url.raw_host or ""
    return ":" in host or len(_DOT.findall(host)) == encoded.count(".")


def _is_host(host: str, netloc: str) -> bool:
    """Check that a text is a host name or an IP address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            name = host.encode("idna").decode()
        except UnicodeError:
            return False
        # Brackets are for IPv6 addresses only.
        return bool(_HOST.fullmatch(name)) and "[" not in netloc.rpartition("@")[2]
    return True


def is_loopback(host: str) -> bool:
    """Check that a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
