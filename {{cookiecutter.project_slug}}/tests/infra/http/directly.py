"""Routes of which most are called directly, and what can be seen of their answers."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

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
)
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from httpx2 import ASGITransport, AsyncClient
from pydantic import AliasChoices, BaseModel, Field
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse

from app.infra.http import routes


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
