"""The query options of lists: ``filter`` and ``orderby``, a subset of OData. Pure.

A filter compares fields with values: ``extension_number eq '101' and contains(name, 'an')``. It
knows eq, ne, gt, ge, lt, le, and, or, not, parentheses, contains, startswith and endswith.
"""

import re
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from .errors import invalid

Row = Mapping[str, Any]
Condition = Callable[[Row], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])"
    r"|(?P<word>[A-Za-z_]\w*)|(?P<sign>[(),]))"
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": eq, "ne": ne, "gt": gt, "ge": ge, "lt": lt, "le": le,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": lambda value, part: part in value,
    "startswith": str.startswith,
    "endswith": str.endswith,
}
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_MAX_TOKENS = 200  # a filter is a recursion, so its length is limited


def parse_filter(text: str, fields: frozenset[str]) -> Condition:
    """Return the condition that a filter stands for.

    Raises:
        V22Error: the filter can't be read, or names an unknown field.
    """
    parser = _Parser(text, fields)
    condition = parser.alternatives()
    parser.end()
    return condition


def parse_orderby(text: str, fields: frozenset[str]) -> list[tuple[str, bool]]:
    """Return the fields to sort by, and for each whether it descends.

    Raises:
        V22Error: the order can't be read, or names an unknown field.
    """
    order: list[tuple[str, bool]] = []
    for part in text.split(","):
        name, *direction = part.split() or [""]
        if name not in fields or direction not in ([], ["asc"], ["desc"]):
            raise invalid("orderby can't be read")
        order.append((name, direction == ["desc"]))
    return order


class _Parser:
    """Reads a filter by recursive descent: or, and, not, then a comparison or a function."""

    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._tokens = list(_tokens(text))
        self._fields = fields
        self._at = 0

    def alternatives(self) -> Condition:
        condition = self._all()
        while self._accept("or"):
            condition = _either(condition, self._all())
        return condition

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise _unreadable()

    def _all(self) -> Condition:
        condition = self._one()
        while self._accept("and"):
            condition = _both(condition, self._one())
        return condition

    def _one(self) -> Condition:
        if self._accept("not"):
            condition = self._one()
            return lambda row: not condition(row)
        if self._accept("("):
            condition = self.alternatives()
            self._expect(")")
            return condition
        word = self._next()
        function = _FUNCTIONS.get(word)
        if function is not None:
            self._expect("(")
            name = self._field(self._next())
            self._expect(",")
            part = self._value()
            self._expect(")")
            if not isinstance(part, str):
                raise _unreadable()
            return lambda row: isinstance(row[name], str) and function(row[name], part)
        name = self._field(word)
        compare = _COMPARISONS.get(self._next())
        if compare is None:
            raise _unreadable()
        value = self._value()
        if compare in (eq, ne):
            return lambda row: compare(row[name], value)
        kind = type(value)
        return lambda row: type(row[name]) is kind and compare(row[name], value)

    def _field(self, name: str) -> str:
        if name not in self._fields:
            raise _unreadable()
        return name

    def _value(self) -> Any:
        token = self._next()
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token in _WORDS:
            return _WORDS[token]
        try:
            return float(token) if "." in token else int(token)
        except ValueError:
            raise _unreadable() from None

    def _next(self) -> str:
        if self._at == len(self._tokens):
            raise _unreadable()
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, token: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise _unreadable()


def _tokens(text: str) -> list[str]:
    found: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(found) == _MAX_TOKENS:
            raise _unreadable()
        found.append(match[0].strip())
        at = match.end()
    return found


def _either(left: Condition, right: Condition) -> Condition:
    return lambda row: left(row) or right(row)


def _both(left: Condition, right: Condition) -> Condition:
    return lambda row: left(row) and right(row)


def _unreadable() -> Exception:
    return invalid("filter can't be read")
