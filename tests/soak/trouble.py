"""What breaks: one thing every few seconds."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

from .nginx import Nginx
from .pbx import PBX

# Faults of the simulated PBX that last for a while.
_FAULTS = {
    "30 % 500 or 503": {"server_error": 0.3},
    "10 % dropped, 10 % cut short": {"dropped": 0.1, "truncated": 0.1},
    "latency": {"latency": 0.3},
}
# Faults of the web socket, with the orders to the simulated PBX. A silent socket stays open, and a
# check by REST finds it.
_SOCKET_FAULTS = {
    "sockets cut": "cut",
    "sockets silenced": "silence",
    "handshakes refused": "refuse",
    "rubbish on the sockets": "rubbish",
}
_SPELL = 2.0  # seconds that a fault lasts
_DOWNTIME = (0.0, 1.0)  # seconds from a kill of the PBX to its next start
_PAUSE = (0.5, 1.5)  # seconds between two faults


class Trouble:
    """Break each thing once a round, in random order.

    Attributes:
        count: how often each thing was broken.
        latest: what was broken last.
    """

    def __init__(self, pbx: PBX, nginx: Nginx, seed: int) -> None:
        self.count: Counter[str] = Counter()
        self.latest = "nothing broken yet"
        self._pbx = pbx
        self._nginx = nginx
        self._random = random.Random(seed)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Break things until `stop`."""
        others = ("PBX killed", "nginx reloaded", "connections cut", "tokens revoked")
        kinds = [*_FAULTS, *_SOCKET_FAULTS, *others]
        while True:
            for kind in self._random.sample(kinds, len(kinds)):
                await self._pause(self._random.uniform(*_PAUSE))
                if self._stopping.is_set():
                    return
                self.latest = kind
                await self._break(kind)
                self.count[kind] += 1

    def stop(self) -> None:
        """End the present fault; `run` returns soon."""
        self._stopping.set()

    async def _break(self, kind: str) -> None:
        match kind:
            case "PBX killed":
                self._pbx.close()
                await self._pause(self._random.uniform(*_DOWNTIME))
                await self._pbx.start()
            case "nginx reloaded":
                self._nginx.reload()
            case "connections cut":
                self._nginx.cut_connections()
            case "tokens revoked":
                self._pbx.order(revoke=True)
            case _ if kind in _SOCKET_FAULTS:
                self._pbx.order(socket=_SOCKET_FAULTS[kind])
            case _:
                self._pbx.order(faults=_FAULTS[kind])
                await self._pause(_SPELL)
                self._pbx.order(faults={})

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
