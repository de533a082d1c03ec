"""The session's cookie, and what a response says about it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.errors import TryAgain
from app.infra.sessions import Session, SessionMiddleware, Sessions
from app.infra.sessions.memory import MemorySessions, MemorySessionSettings
from app.main import create_app
from app.settings import Settings
from tests.infra.sessions.browsers import Browser, Kept, serving
from tests.infra.sessions.contract import begun
from tests.messages import body_of, exchange, headers_of, http_scope
from tests.serving import running, started


class TestCookie:
    @pytest.mark.parametrize(
        ("scheme", "environment", "secure"),
        [
            ("http", "development", False),
            ("https", "development", True),
            ("http", "production", True),
            ("https", "production", True),
        ],
    )
    async def test_attributes(
        self, settings: Settings, kept: Kept, scheme: str, environment: str, secure: bool
    ) -> None:
        """For this host alone, not for scripts or other sites, encrypted wherever that can be."""
        name = "__Host-session" if secure else "session"
        settings = settings.model_copy(update={"environment": environment})
        async with serving(settings, kept.sessions) as client:
            browser = Browser(client, scheme, name)
            response = await browser.ask("PUT", "/values/a", 1)
            (cookie,) = SimpleCookie(response.headers["set-cookie"]).values()
            expected = {"path": "/", "httponly": True, "samesite": "Lax"}
            assert cookie.key == name
            assert len(cookie.value) == 43
            attributes = {key: value for key, value in cookie.items() if value}
            assert attributes == (expected | {"secure": True} if secure else expected)
            assert await browser.does("GET", "/values/a") == 1
            ended = (await browser.ask("POST", "/sign-out")).headers["set-cookie"]
            assert ended.startswith(f"{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax")
            assert ("; Secure" in ended) == secure

    async def test_of_an_unencrypted_connection(self, client: AsyncClient, kept: Kept) -> None:
        """Counts for nothing on an encrypted one, where anybody nearby could have set it."""
        browser = Browser(client, "https", "session")
        browser.id = await begun(kept)
        assert await browser.does("GET", "/values/colour") is None

    async def test_is_set_once(self, browser: Browser) -> None:
        """Neither reading nor writing renews it."""
        assert "set-cookie" in (await browser.ask("PUT", "/values/a", 1)).headers
        assert "set-cookie" not in (await browser.ask("PUT", "/values/a", 2)).headers
        assert "set-cookie" not in (await browser.ask("GET", "/values/a")).headers

    async def test_among_others(self, client: AsyncClient, kept: Kept) -> None:
        """It is found wherever the client sends it, also beside one of somebody else's making."""
        session_id = await begun(kept)
        for cookie in (f"a=b; session={session_id}", f"session={session_id}; c"):
            response = await client.get("/values/colour", headers={"cookie": cookie})
            assert response.json() == "red"
        both = [("cookie", "session=other"), ("cookie", f"session={session_id}")]
        assert (await client.get("/values/colour", headers=both)).json() == "red"

    async def test_is_always_new(self, client: AsyncClient) -> None:
        """No two sessions share an id."""
        browsers = [Browser(client) for _ in range(20)]
        for browser in browsers:
            await browser.does("PUT", "/values/a", 1)
        assert len({browser.id for browser in browsers}) == len(browsers)


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with what is in its session."""
    session: Session = scope["state"]["session"]
    await Response(repr(await session.get("colour")))(scope, receive, send)


NAMED = st.sampled_from([b"session=", b"__Host-session=", b"a=b; session=", b"session=x; session="])
WELL_FORMED = st.from_regex(rb"[A-Za-z0-9_-]{43}", fullmatch=True)


class TestForgery:
    @given(
        st.binary() | st.builds(bytes.__add__, NAMED, st.binary() | WELL_FORMED),
        st.sampled_from(["http", "https"]),
    )
    async def test_is_no_session(self, cookie: bytes, scheme: str) -> None:
        """Whatever a client sends is answered, as if it had sent nothing, and not taken over."""
        settings = MemorySessionSettings()
        store = MemorySessions(settings)
        sessions = Sessions(store, settings)
        session = Session(sessions, None)
        await session.set("colour", "red")
        await session.save()
        before = dict(store._kept)
        scope = http_scope(headers=[(b"cookie", cookie)])
        scope["scheme"] = scheme
        scope["state"] = {"sessions": sessions}
        sent = await exchange(SessionMiddleware(tell, production=False), scope)
        assert sent[0]["status"] == 200
        assert body_of(sent) == b"None"
        assert "set-cookie" not in headers_of(sent)
        assert store._kept == before

    async def test_of_what_is_kept(self, kept: Kept, browser: Browser) -> None:
        """What another release has left, or another program, is no session."""
        browser.id = await begun(kept)
        ((key, value),) = (await kept.raw()).items()
        for other in (b"", b"\xff", b"[]", b'{"created":1,"colour":2}', b"{}"):
            assert await kept.sessions._store.replace(key, value, other, 100)
            assert await browser.does("GET", "/values/colour") is None
            value = other


class TestCaching:
    async def test_of_what_used_the_session(self, browser: Browser) -> None:
        """It is nobody else's, with or without one."""
        for method, path in [("GET", "/values/a"), ("PUT", "/values/a"), ("GET", "/user")]:
            response = await browser.ask(method, path, 1)
            assert response.headers["cache-control"] == "no-store"
            assert "Cookie" in response.headers["vary"]

    async def test_of_what_did_not(self, browser: Browser) -> None:
        """Is as it would be without sessions, also with a cookie."""
        await browser.ask("PUT", "/values/a", 1)
        response = await browser.ask("GET", "/untouched")
        assert "cache-control" not in response.headers
        assert "Cookie" not in response.headers.get("vary", "")

    async def test_as_the_handler_says(self, settings: Settings, kept: Kept) -> None:
        """What it set stays, and what varies more varies by the cookie besides."""
        async with running(custom(settings, kept.sessions)) as client:
            response = await client.get("/own")
        assert response.headers["cache-control"] == "private, max-age=5"
        assert response.headers["vary"] == "Accept-Language, Cookie"


