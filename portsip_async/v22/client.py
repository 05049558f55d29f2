"""PortSIPClient of generation v22: its ways to log in, and its resources."""

from collections.abc import Callable, Mapping
from typing import Final, Self, Unpack

import aiohttp

from ..arguments import optional_texts
from ..client.base import DEFAULT_RETRY, DEFAULT_TIMEOUT, BaseClient, CommonOptions
from ..client.environment import LoginWay, arguments_from_env
from ..client.resource import Sender
from ..client.sharing import shared_account
from ..core.endpoint import EndpointOverride
from ..core.hooks import Attempt, AttemptStart
from ..core.retry import RetryPolicy
from ..core.token_store import TokenStore
from ..core.tracebacks import hide_arguments
from ..core.transport import SSL, Timeout
from ..core.urls import api_url
from .auth import Auth
from .blobs import Blobs
from .calls import Calls
from .directory import Directory
from .error_codes import V22_ERRORS
from .extensions import Extensions
from .greetings import Greetings
from .groups import Groups
from .login import AnyCredentials, Login, SignIn, resolve_credentials
from .models import ServerInfo
from .operations import ENDPOINTS, PBX_INFO
from .users import Users

_WAYS: Final = (
    LoginWay(frozenset({"username", "password"}), frozenset({"domain"})),
    LoginWay(frozenset({"token"}), frozenset({"refresh_token"})),
)


class ClientOptions(CommonOptions, total=False):
    """The arguments of a `PortSIPClient`."""

    domain: str | None
    credentials: AnyCredentials | None
    refresh_token: str | None


class PortSIPClient(BaseClient):
    """A client of the REST API of one PortSIP PBX of generation v22.

    Use it in an ``async with`` block, or call `close` at the end. One client serves any number of
    tasks of one event loop.

    Attributes:
        users: the users by id.
        extensions: the same people by extension number, their status, calls.
        groups: groups of users.
        greetings: voicemail greetings.
        blobs: uploads of files.
        calls: calls that are in progress.
        auth: second factors, renewing the tokens, signing out.
    """

    @hide_arguments
    def __init__(
        self,
        base_url: str,
        *,
        username: str | None = None,
        password: str | None = None,
        domain: str | None = None,
        credentials: AnyCredentials | None = None,
        token: str | None = None,
        refresh_token: str | None = None,
        timeout: Timeout | float = DEFAULT_TIMEOUT,
        retry: RetryPolicy = DEFAULT_RETRY,
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
        before_attempt: Callable[[AttemptStart], Mapping[str, str] | None] | None = None,
        token_store: TokenStore | None = None,
    ) -> None:
        """Store the settings. Nothing is opened or sent before the first call.

        Args:
            base_url: such as ``https://pbx.example.com:8887``, with or without ``/api``.
            username: the user name to log in with, together with `password`.
            password: see username.
            domain: the SIP domain of the user's tenant. None logs in a system administrator.
            credentials: instead of username and password: SignIn, Tokens, or any object with
                ``async def fetch_token(self) -> Token``.
            token: instead of credentials: an existing access token.
            refresh_token: the refresh token that belongs to `token`. It is used once. Without it,
                the client stops working when the PBX rejects `token`.
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
                ``{"users.show": {"path": "/v2/users/{id}"}}``.
            user_agent: the User-Agent header. None sends that of aiohttp or of your session.
            on_attempt: a function that is called with an `Attempt` after each attempt, unless the
                attempt was cancelled. What it raises is logged. For OpenTelemetry, pass
                `portsip_async.telemetry.Telemetry()`.
            before_attempt: a function that is called with an `AttemptStart` before each attempt,
                logins included, and before a web socket opens. It may return headers to add to the
                request. It can't replace those that the client sets; a header that can't be sent is
                left out and logged. What it raises is logged.
            token_store: shares the token with other processes, such as
                `portsip_async.redis.RedisTokenStore`. They log in once together. An object in
                `credentials` needs a text attribute `account` then, which names its account.

        Raises:
            ConfigurationError: a URL cannot be used, there is no way to log in or more than one, or
                an unknown operation is overridden.
            ValueError, TypeError: an option is out of bounds, or has the wrong type.
        """
        url = api_url(base_url, allow_http=allow_http, suffix="/api")
        login = resolve_credentials(username, password, domain, credentials, token, refresh_token)
        # All views share it.
        self._directory = Directory()
        self._account = login if isinstance(login, SignIn) else None
        super().__init__(
            url,
            rows=ENDPOINTS,
            errors=V22_ERRORS,
            token_place="bearer",
            token_source=lambda core, table: Login(core, table, login),
            timeout=timeout,
            retry=retry,
            max_connections=max_connections,
            requests_per_second=requests_per_second,
            max_reply_bytes=max_reply_bytes,
            session=session,
            ssl=ssl,
            proxy=proxy,
            endpoints=endpoints,
            user_agent=user_agent,
            on_attempt=on_attempt,
            before_attempt=before_attempt,
            shared=shared_account(token_store, "v22", url, login),
        )

    def _add_resources(self, sender: Sender) -> None:
        self._sender = sender
        self.auth: Auth = Auth(sender)
        self.users: Users = Users(sender, self._directory)
        self.groups: Groups = Groups(sender)
        self.blobs: Blobs = Blobs(sender)
        self.greetings: Greetings = Greetings(sender)
        self.calls: Calls = Calls(sender)
        self.extensions: Extensions = Extensions(
            sender, self._directory, self.users, self.calls, self._account
        )

    @classmethod
    @hide_arguments
    def from_env(cls, **overrides: Unpack[ClientOptions]) -> Self:
        """Create a client from environment variables.

        They are PORTSIP_URL, PORTSIP_USERNAME, PORTSIP_PASSWORD, PORTSIP_DOMAIN, PORTSIP_TOKEN,
        PORTSIP_REFRESH_TOKEN, PORTSIP_ALLOW_HTTP (1 or 0) and PORTSIP_CA_FILE.

        Args:
            overrides: any arguments of `PortSIPClient`; they override the variables. Credentials
                that are passed replace all those of the environment. But if `username` or
                `password` is missing, the rest is read from the variables of a login by password,
                and if only `refresh_token` is passed, `token` is read from its variable.

        Raises:
            ConfigurationError: there is no URL, there is no way to log in or more than one, or
                PORTSIP_ALLOW_HTTP is neither 1 nor 0.
        """
        arguments = arguments_from_env(overrides, *_WAYS)
        return cls(arguments.pop("base_url"), **arguments)

    async def info(self, *, domain: str | None = None) -> ServerInfo:
        """Read what the PBX shows without a login (``GET /info``).

        Args:
            domain: the SIP domain of a tenant to read about too; None reads about the system only.
        """
        return await self._sender.send(PBX_INFO, optional_texts(domain=domain))
