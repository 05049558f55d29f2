"""Read and check a file of extensions in CSV or JSON lines, and write the report about its rows.

CSV begins with a line of field names, such as ``extension_number,password,profile.first_name``. An
empty cell leaves a field out, and a quoted empty cell (``""``) is empty text. Every other cell is
read exactly. A line of JSON is an object with sections, as ``show`` prints it, and null leaves a
field out. The report has the same format as the file, with the reason under ``error``, so that it
can be corrected and used again. A line that is not a JSON object is kept as text under ``line``.

An import needs the required fields in each row. ``apply`` needs them only for extensions that do
not exist yet, so it reads the rows as parts.

No error shows a value. An error shows a name only if it can't be a value: a file without a header
has passwords where its names should be.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from ..failures import USAGE, Failure
from ..fields import (
    HIDDEN,
    SECRETS,
    dotted,
    flat,
    is_text,
    near_names,
    nested,
    plain,
    read_value,
    shown_names,
    type_problem,
    without_nulls,
)
from ..pbx.generation import PBX, Record
from .csv_text import DELIMITERS, CSVError, csv_line, read_csv
from .text_input import is_name, read_json, read_text

_NUMBER: Final = re.compile(r"[0-9+*#]{1,32}")
_ROUNDED: Final = re.compile(r"[0-9]+([.,][0-9]+)?[Ee]\+?[0-9]+")  # such as 1.0E+11
_HEADER: Final = "the first line must name fields, as 'extensions export' writes them for this PBX"
_MAX_FIELDS: Final = 8  # unknown fields named in an error
_STDIN: Final = Path("-")
# What a report adds to the columns of its file.
_NOTES: Final = frozenset({"error", "outcome"})


class FileFormat(StrEnum):
    """The format of a file of extensions."""

    CSV = "csv"
    JSONL = "jsonl"


# The suffixes of each format.
SUFFIXES: Final[dict[FileFormat, tuple[str, ...]]] = {
    FileFormat.CSV: (".csv",),
    FileFormat.JSONL: (".jsonl", ".ndjson"),
}


class Columns:
    """What a file may hold: the fields of a new extension.

    Attributes:
        model: the type of a new extension.
        names: its fields by their dotted names.
        sections: its fields without those of sections.
        required: the fields that each row must have.
        texts: the names of fields that are read exactly.
        read_only: fields of an extension that can't be written.
        ignored: further names whose cells are not read: those fields, and what a report adds.
        others: the columns of other generations.
    """

    def __init__(self, kind: type[PBX], others: Iterable[type[PBX]] = ()) -> None:
        """Derive the columns from the types of a new extension, and of one that is shown."""
        new, shown = kind.new, kind.record
        fields = msgspec.structs.fields(new)
        self.kind: type[PBX] = kind
        self.others: list[Columns] = [Columns(other) for other in others]
        self.model: Record = new
        self.names: frozenset[str] = frozenset(dotted(new))
        self.sections: frozenset[str] = frozenset(field.encode_name for field in fields)
        self.required: list[str] = [field.encode_name for field in fields if field.required]
        self.texts: frozenset[str] = frozenset(name for name in self.names if is_text(new, name))
        self.read_only: frozenset[str] = frozenset(dotted(shown)) - self.names
        self.ignored: frozenset[str] = self.read_only | _NOTES

    def check_generation(self, title: str, names: Collection[str]) -> None:
        """Check that the names of a file are not those of another generation.

        Raises:
            Failure: they are, and some are not of this one.
        """

        def fits(columns: Columns) -> bool:
            return {*names} <= columns.names | columns.sections | columns.ignored

        for other in self.others:
            if names and fits(other) and not fits(self):
                raise Failure(
                    f"{title}: its fields are those of {other.kind.title}, not of"
                    f" {self.kind.title}",
                    f"pass --api {other.kind.api} if the PBX is of that generation; else name the"
                    " fields as 'extensions export' writes them for this PBX",
                )


@dataclass(slots=True)
class Row:
    """A row of the file."""

    line: int  # where it begins
    cells: dict[str, Any]  # as they were read; None is an empty cell
    document: dict[str, Any] | None = None  # the fields to send; None if the row can't be read
    new: Any = None  # the extension to create; None unless the row is to be imported
    values: dict[str, Any] | None = None  # of a part: its fields by dotted names, with their types
    problem: str = ""  # why it can't be read, or was not carried out
    outcome: str = ""  # what was done with it, in one word or two
    text: str | None = None  # the line itself, if it is not a JSON object

    @property
    def number(self) -> str:
        """The number of its extension; "" if the row can't be read."""
        return "" if self.document is None else str(self.document["extension_number"])

    @property
    def key(self) -> str:
        """The row's name in messages: its line and its number."""
        number = str(self.cells.get("extension_number")).strip()
        # In a row with shifted cells, this may be a password.
        return f"line {self.line}" + (f" ({number})" if _NUMBER.fullmatch(number) else "")


