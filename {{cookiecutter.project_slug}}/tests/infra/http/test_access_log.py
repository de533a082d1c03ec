"""One line in the log for each request, and its id in every other line."""

import asyncio
import logging
from typing import Any

import pytest
import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import PlainTextResponse
from httpx2 import AsyncClient
from starlette.requests import ClientDisconnect
from starlette.routing import Mount, Route
from starlette.types import Message

from app.infra import timing
from app.main import create_app
from app.settings import Settings
from tests.messages import exchange, http_scope
from tests.recorded import recorded
from tests.serving import running

probe = APIRouter(prefix="/probe")
shelf = APIRouter(prefix="/shelves/{shelf_id}")
book = APIRouter(prefix="/books")


@book.get("/{book_id}")
async def read_book(shelf_id: int, book_id: int) -> int:
    return shelf_id + book_id


@probe.get("/lines")
async def write_lines() -> None:
    structlog.get_logger().info("own line")
    logging.getLogger("library").warning("line of %s", "a library")
    # A new task belongs to the request too.
    await asyncio.create_task(_write_line())


async def _write_line() -> None:
    structlog.get_logger().info("line of a task")


@probe.get("/parts")
async def spend() -> None:
    timing.add("store", 0.25)


@probe.post("/body")
async def take_body(body: dict[str, int]) -> int:
    return len(body)


@probe.post("/raw")
async def take_raw(request: Request) -> int:
    return len(await request.body())


@probe.post("/patient")
async def take_nothing(request: Request) -> str:
    try:
        await request.body()
    except ClientDisconnect:
        return "nobody reads this"
    return "read"


shelf.include_router(book)
probe.include_router(shelf)


