"""The simulated PBX of `bench_live` in a process of its own.

It writes its URL to standard output. Then it carries out an order in JSON for each line of standard
input, and writes a line with the result:

- ``{}``: return the counts of v22's requests by operation.
- ``{"changes": 200, "pause": 0.01}``: change the status of so many extensions one after the other,
  and return by number when each change began, in nanoseconds of `time.perf_counter_ns`. All
  processes of a machine share that clock.
"""

import asyncio
import sys
import time
from typing import Any

import msgspec

from portsip_async.simulator import PBXSimulator

from .clients import PASSWORD, USERNAME

_DAY = 86_400.0  # seconds; longer than a run


class _Changes:
    """Changes statuses, so that each is another one than before."""

    def __init__(self, pbx: PBXSimulator) -> None:
        self._pbx = pbx
        self._is_on_call: set[str] = set()

    def prepare(self, numbers: list[str]) -> None:
        """Pin the statuses that change later."""
        for number in numbers:
            self._pbx.set_status(number, "ONLINE")

    async def make(self, numbers: list[str], pause: float) -> dict[str, int]:
        """Change the status of some extensions, and return when."""
        began = {}
        for number in numbers:
            await asyncio.sleep(pause)
            status = "ONLINE" if number in self._is_on_call else "ON_CALL"
            self._is_on_call ^= {number}
            began[number] = time.perf_counter_ns()
            self._pbx.set_status(number, status)
        return began


def _write_line(values: dict[str, Any]) -> None:
    print(msgspec.json.encode(values).decode(), flush=True)


async def serve(extensions: int) -> None:
    """Serve until standard input ends."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    pbx = PBXSimulator(
        extensions=extensions,
        username=USERNAME,
        password=PASSWORD,
        token_lifetime=_DAY,
        status_seconds=0,  # nothing changes by itself
    )
    changes = _Changes(pbx)
    async with pbx:
        changes.prepare(pbx.extension_numbers)
        _write_line({"url": pbx.url, "domain": pbx.domain})
        while line := await orders.readline():
            order = msgspec.json.decode(line)
            if "changes" in order:
                numbers = pbx.extension_numbers[: order["changes"]]
                _write_line(await changes.make(numbers, order["pause"]))
            else:
                _write_line(dict(pbx.v22.served))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
