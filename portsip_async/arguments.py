"""The checking of numbers and texts that callers pass."""

import math
import re
from enum import Enum
from typing import Final

# What shows nothing, though Python calls it printable.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def integer(name: str, value: object, least: int) -> int:
    """Check a count.

    Raises:
        TypeError: no int; a bool is none.
        ValueError: less than the least.
    """
    if type(value) is int and value >= least:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an integer, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} is at least {least}, not {value}")
    return value


def quantity(name: str, value: object, *, above: float | None = None) -> float:
    """Check a time in seconds, or a rate.

    Args:
        name: the argument's name.
        value: what was passed.
        above: what it must be more than; None: it may be 0.

    Raises:
        TypeError: no number; a bool is none.
        ValueError: negative, endless, or not above `above`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {type(value).__name__}")
    if not 0 <= value < math.inf or (above is not None and value <= above):
        raise ValueError(f"{name} is {value}, which is out of its bounds")
    return float(value)


def plain_text(text: str) -> str:
    """Return the text of a str subclass as a plain str, and an enum's value.

    A subclass may override ``__str__``, as every ``(str, Enum)`` does, so it is not asked.
    """
    if type(text) is str:
        return text
    value = text.value if isinstance(text, Enum) else text
    return str.__str__(value) if isinstance(value, str) else str(value)


def is_visible(text: str) -> bool:
    """Check whether every character shows: none is a control, a format or a zero-width one."""
    return text.isprintable() and _INVISIBLE.search(text) is None
