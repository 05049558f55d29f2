"""The simulator's connections, so that a stop can cut every one of them.

``web.Server`` gives access only to its handlers. A handler forgets its transport once it has closed
it, but a transport with unsent data stays open until its client has read that data.
"""

import asyncio
from typing import Any

from aiohttp import web


class ConnectionServer(web.Server):
    """A ``web.Server`` that keeps the transports of its connections until they are lost."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Keep a transport."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget a transport."""
        super().connection_lost(handler, exc)
        self._transports.pop(handler, None)

    def abort(self) -> None:
        """Cut all connections; what is unsent is lost."""
        for transport in list(self._transports.values()):
            transport.abort()

    async def wait_ended(self) -> None:
        """Wait until all connections are lost and their tasks have ended."""
        # A cut connection needs a few turns of the loop, but no time.
        while self._transports or self.connections:  # noqa: ASYNC110 - no event covers both
            await asyncio.sleep(0)
