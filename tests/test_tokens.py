"""The token cache on a frozen clock: lifetimes, renewals, refusals, generations, waiters."""

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
    PasswordCredentials,
    PermissionDenied,
    PortSIPError,
    RateLimited,
    ReplyError,
    RequestTimeout,
    ServerError,
    StaticToken,
    Token,
)
from portsip_async.classic.error_codes import CLASSIC_ERRORS
from portsip_async.classic.login import Login
from portsip_async.classic.models import RefreshReply
from portsip_async.classic.operations import ACCOUNT_REFRESH, ACCOUNT_VERIFY, ENDPOINTS
from portsip_async.client.login import login_error, refused_login
from portsip_async.core.credentials import is_fetch_error
from portsip_async.core.decode import Decoder
from portsip_async.core.endpoint import Endpoint, EndpointTable
from portsip_async.core.token_types import CachedToken
from portsip_async.core.tokens import TokenCache

from .clocks import FrozenClock, clock_that_reads

X = TypeVar("X")

TICK = 1e-6  # seconds between just before and just after
REFUSED = AuthenticationError("no such user", status=400, err_code=401.1)


class Rig:
    """A token cache over a `Login`. The test scripts the replies, and can delay them.

    The rig also replaces the session and an application's credentials.

    Attributes:
        logins: how often it logged in.
        refreshes: the tokens that were sent to be refreshed.
        login_replies: the replies to the next logins; then tokens with a lifetime of `life`.
        refresh_replies: the same for refreshes.
        open: an event that lets logins and refreshes end; set at first.
        seconds: how long a login takes on the clock.
        renewals: the tasks of all renewals.
    """

    base_url = "https://pbx.example.com/api"

    def __init__(
        self,
        *,
        life: float = 30.0,
        initial: str | None = None,
        login: bool = True,
        vault: bool = False,
    ):
        self.clock = FrozenClock()
        self.life = life
        self.logins = 0
        self.refreshes: list[str] = []
        self.login_replies: list[object] = []
        self.refresh_replies: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.seconds = 0.0
        self.renewals: list[asyncio.Task[Any]] = []
        credentials: Any = PasswordCredentials("admin", "hunter2") if login else StaticToken("")
        session: Any = self
        source = Login(session, EndpointTable(ENDPOINTS), self if vault else credentials)
        source.initial = None if initial is None else Token(initial)
        self.cache = TokenCache(source, owner=self, clock=clock_that_reads(self.clock))

    @property
    def traffic(self) -> int:
        return self.logins + len(self.refreshes)

    def start(self, coroutine: Coroutine[Any, Any, X]) -> asyncio.Task[X]:
        task = asyncio.create_task(coroutine)
        self.renewals.append(task)
        return task

    def check_open(self) -> None:
        """The rig never closes."""

    async def send_login(
        self, row: Endpoint[Any], _: object, *, token: Token | None = None
    ) -> tuple[Any, float]:
        """Send a login or a refresh."""
        sent_at = self.clock()
        if token is None:
            self.logins += 1
            return await self._reply(self.login_replies, f"login-{self.logins}"), sent_at
        assert row is ACCOUNT_REFRESH
        self.refreshes.append(token.access_token)
        reply = await self._reply(self.refresh_replies, f"refresh-{len(self.refreshes)}")
        return reply, sent_at

    async def fetch_token(self) -> Any:
        """Fetch a token as an application's own credentials do."""
        reply, _ = await self.send_login(ACCOUNT_VERIFY, {})
        return reply

    async def _reply(self, replies: list[object], token: str) -> Any:
        self.clock.now += self.seconds
        await self.open.wait()
        reply = replies.pop(0) if replies else Token(token, self.life)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def served(self) -> CachedToken:
        """Return the token that calls can use now."""
        held = self.cache.current()
        assert held is not None
        await settled()
        return held

    async def waiting(self, callers: int = 1) -> list[asyncio.Task[CachedToken]]:
        """Block the renewal, and start calls that wait for it."""
        self.open.clear()
        tasks = [asyncio.create_task(self.cache.wait()) for _ in range(callers)]
        await settled()
        return tasks


async def settled() -> None:
    """Run everything that doesn't wait for the clock."""
    for _ in range(10):
        await asyncio.sleep(0)


