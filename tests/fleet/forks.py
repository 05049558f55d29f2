"""A process whose one store is used by several loops and by processes that are forked later.

A program with ``gunicorn --preload`` has its store before the fork, and one with threads or with
``asyncio.run`` for each job has several loops.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial

from portsip_async import PortSIPClient
from portsip_async.redis import RedisTokenStore

from .processes import report, settings

_FORKS = 3


def main(*, url: str, username: str, password: str, store: str) -> None:
    """Call the PBX from loops one after the other, from threads at once, and from forks."""
    shared = RedisTokenStore.from_url(store)

    def new_client() -> PortSIPClient:
        return PortSIPClient(url, username=username, password=password, token_store=shared)

    async def call(client: PortSIPClient) -> None:
        async with client:
            await client.extensions.show("100")

    def call_and_report(kind: str, client: PortSIPClient) -> None:
        try:
            asyncio.run(call(client))
        except Exception as error:
            report(kind=kind, error=repr(error))
        else:
            report(kind=kind, error="")

    clients = [new_client() for _ in range(_FORKS)]
    forks = [_fork(partial(call_and_report, "fork", client)) for client in clients]
    call_and_report("loop", new_client())
    call_and_report("loop", new_client())
    threads = [
        threading.Thread(target=call_and_report, args=["thread", new_client()]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Its store has been used before.
    forks.append(_fork(partial(call_and_report, "late fork", new_client())))
    for pid in forks:
        os.waitpid(pid, 0)
    report(end=True)


def _fork(run: Callable[[], None]) -> int:
    """Run a function in a fork of this process, and return the id of that process."""
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(0)
    return pid


if __name__ == "__main__":
    main(**settings())
