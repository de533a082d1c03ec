"""What the cache has done, and how full it is."""

from app.infra.cache import Cache
from app.infra.cache.cache import Loaded
from app.infra.cache.memory import Memory, MemorySettings
from app.infra.cache.samples import CacheSamples
from app.infra.monitoring import listening
from tests.figures import Figures


async def load() -> Loaded:
    return Loaded(b"payload", ttl_seconds=60)


class TestCache:
    async def test_hits_and_misses(self) -> None:
        """By name, and each once, however often they are looked at."""
        settings = MemorySettings()
        cache, figures = Cache(Memory(settings), settings), Figures()
        samples = CacheSamples(cache)
        async with listening(figures):
            for _ in range(3):
                await cache.get("orders", "key", load)
                await samples.take()
        await cache.close()
        assert figures.total("cache_requests_total", "orders", "hit") == 2
        assert figures.total("cache_requests_total", "orders", "miss") == 1
        assert figures.times("cache_lookup_duration_seconds", "orders") >= 3
        assert figures.times("cache_load_duration_seconds", "orders") == 1

    async def test_size(self) -> None:
        """Entries, their bytes, and how many had to go."""
        settings = MemorySettings(max_entries=10)
        cache, figures = Cache(Memory(settings), settings), Figures()
        async with listening(figures):
            for number in range(100):
                await cache.get("orders", f"key-{number}", load)
            await CacheSamples(cache).take()
        await cache.close()
        entries = figures.last("cache_entries")
        assert entries is not None
        assert 0 < entries <= 10
        assert (figures.last("cache_size_bytes") or 0) > 0
        assert (figures.last("cache_evictions") or 0) >= 90
