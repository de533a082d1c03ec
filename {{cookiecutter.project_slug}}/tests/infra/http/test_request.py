"""What every response carries: the id of its request, its timing, its security headers."""

import re
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from httpx2 import AsyncClient
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.errors import StartupError
from app.infra import timing
from app.infra.http.drain import Drain
from app.infra.http.request import RequestMiddleware
from app.infra.http.settings import HttpSettings
from app.main import create_app
from app.settings import Settings
from tests.messages import exchange, headers_of, http_scope
from tests.recorded import recorded
from tests.serving import probed, running

probe = APIRouter(prefix="/probe")


@probe.get("/id")
async def read_id(request: Request) -> str:
    return str(request.state.request_id)


@probe.get("/parts")
async def spend() -> None:
    timing.add("lookup", 0.001)
    timing.add("cache", 0.25)
    timing.add("cache", 0.5)


@probe.get("/unchanged")
async def unchanged() -> Response:
    return Response(status_code=304)


@probe.get("/crash")
async def crash() -> None:
    raise RuntimeError


@probe.post("/drain")
async def begin_to_drain(request: Request) -> None:
    request.state.drain.begin()


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    app.include_router(probe)
    return app


def with_http(settings: Settings, **changes: Any) -> FastAPI:
    """The service and the probe, with other settings of HTTP."""
    return probed(probe, settings, **changes)


async def _answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def layer(settings: HttpSettings | None = None) -> RequestMiddleware:
    """The layer alone, around an application that answers at once."""
    http = settings or HttpSettings()
    return RequestMiddleware(_answer, settings=http, drain=Drain(), production=False)


EVERY_KIND_OF_RESPONSE = [
    ("GET", "/", 200),
    ("HEAD", "/", 200),
    ("GET", "/nowhere", 404),
    ("DELETE", "/", 405),
    ("GET", "/probe/unchanged", 304),
    ("GET", "/probe/crash", 500),
    ("GET", "/health/live", 200),
    ("GET", "/docs", 200),
    ("GET", "/openapi.json", 200),
]


class TestRequestId:
    async def test_is_the_client_s(self, client: AsyncClient) -> None:
        """A well-formed id goes through handler and response as it came."""
        response = await client.get("/probe/id", headers={"X-Request-ID": "trace-1.a_B"})
        assert response.json() == response.headers["x-request-id"] == "trace-1.a_B"

    async def test_is_made(self, client: AsyncClient) -> None:
        """Without one, each request has an id of its own."""
        ids = [(await client.get("/probe/id")).headers["x-request-id"] for _ in range(3)]
        assert len(set(ids)) == 3
        assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)

    @given(st.binary() | st.text("aZ09._-\r\n ", max_size=130).map(str.encode))
    @example(b"a\r\nSet-Cookie: session=1")
    @example(b"a\n")
    @example(b"")
    @example(b"a" * 128)
    @example(b"a" * 129)
    @example("é".encode())
    async def test_is_harmless(self, sent: bytes) -> None:
        """What could break a header or a log is replaced; the rest is kept (up to 128 bytes)."""
        answer = await exchange(layer(), http_scope(headers=[(b"x-request-id", sent)]))
        request_id = headers_of(answer)["x-request-id"]
        if re.fullmatch(rb"[A-Za-z0-9._-]{1,128}", sent):
            assert request_id.encode() == sent
        else:
            assert re.fullmatch("[0-9a-f]{32}", request_id)

    async def test_header_is_a_setting(self, settings: Settings) -> None:
        """The id comes from the header that is configured, and from no other."""
        async with running(with_http(settings, request_id_header="X-Correlation-ID")) as client:
            headers = {"X-Request-ID": "wrong", "X-Correlation-ID": "right"}
            assert (await client.get("/probe/id", headers=headers)).json() == "right"

    async def test_trusts_no_header(self, settings: Settings) -> None:
        """`none` makes every id here."""
        async with running(with_http(settings, request_id_header="none")) as client:
            headers = {"X-Request-ID": "theirs", "None": "theirs"}
            assert (await client.get("/probe/id", headers=headers)).json() != "theirs"


