"""Figures as Prometheus is told them."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.infra.monitoring import Instrument, Recorder
from app.infra.monitoring.prometheus import Prometheus, PrometheusSettings, registry


class Scrape:
    """Figures at one moment."""

    def __init__(self, families: Iterator[Metric]) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    @classmethod
    def of(cls, text: str) -> "Scrape":
        """The figures that `/metrics` answers with."""
        return cls(iter(text_string_to_metric_families(text)))

    def get(self, name: str, **labels: str) -> float | None:
        """The figure with exactly these labels."""
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """The sum of all figures with these labels, and any others."""
        wanted = labels.items()
        return sum(
            value for (each, has), value in self.samples.items() if each == name and wanted <= has
        )


class Backend:
    """What was recorded, as Prometheus finds it."""

    def __init__(self) -> None:
        self.recorder: Recorder = Prometheus(PrometheusSettings())

    def total(self, instrument: Instrument, *labels: str) -> float:
        total = self._find(instrument, "", *labels)
        return self._find(instrument, "_sum", *labels) or 0.0 if total is None else total

    def times(self, instrument: Instrument, *labels: str) -> float:
        return self._find(instrument, "_count", *labels) or 0.0

    def last(self, instrument: Instrument, *labels: str) -> float | None:
        return self._find(instrument, "", *labels)

    def _find(self, instrument: Instrument, suffix: str, *labels: str) -> float | None:
        told = Scrape(iter(registry().collect()))
        named = dict(zip(instrument.labels, labels, strict=True))
        return told.get(instrument.name + suffix, **named)
