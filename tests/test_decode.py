"""Tolerant decoding: what is repaired, what is refused and at which path, and no other error."""

import codecs
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar, Generic, Literal, NewType, TypeVar

import msgspec
import pytest

from portsip_async.classic.extension_models import (
    Extension,
    ExtensionPage,
    ExtensionStatus,
    ExtensionStatuses,
    ExtensionSummary,
    VoiceMail,
)
from portsip_async.classic.models import GreetingFile, GreetingPage, Group, RefreshReply
from portsip_async.classic.operations import ENDPOINTS
from portsip_async.core.decode import Decoder, Unreadable, parse, repair
from portsip_async.core.open_enum import OpenEnum
from portsip_async.core.page_sequence import Page
from portsip_async.core.token_types import Token

from .samples import load


class Level(IntEnum):
    LOW = 1


class Mark(Enum):
    FIVE = "5"
    NONE = "none"


class Colour(OpenEnum):
    RED = "RED"


class Plain(msgspec.Struct):
    """An optional field of each kind."""

    text: str | None = None
    whole: int | None = None
    number: float | None = None
    flag: bool | None = None
    colour: Colour | None = None
    level: Level | None = None
    either: int | float | str | None = None
    texts: tuple[str, ...] | None = None
    anything: Any = None
    count: int = 7
    limited: Annotated[int, msgspec.Meta(ge=1)] = 1


class Required(msgspec.Struct):
    """A required field of each kind."""

    key: str
    rows: list["Required"]
    maybe: int | None


class Renamed(msgspec.Struct, rename="camel"):
    reply_aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {"extNumber": ("number", "no")}

    ext_number: str
    first_name: str | None = None


class Tree(msgspec.Struct):
    name: str
    children: tuple["Tree", ...] = ()
    parent: "Tree | None" = None


class Tagged(msgspec.Struct, tag=True):
    a: int


class Listed(msgspec.Struct, array_like=True):
    a: int


