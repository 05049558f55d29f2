"""The client's access token: how it is obtained, cached, renewed, and passed to calls.

What happens to a token, from the login to the header:

1. A `TokenSource` gets it from the PBX, by a login or by refreshing the previous token. The classic
   API's source is `Login` in ``classic/login.py``. The result is a `TokenReply`.
2. `TokenCache` keeps it as a `CachedToken`. There is only one, which all calls share.
3. Before each attempt a call asks for it: `TokenCache.current` returns it at once in most cases.
   If that returns None, the call awaits `TokenCache.wait`.
4. The call's request puts it where the endpoint wants it: in the query, the body or a header.
5. If the PBX rejects the token, the call passes it to `TokenCache.reject`. Then it asks for a token
   again, and repeats the request with it.

A token lives 30 seconds unless the PBX says otherwise. Its life is counted from the moment when the
request for it was sent. During its life a token is

- *fresh* for the first two thirds: calls use it;
- *stale* after that: calls still use it, while one task renews it in the background. If the renewal
  fails, calls go on using the token, and the next renewal starts after a growing pause;
- *spent* for the last two seconds, or the last quarter of a short life: calls wait for a renewal.

A renewal refreshes the token. If the PBX refuses that, the renewal logs in, once. Only a call
starts a renewal, so an idle client sends nothing. There is at most one renewal at a time, and it
runs in a task of its own. Calls only watch that task: a call that is cancelled does not cancel it
for the others. If the renewal fails, each waiting call raises the error.

A PBX blocks the address of a client that keeps sending wrong credentials. So the cache remembers a
refused login: for 60 seconds, all calls that need a token fail and nothing is sent. Each further
refusal in a row doubles that time, up to 15 minutes.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from msgspec import structs

from ..errors import (
    APIError,
    AuthenticationError,
    ClientClosed,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
    leading_status,
)
from ..redact import Record
from .limits import Clock
from .tasks import NotCopyable, TaskOwner

LIFETIME = 30.0  # seconds; from the vendor's documentation
STALE_AFTER = 2 / 3  # of the life
MARGIN = 2.0  # seconds before the end
MAX_MARGIN = 1 / 4  # of the life
COOL_DOWN = 60.0  # seconds
MAX_COOL_DOWN = 900.0  # seconds
PAUSE = 0.5  # seconds
MAX_PAUSE = 5.0  # seconds

# The attribute that marks an exception of an application's `fetch_token`.
_FETCH_MARK: Final = "_portsip_async_fetch_token"


class Token(Record, frozen=True):
    """An access token of the PBX; the repr hides it.

    Attributes:
        access_token: the token itself.
        expires: seconds from now until it expires; 30 if the PBX doesn't say.
        role: administrator, tenant or extension.
        api_version: the version that the PBX names.
    """

    access_token: str
    expires: float = LIFETIME
    role: str | None = None
    api_version: str | None = None


class PasswordCredentials(Record, frozen=True):
    """Log in with a user name and a password (``POST /account/credentials/verify``)."""

    username: str
    password: str


class EmailCredentials(Record, frozen=True):
    """Log in with an email address and a password (``POST /account/email/verify``)."""

    email: str
    password: str


class StaticToken(Record, frozen=True):
    """Start from a token that was obtained elsewhere. It is renewed only by refreshing it."""

    access_token: str


@runtime_checkable
class Credentials(Protocol):
    """Anything that can fetch a token: from a vault, from another service."""

    async def fetch_token(self) -> Token:
        """Fetch a token that is valid now."""
        ...


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The token that a login or a refresh returned.

    Attributes:
        token: the token.
        sent_at: when the request was sent, on the monotonic clock.
    """

    token: Token = field(repr=False)
    sent_at: float


@dataclass(frozen=True, slots=True)
class CachedToken:
    """The token that calls use, with its times on the monotonic clock.

    Attributes:
        token: the token.
        generation: the token's number, counted from 1. A prolonged token keeps its number.
        stale_at: when it should be renewed in the background.
        spent_at: when calls stop using it.
    """

    token: Token
    generation: int
    stale_at: float
    spent_at: float

    def __repr__(self) -> str:
        return f"CachedToken(generation={self.generation})"


class TokenSource(Protocol):
    """Gets tokens from the PBX, or from an application's own credentials.

    Attributes:
        can_login: False if there are no credentials, only a token to start from.
        initial: a token to start from, or None.
    """

    can_login: bool
    initial: str | None

    async def login(self) -> TokenReply:
        """Log in.

        Raises:
            AuthenticationError: the credentials were refused.
        """
        ...

    async def refresh(self, access_token: str) -> TokenReply:
        """Refresh a token. The reply has the same `access_token` if it was only prolonged.

        Raises:
            AuthenticationError: the PBX refused the token.
        """
        ...


