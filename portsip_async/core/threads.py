"""A pool of a few threads that open and read the files of uploads, which may block for long.

The event loop's default executor also resolves host names, so files that block (a FIFO, a network
drive) must not occupy its threads. Our threads start when there is work and end when there is none,
so nobody has to close the pool. They are daemons: a program can end while one of them is blocked.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

R = TypeVar("R")

THREADS: Final = 8  # at most; if all of them are blocked, further uploads wait


class Threads:
    """Runs blocking functions in threads, a limited number at once, in the order of `submit`."""

    def __init__(self, most: int = THREADS) -> None:
        self._most = most
        self._running = 0
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, function: Callable[[], R]) -> "Future[R]":
        """Run a function in a thread; if its future is cancelled in time, it does not start.

        Raises:
            RuntimeError: the system has no thread left, and none of ours is running.
        """
        future: Future[R] = Future()
        with self._lock:
            self._jobs.append((future, function))
            if self._running < self._most:
                try:
                    threading.Thread(target=self._work, name="portsip-upload", daemon=True).start()
                except RuntimeError:
                    # With a thread running, the job only waits longer.
                    if not self._running:
                        self._jobs.pop()
                        raise
                else:
                    self._running += 1
        return future

    async def run(self, function: Callable[[], R]) -> R:
        """Run a function in a thread, and return its result.

        If this is cancelled, a function that has started goes on.

        Raises:
            RuntimeError: the system has no thread left, and none of ours is running.
        """
        return await asyncio.wrap_future(self.submit(function))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                future, function = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = function()
                except StopIteration as error:
                    # asyncio's futures refuse a StopIteration, so the upload would wait for ever.
                    failure = RuntimeError("a function in a thread raised StopIteration")
                    failure.__cause__ = error
                    future.set_exception(failure)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, function  # else they keep a file alive until the next job
