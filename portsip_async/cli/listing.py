"""The lists of extensions, groups and greetings: their common options, and their output."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from .. import Drift, Paginator, PortSIPError
from .connection import Connection
from .failures import Failure, exit_code, print_note
from .fields import plain
from .generation import PBX
from .options import Limit
from .output import Output
from .progress import progress

SortBy = Annotated[
    str | None,
    typer.Option(help="DEFAULT or Optional; the classic generation only.", show_default=False),
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="EXPRESSION",
        help="An OData expression such as contains(name, 'ann'); v22 only.",
        show_default=False,
    ),
]
OrderBy = Annotated[
    str | None,
    typer.Option(metavar="FIELD", help="The field to sort by; v22 only.", show_default=False),
]


@dataclass(frozen=True)
class Paging:
    """Which part of a list to read."""

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


def write_list(
    connection: Connection,
    output: Output,
    paging: Paging,
    model: type[Any],
    start: Callable[[PBX], Paginator[Any] | AsyncGenerator[Any, None]],
    narrow: tuple[str, ...] = (),
) -> None:
    """Write the items of a list as rows.

    Args:
        connection: the PBX and the account.
        output: where to write.
        paging: the part of the list to write.
        model: the type of the items.
        start: returns the list of a PBX.
        narrow: the columns of a table unless columns were requested.
    """
    output.check(model)

    async def work(pbx: PBX) -> None:
        walk = start(pbx)
        await _write(output, walk, model, paging.limit, narrow)
        if isinstance(walk, Paginator):
            _report_drift(walk.drift, counts_all=pbx.counts_all)

    connection.run(work)


async def _write(
    output: Output,
    walk: Paginator[Any] | AsyncGenerator[Any, None],
    model: type[Any],
    limit: int | None,
    narrow: Sequence[str],
) -> None:
    with (
        output.rows(model, narrow) as rows,
        progress("Reading", limit, shown=output.collects) as read,
    ):
        count = 0
        try:
            async with aclosing(walk):
                async for item in walk:
                    rows.write(plain(item))
                    read.advance()
                    count += 1
                    if count == limit:
                        break
        except PortSIPError as error:
            if error.page is None or not count:
                raise
            again = f"continue where it failed with --page {error.page}"
            raise Failure(str(error), again, exit_code(error)) from None


def _report_drift(drift: Drift, *, counts_all: bool) -> None:
    """Write a line about a list that changed while it was read."""
    changes = [f"{drift.dropped} items were received twice"] if drift.dropped else []
    if drift.count_changed and counts_all:
        changes.append("others may be missing" if changes else "some items may be missing")
    if changes:
        print_note(f"The list changed while it was read: {', and '.join(changes)}.")