class TestLifetime:
    @pytest.mark.parametrize(
        ("expires", "stale", "spent"),
        [
            (30.0, 20.0, 28.0),
            (600.0, 400.0, 598.0),
            (8.0, 16 / 3, 6.0),
            (4.0, 8 / 3, 3.0),
            (1.0, 2 / 3, 0.75),
            (0.02, 0.04 / 3, 0.015),
            # Anything else counts as the 30 seconds of the vendor's documentation.
            (0.0, 20.0, 28.0),
            (-5.0, 20.0, 28.0),
            (math.inf, 20.0, 28.0),
            (-math.inf, 20.0, 28.0),
            (math.nan, 20.0, 28.0),
        ],
    )
    async def test_boundaries_of_the_states(
        self, expires: float, stale: float, spent: float
    ) -> None:
        """Fresh until two thirds, then stale; spent 2 seconds, or a quarter, before the end."""
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
    @pytest.mark.parametrize("kind", [Token, RefreshReply])
    def test_expires_as_the_pbx_sends_it(
        self, kind: type[Token], reply: bytes, expires: float
    ) -> None:
        """`expires` may be a string. If it is missing or unreadable, it counts as 30 seconds."""
        assert Decoder(kind).decode(reply).expires == expires

    async def test_lifetime_starts_before_the_login(self) -> None:
        """The duration of a login counts as part of the lifetime."""
        rig = Rig()
        rig.seconds = 7.0
        start = rig.clock.now
        held = await rig.cache.wait()
        assert rig.clock.now == start + 7.0
        assert (held.stale_at, held.spent_at) == (start + 20.0, start + 28.0)

    async def test_login_slower_than_the_lifetime(self) -> None:
        """Waiting calls get the token even if it is already spent. The next call waits again."""
        rig = Rig(life=1.0)
        rig.seconds = 1.5
        tasks = await rig.waiting(3)
        rig.open.set()
        assert {(await task).token.access_token for task in tasks} == {"login-1"}
        assert rig.cache.current() is None
        assert (await rig.cache.wait()).token.access_token == "refresh-1"

    async def test_lifetime_of_a_given_token_starts_with_the_first_call(self) -> None:
        """It doesn't start when the client is created."""
        rig = Rig(initial="given")
        rig.clock.now += 3600
        held = await rig.served()
        assert held.token.access_token == "given"
        assert held.stale_at == rig.clock.now + 20.0
        assert rig.traffic == 0

    async def test_idle_cache_renews_nothing(self) -> None:
        """Without calls there is no traffic, however old the token is."""
        rig = Rig()
        await rig.cache.wait()
        for _ in range(100):
            rig.clock.now += 20
            await settled()
        assert rig.traffic == 1


