"""Profiles: of a live request for who has the token, and by command."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient
from pydantic import SecretStr, ValidationError

from app.infra.profiling import ProfilingSettings
from app.settings import Settings
from tests.problems import problem
from tests.processes import run
from tests.recorded import Log, recorded
from tests.serving import probed, running

TOKEN = "a token of the test's own"
ASKING = {"X-Profile": TOKEN}

probe = APIRouter(prefix="/probe")
served: list[Request] = []
reached = asyncio.Event()
released = asyncio.Event()


def calculate() -> int:
    """Take long enough to be seen."""
    return sum(number * number for number in range(300_000))


@probe.get("/busy")
async def keep_busy(request: Request) -> int:
    served.append(request)
    return calculate()


@probe.get("/crash")
async def crash() -> None:
    raise RuntimeError("lost")


@probe.get("/stream")
async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        for number in range(3):
            yield f"chunk {number}"

    return StreamingResponse(chunks())


@probe.get("/waiting")
async def wait() -> None:
    reached.set()
    await released.wait()


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    served.clear()
    with recorded() as log:
        yield log


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    profiling = ProfilingSettings(token=SecretStr(TOKEN))
    return probed(probe, settings.model_copy(update={"profiling": profiling}))


class TestLiveRequest:
    async def test_is_answered_with_its_profile(self, client: AsyncClient) -> None:
        """As a page that is complete, for nobody to keep, and not to be run here."""
        answer = await client.get("/probe/busy", headers=ASKING)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-profiled-status"] == "200"
        for name in ("keep_busy", "calculate"):
            assert name in answer.text
        assert 'src="http' not in answer.text

    async def test_is_made_anew(self, client: AsyncClient) -> None:
        """No cache answers in its place, and the token goes no further."""
        await client.get("/probe/busy", headers={**ASKING, "Cache-Control": "max-stale"})
        [request] = served
        assert request.headers.getlist("cache-control") == ["no-cache"]
        assert "x-profile" not in request.headers

    @pytest.mark.parametrize(
        "headers", [{}, {"X-Profile": ""}, {"X-Profile": TOKEN[:-1]}, {"X-Profile": TOKEN + "!"}]
    )
    async def test_without_the_token(self, client: AsyncClient, headers: dict[str, str]) -> None:
        """It is served as ever: who has no token learns nothing of it."""
        answer = await client.get("/probe/busy", headers=headers)
        assert answer.json() == calculate()

    async def test_when_there_is_none(self, settings: Settings) -> None:
        """The header means nothing then."""
        async with running(probed(probe, settings)) as client:
            assert (await client.get("/probe/busy", headers=ASKING)).json() == calculate()

    async def test_head(self, client: AsyncClient) -> None:
        """Is answered as ever: it has no body to tell in."""
        answer = await client.head("/probe/busy", headers=ASKING)
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(("path", "status"), [("/probe/stream", "200"), ("/nowhere", "404")])
    async def test_of_every_kind(self, client: AsyncClient, path: str, status: str) -> None:
        """What is sent piece by piece, and what is not there."""
        answer = await client.get(path, headers=ASKING)
        assert answer.headers["x-profiled-status"] == status
        assert answer.text.startswith("<!DOCTYPE html>")

    async def test_one_at_a_time(self, client: AsyncClient) -> None:
        """The second is refused; those that nobody profiles are served meanwhile."""
        first = asyncio.create_task(client.get("/probe/waiting", headers=ASKING))
        await reached.wait()
        problem(await client.get("/probe/busy", headers=ASKING), 409)
        assert served == []
        assert (await client.get("/probe/busy")).status_code == 200
        released.set()
        assert "<!DOCTYPE html>" in (await first).text

    async def test_of_an_error(self, client: AsyncClient, log: Log) -> None:
        """It is logged as ever, and the next is profiled."""
        answer = await client.get("/probe/crash", headers=ASKING)
        assert answer.headers["x-profiled-status"] == "500"
        assert "crash" in answer.text
        assert len(log.of("request failed")) == 1
        assert "calculate" in (await client.get("/probe/busy", headers=ASKING)).text

    async def test_counts_as_the_route_that_it_is(self, client: AsyncClient, log: Log) -> None:
        """In the log, without its token."""
        await client.get("/probe/busy", headers=ASKING)
        [line] = log.of("request")
        assert (line["route"], line["status"]) == ("/probe/busy", 200)
        assert TOKEN not in log.text


def test_short_token_is_refused() -> None:
    """What can be guessed is no token."""
    with pytest.raises(ValidationError, match="at least 16"):
        ProfilingSettings(token=SecretStr("short"))


@pytest.mark.slow
@pytest.mark.usefixtures("startable")
class TestCommand:
    def test_tells_in_text(self, tmp_path: Path) -> None:
        """How often it was answered how, and where the time went."""
        ended = run(tmp_path, "profile", "get", "/?x=1", "--count", "30")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith("GET /?x=1: 30 x 200, ")
        assert "Middleware._serve" in ended.stdout
        assert '"request"' not in ended.stderr

    def test_tells_in_a_page(self, tmp_path: Path) -> None:
        ended = run(tmp_path, "profile", "GET", "/", "--count", "30", "--html", "profile.html")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.endswith("profile.html tells where it went.\n")
        assert (tmp_path / "profile.html").read_text().startswith("<!DOCTYPE html>")

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["GET", "/", "--header", "Host: elsewhere"], 400),
            (["GET", "/", "--header", "Host: here"], 200),
            (["POST", "/health/live", "--header", "Host: here", "--body", "{}"], 405),
        ],
    )
    def test_sends_what_it_is_told(self, tmp_path: Path, arguments: list[str], status: int) -> None:
        """Method, headers and body."""
        hosts = '["here"]'
        ended = run(tmp_path, "profile", *arguments, "--count=1", APP_HTTP__ALLOWED_HOSTS=hosts)
        assert f": 1 x {status}, " in ended.stdout

    def test_page_that_cannot_be_written(self, tmp_path: Path) -> None:
        """One sentence, exit status 1, no traceback."""
        ended = run(tmp_path, "profile", "GET", "/", "--count", "1", "--html", "missing/p.html")
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in ended.stderr
