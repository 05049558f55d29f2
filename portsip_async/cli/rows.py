"""The rows of an import, from CSV or JSON lines: all are read and checked before one is sent.

CSV has a line of field names, as ``extension_number,password,profile.first_name``; an empty cell is
a field left out, and a quoted empty cell (``""``) an empty text. Every other cell is taken exactly
as it stands. A line of JSON is an object with sections, as ``show`` prints them. What an import
could not do is written in the same form, with the reason under ``error``, so that it can be mended
and imported again. A line that holds no JSON object is kept as a text under ``line``.

No error shows a value, and a name only where it can't be one: a file without a header has
passwords where its names should be.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from .. import NewExtension
from .csv_text import DELIMITERS, CSVError, csv_line, read_csv
from .failures import USAGE, Failure
from .fields import dotted, is_text, like, nested, read_value, shown_names
from .reading import is_name, read_json, read_text

# Columns that are no settings: why a row failed before, and what the PBX says by itself.
_PASSED_OVER: Final = frozenset({"error", "belong_groups"})
_KEYS: Final = ("extension_number", "password", "web_access_password")
_TOP: Final = frozenset(name.partition(".")[0] for name in dotted(NewExtension))
_FIELDS: Final = frozenset(dotted(NewExtension))
_TEXTS: Final = frozenset(name for name in _FIELDS if is_text(NewExtension, name))
_NUMBER: Final = re.compile(r"[0-9+*#]{1,32}")
_ROUNDED: Final = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]+")  # as 1.0E+11
_HEADER: Final = "the first line must name fields, as in a file from 'extensions export'"


class FileFormat(StrEnum):
    """The form of a file of extensions."""

    CSV = "csv"
    JSONL = "jsonl"


# The ends of file names, by form.
SUFFIXES: Final[dict[FileFormat, tuple[str, ...]]] = {
    FileFormat.CSV: (".csv",),
    FileFormat.JSONL: (".jsonl", ".ndjson"),
}


@dataclass(slots=True)
class Row:
    """A row of the file.

    Attributes:
        line: the number of the file's line that it begins on.
        given: the row as it stands there; None is an empty cell.
        extension: what is to be created; None where the row can't be read.
        problem: why it can't be read, or what became of it; "" where all is well.
        text: the line itself where no row could be made of it.
    """

    line: int
    given: dict[str, Any]
    extension: NewExtension | None = None
    problem: str = ""
    text: str | None = None

    @property
    def key(self) -> str:
        """Name the row to a person."""
        number = str(self.given.get("extension_number")).strip()
        # In a row with shifted cells, a password may stand there.
        return f"line {self.line}" + (f" ({number})" if _NUMBER.fullmatch(number) else "")


@dataclass(slots=True)
class Rows:
    """A file of extensions.

    Attributes:
        form: the form of the file.
        columns: the names of a CSV file's columns.
        rows: all its rows.
        delimiter: what stands between a CSV file's cells.
    """

    form: FileFormat
    rows: list[Row]
    columns: list[str]
    delimiter: str = ","


def form_of(path: Path, form: FileFormat | None) -> FileFormat:
    """Tell the form of a file by its name, unless it was told otherwise."""
    if form is not None:
        return form
    for each, suffixes in SUFFIXES.items():
        if path.suffix.lower() in suffixes:
            return each
    raise Failure(f"{path.name}: neither .csv nor .jsonl", "say --format csv or jsonl", USAGE)


def read_rows(path: Path, form: FileFormat | None = None) -> Rows:
    """Read and check a file.

    Raises:
        Failure: it can't be read as a whole; a row that can't be is told in the row.
    """
    form = form_of(path, form)
    text = read_text(path)
    found = _read_csv(path, text) if form is FileFormat.CSV else _read_jsonl(text)
    if not found.rows:
        raise Failure(f"{path.name} holds no extension")
    first: dict[str, int] = {}
    for row in found.rows:
        if row.problem:
            continue
        _check(row)
        number = row.given.get("extension_number")
        if row.extension is not None and number is not None:
            number = row.extension.extension_number
            if number in first:
                row.extension, row.problem = None, f"is also in line {first[number]}"
            first.setdefault(number, row.line)
    return found


def _read_csv(path: Path, text: str) -> Rows:
    delimiter = _delimiter(text)
    rows: list[Row] = []
    columns: list[str] | None = None
    try:
        for line, cells in read_csv(text, delimiter):
            if not any(cell and cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns(path, cells)
            else:
                rows.append(_csv_row(path, line, cells, columns))
    except CSVError as error:
        raise Failure(f"{path.name} line {error.line}: {error}") from None
    if columns is None:
        raise Failure(f"{path.name}: no such field: none given", _HEADER)
    return Rows(FileFormat.CSV, rows, [name for name in columns if name], delimiter)


def _delimiter(text: str) -> str:
    """Find what stands between cells: spreadsheets of many countries write semicolons."""
    head = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]

    def names(delimiter: str) -> int:
        return sum(cell.strip().strip('"') in _FIELDS for cell in head.split(delimiter))

    # Where no delimiter gives names, the message about the header is of use with any.
    return max(DELIMITERS, key=lambda delimiter: (names(delimiter), head.count(delimiter)))


def _columns(path: Path, cells: list[str | None]) -> list[str]:
    """Read the header; a column without a name between others is "".

    Raises:
        Failure: it names something that is no field, or a field twice.
    """
    columns = [(cell or "").strip() for cell in cells]
    while not columns[-1]:  # of empty columns behind the last one that is used
        columns.pop()
    known = _FIELDS | _PASSED_OVER
    unknown = [at for at, name in enumerate(columns) if name and name not in known]
    if unknown:
        # Only in a line that is a header for certain are its cells names, and no passwords.
        is_header = "extension_number" in columns
        is_like_header = len(unknown) < len(columns)
        told = []
        for at in unknown:
            near = like(columns[at], _FIELDS)
            is_like_header = is_like_header or near == ["extension_number"]
            if is_header and near and is_name(columns[at]):
                told.append(f"{columns[at]!r}")
            elif near and (is_header or near == ["extension_number"]):
                told.append(f"column {at + 1}, which may be {near[0]}")
            else:
                told.append(f"column {at + 1}")
        if not is_like_header:
            raise Failure(f"{path.name}: the first line holds no field's name", _HEADER)
        raise Failure(f"{path.name}: no such field: {'; '.join(told)}", _HEADER)
    for at, name in enumerate(columns):
        if name and name in columns[:at]:
            first = columns.index(name)
            raise Failure(
                f"{path.name}: columns {first + 1} and {at + 1} are both {name}", "remove one"
            )
    return columns


def _csv_row(path: Path, line: int, cells: list[str | None], columns: list[str]) -> Row:
    # Spreadsheets write empty cells behind the last column.
    while len(cells) > len(columns) and not (cells[-1] or "").strip():
        cells.pop()
    if len(cells) > len(columns):
        # A comma without quotes: nobody knows which cell belongs where.
        raise Failure(
            f"{path.name} line {line} has {len(cells)} cells, not {len(columns)}",
            "put a cell that holds a comma into quotes",
        )
    given: dict[str, Any] = {}
    for at, (name, cell) in enumerate(zip(columns, cells, strict=False), 1):
        if name:
            given[name] = cell
        elif cell and cell.strip():
            raise Failure(
                f"{path.name} line {line} has a value in column {at}, which has no name",
                "name the column in the first line, or empty it",
            )
    problem = f"has {len(cells)} cells, not {len(columns)}" if len(cells) < len(columns) else ""
    return Row(line, given, problem=problem)


def _read_jsonl(text: str) -> Rows:
    rows = []
    for line, written in enumerate(text.split("\n"), 1):
        if written.strip():
            kept = written.removesuffix("\r")
            try:
                given = _json_row(kept)
                if given.keys() - {"error"} == {"line"} and isinstance(given["line"], str):
                    kept = given["line"]  # of a report: a line that could not be read
                    given = _json_row(kept)
            except ValueError as error:
                rows.append(Row(line, {}, problem=str(error), text=kept))
            else:
                rows.append(Row(line, given))
    return Rows(FileFormat.JSONL, rows, [])


def _json_row(text: str) -> dict[str, Any]:
    try:
        found = read_json(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _check(row: Row) -> None:
    """Read a row as the extension that it describes, or note why it can't be."""
    given = {name: value for name, value in row.given.items() if name not in _PASSED_OVER}
    try:
        document = nested(dict(_cells(given)))
        number = document.get("extension_number")
        if isinstance(number, int) and not isinstance(number, bool):
            document["extension_number"] = str(number)
        elif isinstance(number, str):
            document["extension_number"] = number.strip()
        unknown = [name for name in document if name not in _TOP]
        if unknown:
            raise ValueError(f"has no field {', '.join(shown_names(unknown))}")
        for name in _KEYS:
            value = document.get(name)
            if not value or (isinstance(value, str) and not value.strip()):
                raise ValueError(f"has no {name}")
        if _ROUNDED.fullmatch(str(document["extension_number"])):
            raise ValueError(
                "has an extension_number in scientific notation, as a spreadsheet writes a long"
                " number: format the column as text"
            )
        msgspec.convert(document, NewExtension)
    except msgspec.ValidationError as error:
        row.problem = str(error)
    except ValueError as error:
        row.problem = str(error)
    else:
        # The sections as they were given, so that fields unknown to us are sent too.
        row.extension = NewExtension(**document)


def _cells(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Read texts as the types of their fields; a cell or a text for a number may be empty."""
    for name, value in given.items():
        if name not in _FIELDS:
            yield name, value
        elif isinstance(value, str) and name not in _TEXTS:
            if value.strip():
                yield name, read_value(NewExtension, name, value)
        elif value is not None:
            yield name, value


def write_report(text: TextIO, source: Rows, rows: Iterable[Row]) -> None:
    """Write rows with the reason why they were not imported, in the form of their file."""
    if source.form is FileFormat.JSONL:
        for row in rows:
            given = row.given if row.text is None else {"line": row.text}
            text.write(json.dumps({**given, "error": row.problem}) + "\n")
        return
    columns = [name for name in source.columns if name != "error"]
    text.write(csv_line([*columns, "error"], source.delimiter))
    for row in rows:
        cells = [row.given.get(name) for name in columns]
        text.write(csv_line([*cells, row.problem], source.delimiter))


def report_path(source: Path, form: FileFormat) -> Path:
    """Answer where the report of an import goes by itself: beside its file."""
    stem = source.name.partition(".failed")[0] if ".failed" in source.name else source.stem
    return source.with_name(f"{stem}.failed.{form.value}")
