"""The application, served inside the test's own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blockbuster import blockbuster_ctx
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from starlette.types import ASGIApp, Receive, Scope, Send


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
