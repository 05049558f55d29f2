"""Async SDK for the PortSIP PBX REST API.

Start with `PortSIPClient`. All types that it takes, returns or raises are here.

The first use of a name loads all of them. Importing the package alone is fast: pytest imports it at
every start to load the plugin, and the command line imports it to print its help.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import public
    from .classic import changes, enums, extension_models, models
    from .classic.changes import *  # noqa: F403 - the names in changes.__all__
    from .classic.enums import *  # noqa: F403 - the names in enums.__all__
    from .classic.extension_models import *  # noqa: F403 - the names in extension_models.__all__
    from .classic.models import *  # noqa: F403 - the names in models.__all__
    from .public import *  # noqa: F403 - the names in public.__all__

    __all__ = ["__version__"]
    __all__ += public.__all__
    __all__ += extension_models.__all__
    __all__ += models.__all__
    __all__ += changes.__all__
    __all__ += enums.__all__
else:
    from ._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        ".public",
        ".classic.extension_models",
        ".classic.models",
        ".classic.changes",
        ".classic.enums",
        eager=("__version__",),
        packages=("classic", "v22"),
    )
    del lazy_names
