"""What every backend owes those who read through it."""

import asyncio

import pytest

from app.errors import NotFound, Unavailable
from app.infra.cache import Cache
from tests.caches import (
    LONG,
    PATIENCE_SECONDS,
    Clock,
    Source,
    becomes,
    filling,
    joining,
    until,
    value,
)
from tests.infra.cache.conftest import Caches

OTHER = "{other}"


class TestReading:
    async def test_loads_once(self, cache: Cache) -> None:
        """What was kept answers the next."""
        source = Source()
        assert [await value(cache, source) for _ in range(3)] == ["old"] * 3
        assert source.loads == 1

    async def test_keys_are_apart(self, cache: Cache) -> None:
        """Each key has its own value."""
        assert await value(cache, Source("a")) == "a"
        assert await value(cache, Source("b"), OTHER) == "b"
        assert await value(cache, Source("c")) == "a"

    async def test_too_old(self, cache: Cache, clock: Clock) -> None:
        """It is loaded anew from the moment at which it is too old."""
        source = Source(ttl_seconds=10)
        await value(cache, source)
        clock.now += 9.9
        await value(cache, source)
        assert source.loads == 1
        clock.now += 0.1
        await value(cache, source)
        assert source.loads == 2

    async def test_not_to_be_kept(self, cache: Cache) -> None:
        """A lifetime of 0 is none, and keeps nobody waiting for a lock."""
        source = Source(ttl_seconds=0)
        assert [await value(cache, source) for _ in range(2)] == ["old"] * 2
        assert source.loads == 2

    async def test_too_large(self, caches: Caches) -> None:
        """It is answered, and not kept."""
        cache = await caches.cache(max_value_bytes=1000)
        source = Source("x" * 1000)
        assert [await value(cache, source) for _ in range(2)] == [source.value] * 2
        assert source.loads == 2

    async def test_compressed(self, caches: Caches) -> None:
        """What is large is kept small, and read as it was."""
        cache = await caches.cache(max_value_bytes=1000, compress_minimum_bytes=100)
        source = Source("x" * 10_000)
        assert [await value(cache, source) for _ in range(2)] == [source.value] * 2
        assert source.loads == 1

    async def test_lifetimes_differ(self, caches: Caches) -> None:
        """What is loaded together does not end together, and nothing lives longer than it may."""
        cache = await caches.cache(ttl_jitter=0.5)
        source = Source(ttl_seconds=100)
        entries = [await cache.get("test", "{" + str(i) + "}", source.load) for i in range(50)]
        lifetimes = [entry.fresh_until - entry.created for entry in entries]
        assert 50 <= min(lifetimes) < 70
        assert 80 < max(lifetimes) <= 100

    async def test_survives_a_restart(self, caches: Caches) -> None:
        """Another cache over the same store has what the first has kept."""
        source = Source("old", "tag")
        await value(await caches.cache(), source)
        assert await value(await caches.cache(), source) == "old"
        assert source.loads == 1


class TestTogether:
    async def test_one_load(self, cache: Cache) -> None:
        """However many ask at the same time."""
        source = Source()
        first = await filling(cache, source)
        others = [await joining(cache, source) for _ in range(20)]
        source.answers.set()
        assert await asyncio.gather(first, *others) == ["old"] * 21
        assert source.loads == 1

    async def test_one_load_of_two_caches(self, caches: Caches) -> None:
        """The lock keeps the second from loading what the first loads."""
        one, two = await caches.cache(), await caches.cache()
        source = Source()
        first = await filling(one, source)
        second = asyncio.create_task(value(two, source))
        await until(lambda: two._flights)
        source.answers.set()
        assert [await first, await second] == ["old"] * 2
        assert source.loads == 1

    async def test_holder_that_takes_too_long(self, caches: Caches) -> None:
        """Another loads for itself, and keeps nothing, for it has no lock."""
        one, two = await caches.cache(), await caches.cache(wait_seconds=0.01)
        slow, quick = Source("slow"), Source("quick")
        first = await filling(one, slow)
        assert await value(two, quick) == "quick"
        slow.answers.set()
        assert await first == "slow"
        assert await value(two, quick) == "slow"

    async def test_error(self, cache: Cache) -> None:
        """It reaches everybody who waits, and is not kept."""
        source = Source()
        source.error = ValueError("broken")
        first = await filling(cache, source)
        second = await joining(cache, source)
        source.answers.set()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["broken"] * 2
        assert source.loads == 1
        source.error = None
        assert await value(cache, source) == "old"

    async def test_one_gives_up(self, cache: Cache) -> None:
        """Even the one who began: the others get the value."""
        source = Source()
        first = await filling(cache, source)
        second = await joining(cache, source)
        first.cancel()
        await asyncio.wait([first])
        source.answers.set()
        assert await second == "old"
        assert source.loads == 1

    async def test_all_give_up(self, cache: Cache) -> None:
        """The load is cancelled, and the next does not wait for its lock."""
        source = Source()
        asking = [await filling(cache, source), await joining(cache, source)]
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        source.answers.set()
        assert await value(cache, source) == "old"
        assert source.loads == 2

    async def test_gives_up_at_any_moment(self, caches: Caches) -> None:
        """Whatever the load was doing: nobody waits for a lock that nobody has."""
        cache = await caches.cache(lease_seconds=LONG, wait_seconds=LONG)
        source = Source("old", "tag", ttl_seconds=0)
        for step in range(50):
            task = asyncio.create_task(value(cache, source))
            await asyncio.sleep(step * 0.0001)
            task.cancel()
            await asyncio.wait([task])
            assert await value(cache, source) == "old"

    async def test_closed(self, cache: Cache) -> None:
        """What is loaded in the background ends with the cache."""
        source = Source()
        source.answers.clear()
        cache.refresh("test", "{key}", source.load)
        await until(source.reached.is_set)
        await cache.close()
        assert not cache._flights


