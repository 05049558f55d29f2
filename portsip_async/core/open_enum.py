"""Enums that keep values that the documentation lacks."""

from enum import StrEnum
from typing import Final, Self

# Unknown values that each enum remembers. A PBX has few of them; a hostile server must not be able
# to fill the memory.
_VALUES_KEPT: Final = 128


class OpenEnum(StrEnum):
    """A StrEnum that keeps unknown values."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        kept = str.__new__(cls, value)
        kept._name_ = kept._value_ = value
        # The next lookup finds it in the enum's own table, which is five times as fast.
        if len(cls._value2member_map_) < _VALUES_KEPT:
            cls._value2member_map_[value] = kept
        return kept
