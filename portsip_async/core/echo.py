"""Matches the items of a reply with those that the request asked for.

Some PBXes send extension numbers as JSON numbers, which have no leading zeros: 101 may then be the
extension "0101". A JSON number matches a requested text with the same digits. A text is kept as it
is, so the caller can see that the reply is about something else. A row that matches more than one
requested number is left out.

Pure: a parsed reply goes in and comes out.
"""

from typing import Any, TypeVar

from msgspec import Struct, structs

from ..arguments import digits_of, plain_text

T = TypeVar("T")

_EXACT = 2.0**53  # larger floats do not hold every whole number


def as_asked(value: T, document: Any, requested: object, field: str, rows: str | None) -> T:
    """Return a reply with the texts of the request where it shows the same items.

    Args:
        value: the decoded reply.
        document: the parsed JSON if the reply had to be repaired; None if all texts were texts.
        requested: the text that the request asked for, or a list of texts.
        field: the field that repeats it: of the reply, or of each of its rows.
        rows: the field that holds the rows; None if the reply itself repeats the text.
    """
    if rows is None and isinstance(requested, str):
        return _match_reply(value, document, field, requested)
    if rows is not None and document is not None and isinstance(requested, list | tuple):
        return _match_rows(value, document, field, rows, requested)
    return value


def _match_reply(value: T, document: Any, field: str, requested: str) -> T:
    shown = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
    if shown in (requested, None, ""):
        return value
    # The raw JSON says whether the field was a number or a text.
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    raw = document.get(field) if isinstance(document, dict) else shown
    if isinstance(raw, str):
        is_same = raw.strip() == requested.strip()
    else:
        is_same = _digits(raw) == digits_of(requested.strip())
    if not is_same:
        return value
    if isinstance(value, Struct):
        return structs.replace(value, **{field: plain_text(requested)})
    return {**value, field: plain_text(requested)}  # type: ignore[dict-item, return-value]  # a dict


def _match_rows(
    value: T, document: Any, field: str, name: str, requested: list[Any] | tuple[Any, ...]
) -> T:
    raw_rows = document.get(name) if isinstance(document, dict) else None
    rows = getattr(value, name, ())
    if isinstance(raw_rows, dict):
        raw_rows = [raw_rows]
    if not isinstance(raw_rows, list) or len(raw_rows) != len(rows):
        return value
    by_digits: dict[str, set[str]] = {}
    for text in requested:
        if isinstance(text, str):
            by_digits.setdefault(digits_of(text), set()).add(plain_text(text))
    kept: list[Any] = []
    for row, raw in zip(rows, raw_rows, strict=True):
        digits = _digits(raw.get(field)) if isinstance(raw, dict) else None
        matches = by_digits.get(digits, set()) if digits is not None else set()
        if not matches:
            kept.append(row)
        elif len(matches) == 1:
            kept.append(structs.replace(row, **{field: next(iter(matches))}))
    return structs.replace(value, **{name: tuple(kept)})  # type: ignore[type-var]  # a struct


def _digits(raw: object) -> str | None:
    """Return the digits of a JSON number; None if it is not a whole number."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    if isinstance(raw, float):
        return str(int(raw)) if raw.is_integer() and abs(raw) < _EXACT else None
    return str(raw)
