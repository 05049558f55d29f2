"""Several clients with one token store: logins, renewals, refusals, failures of the store.

Each client stands for a process. The clock is virtual.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from portsip_async import (
    AuthenticationError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    PortSIPClient,
    RetryPolicy,
    ServerError,
    SharedLogin,
    Timeout,
    Token,
    TwoFactorRequired,
    v22,
)
from portsip_async.classic.login import PasswordCredentials
from portsip_async.client.sharing import account_name
from portsip_async.core.shared_account import SharedAccount
from portsip_async.core.token_sharing import SharedTokenCache
from portsip_async.core.urls import api_url
from portsip_async.simulator import PBXSimulator

from .clocks import clock_that_reads
from .concurrency import in_background
from .internals import session_of
from .test_refresh_tokens import Rig
from .token_stores import MemoryStore
from .virtual_time import client, in_virtual_time, sleep_until, the_loop, v22_client
from .virtual_time import simulator as any_simulator

LOGIN, REFRESH, SHOW = "account.verify", "account.refresh", "extensions.show"
SIGN_IN, V22_REFRESH, USER = "auth.sign_in", "auth.refresh", "auth.user"


class Processes(AsyncExitStack):
    """A PBX, a store, and clients that share their login through it.

    Attributes:
        sim: the PBX.
        store: the store.
        clients: the clients.
    """

    def __init__(self, sim: PBXSimulator, count: int, *, gen: str = "classic", **options: Any):
        super().__init__()
        self.sim = sim
        self.gen = gen
        self.store: Any = MemoryStore()  # tests replace its methods
        self.clients = [self.make(**options) for _ in range(count)]

    def make(self, **options: Any) -> Any:
        make = client if self.gen == "classic" else v22_client
        pbx = make(self.sim, **{"token_store": self.store, **options})
        self.push_async_exit(pbx)
        return pbx

    async def call(self, pbx: Any) -> None:
        """Make a call that needs a token."""
        if self.gen == "classic":
            await pbx.extensions.show("100")
        else:
            await pbx.auth.user()

    async def call_all(self, times: int = 1, pause: float = 0.0) -> None:
        """Let all clients make calls, and raise what any of them raises."""
        for _ in range(times):
            await asyncio.gather(*(self.call(pbx) for pbx in self.clients))
            await asyncio.sleep(pause)

    @property
    def logins(self) -> int:
        classic, new = self.sim.served[LOGIN], self.sim.v22.served[SIGN_IN]
        return classic if self.gen == "classic" else new

    @property
    def refreshes(self) -> int:
        classic, new = self.sim.served[REFRESH], self.sim.v22.served[V22_REFRESH]
        return classic if self.gen == "classic" else new


def simulator(**options: Any) -> PBXSimulator:
    return any_simulator(extensions=3, groups=1, **options)


def processes(sim: PBXSimulator, count: int = 4, **options: Any) -> Processes:
    return Processes(sim, count, **options)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "portsip_async"]


GENERATIONS = pytest.mark.parametrize("gen", ["classic", "v22"])


class TestToken:
    @GENERATIONS
    @in_virtual_time
    async def test_four_processes_log_in_once(self, gen: str) -> None:
        """Without a store they would log each other out forever."""
        async with simulator(quirks=["one_token"]) as sim, processes(sim, gen=gen) as four:
            await four.call_all(times=50)
            assert (four.logins, four.refreshes) == (1, 0)

    @pytest.mark.parametrize("quirks", [(), ("refresh_prolongs",), ("one_token",)], ids=str)
    @in_virtual_time
    async def test_token_is_refreshed_once_for_all(self, quirks: tuple[str, ...]) -> None:
        """Seven lives of a token are seven refreshes, also where a refresh prolongs it."""
        async with simulator(quirks=quirks) as sim, processes(sim) as four:
            await four.call_all(times=73, pause=2.0)
            assert (four.logins, four.refreshes) == (1, 7)

    @in_virtual_time
    async def test_refresh_token_is_sent_once(self) -> None:
        """Each refresh token of v22 serves once, whoever sends it."""
        async with (
            simulator(token_lifetime=600.0) as sim,
            processes(sim, gen="v22") as four,
        ):
            await four.call_all(times=70, pause=60.0)
            assert four.logins == 1
            assert four.refreshes == 9
            assert set(sim.v22.refresh_tokens.values()) == {1}

    @in_virtual_time
    async def test_age_is_counted_by_the_store(self) -> None:
        """A process that starts late renews the token in time, not after its own 20 seconds."""
        async with simulator() as sim, processes(sim, 1) as one:
            await one.call_all()
            await sleep_until(the_loop().time() + 15.0)
            late = one.make()
            await one.call(late)
            assert (one.logins, one.refreshes) == (1, 0)
            await asyncio.sleep(6.0)
            await one.call(late)
            await asyncio.sleep(0.1)
            assert (one.logins, one.refreshes) == (1, 1)

    @GENERATIONS
    @in_virtual_time
    async def test_rejected_token_is_not_taken_from_the_store(self, gen: str) -> None:
        """It looks fresh there. But the PBX has forgotten it."""
        async with simulator() as sim, processes(sim, gen=gen) as four:
            await four.call_all()
            sim.revoke()
            await four.call_all()
            # A rejected token of the classic generation can't be refreshed.
            assert (four.logins, four.refreshes) == ((2, 1) if gen == "classic" else (1, 1))

    @in_virtual_time
    async def test_logins_from_outside(self) -> None:
        """Each ends the shared token. That costs one login, and no call fails."""
        async with (
            simulator(quirks=["one_token"]) as sim,
            processes(sim) as four,
            client(sim) as outside,
        ):
            for _ in range(5):
                await four.call_all()
                await outside.account.verify(sim.username, sim.password)
                await four.call_all()
            assert four.logins == 5 + 6

    @in_virtual_time
    async def test_dead_token_in_the_store_fails_no_call(self) -> None:
        """A call that took a rejected token from the store tries once more with an own one."""
        async with (
            simulator(quirks=["one_token"]) as sim,
            processes(sim, 2) as two,
            client(sim) as outside,
        ):
            await two.call_all()
            await outside.account.verify(sim.username, sim.password)
            first, second = two.clients
            await two.call(first)  # logs in, and puts the token
            await outside.account.verify(sim.username, sim.password)  # and ends it
            await two.call(second)
            await two.call(first)

    @in_virtual_time
    async def test_clients_of_a_token_share_its_successors(self) -> None:
        """They can't log in, and the refresh token serves once."""
        async with simulator() as sim, AsyncExitStack() as stack:
            async with v22_client(sim) as admin:
                tokens = await admin.auth.refresh()
            given = {"token": tokens.access_token, "refresh_token": tokens.refresh_token}
            three = await stack.enter_async_context(processes(sim, 3, gen="v22", **given))
            await three.call_all()
            sim.revoke()
            await three.call_all()
            assert three.refreshes == 1
            late, later = three.make(**given), three.make(**given)
            await three.call(late)
            assert three.refreshes == 1
            await asyncio.sleep(25.0)  # the shared token is stale
            await three.call(later)
            assert three.refreshes == 2

    @GENERATIONS
    @in_virtual_time
    async def test_idle_process_refreshes_the_shared_token(self, gen: str) -> None:
        """Its own has expired, and its refresh token was used by another process."""
        async with simulator(token_lifetime=60.0) as sim, processes(sim, 2, gen=gen) as two:
            await two.call_all()
            first, second = two.clients
            for _ in range(20):
                await asyncio.sleep(5.0)
                await two.call(first)
            assert (two.logins, two.refreshes) == (1, 2)
            await asyncio.sleep(25.0)  # at 125 seconds the token of 80 seconds is stale
            await two.call(second)
            await asyncio.sleep(0.1)
            assert (two.logins, two.refreshes) == (1, 3)

    @in_virtual_time
    async def test_token_that_is_issued_again_is_valid(self) -> None:
        """A vault returns the token that the PBX rejected for a moment."""
        async with simulator() as sim, client(sim) as admin:
            vault = Vault()
            vault.token = await admin.account.refresh()
            async with client(sim, credentials=vault, token_store=MemoryStore()) as pbx:
                await pbx.extensions.show("100")
                sim.fail(SHOW, err_code=403.4)
                sim.fail(REFRESH, status=401)
                await pbx.extensions.show("100")
                assert vault.fetched == 2

    @in_virtual_time
    async def test_accounts_are_apart(self) -> None:
        """Another user and another PBX have their own token."""
        store = MemoryStore()
        async with simulator() as sim, simulator() as other, AsyncExitStack() as stack:
            for pbx in (
                client(sim, token_store=store),
                client(other, token_store=store),
                v22_client(sim, token_store=store),
                v22_client(
                    sim,
                    username=sim.username,
                    password=sim.password,
                    token_store=store,
                ),
            ):
                await stack.enter_async_context(pbx)
                if isinstance(pbx, v22.PortSIPClient):
                    await pbx.auth.user()
                else:
                    await pbx.extensions.show("100")
            assert len(store.entries) == 4
            for account in store.entries:
                assert sim.username not in account


