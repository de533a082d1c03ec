"""The service with one slow route; `python -m tests.shutdown_app` serves it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from app import bootstrap, main
from app.infra import logs
from app.infra.http import server
from app.settings import Settings, load_settings


@asynccontextmanager
async def rooms_that_fail(_settings: Settings) -> AsyncIterator[dict[str, Any]]:
    raise RuntimeError("cannot be opened")
    yield {}


def create_app() -> FastAPI:
    failure = os.environ.get("FAILURE")
    if failure == "create":
        raise RuntimeError("cannot be made")
    open_rooms = rooms_that_fail if failure == "open" else bootstrap.open_rooms
    settings = load_settings()
    logs.configure(settings.logs)
    app = main.create_app(settings, open_rooms=open_rooms)

    @app.post("/slow")
    async def slow(request: Request) -> int:
        """Take as long as the client takes to send the body."""
        return len(await request.body())

    return app


if __name__ == "__main__":
    settings = load_settings()
    logs.configure(settings.logs)
    config = uvicorn.Config(
        "tests.shutdown_app:create_app",
        factory=True,
        port=settings.http.port,
        workers=settings.http.workers,
        lifespan="on",
        access_log=False,
        timeout_graceful_shutdown=settings.http.stop_timeout_seconds,
        timeout_worker_healthcheck=settings.http.worker_timeout_seconds,
    )
    asyncio.run(bootstrap.prepare(settings))
    with bootstrap.beside(settings):
        server.run(config, drain_seconds=settings.drain_seconds)
