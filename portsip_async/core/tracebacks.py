"""Keeps callers' arguments out of tracebacks that show local variables.

Error trackers send the local variables of every frame in an error's traceback. A coroutine that
takes passwords and pins has them among its locals, and so do the functions between it and the core.
From `Call.run` down, secrets are only in objects with a repr that hides them. So `hide_arguments`
removes the frames above the core from whatever is raised.

The frames below the core stay. They show where an error came from, even if it comes from the
application's own code (its credentials, the source of an upload).
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
    """Decorate a function or a coroutine so that its exceptions do not show its arguments."""

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

    A plain ``raise`` afterwards adds no frame. Busy functions call this instead of using the
    decorator, which adds a microsecond to each call.
    """
    trace = error.__traceback__
    while trace is not None and not _is_core(trace.tb_frame):
        trace = trace.tb_next
    error.__traceback__ = trace


def _is_core(frame: FrameType) -> bool:
    return frame.f_code.co_name == _FUNCTION and frame.f_globals.get("__name__") == _MODULE
