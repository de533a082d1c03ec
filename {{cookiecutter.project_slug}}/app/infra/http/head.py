"""HEAD for every route that has a GET (RFC 9110, section 9.3.2)."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD with the headers of GET; FastAPI's routes know only what they declare."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        return (self._answer if is_head else self._app)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A copy, since the server looks at its own scope to know that no body follows.
        get = {**scope, "method": "GET"}

        def tell_findings() -> None:
            """Routing leaves them in the scope."""
            scope.update({**get, "method": "HEAD"})

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            else:
                tell_findings()
            await send(message)

        try:
            await self._app(get, receive, send_without_body)
        finally:
            tell_findings()
