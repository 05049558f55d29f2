"""Loops over something iterable, each a run of its own, and the ending of those still open."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from types import AsyncGeneratorType, MappingProxyType, TracebackType
from typing import Any, Protocol, Self, TypeVar, cast
from weakref import finalize

from .tasks import NotCopyable

Y = TypeVar("Y")


class Run(Protocol):
    """One loop, as what it loops over sees it.

    Attributes:
        ended: set while it has no task: before it begins, and once all its tasks are through.
    """

    ended: asyncio.Event

    def stop(self) -> None:
        """Ask it to end, even while its consumer waits in another task."""
        ...


class Leavable(NotCopyable):
    """An async iterable whose loops end when they are left.

    ``async with`` and ``aclose()`` end every open run, with its tasks, before returning.
    """

    # Weak, since a generator that its consumer drops must end by itself. Python closes it some
    # ticks later: so its run is told to stop at once, and held here until it has ended.
    _runs: Mapping[Run, "finalize[[], AsyncGeneratorType[Any, None]]"] = MappingProxyType({})

    def _begun(self, generator: AsyncGenerator[Y, None], run: Run) -> AsyncGenerator[Y, None]:
        """Take notice of a run that begins; answers its generator."""
        open_runs = {
            run: held for run, held in self._runs.items() if held.alive or not run.ended.is_set()
        }
        begun = finalize(cast("AsyncGeneratorType[Y, None]", generator), run.stop)
        begun.atexit = False
        self._runs = {**open_runs, run: begun}
        return generator

    async def aclose(self) -> None:
        """End every open run; a loop of another task ends as if it had met a ``break``.

        New loops can be begun afterwards.
        """
        runs = list(self._runs.items())
        for run, _ in runs:
            run.stop()
        for run, held in runs:
            alive = held.peek()
            generator = None if alive is None else alive[0]
            if generator is None or generator.ag_running:
                await run.ended.wait()
            else:
                await generator.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
