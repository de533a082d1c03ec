"""Is the process alive, and can it serve?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request
from httpx2 import AsyncClient

from app.infra.http.health import Check
from app.main import create_app
from app.settings import Settings
from tests.recorded import recorded
from tests.serving import running

SECRET = "hunter2 at 10.0.0.7"  # what a driver's exception may carry


async def answers() -> None:
    """A dependency that is well."""


async def fails() -> None:
    raise ConnectionError(SECRET)


async def hangs() -> None:
    """Until somebody loses patience, at the latest when the test has to fail."""
    await asyncio.sleep(20)
    raise AssertionError("nobody lost patience")


async def times_out_by_itself() -> None:
    raise TimeoutError(SECRET)


def service(
    settings: Settings, *, timeout_seconds: float = 3_600, **checks: Check
) -> tuple[FastAPI, dict[str, Any]]:
    """A service with these checks alone, and the state that its handlers see."""
    state: dict[str, Any] = {"checks": checks}

    @asynccontextmanager
    async def open_rooms(_settings: Settings) -> AsyncIterator[dict[str, Any]]:
        yield state

    http = settings.http.model_copy(update={"health_timeout_seconds": timeout_seconds})
    app = create_app(settings.model_copy(update={"http": http}), open_rooms=open_rooms)
    return app, state


def serving(settings: Settings, **options: Any) -> AbstractAsyncContextManager[AsyncClient]:
    return running(service(settings, **options)[0])


class TestLive:
    async def test_needs_nothing(self, settings: Settings) -> None:
        """A process whose dependencies are gone is alive: a restart would not bring them back."""
        async with serving(settings, store=fails, cache=hangs) as client:
            response = await client.get("/health/live")
        assert response.status_code == 200
        assert response.json()["status"] == "alive"


class TestReady:
    async def test_whole_service(self, client: AsyncClient) -> None:
        """As it comes, it is ready once it has started."""
        response = await client.get("/health/ready")
        assert response.status_code == 200
        assert response.json()["status"] == "ready"
        assert set(response.json()["checks"].values()) <= {"ok"}

    async def test_all_answer(self, settings: Settings) -> None:
        """200, and each is named."""
        async with serving(settings, store=answers, cache=answers) as client:
            response = await client.get("/health/ready")
        assert response.status_code == 200
        assert response.json() == {"status": "ready", "checks": {"store": "ok", "cache": "ok"}}

    async def test_one_fails(self, settings: Settings) -> None:
        """503 that names which, while why stands in the log alone."""
        with recorded() as log:
            async with serving(settings, store=fails, cache=answers) as client:
                response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = {"store": "failed", "cache": "ok"}
        assert response.json() == {"status": "unready", "checks": checks}
        assert SECRET not in response.text + str(response.headers)
        [line] = log.of("health check failed")
        assert line["check"] == "store"
        assert SECRET in line["exception"]

    @pytest.mark.parametrize("check", [hangs, times_out_by_itself])
    async def test_one_hangs(self, settings: Settings, check: Check) -> None:
        """503 after its own time-out; what else is asked answers as ever."""
        checks = {"store": check, "cache": answers, "queue": fails}
        with recorded() as log:
            async with serving(settings, timeout_seconds=0.001, **checks) as client:
                response = await client.get("/health/ready")
        assert response.status_code == 503
        found = {"store": "timeout", "cache": "ok", "queue": "failed"}
        assert response.json() == {"status": "unready", "checks": found}
        [line] = log.of("health check timed out")
        assert (line["check"], line["timeout_seconds"]) == ("store", 0.001)
        assert SECRET not in response.text

    async def test_asks_all_at_once(self, settings: Settings) -> None:
        """Each would wait for ever for the others, were they asked in turn."""
        barrier = asyncio.Barrier(3)

        async def meets() -> None:
            await barrier.wait()

        async with serving(settings, a=meets, b=meets, c=meets) as client:
            assert (await client.get("/health/ready")).status_code == 200

    async def test_recovers(self, settings: Settings) -> None:
        """It asks each time, so that it is ready again when its dependency is."""
        app, state = service(settings, store=fails)
        async with running(app) as client:
            with recorded():
                assert (await client.get("/health/ready")).status_code == 503
            state["checks"]["store"] = answers
            assert (await client.get("/health/ready")).status_code == 200

    async def test_does_not_ask_while_draining(self, settings: Settings) -> None:
        """503 at once, whatever the dependencies say; the process is alive all the same."""
        app, _ = service(settings, store=hangs)

        @app.post("/probe/drain")
        async def begin(request: Request) -> None:
            request.state.drain.begin()

        async with running(app) as client:
            await client.post("/probe/drain")
            response = await client.get("/health/ready")
            assert response.status_code == 503
            assert response.json() == {"status": "draining", "checks": {}}
            assert (await client.get("/health/live")).status_code == 200

    async def test_of_an_untrusted_host(self, settings: Settings) -> None:
        """A probe calls the process by its address, which is no host name of the service."""
        http = settings.http.model_copy(update={"allowed_hosts": ["api.example.com"]})
        app = create_app(settings.model_copy(update={"http": http}))
        async with running(app) as client:
            headers = {"Host": "10.0.0.7:8000"}
            for path in ("/health/live", "/health/ready"):
                assert (await client.get(path, headers=headers)).status_code == 200
            assert (await client.get("/", headers=headers)).status_code == 400
