"""Decoding of replies: from bytes to the type that an endpoint declares.

A reply as documented is decoded by msgspec alone. If that fails, the reply is parsed leniently and
repaired field by field. The readers that do so are built when a type first needs them.

A repair accepts another form of a value: a number where text is expected, text where a number or a
boolean is expected, one object instead of a list of one, null instead of an absent field. It drops
a field only if the type has a default for it or allows null. It never adds or drops a row.

No error raised here contains anything from the reply. The errors of msgspec and of the codecs
quote values, so they are dropped before ours is raised, and never chained to it.
"""

import codecs
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from inspect import isclass
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import inspect

T = TypeVar("T")
_Reader = Callable[[Any], Any]

# What msgspec, enums and the constructors of a caller's own types raise for a wrong value.
_REFUSALS = (ValueError, TypeError, OverflowError, RecursionError)

# An escape of half a surrogate pair. Group 1 is what must stay: an escaped backslash (the text
# after it is not an escape), or a whole pair.
_HALF_PAIR = re.compile(
    r"(\\\\|\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})"
    r"|\\u[dD][89a-fA-F][\da-fA-F]{2}"
)
# Python's int() and float() also accept "1_000", "nan" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# The path in a message of msgspec: names of fields and indexes, never a key from the reply.
_PATH = re.compile(r" - at `\$([\w.\[\]]*)`$")
_BOOLEANS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# Fields that any reply may have: they don't show that it is a page.
_IN_ANY_REPLY = frozenset({"err_code", "msg", "message"})
# From here on, floats can't represent every whole number, so their digits may be wrong.
_EXACT = 2.0**53


class Unreadable(ValueError):
    """A reply can't be read as the expected type. The message quotes nothing from the reply.

    Attributes:
        expected: what was expected, such as ``text``.
        where: the JSON path, such as ``$.extensions[3].extension_number``.
    """

    def __init__(self, expected: str, where: str = "$") -> None:
        super().__init__(expected, where)
        self.expected = expected
        self.where: str = where

    def __str__(self) -> str:
        return f"expected {self.expected} at {self.where}"

    def under(self, step: str) -> None:
        """Insert a step after the root of the path, such as ``.items`` or ``[3]``."""
        self.where = f"${step}{self.where[1:]}"


class Decoder(Generic[T]):
    """Decodes replies of one type."""

    def __init__(self, kind: type[T]) -> None:
        # Unless it is strict, msgspec reads the text "nan" as a number.
        self._typed = msgspec.json.Decoder(kind, strict=_reads_floats(kind)).decode
        self._kind = kind
        # Built at the first reply that needs a repair.
        self._read: _Reader | None = None

    def decode(self, body: bytes) -> T:
        """Decode the body of a reply, or raise Unreadable as `read` does."""
        return self.read(body)[0]

    def read(self, body: bytes) -> tuple[T, Any]:
        """Decode the body of a reply, and also return its JSON if a repair was needed.

        Returns:
            The value and the parsed JSON, or the value and None if nothing had to be repaired.

        Raises:
            Unreadable: the body is not JSON, or can't be repaired to the type.
        """
        try:
            return self._typed(body), None
        except _REFUSALS:
            pass
        document = parse(body)
        if self._read is None:
            self._read = _reader(self._kind, {})
        return cast(T, _apply(self._read, document)), document


def parse(body: bytes) -> Any:
    """Parse JSON leniently: a byte order mark, Latin-1, and numbers that JSON lacks are accepted.

    NaN, infinity and numbers too large for Python are read as None. Half a surrogate pair is read
    as U+FFFD, so that every text can be sent back.

    Raises:
        Unreadable: the body is not JSON, or is nested too deeply.
    """
    text = _text_of(body)
    if r"\u" in text:  # searching the pattern takes as long as the rest of a repair
        text = _HALF_PAIR.sub(lambda found: found[1] or r"\ufffd", text)
    with suppress(ValueError, RecursionError):
        return json.loads(text, parse_int=_int, parse_float=_float, parse_constant=lambda _: None)
    raise Unreadable("JSON")


def repair(value: Any, kind: type[T]) -> T:
    """Convert parsed JSON to the given type, and repair what can be repaired.

    Raises:
        Unreadable: a required field or a list is missing, or can't be read.
    """
    return cast(T, _apply(_reader(kind, {}), value))


def _apply(read: _Reader, value: Any) -> Any:
    with suppress(RecursionError):
        return read(value)
    raise Unreadable("JSON with less nesting")


