"""Clients of a service with sessions, each with a cookie of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Body, Request, Response
from httpx2 import AsyncClient

from app.infra.sessions import Session, Sessions
from app.main import create_app
from app.settings import Settings
from tests.serving import running

probe = APIRouter()

LIMITS: dict[str, Any] = {
    "idle_timeout_seconds": 1_000,
    "absolute_timeout_seconds": 2_500,
    "max_bytes": 1_000,
}
"""Settings of the sessions, for the tests to run into."""


class Clock:
    """Time that passes when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Kept:
    """Sessions in a store of the test's own."""

    sessions: Sessions
    clock: Clock
    wait: Callable[[float], Awaitable[None]]
    """Lets seconds pass, for the clock and for the store."""
    raw: Callable[[], Awaitable[Mapping[str, bytes]]]
    """Everything that is in the store."""


@probe.get("/untouched")
async def leave_alone() -> str:
    """A route without a session."""
    return "done"


@probe.get("/values/{name}")
async def read_value(request: Request, name: str) -> Any:
    session: Session = request.state.session
    return await session.get(name)


@probe.put("/values/{name}")
async def write_value(
    request: Request,
    response: Response,
    name: str,
    value: Annotated[Any, Body(embed=True)],
    status: int = 200,
) -> None:
    session: Session = request.state.session
    await session.set(name, value)
    response.status_code = status


@probe.post("/counts/{name}")
async def count(request: Request, name: str) -> None:
    session: Session = request.state.session
    await session.update(name, lambda value: (value or 0) + 1)


@probe.get("/user")
async def read_user(request: Request) -> str | None:
    session: Session = request.state.session
    return await session.user()


@probe.post("/sign-in/{user}")
async def sign_in(request: Request, user: str) -> None:
    session: Session = request.state.session
    await session.begin(user)


@probe.post("/new-password")
async def change_password(request: Request) -> None:
    """Signs the user out everywhere else."""
    session: Session = request.state.session
    user = await session.user()
    assert user is not None
    sessions: Sessions = request.state.sessions
    await sessions.revoke(user)
    await session.begin(user)


@probe.post("/rotate")
async def rotate(request: Request) -> None:
    session: Session = request.state.session
    await session.rotate()


@probe.post("/sign-out")
async def sign_out(request: Request) -> None:
    session: Session = request.state.session
    await session.end()


class Browser:
    """Sends the cookie that it was last given."""

    def __init__(self, client: AsyncClient, scheme: str = "http", name: str = "session") -> None:
        self._client = client
        self._origin = f"{scheme}://service"
        self._name = name
        self.id: str | None = None

    async def ask(
        self, method: str, path: str, json: Any = None, **options: Any
    ) -> httpx2.Response:
        """One request, whose answer may change the cookie."""
        self._client.cookies.clear()  # it is shared by all browsers
        headers = options.pop("headers", {})
        if self.id is not None:
            headers = {"cookie": f"{self._name}={self.id}", **headers}
        if method == "PUT":
            options["json"] = {"value": json}
        response = await self._client.request(
            method, f"{self._origin}{path}", headers=headers, **options
        )
        cookie = SimpleCookie(response.headers.get("set-cookie")).get(self._name)
        if cookie is not None:
            self.id = cookie.value or None
        return response

    async def does(self, method: str, path: str, json: Any = None) -> Any:
        """The body of an answer that is a success."""
        response = await self.ask(method, path, json)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def serving(settings: Settings, sessions: Sessions) -> AsyncIterator[AsyncClient]:
    """The service with the routes above, which reach for `sessions`."""

    @asynccontextmanager
    async def open_rooms(_settings: Settings) -> AsyncIterator[dict[str, Any]]:
        yield {"sessions": sessions}

    app = create_app(settings, open_rooms=open_rooms)
    app.include_router(probe)
    async with running(app) as client:
        yield client
