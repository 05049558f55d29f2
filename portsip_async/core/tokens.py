"""Credentials and the single-flight token cache, over an injected sender.

A token lives 30 seconds unless the PBX says otherwise, counted from before its request was sent.
Through that life it is

- *fresh*: served;
- *stale*, past two thirds: still served, while one task renews it in the background. Where that
  fails the token goes on being served, and renewing is tried again after a growing pause;
- *spent*, within the last two seconds but at most a quarter of the life: calls wait for the one
  renewal.

Only a call starts a renewal, so an idle client sends nothing. A renewal is one task that belongs
to the cache; those who wait for it only watch it, so that none can cancel it for the others, and
each is told of its failure. Refreshing is tried first; where that is refused, it logs in, once.

A PBX blocks the address of a client that insists on wrong credentials. A refused login is hence
remembered: 60 seconds long every renewal fails at once without traffic, twice as long after each
further refusal, 15 minutes at most.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast, runtime_checkable

from msgspec import structs

from ..errors import (
    APIError,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    Conflict,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    ServerError,
    note_fetch_token,
)
from ..record import Record
from .tasks import NotCopyable

LIFETIME = 30.0  # seconds; the vendor's page
STALE_AFTER = 2 / 3  # of the life
MARGIN = 2.0  # seconds before the end
MARGIN_MOST = 1 / 4  # of the life
COOL_DOWN = 60.0  # seconds
COOL_DOWN_MOST = 900.0  # seconds
PAUSE = 0.5  # seconds, before a failed background renewal is tried again, doubled each time
PAUSE_MOST = 5.0  # seconds


class Token(Record, frozen=True):
    """An access token of the PBX; the repr hides it.

    Attributes:
        access_token: the token itself.
        expires: seconds from now until it dies; 30 where the PBX doesn't say.
        role: administrator, tenant or extension.
        api_version: the version that the PBX names.
    """

    access_token: str
    expires: float = LIFETIME
    role: str | None = None
    api_version: str | None = None


class Renewal(Record, frozen=True):
    """The reply to a refresh; without ``access_token`` it prolongs the token that was sent."""

    access_token: str | None = None
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
    """Start from a token got elsewhere; it is renewed by refreshing only."""

    access_token: str


@runtime_checkable
class Credentials(Protocol):
    """Anything that can fetch a token: from a vault, from another service."""

    async def fetch_token(self) -> Token:
        """Fetch a token that is valid now."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A token that is held, with its generation and, on the monotonic clock, its times."""

    token: Token
    generation: int
    stale_at: float
    spent_at: float

    def __repr__(self) -> str:
        return f"Held(generation={self.generation})"


@dataclass(frozen=True, slots=True)
class Obtained:
    """What a login or a refresh brought, and when the request that brought it was sent."""

    token: Token | Renewal = field(repr=False)
    sent_at: float


# What renews: it answers what it failed with.
_Renew = Callable[[], Coroutine[Any, Any, Held | Exception]]


# Statuses that refuse a login, where the body is empty or JSON.
_REFUSED_STATUSES: Final = frozenset({400, 401, 403})
# What an err_code says of a login with any status; those of an AuthenticationError come on top.
_REFUSED_CODES: Final = frozenset({"400.1", "400.2", "403.1"})
_NO_SUCH_PLACE: Final = frozenset({"404.2", "404.3"})
# There is nothing at the address that takes a login.
_MISSING: Final = frozenset({404, 405, 410})


def refusal(error: PortSIPError) -> AuthenticationError | None:
    """Return the error of a refused login; None where it failed otherwise.

    Refused is 400, 401 or 403 with an empty or JSON body, or an err_code that means the same. A
    page (HTML, plain text) comes from something in between, and where nothing is at the address
    nobody refused anything.

    Returns:
        The error as an AuthenticationError; None where it is no refusal.
    """
    if not isinstance(error, APIError) or error.is_page:
        return None
    if isinstance(error, AuthenticationError):
        return error
    code = "" if error.err_code is None else str(error.err_code)
    if isinstance(error, RateLimited | ServerError) or code in _NO_SUCH_PLACE:
        return None
    if error.status in _MISSING:
        return None
    # Inside a 200 an unlisted code such as 403.9 begins with the status that it stands for.
    status = error.status if error.status >= 300 else _leading(code)
    if code not in _REFUSED_CODES and status not in _REFUSED_STATUSES:
        return None
    return cast(AuthenticationError, _as(AuthenticationError, error, error.message))


