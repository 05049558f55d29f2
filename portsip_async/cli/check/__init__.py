"""``portsip-async check``: how a real PBX differs from what we know, as a report to pass on."""

from .command import check

__all__ = ["check"]
