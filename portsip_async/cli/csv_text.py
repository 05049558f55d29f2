"""Read and write CSV such that every cell is read back as it was written.

An empty cell is None, a quoted empty cell is "". Python's csv module distinguishes the two only in
its newest versions, and leaves a bare carriage return unquoted in older ones.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

DELIMITERS: Final = (",", ";", "\t", "|")  # the first wins among those that fit equally well

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_QUOTED: Final = re.compile(r'"([^"]*(?:""[^"]*)*)"')


class CSVError(ValueError):
    """A text is not CSV.

    Attributes:
        line: the line of the error.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def csv_line(cells: Iterable[str | None], delimiter: str = ",") -> str:
    """Write cells as a line of CSV."""
    special = _special(delimiter)
    texts = []
    for cell in cells:
        if cell is None:
            texts.append("")
        elif not cell or special.search(cell):
            quoted = cell.replace('"', '""')
            texts.append(f'"{quoted}"')
        else:
            texts.append(cell)
    # An empty line would not count as a row.
    return (delimiter.join(texts) if texts != [""] else '""') + "\n"


def read_csv(text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str | None]]]:
    """Yield rows of cells, each with the number of the line that it begins on.

    If the first row has only quoted cells, its writer quotes all cells. Then a quoted empty cell
    is None too, because its writer has no other way to write an empty cell.

    Raises:
        CSVError: a quoted cell has no end, or text follows its closing quote.
    """
    bare = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    at = 0
    line = 1
    empty: str | None = None  # the value of a quoted empty cell
    at_header = True
    while at < len(text):
        first_line = line
        cells: list[str | None] = []
        all_quoted = True
        while True:
            # Read a cell.
            if text.startswith('"', at):
                found = _QUOTED.match(text, at)
                if found is None:
                    raise CSVError("a quote is opened and never closed", line)
                cell = found[1]
                line += len(_LINE_END.findall(cell))
                cells.append(cell.replace('""', '"') or empty)
            else:
                found = bare.match(text, at)
                assert found is not None  # noqa: S101 - it matches empty text too
                cells.append(found[0] or None)
                all_quoted = False
            at = found.end()
            # Read the delimiter behind it, or the end of the row.
            if text.startswith(delimiter, at):
                at += 1
                continue
            end = _LINE_END.match(text, at)
            if end is None and at < len(text):
                raise CSVError("text follows a closing quote: double a quote inside quotes", line)
            at = len(text) if end is None else end.end()
            line += end is not None
            break
        if at_header and any(cells):
            at_header = False
            empty = None if all_quoted else ""
        yield first_line, cells


@cache
def _special(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'[{re.escape(delimiter)}"\r\n]')
