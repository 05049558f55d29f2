"""An event loop with a virtual clock. The clock stops during work and jumps when there is none.

Timeouts, deadlines and pauses of many seconds take almost no real time, and they are exact. The
load of the machine doesn't affect this clock.
"""

import asyncio
import selectors
import socket
from typing import Any

# After this many real seconds without an event on any socket, no event is in progress. Loopback
# needs far less, and all events of a test come from this process.
PATIENCE = 0.005


class _Selector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(min(timeout, PATIENCE))
        if not events:
            self.now += timeout
        return events


class ImpatientLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to its next timer as soon as it is idle.

    Attributes:
        names: the known host names and their addresses. No resolver is asked for others.
    """

    def __init__(self) -> None:
        self._virtual = _Selector()
        self.names: dict[str, str] = {}
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        address = (self.names[host], port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
