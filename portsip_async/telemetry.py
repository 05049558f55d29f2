"""OpenTelemetry spans and metrics of a client. It needs the extra ``otel``.

    from portsip_async.telemetry import Telemetry

    PortSIPClient(..., on_attempt=Telemetry())

Spans: each call has a span, named after the operation. Each attempt has a child span of kind
CLIENT, which follows the semantic conventions for HTTP clients and is created when the attempt has
ended. A token renewal has a span below the call that started it, and may outlast that call. The
requests of a renewal are calls too. An attempt that the application cancels has no span.

Metrics, with durations in seconds:

- ``http.client.request.duration``: attempts, by the semantic conventions
- ``portsip.client.call.duration``: whole calls, including their waits and repeats
- ``portsip.client.attempts``: attempts, by operation and error
- ``portsip.client.token.renewals``: renewals of the token, by error
- ``portsip.client.pages``: pages of lists that were read
- ``portsip.client.polled``: extensions with a status that was read
- ``portsip.client.web_socket.connections``: web sockets that were opened or failed to, by error
- ``portsip.client.web_socket.messages``: messages that arrived through web sockets

A web socket has no span.

They contain no values from requests, replies and messages: no query, body, token, id or extension
number. Only the span of a failed attempt has the id that the reply gave the request, if there was
one. Paths keep the names of their arguments, as in ``/api/users/{id}``. Errors are recorded by
their type only. This holds for the clients of all generations.
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
        "telemetry needs an extra: pip install 'portsip_async[otel]'",
        name=_error.name,
    ) from None

from ._version import __version__
from .classic.extension_models import ExtensionStatuses
from .core.endpoint import Endpoint
from .core.hooks import Attempt
from .core.message import RawReply
from .core.observer import Observer
from .core.page_sequence import Page
from .v22.status_models import UserStatus

__all__ = ["Telemetry"]

T = TypeVar("T")

_SCOPE: Final = "portsip_async"
_OPERATION: Final = "portsip.operation"
_ERROR_TYPE: Final = "error.type"
_METHOD: Final = "http.request.method"
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
# The buckets of the semantic conventions, in seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

_Attributes = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class _AttemptSpan:
    """The attributes that the spans of a call's attempts share.

    Attributes:
        name: their name; "" uses the operation's.
        attributes: the attributes of spans and metrics.
        url: the URL with the endpoint's path and without a query, an attribute of spans only.
    """

    name: str = ""
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    url: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=256)
def _attempt_span(base_url: str, endpoint: Endpoint[object]) -> _AttemptSpan:
    url = f"{base_url}{endpoint.path}"
    parts = urlsplit(url)
    # The conventions call an unknown method `_OTHER`, and `HTTP` in a span's name.
    method = endpoint.method if endpoint.method in _METHODS else "_OTHER"
    attributes: _Attributes = {
        _METHOD: method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.template": parts.path,
    }
    name = f"{'HTTP' if method == '_OTHER' else method} {parts.path}"
    return _AttemptSpan(name, attributes, {"url.full": url})


# Set while a call runs, for the attempts in its task.
_CURRENT: ContextVar[_AttemptSpan] = ContextVar(
    "portsip_async.telemetry",
    default=_AttemptSpan(),  # noqa: B039 - the default is immutable
)


class Telemetry(Observer):
    """Reports a client's work to OpenTelemetry. Pass it to the client as ``on_attempt=``.

    Several clients may share one.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Create the instruments.

        Args:
            tracer_provider: receives the spans; None uses OpenTelemetry's global one.
            meter_provider: receives the metrics; None uses OpenTelemetry's global one.
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
            description="Duration of whole calls, including waits and repeats.",
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
            description="Extensions with a status that was read.",
        )
        self._connections = meter.create_counter(
            "portsip.client.web_socket.connections",
            unit="{connection}",
            description="Web sockets that were opened, or could not be.",
        )
        self._messages = meter.create_counter(
            "portsip.client.web_socket.messages",
            unit="{message}",
            description="Messages that arrived through web sockets.",
        )

    def __repr__(self) -> str:
        return f"<Telemetry of {_SCOPE} {__version__}>"

    def __call__(self, attempt: Attempt) -> None:
        """Report an attempt that ended."""
        common = _CURRENT.get()
        operation = {_OPERATION: attempt.operation}
        outcome: _Attributes = {}
        if attempt.status is not None:
            outcome["http.response.status_code"] = attempt.status
        if attempt.error is not None:
            outcome[_ERROR_TYPE] = _attempt_error(attempt, attempt.error)
        request: _Attributes = {}
        if attempt.error is not None and attempt.error.request_id is not None:
            request["portsip.request_id"] = attempt.error.request_id
        resends: _Attributes = {}
        if attempt.number > 1:
            resends["http.request.resend_count"] = attempt.number - 1
        # The attempt has ended, so the span's start is computed from its duration.
        end = time.time_ns()
        span = self._tracer.start_span(
            common.name or attempt.operation,
            kind=SpanKind.CLIENT,
            attributes={
                **common.attributes,
                **common.url,
                **operation,
                **resends,
                **request,
                **outcome,
            },
            start_time=end - round(attempt.seconds * 1e9),
        )
        if attempt.error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(end)
        self._request_duration.record(attempt.seconds, {**common.attributes, **outcome})
        self._attempts.add(1, {**operation, **_error_type(attempt.error)})

    async def call(
        self,
        endpoint: Endpoint[object],
        base_url: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Run a call in a span, and record its duration."""
        operation = {_OPERATION: endpoint.name}
        started = time.monotonic()
        error: BaseException | None = None
        reset = _CURRENT.set(_attempt_span(base_url, endpoint))
        try:
            with self._span(endpoint.name, operation):
                reply = await begin()
        except BaseException as failed:
            error = failed
            raise
        finally:
            _CURRENT.reset(reset)
            seconds = time.monotonic() - started
            self._call_duration.record(seconds, {**operation, **_error_type(error)})
            del error  # breaks a reference cycle: its traceback holds this frame
        data: object = reply.data if isinstance(reply, RawReply) else reply
        if isinstance(data, Page):
            self._pages.add(1, operation)
        elif isinstance(data, ExtensionStatuses):
            self._polled.add(len(data.extension_status))
        elif isinstance(data, UserStatus):
            self._polled.add(1)
        return reply

    async def renewal(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a renewal of the token in a span, and count it."""
        with self._span("token renewal", {}) as set_error:
            outcome = await begin()
            error = outcome if isinstance(outcome, Exception) else None
            set_error(error)
        self._renewals.add(1, _error_type(error))
        return outcome

    def connection(self, error: Exception | None) -> None:
        """Count a web socket that was opened, or the error that opening it raised."""
        self._connections.add(1, _error_type(error))

    def message(self) -> None:
        """Count a message that arrived through a web socket."""
        self._messages.add(1)

    @contextmanager
    def _span(
        self, name: str, attributes: _Attributes | dict[str, str]
    ) -> Iterator[Callable[[BaseException | None], None]]:
        """Start a span. The function that it yields sets an error that is not raised."""
        # OpenTelemetry would record the exception's text and traceback, which may hold secrets.
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:

            def set_error(error: BaseException | None) -> None:
                span.set_attributes(_error_type(error))
                # A cancellation is not a failure: leaving a walk cancels the pages ahead.
                if error is not None and not isinstance(error, asyncio.CancelledError):
                    span.set_status(StatusCode.ERROR)

            try:
                yield set_error
            except BaseException as error:
                set_error(error)
                raise


def _error_type(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {_ERROR_TYPE: type(error).__name__}


def _attempt_error(attempt: Attempt, error: Exception) -> str:
    """Return an error's type by the conventions: the HTTP status, or else the class."""
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    return type(error).__name__
