"""The base of the clients: checks the options, builds the session, makes views, sends requests.

The client of a generation adds its table, its ways to log in, and its resources.
"""

import math
import os
import ssl as tls
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, TypeVar, overload
from urllib.parse import urlsplit

import aiohttp

from ..arguments import check_int, check_number, check_type, is_visible, plain_text
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..core.endpoint import Endpoint, EndpointOverride, EndpointTable, TokenPlace
from ..core.hooks import Attempt, AttemptStart, check_hook
from ..core.message import RawReply
from ..core.pages import PageSize
from ..core.request import TOKEN_NAME
from ..core.retry import RetryPolicy
from ..core.session import Session
from ..core.shared_account import SharedAccount
from ..core.tasks import NotCopyable
from ..core.token_store import TokenStore
from ..core.token_types import TokenSource
from ..core.tracebacks import strip_frames
from ..core.transport import SSL, CallOptions, Timeout, Transport
from ..core.upload import source_of
from ..core.urls import check_proxy
from ..errors import ConfigurationError, ErrorScheme
from .resource import ClientState, Core, KeyedLocks, Sender, drop_none

T = TypeVar("T")

DEFAULT_TIMEOUT: Final = Timeout()
DEFAULT_RETRY: Final = RetryPolicy()


class CommonOptions(TypedDict, total=False):
    """The arguments that the clients of all generations take."""

    base_url: str
    username: str | None
    password: str | None
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
    before_attempt: Callable[[AttemptStart], Mapping[str, str] | None] | None
    token_store: TokenStore | None


