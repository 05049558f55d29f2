"""A few threads for what may block for long: opening and reading the files of uploads.

The event loop's default executor also resolves host names, so a file that hangs (a FIFO, a network
drive) must not hold its threads. Ours start when there is work and end when there is none, so
nobody has to close them. They are daemons: one that hangs in a file does not keep the program from
ending.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

R = TypeVar("R")

THREADS: Final = 8  # at most; with all of them blocked, further uploads wait


class Threads:
    """Runs blocking functions, so many at once and the others in their order."""

    def __init__(self, most: int = THREADS) -> None:
        self._most = most
        self._running = 0
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, function: Callable[[], R]) -> "Future[R]":
        """Run a function in a thread; cancelling the future keeps it from being begun.

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
                    if not self._running:
                        self._jobs.pop()
                        raise
                else:
                    self._running += 1
        return future

    async def run(self, function: Callable[[], R]) -> R:
        """Run a function in a thread and wait for it; a function that began runs on if cancelled.

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
                    # A future of asyncio takes none, so whoever waits for it would wait for ever.
                    failure = RuntimeError("a function in a thread raised StopIteration")
                    failure.__cause__ = error
                    future.set_exception(failure)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del future, function  # an idle moment must not keep a file alive
