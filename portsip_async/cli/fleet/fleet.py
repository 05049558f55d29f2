"""``portsip-async fleet``: watch many PBXes from several processes that share a Redis."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from ... import PortSIPError
from ..command_group import CommandGroup
from ..failures import Failure, exit_code, print_error, print_note, shorten
from ..fields import plain
from ..options import read_lines, spread
from ..output import Format, Output
from ..reasons import plain_record
from ..terminal.repeating import repeating
from .loading import EXTRA, METAVAR, load_fleet
from .log import log_lines
from .rows import EVENT_ROW, GroupRow, PBXRow, age_of, event_row, group_rows, pbx_rows

if TYPE_CHECKING:
    from ...fleet import Fleet, FleetEvent, FleetStatus

T = TypeVar("T")

_NEEDS: Final = f"It needs an extra: {EXTRA}".replace("[", r"\[")  # no style of rich

fleet: typer.Typer = typer.Typer(
    cls=CommandGroup,
    name="fleet",
    add_completion=False,
    help=f"Watch many PBXes from several processes. {_NEEDS}",
    no_args_is_help=True,
)

Target = Annotated[
    str,
    typer.Argument(
        metavar=METAVAR,
        help="The module and the Fleet in it, such as noc:fleet for noc.py in this directory.",
        show_default=False,
    ),
]
PBXes = Annotated[
    list[str],
    typer.Argument(
        metavar="PBX",
        help="PBXes, by their names in the fleet; - reads them from standard input.",
        show_default=False,
    ),
]


@fleet.command(epilog=_NEEDS)
@spread
def work(
    target: Target,
    *,
    concurrency: Annotated[int, typer.Option(min=1, help="PBXes at the same time, at most.")] = 200,
    grace: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Time to finish what is under way when it ends."
        ),
    ] = 30.0,
) -> None:
    """Run a worker of the fleet until a signal ends it.

    Start as many as you want, on as many machines. A terminal shows a live table of all PBXes of
    the fleet, and a pipe gets a line when a PBX stops answering and when it is back. Ctrl-C and
    SIGTERM let the worker finish the cycles under way, and the exit code is 0. A second one ends it
    at once.

    Example: portsip-async fleet work noc:fleet
    """
    from .worker import run_worker

    found = load_fleet(target)
    with _redis_failures():
        asyncio.run(run_worker(found, concurrency=concurrency, grace=grace))


@fleet.command(epilog=_NEEDS)
@spread
def status(
    target: Target,
    *,
    groups: Annotated[
        bool, typer.Option("--groups", help="The groups of consumers instead of the PBXes.")
    ] = False,
    output: Output,
) -> None:
    """Show how each PBX of the fleet is doing, and how far each group is behind.

    A table has the PBXes, those that fail last, and then the groups. The other formats have the
    PBXes, or with --groups the groups. The lag of a group is the number of events that it has not
    acknowledged.

    Example: portsip-async fleet status noc:fleet | jq 'select(.consecutive_failures > 0)'
    """
    output.check(GroupRow if groups else PBXRow)
    found = load_fleet(target)
    with _redis_failures():
        shown: FleetStatus = asyncio.run(_use(found, lambda: found.status()))
    if groups:
        _write_groups(shown, output)
        return
    _write_pbxes(shown, output)
    if output.format is Format.TABLE and output.columns is None and shown.groups:
        sys.stdout.write("\n")
        _write_groups(shown, output)
    count = len(shown.pbxes)
    failing = sum(row.is_failing for row in pbx_rows(shown))
    if count:
        print_note(f"{count - failing:,} of {count:,} PBXes answer.")
    else:
        print_note("The fleet has no PBXes.")


@fleet.command(epilog=_NEEDS)
@spread
def changes(
    target: Target,
    *,
    group: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The group of consumers. Each group gets every event, once or more often.",
            show_default=False,
        ),
    ],
    consumer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The name in the group; else the host and the process."),
    ] = None,
    from_start: Annotated[
        bool,
        typer.Option(
            "--from-start", help="Let a new group begin with the oldest event, not with the next."
        ),
    ] = False,
    output: Output,
) -> None:
    """Print the changes of all PBXes until Ctrl-C, and when a PBX can't be reached.

    A terminal gets lines to read, and a pipe JSON lines. The column event says what happened: a
    change of an extension, an outage of a PBX, its end (back), or a resync, which has all
    statuses of a PBX in the column snapshot, because the group missed changes. An event is
    acknowledged once it is written. Of several consumers of a group, one gets the events, and the
    others stand by.

    Example: portsip-async fleet changes noc:fleet --group board | jq .after.status
    """
    if output.format is Format.JSON:
        raise typer.BadParameter("must be jsonl or csv for changes", param_hint="'--output'")
    if output.check(EVENT_ROW) and output.format is Format.TABLE:
        raise typer.BadParameter("needs --output jsonl or csv", param_hint="'--columns'")
    found = load_fleet(target)

    async def print_all(write: Callable[["FleetEvent"], None]) -> None:
        events = found.changes(group, consumer=consumer, from_start=from_start)
        async with found, aclosing(events), repeating(lambda: True):
            async for event in events:
                write(event)

    with _redis_failures(), log_lines(print_error):
        if output.format is Format.TABLE:
            from .event_lines import EventLines

            asyncio.run(print_all(EventLines().write))
        else:
            with output.rows(EVENT_ROW) as rows:
                asyncio.run(print_all(lambda event: rows.write(event_row(event))))


@fleet.command(epilog=_NEEDS)
@spread
def add(target: Target, pbxes: PBXes) -> None:
    """Add PBXes to the fleet, also while its workers run.

    Example: portsip-async fleet add noc:fleet acme globex
    """
    names = read_lines(pbxes)
    found = load_fleet(target)
    with _redis_failures():
        asyncio.run(_use(found, lambda: found.add(*names)))
    print_note(f"Added {shorten(names)}.")


@fleet.command(epilog=_NEEDS)
@spread
def remove(target: Target, pbxes: PBXes) -> None:
    """Remove PBXes from the fleet, also while its workers run.

    Consumers get a change to "gone" for each extension. The PBX itself is not touched. A removed
    PBX comes back only by 'add', even if the program's list has it.

    Example: portsip-async fleet remove noc:fleet acme
    """
    names = read_lines(pbxes)
    found = load_fleet(target)
    with _redis_failures():
        asyncio.run(_use(found, lambda: found.remove(*names)))
    print_note(f"Removed {shorten(names)}.")


async def _use(found: "Fleet", action: Callable[[], Awaitable[T]]) -> T:
    """Run an action of a fleet, and close it."""
    async with found:
        return await action()


@contextmanager
def _redis_failures() -> Iterator[None]:
    """Give an error about the fleet's Redis another hint than one about a PBX.

    Raises:
        Failure: there was one.
    """
    try:
        yield
    except PortSIPError as error:
        hint = "check the URL of the fleet, and that its Redis runs"
        raise Failure(str(error), hint, exit_code(error)) from None


def _write_pbxes(shown: "FleetStatus", output: Output) -> None:
    rows = pbx_rows(shown)
    for_people = output.format is Format.TABLE and output.columns is None
    if for_people:
        rows.sort(key=lambda row: row.is_failing)  # a terminal shows the end of a long table
    now = datetime.now(UTC)
    with output.rows(PBXRow) as written:
        for row in rows:
            cells = plain(row)
            if for_people:
                cells["last_success"] = age_of(row, now)
                cells["last_error"] = plain_record(row.last_error or "")
            written.write(cells)


def _write_groups(shown: "FleetStatus", output: Output) -> None:
    with output.rows(GroupRow) as rows:
        for row in group_rows(shown):
            rows.write(plain(row))