def _reads_floats(kind: Any) -> bool:
    """Return whether a type has a float outside of a union with text."""
    nodes: list[Any] = [inspect.type_info(kind)]
    seen: set[int] = set()  # a type may contain itself
    for node in nodes:
        if isinstance(node, inspect.FloatType):
            return True
        if isinstance(node, tuple):
            nodes += node
        elif isinstance(node, inspect.Type | inspect.Field) and id(node) not in seen:
            seen.add(id(node))
            parts = [getattr(node, name) for name in node.__struct_fields__]
            if isinstance(node, inspect.UnionType) and any(
                isinstance(each, inspect.StrType) for each in node.types
            ):
                parts = [each for each in node.types if not isinstance(each, inspect.FloatType)]
            nodes += parts
    return False


def _text_of(body: bytes) -> str:
    # Proxies and Windows tools add the mark of UTF-16 or UTF-8; what isn't UTF-8 is Latin-1.
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _int(digits: str) -> int | None:
    # Python refuses to convert more than 4,300 digits.
    with suppress(ValueError):
        return int(digits)
    return None


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _null(value: Any) -> None:
    if value is not None:
        raise Unreadable("null")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
    raise Unreadable("text")


def _whole_number(value: Any) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = _int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    # int() also turns True into 1.
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise Unreadable("a whole number")


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float)
    if is_number or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        with suppress(OverflowError):
            number = float(value)
            if isfinite(number):
                return number
    raise Unreadable("a number")


def _boolean(value: Any) -> bool:
    if isinstance(value, str | int | float):
        known = _BOOLEANS.get(_text(value).strip().lower())
        if known is not None:
            return known
    raise Unreadable("true or false")


_SCALARS: dict[Any, _Reader] = {
    str: _text,
    int: _whole_number,
    float: _number,
    bool: _boolean,
    NoneType: _null,
    Any: lambda value: value,
    object: lambda value: value,
}


_LISTS: dict[Any, Callable[[list[Any]], Any]] = {
    **{kind: kind for kind in (list, tuple, set, frozenset)},
    Sequence: list,
}


class _Field(NamedTuple):
    name: str
    key: str
    read: _Reader
    required: bool
    nullable: bool


class _Object:
    """Reads a struct from a JSON object, or from a list of one object."""

    def __init__(self, struct: Any) -> None:
        self._struct = struct
        self._is_page: bool = getattr(struct, "reply_is_page", False)
        # Other keys under which a field may come, by the key that it should have.
        self._aliases: Mapping[str, tuple[str, ...]] = getattr(struct, "reply_aliases", {})
        # Filled after construction, since a field may hold the same struct.
        self.fields: list[_Field] = []

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            raise Unreadable("an object")
        for key, aliases in self._aliases.items():
            for alias in aliases:
                if alias in value and value.get(key) is None:
                    value = {**value, key: value[alias]}
        arguments: dict[str, Any] = {}
        for field in self.fields:
            found = value.get(field.key)
            # An optional field that is null or missing keeps its default.
            if found is None and not field.required:
                if field.nullable and field.key in value:
                    arguments[field.name] = None
                continue
            try:
                if found is None and isinstance(field.read, _List) and self._lacks(field, value):
                    raise Unreadable("a list")
                arguments[field.name] = field.read(found)
            except Unreadable as error:
                # An unreadable list must not become an empty one: a caller who writes it back
                # would delete what it holds.
                if isinstance(field.read, _List) or (field.required and not field.nullable):
                    error.under(f".{field.key}")
                    raise
                if field.required:
                    arguments[field.name] = None
        try:
            return self._struct(**arguments)
        except _REFUSALS:
            pass
        raise Unreadable(_name(self._struct))

    def _lacks(self, missing: _Field, value: Mapping[str, Any]) -> bool:
        """Return whether a list is absent, and nothing shows that the object is an empty page.

        Some PBXes leave the list out of a page without items, but keep the other fields.
        """
        return missing.key not in value and not (
            self._is_page
            and any(f.key in value and f.key not in _IN_ANY_REPLY for f in self.fields)
        )


