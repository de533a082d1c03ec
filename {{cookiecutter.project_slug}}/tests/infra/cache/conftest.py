"""Caches over every backend that this service has."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.infra.cache import Cache
from app.infra.cache.backend import Backend
from tests.caches import BACKENDS, Clock


class Caches:
    """Caches over one store, like those of several processes."""

    def __init__(self, name: str, **settings: Any) -> None:
        self.name = name
        self.clock = Clock()
        self._settings = {"ttl_jitter": 0, "refresh_ahead": 0, **settings}
        self._opened: list[Cache] = []
        self._memory: Backend | None = None

    async def cache(self, **settings: Any) -> Cache:
        """One more, with all that was kept by the others."""
        backend_class, settings_class = BACKENDS[self.name]
        chosen = settings_class(**{**self._settings, **settings})
        backend = self._memory or backend_class(chosen)
        self._memory = backend if self.name == "memory" else None
        cache = Cache(backend, chosen, clock=self.clock)
        await cache.open()
        self._opened.append(cache)
        return cache

    async def close(self) -> None:
        for cache in self._opened:
            await cache.close()


@pytest.fixture(params=BACKENDS)
async def caches(request: pytest.FixtureRequest) -> AsyncIterator[Caches]:
    """Caches over each backend in turn."""
    name: str = request.param
    made = Caches(name, **({} if name == "memory" else request.getfixturevalue("where")))
    yield made
    await made.close()


@pytest.fixture
async def cache(caches: Caches) -> Cache:
    return await caches.cache()


@pytest.fixture
def clock(caches: Caches) -> Clock:
    return caches.clock
