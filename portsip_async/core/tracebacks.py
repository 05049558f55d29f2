"""Keeps the arguments of public calls out of tracebacks that show local variables.

Error trackers send the local variables of every frame in a traceback. A coroutine whose arguments
are passwords and pins has them among its locals, and so do the functions between it and the core.
Below `core_entry`, secrets are held only in objects with a repr that hides them.

So `hide_arguments` takes the frames above the core out of the traceback of every error. What stays
says where an unforeseen error came from, and what the application's own code did below the core:
its credentials, or the source of an upload.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import CodeType
from typing import Any, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_ENTRIES: Final[set[CodeType]] = set()


def core_entry(function: F) -> F:
    """Mark a function: `strip_frames` keeps its frame and those below it."""
    _ENTRIES.add(cast(Any, function).__code__)
    return function


def hide_arguments(function: F) -> F:
    """Keep the arguments of a function or coroutine out of the traceback of what it raises."""

    @wraps(function)
    async def coroutine_wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            strip_frames(error)
            raise

    @wraps(function)
    def function_wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            strip_frames(error)
            raise

    return cast(F, coroutine_wrapper if iscoroutinefunction(function) else function_wrapper)


def strip_frames(error: BaseException) -> None:
    """Take the frames above the core out of a traceback, the caller's frame included.

    Call it in an `except` block and end the block with a plain ``raise``, which adds no frame. On
    a busy path this is a microsecond cheaper than `hide_arguments`.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code not in _ENTRIES:
        trace = trace.tb_next
    error.__traceback__ = trace