class BaseClient(NotCopyable):
    """The part of a client that is the same in all generations."""

    def __init__(
        self,
        url: str,
        *,
        rows: Mapping[str, Endpoint[object]],
        errors: ErrorScheme,
        token_place: TokenPlace | None,
        token_source: Callable[[Core, EndpointTable], TokenSource],
        timeout: Timeout | float,
        retry: RetryPolicy,
        max_connections: int,
        requests_per_second: float | None,
        max_reply_bytes: int,
        session: aiohttp.ClientSession | None,
        ssl: SSL,
        proxy: str | None,
        endpoints: Mapping[str, EndpointOverride] | None,
        user_agent: str | None,
        on_attempt: Callable[[Attempt], object] | None,
        before_attempt: Callable[[AttemptStart], Mapping[str, str] | None] | None = None,
        shared: SharedAccount | None = None,
    ) -> None:
        """Check the options, and build the core and the resources.

        Args:
            url: what the paths of endpoints are appended to, already checked.
            rows: the generation's operations by name.
            errors: what the generation's codes and statuses mean.
            token_place: where the token goes in an application's own endpoint that does not say it;
                None: where the method suggests.
            token_source: builds the source of tokens, from the core that sends its requests and the
                client's endpoints.
            timeout: this and all others as in the clients' own constructors.
            retry: see timeout.
            max_connections: see timeout.
            requests_per_second: see timeout.
            max_reply_bytes: see timeout.
            session: see timeout.
            ssl: see timeout.
            proxy: see timeout.
            endpoints: see timeout.
            user_agent: see timeout.
            on_attempt: see timeout.
            before_attempt: see timeout.
            shared: the client's account in its token store; None if it has no store.

        Raises:
            ConfigurationError: a URL or a path cannot be used, or an unknown operation is
                overridden.
            ValueError, TypeError: an option is out of bounds, or has the wrong type.
        """
        # 1. Check the arguments, so that mistakes show here and not in a later request.
        check_int("max_connections", max_connections, 1)
        check_int("max_reply_bytes", max_reply_bytes, 1)
        if requests_per_second is not None:
            check_number("requests_per_second", requests_per_second, above=0)
            if math.isinf(1 / requests_per_second):
                raise ValueError(
                    f"requests_per_second must be at least 1e-308, got {requests_per_second}"
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
            raise ConfigurationError(
                f"ssl must be a path without NUL or lone surrogates, got {os.fspath(ssl)!a}"
            )
        check_hook("on_attempt", on_attempt)
        check_hook("before_attempt", before_attempt)
        stacklevel, place = _caller()
        if ssl is False:
            warnings.warn(
                "ssl=False accepts any certificate, so anyone on the network can read the password",
                stacklevel=stacklevel,
            )
        # 2. Build the core, which sends requests.
        options = CallOptions(_timeout(timeout), retry)
        table = EndpointTable(rows, endpoints, token=token_place)
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
            before_attempt=before_attempt,
            client=f"{_public_name(type(self))} of {url}, created at {place},",
            errors=errors,
            shared=shared,
            token_source=lambda session: token_source(session, table),
        )
        # 3. Build the state that views share, and the resources over it.
        state = ClientState(
            session=core,
            table=table,
            locks=KeyedLocks(),
            outages=OutageLog(urlsplit(url).netloc),
            batch_sizes=BatchSizeLearner(),
            page_size=PageSize(frozenset(name for name, row in rows.items() if row.pages)),
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
        self._add_resources(Sender(state, options))

    def _add_resources(self, sender: Sender) -> None:
        """Set the attributes for the resources. The client of each generation has its own."""

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
        vars(view).update(vars(self))  # an application's subclass may have attributes of its own
        view._set_up(self._session, self._state, options, is_view=True)
        return view

    # Not `raw: bool = False`: then a call with ``**parameters`` of another type would be an error.
    @overload
    def request(
        self, endpoint: Endpoint[T], /, *, raw: Literal[True], **parameters: object
    ) -> Awaitable[RawReply[T]]: ...
    @overload
    def request(self, endpoint: Endpoint[T], /, **parameters: object) -> Awaitable[T]: ...
    def request(
        self, endpoint: Endpoint[T], /, *, raw: object = False, **parameters: object
    ) -> Awaitable[T | RawReply[T]]:
        """Send a request to any endpoint, even your own, with the client's token and limits.

        Args:
            endpoint: the operation. If its name is one of the API's, the client's override applies.
            raw: whether to return a `RawReply`, with the status, the headers and the body. For an
                endpoint with a parameter of this name, pass `rename=` to `Endpoint`.
            parameters: the arguments, under the API's names; None is left out. If the endpoint
                sends them as "binary", ``file`` is the body, as in an upload.

        Returns:
            An awaitable of the reply, or of a `RawReply`.

        Raises:
            PortSIPError: the call failed. Raised when it is awaited.
            TypeError, ValueError: a parameter that cannot be sent. Raised by this call itself.
        """
        try:
            check_type("endpoint", endpoint, Endpoint)
            check_type("raw", raw, bool)
            if TOKEN_NAME in parameters:
                raise TypeError(f"{TOKEN_NAME} must be left out: the client adds it")
            row = self._state.table.adopt(endpoint)
            source = None
            if row.parameters == "binary":
                file: Any = parameters.pop("file", b"")  # source_of checks it
                source = source_of(file, self._session.threads)
            return self._session.call(
                row, drop_none(parameters), self._options, source=source, raw=raw is True
            )
        except Exception as error:
            strip_frames(error)
            raise

    async def close(self) -> None:
        """End the client's calls, tasks and connections. It is safe to call it again.

        Calls in flight, open walks and later calls raise ClientClosed. If an upload was cancelled
        just before, the request that removes its rest from the PBX may take up to 5 seconds.
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
        return f"<{type(self).__name__} {self._session.base_url}{state}>"


def _caller() -> tuple[int, str]:
    """Return where this package was called: a warning's ``stacklevel``, and the file and line."""
    count, frame = 1, sys._getframe(1)
    own = __name__.partition(".")[0]
    while frame.f_back is not None:
        # Code that an application runs with `exec` may have no name.
        name = str(frame.f_globals.get("__name__"))
        if name.partition(".")[0] != own:
            break
        count, frame = count + 1, frame.f_back
    return count, f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _public_name(kind: type[object]) -> str:
    """Return the name by which an application imports a client."""
    module = kind.__module__
    if module.startswith(f"{__name__.partition('.')[0]}."):
        module = module.removesuffix(".client")
    return f"{module}.{kind.__qualname__}"


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
