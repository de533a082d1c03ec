"""The application, served inside the test's own process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
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
        yield with_state(app, state or {})


def with_state(app: ASGIApp, state: Mapping[str, Any]) -> ASGIApp:
    """`app`, called with `state`."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app({**scope, "state": dict(state)}, receive, send)
        finally:
            # What is told of a request is told in the next turn.
            await asyncio.sleep(0)

    return call


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of `app`."""
    async with started(app) as serving, calling(serving) as client:
        yield client


@asynccontextmanager
async def calling(serving: ASGIApp) -> AsyncIterator[AsyncClient]:
    """A client of an application that was started.

    A handler that blocks the event loop fails: a call under `app` that may wait raises there.
    """
    transport = ASGITransport(app=serving)
    async with AsyncClient(transport=transport, base_url="http://service") as client:
        with blockbuster_ctx("app"):
            yield client
