"""``portsip-async extensions import``: many new extensions from a file.

The whole file is checked before the first row is sent, and the report is opened. Ctrl-C, SIGTERM
and SIGHUP stop what is new and let what is in flight finish, so that the outcome of each row is
known; a second one ends at once. What was not done goes to a report of the same form, with the
reasons, which can be imported in its turn; rows that were sent, and perhaps created, stand at its
end.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import ENOENT
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from .. import (
    BulkResult,
    Conflict,
    ConnectError,
    NewExtension,
    PortSIPClient,
    RequestTimeout,
    TransportError,
)
from .connect import Connection
from .failures import FAILED, INTERRUPTED, USAGE, Failure, tell, tell_error, tell_many
from .files import NewFile, new_file
from .options import shell_words, spread, words_of
from .output import Format, Output
from .progress import progress
from .rows import SUFFIXES, FileFormat, Row, Rows, read_rows, report_path, write_report

_AWAY: Final = 24  # rows in a row for which the PBX was not to be reached, after which we stop
_GRACE: Final = 1.0  # seconds for what is in flight, once the run is given up
_TOLD: Final = 5  # rows that are told one by one
_TOLD_DRY: Final = 20  # the same in a dry run, which writes no report
_DEVICES: Final = (("/", "dev"), ("/", "proc"))  # where a report beside FILE has no place
_UNTRIED: Final = "not tried"
_PERHAPS: Final = "perhaps created"


class Plan(msgspec.Struct, frozen=True):
    """What an import would do.

    Attributes:
        rows: rows of the file.
        new: extensions that would be created.
        existing: rows whose number is taken.
        unreadable: rows that can't be read.
        taken: the numbers that are taken.
    """

    rows: int
    new: int
    existing: int
    unreadable: int
    taken: tuple[str, ...]


class Outcome(msgspec.Struct, frozen=True):
    """What an import did.

    Attributes:
        rows: rows of the file.
        created: extensions that were created.
        skipped: rows passed over, since their number is taken.
        failed: rows that failed or can't be read.
        untried: rows that were not sent.
        in_doubt: rows that were sent, and perhaps created.
        report: the file that holds all that was not, or perhaps not, created; None where all was,
            or where it could not be written.
    """

    rows: int
    created: int
    skipped: int
    failed: int
    untried: int
    in_doubt: int
    report: str | None


@spread
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, dir_okay=False, readable=True, help="A .csv or .jsonl."
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and the PBX; create nothing.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Pass over numbers that are taken."),
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the rest where rows can't be read.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where what failed goes; else beside FILE, as NAME.failed.csv.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        FileFormat | None,
        typer.Option(
            "--format", help="The form, where the name does not tell it.", show_default=False
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Rows in flight.")] = 8,
    connection: Connection,
    output: Output,
) -> None:
    """Create extensions from a CSV or JSON lines file.

    The first line of CSV names the fields: extension_number, password, web_access_password, and any
    of those that 'show' tells, as profile.first_name. A line of JSON is an object as 'show' prints
    it.

    The whole file is checked before a row is sent; --dry-run stops there, and tells which numbers
    are taken. Ctrl-C stops cleanly: what is in flight finishes. What failed or was not sent goes to
    a report beside FILE, which can be mended and imported again.

    Example: portsip-async extensions import people.csv --dry-run
    """
    source = read_rows(file, form)
    readable = [row for row in source.rows if row.extension is not None]
    unreadable = [row for row in source.rows if row.extension is None]
    _tell_unreadable(file, unreadable, _TOLD_DRY if dry_run else _TOLD)
    if dry_run:
        output.check(Plan)
        plan = _plan(file, connection.run(_taken), source, readable)
        output.show(_shortened(plan) if output.format is Format.TABLE else plan)
        raise typer.Exit(FAILED if unreadable or (plan.existing and not skip_existing) else 0)
    if unreadable and not keep_going:
        raise Failure(
            f"{len(unreadable):,} of {len(source.rows):,} rows can't be read; nothing was sent",
            "mend them, or import the others with --keep-going",
        )
    output.check(Outcome)
    options = words_of(connection)
    work = _Import(readable, skip_existing=skip_existing, concurrency=concurrency)
    with _opened(file, report, source.form) as target:
        try:
            connection.run(work.run)
        except (KeyboardInterrupt, asyncio.CancelledError):
            if not work.began:
                raise typer.Exit(INTERRUPTED) from None
            work.interrupted = True
        except Exception as error:
            # Whatever ends it, the rows that were created by then must be reported.
            if not work.began:
                raise
            work.fatal = error
        raise typer.Exit(_conclude(work, source, unreadable, target, output, options))


@contextmanager
def _opened(file: Path, asked: Path | None, form: FileFormat) -> Iterator[NewFile]:
    """Open the report before a row is sent: what becomes of the rows must not get lost.

    Raises:
        Failure: it can't be written.
    """
    report = asked or report_path(file, form)
    with ExitStack() as stack:
        try:
            if asked is not None and asked.exists() and asked.samefile(file):
                raise Failure(
                    f"the report must be another file than the one that is imported, got {asked}",
                    "name another file with --report",
                    USAGE,
                )
            beside_device = not file.is_file() and report.parent.resolve().parts[:2] in _DEVICES
            if asked is None and beside_device:
                raise FileNotFoundError(ENOENT, "No folder for files", str(report))
            target = stack.enter_context(new_file(report, replace=False))
        except OSError as error:
            raise Failure(
                f"the report can't be written: {report}: {error.strerror}; nothing was sent",
                "name another file with --report",
            ) from None
        yield target


class _Import:
    """One run over the rows that can be read; notes on each row what became of it."""

    def __init__(self, rows: list[Row], *, skip_existing: bool, concurrency: int) -> None:
        self.began = False
        self.interrupted = False
        self.fatal: Exception | None = None
        self.created = 0
        self.skipped = 0
        self.failures: list[tuple[str, Exception]] = []
        self.in_doubt: list[Row] = []
        self._rows = rows
        self.skips = skip_existing
        self._concurrency = concurrency
        self._stopped = False
        self._away = 0
        for row in rows:
            row.problem = _UNTRIED

    async def run(self, pbx: PortSIPClient) -> None:
        """Create all, until the end, Ctrl-C, or the PBX is away."""
        await pbx.extensions.list(page_size=1)  # so that a wrong password costs no report
        self.began = True
        run = pbx.extensions.create_many(
            self._feed(),
            concurrency=self._concurrency,
            if_exists="skip" if self.skips else "error",
            grace=_GRACE,
        )
        with self._interruptible(), progress("Importing", len(self._rows)) as done:
            try:
                async with run:
                    async for result in run:
                        self._note(result)
                        done.advance()
            finally:
                for result in run.late_results:
                    self._note(result)
                self._doubt({*run.in_doubt})

    @property
    def ended_early(self) -> bool:
        """Whether some rows were perhaps not sent, for a reason that lies in none of them."""
        return self._stopped or self.interrupted or self.fatal is not None

    def _doubt(self, numbers: set[str]) -> None:
        """Note of which extensions it stayed unknown whether they were created."""
        for row in self._rows:
            if row.problem and row.extension and row.extension.extension_number in numbers:
                why = "" if row.problem == _UNTRIED else f": {row.problem}"
                row.problem = f"{_PERHAPS}{why}"
                self.in_doubt.append(row)

    def _feed(self) -> Iterator[NewExtension]:
        for row in self._rows:
            if self._stopped:
                return
            assert row.extension is not None  # noqa: S101 - only such rows are given
            yield row.extension

    def _note(self, result: BulkResult[None]) -> None:
        row = self._rows[result.index]
        if result.error is None:
            row.problem = ""
            self.created += not result.skipped
            self.skipped += result.skipped
            self._away = 0
            return
        row.problem = str(result.error)
        self.failures.append((row.key, result.error))
        away = isinstance(result.error, ConnectError | RequestTimeout | TransportError)
        self._away = self._away + 1 if away else 0
        if self._away >= _AWAY and not self._stopped:
            self._stopped = True
            tell("the PBX can't be reached any more; no further row is sent")

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C stop what is new; a second one ends all."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def stop() -> None:
            if self.interrupted and task is not None:
                task.cancel()
                return
            self.interrupted = self._stopped = True
            tell("stopping; what is in flight finishes. Ctrl-C again ends at once")

        # What was ignored stays ignored. Loops on Windows have no handlers; there the first Ctrl-C
        # ends all. So it is in a thread.
        before = signal.getsignal(signal.SIGINT)
        handled = False
        if before not in (None, signal.SIG_IGN):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(signal.SIGINT, stop)
                handled = True
        try:
            yield
        finally:
            if handled:
                loop.remove_signal_handler(signal.SIGINT)
                signal.signal(signal.SIGINT, before)


async def _taken(pbx: PortSIPClient) -> set[str]:
    with progress("Reading") as read:
        taken = set()
        async for extension in pbx.extensions.list(prefetch=2):
            taken.add(extension.extension_number)
            read.advance()
    return taken


def _plan(file: Path, taken: set[str], source: Rows, readable: list[Row]) -> Plan:
    """Compare the rows with the numbers that the PBX has, and name those that are taken."""
    found = [
        row
        for row in readable
        if row.extension is not None and row.extension.extension_number in taken
    ]
    if found:
        more = f" and {len(found) - _TOLD_DRY:,} more" if len(found) > _TOLD_DRY else ""
        keys = ", ".join(row.key for row in found[:_TOLD_DRY])
        count = f"{len(found):,} of {len(source.rows):,} numbers"
        tell(f"{file.name}: {count} are taken: {keys}{more}")
    return Plan(
        rows=len(source.rows),
        new=len(readable) - len(found),
        existing=len(found),
        unreadable=len(source.rows) - len(readable),
        taken=tuple(row.extension.extension_number for row in found if row.extension),
    )


def _shortened(plan: Plan) -> Plan:
    """Keep as many of the numbers as a table has room for."""
    more = len(plan.taken) - _TOLD
    if more <= 0:
        return plan
    return msgspec.structs.replace(plan, taken=(*plan.taken[:_TOLD], f"and {more:,} more"))


def _tell_unreadable(file: Path, rows: list[Row], most: int) -> None:
    for row in rows[:most]:
        tell(f"{file.name} {row.key}: {row.problem}")
    if len(rows) > most:
        tell(f"{file.name}: {len(rows) - most:,} more rows can't be read")


def _conclude(
    work: _Import,
    source: Rows,
    unreadable: list[Row],
    target: NewFile,
    output: Output,
    options: list[str],
) -> int:
    """Write the report, print the outcome, and return the exit code."""
    doubtful = {row.line for row in work.in_doubt}
    certain = [row for row in source.rows if row.problem and row.line not in doubtful]
    left = [*certain, *work.in_doubt]
    untried = sum(row.problem == _UNTRIED for row in certain)
    taken = sum(isinstance(error, Conflict) for _, error in work.failures)
    written: Path | None = None
    lost: OSError | None = None
    if left:
        try:
            write_report(target.text, source, left)
            written = target.publish()
        except OSError as error:
            lost = error
    code = tell_many(work.failures)
    if work.fatal is not None:
        code = tell_error(work.fatal)
    if lost is not None:
        # Without a report, these lines are the only record of each row's outcome.
        for row in left:
            tell(f"{row.key}: {row.problem}")
        code = code or FAILED
    perhaps = f", of {len(work.in_doubt):,} it is not known" if work.in_doubt else ""
    count = f"{len(certain):,} of {len(source.rows):,} rows were not imported{perhaps}"
    if written is not None:
        # Else what was created meanwhile, or was there before, would fail then.
        if work.in_doubt or work.ended_early or work.skips or taken == len(left):
            options = [*options, "--skip-existing"]
        if written.suffix.lower() not in SUFFIXES[source.form]:
            options = ["--format", source.form.value, *options]
        again = "portsip-async extensions import " + shell_words([written, *options])
        tell(f"{count}; they are in {written}", again if written.is_file() else "")
    elif lost is not None:
        where = f"{lost.filename}: " if lost.filename else ""
        tell(f"{count}; the report can't be written: {where}{lost.strerror or lost}")
    # Last, so that all of this is printed even if nobody reads standard output.
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