class TestRenew:
    @GENERATIONS
    @in_virtual_time
    async def test_explicit_renewal_asks_the_pbx_and_is_shared(self, gen: str) -> None:
        """Even though the store has a fresh token."""
        async with simulator() as sim, processes(sim, 2, gen=gen) as two:
            await two.call_all()
            first, second = two.clients
            renewed = await (first.account if gen == "classic" else first.auth).refresh()
            assert (two.logins, two.refreshes) == (1, 1)
            assert two.store.shared.token.access_token == renewed.access_token
            sim.v22.fail(USER, status=401)
            sim.fail(SHOW, err_code=403.4)
            await two.call(second)
            assert (two.logins, two.refreshes) == (1, 1)

    @in_virtual_time
    async def test_explicit_renewal_joins_one_that_only_looks(self) -> None:
        """A renewal that has not decided yet goes to the PBX then."""
        async with simulator() as sim, processes(sim, 2) as two:
            first, second = two.clients
            await two.call(first)

            async def slow(step: str) -> None:
                await asyncio.sleep(0.2)

            two.store.before = slow
            async with in_background(two.call(second)):
                await asyncio.sleep(0.1)
                await second.account.refresh()
            assert two.logins + two.refreshes == 2

    @in_virtual_time
    async def test_sign_out_leaves_no_token_in_the_store(self) -> None:
        """A newcomer logs in."""
        async with simulator() as sim, processes(sim, 1, gen="v22") as one:
            await one.call_all()
            await one.clients[0].auth.sign_out()
            assert one.store.shared is None or one.store.shared.token is None
            await one.call(one.make())
            assert one.logins == 2
            await one.call(one.clients[0])
            assert one.logins == 2

    @in_virtual_time
    async def test_sign_out_leaves_the_token_of_another(self) -> None:
        async with simulator() as sim, processes(sim, 2, gen="v22") as two:
            await two.call_all()
            first, second = two.clients
            renewed = await second.auth.refresh()
            await first.auth.sign_out()
            assert two.store.shared.token.access_token == renewed.access_token

    @in_virtual_time
    async def test_signed_out_token_is_not_taken_again(self) -> None:
        """Even if the store could not remove it."""
        async with simulator() as sim, processes(sim, 1, gen="v22") as one:
            await one.call_all()

            async def fail(step: str) -> None:
                raise OSError("away")

            one.store.before = fail
            await one.clients[0].auth.sign_out()
            one.store.before = None
            await one.call_all()
            assert one.logins == 2
            assert not sim.v22.rejected

    @in_virtual_time
    async def test_token_rejected_while_it_is_put(self) -> None:
        """A call that waited for that renewal gets another token."""
        async with simulator() as sim, processes(sim, 1, retry=RetryPolicy(attempts=1)) as one:
            (pbx,) = one.clients
            sim.fail(LOGIN, latency=1.0)

            async def slow(step: str) -> None:
                if step == "put":
                    await asyncio.sleep(0.9)

            one.store.before = slow
            async with in_background(one.call(pbx), one.call(pbx)) as calls:
                await asyncio.sleep(1.2)  # the token is there, but not yet in the store
                sim.revoke()
                await one.call(pbx)  # gets it rejected, and another
                await asyncio.gather(*calls)
            assert sim.rejected[SHOW] == 1

    @in_virtual_time
    async def test_second_factor_of_one_serves_all(self) -> None:
        """The others raise its challenge, and take up the token once it was verified."""
        async with simulator(second_factor=True) as sim, processes(sim, 3, gen="v22") as three:
            challenges = set()
            for pbx in three.clients:
                with pytest.raises(TwoFactorRequired) as caught:
                    await three.call(pbx)
                challenges.add(caught.value.challenge)
            (challenge,) = challenges
            first = three.clients[0]
            await first.auth.send_otp(challenge)
            await first.auth.verify_otp(challenge, sim.v22.otp)
            await asyncio.sleep(1.1)
            await three.call_all()
            assert three.logins == 1

    @in_virtual_time
    async def test_close_waits_until_a_verified_token_is_shared(self) -> None:
        """A program may enter the code for the other processes only."""
        async with simulator(second_factor=True) as sim, processes(sim, 2, gen="v22") as two:

            async def slow(step: str) -> None:
                await asyncio.sleep(0.1)

            two.store.before = slow
            first, second = two.clients
            with pytest.raises(TwoFactorRequired) as caught:
                await two.call(first)
            await first.auth.send_otp(caught.value.challenge)
            await first.auth.verify_otp(caught.value.challenge, sim.v22.otp)
            await first.close()
            await two.call(second)
            assert two.logins == 1

    @in_virtual_time
    async def test_close_does_not_wait_for_long_to_share_a_token(self) -> None:
        """The store may have hung up meanwhile."""
        async with simulator(second_factor=True) as sim, processes(sim, 1, gen="v22") as one:
            (pbx,) = one.clients
            with pytest.raises(TwoFactorRequired) as caught:
                await one.call(pbx)
            await pbx.auth.send_otp(caught.value.challenge)
            async with one.store.turn("another"):
                await pbx.auth.verify_otp(caught.value.challenge, sim.v22.otp)
                began = the_loop().time()
                await pbx.close()
                assert the_loop().time() - began <= 10.0

    @in_virtual_time
    async def test_second_factor_that_is_verified_during_a_look(self) -> None:
        """What the look found is older."""
        async with (
            simulator(second_factor=True, token_lifetime=60.0) as sim,
            processes(sim, 1, gen="v22") as one,
        ):
            (pbx,) = one.clients
            with pytest.raises(TwoFactorRequired) as caught:
                await one.call(pbx)

            async def slow(step: str) -> None:
                if step == "load":
                    await asyncio.sleep(0.5)

            one.store.before = slow
            async with in_background(one.call(pbx)) as (call,):
                await asyncio.sleep(0.1)
                await pbx.auth.send_otp(caught.value.challenge)
                await pbx.auth.verify_otp(caught.value.challenge, sim.v22.otp)
                await call
            await one.call_all(times=30, pause=5.0)
            assert one.logins == 1


