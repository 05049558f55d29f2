"""What a worker shows of its fleet, whether on a board or as lines."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .rows import PBXRow, pbx_rows

if TYPE_CHECKING:
    from ...fleet import FleetStatus

_MESSAGES: Final = 3  # latest lines of the log


@dataclass
class FleetView:
    """The state of the fleet, as far as the worker knows it.

    Attributes:
        grace: seconds that the last cycles may take.
        rows: the PBXes; None before they were read.
        lags: the lag of each group, by its name.
        problem: why the state can't be read; None while it can.
        is_ending: whether the worker finishes its last cycles.
        messages: the latest lines of the log.
    """

    grace: float
    rows: list[PBXRow] | None = None
    lags: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    is_ending: bool = False
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=_MESSAGES))

    def update(self, status: "FleetStatus") -> None:
        """Store a new state of the fleet."""
        self.rows = pbx_rows(status)
        self.lags = {name: group.lag for name, group in sorted(status.groups.items())}
        self.problem = None

    @property
    def tried(self) -> int:
        """How many PBXes had a cycle, whether it brought statuses or failed."""
        return sum(row.was_tried for row in self.rows or ())

    @property
    def ending_text(self) -> str:
        """What to say while the worker ends."""
        return f"finishing the last cycles in {self.grace:g} s at most; a second signal ends it now"
