"""The application."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app import bootstrap, errors
from app.about import About, read_about
from app.infra import garbage, logs
from app.infra.http import health, parameters, routes, serialization
from app.infra.http.body_limit import BodyLimit
from app.infra.http.compression import CompressionMiddleware
from app.infra.http.drain import Drain
from app.infra.http.head import HeadMiddleware
from app.infra.http.hosts import TrustedHosts
from app.infra.monitoring import Gauge
from app.infra.profiling import ProfilingMiddleware
from app.settings import Settings, load_settings

logger = structlog.get_logger()

INFO = Gauge(
    "service_info", "Always 1; its labels tell what runs", ["version", "python"], across="max"
)

_DOCUMENTATION_PATHS = frozenset({"/docs", "/redoc"})


class _Service(FastAPI):
    """FastAPI, wrapped in what has to see every response, its own error pages included."""

    wrap: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        routes.flatten(self)
        routes.index(self)
        return self.wrap(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = errors.document(super().openapi())
        return self.openapi_schema


def create_app(
    settings: Settings,
    *,
    open_rooms: Callable[
        [Settings], AbstractAsyncContextManager[dict[str, Any]]
    ] = bootstrap.open_rooms,
) -> FastAPI:
    """Build the application; nothing is opened before its lifespan starts.

    `open_rooms` yields what handlers find as `request.state`; tests pass doubles here.
    """
    about = read_about()
    drain = Drain()
    serialization.measure()
    parameters.remember()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_rooms(settings) as state:
            loop = type(asyncio.get_running_loop()).__module__
            tell_version(about)
            logger.info("service started", version=about.version, loop=loop)
            yield {**state, "drain": drain}

    app = _Service(
        title=about.name,
        description=about.description,
        version=about.version,
        debug=settings.debug,
        docs_url="/docs" if settings.documentation else None,
        redoc_url="/redoc" if settings.documentation else None,
        openapi_url="/openapi.json" if settings.documentation else None,
        lifespan=lifespan,
        responses=errors.RESPONSES,
        telemetry=bootstrap.TELEMETRY,
    )
    app.wrap = lambda inner: _outer_layers(app, inner, settings, drain)
    errors.install(app)
    app.add_middleware(CompressionMiddleware, minimum_bytes=settings.http.compress_minimum_bytes)
    bootstrap.add_middleware(app, settings)
    if settings.http.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.http.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Location", "X-Request-ID"],
        )
    app.add_middleware(TrustedHosts, allowed_hosts=settings.http.allowed_hosts)
    app.add_middleware(BodyLimit, max_body_bytes=settings.http.max_body_bytes)

    app.include_router(
        health.router(drain=drain, timeout_seconds=settings.http.health_timeout_seconds)
    )
    bootstrap.include_routes(app, settings)

    @app.get("/", tags=["about"])
    async def read_root() -> About:
        """What this is, and where its documentation is."""
        return about.model_copy(update={"documentation": app.docs_url})

    return app


def from_environment() -> FastAPI:
    """Where a server starts: `uvicorn --factory app.main:from_environment`.

    Raises:
        StartupError: a setting is malformed, or unsafe in production.
    """
    settings = load_settings()
    logs.configure(settings.logs)
    app = create_app(settings)
    garbage.settle()
    return app


def tell_version(about: About) -> None:
    """Tell whoever watches what runs."""
    INFO.set(1, about.version, platform.python_version())


def _outer_layers(service: FastAPI, app: ASGIApp, settings: Settings, drain: Drain) -> ASGIApp:
    app = HeadMiddleware(app)
    if settings.profiling.token is not None:
        app = ProfilingMiddleware(app, settings.profiling.token)
    return bootstrap.outermost(service)(
        errors.ProblemMiddleware(app),
        settings=settings.http,
        drain=drain,
        production=settings.production,
        documentation_paths=_DOCUMENTATION_PATHS,
    )
