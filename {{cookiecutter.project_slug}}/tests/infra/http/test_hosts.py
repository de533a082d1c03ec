"""Which host names and which pages the service answers to."""

from typing import Any

import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.problems import problem
from tests.serving import running

HOSTS = ["api.example.com", "*.example.org"]
ORIGIN = "https://shop.example.com"


def with_http(settings: Settings, **changes: Any) -> FastAPI:
    """The service, with other settings of HTTP."""
    http = settings.http.model_copy(update=changes)
    return create_app(settings.model_copy(update={"http": http}))


class TestHost:
    @pytest.mark.parametrize(
        "host",
        ["api.example.com", "API.example.com", "api.example.com:8000", "a.example.org"],
    )
    async def test_trusted(self, settings: Settings, host: str) -> None:
        """By name, whatever the port and the case."""
        async with running(with_http(settings, allowed_hosts=HOSTS)) as client:
            assert (await client.get("/", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.com",
            "api.example.com.evil.com",
            "example.org.evil.com",
            "",
            "api.example.com@evil",
        ],
    )
    async def test_untrusted(self, settings: Settings, host: str) -> None:
        """400: a link that is made from it would lead astray."""
        async with running(with_http(settings, allowed_hosts=HOSTS)) as client:
            problem(await client.get("/", headers={"Host": host}), 400)

    @pytest.mark.parametrize("path", ["/healthy", "/health", "/docs", "/health/../docs"])
    async def test_health_alone_is_exempt(self, settings: Settings, path: str) -> None:
        """Not what only begins like it."""
        async with running(with_http(settings, allowed_hosts=HOSTS)) as client:
            problem(await client.get(path, headers={"Host": "10.0.0.7"}), 400)


class TestOrigin:
    async def test_none_by_default(self, settings: Settings) -> None:
        """No page may call the service unless it is told so."""
        async with running(create_app(settings)) as client:
            response = await client.get("/", headers={"Origin": ORIGIN})
        assert not any(name.startswith("access-control") for name in response.headers)

    async def test_allowed(self, settings: Settings) -> None:
        """A page of that origin may call, and read what it needs to call again."""
        async with running(with_http(settings, allowed_origins=[ORIGIN])) as client:
            asks = {
                "Origin": ORIGIN,
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "if-match",
            }
            preflight = await client.options("/", headers=asks)
            response = await client.get("/", headers={"Origin": ORIGIN})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert "PATCH" in preflight.headers["access-control-allow-methods"]
        assert "if-match" in preflight.headers["access-control-allow-headers"]
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "ETag" in response.headers["access-control-expose-headers"]
        assert "Origin" in response.headers["vary"]

    async def test_other(self, settings: Settings) -> None:
        """The answer is there, but no page can read it."""
        async with running(with_http(settings, allowed_origins=[ORIGIN])) as client:
            response = await client.get("/", headers={"Origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in response.headers