class _List:
    """Reads a list. Null becomes an empty list, and one object a list of one."""

    def __init__(self, make: Callable[[list[Any]], Any], item: _Reader) -> None:
        self._make = make
        self._item = item

    def __call__(self, value: Any) -> Any:
        if value is None:
            value = []
        elif isinstance(value, dict) and isinstance(self._item, _Object | _Mapping):
            value = [value]
        if not isinstance(value, list):
            raise Unreadable("a list")
        items: list[Any] = []
        for index, item in enumerate(value):
            try:
                items.append(self._item(item))
            except Unreadable as error:
                error.under(f"[{index}]")
                raise
        with suppress(TypeError):  # the items of a set may be unhashable
            return self._make(items)
        raise Unreadable("a list")


class _Mapping:
    """Reads a dict from a JSON object."""

    def __init__(self, key: _Reader, item: _Reader) -> None:
        self._key = key
        self._item = item

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unreadable("an object")
        try:
            return {self._key(key): self._item(item) for key, item in value.items()}
        except Unreadable as error:
            error.under("[...]")  # the key comes from the reply, so it isn't shown
            raise


def _union(kind: Any, members: list[_Reader]) -> _Reader:
    """Return a reader of a union. It tries msgspec first, then the reader of each member."""
    readers = [_converted(kind, strict=True), *members]

    def read(value: Any) -> Any:
        for each in readers:
            with suppress(Unreadable):
                return each(value)
        raise Unreadable("a value of another type")

    return read


def _enum(kind: type[Enum]) -> _Reader:
    """Return a reader of an enum. An enum of texts also accepts numbers."""
    # msgspec supports enums of text and of whole numbers only.
    has_numbers = all(isinstance(member.value, int) for member in kind)
    read_plain: _Reader = _whole_number if has_numbers else _text

    def read(value: Any) -> Any:
        plain = read_plain(value)
        try:
            return kind(plain)  # msgspec.convert takes 2 µs more per value
        except _REFUSALS:
            pass
        raise Unreadable("one of the known values")

    return read


def _converted(kind: Any, *, strict: bool) -> _Reader:
    """Return a reader of any other type, as msgspec reads it."""

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, kind, strict=strict)
        except _REFUSALS as refusal:
            path = _PATH.search(str(refusal))
        raise Unreadable(_name(kind), f"${path[1] if path else ''}")

    return read


def _reader(kind: Any, structs: dict[Any, _Object]) -> _Reader:
    """Build the reader of a type; `structs` holds those of structs built so far."""
    # The type behind `type X = ...` or a NewType.
    while (known := getattr(kind, "__value__", getattr(kind, "__supertype__", None))) is not None:
        kind = known
    plain = get_origin(kind) or kind
    arguments = get_args(kind)
    if plain in _SCALARS:
        return _SCALARS[plain]
    if plain in (Union, UnionType):
        others = [each for each in arguments if each not in (NoneType, msgspec.UnsetType)]
        members = [_reader(each, structs) for each in others]
        if len(members) > 1:
            return _union(kind, members)
        read = members[0]
        return (lambda it: None if it is None else read(it)) if NoneType in arguments else read
    if plain is Annotated:
        # msgspec checks the limits of the annotation, such as Meta(ge=1).
        read_plain, check = _reader(arguments[0], structs), _converted(kind, strict=True)
        return lambda value: check(read_plain(value))
    if plain in (dict, Mapping):
        key, item = arguments or (Any, Any)
        return _Mapping(_reader(key, structs), _reader(item, structs))
    # A tuple of fixed length is not a list: msgspec reads it.
    if plain in _LISTS and arguments[1:] in ((), (...,)):
        return _List(_LISTS[plain], _reader(arguments[0] if arguments else Any, structs))
    if isclass(plain) and issubclass(plain, Enum):
        return _enum(plain)
    if isclass(plain) and issubclass(plain, msgspec.Struct):
        config = plain.__struct_config__
        if not config.array_like and config.tag_field is None:
            return _struct(kind, plain, structs)
    return _converted(kind, strict=_reads_floats(kind))


def _struct(kind: Any, struct: type[msgspec.Struct], structs: dict[Any, _Object]) -> _Object:
    if kind in structs:
        return structs[kind]
    # Stored before the readers of its fields are built: a struct may contain itself.
    reader = structs[kind] = _Object(struct)
    for field in msgspec.structs.fields(kind):
        read = _reader(field.type, structs)
        reader.fields.append(
            _Field(field.name, field.encode_name, read, field.required, _takes_null(read))
        )
    return reader


def _takes_null(read: _Reader) -> bool:
    with suppress(Unreadable):
        return read(None) is None
    return False


def _name(kind: Any) -> str:
    return f"a value of type {getattr(kind, '__name__', kind)}"
