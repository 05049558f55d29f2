"""``portsip-async demo``: its play, its books, and how they are printed."""

from .command import demo

__all__ = ["demo"]