async def _read_page(_request: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


def with_probe(settings: Settings, **changes: Any) -> FastAPI:
    """The service and the probe, with other settings of HTTP."""
    http = settings.http.model_copy(update=changes)
    app = create_app(settings.model_copy(update={"http": http}))
    app.include_router(probe)
    mounted = FastAPI()
    mounted.include_router(book)
    app.mount("/mounted", mounted)
    app.router.routes.append(Mount("/pages", routes=[Route("/{page}", _read_page)]))
    return app


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return with_probe(settings)


class TestAccessLine:
    @pytest.mark.parametrize(
        ("method", "path", "route", "status"),
        [
            ("GET", "/", "/", 200),
            ("HEAD", "/", "/", 200),
            ("GET", "/health/live", "/health/live", 200),
            ("GET", "/openapi.json", "/openapi.json", 200),
            (
                "GET",
                "/probe/shelves/1/books/2?page=3",
                "/probe/shelves/{shelf_id}/books/{book_id}",
                200,
            ),
            (
                "HEAD",
                "/probe/shelves/1/books/2",
                "/probe/shelves/{shelf_id}/books/{book_id}",
                200,
            ),
            (
                "GET",
                "/probe/shelves/x/books/2",
                "/probe/shelves/{shelf_id}/books/{book_id}",
                422,
            ),
            ("GET", "/mounted/books/1?shelf_id=1", "/mounted/books/{book_id}", 200),
            ("HEAD", "/mounted/books/1?shelf_id=1", "/mounted/books/{book_id}", 200),
            ("GET", "/mounted/nowhere/4711", "/mounted", 404),
            ("GET", "/pages/one", "/pages/{page}", 200),
            ("GET", "/nowhere/4711", "unmatched", 404),
            ("GET", "/nowhere/%0d%0a", "unmatched", 404),
            ("DELETE", "/health/live", "/health/live", 405),
        ],
    )
    async def test_names_the_template_of_the_route(
        self, client: AsyncClient, method: str, path: str, route: str, status: int
    ) -> None:
        """Prefixes included, so that there are as many values as routes and no more."""
        with recorded() as log:
            response = await client.request(method, path)
        [line] = log.of("request")
        assert line["route"] == route
        assert (line["method"], line["status"]) == (method, status)
        assert response.status_code == status
        assert line["request_id"] == response.headers["x-request-id"]
        assert line["duration_ms"] >= float(response.headers["x-process-time"]) * 1e3 - 0.01
        assert line["level"] == "info"

    async def test_once_for_each_of_many(self, client: AsyncClient) -> None:
        """Requests that run at the same time do not mix up their ids."""
        wanted = [f"id-{number}" for number in range(50)]
        with recorded() as log:
            await asyncio.gather(
                *(
                    client.get("/probe/lines", headers={"X-Request-ID": request_id})
                    for request_id in wanted
                )
            )
        for event in ("request", "own line", "line of a library", "line of a task"):
            assert sorted(line["request_id"] for line in log.of(event)) == sorted(wanted)

    async def test_says_nothing_of_the_query(self, client: AsyncClient) -> None:
        """Queries may hold what is nobody's business."""
        with recorded() as log:
            await client.get("/nowhere?password=token")
        assert "token" not in log.text

    async def test_says_where_nothing_is(self, client: AsyncClient) -> None:
        """A path that no route has, cut short: whoever follows a broken link has to be found."""
        with recorded() as log:
            await client.get("/nowhere" + "!" * 1_000)
            await client.get("/health/live")
        unmatched, matched = log.of("request")
        assert unmatched["path"] == "/nowhere" + "!" * 192
        assert "path" not in matched


class TestOtherLines:
    async def test_carry_the_id_of_their_request(self, client: AsyncClient) -> None:
        """Those of handlers, of libraries and of tasks that a handler started."""
        with recorded() as log:
            await client.get("/probe/lines", headers={"X-Request-ID": "mine"})
        written = {line["event"]: line["request_id"] for line in log.lines}
        assert written == {
            "own line": "mine",
            "line of a library": "mine",
            "line of a task": "mine",
            "request": "mine",
        }
        [line] = log.of("line of a library")
        assert (line["logger"], line["level"]) == ("library", "warning")


class TestSlowRequest:
    async def test_is_logged_with_its_parts(self, settings: Settings) -> None:
        """A warning that tells where the time went, beside the access line."""
        with recorded() as log:
            async with running(with_probe(settings, slow_request_seconds=1e-9)) as client:
                await client.get("/probe/parts")
        [slow] = log.of("slow request")
        [access] = log.of("request")
        assert slow["level"] == "warning"
        assert slow["store_ms"] == 250.0
        same = ("method", "route", "status", "duration_ms", "request_id")
        assert [slow[key] for key in same] == [access[key] for key in same]

    async def test_others_are_not(self, settings: Settings) -> None:
        """Below the limit there is the access line alone."""
        with recorded() as log:
            async with running(with_probe(settings, slow_request_seconds=3_600)) as client:
                await client.get("/probe/parts")
        assert log.of("slow request") == []


class TestClientThatLeft:
    @pytest.mark.parametrize("path", ["/probe/body", "/probe/raw", "/probe/patient"])
    async def test_is_499(self, app: FastAPI, path: str) -> None:
        """Nobody's fault: no error is logged, and no success."""
        half: Message = {"type": "http.request", "body": b'{"a"', "more_body": True}
        headers = [(b"content-type", b"application/json")]
        with recorded() as log:
            await exchange(app, http_scope(path, method="POST", headers=headers), [half])
        [line] = log.lines
        assert (line["event"], line["status"], line["route"]) == ("request", 499, path)

    async def test_when_the_request_is_cancelled(self, app: FastAPI) -> None:
        """A server that gives a request up leaves a line as well."""
        reached = asyncio.Event()

        @app.get("/probe/endless")
        async def wait() -> None:
            reached.set()
            await asyncio.Event().wait()

        with recorded() as log:
            task = asyncio.create_task(exchange(app, http_scope("/probe/endless")))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        [line] = log.of("request")
        assert line["status"] == 499

    async def test_is_not_told_when_nobody_left(self, app: FastAPI) -> None:
        """A handler that waits for something that somebody cancels has failed."""

        @app.get("/probe/cancelled")
        async def wait() -> None:
            task = asyncio.create_task(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        with recorded() as log:
            with pytest.raises(asyncio.CancelledError):
                await exchange(app, http_scope("/probe/cancelled"))
            await asyncio.sleep(0)
        [line] = log.of("request")
        assert line["status"] == 500