def login_error(error: APIError, address: str) -> APIError:
    """Find the error that a login or a refresh ends with.

    Args:
        error: what the reply was judged to be.
        address: the base URL, for the message.

    Returns:
        An AuthenticationError where the login was refused; else an error of another class, which
        says what to look at.
    """
    refused = refusal(error)
    if refused is not None:
        return refused
    said = f" (the reply says: {error.message})" if error.message else ""
    if error.status in _MISSING:
        text = (
            f"there is no PortSIP API of this generation at {address}: "
            f"check the address and the version of the PBX{said}"
        )
    elif error.is_page and error.status < 500:
        text = f"something between this program and {address} replied with a page of its own"
    else:
        return error
    kind = APIError if isinstance(error, AuthenticationError) else type(error)
    return _as(kind, error, text)


def _as(kind: type[APIError], error: APIError, message: str) -> APIError:
    """Make an error of another class, or with another message, that keeps all facts."""
    made = kind(
        message,
        status=error.status,
        err_code=error.err_code,
        retry_after=error.retry_after,
        operation=error.operation,
        attempts=error.attempts,
        may_have_acted=error.may_have_acted,
    )
    made.is_page = error.is_page
    made.__cause__ = error.__cause__
    return made


def _leading(code: str) -> int:
    head = code.split(".", 1)[0]
    return int(head) if len(head) == 3 and head.isascii() and head.isdigit() else 0


def _refuses_refresh(error: APIError) -> bool:
    """Check whether a refresh won't succeed where a login may: any 4xx but 408 and 429."""
    if isinstance(error, RateLimited | ServerError):
        return False
    known = isinstance(
        error, BadRequest | AuthenticationError | PermissionDenied | NotFound | Conflict
    )
    return known or (400 <= error.status < 500 and error.status != 408)


