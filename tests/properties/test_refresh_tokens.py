"""No refresh token is sent twice, whatever the network and the PBX do to the replies."""

import asyncio
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from portsip_async import AuthenticationError, PortSIPError
from portsip_async.core.tokens import MAX_COOL_DOWN

from ..v22.login_server import FORM, REFRESH, SIGN_IN, Fault, client_of, login_server
from ..v22.test_auth import FAULTS, jump

# Without the one that takes time, and the one that a program has to deal with.
QUICK = [fault for name, fault in FAULTS.items() if name not in ("silence", "second factor")]
SCRIPT = st.lists(st.sampled_from(QUICK), max_size=3)


class Step(NamedTuple):
    """What happens before some calls.

    Attributes:
        event: what the PBX, the clock or the program does.
        refreshes: what happens to the next refreshes.
        logins: what happens to the next logins.
        calls: how many calls are made at once.
        cancelled: how many of them are cancelled while they wait.
    """

    event: str
    refreshes: list[Fault]
    logins: list[Fault]
    calls: int
    cancelled: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["revoke", "stale", "spent", "refresh", "sign out", "nothing"]),
        SCRIPT,
        SCRIPT,
        st.integers(1, 5),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


@given(steps=STEPS, form=st.booleans(), tokens_only=st.booleans(), ends_old=st.booleans())
async def test_no_refresh_token_is_sent_twice(
    steps: list[Step], *, form: bool, tokens_only: bool, ends_old: bool
) -> None:
    """Once the PBX is well again, calls succeed, unless the only tokens are lost."""
    async with login_server() as pbx:
        pbx.missing = {SIGN_IN, REFRESH} if form else set()
        pbx.ends_old = ends_old
        start = {}
        if tokens_only:
            pair = pbx.issue()
            start = {"token": pair["access_token"], "refresh_token": pair["refresh_token"]}
        async with client_of(pbx, **start) as client:
            clock = jump(client)
            for step in steps:
                pbx.faults = {
                    REFRESH: [*step.refreshes],
                    SIGN_IN: [*step.logins],
                    FORM: [*step.refreshes, *step.logins],
                }
                if step.event == "revoke":
                    pbx.valid.clear()
                clock.jump({"stale": 1300, "spent": 1799}.get(step.event, 0))
                if step.event in ("refresh", "sign out"):
                    explicit = (
                        client.auth.refresh() if step.event == "refresh" else client.auth.sign_out()
                    )
                    await asyncio.gather(explicit, return_exceptions=True)
                tasks = [asyncio.ensure_future(client.show()) for _ in range(step.calls)]
                await asyncio.sleep(0)
                for task in tasks[: step.cancelled]:
                    task.cancel()
                for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(outcome, str | PortSIPError | asyncio.CancelledError)
                assert max(pbx.used.values(), default=0) <= 1
            pbx.faults = {}
            # The first call may join a renewal that met the last fault.
            await asyncio.gather(client.show(), return_exceptions=True)
            clock.jump(MAX_COOL_DOWN + 1)
            pbx.valid.clear()
            (outcome,) = await asyncio.gather(client.show(), return_exceptions=True)
            if isinstance(outcome, AuthenticationError):
                assert tokens_only
                assert "pass new tokens" in str(outcome)
            else:
                assert isinstance(outcome, str)
            assert max(pbx.used.values(), default=0) <= 1
