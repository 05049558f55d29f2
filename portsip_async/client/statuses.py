"""What the polls and watches of all generations share: their source, and how states are checked."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

from ..arguments import check_str, check_type, plain_text
from ..bulk.batch_size import BatchSizeLearner
from ..bulk.outages import OutageLog
from ..bulk.status_batches import StatusSource
from ..bulk.status_type import S
from ..core.limits import Clock, Gate
from ..errors import ErrorScheme


def status_source(
    ask: Callable[[list[str], Gate], Coroutine[Any, Any, dict[str, S]]],
    operations: frozenset[str],
    errors: ErrorScheme,
    *,
    clock: Clock,
    outages: OutageLog,
    batch_sizes: BatchSizeLearner,
    check: Callable[[str], object] | None = None,
) -> StatusSource[S]:
    """Build the source of statuses, on the clock of a client. See `StatusSource`."""
    return StatusSource(
        ask,
        operations,
        errors,
        # Looked up at each use, because a test may replace the methods of a clock.
        clock=lambda: clock.monotonic(),
        sleep=lambda seconds: clock.sleep(seconds),
        now=lambda: datetime.fromtimestamp(clock.now(), UTC),
        outages=outages,
        batch_sizes=batch_sizes,
        check=check,
    )


def check_known(known: Mapping[str, S] | None, kind: type[S]) -> dict[str, S]:
    """Check the statuses that a watch begins with, and return them by plain number.

    Args:
        known: the statuses by number; None: there are none.
        kind: the type of a status.

    Raises:
        TypeError, ValueError: a number or a status has the wrong type, or a number is empty.
    """
    check_type("known", known, Mapping, None)
    for number, status in (known or {}).items():
        check_str("each number of known", number)
        check_type("each status of known", status, kind)
    return {plain_text(number): status for number, status in (known or {}).items()}