class Picky(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError(f"a is {self.a}")


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class Unset(msgspec.Struct):
    a: int | msgspec.UnsetType = msgspec.UNSET


@dataclass
class Point:
    x: int
    y: int = 0


T = TypeVar("T")
N = TypeVar("N", bound=int)


class Box(msgspec.Struct, Generic[T]):
    held: T


class Numbered(msgspec.Struct, Generic[N]):
    held: N


Number = NewType("Number", str)


def decode(kind: Any, value: Any) -> Any:
    """Decode a value as a server would send it."""
    return Decoder(kind).decode(json.dumps(value).encode())


def refused(kind: Any, body: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        Decoder(kind).decode(body)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


class TestScalars:
    @pytest.mark.parametrize(
        ("field", "given", "expected"),
        [
            ("text", 101, "101"),
            ("text", 101.0, "101"),
            ("text", 1.5, "1.5"),
            ("text", 1e300, "1e+300"),
            ("text", -3, "-3"),
            ("text", True, "true"),
            ("text", False, "false"),
            ("text", "null", "null"),
            ("text", "", ""),
            ("text", " x ", " x "),
            ("text", {}, None),
            ("text", [], None),
            ("whole", "3", 3),
            ("whole", " 3 ", 3),
            ("whole", "+3", 3),
            ("whole", "-3", -3),
            ("whole", "3.0", 3),
            ("whole", " 3.0", 3),
            ("whole", "1e3", 1000),
            ("whole", 3.0, 3),
            ("whole", True, 1),
            ("whole", False, 0),
            ("whole", "", None),
            ("whole", " ", None),
            ("whole", "three", None),
            ("whole", "3.5", None),
            ("whole", 3.5, None),
            ("whole", "1_000", None),
            ("whole", "٣", None),
            ("whole", "0x10", None),
            ("whole", "nan", None),
            ("whole", "1e999", None),
            ("whole", "9" * 5000, None),
            ("whole", 10**30, 10**30),
            ("whole", [1], None),
            ("number", "3", 3.0),
            ("number", " 3.5 ", 3.5),
            ("number", ".5", 0.5),
            ("number", 3, 3.0),
            ("number", True, 1.0),
            ("number", "", None),
            ("number", "nan", None),
            ("number", "Infinity", None),
            ("number", "-inf", None),
            ("number", "1e999", None),
            ("number", 10**400, None),
            ("number", [], None),
            ("flag", "true", True),
            ("flag", "FALSE", False),
            ("flag", " Yes ", True),
            ("flag", "no", False),
            ("flag", "On", True),
            ("flag", "off", False),
            ("flag", "1", True),
            ("flag", "0", False),
            ("flag", 1, True),
            ("flag", 0, False),
            ("flag", 1.0, True),
            ("flag", "", None),
            ("flag", "maybe", None),
            ("flag", 2, None),
            ("flag", [], None),
            ("colour", "RED", Colour.RED),
            ("colour", "BLUE", Colour("BLUE")),
            ("colour", 5, Colour("5")),
            ("colour", "", Colour("")),
            ("colour", {}, None),
            ("level", 1, Level.LOW),
            ("level", "1", Level.LOW),
            ("level", 2, None),
            ("either", 403.4, 403.4),
            ("either", "403.4", "403.4"),
            ("either", "4", "4"),
            ("either", 4, 4),
            ("either", True, 1),
            ("either", [], None),
            ("texts", [1, "2", 3.0], ("1", "2", "3")),
            ("texts", [], ()),
            ("texts", "1", None),
            ("texts", {"a": 1}, None),
            ("texts", [None], None),
            ("anything", {"a": [1]}, {"a": [1]}),
            ("limited", " 5 ", 5),
            ("limited", "0", 1),
        ],
    )
    def test_optional_field_is_repaired_or_left_out(
        self, field: str, given: Any, expected: Any
    ) -> None:
        """A field that can't be repaired keeps its default, and its neighbours are still read."""
        found = decode(Plain, {field: given, "count": "8"})
        value = getattr(found, field)
        assert value == expected
        assert type(value) is type(expected)
        assert found.count == 8

    @pytest.mark.parametrize("name", Plain.__struct_fields__)
    def test_null_is_the_default(self, name: str) -> None:
        """A field that doesn't take null keeps its default, as if it were absent."""
        found = decode(Plain, {name: None})
        assert getattr(found, name) == getattr(Plain(), name)

    @pytest.mark.parametrize(
        ("kind", "given", "expected"),
        [
            (str, 5, "5"),
            (int, " 5 ", 5),
            (float, "5.5", 5.5),
            (bool, "on", True),
            (type(None), None, None),
            (Any, {"a": 1}, {"a": 1}),
            (object, [1], [1]),
            (Mark, 5, Mark.FIVE),
            (Mark, "none", Mark.NONE),
            (Number, 5, "5"),
            (Literal["a", "b"], "a", "a"),
            (int | bool, "yes", True),
            (str | None, 5, "5"),
            (Annotated[int, msgspec.Meta(ge=1)], " 5 ", 5),
            (dict, {"a": 1}, {"a": 1}),
            (dict[str, int], {"a": " 1 "}, {"a": 1}),
            (dict[int, int], {"1": " 1 "}, {1: 1}),
            (Mapping[str, bool], {"a": "no"}, {"a": False}),
            (list, [1], [1]),
            (list[int], ["1", 2.0], [1, 2]),
            (list[int], [" 1 "], [1]),
            (list[int], None, []),
            (set[str], [1, 1], {"1"}),
            (frozenset[str], [1], frozenset({"1"})),
            (Sequence[str], [1], ["1"]),
            (tuple[str, ...], [1], ("1",)),
            (tuple[int, int], ["1", 2], (1, 2)),
            (list[dict[str, str]], {"a": 1}, [{"a": "1"}]),
            (list[Picky], {"a": " 1 "}, [Picky(1)]),
            (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
            (Point, {"x": "1"}, Point(1)),
            (list[Point], {"x": 1}, None),
            (list[Point], [{"x": "1"}], [Point(1)]),
            (Box[int], {"held": " 1 "}, Box(1)),
            (Box, {"held": 1}, Box(1)),
            (Numbered, [{"held": "1"}], Numbered(1)),
            (Tagged, {"type": "Tagged", "a": "1"}, Tagged(1)),
            (Listed, ["1"], Listed(1)),
            (Closed, {"a": 1, "b": 2}, Closed(1)),
            (Unset, {"a": " 1 "}, Unset(1)),
            (Unset, {"a": "x"}, Unset()),
        ],
    )
    def test_kinds_that_callers_declare(self, kind: Any, given: Any, expected: Any) -> None:
        """The reply type of a caller's own endpoint may be any type that msgspec supports."""
        if expected is None and given is not None:
            refused(kind, json.dumps(given).encode())
            return
        found = decode(kind, given)
        assert found == expected
        assert type(found) is type(expected)

    @pytest.mark.parametrize(
        ("kind", "body", "message"),
        [
            (str, b"null", "expected text at $"),
            (int, b"null", "expected a whole number at $"),
            (float, b'"nan"', "expected a number at $"),
            (bool, b'""', "expected true or false at $"),
            (type(None), b"1", "expected null at $"),
            (Mark, b'"x"', "expected one of the known values at $"),
            (int | bool, b'"x"', "expected a value of another type at $"),
            (Annotated[int, msgspec.Meta(ge=1)], b"0", "at $"),
            (dict, b"[]", "expected an object at $"),
            (dict[str, int], b'{"secret": "x"}', "expected a whole number at $[...]"),
            (list[int], b"5", "expected a list at $"),
            (list[int], b'[1, "x"]', "expected a whole number at $[1]"),
            (set, b"[[1]]", "expected a list at $"),
            (Point, b'{"x": "a"}', "expected a value of type Point at $.x"),
            (list[Point], b'[{"x": 1}, {}]', "expected a value of type Point at $[1]"),
            (Picky, b'{"a": -12345}', "expected a value of type Picky at $"),
            (Literal["a"], b'"b"', "at $"),
            (Listed, b'["x"]', "expected a value of type Listed at $[0]"),
            (list[Number], b"[5, []]", "expected text at $[1]"),
        ],
    )
    def test_refusal_names_type_and_path(self, kind: Any, body: bytes, message: str) -> None:
        """The error of a value that can't be repaired names its path and quotes nothing."""
        error = refused(kind, body)
        assert message in str(error)
        assert "12345" not in str(error)
        assert "secret" not in str(error)


class TestObjects:
    def test_unknown_fields_are_ignored(self) -> None:
        """A reply may have fields that no model has, at any depth."""
        found = decode(ExtensionStatus, {"extension_number": 101, "x": {"y": [1]}})
        assert found == ExtensionStatus("101")

    def test_list_of_one_object_is_that_object(self) -> None:
        """A list of one object is read where an object is expected."""
        found = decode(Extension, [{"extension_number": "1", "voice_mail": [{"voicemail_pin": 1}]}])
        assert found == Extension(extension_number="1", voice_mail=VoiceMail(voicemail_pin="1"))

    @pytest.mark.parametrize("given", [[], [1], [{}, {}], [[{}]], "x", 1, None])
    def test_value_that_is_not_an_object_is_refused(self, given: Any) -> None:
        """No other value is read as an object."""
        error = refused(Extension, json.dumps(given).encode())
        assert str(error) == "expected an object at $"

    @pytest.mark.parametrize("given", [[], "x", 1, False, [[]]])
    def test_section_that_is_not_an_object_is_left_out(self, given: Any) -> None:
        """The other sections of an extension are read although one can't be."""
        found = decode(
            Extension,
            {"extension_number": "1", "profile": given, "options": {"enable_extension": "on"}},
        )
        assert found.profile is None
        assert found.options.enable_extension is True

    def test_field_is_read_by_its_encoded_name_or_an_alias(self) -> None:
        """The name in the API comes first, then each alias in order."""
        assert decode(Renamed, {"extNumber": 1, "firstName": 2}) == Renamed("1", "2")
        assert decode(Renamed, {"number": 1, "no": 2}) == Renamed("1")
        assert decode(Renamed, {"extNumber": None, "number": None, "no": 2}) == Renamed("2")
        assert decode(Renamed, {"extNumber": 3, "no": 2}) == Renamed("3")
        error = refused(Renamed, b'{"ext_number": "1"}')
        assert error.where == "$.extNumber"

    def test_required_field_that_may_be_null_is_null(self) -> None:
        """A required field whose type takes null is null if it is missing or can't be read."""
        unreadable: list[dict[str, Any]] = [{}, {"maybe": None}, {"maybe": ""}, {"maybe": []}]
        for maybe in unreadable:
            assert decode(Required, {"key": 1, "rows": [], **maybe}) == Required("1", [], None)
        assert decode(Required, {"key": 1, "rows": [], "maybe": " 5 "}) == Required("1", [], 5)

    def test_struct_that_contains_itself_is_read(self) -> None:
        """A tree is read to its leaves, and an error names the whole path."""
        found = decode(
            Tree, {"name": 1, "children": [{"name": 2, "children": {"name": 3}}], "parent": "x"}
        )
        assert found == Tree("1", (Tree("2", (Tree("3"),)),))
        error = refused(Tree, b'{"name": "1", "children": [{"name": "2", "children": [{}]}]}')
        assert error.where == "$.children[0].children[0].name"

    def test_later_of_two_equal_fields_wins(self) -> None:
        """With and without a repair, the second value of a field that comes twice is read."""
        assert Decoder(Plain).decode(b'{"text": "a", "text": "b"}').text == "b"
        assert Decoder(Plain).decode(b'{"text": 1, "text": 2}').text == "2"

    def test_empty_number_of_a_row_is_kept(self) -> None:
        """An empty text is a text."""
        found = decode(ExtensionStatuses, {"extension_status": {"extension_number": ""}})
        assert found.extension_status == (ExtensionStatus(""),)


class TestLists:
    def test_one_object_is_read_as_a_list_of_one(self) -> None:
        """One bare object is read where a list of objects is expected."""
        found = decode(ExtensionPage, {"extensions": {"extension_number": 1}})
        assert found.items == (ExtensionSummary("1"),)

    def test_null_is_an_empty_list(self) -> None:
        """A null list is empty; a missing one is refused."""
        assert decode(ExtensionPage, {"extensions": None}).items == ()
        assert decode(GreetingPage, {"greetings": None}).items == ()
        error = refused(ExtensionPage, b"{}")
        assert (error.expected, error.where) == ("a list", "$.extensions")

    @pytest.mark.parametrize("given", ["", "x", 1, False])
    def test_list_that_is_not_a_list_is_refused(self, given: Any) -> None:
        """It is refused even if the field has a default, which would look like an empty list."""
        for kind, name in ((ExtensionPage, "extensions"), (Group, "members")):
            error = refused(kind, json.dumps({name: given}).encode())
            assert (error.expected, error.where) == ("a list", f"$.{name}")
        error = refused(Group, b'{"members": [{"x": 1}]}')
        assert error.where == "$.members[0]"

    @pytest.mark.parametrize(
        ("row", "where"),
        [
            ({}, ".extension_number"),
            ({"first_name": "x"}, ".extension_number"),
            ({"extension_number": None}, ".extension_number"),
            ({"extension_number": []}, ".extension_number"),
            ({"extension_number": {"x": 1}}, ".extension_number"),
            (5, ""),
            ("101", ""),
            (None, ""),
            ([], ""),
        ],
    )
    def test_row_without_its_key_is_refused(self, row: Any, where: str) -> None:
        """No row is dropped or added; the error names index and field."""
        rows = [{"extension_number": 1}, {"extension_number": "2"}, row]
        error = refused(ExtensionPage, json.dumps({"extensions": rows}).encode())
        assert error.where == f"$.extensions[2]{where}"
        assert str(error) == f"expected {error.expected} at {error.where}"

    def test_generic_page_is_read(self) -> None:
        """A page type that a caller declares is repaired like those of the package."""
        found = decode(Page[GreetingFile], {"items": {"filename": 1}, "page_count": " 2 "})
        assert found == Page(items=(GreetingFile("1"),), page_count=2)


class TestTokens:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [(600, 600.0), ("600", 600.0), (" 1.5 ", 1.5), (None, 30.0), ("", 30.0), ("nan", 30.0)],
    )
    def test_lifetime_is_a_finite_number(self, given: Any, expected: float) -> None:
        """A lifetime that is not a finite number, even as text, is the default."""
        found = decode(Token, {"access_token": "a", "expires": given})
        assert found == Token("a", expected)
        assert decode(RefreshReply, {"expires": given}) == RefreshReply(None, expected)

    def test_null_as_text_stays_text(self) -> None:
        """The text "null" is not read as null."""
        assert decode(Token, {"access_token": "null"}).access_token == "null"
        assert decode(Token, {"access_token": "a", "role": "null", "expires": "9"}).role == "null"


class TestBytes:
    TEXT = '{"extension_number": 101, "profile": {"first_name": "Jürgen"}}'

    @pytest.mark.parametrize(
        ("mark", "encoding"),
        [
            (b"", "utf-8"),
            (codecs.BOM_UTF8, "utf-8"),
            (b"", "latin-1"),
            (codecs.BOM_UTF8, "latin-1"),
            (codecs.BOM_UTF16_LE, "utf-16-le"),
            (codecs.BOM_UTF16_BE, "utf-16-be"),
        ],
    )
    def test_encoding_of_a_reply(self, mark: bytes, encoding: str) -> None:
        """UTF-8 and Latin-1 are read with and without a byte order mark, UTF-16 with one."""
        found = Decoder(Extension).decode(mark + self.TEXT.encode(encoding))
        assert found.extension_number == "101"
        assert found.profile is not None
        assert found.profile.first_name == "Jürgen"

    def test_byte_order_mark_changes_nothing(self) -> None:
        """A documented reply with a mark is read as one without."""
        assert Decoder(ExtensionPage).decode(
            b"\xef\xbb\xbf" + load("extensions.list").reply
        ) == Decoder(ExtensionPage).decode(load("extensions.list").reply)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xff\xfe{",
            '{"extension_number": "1"}'.encode("utf-32"),
            b"\x00",
            b"<html>",
            b"{",
            b'{"extension_number": "1"',
            b'{"extension_number": "1"} x',
            b"{'extension_number': '1'}",
            b'{"extension_number": "1\n"}',
            b"[" * 100_000,
            b'{"extension_number": "1", "x": ' + b"[" * 100_000,
            b'{"extension_number": "1", "x": ' + b'{"a":' * 100_000,
        ],
    )
    def test_body_that_is_not_json_is_refused(self, body: bytes) -> None:
        """The error of a broken, truncated or too deep body quotes nothing."""
        error = refused(Extension, body)
        assert str(error) == "expected JSON at $"

    @pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5000, "-" + "9" * 5000])
    def test_number_out_of_range_is_none(self, number: str) -> None:
        """Only its own field is lost."""
        body = f'{{"extension_number": "1", "x": {number}, "belong_groups": {number}}}'
        assert Decoder(Extension).decode(body.encode()) == Extension(extension_number="1")
        error = refused(Extension, f'{{"extension_number": {number}}}'.encode())
        assert str(error) == "expected text at $.extension_number"
        assert parse(number.encode()) is None

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        """A text that was read can be sent back and logged."""
        body = rb'{"\ud800": "\ud83d\ude00\uD800x", "l": ["\udfff\\ud800"], "n": 1}'
        value = parse(body)
        assert value == {"\ufffd": "\U0001f600\ufffdx", "l": ["\ufffd\\ud800"], "n": 1}
        assert msgspec.json.decode(msgspec.json.encode(value)) == value
        assert Decoder(Plain).decode(b'{"text": "\\udc00"}').text == "\ufffd"

    def test_deep_json_raises_nothing_else(self) -> None:
        """JSON at the depth that Python can just parse is read or refused."""
        for depth in (100, 300, 400, 500, 600, 700, 800, 900):
            deep = b"[" * depth + b'"\\ud800"' + b"]" * depth
            for kind in (Any, Extension, list[list[int]]):
                with suppress(Unreadable):
                    Decoder(kind).decode(b'{"extension_number": 1, "x": ' + deep + b"}")

    def test_deep_value_is_refused(self) -> None:
        """A tree deeper than Python's stack is refused."""
        value: dict[str, Any] = {"name": 1}
        for _ in range(2000):
            value = {"name": 1, "children": [value]}
        with pytest.raises(Unreadable, match="JSON with less nesting") as caught:
            repair(value, Tree)
        assert caught.value.__context__ is None

    def test_parse_keeps_numbers_and_texts(self) -> None:
        """Parsing alone changes no number and no text."""
        assert parse(b'{"a": [1, 1.5, "x", true, null], "b": 12345678901234567890}') == {
            "a": [1, 1.5, "x", True, None],
            "b": 12345678901234567890,
        }


class TestTypedFirst:
    def test_documented_reply_needs_no_repair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reply as documented, also with numbers as text, goes through msgspec alone."""
        monkeypatch.setattr("portsip_async.core.decode.parse", None)
        body = load("extensions.list").reply
        assert len(Decoder(ExtensionPage).decode(body).items) == 1
        assert Decoder(ExtensionPage).decode(body.replace(b": 100", b': "100"')).page_count == 100

    def test_readers_are_built_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second reply to be repaired uses the readers of the first."""
        decoder = Decoder(ExtensionPage)
        body = b'{"extensions": {"extension_number": 1}}'
        first = decoder.decode(body)
        monkeypatch.setattr("portsip_async.core.decode._reader", None)
        assert decoder.decode(body) == first

    def test_typed_and_repaired_values_are_equal(self) -> None:
        """A repair of a documented reply gives what msgspec gives."""
        for name, row in ENDPOINTS.items():
            sample = load(name)
            if row.reply is not None and name != "extensions.search":
                typed = Decoder(row.reply).decode(sample.reply)
                assert repair(sample.parsed, row.reply) == typed
