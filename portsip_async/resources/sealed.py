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
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from ..core.session import Session

F = TypeVar("F", bound=Callable[..., Any])

_CORE: Final = Session._run.__code__


def sealed(function: F) -> F:
    """Keep the arguments of a function or a coroutine out of the traceback of what it raises."""

    @wraps(function)
    async def sealed_coroutine(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except BaseException as error:
            error.__traceback__ = _from_the_core(error.__traceback__)
            raise  # which puts no frame of this coroutine on

    @wraps(function)
    def sealed_function(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            error.__traceback__ = None
            raise

    return cast(F, sealed_coroutine if iscoroutinefunction(function) else sealed_function)


def _from_the_core(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code is not _CORE:
        trace = trace.tb_next
    return trace
