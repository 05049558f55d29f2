"""A call that ran out of time because the application blocked the event loop says so."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from portsip_async import (
    PortSIPClient,
    PortSIPError,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    Token,
)
from portsip_async.simulator import PBXSimulator

from .virtual_time import client, in_virtual_time, simulator, the_loop

# The timer that notices it ticks ten times a second.
BLOCKED = r"extensions\.show: the event loop was blocked for 12\.[23] s, so "
ADVICE = ": run blocking code in a thread"


class SlowVault:
    """Credentials that take their time."""

    async def fetch_token(self) -> Token:
        await asyncio.sleep(100.0)
        return Token("t")


def slow_reply(sim: PBXSimulator) -> PortSIPClient:
    sim.fail("extensions.show", latency=100.0)
    return client(sim, retry=RetryPolicy(attempts=1))


def silent_reply(sim: PBXSimulator) -> PortSIPClient:
    sim.fail("extensions.show", latency=100.0)
    timeout = Timeout(total=None, read=5.0)
    return client(sim, timeout=timeout, retry=RetryPolicy(attempts=1, deadline=None))


def slow_connect(sim: PBXSimulator) -> PortSIPClient:
    async def sock_connect(sock: Any, address: Any) -> None:
        await asyncio.sleep(100.0)

    the_loop().sock_connect = sock_connect  # type: ignore[method-assign]  # the loop of this test
    return client(sim, token="t", retry=RetryPolicy(attempts=1))


def slow_token(sim: PBXSimulator) -> PortSIPClient:
    return client(sim, credentials=SlowVault(), retry=RetryPolicy(deadline=15.0))


def backoff(sim: PBXSimulator) -> PortSIPClient:
    sim.fail("extensions.show", status=503, retry_after=2)
    return client(sim, retry=RetryPolicy(deadline=5.0))


def rate(sim: PBXSimulator) -> PortSIPClient:
    sim.fail("extensions.show", status=503)
    return client(sim, requests_per_second=0.5, retry=RetryPolicy(deadline=5.0, initial=0.0))


NOT_SENT = "the deadline passed before the request could be sent"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (slow_reply, "no complete reply came within 15 s"),
        (silent_reply, "no bytes came for too long (SocketTimeoutError: "),
        (slow_connect, "no connection was made (ConnectionTimeoutError: "),
        (slow_token, NOT_SENT),
        (backoff, NOT_SENT),
        (rate, NOT_SENT),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@in_virtual_time
async def test_error_says_that_the_loop_was_blocked(
    make: Callable[[PBXSimulator], PortSIPClient], text: str
) -> None:
    """Whatever the call waited for, it says for how long."""
    async with simulator(extensions=2) as sim, make(sim) as pbx:
        call = asyncio.create_task(pbx.extensions.show("100"))
        await asyncio.sleep(1.05)
        the_loop().block(12.3)
        with pytest.raises(PortSIPError) as caught:
            await call
    message = str(caught.value)
    pattern = BLOCKED + re.escape(text) + r".*(\(2 attempts\))?"
    assert re.fullmatch(pattern, message), message
    assert ADVICE in message
    assert isinstance(caught.value, TimeoutError) == (make is not slow_connect)


@pytest.mark.parametrize("seconds", [0.0, 3.0])
@in_virtual_time
async def test_slow_pbx_is_not_excused(seconds: float) -> None:
    """A loop that was blocked for the lesser part of the time is not the reason."""
    async with simulator(extensions=2) as sim, slow_reply(sim) as pbx:
        call = asyncio.create_task(pbx.extensions.show("100"))
        await asyncio.sleep(1.0)
        the_loop().block(seconds)
        with pytest.raises(RequestTimeout, match=r"show: no complete reply came within 15 s$"):
            await call


@in_virtual_time
async def test_old_stall_does_not_count() -> None:
    """Only a stall during the call explains its timeout."""
    async with simulator(extensions=2) as sim, slow_reply(sim) as pbx:
        sim.clear()
        other = asyncio.create_task(pbx.extensions.show("100"))
        await asyncio.sleep(0)
        the_loop().block(14.0)
        await other
        sim.fail("extensions.show", latency=100.0)
        with pytest.raises(RequestTimeout, match=r"show: no complete reply came within 15 s$"):
            await pbx.extensions.show("100")


@in_virtual_time
async def test_timer_stops_when_the_client_is_idle() -> None:
    """An idle client wakes nobody up."""
    async with simulator(extensions=2) as sim, client(sim) as pbx:
        await pbx.extensions.show("100")
        await asyncio.sleep(1.0)
        assert not [
            handle
            for handle in the_loop()._scheduled  # type: ignore[attr-defined]  # asyncio's heap
            if "StallWatch" in repr(handle) and not handle.cancelled()
        ]
