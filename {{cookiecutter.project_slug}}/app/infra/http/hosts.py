"""Which host names the service answers to."""

from collections.abc import Awaitable, Sequence

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.infra.http.headers import first

_OF_PROBES = frozenset({"/health/live", "/health/ready"})
_MEMORY = 1_000
_LONGEST_NAME = 255


class TrustedHosts:
    """Starlette's check, but for health: a probe calls a process by its address.

    What it has found to be good it remembers, since clients say the same again and again.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Sequence[str]) -> None:
        self._app = app
        self._check = TrustedHostMiddleware(self._remember, allowed_hosts=allowed_hosts)
        self._good: set[bytes] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        known = (
            scope["type"] == "http"
            and (scope["path"] in _OF_PROBES or first(scope["headers"], b"host") in self._good)
        )  # fmt: skip
        return (self._app if known else self._check)(scope, receive, send)

    async def _remember(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = first(scope["headers"], b"host") if scope["type"] == "http" else None
        if host is not None and len(host) <= _LONGEST_NAME and len(self._good) < _MEMORY:
            self._good.add(host)
        await self._app(scope, receive, send)