class TestRefusal:
    @in_virtual_time
    async def test_second_factor_is_waited_for(self) -> None:
        """Nobody logs in again, even when the store has forgotten it."""
        async with simulator(second_factor=True) as sim, processes(sim, 2, gen="v22") as two:
            for _ in range(4):
                for pbx in two.clients:
                    with pytest.raises(TwoFactorRequired):
                        await two.call(pbx)
                await asyncio.sleep(500.0)
            assert two.logins == 1

    @GENERATIONS
    @in_virtual_time
    async def test_wrong_password_arrives_once(self, gen: str) -> None:
        """Six processes would be six wrong logins, and the PBX blocks the address."""
        async with simulator() as sim, processes(sim, 0, gen=gen) as six:
            six.clients = [six.make(username=sim.username, password="wrong") for _ in range(6)]
            texts = set()
            for _ in range(58):
                for pbx in six.clients:
                    with pytest.raises(AuthenticationError) as caught:
                        await six.call(pbx)
                    texts.add(str(caught.value))
                await asyncio.sleep(1.0)
            assert six.logins == 1
            assert len(texts) == 1

    @in_virtual_time
    async def test_cool_down_doubles_for_all(self) -> None:
        """60, 120 and 240 seconds, whoever tries."""
        async with simulator() as sim, processes(sim, 0) as three:
            three.clients = [three.make(username="admin", password="wrong") for _ in range(3)]
            began = the_loop().time()
            for seconds, logins in ((1, 1), (59, 1), (62, 2), (178, 2), (185, 3), (418, 3)):
                await sleep_until(began + seconds)
                for pbx in three.clients[logins - 1 :] + three.clients[: logins - 1]:
                    with pytest.raises(AuthenticationError):
                        await three.call(pbx)
                assert three.logins == logins, seconds

    @in_virtual_time
    async def test_success_of_another_is_taken_up_within_a_second(self) -> None:
        """A process that has the new password renews by itself."""
        async with simulator() as sim, processes(sim, 0) as two:
            wrong = two.make(username=sim.username, password="wrong")
            with pytest.raises(AuthenticationError):
                await two.call(wrong)
            right = two.make()
            with pytest.raises(AuthenticationError):
                await two.call(right)
            await right.account.refresh()
            await asyncio.sleep(1.1)
            await two.call(wrong)
            assert two.logins == 2

    @in_virtual_time
    async def test_explicit_renewal_without_the_store(self) -> None:
        """It is sent during the cool-down. All other calls raise the refusal."""
        async with simulator() as sim, processes(sim, 0) as one:
            pbx = one.make(username=sim.username, password="wrong")
            with pytest.raises(AuthenticationError):
                await one.call(pbx)

            async def fail(step: str) -> None:
                raise OSError("away")

            one.store.before = fail
            with pytest.raises(AuthenticationError):
                await pbx.account.refresh()
            assert one.logins == 2
            for _ in range(10):
                with pytest.raises(AuthenticationError):
                    await one.call(pbx)
                await asyncio.sleep(5.0)
            assert one.logins == 2

    @in_virtual_time
    async def test_calls_look_once_a_second(self) -> None:
        async with simulator() as sim, processes(sim, 0) as one:
            pbx = one.make(username=sim.username, password="wrong")
            looks = 0

            async def count(step: str) -> None:
                nonlocal looks
                looks += step == "load"

            one.store.before = count
            for _ in range(100):
                with pytest.raises(AuthenticationError):
                    await one.call(pbx)
                await asyncio.sleep(0.1)
            assert 10 <= looks <= 13

    @in_virtual_time
    async def test_client_without_credentials_shares_no_refusal(self) -> None:
        """It can't log in, which says nothing about the others."""
        async with simulator() as sim, processes(sim, 1, token="expired") as one:
            with pytest.raises(AuthenticationError):
                await one.call_all()
            assert one.store.shared is None

    def test_refusal_keeps_its_attributes(self) -> None:
        refusal = TwoFactorRequired(
            "wait", status=401, err_code=4.5, detail={"a": [1]}, retry_after=3.0, operation="x"
        )
        refusal.challenge = "challenge-1"
        refusal.headers = {"x-request-id": "7"}
        shared = SharedLogin(5.0, refusal=refusal.with_remark("more"))
        copy = SharedLogin.from_json(shared.to_json()).refusal
        assert isinstance(copy, TwoFactorRequired)
        assert copy.challenge == "challenge-1"
        expected = vars(refusal.with_remark("more")) | {"attempts": 0}
        assert {name: vars(copy)[name] for name in expected} == expected
        assert str(copy) == "x: HTTP 401, err_code 4.5: wait (request id 7); more"
        plain = SharedLogin.from_json(
            SharedLogin(5.0, refusal=AuthenticationError("no", detail=object())).to_json()
        ).refusal
        assert type(plain) is AuthenticationError
        assert plain.detail is None


