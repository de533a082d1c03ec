"""The cache of responses within a FastAPI application, between its other layers."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from httpx2 import ASGITransport, AsyncClient
from starlette.background import BackgroundTask
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ProblemMiddleware, StartupError
from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.responses import ResponseCache
from app.infra.http.compression import CompressionMiddleware
from app.infra.http.head import HeadMiddleware
from app.infra.http.request import route_template
from tests.infra.cache.responding import Client
from tests.messages import body_of, headers_of, http_scope

LONG = "a long text " * 200


class Calls:
    """How often each part of the application was asked."""

    def __init__(self) -> None:
        self.dependency = 0
        self.handler = 0
        self.background = 0


def make_app(calls: Calls, **policies: ResponsePolicy) -> FastAPI:
    """An application as the service builds one: prefixes, dependencies, compression, the cache."""
    app = FastAPI()
    router = APIRouter(prefix="/books")

    async def authenticated() -> None:
        calls.dependency += 1

    async def clean_up() -> None:
        calls.background += 1

    @router.get("/latest")
    async def read_latest() -> dict[str, str]:
        return {"book": "latest"}

    @router.get("/{book}", dependencies=[Depends(authenticated)])
    async def read_book(book: str) -> Response:
        calls.handler += 1
        text = f"{book} {calls.handler} {LONG}"
        return PlainTextResponse(text, background=BackgroundTask(clean_up))

    @router.post("/{book}")
    async def write_book(book: str) -> str:
        calls.handler += 1
        return book

    @router.get("/{book}/export")
    async def export_book(request: Request) -> StreamingResponse:
        calls.handler += 1

        async def lines() -> AsyncIterator[str]:
            for line in range(3):
                yield f"{line}\n"

        assert not await request.is_disconnected()
        return StreamingResponse(lines())

    app.include_router(router, prefix="/v1")
    app.add_middleware(CompressionMiddleware, minimum_bytes=1_000)
    app.add_middleware(
        ResponseCache,
        routes=app.routes,
        policies=policies or {"read_book": ResponsePolicy(60), "export_book": ResponsePolicy(60)},
        name="edge",
    )
    return app


def with_cache() -> Scope:
    """What a scope has that a server passes on: a cache of its own."""
    settings = MemorySettings()
    return {"state": {"cache": Cache(Memory(settings), settings)}}


async def ask(app: ASGIApp, scope: Scope) -> list[Message]:
    """Everything that `app` sends to a client that stays."""
    client = Client()
    await app(scope, client.receive, client.send)
    return client.sent


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[AsyncClient]:
    layers, state = ProblemMiddleware(HeadMiddleware(app)), with_cache()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await layers({**scope, **state}, receive, send)

    transport = ASGITransport(app=serve)
    async with AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def client(calls: Calls) -> AsyncIterator[AsyncClient]:
    async with client_of(make_app(calls)) as client:
        yield client


async def _read() -> str:
    return "read"


class TestHit:
    async def test_is_served_before_the_application(
        self, client: AsyncClient, calls: Calls
    ) -> None:
        """Neither dependencies nor handlers are asked, nor is anything done afterwards."""
        first = await client.get("/v1/books/dune")
        again = await client.get("/v1/books/dune")
        assert first.text == again.text == f"dune 1 {LONG}"
        assert (calls.dependency, calls.handler, calls.background) == (1, 1, 1)
        for name in ("content-type", "content-encoding", "content-length", "etag", "vary"):
            assert first.headers[name] == again.headers[name]

    async def test_head(self, client: AsyncClient, calls: Calls) -> None:
        """RFC 9110, section 9.3.2, and RFC 9111, section 4: HEAD is served with what GET kept."""
        head = await client.head("/v1/books/dune")
        get = await client.get("/v1/books/dune")
        again = await client.head("/v1/books/dune")
        assert (head.content, again.content) == (b"", b"")
        assert head.headers["cache-status"] == "edge; fwd=uri-miss; stored"
        assert again.headers["content-length"] == get.headers["content-length"]
        assert again.headers["etag"] == head.headers["etag"] == get.headers["etag"]
        assert calls.handler == 1

    async def test_compressed(self, client: AsyncClient, calls: Calls) -> None:
        """RFC 9110, section 12.5.3: each gets what it can read, under a tag of its own."""
        plain = {"Accept-Encoding": "gzip;q=0, br"}
        first = [await client.get("/v1/books/dune", headers=h) for h in (plain, {})]
        again = [await client.get("/v1/books/dune", headers=h) for h in (plain, {})]
        assert calls.handler == 2
        assert [reply.headers.get("content-encoding") for reply in again] == [None, "gzip"]
        assert len({reply.headers["etag"] for reply in [*first, *again]}) == 2
        assert [reply.text for reply in first] == [reply.text for reply in again]

    async def test_bytes_are_kept_compressed(self, calls: Calls) -> None:
        """A hit compresses nothing."""
        app, state = make_app(calls), with_cache()
        scope = http_scope("/v1/books/dune", headers=[(b"accept-encoding", b"gzip")])
        sent = [await ask(app, {**scope, **state}) for _ in range(2)]
        assert gzip.decompress(body_of(sent[0])).decode() == f"dune 1 {LONG}"
        assert body_of(sent[1]) == body_of(sent[0])

    async def test_is_logged_with_its_route(self, calls: Calls) -> None:
        """As it was declared, prefixes included, though nothing was routed."""
        app, state = make_app(calls), with_cache()
        scopes: list[Scope] = [{**http_scope("/v1/books/dune"), **state} for _ in range(2)]
        sent = [await ask(app, scope) for scope in scopes]
        assert headers_of(sent[1])["cache-status"].startswith("edge; hit")
        assert [route_template(scope) for scope in scopes] == ["/v1/books/{book}"] * 2


class TestMiss:
    async def test_of_a_stream(self, client: AsyncClient, calls: Calls) -> None:
        """It is never kept, and the application may ask whether its client is there."""
        for _ in range(2):
            reply = await client.get("/v1/books/dune/export")
            assert reply.text == "0\n1\n2\n"
            assert reply.headers["cache-status"] == "edge; fwd=uri-miss; detail=stream"
        assert calls.handler == 2

    async def test_only_if_cached(self, client: AsyncClient, calls: Calls) -> None:
        """RFC 9111, section 5.2.1.7: 504, as a problem document like every error."""
        reply = await client.get("/v1/books/dune", headers={"Cache-Control": "only-if-cached"})
        assert reply.status_code == 504
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["detail"].startswith("The cache has no response that fits")
        assert reply.headers["cache-status"] == "edge; detail=only-if-cached"
        assert calls.handler == 0

    async def test_fails(self, calls: Calls) -> None:
        """An error of the application arrives at what is outside."""
        app = make_app(calls, broken=ResponsePolicy(60))

        @app.get("/broken")
        async def broken() -> None:
            raise ValueError("broken")

        async with client_of(app) as client:
            with pytest.raises(ValueError, match="broken"):
                await client.get("/broken")


class TestRoutes:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/books/latest"),
            ("GET", "/books/dune"),
            ("GET", "/v1/books/dune/"),
            ("GET", "/v1/books"),
            ("POST", "/v1/books/dune"),
            ("OPTIONS", "/v1/books/dune"),
        ],
    )
    async def test_without_a_policy(self, client: AsyncClient, method: str, path: str) -> None:
        """RFC 9111, section 2: other methods, and other routes, are none of the cache's business.

        A route that comes before one with a policy is asked first, as the application does.
        """
        assert "cache-status" not in (await client.request(method, path)).headers

    async def test_without_a_cache(self, calls: Calls) -> None:
        """Where there is no cache, everything passes through."""
        states: list[Scope] = [{}, {"state": {}}]
        for state in states:
            sent = await ask(make_app(calls), {**http_scope("/v1/books/dune"), **state})
            assert "cache-status" not in headers_of(sent)

    async def test_other_protocols_pass_through(self) -> None:
        """What is not HTTP is none of its business."""
        seen: list[Scope] = []

        async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
            seen.append(scope)

        layer = ResponseCache(app, routes=[], policies={}, name="edge")
        for kind in ("lifespan", "websocket"):
            await ask(layer, {"type": kind, "path": "/", **with_cache()})
        assert [scope["type"] for scope in seen] == ["lifespan", "websocket"]

    async def test_behind_a_prefix(self, calls: Calls) -> None:
        """A proxy may serve the application below a path of its own."""
        app, state = make_app(calls), with_cache()
        scope = {**http_scope("/proxy/v1/books/dune"), **state, "root_path": "/proxy"}
        sent = [await ask(app, dict(scope)) for _ in range(2)]
        assert body_of(sent[0]) == body_of(sent[1])
        assert calls.handler == 1

    @pytest.mark.parametrize("name", ["read_books", "write_book", "files"])
    def test_that_there_are_not(self, calls: Calls, name: str) -> None:
        """A policy for nothing is a mistake; so is one for what is not read."""
        app = make_app(calls, **{name: ResponsePolicy(60)})
        app.mount("/files", StaticFiles(directory="."), name="files")
        with pytest.raises(StartupError, match=f"No GET route is called '{name}'"):
            app.build_middleware_stack()

    def test_that_share_a_name(self, calls: Calls) -> None:
        """Nobody can tell which one is meant."""
        app = make_app(calls)
        app.get("/other", name="read_book")(_read)
        with pytest.raises(StartupError, match="Two GET routes are called 'read_book'"):
            app.build_middleware_stack()

    async def test_behind_a_mounted_application(self, calls: Calls) -> None:
        """What is mounted before a route takes its paths."""
        app = make_app(calls)
        outer = FastAPI()
        outer.mount("/v1/books", app)
        outer.add_api_route("/v1/books/{book}", _read, name="read_book")
        outer.add_middleware(
            ResponseCache,
            routes=outer.routes,
            policies={"read_book": ResponsePolicy(60)},
            name="edge",
        )
        async with client_of(outer) as client:
            assert "cache-status" not in (await client.get("/v1/books/dune")).headers
