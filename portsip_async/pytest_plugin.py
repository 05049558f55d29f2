"""The pytest plugin: a simulated PBX and a client of it, for tests of applications.

It is there once the package is installed, and works with pytest-asyncio in its strict and its auto
mode, or with another plugin that awaits fixtures, such as anyio's::

    async def test_greets(portsip_simulator, portsip_client):
        portsip_simulator.fail("extensions.show", status=503, times=2)
        extension = await portsip_client.extensions.show("101")
        assert portsip_simulator.served["extensions.show"] == 3

The marker ``portsip`` makes a test's simulator another one, by the arguments of `PBXSimulator`::

    @pytest.mark.portsip(extensions=20, token_lifetime=1.0, faults=Faults(dropped=0.1))
    async def test_small_and_shaky(portsip_client): ...

Every pytest run in an environment with this package loads this module, so it imports nothing that
such a run has not loaded anyway; the rest is imported by the first test that asks for it.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_asyncio import fixture

    from . import PortSIPClient
    from .simulator import PBXSimulator
else:
    try:
        # Works in each of its modes; a plain fixture would not be awaited in the strict one.
        from pytest_asyncio import fixture
    except ImportError:
        # Another plugin, such as anyio's, awaits plain fixtures.
        fixture = pytest.fixture

_MARKER = "portsip"


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**arguments): make portsip_simulator with these of PBXSimulator's"
    )


@fixture
async def portsip_simulator(request: pytest.FixtureRequest) -> "AsyncIterator[PBXSimulator]":
    """Give a PBX that listens on this machine for one test.

    It has 1,000 extensions, unless the marker ``portsip`` says otherwise. Faults are a line each:
    ``portsip_simulator.fail("extensions.show", status=503, times=2)`` for the next requests of an
    operation, ``portsip_simulator.faults = Faults(rate_limited=0.1)`` for a rate of all.
    ``portsip_simulator.served`` counts what arrived.
    """
    from .simulator import PBXSimulator

    marker = request.node.get_closest_marker(_MARKER)
    async with PBXSimulator(**(marker.kwargs if marker else {})) as simulator:
        yield simulator


@fixture
async def portsip_client(
    portsip_simulator: "PBXSimulator",
) -> "AsyncIterator[PortSIPClient]":
    """Give a client of the test's simulator, closed after the test.

    It repeats as often as a client by default does, but after milliseconds, so that a test of
    faults does not wait.
    """
    from . import PortSIPClient, RetryPolicy

    simulator = portsip_simulator
    async with PortSIPClient(
        simulator.url,
        username=simulator.username,
        password=simulator.password,
        retry=RetryPolicy(initial=0.001, maximum=0.01),
    ) as client:
        yield client
