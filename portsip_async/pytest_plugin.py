"""The pytest plugin: a fixture with a simulated PBX, for tests of applications.

Every pytest run in an environment with this package loads this module, so it imports nothing that
such a run has not loaded anyway; the simulator is imported by the first test that asks for it.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_asyncio import fixture

    from .simulator import PBXSimulator
else:
    try:
        # Works in each of its modes; a plain fixture would not be awaited in the strict one.
        from pytest_asyncio import fixture
    except ImportError:
        # Another plugin, such as anyio's, awaits plain fixtures.
        fixture = pytest.fixture


@fixture
async def portsip_simulator() -> "AsyncIterator[PBXSimulator]":
    """Give a PBX of 1,000 extensions that listens on this machine for one test."""
    from .simulator import PBXSimulator

    async with PBXSimulator() as simulator:
        yield simulator
