"""How large the body of a request may be."""

from collections.abc import Awaitable

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_TELL_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})


class BodyLimit:
    """Starlette's limit, for requests that have a body (RFC 9112, section 6.3)."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._limited = RequestBodyLimitMiddleware(app, max_body_size=max_body_bytes)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (self._limited if _has_body(scope) else self._app)(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    for name, _ in scope["headers"]:
        if name in _TELL_OF_A_BODY:
            return True
    # Later versions of HTTP need no header for it.
    return not scope["http_version"].startswith("1")
