"""The rows of an import, from CSV or JSON lines: all are read and checked before one is sent.

CSV has a line of field names, as ``extension_number,password,profile.first_name``; an empty cell is
a field left out. A line of JSON is an object with sections, as ``show`` prints them. What an import
could not do is written in the same form, with the reason under ``error``, so that it can be mended
and imported again.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from .. import NewExtension
from .failures import USAGE, Failure
from .fields import SECRETS, dotted, nested, read_value

# Columns that are no settings: why a row failed before, and what the PBX says by itself.
_PASSED_OVER: Final = frozenset({"error", "belong_groups"})
_KEYS: Final = ("extension_number", "password", "web_access_password")
_TOP: Final = frozenset(name.partition(".")[0] for name in dotted(NewExtension))


class FileFormat(StrEnum):
    """The form of a file of extensions."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(slots=True)
class Row:
    """A row of the file.

    Attributes:
        line: the number of the file's line that it begins on.
        given: the row as it stands there.
        extension: what is to be created; None where the row can't be read.
        problem: why it can't be read, or what became of it; "" where all is well.
    """

    line: int
    given: dict[str, Any]
    extension: NewExtension | None = None
    problem: str = ""

    @property
    def key(self) -> str:
        """Name the row to a person."""
        number = self.given.get("extension_number")
        return f"line {self.line}" + (f" ({number})" if number else "")


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
    suffix = path.suffix.lower().lstrip(".")
    if suffix in ("jsonl", "ndjson"):
        return FileFormat.JSONL
    if suffix == "csv":
        return FileFormat.CSV
    raise Failure(f"{path.name}: neither .csv nor .jsonl", "say --format csv or jsonl", USAGE)


def read_rows(path: Path, form: FileFormat | None = None) -> Rows:
    """Read and check a file.

    Raises:
        Failure: it can't be read as a whole; a row that can't be is told in the row.
    """
    form = form_of(path, form)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Failure(f"{path.name} is no UTF-8 text", "save it as UTF-8") from None
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
    head = text.split("\n", 1)[0]
    # Spreadsheets of many countries separate cells by semicolons.
    delimiter = ";" if head.count(";") > head.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    known = dotted(NewExtension)
    rows: list[Row] = []
    columns: list[str] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        unknown = [name for name in columns if name not in {*known, *_PASSED_OVER}]
        if unknown or not columns:
            raise Failure(
                f"{path.name}: no such field: {', '.join(map(repr, unknown)) or 'none given'}",
                "the first line names fields, as that of 'extensions export' does",
            )
        line = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) > len(columns):
                    # A comma without its quotes: what belongs where is anyone's guess.
                    raise Failure(
                        f"{path.name} line {line} has {len(cells)} cells, not {len(columns)}",
                        "put a cell that holds a comma into quotes",
                    )
                given = dict(zip(columns, cells, strict=False))
                problem = ""
                if len(cells) < len(columns):
                    problem = f"has {len(cells)} cells, not {len(columns)}"
                rows.append(Row(line, given, problem=problem))
            line = reader.line_num + 1
    except csv.Error as error:
        raise Failure(f"{path.name} line {reader.line_num}: {error}") from None
    return Rows(FileFormat.CSV, rows, columns, delimiter)


def _read_jsonl(text: str) -> Rows:
    rows = []
    for line, told in enumerate(text.split("\n"), 1):
        if not told.strip():
            continue
        try:
            given = json.loads(told)
        except ValueError:
            given = None
        if isinstance(given, dict):
            rows.append(Row(line, given))
        else:
            rows.append(Row(line, {}, problem="is no JSON object"))
    return Rows(FileFormat.JSONL, rows, [])


def _check(row: Row) -> None:
    """Read a row as the extension that it describes, or note why it can't be."""
    given = {name: value for name, value in row.given.items() if name not in _PASSED_OVER}
    try:
        document = nested(dict(_cells(given)))
        number = document.get("extension_number")
        if isinstance(number, int) and not isinstance(number, bool):
            document["extension_number"] = str(number)
        unknown = [name for name in document if name not in _TOP]
        if unknown:
            raise ValueError(f"has no field {', '.join(unknown)}")
        for name in _KEYS:
            if not document.get(name):
                raise ValueError(f"has no {name}")
        msgspec.convert(document, NewExtension)
    except msgspec.ValidationError as error:
        row.problem = str(error)
    except ValueError as error:
        row.problem = str(error)
    else:
        # The sections as they were given, so that fields unknown to us are sent too.
        row.extension = NewExtension(**document)


def _cells(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Read the cells of CSV as the types of their fields; what JSON holds has its type already."""
    known = set(dotted(NewExtension))
    for name, value in given.items():
        if not isinstance(value, str) or name not in known:
            yield name, value
        elif value.strip():
            told = value if name.rpartition(".")[2] in SECRETS else value.strip()
            yield name, read_value(NewExtension, name, told)


def write_report(path: Path, source: Rows, rows: Iterable[Row]) -> Path:
    """Write rows with the reason why they were not imported, to a file for its owner only.

    Returns:
        The file's path: the one given, or where it exists the next that doesn't.
    """
    path, descriptor = _create(path)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        if source.form is FileFormat.JSONL:
            file.writelines(json.dumps({**row.given, "error": row.problem}) + "\n" for row in rows)
        else:
            columns = [name for name in source.columns if name != "error"] + ["error"]
            writer = csv.DictWriter(file, columns, delimiter=source.delimiter, lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({**row.given, "error": row.problem})
    return path


def report_path(source: Path, form: FileFormat) -> Path:
    """Answer where the report of an import goes by itself: beside its file."""
    stem = source.name.partition(".failed")[0] if ".failed" in source.name else source.stem
    return source.with_name(f"{stem}.failed.{form.value}")


def _create(path: Path) -> tuple[Path, int]:
    tried = path
    at = 1
    while True:
        try:
            return tried, os.open(tried, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            at += 1
            tried = path.with_name(f"{path.stem}-{at}{path.suffix}")