@dataclass(slots=True)
class Rows:
    """A file of extensions; the columns and the delimiter are those of CSV."""

    form: FileFormat
    rows: list[Row]
    columns: list[str]
    delimiter: str = ","


def form_of(path: Path, form: FileFormat | None) -> FileFormat:
    """Return the requested format of a file, or the one of its suffix; of standard input, CSV."""
    if form is not None:
        return form
    if path == _STDIN:
        return FileFormat.CSV
    for each, suffixes in SUFFIXES.items():
        if path.suffix.lower() in suffixes:
            return each
    raise Failure(
        f"{path.name}: the name must end in .csv or .jsonl", "pass --format csv or jsonl", USAGE
    )


def title_of(path: Path) -> str:
    """Return what messages call a file."""
    return "standard input" if path == _STDIN else path.name


def read_rows(
    path: Path, known: Columns, form: FileFormat | None = None, *, parts: bool = False
) -> Rows:
    """Read and check a file.

    Args:
        path: the file; ``-`` is standard input.
        known: what it may hold.
        form: its format; None for that of its suffix.
        parts: whether rows may lack required fields. Then they have `values`, but no `new`.

    Raises:
        Failure: the whole file can't be read. A row that can't be read has a `problem`.
    """
    form = form_of(path, form)
    text = read_text(path)
    title = title_of(path)
    found = _read_csv(title, text, known) if form is FileFormat.CSV else _read_jsonl(text)
    if not found.rows:
        raise Failure(f"{title} has no rows")
    if form is FileFormat.JSONL:
        known.check_generation(title, {name for row in found.rows for name in row.cells})
    first: dict[str, int] = {}  # the line of each number
    for row in found.rows:
        if row.problem:
            continue
        _check(row, known, parts=parts)
        # The first row of a number is used, and later ones are problems.
        line = first.setdefault(row.number, row.line)
        if row.number and line != row.line:
            row.document, row.new, row.problem = None, None, f"is also in line {line}"
    return found


def _read_csv(title: str, text: str, known: Columns) -> Rows:
    delimiter = _delimiter(text, known)
    rows: list[Row] = []
    columns: list[str] | None = None
    try:
        for line, cells in read_csv(text, delimiter):
            if not any(cell and cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns(title, cells, known)
            else:
                rows.append(_csv_row(title, line, cells, columns))
    except CSVError as error:
        raise Failure(f"{title} line {error.line}: {error}") from None
    if columns is None:
        raise Failure(f"{title}: the first line must name the columns, got an empty file", _HEADER)
    return Rows(FileFormat.CSV, rows, [name for name in columns if name], delimiter)


def _delimiter(text: str, known: Columns) -> str:
    """Find the delimiter: spreadsheets of many countries write semicolons."""
    head = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]

    def names(delimiter: str) -> int:
        return sum(cell.strip().strip('"') in known.names for cell in head.split(delimiter))

    # If no delimiter gives names, any of them leads to the error about the header.
    return max(DELIMITERS, key=lambda delimiter: (names(delimiter), head.count(delimiter)))