class TestFailingStore:
    """Whatever the store does, no call fails, and each process renews alone."""

    @pytest.mark.parametrize("fault", ["raises", "hangs", "cancels", "rubbish", "no store"])
    @GENERATIONS
    @in_virtual_time
    async def test_store_that_fails(
        self, gen: str, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One warning when it goes and one when it is back, for all clients together."""
        async with (
            simulator(token_lifetime=30.0) as sim,
            processes(sim, 3, gen=gen) as three,
        ):
            store = three.store

            async def fail(step: str) -> None:
                if fault == "hangs":
                    await asyncio.sleep(1e6)
                if fault == "cancels":
                    raise asyncio.CancelledError
                raise OSError("redis://:secret@host")

            async def rubbish(account: str) -> Any:
                return "rubbish"

            await three.call_all()
            if fault == "rubbish":
                store.load = rubbish
            elif fault == "no store":
                store.load = None
            else:
                store.before = fail
            await three.call_all(times=30, pause=2.0)
            assert three.logins + three.refreshes <= 1 + 3 * 4
            (warning,) = messages(caplog)
            assert "secret" not in warning
            store.before = None
            vars(store).pop("load", None)
            before = three.logins + three.refreshes
            await three.call_all(times=30, pause=2.0)
            assert three.logins + three.refreshes - before <= 3 + 3
            assert messages(caplog) == [warning, "the token store is back"]

    @pytest.mark.parametrize("step", ["load", "turn", "put", "end"])
    @pytest.mark.parametrize("hangs", [False, True], ids=["raises", "hangs"])
    @in_virtual_time
    async def test_store_that_fails_in_one_step(self, step: str, hangs: bool) -> None:
        async with simulator() as sim, processes(sim, 2) as two:

            async def fail(now: str) -> None:
                if now == step:
                    await asyncio.sleep(1e6 if hangs else 0.0)
                    raise OSError("away")

            two.store.before = fail
            began = the_loop().time()
            await two.call_all()
            assert the_loop().time() - began < 25.0
            await two.call_all(times=30, pause=1.0)

    @in_virtual_time
    async def test_store_without_locks_is_not_back(self, caplog: pytest.LogCaptureFixture) -> None:
        """A store that can be read but not locked is reported once, not at each renewal."""
        async with simulator() as sim, processes(sim, 1) as one:

            async def fail(step: str) -> None:
                if step == "turn":
                    raise PermissionError

            one.store.before = fail
            await one.call_all(times=50, pause=4.0)
            assert len(messages(caplog)) == 1

    @in_virtual_time
    async def test_store_that_is_read_only_is_not_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is reported at most twice, then once when it can be written to."""
        async with simulator() as sim, processes(sim, 1) as one:

            async def fail(step: str) -> None:
                if step == "put":
                    raise PermissionError

            one.store.before = fail
            await one.call_all(times=50, pause=4.0)
            assert [text.startswith("the token store failed") for text in messages(caplog)] == [
                True,
                False,
                True,
            ]
            one.store.before = None
            await one.call_all(times=50, pause=4.0)
            assert messages(caplog)[3:] == ["the token store is back"]

    @pytest.mark.parametrize(
        "login",
        [
            SharedLogin(20.0, Token("line\nfeed")),
            SharedLogin(20.0, Token("")),
            SharedLogin(float("nan"), Token("token")),
            SharedLogin(20.0, Token("token", float("inf"))),
            SharedLogin(20.0, Token(b"bytes")),  # type: ignore[arg-type]
            SharedLogin(20.0, Token("token", refresh_token=5)),  # type: ignore[arg-type]
            SharedLogin("20", Token("token")),  # type: ignore[arg-type]
            SharedLogin(20.0, "token"),  # type: ignore[arg-type]
            SharedLogin(20.0, refusal=OSError("no")),  # type: ignore[arg-type]
            SharedLogin(-1.0, Token("token")),
            SharedLogin(20.0),
        ],
        ids=[
            "line feed",
            "no text",
            "nan",
            "endless",
            "bytes",
            "refresh token",
            "seconds",
            "text",
            "foreign error",
            "expired",
            "nothing",
        ],
    )
    @in_virtual_time
    async def test_unusable_login_is_ignored(self, login: SharedLogin) -> None:
        async with simulator() as sim, processes(sim, 1) as one:

            async def load(account: str) -> SharedLogin:
                return login

            one.store.load = load
            await one.call_all()
            assert one.logins == 1

    @in_virtual_time
    async def test_used_refresh_token_is_not_sent_alone(self) -> None:
        """While the store is away, another process may have sent the shared one."""
        async with simulator(token_lifetime=600.0) as sim, processes(sim, 2, gen="v22") as two:
            await two.call_all()

            async def fail(step: str) -> None:
                raise OSError

            two.store.before = fail
            await asyncio.sleep(590.0)
            await two.call_all(times=3, pause=5.0)
            await two.call_all()
            assert two.refreshes == 0
            assert two.logins == 3


class TestTurn:
    @in_virtual_time
    async def test_lost_turn_prefers_the_token_of_the_next(self) -> None:
        """A process that was stopped in its turn uses what the next one put."""
        async with simulator() as sim, processes(sim, 2) as two:
            first, second = two.clients
            sim.fail(LOGIN, latency=3.0)
            async with in_background(two.call(first)) as (call,):
                await asyncio.sleep(1.0)
                await two.store.lose()
                await two.call(second)
                shared = two.store.shared
                await call
            assert two.logins == 2
            assert two.store.shared == shared
            assert len(two.store.puts) == 1
            used = session_of(first).tokens.current()
            assert used is not None
            assert used.token.access_token == shared.token.access_token

    @in_virtual_time
    async def test_lost_turn_with_nothing_there_uses_its_own(self) -> None:
        async with simulator() as sim, processes(sim, 1) as one:
            sim.fail(LOGIN, latency=3.0)
            async with in_background(one.call_all()) as (call,):
                await asyncio.sleep(1.0)
                await one.store.lose()
                await call
            assert one.store.puts == []
            await one.call_all()
            assert one.logins == 1

    @in_virtual_time
    async def test_lost_turn_sends_no_refresh_token(self) -> None:
        """If the turn is lost before, the next one may have sent it."""
        async with simulator(token_lifetime=600.0) as sim, processes(sim, 1, gen="v22") as one:
            await one.call_all()
            steps: list[str] = []

            async def lose(step: str) -> None:
                steps.append(step)
                if steps.count("put") == 1 and step == "put":
                    await one.store.lose()

            one.store.before = lose
            await asyncio.sleep(595.0)
            await one.call_all(pause=0.1)
            assert one.store.turns == 3
            assert (one.logins, one.refreshes) == (1, 1)

    @GENERATIONS
    @in_virtual_time
    async def test_renewer_that_dies_in_its_turn(self, gen: str) -> None:
        """The next one does not send the refresh token that the dead one may have used up."""
        async with simulator(token_lifetime=60.0) as sim, processes(sim, 2, gen=gen) as two:
            await two.call_all()
            first, second = two.clients
            await asyncio.sleep(58.2)

            async def die(step: str) -> None:
                if two.refreshes and step == "put":
                    await asyncio.sleep(1e6)

            two.store.before = die
            async with in_background(two.call(first)) as (call,):
                await two.store.in_turn.wait()
                await asyncio.sleep(0.1)
                await first.close()
                await call  # its token was there already
            two.store.before = None
            await two.store.lose()
            await two.call(second)
            assert (two.logins, two.refreshes) == ((1, 2) if gen == "classic" else (2, 1))

    @in_virtual_time
    async def test_close_leaves_the_turn_at_once(self) -> None:
        async with simulator() as sim, processes(sim, 2) as two:
            first, second = two.clients
            sim.fail(LOGIN, latency=9.0)
            async with in_background(two.call(first)) as (call,):
                await two.store.in_turn.wait()
                began = the_loop().time()
                await first.close()
                with pytest.raises(ClientClosed):
                    await call
                await two.call(second)
                assert the_loop().time() - began < 0.1
            assert two.store.holder == 0

    @in_virtual_time
    async def test_close_while_the_turn_ends(self) -> None:
        """A call uses the new token before the turn ends. So a program may end just then."""

        async def slow_end(step: str) -> None:
            if step == "end":
                await asyncio.sleep(0.3)

        async with simulator() as sim, processes(sim, 1) as one:
            one.store.before = slow_end
            (client,) = one.clients
            await one.call(client)
            await client.close()
            assert (one.store.turns, one.store.holder) == (1, 0)

    @in_virtual_time
    async def test_close_while_others_have_the_turn(self) -> None:
        async with simulator() as sim, processes(sim, 2) as two:
            first, second = two.clients
            sim.fail(LOGIN, latency=5.0)
            async with in_background(two.call(first), two.call(second)) as (one, other):
                await asyncio.sleep(1.0)
                await second.close()
                with pytest.raises(ClientClosed):
                    await other
                await one
            assert two.logins == 1

    @in_virtual_time
    async def test_cancelled_call_does_not_end_the_renewal(self) -> None:
        async with simulator() as sim, processes(sim, 1) as one:
            sim.fail(LOGIN, latency=2.0)
            async with in_background(one.call_all()):
                await asyncio.sleep(1.0)
            await one.call_all()
            assert one.logins == 1

    @in_virtual_time
    async def test_long_turn_of_another_is_waited_for(self) -> None:
        """For ten seconds. A PBX that is so slow may be down."""
        async with simulator() as sim, processes(sim, 2, timeout=Timeout(total=60.0)) as two:
            sim.fail(LOGIN, latency=9.0)
            await two.call_all()
            assert two.logins == 1

    @GENERATIONS
    @in_virtual_time
    async def test_unreachable_pbx_keeps_the_shared_token(self, gen: str) -> None:
        """A refresh that was never sent leaves the token, and its refresh token, in the store."""
        async with (
            simulator(token_lifetime=60.0) as sim,
            processes(sim, 2, gen=gen, retry=RetryPolicy(attempts=1)) as two,
        ):
            await two.call_all()
            await asyncio.sleep(45.0)
            shared = two.store.shared
            await sim.stop()
            for pbx in two.clients:
                with pytest.raises(ConnectError):
                    await two.call(pbx)
            await asyncio.sleep(0.5)
            assert two.store.shared.token == shared.token

    @in_virtual_time
    async def test_used_refresh_token_is_not_put_back(self) -> None:
        """The refresh was refused, and then the login made no connection."""
        rig, store = Rig(), MemoryStore()
        cache = rig.cache = SharedTokenCache(
            rig,
            owner=rig,
            clock=clock_that_reads(the_loop().time),
            account=SharedAccount(store, "a"),
        )
        rig.clock.now = the_loop().time()
        await cache.wait()
        rig.refresh_replies = [AuthenticationError(status=401)]
        rig.login_replies = [ConnectError("away")]
        with pytest.raises(ConnectError):
            await cache.renew()
        assert store.shared is not None
        assert store.shared.token is None

    @in_virtual_time
    async def test_failed_renewal_is_not_shared(self) -> None:
        """A broken PBX says nothing about the account."""
        async with (
            simulator() as sim,
            processes(sim, 2, retry=RetryPolicy(attempts=1)) as two,
        ):
            sim.fail(LOGIN, status=503)
            with pytest.raises(ServerError):
                await two.call(two.clients[0])
            assert two.store.shared is None
            await two.call_all()


class Vault:
    """An application's own credentials."""

    def __init__(self, account: object = "vault-1") -> None:
        self.fetched = 0
        self.token = Token("token-of-the-vault", 30.0)
        if account is not None:
            self.account = account

    async def fetch_token(self) -> Token:
        self.fetched += 1
        return self.token


class TestArguments:
    @in_virtual_time
    async def test_own_credentials_share_by_their_account(self) -> None:
        vault, store = Vault(), MemoryStore()
        async with simulator() as sim:
            for _ in range(3):
                async with client(sim, credentials=vault, token_store=store) as pbx:
                    with pytest.raises(AuthenticationError):
                        await pbx.extensions.show("100")  # the simulator doesn't know the token
        assert len(store.entries) == 1

    @pytest.mark.parametrize(
        ("url", "same"),
        [
            ("https://PBX.example.com", True),
            ("HTTPS://pbx.example.com:443/api/", True),
            ("https://pbx.example.com:8900", False),
            ("https://pbx.example.com/acme", False),
            ("https://other.example.com", False),
        ],
    )
    def test_spellings_of_a_url_share(self, url: str, same: bool) -> None:
        """The case of the host and the default port say nothing about the PBX."""
        login = PasswordCredentials("admin", "secret")
        names = {
            account_name("classic", api_url(text, allow_http=False, suffix="/api"), login)
            for text in ("https://pbx.example.com", url)
        }
        assert len(names) == (1 if same else 2)

    @pytest.mark.parametrize("account", [None, "", 5], ids=["none", "empty", "number"])
    @pytest.mark.parametrize("kind", [PortSIPClient, v22.PortSIPClient], ids=["classic", "v22"])
    def test_own_credentials_without_account(self, kind: Any, account: object) -> None:
        with pytest.raises(ConfigurationError, match="text attribute account"):
            kind("https://pbx", credentials=Vault(account), token_store=MemoryStore())
        kind("https://pbx", credentials=Vault(account))

    @pytest.mark.parametrize("store", [MemoryStore, object(), "redis://:secret@host"], ids=type)
    def test_token_store_must_be_one(self, store: Any) -> None:
        with pytest.raises(TypeError, match="token_store must be an object") as caught:
            PortSIPClient("https://pbx", token="token", token_store=store)
        assert "secret" not in str(caught.value)

    def test_from_env_takes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORTSIP_URL", "https://pbx")
        monkeypatch.setenv("PORTSIP_TOKEN", "token")
        PortSIPClient.from_env(token_store=MemoryStore())
        v22.PortSIPClient.from_env(token_store=MemoryStore())

    def test_repr_shows_no_token(self) -> None:
        assert "secret" not in repr(SharedLogin(1.0, Token("secret", refresh_token="secret")))

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[1]", '{"seconds": "secret"}'])
    def test_rubbish_is_no_shared_login(self, data: bytes | str) -> None:
        with pytest.raises(ValueError, match=r"^this is not the JSON of a SharedLogin$"):
            SharedLogin.from_json(data)
