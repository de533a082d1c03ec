"""A circuit breaker: what has failed for a while is left alone for a while.

After Nygard, "Release It!": closed, then open, then half-open for one probe.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from app.infra.monitoring import Counter, Gauge

logger = structlog.get_logger()

OPEN = Gauge("breaker_open", "1 while attempts are held back, else 0", ["breaker"], across="max")
CHANGES = Counter(
    "breaker_changes_total",
    "Times that it opened, let a probe through, or closed",
    ["breaker", "state"],
)
REFUSED = Counter("breaker_refused_total", "Attempts that were held back", ["breaker"])


class BreakerOpen(Exception):
    """Nothing was attempted: the last attempts failed, and the next is not due yet."""


class Breaker:
    """Opens after a number of failures in a row, then lets one attempt through per window.

    One line is logged for each change of state, none for what happens in between.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int,
        window_seconds: float,
        errors: tuple[type[Exception], ...] = (Exception,),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`failures` (at least 1) in a row open it; `errors` are what counts as one."""
        self._name = name
        self._failures = failures
        self._window_seconds = window_seconds
        self._errors = errors
        self._clock = clock
        self._failed = 0
        self._changes = 0
        self._is_open = False
        self._probe_due = 0.0
        OPEN.expect(name)
        REFUSED.expect(name)
        for state in ("open", "half_open", "closed"):
            CHANGES.expect(name, state)

    @property
    def is_open(self) -> bool:
        """Whether attempts are held back, but for probes."""
        return self._is_open

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count what is inside as an attempt.

        Any other error than `errors` is an answer, and counts as one. A cancelled attempt shows
        nothing; if it was the probe, the next is due after the window.

        Raises:
            BreakerOpen: nothing may be attempted now.
        """
        if self._is_open:
            now = self._clock()
            if now < self._probe_due:
                REFUSED.add(self._name)
                raise BreakerOpen(f"{self._name} failed lately, and is left alone")
            self._probe_due = now + self._window_seconds
            CHANGES.add(self._name, "half_open")
        # What began before a change of state says nothing about the time after it.
        began = self._changes
        try:
            yield
        except self._errors as error:
            if began == self._changes:
                self._fail(error)
            raise
        except Exception:
            if began == self._changes:
                self._succeed()
            raise
        else:
            if began == self._changes:
                self._succeed()

    def _fail(self, error: Exception) -> None:
        self._failed += 1
        if self._is_open or self._failed < self._failures:
            return
        self._is_open = True
        self._changes += 1
        self._probe_due = self._clock() + self._window_seconds
        self._tell("open")
        cause = " ".join(str(error).split()) or type(error).__name__
        logger.warning("breaker opened", breaker=self._name, cause=cause)

    def _succeed(self) -> None:
        self._failed = 0
        if self._is_open:
            self._is_open = False
            self._changes += 1
            self._tell("closed")
            logger.warning("breaker closed", breaker=self._name)

    def _tell(self, state: str) -> None:
        OPEN.set(float(self._is_open), self._name)
        CHANGES.add(self._name, state)
