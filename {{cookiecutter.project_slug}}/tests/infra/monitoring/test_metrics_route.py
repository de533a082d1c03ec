"""`/metrics` at the service's own port."""

import pytest
from httpx2 import AsyncClient, Response
from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings
from tests.infra.monitoring.prometheus_backend import Scrape
from tests.serving import running

TOKEN = "a token of the test alone"


async def ask(settings: Settings, token: str | None, **headers: bytes) -> Response:
    """The answer of a service that has `token`."""
    secret = None if token is None else SecretStr(token)
    monitoring = settings.monitoring.model_copy(update={"token": secret})
    app = create_app(settings.model_copy(update={"monitoring": monitoring}))
    async with running(app) as client:
        given = [(name.encode(), value) for name, value in headers.items()]
        return await client.get("/metrics", headers=given)


class TestToken:
    async def test_is_asked_for(self, settings: Settings) -> None:
        """As RFC 6750 has it, and nothing is told without it."""
        answer = await ask(settings, TOKEN)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "http_requests" not in answer.text

    @pytest.mark.parametrize(
        "given", [b"Bearer another", f"Basic {TOKEN}".encode(), b"Bearer", b"Bearer \xe9"]
    )
    async def test_that_is_wrong(self, settings: Settings, given: bytes) -> None:
        answer = await ask(settings, TOKEN, authorization=given)
        assert answer.status_code == 401

    async def test_that_is_right(self, settings: Settings) -> None:
        """The figures, as Prometheus reads them."""
        answer = await ask(settings, TOKEN, authorization=f"Bearer {TOKEN}".encode())
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        told = Scrape.of(answer.text)
        assert told.total("service_info", version="0.1.0") == 1

    async def test_there_is_none(self, settings: Settings) -> None:
        """Then the port of the service tells nobody anything."""
        assert (await ask(settings, None)).status_code == 404


class TestDocument:
    async def test_does_not_list_it(self, client: AsyncClient) -> None:
        """It is for machines that know it."""
        assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]
