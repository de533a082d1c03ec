"""Every error is a problem document (RFC 9457), whoever raises it."""

import gc
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Cookie, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient
from pydantic import BaseModel, Field

from app import errors
from app.infra.http.settings import HttpSettings
from app.main import create_app
from app.settings import Settings
from tests.messages import body_of, exchange, http_scope
from tests.problems import problem
from tests.recorded import recorded
from tests.serving import probed, running

SECRET = "hunter2 at 10.0.0.7"  # what an exception may carry and nobody may see

probe = APIRouter(prefix="/probe")
nested = APIRouter(prefix="/nested")


class Part(BaseModel):
    weight: int
    odd: Annotated[int, Field(alias="a/b~c d")] = 0


class Thing(BaseModel, extra="forbid"):
    parts: list[Part]


@probe.post("/things")
async def create(thing: Thing) -> int:
    return len(thing.parts)


@probe.get("/things")
async def read(
    limit: Annotated[int, Query(ge=1)] = 1,
    x_colour: Annotated[int, Header()] = 1,
    session: Annotated[int, Cookie()] = 1,
) -> int:
    return limit + x_colour + session


@nested.put("/things/{thing_id}")
@nested.delete("/things/{thing_id}")
async def change(thing_id: int) -> int:
    return thing_id


@probe.post("/raw")
async def measure(request: Request) -> int:
    return len(await request.body())


@probe.get("/raised/{name}")
async def fail(name: str) -> None:
    raise {
        "crash": RuntimeError(SECRET),
        "conflict": errors.Conflict("It is taken.", headers={"X-Taken-By": "another"}),
        "unavailable": errors.Unavailable("It is busy.", retry_after_seconds=7),
        "own": HTTPException(404, "No such lamp."),
        "challenge": HTTPException(401, "Who are you?", headers={"WWW-Authenticate": "Basic"}),
        "not-modified": HTTPException(304, headers={"ETag": '"1"'}),
    }[name]


@probe.get("/stream")
async def stream() -> StreamingResponse:
    async def rows() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise RuntimeError(SECRET)

    return StreamingResponse(rows(), media_type="text/csv")


probe.include_router(nested)


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    app.include_router(probe)
    return app


def with_http(settings: Settings, **changes: Any) -> FastAPI:
    """The service and the probe, with other settings of HTTP."""
    return probed(probe, settings, **changes)


class TestRouting:
    async def test_unknown_path(self, client: AsyncClient) -> None:
        """404 in a sentence."""
        assert problem(await client.get("/nowhere"), 404)["detail"].endswith(".")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PATCH", "/probe/things", "GET, HEAD, POST"),
            ("OPTIONS", "/probe/things", "GET, HEAD, POST"),
            ("GET", "/probe/nested/things/1", "DELETE, PUT"),
            ("HEAD", "/probe/nested/things/1", "DELETE, PUT"),
            ("POST", "/", "GET, HEAD"),
            ("DELETE", "/health/ready", "GET, HEAD"),
        ],
    )
    async def test_unknown_method(
        self, client: AsyncClient, method: str, path: str, allowed: str
    ) -> None:
        """405 with every method of the path, those of all its routes (RFC 9110, 15.5.6)."""
        response = await client.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == allowed
        if method != "HEAD":
            problem(response, 405)


class TestRules:
    async def test_status_sentence_and_headers_reach_the_client(self, client: AsyncClient) -> None:
        """A `ServiceError` is answered as it was raised."""
        response = await client.get("/probe/raised/conflict")
        assert problem(response, 409)["detail"] == "It is taken."
        assert response.headers["x-taken-by"] == "another"

    async def test_unavailable_says_when_to_come_back(self, client: AsyncClient) -> None:
        """503 with Retry-After in seconds."""
        response = await client.get("/probe/raised/unavailable")
        problem(response, 503)
        assert response.headers["retry-after"] == "7"

    async def test_http_exceptions_keep_their_detail_and_headers(self, client: AsyncClient) -> None:
        """What a handler says is better than what is said of any path."""
        assert problem(await client.get("/probe/raised/own"), 404)["detail"] == "No such lamp."
        challenge = await client.get("/probe/raised/challenge")
        assert problem(challenge, 401)["detail"] == "Who are you?"
        assert challenge.headers["www-authenticate"] == "Basic"

    async def test_an_exception_that_is_no_error_has_no_body(self, client: AsyncClient) -> None:
        """304 may not carry one."""
        response = await client.get("/probe/raised/not-modified")
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == '"1"'


