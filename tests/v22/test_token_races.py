"""Tokens of v22 under load, against the simulator, whose refresh tokens serve once."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async import AuthenticationError, RetryPolicy, TwoFactorRequired
from portsip_async.core.hooks import Attempt
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient

from ..concurrency import in_background, until
from .conftest import V22Maker

LOGIN, REFRESH, SHOW = "auth.sign_in", "auth.refresh", "users.show"
PATIENT = RetryPolicy(attempts=30, initial=0.01, maximum=0.05)


async def until_counted(count: Callable[[], int], least: int) -> None:
    """Wait until a number has grown so far."""
    await until(lambda: count() >= least)


async def show_all(pbx: PortSIPClient, user_id: str, calls: int) -> list[Any]:
    """Make many calls at once, and return what failed."""
    outcomes = await asyncio.gather(
        *(pbx.users.show(user_id) for _ in range(calls)), return_exceptions=True
    )
    return [outcome for outcome in outcomes if isinstance(outcome, BaseException)]


@pytest.fixture
def user_id(sim: PBXSimulator) -> str:
    return sim.v22.user_id("101")


class TestLoad:
    async def test_300_cold_calls_log_in_once(
        self, sim: PBXSimulator, pbx22: PortSIPClient, user_id: str
    ) -> None:
        """Without care, 300 concurrent calls would make 300 logins."""
        assert await show_all(pbx22, user_id, 300) == []
        assert sim.v22.served == {LOGIN: 1, SHOW: 300}
        assert sim.v22.tokens_issued == 1

    async def test_revocation_with_200_calls_in_flight(
        self, sim: PBXSimulator, make_v22: V22Maker, user_id: str
    ) -> None:
        """Each of five revocations costs one refresh, and no call fails."""
        pbx = make_v22(max_connections=200)
        await pbx.users.show(user_id)
        for _ in range(5):
            # Most of them wait in the PBX while their token is revoked.
            sim.v22.fail(SHOW, latency=0.3, times=200)
            arrived = sim.v22.served[SHOW]
            calls = [pbx.users.show(user_id) for _ in range(200)]
            async with in_background(*calls) as tasks:
                await until_counted(lambda: sim.v22.served[SHOW], arrived + 150)
                sim.v22.revoke()
                await asyncio.gather(*tasks)
            sim.v22.clear()
        assert sim.v22.served[LOGIN] == 1
        assert sim.v22.served[REFRESH] == 5
        assert sim.v22.rejected[SHOW] > 250
        assert sim.v22.served[SHOW] == 1 + 1000 + sim.v22.rejected[SHOW]
        assert set(sim.v22.refresh_tokens.values()) == {1}

    async def test_revocations_under_steady_load(
        self, sim: PBXSimulator, make_v22: V22Maker, user_id: str
    ) -> None:
        """A call is repeated once at most, and each revocation costs one refresh."""
        attempts: list[Attempt] = []
        pbx = make_v22(on_attempt=attempts.append)
        done = 0

        async def work() -> None:
            nonlocal done
            for _ in range(40):
                await pbx.users.show(user_id)
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(work())
            for reached in range(100, 600, 100):
                await until_counted(lambda: done, reached)
                sim.v22.revoke()
        assert done == 640
        shows = [attempt for attempt in attempts if attempt.operation == SHOW]
        assert max(attempt.number for attempt in shows) == 2
        assert sim.v22.served == {LOGIN: 1, REFRESH: 5, SHOW: len(shows)}
        assert set(sim.v22.refresh_tokens.values()) == {1}

    async def test_restarts_of_the_pbx_under_load(
        self, sim: PBXSimulator, make_v22: V22Maker, user_id: str
    ) -> None:
        """A restart ends all tokens. Each costs a refused refresh and a login; no call fails."""
        pbx = make_v22(retry=PATIENT, max_connections=20)
        done = 0

        async def work() -> None:
            nonlocal done
            for _ in range(30):
                await pbx.users.show(user_id)
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(work())
            for reached in (60, 160, 260):
                await until_counted(lambda: done, reached)
                await sim.restart(0.03)
        assert done == 300
        # A login whose reply a restart cut off is repeated.
        assert 4 <= sim.v22.served[LOGIN] <= 7
        assert set(sim.v22.refresh_tokens.values()) == {1}


class TestLostReplies:
    @pytest.mark.parametrize("fault", [{"drop": True, "act": True}, {"drop": True}])
    async def test_lost_refresh(
        self, sim: PBXSimulator, pbx22: PortSIPClient, user_id: str, fault: dict[str, Any]
    ) -> None:
        """The client logs in instead, once. It can't know whether its token was used up."""
        await pbx22.users.show(user_id)
        for round_ in range(1, 4):
            sim.v22.revoke()
            sim.v22.fail(REFRESH, **fault)
            assert await show_all(pbx22, user_id, 50) == []
            assert sim.v22.served[LOGIN] == 1 + round_
            assert sim.v22.served[REFRESH] == round_
        assert len(sim.v22.refresh_tokens) <= 3
        assert set(sim.v22.refresh_tokens.values()) <= {1}

    @pytest.mark.parametrize("fault", [{"drop": True, "act": True}, {"status": 503}])
    async def test_lost_refresh_with_tokens_only(
        self, sim: PBXSimulator, make_v22: V22Maker, user_id: str, fault: dict[str, Any]
    ) -> None:
        """No call gets further, the error says why, and nothing more is sent."""
        first = await make_v22().auth.refresh()
        pbx = make_v22(token=first.access_token, refresh_token=first.refresh_token)
        await pbx.users.show(user_id)
        sim.v22.revoke()
        sim.v22.fail(REFRESH, **fault)
        served = sim.v22.served[LOGIN]
        failed = await show_all(pbx, user_id, 20)
        assert len(failed) == 20
        for error in failed:
            assert isinstance(error, AuthenticationError)
            assert "refresh token" in str(error)
            assert "credentials" in str(error)
        shown = sim.v22.served[SHOW]
        assert len(await show_all(pbx, user_id, 5)) == 5
        assert (sim.v22.served[LOGIN], sim.v22.served[REFRESH]) == (served, 1)
        assert sim.v22.served[SHOW] == shown
        assert set(sim.v22.refresh_tokens.values()) <= {1}