class TokenCache(NotCopyable):
    """The one place that holds the client's token.

    Attributes:
        generation: that of the newest token that was held; 0 before the first.
    """

    def __init__(
        self,
        *,
        login: Callable[[], Awaitable[Obtained]] | None,
        refresh: Callable[[str], Awaitable[Obtained]],
        initial: str | None = None,
        clock: Callable[[], float],
        start: Callable[[Coroutine[Any, Any, Held | Exception]], asyncio.Task[Held | Exception]],
        around: Callable[[_Renew], Coroutine[Any, Any, Held | Exception]] | None = None,
    ) -> None:
        """Hold nothing yet.

        Args:
            login: gets a new token from nothing; None where there are no credentials.
            refresh: gets a new token, or prolongs it, from the old one.
            initial: a token to start from, taken as fresh when it is first needed.
            clock: monotonic, in seconds.
            start: makes a task that its owner ends at closing.
            around: runs a renewal, to take notice of it; None: nobody does.
        """
        self._login = login
        self._refresh = refresh
        self._initial = initial
        self._clock = clock
        self._start = start
        self._around = around
        self._held: Held | None = None
        self._last: Held | None = None  # what a refresh starts from; rejected or spent, perhaps
        self.generation: int = 0
        self._renewal: asyncio.Task[Held | Exception] | None = None
        self._failures = 0
        self._quiet_until = -math.inf
        self._refusals = 0
        self._refused: AuthenticationError | None = None
        self._refused_until = -math.inf

    def current(self) -> Held | None:
        """Answer the token if it can be served now; renew it in the background if it is stale."""
        held = self._held
        if held is None:
            return self._first()
        now = self._clock()
        if now >= held.stale_at:
            if now >= held.spent_at:
                return None
            if self._renewal is None and now >= max(self._quiet_until, self._refused_until):
                self._begin()
        return held

    async def wait(self) -> Held:
        """Wait for the one renewal, and answer the token that it brought.

        Raises:
            AuthenticationError: the login was refused, now or within the cool-down.
            PortSIPError: why the renewal failed; each of those who wait gets a copy.
            ClientClosed: the cache was closed meanwhile.
        """
        held = self.current()
        if held is not None:
            return held
        if self._renewal is not None:
            return await self._outcome(self._renewal)
        if self._refused is not None and self._clock() < self._refused_until:
            refused = self._refused.copy()
            refused.attempts = 0
            raise refused
        return await self._outcome(self._begin())

    async def renew(self) -> Token:
        """Renew at once, also within the cool-down; join the renewal that is under way, if any."""
        if self._renewal is not None:
            return (await self._outcome(self._renewal)).token
        self._first()
        return (await self._outcome(self._begin())).token

    def reject(self, held: Held) -> None:
        """Never serve this token again; a later one that is held already stays."""
        if self._held is not None and self._held.generation == held.generation:
            self._held = None

    def _first(self) -> Held | None:
        """Take up the token to start from, once."""
        if self._initial is None:
            return None
        token, self._initial = Token(self._initial), None
        return self._hold(token, self._clock())

    def _begin(self) -> asyncio.Task[Held | Exception]:
        task = self._start(self._renew() if self._around is None else self._around(self._renew))
        # An eager task may be done already.
        self._renewal = None if task.done() else task
        return task

    async def _outcome(self, renewal: asyncio.Task[Held | Exception]) -> Held:
        # Waiting for the task, rather than awaiting it, keeps a waiter's cancellation from it.
        await asyncio.wait((renewal,))
        if renewal.cancelled():
            raise ClientClosed("the client was closed")
        outcome = renewal.result()
        if isinstance(outcome, PortSIPError):
            raise outcome.copy()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _renew(self) -> Held | Exception:
        try:
            obtained = await self._obtain()
            token = _whole(obtained.token)
        except PortSIPError as error:
            return self._failed(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled the renewal: this comes from within the application's fetch_token.
            self._pause()
            return PortSIPError("fetching a token was cancelled from within")
        except Exception as error:
            self._pause()
            return error
        finally:
            self._renewal = None
        self._failures = self._refusals = 0
        self._refused, self._refused_until, self._quiet_until = None, -math.inf, -math.inf
        return self._hold(token, obtained.sent_at)

    def _failed(self, error: PortSIPError) -> PortSIPError:
        refused = refusal(error)
        if refused is None:
            self._pause()
            return error
        self._refusals += 1
        cool_down = min(COOL_DOWN * 2.0 ** min(self._refusals - 1, 10), COOL_DOWN_MOST)
        self._refused, self._refused_until = refused, self._clock() + cool_down
        return refused

    def _pause(self) -> None:
        self._failures += 1
        pause = min(PAUSE * 2.0 ** min(self._failures - 1, 10), PAUSE_MOST)
        self._quiet_until = self._clock() + pause

    async def _obtain(self) -> Obtained:
        refused: PortSIPError | None = None
        last = self._last
        if last is not None:
            try:
                obtained = await self._refresh(last.token.access_token)
            except (APIError, ReplyError) as error:
                if isinstance(error, APIError) and not _refuses_refresh(error):
                    raise
                refused = error
            else:
                token = obtained.token.access_token or last.token.access_token
                # A token that was rejected is not made good by being prolonged.
                if token != last.token.access_token or last is self._held:
                    return Obtained(
                        structs.replace(
                            obtained.token,
                            access_token=token,
                            role=obtained.token.role or last.token.role,
                            api_version=obtained.token.api_version or last.token.api_version,
                        ),
                        obtained.sent_at,
                    )
        if self._login is not None:
            return await self._login()
        raise refused or AuthenticationError(
            "the token was rejected, and there are no credentials to log in with", status=401
        )

    def _hold(self, token: Token, sent_at: float) -> Held:
        life = token.expires if 0 < token.expires < math.inf else LIFETIME
        # A token that was prolonged is the same one: who had it rejected before must find it.
        if self._held is None or self._held.token.access_token != token.access_token:
            self.generation += 1
        held = Held(
            token,
            self.generation,
            stale_at=sent_at + life * STALE_AFTER,
            spent_at=sent_at + life - min(MARGIN, life * MARGIN_MOST),
        )
        self._held = self._last = held
        return held


def _whole(token: object) -> Token:
    """Take what was obtained for a token, if it holds one that can be sent.

    Raises:
        TypeError: a fetch_token of the application's answered no Token.
        ReplyError: the token can't be sent.
    """
    expires: object = getattr(token, "expires", None)
    if not isinstance(token, Token | Renewal) or not isinstance(expires, int | float):
        del token  # which may be the secret itself, from tracebacks that show locals
        wrong = TypeError("fetch_token answers a Token, whose expires are seconds")
        note_fetch_token(wrong)
        raise wrong
    if not isinstance(token.access_token, str):
        wrong = TypeError("fetch_token answers a Token, whose access_token is a str")
        note_fetch_token(wrong)
        raise wrong
    if not token.access_token or not token.access_token.isprintable():
        raise ReplyError(expected="a printable text", where="$.access_token")
    if isinstance(token, Token):
        return token
    return Token(token.access_token, token.expires, token.role, token.api_version)
