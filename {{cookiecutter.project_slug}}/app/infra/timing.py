"""Where a request's time goes, by part."""

from contextvars import ContextVar

parts: ContextVar[dict[str, float] | None] = ContextVar("timing_parts", default=None)
"""Seconds by part of the request that is served; none outside a request."""


def add(part: str, seconds: float) -> None:
    """Count `seconds` towards `part` of the current request, if there is one."""
    if (current := parts.get()) is not None:
        current[part] = current.get(part, 0.0) + seconds
