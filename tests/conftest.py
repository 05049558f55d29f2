"""What all tests share: a simulator, clients, a scripted wire, and a check of what is left."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import Mock

import aioresponses
import pytest
from aiohttp import ClientResponse

from portsip_async import PortSIPClient, RetryPolicy
from portsip_async.simulator import PBXSimulator

from .wire_server import WireServer

# A shell's background jobs ignore Ctrl-C, and so would all that tests start and mean to stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

QUICK = RetryPolicy(initial=0.001, maximum=0.002)


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Every test ends without a task that it did not begin with."""
    before = asyncio.all_tasks()
    yield
    for _ in range(20):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.01)
    assert not left


@pytest.fixture
async def sim() -> AsyncIterator[PBXSimulator]:
    async with PBXSimulator(extensions=300, groups=5) as simulator:
        yield simulator


ClientMaker = Callable[..., PortSIPClient]


@pytest.fixture
async def make_client(sim: PBXSimulator) -> AsyncIterator[ClientMaker]:
    """Make clients of the simulator, closed at the end; with `url=` of any other PBX."""
    async with AsyncExitStack() as stack:

        def make(url: str | None = None, **options: Any) -> PortSIPClient:
            if not options.keys() & {"username", "credentials", "token"}:
                options |= {"username": sim.username, "password": sim.password}
            options.setdefault("retry", QUICK)
            client = PortSIPClient(url or sim.url, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def pbx(make_client: ClientMaker) -> PortSIPClient:
    return make_client()


@pytest.fixture
async def wire() -> AsyncIterator[WireServer]:
    """A server that does to the wire whatever a test scripts."""
    async with WireServer() as server:
        yield server


class WrittenResponse(ClientResponse):
    """Supplies what aiohttp 3.14 asks for and aioresponses 0.7.9 doesn't pass.

    It can go once aioresponses passes `stream_writer` itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


class Mocked(aioresponses.aioresponses):
    def add(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("response_class", WrittenResponse)
        super().add(*args, **kwargs)


@pytest.fixture
def mocked() -> Iterator[Mocked]:
    """Aioresponses, for literal transcripts."""
    mock = Mocked()
    with mock:
        yield mock
