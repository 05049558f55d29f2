"""How rows are written: a table, one JSON list, JSON lines, or CSV, on standard output.

JSON lines and CSV are written row by row, so that what reads them can begin at once. A table and
a JSON list need all rows first. A pipe gets the data exactly; on a terminal, and in tables, what a
terminal would obey is escaped, in JSON by JSON's own escapes.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import typer

from .csv_text import csv_line
from .fields import dotted, flat, plain, shown_names
from .letters import encodable, json_printable, printable
from .streams import print_line, reader_may_leave, unguarded
from .table import table

if TYPE_CHECKING:
    from rich.console import Console

_PANEL = "Output"

_STYLES = {
    "OFFLINE": "dim",
    "ONLINE": "green",
    "ON_CALL": "bold red",
    "RINGING": "bold yellow",
}
_CODES = {"dim": "2", "green": "32", "bold red": "1;31", "bold yellow": "1;33"}


class Format(StrEnum):
    """A form of output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Writer(Protocol):
    """Takes rows, and writes them at once or at the end."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Take a row, its sections nested."""

    def end(self) -> None:
        """Write what is left."""


@dataclass(frozen=True)
class Output:
    """The form of the output, and which columns it has."""

    output: Annotated[
        Format | None,
        typer.Option(
            "--output",
            "-o",
            help="A table on a terminal, jsonl in a pipe, if not given.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            "-c",
            metavar="NAMES",
            help="These only, in this order, as extension_number,status.",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None

    @property
    def format(self) -> Format:
        """The form that was asked for, or that fits where the output goes."""
        return self.output or (Format.TABLE if sys.stdout.isatty() else Format.JSONL)

    @property
    def collects(self) -> bool:
        """Whether nothing is seen before the last row."""
        return self.format in (Format.TABLE, Format.JSON)

    @contextmanager
    def rows(
        self, model: type[Any], narrow: Sequence[str] = (), *, goes_on: bool = False
    ) -> Iterator[Writer]:
        """Open an output of many rows; it ends well only if the block does.

        Args:
            model: what each row is, for the names of its columns.
            narrow: the columns of a table for which no columns were asked for.
            goes_on: whether the block goes on once rows can't be written any more, since its exit
                code depends on all of them.
        """
        chosen = self._chosen(model)
        writer: Writer
        if self.format is Format.JSON:
            writer = _List(chosen)
        elif self.format is Format.JSONL:
            writer = _Lines(chosen)
        elif self.format is Format.CSV:
            writer = _Csv(chosen, dotted(model))
        else:
            writer = _Table(chosen or list(narrow) or dotted(model))
        yield _GoingOn(writer) if goes_on else writer
        with reader_may_leave():
            writer.end()

    def check(self, model: type[Any]) -> None:
        """Refuse columns that a model lacks, before anything is sent."""
        self._chosen(model)

    def show(self, record: msgspec.Struct, *, reveal: bool = False) -> None:
        """Write one record: a JSON object, a line of CSV, or a table of its fields.

        A command writes it last. If that fails, the command's end reports it.
        """
        with reader_may_leave():
            self._show(record, reveal=reveal)

    def _show(self, record: msgspec.Struct, *, reveal: bool) -> None:
        row = picked(plain(record, reveal=reveal), self._chosen(type(record)))
        if self.format is Format.TABLE:
            pairs = flat(row).items()
            _print_table(("field", "value"), [(name, _cell(value)) for name, value in pairs])
        elif self.format is Format.CSV:
            known = None if self.columns else dotted(type(record))
            writer = _Csv(None, known or list(flat(row)))
            writer.write(row)
            writer.end()
        else:
            indent = 2 if self.format is Format.JSON else None
            print_line(to_json(row, indent=indent))

    def _chosen(self, model: type[Any]) -> list[str] | None:
        if self.columns is None:
            return None
        names = [name.strip() for name in self.columns.split(",") if name.strip()]
        known = dotted(model)
        sections = {name.rpartition(".")[0] for name in known} - {""}
        wrong = [name for name in names if name not in {*known, *sections}]
        if wrong or not names:
            raise typer.BadParameter(
                f"no such column: {', '.join(shown_names(wrong)) or 'none given'};"
                f" there are {', '.join(known)}",
                param_hint="'--columns'",
            )
        return names


class _GoingOn:
    """Writes rows as another writer does, as long as that works."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, row: Mapping[str, Any]) -> None:
        with reader_may_leave():
            self._writer.write(row)

    def end(self) -> None:
        self._writer.end()


class _List:
    """All rows as one JSON list."""

    def __init__(self, chosen: list[str] | None) -> None:
        self._chosen = chosen
        self._rows: list[str] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(to_json(picked(row, self._chosen)))

    def end(self) -> None:
        # A row a line: valid JSON, and still readable.
        print_line("[" + ",".join(f"\n  {row}" for row in self._rows) + "\n]")


class _Lines:
    """A JSON object a line, at once."""

    def __init__(self, chosen: list[str] | None) -> None:
        self._chosen = chosen

    def write(self, row: Mapping[str, Any]) -> None:
        print_line(to_json(picked(row, self._chosen)))

    def end(self) -> None:
        pass


class _Csv:
    """A line of CSV a row, at once, under a line of names."""

    def __init__(self, chosen: list[str] | None, known: list[str]) -> None:
        self._columns = _expanded(chosen, known) if chosen else known
        self._headed = False

    def write(self, row: Mapping[str, Any]) -> None:
        self._head()
        self._write(csv_cell(at(row, name)) or None for name in self._columns)

    def end(self) -> None:
        self._head()

    def _head(self) -> None:
        if not self._headed:
            self._headed = True
            self._write(self._columns)

    def _write(self, cells: Iterable[str | None]) -> None:
        sys.stdout.write(csv_line(shown_cells(cells)))
        sys.stdout.flush()


class _Table:
    """All rows as one table."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._rows: list[tuple[str, ...]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(tuple(_cell(at(row, name)) for name in self._columns))

    def end(self) -> None:
        _print_table(self._columns, self._rows)


def shown_cells(cells: Iterable[str | None]) -> Iterable[str | None]:
    """Return cells as standard output may have them: exactly, but for a terminal printable."""
    if not sys.stdout.isatty():
        return cells
    return (cell and printable(cell) for cell in cells)


def at(row: Mapping[str, Any], name: str) -> Any:
    """Answer what stands at a dotted name of nested mappings; None where nothing does."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def picked(row: Mapping[str, Any], chosen: Sequence[str] | None) -> Mapping[str, Any]:
    """Answer a row with the chosen columns only, under their dotted names."""
    return row if chosen is None else {name: at(row, name) for name in chosen}


def to_json(value: object, indent: int | None = None) -> str:
    """Encode to JSON: in letters for a pipe, and for a terminal in what it can show."""
    if not sys.stdout.isatty():
        return json.dumps(value, ensure_ascii=False, indent=indent)
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    written = json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=indent)
    return json_printable(written)


def csv_cell(value: Any) -> str:
    """Bring a value to a text that `import` reads back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ";".join(map(csv_cell, value))
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)


def can_move_cursor() -> bool:
    """Return whether TERM names a terminal that can move its cursor: boards and bars need it."""
    return os.name == "nt" or os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def coloured() -> bool:
    """Tell whether a terminal is to be coloured, by the conventions of NO_COLOR and TERM."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")


def console(
    *, stderr: bool = False, markup: bool = False, width_of_pipe: int = 10_000
) -> "Console":
    """Make a rich console that honours NO_COLOR, and raises for a broken pipe.

    Args:
        stderr: whether it writes to standard error.
        markup: whether texts may hold rich's own marks of style.
        width_of_pipe: columns where there is no terminal.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Screen(Console):
        @property
        def is_dumb_terminal(self) -> bool:
            return not can_move_cursor()

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

        def render(self, *args: Any, **options: Any) -> Any:
            for segment in super().render(*args, **options):
                if segment.control or segment.text.isprintable() or not terminal:
                    yield segment
                else:
                    yield Segment(printable(segment.text, keep="\n"), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Screen(
        file=unguarded(stream),
        stderr=stderr,
        highlight=False,
        markup=markup,
        emoji=False,
        width=None if terminal else width_of_pipe,
        color_system="auto" if terminal and coloured() else None,
        _environ={
            name: value
            for name, value in os.environ.items()
            if name not in ("COLUMNS", "LINES") or value.strip("0")  # 0: not known
        },
    )


def styled(value: str) -> str:
    """Answer the style that a value is shown in; "" for most."""
    return _STYLES.get(value, "")


def _cell(value: Any) -> str:
    cell = printable(csv_cell(value))
    return cell if cell.isascii() or not sys.stdout.isatty() else encodable(cell, _encoding())


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    terminal = sys.stdout.isatty()
    width = get_terminal_size().columns if terminal else None  # a pipe has no edge
    paint = _painted if terminal and coloured() else _plain
    rule = "─" if not terminal or encodable("─", _encoding()) == "─" else "-"
    target = unguarded(sys.stdout)  # for the colours; cells are printable
    for line in table(columns, rows, width=width, paint=paint, rule=rule):
        target.write(f"{line}\n")
    target.flush()


def _painted(text: str, cell: str) -> str:
    code = _CODES.get(styled(cell))
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _plain(text: str, _: str) -> str:
    return text


def _expanded(chosen: Sequence[str], known: Sequence[str]) -> list[str]:
    """Put a section's fields in the place of its name."""
    return [name for one in chosen for name in known if name == one or name.startswith(f"{one}.")]
