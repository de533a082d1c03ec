"""Where a request's time goes, by part."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def measured(part: str) -> Iterator[None]:
    """Count the time that the block takes towards `part`."""
    started = time.perf_counter()
    try:
        yield
    finally:
        add(part, time.perf_counter() - started)
