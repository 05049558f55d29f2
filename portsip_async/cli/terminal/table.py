"""Lay out rows as aligned columns of text.

Pure, and fast enough for the 100,000 rows of a large PBX. If the terminal is too narrow, the names
of columns wrap first, then the cells of the widest columns. Words break only if there is no other
way, and nothing is cut off.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from .terminal_text import clusters
from .terminal_text import width as width_of

_GAP: Final = "  "
_NARROWEST: Final = 8  # columns, at least, of a wrapped cell
_FEWEST: Final = 4  # required columns that are shown even if their cells have to wrap
_WORD: Final = re.compile(r"[^_]*_*")  # of a column's name
_BREAKS: Final = frozenset(" _-./@,:;")  # text may wrap after these
_PART: Final = re.compile("[^{0}]*[{0}]|[^{0}]+".format(re.escape("".join(sorted(_BREAKS)))))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    paint: Callable[[str, str], str] | None = None,
    rule: str = "─",
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        columns: the names of the columns.
        rows: a printable line of text for each column.
        width: the terminal's columns; None sets no limit.
        paint: colours a part of a cell, given the part and the whole cell; None leaves it plain.
        rule: the character that underlines the names.
    """
    sizes = [[width_of(cell) for cell in row] for row in rows]
    named = [width_of(name) for name in columns]
    cells = _widest(sizes, len(columns))
    widths = [max(pair) for pair in zip(named, cells, strict=True)]
    if width is not None:
        room = width - len(_GAP) * (len(widths) - 1)
        _narrow(widths, room, _least(columns, cells))
        if sum(widths) > room:
            _narrow(widths, room, _least(columns, _longest_words(rows, len(columns))))
            _narrow(widths, room, [_NARROWEST] * len(widths))
    yield from _lines(columns, named, widths, None)
    yield _GAP.join(rule * size for size in widths)
    for row, taken in zip(rows, sizes, strict=True):
        yield from _lines(row, taken, widths, paint)


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, required: int, width: int
) -> list[int]:
    """Choose the columns of a table that are shown on a terminal.

    Args:
        columns: the names of the columns, the required ones first.
        rows: the cells of each row.
        required: how many columns should be shown.
        width: the terminal's columns.

    Returns:
        The indexes of the required columns. Those at the end are left out while cells would have to
        wrap, except for a few columns, which are left out only if they don't fit even wrapped. And
        the indexes of others that fit beside them unwrapped, unless they are empty in all rows.
    """
    cells = _widest([[width_of(cell) for cell in row] for row in rows], len(columns))
    sizes = [max(width_of(name), size) for name, size in zip(columns, cells, strict=True)]
    least = _least(columns, cells)
    while required > 1:
        smallest = least[:required]
        if required <= _FEWEST:
            smallest = [min(size, _NARROWEST) for size in smallest]
        if sum(smallest) + len(_GAP) * (required - 1) <= width:
            break
        required -= 1
    shown = list(range(required))
    used = sum(sizes[:required]) + len(_GAP) * (required - 1)
    for at in range(required, len(columns)):
        more = len(_GAP) + sizes[at]
        if used + more <= width and any(row[at] for row in rows):
            shown.append(at)
            used += more
    return shown


def _lines(
    row: Sequence[str],
    sizes: Sequence[int],
    widths: Sequence[int],
    paint: Callable[[str, str], str] | None,
) -> Iterator[str]:
    wrapped = [
        [(cell, size)] if size <= room else _wrapped(cell, room)
        for cell, size, room in zip(row, sizes, widths, strict=True)
    ]
    last = len(widths) - 1
    for parts in zip_longest(*wrapped, fillvalue=("", 0)):
        padded = [
            part if at == last else part + " " * (room - used)
            for at, ((part, used), room) in enumerate(zip(parts, widths, strict=True))
        ]
        if paint is not None:
            padded = [paint(part, cell) for part, cell in zip(padded, row, strict=True)]
        yield _GAP.join(padded).rstrip()


def _widest(sizes: Sequence[Sequence[int]], columns: int) -> list[int]:
    """Return the width of the widest cell of each column."""
    return [max([row[at] for row in sizes], default=0) for at in range(columns)]


def _least(columns: Sequence[str], cells: Sequence[int]) -> list[int]:
    """Return the widths in which no cell wraps, and the names only between words."""
    return [
        max([size, *(width_of(word) for word in _WORD.findall(name))])
        for name, size in zip(columns, cells, strict=True)
    ]


def _longest_words(rows: Sequence[Sequence[str]], columns: int) -> list[int]:
    """Return the width of the longest word of each column's cells, which would have to break."""
    longest = [0] * columns
    for row in rows:
        for at, cell in enumerate(row):
            # A letter may have two columns, as in Chinese.
            if 2 * len(cell) > longest[at]:
                words = map(width_of, _PART.findall(cell))
                longest[at] = max(longest[at], *words, 0)
    return longest


def _narrow(widths: list[int], room: int, least: Sequence[int]) -> None:
    """Shrink the widest columns until all fit, or none can shrink further."""
    while sum(widths) > room:
        able = [at for at, size in enumerate(widths) if size > least[at]]
        if not able:
            return
        at = max(able, key=widths.__getitem__)
        widest = widths[at]
        next_widest = max([size for size in widths if size < widest], default=0)
        widths[at] = max(least[at], next_widest, widest - (sum(widths) - room))


def _wrapped(text: str, room: int) -> list[tuple[str, int]]:
    """Split a text into parts that fit, each with its width; a letter keeps its accents.

    A part ends between words, unless a word is longer than a line.
    """
    parts: list[tuple[str, int]] = []
    line: list[tuple[str, int]] = []
    end = 0  # of the last word that is whole; 0 if there is none
    for cluster, columns in clusters(text):
        while line and sum(used for _, used in line) + columns > room:
            end = end or len(line)
            parts.append(_joined(line[:end]))
            line, end = line[end:], 0
        line.append((cluster, columns))
        if cluster in _BREAKS:
            end = len(line)
    return [*parts, _joined(line)]


def _joined(line: Sequence[tuple[str, int]]) -> tuple[str, int]:
    return "".join(cluster for cluster, _ in line), sum(columns for _, columns in line)