class TestStale:
    async def test_one_renewal_in_the_background(self) -> None:
        """One task renews a stale token for all calls, and all of them can use it meanwhile."""
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
    async def test_calls_use_a_stale_token_after_a_failure(self, error: Exception) -> None:
        """A renewal that fails is tried again after 0.5, 1, 2, 4 and then every 5 seconds."""
        rig = Rig(life=600.0)
        old = await rig.cache.wait()
        rig.clock.now += 400.1
        rig.refresh_replies = [error] * 9
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

    async def test_success_resets_the_pause(self) -> None:
        """After a success the next pause is the shortest again."""
        rig = Rig(life=600.0)
        await rig.cache.wait()
        rig.clock.now += 401
        rig.refresh_replies = [ServerError(status=500), ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.6
        await rig.served()
        rig.clock.now += 1.1
        await rig.served()
        assert (await rig.served()).token.access_token == "refresh-3"
        rig.clock.now += 401
        rig.refresh_replies = [ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.6
        await rig.served()
        assert len(rig.refreshes) == 5

    async def test_login_refused_in_the_background(self) -> None:
        """The login is not repeated at once. Calls use the token until it is spent."""
        rig = Rig(life=600.0)
        old = await rig.cache.wait()
        rig.clock.now += 401
        rig.refresh_replies, rig.login_replies = [REFUSED, REFUSED], [REFUSED, REFUSED]
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
    async def test_calls_wait_for_one_renewal(self) -> None:
        """Without a token, or with a spent one, all calls wait for the same renewal."""
        rig = Rig()
        tasks = await rig.waiting(100)
        rig.open.set()
        assert len({id(await task) for task in tasks}) == 1
        rig.clock.now += 29
        tasks = await rig.waiting(100)
        rig.open.set()
        assert len({id(await task) for task in tasks}) == 1
        assert (rig.logins, rig.refreshes) == (1, ["login-1"])

    async def test_waiting_call_joins_the_background_renewal(self) -> None:
        """A token that is spent during its background renewal is not renewed twice."""
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
        """The pause after a failure is for the background; a call without a token does not wait."""
        rig = Rig(life=1.0)
        await rig.cache.wait()
        rig.clock.now += 0.7
        rig.refresh_replies = [ServerError(status=500)]
        await rig.served()
        rig.clock.now += 0.1
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_wait_returns_a_fresh_token_at_once(self) -> None:
        """Waiting for a token that calls can use starts no renewal."""
        rig = Rig()
        held = await rig.cache.wait()
        assert await rig.cache.wait() is held
        assert rig.traffic == 1


class Locked(APIError):
    """An error class that the SDK doesn't know, as for status 423."""


REFUSALS: list[PortSIPError] = [
    REFUSED,
    AuthenticationError(status=401),
    BadRequest(status=400),
    PermissionDenied(status=403),
    BadRequest(status=200, err_code="400.1"),
]
# After a refresh that fails like this the cache logs in; a login is not refused by it.
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

# The other two classes mean that the PBX is busy or broken, whatever the status is.
BY_STATUS = [
    error
    for error in REFUSALS + MISSING + OTHERWISE
    if isinstance(error, APIError) and not isinstance(error, RateLimited | ServerError)
]


def label(error: object) -> str:
    return f"{type(error).__name__}-{getattr(error, 'status', '')}"


class TestRefusal:
    @pytest.mark.parametrize("error", REFUSALS, ids=label)
    def test_refused_login(self, error: APIError) -> None:
        """Status 400, 401 or 403, or such an err_code, is an AuthenticationError."""
        found = refused_login(error, CLASSIC_ERRORS)
        assert isinstance(found, AuthenticationError)
        assert (found.status, found.err_code, found.message) == (
            error.status,
            error.err_code,
            error.message,
        )

    @pytest.mark.parametrize("error", MISSING + OTHERWISE, ids=label)
    def test_failed_login(self, error: PortSIPError) -> None:
        assert refused_login(error, CLASSIC_ERRORS) is None

    @pytest.mark.parametrize("error", BY_STATUS, ids=label)
    @pytest.mark.parametrize("status", [None, 423])
    def test_class_of_an_error_does_not_matter(self, error: APIError, status: int | None) -> None:
        """A subclass of APIError for another status changes no decision about a login."""
        status = status or error.status
        plain = APIError("no", status=status, err_code=error.err_code)
        other = Locked("no", status=status, err_code=error.err_code)
        judged = [refused_login(each, CLASSIC_ERRORS) for each in (plain, other)]
        assert type(judged[0]) is type(judged[1])
        url = Rig.base_url
        refused = isinstance(login_error(plain, url, CLASSIC_ERRORS), AuthenticationError)
        kind = AuthenticationError if refused else Locked
        assert type(login_error(other, url, CLASSIC_ERRORS)) is kind

    @pytest.mark.parametrize(
        ("status", "remembered"), [(400, True), (401, True), (403, True), (423, False)]
    )
    async def test_refused_login_of_any_class_is_remembered(
        self, status: int, remembered: bool
    ) -> None:
        """A separate error class for a status doesn't change the cool-down."""
        rig = Rig()
        rig.login_replies = [Locked("no", status=status)] * 2
        for _ in range(2):
            with pytest.raises(AuthenticationError if remembered else Locked):
                await rig.cache.wait()
        assert rig.logins == (1 if remembered else 2)


class TestRefresh:
    @pytest.mark.parametrize("error", REFUSALS + MISSING, ids=label)
    async def test_refused_refresh_logs_in_once(self, error: PortSIPError) -> None:
        """After a refused refresh the cache logs in once, without a cool-down."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_replies = [error]
        assert (await rig.cache.wait()).token.access_token == "login-2"
        assert (rig.logins, len(rig.refreshes)) == (2, 1)

    @pytest.mark.parametrize(
        "error", [error for error in OTHERWISE if not isinstance(error, ReplyError)], ids=label
    )
    async def test_failed_refresh_does_not_log_in(self, error: PortSIPError) -> None:
        """If the PBX is in trouble, the renewal fails. The next call tries again."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_replies = [error]
        with pytest.raises(type(error)):
            await rig.cache.wait()
        assert rig.logins == 1
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_unreadable_refresh_reply_logs_in(self) -> None:
        """If the reply to a refresh can't be read, the cache logs in."""
        rig = Rig()
        await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_replies = [ReplyError(expected="an object")]
        assert (await rig.cache.wait()).token.access_token == "login-2"

    @pytest.mark.parametrize("access_token", [None, "", "login-1"])
    async def test_refresh_without_a_new_token_prolongs_the_old_one(
        self, access_token: str | None
    ) -> None:
        """The reply has no token, or the same one."""
        rig = Rig()
        rig.login_replies = [Token("login-1", 30, "tenant", "2.0.0")]
        old = await rig.cache.wait()
        rig.clock.now += 29
        rig.refresh_replies = [RefreshReply(access_token, 60)]
        new = await rig.cache.wait()
        assert new.token == Token("login-1", 60, "tenant", "2.0.0")
        assert new.spent_at == rig.clock.now + 58
        assert new.generation == old.generation
        assert rig.logins == 1

    async def test_refresh_keeps_all_fields(self) -> None:
        """A refreshed token has the same fields as one from a login."""
        rig = Rig()
        await rig.cache.wait()
        rig.refresh_replies = [RefreshReply("new", 60, "tenant", "2.0.0")]
        assert await rig.cache.renew() == Token("new", 60, "tenant", "2.0.0")

    async def test_rejected_token_is_not_prolonged(self) -> None:
        """If a rejected token was only prolonged, the cache logs in."""
        rig = Rig()
        rig.cache.reject(await rig.cache.wait())
        rig.refresh_replies = [RefreshReply()]
        new = await rig.cache.wait()
        assert new.token.access_token == "login-2"
        assert rig.refreshes == ["login-1"]

    async def test_token_rejected_while_it_is_prolonged(self) -> None:
        """A rejection during the refresh counts, too."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.clock.now += 21
        rig.open.clear()
        await rig.served()
        rig.cache.reject(old)
        rig.refresh_replies.append(RefreshReply())
        rig.open.set()
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_rejected_token_is_refreshed_first(self) -> None:
        """The cache refreshes a rejected token before it logs in."""
        rig = Rig()
        rig.cache.reject(await rig.cache.wait())
        assert (await rig.cache.wait()).token.access_token == "refresh-1"
        assert rig.logins == 1

    @pytest.mark.parametrize("token", ["", "two\r\nlines", "\x00"])
    async def test_token_that_cannot_be_sent(self, token: str) -> None:
        rig = Rig()
        rig.login_replies = [Token(token)]
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
        """Without credentials: an AuthenticationError, remembered like a refused login."""
        rig = Rig(initial="given", login=False)
        await rig.served()
        rig.clock.now += 29
        rig.refresh_replies = [REFUSED]
        for _ in range(3):
            with pytest.raises(AuthenticationError):
                await rig.cache.wait()
        assert rig.traffic == 1

    async def test_rejected_and_only_prolonged(self) -> None:
        rig = Rig(initial="given", login=False)
        rig.cache.reject(await rig.served())
        rig.refresh_replies = [RefreshReply()]
        with pytest.raises(AuthenticationError, match="no credentials"):
            await rig.cache.wait()


class TestGenerations:
    async def test_old_rejection_leaves_the_new_token(self) -> None:
        """A call that used the old token can't take the new one from the others."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.cache.reject(old)
        new = await rig.cache.wait()
        rig.cache.reject(old)
        assert await rig.served() is new
        rig.cache.reject(new)
        assert rig.cache.current() is None

    async def test_rejection_finds_the_token_that_was_prolonged_since(self) -> None:
        """A prolonged token keeps its generation, so an earlier rejection still counts."""
        rig = Rig()
        old = await rig.cache.wait()
        rig.clock.now += 21
        rig.refresh_replies = [RefreshReply()]
        await rig.served()
        assert await rig.served() is not old
        rig.cache.reject(old)
        assert rig.cache.current() is None
        assert (await rig.cache.wait()).token.access_token == "refresh-2"

    async def test_login_with_the_same_token(self) -> None:
        """After a rejection every login is a new generation, so logins don't repeat forever."""
        rig = Rig()
        rig.login_replies = [Token("same"), Token("same")]
        rig.refresh_replies = [REFUSED]
        old = await rig.cache.wait()
        rig.cache.reject(old)
        new = await rig.cache.wait()
        rig.cache.reject(old)
        assert await rig.served() is new
        assert rig.logins == 2


class TestRefusedLogin:
    async def test_cool_down_doubles_up_to_15_minutes(self) -> None:
        """60 seconds without traffic, twice as long after each refusal, at most 15 minutes."""
        rig = Rig()
        rig.login_replies = [REFUSED] * 9
        for count, seconds in enumerate((60, 120, 240, 480, 900, 900, 900), start=1):
            for wait in (0.0, seconds - TICK):
                rig.clock.now += wait
                with pytest.raises(AuthenticationError):
                    await rig.cache.wait()
                assert rig.logins == count
            rig.clock.now += 2 * TICK

    async def test_success_ends_the_cool_down(self) -> None:
        rig = Rig()
        rig.login_replies = [REFUSED, REFUSED]
        rig.refresh_replies = [REFUSED]
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await rig.cache.wait()
            rig.clock.now += 121
        rig.cache.reject(await rig.cache.wait())
        rig.login_replies = [REFUSED]
        with pytest.raises(AuthenticationError):
            await rig.cache.wait()
        rig.clock.now += 60.1
        assert await rig.cache.wait()

    async def test_renew_tries_at_once(self) -> None:
        """`account.refresh()` sends during the cool-down. Another refusal counts."""
        rig = Rig()
        rig.login_replies = [REFUSED, REFUSED]
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
        """Each call gets a separate error, which says that nothing was sent."""
        rig = Rig()
        rig.login_replies = [
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

    @pytest.mark.parametrize("error", OTHERWISE, ids=label)
    async def test_other_failures_are_not_remembered(self, error: PortSIPError) -> None:
        rig = Rig()
        rig.login_replies = [error]
        with pytest.raises(type(error)):
            await rig.cache.wait()
        assert (await rig.cache.wait()).token.access_token == "login-2"


class TestWaiters:
    async def test_failure_is_shared_in_copies(self) -> None:
        """Each waiting call raises a copy of the error, with the same cause."""
        rig = Rig()
        error = ServerError("down", status=503, retry_after=7.0)
        error.__cause__ = OSError("why")
        rig.login_replies = [error]
        tasks = await rig.waiting(5)
        rig.open.set()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert len({id(one) for one in caught}) == 5
        for one in caught:
            assert isinstance(one, ServerError)
            assert one is not error
            assert (one.status, one.retry_after, one.__cause__) == (503, 7.0, error.__cause__)
        assert rig.logins == 1

    async def test_cancelled_waiter_leaves_the_others(self) -> None:
        rig = Rig()
        first, *others = await rig.waiting(4)
        first.cancel()
        await settled()
        assert first.cancelled()
        rig.open.set()
        assert {(await task).token.access_token for task in others} == {"login-1"}
        assert rig.logins == 1

    async def test_last_waiter_cancelled_leaves_the_renewal(self) -> None:
        """The renewal continues, for later calls."""
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
        """Waiting calls raise the same object that the application's fetch_token raised."""
        rig = Rig(vault=True)
        rig.login_replies = [error]
        tasks = await rig.waiting(3)
        rig.open.set()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert [id(one) for one in caught] == [id(error)] * 3
        assert is_fetch_error(error)
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_error_of_the_sdk_is_not_marked(self) -> None:
        """Only the exceptions of an application's code are marked."""
        rig = Rig()
        error = KeyError("a fault")
        rig.login_replies = [error]
        with pytest.raises(KeyError) as caught:
            await rig.cache.wait()
        assert caught.value is error
        assert not is_fetch_error(error)

    async def test_exception_without_attributes_is_marked(self) -> None:
        class Frozen(Exception):
            def __setattr__(self, name: str, value: object) -> None:
                raise TypeError("immutable")

        rig = Rig(vault=True)
        rig.login_replies = [Frozen("vault")]
        with pytest.raises(Frozen) as caught:
            await rig.cache.wait()
        assert is_fetch_error(caught.value)

    async def test_cancelled_error_of_fetch_token_is_a_failure(self) -> None:
        """A fetch_token that raises CancelledError by itself does not close the client."""
        rig = Rig(vault=True)
        rig.login_replies = [asyncio.CancelledError()]
        with pytest.raises(PortSIPError, match="fetch_token raised CancelledError") as caught:
            await rig.cache.wait()
        assert type(caught.value) is PortSIPError
        assert (await rig.cache.wait()).token.access_token == "login-2"

    @pytest.mark.parametrize(
        "reply",
        [
            None,
            "T",
            {"access_token": "T"},
            Token("T", "30"),  # type: ignore[arg-type]  # no number
            Token(5),  # type: ignore[arg-type]  # no text
            Token(b"T"),  # type: ignore[arg-type]  # no text
        ],
    )
    async def test_fetch_token_that_returns_no_token(self, reply: object) -> None:
        rig = Rig(vault=True)
        rig.login_replies = [reply]
        with pytest.raises(TypeError, match="fetch_token must return a Token") as caught:
            await rig.cache.wait()
        assert is_fetch_error(caught.value)
        assert (await rig.cache.wait()).token.access_token == "login-2"

    async def test_closed_while_waiting(self) -> None:
        """All waiting calls raise ClientClosed if the owner ends the renewal."""
        rig = Rig()
        tasks = await rig.waiting(3)
        rig.renewals[0].cancel()
        caught = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in caught] == [ClientClosed] * 3


def test_repr_of_a_cached_token_shows_no_token() -> None:
    cached = CachedToken(Token("secret-1"), 3, 0.0, 0.0)
    assert repr(cached) == "CachedToken(generation=3)"
