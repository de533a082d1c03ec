"""Which host names the service answers to."""

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send


class TrustedHosts(TrustedHostMiddleware):
    """Starlette's check, but for health: a probe calls a process by its address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in {"/health/live", "/health/ready"}:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
