"""The metrics of a fleet, as OpenTelemetry's own SDK receives them from the global provider."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from portsip_async import PortSIPClient
from portsip_async.fleet import Fleet, FleetStatus, GroupStatus, PBXStatus
from portsip_async.fleet.metrics import FleetMetrics
from portsip_async.simulator import PBXSimulator

from .clocks import FrozenClock
from .concurrency import until


# The global provider can be set only once, so each test has a fleet of its own name.
@pytest.fixture(scope="session")
def reader() -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return reader


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def metrics(reader: InMemoryMetricReader, name: str, clock: FrozenClock) -> Iterator[FleetMetrics]:
    metrics = FleetMetrics(name, now=clock)
    yield metrics
    metrics.close()


async def test_working_fleet_reports_itself(
    reader: InMemoryMetricReader, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet on `memory://` reports its metrics until it is closed. They contain no secret."""
    monkeypatch.setattr("portsip_async.fleet.fleet.REPORT_EVERY", 0.05)
    async with PBXSimulator(extensions=5, status_seconds=0) as sim:

        async def connect(pbx: str, **shared: Any) -> PortSIPClient:
            url = sim.url if pbx == "acme" else "http://127.0.0.1:1"
            return PortSIPClient(url, username=sim.username, password=sim.password, **shared)

        pbxes = ["acme", "globex"]
        async with Fleet("memory://", name=name, connect=connect, pbxes=pbxes) as fleet:
            events = fleet.changes("board")
            first = [await anext(events) for _ in range(6)]
            await events.aclose()

            def is_reported() -> bool:
                lags = points(reader, name, "portsip.fleet.group.lag")
                ages = points(reader, name, "portsip.fleet.last_success.age")
                return lags.keys() == {("board",)} and ages.keys() == {("acme",), ("globex",)}

            await until(is_reported)
            data = reader.get_metrics_data()
    assert {event.pbx for event in first} == {"acme", "globex"}
    failures = points(reader, name, "portsip.fleet.failures")
    cycles = points(reader, name, "portsip.fleet.cycles")
    assert failures == {("globex", "ConnectError"): cycles["globex",]}
    assert cycles["acme",] >= 1
    assert points(reader, name, "portsip.fleet.changes")["acme",] == 5
    assert points(reader, name, "portsip.fleet.last_success.age") == {}
    assert points(reader, name, "portsip.fleet.group.lag") == {}
    assert data is not None
    text = data.to_json()
    assert not [each for each in (sim.password, sim.url, "127.0.0.1") if each in text]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def points(reader: InMemoryMetricReader, fleet: str, name: str) -> dict[tuple[str, ...], Any]:
    """Return the values of a metric of a fleet, by the values of its other attributes."""
    data = reader.get_metrics_data()
    return {
        tuple(str(value) for key, value in attributes.items() if key != "portsip.fleet.name"): (
            point.value  # type: ignore[union-attr]  # no histograms
        )
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if (attributes := dict(point.attributes or {}))["portsip.fleet.name"] == fleet
    }


def test_work_is_counted_by_pbx_and_error(
    metrics: FleetMetrics, reader: InMemoryMetricReader, name: str
) -> None:
    """A failed cycle counts as a cycle too."""
    metrics.cycle("acme")
    metrics.cycle("acme", "RequestTimeout")
    metrics.cycle("acme", "RequestTimeout")
    metrics.cycle("globex", "AuthenticationError")
    metrics.refused_write("acme")
    metrics.changes("acme", 3)
    metrics.changes("acme", 4)
    assert points(reader, name, "portsip.fleet.cycles") == {("acme",): 3, ("globex",): 1}
    assert points(reader, name, "portsip.fleet.failures") == {
        ("acme", "RequestTimeout"): 2,
        ("globex", "AuthenticationError"): 1,
    }
    assert points(reader, name, "portsip.fleet.refused_writes") == {("acme",): 1}
    assert points(reader, name, "portsip.fleet.changes") == {("acme",): 7}


def test_ages_grow_without_a_report(
    metrics: FleetMetrics, clock: FrozenClock, reader: InMemoryMetricReader, name: str
) -> None:
    """A PBX without a success counts from the first report. A clock ahead of ours gives zero."""
    status = FleetStatus(
        {
            "acme": PBXStatus(at(clock.now - 40)),
            "globex": PBXStatus(None),
            "initech": PBXStatus(at(clock.now + 9)),
        },
        {},
    )
    for _ in range(2):
        metrics.report(status)
        clock.now += 5.0
    ages = points(reader, name, "portsip.fleet.last_success.age")
    assert ages == {("acme",): 50, ("globex",): 10, ("initech",): 1}
    metrics.report(FleetStatus({"globex": PBXStatus(at(clock.now - 1))}, {}))
    assert points(reader, name, "portsip.fleet.last_success.age") == {("globex",): 1}
    metrics.report(
        FleetStatus({"globex": PBXStatus(at(clock.now + 1)), "acme": PBXStatus(None)}, {})
    )
    ages = points(reader, name, "portsip.fleet.last_success.age")
    assert ages == {("globex",): 0, ("acme",): 0}


def test_lags_end_without_a_report(
    metrics: FleetMetrics, clock: FrozenClock, reader: InMemoryMetricReader, name: str
) -> None:
    """A worker that can't read the status any more exports no old lag."""
    assert points(reader, name, "portsip.fleet.group.lag") == {}
    metrics.report(FleetStatus({}, {"board": GroupStatus(7), "log": GroupStatus(0)}))
    clock.now += 59.0
    assert points(reader, name, "portsip.fleet.group.lag") == {("board",): 7, ("log",): 0}
    clock.now += 1.0
    assert points(reader, name, "portsip.fleet.group.lag") == {}
    metrics.report(FleetStatus({}, {"log": GroupStatus(3)}))
    assert points(reader, name, "portsip.fleet.group.lag") == {("log",): 3}


def test_closed_fleets_have_no_gauges(
    metrics: FleetMetrics, reader: InMemoryMetricReader, name: str
) -> None:
    """A fleet that was closed does not remove a later one of the same name, nor others."""
    other = FleetMetrics(f"{name} other")
    later = FleetMetrics(name)
    metrics.report(FleetStatus({}, {"board": GroupStatus(1)}))
    other.report(FleetStatus({}, {"board": GroupStatus(2)}))
    later.report(FleetStatus({}, {"board": GroupStatus(3)}))
    metrics.close()
    metrics.close()
    assert points(reader, name, "portsip.fleet.group.lag") == {("board",): 3}
    later.close()
    assert points(reader, name, "portsip.fleet.group.lag") == {}
    assert points(reader, f"{name} other", "portsip.fleet.group.lag") == {("board",): 2}
    other.close()
