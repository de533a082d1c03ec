"""The tests' own recorder, held to the contract like the others."""

from app.infra.monitoring import Instrument, Recorder
from tests.figures import Figures


class Backend:
    """What was recorded, as the double has it."""

    def __init__(self) -> None:
        self._figures = Figures()
        self.recorder: Recorder = self._figures

    def total(self, instrument: Instrument, *labels: str) -> float:
        return self._figures.total(instrument.name, *labels)

    def times(self, instrument: Instrument, *labels: str) -> float:
        return self._figures.times(instrument.name, *labels)

    def last(self, instrument: Instrument, *labels: str) -> float | None:
        return self._figures.last(instrument.name, *labels)
