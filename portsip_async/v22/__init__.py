"""The generation v22 of the PortSIP API: its operations, models, client and resources.

Start with `PortSIPClient`. The types of this generation are here. Those that all generations share,
such as errors, `Timeout` and `Paginator`, are in `portsip_async`.

The first use of a name loads all of them, and nothing of another generation.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import changes, enums, models, public, status_models, user_models
    from .changes import *  # noqa: F403 - the names in changes.__all__
    from .enums import *  # noqa: F403 - the names in enums.__all__
    from .models import *  # noqa: F403 - the names in models.__all__
    from .public import *  # noqa: F403 - the names in public.__all__
    from .status_models import *  # noqa: F403 - the names in status_models.__all__
    from .user_models import *  # noqa: F403 - the names in user_models.__all__

    __all__: list[str] = []
    __all__ += public.__all__
    __all__ += user_models.__all__
    __all__ += status_models.__all__
    __all__ += models.__all__
    __all__ += changes.__all__
    __all__ += enums.__all__
else:
    from .._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__, ".public", ".user_models", ".status_models", ".models", ".changes", ".enums"
    )
    del lazy_names
