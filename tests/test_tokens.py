"""The token cache under a frozen clock: lives, renewals, refusals, generations, waiters."""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from portsip_async import (
    APIError,
    AuthenticationError,
    BadRequest,
    ClientClosed,
    Conflict,
    ConnectError,
    NotFound,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    Token,
)
from portsip_async.core.decode import Decoder
from portsip_async.core.tokens import Held, Obtained, Renewal, TokenCache, refusal

from .clocks import FrozenClock

X = TypeVar("X")

TICK = 1e-6  # seconds; what lies between just before and just after
REFUSED = AuthenticationError("no such user", status=400, err_code=401.1)


class Rig:
    """A cache over a login and a refresh that a test scripts and can hold back.

    Attributes:
        logins: how often it logged in.
        refreshes: the tokens that were sent to be refreshed.
        login_answers: what the next logins bring; afterwards tokens that live `life` seconds.
        refresh_answers: likewise for refreshes.
        open: lets logins and refreshes end; set at first.
        seconds: how long a login takes on the clock.
        renewals: the tasks of all renewals.
    """

    def __init__(self, *, life: float = 30.0, initial: str | None = None, login: bool = True):
        self.clock = FrozenClock()
        self.life = life
        self.logins = 0
        self.refreshes: list[str] = []
        self.login_answers: list[object] = []
        self.refresh_answers: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.seconds = 0.0
        self.renewals: list[asyncio.Task[Any]] = []
        self.cache = TokenCache(
            login=self._login if login else None,
            refresh=self._refresh,
            initial=initial,
            clock=self.clock,
            start=self._start,
        )

    @property
    def traffic(self) -> int:
        return self.logins + len(self.refreshes)

    def _start(self, renewal: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        task = asyncio.create_task(renewal)
        self.renewals.append(task)
        return task

    async def _login(self) -> Obtained:
        self.logins += 1
        return await self._answer(self.login_answers, f"login-{self.logins}")

    async def _refresh(self, token: str) -> Obtained:
        self.refreshes.append(token)
        return await self._answer(self.refresh_answers, f"refresh-{len(self.refreshes)}")

    async def _answer(self, answers: list[object], token: str) -> Obtained:
        sent_at = self.clock()
        self.clock.now += self.seconds
        await self.open.wait()
        answer = answers.pop(0) if answers else Token(token, self.life)
        if isinstance(answer, BaseException):
            raise answer
        return Obtained(answer, sent_at)  # type: ignore[arg-type]  # a wrong one, in one test

    async def served(self) -> Held:
        """The token that is served now, without a wait."""
        held = self.cache.current()
        assert held is not None
        await settled()
        return held

    async def waiting(self, callers: int = 1) -> list[asyncio.Task[Held]]:
        """Let callers wait for a renewal that is held back."""
        self.open.clear()
        tasks = [asyncio.create_task(self.cache.wait()) for _ in range(callers)]
        await settled()
        return tasks


async def settled() -> None:
    """Let everything go on that needs no clock."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestLife:
    @pytest.mark.parametrize(
        ("expires", "stale", "spent"),
        [
            (30.0, 20.0, 28.0),
            (600.0, 400.0, 598.0),
            (8.0, 16 / 3, 6.0),
            (4.0, 8 / 3, 3.0),
            (1.0, 2 / 3, 0.75),
            (0.02, 0.04 / 3, 0.015),
            # What is no life counts as the page's 30 seconds.
            (0.0, 20.0, 28.0),
            (-5.0, 20.0, 28.0),
            (math.inf, 20.0, 28.0),
            (-math.inf, 20.0, 28.0),
            (math.nan, 20.0, 28.0),
        ],
    )
    async def test_boundaries(self, expires: float, stale: float, spent: float) -> None:
        """Fresh until two thirds; stale until 2 seconds, or a quarter, before the end; spent."""
        rig = Rig(life=expires)
        held = await rig.cache.wait()
        start = rig.clock.now
        tick = min(TICK, expires / 1000) if expires > 0 else TICK
        rig.clock.now = start + stale - tick
        assert await rig.served() is held
        assert rig.refreshes == []
        rig.open.clear()
        for seconds in (stale + tick, spent - tick):
            rig.clock.now = start + seconds
            assert await rig.served() is held
            assert len(rig.refreshes) == 1
        rig.clock.now = start + spent + tick
        assert rig.cache.current() is None
        rig.open.set()
        await settled()

    @pytest.mark.parametrize(
        ("reply", "expires"),
        [
            (b'{"access_token": "T", "expires": 600}', 600.0),
            (b'{"access_token": "T", "expires": "600"}', 600.0),
            (b'{"access_token": "T", "expires": 0.5}', 0.5),
            (b'{"access_token": "T"}', 30.0),
            (b'{"access_token": "T", "expires": null}', 30.0),
            (b'{"access_token": "T", "expires": "soon"}', 30.0),
        ],
    )
    @pytest.mark.parametrize("kind", [Token, Renewal])
    def test_expires_as_the_pbx_tells_it(
        self, kind: type[Token], reply: bytes, expires: float
    ) -> None:
        """The life may come as a text; where it is absent or unreadable the page's 30 hold."""
        assert Decoder(kind).decode(reply).expires == expires

    async def test_counted_from_before_the_login(self) -> None:
        """A slow login eats of the life of the token that it brings."""
        rig = Rig()
        rig.seconds = 7.0
        start = rig.clock.now
        held = await rig.cache.wait()
        assert rig.clock.now == start + 7.0
        assert (held.stale_at, held.spent_at) == (start + 20.0, start + 28.0)

    async def test_login_slower_than_the_life(self) -> None:
        """Who waited gets the token that it waited for, spent or not; the next one waits anew."""
        rig = Rig(life=1.0)
        rig.seconds = 1.5
        tasks = await rig.waiting(3)
        rig.open.set()
        assert {(await task).token.access_token for task in tasks} == {"login-1"}
        assert rig.cache.current() is None
        assert (await rig.cache.wait()).token.access_token == "refresh-1"

    async def test_first_token_is_fresh_when_it_is_needed(self) -> None:
        """A token to start from counts from the first call, not from the making of the client."""
        rig = Rig(initial="given")
        rig.clock.now += 3600
        held = await rig.served()
        assert held.token.access_token == "given"
        assert held.stale_at == rig.clock.now + 20.0
        assert rig.traffic == 0

    async def test_idle_cache_renews_nothing(self) -> None:
        """No call, no traffic, however old the token grows."""
        rig = Rig()
        await rig.cache.wait()
        for _ in range(100):
            rig.clock.now += 20
            await settled()
        assert rig.traffic == 1


class TestStale:
    async def test_one_renewal_in_the_background(self) -> None:
        """However many calls meet a stale token, one task renews it, and all are served."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.clock.now += 20.1
        rig.open.clear()
        for _ in range(50):
            assert await rig.served() is old
        assert rig.refreshes == ["login-1"]
        rig.open.set()
        await settled()
        new = await rig.served()
        assert new.token.access_token == "refresh-1"
        assert new.generation > old.generation
        assert rig.traffic == 2

    @pytest.mark.parametrize(
        "error", [ServerError(status=500), ConnectError("no"), RequestTimeout("late"), OSError()]
    )
    async def test_failure_goes_on_serving(self, error: Exception) -> None:
        """A renewal that fails is tried again after 0.5, 1, 2, 4 and then every 5 seconds."""
        rig = Rig(life=600.0)
        old = await rig.cache.wait()
        rig.clock.now += 400.1
        rig.refresh_answers = [error] * 9
        await rig.served()
        assert len(rig.refreshes) == 1
        for count, pause in enumerate((0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0), start=1):
            rig.clock.now += pause - TICK
            assert await rig.served() is old
            assert len(rig.refreshes) == count
            rig.clock.now += 2 * TICK
            assert await rig.served() is old
            assert len(rig.refreshes) == count + 1
        assert rig.logins == 1

    async def test_success_forgets_the_pause(self) -> None:
        """After a success the pauses begin anew with the shortest."""
        rig = Rig(life=600.0)
        await rig.cache.wait()
        rig.clock.now += 401
        rig.refresh_answers = [ServerError(status=500), ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.6
        await rig.served()
        rig.clock.now += 1.1
        await rig.served()
        assert (await rig.served()).token.access_token == "refresh-3"
        rig.clock.now += 401
        rig.refresh_answers = [ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.6
        await rig.served()
        assert len(rig.refreshes) == 5

    async def test_refused_in_the_background(self) -> None:
        """A refusal is not insisted upon, and hurts no call until the token is spent."""
        rig = Rig(life=600.0)
        old = await rig.cache.wait()
        rig.clock.now += 401
        rig.refresh_answers, rig.login_answers = [REFUSED, REFUSED], [REFUSED, REFUSED]
        await rig.served()
        assert rig.traffic == 3
        for _ in range(5):
            rig.clock.now += 11
            assert await rig.served() is old
        assert rig.traffic == 3
        rig.clock.now += 6
        assert await rig.served() is old
        assert rig.traffic == 5
        rig.clock.now += 119.9
        rig.cache.reject(old)
        with pytest.raises(AuthenticationError):
            await rig.cache.wait()
        assert rig.traffic == 5


class TestSpent:
    async def test_all_wait_for_one_renewal(self) -> None:
        """A cold start and a spent token make any number of calls wait for one renewal."""
        rig = Rig()
        tasks = await rig.waiting(100)
        rig.open.set()
        assert len({id(await task) for task in tasks}) == 1
        rig.clock.now += 29
        tasks = await rig.waiting(100)
        rig.open.set()
        assert len({id(await task) for task in tasks}) == 1
        assert (rig.logins, rig.refreshes) == (1, ["login-1"])

    async def test_joins_the_background_renewal(self) -> None:
        """A token that is spent while it is renewed in the background is not renewed twice."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 21
        rig.open.clear()
        await rig.served()
        rig.clock.now += 8
        tasks = await rig.waiting(3)
        rig.open.set()
        assert {(await task).token.access_token for task in tasks} == {"refresh-1"}
        assert len(rig.refreshes) == 1

    async def test_failed_background_renewal_is_tried_at_once(self) -> None:
        """The pause after a failure is for the background: who has no token does not sit it out."""
        rig = Rig(life=1.0)
        await rig.cache.wait()
        rig.clock.now += 0.7
        rig.refresh_answers = [ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.1
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_served_without_a_wait(self) -> None:
        """Waiting for a token that is there takes no renewal."""
        rig = Rig()
        held = await rig.cache.wait()
        assert await rig.cache.wait() is held
        assert rig.traffic == 1


REFUSALS: list[PortSIPError] = [
    REFUSED,
    AuthenticationError(status=401),
    BadRequest(status=400),
    PermissionDenied(status=403),
    BadRequest(status=200, err_code="400.1"),
]
# A refresh that fails like this is replaced by a login; a login is not refused by it.
MISSING: list[PortSIPError] = [
    NotFound(status=404),
    Conflict(status=409),
    APIError(status=410),
    APIError(status=499),
]
OTHERWISE: list[PortSIPError] = [
    ServerError(status=500),
    ServerError(status=503, retry_after=1.0),
    RateLimited(status=429),
    RateLimited(status=403, err_code=403.5),
    APIError(status=408),
    APIError(status=302),
    ConnectError("no connection"),
    RequestTimeout("too late"),
    ReplyError(expected="a token"),
    ClientClosed("closed"),
]


def told(error: object) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


class TestRefusal:
    @pytest.mark.parametrize("error", REFUSALS, ids=told)
    def test_refused(self, error: APIError) -> None:
        """400, 401, 403, or an err_code of that kind, is an AuthenticationError."""
        found = refusal(error)
        assert isinstance(found, AuthenticationError)
        assert (found.status, found.err_code, found.message) == (
            error.status,
            error.err_code,
            error.message,
        )

    @pytest.mark.parametrize("error", MISSING + OTHERWISE, ids=told)
    def test_failed_otherwise(self, error: PortSIPError) -> None:
        assert refusal(error) is None


class TestRefresh:
    @pytest.mark.parametrize("error", REFUSALS + MISSING, ids=told)
    async def test_refused_logs_in_once(self, error: PortSIPError) -> None:
        """A refused refresh falls back to one login, with no cool-down."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_answers = [error]
        assert (await rig.cache.wait()).token.access_token == "login-2"
        assert (rig.logins, len(rig.refreshes)) == (2, 1)

    @pytest.mark.parametrize(
        "error", [error for error in OTHERWISE if not isinstance(error, ReplyError)], ids=told
    )
    async def test_failed_otherwise_does_not_log_in(self, error: PortSIPError) -> None:
        """A refresh that fails for the PBX's trouble fails the renewal; the next call tries."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_answers = [error]
        with pytest.raises(type(error)):
            await rig.cache.wait()
        assert rig.logins == 1
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_reply_unreadable_logs_in(self) -> None:
        """A PBX whose refresh answers what is no token is logged in to."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_answers = [ReplyError(expected="an object")]
        assert (await rig.cache.wait()).token.access_token == "login-2"

    @pytest.mark.parametrize("answer", [Renewal(None, 60), Renewal("", 60), Renewal("login-1", 60)])
    async def test_without_a_new_token_prolongs(self, answer: Renewal) -> None:
        """A refresh that brings no other token prolongs the one that was sent."""
        rig = Rig()
        rig.login_answers = [Token("login-1", 30, "tenant", "2.0.0")]
        old = await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_answers = [answer]
        new = await rig.cache.wait()
        assert new.token == Token("login-1", 60, "tenant", "2.0.0")
        assert new.spent_at == rig.clock.now + 58
        assert new.generation == old.generation
        assert rig.logins == 1

    async def test_what_a_refresh_tells_is_kept(self) -> None:
        """A refresh answers a token of the same shape as a login."""
        rig = Rig()
        await rig.cache.wait()
        rig.refresh_answers = [Renewal("new", 60, "tenant", "2.0.0")]
        assert await rig.cache.renew() == Token("new", 60, "tenant", "2.0.0")

    async def test_rejected_token_is_not_prolonged(self) -> None:
        """Prolonging a token that the PBX rejected brings nothing: it logs in."""
        rig = Rig()
        rig.cache.reject(await rig.cache.wait())
        rig.refresh_answers = [Renewal()]
        new = await rig.cache.wait()
        assert new.token.access_token == "login-2"
        assert rig.refreshes == ["login-1"]

    async def test_rejected_while_it_is_prolonged(self) -> None:
        """A rejection that arrives while the refresh is under way counts just as well."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.clock.now += 21
        rig.open.clear()
        await rig.served()
        rig.cache.reject(old)
        rig.refresh_answers.append(Renewal())
        rig.open.set()
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_rejected_token_is_refreshed_first(self) -> None:
        """After a rejection, too, refreshing is tried before logging in."""
        rig = Rig()
        rig.cache.reject(await rig.cache.wait())
        assert (await rig.cache.wait()).token.access_token == "refresh-1"
        assert rig.logins == 1

    @pytest.mark.parametrize("token", ["", "two\r\nlines", "\x00"])
    async def test_token_that_cannot_be_sent(self, token: str) -> None:
        rig = Rig()
        rig.login_answers = [Token(token)]
        with pytest.raises(ReplyError, match="access_token"):
            await rig.cache.wait()


class TestStaticToken:
    async def test_renewed_by_refresh_only(self) -> None:
        rig = Rig(initial="given", login=False)
        await rig.served()
        rig.clock.now += 29
        assert (await rig.cache.wait()).token.access_token == "refresh-1"
        assert (rig.refreshes, rig.logins) == (["given"], 0)

    async def test_renewed_before_its_first_use(self) -> None:
        rig = Rig(initial="given", login=False)
        assert (await rig.cache.renew()).access_token == "refresh-1"
        assert rig.refreshes == ["given"]

    async def test_refused_refresh(self) -> None:
        """There is nothing to log in with: AuthenticationError, remembered like a refused login."""
        rig = Rig(initial="given", login=False)
        await rig.served()
        rig.clock.now += 29
        rig.refresh_answers = [REFUSED]
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                await rig.cache.wait()
        assert rig.traffic == 1

    async def test_rejected_and_only_prolonged(self) -> None:
        rig = Rig(initial="given", login=False)
        rig.cache.reject(await rig.served())
        rig.refresh_answers = [Renewal()]
        with pytest.raises(AuthenticationError, match="no credentials"):
            await rig.cache.wait()


class TestGenerations:
    async def test_old_rejection_leaves_the_new_token(self) -> None:
        """A call that was under way with the old token can't take the new one from the others."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.cache.reject(old)
        new = await rig.cache.wait()
        rig.cache.reject(old)
        assert await rig.served() is new
        rig.cache.reject(new)
        assert rig.cache.current() is None

    async def test_rejection_finds_the_token_that_was_prolonged_since(self) -> None:
        """The generation is the token's: prolonging it makes no new one of a token that is dead."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.clock.now += 21
        rig.refresh_answers = [Renewal()]
        await rig.served()
        assert await rig.served() is not old
        rig.cache.reject(old)
        assert rig.cache.current() is None
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_login_that_brings_the_same_text(self) -> None:
        """After a rejection every login is a generation, so that it is not logged in for ever."""
        rig = Rig()
        rig.login_answers = [Token("same"), Token("same")]
        rig.refresh_answers = [REFUSED]
        old = await rig.cache.wait()
        rig.cache.reject(old)
        new = await rig.cache.wait()
        rig.cache.reject(old)
        assert await rig.served() is new
        assert rig.logins == 2


class TestRefusedLogin:
    async def test_cool_down_doubles_up_to_15_minutes(self) -> None:
        """60 seconds, twice as long after each further refusal, 15 minutes at most; no traffic."""
        rig = Rig()
        rig.login_answers = [REFUSED] * 9
        for count, seconds in enumerate((60, 120, 240, 480, 900, 900, 900), start=1):
            for wait in (0.0, seconds - TICK):
                rig.clock.now += wait
                with pytest.raises(AuthenticationError):
                    await rig.cache.wait()
                assert rig.logins == count
            rig.clock.now += 2 * TICK

    async def test_success_forgets_it(self) -> None:
        rig = Rig()
        rig.login_answers = [REFUSED, REFUSED]
        rig.refresh_answers = [REFUSED]
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await rig.cache.wait()
            rig.clock.now += 121
        rig.cache.reject(await rig.cache.wait())
        rig.login_answers = [REFUSED]
        with pytest.raises(AuthenticationError):
            await rig.cache.wait()
        rig.clock.now += 60.1
        assert await rig.cache.wait()

    async def test_renew_tries_at_once(self) -> None:
        """What `account.refresh()` does: try within the cool-down, and be counted if refused."""
        rig = Rig()
        rig.login_answers = [REFUSED, REFUSED]
        with pytest.raises(AuthenticationError):
            await rig.cache.wait()
        with pytest.raises(AuthenticationError):
            await rig.cache.renew()
        assert rig.logins == 2
        rig.clock.now += 61
        with pytest.raises(AuthenticationError):
            await rig.cache.wait()
        assert rig.logins == 2
        assert (await rig.cache.renew()).access_token == "login-3"
        assert (await rig.served()).token.access_token == "login-3"

    async def test_errors_within_the_cool_down(self) -> None:
        """Each call gets an error of its own that says that nothing was sent."""
        rig = Rig()
        rig.login_answers = [
            AuthenticationError("no", status=400, operation="account.verify", attempts=1)
        ]
        caught = []
        for _ in range(3):
            with pytest.raises(AuthenticationError) as info:
                await rig.cache.wait()
            caught.append(info.value)
        assert len({id(error) for error in caught}) == 3
        assert [error.attempts for error in caught] == [1, 0, 0]
        assert {error.operation for error in caught} == {"account.verify"}

    @pytest.mark.parametrize("error", OTHERWISE, ids=told)
    async def test_other_failures_are_not_remembered(self, error: PortSIPError) -> None:
        rig = Rig()
        rig.login_answers = [error]
        with pytest.raises(type(error)):
            await rig.cache.wait()
        assert (await rig.cache.wait()).token.access_token == "login-2"


class TestWaiters:
    async def test_failure_is_shared_in_copies(self) -> None:
        """All who wait learn why it failed, each from an error of its own with the same cause."""
        rig = Rig()
        error = ServerError("down", status=503, retry_after=7.0)
        error.__cause__ = OSError("why")
        rig.login_answers = [error]
        tasks = await rig.waiting(5)
        rig.open.set()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert len({id(one) for one in caught}) == 5
        for one in caught:
            assert isinstance(one, ServerError)
            assert one is not error
            assert (one.status, one.retry_after, one.__cause__) == (503, 7.0, error.__cause__)
        assert rig.logins == 1

    async def test_cancelled_waiter_disturbs_nobody(self) -> None:
        rig = Rig()
        first, *others = await rig.waiting(4)
        first.cancel()
        await settled()
        assert first.cancelled()
        rig.open.set()
        assert {(await task).token.access_token for task in others} == {"login-1"}
        assert rig.logins == 1

    async def test_last_waiter_cancelled_leaves_the_renewal(self) -> None:
        """The renewal goes on for those who come next."""
        rig = Rig()
        tasks = await rig.waiting(3)
        for task in tasks:
            task.cancel()
        await settled()
        assert all(task.cancelled() for task in tasks)
        rig.open.set()
        await settled()
        assert (await rig.served()).token.access_token == "login-1"
        assert rig.logins == 1

    async def test_renew_joins_the_renewal_under_way(self) -> None:
        rig = Rig()
        (task,) = await rig.waiting()
        renewing = asyncio.create_task(rig.cache.renew())
        await settled()
        rig.open.set()
        assert await renewing == (await task).token
        assert rig.logins == 1

    @pytest.mark.parametrize("error", [OSError("vault"), TimeoutError(), KeyError("token")])
    async def test_foreign_errors_pass_through(self, error: Exception) -> None:
        """What an application's own fetch_token raises reaches those who wait as it is."""
        rig = Rig()
        rig.login_answers = [error]
        tasks = await rig.waiting(3)
        rig.open.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_cancellation_from_within_is_a_failure(self) -> None:
        """A fetch_token that ends in a CancelledError of its own does not close the client."""
        rig = Rig()
        rig.login_answers = [asyncio.CancelledError()]
        with pytest.raises(PortSIPError, match="cancelled from within") as caught:
            await rig.cache.wait()
        assert type(caught.value) is PortSIPError
        assert (await rig.cache.wait()).token.access_token == "login-2"

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            "T",
            {"access_token": "T"},
            Token("T", "30"),  # type: ignore[arg-type]  # no number
            Token(5),  # type: ignore[arg-type]  # no text
            Token(b"T"),  # type: ignore[arg-type]  # no text
        ],
    )
    async def test_fetch_token_that_answers_no_token(self, answer: object) -> None:
        rig = Rig()
        rig.login_answers = [answer]
        with pytest.raises(TypeError, match="fetch_token answers a Token"):
            await rig.cache.wait()
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_closed_while_waiting(self) -> None:
        """A renewal that its owner ended is told as ClientClosed to all who wait."""
        rig = Rig()
        tasks = await rig.waiting(3)
        rig.renewals[0].cancel()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in caught] == [ClientClosed] * 3


def test_repr_of_what_is_held_shows_no_token() -> None:
    held = Held(Token("secret-1"), 3, 0.0, 0.0)
    assert repr(held) == "Held(generation=3)"
