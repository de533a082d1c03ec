"""Errors that nobody handled arrive at Sentry, and nothing of who met them does."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Request
from pydantic import SecretStr

from app.about import read_about
from app.errors import NotFound, StartupError
from app.infra.monitoring.sentry import Sentry, SentrySettings
from app.settings import Settings, load_settings
from tests.recorded import Log, recorded
from tests.sentry_endpoint import Endpoint, sentry
from tests.serving import probed, running

probe = APIRouter(prefix="/probe")
PASSWORD = "hunter2"
URL = "https://service:{}@host"


@probe.post("/crash/{number}")
async def crash(number: int, request: Request) -> None:
    password, body = PASSWORD, await request.body()
    raise RuntimeError(f"no. {number} with {len(body)}: {URL.format(password)} is away")


@probe.get("/missing")
async def miss() -> None:
    raise NotFound("There is no such thing.")


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with sentry() as listening:
        yield listening


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """The log, as a service writes it."""
    with recorded() as log:
        yield log


def tracked(settings: Settings, dsn: str, **changes: Any) -> Settings:
    """`settings` with errors sent to `dsn`."""
    chosen = SentrySettings(dsn=SecretStr(dsn), **changes)
    return settings.model_copy(update={"sentry": chosen})


def message_of(event: dict[str, Any]) -> str | None:
    """What the error said."""
    said: str | None = event["exception"]["values"][-1]["value"]
    return said


async def crash_once(settings: Settings) -> None:
    """Serve one request that fails, and end the service."""
    async with running(probed(probe, settings)) as client:
        assert (await client.post("/probe/crash/1")).status_code == 500


class TestRequest:
    async def test_unhandled_error(self, settings: Settings, endpoint: Endpoint) -> None:
        """With its request's id and route, the release and the environment."""
        async with running(probed(probe, tracked(settings, endpoint.dsn))) as client:
            answer = await client.post("/probe/crash/1", headers={"X-Request-ID": "mine"})
            assert answer.status_code == 500
            [event] = await asyncio.to_thread(endpoint.wait)
        assert event["tags"] == {
            "request_id": "mine",
            "method": "POST",
            "route": "/probe/crash/{number}",
        }
        assert event["transaction"] == "/probe/crash/{number}"
        assert (event["release"], event["environment"]) == (read_about().version, "development")
        [error] = event["exception"]["values"]
        assert error["type"] == "RuntimeError"
        assert error["mechanism"]["handled"] is False
        assert error["stacktrace"]["frames"][-1]["function"] == "crash"

    async def test_says_nothing_of_who_met_it(self, settings: Settings, endpoint: Endpoint) -> None:
        """Neither headers, cookies, query and body nor variables, and no secret of a message."""
        async with running(probed(probe, tracked(settings, endpoint.dsn))) as client:
            await client.post(
                "/probe/crash/1?q=of-the-query",
                headers={"Authorization": "Bearer of-a-header", "Cookie": "session=of-a-cookie"},
                content="of-the-body",
            )
            [event] = await asyncio.to_thread(endpoint.wait)
        assert not {"request", "user", "extra", "breadcrumbs", "modules"} & event.keys()
        assert "vars" not in event["exception"]["values"][0]["stacktrace"]["frames"][-1]
        for secret in ("of-the-query", "of-a-header", "of-a-cookie", "of-the-body", PASSWORD):
            assert secret not in endpoint.text
        assert message_of(event) == "no. 1 with 11: https://service:***@host is away"

    async def test_expected_error(self, settings: Settings, endpoint: Endpoint) -> None:
        """What the client is told how to mend is nobody else's affair."""
        async with running(probed(probe, tracked(settings, endpoint.dsn))) as client:
            assert (await client.get("/probe/missing")).status_code == 404
            assert (await client.post("/probe/crash/x")).status_code == 422
        assert endpoint.events == []

    async def test_is_sent_before_the_end(self, settings: Settings, endpoint: Endpoint) -> None:
        """What was not sent yet when the service ends is sent then."""
        await crash_once(tracked(settings, endpoint.dsn))
        assert len(endpoint.events) == 1


