"""A service with sessions, in memory unless a file says otherwise."""

from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient

from app.infra.sessions import Sessions
from app.infra.sessions.memory import MemorySessions, MemorySessionSettings
from app.settings import Settings
from tests.infra.sessions.browsers import LIMITS, Browser, Clock, Kept, serving


@pytest.fixture
def kept() -> Kept:
    """Sessions in memory."""
    clock = Clock()
    settings = MemorySessionSettings(**LIMITS)
    store = MemorySessions(settings, clock)

    async def wait(seconds: float) -> None:
        clock.now += seconds

    async def raw() -> dict[str, bytes]:
        return {key: value for key, (value, _) in store._kept.items()}

    return Kept(Sessions(store, settings, clock), clock, wait, raw)


@pytest.fixture
async def client(settings: Settings, kept: Kept) -> AsyncIterator[AsyncClient]:
    """A client of the service; it keeps no cookies, for browsers have their own."""
    async with serving(settings, kept.sessions) as client:
        yield client


@pytest.fixture
def browser(client: AsyncClient) -> Browser:
    return Browser(client)


@pytest.fixture
def other(client: AsyncClient) -> Browser:
    """Another one, perhaps of the same user."""
    return Browser(client)