def _columns(title: str, cells: list[str | None], known: Columns) -> list[str]:
    """Read the header; a column without a name between others is "".

    Raises:
        Failure: a name is not a field, or is there twice.
    """
    columns = [(cell or "").strip() for cell in cells]
    while not columns[-1]:  # spreadsheets write empty columns behind the last one
        columns.pop()
    allowed = known.names | known.ignored
    unknown = [at for at, name in enumerate(columns) if name and name not in allowed]
    if unknown:
        known.check_generation(title, [name for name in columns if name])
        # The first line may be a row with passwords. Its cells are shown only if it is certainly a
        # header.
        is_header = "extension_number" in columns
        is_like_header = len(unknown) < len(columns)
        problems = []
        for at in unknown:
            near = near_names(columns[at], known.names)
            is_like_header = is_like_header or near == ["extension_number"]
            if is_header and near and is_name(columns[at]):
                problems.append(f"{columns[at]!r}, which may be {near[0]}")
            elif near and (is_header or near == ["extension_number"]):
                problems.append(f"column {at + 1}, which may be {near[0]}")
            else:
                problems.append(f"column {at + 1}")
        if not is_like_header:
            raise Failure(f"{title}: the first line holds no field's name", _HEADER)
        more = f" and {len(problems) - _MAX_FIELDS:,} more" if len(problems) > _MAX_FIELDS else ""
        shown = "; ".join(problems[:_MAX_FIELDS])
        raise Failure(f"{title}: no such field: {shown}{more}", _HEADER)
    for at, name in enumerate(columns):
        if name and name in columns[:at]:
            first = columns.index(name)
            raise Failure(
                f"{title}: columns {first + 1} and {at + 1} are both {name}", "remove one"
            )
    return columns


def _csv_row(title: str, line: int, cells: list[str | None], columns: list[str]) -> Row:
    # Spreadsheets write empty cells behind the last column.
    while len(cells) > len(columns) and not (cells[-1] or "").strip():
        cells.pop()
    if len(cells) > len(columns):
        # A comma without quotes: it is not known which cell belongs to which column.
        raise Failure(
            f"{title} line {line} must have {len(columns)} cells, got {len(cells)}",
            "put a cell that holds a comma into quotes",
        )
    row: dict[str, Any] = {}
    for at, (name, cell) in enumerate(zip(columns, cells, strict=False), 1):
        if name:
            row[name] = cell
        elif cell and cell.strip():
            raise Failure(
                f"{title} line {line} has a value in column {at}, which has no name",
                "name the column in the first line, or empty the cell",
            )
    missing = len(cells) < len(columns)
    problem = f"must have {len(columns)} cells, got {len(cells)}" if missing else ""
    return Row(line, row, problem=problem)


def _read_jsonl(text: str) -> Rows:
    rows = []
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        kept = written.removesuffix("\r")
        try:
            cells = _json_row(kept)
            if cells.keys() - _NOTES == {"line"} and isinstance(cells["line"], str):
                kept = cells["line"]  # from a report: a line that could not be read
                cells = _json_row(kept)
            rows.append(Row(line, cells))
        except ValueError as error:
            rows.append(Row(line, {}, problem=str(error), text=kept))
    return Rows(FileFormat.JSONL, rows, [])


