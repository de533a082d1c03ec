"""Which requests must see what was written a moment ago, and so read from the primary."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "read_from_primary"


@dataclass(slots=True)
class Freshness:
    """What one request has a right to see."""

    pinned: bool = False
    """Its reads go to the primary."""

    wrote: bool = False
    """It began a unit of work that writes."""


_current: ContextVar[Freshness | None] = ContextVar("freshness", default=None)


def is_pinned() -> bool:
    """Whether reads must go to the primary.

    Outside of requests they must: a command would otherwise miss what it wrote.
    """
    current = _current.get()
    return current is None or current.pinned


def pin() -> None:
    """Send the reads that follow in this request to the primary, for it writes."""
    if (current := _current.get()) is not None:
        current.pinned = current.wrote = True


@contextmanager
def from_primary() -> Iterator[None]:
    """Reads in the block go to the primary: what others will be shown must not be behind."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


class FreshnessMiddleware:
    """Lets each request read from replicas until it writes.

    With `sticky_seconds`, a client that wrote gets a cookie, with which its next requests read from
    the primary for so long.
    """

    def __init__(self, app: ASGIApp, *, sticky_seconds: float) -> None:
        self._app = app
        self._sticky_seconds = sticky_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        freshness = Freshness(pinned=self._sticky_seconds > 0 and _has_cookie(scope))

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and freshness.wrote:
                cookie = (b"set-cookie", self._cookie(scope))
                message["headers"] = [*message.get("headers", ()), cookie]
            await send(message)

        _current.set(freshness)
        try:
            await self._app(scope, receive, send_with_cookie if self._sticky_seconds else send)
        finally:
            # A task that it leaves behind is no part of it any more.
            freshness.pinned = True

    def _cookie(self, scope: Scope) -> bytes:
        secure = "; Secure" if scope["scheme"] == "https" else ""
        # Whole seconds, of which none would end it at once.
        kept = f"Max-Age={math.ceil(self._sticky_seconds)}; Path=/; HttpOnly; SameSite=Lax{secure}"
        return f"{COOKIE}=1; {kept}".encode()


def _has_cookie(scope: Scope) -> bool:
    return any(COOKIE in cookie_parser(value) for value in Headers(scope=scope).getlist("cookie"))
