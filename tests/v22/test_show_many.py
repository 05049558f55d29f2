"""`users.show_many`: the settings of many users at once."""

import pytest

from portsip_async import NotFound
from portsip_async.simulator import PBXSimulator
from portsip_async.v22 import PortSIPClient


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_results_keep_the_order_of_the_ids(concurrency: int) -> None:
    """An id that nobody has is a result too."""
    async with (
        PBXSimulator(30, generations=("v22",)) as sim,
        PortSIPClient(
            sim.url, username=sim.username, password=sim.password, domain=sim.domain
        ) as pbx,
    ):
        ids = [sim.v22.user_id(number) for number in sim.extension_numbers]
        ids.insert(7, "nobody")
        run = pbx.users.show_many(ids, concurrency=concurrency, ordered=True)
        results = [result async for result in run]
        assert [result.key for result in results] == ids
        assert isinstance(results.pop(7).error, NotFound)
        shown = [result.value.extension_number for result in results if result.value is not None]
        assert shown == sim.extension_numbers
        with pytest.raises(ValueError, match="concurrency"):
            pbx.users.show_many(ids, concurrency=0)