class TestLock:
    async def test_lost(self, cache: Cache) -> None:
        """What was loaded without it is not kept."""
        source = Source()
        first = await filling(cache, source)
        await cache.backend.forget(["{key}"], [])
        source.answers.set()
        await first
        await value(cache, source)
        assert source.loads == 2

    async def test_taken_by_another(self, cache: Cache) -> None:
        """Who has lost it neither keeps a value nor gives the other's lock back."""
        source = Source()
        first = await filling(cache, source)
        await cache.backend.forget(["{key}"], [])
        lease = await cache.backend.acquire("{key}", LONG)
        source.answers.set()
        await first
        assert lease is not None
        assert await cache.backend.acquire("{key}", LONG) is None
        assert await cache.backend.release(lease)


class TestErrors:
    async def test_hidden(self, cache: Cache, clock: Clock) -> None:
        """A value that is too old is better than an error that says nothing about it."""
        source = Source(ttl_seconds=10, stale_seconds=20)
        await value(cache, source)
        source.error = Unavailable("gone")
        clock.now += 29
        assert await value(cache, source, hide=(Unavailable,)) == "old"
        assert source.loads == 2
        clock.now += 1
        with pytest.raises(Unavailable):
            await value(cache, source, hide=(Unavailable,))

    async def test_too_late(self, cache: Cache, clock: Clock) -> None:
        """A value that is too old even for that when the error comes is not."""
        source = Source(ttl_seconds=10, stale_seconds=20)
        await value(cache, source)
        clock.now += 29
        source.error = Unavailable("gone")
        asking = await filling(cache, source, hide=(Unavailable,))
        clock.now += 1
        source.answers.set()
        with pytest.raises(Unavailable):
            await asking

    async def test_answers(self, cache: Cache, clock: Clock) -> None:
        """Not than one that says that there is nothing."""
        source = Source(ttl_seconds=10, stale_seconds=20)
        await value(cache, source)
        source.error = NotFound("gone")
        clock.now += 11
        with pytest.raises(NotFound):
            await value(cache, source, hide=(Unavailable,))

    async def test_outdated(self, cache: Cache) -> None:
        """And never when it is known to be outdated."""
        source = Source("old", "tag", stale_seconds=20)
        await value(cache, source)
        await cache.forget(tags=["tag"])
        source.error = Unavailable("gone")
        with pytest.raises(Unavailable):
            await value(cache, source, hide=(Unavailable,))


class TestRefresh:
    async def test_ahead(self, caches: Caches) -> None:
        """Nobody waits for what is loaded anew before it is too old, and it is loaded once."""
        cache = await caches.cache(refresh_ahead=0.2)
        source = Source(ttl_seconds=10)
        await value(cache, source)
        source.value = "new"
        source.answers.clear()
        caches.clock.now += 8
        assert [await value(cache, source) for _ in range(5)] == ["old"] * 5
        await until(source.reached.is_set)
        source.answers.set()
        await becomes(cache, source, "new")
        assert source.loads == 2

    async def test_fails(self, caches: Caches) -> None:
        """Nobody hears of it as long as there is a fresh value."""
        cache = await caches.cache(refresh_ahead=0.2)
        source = Source(ttl_seconds=10)
        await value(cache, source)
        source.error = Unavailable("gone")
        caches.clock.now += 8
        assert await value(cache, source) == "old"
        await until(lambda: not cache._flights)
        assert await value(cache, source) == "old"

    async def test_only_so_many_at_once(self, caches: Caches) -> None:
        """Hits are not behind what is loaded for nobody; what is not begun, the next may begin."""
        cache = await caches.cache(refresh_ahead=0.2)
        sources = {"{" + str(number) + "}": Source(ttl_seconds=10) for number in range(20)}
        for key, source in sources.items():
            await value(cache, source, key)
            source.answers.clear()
        caches.clock.now += 8

        async def loads() -> int:
            for key, source in sources.items():
                assert await value(cache, source, key) == "old"
            return sum(source.loads for source in sources.values()) - len(sources)

        begun = await loads()
        assert 0 < len(cache._refreshes) < 10
        assert begun <= len(cache._refreshes)
        for source in sources.values():
            source.answers.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await loads() < len(sources):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.002)

    async def test_nobody_waits(self, caches: Caches) -> None:
        """It goes on when the one who joined it gives up."""
        cache = await caches.cache()
        source = Source()
        source.answers.clear()
        cache.refresh("test", "{key}", source.load)
        joined = await joining(cache, source)
        joined.cancel()
        await asyncio.wait([joined])
        source.answers.set()
        await until(lambda: not cache._flights)
        assert await value(cache, source) == "old"
        assert source.loads == 1


class TestFigures:
    async def test_counts(self, cache: Cache, clock: Clock) -> None:
        """Each answer is one hit, one stale hit or one miss, under the name that it has."""
        source = Source(ttl_seconds=10, stale_seconds=10)
        first = await filling(cache, source)
        second = await joining(cache, source)
        source.answers.set()
        await asyncio.gather(first, second)
        await value(cache, source)
        clock.now += 10
        source.error = Unavailable("gone")
        await value(cache, source, hide=(Unavailable,))
        figures = cache.figures["test"]
        assert (figures.misses, figures.hits, figures.stale_hits) == (2, 1, 1)
        assert (figures.loads, figures.errors) == (2, 0)
        assert figures.load_seconds > 0

    async def test_usage(self, cache: Cache) -> None:
        """What is kept has a number and a size."""
        await value(cache, Source("old", "tag"))
        usage = await cache.usage()
        assert usage.entries >= 2
        assert usage.bytes > 0
