"""The time that it takes to turn what handlers return into bytes."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient
from pydantic import BaseModel, field_serializer

from app.settings import Settings
from tests.recorded import recorded
from tests.serving import probed, running
from tests.timings import parts_of

SLOW_SECONDS = 0.005


class Slow(BaseModel):
    """Something that takes a while to be written."""

    name: str = "slow"

    @field_serializer("name")
    def write(self, name: str) -> str:
        ends_at = time.perf_counter() + SLOW_SECONDS
        while time.perf_counter() < ends_at:
            pass
        return name


class Secretive(Slow):
    secret: str = "hunter2"


probe = APIRouter(prefix="/probe")
inner = APIRouter(prefix="/inner")


@inner.get("/slow")
async def read_slow() -> Slow:
    return Secretive()


@inner.get("/sync")
def read_slow_in_a_thread() -> Slow:
    return Slow()


@inner.get("/bytes")
async def read_bytes() -> Response:
    return Response(b"ready")


@inner.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ready"

    return StreamingResponse(chunks())


@inner.get("/items")
async def stream_items() -> AsyncIterator[Slow]:
    yield Slow()


probe.include_router(inner)


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return probed(probe, settings, slow_request_seconds=SLOW_SECONDS)


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    with recorded():
        yield


class TestServerTiming:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("path", ["/probe/inner/slow", "/probe/inner/sync"])
    async def test_what_handlers_return(self, client: AsyncClient, method: str, path: str) -> None:
        """However deep their router is; what is not in the declared model is left out as ever."""
        answer = await client.request(method, path)
        assert answer.text == ("" if method == "HEAD" else '{"name":"slow"}')
        parts = parts_of(answer)
        assert parts["serialization"] >= SLOW_SECONDS * 1e3
        assert parts["serialization"] <= parts["total"]

    @pytest.mark.parametrize("path", ["bytes", "stream", "items"])
    async def test_what_is_bytes_already(self, client: AsyncClient, path: str) -> None:
        """Or is sent piece by piece: it begins before anything is known of its end."""
        answer = await client.get(f"/probe/inner/{path}")
        assert answer.is_success
        assert parts_of(answer).keys() == {"total"}


async def test_slow_request_tells(app: FastAPI) -> None:
    """In the log as well, in milliseconds."""
    with recorded() as log:
        async with running(app) as client:
            await client.get("/probe/inner/slow")
    [line] = log.of("slow request")
    assert SLOW_SECONDS * 1e3 <= line["serialization_ms"] <= line["duration_ms"]
