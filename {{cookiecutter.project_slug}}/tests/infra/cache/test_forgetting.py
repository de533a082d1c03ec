"""What is outdated is never answered again, not even when it is being loaded meanwhile."""

import asyncio
from contextlib import suppress

import pytest

from app.errors import Conflict, ServiceError, TimedOut, Unavailable
from app.infra.cache import Cache
from app.infra.cache.memory import Memory, MemorySettings
from tests.caches import PATIENCE_SECONDS, Source, filling, joining, until, value
from tests.infra.cache.conftest import Caches

OTHER = "{other}"


class TestForget:
    async def test_tag(self, cache: Cache) -> None:
        """Everything that depends on it is loaded anew."""
        source = Source("old", "tag", "more")
        for key in ("{key}", OTHER):
            await value(cache, source, key)
        source.value = "new"
        await cache.forget(tags=["tag"])
        assert [await value(cache, source, key) for key in ("{key}", OTHER)] == ["new"] * 2

    async def test_other_tag(self, cache: Cache) -> None:
        """Nothing else is."""
        source = Source("old", "tag")
        await value(cache, source)
        await cache.forget(tags=["other"])
        await value(cache, source)
        assert source.loads == 1

    async def test_key(self, cache: Cache) -> None:
        """One entry, and no other."""
        source, other = Source(), Source()
        await value(cache, source)
        await value(cache, other, OTHER)
        await cache.forget(keys=["{key}"])
        await value(cache, source)
        await value(cache, other, OTHER)
        assert (source.loads, other.loads) == (2, 1)

    async def test_clear(self, cache: Cache) -> None:
        """Everything."""
        source, tagged = Source(), Source("old", "tag")
        await value(cache, source)
        await value(cache, tagged, OTHER)
        await cache.clear()
        await value(cache, source)
        await value(cache, tagged, OTHER)
        assert (source.loads, tagged.loads) == (2, 2)

    async def test_told_by_another_cache(self, caches: Caches) -> None:
        """What one outdates, all do without, soon."""
        one, two = await caches.cache(), await caches.cache()
        source = Source("old", "tag")
        await value(two, source)
        source.value = "new"
        await one.forget(tags=["tag"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await value(two, source) == "old":
                pass

    async def test_outdating(self, cache: Cache) -> None:
        """It outdates when the block ends, by any error too, and what was added meanwhile."""
        source = Source("old", "tag")
        await value(cache, source)

        async def write() -> None:
            async with cache.outdating() as outdated:
                outdated.add("tag")
                source.value = "new"
                assert await value(cache, source) == "old"
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await write()
        assert await value(cache, source) == "new"

    @pytest.mark.parametrize(
        ("error", "loads"), [(Conflict("no"), 1), (Unavailable("gone"), 2), (TimedOut("late"), 2)]
    )
    async def test_outdating_refused(self, cache: Cache, error: ServiceError, loads: int) -> None:
        """Not when a rule refused the change; but when nobody knows what became of it."""
        source = Source("old", "tag")
        await value(cache, source)
        with suppress(ServiceError):
            async with cache.outdating("tag"):
                raise error
        await value(cache, source)
        assert source.loads == loads


OUTDATE = {
    "tag": lambda cache: cache.forget(tags=["tag"]),
    "key": lambda cache: cache.forget(keys=["{key}"]),
    "clear": lambda cache: cache.clear(),
}


@pytest.mark.parametrize("how", OUTDATE)
class TestRaces:
    """Something is outdated while it is loaded."""

    async def test_is_not_kept(self, cache: Cache, how: str) -> None:
        """Who asked before gets what there was; who asks later, what there is."""
        source = Source("old", "tag")
        first = await filling(cache, source)
        source.value = "new"
        await OUTDATE[how](cache)
        source.answers.set()
        assert await first == "old"
        assert await value(cache, source) == "new"

    async def test_is_not_kept_though_a_tag_is_known(self, cache: Cache, how: str) -> None:
        """The same, when another entry depends on the tag, before and after."""
        source, other = Source("old", "tag"), Source("other", "tag")
        await value(cache, other, OTHER)
        first = await filling(cache, source)
        source.value = "new"
        await OUTDATE[how](cache)
        await value(cache, other, OTHER)
        source.answers.set()
        assert await first == "old"
        assert await value(cache, source) == "new"

    async def test_two_loads(self, cache: Cache, how: str) -> None:
        """Two entries that were loaded since before are both not kept."""
        one, two = Source("old", "tag"), Source("old", "tag")
        first, second = await filling(cache, one), await filling(cache, two, OTHER)
        one.value = two.value = "new"
        await OUTDATE[how](cache)
        if how == "key":
            await cache.forget(keys=[OTHER])
        one.answers.set()
        await first
        two.answers.set()
        await second
        assert [await value(cache, one), await value(cache, two, OTHER)] == ["new"] * 2

    async def test_asked_after(self, cache: Cache, how: str) -> None:
        """Nobody who asks after it gets what was loaded before it."""
        source = Source("old", "tag")
        first = await filling(cache, source)
        source.value = "new"
        await OUTDATE[how](cache)
        later = asyncio.create_task(value(cache, source))
        await until(lambda: cache._flights)
        source.answers.set()
        assert [await first, await later] == ["old", "new"]


class TestOtherTags:
    async def test_of_a_known_tag(self, cache: Cache) -> None:
        """A load is kept although something else is forgotten meanwhile."""
        source = Source("old", "tag")
        await value(cache, Source("other", "tag"), OTHER)
        first = await filling(cache, source)
        await cache.forget(tags=["something else"])
        source.answers.set()
        await first
        await value(cache, source)
        assert source.loads == 1

    async def test_tag_made_meanwhile_by_an_older_load(self, cache: Cache) -> None:
        """What an outdated load has left behind makes no other outdated load a valid one."""
        one, two, three = (Source("old", "tag") for _ in range(3))
        first = await filling(cache, one)
        second = await filling(cache, two, OTHER)
        await cache.forget(tags=["tag"])
        two.value = "new"
        one.answers.set()
        await first
        await value(cache, three, "{three}")
        two.answers.set()
        assert await second == "old"
        assert await value(cache, two, OTHER) == "new"

    async def test_of_a_new_tag(self, cache: Cache) -> None:
        """While something is forgotten during each load, the second is kept."""
        source = Source("old", "tag")
        for _ in range(2):
            load = await filling(cache, source)
            await cache.forget(tags=["something else"])
            source.answers.set()
            await load
        await value(cache, source)
        assert source.loads == 2


class TestTurns:
    async def test_who_waits_for_the_lock_goes_on_together(self, caches: Caches) -> None:
        """What has read nothing yet is shared after a change as well, and so is what it finds."""
        one, two = await caches.cache(), await caches.cache()
        source = Source("old", "tag")
        elsewhere = await filling(one, source)
        first = asyncio.create_task(value(two, source))
        await until(lambda: two._flights and not two._flights["{key}"].reads)
        flight = two._flights["{key}"]
        source.value = "new"
        await two.forget(tags=["something else"])
        later = await joining(two, source)
        assert two._flights["{key}"] is flight
        source.answers.set()
        assert await elsewhere == "old"
        assert len({await first, await later}) == 1

    async def test_who_has_joined_before_it_read(self) -> None:
        """What was outdated meanwhile is good enough for those who had asked before it was read."""
        settings = MemorySettings(ttl_jitter=0, refresh_ahead=0)
        # It never waits: who joins does so while the load does not read.
        backend = Memory(settings)
        one, two = Cache(backend, settings), Cache(backend, settings)
        away, source = Source("away", "tag"), Source("old", "tag")
        elsewhere = await filling(one, away)
        source.answers.clear()
        first = asyncio.create_task(value(two, source))
        await until(lambda: two._flights)
        later = await joining(two, source)
        await one.forget(tags=["tag"])
        away.answers.set()
        await elsewhere
        async with asyncio.timeout(PATIENCE_SECONDS):
            await source.reached.wait()
        await two.forget(tags=["tag"])
        source.answers.set()
        assert [await first, await later] == ["old", "old"]
        assert source.loads == 1
