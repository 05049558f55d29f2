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
    # A cell, quoted or bare, and the delimiter or the line end behind it.
    end_of_cell = f"{re.escape(delimiter)}|{_LINE_END.pattern}|\\Z"
    bare = rf'[^"{re.escape(delimiter)}\r\n][^{re.escape(delimiter)}\r\n]*'
    pattern = re.compile(rf"(?:{_QUOTED.pattern}|({bare})?)({end_of_cell})")
    at = 0
    line = 1
    empty: str | None = None  # the value of a quoted empty cell
    at_header = True
    while at < len(text):
        first_line = line
        cells: list[str | None] = []
        all_quoted = True
        end = delimiter
        while end == delimiter:
            found = pattern.match(text, at)
            if found is None:
                raise _error(text, at, line)
            quoted, unquoted, end = found.groups()
            if quoted is None:
                cells.append(unquoted)
                all_quoted = False
            else:
                cells.append(quoted.replace('""', '"') or empty)
                line += len(_LINE_END.findall(quoted))
            at = found.end()
        line += bool(end)
        if at_header and any(cells):
            at_header = False
            empty = None if all_quoted else ""
        yield first_line, cells


def _error(text: str, at: int, line: int) -> CSVError:
    """Return the error about a cell that can't be read."""
    found = _QUOTED.match(text, at)
    if found is None:
        return CSVError("a quote is opened and never closed", line)
    line += len(_LINE_END.findall(found[1]))
    return CSVError("text follows a closing quote: double a quote inside quotes", line)


@cache
def _special(delimiter: str) -> re.Pattern[str]:
    return re.compile(rf'[{re.escape(delimiter)}"\r\n]')
