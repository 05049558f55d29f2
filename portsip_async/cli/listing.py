"""The lists of extensions, groups and greetings: their common options, and their output."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from .. import Drift, Paginator, PortSIPError
from .completion import complete_filter, complete_order, complete_sort
from .connection.connection import Connection
from .failures import Failure, exit_code, print_note
from .fields import plain
from .filters import Filters, read_filters
from .options import Limit
from .output import Output
from .pbx.generation import PBX, Record
from .terminal.progress import Progress, progress

SortBy = Annotated[
    str | None,
    typer.Option(
        help="DEFAULT or Optional; the classic generation only, and in v22 --order-by.",
        autocompletion=complete_sort,
        show_default=False,
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FIELD=VALUE",
        help="Only rows whose field has this value, such as status=ON_CALL; also FIELD!=VALUE, and"
        " FIELD~TEXT for a part of the value. Repeatable: all must hold. Capitals don't matter, and"
        " an empty VALUE finds rows without one.",
        autocompletion=complete_filter,
        show_default=False,
    ),
]
OrderBy = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD",
        help="The field to sort by, such as name or 'name desc'; v22 only.",
        autocompletion=complete_order,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Paging:
    """Which part of a list to read."""

    filter: Filter = None
    limit: Limit = None
    page: Annotated[int, typer.Option(min=1, help="The first page to read.")] = 1
    page_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Items per request. By default 100 in v22, which allows no more; else 500, or 100"
            " if the PBX refuses that.",
            show_default=False,
        ),
    ] = None

    @property
    def pages(self) -> dict[str, Any]:
        """The arguments of the SDK's lists."""
        return {"page": self.page, "page_size": self.page_size}


Walk = Paginator[Any] | AsyncGenerator[Any, None]
_CHUNK: Final = 100  # items whose states are read together


def write_list(
    connection: Connection,
    output: Output,
    paging: Paging,
    model: Record,
    start: Callable[[PBX, str | None], Walk],
    *,
    narrow: tuple[str, ...] = (),
    wide: tuple[str, ...] = (),
    with_state: Record | None = None,
    odata: bool = True,
) -> None:
    """Write the items of a list as rows.

    Args:
        connection: the PBX and the account.
        output: where to write.
        paging: the part of the list to write.
        model: the type of the items.
        start: returns the list of a PBX, given an expression of OData or None.
        narrow: the columns of a table unless columns were requested; all if empty.
        wide: further columns, as far as a terminal has room for them.
        with_state: the type of the items with their states, which are read only if a filter or a
            column needs them; None if there are no states to read.
        odata: whether a PBX that evaluates expressions does so for this list.
    """
    kind = connection.kind
    full = with_state or model
    filters = read_filters(paging.filter, full, odata=odata and kind.odata)
    columns = output.check(full) or []
    needed = {*filters.fields, *columns} if with_state is not None else set[str]()
    if kind.state_fields & needed:
        model = full
        if "status" not in narrow:
            narrow = (*narrow[:1], "status", *narrow[1:])
        wide = ("presence", "presence_note", *wide)

    async def work(pbx: PBX) -> None:
        # With --all-profiles, only some PBXes may need requests for states.
        of_states = pbx.state_fields & needed
        size = 0
        if of_states & filters.fields:
            size = _CHUNK
        elif of_states:
            # A state takes a request, so read no more than a limit alone would need.
            size = min(paging.limit or _CHUNK, _CHUNK)
        walk = start(pbx, filters.expression)
        title = "Reading with statuses" if size else "Reading"
        total = None if filters.fields else paging.limit
        with (
            output.rows(model, narrow, wide) as rows,
            progress(title, total, shown=output.leaves_terminal) as read,
        ):
            writer = _Writer(pbx, rows.write, filters, filters.without(of_states), paging.limit)
            await writer.write_all(walk, size, read)
        if isinstance(walk, Paginator):
            _report_drift(walk.drift, counts_all=pbx.counts_all)

    connection.run(work)


@dataclass
class _Writer:
    """Writes the items of a list that match, until a limit.

    Attributes:
        pbx: reads states.
        write_row: writes a row.
        filters: what a row must match.
        early: the same without what needs a state.
        limit: the most rows to write; None for all.
    """

    pbx: PBX
    write_row: Callable[[Mapping[str, Any]], None]
    filters: Filters
    early: Filters
    limit: int | None
    written: int = 0

    async def write_all(self, walk: Walk, size: int, read: Progress) -> None:
        """Write the items.

        Args:
            walk: the list.
            size: the items whose states are read together; 0 reads none.
            read: shows how many items were read.

        Raises:
            Failure: a page failed; the hint tells how to continue.
        """
        waiting: list[Any] = []  # for their states
        began = False
        failed: PortSIPError | None = None
        try:
            async with aclosing(walk):
                async for item in walk:
                    began = True
                    if size and self.early.match(plain(item)):
                        waiting.append(item)
                        if len(waiting) < size:
                            continue
                        found = await self.pbx.with_states(waiting, read.advance)
                        waiting = []
                    else:
                        found = [] if size else [item]
                        read.advance()
                    if self._write(found):
                        return
        except PortSIPError as error:
            if error.page is None or not began:
                raise
            failed = error
        self._write(await self.pbx.with_states(waiting, read.advance) if waiting else [])
        if failed is not None:
            again = f"continue where it failed with --page {failed.page}"
            raise Failure(str(failed), again, exit_code(failed)) from None

    def _write(self, items: Iterable[Any]) -> bool:
        """Write those of some items that match, and return whether the limit is reached."""
        for item in items:
            row = plain(item)
            if self.filters.match(row):
                self.write_row(row)
                self.written += 1
                if self.written == self.limit:
                    return True
        return False


def _report_drift(drift: Drift, *, counts_all: bool) -> None:
    """Write a line about a list that changed while it was read."""
    changes = [f"{drift.dropped} items were received twice"] if drift.dropped else []
    if drift.count_changed and counts_all:
        changes.append("others may be missing" if changes else "some items may be missing")
    if changes:
        print_note(f"The list changed while it was read: {', and '.join(changes)}.")
