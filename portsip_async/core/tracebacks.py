"""What callers pass stays out of tracebacks that show local variables.

Error trackers send the locals of every frame that hangs on an error. A coroutine whose arguments
are passwords and pins has them among its locals, and so have those that it calls on the way to the
core; from `Session._run` down, secrets are held in objects only, whose reprs hide them. So `sealed`
takes the frames above the core off whatever is raised. Nothing is lost by it but the way from the
public name to the core: an error that nobody foresaw keeps the frames that tell where it came from,
and so does one of the application's own code under the core (its credentials, an upload's source).
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar, cast

from .session import Session

F = TypeVar("F", bound=Callable[..., Any])

_CORE: Final = Session._run.__code__


def sealed(function: F) -> F:
    """Keep the arguments of a function or a coroutine out of the traceback of what it raises."""

    @wraps(function)
    async def sealed_coroutine(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            cut(error)
            raise

    @wraps(function)
    def sealed_function(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            cut(error)
            raise

    return cast(F, sealed_coroutine if iscoroutinefunction(function) else sealed_function)


def cut(error: BaseException) -> None:
    """Take the frames above the core off, that of the `except` which calls this included.

    A plain ``raise`` after it puts none on. It stands in the place of `sealed` where that would
    cost a busy path a microsecond.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not _CORE:
        trace = trace.tb_next
    error.__traceback__ = trace
