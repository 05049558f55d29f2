"""Spans and metrics, as OpenTelemetry's own SDK receives them."""

import asyncio
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from portsip_async import (
    Endpoint,
    NotFound,
    PortSIPClient,
    PortSIPError,
    RateLimited,
    RetryPolicy,
    StaticToken,
    telemetry,
)
from portsip_async.core.observer import Observer
from portsip_async.simulator import PBXSimulator
from portsip_async.telemetry import Telemetry

from .clocks import leaping
from .concurrency import Vault, under_way, until
from .conftest import ClientMaker
from .operations import OPERATIONS, SECRETS, Operation
from .test_secrecy import forms
from .test_tracebacks import frames_of
from .wire_server import WireServer, hang_up, reply

Points = list[tuple[dict[str, Any], float]]


class Seen:
    """What was told, by name."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self._tracers, meter_provider=self._meters)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Tell the spans that ended, in that order."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def points(self, name: str) -> Points:
        """Tell what a metric holds: a counter's value, or how often a histogram was fed."""
        data = self._reader.get_metrics_data()
        found: Points = []
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "portsip_async"
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            count: Any = getattr(point, "count", None)
                            value = point.value if count is None else count  # type: ignore[union-attr]  # either kind
                            found.append((dict(point.attributes or {}), value))
        return found

    def dump(self) -> str:
        """Tell everything as text."""
        data = self._reader.get_metrics_data()
        spans = "".join(span.to_json() for span in self.spans())
        return spans + ("" if data is None else data.to_json())

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    seen.close()


