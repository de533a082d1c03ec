"""A recorder for tests: what each instrument was told."""

from collections import defaultdict

from app.infra.monitoring import Counter, Instrument, Record, Recorder


class Figures(Recorder):
    """Keeps every amount, by the instrument's name and the values of its labels.

    `async with listening(figures):` installs it in place of whoever listened.
    """

    def __init__(self) -> None:
        self._amounts: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        self._happened: set[tuple[str, ...]] = set()

    def of(self, instrument: Instrument) -> Record | None:
        def record(amount: float, labels: tuple[str, ...]) -> None:
            self._amounts[instrument.name, *labels].append(amount)
            if amount or not isinstance(instrument, Counter):
                self._happened.add((instrument.name, *labels))

        return record

    def total(self, name: str, *labels: str) -> float:
        """What a counter has come to, and the sum of what a histogram has observed."""
        return sum(self._amounts.get((name, *labels), ()))

    def times(self, name: str, *labels: str) -> int:
        """How often a histogram has observed something."""
        return len(self._amounts.get((name, *labels), ()))

    def amounts(self, name: str, *labels: str) -> list[float]:
        """Everything that an instrument was told, in order."""
        return list(self._amounts.get((name, *labels), ()))

    def last(self, name: str, *labels: str) -> float | None:
        """What a gauge was set to."""
        amounts = self._amounts.get((name, *labels))
        return amounts[-1] if amounts else None

    def series(self, name: str) -> set[tuple[str, ...]]:
        """The labels with which something was recorded: what a counter expects has not happened."""
        return {key[1:] for key in self._happened if key[0] == name}
