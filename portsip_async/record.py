"""The base of every public structure: immutable, cheap, with a repr that hides secrets."""

from collections.abc import Mapping
from typing import Any

import msgspec

from .redact import HIDDEN, is_secret, scrub


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct with a repr that shows no secret and leaves out fields that are None.

    Fields that are None are left out of requests too.
    """

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown: list[tuple[str, Any]] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                # Callers may pass a section as a mapping, and its own repr would show secrets.
                plain = scrub(value) if isinstance(value, Mapping) else value
                shown.append((name, _Hidden() if is_secret(name) else plain))
        return shown


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN
