"""PortSIPClient: opens the core, hangs the resources on it."""

import ipaddress
import math
import os
import re
import ssl as tls
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import aiohttp

from ..arguments import integer, is_visible, plain_text, quantity
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..core.context import CallOptions
from ..core.endpoint import Endpoint
from ..core.observer import Attempt
from ..core.pages import PageSize
from ..core.request import TOKEN_NAME
from ..core.retry import RetryPolicy
from ..core.session import Session
from ..core.tasks import NotCopyable
from ..core.tokens import EmailCredentials
from ..core.tracebacks import hide_arguments, strip_frames
from ..core.transport import SSL, Route, Timeout, Transport
from ..errors import ConfigurationError
from ..redact import scrub_url
from .account import Account
from .extensions import Extensions
from .greetings import Greetings
from .groups import Groups
from .login import AnyCredentials, Login, resolve_credentials
from .operations import ACCOUNT_VERIFY, EndpointOverride, EndpointTable
from .resource import Caller, KeyedLocks, given

T = TypeVar("T")

_DEFAULT_TIMEOUT: Final = Timeout()
_DEFAULT_RETRY: Final = RetryPolicy()
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DOT: Final = re.compile("[.\u3002\uff0e\uff61]")  # what a host's name is divided by
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


class ClientOptions(TypedDict, total=False):
    """The arguments of a `PortSIPClient`."""

    base_url: str
    username: str | None
    password: str | None
    credentials: AnyCredentials | None
    token: str | None
    timeout: Timeout | float
    retry: RetryPolicy
    max_connections: int
    requests_per_second: float | None
    max_reply_bytes: int
    session: aiohttp.ClientSession | None
    ssl: SSL
    proxy: str | None
    allow_http: bool
    endpoints: Mapping[str, EndpointOverride] | None
    user_agent: str | None
    on_attempt: Callable[[Attempt], object] | None


