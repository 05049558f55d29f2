"""OpenTelemetry for the client: spans and metrics; it needs the extra ``otel``.

    from portsip_async.telemetry import Telemetry

    PortSIPClient(..., on_attempt=Telemetry())

Spans: one a call, named after the operation; below it one of kind CLIENT for each attempt, with the
semantic conventions of HTTP clients, made when the attempt has ended. A renewal of the token is a
span of its own below the call that set it off, which it may outlast; its requests are calls like
any other. Where the application cancels a call no attempt is told, since it ended by no reply.

Metrics, durations in seconds:

- ``http.client.request.duration``: the attempts, by the semantic conventions
- ``portsip.client.call.duration``: whole calls, from asking for a place to the reply
- ``portsip.client.attempts``: attempts, by operation and error
- ``portsip.client.token.renewals``: renewals of the token, by error
- ``portsip.client.pages``: pages of lists that were read
- ``portsip.client.polled``: extensions whose status was read

No value that is sent or answered appears in them: neither query nor body, no token, no number of an
extension, and of an error only its type.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

try:
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, get_tracer
except ModuleNotFoundError as _error:
    if (_error.name or "").split(".")[0] != "opentelemetry":
        raise
    raise ModuleNotFoundError(
        "telemetry is an extra: pip install 'portsip_async[otel]'", name=_error.name
    ) from None

from ._version import __version__
from .classic.models import ExtensionStatuses
from .core.endpoint import Endpoint
from .core.observer import Attempt, Observer
from .core.page_sequence import Page

__all__ = ["Telemetry"]

T = TypeVar("T")

_SCOPE: Final = "portsip_async"
_OPERATION: Final = "portsip.operation"
_ERROR_TYPE: Final = "error.type"
_METHOD: Final = "http.request.method"
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
# Seconds; of the semantic conventions.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_Attributes = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class _Place:
    """What the attempts of a call have in common.

    Attributes:
        name: the name of their spans; "" for the operation's own.
        told: the attributes of spans and metrics.
        url: the URL without its query, for spans alone.
    """

    name: str = ""
    told: Mapping[str, str | int] = field(default_factory=dict)
    url: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=256)
def _place(base_url: str, endpoint: Endpoint[object]) -> _Place:
    url = f"{base_url}{endpoint.path}"
    parts = urlsplit(url)
    method = endpoint.method if endpoint.method in _METHODS else "_OTHER"
    told: _Attributes = {
        _METHOD: method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.template": parts.path,
    }
    # By the conventions a method that is none of theirs has no place in a name.
    name = f"{'HTTP' if method == '_OTHER' else method} {parts.path}"
    return _Place(name, told, {"url.full": url})


# Of the call that runs in this task.
_PLACE: ContextVar[_Place] = ContextVar("portsip_async.telemetry", default=_Place())  # noqa: B039 - frozen


class Telemetry(Observer):
    """Tells OpenTelemetry of a client's work; pass it as ``on_attempt=``.

    One may serve several clients.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Make the instruments.

        Args:
            tracer_provider: where spans go; None: OpenTelemetry's global one.
            meter_provider: where metrics go; None: OpenTelemetry's global one.
        """
        self._tracer = get_tracer(_SCOPE, __version__, tracer_provider=tracer_provider)
        meter = get_meter(_SCOPE, __version__, meter_provider=meter_provider)
        self._request_duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._call_duration = meter.create_histogram(
            "portsip.client.call.duration",
            unit="s",
            description="Duration of whole calls, with their waits and repeats.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._attempts = meter.create_counter(
            "portsip.client.attempts", unit="{attempt}", description="Attempts that ended."
        )
        self._renewals = meter.create_counter(
            "portsip.client.token.renewals", unit="{renewal}", description="Renewals of the token."
        )
        self._pages = meter.create_counter(
            "portsip.client.pages", unit="{page}", description="Pages of lists that were read."
        )
        self._polled = meter.create_counter(
            "portsip.client.polled",
            unit="{extension}",
            description="Extensions whose status was read.",
        )

    def __call__(self, attempt: Attempt) -> None:
        """Tell of an attempt that ended."""
        place = _PLACE.get()
        operation = {_OPERATION: attempt.operation}
        outcome: _Attributes = {}
        if attempt.status is not None:
            outcome["http.response.status_code"] = attempt.status
        if attempt.error is not None:
            outcome[_ERROR_TYPE] = _attempt_error(attempt, attempt.error)
        resent: _Attributes = {}
        if attempt.number > 1:
            resent["http.request.resend_count"] = attempt.number - 1
        end = time.time_ns()
        span = self._tracer.start_span(
            place.name or attempt.operation,
            kind=SpanKind.CLIENT,
            attributes={**place.told, **place.url, **operation, **resent, **outcome},
            start_time=end - round(attempt.seconds * 1e9),
        )
        if attempt.error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(end)
        self._request_duration.record(attempt.seconds, {**place.told, **outcome})
        self._attempts.add(1, {**operation, **_kind(attempt.error)})

    async def call(
        self,
        endpoint: Endpoint[object],
        base_url: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Stand around a call."""
        operation = {_OPERATION: endpoint.name}
        started = time.monotonic()
        error: BaseException | None = None
        place = _PLACE.set(_place(base_url, endpoint))
        try:
            with self._span(endpoint.name, operation):
                reply = await begin()
        except BaseException as failed:
            error = failed
            raise
        finally:
            _PLACE.reset(place)
            seconds = time.monotonic() - started
            self._call_duration.record(seconds, {**operation, **_kind(error)})
            del error  # it holds this frame
        if isinstance(reply, Page):
            self._pages.add(1, operation)
        elif isinstance(reply, ExtensionStatuses):
            self._polled.add(len(reply.extension_status))
        return reply

    async def renewal(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Stand around a renewal of the token."""
        with self._span("token renewal", {}) as tell:
            outcome = await begin()
            error = outcome if isinstance(outcome, Exception) else None
            tell(error)
        self._renewals.add(1, _kind(error))
        return outcome

    @contextmanager
    def _span(
        self, name: str, attributes: _Attributes | dict[str, str]
    ) -> Iterator[Callable[[BaseException | None], None]]:
        """Make a span the current one; hands out what tells it of an error that is not raised."""
        # An exception's own text and traceback stay out of the span.
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:

            def tell(error: BaseException | None) -> None:
                span.set_attributes(_kind(error))
                # Who leaves a walk cancels the pages ahead; that is no error.
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    span.set_status(StatusCode.ERROR)

            try:
                yield tell
            except BaseException as error:
                tell(error)
                raise


def _kind(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {_ERROR_TYPE: type(error).__name__}


def _attempt_error(attempt: Attempt, error: Exception) -> str:
    """Name an error as the conventions do: by its status where that tells of it."""
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    return type(error).__name__
