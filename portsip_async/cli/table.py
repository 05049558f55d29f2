"""Rows as aligned columns of text.

Pure, and quick enough for the 100,000 rows that a large PBX has. Where a terminal is too narrow the
widest columns give way, and their cells go on below, so that nothing is cut off.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

from .letters import clusters
from .letters import width as width_of

__all__ = ["table"]

_GAP: Final = "  "
_NARROWEST: Final = 8  # columns that a folded cell keeps


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    paint: Callable[[str, str], str] = lambda text, _: text,
    rule: str = "─",
) -> Iterator[str]:
    """Lay out rows below the names of their columns, line by line.

    Args:
        columns: the names.
        rows: a text for each column, printable, of one line.
        width: columns that the terminal has; None: no limit.
        paint: colours a text, padded or not, by the cell that it stands for.
        rule: what underlines the names.
    """
    sizes = [[width_of(cell) for cell in row] for row in rows]
    named = [width_of(name) for name in columns]
    widths = [max([size, *(row[at] for row in sizes)]) for at, size in enumerate(named)]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
    yield from _lines(columns, named, widths, lambda text, _: text)
    yield _GAP.join(rule * size for size in widths)
    for row, taken in zip(rows, sizes, strict=True):
        yield from _lines(row, taken, widths, paint)


def _lines(
    row: Sequence[str],
    sizes: Sequence[int],
    widths: Sequence[int],
    paint: Callable[[str, str], str],
) -> Iterator[str]:
    folded = [
        [(cell, size)] if size <= room else _folded(cell, room)
        for cell, size, room in zip(row, sizes, widths, strict=True)
    ]
    last = len(widths) - 1
    for parts in zip_longest(*folded, fillvalue=("", 0)):
        padded = [
            part if at == last else part + " " * (room - used)
            for at, ((part, used), room) in enumerate(zip(parts, widths, strict=True))
        ]
        painted = (paint(part, cell) for part, cell in zip(padded, row, strict=True))
        yield _GAP.join(painted).rstrip()


def _narrow(widths: list[int], room: int) -> None:
    """Take from the widest columns until all fit, or none can give any more."""
    while sum(widths) > room:
        widest = max(widths)
        if widest <= _NARROWEST:
            return
        at = widths.index(widest)
        next_widest = max([size for size in widths if size < widest], default=_NARROWEST)
        widths[at] = max(_NARROWEST, next_widest, widest - (sum(widths) - room))


def _folded(text: str, room: int) -> list[tuple[str, int]]:
    """Cut a text into parts that fit, each with its columns; a letter keeps its marks."""
    parts, part, used = [], "", 0
    for cluster, columns in clusters(text):
        if part and used + columns > room:
            parts.append((part, used))
            part, used = "", 0
        part += cluster
        used += columns
    return [*parts, (part, used)]