class PortSIPClient(NotCopyable):
    """A PortSIP PBX, as its REST API shows it.

    Use it as ``async with``, or call `close` at the end. One client serves any number of tasks of
    one event loop.

    Attributes:
        account: logging in and renewing.
        extensions: extensions, their status, calls.
        groups: extension groups.
        greetings: voicemail greetings.
    """

    @hide_arguments
    def __init__(
        self,
        base_url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        credentials: AnyCredentials | None = None,
        token: str | None = None,
        timeout: Timeout | float = _DEFAULT_TIMEOUT,
        retry: RetryPolicy = _DEFAULT_RETRY,
        max_connections: int = 64,
        requests_per_second: float | None = None,
        max_reply_bytes: int = 16 * 1024 * 1024,
        session: aiohttp.ClientSession | None = None,
        ssl: SSL = None,
        proxy: str | None = None,
        allow_http: bool = False,
        endpoints: Mapping[str, EndpointOverride] | None = None,
        user_agent: str | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
    ) -> None:
        """Store the settings; nothing is sent or opened before the first call.

        Args:
            base_url: such as ``https://pbx.example.com:8900``, with or without ``/api``.
            username: with `password`, what to log in with.
            password: see username.
            credentials: in their place: PasswordCredentials, EmailCredentials, StaticToken, or any
                object with ``async def fetch_token(self) -> Token``.
            token: in their place: a token got elsewhere, renewed by refreshing only.
            timeout: what bounds one attempt; a number is its `total` in seconds.
            retry: how failed attempts are repeated, and the deadline of a call.
            max_connections: calls in flight at once; further ones wait their turn.
            requests_per_second: attempts, spaced evenly; None: unlimited.
            max_reply_bytes: the longest reply that is read, after decompression.
            session: your own aiohttp session; it is never closed, and its headers, cookies,
                tracing and connection limit are left alone. Its middlewares are not run.
            ssl: an SSLContext, the path of a CA file, an aiohttp.Fingerprint, or False to accept
                any certificate, which warns; None checks certificates as usual.
            proxy: the URL of an HTTP proxy; None uses none, whatever the environment says.
            allow_http: allow plain http to a host that is not loopback.
            endpoints: overrides of the API's rows by name, such as
                ``{"extensions.status": {"method": "GET"}}``.
            user_agent: the User-Agent header; None sends aiohttp's own, or your session's.
            on_attempt: called with an `Attempt` after each attempt that ended by itself, not by
                a cancellation; what it raises is logged. `portsip_async.telemetry.Telemetry()`
                tells OpenTelemetry.

        Raises:
            ConfigurationError: a URL that can't be used, not exactly one way to log in, or an
                override of an unknown row.
            ValueError, TypeError: an option out of bounds.
        """
        url = _api_url(base_url, allow_http=allow_http)
        login = resolve_credentials(username, password, credentials, token)
        integer("max_connections", max_connections, 1)
        integer("max_reply_bytes", max_reply_bytes, 1)
        if requests_per_second is not None:
            quantity("requests_per_second", requests_per_second, above=0)
            if math.isinf(1 / requests_per_second):
                raise ValueError("requests_per_second is too small a number")
        _kind("retry", retry, RetryPolicy)
        _kind("session", session, aiohttp.ClientSession, None)
        _kind("ssl", ssl, tls.SSLContext, aiohttp.Fingerprint, str, os.PathLike, bool, None)
        _kind("proxy", proxy, str, None)
        if proxy is not None:
            proxy = plain_text(proxy)
            _check_proxy(proxy)
        _kind("user_agent", user_agent, str, None)
        if user_agent is not None:
            user_agent = plain_text(user_agent)
        if user_agent is not None and not is_visible(user_agent):
            raise ValueError("user_agent is one printable line")
        if isinstance(ssl, str):
            ssl = plain_text(ssl)
        if isinstance(ssl, str | os.PathLike) and not _is_path(ssl):
            raise ConfigurationError("ssl: a path must not hold a NUL or half of a surrogate pair")
        if on_attempt is not None and not callable(on_attempt):
            raise TypeError("on_attempt is called with an Attempt")
        if ssl is False:
            warnings.warn(
                "ssl=False accepts any certificate, so anyone on the way can read the password",
                stacklevel=_frames_of_ours(),
            )
        self._options = CallOptions(_timeout(timeout), retry)
        self._table = EndpointTable(endpoints)
        self._locks = KeyedLocks()
        self._outages = OutageLog(urlsplit(url).netloc)
        self._batch_sizes = BatchSizeLearner()
        self._page_size = PageSize()
        self._session = Session(
            url,
            options=self._options,
            transport=Transport(
                session=session,
                ssl=ssl,
                proxy=proxy,
                user_agent=user_agent,
                max_reply_bytes=max_reply_bytes,
            ),
            max_connections=max_connections,
            requests_per_second=requests_per_second,
            on_attempt=on_attempt,
            token_source=lambda session: Login(session, self._table, login),
        )
        self._owner = True
        self._hang()

    @classmethod
    @hide_arguments
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """Make a client from the environment; any argument of the client overrides it.

        Read are PORTSIP_URL, PORTSIP_USERNAME, PORTSIP_PASSWORD, PORTSIP_EMAIL (with the same
        password), PORTSIP_TOKEN, PORTSIP_ALLOW_HTTP (1 or 0) and PORTSIP_CA_FILE. Credentials that
        are passed as arguments take the place of all those of the environment; one of `username`
        and `password` alone is completed by the other's variable.

        Raises:
            ConfigurationError: there is no URL, not exactly one way to log in, or a flag that is
                neither yes nor no.
        """
        env = {
            name: os.environ.get(f"PORTSIP_{name}") or None
            for name in ("URL", "USERNAME", "PASSWORD", "EMAIL", "TOKEN", "CA_FILE")
        }
        arguments: dict[str, Any] = {"base_url": env["URL"]}
        if "allow_http" not in overrides:
            arguments["allow_http"] = _flag("ALLOW_HTTP")
        if env["CA_FILE"]:
            arguments["ssl"] = env["CA_FILE"]
        given = overrides.keys() & {"username", "password", "credentials", "token"}
        if given in ({"username"}, {"password"}):
            arguments |= {"username": env["USERNAME"], "password": env["PASSWORD"]}
        elif not given:
            arguments["token"] = env["TOKEN"]
            if env["EMAIL"]:
                if env["USERNAME"] or not env["PASSWORD"]:
                    raise ConfigurationError(
                        "PORTSIP_EMAIL goes with PORTSIP_PASSWORD and without PORTSIP_USERNAME"
                    )
                arguments["credentials"] = EmailCredentials(env["EMAIL"], env["PASSWORD"])
            else:
                arguments |= {"username": env["USERNAME"], "password": env["PASSWORD"]}
        arguments |= overrides
        base_url = arguments.pop("base_url")
        if not base_url:
            raise ConfigurationError("PORTSIP_URL is not set")
        return cls(base_url, **arguments)

    def with_options(
        self, *, timeout: Timeout | float | None = None, retry: RetryPolicy | None = None
    ) -> Self:
        """Make a view of this client with other options; connections and token are shared.

        Closing a view does nothing: the client that it was made from owns what both use.

        Args:
            timeout: in place of the client's; None keeps it.
            retry: in place of the client's, but for its budget; None keeps it.
        """
        _kind("retry", retry, RetryPolicy, None)
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._options = CallOptions(
            self._options.timeout if timeout is None else _timeout(timeout),
            self._options.retry if retry is None else retry,
        )
        view._owner = False
        view._hang()
        return view

    def request(self, endpoint: Endpoint[T], /, **parameters: object) -> Awaitable[T]:
        """Send any endpoint, one of your own too, as the SDK sends its own.

        Args:
            endpoint: what to send; a row of the API by its name takes the client's override.
            parameters: the arguments under the API's names; None is left out.

        Returns:
            To be awaited: what the reply holds.

        Raises:
            PortSIPError: as any call.
        """
        try:
            _kind("endpoint", endpoint, Endpoint)
            if TOKEN_NAME in parameters:
                raise TypeError(f"{TOKEN_NAME} is put in by the client")
            return self._session.call(self._table[endpoint], given(parameters), self._options)
        except Exception as error:
            strip_frames(error)
            raise

    async def close(self) -> None:
        """End every call and task of the client, and its connections; safe to call again.

        Calls still in flight, and walks still open, raise ClientClosed, as do later ones.
        """
        if self._owner:
            await self._session.close()

    async def __aenter__(self) -> Self:
        self._session.check_open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._session.closed else ""
        return f"<PortSIPClient {self._session.base_url}{state}>"

    def _hang(self) -> None:
        caller = Caller(
            self._session,
            self._table,
            self._options,
            self._locks,
            self._outages,
            self._batch_sizes,
            self._page_size,
        )
        self.account: Account = Account(caller)
        self.extensions: Extensions = Extensions(caller)
        self.groups: Groups = Groups(caller)
        self.greetings: Greetings = Greetings(caller)