class TestTokensOnly:
    async def test_rotate(self, sim: PBXSimulator, make_v22: V22Maker, user_id: str) -> None:
        """Each refresh brings the refresh token for the next one."""
        first = await make_v22().auth.refresh()
        pbx = make_v22(token=first.access_token, refresh_token=first.refresh_token)
        for _ in range(4):
            assert await show_all(pbx, user_id, 20) == []
            sim.v22.revoke()
        assert (sim.v22.served[LOGIN], sim.v22.served[REFRESH]) == (1, 3)
        assert list(sim.v22.refresh_tokens.values()) == [1, 1, 1]

    async def test_without_a_refresh_token(
        self, sim: PBXSimulator, make_v22: V22Maker, user_id: str
    ) -> None:
        """The client ends with its token, and the error says so."""
        first = await make_v22().auth.refresh()
        pbx = make_v22(token=first.access_token)
        await pbx.users.show(user_id)
        sim.v22.revoke()
        [*errors] = await show_all(pbx, user_id, 10)
        assert {type(error) for error in errors} == {AuthenticationError}
        assert sim.v22.served[REFRESH] == 0
        assert sim.v22.served[LOGIN] == 1


class TestSecondFactor:
    async def test_one_login_for_three_calls(self, make_v22: V22Maker) -> None:
        """While the challenge is open no login is sent, and after it one session is enough."""
        async with PBXSimulator(second_factor=True) as sim:
            pbx = make_v22(sim.url, username=sim.username, password=sim.password)
            user_id = sim.v22.user_id("101")
            [*failed] = await show_all(pbx, user_id, 3)
            assert {type(error) for error in failed} == {TwoFactorRequired}
            assert len(await show_all(pbx, user_id, 3)) == 3
            assert sim.v22.served == {LOGIN: 1}
            [challenge] = {error.challenge for error in failed}
            await pbx.auth.send_otp(challenge)
            assert sim.v22.otp
            await pbx.auth.verify_otp(challenge, sim.v22.otp)
            assert await show_all(pbx, user_id, 3) == []
            sim.v22.revoke()
            assert await show_all(pbx, user_id, 30) == []
            assert sim.v22.served[LOGIN] == 1
            assert sim.v22.served[REFRESH] == 1


class TestSignOut:
    async def test_during_calls(
        self, sim: PBXSimulator, pbx22: PortSIPClient, user_id: str
    ) -> None:
        """Calls in flight are sent again after one new login, which the next calls use."""
        await pbx22.users.show(user_id)
        sim.v22.fail(SHOW, latency=0.05, times=30)
        async with in_background(*(pbx22.users.show(user_id) for _ in range(30))) as tasks:
            await until(lambda: sim.in_flight == 30)
            await pbx22.auth.sign_out()
            await asyncio.gather(*tasks)
        assert await show_all(pbx22, user_id, 10) == []
        assert sim.v22.served[LOGIN] == 2
        assert sim.v22.served[REFRESH] == 0
        assert sim.v22.served["auth.sign_out"] == 1

    async def test_again_and_again(
        self, sim: PBXSimulator, pbx22: PortSIPClient, user_id: str
    ) -> None:
        """Concurrent sign-outs end one session once, and close does not sign out."""
        for round_ in range(1, 4):
            await pbx22.users.show(user_id)
            await asyncio.gather(*(pbx22.auth.sign_out() for _ in range(5)))
            assert sim.v22.served["auth.sign_out"] == round_
        await pbx22.users.show(user_id)
        await pbx22.close()
        assert sim.v22.served["auth.sign_out"] == 3
