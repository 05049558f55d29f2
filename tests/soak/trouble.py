"""What goes wrong, one thing every few seconds."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .pbx import PBX
from .proxy import Proxy

_SPELL = 2.0  # seconds that an overload, a slowness, or a bad wire lasts
_DOWN = (0.0, 1.0)  # seconds that a killed PBX stays away, its start not counted
_BETWEEN = (0.8, 2.5)  # seconds between the end of one trouble and the next


class Trouble:
    """Every kind in each round, in an order by chance.

    Attributes:
        count: how often each kind came.
        latest: the latest one.
    """

    def __init__(self, pbx: PBX, proxy: Proxy, chance: random.Random) -> None:
        self.count: Counter[str] = Counter()
        self.latest = "none yet"
        self._pbx = pbx
        self._proxy = proxy
        self._chance = chance
        self._stopping = asyncio.Event()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "nginx reloaded": self._reload,
            "PBX killed": self._kill,
            "connections cut": self._cut,
            "latency": self._latency,
            "tokens revoked": self._revoke,
            "30 % 503": self._overload,
        }

    async def go_on(self) -> None:
        """Make trouble until `stop`."""
        while not self._stopping.is_set():
            for kind in self._chance.sample(list(self._kinds), len(self._kinds)):
                await self._pause(self._chance.uniform(*_BETWEEN))
                if self._stopping.is_set():
                    return
                self.latest = kind
                await self._kinds[kind]()
                self.count[kind] += 1

    def stop(self) -> None:
        """End the trouble that is, and make no more; `go_on` returns soon."""
        self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _reload(self) -> None:
        self._proxy.reload()

    async def _kill(self) -> None:
        self._pbx.kill()
        await self._pause(self._chance.uniform(*_DOWN))
        await self._pbx.start()

    async def _cut(self) -> None:
        self._proxy.cut()
        self._pbx.tell(faults={"dropped": 0.1, "truncated": 0.1})
        await self._pause(_SPELL)
        self._pbx.tell(faults={})

    async def _latency(self) -> None:
        self._pbx.tell(faults={"latency": self._chance.uniform(0.1, 0.5)})
        await self._pause(_SPELL)
        self._pbx.tell(faults={})

    async def _revoke(self) -> None:
        self._pbx.tell(revoke=True)

    async def _overload(self) -> None:
        self._proxy.overload(True)
        await self._pause(_SPELL)
        self._proxy.overload(False)
