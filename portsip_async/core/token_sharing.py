"""The token cache of a client that shares its login with other processes, through a token store.

Only a renewal touches the store; a call costs the same with it.

1. A renewal first looks into the store. A fresh token there is used, unless the PBX has rejected it
   from this client. Nothing is sent to the PBX then.
2. Otherwise it waits for its turn, which one process has at a time, and looks again: the process
   before it may have renewed the token.
3. In its turn it refreshes the shared token, or logs in, as `TokenCache` does. It puts the outcome
   into the store: the token, or the refusal. Others raise a shared refusal as their own.
4. The store refuses the outcome if the turn was lost, because the process was stopped for a while.
   Then another process may have renewed the token, and what it put there is used instead.

The clocks of two machines are never compared. A store says how many seconds are left, and each
process counts them on its own monotonic clock.

A store that fails or hangs stops no call: the renewal goes on alone, as without a store.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ..errors import AuthenticationError, ConnectError, TwoFactorRequired
from .limits import Clock
from .shared_account import STEP_SECONDS, TURN_SECONDS, SharedAccount, StoreFailed, Turn
from .tasks import CleanUpOwner
from .token_store import SharedLogin
from .token_types import CachedToken, Token, TokenReply, TokenSource
from .tokens import MAX_COOL_DOWN, STALE_AFTER, Outcome, Renewal, TokenCache

LOOK_SECONDS: Final = 1.0  # between two looks for another process's success, after a refusal
LONGEST: Final = 365 * 86400.0  # seconds that a token is shared; no store has to count further
_REMEMBERED: Final = 16  # rejected tokens
_TRIES: Final = 3  # to have a turn that is not lost
_NOTHING: Final = SharedLogin(STEP_SECONDS)


class SharedTokenCache(TokenCache):
    """A token cache that looks into a store before it asks the PBX."""

    def __init__(
        self,
        source: TokenSource,
        *,
        owner: CleanUpOwner,
        clock: Clock,
        account: SharedAccount,
        observe: Callable[[Callable[[], Renewal]], Renewal] | None = None,
    ) -> None:
        """Store the settings; nothing is loaded yet.

        Args:
            source: see `TokenCache`.
            owner: see `TokenCache`. When it closes, it waits for a token that is being shared.
            clock: see `TokenCache`.
            account: the account in the store.
            observe: see `TokenCache`.
        """
        super().__init__(source, owner=owner, clock=clock, observe=observe)
        self._account = account
        self._clean_ups = owner
        # The texts of tokens that the PBX rejected, or that the client signed out of.
        self._rejected: deque[str] = deque(maxlen=_REMEMBERED)
        # The refresh token that is in the store, so that any process may have sent it.
        self._shared_refresh: str | None = None
        # The token of the latest renewal, as soon as calls can use it.
        self._usable: asyncio.Future[CachedToken] | None = None
        # The calls of `renew` that are waiting.
        self._explicit = 0
        # When a call may look for another process's success next.
        self._look_at = -math.inf

    async def wait(self) -> CachedToken:
        """Return the token; wait for a renewal if there is none that calls can use.

        During a cool-down, it looks into the store once a second. Raises what `TokenCache.wait`
        raises.
        """
        if self._active_refusal() is not None and self._renewal is None and self.current() is None:
            now = self._clock.monotonic()
            if now >= self._look_at:
                self._look_at = now + LOOK_SECONDS
                return await self._outcome(self._start_renewal())
        return await super().wait()

    async def renew(self) -> Token:
        """Renew the token at the PBX, even if the store has a fresh one or during the cool-down."""
        self._explicit += 1
        try:
            return await super().renew()
        finally:
            self._explicit -= 1

    def reject(self, cached: CachedToken) -> None:
        """Stop using a token that the PBX rejected, and don't take it from the store again."""
        self._remember(cached.token)
        super().reject(cached)

    def use(self, token: Token, sent_at: float) -> None:
        """Use a token that was obtained elsewhere, and share it in the background."""
        super().use(token, sent_at)
        # Closing the client waits for it: a program may have logged in for the others only.
        self._clean_ups.start_clean_up(self._share())

    async def forget(self) -> Token | None:
        """Forget all tokens, remove the newest from the store, and return it."""
        token = await super().forget()
        if token is not None:
            self._remember(token)
            # In a task that ends when the client closes.
            await asyncio.wait([self._owner.start(self._withdraw(token))])
        return token

    def _start_renewal(self) -> asyncio.Task[Outcome]:
        self._usable = asyncio.get_running_loop().create_future()
        return super()._start_renewal()

    async def _outcome(self, renewal: asyncio.Task[Outcome]) -> CachedToken:
        """Wait for a renewal's token. Only `renew` waits until it is in the store, too."""
        usable = self._usable
        if usable is not None and not self._explicit:
            await asyncio.wait((renewal, usable), return_when=asyncio.FIRST_COMPLETED)
            if usable.done() and not renewal.done():
                return usable.result()
        return await super()._outcome(renewal)

    async def _renew(self) -> Outcome:
        """Take a token from the store, or renew it in turn; alone if the store fails."""
        try:
            outcome = await self._renew_in_turn()
            if outcome is None:
                outcome = self._active_refusal()
            if outcome is None:
                self._skip_used_refresh(None)
                outcome = await super()._renew()
            return outcome
        finally:
            # A later renewal may run already, while this one put its token.
            if self._renewal is asyncio.current_task():
                self._renewal = None

    async def _renew_in_turn(self) -> Outcome | None:
        """Take a token from the store, or renew it in turn; None if the store failed."""
        outcome: Outcome | None = None
        with suppress(StoreFailed):
            outcome, _ = await self._look()
            for _ in range(_TRIES):
                if outcome is not None:
                    break
                async with self._account.turn() as turn:
                    outcome, found = await self._look()
                    if outcome is None:
                        outcome = await self._renew_and_put(turn, found)
        return outcome

    async def _look(self) -> tuple[Outcome | None, TokenReply | None]:
        """Look into the store.

        Returns:
            The outcome of the renewal, or None if the PBX has to be asked; and the token there.
        """
        generation = self.generation
        before = self._clock.monotonic()
        login = await self._account.load()
        found = None if login is None else self._shared_reply(login, before)
        if self._explicit:
            return None, found
        if self.generation != generation and self._cached is not None:
            return self._cached, found  # the program passed a token to `use` meanwhile
        outcome: Outcome | None = self._take(found)
        if outcome is None and login is not None and login.refusal is not None:
            outcome = self._follow(login.refusal, login.seconds)
        return outcome or self._active_refusal(), found

    async def _renew_and_put(self, turn: Turn, found: TokenReply | None) -> Outcome | None:
        """Renew the token at the PBX, and put the outcome into the store.

        Returns:
            The outcome; None if the turn was lost before anything was sent.
        """
        # 1. Refresh the shared token if it is newer than our own.
        last = self._last
        if found is not None and found.token.access_token not in self._rejected:
            life = self._life(found.token)
            if (
                last is None
                or last.token.access_token in self._rejected
                or found.sent_at + life > self._end(last)
            ):
                self._shared_refresh = found.token.refresh_token
                self._store(found.token, found.sent_at, life, shared=True)
        # 2. Hide a refresh token for single use before it is sent: if this process dies, the next
        # can't know whether it was used.
        self._skip_used_refresh(found)
        hidden: bool | None = None
        if self._source.single_use and found is not None:
            hidden = await turn.put(_NOTHING)
            if hidden is False:
                return None
            if hidden is None:
                self._skip_used_refresh(None)
        # 3. Ask the PBX.
        outcome = await super()._renew()
        # 4. Share the outcome.
        if isinstance(outcome, CachedToken):
            login = self._login_of(outcome)
        elif outcome is self._refused and self._source.can_login:
            left = self._cool_down.until - self._clock.monotonic()
            login = SharedLogin(min(left, MAX_COOL_DOWN), refusal=self._refused)
        elif hidden and isinstance(outcome, ConnectError) and self._used is None and self._last:
            login = self._login_of(self._last)  # the refresh token was not sent
        else:
            return outcome
        if await turn.put(login) is not False:
            self._shared_refresh = None if login.token is None else login.token.refresh_token
            return outcome
        # 5. The turn was lost, so another process had it, and its outcome is newer.
        before = self._clock.monotonic()
        try:
            other = await self._account.load()
        except StoreFailed:
            return outcome
        return (None if other is None else self._take(self._shared_reply(other, before))) or outcome

    async def _share(self) -> None:
        """Put the token that calls use into the store, unless it comes from there."""
        with suppress(StoreFailed, TimeoutError):
            async with asyncio.timeout(TURN_SECONDS):
                for _ in range(_TRIES):
                    async with self._account.turn() as turn:
                        cached = self._cached
                        if cached is None or cached.shared:
                            return
                        if await turn.put(self._login_of(cached)) is not False:
                            return

    async def _withdraw(self, token: Token) -> None:
        """Remove a token from the store, unless there is another one by now."""
        try:
            async with self._account.turn() as turn:
                login = await self._account.load()
                found = None if login is None else login.token
                if found is not None and found.access_token == token.access_token:
                    await turn.put(_NOTHING)
        except StoreFailed:
            pass

    def _accept(self, reply: TokenReply) -> CachedToken:
        """Cache a new token. One that the PBX has just issued is valid, whatever was before."""
        if not reply.shared and reply.token.access_token in self._rejected:
            self._rejected.remove(reply.token.access_token)
        cached = super()._accept(reply)
        if self._usable is not None and not self._usable.done():
            self._usable.set_result(cached)
        return cached

    def _take(self, found: TokenReply | None) -> CachedToken | None:
        """Use the token in the store; None if it is not fresh, or was rejected."""
        if found is None or found.token.access_token in self._rejected:
            return None
        stale_at = found.sent_at + self._life(found.token) * STALE_AFTER
        if self._clock.monotonic() >= stale_at:
            return None
        self._shared_refresh = found.token.refresh_token
        return self._accept(found)

    def _follow(self, refusal: AuthenticationError, seconds: float) -> AuthenticationError:
        """Take over the cool-down that another process's refused login began."""
        until = self._clock.monotonic() + min(seconds, MAX_COOL_DOWN)
        if isinstance(refusal, TwoFactorRequired):
            self._cool_down.hold()
        elif self._refused is None or abs(until - self._cool_down.until) > LOOK_SECONDS:
            self._cool_down.follow(until)
        self._refused = refusal.copy(attempts=0)
        return self._refused

    def _active_refusal(self) -> AuthenticationError | None:
        """Return the refusal whose cool-down lasts; None if there is none, or for `renew`."""
        if self._explicit or self._clock.monotonic() >= self._cool_down.until:
            return None
        return None if self._refused is None else self._refused.copy(attempts=0)

    def _shared_reply(self, login: SharedLogin, before: float) -> TokenReply | None:
        """Return the token in the store, with the time of its request on our own clock.

        Args:
            login: what the store returned.
            before: when it was asked.
        """
        if login.token is None:
            return None
        return TokenReply(login.token, before - max(0.0, login.token.expires - login.seconds), True)

    def _login_of(self, cached: CachedToken) -> SharedLogin:
        """Return a token as it is shared, with the seconds that are left."""
        life = min(self._life(cached.token), LONGEST)
        left = min(life, self._end(cached) - self._clock.monotonic())
        return SharedLogin(left, cached.token.replace(expires=life)) if left > 0 else _NOTHING

    def _end(self, cached: CachedToken) -> float:
        """Return when a token expires."""
        return cached.stale_at + self._life(cached.token) * (1 - STALE_AFTER)

    def _skip_used_refresh(self, found: TokenReply | None) -> None:
        """Mark our single-use refresh token as used if another process may have sent it.

        Another process may have sent it if it was in the store, and is no longer there.
        """
        source, last = self._source, self._last
        if not (source.single_use and source.can_login) or last is None:
            return
        text = last.token.refresh_token
        if text == self._shared_refresh and (found is None or found.token.refresh_token != text):
            self._used = text

    def _remember(self, token: Token) -> None:
        if token.access_token not in self._rejected:
            self._rejected.append(token.access_token)
