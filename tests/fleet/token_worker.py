"""A process with one client, as a web service has several of them. It follows the test's orders.

It reports ``ready``, and then what happens: ``turn`` when it begins a turn at the store, ``put``
with whether the store accepted an outcome, and ``warning`` with the text of a warning that is
logged. These are its orders:

- ``go``: call the PBX in so many ``loops`` at once, for so many seconds, or until ``stop`` if it is
  None; at the end it reports ``calls``, ``seconds``, ``longest`` and ``errors``;
- ``count``: report the number of ``counted`` calls so far;
- ``stop``: end the calls.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cryptography.fernet import Fernet

from portsip_async import PortSIPClient, SharedLogin, TokenStore, TokenTurn, v22
from portsip_async.redis import RedisTokenStore

from .processes import orders, report, settings

_log = logging.getLogger(__name__)


class ReportedTurn:
    """A turn that reports what became of each outcome that is put."""

    def __init__(self, turn: TokenTurn) -> None:
        self._turn = turn

    async def put(self, login: SharedLogin) -> bool:
        accepted = await self._turn.put(login)
        report(put=accepted)
        return accepted


class ReportedTurns:
    """A token store that reports each turn as it begins."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store

    async def load(self, account: str) -> SharedLogin | None:
        return await self._store.load(account)

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[TokenTurn]:
        async with self._store.turn(account) as turn:
            report(turn=True)
            yield ReportedTurn(turn)


class Warnings(logging.Handler):
    """Reports warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        report(warning=self.format(record))


class Worker:
    """The client and its calls.

    Attributes:
        calls: how many calls succeeded.
        errors: how often each class of error was raised.
        longest: seconds of the longest call that wasn't paused.
    """

    def __init__(self, client: PortSIPClient | v22.PortSIPClient, *, pause: float) -> None:
        self.calls = 0
        self.errors: Counter[str] = Counter()
        self.longest = 0.0
        self._client = client
        self._pause = pause

    async def run(self, loops: int, seconds: float | None) -> None:
        """Call until the time is over, or until cancelled, and report."""
        self.calls, self.longest = 0, 0.0
        self.errors.clear()
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for _ in range(loops):
                    group.create_task(self._loop())
        except (TimeoutError, asyncio.CancelledError):
            elapsed = time.monotonic() - began
            report(
                calls=self.calls, seconds=elapsed, longest=self.longest, errors=dict(self.errors)
            )

    async def _loop(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._client.extensions.show("100")
            except Exception as error:
                self.errors[type(error).__name__] += 1
                _log.warning("%s: %s", type(error).__name__, error)
                await asyncio.sleep(0.02)
            else:
                self.calls += 1
                self.longest = max(self.longest, time.monotonic() - began)
            await asyncio.sleep(self._pause)


async def _main(
    *,
    generation: str,
    url: str,
    username: str,
    password: str,
    store: str | None = None,
    key: str | None = None,
    pause: float = 0.0,
) -> None:
    """Follow the orders.

    Args:
        generation: "classic" or "v22".
        url: of the PBX.
        username: at the PBX.
        password: at the PBX.
        store: the URL of a Redis; None for no store.
        key: of a Fernet cipher; None for no cipher.
        pause: seconds of each loop between two calls.
    """
    logging.getLogger("portsip_async").addHandler(Warnings(logging.WARNING))
    options: dict[str, Any] = {"username": username, "password": password}
    if store is not None:
        cipher = None if key is None else Fernet(key)
        options["token_store"] = ReportedTurns(RedisTokenStore.from_url(store, cipher=cipher))
    make: type[PortSIPClient] | type[v22.PortSIPClient] = (
        PortSIPClient if generation == "classic" else v22.PortSIPClient
    )
    async with make(url, **options) as client:
        worker = Worker(client, pause=pause)
        running: asyncio.Task[None] | None = None
        report(ready=True)
        async for order in orders():
            if "go" in order:
                running = asyncio.create_task(worker.run(order["loops"], order["go"]))
            if "count" in order:
                report(counted=worker.calls)
            if "stop" in order and running is not None:
                running.cancel()
                await running


if __name__ == "__main__":
    asyncio.run(_main(**settings()))
