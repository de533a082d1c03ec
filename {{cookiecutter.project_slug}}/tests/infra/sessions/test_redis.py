"""Sessions in Redis."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from app.errors import Unavailable
from app.infra.sessions import Session, Sessions
from app.infra.sessions.redis import RedisSessions, RedisSessionSettings
from app.settings import Settings
from tests.infra.sessions import contract
from tests.infra.sessions.browsers import LIMITS, Browser, Clock, Kept, serving
from tests.infra.sessions.contract import begun
from tests.problems import problem


@pytest.fixture
def prefix() -> str:
    """What begins the keys of the test alone."""
    return f"test-sessions-{uuid.uuid4().hex}"


@pytest.fixture
async def kept(redis_url: str, prefix: str) -> AsyncIterator[Kept]:
    """Sessions in Redis, under keys of the test's own."""
    clock = Clock()
    # Time-outs that no busy machine runs into.
    patient = {"connect_timeout_seconds": 60, "timeout_seconds": 60}
    settings = RedisSessionSettings(**LIMITS, **patient, url=redis_url, prefix=prefix)
    async with Redis.from_url(redis_url) as redis:

        async def keys() -> list[bytes]:
            return [key async for key in redis.scan_iter(f"{prefix}:*", count=1_000)]

        async def wait(seconds: float) -> None:
            clock.now += seconds
            for key in await keys():
                await redis.pexpire(key, await redis.pttl(key) - round(seconds * 1e3))

        async def raw() -> dict[str, bytes]:
            found = {key.decode(): await redis.get(key) for key in await keys()}
            return {key: value for key, value in found.items() if isinstance(value, bytes)}

        sessions = Sessions(RedisSessions(settings), settings, clock)
        await sessions.open()
        try:
            yield Kept(sessions, clock, wait, raw)
        finally:
            await sessions.close()
            for key in await keys():
                await redis.delete(key)


class TestValues(contract.Values):
    """In Redis."""


class TestConcurrency(contract.Concurrency):
    """In Redis."""


class TestExpiry(contract.Expiry):
    """In Redis."""


class TestRotation(contract.Rotation):
    """In Redis."""


class TestSignIn(contract.SignIn):
    """In Redis."""


class TestEnd(contract.End):
    """In Redis."""


class TestRevocation(contract.Revocation):
    """In Redis."""


class TestAtRest(contract.AtRest):
    """In Redis."""


class TestLifetime:
    async def test_of_keys(self, browser: Browser, kept: Kept, redis_url: str, prefix: str) -> None:
        """Everything expires by itself: sessions when idle, users after all their sessions."""
        await browser.does("POST", "/sign-in/ada")
        async with Redis.from_url(redis_url) as redis:
            lifetimes = {
                key.removeprefix(f"{prefix}:").partition(":")[0]: await redis.pttl(key)
                for key in await kept.raw()
            }
        assert lifetimes.keys() == {"session", "user"}
        assert 900_000 < lifetimes["session"] <= 1_000_000
        assert 2_400_000 < lifetimes["user"] <= 2_500_000

    async def test_near_the_absolute_end(self, kept: Kept, redis_url: str) -> None:
        """Nothing is kept for longer than it is valid."""
        session_id = await begun(kept)
        kept.clock.now += 2_000
        session = Session(kept.sessions, session_id)
        await session.set("a", 1)
        await session.save()
        (key,) = await kept.raw()
        async with Redis.from_url(redis_url) as redis:
            assert 0 < await redis.pttl(key) <= 500_000


class Silent:
    """A server that takes connections and never answers."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)


def unreachable(redis_url: str) -> Sessions:
    settings = RedisSessionSettings(
        url=redis_url, timeout_seconds=0.05, connect_timeout_seconds=0.05, breaker_window_seconds=60
    )
    return Sessions(RedisSessions(settings), settings)


class TestOutage:
    async def test_closed_port(self, settings: Settings) -> None:
        """What needs a session is a 503, and nothing else notices."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            sessions = unreachable(f"redis://127.0.0.1:{closed.getsockname()[1]}/0")
            async with serving(settings, sessions) as client:
                browser = Browser(client)
                written = await browser.ask("PUT", "/values/a", 1)
                assert "Sessions are out of reach" in problem(written, 503)["detail"]
                assert "set-cookie" not in written.headers
                assert written.headers["retry-after"] == "60"
                assert written.headers["cache-control"] == "no-store"
                # Nothing has to be asked about a browser without a cookie.
                assert await browser.does("GET", "/values/a") is None
                browser.id = "x" * 43
                read = await browser.ask("GET", "/values/a")
                assert problem(read, 503)["detail"] == problem(written, 503)["detail"]
                assert read.headers["retry-after"] == "60"
                assert await browser.does("GET", "/untouched") == "done"
            await sessions.close()

    async def test_silence(self) -> None:
        """It is waited for a few times, and then left alone."""
        silent = Silent()
        server = await asyncio.start_server(silent.serve, "127.0.0.1", 0)
        sessions = unreachable(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        for _ in range(3):
            with pytest.raises(Unavailable):
                await sessions.read("x" * 43)
        for _ in range(100):
            with pytest.raises(Unavailable):
                await sessions.read("x" * 43)
        assert len(silent.connections) <= 3
        await sessions.close()
        server.close()
        for writer in silent.connections:
            writer.close()
            await writer.wait_closed()

    def test_no_url(self) -> None:
        """The service does not start, and says which setting is wrong."""
        with pytest.raises(ValidationError, match="it is no URL of Redis"):
            RedisSessionSettings(url="http://127.0.0.1")
