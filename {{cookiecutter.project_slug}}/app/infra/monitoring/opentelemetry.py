"""Traces and figures for a collector of OpenTelemetry.

FastAPI makes the spans of requests by itself. An application is built before anybody listens, which
is why it is handed `TELEMETRY`, whose tracer passes on to whoever listens at the time.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import AfterValidator, Field, SecretStr

from app.infra import logs
from app.infra.monitoring.instruments import Instrument, Record
from app.infra.monitoring.opentelemetry_metrics import Figures
from app.infra.monitoring.otlp import Collector, Spans, send_metrics
from app.infra.monitoring.recorder import Recorder
from app.infra.monitoring.settings import MonitoringSettings

logger = structlog.get_logger()

# Of each batch that is lost; the collector says once when it goes away.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

NO_COLLECTOR = "none"

_SCOPE = InstrumentationScope("app")
_TRACE_CONTEXT = TraceContextTextMapPropagator()


def _of_collector(endpoint: str) -> str:
    url = urlsplit(endpoint)
    if endpoint != NO_COLLECTOR and not (url.scheme in {"http", "https"} and url.hostname):
        raise ValueError(
            f"it is no URL; write it like http://127.0.0.1:4318, or {NO_COLLECTOR} to send nothing"
        )
    return endpoint


def _parsed(headers: str) -> dict[str, str]:
    pairs = [header.partition("=") for header in headers.split(",") if header.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _of_headers(headers: SecretStr) -> SecretStr:
    if not all(name and value for name, value in _parsed(headers.get_secret_value()).items()):
        raise ValueError("write them like name=value,other=value")
    return headers


Seconds = Annotated[float, Field(gt=0, le=3_600)]


class OpenTelemetrySettings(MonitoringSettings):
    endpoint: Annotated[str, AfterValidator(_of_collector)] = "http://127.0.0.1:4318"
    """Where a collector takes OTLP over HTTP, without the path; `none` sends nothing."""

    headers: Annotated[SecretStr, AfterValidator(_of_headers)] | None = None
    """What is sent along to be let in, like `authorization=Bearer …,tenant=a`."""

    sampling_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that begin here and are kept, a number from 0 to 1; others are kept
    or not as whoever began them says."""

    spans_seconds: Seconds = 5.0
    """Seconds that spans wait to be sent together."""

    metrics_seconds: Seconds = 15.0
    """Seconds between two times that figures are sent."""

    queue_limit: Annotated[int, Field(ge=512, le=1_000_000)] = 2_048
    """Number of spans that may wait; what is beyond that is lost."""

    timeout_seconds: Seconds = 2.0
    """Seconds in which the collector must answer."""

    flush_seconds: Seconds = 3.0
    """Seconds that the end of a process may take longer to send what is left."""


class _Tracer(trace.Tracer):
    """Passes on to the tracer of whoever listens, if anybody does."""

    to: trace.Tracer = trace.NoOpTracer()

    def start_span(self, *args: Any, **options: Any) -> trace.Span:
        return self.to.start_span(*args, **options)

    def start_as_current_span(self, *args: Any, **options: Any) -> Any:
        return self.to.start_as_current_span(*args, **options)


class _Tracers(trace.TracerProvider):
    def get_tracer(self, *_args: Any, **_options: Any) -> trace.Tracer:
        return TRACER


TRACER = _Tracer()
"""Does nothing until somebody listens, like the instruments."""

TELEMETRY: TelemetryConfig = {
    "tracer_provider": _Tracers(),
    "operation_spans": False,
    # The figures and the log are the service's own.
    "metrics": False,
    "logs": False,
    "auto_configure": False,
    # Asked every few seconds, and never of interest.
    "exclude": lambda scope: scope["path"].startswith("/health/"),
}
"""What FastAPI tells of requests by itself."""


class OpenTelemetry(Recorder):
    """Sends spans and figures in threads of its own, which no request waits for."""

    def __init__(
        self, settings: OpenTelemetrySettings, *, service: str, version: str, environment: str
    ) -> None:
        self._settings = settings
        self._figures = Figures(settings.duration_buckets_seconds)
        self._resource = Resource.create(
            {
                "service.name": service,
                "service.version": version,
                # Each process has figures of its own.
                "service.instance.id": str(uuid.uuid4()),
                "deployment.environment.name": environment,
            }
        )
        self._tracers = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sampling_ratio)),
            resource=self._resource,
            shutdown_on_exit=False,
        )
        self._stopping = Event()
        self._sender: Thread | None = None
        if settings.endpoint != NO_COLLECTOR:
            self._send_to(self._collector())
        self._tracer = TRACER.to = self._tracers.get_tracer(_SCOPE.name)
        logs.additions.append(_ids)

    def of(self, instrument: Instrument) -> Record:
        return self._figures.of(instrument)

    def carried(self) -> str | None:
        carrier: dict[str, str] = {}
        _TRACE_CONTEXT.inject(carrier)
        return carrier.get("traceparent")

    @contextmanager
    def continued(self, name: str, carried: str | None) -> Iterator[None]:
        around = _TRACE_CONTEXT.extract({"traceparent": carried} if carried else {}, Context())
        with self._tracer.start_as_current_span(name, around, SpanKind.CONSUMER):
            yield

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        if not trace.get_current_span().is_recording():
            yield
            return
        with self._tracer.start_as_current_span(name):
            yield

    def failed(self, error: BaseException, **_tags: str) -> None:
        self.refused(error)

    def refused(self, error: BaseException) -> None:
        # That of a request has ended with its response, and knows its error already.
        if (span := trace.get_current_span()).is_recording():
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)

    async def close(self) -> None:
        logs.additions.remove(_ids)
        if TRACER.to is self._tracer:
            TRACER.to = trace.NoOpTracer()
        flushing = Thread(target=self._flush, name="flush", daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, self._settings.flush_seconds)
        if flushing.is_alive():
            logger.warning("the last spans and figures were not sent")

    def _collector(self) -> Collector:
        settings = self._settings
        headers = settings.headers.get_secret_value() if settings.headers else ""
        return Collector(settings.endpoint, _parsed(headers), settings.timeout_seconds)

    def _send_to(self, collector: Collector) -> None:
        self._tracers.add_span_processor(
            BatchSpanProcessor(
                Spans(collector),
                max_queue_size=self._settings.queue_limit,
                schedule_delay_millis=self._settings.spans_seconds * 1e3,
            )
        )
        sending = Thread(target=self._send_forever, args=(collector,), name="figures", daemon=True)
        sending.start()
        self._sender = sending

    def _send_forever(self, collector: Collector) -> None:
        stopped = False
        while not stopped:
            stopped = self._stopping.wait(self._settings.metrics_seconds)
            send_metrics(collector, self._figures.read(self._resource, _SCOPE))

    def _flush(self) -> None:
        self._stopping.set()
        self._tracers.shutdown()
        if self._sender is not None:
            self._sender.join()


def _ids() -> Mapping[str, object]:
    """The trace that a line of the log is written in, and the span."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(current.trace_id),
        "span_id": trace.format_span_id(current.span_id),
    }
