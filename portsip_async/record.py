"""The base of every public structure: immutable, cheap, with a repr that hides secrets."""

from collections.abc import Mapping
from typing import Any

import msgspec

from .redact import HIDDEN, is_secret, scrub


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A struct whose repr leaves out what is None and shows no secret.

    In what is sent, a field that is None is left out.
    """

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown: list[tuple[str, Any]] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                # A section may be given as a mapping, which has no repr of ours.
                plain = scrub(value) if isinstance(value, Mapping) else value
                shown.append((name, _Hidden() if is_secret(name) else plain))
        return shown


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN
