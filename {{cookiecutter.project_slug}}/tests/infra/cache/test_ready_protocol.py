"""Ready responses that are sent as soon as their requests are read."""

import asyncio
import gc
import re
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
from fastapi import FastAPI, Response
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from app.infra import logs
from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.policies import ResponsePolicy
from app.infra.cache.ready import LearningResponseCache, ReadyMiddleware, ReadyResponses
from app.infra.cache.ready_protocol import ReadyProtocol
from app.infra.http.drain import Drain
from app.infra.http.protocol import BoundedProtocol
from app.infra.http.settings import HttpSettings
from tests.caches import PATIENCE_SECONDS, Clock
from tests.recorded import recorded

DATE = (b"date", b"Sat, 28 Nov 2026 15:59:28 GMT")
# What no two responses have in common.
OWN = re.compile(rb"(server-timing|x-process-time|x-request-id): [^\r]*\r\n")
POLICIES = {"page": ResponsePolicy(60)}


class Edge(FastAPI):
    """A service whose pages are cached."""

    def __init__(self) -> None:
        super().__init__()
        self.drain = Drain()
        chosen = MemorySettings(ttl_jitter=0, refresh_ahead=0)
        clock = Clock()
        self.cache = Cache(Memory(chosen, clock), chosen, clock=clock)
        self.ready = ReadyResponses(POLICIES)
        self.add_api_route("/page/{page}", self.page, name="page")
        self.add_middleware(
            LearningResponseCache,
            routes=self.routes,
            policies=POLICIES,
            name="edge",
            ready=self.ready,
        )

    async def page(self, page: str) -> Response:
        """Page 0 says of itself that it is longer than it is, and page 9 does not say how long."""
        response = Response(f'"{page}"', headers={"Content-Length": "9"} if page == "0" else None)
        if page == "9":
            del response.headers["content-length"]
        return response

    def build_middleware_stack(self) -> ASGIApp:
        return ReadyMiddleware(
            super().build_middleware_stack(),
            settings=HttpSettings(),
            drain=self.drain,
            production=False,
            ready=self.ready,
            name="edge",
        )


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.broken = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def write(self, data: Any) -> None:
        if self.broken:
            raise OSError("the line is dead")
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 1

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """A client's, to a service that speaks `kind`."""

    def __init__(
        self,
        kind: type[Any] = ReadyProtocol,
        *,
        of: "Connection | None" = None,
        around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
        **options: Any,
    ) -> None:
        """`of` is another connection of the same server; `around` wraps the service."""
        self.edge: Edge = of.edge if of else Edge()
        self.server: ServerState = of.server if of else ServerState()
        self.server.default_headers = [DATE]
        app = around(self.edge)
        config = Config(app, lifespan="off", access_log=False, log_config=None, **options)
        config.load()
        self.transport = Transport()
        self.protocol = kind(
            config=config, server_state=self.server, app_state={"cache": self.edge.cache}
        )
        self.protocol.connection_made(self.transport)

    def send(self, *headers: str, line: str = "GET /page/1", times: int = 1) -> None:
        """Ask, once or several times without waiting for the answer."""
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: service", *headers, "", ""])
        self.transport.written.clear()
        self.protocol.data_received(head.encode() * times)

    async def ask(self, *headers: str, **what: Any) -> bytes:
        """What is written in the end."""
        self.send(*headers, **what)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.protocol.cycle.response_complete or self.protocol.pipeline:
                await asyncio.sleep(0)
                if self.transport.closed:
                    break
        # What is told of a request is told in the next turn.
        await asyncio.sleep(0)
        return b"".join(self.transport.written)

    async def is_ready(self, *headers: str, **what: Any) -> bool:
        """Whether no task is made for a request."""
        self.send(*headers, **what)
        return not self.server.tasks

    async def learn(self) -> bytes:
        """The hit by which the page is made ready."""
        await self.ask()
        return await self.ask()


@pytest.fixture
async def connection() -> Connection:
    connection = Connection()
    await connection.learn()
    return connection


async def test_has_no_task(connection: Connection) -> None:
    """It is what it was before, and is written in one piece in the next turn."""
    usual = await connection.learn()
    assert await connection.is_ready()
    await asyncio.sleep(0)
    (answer,) = connection.transport.written
    assert OWN.sub(b"", answer) == OWN.sub(b"", usual)
    assert answer.endswith(b'\r\n\r\n"1"')


async def test_connections_share_a_turn() -> None:
    """All that have asked in one are answered in the next, and none twice."""
    first = Connection()
    await first.learn()
    second = Connection(of=first)
    for _ in range(2):
        first.send()
        second.send()
        await asyncio.sleep(0)
        assert len(first.transport.written) == len(second.transport.written) == 1


async def test_holds_nothing() -> None:
    """A connection that has ended goes without the garbage collector."""
    connection = Connection()
    await connection.learn()
    assert await connection.is_ready()
    await asyncio.sleep(0)
    protocol = ref(connection.protocol)
    connection.protocol.connection_lost(None)
    gc.disable()
    try:
        del connection
        assert protocol() is None
    finally:
        gc.enable()


ASKED = st.tuples(
    st.sampled_from(
        ["GET /page/1", "GET /page/2", "GET /page/1?a=b", "HEAD /page/1", "GET /other"]
    ),
    st.sampled_from(
        ["X-Any: 1", "Cache-Control: no-cache", "Connection: close", "Range: bytes=0-"]
    ),
    st.integers(1, 3),
)


