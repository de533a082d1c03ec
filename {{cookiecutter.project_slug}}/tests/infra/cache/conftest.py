"""Caches over every backend that this service has."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from app.infra.cache import Cache
from app.infra.cache.backend import Backend
from tests.caches import Clock

# A backend that was not chosen is not there, and nor are its tests.
_CLASSES = {
    "memory": ("Memory", "MemorySettings"),
    "redis": ("RedisCache", "RedisSettings"),
    "tiered": ("Tiered", "TieredSettings"),
}
NAMES = [name for name in _CLASSES if find_spec(f"app.infra.cache.{name}")]


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
        module = import_module(f"app.infra.cache.{self.name}")
        backend_class, settings_class = (getattr(module, name) for name in _CLASSES[self.name])
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


def skip_or_fail(config: pytest.Config, reason: str) -> None:
    """Skip the test, but not where all services have to be there."""
    if config.getoption("require_services", default=False):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_url(pytestconfig: pytest.Config) -> str:
    """The Redis in which tests have a prefix of their own."""
    servers = import_module("tests.redis")
    try:
        return str(servers.find())
    except servers.ServerMissing as missing:
        skip_or_fail(pytestconfig, str(missing))
        raise


@pytest.fixture
def where(redis_url: str) -> Iterator[dict[str, str]]:
    """Settings of a part of Redis that is the test's own."""
    prefix = f"test-{os.urandom(8).hex()}"
    yield {"url": redis_url, "prefix": prefix}
    # Everything else ends by itself.
    shared = prefix + ":{shared}:"
    import_module("tests.redis").ask(redis_url, "DEL", f"{shared}clock", f"{shared}generation")


@pytest.fixture(params=NAMES)
async def caches(request: pytest.FixtureRequest) -> AsyncIterator[Caches]:
    """Caches over each backend in turn."""
    name: str = request.param
    made = Caches(name, **({} if name == "memory" else request.getfixturevalue("where")))
    yield made
    await made.close()


@pytest.fixture(params=[name for name in NAMES if name != "memory"])
async def shared_caches(
    request: pytest.FixtureRequest, where: dict[str, str]
) -> AsyncIterator[Caches]:
    """Caches over each backend that several processes share, in turn."""
    made = Caches(request.param, **where)
    yield made
    await made.close()


@pytest.fixture
async def cache(caches: Caches) -> Cache:
    return await caches.cache()


@pytest.fixture
def clock(caches: Caches) -> Clock:
    return caches.clock


@pytest.fixture
def private_redis(pytestconfig: pytest.Config) -> Iterator[Callable[..., Any]]:
    """Starts servers of the test's own, with the options that it names."""
    servers = import_module("tests.redis")
    if (reason := servers.missing_binaries()) is not None:
        skip_or_fail(pytestconfig, reason)
    started = []

    def start(**options: str) -> Any:
        server = servers.PrivateServer(**options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.close()
