"""A collector of the test's own, which decodes what arrives."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Span:
    """A part of a trace."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int


@dataclass
class Receiver:
    """What has arrived."""

    url: str
    spans: list[Span] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    """The latest message of each family, by its name."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, by their names in lower case."""
    hangs: Event = field(default_factory=Event)
    """While it is set, nobody is answered."""
    refuses: Event = field(default_factory=Event)
    """While it is set, everybody is answered with 503."""

    def named(self, name: str) -> list[Span]:
        """The spans with this name."""
        return [span for span in self.spans if span.name == name]

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, as they began."""
        of_trace = [span for span in self.spans if span.trace_id == trace_id]
        return sorted(of_trace, key=lambda span: span.began_ns)

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """The latest points of a family, by the values of their labels, if there are any."""
        if name not in self.metrics:
            return {}
        data = getattr(self.metrics[name], self.metrics[name].WhichOneof("data"))
        return {tuple(_attributes(point.attributes).values()): point for point in data.data_points}

    def until(self, arrived: Callable[[], Any]) -> Any:
        """Wait until `arrived` is true, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := arrived()):
            assert time.monotonic() < deadline, sorted({span.name for span in self.spans})
            time.sleep(0.02)
        return found

    def take(self, path: str, body: bytes) -> None:
        """Decode a message."""
        if path.endswith("/v1/traces"):
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        else:
            assert path.endswith("/v1/metrics"), path
            for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for of_scope in of_resource.scope_metrics:
                    self.metrics |= {metric.name: metric for metric in of_scope.metrics}

    def _take_spans(self, message: ExportTraceServiceRequest) -> None:
        for of_resource in message.resource_spans:
            resource = _attributes(of_resource.resource.attributes)
            for span in (span for scope in of_resource.scope_spans for span in scope.spans):
                self.spans.append(
                    Span(
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        _attributes(span.attributes),
                        resource,
                        span.status.code == span.status.STATUS_CODE_ERROR,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                    )
                )


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A collector at a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append({name.lower(): text for name, text in self.headers.items()})
            while receiver.hangs.is_set() and not closing.wait(0.02):
                pass
            if receiver.refuses.is_set():
                self.send_response(503)
            else:
                receiver.take(self.path, body)
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not to the terminal."""

        def handle(self) -> None:
            # Who waited too long has left.
            with suppress(ConnectionError):
                super().handle()

    closing = Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
