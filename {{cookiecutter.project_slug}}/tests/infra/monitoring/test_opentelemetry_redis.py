"""Commands to Redis as parts of a trace."""

from collections.abc import Iterator

import pytest
from fastapi import APIRouter, FastAPI, Request

from app.main import create_app
from app.settings import Settings
from tests.infra.monitoring.sending import sending_to
from tests.otlp_receiver import Receiver, receiving
from tests.serving import running

probe = APIRouter(prefix="/probe")


@probe.get("/entry")
async def find(request: Request) -> None:
    await request.state.cache.find("probe", "a-secret-key")


@probe.get("/lock")
async def lock(request: Request) -> None:
    lease = await request.state.cache.backend.acquire("a-secret-key", 60)
    await request.state.cache.backend.release(lease)


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def app(collector: Receiver, settings: Settings) -> FastAPI:
    app = create_app(sending_to(collector, settings))
    app.include_router(probe)
    return app


@pytest.mark.usefixtures("redis_url")
class TestCommands:
    @pytest.mark.parametrize(
        ("path", "names"), [("/probe/entry", ["GET"]), ("/probe/lock", ["SET EVAL", "EVAL GET"])]
    )
    async def test_are_parts(
        self, app: FastAPI, collector: Receiver, path: str, names: list[str]
    ) -> None:
        """Of the request that gives them, those that go together as one, and without keys."""
        async with running(app) as client:
            assert (await client.get(path)).status_code == 200
        [request] = collector.named(f"GET {path}")
        parts = [span for span in collector.spans if span.parent_id == request.span_id]
        assert [span.name for span in parts] == names
        assert all(span.attributes["db.system.name"] == "redis" for span in parts)
        assert "a-secret-key" not in str(parts)

    async def test_of_nothing(self, app: FastAPI, collector: Receiver) -> None:
        """What the cache tells and asks for by itself is no trace."""
        async with running(app) as client:
            await client.get("/probe/entry")
        commands = [span for span in collector.spans if "db.system.name" in span.attributes]
        assert commands
        assert all(span.parent_id for span in commands)
