"""Refresh tokens that serve once, tokens from elsewhere, and second factors, on a frozen clock."""

import asyncio
import copy
import math
import pickle
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    ClientClosed,
    ConnectError,
    NotFound,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    Token,
    TransportError,
    TwoFactorRequired,
)
from portsip_async.core.safety import RULES, Failure, may_have_acted, may_repeat
from portsip_async.core.token_types import CachedToken, TokenReply
from portsip_async.core.tokens import TokenCache

from .clocks import FrozenClock, clock_that_reads

X = TypeVar("X")

REFUSED = AuthenticationError("no such user", status=400, err_code="UNAUTHORIZED")
# After each of these the refresh token may have been used up.
FAILURES: list[PortSIPError] = [
    REFUSED,
    AuthenticationError("no", status=401),
    NotFound(status=404),
    APIError(status=408),
    APIError(status=302),
    RateLimited(status=429, retry_after=1.0),
    ServerError(status=500),
    ServerError(status=503, retry_after=1.0),
    TransportError("the connection broke"),
    RequestTimeout("too late"),
    ReplyError(expected="an access token"),
]


def second_factor(challenge: str = "challenge-1") -> TwoFactorRequired:
    error = TwoFactorRequired("a second factor", status=200, operation="auth.sign_in")
    error.challenge = challenge
    return error


def label(error: object) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