def _frames_of_ours() -> int:
    """Count the frames up to the caller of this package, as a warning does."""
    count, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(
        __name__.partition(".")[0]
    ):
        count, frame = count + 1, frame.f_back
    return count


def _is_path(path: str | os.PathLike[str]) -> bool:
    """Check whether a file can have this name."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _check_proxy(proxy: str) -> None:
    """Refuse what is no proxy's URL, without quoting it, since it may hold a password.

    Raises:
        ConfigurationError: no ``http`` or ``https`` URL with a host, and nothing behind its port.
    """
    try:
        parts = urlsplit(proxy)
        fits = parts.scheme in ("http", "https") and parts.port != 0
        fits = fits and _is_host(parts.hostname or "", parts.netloc) and _is_sendable(proxy)
        behind = parts.path.strip("/") or parts.query or parts.fragment
    except ValueError:
        fits, behind = False, ""
    if not fits or behind or not is_visible(proxy) or " " in proxy:
        raise ConfigurationError(
            "proxy: an http:// or https:// URL is due, with a host and no path; "
            "in a user name and a password, what a URL reserves is percent-encoded"
        )


def _kind(name: str, value: object, *kinds: type[Any] | None) -> None:
    allowed = tuple(kind for kind in kinds if kind is not None)
    if isinstance(value, allowed) or (value is None and None in kinds):
        return
    names = " or ".join("None" if kind is None else kind.__name__ for kind in kinds)
    raise TypeError(f"{name} is {names}, not {type(value).__name__}")


def _timeout(timeout: Timeout | float) -> Timeout:
    if isinstance(timeout, Timeout):
        return timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a Timeout or seconds, not {type(timeout).__name__}")
    return Timeout(total=timeout)


def _flag(name: str) -> bool:
    value = os.environ.get(f"PORTSIP_{name}", "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"PORTSIP_{name} is 1 or 0")
    return value in _TRUE


def _api_url(base_url: str, *, allow_http: bool) -> str:
    """Check a base URL, and bring it to the form ``https://host:port/api``."""
    if not isinstance(base_url, str):
        raise TypeError(f"base_url is a str, not {type(base_url).__name__}")
    if "@" in base_url:
        raise ConfigurationError("a user name or password has no place in the URL")
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
        raise ConfigurationError(f"no URL of a PBX, as in https://pbx.example.com:8900: {shown!r}")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"a base URL has no query and no fragment: {shown!r}")
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        raise ConfigurationError(
            f"plain http shows the password to anyone on the way to {host}: "
            "use https, or say allow_http=True"
        )
    path = parts.path.rstrip("/").removesuffix("/api")
    url = f"{parts.scheme}://{parts.netloc}{path}/api"
    if not _is_sendable(url):
        raise ConfigurationError(
            f"base_url must be one that a request can be sent to, got {shown!a}"
        )
    return url


def _is_sendable(url: str) -> bool:
    """Check whether a request's URL can be made of a base URL, as at each call."""
    try:
        route = Route(url, ACCOUNT_VERIFY)
    except ValueError:
        return False
    # A mark such as U+2488, a digit with its dot, must not divide the name anew.
    host = urlsplit(url).hostname or ""
    sent = route.url.raw_host or ""
    return ":" in host or len(_DOT.findall(host)) == sent.count(".")


def _is_host(host: str, netloc: str) -> bool:
    """Tell whether a name or an address can be asked for at all."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            name = host.encode("idna").decode()
        except UnicodeError:
            return False
        # In brackets stands an address of version 6.
        return bool(_HOST.fullmatch(name)) and "[" not in netloc.rpartition("@")[2]
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
