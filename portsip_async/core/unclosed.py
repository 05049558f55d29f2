"""Warns about a client that was never closed: which one, and how to close it."""

import asyncio
import warnings
from collections.abc import Callable
from weakref import finalize, ref


class UnclosedWarning:
    """Warns if the core of a client is collected, or the program ends, before `close`.

    A client that sent nothing has nothing to close, so it does not warn.
    """

    def __init__(self, owner: object, client: str) -> None:
        """Store what to warn about.

        Args:
            owner: what lives as long as the client and all its views.
            client: the client, as the warning names it.
        """
        self._owner = ref(owner)
        self._text = (
            f"{client} was never closed: use it in an async with block, or await its close()"
        )
        self._finalizer: finalize[..., object] | None = None

    def opened(self, abandon: Callable[[], object]) -> None:
        """Warn from now on.

        Args:
            abandon: closes the connections at once, without the loop. It must not refer to the
                owner, which would never be collected then.
        """
        owner = self._owner()
        if owner is not None:
            loop = asyncio.get_running_loop()
            # It also runs when the program ends, before Python's modules are torn down.
            self._finalizer = finalize(owner, _warn, self._text, abandon, loop)

    def closed(self) -> None:
        """Don't warn any more."""
        if self._finalizer is not None:
            self._finalizer.detach()


def _warn(text: str, abandon: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
    abandon()
    # A ResourceWarning is not shown by default. asyncio logs this one, as it does for aiohttp.
    loop.call_exception_handler({"message": text})
    warnings.warn(text, ResourceWarning, stacklevel=2)
