"""Requests that the cache of responses answers, as parts of a trace."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app import bootstrap
from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.responses import ResponseCache
from app.infra.monitoring import listening
from app.main import create_app
from app.settings import Settings
from tests.infra.monitoring.sending import sending_to
from tests.otlp_receiver import receiving
from tests.serving import running


@asynccontextmanager
async def open_rooms(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    chosen = MemorySettings()
    async with listening(*bootstrap.make_recorders(settings)):
        yield {"cache": Cache(Memory(chosen), chosen)}


async def test_hit(settings: Settings) -> None:
    """It is called after its route, though no router has seen it."""
    with receiving() as collector:
        app = create_app(sending_to(collector, settings), open_rooms=open_rooms)

        @app.get("/pages/{page}", name="page")
        async def read_page(page: int) -> int:
            return page

        policies = {"page": ResponsePolicy(ttl_seconds=60)}
        app.add_middleware(ResponseCache, routes=app.routes, policies=policies, name="edge")
        async with running(app) as client:
            answers = [await client.get("/pages/1") for _ in range(2)]
        assert ["hit" in answer.headers["cache-status"] for answer in answers] == [False, True]
        spans = collector.named("GET /pages/{page}")
        assert [span.attributes["http.route"] for span in spans] == ["/pages/{page}"] * 2