class TestSettings:
    async def test_sample_rate(self, settings: Settings, endpoint: Endpoint) -> None:
        """0 sends nothing."""
        await crash_once(tracked(settings, endpoint.dsn, sample_rate=0))
        assert not endpoint.asked.is_set()

    async def test_messages(self, settings: Settings, endpoint: Endpoint) -> None:
        """Without them there is the type alone."""
        await crash_once(tracked(settings, endpoint.dsn, messages=False))
        [event] = endpoint.events
        assert message_of(event) is None
        assert event["exception"]["values"][0]["type"] == "RuntimeError"

    async def test_variables(self, settings: Settings, endpoint: Endpoint) -> None:
        """They are sent when asked for, but those that are secrets."""
        await crash_once(tracked(settings, endpoint.dsn, variables=True))
        variables = endpoint.events[0]["exception"]["values"][0]["stacktrace"]["frames"][-1]["vars"]
        assert variables["number"] == "1"
        assert variables["password"] == "[Filtered]"

    async def test_no_dsn(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        """In development errors are in the log, whatever variables the SDK would look at."""
        with sentry() as endpoint:
            monkeypatch.setenv("SENTRY_DSN", endpoint.dsn)
            await crash_once(settings)
        assert not endpoint.asked.is_set()

    def test_what_is_no_dsn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("APP_SENTRY__DSN", "sentry.example.com")
        with pytest.raises(StartupError, match="APP_SENTRY__DSN: is no DSN; write it as"):
            load_settings()

    @pytest.mark.usefixtures("elsewhere")
    def test_production_needs_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("APP_SENTRY__DSN")
        monkeypatch.setenv("APP_ENVIRONMENT", "production")
        with pytest.raises(StartupError, match="APP_SENTRY__DSN must be set in production"):
            load_settings()


class TestAway:
    async def test_hanging(self, settings: Settings, endpoint: Endpoint) -> None:
        """Requests are answered, more of them than wait to be sent, and the service ends."""
        endpoint.answering.clear()
        chosen = tracked(settings, endpoint.dsn, close_timeout_seconds=0.1)
        async with running(probed(probe, chosen)) as client:
            for number in range(150):
                assert (await client.post(f"/probe/crash/{number}")).status_code == 500
            assert await asyncio.to_thread(endpoint.asked.wait, 60)
        assert endpoint.events == []

    async def test_down(self, settings: Settings) -> None:
        """Nobody listens there: nobody notices."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        await crash_once(tracked(settings, f"http://key@127.0.0.1:{port}/1"))


SECRETS = [
    "driver://app:hunter2@host/db",
    "scheme://:hunt/er2@host:6379/0 is away",
    "scheme://app:p@hunter2@host",
    "password=hunter2, user=app",
    "{'api_key': 'hunter2 and more', 'n': 1}",
    '{"access_token": "hunter2"}',
    "Authorization: Bearer hunter2",
    "Set-Cookie: session=abc; secure=hunter2",
    "said Bearer hunter2",
    "to hunter2@example.com",
    "duplicate key\nDETAIL:  Key (name)=(hunter2) already exists.",
    "(1062, \"Duplicate entry 'hunter2' for key 'name'\")",
    "[type=int_parsing, input_value='hunter2', input_type=str]",
    "{'type': 'int_type', 'loc': ('response',), 'input': {'name': 'hunter2'}}",
    "[SQL: INSERT]\n[parameters: ('hunter2', 1)]",
]


class TestMasked:
    @pytest.mark.parametrize("said", SECRETS)
    async def test_secret_of_a_message(self, endpoint: Endpoint, said: str) -> None:
        """Also where it is the cause of the error that nobody handled."""
        settings = SentrySettings(dsn=SecretStr(endpoint.dsn))
        recorder = Sentry(settings, release="1", environment="test")
        error = RuntimeError("outer")
        error.__cause__ = ValueError(said)
        recorder.failed(error)
        await recorder.close()
        assert len(endpoint.events[0]["exception"]["values"]) == 2
        assert "***" in endpoint.text
        for part in ("hunter2", "er2", "and more"):
            assert part not in endpoint.text

    async def test_other_words(self, endpoint: Endpoint) -> None:
        """What is none is left as it is."""
        said = "3 of 5 lines (line 7: 'Lamp') failed at http://host:80/a?b=c"
        recorder = Sentry(
            SentrySettings(dsn=SecretStr(endpoint.dsn)), release="1", environment="test"
        )
        recorder.failed(RuntimeError(said))
        await recorder.close()
        assert message_of(endpoint.events[0]) == said
