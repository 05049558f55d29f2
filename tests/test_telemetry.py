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
    ENDPOINTS,
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

from .clocks import use_jumping_clock
from .concurrency import GatedCredentials, in_background, until
from .conftest import ClientMaker
from .internals import session_of
from .operations import OPERATIONS, SECRETS, Operation
from .test_secrecy import forms
from .test_tracebacks import frames_of
from .web_sockets import TEXT, accept, frame
from .wire_server import TOKEN, WireServer, hang_up, reply

Points = list[tuple[dict[str, Any], float]]


class Recorder:
    """Records spans and metrics."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self._tracers, meter_provider=self._meters)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Return the spans of this name in the order in which they ended; without a name, all."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if name in (None, span.name)]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span of this name."""
        (span,) = self.spans(name)
        return span

    def points(self, name: str) -> Points:
        """Return a metric: the value of a counter, or the number of values in a histogram."""
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
        """Return everything as text."""
        data = self._reader.get_metrics_data()
        spans = "".join(span.to_json() for span in self.spans())
        return spans + ("" if data is None else data.to_json())

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


@pytest.fixture
def pbx(make_client: ClientMaker, recorder: Recorder) -> PortSIPClient:
    return make_client(on_attempt=recorder.telemetry)


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def identity(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


async def test_call_is_a_span_with_an_attempt_below(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """An attempt has the attributes of the semantic conventions for HTTP clients."""
    await pbx.extensions.show("101")
    call, attempt = recorder.span("extensions.show"), recorder.span("GET /api/extensions/show")
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
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """The span of a failed attempt has its status, and that of a repeat its number."""
    await pbx.extensions.show("101")
    sim.fail("extensions.show", status=503, times=1)
    sim.fail("extensions.show", drop=True, times=1)
    await pbx.extensions.show("102")
    _, first, second, third = recorder.spans("GET /api/extensions/show")
    attributes = [
        (
            (span.attributes or {}).get("http.request.resend_count"),
            (span.attributes or {}).get("http.response.status_code"),
            (span.attributes or {}).get("error.type"),
            span.status.status_code,
        )
        for span in (first, second, third)
    ]
    assert attributes == [
        (None, 503, "503", StatusCode.ERROR),
        (1, None, "TransportError", StatusCode.ERROR),
        (2, 200, None, StatusCode.UNSET),
    ]
    call = recorder.spans("extensions.show")[1]
    assert {parent(span) for span in (first, second, third)} == {identity(call)}
    assert call.status.status_code is StatusCode.UNSET


async def test_failed_call_names_its_error(pbx: PortSIPClient, recorder: Recorder) -> None:
    """The span of a call has the SDK's class of error, and nothing of its text."""
    with pytest.raises(NotFound):
        await pbx.extensions.show("nobody")
    call = recorder.span("extensions.show")
    assert (call.attributes or {})["error.type"] == "NotFound"
    assert call.status.status_code is StatusCode.ERROR
    assert not call.status.description
    assert not call.events
    attempt = recorder.span("GET /api/extensions/show")
    assert (attempt.attributes or {})["error.type"] == "404"
    assert not attempt.events


async def test_refusal_inside_a_200_is_an_error(
    wire: WireServer, make_client: ClientMaker, recorder: Recorder
) -> None:
    """If the status is a success, the attempt has the SDK's class of error."""
    pbx = make_client(
        wire.url,
        token="t",
        on_attempt=recorder.telemetry,
        retry=RetryPolicy(attempts=1),
    )
    wire.script = [reply(b'{"err_code": 403.5, "msg": "slowly"}')]
    with pytest.raises(RateLimited):
        await pbx.extensions.show("101")
    attributes = recorder.span("GET /api/extensions/show").attributes or {}
    assert attributes["http.response.status_code"] == 200
    assert attributes["error.type"] == "RateLimited"


async def test_renewal_is_a_span_with_its_requests_below(
    pbx: PortSIPClient, recorder: Recorder
) -> None:
    """The login of the first call is a span below the call."""
    await pbx.extensions.show("101")
    renewal, login = recorder.span("token renewal"), recorder.span("account.verify")
    assert parent(renewal) == identity(recorder.span("extensions.show"))
    assert parent(login) == identity(renewal)
    assert parent(recorder.span("POST /api/account/credentials/verify")) == identity(login)
    assert recorder.points("portsip.client.token.renewals") == [({}, 1)]


async def test_renewal_by_the_applications_own_credentials(
    sim: PBXSimulator, make_client: ClientMaker, recorder: Recorder
) -> None:
    """Renewals by an application's credentials are counted, failed ones with their error."""
    credentials = GatedCredentials()
    credentials.error = OSError("the vault is locked")
    pbx = make_client(credentials=credentials, on_attempt=recorder.telemetry)
    with pytest.raises(OSError, match="locked"):
        await pbx.extensions.show("101")
    assert recorder.points("portsip.client.token.renewals") == [({"error.type": "OSError"}, 1)]
    renewal = recorder.span("token renewal")
    assert renewal.status.status_code is StatusCode.ERROR
    assert not renewal.events


async def test_background_renewal_is_counted(pbx: PortSIPClient, recorder: Recorder) -> None:
    """The renewal of a stale token is counted like any other."""
    clock = use_jumping_clock(pbx)
    await pbx.extensions.show("101")
    clock.jump(24)
    await pbx.extensions.show("101")
    await until(lambda: len(recorder.spans("token renewal")) == 2)
    assert recorder.points("portsip.client.token.renewals") == [({}, 2)]
    assert recorder.spans("account.refresh")


async def test_durations_and_attempts(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """Requests and calls have durations, and attempts are counted, by operation and error."""
    await pbx.account.refresh()
    sim.fail("extensions.show", status=500, times=1)
    await pbx.extensions.show("101")
    with pytest.raises(NotFound):
        await pbx.extensions.show("nobody")
    show: Callable[..., dict[str, Any]] = lambda **more: {  # noqa: E731
        "portsip.operation": "extensions.show",
        **more,
    }
    attempts = [
        p for p in recorder.points("portsip.client.attempts") if show().items() <= p[0].items()
    ]
    assert sorted(attempts, key=str) == [
        (show(**{"error.type": "NotFound"}), 1),
        (show(**{"error.type": "ServerError"}), 1),
        (show(), 1),
    ]
    calls = [
        p for p in recorder.points("portsip.client.call.duration") if show().items() <= p[0].items()
    ]
    assert sorted(calls, key=str) == [(show(**{"error.type": "NotFound"}), 1), (show(), 1)]
    requests = {
        (point["http.response.status_code"], point.get("error.type")): count
        for point, count in recorder.points("http.client.request.duration")
        if point["url.template"] == "/api/extensions/show"
        and point["http.request.method"] == "GET"
        and point["server.address"] == "127.0.0.1"
        and point["server.port"] == sim.port
        and "url.full" not in point
    }
    assert requests == {(200, None): 1, (500, "500"): 1, (404, "404"): 1}


async def test_pages_are_counted(pbx: PortSIPClient, recorder: Recorder) -> None:
    """Pages are counted by operation, prefetched ones included."""
    assert len(await pbx.extensions.list(page_size=100).collect()) == 300
    await pbx.groups.list()
    assert sorted(recorder.points("portsip.client.pages"), key=str) == [
        ({"portsip.operation": "extensions.list"}, 3),
        ({"portsip.operation": "groups.list"}, 1),
    ]


async def test_raw_pages_are_counted(pbx: PortSIPClient, recorder: Recorder) -> None:
    """A raw reply counts as what was read from it."""
    await pbx.request(ENDPOINTS["extensions.list"], raw=True, pagination=1, pagesize=2)
    assert recorder.points("portsip.client.pages") == [
        ({"portsip.operation": "extensions.list"}, 1)
    ]


async def test_span_of_a_failed_attempt_has_its_request_id(
    wire: WireServer, recorder: Recorder
) -> None:
    """Metrics have no id: each would be a series of its own."""
    wire.script = [reply("", 500, {"X-Request-Id": "abc-1"}), reply({"extension_number": "101"})]
    async with PortSIPClient(
        wire.url, token=TOKEN, retry=RetryPolicy(initial=0.0), on_attempt=recorder.telemetry
    ) as pbx:
        await pbx.extensions.show("101")
    failed, worked = recorder.spans("GET /api/extensions/show")
    assert (failed.attributes or {})["portsip.request_id"] == "abc-1"
    assert "portsip.request_id" not in (worked.attributes or {})
    assert recorder.dump().count("abc-1") == 1


async def test_polled_extensions_are_counted(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """Each status that was read counts once, however the batches were split."""
    numbers = [*sim.extension_numbers[:250], "nobody"]
    async for _ in pbx.extensions.poll_status(numbers, batch_size=100):
        pass
    await pbx.extensions.status(["101", "102"])
    assert recorder.points("portsip.client.polled") == [({}, 252)]


async def test_web_sockets_are_counted(
    pbx: PortSIPClient, recorder: Recorder, wire: WireServer
) -> None:
    """They are counted by error, and so are the messages that arrive. They have no span."""
    wire.script = [accept(frame(TEXT, b"1") + frame(TEXT, b"2")), reply({}, 404)]
    session, opened, failed = session_of(pbx), 0, 0
    for _ in range(3):
        try:
            async with session.web_socket(f"{wire.url}/wsi") as web_socket:
                opened += 1
                assert [await web_socket.receive() for _ in range(2)] == ["1", "2"]
        except NotFound:
            failed += 1
    assert (opened, failed) == (1, 2)
    assert sorted(recorder.points("portsip.client.web_socket.connections"), key=str) == [
        ({"error.type": "NotFound"}, 2),
        ({}, 1),
    ]
    assert recorder.points("portsip.client.web_socket.messages") == [({}, 2)]
    assert recorder.spans() == []


async def test_concurrent_calls_have_their_own_attempts(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """The span of an attempt is below its own call, however many calls run at once."""
    await asyncio.gather(*map(pbx.extensions.show, sim.extension_numbers[:20]))
    calls = {identity(span) for span in recorder.spans("extensions.show")}
    below = [parent(span) for span in recorder.spans("GET /api/extensions/show")]
    assert len(calls) == 20
    assert sorted(map(str, below)) == sorted(map(str, calls))


async def test_span_of_the_application_is_the_parent(
    make_client: ClientMaker, recorder: Recorder
) -> None:
    """Calls and prefetched pages are below the span that the application has open."""
    pbx = make_client(on_attempt=recorder.telemetry)
    tracer = recorder._tracers.get_tracer("application")
    with tracer.start_as_current_span("provisioning"):
        async for _ in pbx.extensions.list(page_size=100, prefetch=2):
            pass
    above = identity(recorder.span("provisioning"))
    assert [parent(span) for span in recorder.spans("extensions.list")] == [above] * 3


async def test_cancelled_call_is_not_an_error(
    pbx: PortSIPClient, sim: PBXSimulator, recorder: Recorder
) -> None:
    """The span of a cancelled call ends; it has the error type, but not the status of an error."""
    await pbx.extensions.show("101")
    sim.fail("extensions.show", latency=60, times=1)
    async with in_background(pbx.extensions.show("102")) as (call,):
        await until(lambda: sim.served["extensions.show"] == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    span = recorder.spans("extensions.show")[1]
    assert (span.attributes or {})["error.type"] == "CancelledError"
    assert span.status.status_code is StatusCode.UNSET
    assert len(recorder.spans("GET /api/extensions/show")) == 1


async def test_close_before_a_login_has_begun(make_client: ClientMaker, recorder: Recorder) -> None:
    """A call or a renewal that never began leaves no coroutine that was never awaited."""
    pbx = make_client(on_attempt=recorder.telemetry)
    async with in_background(pbx.extensions.show("101"), pbx.groups.list().collect()) as calls:
        await asyncio.sleep(0)
        await pbx.close()
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, PortSIPError) for error in done)


async def test_method_unknown_to_the_conventions(
    wire: WireServer, make_client: ClientMaker, recorder: Recorder
) -> None:
    """The span has "_OTHER" as its method, as the conventions ask."""
    pbx = make_client(wire.url, token="t", on_attempt=recorder.telemetry)
    wire.script = [reply(b"")]
    await pbx.request(Endpoint("system.brew", "BREW", "/system/brew"))
    span = recorder.span("HTTP /api/system/brew")
    assert (span.attributes or {})["http.request.method"] == "_OTHER"
    assert (span.attributes or {})["portsip.operation"] == "system.brew"


async def test_telemetry_called_from_a_plain_hook(
    make_client: ClientMaker, sim: PBXSimulator, recorder: Recorder
) -> None:
    """From a plain function as the hook, it makes one span of each attempt."""
    attempts = []

    def hook(attempt: Any) -> None:
        attempts.append(attempt)
        recorder.telemetry(attempt)

    await make_client(on_attempt=hook).extensions.show("101")
    assert len(attempts) == 2
    assert (recorder.span("extensions.show").attributes or {})["http.response.status_code"] == 200
    assert sim.served["extensions.show"] == 1


@pytest.mark.parametrize("operation", OPERATIONS, ids=[row.name for row in OPERATIONS])
async def test_telemetry_holds_no_secret(
    operation: Operation, wire: WireServer, make_client: ClientMaker, recorder: Recorder
) -> None:
    """No span, no metric and no local variable of telemetry's frames holds a secret."""
    frames: list[traceback.FrameSummary] = []
    token = "tok+Secret/5=&\"é'"
    pbx = make_client(
        wire.url,
        credentials=StaticToken(token),
        on_attempt=recorder.telemetry,
        retry=RetryPolicy(2),
    )
    refused = reply({"err_code": 400, "msg": "".join([token, *SECRETS])}, status=400)
    wire.script = [hang_up, refused]
    for _ in range(2):
        try:
            await operation.send(pbx)  # the server replies to logins by itself
        except PortSIPError as error:
            frames += frames_of(error)
    assert not [frame for frame in frames if "site-packages" in frame.filename]
    variables = [frame.locals for frame in frames if frame.filename == telemetry.__file__]
    text = recorder.dump() + str(variables)
    assert operation.name in text
    for secret in (token, *SECRETS):
        for form in forms(secret):
            assert form not in text


class OwnObserver(Observer):
    """An observer of an application's own, which records what it is called with."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, attempt: Any) -> None:
        self.events.append(f"attempt {attempt.operation}")

    async def call(self, endpoint: Any, base_url: str, begin: Any) -> Any:
        self.events.append(f"call {endpoint.name}")
        return await begin()

    async def renewal(self, begin: Any) -> Any:
        self.events.append("renewal")
        return await begin()


async def test_observer_is_called_in_order(make_client: ClientMaker) -> None:
    """It sees calls and renewals as they begin, and attempts as they end."""
    observer = OwnObserver()
    await make_client(on_attempt=observer).extensions.show("101")
    assert observer.events == [
        "call extensions.show",
        "renewal",
        "call account.verify",
        "attempt account.verify",
        "attempt extensions.show",
    ]


def test_global_providers_are_the_default() -> None:
    """Without providers, `Telemetry` uses OpenTelemetry's global ones."""
    Telemetry()


def test_without_opentelemetry() -> None:
    """The import of telemetry says which extra is missing; the package works without it."""
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
    assert done.stdout == "telemetry needs an extra: pip install 'portsip_async[otel]'\n"
