"""The client's access token: how it is obtained, cached, renewed, and passed to calls.

What happens to a token, from the login to the header:

1. A `TokenSource` gets it from the PBX, by a login or by refreshing the previous token. Each
   generation of the API has its own. The result is a `TokenReply`.
2. `TokenCache` keeps it as a `CachedToken`. There is only one, which all calls share.
3. Before each attempt a call asks for it: `TokenCache.current` returns it at once in most cases.
   If that returns None, the call awaits `TokenCache.wait`.
4. The call's request puts it where the endpoint wants it: in the query, the body or a header.
5. If the PBX rejects the token, the call passes it to `TokenCache.reject`. Then it asks for a token
   again, and repeats the request with it.

If the PBX doesn't say how long a token lives, the source does. Its life is counted from the moment
when the request for it was sent. During its life a token is

- *fresh* for the first two thirds: calls use it;
- *stale* after that: calls still use it, while one task renews it in the background. If the renewal
  fails, calls go on using the token, and the next renewal starts after a growing pause;
- *spent* for the last two seconds, or the last quarter of a short life: calls wait for a renewal.

A renewal refreshes the token. If the PBX refuses that, the renewal logs in, once. Only a call
starts a renewal, so an idle client sends nothing. There is at most one renewal at a time, and it
runs in a task of its own. Calls only watch that task: a call that is cancelled does not cancel it
for the others. If the renewal fails, each waiting call raises the error.

In some generations a refresh token can be used only once. The cache marks such a token as used
before it is sent. If no usable reply arrives, whatever the reason, the same renewal logs in. The
refresh token is kept only if no connection was made.

A PBX blocks the address of a client that keeps sending wrong credentials. So the cache remembers a
refused login: for 60 seconds, all calls that need a token fail and nothing is sent. Each further
refusal in a row doubles that time, up to 15 minutes. A login that asks for a second factor is
remembered until the program passes a token to `use`, or asks for a renewal itself.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from ..errors import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConnectError,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
    TwoFactorRequired,
    leading_status,
)
from .limits import Backoff, Clock
from .tasks import NotCopyable, TaskOwner
from .token_types import CachedToken, Token, TokenReply, TokenSource

STALE_AFTER = 2 / 3  # of the life
MARGIN = 2.0  # seconds before the end
MAX_MARGIN = 1 / 4  # of the life
COOL_DOWN = 60.0  # seconds
MAX_COOL_DOWN = 900.0  # seconds
PAUSE = 0.5  # seconds
MAX_PAUSE = 5.0  # seconds


# A renewal returns its error instead of raising it. Often no call waits for a renewal in the
# background, and asyncio logs exceptions that nobody retrieves.
Outcome: TypeAlias = CachedToken | Exception
Renewal: TypeAlias = Coroutine[Any, Any, Outcome]


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
        observe: Callable[[Callable[[], Renewal]], Renewal] | None = None,
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
        # A token to start from; None once it is in the cache.
        self._initial = source.initial
        # The token that calls use. None before the first one, and after the PBX rejected it.
        self._cached: CachedToken | None = None
        # The token that the next refresh sends, even if it is spent or rejected.
        self._last: CachedToken | None = None
        # The refresh token that was sent last. If it is for single use, it is not sent again.
        self._used: str | None = None
        self.generation: int = 0
        # The renewal that is running.
        self._renewal: asyncio.Task[Outcome] | None = None
        # After a failure, no renewal starts in the background for a while. Calls that need a token
        # ignore this pause.
        self._pause = Backoff(PAUSE, MAX_PAUSE)
        # After a refused login, or one that asked for a second factor, only `renew` sends anything;
        # all others raise `_refused` again.
        self._cool_down = Backoff(COOL_DOWN, MAX_COOL_DOWN)
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
            TwoFactorRequired: the login waits for a second factor.
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

    def use(self, token: Token, sent_at: float) -> None:
        """Use a token that was obtained elsewhere. This ends a cool-down.

        Args:
            token: the token.
            sent_at: when the request for it was sent, on the monotonic clock.

        Raises:
            ReplyError: the token can't be sent.
        """
        self._accept(_checked(TokenReply(token, sent_at)))

    async def forget(self) -> Token | None:
        """Forget all tokens, and return the newest; None if there is none or it was rejected.

        A renewal that is running ends first, so that its token is forgotten too.
        """
        while self._renewal is not None and not self._renewal.done():
            await asyncio.wait((self._renewal,))
        cached = self._cached or self._use_initial()
        self._cached = self._last = None
        return None if cached is None else cached.token

    def _use_initial(self) -> CachedToken | None:
        """Put the token to start from into the cache, once."""
        if self._initial is None:
            return None
        token, self._initial = self._initial, None
        return self._store(token, self._clock.monotonic(), token.expires)

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
        generation = self.generation
        try:
            reply = await self._obtain()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the client closes
            # Nobody cancelled this task: the application's fetch_token raised it by itself.
            self._pause.fail(self._clock.monotonic())
            return PortSIPError("fetch_token raised CancelledError, but nobody cancelled the call")
        except Exception as error:
            if self.generation != generation and self._cached is not None:
                return self._cached  # the program passed a token to `use` meanwhile
            if isinstance(error, TwoFactorRequired):
                self._refused = error
                self._cool_down.hold()
            elif isinstance(error, AuthenticationError) and not error.is_page:
                self._refused = error
                self._cool_down.fail(self._clock.monotonic())
            else:
                self._pause.fail(self._clock.monotonic())
            return error
        finally:
            self._renewal = None
        return self._accept(reply)

    async def _obtain(self) -> TokenReply:
        """Refresh the last token; log in if there is none, or if the refresh brought none."""
        last, failed = self._last, None
        once = self._source.single_use
        if last is not None and not (once and last.token.refresh_token in (None, self._used)):
            self._used = last.token.refresh_token
            try:
                reply = _checked(await self._source.refresh(last.token))
            except ConnectError:
                self._used = None  # nothing was sent
                raise
            except PortSIPError as error:
                if not once and not _may_login_after(error):
                    raise
                failed = error
            else:
                token = reply.token
                # Prolonging a token that the PBX rejected does not make it valid again.
                if token.access_token != last.token.access_token or last is self._cached:
                    role = token.role or last.token.role
                    api_version = token.api_version or last.token.api_version
                    token = token.replace(role=role, api_version=api_version)
                    return TokenReply(token, reply.sent_at)
        if self._source.can_login:
            return _checked(await self._source.login())
        raise _no_token_left(last, failed, once=once)

    def _accept(self, reply: TokenReply) -> CachedToken:
        """Cache a new token. A success clears all earlier failures."""
        self._pause.reset()
        self._cool_down.reset()
        self._refused = None
        return self._store(reply.token, reply.sent_at, self._life(reply.token), reply.shared)

    def _life(self, token: Token) -> float:
        """Return how many seconds a new token lives."""
        life = token.expires
        return life if 0 < life < math.inf else self._source.default_lifetime

    def _store(
        self, token: Token, sent_at: float, life: float, shared: bool = False
    ) -> CachedToken:
        """Put a token into the cache, with its times and its generation."""
        # A prolonged token keeps its generation, so that `reject` matches it for calls that were
        # sent with it before.
        if self._cached is None or self._cached.token.access_token != token.access_token:
            self.generation += 1
        cached = CachedToken(
            token,
            self.generation,
            stale_at=sent_at + life * STALE_AFTER,
            spent_at=sent_at + life - min(MARGIN, life * MAX_MARGIN),
            shared=shared,
        )
        self._cached = self._last = cached
        return cached


def _checked(reply: TokenReply) -> TokenReply:
    """Return the reply if its token can be sent in a header.

    Raises:
        ReplyError: it can't.
    """
    # No local variable holds the token's text, because tracebacks may show it.
    if not reply.token.access_token or not reply.token.access_token.isprintable():
        raise ReplyError(expected="a printable text", where="$.access_token")
    return reply


def _no_token_left(
    last: CachedToken | None, failed: PortSIPError | None, *, once: bool
) -> PortSIPError:
    """Return the error of a client that has no usable token and can't log in.

    Args:
        last: the token that was lost; None if the client signed out.
        failed: the error of its refresh, if it was sent.
        once: whether a refresh token can be used only once.
    """
    if failed is not None and not once:
        return failed
    if last is None:
        loss = "the client signed out"
    elif not once:
        loss = "the token was rejected"
    elif last.token.refresh_token is None:
        loss = "the token was rejected or has expired, it has no refresh token"
    else:
        loss = "the refresh token was sent but brought no new token, and it can be used only once"
    message = f"{loss}, and there are no credentials to log in with: pass new tokens"
    if isinstance(failed, AuthenticationError):
        return failed.with_remark(message)
    error = AuthenticationError(message, status=401)
    error.__cause__ = failed
    return error


def _may_login_after(error: PortSIPError) -> bool:
    """Return whether a login may succeed after a refresh failed with this error.

    True for a reply that can't be read, and for any 4xx except 408 and 429. A busy or broken PBX
    should not have to handle a login too.
    """
    if isinstance(error, ReplyError):
        return True
    if not isinstance(error, APIError) or isinstance(error, RateLimited | ServerError):
        return False
    # In a 200, a code such as 404.1 begins with the real status.
    code = leading_status(str(error.err_code))
    return any(400 <= status < 500 and status not in (408, 429) for status in (error.status, code))