@pytest.fixture
def pbx(make_client: ClientMaker, seen: Seen) -> PortSIPClient:
    return make_client(on_attempt=seen.telemetry)


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def identity(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


async def test_call_is_a_span_with_an_attempt_below(
    pbx: PortSIPClient, sim: PBXSimulator, seen: Seen
) -> None:
    """An attempt carries what the semantic conventions of HTTP clients ask for."""
    await pbx.extensions.show("101")
    call, attempt = seen.span("extensions.show"), seen.span("GET /api/extensions/show")
    assert call.kind is SpanKind.INTERNAL
    assert dict(call.attributes or {}) == {"portsip.operation": "extensions.show"}
    assert parent(call) is None
    assert attempt.kind is SpanKind.CLIENT
    assert parent(attempt) == identity(call)
    assert dict(attempt.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": sim.port,
        "url.full": f"{sim.url}/api/extensions/show",
        "url.template": "/api/extensions/show",
        "portsip.operation": "extensions.show",
    }
    assert attempt.status.status_code is StatusCode.UNSET
    assert call.status.status_code is StatusCode.UNSET
    assert attempt.start_time is not None
    assert attempt.end_time is not None
    assert call.start_time is not None
    assert call.end_time is not None
    assert attempt.start_time < attempt.end_time <= call.end_time


async def test_repeats_are_counted_from_the_first_resend(
    pbx: PortSIPClient, sim: PBXSimulator, seen: Seen
) -> None:
    """Failed attempts are told with their status, later ones with their number."""
    await pbx.extensions.show("101")
    sim.fail("extensions.show", status=503, times=1)
    sim.fail("extensions.show", drop=True, times=1)
    await pbx.extensions.show("102")
    _, first, second, third = seen.spans("GET /api/extensions/show")
    told = [
        (
            (span.attributes or {}).get("http.request.resend_count"),
            (span.attributes or {}).get("http.response.status_code"),
            (span.attributes or {}).get("error.type"),
            span.status.status_code,
        )
        for span in (first, second, third)
    ]
    assert told == [
        (None, 503, "503", StatusCode.ERROR),
        (1, None, "TransportError", StatusCode.ERROR),
        (2, 200, None, StatusCode.UNSET),
    ]
    call = seen.spans("extensions.show")[1]
    assert {parent(span) for span in (first, second, third)} == {identity(call)}
    assert call.status.status_code is StatusCode.UNSET


async def test_failed_call_names_its_error(pbx: PortSIPClient, seen: Seen) -> None:
    """A call's error is our own type; nothing of its text is in the span."""
    with pytest.raises(NotFound):
        await pbx.extensions.show("nobody")
    call = seen.span("extensions.show")
    assert (call.attributes or {})["error.type"] == "NotFound"
    assert call.status.status_code is StatusCode.ERROR
    assert not call.status.description
    assert not call.events
    attempt = seen.span("GET /api/extensions/show")
    assert (attempt.attributes or {})["error.type"] == "404"
    assert not attempt.events


async def test_refusal_inside_a_200_is_an_error(
    wire: WireServer, make_client: ClientMaker, seen: Seen
) -> None:
    """Where the status tells of no error, the attempt names ours."""
    pbx = make_client(
        wire.url,
        token="t",
        on_attempt=seen.telemetry,
        retry=RetryPolicy(attempts=1),
    )
    wire.script = [reply(b'{"err_code": 403.5, "msg": "slowly"}')]
    with pytest.raises(RateLimited):
        await pbx.extensions.show("101")
    attributes = seen.span("GET /api/extensions/show").attributes or {}
    assert attributes["http.response.status_code"] == 200
    assert attributes["error.type"] == "RateLimited"


async def test_renewal_is_a_span_with_its_requests_below(pbx: PortSIPClient, seen: Seen) -> None:
    """The first call sets off a login, which is told below it."""
    await pbx.extensions.show("101")
    renewal, login = seen.span("token renewal"), seen.span("account.verify")
    assert parent(renewal) == identity(seen.span("extensions.show"))
    assert parent(login) == identity(renewal)
    assert parent(seen.span("POST /api/account/credentials/verify")) == identity(login)
    assert seen.points("portsip.client.token.renewals") == [({}, 1)]


async def test_renewal_by_the_applications_own_credentials(
    sim: PBXSimulator, make_client: ClientMaker, seen: Seen
) -> None:
    """Renewals are counted whoever fetches the token, those that fail with their error."""
    vault = Vault()
    vault.error = OSError("the vault is shut")
    pbx = make_client(credentials=vault, on_attempt=seen.telemetry)
    with pytest.raises(OSError, match="shut"):
        await pbx.extensions.show("101")
    assert seen.points("portsip.client.token.renewals") == [({"error.type": "OSError"}, 1)]
    renewal = seen.span("token renewal")
    assert renewal.status.status_code is StatusCode.ERROR
    assert not renewal.events


async def test_background_renewal_does_not_hold_the_call(pbx: PortSIPClient, seen: Seen) -> None:
    """A renewal of a stale token is counted like another."""
    clock = leaping(pbx)
    await pbx.extensions.show("101")
    clock.leap(24)
    await pbx.extensions.show("101")
    await until(lambda: len(seen.spans("token renewal")) == 2)
    assert seen.points("portsip.client.token.renewals") == [({}, 2)]
    assert seen.spans("account.refresh")


async def test_durations_and_attempts(pbx: PortSIPClient, sim: PBXSimulator, seen: Seen) -> None:
    """Requests and calls are timed, and attempts counted, by operation and error."""
    await pbx.account.refresh()
    sim.fail("extensions.show", status=500, times=1)
    await pbx.extensions.show("101")
    with pytest.raises(NotFound):
        await pbx.extensions.show("nobody")
    show: Callable[..., dict[str, Any]] = lambda **more: {  # noqa: E731
        "portsip.operation": "extensions.show",
        **more,
    }
    attempts = [p for p in seen.points("portsip.client.attempts") if show().items() <= p[0].items()]
    assert sorted(attempts, key=str) == [
        (show(**{"error.type": "NotFound"}), 1),
        (show(**{"error.type": "ServerError"}), 1),
        (show(), 1),
    ]
    calls = [
        p for p in seen.points("portsip.client.call.duration") if show().items() <= p[0].items()
    ]
    assert sorted(calls, key=str) == [(show(**{"error.type": "NotFound"}), 1), (show(), 1)]
    requests = {
        (point["http.response.status_code"], point.get("error.type")): count
        for point, count in seen.points("http.client.request.duration")
        if point["url.template"] == "/api/extensions/show"
        and point["http.request.method"] == "GET"
        and point["server.address"] == "127.0.0.1"
        and point["server.port"] == sim.port
        and "url.full" not in point
    }
    assert requests == {(200, None): 1, (500, "500"): 1, (404, "404"): 1}


async def test_pages_are_counted(pbx: PortSIPClient, seen: Seen) -> None:
    """Pages of lists, by operation, those fetched ahead included."""
    assert len(await pbx.extensions.list(page_size=100).collect()) == 300
    await pbx.groups.list()
    assert sorted(seen.points("portsip.client.pages"), key=str) == [
        ({"portsip.operation": "extensions.list"}, 3),
        ({"portsip.operation": "groups.list"}, 1),
    ]


async def test_polled_extensions_are_counted(
    pbx: PortSIPClient, sim: PBXSimulator, seen: Seen
) -> None:
    """Each number whose status was read counts once, however its batch was split."""
    numbers = [*sim.extension_numbers[:250], "nobody"]
    async for _ in pbx.extensions.poll_status(numbers, batch_size=100):
        pass
    await pbx.extensions.status(["101", "102"])
    assert seen.points("portsip.client.polled") == [({}, 252)]


async def test_calls_side_by_side_keep_their_attempts(
    pbx: PortSIPClient, sim: PBXSimulator, seen: Seen
) -> None:
    """An attempt stands below its own call, however many run at once."""
    await asyncio.gather(*map(pbx.extensions.show, sim.extension_numbers[:20]))
    calls = {identity(span) for span in seen.spans("extensions.show")}
    below = [parent(span) for span in seen.spans("GET /api/extensions/show")]
    assert len(calls) == 20
    assert sorted(map(str, below)) == sorted(map(str, calls))


async def test_span_of_the_application_is_the_parent(make_client: ClientMaker, seen: Seen) -> None:
    """Calls, and pages fetched ahead, stand below the span that the application has open."""
    pbx = make_client(on_attempt=seen.telemetry)
    tracer = seen._tracers.get_tracer("application")
    with tracer.start_as_current_span("provisioning"):
        async for _ in pbx.extensions.list(page_size=100, prefetch=2):
            pass
    above = identity(seen.span("provisioning"))
    assert [parent(span) for span in seen.spans("extensions.list")] == [above] * 3


async def test_cancelled_call_is_no_error(
    pbx: PortSIPClient, sim: PBXSimulator, seen: Seen
) -> None:
    """Who leaves a call ends its span; it is told as cancelled, not as failed."""
    await pbx.extensions.show("101")
    sim.fail("extensions.show", latency=60, times=1)
    async with under_way(pbx.extensions.show("102")) as (call,):
        await until(lambda: sim.served["extensions.show"] == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    span = seen.spans("extensions.show")[1]
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert span.status.status_code is StatusCode.UNSET
    assert len(seen.spans("GET /api/extensions/show")) == 1


async def test_closing_amid_a_login_that_has_not_begun(
    make_client: ClientMaker, seen: Seen
) -> None:
    """Neither a call nor a renewal that was never begun leaves a coroutine unawaited."""
    pbx = make_client(on_attempt=seen.telemetry)
    async with under_way(pbx.extensions.show("101"), pbx.groups.list().collect()) as calls:
        await asyncio.sleep(0)
        await pbx.close()
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, PortSIPError) for error in done)


