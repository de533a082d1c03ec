"""Handlers that are called directly answer as FastAPI lets them answer."""

import gc
from weakref import WeakSet

import pytest
from fastapi import (
    FastAPI,
    routing,
)
from fastapi.routing import APIRoute

from app.infra import timing
from app.infra.http import direct, routes
from tests.infra.http.directly import Book, Refused, application, ask


def handlers(app: FastAPI) -> dict[str, bool]:
    """Whether each route of `app` is called directly, by its path."""
    return {
        route.path: direct.handler(route) is not None
        for route in app.routes
        if isinstance(route, APIRoute)
    }


def test_which() -> None:
    """Whatever needs more than parameters, a model and a response is left to FastAPI."""
    is_direct = handlers(application())
    assert {path for path in is_direct if is_direct[path]} == {
        path for path in is_direct if path.startswith("/plain/")
    }


ASKED = [
    "/plain/none",
    "/plain/books/7",
    "/plain/books/9",
    "/plain/books/0",
    "/plain/books/seven",
    "/plain/books/1.5/a%20b",
    "/plain/books/x/y",
    "/plain/unset",
    "/plain/default",
    "/plain/some",
    "/plain/others",
    "/plain/status/202",
    "/plain/status/204",
    "/plain/status/205",
    "/plain/status/304",
    "/plain/query?one=1",
    "/plain/query?one=1&one=2&many=3&many=4&other=%C3%A9",
    "/plain/query?many=x",
    "/plain/model",
    "/plain/model?limit=9&tags=a&tags=b&after=c",
    "/plain/model?limit=10&tags=",
    "/plain/said",
    "/plain/response",
    "/plain/wrong",
    "/plain/refused",
    "/plain/broken",
    "/more/depends",
    "/more/thread",
    "/more/lines",
    "/more/gone",
    "/more/misnamed",
    "/locked",
    "/nowhere",
]
SAID = [
    [],
    [("X-One", "1")],
    [("X-One", "1"), ("X-Many", "a"), ("X-Many", "b"), ("Cookie", "crumb=c")],
    [("X-One", "one"), ("Cookie", "other=1")],
]


@pytest.mark.parametrize("headers", SAID, ids=["bare", "one", "many", "wrong"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("url", ASKED)
async def test_answers_are_the_same(method: str, url: str, headers: list[tuple[str, str]]) -> None:
    """Status, headers in their order, body, errors and what is done afterwards."""
    usual, indexed = application(), application()
    routes.index(indexed)
    assert await ask(indexed, method, url, headers) == await ask(usual, method, url, headers)


async def test_what_watches_fastapi_sees_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some do that report errors: they replace what makes the handlers of routes."""
    monkeypatch.setattr(routing, "get_request_handler", lambda **_options: None)
    assert not any(handlers(application()).values())


async def test_function_is_called_once_and_for_what_fits() -> None:
    """Also where FastAPI is asked what is wrong."""
    app, called = FastAPI(), []

    @app.get("/{number}")
    async def count(number: int) -> int:
        called.append(number)
        return number

    routes.index(app)
    for path in ("/1", "/x", "/2"):
        await ask(app, "GET", path, [])
    assert called == [1, 2]


class Held:
    """What a handler works with."""


@pytest.mark.parametrize("kind", [Refused, ZeroDivisionError])
async def test_an_error_holds_nothing(kind: type[Exception]) -> None:
    """What the handler had goes with the request, not when the garbage collector comes."""
    app, held = application(), WeakSet[Held]()

    @app.get("/held")
    async def hold() -> Book:
        mine = Held()
        held.add(mine)
        raise kind

    routes.index(app)
    gc.disable()
    try:
        await ask(app, "GET", "/held", [])
        assert not held
    finally:
        gc.enable()


async def test_serialization_is_a_part() -> None:
    """Of the time of a request, as it is of other routes."""
    app = FastAPI()
    parts: dict[str, float] = {}

    @app.get("/")
    async def read() -> Book:
        return Book(title="a")

    routes.index(app)
    token = timing.parts.set(parts)
    await ask(app, "GET", "/", [])
    timing.parts.reset(token)
    assert parts["serialization"] > 0
