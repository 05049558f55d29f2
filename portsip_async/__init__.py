"""Async SDK for the PortSIP PBX REST API.

Start with `PortSIPClient`. All types that it takes, returns or raises are here.

The first use of a name loads all of them. Importing the package alone is fast: pytest does it at
every start to load the plugin, and the command line does it to print its help.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import public
    from .classic import models
    from .classic.models import *  # noqa: F403 - the names in models.__all__
    from .public import *  # noqa: F403 - the names in public.__all__

    __all__ = ["__version__"]
    __all__ += public.__all__
    __all__ += models.__all__
else:
    from importlib import import_module

    def __getattr__(name: str) -> object:
        # Python and its tools look for many special names, which must not load everything.
        if name == "__all__" or not name.startswith("__"):
            modules = [import_module(each, __name__) for each in (".public", ".classic.models")]
            names = {each: getattr(module, each) for module in modules for each in module.__all__}
            globals().update(names, __all__=["__version__", *names])
        if name in globals():
            return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
