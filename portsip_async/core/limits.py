"""How many calls may be under way at once.

What `asyncio.Semaphore` does, but that a place which is free is taken without awaiting anything:
with it a call costs 2 µs less of about 100.
"""

import asyncio
from collections import deque


class Places:
    """A number of places, given out in the order of asking."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        """Tell whether the next to ask will have to wait."""
        return self._free == 0

    def take(self) -> bool:
        """Take a place if one is free."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    async def acquire(self) -> None:
        """Take a place, waiting for one if need be."""
        if self.take():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the place was handed over to one who is gone
            raise

    def release(self) -> None:
        """Hand the place over to who has waited longest, or leave it free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
