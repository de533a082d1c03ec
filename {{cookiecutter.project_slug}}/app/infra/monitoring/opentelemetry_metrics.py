"""What the instruments were told, added up as OpenTelemetry's data model has it.

Not by its SDK, whose instruments take five microseconds for each amount: a request has five.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.infra.monitoring import instruments
from app.infra.monitoring.instruments import Instrument, Record

_SINCE_THE_START = AggregationTemporality.CUMULATIVE
_UNITS = {"seconds": "s", "bytes": "By"}


class Figures:
    """The figures of this process."""

    def __init__(self, duration_buckets_seconds: Sequence[float]) -> None:
        self._duration_buckets_seconds = duration_buckets_seconds
        self._families: dict[str, tuple[Instrument, _Series]] = {}
        self._began_ns = time.time_ns()

    def of(self, instrument: Instrument) -> Record:
        """What counts the amounts of `instrument`."""
        if instrument.name not in self._families:
            self._families[instrument.name] = (instrument, self._series(instrument))
        return self._families[instrument.name][1].record

    def read(self, resource: Resource, scope: InstrumentationScope) -> MetricsData:
        """All of them, as they are now."""
        now_ns = time.time_ns()
        metrics = [
            Metric(
                instrument.name,
                instrument.description,
                _unit(instrument.name),
                series.data(instrument.labels, self._began_ns, now_ns),
            )
            for instrument, series in list(self._families.values())
        ]
        metrics = [metric for metric in metrics if metric.data.data_points]
        of_scope = ScopeMetrics(scope, metrics, schema_url="")
        return MetricsData([ResourceMetrics(resource, [of_scope], schema_url="")])

    def _series(self, instrument: Instrument) -> "_Series":
        if isinstance(instrument, instruments.Histogram):
            return _Distributions(instrument.buckets or self._duration_buckets_seconds)
        return _Levels() if isinstance(instrument, instruments.Gauge) else _Sums()


class _Series(Protocol):
    """What one instrument was told, by the values of its labels."""

    def record(self, amount: float, labels: tuple[str, ...]) -> None: ...

    def data(self, names: tuple[str, ...], began_ns: int, now_ns: int) -> Sum | Gauge | Histogram:
        """All of it; `names` are those of the labels."""


class _Sums:
    def __init__(self) -> None:
        self._totals: dict[tuple[str, ...], float] = {}

    def record(self, amount: float, labels: tuple[str, ...]) -> None:
        self._totals[labels] = self._totals.get(labels, 0.0) + amount

    def data(self, names: tuple[str, ...], began_ns: int, now_ns: int) -> Sum:
        points = [
            NumberDataPoint(dict(zip(names, labels, strict=True)), began_ns, now_ns, total)
            for labels, total in list(self._totals.items())
        ]
        return Sum(points, _SINCE_THE_START, is_monotonic=True)


class _Levels:
    def __init__(self) -> None:
        self._levels: dict[tuple[str, ...], float] = {}

    def record(self, amount: float, labels: tuple[str, ...]) -> None:
        self._levels[labels] = float(amount)

    def data(self, names: tuple[str, ...], began_ns: int, now_ns: int) -> Gauge:
        return Gauge(
            [
                NumberDataPoint(dict(zip(names, labels, strict=True)), began_ns, now_ns, level)
                for labels, level in list(self._levels.items())
            ]
        )


class _Distribution:
    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
        self.least = float("inf")
        self.most = float("-inf")


class _Distributions:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = sorted(bounds)
        self._found: dict[tuple[str, ...], _Distribution] = {}

    def record(self, amount: float, labels: tuple[str, ...]) -> None:
        found = self._found.get(labels)
        if found is None:
            found = self._found[labels] = _Distribution(len(self._bounds) + 1)
        found.counts[bisect_left(self._bounds, amount)] += 1
        found.total += amount
        found.least = min(found.least, amount)
        found.most = max(found.most, amount)

    def data(self, names: tuple[str, ...], began_ns: int, now_ns: int) -> Histogram:
        points = [
            HistogramDataPoint(
                dict(zip(names, labels, strict=True)),
                began_ns,
                now_ns,
                count=sum(counts := found.counts[:]),
                sum=found.total,
                bucket_counts=counts,
                explicit_bounds=self._bounds,
                min=found.least,
                max=found.most,
            )
            for labels, found in list(self._found.items())
        ]
        return Histogram(points, _SINCE_THE_START)


def _unit(name: str) -> str:
    """In the notation of UCUM, as OpenTelemetry wants it."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return _UNITS.get(last, "1")