class TestValidation:
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"parts": [{"weight": 1}, {"weight": "x"}]}, "#/parts/1/weight"),
            ({"parts": [{"weight": 1, "a/b~c d": "x"}]}, "#/parts/0/a~1b~0c%20d"),
            ({"parts": [{}]}, "#/parts/0/weight"),
            ({"parts": [], "é": 1}, "#/%C3%A9"),
            ({"parts": [], "~1": 1}, "#/~01"),
            ({}, "#/parts"),
            ([], "#"),
        ],
    )
    async def test_points_into_the_body(
        self, client: AsyncClient, body: object, pointer: str
    ) -> None:
        """422 with a JSON pointer as a URI fragment (RFC 6901, section 6)."""
        document = problem(await client.post("/probe/things", json=body), 422)
        assert [error["pointer"] for error in document["errors"]] == [pointer]
        assert all(error["detail"] for error in document["errors"])

    async def test_names_parameters(self, client: AsyncClient) -> None:
        """422 with the name as the client wrote it, of all that are wrong at once."""
        headers = {"X-Colour": "red", "Cookie": "session=x"}
        refused = await client.get("/probe/things?limit=0", headers=headers)
        document = problem(refused, 422)
        named = [error["parameter"] for error in document["errors"]]
        assert sorted(named) == ["limit", "session", "x-colour"]
        path = problem(await client.delete("/probe/nested/things/x"), 422)
        assert [error["parameter"] for error in path["errors"]] == ["thing_id"]

    async def test_does_not_repeat_what_was_sent(self, client: AsyncClient) -> None:
        """A password in the wrong field is not echoed."""
        refused = await client.post("/probe/things", json={"parts": SECRET})
        problem(refused, 422)
        assert SECRET not in refused.text

    @pytest.mark.parametrize("body", [b"{", b'{"parts": [}', b"\xff", b"nul"])
    async def test_malformed_json(self, client: AsyncClient, body: bytes) -> None:
        """400, since there is no field to point at."""
        headers = {"Content-Type": "application/json"}
        problem(await client.post("/probe/things", content=body, headers=headers), 400)

    async def test_malformed_json_is_let_go_of(self, client: AsyncClient) -> None:
        """A body of megabytes is not left to the garbage collector."""
        headers = {"Content-Type": "application/json"}
        gc.collect()
        gc.disable()
        try:
            await client.post("/probe/things", content=b'{"parts": x}', headers=headers)
            kept = [each for each in gc.get_objects() if type(each) is RequestValidationError]
        finally:
            gc.enable()
        assert kept == []

    async def test_malformed_json_says_it_well(self, client: AsyncClient) -> None:
        """Also where the parser's own words end in the middle of a sentence."""
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/probe/things", content=b'{"name": "x', headers=headers)
        [error] = problem(refused, 400)["errors"]
        assert error["detail"] == "Unterminated string starting at character 9"

    async def test_malformed_json_says_where(self, client: AsyncClient) -> None:
        """The character at which the parser gave up."""
        headers = {"Content-Type": "application/json"}
        refused = await client.post("/probe/things", content=b'{"parts": x}', headers=headers)
        [error] = problem(refused, 400)["errors"]
        assert "character 10" in error["detail"]


class TestTooLarge:
    @pytest.mark.parametrize("path", ["/probe/things", "/probe/raw"])
    async def test_declared(self, settings: Settings, path: str) -> None:
        """413 for a Content-Length over the limit."""
        async with running(with_http(settings, max_body_bytes=10)) as client:
            problem(await client.post(path, content=b"x" * 11), 413)

    @pytest.mark.parametrize("path", ["/probe/things", "/probe/raw"])
    async def test_chunked(self, settings: Settings, path: str) -> None:
        """413 as soon as the chunks together are over the limit, and no more is read."""
        taken = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal taken
            for _ in range(100):
                taken += 1
                yield b"x" * 4

        async with running(with_http(settings, max_body_bytes=10)) as client:
            problem(await client.post(path, content=chunks()), 413)
        assert taken == 3

    async def test_up_to_the_limit(self, settings: Settings) -> None:
        """A body of just that many bytes is taken."""
        async with running(with_http(settings, max_body_bytes=10)) as client:
            assert (await client.post("/probe/raw", content=b"x" * 10)).json() == 10


