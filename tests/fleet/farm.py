"""Many simulated PBXes whose statuses change at random, in this process or in one of their own.

The farm sets every status itself and numbers it, so it knows the truth and when it came about. It
also notes when each PBX was polled.
"""

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from portsip_async.simulator import Faults, PBXSimulator

from .chains import View, phone_of
from .processes import report, settings

STEP = 0.05  # seconds between two rounds of changes, and the precision of the times of polls
TOKEN_LIFETIME = 30.0  # seconds

_STATUSES = ("OFFLINE", "ONLINE", "RINGING", "ON_CALL")
_POLL = "extensions.status"


class Truth(msgspec.Struct):
    """What a farm knows, with times of the machine's monotonic clock in seconds.

    Attributes:
        views: by PBX, the statuses of its extensions.
        set_at: by number, when a status was set.
        polls: by PBX, when a request for statuses was carried out.
        tokens: by PBX, how many tokens it issued.
    """

    views: dict[str, View]
    set_at: dict[int, float]
    polls: dict[str, list[float]]
    tokens: dict[str, int]

    @classmethod
    def join(cls, truths: Iterable["Truth"]) -> "Truth":
        """Return what several farms know."""
        whole = cls({}, {}, {}, {})
        for truth in truths:
            for name in cls.__struct_fields__:
                getattr(whole, name).update(getattr(truth, name))
        return whole

    def gaps(self, start: float, end: float) -> list[tuple[float, float, str]]:
        """Return each pause between two polls of a PBX, its beginning and the PBX, longest first.

        A pause counts if it ends between the two times. The last one of a PBX ends now.
        """
        found = []
        for pbx, polls in self.polls.items():
            pauses = itertools.pairwise([*polls, time.monotonic()])
            found += [(after - at, at, pbx) for at, after in pauses if start <= after < end]
        return sorted(found, reverse=True)


class Farm:
    """The PBXes.

    Attributes:
        simulators: by name, the PBXes.
        truth: what the farm knows.
        rate: changes of status in a second, in the whole farm; 0 makes it quiet.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        extensions: int,
        rate: float,
        password: str,
        first: int = 1,
        latency: float = 0.0,
        seed: int = 0,
        token_lifetime: float = TOKEN_LIFETIME,
        quirks: Sequence[str] = ("one_token",),
    ) -> None:
        """Create the PBXes; ``first`` is the number of the first status that is set.

        A PBX allows one token, so the workers have to share it. Each of its replies is late by the
        latency, in seconds.
        """
        self.rate = rate
        self.simulators = {
            name: PBXSimulator(
                extensions=extensions,
                groups=1,
                seed=at,
                password=password,
                status_seconds=0,
                faults=Faults(latency=latency),
                token_lifetime=token_lifetime,
                quirks=quirks,
            )
            for at, name in enumerate(names)
        }
        self.truth = Truth({}, {}, {name: [] for name in names}, {})
        self._next = first
        self._random = random.Random(seed)
        self._stack = AsyncExitStack()
        for name, simulator in self.simulators.items():
            for number in simulator.extension_numbers:
                self.change(name, number)

    async def __aenter__(self) -> Self:
        for simulator in self.simulators.values():
            await self._stack.enter_async_context(simulator)
        changing = asyncio.create_task(self._change())
        self._stack.callback(changing.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def urls(self) -> dict[str, str]:
        """The address of each PBX."""
        return {name: simulator.url for name, simulator in self.simulators.items()}

    def change(self, name: str, number: str) -> None:
        """Give an extension another status."""
        status = self._random.choice(_STATUSES)
        phone = phone_of(self._next)
        self.simulators[name].set_status(number, status, user_agent=phone)
        self.truth.views.setdefault(name, {})[number] = status, phone
        self.truth.set_at[self._next] = time.monotonic()
        self._next += 1

    def look(self) -> Truth:
        """Return what the farm knows now."""
        self._note_polls()
        self.truth.tokens = {
            name: simulator.tokens_issued for name, simulator in self.simulators.items()
        }
        return self.truth

    async def _change(self) -> None:
        names = list(self.simulators)
        due = 0.0
        while True:
            await asyncio.sleep(STEP)
            self._note_polls()
            due += self.rate * STEP
            while due >= 1:
                due -= 1
                name = self._random.choice(names)
                self.change(name, self._random.choice(list(self.truth.views[name])))

    def _note_polls(self) -> None:
        now = time.monotonic()
        for name, simulator in self.simulators.items():
            polls = self.truth.polls[name]
            polls += [now] * (simulator.acted[_POLL] - len(polls))


# What follows runs in a process of its own.


async def _serve() -> None:
    """Report the addresses, and follow orders until standard input ends."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    async with Farm(**settings()) as farm:
        report(urls=farm.urls)
        while line := await orders.readline():
            await _follow(farm, json.loads(line))


async def _follow(farm: Farm, order: dict[str, Any]) -> None:
    """Set the rate of changes, stop or start PBXes, or report what was polled or the truth."""
    farm.rate = order.get("rate", farm.rate)
    for name in order.get("stop", ()):
        await farm.simulators[name].stop()
    for name in order.get("start", ()):
        await farm.simulators[name].start()
    if "polled" in order:
        report(polled=all(farm.truth.polls.values()))
    if "look" in order:
        truth = msgspec.to_builtins(farm.look(), str_keys=True)
        report(truth=truth)


if __name__ == "__main__":
    asyncio.run(_serve())
