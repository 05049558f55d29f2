"""A token store in memory, on the clock of the event loop, with faults."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from portsip_async import SharedLogin, TokenTurn


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Entry:
    data: bytes
    until: float


class MemoryStore:
    """Shares tokens between the clients of one loop, which stand for processes.

    Attributes:
        entries: what is shared, by account.
        holder: which turn holds; 0 if none. A test changes it to take the turn away.
        turns: how many turns there were.
        before: called before each step, with its name: load, turn, put, end. What it raises or
            waits for, the step does.
        in_turn: an event that is set during each turn.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.holder = 0
        self.turns = 0
        self.before: Callable[[str], Awaitable[Any]] | None = None
        self.in_turn = asyncio.Event()
        self.puts: list[SharedLogin] = []
        self._free = asyncio.Condition()

    async def step(self, name: str) -> None:
        if self.before is not None:
            await self.before(name)

    async def load(self, account: str) -> SharedLogin | None:
        await self.step("load")
        entry = self.entries.get(account)
        if entry is None or now() >= entry.until:
            return None
        return SharedLogin.from_json(entry.data).replace(seconds=entry.until - now())

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[TokenTurn]:
        await self.step("turn")
        async with self._free:
            await self._free.wait_for(lambda: not self.holder)
            self.turns += 1
            mine = self.holder = self.turns
        self.in_turn.set()
        try:
            yield _Turn(self, account, mine)
        finally:
            self.in_turn.clear()
            await self.step("end")
            await self._leave(mine)

    async def _leave(self, turn: int) -> None:
        async with self._free:
            if self.holder == turn:
                self.holder = 0
            self._free.notify_all()

    async def lose(self) -> None:
        """End the turn of whoever has it, as if its process had been stopped."""
        await self._leave(self.holder)

    @property
    def shared(self) -> SharedLogin | None:
        """What is shared of the only account."""
        live = [entry for entry in self.entries.values() if now() < entry.until]
        return SharedLogin.from_json(live[0].data) if live else None


class _Turn:
    def __init__(self, store: MemoryStore, account: str, turn: int) -> None:
        self._store = store
        self._account = account
        self._turn = turn

    async def put(self, login: SharedLogin) -> bool:
        await self._store.step("put")
        if self._store.holder != self._turn:
            return False
        self._store.puts.append(login)
        self._store.entries[self._account] = Entry(login.to_json(), now() + login.seconds)
        return True
