"""Tolerant decoding: a reply's bytes to the type that an endpoint names.

Typed first: what is as documented goes through msgspec alone. Only where that fails is the reply
parsed leniently and repaired along the type's fields, by readers that are built once, at the
first failure. A repair mends a value's form (a number for text, text for a number or a boolean,
one object for a list of one, null for nothing) and gives up a field only where the type has
something to stand in for it; it never invents a row.

No error here holds anything that the reply said: msgspec's errors and Unicode's quote values, so
they are dropped before ours is raised, not chained to it.
"""

import codecs
import json
import re
from collections import abc
from collections.abc import Callable, Mapping
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

# What msgspec, the enums and the constructors of a caller's own types refuse a value with.
_REFUSALS = (ValueError, TypeError, OverflowError, RecursionError)

# UTF-32's mark begins with UTF-16's, so it stands first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Python's own readers also take "1_000", "nan" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# What a reply says of itself, whatever it is about.
_OF_ANY_REPLY = frozenset({"err_code", "msg", "message"})
# Whole floats beyond this have no digits of their own to show as text.
_EXACT = 2.0**53

_SEQUENCES: dict[Any, Callable[[list[Any]], Any]] = {
    tuple: tuple,
    list: list,
    set: set,
    frozenset: frozenset,
    abc.Collection: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Set: set,
    abc.MutableSet: set,
}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


class Unreadable(ValueError):
    """A reply can't be read as what is due; says what and where, and nothing that the reply said.

    Attributes:
        expected: what should have stood there, such as ``text``.
        where: the place, such as ``$.extensions[3].extension_number``.
    """

    def __init__(self, expected: str, where: str = "$") -> None:
        super().__init__(expected, where)
        self.expected = expected
        self.where: str = where

    def __str__(self) -> str:
        return f"expected {self.expected} at {self.where}"

    def under(self, step: str) -> None:
        """Put the place below a further step from the root, such as ``.items`` or ``[3]``."""
        self.where = f"${step}{self.where[1:]}"


class Decoder(Generic[T]):
    """Decodes replies of one type."""

    def __init__(self, kind: type[T]) -> None:
        # Not strict, msgspec reads the text "nan" as a number.
        self._typed = msgspec.json.Decoder(kind, strict=_reads_floats(kind)).decode
        self._kind = kind
        self._read: _Reader | None = None

    def decode(self, body: bytes) -> T:
        """Read a reply's body.

        Raises:
            Unreadable: it is no JSON, or not even a repair makes the type of it.
        """
        return self.read(body)[0]

    def read(self, body: bytes) -> tuple[T, Any]:
        """Read a reply's body, and return the JSON that it was repaired from too.

        Returns:
            The value, and the parsed JSON; None in its place if nothing had to be repaired.

        Raises:
            Unreadable: it is no JSON, or not even a repair makes the type of it.
        """
        try:
            return self._typed(body), None
        except _REFUSALS:
            pass
        document = parse(body)
        if self._read is None:
            self._read = _Readers().of(self._kind)
        return cast(T, _apply(self._read, document)), document


def parse(body: bytes) -> Any:
    """Read JSON leniently: with a byte order mark, in Latin-1, with numbers that are none.

    A number that no float holds, and NaN, which JSON lacks, read as None; half a surrogate pair
    reads as U+FFFD, so that every text can be sent back.

    Raises:
        Unreadable: it is no JSON, or nests too deeply.
    """
    text = _text_of(body)
    try:
        value = json.loads(
            text, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_parse_constant
        )
        return _whole(value) if _SURROGATE.search(text) else value
    except (ValueError, RecursionError):
        pass
    raise Unreadable("JSON")


def repair(value: Any, kind: type[T]) -> T:
    """Make the given type of parsed JSON, mending what can be mended.

    Raises:
        Unreadable: a required field is missing or can't be read, or a list is no list.
    """
    return cast(T, _apply(_Readers().of(kind), value))


def _apply(read: _Reader, value: Any) -> Any:
    try:
        return read(value)
    except RecursionError:
        pass
    raise Unreadable("JSON that nests less deeply")


def _reads_floats(kind: Any) -> bool:
    """Tell whether a type has a number with a fraction where no text may stand."""
    waiting: list[Any] = [inspect.type_info(kind)]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, inspect.FloatType):
            return True
        keeps_text = isinstance(node, inspect.UnionType) and any(
            isinstance(each, inspect.StrType) for each in node.types
        )
        for name in node.__struct_fields__:
            child = getattr(node, name)
            waiting += [
                each
                for each in (child if isinstance(child, tuple) else (child,))
                if isinstance(each, inspect.Type | inspect.Field)
                and not (keeps_text and isinstance(each, inspect.FloatType))
            ]
    return False


