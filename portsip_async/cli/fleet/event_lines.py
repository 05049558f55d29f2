"""The events of a fleet as lines for people."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ... import ExtensionStatus
from ..board import change_line
from ..output import console
from ..pbx.classic import ClassicPBX
from ..pbx.v22 import V22PBX
from ..reasons import plain_record
from ..terminal.terminal_text import one_line, printable, short_time

if TYPE_CHECKING:
    from ...fleet import FleetEvent


class EventLines:
    """Writes a line for each event to standard output."""

    def __init__(self) -> None:
        """Find out what the terminal can show."""
        self._console = console()

    def write(self, event: "FleetEvent") -> None:
        """Write a line."""
        self._console.print(event_line(event, datetime.now(UTC)), soft_wrap=True)


def event_line(event: "FleetEvent", now: datetime) -> Text:
    """Draw an event as a line."""
    from ...fleet import FleetChange, FleetOutage

    pbx = printable(event.pbx)
    if isinstance(event, FleetChange):
        change = event.change
        return change_line(change, f"{pbx} {printable(change.extension_number)}", _detail)
    if not isinstance(event, FleetOutage):
        count = len(event.snapshot)
        text = f"changes were lost; {count:,} statuses replace them"
        return Text(f"{_time(now)}  {pbx}  ").append(text, "bold yellow")
    if event.error is None:
        lasted = short_time(now - event.since)
        return Text(f"{_time(now)}  {pbx}  ").append(f"answers again, after {lasted}", "green")
    text = f"no answer: {one_line(plain_record(event.error))}"
    return Text(f"{_time(event.since)}  {pbx}  ").append(text, "bold red")


def _time(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S")


def _detail(state: Any) -> str:
    return ClassicPBX.detail(state) if isinstance(state, ExtensionStatus) else V22PBX.detail(state)