# A renewal returns its error instead of raising it. Often no call waits for a renewal in the
# background, and asyncio logs exceptions that nobody retrieves.
Outcome: TypeAlias = CachedToken | Exception
_Renewal: TypeAlias = Coroutine[Any, Any, Outcome]


async def fetch_token(credentials: Credentials) -> Token:
    """Fetch a token from an application's credentials, and mark the exceptions that they raise.

    Raises:
        TypeError: the result is not a usable Token.
        Exception: whatever `credentials` raise, as the same object.
    """
    try:
        token: object = await credentials.fetch_token()
        if not isinstance(token, Token):
            problem = f"a Token, got {type(token).__name__}"
        elif not isinstance(token.access_token, str):
            problem = f"a Token with a str as access_token, got {type(token.access_token).__name__}"
        elif not isinstance(token.expires, int | float):
            problem = f"a Token with seconds as expires, got {type(token.expires).__name__}"
        else:
            return token
        del token  # it may be the secret itself, and tracebacks may show local variables
        raise TypeError(f"fetch_token must return {problem}")
    except PortSIPError:
        raise
    except Exception as error:
        # Not by setattr, which an exception class may forbid.
        vars(error)[_FETCH_MARK] = True
        raise


def is_fetch_error(error: BaseException) -> bool:
    """Return whether an application's `fetch_token` raised this, or returned no usable Token.

    Any other exception that is not a PortSIPError is a fault of the SDK or of its caller.
    """
    return _FETCH_MARK in vars(error)


class _Backoff:
    """A pause that doubles with each failure in a row.

    Attributes:
        until: when the pause ends, on the monotonic clock.
    """

    def __init__(self, first: float, maximum: float) -> None:
        self._first = first
        self._maximum = maximum
        self._failures = 0
        self.until: float = -math.inf

    def fail(self, now: float) -> None:
        """Start a pause, twice as long as the previous one."""
        pause = self._first * 2.0 ** min(self._failures, 10)
        self._failures += 1
        self.until = now + min(pause, self._maximum)

    def reset(self) -> None:
        """End the pause, and make the next one short again."""
        self._failures, self.until = 0, -math.inf


