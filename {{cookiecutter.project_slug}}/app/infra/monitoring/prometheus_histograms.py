"""Histograms of Prometheus that are written some times a second.

To observe is to write two numbers, each behind a lock and through a mapped file; what is observed
meanwhile is added up before. A process that is killed takes as much with it.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from contextvars import Context
from typing import TYPE_CHECKING

from app.infra.monitoring.instruments import Record

if TYPE_CHECKING:
    from prometheus_client import Histogram

_WRITE_SECONDS = 0.1


class Observations:
    """What the histograms of a process have observed and not written yet, in one event loop."""

    def __init__(self) -> None:
        self._waiting: list[_Series] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def of(self, family: "Histogram") -> Record:
        """Have `family` observe what it is called with."""
        found: dict[tuple[str, ...], _Series] = {}

        def record(amount: float, labels: tuple[str, ...]) -> None:
            series = found.get(labels)
            if series is None:
                series = found[labels] = _Series(family.labels(*labels) if labels else family)
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # a thread, or the end of the process
                loop = None
            if loop is None or (loop is not self._loop and not self._moves_to(loop)):
                series.histogram.observe(amount)
                return
            if not series.amounts:
                if not self._waiting:
                    loop.call_later(_WRITE_SECONDS, self.write, context=Context())
                self._waiting.append(series)
            series.amounts.append(amount)

        return record

    def _moves_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether `loop` writes from now on, since there is no other one."""
        if self._loop is not None and not self._loop.is_closed():
            return False
        self.write()  # what the one before has left
        self._loop = loop
        return True

    def write(self) -> None:
        """Write what is waiting. To be called where it is observed, since nothing is locked."""
        waiting, self._waiting = self._waiting, []
        for series in waiting:
            series.write()


class _Series:
    def __init__(self, histogram: "Histogram") -> None:
        self.histogram = histogram
        self.amounts: list[float] = []

    def write(self) -> None:
        amounts, self.amounts = self.amounts, []
        # It offers no way to observe several at once.
        histogram = self.histogram
        bounds = histogram._upper_bounds  # noqa: SLF001
        histogram._sum.inc(sum(amounts))  # noqa: SLF001
        for bucket, times in Counter(bisect_left(bounds, amount) for amount in amounts).items():
            histogram._buckets[bucket].inc(times)  # noqa: SLF001
