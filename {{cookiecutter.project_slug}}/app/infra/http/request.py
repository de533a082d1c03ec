"""What happens to every request: its id, its timing, its headers and its line in the log.

One ASGI middleware does all of it, since each layer of middleware costs every request.
"""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StartupError
from app.infra import logs, timing
from app.infra.http.drain import Drain
from app.infra.http.headers import Header, first, security_headers
from app.infra.http.settings import TRUST_NONE, HttpSettings
from app.infra.monitoring import BYTES, Counter, Gauge, Histogram, failed

logger = structlog.get_logger()

CLIENT_LEFT = 499
"""Status of a request, in the log, whose client left before the answer began; nginx's number."""

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
ERRORS = Counter(
    "http_request_exceptions_total", "Errors that nothing handled", ["route", "exception"]
)

_LOGGED_PATH_CHARACTERS = 200
_TELL_SECONDS = 0.1
_WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestMiddleware:
    """The outermost layer: what it adds is on errors too.

    An error that nothing handled is logged here with its traceback, after its 500 was sent.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: HttpSettings,
        drain: Drain,
        production: bool,
        documentation_paths: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._drain = drain
        id_header = settings.request_id_header.lower()
        self._id_header = None if id_header == TRUST_NONE else id_header.encode()
        self._slow_seconds = settings.slow_request_seconds
        self._headers = security_headers(production=production)
        self._documentation_headers = security_headers(production=production, documentation=True)
        self._documentation_paths = documentation_paths
        self._in_flight = 0
        self._will_tell = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._start(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = self._request_id(scope["headers"])
        logs.request_id.set(request_id)
        logs.route.set(partial(route_template, scope))
        scope.setdefault("state", {})["request_id"] = request_id
        parts: dict[str, float] = {}
        timing.parts.set(parts)
        documentation = scope["path"] in self._documentation_paths
        added = self._documentation_headers if documentation else self._headers
        status = 0
        route = ""
        size_bytes = 0
        left = False
        longest_seconds = math.inf

        async def receive_until_left() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, route, size_bytes, longest_seconds
            if message["type"] == "http.response.body":
                size_bytes += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = CLIENT_LEFT if left else message["status"]
                # First of all: what a client has received was counted, whatever happens next.
                route = _counted(scope, status)
                seconds = time.perf_counter() - started
                longest_seconds = seconds if _is_event_stream(message) else math.inf
                message["headers"] = [
                    *message.get("headers", ()),
                    *added,
                    *_timing_headers(seconds, parts),
                    (b"x-request-id", request_id.encode()),
                ]
                if self._drain.begun:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self._count_in_flight(1)
        try:
            await self._app(scope, receive_until_left, send_with_headers)
        except ClientDisconnect:
            # Raised to a handler that reads the body.
            if not left:
                raise
        except Exception as error:
            logger.exception("request failed")
            route = route_template(scope)
            ERRORS.add(route, type(error).__name__)
            failed(error, request_id=request_id, method=scope["method"], route=route)
            if not status:
                raise
        finally:
            self._count_in_flight(-1)
            route = route or _counted(scope, CLIENT_LEFT)
            seconds = time.perf_counter() - started
            waited_seconds = min(seconds, longest_seconds)
            DURATION.observe(waited_seconds, _method(scope), route)
            SIZE.observe(size_bytes, _method(scope), route)
            slow = waited_seconds > self._slow_seconds
            self._log(scope, route, status or CLIENT_LEFT, seconds, parts if slow else None)

    def _request_id(self, headers: list[Header]) -> str:
        if self._id_header:
            for name, value in headers:
                if name == self._id_header and _WELL_FORMED_ID.fullmatch(value):
                    return value.decode()
        return uuid.uuid4().hex

    def _count_in_flight(self, change: int) -> None:
        """Tell of the first and the last at once, of others a few times a second."""
        self._in_flight += change
        if self._in_flight <= 1:
            IN_FLIGHT.set(self._in_flight)
        elif not self._will_tell:
            self._will_tell = True
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell_in_flight)

    def _tell_in_flight(self) -> None:
        self._will_tell = False
        IN_FLIGHT.set(self._in_flight)

    def _log(
        self,
        scope: Scope,
        route: str,
        status: int,
        seconds: float,
        slow_parts: dict[str, float] | None,
    ) -> None:
        line: dict[str, Any] = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1e3, 2),
        }
        if line["route"] == UNMATCHED:
            line["path"] = scope["path"][:_LOGGED_PATH_CHARACTERS]
        logger.info("request", **line)
        if slow_parts is not None:
            spent = {f"{part}_ms": round(value * 1e3, 2) for part, value in slow_parts.items()}
            logger.warning("slow request", **line, **spent)

    async def _start(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Show the sentence of a `StartupError` in place of Starlette's traceback."""
        failure: Message | None = None

        async def hold_back_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_back_failure)
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except BaseException:
            if failure is not None:
                await send(failure)
            raise


def _counted(scope: Scope, status: int) -> str:
    """The route of a request, which is counted."""
    route = route_template(scope)
    method = _method(scope)
    # So that the first error of a route is seen as one.
    REQUESTS.expect(method, route, "5xx")
    REQUESTS.add(method, route, f"{status // 100}xx")
    return route


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else OTHER


def route_template(scope: Scope) -> str:
    """The path of the route as it was declared, prefixes included, or `unmatched`.

    FastAPI keeps routers as a tree, so that `scope["route"].path` lacks the prefixes. What no route
    of a mounted application matches counts as the path of the mount.
    """
    root_path: str = scope.get("root_path", "")
    mount = root_path.removeprefix(scope.get("app_root_path", root_path))
    context = scope.get("fastapi", {}).get("effective_route_context")
    path = context.path_format if context else getattr(_route(scope), "path", "")
    return f"{mount}{path}" or UNMATCHED


def _route(scope: Scope) -> BaseRoute | None:
    if "route" in scope or "endpoint" not in scope:
        return scope.get("route")
    # FastAPI does not say which of Starlette's plain routes it took.
    routes: Sequence[BaseRoute] = getattr(scope.get("router"), "routes", ())
    endpoint = scope["endpoint"]
    return next((route for route in routes if getattr(route, "endpoint", None) is endpoint), None)


def _is_event_stream(start: Message) -> bool:
    """Whether the response lasts as long as its client likes, whatever the service does."""
    content_type = first(start.get("headers", ()), b"content-type")
    return content_type is not None and content_type.startswith(b"text/event-stream")


def _timing_headers(seconds: float, parts: dict[str, float]) -> list[Header]:
    """`Server-Timing` in milliseconds (W3C) and `X-Process-Time` in seconds."""
    entries = [f"{part};dur={spent * 1e3:.2f}" for part, spent in parts.items()]
    entries.append(f"total;dur={seconds * 1e3:.2f}")
    return [
        (b"server-timing", ", ".join(entries).encode()),
        (b"x-process-time", f"{seconds:.6f}".encode()),
    ]
