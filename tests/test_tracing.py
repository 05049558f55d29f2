"""Tools that instrument all aiohttp sessions of a program, such as OpenTelemetry."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from portsip_async import PortSIPClient, RetryPolicy

from .operations import OPERATIONS, SECRETS
from .wire_server import TOKEN, WireServer, hang_up, reply

KEEP = {"Connection": "keep-alive"}
NO_PAUSE = RetryPolicy(initial=0, maximum=0)


def config(seen: list[str]) -> aiohttp.TraceConfig:
    """Make a trace of all events of aiohttp."""
    traced = aiohttp.TraceConfig()

    async def note(_: aiohttp.ClientSession, __: SimpleNamespace, event: Any) -> None:
        seen.append(repr(event))

    for name in dir(traced):
        if name.startswith("on_"):
            getattr(traced, name).append(note)
    return traced


def by_trace(seen: list[str], options: dict[str, Any]) -> None:
    """Add a trace to the options of a session, as OpenTelemetry and Sentry do."""
    options["trace_configs"] = [*(options.get("trace_configs") or []), config(seen)]


def by_middleware(seen: list[str], options: dict[str, Any]) -> None:
    """Add a middleware to the options of a session."""

    async def note(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(str(request.url))
        return await handler(request)

    options["middlewares"] = (*(options.get("middlewares") or ()), note)


@contextmanager
def instrumented(how: Callable[[list[str], dict[str, Any]], None]) -> Iterator[list[str]]:
    """Instrument every session that is made in the block; yield what the tool sees."""
    seen: list[str] = []
    make = aiohttp.ClientSession.__init__

    @wraps(make)
    def patched(self: aiohttp.ClientSession, *args: Any, **options: Any) -> None:
        how(seen, options)
        make(self, *args, **options)

    aiohttp.ClientSession.__init__ = patched  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        aiohttp.ClientSession.__init__ = make  # type: ignore[method-assign]


async def call_all(pbx: PortSIPClient) -> None:
    """Send each operation, and ignore its result."""
    for operation in OPERATIONS:
        await asyncio.gather(operation.send(pbx), return_exceptions=True)


@pytest.mark.parametrize("how", [by_trace, by_middleware])
@pytest.mark.parametrize("when", ["before the client", "before its first call", "later"])
async def test_own_session_is_not_instrumented(how: Any, when: str, wire: WireServer) -> None:
    """A tool that instruments all sessions sees no request of the client, and no token."""
    wire.script = [
        shown := reply({"extension_number": "1"}, headers=KEEP),
        shown,
        hang_up,
        reply({}, 500),
    ]
    pbx = PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE)
    if when == "later":
        await pbx.extensions.show("101")
    with instrumented(how) as seen:
        if when == "before the client":
            pbx = PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE)
        async with pbx:
            await call_all(pbx)
            await call_all(pbx.with_options(timeout=3))
        assert len(wire.arrivals) > len(OPERATIONS)
        assert seen == []


@pytest.mark.parametrize("kind", [list, tuple])
async def test_other_sessions_are_traced(kind: Any, wire: WireServer) -> None:
    """A tool may give one sequence of traces to every session; the other sessions keep it."""
    wire.script = [reply({"extension_number": "101"}, headers=KEEP)]
    seen: list[str] = []
    shared = kind([config(seen)])

    def share(_: list[str], options: dict[str, Any]) -> None:
        options["trace_configs"] = shared

    with instrumented(share):
        async with PortSIPClient(wire.url, token=TOKEN) as pbx, aiohttp.ClientSession() as other:
            await pbx.extensions.show("101")
            assert seen == []
            async with other.get(wire.url):
                assert seen


@pytest.mark.parametrize("how", [by_trace, by_middleware])
async def test_session_of_the_application_is_traced(how: Any, wire: WireServer) -> None:
    """The traces of an application's session stay, also for the client's requests."""
    wire.script = [reply({"extension_number": "101"}, headers=KEEP)]
    with instrumented(how) as seen:
        async with aiohttp.ClientSession() as session:
            async with PortSIPClient(wire.url, token=TOKEN, session=session) as pbx:
                await pbx.extensions.show("101")
                assert bool(seen) is (how is by_trace)  # the client's middlewares replace it
            seen.clear()
            async with session.get(wire.url):
                assert seen


async def test_opentelemetry_makes_no_span(wire: WireServer) -> None:
    """OpenTelemetry's instrumentation of aiohttp makes no span of the client's requests."""
    instrumentation = pytest.importorskip(
        "opentelemetry.instrumentation.aiohttp_client",
        reason="the extra `dev` has it, but an older environment may not",
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = instrumentation.AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    wire.script = [reply({"extension_number": "101"}, headers=KEEP)]
    try:
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
            await call_all(pbx)
        assert exporter.get_finished_spans() == ()
        async with aiohttp.ClientSession() as session, session.get(wire.url):
            pass
        assert len(exporter.get_finished_spans()) == 1
    finally:
        instrumentor.uninstrument()


async def test_debug_logs_hold_no_secret(
    wire: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The logs of aiohttp and of asyncio's debug mode hold none, if every callback is slow."""
    caplog.set_level("DEBUG")
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    wire.script = [reply({"extension_number": "101"}, headers=KEEP), hang_up, reply({}, 500)]
    try:
        async with PortSIPClient(wire.url, token=TOKEN, retry=NO_PAUSE) as pbx:
            await call_all(pbx)
    finally:
        loop.set_debug(False)
        loop.slow_callback_duration = 0.1
    assert "took" in caplog.text
    for secret in (TOKEN, *SECRETS):
        assert secret not in caplog.text
