"""Caches that share a backend, like those of several processes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from app.infra.cache import Cache
from app.infra.cache.backend import Backend
from tests.caches import BACKENDS, LONG, Source, filling, joining, until, value
from tests.infra.cache.conftest import Caches
from tests.infra.cache.test_forgetting import OUTDATE


@pytest.fixture(params=[name for name in BACKENDS if name != "memory"])
async def shared_caches(
    request: pytest.FixtureRequest, where: dict[str, str]
) -> AsyncIterator[Caches]:
    """Caches over each backend that several processes share, in turn."""
    made = Caches(request.param, **where)
    yield made
    await made.close()


@pytest.mark.parametrize("how", OUTDATE)
class TestRaces:
    @pytest.mark.parametrize("how_kept", ["kept", "not kept"])
    async def test_asked_after_another_cache(
        self, shared_caches: Caches, how: str, how_kept: str
    ) -> None:
        """Nor when it was another cache that outdated it, and whether it is kept or not."""
        one, two = await shared_caches.cache(), await shared_caches.cache()
        source = Source("old", "tag", ttl_seconds=LONG if how_kept == "kept" else 0)
        first = await filling(one, source)
        source.value = "new"
        await OUTDATE[how](two)
        later = await joining(one, source)
        source.answers.set()
        assert [await first, await later] == ["old", "new"]


class HeldBack:
    """A backend that keeps when it is let."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def keep(self, *arguments: Any) -> bool:
        self.reached.set()
        await self.goes_on.wait()
        return await self._backend.keep(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def asks(cache: Cache, before: object) -> bool:
    """Whether somebody waits for another load than `before`, or shares that one."""
    return any(each is not before or each.waiters > 1 for each in cache._flights.values())


class TestLate:
    async def test_while_it_is_kept(self, shared_caches: Caches) -> None:
        """Who asks when a load has ended, but is not known to be valid, does not share it."""
        one, two = await shared_caches.cache(), await shared_caches.cache()
        held_back = HeldBack(one.backend)
        one.backend = cast("Backend", held_back)
        source = Source("old", "tag")
        first = asyncio.create_task(value(one, source))
        await until(held_back.reached.is_set)
        before = one._flights.get("{key}")
        source.value = "new"
        await two.forget(tags=["tag"])
        later = asyncio.create_task(value(one, source))
        await until(lambda: asks(one, before))
        held_back.goes_on.set()
        assert [await first, await later] == ["old", "new"]

    async def test_without_the_lock(self, shared_caches: Caches) -> None:
        """Nor what is loaded without the lock, of which nobody knows whether it is valid."""
        one, two = await shared_caches.cache(wait_seconds=0.01), await shared_caches.cache()
        assert await two.backend.acquire("{key}", LONG)
        source = Source("old", "tag")
        first = await filling(one, source)
        before = one._flights.get("{key}")
        source.value = "new"
        await two.forget(tags=["tag"])
        later = asyncio.create_task(value(one, source))
        await until(lambda: asks(one, before))
        source.answers.set()
        assert [await first, await later] == ["old", "new"]

    async def test_outdating_cancelled(self, shared_caches: Caches) -> None:
        """Not even then, and not even when the cache is closed at once, does an entry stay."""
        source = Source("old", "tag")
        await value(await shared_caches.cache(), source)
        # It has no connection yet, so that nothing is sent at once.
        cache = await shared_caches.cache()

        async def write() -> None:
            async with cache.outdating("tag"):
                await asyncio.sleep(LONG)

        writing = asyncio.create_task(write())
        await asyncio.sleep(0)
        for _ in range(2):
            writing.cancel()
            await asyncio.sleep(0)
        assert writing.cancelled()
        await cache.close()
        source.value = "new"
        assert await value(await shared_caches.cache(), source) == "new"
