"""The access log and the figures of requests.

What is told of a request when it has ended is told once for each turn of the event loop, of all
that have ended in it, since the same work costs half as much right after itself.
"""

import asyncio
from collections.abc import Mapping
from contextvars import Context
from functools import lru_cache
from typing import Any, NamedTuple

import structlog

from app.infra import logs
from app.infra.monitoring import BYTES, Counter, Gauge, Histogram

logger = structlog.get_logger()

UNMATCHED = "unmatched"
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods that are counted by name; whoever invents one must not make a time series."""

REQUESTS = Counter(
    "http_requests_total",
    "Requests that were answered, or whose client left (status 4xx, as 499)",
    ["method", "route", "status"],
)
DURATION = Histogram(
    "http_request_duration_seconds",
    "From the first look at a request to the last byte of its response; of event streams, to the"
    " first",
    ["method", "route"],
)
SIZE = Histogram(
    "http_response_size_bytes",
    "Bodies of responses, as they were sent",
    ["method", "route"],
    buckets=BYTES,
)
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests that are being served")

_LOGGED_PATH_CHARACTERS = 200
_TELL_SECONDS = 0.1


class Ended(NamedTuple):
    """What there is to tell of a request."""

    method: str
    route: str
    path: str
    status: int
    seconds: float
    waited_seconds: float
    """Without what an event stream lasted."""
    size_bytes: int
    parts: Mapping[str, float]
    """Seconds by part, as in `app.infra.timing`."""
    context: Mapping[str, object]
    """What each line that was written for it carries."""


def count(method: str, route: str, status: int) -> None:
    """Count a request that is answered, before it is: an answer that came was counted."""
    REQUESTS.record(1, _labels(method, route, status))


class AccessLog:
    """Has a line and the figures of each request."""

    def __init__(self, *, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._ended: list[Ended] = []
        self._in_flight = 0
        self._told_in_flight = 0
        IN_FLIGHT.expect()
        self._will_look = False

    def begin(self) -> None:
        """A request has arrived."""
        self._in_flight += 1
        if not self._will_look:
            self._will_look = True
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._look)

    def end(self, request: Ended) -> None:
        """A request that had begun is done with."""
        self._in_flight -= 1
        if not self._ended:
            # The context of this request has nothing to do with the others.
            asyncio.get_running_loop().call_soon(self._tell, context=Context())
        self._ended.append(request)

    def _look(self) -> None:
        self._will_look = False
        self._tell_in_flight()

    def _tell_in_flight(self) -> None:
        if self._in_flight != self._told_in_flight:
            self._told_in_flight = self._in_flight
            IN_FLIGHT.set(self._in_flight)

    def _tell(self) -> None:
        self._tell_in_flight()
        ended, self._ended = self._ended, []
        for request in ended:
            method = _counted(request.method)
            DURATION.observe(request.waited_seconds, method, request.route)
            SIZE.observe(request.size_bytes, method, request.route)
        with logs.together():
            logs.information("request", map(_line, ended))
            for request in ended:
                if request.waited_seconds > self._slow_seconds:
                    self._warn(request)

    def _warn(self, request: Ended) -> None:
        spent = {f"{part}_ms": round(each * 1e3, 2) for part, each in request.parts.items()}
        logger.warning("slow request", **_line(request), **spent)


def _line(request: Ended) -> dict[str, Any]:
    line: dict[str, Any] = {
        "method": request.method,
        "route": request.route,
        "status": request.status,
        "duration_ms": round(request.seconds * 1e3, 2),
    }
    if request.route == UNMATCHED:
        line["path"] = request.path[:_LOGGED_PATH_CHARACTERS]
    line.update(request.context)
    return line


@lru_cache(maxsize=10_000)
def _labels(method: str, route: str, status: int) -> tuple[str, str, str]:
    method = _counted(method)
    # So that the first error of a route is seen as one.
    REQUESTS.expect(method, route, "5xx")
    return method, route, f"{status // 100}xx"


def _counted(method: str) -> str:
    return method if method in METHODS else OTHER
