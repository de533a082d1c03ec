"""Figures as a collector of OpenTelemetry is told them."""

from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.infra.monitoring import Instrument, Recorder
from app.infra.monitoring.opentelemetry import OpenTelemetry, OpenTelemetrySettings


class Backend:
    """What was recorded, as the protocol has it."""

    def __init__(self) -> None:
        settings = OpenTelemetrySettings(endpoint="none")
        self._listener = OpenTelemetry(
            settings, service="tests", version="1.2.3", environment="development"
        )
        self.recorder: Recorder = self._listener

    def total(self, instrument: Instrument, *labels: str) -> float:
        point = self._point(instrument, *labels)
        total: float = getattr(point, "sum", getattr(point, "value", 0.0))
        return total

    def times(self, instrument: Instrument, *labels: str) -> float:
        times: int = getattr(self._point(instrument, *labels), "count", 0)
        return times

    def last(self, instrument: Instrument, *labels: str) -> float | None:
        last: float | None = getattr(self._point(instrument, *labels), "value", None)
        return last

    def _point(self, instrument: Instrument, *labels: str) -> Any:
        named = dict(zip(instrument.labels, labels, strict=True))
        told = self._listener._figures.read(Resource({}), InstrumentationScope("tests"))
        for metric in told.resource_metrics[0].scope_metrics[0].metrics:
            if metric.name == instrument.name:
                for point in metric.data.data_points:
                    if point.attributes == named:
                        return point
        return None
