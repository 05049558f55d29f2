"""Lay out rows as aligned columns of text.

Pure, and fast enough for the 100,000 rows of a large PBX. If the terminal is too narrow, the widest
columns shrink and their cells wrap, so that nothing is cut off.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from .terminal_text import clusters
from .terminal_text import width as width_of

_GAP: Final = "  "
_NARROWEST: Final = 8  # columns, at least, of a wrapped cell


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
    widths = [max([size, *(row[at] for row in sizes)]) for at, size in enumerate(named)]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
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
        required: how many columns should be shown, wrapped if need be.
        width: the terminal's columns.

    Returns:
        The indexes of the required columns, without those at the end that don't fit even wrapped;
        and those of others that fit beside them unwrapped, unless they are empty in all rows.
    """
    sizes = [
        max([width_of(name), *(width_of(row[at]) for row in rows)])
        for at, name in enumerate(columns)
    ]
    while required > 1:
        smallest = sum(min(size, _NARROWEST) for size in sizes[:required])
        if smallest + len(_GAP) * (required - 1) <= width:
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


def _narrow(widths: list[int], room: int) -> None:
    """Shrink the widest columns until all fit, or none can shrink further."""
    while sum(widths) > room:
        widest = max(widths)
        if widest <= _NARROWEST:
            return
        at = widths.index(widest)
        next_widest = max([size for size in widths if size < widest], default=_NARROWEST)
        widths[at] = max(_NARROWEST, next_widest, widest - (sum(widths) - room))


def _wrapped(text: str, room: int) -> list[tuple[str, int]]:
    """Split a text into parts that fit, each with its width; a letter keeps its accents."""
    parts, part, used = [], "", 0
    for cluster, columns in clusters(text):
        if part and used + columns > room:
            parts.append((part, used))
            part, used = "", 0
        part += cluster
        used += columns
    return [*parts, (part, used)]
