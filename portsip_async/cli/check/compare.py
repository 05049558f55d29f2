"""Compare replies with the models, field by field.

Pure. A report can be passed on, so a difference holds no value of a reply, except unknown values of
enumerations. It shows these, and the names of unknown fields, only if they look like names in code:
capitals for values, and no run of digits that might be a telephone number.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any, Final, get_args, get_origin

import msgspec

# Fields of any reply that say how it went.
_ENVELOPE: Final = frozenset({"err_code", "msg", "message"})
_FIELD: Final = re.compile(r"(?!.*\d{3})[A-Za-z_][A-Za-z0-9_]{0,39}")
_VALUE: Final = re.compile(r"(?!.*\d{3})[A-Z][A-Z0-9_]{0,39}")
_MAX_UNKNOWN: Final = 20  # unknown fields of one object that are named
_TYPE_NAMES: Final = {
    str: "text",
    datetime: "text",
    bool: "boolean",
    int: "number",
    float: "number",
}


class Kind(StrEnum):
    """How a reply differs."""

    UNKNOWN_FIELD = "unknown field"
    MISSING_FIELD = "missing field"
    OTHER_TYPE = "other type"
    UNKNOWN_VALUE = "unknown value"


class Difference(msgspec.Struct, frozen=True):
    """One difference between replies and their model."""

    kind: Kind
    where: str  # the path of the field, such as "extensions[].status"
    detail: str = msgspec.field(name="told")  # what was found, such as "text, not number"
    times: int  # how many objects differ
    of: int  # how many objects were compared


class Comparison:
    """Compares the replies of one operation with its model."""

    def __init__(self, model: type[Any]) -> None:
        """Store the model that the replies should fit."""
        self._model = model
        self._found: Counter[tuple[Kind, str, str]] = Counter()
        # By the path of an object: how many there were, and which unknown fields were named.
        self._objects: Counter[str] = Counter()
        self._unknown: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, reply: object) -> None:
        """Compare a reply."""
        self._compare(reply, self._model, "")

    def differences(self) -> list[Difference]:
        """List all differences, sorted by path."""
        found = [
            Difference(kind, path or "the reply", detail, times, self._objects[_parent(path)] or 1)
            for (kind, path, detail), times in self._found.items()
        ]
        return sorted(found, key=lambda one: (one.where, one.kind, one.detail))

    def _compare(self, value: object, kind: Any, path: str) -> None:
        """Compare a value with the type of its field; None is not an alternative in replies."""
        alternatives = (kind,) if get_origin(kind) is tuple else get_args(kind) or (kind,)
        wanted, *others = [one for one in alternatives if one is not NoneType]
        if others:
            return  # a union, which no field that matters is
        if get_origin(wanted) is tuple:
            self._compare_list(value, get_args(wanted)[0], path)
        elif not isinstance(wanted, type):
            return
        elif issubclass(wanted, msgspec.Struct):
            self._compare_object(value, wanted, path)
        elif issubclass(wanted, StrEnum):
            self._compare_enum(value, wanted, path)
        elif not _fits(value, str if wanted is datetime else wanted):
            self._note_type(value, _TYPE_NAMES.get(wanted, wanted.__name__), path)

    def _compare_list(self, value: object, kind: Any, path: str) -> None:
        if isinstance(value, Sequence) and not isinstance(value, str):
            for item in value:
                self._compare(item, kind, f"{path}[]")
            return
        self._note_type(value, "list", path)
        if isinstance(value, Mapping):  # one bare object, as in the vendor's sample
            self._compare(value, kind, f"{path}[]")

    def _compare_enum(self, value: object, kind: type[StrEnum], path: str) -> None:
        if not isinstance(value, str):
            self._note_type(value, "text", path)
        elif value not in list(kind):
            shown = value if _VALUE.fullmatch(value) else f"a text of {len(value)} letters"
            self._found[Kind.UNKNOWN_VALUE, path, shown] += 1

    def _compare_object(self, value: object, model: type[msgspec.Struct], path: str) -> None:
        if not isinstance(value, Mapping):
            self._note_type(value, "object", path)
            return
        self._objects[path] += 1
        aliases: Mapping[str, Sequence[str]] = getattr(model, "reply_aliases", {})
        optional: frozenset[str] = getattr(model, "reply_may_lack", frozenset())
        # Compare the fields of the model, or note that they are missing.
        known = set(_ENVELOPE)
        for field in msgspec.structs.fields(model):
            name = field.encode_name
            if name in _ENVELOPE:
                continue
            known.add(name)
            if name in value:
                self._compare(value[name], field.type, _child(path, name))
                continue
            if name not in optional:
                self._found[Kind.MISSING_FIELD, _child(path, name), ""] += 1
            # The SDK reads some fields under other names too.
            for alias in aliases.get(name, ()):
                if alias in value:
                    known.add(alias)
                    detail = f"stands for {name}"
                    self._found[Kind.UNKNOWN_FIELD, _child(path, alias), detail] += 1
                    self._compare(value[alias], field.type, _child(path, alias))
        # Note the fields that the model lacks.
        for name in value:
            if name not in known:
                self._note_unknown(str(name), value[name], path)

    def _note_unknown(self, name: str, value: object, path: str) -> None:
        named = self._unknown[path]
        if _FIELD.fullmatch(name) and (name in named or len(named) < _MAX_UNKNOWN):
            named.add(name)
        else:
            name = "(name withheld)"
        self._found[Kind.UNKNOWN_FIELD, _child(path, name), _type_name(value)] += 1

    def _note_type(self, value: object, wanted: str, path: str) -> None:
        self._found[Kind.OTHER_TYPE, path, f"{_type_name(value)}, not {wanted}"] += 1


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _type_name(value: object) -> str:
    """Name the type of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "list"
    return _TYPE_NAMES.get(type(value), "text")
