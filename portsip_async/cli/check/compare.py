"""Where replies differ from the models, field by field.

Pure. Nothing that a reply holds goes into a finding but the names of fields and unknown values of
enumerations, and of these only such as look like names of a programmer's: capitals for values, no
run of digits that might be a telephone number.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, Final, get_args, get_origin

import msgspec

__all__ = ["Comparison", "Difference", "Kind"]

# What a reply may say of itself beside what it answers.
_OF_THE_REPLY: Final = frozenset({"err_code", "msg", "message"})
_FIELD: Final = re.compile(r"(?!.*\d{3})[A-Za-z_][A-Za-z0-9_]{0,39}")
_VALUE: Final = re.compile(r"(?!.*\d{3})[A-Z][A-Z0-9_]{0,39}")
_FIELDS_MOST: Final = 20  # unknown fields of one place that are named

Found = tuple["Kind", str, str]


class Kind(StrEnum):
    """How a reply differs."""

    UNKNOWN_FIELD = "unknown field"
    MISSING_FIELD = "missing field"
    OTHER_TYPE = "other type"
    UNKNOWN_VALUE = "unknown value"


class Difference(msgspec.Struct, frozen=True):
    """A way in which replies differ from the model.

    Attributes:
        kind: how.
        where: the place, as ``extensions[].status``.
        told: what stands there, as "text, not number".
        times: in how many objects.
        of: how many objects there were.
    """

    kind: Kind
    where: str
    told: str
    times: int
    of: int


@dataclass(slots=True)
class _Place:
    """What was seen of one place of the replies."""

    objects: int
    unknown: set[str]


class Comparison:
    """Compares the replies of one operation with its model."""

    def __init__(self, model: type[Any]) -> None:
        """Take the model that the replies should fit."""
        self._model = model
        self._found: Counter[Found] = Counter()
        self._places: dict[str, _Place] = {}

    def add(self, reply: object) -> None:
        """Compare a reply."""
        self._value(reply, self._model, "")

    def differences(self) -> list[Difference]:
        """List all differences, in the order of their places."""
        told = [
            Difference(kind, where or "the reply", what, times, self._objects(where))
            for (kind, where, what), times in self._found.items()
        ]
        return sorted(told, key=lambda one: (one.where, one.kind, one.told))

    def _objects(self, where: str) -> int:
        place = self._places.get(where.rpartition(".")[0])
        return place.objects if place is not None else 1

    def _value(self, value: object, kind: Any, where: str) -> None:
        parts = (kind,) if get_origin(kind) is tuple else get_args(kind) or (kind,)
        (one, *others) = [part for part in parts if part is not NoneType]
        if others:
            return  # of several types; no field that matters is
        if get_origin(one) is tuple:
            self._list(value, get_args(one)[0], where)
        elif isinstance(one, type) and issubclass(one, msgspec.Struct):
            self._object(value, one, where)
        elif isinstance(one, type) and issubclass(one, StrEnum):
            self._enum(value, one, where)
        elif isinstance(one, type) and not _fits(value, one):
            self._other_type(value, _NAMES.get(one, one.__name__), where)

    def _list(self, value: object, kind: Any, where: str) -> None:
        if isinstance(value, Sequence) and not isinstance(value, str):
            for item in value:
                self._value(item, kind, f"{where}[]")
            return
        self._other_type(value, "list", where)
        if isinstance(value, Mapping):  # one bare object, as in the vendor's sample
            self._value(value, kind, f"{where}[]")

    def _enum(self, value: object, kind: type[StrEnum], where: str) -> None:
        if not isinstance(value, str):
            self._other_type(value, "text", where)
        elif value not in [member.value for member in kind]:
            shown = value if _VALUE.fullmatch(value) else f"a text of {len(value)} letters"
            self._found[Kind.UNKNOWN_VALUE, where, shown] += 1

    def _object(self, value: object, model: type[msgspec.Struct], where: str) -> None:
        if not isinstance(value, Mapping):
            self._other_type(value, "object", where)
            return
        place = self._places.setdefault(where, _Place(0, set()))
        place.objects += 1
        aliases: Mapping[str, Sequence[str]] = getattr(model, "reply_aliases", {})
        optional: frozenset[str] = getattr(model, "reply_may_lack", frozenset())
        known = set(_OF_THE_REPLY)
        for field in msgspec.structs.fields(model):
            name = field.encode_name
            if name in _OF_THE_REPLY:
                continue
            known.add(name)
            below = f"{where}.{name}".lstrip(".")
            if name in value:
                self._value(value[name], field.type, below)
                continue
            if name not in optional:
                self._found[Kind.MISSING_FIELD, below, ""] += 1
            for alias in aliases.get(name, ()):
                if alias in value:
                    known.add(alias)
                    said = f"stands for {name}"
                    self._found[Kind.UNKNOWN_FIELD, f"{where}.{alias}".lstrip("."), said] += 1
                    self._value(value[alias], field.type, f"{where}.{alias}".lstrip("."))
        for name in value:
            if name not in known:
                self._unknown(str(name), value[name], place, where)

    def _unknown(self, name: str, value: object, place: _Place, where: str) -> None:
        named = bool(_FIELD.fullmatch(name)) and (
            name in place.unknown or len(place.unknown) < _FIELDS_MOST
        )
        if named:
            place.unknown.add(name)
        shown = name if named else "(name withheld)"
        below = f"{where}.{shown}".lstrip(".")
        self._found[Kind.UNKNOWN_FIELD, below, _name_of(value)] += 1

    def _other_type(self, value: object, wanted: str, where: str) -> None:
        self._found[Kind.OTHER_TYPE, where, f"{_name_of(value)}, not {wanted}"] += 1


_NAMES: Mapping[type, str] = {str: "text", bool: "boolean", int: "number", float: "number"}


def _fits(value: object, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        wanted = (int, float) if kind is float else int
        return isinstance(value, wanted) and not isinstance(value, bool)
    return isinstance(value, kind)


def _name_of(value: object) -> str:
    """Name the kind of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "list"
    return _NAMES.get(type(value), "text")
