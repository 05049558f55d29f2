"""Metrics of the PBX for Prometheus, at http://127.0.0.1:9808/metrics.

    python examples/prometheus_exporter.py [--host 127.0.0.1] [--port 9808] [--interval 10]

One watch follows all extensions. A scrape counts the statuses that the watch knows, and sends
nothing to the PBX.
"""

import argparse
import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress

import prometheus_client
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from simulated import simulated_pbx

from portsip_async import (
    Attempt,
    AuthenticationError,
    ExtensionStatus,
    PortSIPClient,
    StatusWatch,
)

PAUSE = 60.0  # seconds to wait after a refused login

log = logging.getLogger("exporter")


class Requests:
    """Measure the requests of the client. Pass an instance as `on_attempt`."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        """Register the metrics."""
        self._seconds = prometheus_client.Histogram(
            "portsip_request_seconds",
            "Duration of requests to the PBX",
            ("operation", "status"),
            registry=registry,
        )

    def __call__(self, attempt: Attempt) -> None:
        """Record an attempt. Without a reply, the label is the name of the error."""
        status = attempt.status or type(attempt.error).__name__
        self._seconds.labels(attempt.operation, status).observe(attempt.seconds)


class Extensions(Collector):
    """Report the state of a watch of all extensions at the time of a scrape."""

    def __init__(self, pbx: PortSIPClient, interval: float) -> None:
        """Create the watch. `follow` runs it."""
        self._pbx = pbx
        self._interval = interval
        self._watch = self._new_watch(known={})

    async def follow(self) -> None:
        """Run the watch until cancelled. After a refused login, wait and start again."""
        while True:
            try:
                async for _ in self._watch:
                    pass  # the watch keeps the latest statuses
            except AuthenticationError as error:
                log.error("%s. Trying again in %g s.", error, PAUSE)
            self._watch = self._new_watch(known=self._watch.snapshot)
            await asyncio.sleep(PAUSE)

    def _new_watch(self, known: Mapping[str, ExtensionStatus]) -> StatusWatch:
        return self._pbx.extensions.watch_status(interval=self._interval, known=known)

    def collect(self) -> Iterator[Metric]:
        """Return the metrics for a scrape."""
        stats = self._watch.stats
        up = stats.last_success is not None and stats.consecutive_failures == 0
        yield GaugeMetricFamily("portsip_up", "Whether the latest cycle had a result", up)
        if stats.last_success is not None:
            yield GaugeMetricFamily(
                "portsip_last_success_timestamp_seconds",
                "When a cycle last had a result",
                stats.last_success.timestamp(),
            )
        yield CounterMetricFamily("portsip_cycles", "Cycles of the watch", stats.cycles)
        yield CounterMetricFamily("portsip_failures", "Batches that failed", stats.failures)
        yield GaugeMetricFamily(
            "portsip_cycle_seconds", "Duration of the latest cycle", stats.cycle_seconds
        )
        yield GaugeMetricFamily(
            "portsip_extensions_missing", "Extensions that the replies left out", stats.missing
        )
        extensions = GaugeMetricFamily(
            "portsip_extensions", "Number of extensions by status", labels=["status"]
        )
        known = self._watch.snapshot.values()
        for status, count in Counter(extension.status or "" for extension in known).items():
            extensions.add_metric([status], count)
        yield extensions


def make_app(interval: float = 10.0) -> web.Application:
    """Build the exporter. It follows the PBX while it is being served.

    Args:
        interval: seconds between two cycles of the watch.
    """
    registry = prometheus_client.CollectorRegistry()

    async def follow(_: web.Application) -> AsyncIterator[None]:
        async with (
            simulated_pbx(),
            PortSIPClient.from_env(on_attempt=Requests(registry)) as pbx,
        ):
            extensions = Extensions(pbx, interval)
            registry.register(extensions)
            task = asyncio.create_task(extensions.follow())
            yield
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.cleanup_ctx.append(follow)
    app.router.add_get("/metrics", metrics)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Metrics of the PBX for Prometheus.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=9808)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two cycles")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(options.interval), host=options.host, port=options.port, access_log=None)