def _json_row(text: str) -> dict[str, Any]:
    try:
        found = read_json(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")
    return found


def _check(row: Row, known: Columns, *, parts: bool) -> None:
    """Set the fields of a row, or the reason why it can't be read."""
    cells = {name: value for name, value in row.cells.items() if name not in known.ignored}
    try:
        document = nested(dict(_converted(cells, known)))
        number = document.get("extension_number")
        if isinstance(number, int) and not isinstance(number, bool):
            document["extension_number"] = str(number)
        elif isinstance(number, str):
            document["extension_number"] = number.strip()
        unknown = [name for name in document if name not in known.sections]
        if unknown:
            raise ValueError(f"has no field {', '.join(shown_names(unknown))}")
        _require(document, ["extension_number"] if parts else known.required)
        if _ROUNDED.fullmatch(str(document["extension_number"])):
            raise ValueError(
                "has an extension_number in scientific notation, as spreadsheets write long"
                " numbers: format the column as text"
            )
        if parts:
            row.values = _typed(document, known)
        else:
            row.new = new_extension(document, known)
    except msgspec.ValidationError as error:
        row.problem = type_problem(error)
    except ValueError as error:
        row.problem = str(error)
    else:
        row.document = document


def _require(document: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        value = document.get(name)
        if not value or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"has no {name}")


def new_extension(document: Mapping[str, Any], known: Columns) -> Any:
    """Build the extension to create.

    Raises:
        ValueError: a field is missing, of another type, or hidden as in a file of 'export'.
    """
    _require(document, known.required)
    for name, value in flat(document).items():
        if value == HIDDEN and name.rpartition(".")[2] in SECRETS:
            raise ValueError(f"has {HIDDEN} in place of its {name}")
    msgspec.convert(document, known.model)
    # Unconverted sections, so that fields unknown to the SDK are sent too.
    return known.model(**document)


def _typed(document: Mapping[str, Any], known: Columns) -> dict[str, Any]:
    """Return the fields of a part of an extension by their dotted names, with their types.

    Raises:
        ValueError: a field has another type, or is unknown to the SDK, which can't compare it.
    """
    given = flat(document)
    unknown = [name for name in given if name not in known.names]
    if unknown:
        raise ValueError(f"has no field {', '.join(shown_names(unknown))}")
    # All required fields are texts, so that any text can stand for those that are missing.
    whole = msgspec.convert({**dict.fromkeys(known.required, "-"), **document}, known.model)
    found = flat(plain(whole, reveal=True))
    return {name: found[name] for name in given}


def _converted(cells: Mapping[str, Any], known: Columns) -> Iterator[tuple[str, Any]]:
    """Convert text to the types of the fields; leave out empty cells and empty numbers."""
    for name, value in cells.items():
        if name not in known.names:
            yield name, value
        elif isinstance(value, str) and name not in known.texts:
            if value.strip():
                yield name, read_value(known.model, name, value)
        elif value is not None:
            yield name, without_nulls(value)


def write_report(
    text: TextIO, source: Rows, rows: Iterable[Row], notes: Sequence[str] = ("error",)
) -> None:
    """Write rows and notes about them, in the format of their file.

    Args:
        text: where to write.
        source: the file.
        rows: its rows to write.
        notes: what to add to a row: its "outcome", and the "error" why it was not carried out.
    """
    columns = [name for name in source.columns if name not in _NOTES]
    if source.form is FileFormat.CSV:
        text.write(csv_line([*columns, *notes], source.delimiter))
    for row in rows:
        both = {"outcome": row.outcome or None, "error": row.problem or None}
        added = {name: both[name] for name in notes}
        if source.form is FileFormat.CSV:
            values = [row.cells.get(name) for name in columns]
            text.write(csv_line([*values, *added.values()], source.delimiter))
        else:
            cells = row.cells if row.text is None else {"line": row.text}
            kept = {name: value for name, value in cells.items() if name not in _NOTES}
            text.write(json.dumps(kept | added) + "\n")


def report_path(source: Path, form: FileFormat, kind: str = "failed") -> Path:
    """Return the default path of the report about a file, beside it, such as NAME.failed.csv."""
    if source == _STDIN:
        return Path(f"stdin.{kind}.{form.value}")
    stem = source.name.partition(f".{kind}")[0] if f".{kind}" in source.name else source.stem
    return source.with_name(f"{stem}.{kind}.{form.value}")
