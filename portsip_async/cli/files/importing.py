"""``portsip-async extensions import``: create many extensions from a file.

The whole file is checked and the report is opened before the first row is sent. Rows that were not
imported go to a report of the same format, with the reasons, which can be imported again. Rows that
were perhaps created are at its end. `write_run` says what Ctrl-C does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from ... import BulkResult, Conflict
from ..connection.connection import Connection
from ..failures import (
    FAILED,
    INTERRUPTED,
    Failure,
    print_error,
    report_error,
    report_failures,
    shorten,
)
from ..options import option_words, shell_words, spread
from ..output import Format, Output
from ..pbx.generation import PBX, other_kinds
from ..terminal.progress import progress
from . import write_run
from .atomic_file import NewFile
from .import_file import (
    SUFFIXES,
    Columns,
    FileFormat,
    Row,
    Rows,
    read_rows,
    report_path,
    write_report,
)
from .report_file import open_report, print_unreadable
from .write_run import WriteRun

_MAX_ROWS: Final = 5  # unreadable rows that are listed
_MAX_ROWS_DRY: Final = 20  # the same in a dry run, which writes no report
_UNTRIED: Final = "not tried"
_PERHAPS: Final = "perhaps created"


class Plan(msgspec.Struct, frozen=True):
    """What an import would do, counted in rows of the file."""

    rows: int
    new: int  # would be created
    existing: int  # have a number that exists
    unreadable: int
    taken: tuple[str, ...]  # the numbers that exist


class Outcome(msgspec.Struct, frozen=True):
    """What an import did, counted in rows of the file."""

    rows: int
    created: int
    skipped: int  # because their number exists
    failed: int  # unreadable ones included
    untried: int
    in_doubt: int  # perhaps created
    report: str | None  # the file of rows that failed, were untried or are in doubt


@spread
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="A csv or jsonl file."
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and the PBX; create nothing.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Skip numbers that exist.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the other rows if some can't be read.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The file for rows that failed; by default NAME.failed.csv beside FILE.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format", help="The format, if the suffix does not show it.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Rows in flight.")] = 8,
    connection: Connection,
    output: Output,
) -> None:
    """Create extensions from a CSV or JSON lines file.

    The first line of CSV names the fields, as in a file of 'export': extension_number, password,
    web_access_password, and any field that 'show' prints, such as profile.first_name. In v22 they
    are extension_number, name, display_name, email, role, password, extension_password,
    voicemail_pin, and any field that 'show' prints. A line of JSON is an object as 'show' prints
    it.

    The whole file is checked before a row is sent. --dry-run stops there, and lists the numbers
    that exist. Ctrl-C stops cleanly: rows in flight finish. Rows that failed or were not sent go to
    a report beside FILE. Correct it and import it again.

    Example: portsip-async extensions import people.csv --dry-run
    """
    source = read_rows(file, Columns(connection.kind, other_kinds(connection.kind)), form)
    readable = [row for row in source.rows if row.new is not None]
    unreadable = [row for row in source.rows if row.new is None]
    print_unreadable(file.name, unreadable, _MAX_ROWS_DRY if dry_run else _MAX_ROWS)
    if dry_run:
        output.check(Plan)
        plan = _plan(file, connection.run(_existing_numbers), source, readable)
        more = len(plan.taken) - _MAX_ROWS
        if output.format is Format.TABLE and more > 0:
            taken = (*plan.taken[:_MAX_ROWS], f"and {more:,} more")
            plan = msgspec.structs.replace(plan, taken=taken)
        output.show(plan)
        raise typer.Exit(FAILED if unreadable or (plan.existing and not skip_existing) else 0)
    if unreadable and not keep_going:
        raise Failure(
            f"{len(unreadable):,} of {len(source.rows):,} rows can't be read; nothing was sent",
            "correct them, or import the others with --keep-going",
        )
    output.check(Outcome)
    options = option_words(connection)
    work = _Import(readable, skip_existing, concurrency)
    with open_report(file, report, report_path(file, source.form)) as target:
        work.carry_out(lambda: connection.run(work.run))
        raise typer.Exit(_conclude(work, source, unreadable, target, output, options))


@dataclass
class _Import(WriteRun):
    """One run over the readable rows; sets the outcome of each row as its problem."""

    rows: list[Row]
    skip_existing: bool  # whether numbers that exist are skipped
    concurrency: int  # rows in flight
    created: int = 0  # extensions
    skipped: int = 0  # rows
    failures: list[tuple[str, Exception]] = field(default_factory=list)  # by the rows' keys
    settled: set[str] = field(default_factory=set)  # the keys of failures that were looked up
    in_doubt: list[Row] = field(default_factory=list)  # perhaps created

    def __post_init__(self) -> None:
        for row in self.rows:
            row.problem = _UNTRIED

    async def run(self, pbx: PBX) -> None:
        """Create all, until the end, Ctrl-C, or the PBX is unreachable."""
        await pbx.extensions({"page_size": 1}, {})  # so that a wrong password leaves no report
        self.began = True
        run = pbx.create_many(
            self._feed(),
            concurrency=self.concurrency,
            if_exists="skip" if self.skip_existing else "error",
            grace=write_run.GRACE,
        )
        with self.interruptible(), progress("Importing", len(self.rows)) as done:
            try:
                async with run:
                    async for result in run:
                        self._note(result)
                        done.advance()
            finally:
                for result in run.late_results:
                    self._note(result)
                self._note_doubt({*run.in_doubt})

    def _note_doubt(self, numbers: set[str]) -> None:
        """Record the rows of these numbers, which were perhaps created."""
        for row in self.rows:
            if row.problem and row.number in numbers:
                why = "" if row.problem == _UNTRIED else f": {row.problem}"
                row.problem = f"{_PERHAPS}{why}"
                self.in_doubt.append(row)

    def _feed(self) -> Iterator[Any]:
        for row in self.rows:
            if self.stopped:
                return
            yield row.new

    def _note(self, result: BulkResult[Any]) -> None:
        row = self.rows[result.index]
        self.note_reply(result.error)
        if result.error is None:
            row.problem = ""
            self.created += not result.skipped
            self.skipped += result.skipped
            return
        row.problem = str(result.error)
        self.failures.append((row.key, result.error))
        if result.settled:
            self.settled.add(row.key)


async def _existing_numbers(pbx: PBX) -> set[str]:
    numbers = set()
    with progress("Reading") as read:
        async for extension in pbx.extensions({"page_size": None, "prefetch": 2}, {}):
            numbers.add(extension.extension_number)
            read.advance()
    return numbers


def _plan(file: Path, existing: set[str], source: Rows, readable: list[Row]) -> Plan:
    """Compare the rows with the numbers that the PBX has, and list those that exist."""
    found = [row for row in readable if row.number in existing]
    if found:
        keys = shorten([row.key for row in found], _MAX_ROWS_DRY)
        count = f"{len(found):,} of {len(source.rows):,} numbers"
        print_error(f"{file.name}: {count} are taken: {keys}")
    return Plan(
        rows=len(source.rows),
        new=len(readable) - len(found),
        existing=len(found),
        unreadable=len(source.rows) - len(readable),
        taken=tuple(row.number for row in found),
    )


def _conclude(
    work: _Import,
    source: Rows,
    unreadable: list[Row],
    target: NewFile,
    output: Output,
    options: list[str],
) -> int:
    """Write the report, print the outcome, and return the exit code."""
    # Rows that were perhaps created come last.
    doubtful = {row.line for row in work.in_doubt}
    certain = [row for row in source.rows if row.problem and row.line not in doubtful]
    left = [*certain, *work.in_doubt]
    untried = sum(row.problem == _UNTRIED for row in certain)
    taken = sum(isinstance(error, Conflict) for _, error in work.failures)

    # Write the report.
    written: Path | None = None
    lost: OSError | None = None
    if left:
        try:
            write_report(target.text, source, left)
            written = target.publish()
        except OSError as error:
            lost = error

    # Write the failures to stderr.
    code = report_failures(work.failures, work.settled)
    if work.fatal is not None:
        code = report_error(work.fatal)
    if lost is not None:
        # Without a report, these lines are the only record of each row's outcome.
        for row in left:
            print_error(f"{row.key}: {row.problem}")
        code = code or FAILED
    perhaps = f", of {len(work.in_doubt):,} it is not known" if work.in_doubt else ""
    count = f"{len(certain):,} of {len(source.rows):,} rows were not imported{perhaps}"
    if written is not None:
        # Without this option, rows that exist by then would fail.
        if work.in_doubt or work.ended_early or work.skip_existing or taken == len(left):
            options = [*options, "--skip-existing"]
        if written.suffix.lower() not in SUFFIXES[source.form]:
            options = ["--format", source.form.value, *options]
        again = "portsip-async extensions import " + shell_words([written, *options])
        print_error(f"{count}; they are in {written}", again if written.is_file() else "")
    elif lost is not None:
        where = f"{lost.filename}: " if lost.filename else ""
        print_error(f"{count}; the report can't be written: {where}{lost.strerror or lost}")

    # Last, so that stderr is complete even if nobody reads standard output.
    output.show(
        Outcome(
            rows=len(source.rows),
            created=work.created,
            skipped=work.skipped,
            failed=len(certain) - untried,
            untried=untried,
            in_doubt=len(work.in_doubt),
            report=None if written is None else str(written),
        )
    )
    if work.interrupted:
        return INTERRUPTED
    return code or (FAILED if unreadable else 0)
