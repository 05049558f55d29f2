"""Fixtures of all tests: a simulator, clients, servers, and a check for leftovers."""

import asyncio
import signal
import ssl as tls
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import Mock

import aioresponses
import pytest
import trustme
from aiohttp import ClientResponse

from portsip_async import PortSIPClient, RetryPolicy
from portsip_async.simulator import PBXSimulator

from .wire_server import WireServer

# Background jobs of a shell ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

QUICK = RetryPolicy(initial=0.001, maximum=0.002)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    """Check that a test leaves no task running."""
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
    """Make clients that are closed at the end: of the simulator, or of the PBX at `url`."""
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
    """A server that follows the script of a test."""
    async with WireServer() as server:
        yield server


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nothing trusts by default."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> tls.SSLContext:
    """The TLS context of a server with a certificate of this authority."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> tls.SSLContext:
    """The TLS context of a client that trusts this authority."""
    context = tls.create_default_context()
    authority.configure_trust(context)
    return context


class WrittenResponse(ClientResponse):
    """Adds an argument that aiohttp 3.14 needs and aioresponses 0.7.9 doesn't pass.

    Remove it once aioresponses passes `stream_writer` itself.
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
    """Aioresponses, for replies that are written out literally."""
    mock = Mocked()
    with mock:
        yield mock
