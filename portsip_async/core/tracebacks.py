"""Keep what callers pass out of tracebacks that show local variables.

Error trackers send the local variables of every frame in an error's traceback. A coroutine whose
arguments are passwords and pins has them among its locals, and so have the functions that it calls
on the way to the core. From `Call.run` down, secrets are only in objects whose reprs hide them. So
`hide_arguments` removes the frames above the core from whatever is raised.

Little is lost: the way from the public name to the core. An unexpected error keeps the frames that
show where it came from, and so does an error of the application's own code below the core (its
credentials, the source of an upload).
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import FrameType
from typing import Any, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# Where the core begins.
_MODULE: Final = f"{__package__}.call"
_FUNCTION: Final = "run"


def hide_arguments(function: F) -> F:
    """Decorate a function or a coroutine: what it raises shows none of its arguments."""

    @wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            strip_frames(error)
            raise

    @wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            strip_frames(error)
            raise

    return cast(F, coroutine if iscoroutinefunction(function) else plain)


def strip_frames(error: BaseException) -> None:
    """Remove the frames above the core, including that of the ``except`` block that calls this.

    A plain ``raise`` afterwards adds none. Busy functions call this instead of being decorated,
    because a decorated call costs a microsecond.
    """
    trace = error.__traceback__
    while trace is not None and not _is_core(trace.tb_frame):
        trace = trace.tb_next
    error.__traceback__ = trace


def _is_core(frame: FrameType) -> bool:
    return frame.f_code.co_name == _FUNCTION and frame.f_globals.get("__name__") == _MODULE