async def test_endpoint_of_the_applications_own(
    wire: WireServer, make_client: ClientMaker, seen: Seen
) -> None:
    """A method that the conventions don't know is told as theirs for others."""
    pbx = make_client(wire.url, token="t", on_attempt=seen.telemetry)
    wire.script = [reply(b"")]
    await pbx.request(Endpoint("system.brew", "BREW", "/system/brew"))
    span = seen.span("HTTP /api/system/brew")
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert (span.attributes or {})["portsip.operation"] == "system.brew"


async def test_hook_of_its_own_around_telemetry(
    make_client: ClientMaker, sim: PBXSimulator, seen: Seen
) -> None:
    """Called from a hook that is a plain function, it tells what an attempt alone tells."""
    attempts = []

    def hook(attempt: Any) -> None:
        attempts.append(attempt)
        seen.telemetry(attempt)

    await make_client(on_attempt=hook).extensions.show("101")
    assert len(attempts) == 2
    assert (seen.span("extensions.show").attributes or {})["http.response.status_code"] == 200
    assert sim.served["extensions.show"] == 1


@pytest.mark.parametrize("operation", OPERATIONS, ids=[row.name for row in OPERATIONS])
async def test_nothing_secret(
    operation: Operation, wire: WireServer, make_client: ClientMaker, seen: Seen
) -> None:
    """No token, password, pin or `auth` in a span, a metric, or a local of telemetry's frames."""
    frames: list[traceback.FrameSummary] = []
    token = "tok+Secret/5=&\"é'"
    pbx = make_client(
        wire.url, credentials=StaticToken(token), on_attempt=seen.telemetry, retry=RetryPolicy(2)
    )
    refused = reply({"err_code": 400, "msg": "".join([token, *SECRETS])}, status=400)
    wire.script = [hang_up, refused]
    for _ in range(2):
        try:
            await operation.send(pbx)  # a login is answered by the server itself
        except PortSIPError as error:
            frames += frames_of(error)
    assert not [frame for frame in frames if "site-packages" in frame.filename]
    held = [frame.locals for frame in frames if frame.filename == telemetry.__file__]
    told = seen.dump() + str(held)
    assert operation.name in told
    for secret in (token, *SECRETS):
        for form in forms(secret):
            assert form not in told


class Shown(Observer):
    """An observer of the application's own."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, attempt: Any) -> None:
        self.told.append(f"attempt {attempt.operation}")

    async def call(self, endpoint: Any, base_url: str, begin: Any) -> Any:
        self.told.append(f"call {endpoint.name}")
        return await begin()

    async def renewal(self, begin: Any) -> Any:
        self.told.append("renewal")
        return await begin()


async def test_attempts_are_told_within_their_call(make_client: ClientMaker) -> None:
    """The core tells of calls, renewals and attempts in the order of their beginning or end."""
    shown = Shown()
    await make_client(on_attempt=shown).extensions.show("101")
    assert shown.told == [
        "call extensions.show",
        "renewal",
        "call account.verify",
        "attempt account.verify",
        "attempt extensions.show",
    ]


def test_global_providers_are_the_default() -> None:
    """Without providers it goes to OpenTelemetry's own, which do nothing where none is set up."""
    Telemetry()


def test_without_opentelemetry() -> None:
    """The import says which extra is missing; the package itself does without."""
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import portsip_async\n"
        "try:\n"
        "    import portsip_async.telemetry\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "telemetry is an extra: pip install 'portsip_async[otel]'\n", done.stderr
