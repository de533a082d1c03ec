"""What requests are counted and measured by: few time series, whatever clients send."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient
from starlette.types import Message, Scope

from app.infra.monitoring import listening
from app.settings import Settings
from tests.figures import Figures
from tests.messages import exchange, http_scope
from tests.recorded import recorded
from tests.serving import probed, running

probe = APIRouter(prefix="/probe")
shelf = APIRouter(prefix="/shelves/{shelf_id}")
book = APIRouter(prefix="/books")


@book.get("/{book_id}")
async def read_book(book_id: int) -> int:
    return book_id


@book.get("/{book_id}/lost")
async def lose_book() -> None:
    raise LookupError("nobody expected this")


@probe.post("/bytes")
async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


@probe.get("/held")
async def hold(request: Request) -> None:
    await request.app.state.leave.wait()


@probe.get("/followed")
async def follow() -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        yield "data: 1\n\n"
        await asyncio.sleep(PAUSE_SECONDS)

    return StreamingResponse(events(), media_type="text/event-stream")


shelf.include_router(book)
probe.include_router(shelf)

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 60
BOOK = "/probe/shelves/{shelf_id}/books/{book_id}"


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return probed(probe, settings)


@pytest.fixture
async def figures(app: FastAPI) -> AsyncIterator[Figures]:  # noqa: ARG001  # which was made before
    figures = Figures()
    async with listening(figures):
        yield figures


@pytest.fixture
async def asking(app: FastAPI) -> AsyncIterator[tuple[AsyncClient, Figures]]:
    """A client, and what its requests are recorded as."""
    figures = Figures()
    async with running(app) as client, listening(figures):
        with recorded():  # an error in colour would look for its source
            yield client, figures


Asking = tuple[AsyncClient, Figures]


class TestLabels:
    async def test_route_of_nested_routers(self, asking: Asking) -> None:
        """The whole template, with the prefixes of all routers."""
        client, figures = asking
        for number in range(3):
            assert (await client.get(f"/probe/shelves/1/books/{number}")).status_code == 200
        assert figures.series("http_requests_total") == {("GET", BOOK, "2xx")}
        assert figures.total("http_requests_total", "GET", BOOK, "2xx") == 3
        assert figures.times("http_request_duration_seconds", "GET", BOOK) == 3
        assert figures.total("http_request_duration_seconds", "GET", BOOK) > 0

    async def test_events_count_until_the_first(self, asking: Asking) -> None:
        """How long a client follows says nothing of the service; the log tells it nevertheless."""
        client, figures = asking
        with recorded() as log:
            await client.get("/probe/followed")
        [line] = log.of("request")
        waited = figures.total("http_request_duration_seconds", "GET", "/probe/followed")
        assert line["duration_ms"] / 1e3 - waited >= PAUSE_SECONDS - 1e-3

    async def test_unmatched(self, asking: Asking) -> None:
        """All paths that nobody serves are one."""
        client, figures = asking
        for path in ("/nothing", "/nothing/else", "/probe/shelves"):
            assert (await client.get(path)).status_code == 404
        assert figures.series("http_requests_total") == {("GET", "unmatched", "4xx")}

    async def test_methods(self, asking: Asking) -> None:
        """Those that HTTP knows, and one name for all that somebody makes up."""
        client, figures = asking
        for method in ("BREW", "PROPFIND", "GET", "HEAD"):
            await client.request(method, "/probe/shelves/1/books/2")
        methods = {method for method, _, _ in figures.series("http_requests_total")}
        assert methods == {"other", "GET", "HEAD"}

    async def test_status_class(self, asking: Asking) -> None:
        """Of what was asked for wrongly, and of what failed."""
        client, figures = asking
        await client.get("/probe/shelves/1/books/none")
        await client.get("/probe/shelves/1/books/1/lost")
        assert figures.series("http_requests_total") == {
            ("GET", BOOK, "4xx"),
            ("GET", f"{BOOK}/lost", "5xx"),
        }


class TestExceptions:
    async def test_unhandled(self, asking: Asking) -> None:
        """By the template of the route, and the name of the error."""
        client, figures = asking
        await client.get("/probe/shelves/1/books/1/lost")
        await client.get("/probe/shelves/1/books/none")
        name = "http_request_exceptions_total"
        assert figures.series(name) == {(f"{BOOK}/lost", "LookupError")}
        assert figures.total(name, f"{BOOK}/lost", "LookupError") == 1


class TestSize:
    async def test_bytes_that_were_sent(self, asking: Asking) -> None:
        client, figures = asking
        await client.post("/probe/bytes", content=b"x" * 300)
        assert figures.total("http_response_size_bytes", "POST", "/probe/bytes") == 300


class TestInFlight:
    async def test_goes_up_and_down(self, app: FastAPI, asking: Asking) -> None:
        """Soon, although not each of them is told; also for requests that fail."""
        client, figures = asking
        app.state.leave = asyncio.Event()
        async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(3):
                group.create_task(client.get("/probe/held"))
            while figures.last("http_requests_in_flight") != 3:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            await client.get("/probe/shelves/1/books/1/lost")
            app.state.leave.set()
        assert figures.last("http_requests_in_flight") == 0


class TestMoment:
    async def test_counted_before_it_is_answered(self, app: FastAPI, figures: Figures) -> None:
        """Whoever has an answer was counted, although the process may have been killed since."""
        counted: list[float] = []
        scope: Scope = http_scope("/probe/shelves/1/books/2")

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None:
            counted.append(figures.total("http_requests_total", "GET", BOOK, "2xx"))

        await app(scope, receive, send)
        assert counted
        assert set(counted) == {1}

    async def test_client_that_left(self, app: FastAPI, figures: Figures) -> None:
        """Counts as one that was not answered, once."""
        await exchange(app, http_scope("/probe/bytes", method="POST"))
        assert figures.series("http_requests_total") == {("POST", "/probe/bytes", "4xx")}
        assert figures.total("http_requests_total", "POST", "/probe/bytes", "4xx") == 1
