"""Tokens that are fetched, expire and are renewed under many concurrent calls."""

import asyncio
import time
from itertools import pairwise

import pytest

from portsip_async import (
    AuthenticationError,
    EmailCredentials,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RequestTimeout,
    RetryPolicy,
    ServerError,
    StaticToken,
)
from portsip_async.core.hooks import Attempt
from portsip_async.simulator import PBXSimulator

from .clocks import set_clock, use_jumping_clock
from .concurrency import GatedCredentials, in_background, until
from .conftest import QUICK, ClientMaker
from .internals import session_of
from .wire_server import TOKEN, Arrival, WireServer, reply

VERIFY, REFRESH, SHOW = "account.verify", "account.refresh", "extensions.show"


async def show_all(pbx: PortSIPClient, calls: int, number: str = "101") -> list[object]:
    """Make many calls at once, and return the outcome of each."""
    return await asyncio.gather(
        *(pbx.extensions.show(number) for _ in range(calls)), return_exceptions=True
    )


def failures(outcomes: list[object]) -> list[object]:
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


class TestColdStart:
    async def test_300_calls_log_in_once(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Without care, 300 concurrent calls would make 300 logins."""
        assert failures(await show_all(pbx, 300)) == []
        assert sim.served == {VERIFY: 1, SHOW: 300}

    async def test_by_email(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        pbx = make_client(credentials=EmailCredentials(sim.email, sim.password))
        assert failures(await show_all(pbx, 20)) == []
        assert sim.served["account.verify_email"] == 1

    async def test_failed_login_is_retried_like_any_safe_call(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """After a 503, a 429 or a dropped connection, the login is retried, and no call fails."""
        sim.fail(VERIFY, status=503)
        sim.fail(VERIFY, status=429)
        sim.fail(VERIFY, drop=True)
        assert failures(await show_all(pbx, 50)) == []
        assert sim.served == {VERIFY: 4, SHOW: 50}

    @pytest.mark.parametrize(("status", "kind"), [(503, ServerError), (429, RateLimited)])
    async def test_login_that_fails_after_all_retries(
        self, sim: PBXSimulator, pbx: PortSIPClient, status: int, kind: type[PortSIPError]
    ) -> None:
        """All waiting calls raise the error. The next call logs in, because nothing was refused."""
        sim.fail(VERIFY, status=status, times=4)
        outcomes = await show_all(pbx, 30)
        assert {type(outcome) for outcome in outcomes} == {kind}
        assert len({id(outcome) for outcome in outcomes}) == 30
        for outcome in outcomes:
            assert isinstance(outcome, PortSIPError)
            assert (outcome.operation, outcome.attempts) == (VERIFY, 4)
            assert not outcome.may_have_acted
        assert sim.served == {VERIFY: 4}
        await pbx.extensions.show("101")


class TestRejection:
    async def test_expiry_with_calls_in_flight(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """There is one renewal, and each call is sent again."""
        await pbx.extensions.show("101")
        sim.fail(SHOW, latency=0.05, times=40)
        async with in_background(*(pbx.extensions.show("102") for _ in range(40))) as tasks:
            await until(lambda: sim.in_flight == 40)
            sim.revoke()
            assert failures(await asyncio.gather(*tasks, return_exceptions=True)) == []
        assert sim.served == {VERIFY: 2, REFRESH: 1, SHOW: 1 + 80}
        assert sim.rejected == {SHOW: 40, REFRESH: 1}

    async def test_revocation_under_load(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """Every call succeeds. Each revocation causes one renewal, and a call is replayed once."""
        attempts: list[Attempt] = []
        pbx = make_client(on_attempt=attempts.append)
        done = 0

        async def work() -> None:
            nonlocal done
            for _ in range(40):
                await pbx.extensions.show("101")
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(work())
            for reached in range(100, 600, 100):
                async with asyncio.timeout(5):
                    while done < reached:  # noqa: ASYNC110 - work goes on meanwhile
                        await asyncio.sleep(0.001)
                sim.revoke()
        assert done == 640
        shows = [attempt for attempt in attempts if attempt.operation == SHOW]
        assert max(attempt.number for attempt in shows) == 2
        assert sim.served[SHOW] == 640 + sim.rejected[SHOW] == len(shows)
        assert sim.served[VERIFY] == 1 + 5
        assert sim.served[REFRESH] == sim.rejected[REFRESH] == 5

    async def test_late_rejection_of_the_old_token(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """It doesn't affect the new token, which other calls use."""
        come, late = asyncio.Event(), asyncio.Event()

        async def reject_late(
            _: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            come.set()
            await late.wait()
            writer.write(reply(status=401))
            writer.close()

        shown = reply({"extension_number": "101"})
        wire.script = [reject_late, reply(status=401), shown]
        pbx = make_client(wire.url)
        async with in_background(pbx.extensions.show("101")) as (slow,):
            await come.wait()
            await pbx.extensions.show("101")
            logins = wire.logins
            late.set()
            await slow
        assert wire.logins == logins
        assert len(wire.arrivals) == 4

    async def test_rejection_of_the_new_token(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """The call fails, but other calls still use the new token."""
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=401, times=2)
        with pytest.raises(AuthenticationError) as caught:
            await pbx.extensions.show("101")
        assert caught.value.token_rejected
        assert (caught.value.operation, caught.value.attempts) == (SHOW, 2)
        assert failures(await show_all(pbx, 10)) == []
        assert (sim.served[VERIFY], sim.served[REFRESH]) == (1, 1)

    async def test_replay_is_outside_the_retry_count(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """Even with a policy without retries, a call is sent again with the new token."""
        pbx = make_client(retry=RetryPolicy(attempts=1))
        await pbx.extensions.show("101")
        sim.revoke()
        await pbx.extensions.show("101")
        assert sim.served[SHOW] == 3

    @pytest.mark.parametrize("operation", ["create", "call"])
    async def test_unsafe_calls_are_replayed(
        self, sim: PBXSimulator, pbx: PortSIPClient, operation: str
    ) -> None:
        """A PBX that rejects a token has not acted, so even a telephone call is sent again."""
        await pbx.extensions.show("101")
        sim.revoke()
        if operation == "create":
            await pbx.groups.create(
                "new",
                enable_intercom=False,
                enable_external_call=False,
                enable_management_console_access=False,
            )
            assert (sim.served["groups.create"], sim.acted["groups.create"]) == (2, 1)
        else:
            await pbx.extensions.call("101", "102", auth="x", domain="pbx.example", src="101")
            assert len(sim.calls) == 1

    @pytest.mark.parametrize(
        ("status", "err_code", "msg", "rejected"),
        [
            (401, None, "", True),
            (401, 401.3, "", True),
            (401, 401.1, "no such user", False),
            (401, "401.2", "wrong password", False),
            (403, 403.4, "", True),
            (200, "403.4", "", True),
            (400, 400.1, "Invalid access_token", True),
            (403, 403.1, "The access token has expired", True),
            (400, 400.1, "Invalid parameter", False),
            (403, 403.1, "No permission", False),
            (404, 404.1, "no access token here", False),
        ],
    )
    async def test_what_counts_as_a_rejection(
        self,
        sim: PBXSimulator,
        pbx: PortSIPClient,
        status: int,
        err_code: float | str | None,
        msg: str,
        rejected: bool,
    ) -> None:
        """401 except for wrong credentials, 403.4, and 400 or 403 about the access token."""
        await pbx.extensions.show("101")
        code = "null" if err_code is None else f'"{err_code}"'
        sim.fail(SHOW, status=status, body=f'{{"err_code": {code}, "msg": "{msg}"}}')
        if rejected:
            await pbx.extensions.show("101")
        else:
            with pytest.raises(PortSIPError):
                await pbx.extensions.show("101")
        assert sim.served[SHOW] == 2 + rejected
        assert sim.served[REFRESH] == rejected

    async def test_refused_refresh_leads_to_a_login(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """There is one login."""
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=401, times=1)
        sim.fail(REFRESH, status=404)
        await pbx.extensions.show("101")
        assert (sim.served[VERIFY], sim.served[REFRESH]) == (2, 1)

    async def test_refresh_with_a_server_error(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """If the PBX is in trouble, the refresh is retried by the policy, without a login."""
        await pbx.extensions.show("101")
        sim.fail(SHOW, status=401)
        sim.fail(REFRESH, status=500, times=4)
        with pytest.raises(ServerError) as caught:
            await pbx.extensions.show("101")
        assert (caught.value.operation, caught.value.attempts) == (REFRESH, 4)
        assert (sim.served[VERIFY], sim.served[REFRESH]) == (1, 4)
        await pbx.extensions.show("101")
        assert sim.served[VERIFY] == 1

    async def test_another_login_of_the_account(self, make_client: ClientMaker) -> None:
        """Two clients both work even if each login revokes the token of the other."""
        async with PBXSimulator(extensions=5, quirks=["one_token"]) as sim:
            one = make_client(sim.url, username=sim.username, password=sim.password)
            other = make_client(sim.url, username=sim.username, password=sim.password)
            for _ in range(5):
                await one.extensions.show("101")
                await other.extensions.show("101")


class TestWrongCredentials:
    async def test_refused_login_is_not_repeated(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A PBX may block the address after many refusals, so nothing more is sent."""
        pbx = make_client(username=sim.username, password="wrong-1")
        clock = use_jumping_clock(pbx)
        for _ in range(3):
            outcomes = await show_all(pbx, 100)
            assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
            assert "wrong-1" not in str(outcomes)
        assert sim.served == {VERIFY: 1}
        clock.jump(59)
        await show_all(pbx, 10)
        assert sim.served == {VERIFY: 1}
        clock.jump(2)
        await show_all(pbx, 10)
        assert sim.served == {VERIFY: 2}
        clock.jump(119)
        await show_all(pbx, 10)
        assert sim.served == {VERIFY: 2}

    async def test_refresh_tries_at_once(self, sim: PBXSimulator, make_client: ClientMaker) -> None:
        """When the PBX knows the user, `account.refresh()` ends the cool-down."""
        pbx = make_client()
        sim.fail(VERIFY, status=400, err_code=401.1)
        assert len(failures(await show_all(pbx, 5))) == 5
        token = await pbx.account.refresh()
        assert token.access_token
        assert failures(await show_all(pbx, 5)) == []
        assert sim.served[VERIFY] == 2

    async def test_refused_login_does_not_affect_a_valid_token(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """Calls use the old token while it is valid, even if its renewal fails."""
        await pbx.extensions.show("101")
        sim.fail(REFRESH, status=400)
        sim.fail(VERIFY, status=400, err_code=401.2)
        with pytest.raises(AuthenticationError):
            await pbx.account.refresh()
        assert failures(await show_all(pbx, 20)) == []
        assert sim.served[VERIFY] == 2


class TestSteadyState:
    async def test_tokens_of_one_second(self, make_client: ClientMaker) -> None:
        """With 64 workers and tokens of 1 s no call fails, and renewals never overlap."""
        renewals: list[tuple[float, float]] = []
        waits: list[float] = []

        def note(attempt: Attempt) -> None:
            if attempt.operation in (VERIFY, REFRESH):
                now = time.monotonic()
                renewals.append((now - attempt.seconds, now))

        async with PBXSimulator(extensions=200, token_lifetime=1.0) as sim:
            pbx = make_client(
                sim.url, username=sim.username, password=sim.password, on_attempt=note
            )
            await pbx.extensions.show("101")
            start = time.monotonic()
            calls = 0

            async def work() -> None:
                nonlocal calls
                while time.monotonic() - start < 3.0:
                    began = time.monotonic()
                    await pbx.extensions.show("101")
                    waits.append(time.monotonic() - began)
                    calls += 1

            async with asyncio.TaskGroup() as group:
                for _ in range(64):
                    group.create_task(work())
            lasted = time.monotonic() - start
            assert calls > 64
            assert sim.served[SHOW] == 1 + calls + sim.rejected[SHOW]
            assert sim.served[VERIFY] == 1
            # A renewal follows between 0.67 and 0.75 s after the last one.
            assert lasted / 0.75 - 2 <= sim.served[REFRESH] <= lasted / 0.66 + 1
        for (_, end), (begin, _) in pairwise(renewals):
            assert begin >= end

    async def test_no_call_waits_for_a_renewal(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """A stale token is renewed while calls still use it."""
        clock = use_jumping_clock(pbx)
        await pbx.extensions.show("101")
        clock.jump(21)
        sim.fail(REFRESH, latency=30)
        assert failures(await show_all(pbx, 50)) == []
        assert sim.served == {VERIFY: 1, REFRESH: 1, SHOW: 51}

    async def test_refresh_that_only_prolongs(self, make_client: ClientMaker) -> None:
        """If a refresh returns no token, calls continue with the old one."""
        async with PBXSimulator(extensions=5, quirks=["refresh_prolongs"]) as sim:
            pbx = make_client(sim.url, username=sim.username, password=sim.password)
            clock = use_jumping_clock(pbx)
            for _ in range(4):
                await pbx.extensions.show("101")
                clock.jump(29)
            assert (sim.served[VERIFY], sim.served[REFRESH]) == (1, 3)
            assert sim.rejected.total() == 0
            sim.revoke()
            assert failures(await show_all(pbx, 20)) == []
            assert sim.served[VERIFY] == 2

    async def test_idle_client_sends_nothing(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        async with PBXSimulator(extensions=5, token_lifetime=0.05) as short:
            pbx = make_client(short.url, username=short.username, password=short.password)
            await pbx.extensions.show("101")
            await asyncio.sleep(0.15)
            assert short.served == {VERIFY: 1, SHOW: 1}


class TestLane:
    """Renewals don't wait for the limits of calls."""

    async def test_renewal_while_calls_fill_the_client(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """A renewal is sent even if the only slot is taken and calls wait for it."""
        pbx = make_client(max_connections=1)
        await pbx.extensions.show("101")
        sim.fail(SHOW, latency=30)
        async with in_background(*(pbx.extensions.show("101") for _ in range(3))):
            await until(lambda: sim.in_flight == 1)
            await pbx.account.refresh()
            assert sim.served == {VERIFY: 1, REFRESH: 1, SHOW: 2}

    async def test_background_renewal_during_a_call(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """The renewal that a call starts does not wait for that call's slot."""
        pbx = make_client(max_connections=1)
        clock = use_jumping_clock(pbx)
        await pbx.extensions.show("101")
        clock.jump(21)
        sim.fail(SHOW, latency=30)
        async with in_background(pbx.extensions.show("101")):
            await until(lambda: sim.acted[REFRESH] == 1)
            assert sim.in_flight == 1

    async def test_renewals_are_exempt_from_the_rate(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """The rate allows one call in 100 seconds, but renewals are sent when needed."""
        pbx = make_client(requests_per_second=0.01)
        await pbx.extensions.show("101")
        async with asyncio.timeout(5):
            for _ in range(3):
                await pbx.account.refresh()
        async with in_background(pbx.extensions.show("101")):
            await asyncio.sleep(0.05)
            assert sim.served == {VERIFY: 1, REFRESH: 3, SHOW: 1}


class TestVerify:
    async def test_verify_does_not_affect_the_own_token(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """The token from `account.verify` belongs to the caller. The client logs in separately."""
        token = await pbx.account.verify(sim.username, sim.password)
        assert (token.role, token.expires) == ("tenant", 30.0)
        assert (await pbx.account.verify_email(sim.email, sim.password)) != token
        assert sim.tokens_issued == 2
        await pbx.extensions.show("101")
        assert sim.tokens_issued == 3
        await pbx.account.verify(sim.username, sim.password)
        await pbx.extensions.show("101")
        assert sim.served[VERIFY] == 3
        assert sim.served[REFRESH] == 0

    async def test_refusal_starts_no_cool_down(self, sim: PBXSimulator, pbx: PortSIPClient) -> None:
        """Wrong credentials in `account.verify` start no cool-down of the client's own login."""
        for count in range(1, 4):
            with pytest.raises(AuthenticationError) as caught:
                await pbx.account.verify("somebody", "wrong-1")
            assert caught.value.operation == VERIFY
            assert sim.served[VERIFY] == count
        await pbx.extensions.show("101")

    async def test_verify_works_within_the_cool_down(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        pbx = make_client(username="nobody", password="wrong-1")
        assert len(failures(await show_all(pbx, 3))) == 3
        assert await pbx.account.verify(sim.username, sim.password)
        assert len(failures(await show_all(pbx, 3))) == 3
        assert sim.served == {VERIFY: 2}

    @pytest.mark.parametrize("status", [400, 401, 403])
    async def test_any_refusal_is_an_authentication_error(
        self, sim: PBXSimulator, pbx: PortSIPClient, status: int
    ) -> None:
        sim.fail(VERIFY, status=status)
        with pytest.raises(AuthenticationError) as caught:
            await pbx.account.verify("admin", "secret-1")
        assert caught.value.status == status
        assert sim.served[VERIFY] == 1


class TestRefresh:
    async def test_refresh_renews_the_own_token(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        """The first refresh logs in, a later one refreshes. Calls use the new token."""
        first = await pbx.account.refresh()
        second = await pbx.account.refresh()
        assert first != second
        assert (second.role, second.api_version, second.expires) == ("tenant", "2.0.0", 30.0)
        await pbx.extensions.show("101")
        assert sim.served == {VERIFY: 1, REFRESH: 1, SHOW: 1}

    async def test_concurrent_refreshes_are_one(
        self, sim: PBXSimulator, pbx: PortSIPClient
    ) -> None:
        await pbx.extensions.show("101")
        tokens = await asyncio.gather(*(pbx.account.refresh() for _ in range(50)))
        assert len(set(tokens)) == 1
        assert sim.served[REFRESH] == 1


class TestFetchToken:
    async def test_token_is_fetched_once_for_all_calls(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        vault = GatedCredentials()
        pbx = make_client(wire.url, credentials=vault)
        assert failures(await show_all(pbx, 50)) == []
        assert vault.fetched == 1
        assert {arrival.query.partition("&")[0] for arrival in wire.arrivals} == {
            "access_token=vault-1"
        }

    async def test_error_of_fetch_token_reaches_all_waiting_calls(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        vault = GatedCredentials()
        vault.error = OSError("the vault is shut")
        pbx = make_client(wire.url, credentials=vault)
        assert await show_all(pbx, 5) == [vault.error] * 5
        vault.error = None
        assert failures(await show_all(pbx, 5)) == []

    async def test_refusal_of_fetch_token_is_remembered(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """An AuthenticationError of `fetch_token` counts as a refused login."""
        vault = GatedCredentials()
        vault.error = AuthenticationError("no", status=401)
        pbx = make_client(wire.url, credentials=vault)
        for _ in range(3):
            assert len(failures(await show_all(pbx, 5))) == 5
        assert vault.fetched == 1

    async def test_calls_wait_within_their_own_deadlines(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        """If the deadline of a call ends, the renewal continues for the other calls."""
        vault = GatedCredentials()
        vault.open.clear()
        pbx = make_client(wire.url, credentials=vault)
        hasty = pbx.with_options(retry=RetryPolicy(deadline=0.02))
        async with in_background(pbx.extensions.show("101")) as (patient,):
            with pytest.raises(RequestTimeout) as caught:
                await hasty.extensions.show("101")
            assert (caught.value.attempts, caught.value.may_have_acted) == (0, False)
            vault.open.set()
            await patient
        assert vault.fetched == 1


class TestAttachedLast:
    """A call uses the token that is cached when it can send."""

    @staticmethod
    def tokens(wire: WireServer) -> list[str]:
        return [arrival.query.partition("&")[0].partition("=")[2] for arrival in wire.arrivals]

    async def test_after_the_wait_for_a_slot(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        leave = asyncio.Event()

        async def held_back(
            _: Arrival, __: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await leave.wait()
            writer.write(reply({"extension_number": "101"}))

        wire.script = [held_back, reply({"extension_number": "101"})]
        pbx = make_client(wire.url, credentials=GatedCredentials(), max_connections=1)
        async with in_background(*(pbx.extensions.show("101") for _ in range(2))) as tasks:
            await until(lambda: wire.arrivals)
            await pbx.account.refresh()
            leave.set()
            await asyncio.gather(*tasks)
        assert self.tokens(wire) == ["vault-1", TOKEN]

    async def test_after_the_wait_for_the_rate(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        pbx = make_client(wire.url, credentials=GatedCredentials(), requests_per_second=5)
        await pbx.extensions.show("101")
        async with in_background(pbx.extensions.show("101")) as (task,):
            await asyncio.sleep(0)
            await pbx.account.refresh()
            await task
        assert self.tokens(wire) == ["vault-1", TOKEN]

    async def test_after_a_pause_on_each_attempt(
        self, wire: WireServer, make_client: ClientMaker
    ) -> None:
        wire.script = [reply(status=503), reply({"extension_number": "101"})]
        pbx = make_client(wire.url, credentials=GatedCredentials())

        async def renewing(_: float) -> None:
            await pbx.account.refresh()

        set_clock(pbx, sleep=renewing)
        await pbx.extensions.show("101")
        assert self.tokens(wire) == ["vault-1", TOKEN]


class TestGivenToken:
    async def test_given_token_is_only_refreshed(
        self, sim: PBXSimulator, pbx: PortSIPClient, make_client: ClientMaker
    ) -> None:
        token = (await pbx.account.refresh()).access_token
        given = make_client(credentials=StaticToken(token))
        clock = use_jumping_clock(given)
        await given.extensions.show("101")
        clock.jump(29)
        await given.extensions.show("101")
        assert sim.served == {VERIFY: 1, REFRESH: 1, SHOW: 2}

    async def test_given_token_that_is_invalid(
        self, sim: PBXSimulator, make_client: ClientMaker
    ) -> None:
        """It is refreshed once. After the refusal every call fails without traffic."""
        given = make_client(token="dead-1")
        for _ in range(3):
            outcomes = await show_all(given, 20)
            assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
            assert "dead-1" not in str(outcomes)
        assert sim.served == {SHOW: 20, REFRESH: 1}


async def test_other_errors_leave_the_token_alone(sim: PBXSimulator, pbx: PortSIPClient) -> None:
    """An error that is not a rejection starts no renewal."""
    for _ in range(3):
        with pytest.raises(NotFound):
            await pbx.extensions.show("999999")
    assert (sim.served[VERIFY], sim.served[REFRESH]) == (1, 0)
    assert session_of(pbx).options.retry is QUICK


async def test_call_survives_two_tokens_revoked_together(
    sim: PBXSimulator, make_client: ClientMaker
) -> None:
    """A call succeeds although its token and the next one are both invalid.

    It is rejected, and sent again with a token that was renewed before that rejection and is
    invalid, too. A second rejection is final only for a token fetched after the first one.
    """
    pbx = make_client()
    await pbx.extensions.show("100")
    sim.fail("extensions.show", latency=0.2)
    late = asyncio.create_task(pbx.extensions.show("101"))
    await until(lambda: sim.in_flight)
    await pbx.account.refresh()
    sim.revoke()
    sim.fail("extensions.show", status=401, err_code=403.4, times=1)
    assert (await late).extension_number == "101"
