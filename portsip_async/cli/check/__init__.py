"""``portsip-async check``: report how a real PBX differs from the SDK's models."""

from .command import check

__all__ = ["check"]
