"""An event loop whose clock stands still while anything happens, and leaps when nothing does.

Timeouts, deadlines and pauses of many seconds pass in no time and to the exact second, however slow
the machine is: its hurry or its load is not on this clock.
"""

import asyncio
import selectors
import socket
from typing import Any

# Real seconds without an event on any socket after which none is under way. Loopback needs far
# less; what a test waits for comes from this process alone.
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
    """Leaps to its next timer as soon as nothing else is to be done.

    Attributes:
        names: host names and their addresses; there are no others, and nobody is asked.
    """

    def __init__(self) -> None:
        self._leaping = _Selector()
        self.names: dict[str, str] = {}
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        address = (self.names[host], port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]
