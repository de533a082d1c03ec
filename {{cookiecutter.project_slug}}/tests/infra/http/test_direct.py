"""Handlers that are called directly answer as FastAPI lets them answer."""

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any
from weakref import WeakSet

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    routing,
)
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from httpx2 import ASGITransport, AsyncClient
from pydantic import AliasChoices, BaseModel, Field
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Message

from app.infra import timing
from app.infra.http import direct, routes
from tests.messages import http_scope


class Book(BaseModel):
    title: str
    pages: int = 100
    shelf_mark: Annotated[str, Field(serialization_alias="shelfMark")] = "A1"
    note: str | None = None


class Rare(Book):
    owner: str = "a secret"


class Wanted(BaseModel):
    limit: Annotated[int, Field(le=9)] = 3
    tags: list[str] = []
    since: Annotated[str, Field(validation_alias=AliasChoices("since", "after"))] = ""


class Refused(Exception):
    pass


class Told(Exception):
    pass


done: list[str] = []
plain = APIRouter(prefix="/plain")
more = APIRouter(prefix="/more")


@plain.get("/none")
async def nothing_asked() -> Book:
    return Book(title="a")


@plain.get("/books/{number}", responses={404: {}})
async def by_number(number: Annotated[int, Path(ge=1, le=9)]) -> Book:
    if number == 9:
        raise HTTPException(404, "no such book", headers={"X-Why": "sold"})
    return Rare(title=str(number))


@plain.get("/books/{number}/{called}", status_code=203)
async def with_two(
    number: float, name: Annotated[str, Path(alias="called")], request: Request
) -> dict[str, Any]:
    return {"number": number, "name": name, "path": request.url.path}


@plain.get("/unset", response_model=Book, response_model_exclude_unset=True)
async def what_was_set(response: Response) -> dict[str, str]:
    response.headers["X-Kind"] = "set"
    response.headers.append("X-Kind", "again")
    response.set_cookie("seen", "1")
    return {"title": "b"}


@plain.get("/default", response_model_exclude_defaults=True, response_model_by_alias=False)
async def what_is_no_default() -> Book:
    return Book(title="c", shelf_mark="B2")


@plain.get("/some", response_model_include={"title", "note"}, response_model_exclude_none=True)
async def some() -> Book:
    return Book(title="c")


@plain.get("/others", response_model_exclude={"title"})
async def others() -> Book:
    return Book(title="c")


@plain.get("/status/{status}")
async def with_status(status: int, response: Response) -> Book:
    response.status_code = status
    response.headers["X-Status"] = str(status)
    return Book(title="d")


@plain.get("/query")
async def from_query(
    one: int, many: Annotated[list[int] | None, Query()] = None, other: str = "x"
) -> list[Any]:
    return [one, many, other]


@plain.get("/model")
async def from_model(wanted: Annotated[Wanted, Query()]) -> Wanted:
    return wanted


@plain.get("/said")
async def from_headers(
    x_one: Annotated[int, Header()],
    x_many: Annotated[list[str] | None, Header()] = None,
    crumb: Annotated[str | None, Cookie()] = None,
) -> list[Any]:
    return [x_one, x_many, crumb]


@plain.get("/response", response_model=Book)
async def itself(response: Response) -> Response:
    response.headers["X-Lost"] = "yes"
    return PlainTextResponse("as it is", 418, background=BackgroundTask(done.append, "after"))


@plain.get("/wrong", response_model=Book)
async def wrong() -> dict[str, str]:
    return {"name": "no title"}


@plain.get("/refused")
async def refused() -> Book:
    raise Refused


@plain.get("/broken")
async def broken() -> Book:
    raise ZeroDivisionError("a defect")


@plain.post("/body", status_code=201)
async def with_body(book: Book, request: Request, response: Response) -> Book:
    response.headers["X-Bytes"] = str(len(await request.body()))
    return book


@plain.post("/part/{number}")
async def with_part(
    number: int, title: Annotated[str, Body(embed=True)], limit: int = 1
) -> list[Any]:
    return [number, title, limit]


@plain.post("/any")
async def with_any(
    given: Annotated[Any, Body()], other: Annotated[int | None, Body()] = None
) -> list[Any]:
    return [given, other]


@plain.post("/told/{number}")
async def with_error(number: int, request: Request) -> Book:
    request.state.seen = len(await request.body())
    raise Told(number)


async def someone() -> str:
    return "someone"


@more.get("/depends")
async def with_dependency(name: Annotated[str, Depends(someone)]) -> str:
    return name


@more.get("/thread")
def in_a_thread() -> Book:
    return Book(title="e")


@more.get("/task")
async def with_task(tasks: BackgroundTasks) -> Book:
    tasks.add_task(done.append, "task")
    return Book(title="f")


@more.get("/connection")
async def with_connection(connection: HTTPConnection) -> str:
    return connection.url.path


