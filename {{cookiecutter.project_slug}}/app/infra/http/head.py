"""HEAD for every route that has a GET (RFC 9110, section 9.3.2)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Answers HEAD with the headers of GET; FastAPI's routes know only what they declare."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

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
