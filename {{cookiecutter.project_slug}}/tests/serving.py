"""The application, served inside the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from blockbuster import blockbuster_ctx
from fastapi import APIRouter, FastAPI
from httpx2 import ASGITransport, AsyncClient
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings


def probed(probe: APIRouter, settings: Settings, **http: Any) -> FastAPI:
    """The service with routes to probe it, and with other settings of HTTP."""
    changed = settings.http.model_copy(update=http)
    app = create_app(settings.model_copy(update={"http": changed}))
    app.include_router(probe)
    return app


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[ASGIApp]:
    """`app` between its start and its end, with the state that a server would pass along."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        yield with_state


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of `app`.

    A handler that blocks the event loop fails: a call under `app` that may wait raises there.
    """
    async with (
        started(app) as serving,
        AsyncClient(transport=ASGITransport(app=serving), base_url="http://service") as client,
    ):
        with blockbuster_ctx("app"):
            yield client