def custom(settings: Settings, sessions: Sessions | None) -> FastAPI:
    """A service with handlers that do not do as others do."""

    @asynccontextmanager
    async def open_rooms(_settings: Settings) -> AsyncIterator[dict[str, Any]]:
        yield {} if sessions is None else {"sessions": sessions}

    app = create_app(settings, open_rooms=open_rooms)

    @app.get("/own")
    async def own_headers(request: Request, response: Response) -> None:
        await request.state.session.get("a")
        response.headers["Cache-Control"] = "private, max-age=5"
        response.headers["Vary"] = "Accept-Language"

    @app.get("/without")
    async def without(request: Request) -> bool:
        return hasattr(request.state, "session")

    @app.get("/late")
    async def write_late(request: Request) -> StreamingResponse:
        async def rows() -> AsyncIterator[str]:
            yield "one"
            try:
                await request.state.session.set("a", 1)
            except RuntimeError as error:
                yield str(error)

        await request.state.session.get("a")
        return StreamingResponse(rows())

    @app.get("/crash")
    async def crash(request: Request) -> None:
        await request.state.session.set("a", 1)
        raise RuntimeError

    @app.get("/in-place")
    async def change_in_place(request: Request) -> list[int]:
        """Changes a value that it was given, and one that it gave away."""
        session: Session = request.state.session
        given: list[int] = await session.get("a", [])
        given.append(1)
        await session.set("a", given)
        given.append(2)

        def appended(value: list[int]) -> list[int]:
            value.append(3)
            return value

        await session.update("a", appended)
        found: list[int] = await session.get("a")
        return found

    return app


class TestHandlers:
    async def test_without_sessions(self, settings: Settings) -> None:
        """A service that opens none serves everything else."""
        async with running(custom(settings, None)) as client:
            assert (await client.get("/without")).json() is False

    async def test_write_late(self, settings: Settings, kept: Kept) -> None:
        """Once the response has begun it is too late, and that is said."""
        async with running(custom(settings, kept.sessions)) as client:
            assert "one" + "The response has begun" in (await client.get("/late")).text

    async def test_crash(self, settings: Settings, kept: Kept) -> None:
        """Nothing is kept of a request that failed."""
        async with started(custom(settings, kept.sessions)) as app:
            sent = await exchange(app, http_scope("/crash"))
        assert sent[0]["status"] == 500
        assert "set-cookie" not in headers_of(sent)
        assert await kept.raw() == {}

    async def test_change_in_place(self, settings: Settings, kept: Kept) -> None:
        """Once, and only what was handed over."""
        async with running(custom(settings, kept.sessions)) as client:
            assert (await client.get("/in-place")).json() == [1, 3]
            assert (await client.get("/in-place")).json() == [1, 3, 1, 3]
            assert (await client.get("/in-place")).json() == [1, 3, 1, 3, 1, 3]

    @pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"bytes"])
    async def test_no_json(self, kept: Kept, value: Any) -> None:
        """Is refused where it is written."""
        session = Session(kept.sessions, None)
        with pytest.raises((TypeError, ValueError)):
            await session.set("a", value)
        assert await session.save() is None


class Contested(MemorySessions):
    """A store in which somebody else is always faster."""

    async def replace(self, key: str, old: bytes, new: bytes, ttl_seconds: float) -> bool:
        await super().replace(key, old, old + b" ", ttl_seconds)
        return await super().replace(key, old, new, ttl_seconds)


class TestContest:
    async def test_without_end(self) -> None:
        """Is given up, and the client may try again."""
        settings = MemorySessionSettings()
        sessions = Sessions(Contested(settings), settings)
        first = Session(sessions, None)
        await first.set("a", 1)
        session = Session(sessions, await first.save())
        await session.set("a", 2)
        with pytest.raises(TryAgain):
            await session.save()