@given(script=st.lists(ASKED, max_size=8))
async def test_nobody_can_tell(script: list[tuple[str, str, int]]) -> None:
    """What is sent, counted and logged, and what becomes of the connection; pipelined or not."""
    found: list[Any] = []
    for kind in (ReadyProtocol, BoundedProtocol):
        connection = Connection(kind)
        with recorded() as log:
            for line, header, times in script:
                found.append(OWN.sub(b"", await connection.ask(header, line=line, times=times)))
        told = [(each["route"], each["status"], "request_id" in each) for each in log.lines]
        server, figures = connection.server, connection.edge.cache.figures["page"]
        found.append((told, connection.transport.closed, server.total_requests))
        found.append((figures.hits, figures.misses, figures.loads))
    assert found[: len(found) // 2] == found[len(found) // 2 :]


async def test_leaves_nothing_behind(connection: Connection) -> None:
    """No id of a request, which later lines would carry."""
    before = logs.request_id.get()
    assert await connection.ask("X-Request-ID: mine")
    assert logs.request_id.get() == before


async def test_waits_for_a_slow_client(connection: Connection) -> None:
    connection.send()
    connection.protocol.pause_writing()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not connection.transport.written
    assert connection.server.tasks
    connection.protocol.resume_writing()
    for _ in range(5):
        await asyncio.sleep(0)
    assert b"".join(connection.transport.written).endswith(b'"1"')
    assert not connection.server.tasks


async def test_nobody_waits_for_it(connection: Connection) -> None:
    """A client that has left meanwhile gets nothing."""
    connection.send()
    connection.protocol.connection_lost(None)
    await asyncio.sleep(0)
    assert not connection.transport.written


async def test_a_broken_connection_is_closed(connection: Connection) -> None:
    """And what went wrong is logged, as of any other request; others get theirs."""
    other = Connection(of=connection)
    connection.transport.broken = True
    with recorded() as log:
        connection.send()
        other.send()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert connection.transport.closed
    assert len(other.transport.written) == 1
    assert [line["event"] for line in log.lines] == ["request failed", "request", "request"]


class TestGoesTheUsualWay:
    async def test_what_a_proxy_says_of_the_scheme(self) -> None:
        """Uvicorn knows whom to believe; it stands between the server and the service then."""
        connection = Connection(proxy_headers=True, forwarded_allow_ips="*")
        await connection.learn()
        assert await connection.is_ready()
        await asyncio.sleep(0)
        assert not await connection.is_ready("X-Forwarded-Proto: https")

    async def test_what_nobody_listens_to(self) -> None:
        """Where no proxy is trusted, what one says makes no difference."""
        connection = Connection(proxy_headers=False)
        await connection.learn()
        assert await connection.is_ready("X-Forwarded-Proto: https")

    async def test_a_service_that_is_going(self, connection: Connection) -> None:
        connection.edge.drain.begin()
        assert not await connection.is_ready()
        assert b"connection: close" in await connection.ask()

    async def test_a_crowd(self) -> None:
        """Who is one too many is told so."""
        connection = Connection(limit_concurrency=2)
        await connection.learn()
        assert await connection.is_ready()
        await asyncio.sleep(0)
        other = Connection(of=connection, limit_concurrency=2)
        assert not await other.is_ready()
        assert b"503 Service Unavailable" in await other.ask()

    async def test_a_head_that_is_unusual(self, connection: Connection) -> None:
        """Uvicorn looks at each header then, however often it is asked for."""
        for _ in range(3):
            answer = await connection.ask(line="GET /page/9")
            assert answer.endswith(b'\r\n\r\n3\r\n"9"\r\n0\r\n\r\n')
        assert "/page/9" in str(connection.edge.ready._ready)
        assert not await connection.is_ready(line="GET /page/9")

    async def test_a_length_that_is_not_the_bodys(self, connection: Connection) -> None:
        """Uvicorn refuses it again and again."""
        for _ in range(3):
            await connection.ask(line="GET /page/0")
            connection = Connection(of=connection)
        assert not await connection.is_ready(line="GET /page/0")

    async def test_a_server_that_stops_meanwhile(self, connection: Connection) -> None:
        """The connection ends with the answer, which says so."""
        connection.send()
        connection.protocol.shutdown()
        for _ in range(5):
            await asyncio.sleep(0)
        answer = b"".join(connection.transport.written)
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b'"1"')
        assert connection.transport.closed

    @pytest.mark.parametrize("headers", [[], [DATE, (b"connection", b"close")]])
    async def test_a_server_with_unusual_headers(
        self, connection: Connection, headers: list[tuple[bytes, bytes]]
    ) -> None:
        """Of its own, or with none."""
        connection.server.default_headers = headers
        assert not await connection.is_ready()

    async def test_a_service_within_another(self) -> None:
        """Which may have something to say, whatever it is."""

        class Guard:
            def __init__(self, app: ASGIApp) -> None:
                self.app = app

            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await self.app(scope, receive, send)

        connection = Connection(around=Guard)
        await connection.learn()
        assert not await connection.is_ready()

    async def test_a_service_that_sees_its_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def call(self: Edge, scope: Scope, receive: Receive, send: Send) -> None:
            await FastAPI.__call__(self, scope, receive, send)

        monkeypatch.setattr(Edge, "__call__", call)
        connection = Connection()
        await connection.learn()
        assert not await connection.is_ready()

    async def test_a_service_that_has_another_outermost_layer(self, connection: Connection) -> None:
        connection.edge.middleware_stack = connection.edge.router
        assert not await connection.is_ready()
