"""The classic generation of the PortSIP API: its operations, models, client and resources.

`PortSIPClient` is the one of `portsip_async`, for code that uses both generations. All other public
names are in `portsip_async`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import PortSIPClient

    __all__ = ["PortSIPClient"]
else:
    from .._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, ".client")
    del lazy_names
