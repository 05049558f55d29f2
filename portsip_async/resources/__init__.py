"""A thin class per resource, a file each; one coroutine an operation."""

from .account import Account
from .extensions import Extensions
from .greetings import Greetings
from .groups import Groups

__all__ = ["Account", "Extensions", "Greetings", "Groups"]
