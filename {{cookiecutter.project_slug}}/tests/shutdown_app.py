"""A service small enough to see its shutdown alone; `python -m tests.shutdown_app` serves it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http import server
from app.infra.http.drain import Drain


class CloseMiddleware:
    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self.app = app
        self.drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_close(message: Message) -> None:
            if message["type"] == "http.response.start" and self.drain.begun:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_close)


def create_app() -> FastAPI:
    failure = os.environ.get("FAILURE")
    if failure == "create":
        raise RuntimeError("cannot be made")
    drain = Drain()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        if failure == "open":
            raise RuntimeError("cannot be opened")
        yield {"drain": drain}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(CloseMiddleware, drain=drain)

    @app.get("/health/live")
    async def live() -> str:
        return "alive"

    @app.get("/health/ready")
    async def ready() -> Response:
        return Response(status_code=503 if drain.begun else 200)

    @app.post("/slow")
    async def slow(request: Request) -> int:
        """Take as long as the client takes to send the body."""
        return len(await request.body())

    return app


if __name__ == "__main__":
    server.run(
        uvicorn.Config(
            "tests.shutdown_app:create_app",
            factory=True,
            port=int(os.environ["APP_HTTP__PORT"]),
            workers=int(os.environ["APP_HTTP__WORKERS"]),
            loop=os.environ.get("LOOP", "auto"),
            access_log=False,
            timeout_graceful_shutdown=30,
        ),
        drain_seconds=float(os.environ["APP_HTTP__DRAIN_SECONDS"]),
    )
