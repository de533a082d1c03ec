"""Where a request's time goes, by part."""

import time
from contextvars import ContextVar

parts: ContextVar[dict[str, float] | None] = ContextVar("timing_parts", default=None)
"""Seconds by part of the request that is served; none outside a request.

`queue` is waiting for a turn, `serialization` is turning what the handler returned into bytes, and
the others are called after whom the request waits for. None of them contains another.
"""


def add(part: str, seconds: float) -> None:
    """Count `seconds` towards `part` of the current request, if there is one."""
    if (current := parts.get()) is not None:
        current[part] = current.get(part, 0.0) + seconds


class measured:  # noqa: N801  # called as a function is, and cheaper than a generator
    """Count the time that the block takes towards `part`."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_error: object) -> None:
        add(self._part, time.perf_counter() - self._started)
