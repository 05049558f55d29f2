"""Write rows to standard output as a table, one JSON list, JSON lines, or CSV.

JSON lines and CSV are written row by row, so that their reader can begin at once. A table and a
JSON list need all rows first. A pipe gets the exact data. On a terminal, and in tables, control
characters are escaped, in JSON by JSON's own escapes.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from .completion import complete_columns
from .fields import did_you_mean, dotted, flat, plain, shown_names, value_at
from .files.csv_text import csv_line
from .profiles.current_pbx import SharedRows, Writer, shared_rows
from .terminal.streams import is_file, print_line, reader_may_leave, unguarded
from .terminal.table import fitting, table
from .terminal.terminal_text import encodable, json_printable, printable, terminal_width

if TYPE_CHECKING:
    from rich.console import Console

_option: Any = partial(typer.Option, rich_help_panel="Output", show_default=False)

_STYLES = {"OFFLINE": "dim", "ONLINE": "green", "ON_CALL": "bold red", "RINGING": "bold yellow"}
_CODES = {"dim": "2", "green": "32", "bold red": "1;31", "bold yellow": "1;33"}


class Format(StrEnum):
    """A format of the output."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class Output:
    """The format and the columns of the output."""

    output: Annotated[
        Format | None,
        _option("--output", "-o", help="By default a table on a terminal, and jsonl in a pipe."),
    ] = None
    columns: Annotated[
        str | None,
        _option(
            "--columns",
            "-c",
            metavar="NAMES",
            help="Only these, in this order, such as extension_number,email.",
            autocompletion=complete_columns,
        ),
    ] = None

    @property
    def format(self) -> Format:
        """The requested format, or the default for a terminal or a pipe."""
        return self.output or (Format.TABLE if sys.stdout.isatty() else Format.JSONL)

    @property
    def collects(self) -> bool:
        """Whether nothing is written before the last row."""
        return self.format in (Format.TABLE, Format.JSON)

    @property
    def leaves_terminal(self) -> bool:
        """Whether a progress bar may use the terminal while rows are written.

        A row that goes to the terminal, or to another program that writes there, would be mixed
        with the bar.
        """
        return self.collects or is_file(sys.stdout)

    @contextmanager
    def rows(
        self, model: type[Any], narrow: Sequence[str] = (), wide: Sequence[str] = ()
    ) -> Iterator[Writer | SharedRows]:
        """Open an output of many rows, which is completed if the block raises nothing.

        The block passes each row to ``write``; the sections of a row are nested mappings.

        Args:
            model: the type of the rows, which names the columns.
            narrow: the columns of a table unless columns were requested; all if empty.
            wide: others, of which a terminal shows as many as it has room for.
        """
        shared = shared_rows.get()
        if shared is not None:
            yield shared.open(lambda: self._writer(model, narrow, wide), collects=self.collects)
            return
        writer = self._writer(model, narrow, wide)
        yield writer
        with reader_may_leave():
            writer.end()

    def _writer(self, model: type[Any], narrow: Sequence[str], wide: Sequence[str]) -> Writer:
        columns = self.check(model)
        if columns and shared_rows.get() is not None and "pbx" not in columns:
            columns = ["pbx", *columns]
        if self.format is Format.CSV:
            return _Csv(columns, dotted(model))
        if self.format is Format.TABLE:
            if columns:
                return _Table(columns)
            return _Table([*narrow] or dotted(model), wide, adapts=True)
        return _Json(columns, as_list=self.format is Format.JSON)

    def show(self, record: msgspec.Struct, *, reveal: bool = False) -> None:
        """Write one record as a JSON object, a line of CSV, or a table of its fields.

        It is a command's last output. If it can't be written, the command's end reports that.
        """
        columns = self.check(type(record))
        row = pick(plain(record, reveal=reveal), columns)
        with reader_may_leave():
            if self.format is Format.TABLE:
                pairs = flat(row).items()
                _print_table(("field", "value"), [(name, _cell(value)) for name, value in pairs])
            elif self.format is Format.CSV:
                writer = _Csv(None, list(flat(row)) if columns else dotted(type(record)))
                writer.write(row)
                writer.end()
            else:
                print_line(to_json(row, indent=2 if self.format is Format.JSON else None))

    def check(self, model: type[Any]) -> list[str] | None:
        """Return the requested columns or sections; None for all.

        Raises:
            typer.BadParameter: the model lacks one of them.
        """
        if self.columns is None:
            return None
        names = [name.strip() for name in self.columns.split(",") if name.strip()]
        known = dotted(model)
        sections = {name.rpartition(".")[0] for name in known} - {""}
        wrong = [name for name in names if name not in {*known, *sections}]
        if wrong or not names:
            # A suggestion is for one name only.
            advice = (
                did_you_mean(wrong[0], known)
                if len(wrong) == 1
                else f"choose from {', '.join(known)}"
            )
            raise typer.BadParameter(
                f"no such column: {', '.join(shown_names(wrong)) or 'none given'}; {advice}",
                param_hint="'--columns'",
            )
        return names


