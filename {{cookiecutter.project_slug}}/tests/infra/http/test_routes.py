"""Routes in one list."""

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from app.infra.http import routes
from tests.serving import running


class Book(BaseModel):
    title: str


async def allowed() -> None:
    raise HTTPException(403)


def author() -> str:
    return "somebody"


books = APIRouter(prefix="/books", tags=["books"])


@books.get("", summary="All of them")
async def list_books(name: str = Depends(author)) -> list[Book]:
    return [Book(title=name)]


@books.post("", status_code=201, responses={409: {"description": "It is there already"}})
async def add(book: Book) -> Book:
    return book


@books.get("/stream")
async def stream() -> AsyncIterator[Book]:
    for title in ("one", "two"):
        yield Book(title=title)


@books.get("/{number}", response_model=Book, response_model_exclude={"title"})
async def read(number: int) -> dict[str, object]:
    return {"title": str(number)}


locked = APIRouter(dependencies=[Depends(allowed)])


@locked.get("/locked")
async def open_it() -> str:
    return "open"


@pytest.fixture
def tree() -> FastAPI:
    """Routers in a router in an application."""
    shop = APIRouter(prefix="/shop", responses={418: {"description": "A teapot"}})
    shop.include_router(books)
    app = FastAPI()
    app.include_router(shop, prefix="/v1", tags=["shop"])
    app.include_router(locked, prefix="/v1")
    app.dependency_overrides[author] = lambda: "somebody else"
    return app


@pytest.fixture
def flat(tree: FastAPI) -> FastAPI:
    app = FastAPI()
    app.router.routes[:] = tree.routes
    routes.flatten(app)
    return app


ASKED = [
    ("GET", "/v1/shop/books"),
    ("POST", "/v1/shop/books"),
    ("PUT", "/v1/shop/books"),
    ("GET", "/v1/shop/books/stream"),
    ("GET", "/v1/shop/books/7"),
    ("GET", "/v1/shop/books/seven"),
    ("GET", "/v1/shop/books/"),
    ("GET", "/v1/locked"),
    ("GET", "/books"),
]


@pytest.mark.parametrize(("method", "path"), ASKED)
async def test_answers_are_the_same(tree: FastAPI, flat: FastAPI, method: str, path: str) -> None:
    """Prefixes, dependencies, what replaces them in tests, status and model are as declared."""
    first, second = [
        await AsyncClient(transport=ASGITransport(app=app), base_url="http://service").request(
            method, path, json={"title": "A book"}
        )
        for app in (tree, flat)
    ]
    assert (first.status_code, first.text) == (second.status_code, second.text)
    assert first.headers.get("allow") == second.headers.get("allow")


def test_description_is_the_same(tree: FastAPI, flat: FastAPI) -> None:
    """Tags, responses and ids of operations are as declared."""
    assert flat.openapi()["paths"] == tree.openapi()["paths"]
    assert flat.openapi()["components"] == tree.openapi()["components"]


def test_others_stay(flat: FastAPI) -> None:
    """Mounts and plain routes, in their place."""
    plain = Route("/plain", lambda _request: PlainTextResponse("plain"))
    mount = Mount("/mounted", Starlette())
    within = APIRouter(routes=[plain])
    flat.router.routes.append(mount)
    flat.include_router(within)
    before = flat.router.routes[-2:]
    routes.flatten(flat)
    assert [route for route in flat.router.routes if route in before] == before


class Shouting(APIRoute):
    """A kind of route that an owner has made."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            response = await usual(request)
            return PlainTextResponse(bytes(response.body).upper())

        return handle


def more(directory: Path) -> FastAPI:
    """Routers that have more than a list of routes can say."""
    (directory / "index.html").write_text("a page")
    pages = APIRouter(prefix="/pages")
    pages.frontend("/", directory=directory)
    forms = APIRouter(prefix="/forms", form_limits={"max_fields": 1})

    @forms.post("")
    async def limits(request: Request) -> object:
        return request.scope["fastapi"]["form_limits"]

    loud = APIRouter(prefix="/loud", route_class=Shouting)
    loud.get("")(author)
    app = FastAPI()
    app.include_router(pages)
    within = APIRouter(prefix="/within")
    within.include_router(forms)
    app.include_router(within)
    app.include_router(loud)
    app.host("other.example", Starlette(routes=[Route("/", lambda _: PlainTextResponse("other"))]))
    return app


@pytest.mark.parametrize(
    ("method", "url", "expected"),
    [
        ("GET", "http://service/pages/", (200, "a page")),
        ("POST", "http://service/within/forms", (200, '{"max_fields":1}')),
        ("GET", "http://service/loud", (200, '"SOMEBODY"')),
        ("GET", "http://other.example/", (200, "other")),
        ("GET", "http://service/docs", (200, None)),
    ],
)
async def test_more_than_routes(
    tmp_path: Path, method: str, url: str, expected: tuple[int, str | None]
) -> None:
    """Pages, limits, kinds of routes and hosts are what they were."""
    app = more(tmp_path)
    routes.flatten(app)
    answer = await AsyncClient(transport=ASGITransport(app=app)).request(method, url)
    assert answer.status_code == expected[0]
    assert expected[1] in (None, answer.text)


def test_documentation_comes_last() -> None:
    """It is asked for least."""
    app = FastAPI()
    app.include_router(books)
    routes.flatten(app)
    pages = ["/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"]
    assert [getattr(route, "path", "") for route in app.routes[-4:]] == pages
    assert len(app.routes) > len(pages)


async def test_documentation_stays_before_who_takes_all(flat: FastAPI) -> None:
    @flat.get("/{anything:path}")
    async def anything() -> str:
        return "anything"

    routes.flatten(flat)
    client = AsyncClient(transport=ASGITransport(app=flat), base_url="http://service")
    assert "paths" in (await client.get("/openapi.json")).json()
    assert (await client.get("/other")).json() == "anything"


async def test_of_the_service(app: FastAPI) -> None:
    """None of them is looked for twice."""
    async with running(app) as client:
        await client.get("/")
        assert {type(route) for route in app.routes} <= {APIRoute, Route}