class TestLibraries:
    async def test_untrusted_host(self, settings: Settings) -> None:
        """400 as a problem document, though the library answers in plain text."""
        async with running(with_http(settings, allowed_hosts=["api.example.com"])) as client:
            document = problem(await client.get("/"), 400)
            assert "host name" in document["detail"]

    async def test_preflight_refusal(self, settings: Settings) -> None:
        """400 that says why, without the header that would let the page in."""
        async with running(with_http(settings, allowed_origins=["https://a.example"])) as client:
            headers = {"Origin": "https://b.example", "Access-Control-Request-Method": "GET"}
            refused = await client.options("/", headers=headers)
        assert "origin" in problem(refused, 400)["detail"]
        assert "access-control-allow-origin" not in refused.headers

    async def test_errors_can_be_read_by_allowed_origins(self, settings: Settings) -> None:
        """A page may read why it was refused."""
        async with running(with_http(settings, allowed_origins=["https://a.example"])) as client:
            refused = await client.get("/nowhere", headers={"Origin": "https://a.example"})
        problem(refused, 404)
        assert refused.headers["access-control-allow-origin"] == "https://a.example"


class TestCrash:
    async def test_leaks_nothing_and_logs_everything(self, client: AsyncClient) -> None:
        """500 with an id under which the log has the traceback, once."""
        with recorded() as log:
            response = await client.get("/probe/raised/crash")
        document = problem(response, 500)
        assert SECRET not in str(response.headers) + response.text
        assert "RuntimeError" not in response.text
        [line] = log.of("request failed")
        assert line["request_id"] == document["request_id"]
        assert line["level"] == "error"
        assert f"RuntimeError: {SECRET}" in line["exception"]
        assert "in fail" in line["exception"]
        assert log.text.count(SECRET) == 1
        [access] = log.of("request")
        assert (access["status"], access["route"]) == (500, "/probe/raised/{name}")

    async def test_where_nobody_looks_at_the_log(self, client: AsyncClient) -> None:
        """A test may ask for it, and fails for what its handler has done, not for the log."""
        problem(await client.get("/probe/raised/crash"), 500)

    async def test_traceback_is_shown_when_debugging(self, settings: Settings) -> None:
        """With APP_DEBUG, a developer reads it in the answer."""
        app = create_app(settings.model_copy(update={"debug": True}))
        app.include_router(probe)
        async with running(app) as client:
            with recorded():
                response = await client.get("/probe/raised/crash")
        assert SECRET in problem(response, 500)["detail"]

    async def test_in_the_middle_of_a_stream(self, app: FastAPI) -> None:
        """The answer breaks off, so that it cannot be taken for a whole one, and is logged."""
        with recorded() as log:
            sent = await exchange(app, http_scope("/probe/stream"))
        assert sent[0]["status"] == 200
        assert body_of(sent) == b"first\n"
        assert all(message.get("more_body", True) for message in sent[1:])
        [line] = log.of("request failed")
        assert SECRET in line["exception"]
        assert len(log.of("request")) == 1


class TestDocumentation:
    def test_every_operation_documents_problems(self, app: FastAPI) -> None:
        """The OpenAPI description names the media type of errors."""
        for path in app.openapi()["paths"].values():
            for operation in path.values():
                described = operation["responses"]["default"]["content"]
                assert list(described) == [errors.MEDIA_TYPE]

    def test_schema_of_problems_is_made_once(self, app: FastAPI) -> None:
        """To make it takes far longer than to send the description."""
        first, second = (app.openapi()["components"]["schemas"] for _ in range(2))
        assert first["Problem"] is second["Problem"]

    async def test_bodies_of_unknown_routes_are_limited_too(self, settings: Settings) -> None:
        """An error is answered without reading what comes with it."""
        async with running(with_http(settings, max_body_bytes=1)) as client:
            response = await client.post("/nowhere", content=b"xx")
        assert response.status_code in {404, 413}
        problem(response, response.status_code)


def test_defaults_of_the_limit() -> None:
    """Two mebibytes, unless it is set."""
    assert HttpSettings().max_body_bytes == 2 * 1024 * 1024
