"""The pytest plugin: a simulated PBX and clients for it, to test applications with.

pytest loads it once the package is installed. ``portsip_simulator`` runs in a thread of its own, so
tests without ``async``, test clients of web frameworks and every event loop can use it. The clients
work with pytest-asyncio in strict and auto mode, and with other plugins that await fixtures, such
as anyio's::

    async def test_greets(portsip_simulator, portsip_client):
        portsip_simulator.fail("extensions.show", status=503, times=2)
        extension = await portsip_client.extensions.show("101")
        assert portsip_simulator.served["extensions.show"] == 3

The marker ``portsip`` passes arguments to the `PBXSimulator` of a test::

    @pytest.mark.portsip(extensions=20, token_lifetime=1.0, faults=Faults(dropped=0.1))
    async def test_small_and_shaky(portsip_client): ...

    @pytest.mark.portsip(domain="sales.example", second_factor=True, generations=("v22",))
    async def test_second_factor(portsip_v22_client): ...

``portsip_v22_client`` is a client of generation v22 for the same PBX. The faults and counts of its
operations are in ``portsip_simulator.v22``.

Every pytest run in an environment with this package loads this module. So it imports only what
pytest has loaded anyway. The first test that uses a fixture imports the rest.
"""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_asyncio import fixture

    from . import PortSIPClient, v22
    from .simulator import PBXSimulator
else:
    try:
        # Works in both modes. In strict mode, plain fixtures are not awaited.
        from pytest_asyncio import fixture
    except ImportError:
        # Another plugin, such as anyio's, awaits plain fixtures.
        fixture = pytest.fixture

_MARKER = "portsip"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**arguments): arguments of PBXSimulator for portsip_simulator"
    )


@pytest.fixture
def portsip_simulator(request: pytest.FixtureRequest) -> "Iterator[PBXSimulator]":
    """Start a PBX on this machine for one test, in a thread of its own.

    It has 1,000 extensions, unless the marker ``portsip`` says otherwise. To make the next requests
    of an operation fail, call ``portsip_simulator.fail("extensions.show", status=503, times=2)``.
    To make a share of all requests fail, set ``portsip_simulator.faults =
    Faults(rate_limited=0.1)``. ``portsip_simulator.served`` counts the requests that arrived.
    """
    from .simulator import PBXSimulator

    marker = request.node.get_closest_marker(_MARKER)
    with PBXSimulator.in_thread(**(marker.kwargs if marker else {})) as simulator:
        yield simulator


@fixture
async def portsip_client(
    portsip_simulator: "PBXSimulator",
) -> "AsyncIterator[PortSIPClient]":
    """Create a classic client for the test's simulator, and close it after the test.

    It retries as often as a client does by default, but its pauses last milliseconds, so that tests
    of faults are fast.
    """
    from . import PortSIPClient, RetryPolicy

    async with PortSIPClient(
        portsip_simulator.url,
        username=portsip_simulator.username,
        password=portsip_simulator.password,
        retry=RetryPolicy(initial=0.001, maximum=0.01),
    ) as client:
        yield client


@fixture
async def portsip_v22_client(
    portsip_simulator: "PBXSimulator",
) -> "AsyncIterator[v22.PortSIPClient]":
    """Create a client of generation v22 for the test's simulator, and close it after the test.

    It logs in to the simulator's tenant. Its pauses are as short as those of ``portsip_client``. To
    make requests fail, call ``portsip_simulator.v22.fail("users.show", status=503, times=2)``.
    """
    from . import RetryPolicy
    from .v22 import PortSIPClient

    async with PortSIPClient(
        portsip_simulator.url,
        username=portsip_simulator.username,
        password=portsip_simulator.password,
        domain=portsip_simulator.domain,
        retry=RetryPolicy(initial=0.001, maximum=0.01),
    ) as client:
        yield client
