"""PortSIPClient: checks the settings, builds the session, and holds the resources."""

import math
import os
import ssl as tls
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import aiohttp

from ..arguments import check_int, check_number, check_type, is_visible, plain_text
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..core.endpoint import Endpoint, EndpointOverride, EndpointTable
from ..core.observer import Attempt
from ..core.pages import PageSize
from ..core.request import TOKEN_NAME
from ..core.retry import RetryPolicy
from ..core.session import Session
from ..core.tasks import NotCopyable
from ..core.tracebacks import hide_arguments, strip_frames
from ..core.transport import SSL, CallOptions, Timeout, Transport
from ..core.upload import source_of
from ..core.urls import api_url, check_proxy
from ..errors import ConfigurationError
from .account import Account
from .error_codes import CLASSIC_ERRORS
from .extensions import Extensions
from .greetings import Greetings
from .groups import Groups
from .login import AnyCredentials, EmailCredentials, Login, resolve_credentials
from .operations import ENDPOINTS
from .resource import ClientState, KeyedLocks, Sender, drop_none

T = TypeVar("T")

_DEFAULT_TIMEOUT: Final = Timeout()
_DEFAULT_RETRY: Final = RetryPolicy()
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
    """A client of the REST API of one PortSIP PBX.

    Use it in an ``async with`` block, or call `close` at the end. One client serves any number of
    tasks of one event loop.

    Attributes:
        account: checking credentials and renewing the token.
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
        """Store the settings. Nothing is opened or sent before the first call.

        Args:
            base_url: such as ``https://pbx.example.com:8900``, with or without ``/api``.
            username: the user name to log in with, together with `password`.
            password: see username.
            credentials: instead of username and password: PasswordCredentials, EmailCredentials,
                StaticToken, or any object with ``async def fetch_token(self) -> Token``.
            token: instead of credentials: an existing token. It is renewed only by refreshing it.
            timeout: the limits of one attempt. A number is its `total` in seconds.
            retry: how failed attempts are repeated, and the deadline of a call.
            max_connections: the most calls in flight. Further calls wait.
            requests_per_second: the rate of attempts, evenly spaced. None sets no limit.
            max_reply_bytes: the longest reply that is read, in bytes after decompression.
            session: your own aiohttp session. It is never closed, and its headers, cookies,
                tracing and connection limit are left alone. Its middlewares are not run.
            ssl: an SSLContext, the path of a CA file, or an aiohttp.Fingerprint. False accepts
                any certificate and warns. None checks certificates as usual.
            proxy: the URL of an HTTP proxy. None uses no proxy, whatever the environment says.
            allow_http: whether plain http is allowed for a host that is not loopback.
            endpoints: overrides of the API's operations by name, such as
                ``{"extensions.status": {"method": "GET"}}``.
            user_agent: the User-Agent header. None sends that of aiohttp or of your session.
            on_attempt: a function that is called with an `Attempt` after each attempt, unless the
                attempt was cancelled. What it raises is logged. For OpenTelemetry, pass
                `portsip_async.telemetry.Telemetry()`.

        Raises:
            ConfigurationError: a URL cannot be used, there is no way to log in or more than one, or
                an unknown operation is overridden.
            ValueError, TypeError: an option is out of bounds, or has the wrong type.
        """
        # 1. Check the arguments, so that mistakes show here and not in a later request.
        url = api_url(base_url, allow_http=allow_http, suffix="/api")
        login = resolve_credentials(username, password, credentials, token)
        check_int("max_connections", max_connections, 1)
        check_int("max_reply_bytes", max_reply_bytes, 1)
        if requests_per_second is not None:
            check_number("requests_per_second", requests_per_second, above=0)
            if math.isinf(1 / requests_per_second):
                raise ValueError(
                    f"requests_per_second must be a larger number, got {requests_per_second}"
                )
        check_type("retry", retry, RetryPolicy)
        check_type("session", session, aiohttp.ClientSession, None)
        check_type("ssl", ssl, tls.SSLContext, aiohttp.Fingerprint, str, os.PathLike, bool, None)
        check_type("proxy", proxy, str, None)
        if proxy is not None:
            proxy = plain_text(proxy)
            check_proxy(proxy)
        check_type("user_agent", user_agent, str, None)
        if user_agent is not None:
            user_agent = plain_text(user_agent)
            if not is_visible(user_agent):
                raise ValueError(
                    f"user_agent must be one line of visible characters, got {user_agent!a}"
                )
        if isinstance(ssl, str):
            ssl = plain_text(ssl)
        if isinstance(ssl, str | os.PathLike) and not _is_path(ssl):
            raise ConfigurationError("ssl must be a path without NUL or lone surrogates")
        if on_attempt is not None and not callable(on_attempt):
            raise TypeError(f"on_attempt must be callable, got {type(on_attempt).__name__}")
        if ssl is False:
            warnings.warn(
                "ssl=False accepts any certificate, so anyone on the network can read the password",
                stacklevel=_package_frames(),
            )
        # 2. Build the core, which sends requests.
        options = CallOptions(_timeout(timeout), retry)
        table = EndpointTable(ENDPOINTS, endpoints)
        core = Session(
            url,
            options=options,
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
            errors=CLASSIC_ERRORS,
            token_source=lambda session: Login(session, table, login),
        )
        # 3. Build the state that views share, and the resources over it.
        state = ClientState(
            session=core,
            table=table,
            locks=KeyedLocks(),
            outages=OutageLog(urlsplit(url).netloc),
            batch_sizes=BatchSizeLearner(),
            page_size=PageSize(frozenset(name for name, row in ENDPOINTS.items() if row.pages)),
        )
        self._set_up(core, state, options, is_view=False)

    def _set_up(
        self, session: Session, state: ClientState, options: CallOptions, *, is_view: bool
    ) -> None:
        """Set the attributes of a new client or a view."""
        self._session = session
        self._state = state
        self._options = options
        self._is_view = is_view
        sender = Sender(state, options)
        self.account: Account = Account(sender)
        self.extensions: Extensions = Extensions(sender)
        self.groups: Groups = Groups(sender)
        self.greetings: Greetings = Greetings(sender)

    @classmethod
    @hide_arguments
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """Create a client from environment variables.

        They are PORTSIP_URL, PORTSIP_USERNAME, PORTSIP_PASSWORD, PORTSIP_EMAIL (with the same
        password), PORTSIP_TOKEN, PORTSIP_ALLOW_HTTP (1 or 0) and PORTSIP_CA_FILE.

        Args:
            overrides: any arguments of `PortSIPClient`; they override the variables. Credentials
                that are passed replace all those of the environment. If only one of `username`
                and `password` is passed, the other is read from its variable.

        Raises:
            ConfigurationError: there is no URL, there is no way to log in or more than one, or
                PORTSIP_ALLOW_HTTP is neither 1 nor 0.
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
        # Credentials are read from the environment only if none are passed, or if just one of
        # username and password is passed.
        passed = overrides.keys() & {"username", "password", "credentials", "token"}
        if passed in ({"username"}, {"password"}):
            arguments |= {"username": env["USERNAME"], "password": env["PASSWORD"]}
        elif not passed:
            arguments["token"] = env["TOKEN"]
            if env["EMAIL"]:
                if env["USERNAME"] or not env["PASSWORD"]:
                    raise ConfigurationError(
                        "PORTSIP_EMAIL must be set with PORTSIP_PASSWORD, without PORTSIP_USERNAME"
                    )
                arguments["credentials"] = EmailCredentials(env["EMAIL"], env["PASSWORD"])
            else:
                arguments |= {"username": env["USERNAME"], "password": env["PASSWORD"]}
        arguments |= overrides
        base_url = arguments.pop("base_url")
        if not base_url:
            raise ConfigurationError("PORTSIP_URL is not set: set it, or pass base_url=")
        return cls(base_url, **arguments)

    def with_options(
        self, *, timeout: Timeout | float | None = None, retry: RetryPolicy | None = None
    ) -> Self:
        """Return a view of this client with other options and the same connections and token.

        Closing a view does nothing: the original client owns the connections.

        Args:
            timeout: replaces the client's timeout; None keeps it.
            retry: replaces the client's policy, except for the shared budget; None keeps it.
        """
        check_type("retry", retry, RetryPolicy, None)
        options = CallOptions(
            self._options.timeout if timeout is None else _timeout(timeout),
            self._options.retry if retry is None else retry,
        )
        view = object.__new__(type(self))
        view._set_up(self._session, self._state, options, is_view=True)
        # An application's subclass may have attributes of its own.
        for name in vars(self).keys() - vars(view).keys():
            setattr(view, name, getattr(self, name))
        return view

    def request(self, endpoint: Endpoint[T], /, **parameters: object) -> Awaitable[T]:
        """Send a request to any endpoint, even your own, with the client's token and limits.

        Args:
            endpoint: the operation. If its name is one of the API's, the client's override applies.
            parameters: the arguments, under the API's names; None is left out. If the endpoint
                sends them as "binary", ``file`` is the body, as in an upload.

        Returns:
            An awaitable of the reply.

        Raises:
            PortSIPError: the call failed. Raised when it is awaited.
            TypeError, ValueError: a parameter that cannot be sent. Raised by this call itself.
        """
        try:
            check_type("endpoint", endpoint, Endpoint)
            if TOKEN_NAME in parameters:
                raise TypeError(f"{TOKEN_NAME} must not be passed; the client adds it")
            row = self._state.table.adopt(endpoint)
            source = None
            if row.parameters == "binary":
                file: Any = parameters.pop("file", b"")  # source_of checks it
                source = source_of(file, self._session.threads)
            return self._session.call(row, drop_none(parameters), self._options, source=source)
        except Exception as error:
            strip_frames(error)
            raise

    async def close(self) -> None:
        """End the client's calls, tasks and connections. It is safe to call it again.

        Calls in flight, open walks and later calls raise ClientClosed.
        """
        if not self._is_view:
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


def _package_frames() -> int:
    """Count the frames up to the caller of this package, for a warning's ``stacklevel``."""
    count, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(
        __name__.partition(".")[0]
    ):
        count, frame = count + 1, frame.f_back
    return count


def _is_path(path: str | os.PathLike[str]) -> bool:
    """Check that a text can be the path of a file."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _timeout(timeout: Timeout | float) -> Timeout:
    if isinstance(timeout, Timeout):
        return timeout
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(
            f"timeout must be a Timeout or a number of seconds, got {type(timeout).__name__}"
        )
    return Timeout(total=timeout)


def _flag(name: str) -> bool:
    value = os.environ.get(f"PORTSIP_{name}", "").strip().lower()
    if value not in _TRUE | _FALSE:
        raise ConfigurationError(f"PORTSIP_{name} must be 1 or 0, got {value!r}")
    return value in _TRUE
