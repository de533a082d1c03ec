"""What the index of routes finds is what the router would have found."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, StringConvertor
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.infra.http import routes


class Declared(NamedTuple):
    path: str
    methods: list[str]
    kind: type[Route] = APIRoute


def application(declared: Sequence[Declared]) -> FastAPI:
    """Its routes tell their number, and what they find in the scope."""
    app = FastAPI(openapi_url=None)
    app.router.routes[:] = [numbered(*each) for each in enumerate(declared)]
    return app


def numbered(number: int, declared: Declared) -> Route:
    async def tell(request: Request) -> Response:
        scope = request.scope
        found = [
            scope["endpoint"] is tell,
            getattr(scope.get("route"), "path", None),
            len(scope["router"].routes),
            scope["path_params"],
        ]
        return PlainTextResponse(f"{number} {found}")

    return declared.kind(declared.path, tell, methods=declared.methods)


def indexed(app: FastAPI) -> FastAPI:
    routes.index(app)
    return app


def ask(app: ASGIApp, path: str, method: str = "GET", **more: Any) -> list[Message]:
    """All messages of an answer."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"service")],
        "scheme": "http",
        "server": ("service", 80),
        **more,
    }

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def serve() -> None:
        await app(scope, receive, send)

    asyncio.run(serve())
    return sent


def body(sent: Sequence[Message]) -> str:
    return str(sent[-1]["body"].decode())


METHODS = st.sampled_from(["GET", "POST"])
SEGMENTS = st.sampled_from(["a", "b", "{w}", "a{x}", "{y:int}", "{z:path}"])
ROUTES = st.builds(
    Declared,
    path=st.lists(SEGMENTS, max_size=2, unique=True).map(lambda parts: "/" + "/".join(parts)),
    methods=st.lists(METHODS, min_size=1, unique=True),
    kind=st.sampled_from([APIRoute, APIRoute, Route]),
)
PATHS = st.lists(st.sampled_from(["a", "b", "7", "ab", "a\n", ""]), min_size=1, max_size=2)


@given(
    declared=st.lists(ROUTES, min_size=2, max_size=6),
    asked=st.lists(
        st.tuples(PATHS.map(lambda parts: "/" + "/".join(parts)), METHODS), min_size=10, max_size=30
    ),
)
@example([Declared("/{w}", ["GET"]), Declared("/a", ["GET"])], [("/a", "GET")])
@example([Declared("/a", ["GET"]), Declared("/{w}", ["GET"])], [("/a\n", "GET")])
def test_finds_what_the_router_finds(
    declared: list[Declared], asked: list[tuple[str, str]]
) -> None:
    """The route, its parameters and what is in the scope; redirects, 404s and 405s too."""
    usual, quick = application(declared), indexed(application(declared))
    for path, method in asked:
        assert ask(quick, path, method) == ask(usual, path, method)


MOUNTED = Mount("/a", Starlette(routes=[Route("/b", lambda _: PlainTextResponse("mounted"))]))


def test_what_takes_anything_keeps_its_place() -> None:
    """Routes before it are found by the index, routes after it by the router."""
    app = indexed(application([Declared("/a/c", ["GET"]), Declared("/a/b", ["GET"])]))
    app.router.routes.insert(1, MOUNTED)
    assert body(ask(app, "/a/c")).startswith("0")
    assert body(ask(app, "/a/b")) == "mounted"


async def talk(websocket: Any) -> None: ...


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    raise AssertionError(f"{scope['path']} was left to the router")


def test_router_is_not_asked() -> None:
    """For what is found, whatever web sockets stand before it."""
    app = application([Declared("/a", ["GET"]), Declared("/b/{w}", ["POST"], Route)])
    app.router.routes.insert(0, WebSocketRoute("/{anything}", talk))
    app.router.middleware_stack = nobody
    indexed(app)
    assert body(ask(app, "/a")).startswith("0")
    assert body(ask(app, "/b/1", "POST")).startswith("1")


def test_later_routes_count() -> None:
    """As they do in a router, wherever they are put."""
    app = indexed(application([Declared("/a", ["GET"])]))
    assert body(ask(app, "/a")).startswith("0")
    app.router.routes.insert(0, numbered(7, Declared("/a", ["GET"])))
    assert body(ask(app, "/a")).startswith("7")
    del app.router.routes[:]
    assert ask(app, "/a")[0]["status"] == 404


@pytest.mark.parametrize("place", ["", "/a", "/outer"])
def test_within_another_application(place: str) -> None:
    """It is the other's router that is in the scope, and what is behind its path that counts."""
    declared = [Declared("/a/{w}", ["GET"]), Declared("/{w}", ["GET"])]
    usual, quick = [
        Starlette(routes=[Mount(place, app)])
        for app in (application(declared), indexed(application(declared)))
    ]
    assert ask(quick, f"{place}/a") == ask(usual, f"{place}/a")


def test_behind_a_path() -> None:
    """Which a proxy has left in place."""
    app = indexed(application([Declared("/a/b", ["GET"]), Declared("/b", ["GET"])]))
    assert body(ask(app, "/a/b", root_path="/a")).startswith("1")


def test_forms_have_the_limits_of_the_router() -> None:
    app = FastAPI(openapi_url=None)
    app.router.form_limits = {"max_fields": 1}

    @app.get("/")
    async def limits(request: Request) -> Any:
        return request.scope["fastapi"]["form_limits"]["max_fields"]

    assert body(ask(indexed(app), "/")) == "1"


class Picky(StringConvertor):
    """One that knows what there is."""

    def convert(self, value: str) -> str:
        if value == "b":
            raise HTTPException(404, "no such thing")
        return value


def test_convertors_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their errors are handled like those of routes."""
    monkeypatch.setitem(CONVERTOR_TYPES, "picky", Picky())
    declared = [Declared("/{w:picky}", ["GET"])]
    usual, quick = application(declared), indexed(application(declared))
    for path in ("/a", "/b"):
        assert ask(quick, path) == ask(usual, path)


def test_parameters_are_added_to_those_of_layers() -> None:
    usual, quick = (
        application([Declared("/{w}", ["GET"])]),
        application([Declared("/{w}", ["GET"])]),
    )
    indexed(quick)
    told = {"w": "0", "v": "1"}
    assert ask(quick, "/a", path_params=told) == ask(usual, "/a", path_params=told)