class TestEveryResponse:
    @pytest.mark.parametrize(("method", "path", "status"), EVERY_KIND_OF_RESPONSE)
    async def test_is_timed_and_identified(
        self, client: AsyncClient, method: str, path: str, status: int
    ) -> None:
        """`Server-Timing` in milliseconds and `X-Process-Time` in seconds, whatever happened."""
        with recorded():
            response = await client.request(method, path)
        assert response.status_code == status
        assert response.headers["x-request-id"]
        total = re.fullmatch(r"(?:.*, )?total;dur=(\d+\.\d\d)", response.headers["server-timing"])
        assert total is not None
        assert float(response.headers["x-process-time"]) * 1e3 == pytest.approx(
            float(total[1]), abs=0.01
        )

    @pytest.mark.parametrize(("method", "path", "status"), EVERY_KIND_OF_RESPONSE)
    async def test_is_safe_in_a_browser(
        self, client: AsyncClient, method: str, path: str, status: int
    ) -> None:
        """No sniffing, no frames, no referrer, and nothing that a page would load."""
        with recorded():
            response = await client.request(method, path)
        assert response.status_code == status
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; frame-ancestors 'none'")
        assert ("script-src" in policy) == (path == "/docs")
        assert "strict-transport-security" not in response.headers

    @pytest.mark.parametrize(("method", "path", "status"), EVERY_KIND_OF_RESPONSE)
    async def test_insists_on_https_in_production(
        self, settings: Settings, method: str, path: str, status: int
    ) -> None:
        """HSTS, for a year; in development it would lock the browser out of localhost."""
        app = create_app(settings.model_copy(update={"environment": "production"}))
        app.include_router(probe)
        async with running(app) as client:
            with recorded():
                response = await client.request(method, path)
        assert response.status_code == status
        assert "max-age=31536000" in response.headers["strict-transport-security"]

    async def test_tells_where_the_time_went(self, client: AsyncClient) -> None:
        """Parts that were measured stand in `Server-Timing`, summed up."""
        response = await client.get("/probe/parts")
        header = response.headers["server-timing"]
        assert header.startswith("lookup;dur=1.00, cache;dur=750.00, serialization;dur=")
        assert re.search(r", total;dur=\d+\.\d\d$", header)
        # A new request begins at nothing.
        assert "cache" not in (await client.get("/probe/id")).headers["server-timing"]

    async def test_documentation_pages_load_what_they_need(self, client: AsyncClient) -> None:
        """Every host that a page names is allowed by its policy, and by no other page's."""
        for path in ("/docs", "/redoc"):
            page = await client.get(path)
            policy = page.headers["content-security-policy"]
            hosts = re.findall(r"""(?:src|href)=["'](https://[^/"']+)""", page.text)
            assert hosts
            assert all(host in policy for host in hosts)


class TestDraining:
    async def test_closes_connections(self, client: AsyncClient) -> None:
        """From then on every response asks its client to leave, errors too."""
        assert "connection" not in (await client.get("/")).headers
        await client.post("/probe/drain")
        for path in ("/", "/nowhere", "/health/live", "/probe/unchanged"):
            assert (await client.get(path)).headers["connection"] == "close"


class TestStart:
    async def _start(self, app: FastAPI) -> list[Any]:
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        return await exchange(app, scope, [{"type": "lifespan.startup"}])

    async def test_failure_with_a_remedy_is_one_sentence(self, settings: Settings) -> None:
        """The server is told the sentence of a `StartupError`, without a traceback."""
        app = create_app(settings, open_rooms=_Failing(StartupError("Start the store.")))
        sent = await self._start(app)
        assert sent == [{"type": "lifespan.startup.failed", "message": "Start the store."}]

    async def test_failure_of_the_code_keeps_its_traceback(self, settings: Settings) -> None:
        """Anything else is a bug, and is told whole."""
        app = create_app(settings, open_rooms=_Failing(LookupError("a bug")))
        with pytest.raises(LookupError, match="a bug"):
            await self._start(app)


class _Failing:
    """Rooms that cannot be opened."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __call__(self, _settings: Settings) -> "_Failing":
        return self

    async def __aenter__(self) -> dict[str, Any]:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        """Never opened, never closed."""
