"""Call a PBX that allows one login from four clients, with and without a shared token.

    python examples/shared_login.py [redis://localhost/0] [--seconds 5]

Without a URL, the clients share a token in this process. With a URL, each client has a process of
its own. The PBX is simulated.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing import get_context

from portsip_async import AuthenticationError, PortSIPClient, SharedLogin, TokenStore
from portsip_async.simulator import PBXSimulator

CLIENTS = 4
Login = tuple[str, str, str]  # address, user name, password


class MemoryTokenStore:
    """A token store for the clients of one process. It shows what a store has to do."""

    def __init__(self) -> None:
        self._logins: dict[str, tuple[SharedLogin, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def load(self, account: str) -> SharedLogin | None:
        """Return what is shared of an account, and the seconds that it has left."""
        login, until = self._logins.get(account, (None, 0.0))
        left = until - time.monotonic()
        if login is None or left <= 0:
            return None
        return SharedLogin(seconds=left, token=login.token, refusal=login.refusal)

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator["MemoryTurn"]:
        """Wait for the turn, which one client at a time has."""
        async with self._locks.setdefault(account, asyncio.Lock()):
            yield MemoryTurn(self._logins, account)


class MemoryTurn:
    """A turn, which puts the outcome of a renewal."""

    def __init__(self, logins: dict[str, tuple[SharedLogin, float]], account: str) -> None:
        self._logins = logins
        self._account = account

    async def put(self, login: SharedLogin) -> bool:
        """Share a login. A turn of one process can't be lost, so nothing is refused."""
        self._logins[self._account] = login, time.monotonic() + login.seconds
        return True


async def call(pbx_login: Login, seconds: float, store: TokenStore | None) -> tuple[int, int]:
    """Call the PBX all the time; return how many calls succeeded and how many failed."""
    url, username, password = pbx_login
    succeeded = failed = 0
    until = time.monotonic() + seconds
    async with PortSIPClient(url, username=username, password=password, token_store=store) as pbx:
        while time.monotonic() < until:
            try:
                await pbx.extensions.show("101")
            except AuthenticationError:
                failed += 1
            else:
                succeeded += 1
    return succeeded, failed


def call_in_process(pbx_login: Login, seconds: float, redis: str | None) -> tuple[int, int]:
    """Do the same in a process of its own."""
    if redis is None:
        return asyncio.run(call(pbx_login, seconds, None))
    from portsip_async.redis import RedisTokenStore

    return asyncio.run(call(pbx_login, seconds, RedisTokenStore.from_url(redis)))


async def call_from_all(
    pbx_login: Login, seconds: float, redis: str, pool: ProcessPoolExecutor, *, shared: bool
) -> list[tuple[int, int]]:
    """Run all clients at once."""
    if redis.startswith("memory:"):
        store = MemoryTokenStore() if shared else None
        return await asyncio.gather(*(call(pbx_login, seconds, store) for _ in range(CLIENTS)))
    work = partial(call_in_process, pbx_login, seconds, redis if shared else None)
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work) for _ in range(CLIENTS)))


async def main(redis: str, seconds: float) -> None:
    """Compare clients with and without a shared token."""
    with ProcessPoolExecutor(CLIENTS, get_context("spawn")) as pool:
        for name, shared in (
            ("each client with its own token", False),
            ("one token for all clients", True),
        ):
            async with PBXSimulator(extensions=5, quirks=["one_token"]) as simulator:
                login = simulator.url, simulator.username, simulator.password
                counts = await call_from_all(login, seconds, redis, pool, shared=shared)
                logins = simulator.served["account.verify"]
            succeeded, failed = (sum(column) for column in zip(*counts, strict=True))
            print(f"{name}: {succeeded} calls succeeded, {failed} failed, {logins} logins")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Share one login of a PBX.")
    parser.add_argument("url", nargs="?", default="memory://", help="a Redis; default: none")
    parser.add_argument("--seconds", type=float, default=5.0, help="the length of each part")
    options = parser.parse_args()
    asyncio.run(main(options.url, options.seconds))
