"""The way to a collector: OTLP over HTTP, from threads that may wait for it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = structlog.get_logger()


class Collector:
    """What it does not take is lost. It is told once when it stops to take something, or begins."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        self._endpoint = urlsplit(endpoint)
        self._headers = {**headers, "Content-Type": "application/x-protobuf"}
        self._timeout_seconds = timeout_seconds
        self._lost: set[str] = set()

    def send(self, signal: str, message: bytes) -> bool:
        """Whether it took `message`; `signal` is `traces` or `metrics`."""
        fault = self._fault(f"{self._endpoint.path.rstrip('/')}/v1/{signal}", message)
        if fault is not None and signal not in self._lost:
            self._lost.add(signal)
            logger.warning("collector takes nothing", signal=signal, cause=fault)
        elif fault is None and signal in self._lost:
            self._lost.remove(signal)
            logger.warning("collector takes what it is sent again", signal=signal)
        return fault is None

    def _fault(self, path: str, message: bytes) -> str | None:
        secure = self._endpoint.scheme == "https"
        connect = HTTPSConnection if secure else HTTPConnection
        connection = connect(self._endpoint.netloc, timeout=self._timeout_seconds)
        try:
            connection.request("POST", path, message, self._headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        return f"{path} answered {response.status}"


class Spans(SpanExporter):
    """Sends spans."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        message = encode_spans(spans).SerializeToString()
        taken = self._collector.send("traces", message)
        return SpanExportResult.SUCCESS if taken else SpanExportResult.FAILURE


def send_metrics(collector: Collector, metrics: MetricsData) -> None:
    """Send figures."""
    collector.send("metrics", encode_metrics(metrics).SerializeToString())
