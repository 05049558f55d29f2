"""``portsip-async extensions apply``: make the extensions of a PBX what a file says.

Reads the list, and the settings of the extensions that the list does not show fully. Shows what it
would create, change and remove, asks, and does it in this order. Each change is a patch, so a
setting that the file does not name stays as it is, even if it changed since it was read.

Removals come last, and only if nothing before them failed. The report has all rows of the file, so
it can be applied again, with --prune too: rows that were carried out are unchanged then.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ... import BulkResult
from ..connection.connection import Connection
from ..failures import (
    FAILED,
    INTERRUPTED,
    USAGE,
    Failure,
    print_error,
    print_note,
    report_error,
    report_failures,
    shorten,
)
from ..fields import flat
from ..files import write_run
from ..files.atomic_file import NewFile
from ..files.import_file import (
    SUFFIXES,
    Columns,
    FileFormat,
    Row,
    Rows,
    read_rows,
    report_path,
    title_of,
    write_report,
)
from ..files.report_file import open_report, print_unreadable
from ..files.write_run import WriteRun
from ..options import Yes, confirm, option_words, shell_words, spread
from ..output import Format
from ..pbx.generation import PBX, other_kinds
from ..terminal.progress import progress
from ..terminal.streams import print_line, reader_may_leave
from .plan import Plan, Step
from .plan_output import DONE, question, result, write_plan
from .plan_reader import PlanReader

_STDIN: Final = Path("-")
_MAX_ERRORS: Final = 20  # rows with errors that are listed
_UNTRIED: Final = "not tried"
_FAILED: Final = "failed"


@spread
def apply(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A csv or jsonl file; - is standard input."),
    ],
    *,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the extensions that the file lacks.")
    ] = False,
    max_removals: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="NUMBER",
            help="Refuse to remove more. By default, more than a tenth of all needs the count.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; change nothing.")
    ] = False,
    yes: Yes = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Apply the other rows if some have errors.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file for the outcome of each row; by default NAME.report.csv beside FILE if"
            " something failed.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format",
            help="The format, if the suffix does not show it; csv on standard input.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Format,
        typer.Option(
            "--output",
            "-o",
            rich_help_panel="Output",
            help="How to show the plan: table is a diff. The others only apply it with --yes, and"
            " show what became of it.",
        ),
    ] = Format.TABLE,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests in flight.")] = 8,
    connection: Connection,
) -> None:
    """Make extensions what a CSV or JSON lines file says.

    Shows what it would create, change and, with --prune, remove; then asks. The columns are those
    of 'import' and 'export'. Only the columns of the file are compared: all other settings stay as
    they are, and so does a setting whose cell is empty. Passwords and pins are only for new
    extensions.

    Ctrl-C stops cleanly. If something failed, a report beside FILE has the outcome of each row, and
    can be applied again.

    Example: portsip-async extensions apply people.csv --dry-run
    """
    asks = output is Format.TABLE and not (dry_run or yes)
    if asks and (file == _STDIN or not sys.stdin.isatty()):
        reason = "stdin holds the file" if file == _STDIN else "stdin is not a terminal"
        raise Failure(f"{reason}, so nobody can confirm", "pass --dry-run or --yes", USAGE)
    if file != _STDIN and not file.exists():
        raise typer.BadParameter(f"there is no file {file}", param_hint="'FILE'")
    kind = connection.kind
    known = Columns(kind, other_kinds(kind))
    source = read_rows(file, known, form, parts=True)
    unreadable = [row for row in source.rows if row.problem]
    print_unreadable(title_of(file), unreadable, _MAX_ERRORS)
    _refuse(unreadable, source, keep_going)
    _note_read_only(source, known)
    with connection.session() as run:
        reader = PlanReader(source.rows, known, prune, concurrency, connection.account)
        plan = run(reader.plan)
        print_unreadable(title_of(file), [row for row in plan.errors if row.document], _MAX_ERRORS)
        machine = output is not Format.TABLE
        if dry_run or not plan.steps or (machine and not yes) or (plan.errors and not keep_going):
            with reader_may_leave():
                write_plan(plan, output)
            _refuse(plan.errors, source, keep_going)
            raise typer.Exit(FAILED if plan.errors else 0)
        if not machine:
            # Whoever says yes must have seen the plan. With --yes, it may have no reader.
            with reader_may_leave() if yes else nullcontext():
                write_plan(plan, output)
        _confirm(plan, len(reader.listed), max_removals, yes=yes)
        work = _Apply(plan, concurrency, keep_going, reader.listed)
        with open_report(file, report, report_path(file, source.form, "report")) as target:
            work.carry_out(lambda: run(work.run))
            words = [*option_words(connection), *(["--prune"] if prune else [])]
            code = _conclude(work, source, target if report or work.left else None, output, words)
    raise typer.Exit(code)


def _refuse(rows: Sequence[Row], source: Rows, keep_going: bool) -> None:
    """Refuse a file with errors, unless the others are to be applied.

    Raises:
        Failure: there are rows with errors.
    """
    if rows and not keep_going:
        raise Failure(
            f"{len(rows):,} of {len(source.rows):,} rows have errors; nothing was changed",
            "correct them, or apply the others with --keep-going",
        )


def _note_read_only(source: Rows, known: Columns) -> None:
    """Write which columns of a file can't be changed."""
    columns = source.columns or {name for row in source.rows for name in flat(row.cells)}
    names = [name for name in columns if name in known.read_only]
    if names:
        print_note(f"These columns are not applied: {shorten(sorted(names))}.")


