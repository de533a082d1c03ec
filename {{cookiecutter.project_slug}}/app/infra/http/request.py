"""What happens to every request: its id, its timing, its headers and its line in the log.

One ASGI middleware does all of it, since each layer of middleware costs every request.
"""

import asyncio
import math
import random
import re
import time
from collections.abc import Awaitable, Sequence
from functools import partial

import structlog
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import StartupError
from app.infra import logs, timing
from app.infra.http import access
from app.infra.http.access import UNMATCHED, AccessLog, Ended
from app.infra.http.drain import Drain
from app.infra.http.headers import Header, first, security_headers
from app.infra.http.settings import TRUST_NONE, HttpSettings
from app.infra.monitoring import Counter, failed

logger = structlog.get_logger()

CLIENT_LEFT = 499
"""Status of a request, in the log, whose client left before the answer began; nginx's number."""

ERRORS = Counter(
    "http_request_exceptions_total", "Errors that nothing handled", ["route", "exception"]
)

# A response that is sent in less is no stream that lasts, whatever it calls itself.
_BRIEF_SECONDS = 0.005
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
        self._log = AccessLog(slow_seconds=settings.slow_request_seconds)
        self.headers = security_headers(production=production)
        self._documentation_headers = security_headers(production=production, documentation=True)
        self._documentation_paths = documentation_paths

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Without a coroutine of its own, which would be in the way of each message."""
        if scope["type"] == "http":
            return self._serve(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._start(scope, receive, send)
        return self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = self._request_id(scope["headers"])
        logs.request_id.set(request_id)
        logs.route.set(partial(route_template, scope))
        scope.setdefault("state", {})["request_id"] = request_id
        parts: dict[str, float] = {}
        timing.parts.set(parts)
        documentation = scope["path"] in self._documentation_paths
        added = self._documentation_headers if documentation else self.headers
        status = 0
        route = ""
        size_bytes = 0
        left = False
        begun: Message = {}
        begun_seconds = math.inf

        async def receive_until_left() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        def send_with_headers(message: Message) -> Awaitable[None]:
            nonlocal status, route, size_bytes, begun, begun_seconds
            if message["type"] == "http.response.body":
                size_bytes += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = CLIENT_LEFT if left else message["status"]
                # First of all: what a client has received was counted, whatever happens next.
                route = _count(scope, status)
                begun = message
                begun_seconds = time.perf_counter() - started
                message["headers"] = [
                    *message.get("headers", ()),
                    *added,
                    *own_headers(request_id, begun_seconds, parts),
                ]
                if self._drain.begun:
                    message["headers"].append((b"connection", b"close"))
            return send(message)

        self._log.begin()
        try:
            await self._app(scope, receive_until_left, send_with_headers)
        except ClientDisconnect:
            # Raised to a handler that reads the body.
            if not left:
                raise
        except Exception as error:
            route = tell_failure(error, scope, request_id)
            if not status:
                raise
        finally:
            status = status or _status_of_nothing(left=left)
            route = route or _count(scope, status)
            seconds = time.perf_counter() - started
            lasts = seconds - begun_seconds > _BRIEF_SECONDS and _is_event_stream(begun)
            self._log.end(
                Ended(
                    method=scope["method"],
                    route=route,
                    path=scope["path"],
                    status=status,
                    seconds=seconds,
                    waited_seconds=begun_seconds if lasts else seconds,
                    size_bytes=size_bytes,
                    parts=parts,
                    context=logs.context(),
                )
            )

    def _request_id(self, headers: list[Header]) -> str:
        if self._id_header:
            for name, value in headers:
                if name == self._id_header and _WELL_FORMED_ID.fullmatch(value):
                    return value.decode()
        return f"{random.getrandbits(128):032x}"  # a name, not a secret

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


def tell_failure(error: Exception, scope: Scope, request_id: str) -> str:
    """Log, count and report the error that ended a request; returns its route."""
    logger.exception("request failed")
    route = route_template(scope)
    ERRORS.add(route, type(error).__name__)
    failed(error, request_id=request_id, method=scope["method"], route=route)
    return route


def _status_of_nothing(*, left: bool) -> int:
    """What a request counts as for which no answer was begun."""
    task = asyncio.current_task()
    # The server cancels the request itself; somebody else cancels what it waits for.
    given_up = left or (task is not None and task.cancelling() > 0)
    return CLIENT_LEFT if given_up else 500  # which the server sends then


def _count(scope: Scope, status: int) -> str:
    """The route of a request, which is counted."""
    route = route_template(scope)
    access.count(scope["method"], route, status)
    return route


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


def own_headers(request_id: str, seconds: float, parts: dict[str, float]) -> list[Header]:
    """`Server-Timing` in milliseconds (W3C), `X-Process-Time` in seconds, and `X-Request-ID`."""
    entries = "".join([f"{part};dur={spent * 1e3:.2f}, " for part, spent in parts.items()])
    return [
        (b"server-timing", f"{entries}total;dur={seconds * 1e3:.2f}".encode()),
        (b"x-process-time", f"{seconds:.6f}".encode()),
        (b"x-request-id", request_id.encode()),
    ]