class TokenCache(NotCopyable):
    """Keeps the client's one token, and renews it.

    Attributes:
        generation: the number of the newest token; 0 before the first.
    """

    def __init__(
        self,
        source: TokenSource,
        *,
        owner: TaskOwner,
        clock: Clock,
        observe: Callable[[Callable[[], _Renewal]], _Renewal] | None = None,
    ) -> None:
        """Store the settings; the first call that needs a token starts the first login.

        Args:
            source: gets tokens.
            owner: starts the tasks of renewals, and ends them when the client closes.
            clock: the time.
            observe: runs each renewal, for telemetry; None runs it directly.
        """
        self._source = source
        self._owner = owner
        self._clock = clock
        self._observe = observe
        # A token to start from; None once it is in the cache. Its life begins with its first use.
        self._initial = source.initial
        # The token that calls use. None before the first one, and after the PBX rejected it.
        self._cached: CachedToken | None = None
        # The token that the next refresh sends, even if it is spent or rejected.
        self._last: CachedToken | None = None
        self.generation: int = 0
        # The renewal that is running.
        self._renewal: asyncio.Task[Outcome] | None = None
        # After a failure, no renewal starts in the background for a while. Calls that need a token
        # ignore this pause.
        self._pause = _Backoff(PAUSE, MAX_PAUSE)
        # After a refused login, only `renew` sends anything; all others raise `_refused` again.
        self._cool_down = _Backoff(COOL_DOWN, MAX_COOL_DOWN)
        self._refused: AuthenticationError | None = None

    def current(self) -> CachedToken | None:
        """Return the token if calls can use it now, else None.

        Starts a renewal in the background if the token is stale.
        """
        cached = self._cached
        if cached is None:
            return self._use_initial()
        now = self._clock.monotonic()
        if now >= cached.stale_at:
            if now >= cached.spent_at:
                return None
            if self._renewal is None and now >= max(self._pause.until, self._cool_down.until):
                self._start_renewal()
        return cached

    async def wait(self) -> CachedToken:
        """Return the token; wait for a renewal if there is none that calls can use.

        Raises:
            AuthenticationError: the login was refused, now or during the cool-down.
            PortSIPError: the renewal failed; each waiting call gets a copy of the error.
            ClientClosed: the client was closed during the renewal.
            Exception: what an application's `fetch_token` raised; the object itself.
        """
        cached = self.current()
        if cached is not None:
            return cached
        if self._renewal is not None:
            return await self._outcome(self._renewal)
        if self._refused is not None and self._clock.monotonic() < self._cool_down.until:
            refused = self._refused.copy()
            refused.attempts = 0
            raise refused
        return await self._outcome(self._start_renewal())

    async def renew(self) -> Token:
        """Renew the token at once, even during the cool-down, and return the new one.

        Joins a renewal that is already running. Raises the same errors as `wait`.
        """
        if self._renewal is not None:
            return (await self._outcome(self._renewal)).token
        self._use_initial()  # so that the renewal has a token to refresh
        return (await self._outcome(self._start_renewal())).token

    def reject(self, cached: CachedToken) -> None:
        """Stop using a token that the PBX rejected. A newer one stays in use."""
        if self._cached is not None and self._cached.generation == cached.generation:
            self._cached = None

    def _use_initial(self) -> CachedToken | None:
        """Put the token to start from into the cache, once."""
        if self._initial is None:
            return None
        token, self._initial = Token(self._initial), None
        return self._store(token, self._clock.monotonic())

    def _start_renewal(self) -> asyncio.Task[Outcome]:
        observe = self._observe
        task = self._owner.start(self._renew() if observe is None else observe(self._renew))
        # An eager task may have ended already.
        self._renewal = None if task.done() else task
        return task

    async def _outcome(self, renewal: asyncio.Task[Outcome]) -> CachedToken:
        """Wait for a renewal; return its token, or raise its error."""
        # Awaiting the task itself would cancel it if this call is cancelled.
        await asyncio.wait((renewal,))
        if renewal.cancelled():
            raise ClientClosed("the client was closed")
        outcome = renewal.result()
        if isinstance(outcome, PortSIPError):
            # Calls set attributes of their own on it.
            raise outcome.copy()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _renew(self) -> Outcome:
        """Get a new token and cache it; return the error if that fails."""
        try:
            reply = await self._obtain()
            token = reply.token  # its repr hides the text, unlike that of a local variable
            # Anything else can't be sent in a header.
            if not token.access_token or not token.access_token.isprintable():
                raise ReplyError(expected="a printable text", where="$.access_token")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the client closes
            # Nobody cancelled this task: the application's fetch_token raised it by itself.
            self._pause.fail(self._clock.monotonic())
            return PortSIPError("fetch_token raised CancelledError, but nobody cancelled the call")
        except Exception as error:
            if isinstance(error, AuthenticationError) and not error.is_page:
                self._refused = error
                self._cool_down.fail(self._clock.monotonic())
            else:
                self._pause.fail(self._clock.monotonic())
            return error
        finally:
            self._renewal = None
        # A success clears all earlier failures.
        self._pause.reset()
        self._cool_down.reset()
        self._refused = None
        return self._store(token, reply.sent_at)

    async def _obtain(self) -> TokenReply:
        """Refresh the last token; log in if there is none, or if the PBX refuses to refresh it."""
        last, refused = self._last, None
        if last is not None:
            try:
                reply = await self._source.refresh(last.token.access_token)
            except (APIError, ReplyError) as error:
                if isinstance(error, APIError) and not _may_login_after(error):
                    raise
                refused = error
            else:
                token = reply.token
                # Prolonging a token that the PBX rejected does not make it valid again.
                if token.access_token != last.token.access_token or last is self._cached:
                    role = token.role or last.token.role
                    api_version = token.api_version or last.token.api_version
                    token = structs.replace(token, role=role, api_version=api_version)
                    return TokenReply(token, reply.sent_at)
        if self._source.can_login:
            return await self._source.login()
        raise refused or AuthenticationError(
            "the token was rejected, and there are no credentials to log in with", status=401
        )

    def _store(self, token: Token, sent_at: float) -> CachedToken:
        """Put a token into the cache, with its times and its generation."""
        life = token.expires if 0 < token.expires < math.inf else LIFETIME
        # A prolonged token keeps its generation, so that `reject` matches it for calls that were
        # sent with it before.
        if self._cached is None or self._cached.token.access_token != token.access_token:
            self.generation += 1
        cached = CachedToken(
            token,
            self.generation,
            stale_at=sent_at + life * STALE_AFTER,
            spent_at=sent_at + life - min(MARGIN, life * MAX_MARGIN),
        )
        self._cached = self._last = cached
        return cached


def _may_login_after(error: APIError) -> bool:
    """Return whether a login may succeed after a refresh failed with this error.

    True for any 4xx except 408 and 429. A busy or broken PBX should not have to handle a login too.
    """
    if isinstance(error, RateLimited | ServerError):
        return False
    # In a 200, a code such as 404.1 begins with the real status.
    code = leading_status(str(error.err_code))
    return any(400 <= status < 500 and status not in (408, 429) for status in (error.status, code))