def _text_of(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _parse_int(digits: str) -> int | None:
    # Python refuses to read some thousands of digits at once.
    try:
        return int(digits)
    except ValueError:
        return None


def _parse_float(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _parse_constant(name: str) -> None:
    return None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _as_is(value: Any) -> Any:
    return value


def _nothing(value: Any) -> None:
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
        value = _parse_int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise Unreadable("a whole number")


def _number(value: Any) -> float:
    number: float | None = None
    if isinstance(value, int | float) or (
        isinstance(value, str) and _NUMBER.fullmatch(value.strip())
    ):
        with suppress(OverflowError):
            number = float(value)
    if number is None or not isfinite(number):
        raise Unreadable("a number")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    known = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise Unreadable("true or false")
    return known


_SCALARS: dict[Any, _Reader] = {
    str: _text,
    int: _whole_number,
    float: _number,
    bool: _boolean,
    None: _nothing,
    NoneType: _nothing,
    Any: _as_is,
    object: _as_is,
}


class _Field(NamedTuple):
    name: str
    key: str
    aliases: tuple[str, ...]
    read: _Reader
    required: bool
    nullable: bool
    listed: bool


class _Object:
    """Reads a struct from a JSON object."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.fields: list[_Field] = []
        self._is_page: bool = getattr(kind, "reply_is_page", False)

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            raise Unreadable("an object")
        arguments: dict[str, Any] = {}
        for field in self.fields:
            key = field.key
            found = value.get(key)
            if found is None and field.aliases:
                key = next((each for each in field.aliases if value.get(each) is not None), key)
                found = value.get(key)
            try:
                if found is not None:
                    arguments[field.name] = field.read(found)
                else:
                    self._stand_in(arguments, field, value)
            except Unreadable as error:
                # A list that is no list must not pass for an empty one: who writes it back would
                # lose what it holds.
                if field.nullable and field.required:
                    arguments[field.name] = None
                elif field.required or (field.listed and not field.nullable):
                    error.under(f".{key}")
                    raise
        try:
            return self._kind(**arguments)
        except _REFUSALS:
            pass
        raise Unreadable(_name(self._kind))

    def _stand_in(self, arguments: dict[str, Any], field: _Field, value: Mapping[str, Any]) -> None:
        present = field.key in value or any(key in value for key in field.aliases)
        if field.nullable and (present or field.required):
            arguments[field.name] = None
        elif field.required:
            if field.listed and not present and not self._has_other(field, value):
                raise Unreadable("a list")
            arguments[field.name] = field.read(None)

    def _has_other(self, listed: _Field, value: Mapping[str, Any]) -> bool:
        """Return whether a page that lacks its list has any other of its fields."""
        return self._is_page and any(
            field is not listed and field.key in value and field.key not in _OF_ANY_REPLY
            for field in self.fields
        )


class _List:
    """Reads a sequence from a JSON list; null is an empty one, and one object a list of one."""

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
        read = self._item
        index = 0
        items: list[Any] = []
        try:
            for index, item in enumerate(value):  # noqa: B007 - the error names the index
                items.append(read(item))
        except Unreadable as error:
            error.under(f"[{index}]")
            raise
        try:
            return self._make(items)
        except TypeError:
            pass
        raise Unreadable("a list")


class _Mapping:
    """Reads a mapping from a JSON object."""

    def __init__(self, key: _Reader, item: _Reader) -> None:
        self._key = key
        self._item = item

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Unreadable("an object")
        try:
            return {self._key(key): self._item(item) for key, item in value.items()}
        except Unreadable as error:
            # The key is the reply's own: it isn't shown.
            error.under("[...]")
            raise


class _Choice:
    """Reads a union: a value that a member takes as it stands, else by the first that mends it."""

    def __init__(self, kind: Any, members: list[_Reader]) -> None:
        self._readers: list[_Reader] = [_Converted(kind, strict=True), *members]

    def __call__(self, value: Any) -> Any:
        for read in self._readers:
            try:
                return read(value)
            except Unreadable:
                pass
        raise Unreadable("a value of another type")


class _Optional:
    """Reads null, or what the only other member of a union reads."""

    def __init__(self, read: _Reader) -> None:
        self._read = read

    def __call__(self, value: Any) -> Any:
        return None if value is None else self._read(value)


class _Checked:
    """Reads a type, then holds it to the limits that its annotation sets."""

    def __init__(self, kind: Any, read: _Reader) -> None:
        self._read = read
        self._convert = _Converted(kind, strict=True)

    def __call__(self, value: Any) -> Any:
        return self._convert(self._read(value))


class _Open:
    """Reads an enum; one of text also from a number."""

    def __init__(self, kind: type[Enum]) -> None:
        self._kind = kind
        # msgspec knows enums of text and of whole numbers, and no others.
        numbered = all(isinstance(member.value, int) for member in kind)
        self._read: _Reader = _whole_number if numbered else _text

    def __call__(self, value: Any) -> Any:
        plain = self._read(value)
        try:
            return self._kind(plain)
        except _REFUSALS:
            pass
        raise Unreadable("one of the known values")


class _Converted:
    """Reads any other type as msgspec does."""

    # msgspec's paths hold names of fields and indexes, never a key of the reply.
    _PLACE = re.compile(r" - at `\$([\w.\[\]]*)`$")

    def __init__(self, kind: Any, *, strict: bool) -> None:
        self._kind = kind
        self._strict = strict

    def __call__(self, value: Any) -> Any:
        place: re.Match[str] | None = None
        try:
            return msgspec.convert(value, self._kind, strict=self._strict)
        except _REFUSALS as refusal:
            place = self._PLACE.search(str(refusal))
        raise Unreadable(_name(self._kind), f"${place[1] if place else ''}")


class _Readers:
    """Builds the reader of a type; a struct that holds itself is read by one and the same."""

    def __init__(self) -> None:
        self._objects: dict[Any, _Object] = {}

    def of(self, kind: Any) -> _Reader:
        kind = _unnamed(kind)
        plain = get_origin(kind) or kind
        arguments = get_args(kind)
        if plain in (Union, UnionType):
            return self._union(kind, arguments)
        if plain is Annotated:
            return _Checked(kind, self.of(arguments[0]))
        if isinstance(kind, TypeVar):
            return self.of(kind.__bound__ or Any)
        if plain in _MAPPINGS:
            key, item = arguments or (Any, Any)
            return _Mapping(self.of(key), self.of(item))
        if plain in _SEQUENCES and (plain is not tuple or arguments[1:] in ((), (...,))):
            return _List(_SEQUENCES[plain], self.of(arguments[0] if arguments else Any))
        if isclass(plain) and issubclass(plain, msgspec.Struct):
            return self._object(kind, plain)
        if isclass(plain) and issubclass(plain, Enum):
            return _Open(plain)
        return _SCALARS.get(plain) or _Converted(kind, strict=_reads_floats(kind))

    def _object(self, kind: Any, struct: type[msgspec.Struct]) -> _Reader:
        config = struct.__struct_config__
        if config.array_like or config.tag_field is not None:
            return _Converted(kind, strict=_reads_floats(kind))
        if kind in self._objects:
            return self._objects[kind]
        # Known before its fields are, for the sake of those that hold it again.
        reader = self._objects[kind] = _Object(struct)
        aliases: Mapping[str, tuple[str, ...]] = getattr(struct, "reply_aliases", {})
        for field in msgspec.structs.fields(kind):
            read = self.of(field.type)
            reader.fields.append(
                _Field(
                    field.name,
                    field.encode_name,
                    aliases.get(field.encode_name, ()),
                    read,
                    required=field.required,
                    nullable=_takes_null(field.type),
                    listed=isinstance(read, _List),
                )
            )
        return reader

    def _union(self, kind: Any, members: tuple[Any, ...]) -> _Reader:
        others = [each for each in members if each not in (NoneType, msgspec.UnsetType)]
        readers = [self.of(each) for each in others]
        if len(readers) != 1:
            return _Choice(kind, readers)
        return _Optional(readers[0]) if NoneType in members else readers[0]


def _unnamed(kind: Any) -> Any:
    # What `type X = ...` and NewType name.
    while (known := getattr(kind, "__value__", getattr(kind, "__supertype__", None))) is not None:
        kind = known
    return kind


def _takes_null(kind: Any) -> bool:
    kind = _unnamed(kind)
    if get_origin(kind) is Annotated:
        return _takes_null(get_args(kind)[0])
    return kind in (Any, object, None, NoneType) or (
        get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)
    )


def _name(kind: Any) -> str:
    return f"a value of type {getattr(kind, '__name__', kind)}"
