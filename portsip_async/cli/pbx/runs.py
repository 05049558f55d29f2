"""Carry out runs of the SDK for the commands: reads of what exists, and writes with a report."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from ... import BulkResult, BulkRun


async def existing(
    run: BulkRun[Any], is_removed: Callable[[Exception], bool]
) -> AsyncGenerator[tuple[int, Any], None]:
    """Carry out a run of reads, and yield the index and the value of what exists.

    Raises:
        PortSIPError: a read failed for another reason than that the extension was removed.
    """
    async with run:
        async for result in run:
            if result.error is None:
                yield result.index, result.value
            elif not is_removed(result.error):
                raise result.error


async def note_results(
    run: BulkRun[Any],
    note: Callable[[BulkResult[Any]], None],
    in_doubt: list[str],
    number_of: Callable[[str], str] = str,
) -> None:
    """Carry out a run, and pass on all its results, whatever ends it.

    Args:
        run: the run.
        note: called with each result, which has the number as its key.
        in_doubt: gets the numbers that were perhaps written.
        number_of: returns the number of a key of the run.
    """

    def pass_on(result: BulkResult[Any]) -> None:
        note(msgspec.structs.replace(result, key=number_of(result.key)))

    try:
        async with run:
            async for result in run:
                pass_on(result)
    finally:
        for result in run.late_results:
            pass_on(result)
        in_doubt.extend(map(number_of, run.in_doubt))
