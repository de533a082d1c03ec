"""Compressed responses."""

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient

from app.infra.http.compression import CompressionMiddleware
from app.settings import Settings
from tests.messages import body_of, exchange, headers_of, http_scope

probe = APIRouter(prefix="/probe")
ACCEPT = (b"accept-encoding", b"gzip")
ROW = b"a row of the export\n"


@probe.get("/sized/{size}")
async def sized(size: int) -> Response:
    return Response(b"x" * size, media_type="text/plain", headers={"ETag": '"7"'})


@probe.get("/typed/{kind}/{subtype}")
async def typed(kind: str, subtype: str) -> Response:
    return Response(b"x" * 5_000, media_type=f"{kind}/{subtype}")


@probe.get("/compressed")
async def compressed() -> Response:
    return Response(gzip.compress(b"x" * 50_000), headers={"Content-Encoding": "gzip"})


@probe.get("/weak")
async def weak() -> Response:
    return Response(b"x" * 5_000, headers={"ETag": 'W/"7"'})


async def _rows() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield ROW


@probe.get("/export")
async def export() -> StreamingResponse:
    return StreamingResponse(_rows(), media_type="text/csv")


@probe.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse(_rows(), media_type="text/event-stream")


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    app.include_router(probe)
    return app


def is_compressed(headers: object) -> bool:
    return "'content-encoding': 'gzip'" in str(headers)


class TestSize:
    @pytest.mark.parametrize(("size", "compressed"), [(0, False), (999, False), (1_000, True)])
    async def test_is_what_decides(
        self, client: AsyncClient, settings: Settings, size: int, compressed: bool
    ) -> None:
        """From the minimum on; below, the header alone would be more than is saved."""
        assert settings.http.compress_minimum_bytes == 1_000
        response = await client.get(f"/probe/sized/{size}")
        assert is_compressed(response.headers) == compressed
        assert response.content == b"x" * size
        if compressed:
            assert int(response.headers["content-length"]) < size

    async def test_of_a_response_without_a_body(self, client: AsyncClient) -> None:
        """HEAD has the headers of GET, and nothing behind them."""
        head = await client.head("/probe/sized/5000")
        get = await client.get("/probe/sized/5000")
        for name in ("content-encoding", "content-length", "etag", "vary"):
            assert head.headers[name] == get.headers[name]
        assert head.content == b""


class TestClient:
    async def test_that_does_not_ask(self, client: AsyncClient) -> None:
        """Gets the bytes as they are, and caches learn that others may not."""
        response = await client.get("/probe/sized/5000", headers={"Accept-Encoding": "identity"})
        assert not is_compressed(response.headers)
        assert "accept-encoding" in response.headers["vary"].lower()
        assert response.headers["etag"] == '"7"'

    async def test_that_asks(self, client: AsyncClient) -> None:
        """Caches keep the two apart."""
        response = await client.get("/probe/sized/5000")
        assert is_compressed(response.headers)
        assert "accept-encoding" in response.headers["vary"].lower()


class TestTag:
    async def test_strong(self, client: AsyncClient) -> None:
        """Other bytes have another strong tag (RFC 9110, section 8.8.1)."""
        response = await client.get("/probe/sized/5000")
        assert response.headers["etag"] == '"7-gzip"'

    async def test_weak(self, client: AsyncClient) -> None:
        """A weak tag names what is said, not how."""
        response = await client.get("/probe/weak")
        assert is_compressed(response.headers)
        assert response.headers["etag"] == 'W/"7"'


class TestKind:
    @pytest.mark.parametrize("media_type", ["image/png", "video/mp4", "application/zip"])
    async def test_compressed_in_itself(self, client: AsyncClient, media_type: str) -> None:
        """Pictures and archives would only grow."""
        response = await client.get(f"/probe/typed/{media_type}")
        assert not is_compressed(response.headers)

    @pytest.mark.parametrize("media_type", ["application/json", "image/svg+xml", "text/csv"])
    async def test_text(self, client: AsyncClient, media_type: str) -> None:
        """Text shrinks, whatever it is called."""
        assert is_compressed((await client.get(f"/probe/typed/{media_type}")).headers)

    async def test_compressed_by_its_handler(self, client: AsyncClient) -> None:
        """Is not compressed twice."""
        response = await client.get("/probe/compressed")
        assert response.headers.get_list("content-encoding") == ["gzip"]
        assert response.content == b"x" * 50_000


class TestRefusal:
    @pytest.mark.parametrize("accept", ["gzip;q=0", "br, gzip; q=0.0", "notgzip", "identity"])
    async def test_is_heeded(self, client: AsyncClient, accept: str) -> None:
        """A client that cannot read it, or says so, gets what it can (RFC 9110, section 12.5.3)."""
        response = await client.get("/openapi.json", headers={"Accept-Encoding": accept})
        assert "content-encoding" not in response.headers
        wanted = await client.get("/openapi.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
        assert wanted.headers["content-encoding"] == "gzip"


class TestStream:
    async def test_of_events(self, app: FastAPI) -> None:
        """An event has to arrive when it happens, and as it is."""
        sent = await exchange(app, http_scope("/probe/events", headers=[ACCEPT]))
        assert not is_compressed(headers_of(sent))
        assert [message["body"] for message in sent[1:4]] == [ROW] * 3

    async def test_of_rows(self, app: FastAPI) -> None:
        """Each chunk can be read when it arrives, before the next is made."""
        sent = await exchange(app, http_scope("/probe/export", headers=[ACCEPT]))
        assert is_compressed(headers_of(sent))
        assert "content-length" not in headers_of(sent)
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
        chunks = [unpack.decompress(message["body"]) for message in sent[1:]]
        assert chunks[:3] == [ROW] * 3
        assert gzip.decompress(body_of(sent)) == ROW * 3


async def test_other_protocols_pass_through() -> None:
    """What is not HTTP is none of its business."""
    seen: list[str] = []

    async def app(scope: object, *_: object) -> None:
        seen.append(str(scope))

    layer = CompressionMiddleware(app, minimum_bytes=1)
    await exchange(layer, {"type": "websocket"})
    assert len(seen) == 1
