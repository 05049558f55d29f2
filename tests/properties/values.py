"""What the properties draw: hostile texts, and any JSON."""

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

# Each of these ends a line, a value, a query or a quoted name in some format.
_PARTS = (
    *"\r\n\0\t\x0b\x7f&=#?%+;:,\"'\\/@<>{}[]() ",
    "\r\n",
    "\r\n\r\n",
    "\r\nX-Evil: 1",
    "\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    "%0D%0A",
    "%26",
    "%",
    "&access_token=evil",
    '","evil":"',
    "..",
    "/../",
    "data:",
    "data:a/b\r\nX-Evil: 1,",
    ".wav",
    "\x85",
    "\xa0",
    "é",
    "ß",
    "日本語",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\uffff",
    "\U0001f600",
    "\ud800",
    "\udfff",
)
ANY_CHARACTER = st.characters(exclude_categories=())  # including halves of surrogate pairs
HOSTILE = st.lists(st.sampled_from(_PARTS) | st.text(ANY_CHARACTER, max_size=4), max_size=6).map(
    "".join
)
UNICODE = st.text(st.characters(codec="utf-8"), max_size=8)
WHOLE = st.integers(-(2**66), 2**66)
FRACTION = st.floats(allow_nan=False, allow_infinity=False)


def json_of(texts: st.SearchStrategy[str], names: Iterable[str] = ()) -> st.SearchStrategy[Any]:
    """Draw any JSON.

    Args:
        texts: where its strings and its names are drawn from.
        names: further names.
    """
    known = [*names]
    keys = texts | st.sampled_from(known) if known else texts
    return st.recursive(
        st.none() | st.booleans() | WHOLE | FRACTION | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )
