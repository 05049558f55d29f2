"""OpenTelemetry metrics of a fleet, through OpenTelemetry's global meter provider.

- ``portsip.fleet.cycles``: cycles that ended, by PBX
- ``portsip.fleet.failures``: cycles that failed, by PBX and error
- ``portsip.fleet.refused_writes``: results that were refused, because another cycle came first
- ``portsip.fleet.changes``: changes that were written to the stream, by PBX
- ``portsip.fleet.last_success.age``: seconds since the last success, by PBX
- ``portsip.fleet.group.lag``: events that a group has not acknowledged, by group

They contain the names of the fleet, its PBXes and its groups, and the types of errors.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from .._version import __version__
from .events import FleetStatus

__all__ = ["FleetMetrics"]

_FLEET: Final = "portsip.fleet.name"
_PBX: Final = "portsip.fleet.pbx"
_GROUP: Final = "portsip.fleet.group"
_ERROR_TYPE: Final = "error.type"
_LAG_LIFE: Final = 60.0  # seconds


class FleetMetrics:
    """Counts the work of a fleet's workers in this process, and reports the fleet's status.

    All workers report the status of the whole fleet.
    """

    def __init__(self, fleet: str, *, now: Callable[[], float] = time.time) -> None:
        """Start without a status, so the gauges have no values yet.

        Args:
            fleet: the name of the fleet.
            now: returns the seconds since the epoch.
        """
        self._fleet = fleet
        self._now = now
        # The rest is from the last status: when it was reported, the time of each PBX's last
        # success, the time since when a PBX is known to have had none, and the lag of each group.
        self._reported = 0.0
        self._successes: dict[str, float] = {}
        self._without_success: dict[str, float] = {}
        self._lags: dict[str, int] = {}

    def cycle(self, pbx: str, error_type: str | None = None) -> None:
        """Count a cycle that ended.

        Args:
            pbx: the name of the PBX.
            error_type: the type of the error that the cycle failed with; None means a success.
        """
        _CYCLES.add(1, {_FLEET: self._fleet, _PBX: pbx})
        if error_type is not None:
            _FAILURES.add(1, {_FLEET: self._fleet, _PBX: pbx, _ERROR_TYPE: error_type})

    def refused_write(self, pbx: str) -> None:
        """Count a cycle's result that was refused, because another cycle came first."""
        _REFUSED_WRITES.add(1, {_FLEET: self._fleet, _PBX: pbx})

    def changes(self, pbx: str, count: int) -> None:
        """Count changes that were written to the stream."""
        _CHANGES.add(count, {_FLEET: self._fleet, _PBX: pbx})

    def report(self, status: FleetStatus) -> None:
        """Set the status that the gauges are read from."""
        now = self._now()
        successes = {pbx: each.last_success for pbx, each in status.pbxes.items()}
        self._without_success = {
            pbx: self._without_success.get(pbx, now)
            for pbx, success in successes.items()
            if success is None
        }
        self._successes = {
            pbx: self._without_success[pbx] if success is None else success.timestamp()
            for pbx, success in successes.items()
        }
        self._lags = {group: each.lag for group, each in status.groups.items()}
        self._reported = now
        _REPORTED[self._fleet] = self

    def close(self) -> None:
        """Remove the fleet from the gauges."""
        # Another object may have reported a fleet of the same name since.
        if _REPORTED.get(self._fleet) is self:
            del _REPORTED[self._fleet]

    def ages(self) -> Iterator[Observation]:
        """Return the seconds since the last success of each PBX. They grow without a new status."""
        now = self._now()
        for pbx, success in self._successes.items():
            # The clock of the worker that had the success may be ahead of ours.
            yield Observation(max(0.0, now - success), {_FLEET: self._fleet, _PBX: pbx})

    def lags(self) -> Iterator[Observation]:
        """Return the lag of each group; nothing if the last status is too old."""
        if self._now() - self._reported < _LAG_LIFE:
            for group, lag in self._lags.items():
                yield Observation(lag, {_FLEET: self._fleet, _GROUP: group})


# The last object to report each fleet, by the name of the fleet. All fleets of a process share the
# gauges, because OpenTelemetry uses only the first callback that is registered for a gauge.
_REPORTED: Final[dict[str, FleetMetrics]] = {}


# These run in a thread of OpenTelemetry, so they copy the dictionary first.
def _ages(_: CallbackOptions) -> Iterator[Observation]:
    for metrics in tuple(_REPORTED.values()):
        yield from metrics.ages()


def _lags(_: CallbackOptions) -> Iterator[Observation]:
    for metrics in tuple(_REPORTED.values()):
        yield from metrics.lags()


_METER: Final = get_meter("portsip_async", __version__)
_CYCLES: Final = _METER.create_counter(
    "portsip.fleet.cycles", unit="{cycle}", description="Cycles that ended."
)
_FAILURES: Final = _METER.create_counter(
    "portsip.fleet.failures", unit="{cycle}", description="Cycles that failed."
)
_REFUSED_WRITES: Final = _METER.create_counter(
    "portsip.fleet.refused_writes",
    unit="{write}",
    description="Results of cycles that were refused, because another cycle came first.",
)
_CHANGES: Final = _METER.create_counter(
    "portsip.fleet.changes",
    unit="{change}",
    description="Changes that were written to the stream.",
)
_METER.create_observable_gauge(
    "portsip.fleet.last_success.age",
    [_ages],
    unit="s",
    description="Time since the last success of a PBX.",
)
_METER.create_observable_gauge(
    "portsip.fleet.group.lag",
    [_lags],
    unit="{event}",
    description="Events that a group has not acknowledged.",
)
