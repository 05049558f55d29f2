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
    widths = [
        max([width_of(name), *(width_of(row[at]) for row in rows)])
        for at, name in enumerate(columns)
    ]
    if width is not None:
        _narrow(widths, width - len(_GAP) * (len(widths) - 1))
    yield from _lines(columns, widths, lambda text, _: text)
    yield _GAP.join(rule * size for size in widths)
    for row in rows:
        yield from _lines(row, widths, paint)


def _lines(
    row: Sequence[str], widths: Sequence[int], paint: Callable[[str, str], str]
) -> Iterator[str]:
    folded = [_folded(cell, size) for cell, size in zip(row, widths, strict=True)]
    last = len(widths) - 1
    for parts in zip_longest(*folded, fillvalue=""):
        padded = [
            part if at == last else part + " " * (size - width_of(part))
            for at, (part, size) in enumerate(zip(parts, widths, strict=True))
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


def _folded(text: str, size: int) -> list[str]:
    """Cut a text into parts that fit; a letter keeps its marks."""
    if width_of(text) <= size:
        return [text]
    parts, part, used = [], "", 0
    for cluster, columns in clusters(text):
        if part and used + columns > size:
            parts.append(part)
            part, used = "", 0
        part += cluster
        used += columns
    return [*parts, part]
