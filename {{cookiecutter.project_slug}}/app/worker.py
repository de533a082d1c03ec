"""A worker: the same rooms as the service, without its routes. It performs tasks."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI

from app import bootstrap, errors
from app.about import read_about
from app.infra import garbage, logs
from app.infra.http import health
from app.infra.http.drain import Drain
from app.infra.tasks import Tasks
from app.infra.tasks.working import working
from app.main import tell_version
from app.settings import Settings, load_settings

logger = structlog.get_logger()


def create_worker(
    settings: Settings,
    *,
    open_rooms: Callable[
        [Settings], AbstractAsyncContextManager[dict[str, Any]]
    ] = bootstrap.open_rooms,
) -> FastAPI:
    """A server of `/health/live` and `/health/ready` that performs tasks as long as it runs.

    `open_rooms` yields what jobs find as `rooms`, among them "tasks"; tests pass doubles here.
    """
    drain = Drain()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_rooms(settings) as rooms:
            tasks: Tasks = rooms["tasks"]
            checks = {**rooms.get("checks", {}), "tasks": tasks.check}
            tell_version(read_about())
            async with working(tasks, rooms):
                logger.info("worker started", concurrency=settings.tasks.concurrency)
                yield {"drain": drain, "checks": checks}

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    errors.install(app)
    app.include_router(
        health.router(drain=drain, timeout_seconds=settings.http.health_timeout_seconds)
    )
    return app


def from_environment() -> FastAPI:
    """Where a worker starts.

    Raises:
        StartupError: a setting is malformed, or unsafe in production.
    """
    settings = load_settings()
    logs.configure(settings.logs)
    app = create_worker(settings)
    garbage.settle()
    return app
