"""What is recorded: counters, gauges and histograms, with their names, units and labels.

A name ends with its unit, in the base form (seconds, bytes), or with `_total` for what only grows.
"""

from collections.abc import Callable, Sequence
from typing import Literal

Record = Callable[[float, tuple[str, ...]], None]
"""Takes an amount, and the values of an instrument's labels in their order."""

BYTES = (100.0, 1e3, 1e4, 1e5, 1e6, 1e7)
"""Bounds of buckets for sizes."""


def nothing(_amount: float, _labels: tuple[str, ...]) -> None:
    """What becomes of an amount to which nobody listens."""


class Instrument:
    """A family of time series: one for each combination of values of its labels.

    These are few and known beforehand: the template of a route, never the path of a request.
    """

    def __init__(self, name: str, description: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.description = description
        self.labels = tuple(labels)
        self.record: Record = nothing
        declared.add(self)

    def connect(self, record: Record) -> None:
        """Let `record` have the amounts from now on."""
        self.record = record


class Number(Instrument):
    """One number for each combination of values of its labels."""

    def __init__(self, name: str, description: str, labels: Sequence[str] = ()) -> None:
        self._expected: set[tuple[str, ...]] = set()
        super().__init__(name, description, labels)

    def expect(self, *labels: str) -> None:
        """Have it told from the start on, as 0: what is told first as 1 has not grown by one."""
        if labels not in self._expected:
            self._expected.add(labels)
            self.record(0, labels)

    def connect(self, record: Record) -> None:
        super().connect(record)
        for labels in self._expected:
            record(0, labels)


class Counter(Number):
    """Something that happens, and is counted."""

    def add(self, *labels: str, amount: float = 1) -> None:
        self.record(amount, labels)


class Histogram(Instrument):
    """Something that takes a while or has a size."""

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float] | None = None,
    ) -> None:
        """`buckets` are upper bounds; without them, those that the settings have for seconds."""
        self.buckets = buckets
        super().__init__(name, description, labels)

    def observe(self, amount: float, *labels: str) -> None:
        self.record(amount, labels)


class Gauge(Number):
    """Something that goes up and down."""

    def __init__(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        across: Literal["sum", "max", "latest"] = "sum",
    ) -> None:
        """`across` says what it is of several processes: the sum, the largest, or the latest.

        The latest is for what all of them look at, like the length of a queue.
        """
        self.across = across
        super().__init__(name, description, labels)

    def set(self, value: float, *labels: str) -> None:
        self.record(value, labels)


class Declared(list[Instrument]):
    """Every instrument there is, and where their amounts go."""

    def __init__(self) -> None:
        super().__init__()
        self._find: Callable[[Instrument], Record | None] = lambda _instrument: None

    def add(self, instrument: Instrument) -> None:
        self.append(instrument)
        instrument.connect(self._find(instrument) or nothing)

    def connect(self, find: Callable[[Instrument], Record | None]) -> None:
        """Let what `find` returns have the amounts of each, also of those to come."""
        self._find = find
        for instrument in self:
            instrument.connect(find(instrument) or nothing)


declared = Declared()
