"""HEAD for every route that has a GET (RFC 9110, section 9.3.2)."""

from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient

from tests.messages import body_of, exchange, http_scope

probe = APIRouter(prefix="/probe")


@probe.get("/rows")
async def stream() -> StreamingResponse:
    async def rows() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return StreamingResponse(rows(), headers={"X-Own": "yes"})


@probe.post("/rows")
async def add() -> None:
    """No HEAD would be made of this."""


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    app.include_router(probe)
    return app


class TestHead:
    @pytest.mark.parametrize("path", ["/", "/health/live", "/docs", "/openapi.json", "/nowhere"])
    async def test_has_the_headers_of_get(self, client: AsyncClient, path: str) -> None:
        """The same status and the same fields, the length included."""
        head, get = await client.head(path), await client.get(path)
        changing = {"x-request-id", "server-timing", "x-process-time"}
        assert head.status_code == get.status_code
        assert head.headers.keys() == get.headers.keys()
        for name in get.headers.keys() - changing - {"content-length"}:
            assert head.headers[name] == get.headers[name]

    @pytest.mark.parametrize("path", ["/", "/nowhere", "/probe/rows"])
    async def test_has_no_body(self, app: FastAPI, path: str) -> None:
        """Whether the answer is whole or streamed, and of errors too."""
        sent = await exchange(app, http_scope(path, method="HEAD"))
        assert body_of(sent) == b""
        assert not sent[-1].get("more_body", False)

    async def test_looks_like_get_to_the_handler_alone(self, app: FastAPI) -> None:
        """The server has to know that no body follows."""
        scope = http_scope("/probe/rows", method="HEAD")
        sent = await exchange(app, scope)
        assert scope["method"] == "HEAD"
        assert (b"x-own", b"yes") in sent[0]["headers"]