def _confirm(plan: Plan, existing: int, most: int | None, *, yes: bool) -> None:
    """Ask for a yes, or for the count of removals if there are many.

    Raises:
        Failure: the answer is no, or nobody can say that so many removals are right.
    """
    count = len(plan.removals)
    removals = f"{count:,} of {existing:,} extensions"
    if most is not None and count > most:
        raise Failure(
            f"the plan removes {removals}, more than --max-removals {most}; nothing was done",
            "check the file: has it all extensions?",
        )
    if most is None and count > max(3, existing // 10):
        if yes:
            raise Failure(
                f"the plan removes {removals}; nothing was done",
                f"check the file, and pass --max-removals {count} if that is right",
            )
        answer = typer.prompt(f"This removes {removals}. Type {count} to apply the plan", err=True)
        if answer.strip().replace(",", "") != str(count):
            raise Failure("not confirmed; nothing was done")
        return
    confirm(f"{question(plan)}?", yes=yes)


@dataclass
class _Apply(WriteRun):
    """Carries out a plan; sets the outcome of each step."""

    plan: Plan
    concurrency: int
    keep_going: bool  # whether removals follow even if something failed
    listed: Mapping[str, Any]  # the extensions as the list shows them, by number
    failures: list[tuple[str, Exception]] = field(default_factory=list)  # by the steps' keys
    settled: set[str] = field(default_factory=set)  # the keys of failures that were looked up

    unit = "change"

    def __post_init__(self) -> None:
        for step in self.plan.steps:
            step.outcome = _UNTRIED

    @property
    def left(self) -> bool:
        """Whether some of the plan was not carried out."""
        steps = self.plan.steps
        return bool(self.plan.errors) or any(step.outcome != DONE[step.action] for step in steps)

    async def run(self, pbx: PBX) -> None:
        """Create, change and remove, until the end, Ctrl-C, or the PBX is unreachable."""
        self.began = True
        plan = self.plan
        with self.interruptible(), progress("Applying", len(plan.steps)) as done:

            def note(step: Step, outcome: BulkResult[Any]) -> None:
                self._note(step, outcome)
                done.advance()

            await self._create(pbx, note)
            await self._change(pbx, note)
            if self.failures and plan.removals and not (self.stopped or self.keep_going):
                print_error("nothing is removed, because something before it failed")
            elif not self.stopped:
                await self._remove(pbx, note)

    async def _create(self, pbx: PBX, note: Any) -> None:
        steps = self.plan.creations
        run = pbx.create_many(
            (step.row.new for step in self._feed(steps) if step.row is not None),
            concurrency=self.concurrency,
            if_exists="error",
            grace=write_run.GRACE,
        )
        try:
            async with run:
                async for outcome in run:
                    note(steps[outcome.index], outcome)
        finally:
            for outcome in run.late_results:
                note(steps[outcome.index], outcome)
            self._note_doubt(steps, run.in_doubt)

    async def _change(self, pbx: PBX, note: Any) -> None:
        steps = {step.number: step for step in self.plan.changes}
        in_doubt: list[str] = []
        try:
            await pbx.patch_many(
                ((self.listed[step.number], step.settings) for step in self._feed(steps.values())),
                lambda outcome: note(steps[outcome.key], outcome),
                in_doubt,
                concurrency=self.concurrency,
                grace=write_run.GRACE,
            )
        finally:
            self._note_doubt(steps.values(), in_doubt)

    async def _remove(self, pbx: PBX, note: Any) -> None:
        steps = {step.number: step for step in self.plan.removals}
        in_doubt: list[str] = []
        try:
            await pbx.remove_many(
                (step.number for step in self._feed(steps.values())),
                lambda outcome: note(steps[outcome.key], outcome),
                in_doubt,
                if_missing="skip",
                concurrency=self.concurrency,
                grace=write_run.GRACE,
            )
        finally:
            self._note_doubt(steps.values(), in_doubt)

    def _feed(self, steps: Any) -> Iterator[Step]:
        for step in steps:
            if self.stopped:
                return
            yield step

    def _note(self, step: Step, outcome: BulkResult[Any]) -> None:
        self.note_reply(outcome.error)
        if outcome.error is None:
            step.outcome = DONE[step.action]
            return
        step.outcome, step.error = _FAILED, str(outcome.error)
        self.failures.append((step.key, outcome.error))
        if outcome.settled:
            self.settled.add(step.key)

    @staticmethod
    def _note_doubt(steps: Any, numbers: Sequence[str]) -> None:
        in_doubt = {*numbers}
        for step in steps:
            if step.number in in_doubt and step.outcome != DONE[step.action]:
                step.outcome = f"perhaps {DONE[step.action]}"


def _conclude(
    work: _Apply, source: Rows, target: NewFile | None, output: Format, options: list[str]
) -> int:
    """Write the report, print the outcome, and return the exit code."""
    plan = work.plan
    # Write the report.
    _note_rows(plan)
    written: Path | None = None
    lost: OSError | None = None
    if target is not None:
        try:
            write_report(target.text, source, source.rows, ("outcome", "error"))
            written = target.publish()
        except OSError as error:
            lost = error

    # Write the failures to stderr.
    code = report_failures(work.failures, work.settled)
    if work.fatal is not None:
        code = report_error(work.fatal)
    left = [step for step in plan.steps if step.outcome != DONE[step.action]]
    count = len(left) + len(plan.errors)
    if lost is not None:
        # Without a report, these lines are the only record of each row's outcome.
        for step in left:
            print_error(f"{step.key}: {step.outcome}{f': {step.error}' if step.error else ''}")
        code = code or FAILED
        where = f"{lost.filename}: " if lost.filename else ""
        print_error(f"the report can't be written: {where}{lost.strerror or lost}")
    if count:
        doubtful = [step.number for step in left if step.outcome not in (_FAILED, _UNTRIED)]
        doubt = f"; perhaps done: {shorten(doubtful)}" if doubtful else ""
        again = "apply the file again to see what is left of it"
        if written is not None:
            if written.suffix.lower() not in SUFFIXES[source.form]:
                options = ["--format", source.form.value, *options]
            again = "portsip-async extensions apply " + shell_words([written, *options])
        whole = len(plan.steps) + len(plan.errors)
        print_error(f"{count:,} of {whole:,} changes were not carried out{doubt}", again)

    # Last, so that stderr is complete even if nobody reads standard output.
    with reader_may_leave():
        if output is Format.TABLE:
            print_line(f"{result(plan)}.")
            if written is not None:
                print_line(f"Report: {written}")
        else:
            write_plan(plan, output, None if written is None else str(written))
    if work.interrupted:
        return INTERRUPTED
    return code or (FAILED if count else 0)


def _note_rows(plan: Plan) -> None:
    """Set the outcome of each row of the file."""
    for row in plan.unchanged:
        row.outcome = "unchanged"
    for row in plan.errors:
        row.outcome = _FAILED
    for step in plan.steps:
        if step.row is not None:
            step.row.outcome, step.row.problem = step.outcome, step.error or ""