class _Json:
    """A JSON object per line, at once, or all rows as one JSON list."""

    def __init__(self, columns: list[str] | None, *, as_list: bool) -> None:
        self._columns = columns
        self._kept: list[str] | None = [] if as_list else None

    def write(self, row: Mapping[str, Any]) -> None:
        document = to_json(pick(row, self._columns))
        if self._kept is None:
            print_line(document)
        else:
            self._kept.append(document)

    def end(self) -> None:
        if self._kept is not None:
            # One row per line is valid JSON, and readable.
            print_line("[" + ",".join(f"\n  {row}" for row in self._kept) + "\n]")


class _Csv:
    """A line of CSV per row, at once, below a line of names."""

    def __init__(self, chosen: list[str] | None, known: list[str]) -> None:
        # A section stands for all its fields.
        self._columns = [
            name
            for one in chosen or known
            for name in known
            if name == one or name.startswith(f"{one}.")
        ]
        self._headed = False

    def write(self, row: Mapping[str, Any]) -> None:
        self._head()
        self._write(csv_cell(value_at(row, name)) or None for name in self._columns)

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
    """All rows as one table; its columns may be adapted to the terminal's width."""

    def __init__(
        self, columns: list[str], others: Sequence[str] = (), *, adapts: bool = False
    ) -> None:
        self._required = len(columns)
        self._adapts = adapts and sys.stdout.isatty()
        self._columns = [*columns, *others] if self._adapts else columns
        self._rows: list[tuple[str, ...]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(tuple(_cell(value_at(row, name)) for name in self._columns))

    def end(self) -> None:
        names = self._columns
        if self._adapts:
            room = terminal_width(sys.stdout)
            shown = fitting(names, self._rows, required=self._required, width=room)
            names = [names[at] for at in shown]
            self._rows = [tuple(row[at] for at in shown) for row in self._rows]
        _print_table(names, self._rows)


def shown_cells(cells: Iterable[str | None]) -> Iterable[str | None]:
    """Return cells for standard output: escaped for a terminal, else as they are."""
    if not sys.stdout.isatty():
        return cells
    return (cell and printable(cell) for cell in cells)


def pick(row: Mapping[str, Any], columns: Sequence[str] | None) -> Mapping[str, Any]:
    """Return only some columns of a row, under their dotted names; None for all."""
    return row if columns is None else {name: value_at(row, name) for name in columns}


def to_json(value: object, indent: int | None = None) -> str:
    """Encode to JSON; on a terminal, what it can't show is escaped."""
    if not sys.stdout.isatty():
        return json.dumps(value, ensure_ascii=False, indent=indent)
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    written = json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=indent)
    return json_printable(written)


def csv_cell(value: Any) -> str:
    """Return a value as text that `import` reads back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return ";".join(map(csv_cell, value))
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value)


def can_move_cursor() -> bool:
    """Return whether the terminal can move its cursor, as boards and progress bars must."""
    return os.name == "nt" or os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def coloured() -> bool:
    """Return whether to use colours, by the conventions of NO_COLOR and TERM."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")


def console(
    *, stderr: bool = False, markup: bool = False, width_of_pipe: int = 10_000
) -> "Console":
    """Build a rich console that honours NO_COLOR, and raises for a broken pipe.

    Args:
        stderr: whether it writes to standard error.
        markup: whether texts may hold rich's style markup.
        width_of_pipe: the width in columns if there is no terminal.
    """
    from rich.console import Console
    from rich.segment import Segment

    # rich writes control characters of texts as they are, and exits at a broken pipe.
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
            if name not in ("COLUMNS", "LINES") or value.strip("0")  # 0 means unknown
        },
    )


def style_of(value: str) -> str:
    """Return the style of a value; "" for most."""
    return _STYLES.get(value, "")


def _cell(value: Any) -> str:
    cell = printable(csv_cell(value))
    return cell if cell.isascii() or not sys.stdout.isatty() else encodable(cell, _encoding())


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    terminal = sys.stdout.isatty()
    width = terminal_width(sys.stdout) if terminal else None  # a pipe has no width
    paint = _painted if terminal and coloured() else None
    rule = "─" if not terminal or encodable("─", _encoding()) == "─" else "-"
    target = unguarded(sys.stdout)  # passes colours on; cells are printable
    for line in table(columns, rows, width=width, paint=paint, rule=rule):
        target.write(f"{line}\n")
    target.flush()


def _painted(text: str, cell: str) -> str:
    code = _CODES.get(style_of(cell))
    return f"\x1b[{code}m{text}\x1b[0m" if code else text
