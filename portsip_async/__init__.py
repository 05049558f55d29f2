"""Async SDK for the PortSIP PBX REST API.

`PortSIPClient` is where to begin; everything that it takes, answers or raises is named here.

The names are loaded together when the first of them is used: pytest imports this package at each
start, for the plugin's sake, and a command that prints its help needs no client.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import public
    from .public import *  # noqa: F403 - what public.__all__ names

    __all__ = ["__version__"]
    __all__ += public.__all__
else:
    from importlib import import_module

    def __getattr__(name: str) -> object:
        # Python and its tools ask modules for all kinds of special names.
        if name == "__all__" or not name.startswith("__"):
            public = import_module(".public", __name__)
            found = {each: getattr(public, each) for each in public.__all__}
            globals().update(found, __all__=["__version__", *found])
        if name in globals():
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