class Rig:
    """A token cache over a source whose refresh tokens serve once. The test scripts the replies.

    Attributes:
        logins: how often it logged in.
        refreshes: the refresh tokens that were sent.
        login_replies: the replies to the next logins; then a new pair of tokens.
        refresh_replies: the same for refreshes.
        open: an event that lets logins and refreshes end; set at first.
        renewals: the tasks of all renewals.
    """

    default_lifetime = 1800.0
    single_use = True

    def __init__(self, *, initial: Token | None = None, login: bool = True) -> None:
        self.clock = FrozenClock()
        self.can_login = login
        self.initial = initial
        self.logins = 0
        self.refreshes: list[str | None] = []
        self.login_replies: list[object] = []
        self.refresh_replies: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.renewals: list[asyncio.Task[Any]] = []
        self.cache = TokenCache(self, owner=self, clock=clock_that_reads(self.clock))

    def start(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        task = asyncio.create_task(coroutine)
        self.renewals.append(task)
        return task

    def start_clean_up(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        return asyncio.create_task(coroutine)

    def check_open(self) -> None:
        """The rig never closes."""

    async def login(self) -> TokenReply:
        self.logins += 1
        return await self._reply(self.login_replies, f"login-{self.logins}")

    async def refresh(self, token: Token) -> TokenReply:
        self.refreshes.append(token.refresh_token)
        return await self._reply(self.refresh_replies, f"refresh-{len(self.refreshes)}")

    async def _reply(self, replies: list[object], name: str) -> TokenReply:
        await self.open.wait()
        reply = replies.pop(0) if replies else Token(name, 1800, refresh_token=f"r-{name}")
        if isinstance(reply, BaseException):
            raise reply
        assert isinstance(reply, Token)
        return TokenReply(reply, self.clock())

    async def text(self) -> str:
        """Return the token that a call gets."""
        cached = self.cache.current() or await self.cache.wait()
        return cached.token.access_token

    async def spend(self) -> None:
        """Log in, and let the token expire."""
        await self.cache.wait()
        self.clock.now += 1799

    async def waiting(self, callers: int) -> "list[asyncio.Task[CachedToken]]":
        """Block the renewal, and start calls that wait for it."""
        self.open.clear()
        tasks = [asyncio.create_task(self.cache.wait()) for _ in range(callers)]
        await settled()
        return tasks


async def settled() -> None:
    """Run everything that doesn't wait for the clock."""
    for _ in range(10):
        await asyncio.sleep(0)


PAIR = Token("given", math.inf, refresh_token="r-given")
ALONE = Token("given", math.inf)


class TestSentOnce:
    async def test_refreshed_by_its_refresh_token(self) -> None:
        rig = Rig()
        await rig.spend()
        assert await rig.text() == "refresh-1"
        rig.clock.now += 1799
        assert await rig.text() == "refresh-2"
        assert (rig.logins, rig.refreshes) == (1, ["r-login-1", "r-refresh-1"])

    @pytest.mark.parametrize("failure", FAILURES, ids=label)
    async def test_login_within_the_same_renewal(self, failure: PortSIPError) -> None:
        """Whatever the reply was, one login follows, and the refresh token is not sent again."""
        rig = Rig()
        await rig.spend()
        rig.refresh_replies = [failure]
        assert await rig.text() == "login-2"
        assert (rig.logins, rig.refreshes) == (2, ["r-login-1"])

    @pytest.mark.parametrize("failure", FAILURES, ids=label)
    async def test_used_up_even_if_the_login_fails(self, failure: PortSIPError) -> None:
        """Later renewals log in straight away."""
        rig = Rig()
        await rig.spend()
        rig.refresh_replies = [failure]
        rig.login_replies = [ServerError(status=503), TransportError("gone")]
        for kind in (ServerError, TransportError):
            with pytest.raises(kind):
                await rig.text()
        assert await rig.text() == "login-4"
        assert rig.refreshes == ["r-login-1"]

    @pytest.mark.parametrize("token", [Token(""), Token("two\r\nlines"), Token("\x00")])
    async def test_refreshed_token_that_cannot_be_sent(self, token: Token) -> None:
        rig = Rig()
        await rig.spend()
        rig.refresh_replies = [token]
        assert await rig.text() == "login-2"

    async def test_kept_if_nothing_was_sent(self) -> None:
        """Without a connection the renewal fails, and the next one sends the refresh token."""
        rig = Rig()
        await rig.spend()
        rig.refresh_replies = [ConnectError("refused"), ConnectError("refused")]
        for _ in range(2):
            with pytest.raises(ConnectError):
                await rig.text()
        assert await rig.text() == "refresh-3"
        assert (rig.logins, {*rig.refreshes}) == (1, {"r-login-1"})

    async def test_token_without_a_refresh_token(self) -> None:
        """It is renewed by a login."""
        rig = Rig()
        rig.login_replies = [Token("short", 60)]
        await rig.cache.wait()
        rig.clock.now += 59
        assert await rig.text() == "login-2"
        assert rig.refreshes == []

    async def test_same_refresh_token_again(self) -> None:
        """A refresh token that comes back is not sent a second time."""
        rig = Rig()
        await rig.spend()
        rig.refresh_replies = [Token("new", 60, refresh_token="r-login-1")]
        assert await rig.text() == "new"
        rig.clock.now += 59
        assert await rig.text() == "login-2"
        assert rig.refreshes == ["r-login-1"]

    async def test_background_refresh_that_is_lost(self) -> None:
        """The same renewal logs in, while calls use the old token."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 1201
        rig.refresh_replies = [TransportError("lost")]
        assert await rig.text() == "login-1"
        await settled()
        assert await rig.text() == "login-2"
        assert rig.refreshes == ["r-login-1"]

    async def test_unknown_lifetime_of_a_reply(self) -> None:
        """The source's default counts."""
        rig = Rig()
        rig.login_replies = [Token("odd", -1)]
        cached = await rig.cache.wait()
        assert cached.spent_at == rig.clock.now + 1798

    async def test_closed_during_a_refresh(self) -> None:
        """Waiting calls raise ClientClosed, and nothing more is sent."""
        rig = Rig()
        await rig.spend()
        tasks = await rig.waiting(3)
        rig.renewals[-1].cancel()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in caught] == [ClientClosed] * 3
        assert (rig.logins, len(rig.refreshes)) == (1, 1)

    async def test_cancelled_call_leaves_the_refresh(self) -> None:
        rig = Rig()
        await rig.spend()
        first, *others = await rig.waiting(3)
        first.cancel()
        await settled()
        rig.open.set()
        assert {(await task).token.access_token for task in others} == {"refresh-1"}
        assert (rig.logins, rig.refreshes) == (1, ["r-login-1"])

    @pytest.mark.parametrize("failure", [*Failure])
    def test_safety_once(self, failure: Failure) -> None:
        """It is repeated only if no connection was made."""
        assert may_repeat(failure, "once") is (failure is Failure.NOT_SENT)
        assert may_have_acted(failure, "once") is RULES[failure].may_have_acted


class TestTokensOnly:
    async def test_used_until_it_is_rejected(self) -> None:
        """How long it lives is unknown, so time alone does not renew it."""
        rig = Rig(initial=PAIR, login=False)
        rig.clock.now += 100_000
        cached = rig.cache.current()
        assert cached is not None
        rig.clock.now += 100_000
        assert rig.cache.current() is cached
        assert rig.refreshes == []
        rig.cache.reject(cached)
        assert await rig.text() == "refresh-1"
        assert rig.refreshes == ["r-given"]

    @pytest.mark.parametrize(
        "failure",
        [each for each in FAILURES if not isinstance(each, AuthenticationError)],
        ids=label,
    )
    async def test_lost_refresh(self, failure: PortSIPError) -> None:
        """The error says what was lost, and what to do. It is remembered."""
        rig = Rig(initial=PAIR, login=False)
        cached = rig.cache.current()
        assert cached is not None
        rig.cache.reject(cached)
        rig.refresh_replies = [failure]
        for seconds in (0, 1, 100, 1000):
            rig.clock.now += seconds
            with pytest.raises(AuthenticationError, match="refresh token was sent") as caught:
                await rig.text()
            assert "pass new tokens" in str(caught.value)
        assert rig.refreshes == ["r-given"]

    async def test_refused_refresh(self) -> None:
        """The error says what the PBX said, too."""
        rig = Rig(initial=PAIR, login=False)
        rig.refresh_replies = [REFUSED]
        with pytest.raises(AuthenticationError, match=r"no such user.*pass new tokens") as caught:
            await rig.cache.renew()
        assert caught.value.err_code == "UNAUTHORIZED"

    async def test_cause_of_a_lost_refresh(self) -> None:
        rig = Rig(initial=PAIR, login=False)
        rig.refresh_replies = [TransportError("the connection broke")]
        with pytest.raises(AuthenticationError) as caught:
            await rig.cache.renew()
        assert isinstance(caught.value.__cause__, TransportError)

    async def test_old_token_after_a_lost_refresh(self) -> None:
        """Calls go on using it as long as the PBX accepts it."""
        rig = Rig(initial=PAIR, login=False)
        rig.refresh_replies = [TransportError("lost")]
        with pytest.raises(AuthenticationError):
            await rig.cache.renew()
        rig.clock.now += 100_000
        assert await rig.text() == "given"

    async def test_without_a_refresh_token(self) -> None:
        rig = Rig(initial=ALONE, login=False)
        cached = rig.cache.current()
        assert cached is not None
        rig.cache.reject(cached)
        with pytest.raises(AuthenticationError, match=r"no refresh token.*pass new tokens"):
            await rig.text()
        assert rig.refreshes == []

    async def test_new_tokens_end_the_failure(self) -> None:
        rig = Rig(initial=ALONE, login=False)
        cached = rig.cache.current()
        assert cached is not None
        rig.cache.reject(cached)
        with pytest.raises(AuthenticationError):
            await rig.text()
        rig.cache.use(Token("new", 1800, refresh_token="r-new"), rig.clock())
        assert await rig.text() == "new"
        rig.clock.now += 1799
        assert await rig.text() == "refresh-1"
        assert rig.refreshes == ["r-new"]


class TestUse:
    async def test_used_from_now_on(self) -> None:
        """It replaces the client's token; a rejection of the old one does not touch it."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.cache.use(Token("mine", 60), rig.clock())
        rig.cache.reject(old)
        assert await rig.text() == "mine"
        assert rig.logins == 1

    async def test_ends_a_cool_down(self) -> None:
        rig = Rig()
        rig.login_replies = [REFUSED]
        with pytest.raises(AuthenticationError):
            await rig.text()
        rig.cache.use(Token("mine", 60), rig.clock())
        assert await rig.text() == "mine"
        rig.clock.now += 60
        assert await rig.text() == "login-2"

    async def test_token_that_cannot_be_sent(self) -> None:
        rig = Rig()
        with pytest.raises(ReplyError, match="access_token"):
            rig.cache.use(Token("two\r\nlines"), rig.clock())
        assert await rig.text() == "login-1"

    @pytest.mark.parametrize("error", [second_factor(), REFUSED, TransportError("lost")], ids=label)
    async def test_wins_over_a_renewal_that_fails_later(self, error: PortSIPError) -> None:
        rig = Rig()
        (task,) = await rig.waiting(1)
        rig.login_replies.append(error)
        rig.cache.use(Token("mine", 60), rig.clock())
        rig.open.set()
        assert (await task).token.access_token == "mine"
        rig.clock.now += 60
        assert await rig.text() == "login-2"


class TestForget:
    async def test_returns_the_token(self) -> None:
        """The next call logs in, and does not refresh what was forgotten."""
        rig = Rig()
        assert await rig.cache.forget() is None
        await rig.cache.wait()
        forgotten = await rig.cache.forget()
        assert forgotten is not None
        assert forgotten.access_token == "login-1"
        assert await rig.cache.forget() is None
        assert await rig.text() == "login-2"
        assert rig.refreshes == []

    async def test_rejected_token(self) -> None:
        rig = Rig()
        rig.cache.reject(await rig.cache.wait())
        assert await rig.cache.forget() is None

    async def test_token_to_start_from(self) -> None:
        rig = Rig(initial=PAIR, login=False)
        assert await rig.cache.forget() == PAIR
        with pytest.raises(AuthenticationError, match="signed out"):
            await rig.text()
        assert rig.refreshes == []

    async def test_waits_for_a_renewal(self) -> None:
        """The token of a renewal that is running is forgotten too."""
        rig = Rig()
        (task,) = await rig.waiting(1)
        forgetting = asyncio.create_task(rig.cache.forget())
        await settled()
        assert not forgetting.done()
        rig.open.set()
        forgotten = await forgetting
        assert forgotten is not None
        assert forgotten.access_token == (await task).token.access_token == "login-1"
        assert rig.cache.current() is None

    async def test_renewal_that_fails(self) -> None:
        rig = Rig()
        (task,) = await rig.waiting(1)
        rig.login_replies.append(ServerError(status=500))
        forgetting = asyncio.create_task(rig.cache.forget())
        rig.open.set()
        assert await forgetting is None
        with pytest.raises(ServerError):
            await task


class TestSecondFactor:
    async def test_one_login_for_all_calls(self) -> None:
        """Each call raises an error of its own with the challenge. No time ends it."""
        rig = Rig()
        tasks = await rig.waiting(3)
        rig.login_replies.append(second_factor())
        rig.open.set()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert len({id(error) for error in caught}) == 3
        for seconds in (0, 60, 900, 1e6):
            rig.clock.now += seconds
            with pytest.raises(TwoFactorRequired) as info:
                await rig.text()
            caught.append(info.value)
            assert info.value.attempts == 0
        assert {error.challenge for error in caught if isinstance(error, TwoFactorRequired)} == {
            "challenge-1"
        }
        assert rig.logins == 1

    async def test_ended_by_a_token(self) -> None:
        rig = Rig()
        rig.login_replies = [second_factor()]
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        rig.cache.use(Token("verified", 1800, refresh_token="r-verified"), rig.clock())
        assert await rig.text() == "verified"
        rig.clock.now += 1799
        assert await rig.text() == "refresh-1"
        assert rig.logins == 1

    async def test_ended_by_a_renewal(self) -> None:
        """An explicit renewal logs in, which brings a new challenge."""
        rig = Rig()
        rig.login_replies = [second_factor("first"), second_factor("second")]
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        with pytest.raises(TwoFactorRequired) as caught:
            await rig.cache.renew()
        assert caught.value.challenge == "second"
        with pytest.raises(TwoFactorRequired) as caught:
            await rig.text()
        assert caught.value.challenge == "second"
        assert rig.logins == 2
        assert (await rig.cache.renew()).access_token == "login-3"
        assert await rig.text() == "login-3"

    async def test_renewal_that_is_refused(self) -> None:
        """Then the usual pause counts."""
        rig = Rig()
        rig.login_replies = [second_factor(), REFUSED]
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        with pytest.raises(AuthenticationError):
            await rig.cache.renew()
        rig.clock.now += 61
        assert await rig.text() == "login-3"

    async def test_renewal_that_fails(self) -> None:
        """The challenge stays open."""
        rig = Rig()
        rig.login_replies = [second_factor(), TransportError("lost")]
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        with pytest.raises(TransportError):
            await rig.cache.renew()
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        assert rig.logins == 2

    async def test_in_the_background(self) -> None:
        """Calls use the old token while it lives, and no further login is sent."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 1201
        rig.refresh_replies = [TransportError("lost")]
        rig.login_replies = [second_factor()]
        for _ in range(5):
            assert await rig.text() == "login-1"
            await settled()
            rig.clock.now += 100
        rig.clock.now += 1000
        with pytest.raises(TwoFactorRequired):
            await rig.text()
        assert rig.logins == 2

    def test_error_hides_its_challenge(self) -> None:
        """It survives copying and pickling."""
        error = second_factor("the-challenge")
        pickled = pickle.loads(pickle.dumps(error))
        for each in (error, error.copy(), copy.copy(error), copy.deepcopy(error), pickled):
            assert each.challenge == "the-challenge"
            assert type(each.challenge) is str
            for text in (str(each), repr(each), repr(vars(each)), repr(each.args)):
                assert "the-challenge" not in text


def test_token_hides_its_refresh_token() -> None:
    text = repr(Token("access-1", refresh_token="refresh-1"))
    assert "access-1" not in text
    assert "refresh-1" not in text
