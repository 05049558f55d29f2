"""How a reply spells what was asked for.

Some PBXes send numbers as JSON numbers, which have no leading zeros: 101 may then be the extension
"0101". A JSON number is the text that was asked for if it has the same digits. A text stays as it
is, so that the caller can see that the reply is about something else. A row that fits more
than one number is left out.

Pure: a parsed reply goes in and comes out.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import Struct, structs

from ..arguments import plain_text
from .endpoint import Echo

T = TypeVar("T")

_EXACT = 2.0**53  # whole floats beyond this have no digits of their own


def digits_of(text: str) -> str:
    """Return what a text would be as a JSON number; the text itself if it has not only digits."""
    return (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text


def as_asked(value: T, document: Any, echo: Echo, parameters: Mapping[str, Any] | Struct) -> T:
    """Return a reply that names things as the request did, if it is about them.

    Args:
        value: the decoded reply.
        document: the parsed JSON, if the reply had to be repaired; None if every text was a text.
        echo: where the reply repeats the request.
        parameters: what the request asked for.
    """
    asked = (
        getattr(parameters, echo.parameter, None)
        if isinstance(parameters, Struct)
        else parameters.get(echo.parameter)
    )
    if echo.rows is None:
        return _one(value, document, echo, asked) if isinstance(asked, str) else value
    if document is None or not isinstance(asked, list | tuple):
        return value
    return _rows(value, document, echo, asked)


def _one(value: T, document: Any, echo: Echo, asked: str) -> T:
    field = echo.field
    raw = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
    if raw == asked or raw is None or raw == "":
        return value
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if isinstance(document, dict):
        raw = document.get(field)
    if not _is_same(raw, asked):
        return value
    if isinstance(value, Struct):
        return structs.replace(value, **{field: plain_text(asked)})
    return {**value, field: plain_text(asked)}  # type: ignore[dict-item, return-value]  # a dict


def _rows(value: T, document: Any, echo: Echo, asked: list[Any] | tuple[Any, ...]) -> T:
    raw = document.get(echo.rows) if isinstance(document, dict) else None
    rows = getattr(value, echo.rows or "", ())
    if isinstance(raw, dict):
        raw = [raw]
    if not isinstance(raw, list) or len(raw) != len(rows):
        return value
    by_digits: dict[str, set[str]] = {}
    for text in asked:
        if isinstance(text, str):
            by_digits.setdefault(digits_of(text), set()).add(plain_text(text))
    kept: list[Any] = []
    for row, plain in zip(rows, raw, strict=True):
        digits = _digits(plain.get(echo.field)) if isinstance(plain, dict) else None
        fitting = by_digits.get(digits, set()) if digits is not None else set()
        if len(fitting) == 1:
            kept.append(structs.replace(row, **{echo.field: next(iter(fitting))}))
        elif not fitting:
            kept.append(row)
    return structs.replace(value, **{echo.rows or "": tuple(kept)})  # type: ignore[type-var]  # a struct


def _is_same(raw: object, asked: str) -> bool:
    if isinstance(raw, str):
        return raw.strip() == asked.strip()
    digits = _digits(raw)
    return digits is not None and digits == digits_of(asked.strip())


def _digits(raw: object) -> str | None:
    """Return the digits of a JSON number; None if it is none, or no whole one."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    if isinstance(raw, float):
        return str(int(raw)) if raw.is_integer() and abs(raw) < _EXACT else None
    return str(raw)
