"""Follows the statuses of many PBXes, in several processes that share a Redis.

Start with `Fleet`. It needs the extra ``fleet``.
"""

try:
    import docket as _docket
except ModuleNotFoundError as _error:
    if (_error.name or "").split(".")[0] not in ("docket", "redis"):
        raise
    raise ModuleNotFoundError(
        "a fleet needs an extra: pip install 'portsip_async[fleet]'", name=_error.name
    ) from None
else:
    del _docket

from .events import (
    FleetChange,
    FleetEvent,
    FleetOutage,
    FleetResync,
    FleetStatus,
    GroupStatus,
    PBXStatus,
)
from .fleet import Fleet

__all__ = [
    "Fleet",
    "FleetChange",
    "FleetEvent",
    "FleetOutage",
    "FleetResync",
    "FleetStatus",
    "GroupStatus",
    "PBXStatus",
]
