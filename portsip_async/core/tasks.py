"""Background tasks: the objects that own them, and the loops that end them.

A client's session owns tasks. So does each loop over a poll, a watch, a bulk run or a paginator:
every ``async for`` is a run of its own, and closing the iterable ends all open runs.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from types import AsyncGeneratorType, MappingProxyType, TracebackType
from typing import Any, NoReturn, Protocol, Self, SupportsIndex, TypeVar, cast
from weakref import finalize

T = TypeVar("T")
Y = TypeVar("Y")


class TaskOwner(Protocol):
    """Starts background tasks, and ends them when it closes. A client's session is one."""

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that is cancelled when the owner closes."""
        ...

    def check_open(self) -> None:
        """Check that the owner was not closed.

        Raises:
            ClientClosed: it was.
        """
        ...


class CleanUpOwner(TaskOwner, Protocol):
    """A `TaskOwner` that also starts tasks for which it waits when it closes."""

    def start_clean_up(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that the owner waits for when it closes; it must limit its own time."""
        ...


class NotCopyable:
    """A base class for objects that hold connections, tasks and a token, and can't be copied.

    A shallow copy would share them with the original, and a deep copy could not have its own.
    """

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse copy, deepcopy and pickle, all of which call this.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"{type(self).__name__} can't be copied or pickled: it holds connections and a token. "
            "Create another PortSIPClient, or use with_options() for other options"
        )


class Run(Protocol):
    """One loop over an iterable, as the iterable sees it.

    Attributes:
        ended: set while the run has no task: before it starts, and after its last task ended.
    """

    ended: asyncio.Event

    def stop(self) -> None:
        """Ask the run to end, even while its consumer waits in another task."""
        ...


class ClosableStream(NotCopyable):
    """An async iterable that ends its loops when it is closed.

    ``async with`` and ``aclose()`` end every open run, with its tasks, before returning.
    """

    # The generators are referenced weakly, so that one that its consumer drops is collected. Python
    # closes it some passes of the loop later. So its run is stopped at once, and kept here until it
    # has ended.
    _runs: Mapping[Run, "finalize[[], AsyncGeneratorType[Any, None]]"] = MappingProxyType({})

    def _track(self, generator: AsyncGenerator[Y, None], run: Run) -> AsyncGenerator[Y, None]:
        """Remember a run that starts, and return its generator."""
        still_open = {
            run: reference
            for run, reference in self._runs.items()
            if reference.alive or not run.ended.is_set()
        }
        reference = finalize(cast("AsyncGeneratorType[Y, None]", generator), run.stop)
        reference.atexit = False
        self._runs = {**still_open, run: reference}
        return generator

    def _state(self) -> str:
        """Return the end of a repr, by whether a loop is open."""
        return ", running>" if any(not run.ended.is_set() for run in self._runs) else ">"

    async def aclose(self) -> None:
        """End every open run. A loop in another task ends as if it had reached a ``break``.

        New loops can be started afterwards.
        """
        runs = list(self._runs.items())
        # Stop all of them first, so that they end at the same time.
        for run, _ in runs:
            run.stop()
        for run, reference in runs:
            alive = reference.peek()
            generator = None if alive is None else alive[0]
            if generator is None or generator.ag_running:
                # Python or another task closes this generator.
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
