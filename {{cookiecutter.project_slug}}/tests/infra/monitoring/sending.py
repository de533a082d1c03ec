"""Services that send to a collector of the test's own."""

from typing import Any

from app.infra.monitoring.opentelemetry import OpenTelemetrySettings
from app.settings import Settings
from tests.otlp_receiver import Receiver


def sending_to(collector: Receiver, settings: Settings, **changes: Any) -> Settings:
    """`settings` of a service that sends to `collector`, soon and patiently."""
    quick = {"endpoint": collector.url, "spans_seconds": 0.05, "metrics_seconds": 0.05}
    patient = {"timeout_seconds": 20, "flush_seconds": 60}
    chosen = OpenTelemetrySettings(**{**quick, **patient, **changes})
    return settings.model_copy(update={"monitoring": chosen})