@more.get("/scopes")
async def with_scopes(scopes: SecurityScopes) -> list[str]:
    return scopes.scopes


@more.get("/class", response_class=JSONResponse)
async def with_class() -> Book:
    return Book(title="g")


@more.get("/free")
async def free() -> Response:
    return Response(b"free")


@more.get("/misnamed")
async def misnamed(number: Annotated[int, Path(alias="other")]) -> int:
    return number


@more.delete("/gone", status_code=204)
async def gone() -> None: ...


@more.get("/lines")
async def lines() -> AsyncIterator[Book]:
    yield Book(title="h")


@more.get("/small", max_body_size=1)
async def small() -> Book:
    return Book(title="i")


def application() -> FastAPI:
    app = FastAPI()
    for router in (plain, more):
        app.include_router(router)
    locked = APIRouter(prefix="/locked", dependencies=[Depends(someone)])
    locked.get("")(nothing_asked)
    app.include_router(locked)

    async def on_refused(request: Request, _error: Exception) -> Response:
        return PlainTextResponse(f"refused at {request.url.path}", 409)

    async def on_told(request: Request, error: Exception) -> Response:
        if error.args == (7,):
            raise HTTPException(418, "in other words")
        body = await request.body()
        return PlainTextResponse(
            f"{error} {request.path_params} {request.state.seen} {body!r}", 400
        )

    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(Told, on_told)
    routes.flatten(app)
    return app


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


async def ask(
    app: FastAPI, method: str, url: str, headers: list[tuple[str, str]], content: bytes = b""
) -> object:
    """All that can be seen of an answer."""
    transport = ASGITransport(app=app)
    done.clear()
    async with AsyncClient(transport=transport, base_url="http://service") as client:
        try:
            answer = await client.request(method, url, headers=headers, content=content)
        except Exception as error:  # noqa: BLE001  # whatever gets through to the server
            return type(error), str(error), done[:]
    return answer.status_code, answer.headers.multi_items(), answer.content, done[:]


@pytest.mark.parametrize("headers", SAID, ids=["bare", "one", "many", "wrong"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("url", ASKED)
async def test_answers_are_the_same(method: str, url: str, headers: list[tuple[str, str]]) -> None:
    """Status, headers in their order, body, errors and what is done afterwards."""
    usual, indexed = application(), application()
    routes.index(indexed)
    assert await ask(indexed, method, url, headers) == await ask(usual, method, url, headers)


CONTENTS = [
    b'{"title": "a", "pages": 3}',
    b'{"title": 1}',
    b'{"pages": "x"}',
    b'{"given": {"a": [1, null]}, "other": 2}',
    b"[1]",
    b"null",
    b'"text"',
    b"{",
    b"",
    b'{"title": "\xff"}',
    '{"title": "\u00e9"}'.encode("utf-16"),
    b"[" * 100_000,
    b"title=a",
]
TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/problem+json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "",
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:20]))
@pytest.mark.parametrize(
    "url",
    [
        "/plain/body",
        "/plain/part/1",
        "/plain/part/x",
        "/plain/any",
        "/plain/told/1",
        "/plain/told/7",
    ],
)
async def test_bodies_are_the_same(url: str, content: bytes) -> None:
    """Whatever is sent, and whatever it is called."""
    for content_type in TYPES:
        headers = [("Content-Type", content_type)] if content_type else []
        usual, indexed = application(), application()
        routes.index(indexed)
        first, second = [await ask(app, "POST", url, headers, content) for app in (usual, indexed)]
        assert first == second


BODY = b'{"title": "a"}'
RECEIVED: dict[str, list[Message | Exception]] = {
    "whole": [{"type": "http.request", "body": BODY}],
    "wrong": [{"type": "http.request", "body": b"{}"}],
    "in pieces": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.request", "body": BODY[5:]},
    ],
    "wrong in pieces": [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ],
    "left": [{"type": "http.disconnect"}],
    "left meanwhile": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        {"type": "http.disconnect"},
    ],
    "refused": [HTTPException(413, "too much")],
    "refused meanwhile": [
        {"type": "http.request", "body": BODY[:5], "more_body": True},
        HTTPException(413, "too much"),
    ],
    "failed": [OSError("broken")],
}


@pytest.mark.parametrize("received", RECEIVED)
async def test_receiving_is_the_same(received: str) -> None:
    """A body that comes in pieces, or not at all."""
    answers = []
    for with_index in (False, True):
        app = application()
        sent: list[Message] = []
        if with_index:
            routes.index(app)
        messages = iter(RECEIVED[received])

        async def receive(messages: Iterator[Message | Exception] = messages) -> Message:
            message = next(messages)
            if isinstance(message, Exception):
                raise message
            return message

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        await app(http_scope("/plain/body", method="POST", headers=headers), receive, send)
        answers.append((sent, list(messages)))
    assert answers[0] == answers[1]


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
